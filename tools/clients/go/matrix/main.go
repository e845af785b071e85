// matrix drives franz-go, a client independent of Java and librdkafka, against a broker:
//
//	matrix BROKER
//
// Ends with 1 and a message at the first expectation that fails.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	start = 1_700_000_000_000
	hour  = 3_600_000
)

var (
	run    = strconv.FormatInt(time.Now().UnixNano()&0xffffff, 36)
	sizes  = []int{1, 2, 10, 100, 1023, 1024, 4095, 4096, 65_536, 300_000, 1_048_576}
	broker string
	admin  *kadm.Client
	ctx    context.Context
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: matrix BROKER")
		os.Exit(2)
	}
	broker = os.Args[1]
	// A program that waits for ever fails, too.
	within, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	ctx = within
	admin = kadm.NewClient(client())
	for name, codec := range map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	} {
		everyShape(name, kgo.ProducerBatchCompression(codec))
	}
	everyShape("plain", kgo.DisableIdempotentWrite())
	manyPartitions()
	acks()
	groups("classic", ctx)
	// franz-go takes part in KIP-848 only where it is asked to by this word.
	groups("consumer", context.WithValue(ctx, "opt_in_kafka_next_gen_balancer_beta", true)) //nolint:revive,staticcheck
	tooLarge()
	administration()
	configs()
	churn()
}

func must(err error, what string) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", what, err)
		os.Exit(1)
	}
}

func equal[T comparable](want, got T, what string) {
	if want != got {
		must(fmt.Errorf("want %v, got %v", want, got), what)
	}
}

func refused(want, got error, what string) {
	if !errors.Is(got, want) {
		must(fmt.Errorf("want %v, got %v", want, got), what)
	}
}

// soon asks again for up to 10 s: Apache Kafka's controller answers before its broker knows.
func soon(what string, call func() error) {
	var err error
	for range 100 {
		if err = call(); err == nil {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	must(err, what)
}

func client(more ...kgo.Opt) *kgo.Client {
	made, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(broker),
		kgo.MetadataMinAge(50 * time.Millisecond),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchMaxBytes(4_000_000),
	}, more...)...)
	must(err, "a client")
	return made
}

func reader(topic string, partitions int32, more ...kgo.Opt) *kgo.Client {
	from := map[int32]kgo.Offset{}
	for at := range partitions {
		from[at] = kgo.NewOffset().At(0)
	}
	return client(append([]kgo.Opt{
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.FetchMaxWait(50 * time.Millisecond),
	}, more...)...)
}

func create(topic string, partitions int32, configs map[string]string) {
	values := map[string]*string{}
	for key, value := range configs {
		values[key] = &value
	}
	_, err := admin.CreateTopic(ctx, partitions, 1, values, topic)
	must(err, "create "+topic)
	soon("the ends of "+topic, func() error {
		ends, err := admin.ListEndOffsets(ctx, topic)
		if err != nil {
			return err
		}
		if len(ends[topic]) != int(partitions) {
			return fmt.Errorf("%d partitions", len(ends[topic]))
		}
		return ends.Error()
	})
}

func remove(topic string) {
	_, err := admin.DeleteTopic(ctx, topic)
	must(err, "delete "+topic)
}

func read(consumer *kgo.Client, count int) []*kgo.Record {
	within, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	var records []*kgo.Record
	for len(records) < count {
		fetches := consumer.PollFetches(within)
		if err := fetches.Err(); err != nil {
			must(err, fmt.Sprintf("reading record %d of %d", len(records), count))
		}
		records = append(records, fetches.Records()...)
	}
	return records
}

// shapes: null, empty and filled keys and values of every size, with and without headers, an hour apart.
func shapes(topic string) []*kgo.Record {
	random := rand.New(rand.NewSource(7))
	values := [][]byte{{}, nil}
	for _, size := range sizes {
		value := bytes.Repeat([]byte("x"), size)
		random.Read(value[:size/2])
		values = append(values, value)
	}
	for at := range 300 {
		values = append(values, fmt.Appendf(nil, "small-%d", at))
	}
	var records []*kgo.Record
	for at, value := range values {
		records = append(records, &kgo.Record{
			Topic: topic, Partition: 1, Value: value,
			Timestamp: time.UnixMilli(start + int64(at)*hour),
			Key:       [][]byte{nil, {}, fmt.Appendf(nil, "key-%d", at)}[at%3],
			Headers: [][]kgo.RecordHeader{
				nil,
				{{Key: "one", Value: []byte("1")}},
				{{Key: "same", Value: []byte{0, 255}}, {Key: "same", Value: []byte{}}},
				{{Key: "", Value: nil}, {Key: "grüße", Value: make([]byte, 5_000)}},
			}[at%4],
		})
	}
	return records
}

func sameBytes(want, got []byte, what string) {
	if !bytes.Equal(want, got) || (want == nil) != (got == nil) {
		must(fmt.Errorf("want %d bytes (null %v), got %d (null %v)", len(want), want == nil, len(got), got == nil), what)
	}
}

func same(want, got *kgo.Record, offset int, where string) {
	what := fmt.Sprintf("%s: record %d: ", where, offset)
	equal(int64(offset), got.Offset, what+"offset")
	equal(want.Timestamp.UnixMilli(), got.Timestamp.UnixMilli(), what+"time")
	sameBytes(want.Key, got.Key, what+"key")
	sameBytes(want.Value, got.Value, what+"value")
	equal(len(want.Headers), len(got.Headers), what+"headers")
	for at := range want.Headers {
		equal(want.Headers[at].Key, got.Headers[at].Key, what+"header key")
		sameBytes(want.Headers[at].Value, got.Headers[at].Value, what+"header value")
	}
}

func everyShape(name string, option kgo.Opt) {
	topic := "franz-" + name + "-" + run
	create(topic, 3, map[string]string{"max.message.bytes": "5000000"})
	sent := shapes(topic)
	producer := client(option)
	for at, result := range producer.ProduceSync(ctx, shapes(topic)...) {
		must(result.Err, fmt.Sprintf("%s: record %d", name, at))
		equal(int64(at), result.Record.Offset, name+": offset")
	}
	producer.Close()
	// The second reader's answers are cut inside batches and records.
	for _, limit := range []int32{50_000_000, 1_000} {
		consumer := reader(topic, 3, kgo.FetchMaxBytes(limit), kgo.FetchMaxPartitionBytes(limit))
		for at, record := range read(consumer, len(sent)) {
			same(sent[at], record, at, fmt.Sprintf("%s, fetches of %d bytes", name, limit))
		}
		consumer.Close()
	}
	seek(topic, sent)
	remove(topic)
}

func seek(topic string, sent []*kgo.Record) {
	at := func(offset int) *kgo.Client {
		from := map[int32]kgo.Offset{1: kgo.NewOffset().At(int64(offset))}
		return client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}), kgo.ConsumeResetOffset(kgo.NoResetOffset()))
	}
	random := rand.New(rand.NewSource(11))
	for range 10 {
		offset := random.Intn(len(sent))
		consumer := at(offset)
		equal(int64(offset), read(consumer, 1)[0].Offset, "first offset from the middle")
		consumer.Close()
	}
	for turn := range int64(10) {
		at := random.Intn(len(sent))
		found, err := admin.ListOffsetsAfterMilli(ctx, sent[at].Timestamp.UnixMilli()-turn%2*hour/2, topic)
		must(err, "offsets by time")
		got, _ := found.Lookup(topic, 1)
		equal(int64(at), got.Offset, "offset by time")
	}
	past := at(len(sent) + 5)
	defer past.Close()
	refused(kerr.OffsetOutOfRange, past.PollFetches(ctx).Err(), "a fetch past the end")
}

func manyPartitions() {
	topic := "franz-hundred-" + run
	create(topic, 100, nil)
	producer := client()
	var records []*kgo.Record
	for at := range 1_000 {
		records = append(records, &kgo.Record{Topic: topic, Partition: int32(at % 100), Value: fmt.Appendf(nil, "v%d", at)})
	}
	must(producer.ProduceSync(ctx, records...).FirstErr(), "a hundred partitions")
	producer.Close()
	consumer := reader(topic, 100)
	next := make([]int64, 100)
	for _, record := range read(consumer, 1_000) {
		equal(next[record.Partition], record.Offset, "offset in a partition")
		equal(fmt.Sprintf("v%d", record.Offset*100+int64(record.Partition)), string(record.Value), "value in a partition")
		next[record.Partition]++
	}
	consumer.Close()
	remove(topic)
}

func acks() {
	topic := "franz-acks-" + run
	create(topic, 1, nil)
	for _, acks := range []kgo.Acks{kgo.AllISRAcks(), kgo.LeaderAck(), kgo.NoAck()} {
		producer := client(kgo.DisableIdempotentWrite(), kgo.RequiredAcks(acks))
		must(producer.ProduceSync(ctx, &kgo.Record{Topic: topic, Value: []byte("acks")}).FirstErr(), "acks")
		producer.Close()
	}
	consumer := reader(topic, 1)
	equal(3, len(read(consumer, 3)), "records of every kind of acks")
	consumer.Close()
	remove(topic)
}

func tooLarge() {
	topic := "franz-too-large-" + run
	create(topic, 1, map[string]string{"max.message.bytes": "10000"})
	producer := client(kgo.ProducerBatchCompression(kgo.NoCompression()))
	record := func(length int) *kgo.Record { return &kgo.Record{Topic: topic, Value: make([]byte, length)} }
	refused(kerr.MessageTooLarge, producer.ProduceSync(ctx, record(10_000)).FirstErr(), "10,000 bytes")
	after, err := producer.ProduceSync(ctx, record(9_000)).First()
	must(err, "9,000 bytes")
	equal(int64(0), after.Offset, "offset after a refusal")
	producer.Close()
	remove(topic)
}

func administration() {
	topic := "franz-admin-" + run
	cluster, err := admin.BrokerMetadata(ctx)
	must(err, "the brokers")
	equal(1, len(cluster.Brokers), "brokers")
	create(topic, 2, nil)
	_, err = admin.CreateTopic(ctx, 1, 1, nil, topic)
	refused(kerr.TopicAlreadyExists, err, "created twice")
	_, err = admin.CreateTopic(ctx, 1, 1, nil, "a b")
	refused(kerr.InvalidTopicException, err, "an invalid name")
	_, err = admin.CreateTopic(ctx, 0, 1, nil, topic+"-0")
	refused(kerr.InvalidPartitions, err, "no partitions")
	_, err = admin.CreateTopic(ctx, 1, 5, nil, topic+"-5")
	refused(kerr.InvalidReplicationFactor, err, "five replicas")
	grown, err := admin.UpdatePartitions(ctx, 6, topic)
	must(err, "more partitions")
	must(grown.Error(), "more partitions")
	soon("six partitions", func() error {
		topics, err := admin.ListTopics(ctx, topic)
		if err == nil && len(topics[topic].Partitions) != 6 {
			err = fmt.Errorf("%d", len(topics[topic].Partitions))
		}
		return err
	})
	producer := client()
	for at := range 30 {
		record := &kgo.Record{Topic: topic, Value: []byte("v"), Timestamp: time.UnixMilli(start + int64(at))}
		must(producer.ProduceSync(ctx, record).FirstErr(), "a record")
	}
	producer.Close()
	latest, err := admin.ListMaxTimestampOffsets(ctx, topic)
	must(err, "the highest time")
	highest, _ := latest.Lookup(topic, 0)
	equal(start+29, highest.Timestamp, "the highest time")
	deleteRecords(topic)
	directories, err := admin.DescribeAllLogDirs(ctx, nil)
	must(err, "log directories")
	for _, node := range directories {
		must(node.Error(), "log directories")
		if found := node.Size(); found <= 0 {
			must(fmt.Errorf("%d bytes", found), "log directories")
		}
	}
	remove(topic)
	_, err = admin.DeleteTopic(ctx, topic)
	refused(kerr.UnknownTopicOrPartition, err, "deleted twice")
}

func deleteRecords(topic string) {
	offsets := kadm.Offsets{}
	offsets.Add(kadm.Offset{Topic: topic, Partition: 0, At: 12})
	deleted, err := admin.DeleteRecords(ctx, offsets)
	must(err, "delete records")
	must(deleted.Error(), "delete records")
	got, _ := deleted.Lookup(topic, 0)
	equal(int64(12), got.LowWatermark, "low watermark")
	starts, err := admin.ListStartOffsets(ctx, topic)
	must(err, "the starts")
	first, _ := starts.Lookup(topic, 0)
	equal(int64(12), first.Offset, "the start")
}

func configs() {
	topic := "franz-configs-" + run
	create(topic, 1, map[string]string{"segment.bytes": "1048576"})
	value := func(key string) string {
		described, err := admin.DescribeTopicConfigs(ctx, topic)
		must(err, "describe configs")
		one, err := described.On(topic, nil)
		must(err, "describe configs")
		must(one.Err, "describe configs")
		for _, config := range one.Configs {
			if config.Key == key {
				return config.MaybeValue()
			}
		}
		return "nothing"
	}
	wanted := func(key, want string) {
		soon(key, func() error {
			if got := value(key); got != want {
				return fmt.Errorf("want %s, got %s", want, got)
			}
			return nil
		})
	}
	equal("1048576", value("segment.bytes"), "segment.bytes")
	alter := func(op kadm.IncrementalOp, key, value string) error {
		altered, err := admin.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Op: op, Name: key, Value: &value}}, topic)
		must(err, "alter configs")
		return altered[0].Err
	}
	must(alter(kadm.SetConfig, "retention.ms", "60000"), "set")
	wanted("retention.ms", "60000")
	must(alter(kadm.DeleteConfig, "retention.ms", ""), "delete")
	wanted("retention.ms", "604800000")
	must(alter(kadm.AppendConfig, "cleanup.policy", "compact"), "append")
	wanted("cleanup.policy", "delete,compact")
	refused(kerr.InvalidConfig, alter(kadm.SetConfig, "retention.ms", "soon"), "no number")
	must(alter(kadm.SetConfig, "retention.ms", "60000"), "set")
	keep := "70000"
	_, err := admin.AlterTopicConfigsState(ctx, []kadm.AlterConfig{{Name: "retention.ms", Value: &keep}}, topic)
	must(err, "alter all configs")
	wanted("retention.ms", "70000")
	wanted("segment.bytes", "1073741824")
	remove(topic)
}

// churn deletes and creates a topic under load; its neighbour loses nothing.
func churn() {
	churned, steady := "franz-churned-"+run, "franz-steady-"+run
	create(churned, 2, nil)
	create(steady, 1, nil)
	stop, cancel := context.WithCancel(ctx)
	var hits atomic.Int64
	sent := make(chan int)
	quiet := make(chan struct{}) // closed when nobody writes to the churned topic any more
	go func() {
		producer := client()
		at := 0
		for ; stop.Err() == nil; at++ {
			record, err := producer.ProduceSync(ctx, &kgo.Record{Topic: steady, Value: fmt.Appendf(nil, "s%d", at)}).First()
			must(err, "a record of the neighbour")
			equal(int64(at), record.Offset, "offset of the neighbour")
		}
		producer.Close()
		sent <- at
	}()
	go func() {
		defer close(quiet)
		for stop.Err() == nil {
			producer := client(kgo.RecordDeliveryTimeout(time.Second), kgo.UnknownTopicRetries(3))
			for at := 0; at < 50 && stop.Err() == nil; at++ {
				within, done := context.WithTimeout(ctx, 2*time.Second)
				record := &kgo.Record{Topic: churned, Partition: int32(at % 2), Value: make([]byte, 500)}
				err := producer.ProduceSync(within, record).FirstErr()
				done()
				if err != nil {
					break // Refusals are this topic's lot; this client may stick to the topic that is gone.
				}
				hits.Add(1)
			}
			producer.Close()
		}
	}()
	for turn := range 6 {
		before := hits.Load()
		soon("records reach the topic", func() error {
			if hits.Load() == before {
				return fmt.Errorf("none in turn %d", turn)
			}
			return nil
		})
		remove(churned)
		if _, err := admin.CreateTopic(ctx, 2, 1, nil, churned); err != nil {
			refused(kerr.TopicAlreadyExists, err, "created again")
		}
	}
	cancel()
	count := <-sent
	consumer := reader(steady, 1)
	for at, record := range read(consumer, count) {
		equal(fmt.Sprintf("s%d", at), string(record.Value), "a record of the neighbour")
	}
	consumer.Close()
	<-quiet
	fresh(churned)
	remove(churned)
	remove(steady)
}

// fresh: a topic that is created again begins at offset 0, and shows nothing of the one before.
func fresh(topic string) {
	remove(topic)
	soon("the topic is gone", func() error {
		topics, err := admin.ListTopics(ctx, topic)
		if err == nil && topics[topic].Err == nil {
			err = errors.New("it is there")
		}
		return err
	})
	create(topic, 1, nil)
	ends, err := admin.ListEndOffsets(ctx, topic)
	must(err, "the end of a topic created again")
	end, _ := ends.Lookup(topic, 0)
	equal(int64(0), end.Offset, "the end of a topic created again")
	producer := client()
	record, err := producer.ProduceSync(ctx, &kgo.Record{Topic: topic, Value: []byte("new")}).First()
	must(err, "its first record")
	equal(int64(0), record.Offset, "its first offset")
	producer.Close()
	consumer := reader(topic, 1)
	equal("new", string(read(consumer, 1)[0].Value), "its first record")
	consumer.Close()
}
