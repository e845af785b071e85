package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	sessionShort = 6 * time.Second  // the shortest that brokers allow by default
	sessionLong  = 30 * time.Minute // the longest
)

// join asks for a place in a group of consumers; without an id as one that has just come.
func join(version int16, group, id string, session time.Duration) *kmsg.JoinGroupRequest {
	request := kmsg.NewPtrJoinGroupRequest()
	request.SetVersion(version)
	request.Group, request.MemberID, request.ProtocolType = group, id, "consumer"
	request.SessionTimeoutMillis, request.RebalanceTimeoutMillis = int32(session.Milliseconds()), 1_000
	protocol := kmsg.NewJoinGroupRequestProtocol()
	protocol.Name, protocol.Metadata = "range", []byte{0, 0, 0, 0, 0, 0, 255, 255, 255, 255}
	request.Protocols = append(request.Protocols, protocol)
	return request
}

// share is a leader's word about who reads what: itself, everything.
func share(group, id string, generation int32, assignment []byte) *kmsg.SyncGroupRequest {
	request := kmsg.NewPtrSyncGroupRequest()
	request.SetVersion(3)
	request.Group, request.MemberID, request.Generation = group, id, generation
	one := kmsg.NewSyncGroupRequestGroupAssignment()
	one.MemberID, one.MemberAssignment = id, assignment
	request.GroupAssignment = append(request.GroupAssignment, one)
	return request
}

// beat is a heartbeat of KIP-848: of epoch 0 it joins, of epoch -1 it leaves.
func beat(group, id string, epoch int32, topics ...string) *kmsg.ConsumerGroupHeartbeatRequest {
	request := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	request.SetVersion(1)
	request.Group, request.MemberID, request.MemberEpoch = group, id, epoch
	request.RebalanceTimeoutMillis = 1_000
	request.SubscribedTopicNames = append([]string{}, topics...)
	request.Topics = []kmsg.ConsumerGroupHeartbeatRequestTopic{}
	return request
}

// leave takes members out of a group of the classic protocol.
func leave(group string, ids ...string) *kmsg.LeaveGroupRequest {
	request := kmsg.NewPtrLeaveGroupRequest()
	request.SetVersion(3)
	request.Group = group
	for _, id := range ids {
		member := kmsg.NewLeaveGroupRequestMember()
		member.MemberID = id
		request.Members = append(request.Members, member)
	}
	return request
}

// commit stores an offset with its metadata for these partitions of a topic, as of nobody who is a member.
func commit(group, topic string, metadata string, partitions ...int32) *kmsg.OffsetCommitRequest {
	request := kmsg.NewPtrOffsetCommitRequest()
	request.SetVersion(8)
	request.Group, request.Generation = group, -1
	it := kmsg.NewOffsetCommitRequestTopic()
	it.Topic = topic
	for _, at := range partitions {
		partition := kmsg.NewOffsetCommitRequestTopicPartition()
		partition.Partition, partition.Offset, partition.LeaderEpoch, partition.Metadata = at, 5, -1, &metadata
		it.Partitions = append(it.Partitions, partition)
	}
	request.Topics = append(request.Topics, it)
	return request
}

// committed asks for all offsets of groups.
func committed(groups ...string) *kmsg.OffsetFetchRequest {
	request := kmsg.NewPtrOffsetFetchRequest()
	request.SetVersion(8)
	for _, name := range groups {
		group := kmsg.NewOffsetFetchRequestGroup()
		group.Group = name
		request.Groups = append(request.Groups, group)
	}
	return request
}

// Roll is who an attack has brought into groups, so that it can take them out again: what a broker holds for a
// member until its session ends is no leak.
type Roll struct {
	mutex   sync.Mutex
	classic map[string][]string // by group, ids of members
	modern  map[string][]string // the same, of KIP-848
	groups  map[string]bool
}

func NewRoll() *Roll {
	return &Roll{classic: map[string][]string{}, modern: map[string][]string{}, groups: map[string]bool{}}
}

// Note remembers whom an answer made a member, and that a group may be there.
func (r *Roll) Note(request kmsg.Request, response kmsg.Response) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	switch it := request.(type) {
	case *kmsg.JoinGroupRequest:
		r.groups[it.Group] = true
		if id := response.(*kmsg.JoinGroupResponse).MemberID; id != "" {
			r.classic[it.Group] = append(r.classic[it.Group], id)
		}
	case *kmsg.ConsumerGroupHeartbeatRequest:
		r.groups[it.Group] = true
		if response.(*kmsg.ConsumerGroupHeartbeatResponse).ErrorCode == 0 {
			r.modern[it.Group] = append(r.modern[it.Group], it.MemberID)
		}
	case *kmsg.OffsetCommitRequest:
		r.groups[it.Group] = true
	}
}

// Group remembers one whose members will be gone by themselves.
func (r *Roll) Group(name string) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.groups[name] = true
}

const (
	cleaned = "cleaning up" // the shot that counts what became of it
	// rollPart names go into one request.
	rollPart = 100
	// emptyLimit is how long members may take until they are gone by themselves.
	emptyLimit = 30 * time.Second
)

// Clear takes everybody out, and the groups away. Anything else than that is a reaction that nobody wants.
func (r *Roll) Clear(f *Field) {
	var requests []kmsg.Request
	for group, ids := range r.classic {
		slices.Sort(ids)
		for part := range slices.Chunk(slices.Compact(ids), rollPart) {
			requests = append(requests, leave(group, part...))
		}
	}
	for group, ids := range r.modern {
		for _, id := range ids {
			requests = append(requests, beat(group, id, -1))
		}
	}
	if failed := f.drain(requests, nil); failed != nil {
		f.saw(cleaned, failed.Error())
	}
	var names []string
	for name := range r.groups {
		names = append(names, name)
	}
	f.saw(cleaned, f.dropGroups(names))
}

// dropGroups deletes groups, again while somebody is in them.
func (f *Field) dropGroups(names []string) string {
	for until := time.Now().Add(emptyLimit); len(names) > 0; {
		var requests []kmsg.Request
		for part := range slices.Chunk(names, rollPart) {
			request := kmsg.NewPtrDeleteGroupsRequest()
			request.SetVersion(2)
			request.Groups = part
			requests = append(requests, request)
		}
		var left []string
		var code int16
		err := f.drain(requests, func(response kmsg.Response) {
			for _, it := range response.(*kmsg.DeleteGroupsResponse).Groups {
				if it.ErrorCode != 0 && it.ErrorCode != kerr.GroupIDNotFound.Code {
					left, code = append(left, it.Group), it.ErrorCode
				}
			}
		})
		switch {
		case err != nil:
			return err.Error()
		case len(left) > 0 && time.Now().After(until):
			return fmt.Sprintf("%s, %d times", codeName(code), len(left))
		case len(left) > 0:
			time.Sleep(500 * time.Millisecond)
		}
		names = left
	}
	return "done"
}

// warmGroups has a broker load and open all that it stores groups in: it commits an offset for so many groups that
// every coordinator has some, until each has answered well, and deletes them.
func warmGroups(address string) error {
	topic := fmt.Sprintf("warm-groups-%d", os.Getpid())
	if err := makeTopic(address, topic, 1); err != nil {
		return err
	}
	find := kmsg.NewPtrFindCoordinatorRequest()
	find.SetVersion(1)
	find.CoordinatorKey = topic
	requests := []kmsg.Request{find}
	var names []string
	for at := range 500 {
		names = append(names, fmt.Sprint(topic, at))
		requests = append(requests, commit(names[at], topic, "", 0))
	}
	field := &Field{address: address}
	for until := time.Now().Add(startMax); ; time.Sleep(100 * time.Millisecond) {
		var code int16
		err := field.drain(requests, func(response kmsg.Response) { code = max(code, firstCode(response)) })
		if err == nil && code == 0 {
			break
		}
		if time.Now().After(until) {
			return errors.Join(err, kerr.ErrorForCode(code))
		}
	}
	if became := field.dropGroups(names); became != "done" {
		return errors.New(became)
	}
	return dropTopic(address, topic)
}
