package main

import (
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// subscription is what a member of the classic protocol says of itself: what it wants, and what it keeps meanwhile.
func subscription(topics []string, owned []Place) []byte {
	it := kmsg.NewConsumerMemberMetadata()
	it.Version = 1
	it.Topics = slices.Sorted(slices.Values(topics)) // Who rejoins must not seem to want something else.
	slices.SortFunc(owned, byPlace)
	for _, place := range owned {
		one := kmsg.NewConsumerMemberMetadataOwnedPartition()
		one.Topic, one.Partitions = place.Topic, []int32{place.Partition}
		it.OwnedPartitions = append(it.OwnedPartitions, one)
	}
	return it.AppendTo(nil)
}

// ownedIn takes what a member keeps out of its subscription.
func ownedIn(subscription []byte) (places []Place, err error) {
	it := kmsg.NewConsumerMemberMetadata()
	if err := it.ReadFrom(subscription); err != nil {
		return nil, err
	}
	for _, topic := range it.OwnedPartitions {
		for _, partition := range topic.Partitions {
			places = append(places, Place{topic.Topic, partition})
		}
	}
	return places, nil
}

// shareOut says which member is to have what. What a member keeps is nobody else's in this generation: if it has
// more than its part, it gives that up, and the next generation gives it to another.
func shareOut(all []Place, kept map[string][]Place) map[string][]Place {
	members := slices.Sorted(maps.Keys(kept))
	part := (len(all) + len(members) - 1) / len(members)
	shares := map[string][]Place{}
	taken := map[Place]bool{}
	for _, member := range members {
		for _, place := range kept[member] {
			if len(shares[member]) < part && !taken[place] {
				shares[member] = append(shares[member], place)
			}
			taken[place] = true
		}
	}
	for _, place := range all {
		if taken[place] {
			continue
		}
		least := slices.MinFunc(members, func(a, b string) int { return len(shares[a]) - len(shares[b]) })
		shares[least] = append(shares[least], place)
	}
	return shares
}

// assignment is a share on the wire.
func assignment(places []Place) []byte {
	it := kmsg.NewConsumerMemberAssignment()
	for _, place := range places {
		topic := kmsg.NewConsumerMemberAssignmentTopic()
		topic.Topic, topic.Partitions = place.Topic, []int32{place.Partition}
		it.Topics = append(it.Topics, topic)
	}
	return it.AppendTo(nil)
}

// assigned is the share in an assignment.
func assigned(assignment []byte) (places []Place, err error) {
	it := kmsg.NewConsumerMemberAssignment()
	if err := it.ReadFrom(assignment); err != nil {
		return nil, err
	}
	for _, topic := range it.Topics {
		for _, partition := range topic.Partitions {
			places = append(places, Place{topic.Topic, partition})
		}
	}
	return places, nil
}
