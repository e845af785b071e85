package main

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"
)

// retained are the topics: the one keeps so many bytes of each partition, the other one what is young.
var retained = []Keeping{
	{topic: "by-size", partitions: 6, segmentBytes: 1 << 20, bytes: 8 << 20},
	{topic: "by-age", partitions: 2, segmentBytes: 1 << 20, age: 300 * time.Millisecond},
}

const (
	// retentionLook is how often the broker looks at what may go.
	retentionLook = 250 * time.Millisecond
	// turnoverBytes are acknowledged in each cycle: several times what may be left of them.
	turnoverBytes = 256 << 20
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
	for r.goesOn() && len(r.load.violations()) == 0 {
		if err := r.turnOver(watch); err != nil {
			return err
		}
		r.turned(r.load.acked())
	}
	err = r.emptied(watch)
	watch.tell(r.Tally)
	return err
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

// turnOver is a cycle: much comes and as much goes, beside readers; then a SIGKILL, and all that is left is read.
func (r *Run) turnOver(watch *Watch) error {
	before, err := r.starts()
	if err != nil {
		return err
	}
	looks := watch.looked()
	if err := r.readBeside(r.load.bytes() + turnoverBytes); err != nil {
		return err
	}
	r.sleep(0, 2*retentionLook)
	if err := watch.await(looks+looksMin, r.ready); err != nil {
		return err
	}
	watch.Gone()
	r.broker.kill()
	if r.random.Intn(4) == 0 { // Die again while recovering.
		if err := r.broker.start(); err != nil {
			return err
		}
		r.sleep(0, 80*time.Millisecond)
		r.broker.kill()
	}
	if err := r.restart(); err != nil {
		return err
	}
	watch.Back()
	looks = watch.looked()
	if err := r.load.settle(r.ready, r.broker.ended); err != nil {
		return err
	}
	for _, topic := range retained {
		for _, place := range topic.places() {
			start, err := r.readKept(topic, place)
			if err != nil {
				return err
			}
			if start <= before[place] {
				return fmt.Errorf("%v still starts at %d, %d MiB later: nothing was deleted", place, start, turnoverBytes>>20)
			}
		}
	}
	return watch.await(looks+looksMin, r.ready)
}

// readBeside reads one partition after the other until so many bytes are acknowledged.
func (r *Run) readBeside(bytes int64) error {
	until := time.Now().Add(r.ready)
	for {
		for _, topic := range retained {
			for _, place := range topic.places() {
				if r.load.bytes() >= bytes {
					return nil
				}
				if time.Now().After(until) {
					return fmt.Errorf("producers were to send %d MiB more within %v", (bytes-r.load.bytes())>>20, r.ready)
				}
				if _, err := r.readKept(topic, place); err != nil {
					return err
				}
			}
		}
	}
}

// emptied is what must be when nobody writes any more: the logs shrink to what their configuration keeps, and that is
// there. It shows nothing unless much more had been there.
func (r *Run) emptied(watch *Watch) error {
	r.load.Stop()
	if err := watch.awaitRest(r.ready); err != nil {
		return err
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
	if written, allowed := r.load.bytes(), watch.allowedMost(); written < 2*allowed {
		return fmt.Errorf("%d MiB were written where up to %d may stay: this shows nothing", written>>20, allowed>>20)
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
