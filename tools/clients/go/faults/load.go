package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	headBytes = 20 // producer, seq, length of the whole value, salt
	// framingBytesMax is what a record takes besides its value: a batch of its own, a key and a header.
	framingBytesMax = 128
)

// value is the one value that this record can have: every byte follows from its name.
func value(id ID, length int) []byte {
	length = max(length, headBytes)
	bytes := make([]byte, length)
	binary.BigEndian.PutUint32(bytes, id.Producer)
	binary.BigEndian.PutUint64(bytes[4:], id.Seq)
	binary.BigEndian.PutUint32(bytes[12:], uint32(length))
	state := uint64(id.Producer)<<40 ^ id.Seq
	for at := 16; at < length; at += 8 {
		// splitmix64
		state += 0x9e3779b97f4a7c15
		mixed := (state ^ state>>30) * 0xbf58476d1ce4e5b9
		mixed = (mixed ^ mixed>>27) * 0x94d049bb133111eb
		var word [8]byte
		binary.BigEndian.PutUint64(word[:], mixed^mixed>>31)
		copy(bytes[at:], word[:])
	}
	return bytes
}

// identify takes a value apart, and says whether any byte of it is not what was sent.
func identify(bytes []byte) (ID, error) {
	if len(bytes) < headBytes {
		return ID{}, fmt.Errorf("a value of %d bytes that nobody sent", len(bytes))
	}
	id := ID{Producer: binary.BigEndian.Uint32(bytes), Seq: binary.BigEndian.Uint64(bytes[4:])}
	if want := value(id, len(bytes)); string(want) != string(bytes) || binary.BigEndian.Uint32(bytes[12:]) != uint32(len(bytes)) {
		return id, fmt.Errorf("the bytes of %v are not those that were sent", id)
	}
	return id, nil
}

func hashOf(record *kgo.Record) uint64 {
	hash := fnv.New64a()
	hash.Write(record.Key)
	hash.Write(record.Value)
	fmt.Fprint(hash, record.Timestamp.UnixMilli(), record.Headers, record.Attrs, record.ProducerID, record.ProducerEpoch)
	return hash.Sum64() | 1
}

// Load is everything that runs while the broker lives and dies: producers and readers, and what they learned.
type Load struct {
	address string
	mutex   sync.Mutex
	checker *Checker
	errors  []string
	stop    chan struct{}
	halt    context.CancelFunc
	context context.Context
	writers sync.WaitGroup
	readers sync.WaitGroup
	// How many records of each producer were acknowledged in each partition.
	answered map[Lane]int
	follower map[Place]*Session
	probed   uint64
	// What acknowledged records take in logs, at most.
	bytesAcked int64
}

// Lane is one producer's way to one partition.
type Lane struct {
	Place
	producer uint32
}

func NewLoad(address string, checker *Checker) *Load {
	ctx, cancel := context.WithCancel(context.Background())
	return &Load{address: address, checker: checker, stop: make(chan struct{}), context: ctx, halt: cancel,
		answered: map[Lane]int{}, follower: map[Place]*Session{}}
}

func (l *Load) fail(format string, arguments ...any) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if len(l.errors) < 50 {
		l.errors = append(l.errors, fmt.Sprintf(format, arguments...))
	}
}

// With runs a step on the checker, alone.
func (l *Load) With(step func(*Checker)) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	step(l.checker)
}

// Stream is one producer: its records, how many may be unanswered, and how it sends them.
type Stream struct {
	producer   uint32
	topic      string
	partitions int32
	length     func(seq uint64) int
	window     int           // records unanswered at once
	pause      time.Duration // between two records
	idempotent bool
	options    []kgo.Opt
}

func (l *Load) options(more ...kgo.Opt) []kgo.Opt {
	return append([]kgo.Opt{
		kgo.SeedBrokers(l.address),
		kgo.RetryBackoffFn(func(int) time.Duration { return 20 * time.Millisecond }),
		kgo.MetadataMinAge(50 * time.Millisecond),
		kgo.DialTimeout(2 * time.Second),
		kgo.RequestRetries(1_000_000),
	}, more...)
}

// Produce runs a stream until Stop: each record is sent until it is answered.
func (l *Load) Produce(stream Stream) error {
	options := l.options(
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.RecordRetries(1_000_000),
		kgo.UnknownTopicRetries(-1),
		kgo.ProducerLinger(0),
		kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.ProducerBatchMaxBytes(1_000_000),
		kgo.ProducerOnDataLossDetected(func(topic string, partition int32) {
			l.fail("%s/%d: the broker forgot the sequence of producer %d", topic, partition, stream.producer)
		}),
	)
	if !stream.idempotent {
		options = append(options, kgo.DisableIdempotentWrite(), kgo.MaxProduceRequestsInflightPerBroker(1))
	}
	client, err := kgo.NewClient(append(options, stream.options...)...)
	if err != nil {
		return err
	}
	l.With(func(c *Checker) {
		if stream.idempotent {
			c.Idempotent(stream.producer)
		}
		for at := range stream.partitions {
			l.answered[Lane{Place{stream.topic, at}, stream.producer}] = 0
		}
	})
	l.writers.Add(1)
	go func() {
		defer l.writers.Done()
		defer client.Close()
		l.send(client, stream)
	}()
	return nil
}

func (l *Load) send(client *kgo.Client, stream Stream) {
	tickets := make(chan struct{}, stream.window)
	next := make([]uint64, stream.partitions)
	for turn := 0; ; turn++ {
		select {
		case <-l.stop:
			for held := 0; held < stream.window; held++ { // Until all are answered.
				tickets <- struct{}{}
			}
			return
		case <-l.context.Done():
			return
		case tickets <- struct{}{}:
		}
		partition := int32(turn) % stream.partitions
		id := ID{Producer: stream.producer, Seq: next[partition]}
		place := Place{stream.topic, partition}
		l.With(func(c *Checker) { c.Sent(place, id) })
		next[partition]++
		record := &kgo.Record{Topic: stream.topic, Partition: partition, Value: value(id, stream.length(id.Seq))}
		if id.Seq%3 == 0 {
			record.Key = fmt.Appendf(nil, "key %d", id.Seq)
			record.Headers = []kgo.RecordHeader{{Key: "producer", Value: fmt.Append(nil, id.Producer)}}
		}
		client.Produce(l.context, record, func(record *kgo.Record, err error) {
			if err != nil && l.context.Err() == nil {
				l.fail("%s/%d: %v was refused: %v", record.Topic, record.Partition, id, err)
			} else if err == nil {
				l.With(func(c *Checker) {
					c.Ack(place, record.Offset, id)
					l.answered[Lane{place, id.Producer}]++
					l.bytesAcked += int64(len(record.Value)) + framingBytesMax
				})
			}
			<-tickets
		})
		time.Sleep(stream.pause)
	}
}

// Follow runs a reader of all partitions from offset 0 on, through every crash, until Halt.
func (l *Load) Follow(topic string, partitions int32) error {
	sessions := map[int32]*Session{}
	from := map[int32]kgo.Offset{}
	for at := int32(0); at < partitions; at++ {
		from[at] = kgo.NewOffset().At(0)
		sessions[at] = l.checker.Reader(Place{topic, at}, 0, "the follower")
		l.With(func(*Checker) { l.follower[Place{topic, at}] = sessions[at] })
	}
	client, err := l.consumer(map[string]map[int32]kgo.Offset{topic: from})
	if err != nil {
		return err
	}
	l.readers.Add(1)
	go func() {
		defer l.readers.Done()
		defer client.Close()
		for l.context.Err() == nil {
			fetches := client.PollFetches(l.context)
			l.noteErrors("the follower", fetches)
			l.watermarks(sessions, fetches)
			fetches.EachRecord(func(record *kgo.Record) { l.saw(sessions[record.Partition], record) })
		}
	}()
	return nil
}

func (l *Load) consumer(from map[string]map[int32]kgo.Offset) (*kgo.Client, error) {
	return kgo.NewClient(l.options(
		kgo.ConsumePartitions(from),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.FetchMaxWait(100*time.Millisecond),
	)...)
}

func (l *Load) noteErrors(reader string, fetches kgo.Fetches) {
	fetches.EachError(func(topic string, partition int32, err error) {
		if l.context.Err() == nil && !errors.Is(err, context.DeadlineExceeded) && !kerr.IsRetriable(err) {
			l.fail("%s/%d: %s was told: %v", topic, partition, reader, err)
		}
	})
}

func (l *Load) watermarks(sessions map[int32]*Session, fetches kgo.Fetches) {
	fetches.EachPartition(func(it kgo.FetchTopicPartition) {
		if it.Err == nil {
			l.With(func(c *Checker) { c.Watermark(sessions[it.Partition], it.HighWatermark) })
		}
	})
}

func (l *Load) saw(session *Session, record *kgo.Record) {
	id, err := identify(record.Value)
	if err != nil {
		l.With(func(c *Checker) { c.Corrupt(session.place, record.Offset, err) })
	}
	hash := hashOf(record)
	l.With(func(c *Checker) { c.Saw(session, record.Offset, id, hash) })
}

// Read reads the partitions once, from their starts (or the last `tail` records) to the ends known now.
// With whole, nobody writes any more: everything promised must be there.
func (l *Load) Read(topic string, partitions int, tail int64, whole bool) error {
	wire, err := Dial(l.address)
	if err != nil {
		return err
	}
	defer wire.Close()
	promised := make([]int64, partitions)
	l.With(func(c *Checker) {
		for at := range partitions {
			promised[at] = c.Known(Place{topic, int32(at)})
		}
	})
	starts, ends, err := wire.Bounds(topic, partitions)
	if err != nil {
		return fmt.Errorf("the bounds of %s: %w", topic, err)
	}
	sessions := map[int32]*Session{}
	from := map[int32]kgo.Offset{}
	l.With(func(c *Checker) {
		for at := range partitions {
			place := Place{topic, int32(at)}
			c.Starts(place, starts[at])
			c.Ends(place, promised[at], ends[at])
			first := max(starts[at], ends[at]-tail)
			sessions[int32(at)] = c.Reader(place, first, "a new reader")
			if first < ends[at] {
				from[int32(at)] = kgo.NewOffset().At(first)
			}
		}
	})
	if err := l.readTo(topic, from, sessions, ends); err != nil {
		return err
	}
	l.With(func(c *Checker) {
		for at := range partitions {
			if whole {
				c.Whole(Place{topic, int32(at)}, starts[at], sessions[int32(at)])
			}
		}
	})
	return nil
}

func (l *Load) readTo(topic string, from map[int32]kgo.Offset, sessions map[int32]*Session, ends []int64) error {
	if len(from) == 0 {
		return nil
	}
	client, err := l.consumer(map[string]map[int32]kgo.Offset{topic: from})
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(l.context, 60*time.Second)
	defer cancel()
	for {
		open := 0
		for partition := range from {
			if sessions[partition].Next() < ends[partition] {
				open++
			}
		}
		if open == 0 {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%s: %d partitions could not be read to their ends within a minute", topic, open)
		}
		fetches := client.PollFetches(ctx)
		l.noteErrors("a new reader", fetches)
		l.watermarks(sessions, fetches)
		fetches.EachRecord(func(record *kgo.Record) {
			if record.Offset < ends[record.Partition] {
				l.saw(sessions[record.Partition], record)
			}
		})
	}
}

// Stop ends the producers: each waits for its last answers.
func (l *Load) Stop() {
	close(l.stop)
	l.writers.Wait()
}

// CatchUp waits until the followers have read all that is promised.
func (l *Load) CatchUp(limit time.Duration) error {
	return l.until(limit, nil, func(c *Checker) string {
		for place, session := range l.follower {
			if session.Next() < c.Known(place) {
				return fmt.Sprintf("%v: the follower is at offset %d of %d", place, session.Next(), c.Known(place))
			}
		}
		return ""
	})
}

// settle waits until every producer has an answer, given since now, from each of its partitions.
func (l *Load) settle(limit time.Duration, ended <-chan struct{}) error {
	if err := l.probe(limit, ended); err != nil {
		return err
	}
	before := map[Lane]int{}
	l.With(func(*Checker) { maps.Copy(before, l.answered) })
	return l.until(limit, ended, func(*Checker) string {
		for lane, count := range before {
			if l.answered[lane] == count {
				return fmt.Sprintf("%v takes nothing from producer %d", lane.Place, lane.producer)
			}
		}
		return ""
	})
}

// until waits for a condition that says what is missing.
func (l *Load) until(limit time.Duration, ended <-chan struct{}, missing func(*Checker) string) error {
	return await(limit, ended, func() (what string) {
		l.With(func(c *Checker) { what = missing(c) })
		return what
	})
}

// await waits for a condition that says what is missing.
func await(limit time.Duration, ended <-chan struct{}, missing func() string) error {
	for until := time.Now().Add(limit); ; time.Sleep(2 * time.Millisecond) {
		what := missing()
		if what == "" {
			return nil
		}
		if time.Now().After(until) {
			return fmt.Errorf("%s, %v after the fault was over", what, limit)
		}
		select {
		case <-ended:
			return errors.New("the broker ended by itself; its log says why")
		default:
		}
	}
}

// Abandon ends everything at once: answers do not matter any more.
func (l *Load) Abandon() { l.halt() }

// Halt ends the readers.
func (l *Load) Halt() {
	l.halt()
	l.readers.Wait()
}

// steady are the topics that live through the whole run.
var steady = []struct {
	name       string
	partitions int
	configs    map[string]string
}{
	{"small", 8, map[string]string{"segment.bytes": "1048576", anyTime: forEver}},
	{"bulk", 2, map[string]string{"segment.bytes": "33554432", anyTime: forEver}},
	{"packed", 4, map[string]string{anyTime: forEver}},
	{"cut", 1, map[string]string{anyTime: forEver}},
	{"probe", 1, map[string]string{anyTime: forEver}},
}

// A record may be of any time after the broker's: clocks jump.
const (
	anyTime = "message.timestamp.after.max.ms"
	forEver = "9223372036854775807"
)

func streams() []Stream {
	sizes := func(low, high uint64) func(uint64) int {
		return func(seq uint64) int { return int(low + seq*7919%(high-low)) }
	}
	return []Stream{
		{1, "small", 8, sizes(20, 300), 50, 300 * time.Microsecond, true, nil},
		{2, "small", 8, sizes(20, 2_000), 200, 500 * time.Microsecond, true, nil},
		{3, "small", 8, sizes(20, 300), 20, 500 * time.Microsecond, false, []kgo.Opt{kgo.RequiredAcks(kgo.AllISRAcks())}},
		{4, "small", 8, sizes(20, 5_000), 20, time.Millisecond, false, []kgo.Opt{kgo.RequiredAcks(kgo.LeaderAck())}},
		{5, "bulk", 2, sizes(60_000, 200_000), 8, 4 * time.Millisecond, true, nil},
		{6, "packed", 4, sizes(100, 10_000), 100, time.Millisecond, true, []kgo.Opt{
			kgo.ProducerBatchCompression(kgo.Lz4Compression()), kgo.ProducerLinger(2 * time.Millisecond)}},
		{7, "cut", 1, sizes(20, 300), 20, 2 * time.Millisecond, true, nil},
	}
}

// begin creates the topics and starts everything.
func begin(load *Load, streams []Stream, ready time.Duration, ended <-chan struct{}) error {
	if err := reach(load.address, ready); err != nil {
		return err
	}
	wire, err := Dial(load.address)
	if err != nil {
		return err
	}
	defer wire.Close()
	for _, topic := range steady {
		if err := wire.Create(topic.name, topic.partitions, topic.configs); err != nil {
			return fmt.Errorf("creating %s: %w", topic.name, err)
		}
	}
	for _, topic := range steady {
		for until := time.Now().Add(ready); ; time.Sleep(20 * time.Millisecond) {
			if _, _, err := wire.Bounds(topic.name, topic.partitions); err == nil {
				break
			} else if time.Now().After(until) {
				return fmt.Errorf("the bounds of %s: %w", topic.name, err)
			}
		}
	}
	if err := load.probe(ready, ended); err != nil {
		return err
	}
	for _, stream := range streams {
		if err := load.Produce(stream); err != nil {
			return err
		}
	}
	for _, topic := range steady[:3] {
		if err := load.Follow(topic.name, int32(topic.partitions)); err != nil {
			return err
		}
	}
	return nil
}

// reach waits until somebody answers: a listener may be there for a moment only, while the broker starts.
func reach(address string, limit time.Duration) error {
	for until := time.Now().Add(limit); ; time.Sleep(5 * time.Millisecond) {
		wire, err := Dial(address)
		if err == nil {
			err = wire.Versions(time.Second)
			wire.Close()
		}
		if err == nil {
			return nil
		}
		if time.Now().After(until) {
			return fmt.Errorf("the broker does not answer: %w", err)
		}
	}
}

// probe sends one record as soon as anybody answers.
func (l *Load) probe(ready time.Duration, ended <-chan struct{}) error {
	place := Place{"probe", 0}
	var last error
	for until := time.Now().Add(ready); time.Now().Before(until); time.Sleep(time.Millisecond) {
		select {
		case <-ended:
			return errors.New("the broker ended by itself; its log says why")
		default:
		}
		wire, err := Dial(l.address)
		if err != nil {
			last = err
			continue
		}
		id := l.nextProbe()
		offset, err := wire.Produce(place.Topic, place.Partition, value(id, 100), ready)
		wire.Close()
		if err == nil {
			l.With(func(c *Checker) { c.Ack(place, offset, id) })
			return nil
		}
		last = err
	}
	return fmt.Errorf("no acknowledgement within %v: %w", ready, last)
}

// nextProbe names a record that is about to be sent to the topic "probe".
func (l *Load) nextProbe() ID {
	id := ID{Producer: 800, Seq: l.probed}
	l.probed++
	l.With(func(c *Checker) { c.Sent(Place{"probe", 0}, id) })
	return id
}

func (l *Load) acked() (count int) {
	l.With(func(c *Checker) { count = c.Acked })
	return count
}

func (l *Load) bytes() (count int64) {
	l.With(func(*Checker) { count = l.bytesAcked })
	return count
}

func (l *Load) violations() []string {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	all := append([]string{}, l.errors...)
	for _, it := range l.checker.Violations() {
		all = append(all, it.String())
	}
	return all
}
