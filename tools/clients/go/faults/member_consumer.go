package main

import (
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	// A member has this long to give up what it is asked for, which it does at once.
	consumerRebalance = 60_000
	// consumerSession is the least for which the broker must take a silent member for a member: a broker's own
	// configuration says how long.
	consumerSession = 6 * time.Second
)

// consumer is a member of the protocol in which the coordinator shares the partitions out (KIP-848).
type consumer struct {
	crowd *Crowd
	group string
	id    string
	epoch int32 // 0: not a member
	next  map[Place]int64
	told  bool // the coordinator has been told what it has, and has answered
	joins int
}

func (c *consumer) standing() Standing {
	return Standing{c.epoch, slices.Collect(maps.Keys(c.next)), c.joins}
}

// gone gives everything up.
func (c *consumer) gone() {
	c.epoch, c.next, c.told = 0, nil, false
	c.crowd.With(func(r *Roster) { r.Drops(c.group, c.id, nil) })
}

func (c *consumer) round(wire *Wire) error {
	if err := c.beat(wire); err != nil {
		c.told = false // It says everything again.
		return err
	}
	if c.epoch == 0 || len(c.next) == 0 {
		return nil
	}
	request := kmsg.NewPtrOffsetCommitRequest()
	request.SetVersion(9)
	request.Group, request.MemberID, request.Generation = c.group, c.id, c.epoch
	code, err := c.crowd.commit(wire, request, c.next)
	switch {
	case err != nil:
		c.told = false
		return err
	case code == kerr.StaleMemberEpoch.Code: // The next beat brings the new one.
		return nil
	}
	c.refused(code)
	return nil
}

// beat tells the coordinator where the member is, and does what it answers.
func (c *consumer) beat(wire *Wire) error {
	settled, said := int32(0), time.Now()
	c.crowd.With(func(r *Roster) {
		settled = r.Settled(c.group)
		r.Drops(c.group, c.id, slices.Collect(maps.Keys(c.next)))
	})
	request := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	request.SetVersion(1)
	request.Group, request.MemberID, request.MemberEpoch = c.group, c.id, c.epoch
	if !c.told {
		request.RebalanceTimeoutMillis = consumerRebalance
		request.SubscribedTopicNames = slices.Sorted(maps.Keys(c.crowd.topics))
		request.Topics = c.owned()
	}
	got, err := wire.Ask(request, memberLimit)
	if err != nil {
		return err
	}
	answer := got.(*kmsg.ConsumerGroupHeartbeatResponse)
	if answer.ErrorCode != 0 {
		c.refused(answer.ErrorCode)
		return nil
	}
	c.crowd.With(func(r *Roster) { r.Renews(c.group, c.id, said.Add(consumerSession)) })
	if c.epoch == 0 {
		c.crowd.With(func(r *Roster) { r.Joined(c.group, c.id, settled, answer.MemberEpoch) })
	}
	if answer.MemberEpoch < c.epoch {
		c.crowd.With(func(r *Roster) { r.Joined(c.group, c.id, c.epoch, answer.MemberEpoch) })
	}
	if answer.MemberEpoch != c.epoch {
		c.joins++
	}
	c.epoch, c.told = answer.MemberEpoch, true
	if answer.Assignment != nil {
		if err := c.take(wire, answer.Assignment); err != nil {
			return err
		}
	}
	c.crowd.With(func(r *Roster) { r.Has(c.group, c.id, c.epoch, slices.Collect(maps.Keys(c.next))) })
	return nil
}

// owned is what the member has, by the ids of topics.
func (c *consumer) owned() []kmsg.ConsumerGroupHeartbeatRequestTopic {
	all := []kmsg.ConsumerGroupHeartbeatRequestTopic{}
	for id, name := range c.crowd.names {
		topic := kmsg.NewConsumerGroupHeartbeatRequestTopic()
		topic.TopicID = id
		for place := range c.next {
			if place.Topic == name {
				topic.Partitions = append(topic.Partitions, place.Partition)
			}
		}
		if len(topic.Partitions) > 0 {
			all = append(all, topic)
		}
	}
	return all
}

// take gives up what is not in an assignment, and begins with what is new in it where the others have ended.
func (c *consumer) take(wire *Wire, assignment *kmsg.ConsumerGroupHeartbeatResponseAssignment) error {
	given := map[Place]bool{}
	var fresh []Place
	for _, topic := range assignment.Topics {
		for _, partition := range topic.Partitions {
			place := Place{c.crowd.names[topic.TopicID], partition}
			given[place] = true
			if _, has := c.next[place]; !has {
				fresh = append(fresh, place)
			}
		}
	}
	c.crowd.With(func(r *Roster) { r.Holds(c.group, c.id, fresh, time.Now()) })
	kept := map[Place]int64{}
	for place, next := range c.next {
		if given[place] {
			kept[place] = next
		}
	}
	// The coordinator waits to hear of it, and what cannot be begun with now is given again.
	c.next, c.told = kept, false
	found, err := c.crowd.look(wire, c.group, fresh)
	if err != nil {
		return err
	}
	maps.Copy(c.next, found)
	return nil
}

// refused is what to do after an error code; 0 is none.
func (c *consumer) refused(code int16) {
	switch code {
	case 0, kerr.CoordinatorNotAvailable.Code, kerr.CoordinatorLoadInProgress.Code, kerr.NotCoordinator.Code:
		c.told = c.told && code == 0
	case kerr.FencedMemberEpoch.Code:
		c.gone()
	case kerr.UnknownMemberID.Code:
		if c.epoch > 0 {
			c.crowd.With(func(r *Roster) { r.Unknown(c.group, c.id, time.Now()) })
		}
		c.gone()
	default:
		c.crowd.With(func(r *Roster) { r.Told(c.group, kerr.ErrorForCode(code)) })
	}
}

func (c *consumer) leave(wire *Wire) error {
	request := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	request.SetVersion(1)
	request.Group, request.MemberID, request.MemberEpoch = c.group, c.id, -1
	c.gone()
	_, err := wire.Ask(request, memberLimit)
	return err
}
