package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

const groupPartitions = 4

// place is where a record is.
type place struct {
	partition int32
	offset    int64
}

// member is a client in a group: what it owns, and what it has read.
type member struct {
	client *kgo.Client
	mutex  sync.Mutex
	owned  map[int32]bool
	read   []place
}

// join makes a member of the group and topic of that name. It commits only when it is told to.
func join(name string, protocol context.Context) *member {
	it := &member{owned: map[int32]bool{}}
	change := func(owns bool) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, partitions map[string][]int32) {
			it.mutex.Lock()
			defer it.mutex.Unlock()
			for _, partition := range partitions[name] {
				if owns {
					it.owned[partition] = true
				} else {
					delete(it.owned, partition)
				}
			}
		}
	}
	it.client = client(
		kgo.WithContext(protocol), kgo.ConsumerGroup(name), kgo.ConsumeTopics(name), kgo.DisableAutoCommit(),
		kgo.Balancers(kgo.StickyBalancer()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.SessionTimeout(6*time.Second), kgo.HeartbeatInterval(300*time.Millisecond), kgo.FetchMaxWait(50*time.Millisecond),
		kgo.OnPartitionsAssigned(change(true)), kgo.OnPartitionsRevoked(change(false)), kgo.OnPartitionsLost(change(false)),
	)
	return it
}

func (it *member) partitions() []int32 {
	it.mutex.Lock()
	defer it.mutex.Unlock()
	return slices.Sorted(maps.Keys(it.owned))
}

// follow polls, each in turn, until all that is wished for is so.
func follow(what string, members []*member, until func() bool) {
	for end := time.Now().Add(time.Minute); !until(); {
		if time.Now().After(end) {
			must(errors.New("not within a minute"), what)
		}
		for _, it := range members {
			within, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
			fetches := it.client.PollFetches(within)
			cancel()
			if err := fetches.Err0(); err != nil && !errors.Is(err, context.DeadlineExceeded) {
				must(err, what)
			}
			for _, record := range fetches.Records() {
				it.read = append(it.read, place{record.Partition, record.Offset})
			}
		}
	}
}

// everyPlace checks that these are all places from one offset to another, each once.
func everyPlace(places []place, from, end int64, what string) {
	counts := map[place]int{}
	for _, it := range places {
		counts[it]++
	}
	for partition := range int32(groupPartitions) {
		for offset := from; offset < end; offset++ {
			equal(1, counts[place{partition, offset}], fmt.Sprintf("%s: reads of %d/%d", what, partition, offset))
		}
	}
	equal(int(end-from)*groupPartitions, len(places), what)
}

func write(topic string, each int) {
	producer := client()
	defer producer.Close()
	var records []*kgo.Record
	for at := range each * groupPartitions {
		records = append(records, &kgo.Record{Topic: topic, Partition: int32(at % groupPartitions), Value: []byte("v")})
	}
	must(producer.ProduceSync(ctx, records...).FirstErr(), "records for a group")
}

// groups: two members share the partitions, commit, and leave; a third goes on where they ended.
func groups(kind string, protocol context.Context) {
	name := "franz-group-" + kind + "-" + run
	create(name, groupPartitions, nil)
	pair := []*member{join(name, protocol), join(name, protocol)}
	follow("two partitions each of "+name, pair, func() bool {
		return len(pair[0].partitions()) == 2 && len(pair[1].partitions()) == 2
	})
	owned := append(pair[0].partitions(), pair[1].partitions()...)
	slices.Sort(owned)
	equal("[0 1 2 3]", fmt.Sprint(owned), "partitions of both")
	listed, err := admin.ListGroups(ctx)
	must(err, "the groups")
	equal("consumer", listed[name].ProtocolType, "the listed type of "+name)
	equal("Stable", listed[name].State, "the listed state of "+name)
	if kind == "consumer" {
		described, err := admin.DescribeConsumerGroups(ctx, name)
		must(err, "a group")
		must(described.Error(), "a group")
		equal("uniform", described[name].AssignorName, "the assignor of "+name)
		equal(2, len(described[name].Members), "members of "+name)
	} else {
		described, err := admin.DescribeGroups(ctx, name)
		must(err, "a group")
		must(described.Error(), "a group")
		equal("sticky", described[name].Protocol, "the assignor of "+name)
		equal(2, len(described[name].Members), "members of "+name)
	}

	write(name, 25)
	follow("a hundred records of "+name, pair, func() bool { return len(pair[0].read)+len(pair[1].read) >= 100 })
	everyPlace(append(slices.Clone(pair[0].read), pair[1].read...), 0, 25, name)
	for _, it := range pair {
		must(it.client.CommitUncommittedOffsets(ctx), "a commit")
		it.client.Close()
	}
	write(name, 5)
	third := join(name, protocol)
	follow("twenty records more of "+name, []*member{third}, func() bool { return len(third.read) >= 20 })
	everyPlace(third.read, 25, 30, name+" gone on with")
	committed, err := admin.FetchOffsets(ctx, name)
	must(err, "the committed offsets")
	must(committed.Error(), "the committed offsets")
	for partition := range int32(groupPartitions) {
		offset, _ := committed.Lookup(name, partition)
		equal(int64(25), offset.At, "a committed offset")
	}
	_, err = admin.DeleteGroup(ctx, name)
	refused(kerr.NonEmptyGroup, err, "deletion of a group at work")
	third.client.Close()
	_, err = admin.DeleteGroup(ctx, name)
	must(err, "deletion of a group")
	remove(name)
}
