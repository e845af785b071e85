package main

import (
	"cmp"
	"fmt"
	"math/rand"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// memberLimit is how long an answer may take: a join waits for all who are in the group.
const memberLimit = 30 * time.Second

// member is one consumer of a group, as its protocol has it. It speaks on the connection that it is given, and an
// error means that nobody knows the fate of what it said last.
type member interface {
	// round says something to the coordinator, and does what it is told.
	round(*Wire) error
	// leave says goodbye.
	leave(*Wire) error
	// standing is where it is now.
	standing() Standing
	// gone: it is not there any more, whether or not it said so.
	gone()
}

// Standing is a member's place in its group.
type Standing struct {
	generation int32 // 0: it has none
	places     []Place
	joins      int // how often it has been given another generation
}

// Crowd is all members of all groups: they come, commit, and go, through every crash, until it ends.
type Crowd struct {
	address string
	mutex   sync.Mutex
	roster  *Roster
	seats   map[string][]Standing // by group
	topics  map[string]int        // partitions of each
	names   map[[16]byte]string
	isCalm  atomic.Bool // nobody leaves any more
	stop    chan struct{}
	members sync.WaitGroup
}

func NewCrowd(address string, topics map[string]int) *Crowd {
	return &Crowd{address: address, roster: NewRoster(), seats: map[string][]Standing{}, topics: topics, names: map[[16]byte]string{},
		stop: make(chan struct{})}
}

// With runs a step on the roster, alone.
func (c *Crowd) With(step func(*Roster)) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	step(c.roster)
}

// Seat has one member after the other in a group.
func (c *Crowd) Seat(group string, seed int64, next func(name string) member) {
	c.mutex.Lock()
	at := len(c.seats[group])
	c.seats[group] = append(c.seats[group], Standing{})
	c.mutex.Unlock()
	random := rand.New(rand.NewSource(seed))
	c.members.Add(1)
	go func() {
		defer c.members.Done()
		for serial := 0; !c.isOver(); serial++ {
			c.live(next(fmt.Sprintf("%s-%d-%d", group, at, serial)), group, at, random)
			// Until another comes; a group shrinks, too.
			for empty := random.Intn(100); empty > 0 && !c.isCalm.Load() && !c.isOver(); empty-- {
				time.Sleep(20 * time.Millisecond)
			}
		}
	}()
}

func (c *Crowd) isOver() bool {
	select {
	case <-c.stop:
		return true
	default:
		return false
	}
}

// live is a member's life: some rounds, and more while it is calm; in the end it leaves, or is just gone.
func (c *Crowd) live(it member, group string, at int, random *rand.Rand) {
	var wire *Wire
	defer func() {
		if wire != nil {
			wire.Close()
		}
	}()
	for rounds := 10 + random.Intn(100); rounds > 0 || c.isCalm.Load(); rounds-- {
		if c.isOver() {
			break
		}
		wire = c.speak(wire, it.round)
		standing := it.standing()
		c.With(func(*Roster) { c.seats[group][at] = standing })
		time.Sleep(time.Duration(5+random.Intn(20)) * time.Millisecond)
	}
	if random.Intn(4) > 0 {
		wire = c.speak(wire, it.leave)
	}
	it.gone()
	c.With(func(*Roster) { c.seats[group][at] = Standing{} })
}

// speak has something said on a connection, or on another one if there is none. It is lost with what was said in vain.
func (c *Crowd) speak(wire *Wire, say func(*Wire) error) *Wire {
	if wire == nil {
		var err error
		if wire, err = Dial(c.address); err != nil {
			time.Sleep(20 * time.Millisecond)
			return nil
		}
	}
	if err := say(wire); err != nil {
		wire.Close()
		return nil
	}
	return wire
}

// End lets everybody go.
func (c *Crowd) End() {
	close(c.stop)
	c.members.Wait()
}

// everything is all partitions of all topics.
func (c *Crowd) everything() (places []Place) {
	for topic, partitions := range c.topics {
		for at := range int32(partitions) {
			places = append(places, Place{topic, at})
		}
	}
	slices.SortFunc(places, byPlace)
	return places
}

func byPlace(a, b Place) int {
	return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
}

// unsettled says what a group lacks; empty if nothing: all members are in one generation, each partition has an
// owner, and has had a commit acknowledged since `before`.
func (c *Crowd) unsettled(group string, before map[Place]int) string {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	var owned []Place
	generation := c.seats[group][0].generation
	for at, it := range c.seats[group] {
		if it.generation == 0 || it.generation != generation {
			return fmt.Sprintf("%s: member %d is in generation %d, member 0 in %d", group, at, it.generation, generation)
		}
		owned = append(owned, it.places...)
	}
	slices.SortFunc(owned, byPlace)
	if all := c.everything(); !slices.Equal(owned, all) {
		return fmt.Sprintf("%s: %v are owned, of %v", group, owned, all)
	}
	counts := c.roster.Counts(group)
	for place, count := range before {
		if counts[place] == count {
			return fmt.Sprintf("%s: nothing is committed for %v", group, place)
		}
	}
	return ""
}

// joins are how often members of the group have been given another generation.
func (c *Crowd) joins(group string) (joins []int) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	for _, it := range c.seats[group] {
		joins = append(joins, it.joins)
	}
	return joins
}

// look asks for what a group has committed for places: each must be what was promised.
func (c *Crowd) look(wire *Wire, group string, places []Place) (map[Place]int64, error) {
	promised := map[Place]int64{}
	c.With(func(r *Roster) {
		for _, place := range places {
			promised[place] = r.Promised(group, place)
		}
	})
	found, err := wire.Committed(group, places)
	if err != nil {
		return nil, err
	}
	c.With(func(r *Roster) {
		for _, place := range places {
			r.Found(group, place, promised[place], found[place])
		}
	})
	return found, nil
}

// commit makes each of these one larger, on a member's behalf. The code says whether it was.
func (c *Crowd) commit(wire *Wire, request *kmsg.OffsetCommitRequest, next map[Place]int64) (int16, error) {
	topics := map[string]*kmsg.OffsetCommitRequestTopic{}
	group := request.Group
	c.With(func(r *Roster) {
		for place := range next {
			next[place]++
			r.Trying(group, place, next[place])
			if topics[place.Topic] == nil {
				topic := kmsg.NewOffsetCommitRequestTopic()
				topic.Topic = place.Topic
				topics[place.Topic] = &topic
			}
			partition := kmsg.NewOffsetCommitRequestTopicPartition()
			partition.Partition, partition.Offset, partition.LeaderEpoch = place.Partition, next[place], -1
			topics[place.Topic].Partitions = append(topics[place.Topic].Partitions, partition)
		}
	})
	for _, topic := range topics {
		request.Topics = append(request.Topics, *topic)
	}
	answer, err := wire.Ask(request, memberLimit)
	if err != nil {
		return 0, err
	}
	var refused int16
	c.With(func(r *Roster) {
		for _, topic := range answer.(*kmsg.OffsetCommitResponse).Topics {
			for _, partition := range topic.Partitions {
				place := Place{topic.Topic, partition.Partition}
				if partition.ErrorCode != 0 {
					refused = partition.ErrorCode
				} else {
					r.Commits(group, place, next[place])
				}
			}
		}
	})
	return refused, nil
}
