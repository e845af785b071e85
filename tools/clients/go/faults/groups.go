package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// crowdTopics are what the members share: their numbers of partitions.
var crowdTopics = map[string]int{"shared-a": 4, "shared-b": 3}

const (
	seatsPerGroup = 4
	// joinsMax is how often a member may be given another generation until its group has settled: once for each of
	// the others that comes or is found gone, and some more.
	joinsMax = 25
)

// groups is SIGKILL while members of both protocols come, go, and commit.
func groups(r *Run) error {
	if err := r.first(); err != nil {
		return err
	}
	crowd := NewCrowd(r.broker.address, crowdTopics)
	if err := crowd.prepare(r.ready); err != nil {
		return err
	}
	names := crowd.populate(r.seed)
	err := r.disturb(crowd, names)
	crowd.End()
	if err == nil {
		err = crowd.last(names)
	}
	violations := crowd.roster.Violations()
	for _, it := range violations {
		fmt.Println("violation:", it)
	}
	r.count("offsets committed", crowd.roster.Committed)
	for _, name := range names {
		r.count("generations", int(crowd.roster.Settled(name)))
	}
	if err == nil && len(violations) > 0 {
		err = errors.New("the broker broke a promise")
	}
	return err
}

// first starts the broker on a directory of its own, and waits until it answers.
func (r *Run) first() error {
	ground, err := NewDirectory(r.dir)
	if err != nil {
		return err
	}
	if err := r.stand(ground, r.command); err != nil {
		return err
	}
	return r.again()
}

// again starts the broker and waits until it answers.
func (r *Run) again() error {
	if err := r.broker.start(); err != nil {
		return err
	}
	return reach(r.broker.address, r.ready)
}

// prepare makes the topics, and waits until there are coordinators.
func (c *Crowd) prepare(limit time.Duration) error {
	wire, err := Dial(c.address)
	if err != nil {
		return err
	}
	defer wire.Close()
	for name, partitions := range c.topics {
		if err := wire.Create(name, partitions, nil); err != nil {
			return fmt.Errorf("creating %s: %w", name, err)
		}
	}
	topics, err := wire.Topics()
	if err != nil {
		return err
	}
	for name := range c.topics {
		c.names[topics[name].ID] = name
	}
	return await(limit, nil, func() string {
		if err := wire.Coordinator("groups"); err != nil {
			return fmt.Sprint("no coordinator: ", err)
		}
		return ""
	})
}

// populate has members in groups of each protocol.
func (c *Crowd) populate(seed int64) (names []string) {
	members := map[string]func(group, id string) member{
		"eager":       func(group, _ string) member { return &classic{crowd: c, group: group} },
		"cooperative": func(group, _ string) member { return &classic{crowd: c, group: group, isCooperative: true} },
		"consumer-a":  func(group, id string) member { return &consumer{crowd: c, group: group, id: id} },
		"consumer-b":  func(group, id string) member { return &consumer{crowd: c, group: group, id: id} },
	}
	names = slices.Sorted(maps.Keys(members))
	for at, name := range names {
		for seat := range seatsPerGroup {
			c.Seat(name, seed+int64(at*seatsPerGroup+seat), func(id string) member { return members[name](name, id) })
		}
	}
	return names
}

// disturb kills the broker again and again; after each time, every group must settle.
func (r *Run) disturb(crowd *Crowd, names []string) error {
	for r.goesOn() {
		r.sleep(500*time.Millisecond, 2500*time.Millisecond)
		for range 1 + r.random.Intn(3) {
			r.broker.kill()
			if err := r.again(); err != nil {
				return err
			}
			r.sleep(0, 300*time.Millisecond)
		}
		crowd.isCalm.Store(true)
		for _, name := range names {
			if err := r.settled(crowd, name); err != nil {
				return err
			}
		}
		crowd.isCalm.Store(false)
		committed := 0
		crowd.With(func(roster *Roster) { committed = roster.Committed })
		r.turned(committed)
		if len(crowd.roster.Violations()) > 0 {
			break
		}
	}
	return nil
}

// settled waits until a group has, and counts its rounds.
func (r *Run) settled(crowd *Crowd, name string) error {
	var before map[Place]int
	crowd.With(func(roster *Roster) { before = roster.Counts(name) })
	joined := crowd.joins(name)
	if err := await(r.ready, r.broker.ended, func() string { return crowd.unsettled(name, before) }); err != nil {
		return err
	}
	for at, joins := range crowd.joins(name) {
		if joins-joined[at] > joinsMax {
			return fmt.Errorf("%s: member %d was given %d generations until its group had settled", name, at, joins-joined[at])
		}
	}
	return nil
}

// last looks at all that is committed when nobody commits any more.
func (c *Crowd) last(names []string) error {
	wire, err := Dial(c.address)
	if err != nil {
		return err
	}
	defer wire.Close()
	for _, name := range names {
		if _, err := c.look(wire, name, slices.Collect(maps.Keys(c.roster.group(name).marks))); err != nil {
			return err
		}
	}
	return nil
}
