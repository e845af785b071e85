package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

const headBytes = 20 // producer, seq, length of the whole value, salt

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
}

func NewLoad(address string, checker *Checker) *Load {
	ctx, cancel := context.WithCancel(context.Background())
	return &Load{address: address, checker: checker, stop: make(chan struct{}), context: ctx, halt: cancel}
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
	if stream.idempotent {
		l.With(func(c *Checker) { c.Idempotent(stream.producer) })
	}
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
		case tickets <- struct{}{}:
		}
		partition := int32(turn) % stream.partitions
		id := ID{Producer: stream.producer, Seq: next[partition]}
		next[partition]++
		record := &kgo.Record{Topic: stream.topic, Partition: partition, Value: value(id, stream.length(id.Seq))}
		if id.Seq%3 == 0 {
			record.Key = fmt.Appendf(nil, "key %d", id.Seq)
			record.Headers = []kgo.RecordHeader{{Key: "producer", Value: fmt.Append(nil, id.Producer)}}
		}
		client.Produce(context.Background(), record, func(record *kgo.Record, err error) {
			if err != nil {
				l.fail("%s/%d: %v was refused: %v", record.Topic, record.Partition, id, err)
			} else {
				l.With(func(c *Checker) { c.Ack(Place{record.Topic, record.Partition}, record.Offset, id) })
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

func (l *Load) saw(session *Session, record *kgo.Record) {
	id, err := identify(record.Value)
	if err != nil {
		l.fail("%s/%d offset %d: %v", record.Topic, record.Partition, record.Offset, err)
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
	for at := range partitions {
		if ends[at] < promised[at] {
			l.fail("%s/%d: ends at %d, though offsets below %d were acknowledged or read", topic, at, ends[at], promised[at])
		}
	}
	sessions := map[int32]*Session{}
	from := map[int32]kgo.Offset{}
	l.With(func(c *Checker) {
		for at := range partitions {
			place := Place{topic, int32(at)}
			c.Starts(place, starts[at])
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

// Halt ends the readers.
func (l *Load) Halt() {
	l.halt()
	l.readers.Wait()
}
