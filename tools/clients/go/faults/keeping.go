package main

import (
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

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
