package main

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
)

// retained are the topics: the one keeps so many bytes of each partition, the other one what is young.
var retained = []Keeping{
	{topic: "by-size", partitions: 4, segmentBytes: 1 << 20, bytes: 4 << 20},
	{topic: "by-age", partitions: 2, segmentBytes: 1 << 20, age: 300 * time.Millisecond},
}

const (
	// retentionLook is how often the broker looks at what may go.
	retentionLook = 250 * time.Millisecond
	// looksMin is how often the logs' size must have been looked at in a cycle, before and after its SIGKILL.
	looksMin = 3
)

// retain is producers at full speed, whose oldest records go as fast as new ones come. The broker's own command
// watches what its logs take, and their files are measured: that must stay below what configuration and speed allow,
// also after a SIGKILL, while what is left is whole and no log start goes back.
func retain(r *Run) error {
	// One core: what is written between two checkpoints, and the journal, are each core's.
	settings := []string{"--set", "odradek.cores=1", "--set", fmt.Sprintf("log.retention.check.interval.ms=%d", retentionLook.Milliseconds())}
	r.command = slices.Insert(slices.Clone(r.command), 2, settings...) // The last one holds: who gives the command may know better.
	if err := r.first(); err != nil {
		return err
	}
	if err := r.fill(); err != nil {
		return err
	}
	watch, err := NewWatch(r.broker, r.ground.Data(), r.load)
	if err != nil {
		return err
	}
	defer watch.End()
	defer watch.tell(r.Tally)
	mark := Mark{starts: map[Place]int64{}}
	for r.goesOn() && len(r.load.violations()) == 0 {
		if mark, err = r.turnOver(watch, mark); err != nil {
			return err
		}
		r.turned(r.load.acked())
	}
	return r.emptied(watch)
}

// fill makes the topics and begins to write to them.
func (r *Run) fill() error {
	r.checker = NewChecker()
	r.load = NewLoad(r.broker.address, r.checker)
	r.changes = NewChanges(r.load, r.seed)
	wire, err := Dial(r.broker.address)
	if err != nil {
		return err
	}
	defer wire.Close()
	if err := wire.Create("probe", 1, nil); err != nil {
		return fmt.Errorf("creating probe: %w", err)
	}
	for at, topic := range retained {
		if err := wire.Create(topic.topic, topic.partitions, topic.configs()); err != nil {
			return fmt.Errorf("creating %s: %w", topic.topic, err)
		}
		r.load.With(func(c *Checker) {
			for _, place := range topic.places() {
				c.Cut(place, math.MaxInt64, false) // Retention may have any of it deleted, and need not.
			}
		})
		for writer := range retainWriters {
			stream := Stream{producer: uint32(at*retainWriters + writer + 1), topic: topic.topic, partitions: int32(topic.partitions),
				length: retainLength, window: retainWindow, idempotent: true}
			if err := r.load.Produce(stream); err != nil {
				return err
			}
		}
	}
	return nil
}

// What each topic is sent, as fast as it is answered.
const (
	retainWriters   = 2
	retainWindow    = 64
	retainLengthMax = 32 << 10
)

func retainLength(seq uint64) int { return int(4<<10 + seq*7919%(retainLengthMax-4<<10)) }

// Mark is how far a cycle came before its SIGKILL.
type Mark struct {
	bytes  int64
	starts map[Place]int64
}

// turnOver is a cycle: much comes and as much goes, beside readers; then a SIGKILL, and all that is left is read.
func (r *Run) turnOver(watch *Watch, last Mark) (mark Mark, err error) {
	// More than may be there: without a deletion the watch finds it.
	enough := func() int64 { return last.bytes + watch.allowed() }
	if err := r.readBeside(enough); err != nil {
		return mark, err
	}
	r.sleep(0, 2*retentionLook)
	looks := watch.looked()
	if err := watch.await(looks+looksMin, r.ready); err != nil {
		return mark, err
	}
	mark.bytes = r.load.bytes()
	if mark.starts, err = r.starts(); err != nil {
		return mark, err
	}
	for place, start := range mark.starts {
		if start <= last.starts[place] {
			return mark, fmt.Errorf("%v still starts at %d, %d MiB later: nothing was deleted", place, start, (mark.bytes-last.bytes)>>20)
		}
	}
	if err := r.dieAndLive(watch); err != nil {
		return mark, err
	}
	looks = watch.looked()
	if err := r.load.settle(r.ready, r.broker.ended); err != nil {
		return mark, err
	}
	for _, topic := range retained {
		for _, place := range topic.places() {
			if _, err := r.readKept(topic, place); err != nil {
				return mark, err
			}
		}
	}
	return mark, watch.await(looks+looksMin, r.ready)
}

// dieAndLive is a life of the broker that ends, and the next one, as the watch sees them.
func (r *Run) dieAndLive(watch *Watch) error {
	watch.Gone()
	if err := r.die(80 * time.Millisecond); err != nil {
		return err
	}
	if err := r.restart(); err != nil {
		return err
	}
	watch.Back()
	return nil
}

// readBeside waits until enough bytes are acknowledged, and reads a partition of each topic.
func (r *Run) readBeside(enough func() int64) error {
	err := await(r.ready, r.broker.ended, func() string {
		if left := enough() - r.load.bytes(); left > 0 {
			return fmt.Sprintf("producers are to send %d MiB more", left>>20)
		}
		return ""
	})
	if err != nil {
		return err
	}
	for _, topic := range retained {
		place := Place{topic.topic, int32(r.random.Intn(topic.partitions))}
		if _, err := r.readKept(topic, place); err != nil {
			return err
		}
	}
	return nil
}

// emptied is what must be when nobody writes any more: the logs shrink to what their configuration keeps, and that is
// there.
func (r *Run) emptied(watch *Watch) error {
	r.load.Stop()
	if err := watch.awaitRest(r.ready); err != nil {
		return err
	}
	// A file without a name takes its space for as long as it is open.
	if bytes, err := r.broker.namelessBytes(); err != nil {
		return err
	} else if bytes > restBytes {
		return fmt.Errorf("the broker holds %d bytes of deleted files open", bytes)
	}
	for _, topic := range retained {
		for _, place := range topic.places() {
			start, err := r.readKept(topic, place)
			if err != nil {
				return err
			}
			r.load.With(func(c *Checker) { c.producers(place, start, c.at(place)) })
		}
	}
	if len(r.load.violations()) > 0 {
		return errors.New("the broker broke a promise")
	}
	return nil
}

// starts is where the partitions start.
func (r *Run) starts() (map[Place]int64, error) {
	wire, err := Dial(r.broker.address)
	if err != nil {
		return nil, err
	}
	defer wire.Close()
	found := map[Place]int64{}
	for _, topic := range retained {
		starts, _, err := wire.Bounds(topic.topic, topic.partitions)
		if err != nil {
			return nil, fmt.Errorf("the bounds of %s: %w", topic.topic, err)
		}
		for at, start := range starts {
			place := Place{topic.topic, int32(at)}
			found[place] = start
			r.load.With(func(c *Checker) { c.Starts(place, start) })
		}
	}
	return found, nil
}
