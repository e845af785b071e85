package main

import (
	"fmt"
	"math/rand"
	"sort"
	"strconv"
	"time"
)

// wish is what a topic is, as far as we were told.
type wish struct {
	exists     bool
	partitions int
	retention  string
	records    int // in partition 0, each acknowledged
	id         [16]byte
}

// Changes makes one change at a time: topics created, deleted, grown, altered, records deleted.
// An answered change must hold for ever; one whose answer the crash ate may hold or not.
type Changes struct {
	load    *Load
	random  *rand.Rand
	topics  map[string]wish
	pending map[string]wish // what the unanswered change of this topic would have made of it
	made    int
	serial  int
	cutAt   int64
}

const names = 12

func NewChanges(load *Load, seed int64) *Changes {
	changes := &Changes{load: load, random: rand.New(rand.NewSource(seed)), topics: map[string]wish{}, pending: map[string]wish{}}
	for at := range names {
		changes.topics[fmt.Sprintf("changing-%d", at)] = wish{}
	}
	return changes
}

// Run makes changes until stop, or until the fate of one is unknown.
func (c *Changes) Run(stop <-chan struct{}) {
	var wire *Wire
	for {
		select {
		case <-stop:
			return
		default:
		}
		if wire == nil {
			var err error
			if wire, err = Dial(c.load.address); err == nil {
				defer wire.Close()
			}
		} else if !c.one(wire) {
			return
		}
		time.Sleep(time.Duration(c.random.Intn(5)) * time.Millisecond)
	}
}

// one makes a change; false: its fate is unknown.
func (c *Changes) one(wire *Wire) bool {
	name := fmt.Sprintf("changing-%d", c.random.Intn(names))
	if _, unknown := c.pending[name]; unknown {
		return true // Until a look has settled it.
	}
	before := c.topics[name]
	after := before
	c.serial++
	var change func() error
	switch kind := c.random.Intn(10); {
	case kind < 2:
		return c.cut(wire)
	case !before.exists:
		after = wish{exists: true, partitions: 1 + c.random.Intn(3), retention: strconv.Itoa(600_000_000 + c.serial)}
		change = func() error {
			return wire.Create(name, after.partitions, map[string]string{"retention.ms": after.retention, anyTime: forEver})
		}
	case kind < 5:
		after = wish{}
		change = func() error { return wire.Delete(name) }
	case kind < 7:
		after.partitions++
		change = func() error { return wire.Grow(name, after.partitions) }
	default:
		after.retention = strconv.Itoa(600_000_000 + c.serial)
		change = func() error { return wire.SetRetention(name, after.retention) }
	}
	c.pending[name] = after
	if err := change(); err != nil {
		return false
	}
	c.topics[name] = after
	delete(c.pending, name)
	c.made++
	if after.exists && !before.exists {
		return c.fill(wire, name)
	}
	return true
}

// fill writes into a new topic, so that a topic of the same name before it would show.
func (c *Changes) fill(wire *Wire, name string) bool {
	for at := range 3 {
		id := ID{Producer: 900, Seq: uint64(c.serial)<<8 | uint64(at)}
		offset, err := wire.Produce(name, 0, value(id, 100), 5*time.Second)
		if err != nil {
			return false // Apache Kafka may not know the topic yet; after a crash, the record may be there.
		}
		if offset != int64(at) {
			c.load.fail("%s: record %d of a new topic is at offset %d", name, at, offset)
		}
		filled := c.topics[name]
		filled.records++
		c.topics[name] = filled
	}
	return true
}

// cut deletes some of the oldest records of partition 0 of the topic "cut".
func (c *Changes) cut(wire *Wire) bool {
	place := Place{"cut", 0}
	var known int64
	c.load.With(func(checker *Checker) { known = checker.Known(place) })
	if known <= c.cutAt {
		return true
	}
	offset := c.cutAt + 1 + c.random.Int63n(min(known-c.cutAt, 50))
	c.load.With(func(checker *Checker) { checker.Cut(place, offset, false) })
	if err := wire.Cut("cut", 0, offset); err != nil {
		return false
	}
	c.load.With(func(checker *Checker) { checker.Cut(place, offset, true) })
	c.cutAt = offset
	c.made++
	return true
}

// Verify compares the broker with what it acknowledged, and settles what it did not.
func (c *Changes) Verify() error {
	wire, err := Dial(c.load.address)
	if err != nil {
		return err
	}
	defer wire.Close()
	var wrong []string
	// Apache Kafka's broker learns of its own controller's changes a little later.
	for turn := 0; turn < 50; turn++ {
		if wrong, err = c.compare(wire); err != nil || len(wrong) == 0 {
			return err
		}
		time.Sleep(100 * time.Millisecond)
	}
	for _, it := range wrong {
		c.load.fail("%s", it)
	}
	return nil
}

func (c *Changes) compare(wire *Wire) (wrong []string, err error) {
	found, err := wire.Topics()
	if err != nil {
		return nil, err
	}
	settled := map[string]wish{}
	for name, want := range c.topics {
		got := wish{}
		if topic, exists := found[name]; exists {
			retention, err := wire.Retention(name)
			if err != nil {
				return []string{fmt.Sprintf("the configs of %s: %v", name, err)}, nil
			}
			got = wish{exists: true, partitions: topic.Partitions, retention: retention, id: topic.ID}
		}
		maybe, unknown := c.pending[name]
		switch {
		case same(got, want):
			got.records = want.records
			if want.id != [16]byte{} && got.id != want.id {
				wrong = append(wrong, fmt.Sprintf("%s: its id changed", name))
			}
		case unknown && same(got, maybe):
			got.records = maybe.records
		default:
			wrong = append(wrong, fmt.Sprintf("%s: acknowledged %+v, perhaps %+v, is %+v", name, want, maybe, got))
		}
		settled[name] = got
		if line := c.filled(wire, name, got); line != "" {
			wrong = append(wrong, line)
		}
	}
	if len(wrong) == 0 {
		c.topics = settled
		clear(c.pending)
	}
	sort.Strings(wrong)
	return wrong, nil
}

func (c *Changes) filled(wire *Wire, name string, got wish) string {
	if !got.exists {
		return ""
	}
	_, ends, err := wire.Bounds(name, got.partitions)
	if err != nil {
		return fmt.Sprintf("%s: its bounds: %v", name, err)
	}
	if ends[0] < int64(got.records) || ends[0] > 3 {
		return fmt.Sprintf("%s: %d records acknowledged, ends at %d", name, got.records, ends[0])
	}
	return ""
}

func same(a, b wish) bool {
	return a.exists == b.exists && (!a.exists || a.partitions == b.partitions && a.retention == b.retention)
}
