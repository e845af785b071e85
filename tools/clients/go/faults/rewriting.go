package main

import (
	"context"
	"fmt"
	"hash/fnv"
	"math/rand"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	writersPerTopic = 2
	keysPerWriter   = 150 // that are overwritten and deleted in turn, in each partition
	writerWindow    = 200 // records unanswered at once
	markerKey       = "marker"
	versionHeader   = "version" // of a marker of a deleted key: it has no value that could say it
)

// Rewriting is who writes the same keys of compacted topics again and again, and who reads what is left.
type Rewriting struct {
	load    *Load // whose clients it uses; nothing is told to its checker
	mutex   sync.Mutex
	latest  *Latest
	retired atomic.Int64 // keys of each writer below it are deleted for good
}

// With runs a step on what is known, alone.
func (r *Rewriting) With(step func(*Latest)) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	step(r.latest)
}

// keyed is a value that belongs to one version of one key.
func keyed(key string, version, length int) []byte {
	return value(ID{nameOf(key), uint64(version)}, length)
}

func nameOf(key string) uint32 {
	hash := fnv.New32a()
	hash.Write([]byte(key)) // It never fails.
	return hash.Sum32()
}

// Write runs a writer until the load stops: idempotent, each record until it is answered.
func (r *Rewriting) Write(topic string, partitions int32, writer int, seed int64, codec kgo.CompressionCodec) error {
	client, err := kgo.NewClient(r.load.options(
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.RecordRetries(1_000_000),
		kgo.UnknownTopicRetries(-1),
		kgo.ProducerLinger(2*time.Millisecond),
		kgo.ProducerBatchCompression(codec),
	)...)
	if err != nil {
		return err
	}
	r.load.writers.Add(1)
	go func() {
		defer r.load.writers.Done()
		defer client.Close()
		r.write(client, topic, partitions, writer, rand.New(rand.NewSource(seed)))
	}()
	return nil
}

func (r *Rewriting) write(client *kgo.Client, topic string, partitions int32, writer int, random *rand.Rand) {
	tickets := make(chan struct{}, writerWindow)
	send := func(partition int32, number int64, isTombstone bool) {
		tickets <- struct{}{}
		key := fmt.Sprintf("%d-%d", writer, number)
		r.send(client, Place{topic, partition}, key, isTombstone, 100+random.Intn(1_400), func() { <-tickets })
	}
	for retired := int64(0); ; {
		select {
		case <-r.load.stop:
			for range writerWindow { // Until all are answered.
				tickets <- struct{}{}
			}
			return
		case <-r.load.context.Done():
			return
		default:
		}
		for ; retired < r.retired.Load(); retired++ {
			for partition := range partitions {
				send(partition, retired, true)
			}
		}
		send(random.Int31n(partitions), retired+random.Int63n(keysPerWriter), random.Intn(5) == 0)
		time.Sleep(time.Millisecond)
	}
}

func (r *Rewriting) send(client *kgo.Client, place Place, key string, isTombstone bool, length int, answered func()) {
	var version int
	r.With(func(l *Latest) { version = l.Sends(place, key, isTombstone) })
	record := &kgo.Record{Topic: place.Topic, Partition: place.Partition, Key: []byte(key)}
	if isTombstone {
		record.Headers = []kgo.RecordHeader{{Key: versionHeader, Value: strconv.AppendInt(nil, int64(version), 10)}}
	} else {
		record.Value = keyed(key, version, length)
	}
	client.Produce(r.load.context, record, func(record *kgo.Record, err error) {
		if err == nil {
			r.With(func(l *Latest) { l.Ack(place, key, version, record.Offset) })
		} else if r.load.context.Err() == nil {
			r.load.fail("%v: version %d of %s was refused: %v", place, version, key, err)
		}
		answered()
	})
}

// Read reads a partition, again while something in it is suspicious, and says how many records and how many offsets
// it had.
func (r *Rewriting) Read(place Place, keepsTombstones bool, limit time.Duration) (records int, end int64, err error) {
	var suspects map[string]int
	for {
		view, err := r.read(place, keepsTombstones, suspects, limit)
		if err != nil {
			return 0, 0, err
		}
		r.With(func(l *Latest) { suspects = l.Ends(view) })
		if len(suspects) == 0 {
			return view.count, view.last + 1, nil
		}
	}
}

// read reads a partition from its first record to one that is written now.
func (r *Rewriting) read(place Place, keepsTombstones bool, suspects map[string]int, limit time.Duration) (view *View, err error) {
	wire, err := Dial(r.load.address)
	if err != nil {
		return nil, err
	}
	defer wire.Close()
	var version int
	r.With(func(l *Latest) {
		view = l.Look(place, keepsTombstones, suspects)
		version = l.Sends(place, markerKey, false)
	})
	end, err := wire.Put(place, []byte(markerKey), keyed(markerKey, version, 0), limit)
	if err != nil {
		return nil, fmt.Errorf("%v: the marker: %w", place, err)
	}
	r.With(func(l *Latest) { l.Ack(place, markerKey, version, end) })
	client, err := r.load.consumer(map[string]map[int32]kgo.Offset{place.Topic: {place.Partition: kgo.NewOffset().AtStart()}})
	if err != nil {
		return nil, err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(r.load.context, limit)
	defer cancel()
	for view.last < end {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("%v could not be read to offset %d within %v; the last was %d", place, end, limit, view.last)
		}
		fetches := client.PollFetches(ctx)
		r.load.noteErrors("a reader", fetches)
		fetches.EachRecord(func(record *kgo.Record) {
			if view.last < end {
				r.saw(view, record)
			}
		})
	}
	return view, nil
}

func (r *Rewriting) saw(view *View, record *kgo.Record) {
	key, version, isTombstone := string(record.Key), -1, record.Value == nil
	if isTombstone {
		for _, header := range record.Headers {
			if number, err := strconv.Atoi(string(header.Value)); err == nil && header.Key == versionHeader {
				version = number
			}
		}
	} else if id, err := identify(record.Value); err == nil && id.Producer == nameOf(key) {
		version = int(id.Seq)
	}
	r.With(func(l *Latest) { l.Saw(view, record.Offset, key, version, isTombstone) })
}
