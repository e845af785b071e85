package main

import (
	"encoding/binary"
	"hash/crc32"
	"math"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Where a batch's fields lie.
const (
	lengthAt       = 8
	magicAt        = 16
	crcAt          = 17
	attributesAt   = 21
	batchHeadBytes = 61
)

// record is one record as it lies in a batch, its length before it.
func record(delta int32, value []byte) []byte {
	it := kmsg.NewRecord()
	it.OffsetDelta = delta
	it.Value = value
	body := it.AppendTo(nil)[1:] // The length of 0 is one byte.
	return append(binary.AppendVarint(nil, int64(len(body))), body...)
}

// batchOf is a sound batch that says to hold count records, in these bytes.
func batchOf(count int32, records []byte) kmsg.RecordBatch {
	now := time.Now().UnixMilli()
	batch := kmsg.NewRecordBatch()
	batch.PartitionLeaderEpoch = -1
	batch.Magic = 2
	batch.FirstTimestamp, batch.MaxTimestamp = now, now
	batch.ProducerID, batch.ProducerEpoch, batch.FirstSequence = -1, -1, -1
	batch.NumRecords, batch.LastOffsetDelta = count, count-1
	batch.Records = records
	batch.Length = int32(batchHeadBytes - 12 + len(records))
	return batch
}

// sealed is the batch with its checksum.
func sealed(batch kmsg.RecordBatch) []byte { return summed(batch.AppendTo(nil)) }

func summed(batch []byte) []byte {
	binary.BigEndian.PutUint32(batch[crcAt:], crc32.Checksum(batch[attributesAt:], castagnoli))
	return batch
}

// single is a sound batch of one record.
func single(value []byte) []byte { return sealed(batchOf(1, record(0, value))) }

// changed is a sound batch of three records after a change of its fields, with a checksum that holds.
func changed(change func(*kmsg.RecordBatch)) []byte {
	records := append(append(record(0, []byte("a")), record(1, []byte("b"))...), record(2, []byte("c"))...)
	batch := batchOf(3, records)
	change(&batch)
	return sealed(batch)
}

// packed is a batch whose records are compressed by this codec.
func packed(codec int16, compressed []byte) []byte {
	batch := batchOf(1, compressed)
	batch.Attributes = codec
	return sealed(batch)
}

// produce asks for partition 0 of the topic, with these records.
func produce(topic string, acks int16, records ...[]byte) *kmsg.ProduceRequest {
	request := kmsg.NewPtrProduceRequest()
	request.SetVersion(9)
	request.Acks, request.TimeoutMillis = acks, 5_000
	it := kmsg.NewProduceRequestTopic()
	it.Topic = topic
	for _, bytes := range records {
		partition := kmsg.NewProduceRequestTopicPartition()
		partition.Records = bytes
		it.Partitions = append(it.Partitions, partition)
	}
	request.Topics = append(request.Topics, it)
	return request
}

// fetch asks for one partition of the topic, without a session.
func fetch(topic string, partition int32, offset int64) *kmsg.FetchRequest {
	request := kmsg.NewPtrFetchRequest()
	request.SetVersion(11)
	request.ReplicaID = -1
	request.MaxWaitMillis, request.MinBytes, request.MaxBytes = 500, 1, 1<<20
	request.SessionID, request.SessionEpoch = 0, -1
	it := kmsg.NewFetchRequestTopic()
	it.Topic = topic
	part := kmsg.NewFetchRequestTopicPartition()
	part.Partition, part.FetchOffset = partition, offset
	part.CurrentLeaderEpoch, part.LogStartOffset = -1, -1
	part.PartitionMaxBytes = 1 << 20
	it.Partitions = append(it.Partitions, part)
	request.Topics = append(request.Topics, it)
	return request
}

// createTopic asks for one topic with this many partitions.
func createTopic(name string, partitions int32) *kmsg.CreateTopicsRequest {
	request := kmsg.NewPtrCreateTopicsRequest()
	request.SetVersion(6)
	request.TimeoutMillis = 10_000
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, partitions, 1
	request.Topics = append(request.Topics, topic)
	return request
}

func deleteTopic(name string) *kmsg.DeleteTopicsRequest {
	request := kmsg.NewPtrDeleteTopicsRequest()
	request.SetVersion(5)
	request.TimeoutMillis = 10_000
	request.TopicNames = []string{name}
	return request
}

// listOffsets asks for the end of partition 0.
func listOffsets(topic string) *kmsg.ListOffsetsRequest {
	request := kmsg.NewPtrListOffsetsRequest()
	request.SetVersion(5)
	request.ReplicaID = -1
	it := kmsg.NewListOffsetsRequestTopic()
	it.Topic = topic
	partition := kmsg.NewListOffsetsRequestTopicPartition()
	partition.CurrentLeaderEpoch, partition.Timestamp = -1, -1
	it.Partitions = append(it.Partitions, partition)
	request.Topics = append(request.Topics, it)
	return request
}

// metadata asks for these topics, none of which is to be created.
func metadata(version int16, create bool, names ...string) *kmsg.MetadataRequest {
	request := kmsg.NewPtrMetadataRequest()
	request.SetVersion(version)
	request.AllowAutoTopicCreation = create
	request.Topics = []kmsg.MetadataRequestTopic{}
	for _, name := range names {
		topic := kmsg.NewMetadataRequestTopic()
		topic.Topic = &name
		request.Topics = append(request.Topics, topic)
	}
	return request
}

// length32 is the largest length that four bytes can say.
var length32 = binary.BigEndian.AppendUint32(nil, math.MaxInt32)
