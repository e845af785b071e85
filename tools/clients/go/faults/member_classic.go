package main

import (
	"fmt"
	"maps"
	"math"
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
	crowd         *Crowd
	group         string
	isCooperative bool   // it keeps its partitions until it is told to give some up
	id            string // empty: none yet
	generation    int32  // 0: not in one
	isCalled      bool   // into the next generation
	next          map[Place]int64
	joins         int
	tested        int32 // the last generation in which it has spoken late
}

func (c *classic) standing() Standing {
	standing := Standing{c.generation, slices.Collect(maps.Keys(c.next)), c.joins}
	if c.isCalled {
		standing.generation = 0
	}
	return standing
}

func (c *classic) gone() {}

func (c *classic) round(wire *Wire) error {
	if c.generation == 0 || c.isCalled {
		return c.join(wire)
	}
	beat := kmsg.NewPtrHeartbeatRequest()
	beat.SetVersion(3)
	beat.Group, beat.MemberID, beat.Generation = c.group, c.id, c.generation
	answer, err := wire.Ask(beat, memberLimit)
	if err != nil {
		return err
	}
	if c.refused(answer.(*kmsg.HeartbeatResponse).ErrorCode); c.next == nil {
		return nil
	}
	if c.joins%4 == 3 && c.generation > c.tested {
		if err := c.speakLate(wire); err != nil {
			return err
		}
	}
	// Who is called and keeps its partitions commits once more, as it may.
	request := kmsg.NewPtrOffsetCommitRequest()
	request.SetVersion(7)
	request.Group, request.MemberID, request.Generation = c.group, c.id, c.generation
	code, err := c.crowd.commit(wire, request, c.next)
	if err != nil {
		return err
	}
	c.refused(code)
	return nil
}

// speakLate commits for a generation that is over, and asks for what it has there, as who has not noticed: both must
// be refused.
func (c *classic) speakLate(wire *Wire) error {
	c.tested = c.generation
	commit := kmsg.NewPtrOffsetCommitRequest()
	commit.SetVersion(7)
	commit.Group, commit.MemberID, commit.Generation = c.group, c.id, c.generation-1
	topic := kmsg.NewOffsetCommitRequestTopic()
	partition := kmsg.NewOffsetCommitRequestTopicPartition()
	topic.Topic, partition.Offset, partition.LeaderEpoch = c.crowd.everything()[0].Topic, math.MaxInt32, -1
	topic.Partitions = append(topic.Partitions, partition)
	commit.Topics = append(commit.Topics, topic)
	sync := kmsg.NewPtrSyncGroupRequest()
	sync.SetVersion(3)
	sync.Group, sync.MemberID, sync.Generation = c.group, c.id, c.generation-1
	committed, err := wire.Ask(commit, memberLimit)
	if err != nil {
		return err
	}
	synced, err := wire.Ask(sync, memberLimit)
	if err != nil {
		return err
	}
	isTaken := committed.(*kmsg.OffsetCommitResponse).Topics[0].Partitions[0].ErrorCode == 0
	if isTaken || synced.(*kmsg.SyncGroupResponse).ErrorCode == 0 {
		c.crowd.With(func(r *Roster) { r.Late(c.group, c.id, c.generation-1, c.generation) })
	}
	return nil
}

// refused is what to do after an error code; 0 is none.
func (c *classic) refused(code int16) {
	switch code {
	case 0, kerr.CoordinatorNotAvailable.Code, kerr.CoordinatorLoadInProgress.Code, kerr.NotCoordinator.Code:
	case kerr.RebalanceInProgress.Code:
		c.isCalled = true
		if !c.isCooperative {
			c.generation, c.next = 0, nil
		}
	case kerr.IllegalGeneration.Code:
		c.generation, c.next = 0, nil
	case kerr.UnknownMemberID.Code:
		// Members are durable once they have been given their partitions: one that was on its way may be forgotten.
		c.id, c.generation, c.next = "", 0, nil
	default:
		c.crowd.With(func(r *Roster) { r.Told(c.group, kerr.ErrorForCode(code)) })
	}
}

// join asks for a place in the next generation, and for its partitions there.
func (c *classic) join(wire *Wire) error {
	settled := int32(0)
	c.crowd.With(func(r *Roster) { settled = r.Settled(c.group) })
	request := kmsg.NewPtrJoinGroupRequest()
	request.SetVersion(5)
	request.Group, request.MemberID, request.ProtocolType = c.group, c.id, "consumer"
	request.SessionTimeoutMillis, request.RebalanceTimeoutMillis = classicSession, classicRebalance
	protocol := kmsg.NewJoinGroupRequestProtocol()
	protocol.Name = "range"
	if c.isCooperative {
		protocol.Name = "cooperative-sticky"
	}
	protocol.Metadata = subscription(slices.Collect(maps.Keys(c.crowd.topics)), slices.Collect(maps.Keys(c.next)))
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
		c.refused(answer.ErrorCode)
		return nil
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
		if err := c.lead(request, joined.Members); err != nil {
			return err
		}
	}
	got, err := wire.Ask(request, memberLimit)
	if err != nil {
		return err
	}
	answer := got.(*kmsg.SyncGroupResponse)
	if answer.ErrorCode != 0 {
		c.refused(answer.ErrorCode)
		return nil
	}
	places, err := assigned(answer.MemberAssignment)
	if err != nil {
		return fmt.Errorf("%s: an assignment that no leader made: %w", c.group, err)
	}
	c.crowd.With(func(r *Roster) { r.Has(c.group, c.id, joined.Generation, places) })
	return c.take(wire, joined.Generation, places)
}

// lead shares all partitions out.
func (c *classic) lead(request *kmsg.SyncGroupRequest, members []kmsg.JoinGroupResponseMember) (err error) {
	kept := map[string][]Place{}
	for _, member := range members {
		if kept[member.MemberID], err = ownedIn(member.ProtocolMetadata); err != nil {
			return fmt.Errorf("%s: a subscription that no member made: %w", c.group, err)
		}
	}
	for member, places := range shareOut(c.crowd.everything(), kept) {
		one := kmsg.NewSyncGroupRequestGroupAssignment()
		one.MemberID, one.MemberAssignment = member, assignment(places)
		request.GroupAssignment = append(request.GroupAssignment, one)
	}
	return nil
}

// take goes on with what the member still has, and begins with what is new. Who has given something up joins again
// at once, so that another gets it.
func (c *classic) take(wire *Wire, generation int32, places []Place) error {
	kept := map[Place]int64{}
	var fresh []Place
	for _, place := range places {
		if next, has := c.next[place]; has {
			kept[place] = next
		} else {
			fresh = append(fresh, place)
		}
	}
	hasGivenUp := len(kept) < len(c.next)
	c.next = kept
	found, err := c.crowd.look(wire, c.group, fresh)
	if err != nil {
		return err
	}
	maps.Copy(c.next, found)
	c.generation, c.isCalled = generation, hasGivenUp
	c.joins++
	return nil
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
