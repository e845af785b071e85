package main

import (
	"fmt"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Keeping is what a topic keeps of each of its partitions.
type Keeping struct {
	topic        string
	partitions   int
	segmentBytes int64
	bytes        int64         // at least; 0: none for their number
	age          time.Duration // at least, if not 0
}

func (k Keeping) configs() map[string]string {
	configs := map[string]string{"segment.bytes": strconv.FormatInt(k.segmentBytes, 10)}
	if k.bytes > 0 {
		configs["retention.bytes"] = strconv.FormatInt(k.bytes, 10)
	}
	if k.age > 0 {
		configs["retention.ms"] = strconv.FormatInt(k.age.Milliseconds(), 10)
	}
	return configs
}

func (k Keeping) places() (places []Place) {
	for at := range k.partitions {
		places = append(places, Place{k.topic, int32(at)})
	}
	return places
}

// atRest is what stays if nobody writes: less than a segment more than is kept; nothing that only its age kept.
func (k Keeping) atRest() int64 {
	if k.bytes == 0 {
		return 0
	}
	return int64(k.partitions) * (k.bytes + k.segmentBytes)
}

// readKept reads a partition from its start to the end that is known now, and says where it started. Retention may
// overtake the reader: it goes on at the new start.
func (r *Run) readKept(topic Keeping, place Place) (start int64, err error) {
	wire, err := Dial(r.broker.address)
	if err != nil {
		return 0, err
	}
	defer wire.Close()
	end := int64(-1)
	for position := int64(-1); ; {
		var promised int64
		r.load.With(func(c *Checker) { promised = c.Known(place) })
		starts, ends, err := wire.Bounds(place.Topic, topic.partitions)
		if err != nil {
			return 0, fmt.Errorf("the bounds of %s: %w", place.Topic, err)
		}
		start = starts[place.Partition]
		if end < 0 {
			end = ends[place.Partition]
		}
		var session *Session
		r.load.With(func(c *Checker) {
			c.Starts(place, start)
			c.Ends(place, promised, ends[place.Partition])
			session = c.Reader(place, start, "a reader")
		})
		if start <= position {
			r.load.fail("%v: a reader was told that offset %d is out of range, though the log starts at %d", place, position, start)
			return start, nil
		}
		bytes, isOvertaken, err := r.readOn(wire, session, end)
		if err != nil {
			return 0, err
		}
		if !isOvertaken {
			// Who was overtaken has not seen what came after its end.
			if position < 0 && start > 0 && bytes < topic.bytes {
				r.load.fail("%v: %d bytes are left from offset %d to %d, of at least %d", place, bytes, start, end, topic.bytes)
			}
			return start, nil
		}
		r.count("readers overtaken", 1)
		position = session.Next()
	}
}

// readOn reads from where the session is to the end, and says how many bytes that was in the log.
func (r *Run) readOn(wire *Wire, session *Session, end int64) (bytes int64, isOvertaken bool, err error) {
	place := session.place
	for until := time.Now().Add(r.ready); session.Next() < end; {
		if time.Now().After(until) {
			return 0, false, fmt.Errorf("%v could not be read to offset %d within %v; the next was %d", place, end, r.ready, session.Next())
		}
		got, err := wire.Fetch(place, session.Next(), r.ready)
		if err != nil {
			return 0, false, fmt.Errorf("%v: a fetch: %w", place, err)
		}
		switch refused := code(got.ErrorCode); {
		case refused == kerr.OffsetOutOfRange:
			return 0, true, nil
		case refused != nil:
			return 0, false, fmt.Errorf("%v: a fetch: %w", place, refused)
		}
		bytes += int64(len(got.RecordBatches))
		options := kgo.ProcessFetchPartitionOpts{Offset: session.Next(), Topic: place.Topic, Partition: place.Partition}
		read, _ := kgo.ProcessFetchPartition(options, got, kgo.DefaultDecompressor(), nil)
		if read.Err != nil {
			return 0, false, fmt.Errorf("%v: what was fetched: %w", place, read.Err)
		}
		r.load.With(func(c *Checker) {
			c.Starts(place, got.LogStartOffset)
			c.Watermark(session, got.HighWatermark)
		})
		for _, record := range read.Records {
			r.load.saw(session, record)
		}
	}
	return bytes, false, nil
}
