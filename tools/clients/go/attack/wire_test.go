package main

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// checkCode wants this error of an answer.
func checkCode(t *testing.T, want int16, response kmsg.Response) {
	t.Helper()
	if got := firstCode(response); got != want {
		t.Fatalf("want %d, got %d of %#v", want, got, response)
	}
}

func TestAnErrorIsFoundWhereverAnAnswerHasOne(t *testing.T) {
	checkCode(t, 0, &kmsg.SyncGroupResponse{MemberAssignment: []byte{1}})
	checkCode(t, 22, &kmsg.SyncGroupResponse{ErrorCode: 22})
	checkCode(t, 25, &kmsg.LeaveGroupResponse{Members: []kmsg.LeaveGroupResponseMember{{}, {ErrorCode: 25}}})
	partition := kmsg.OffsetFetchResponseGroupTopicPartition{ErrorCode: 88}
	topic := kmsg.OffsetFetchResponseGroupTopic{Partitions: []kmsg.OffsetFetchResponseGroupTopicPartition{{}, partition}}
	group := kmsg.OffsetFetchResponseGroup{Topics: []kmsg.OffsetFetchResponseGroupTopic{{}, topic}}
	checkCode(t, 88, &kmsg.OffsetFetchResponse{Groups: []kmsg.OffsetFetchResponseGroup{{}, group}})
}

func TestTheFirstErrorOfAnAnswerCounts(t *testing.T) {
	checkCode(t, 3, &kmsg.CreateTopicsResponse{Topics: []kmsg.CreateTopicsResponseTopic{{}, {ErrorCode: 3}, {ErrorCode: 42}}})
}
