package main

import (
	"fmt"
	"math"
	"strings"
	"sync"

	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	// metadataMax is the most that brokers take with an offset by default.
	metadataMax = 4096
	// widePartitions times metadataMax fit one batch of a broker.
	widePartitions = 200
)

// offsets are committed for ever new groups, one each and as many as fit a request, and then asked for.
func offsets(f *Field) {
	wide := f.topic + "-wide"
	if err := makeTopic(f.address, wide, widePartitions); err != nil {
		f.saw(cleaned, err.Error())
		return
	}
	var partitions []int32
	for at := range int32(widePartitions) {
		partitions = append(partitions, at)
	}
	long := strings.Repeat("o", metadataMax)
	roll := NewRoll()
	var all sync.WaitGroup
	for shot, next := range map[string]func(int) kmsg.Request{
		"ever new groups": func(serial int) kmsg.Request { return commit(fmt.Sprint(f.topic, serial), f.topic, "", 0) },
		"as many as a request holds": func(serial int) kmsg.Request {
			return commit(fmt.Sprint(f.topic, "-wide-", serial), wide, long, partitions...)
		},
	} {
		all.Add(1)
		go func() {
			defer all.Done()
			f.pour(shot, 2, next, roll.Note)
		}()
	}
	all.Wait()
	f.fetchAll(roll)
	roll.Clear(f)
	if err := dropTopic(f.address, wide); err != nil {
		f.saw(cleaned, err.Error())
	}
}

// fetchAll asks for the offsets of all groups, 20 in a request.
func (f *Field) fetchAll(roll *Roll) {
	var requests []kmsg.Request
	var names []string
	for name := range roll.groups {
		if names = append(names, name); len(names) == 20 {
			requests = append(requests, committed(names...))
			names = nil
		}
	}
	requests = append(requests, committed(names...))
	err := f.drain(requests, func(response kmsg.Response) { f.saw("all of them asked for", codeName(firstCode(response))) })
	if err != nil {
		f.saw("all of them asked for", reaction(0, 0, nil, err))
	}
}

// offsetLimits are commits of what is not there or may not be, and questions after what nobody has committed.
func offsetLimits(topic string) (all []limited) {
	wish := func(name, wants string, change func(*kmsg.OffsetCommitRequest)) {
		all = append(all, limited{name, wants, func(group string) kmsg.Request {
			request := commit(group, topic, "", 0)
			change(request)
			return request
		}})
	}
	part := func(r *kmsg.OffsetCommitRequest) *kmsg.OffsetCommitRequestTopicPartition {
		return &r.Topics[0].Partitions[0]
	}
	metadata := func(bytes int) func(*kmsg.OffsetCommitRequest) {
		return func(r *kmsg.OffsetCommitRequest) {
			text := strings.Repeat("o", bytes)
			part(r).Metadata = &text
		}
	}
	wish("metadata of 4,096 bytes", "answered", metadata(metadataMax))
	wish("metadata of 4,097 bytes", "OFFSET_METADATA_TOO_LARGE", metadata(metadataMax+1))
	wish("metadata of 32,767 bytes", "OFFSET_METADATA_TOO_LARGE", metadata(math.MaxInt16))
	wish("metadata of 1 MiB", "OFFSET_METADATA_TOO_LARGE|closed", metadata(1<<20))
	wish("offset -5", "answered|OFFSET_OUT_OF_RANGE|INVALID_REQUEST", func(r *kmsg.OffsetCommitRequest) { part(r).Offset = -5 })
	wish("offset 2^63-1", "answered", func(r *kmsg.OffsetCommitRequest) { part(r).Offset = math.MaxInt64 })
	wish("unknown topic", "UNKNOWN_TOPIC_OR_PARTITION", func(r *kmsg.OffsetCommitRequest) { r.Topics[0].Topic = "nowhere" })
	wish("partition -1", "UNKNOWN_TOPIC_OR_PARTITION", func(r *kmsg.OffsetCommitRequest) { part(r).Partition = -1 })
	wish("partition 2^31-1", "UNKNOWN_TOPIC_OR_PARTITION", func(r *kmsg.OffsetCommitRequest) { part(r).Partition = math.MaxInt32 })
	wish("generation of a group that is not there", "ILLEGAL_GENERATION", func(r *kmsg.OffsetCommitRequest) { r.Generation = 7 })
	wish("the same, version 9", "GROUP_ID_NOT_FOUND", func(r *kmsg.OffsetCommitRequest) {
		r.SetVersion(9)
		r.Generation, r.MemberID = 7, "forged"
	})
	wish("one partition 10,000 times", "answered|closed", func(r *kmsg.OffsetCommitRequest) {
		for range 10_000 {
			r.Topics[0].Partitions = append(r.Topics[0].Partitions, *part(r))
		}
	})
	wish("a million partitions that are not there", "UNKNOWN_TOPIC_OR_PARTITION|closed", func(r *kmsg.OffsetCommitRequest) {
		for at := range int32(million) {
			partition := *part(r)
			partition.Partition = at + 1
			r.Topics[0].Partitions = append(r.Topics[0].Partitions, partition)
		}
	})
	return append(all, questions(topic)...)
}

func questions(topic string) []limited {
	return []limited{
		{"a million partitions asked for", "answered|closed", func(group string) kmsg.Request {
			request := committed(group)
			it := kmsg.NewOffsetFetchRequestGroupTopic()
			it.Topic = topic
			for at := range int32(million) {
				it.Partitions = append(it.Partitions, at)
			}
			request.Groups[0].Topics = append(request.Groups[0].Topics, it)
			return request
		}},
		{"100,000 groups asked for", "answered|closed", func(group string) kmsg.Request {
			var names []string
			for at := range 100_000 {
				names = append(names, fmt.Sprint(group, at))
			}
			return committed(names...)
		}},
		{"100,000 groups deleted", "GROUP_ID_NOT_FOUND|closed", func(group string) kmsg.Request {
			request := kmsg.NewPtrDeleteGroupsRequest()
			request.SetVersion(2)
			for at := range 100_000 {
				request.Groups = append(request.Groups, fmt.Sprint(group, at))
			}
			return request
		}},
		{"100,000 groups described", "answered|GROUP_ID_NOT_FOUND|closed", func(group string) kmsg.Request {
			request := kmsg.NewPtrDescribeGroupsRequest()
			request.SetVersion(5)
			for at := range 100_000 {
				request.Groups = append(request.Groups, fmt.Sprint(group, at))
			}
			return request
		}},
	}
}
