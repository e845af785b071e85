package main

import (
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	classicSession   = 6_000 // the shortest that brokers allow by default
	classicRebalance = 10_000
)

// classic is a member of the protocol in which a leader among the members shares the partitions out.
type classic struct {
	crowd      *Crowd
	group      string
	id         string // empty: none yet
	generation int32  // 0: not in one
	next       map[Place]int64
	joins      int
}

func (c *classic) standing() Standing {
	places := make([]Place, 0, len(c.next))
	for place := range c.next {
		places = append(places, place)
	}
	return Standing{c.generation, places, c.joins}
}

func (c *classic) gone() {}

func (c *classic) round(wire *Wire) error {
	if c.generation == 0 {
		return c.join(wire)
	}
	beat := kmsg.NewPtrHeartbeatRequest()
	beat.SetVersion(3)
	beat.Group, beat.MemberID, beat.Generation = c.group, c.id, c.generation
	answer, err := wire.Ask(beat, memberLimit)
	if err != nil {
		return err
	}
	if code := answer.(*kmsg.HeartbeatResponse).ErrorCode; code != 0 {
		return c.refused(code)
	}
	request := kmsg.NewPtrOffsetCommitRequest()
	request.SetVersion(7)
	request.Group, request.MemberID, request.Generation = c.group, c.id, c.generation
	code, err := c.crowd.commit(wire, request, c.next)
	if err != nil {
		return err
	}
	return c.refused(code)
}

// refused is what to do after an error code; 0 is none.
func (c *classic) refused(code int16) error {
	switch code {
	case 0, kerr.CoordinatorNotAvailable.Code, kerr.CoordinatorLoadInProgress.Code, kerr.NotCoordinator.Code:
	case kerr.RebalanceInProgress.Code, kerr.IllegalGeneration.Code:
		c.generation, c.next = 0, nil
	case kerr.UnknownMemberID.Code:
		// Members are durable once they have been given their partitions: one that was on its way may be forgotten.
		c.id, c.generation, c.next = "", 0, nil
	default:
		return fmt.Errorf("%s: a member was told: %w", c.group, kerr.ErrorForCode(code))
	}
	return nil
}

// join asks for a place in the next generation, and for its partitions there.
func (c *classic) join(wire *Wire) error {
	settled := int32(0)
	c.crowd.With(func(r *Roster) { settled = r.Settled(c.group) })
	request := kmsg.NewPtrJoinGroupRequest()
	request.SetVersion(5)
	request.Group, request.MemberID, request.ProtocolType = c.group, c.id, "consumer"
	request.SessionTimeoutMillis, request.RebalanceTimeoutMillis = classicSession, classicRebalance
	wants := kmsg.NewConsumerMemberMetadata()
	for topic := range c.crowd.topics {
		wants.Topics = append(wants.Topics, topic)
	}
	slices.Sort(wants.Topics) // A member that rejoins must not seem to want something else.
	protocol := kmsg.NewJoinGroupRequestProtocol()
	protocol.Name, protocol.Metadata = "range", wants.AppendTo(nil)
	request.Protocols = append(request.Protocols, protocol)
	got, err := wire.Ask(request, memberLimit)
	if err != nil {
		return err
	}
	answer := got.(*kmsg.JoinGroupResponse)
	if answer.ErrorCode == kerr.MemberIDRequired.Code {
		c.id = answer.MemberID
		return nil
	}
	if answer.ErrorCode != 0 {
		return c.refused(answer.ErrorCode)
	}
	c.id = answer.MemberID
	c.crowd.With(func(r *Roster) { r.Joined(c.group, c.id, settled, answer.Generation) })
	return c.sync(wire, answer)
}

// sync is told the member's partitions; of a leader, after it has shared out all.
func (c *classic) sync(wire *Wire, joined *kmsg.JoinGroupResponse) error {
	request := kmsg.NewPtrSyncGroupRequest()
	request.SetVersion(3)
	request.Group, request.MemberID, request.Generation = c.group, c.id, joined.Generation
	if joined.LeaderID == c.id {
		request.GroupAssignment = c.shareOut(joined.Members)
	}
	got, err := wire.Ask(request, memberLimit)
	if err != nil {
		return err
	}
	answer := got.(*kmsg.SyncGroupResponse)
	if answer.ErrorCode != 0 {
		return c.refused(answer.ErrorCode)
	}
	assignment := kmsg.NewConsumerMemberAssignment()
	if err := assignment.ReadFrom(answer.MemberAssignment); err != nil {
		return fmt.Errorf("%s: an assignment that no leader made: %w", c.group, err)
	}
	var places []Place
	for _, topic := range assignment.Topics {
		for _, partition := range topic.Partitions {
			places = append(places, Place{topic.Topic, partition})
		}
	}
	c.crowd.With(func(r *Roster) { r.Has(c.group, c.id, joined.Generation, places) })
	next, err := c.crowd.look(wire, c.group, places)
	if err != nil {
		return err
	}
	c.generation, c.next = joined.Generation, next
	c.joins++
	return nil
}

// shareOut gives each partition to the next member in turn.
func (c *classic) shareOut(members []kmsg.JoinGroupResponseMember) (all []kmsg.SyncGroupRequestGroupAssignment) {
	shares := make([]kmsg.ConsumerMemberAssignment, len(members))
	for at, place := range c.crowd.everything() {
		share := &shares[at%len(members)]
		topic := kmsg.NewConsumerMemberAssignmentTopic()
		topic.Topic, topic.Partitions = place.Topic, []int32{place.Partition}
		share.Topics = append(share.Topics, topic)
	}
	for at, member := range members {
		one := kmsg.NewSyncGroupRequestGroupAssignment()
		one.MemberID, one.MemberAssignment = member.MemberID, shares[at].AppendTo(nil)
		all = append(all, one)
	}
	return all
}

func (c *classic) leave(wire *Wire) error {
	request := kmsg.NewPtrLeaveGroupRequest()
	request.SetVersion(3)
	request.Group = c.group
	one := kmsg.NewLeaveGroupRequestMember()
	one.MemberID = c.id
	request.Members = append(request.Members, one)
	_, err := wire.Ask(request, memberLimit)
	return err
}
