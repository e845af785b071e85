package main

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Wire is one bare connection: one request at a time, nothing is repeated behind our back,
// so that it is known which requests may have been done and which were answered.
type Wire struct {
	conn        net.Conn
	correlation int32
}

func Dial(address string) (*Wire, error) {
	conn, err := net.DialTimeout("tcp", address, time.Second)
	if err != nil {
		return nil, err
	}
	return &Wire{conn: conn}, nil
}

func (w *Wire) Close() { w.conn.Close() }

// Ask sends one request and reads its answer. An error means that its fate is unknown.
func (w *Wire) Ask(request kmsg.Request, limit time.Duration) (kmsg.Response, error) {
	w.correlation++
	if err := w.conn.SetDeadline(time.Now().Add(limit)); err != nil {
		return nil, err
	}
	frame := kmsg.NewRequestFormatter(kmsg.FormatterClientID("faults")).AppendRequest(nil, request, w.correlation)
	if _, err := w.conn.Write(frame); err != nil {
		return nil, err
	}
	var length [4]byte
	if _, err := io.ReadFull(w.conn, length[:]); err != nil {
		return nil, err
	}
	body := make([]byte, binary.BigEndian.Uint32(length[:]))
	if _, err := io.ReadFull(w.conn, body); err != nil {
		return nil, err
	}
	if got := int32(binary.BigEndian.Uint32(body)); got != w.correlation {
		return nil, fmt.Errorf("correlation id %d answered with %d", w.correlation, got)
	}
	body = body[4:]
	if request.IsFlexible() && request.Key() != 18 {
		body = body[1:] // No tagged fields in the header.
	}
	response := request.ResponseKind()
	response.SetVersion(request.GetVersion())
	return response, response.ReadFrom(body)
}

func code(value int16) error { return kerr.ErrorForCode(value) }

// Versions asks what everybody asks first.
func (w *Wire) Versions(limit time.Duration) error {
	request := kmsg.NewPtrApiVersionsRequest()
	request.SetVersion(3)
	request.ClientSoftwareName, request.ClientSoftwareVersion = "faults", "1"
	_, err := w.Ask(request, limit)
	return err
}

// Produce sends one record in a batch of its own, acks=all, and returns its offset.
func (w *Wire) Produce(topic string, partition int32, value []byte, limit time.Duration) (int64, error) {
	offset, _, err := w.Stamp(topic, partition, value, limit)
	return offset, err
}

// Stamp is Produce, and tells the broker's time where the topic is stamped by it.
func (w *Wire) Stamp(topic string, partition int32, value []byte, limit time.Duration) (int64, time.Time, error) {
	got, err := w.send(Place{topic, partition}, batch(nil, value), limit)
	return got.BaseOffset, time.UnixMilli(got.LogAppendTime), err
}

// Put is Produce of a record that has a key.
func (w *Wire) Put(place Place, key, value []byte, limit time.Duration) (int64, error) {
	got, err := w.send(place, batch(key, value), limit)
	return got.BaseOffset, err
}

func (w *Wire) send(place Place, batch []byte, limit time.Duration) (got kmsg.ProduceResponseTopicPartition, err error) {
	request := kmsg.NewPtrProduceRequest()
	request.SetVersion(9)
	request.Acks = -1
	request.TimeoutMillis = 5_000
	topic := kmsg.NewProduceRequestTopic()
	topic.Topic = place.Topic
	partition := kmsg.NewProduceRequestTopicPartition()
	partition.Partition, partition.Records = place.Partition, batch
	topic.Partitions = append(topic.Partitions, partition)
	request.Topics = append(request.Topics, topic)
	answer, err := w.Ask(request, limit)
	if err != nil {
		return got, err
	}
	got = answer.(*kmsg.ProduceResponse).Topics[0].Partitions[0]
	return got, code(got.ErrorCode)
}

func batch(key, value []byte) []byte {
	record := kmsg.NewRecord()
	record.Key, record.Value = key, value
	body := record.AppendTo(nil)[1:] // The length of 0 is one byte.
	now := time.Now().UnixMilli()
	whole := kmsg.NewRecordBatch()
	whole.PartitionLeaderEpoch = -1
	whole.Magic = 2
	whole.FirstTimestamp, whole.MaxTimestamp = now, now
	whole.ProducerID, whole.ProducerEpoch, whole.FirstSequence = -1, -1, -1
	whole.NumRecords = 1
	whole.Records = append(binary.AppendVarint(nil, int64(len(body))), body...)
	whole.Length = int32(49 + len(whole.Records))
	bytes := whole.AppendTo(nil)
	crc := crc32.Checksum(bytes[21:], crc32.MakeTable(crc32.Castagnoli))
	binary.BigEndian.PutUint32(bytes[17:], crc)
	return bytes
}

// Fetch asks for what is in a partition from an offset on. It answers at once.
func (w *Wire) Fetch(place Place, offset int64, limit time.Duration) (*kmsg.FetchResponseTopicPartition, error) {
	request := kmsg.NewPtrFetchRequest()
	request.SetVersion(11)
	request.MaxBytes, request.SessionEpoch = 4<<20, -1
	topic := kmsg.NewFetchRequestTopic()
	topic.Topic = place.Topic
	partition := kmsg.NewFetchRequestTopicPartition()
	partition.Partition, partition.FetchOffset = place.Partition, offset
	partition.PartitionMaxBytes = 1 << 20
	topic.Partitions = append(topic.Partitions, partition)
	request.Topics = append(request.Topics, topic)
	answer, err := w.Ask(request, limit)
	if err != nil {
		return nil, err
	}
	response := answer.(*kmsg.FetchResponse)
	if response.ErrorCode != 0 {
		return nil, code(response.ErrorCode)
	}
	return &response.Topics[0].Partitions[0], nil
}

// Bounds asks for the first and the next offset of every partition of a topic.
func (w *Wire) Bounds(topic string, partitions int) (starts, ends []int64, err error) {
	for _, when := range []int64{-2, -1} {
		request := kmsg.NewPtrListOffsetsRequest()
		request.SetVersion(7)
		request.ReplicaID = -1
		t := kmsg.NewListOffsetsRequestTopic()
		t.Topic = topic
		for at := 0; at < partitions; at++ {
			p := kmsg.NewListOffsetsRequestTopicPartition()
			p.Partition = int32(at)
			p.CurrentLeaderEpoch = -1
			p.Timestamp = when
			t.Partitions = append(t.Partitions, p)
		}
		request.Topics = append(request.Topics, t)
		answer, err := w.Ask(request, 10*time.Second)
		if err != nil {
			return nil, nil, err
		}
		offsets := make([]int64, partitions)
		for _, p := range answer.(*kmsg.ListOffsetsResponse).Topics[0].Partitions {
			if p.ErrorCode != 0 {
				return nil, nil, code(p.ErrorCode)
			}
			offsets[p.Partition] = p.Offset
		}
		if when == -2 {
			starts = offsets
		} else {
			ends = offsets
		}
	}
	return starts, ends, nil
}

// Topic is what the broker says about one topic.
type Topic struct {
	ID         [16]byte
	Partitions int
}

func (w *Wire) Topics() (map[string]Topic, error) {
	request := kmsg.NewPtrMetadataRequest()
	request.SetVersion(12)
	answer, err := w.Ask(request, 10*time.Second)
	if err != nil {
		return nil, err
	}
	topics := map[string]Topic{}
	for _, it := range answer.(*kmsg.MetadataResponse).Topics {
		if it.ErrorCode != 0 {
			return nil, code(it.ErrorCode)
		}
		topics[*it.Topic] = Topic{ID: it.TopicID, Partitions: len(it.Partitions)}
	}
	return topics, nil
}

func (w *Wire) Create(name string, partitions int, configs map[string]string) error {
	request := kmsg.NewPtrCreateTopicsRequest()
	request.SetVersion(7)
	request.TimeoutMillis = 10_000
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = name, int32(partitions), 1
	for key, value := range configs {
		config := kmsg.NewCreateTopicsRequestTopicConfig()
		config.Name, config.Value = key, &value
		t.Configs = append(t.Configs, config)
	}
	request.Topics = append(request.Topics, t)
	answer, err := w.Ask(request, 15*time.Second)
	if err != nil {
		return err
	}
	return code(answer.(*kmsg.CreateTopicsResponse).Topics[0].ErrorCode)
}

func (w *Wire) Delete(name string) error {
	request := kmsg.NewPtrDeleteTopicsRequest()
	request.SetVersion(5)
	request.TimeoutMillis = 10_000
	request.TopicNames = []string{name}
	answer, err := w.Ask(request, 15*time.Second)
	if err != nil {
		return err
	}
	return code(answer.(*kmsg.DeleteTopicsResponse).Topics[0].ErrorCode)
}

func (w *Wire) Grow(name string, partitions int) error {
	request := kmsg.NewPtrCreatePartitionsRequest()
	request.SetVersion(3)
	request.TimeoutMillis = 10_000
	t := kmsg.NewCreatePartitionsRequestTopic()
	t.Topic, t.Count = name, int32(partitions)
	request.Topics = append(request.Topics, t)
	answer, err := w.Ask(request, 15*time.Second)
	if err != nil {
		return err
	}
	return code(answer.(*kmsg.CreatePartitionsResponse).Topics[0].ErrorCode)
}

func (w *Wire) SetRetention(name, value string) error {
	request := kmsg.NewPtrIncrementalAlterConfigsRequest()
	request.SetVersion(1)
	resource := kmsg.NewIncrementalAlterConfigsRequestResource()
	resource.ResourceType, resource.ResourceName = kmsg.ConfigResourceTypeTopic, name
	config := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
	config.Name, config.Value = "retention.ms", &value
	resource.Configs = append(resource.Configs, config)
	request.Resources = append(request.Resources, resource)
	answer, err := w.Ask(request, 15*time.Second)
	if err != nil {
		return err
	}
	return code(answer.(*kmsg.IncrementalAlterConfigsResponse).Resources[0].ErrorCode)
}

func (w *Wire) Retention(name string) (string, error) {
	request := kmsg.NewPtrDescribeConfigsRequest()
	request.SetVersion(4)
	resource := kmsg.NewDescribeConfigsRequestResource()
	resource.ResourceType, resource.ResourceName = kmsg.ConfigResourceTypeTopic, name
	resource.ConfigNames = []string{"retention.ms"}
	request.Resources = append(request.Resources, resource)
	answer, err := w.Ask(request, 15*time.Second)
	if err != nil {
		return "", err
	}
	got := answer.(*kmsg.DescribeConfigsResponse).Resources[0]
	if got.ErrorCode != 0 {
		return "", code(got.ErrorCode)
	}
	if len(got.Configs) != 1 || got.Configs[0].Value == nil {
		return "", fmt.Errorf("%d configs for one name", len(got.Configs))
	}
	return *got.Configs[0].Value, nil
}

// Cut deletes the records below offset.
func (w *Wire) Cut(name string, partition int32, offset int64) error {
	request := kmsg.NewPtrDeleteRecordsRequest()
	request.SetVersion(2)
	request.TimeoutMillis = 10_000
	t := kmsg.NewDeleteRecordsRequestTopic()
	t.Topic = name
	p := kmsg.NewDeleteRecordsRequestTopicPartition()
	p.Partition, p.Offset = partition, offset
	t.Partitions = append(t.Partitions, p)
	request.Topics = append(request.Topics, t)
	answer, err := w.Ask(request, 15*time.Second)
	if err != nil {
		return err
	}
	return code(answer.(*kmsg.DeleteRecordsResponse).Topics[0].Partitions[0].ErrorCode)
}

// Coordinator asks who knows a group.
func (w *Wire) Coordinator(group string) error {
	request := kmsg.NewPtrFindCoordinatorRequest()
	request.SetVersion(1)
	request.CoordinatorKey = group
	answer, err := w.Ask(request, 10*time.Second)
	if err != nil {
		return err
	}
	return code(answer.(*kmsg.FindCoordinatorResponse).ErrorCode)
}

// Committed asks for the offsets that a group has committed; -1: none.
func (w *Wire) Committed(group string, places []Place) (map[Place]int64, error) {
	request := kmsg.NewPtrOffsetFetchRequest()
	request.SetVersion(7)
	request.Group = group
	request.Topics = []kmsg.OffsetFetchRequestTopic{}
	for _, place := range places {
		topic := kmsg.NewOffsetFetchRequestTopic()
		topic.Topic, topic.Partitions = place.Topic, []int32{place.Partition}
		request.Topics = append(request.Topics, topic)
	}
	got, err := w.Ask(request, 10*time.Second)
	if err != nil {
		return nil, err
	}
	answer := got.(*kmsg.OffsetFetchResponse)
	if answer.ErrorCode != 0 {
		return nil, code(answer.ErrorCode)
	}
	found := map[Place]int64{}
	for _, topic := range answer.Topics {
		for _, partition := range topic.Partitions {
			if partition.ErrorCode != 0 {
				return nil, code(partition.ErrorCode)
			}
			found[Place{topic.Topic, partition.Partition}] = partition.Offset
		}
	}
	if len(found) != len(places) {
		return nil, fmt.Errorf("%d of %d offsets", len(found), len(places))
	}
	return found, nil
}
