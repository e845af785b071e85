package main

import (
	"math"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// requestAttacks: rows 31 and 32, sound requests with senseless wishes.
func requestAttacks() []attack {
	wish := func(name, wants string, change func(*kmsg.ProduceRequest)) shot {
		return shot{name, wants, func(topic string) []byte {
			request := produce(topic, -1, single([]byte("a")))
			change(request)
			return encoded(request, 1)
		}}
	}
	return []attack{
		{row: "31", name: "acks and time limits", shots: []shot{
			wish("acks 7", "INVALID_REQUIRED_ACKS", func(r *kmsg.ProduceRequest) { r.Acks = 7 }),
			wish("acks -2", "INVALID_REQUIRED_ACKS", func(r *kmsg.ProduceRequest) { r.Acks = -2 }),
			wish("acks 0, unknown topic", "closed", func(r *kmsg.ProduceRequest) { r.Acks, r.Topics[0].Topic = 0, "nowhere" }),
			wish("acks 0, bad batch", "closed", func(r *kmsg.ProduceRequest) { r.Acks, r.Topics[0].Partitions[0].Records = 0, length(0) }),
			wish("time limit -1", "answered", func(r *kmsg.ProduceRequest) { r.TimeoutMillis = -1 }),
			wish("time limit 2^31-1", "answered", func(r *kmsg.ProduceRequest) { r.TimeoutMillis = math.MaxInt32 }),
			wish("no topics", "answered", func(r *kmsg.ProduceRequest) { r.Topics = nil }),
			wish("partition -1", "UNKNOWN_TOPIC_OR_PARTITION", func(r *kmsg.ProduceRequest) { r.Topics[0].Partitions[0].Partition = -1 }),
			wish("partition 2^31-1", "UNKNOWN_TOPIC_OR_PARTITION", func(r *kmsg.ProduceRequest) { r.Topics[0].Partitions[0].Partition = math.MaxInt32 }),
		}},
		{row: "32", name: "limits of a fetch", shots: fetches()},
		{row: "32", name: "10,000 fetch sessions", siege: sessions, shots: []shot{
			{name: "sessions", wants: "answered"}, {name: "forged id", wants: "FETCH_SESSION_ID_NOT_FOUND"},
			{name: "forged epoch", wants: "INVALID_FETCH_SESSION_EPOCH|FETCH_SESSION_ID_NOT_FOUND"},
		}},
		{row: "32", name: "fetches that wait for ever", siege: longPolls, shots: []shot{{name: "of 1,000", wants: "held|answered"}}},
	}
}

func fetches() []shot {
	wish := func(name, wants string, change func(*kmsg.FetchRequest)) shot {
		return shot{name, wants, func(topic string) []byte {
			request := fetch(topic, 0, 0)
			request.MaxWaitMillis = 0
			change(request)
			return encoded(request, 1)
		}}
	}
	part := func(r *kmsg.FetchRequest) *kmsg.FetchRequestTopicPartition { return &r.Topics[0].Partitions[0] }
	return []shot{
		wish("all bytes", "answered", func(r *kmsg.FetchRequest) { r.MaxBytes, part(r).PartitionMaxBytes = math.MaxInt32, math.MaxInt32 }),
		wish("bytes -1", "UNKNOWN_SERVER_ERROR|answered", func(r *kmsg.FetchRequest) { r.MaxBytes = -1 }),
		wish("least above most", "answered", func(r *kmsg.FetchRequest) { r.MinBytes, r.MaxBytes = math.MaxInt32, 1 }),
		wish("wait -1", "answered", func(r *kmsg.FetchRequest) { r.MaxWaitMillis = -1 }),
		wish("offset -1", "OFFSET_OUT_OF_RANGE", func(r *kmsg.FetchRequest) { part(r).FetchOffset = -1 }),
		wish("offset 2^63-1", "OFFSET_OUT_OF_RANGE", func(r *kmsg.FetchRequest) { part(r).FetchOffset = math.MaxInt64 }),
		wish("partition -1", "UNKNOWN_TOPIC_OR_PARTITION", func(r *kmsg.FetchRequest) { part(r).Partition = -1 }),
		wish("isolation 5", "UNKNOWN_SERVER_ERROR|INVALID_REQUEST", func(r *kmsg.FetchRequest) { r.IsolationLevel = 5 }),
		wish("epoch of the future", "UNKNOWN_LEADER_EPOCH", func(r *kmsg.FetchRequest) { part(r).CurrentLeaderEpoch = math.MaxInt32 }),
		wish("as a replica", "answered|CLUSTER_AUTHORIZATION_FAILED|NOT_LEADER_OR_FOLLOWER|UNKNOWN_SERVER_ERROR|REPLICA_NOT_AVAILABLE|UNKNOWN_LEADER_EPOCH", func(r *kmsg.FetchRequest) { r.ReplicaID = 1 }),
	}
}

// sessions opens many and uses none.
func sessions(f *Field) {
	conn, err := f.dial()
	if err != nil {
		f.saw("sessions", "not connected")
		return
	}
	defer conn.Close()
	var last int32
	full := fetch(f.topic, 0, 0)
	full.SessionEpoch, full.MaxWaitMillis = 0, 0
	for count := 0; count < 10_000 || time.Now().Before(f.end); count++ {
		response, err := ask(conn, full, answerLimit)
		if err != nil {
			f.saw("sessions", "closed")
			return
		}
		last = max(last, response.(*kmsg.FetchResponse).SessionID)
		f.saw("sessions", codeName(firstCode(response)))
	}
	for name, forge := range map[string]func(*kmsg.FetchRequest){
		"forged id":    func(r *kmsg.FetchRequest) { r.SessionID, r.SessionEpoch = 12_345, 1 },
		"forged epoch": func(r *kmsg.FetchRequest) { r.SessionID, r.SessionEpoch = last, 1_000 },
	} {
		request := fetch(f.topic, 0, 0)
		forge(request)
		f.saw(name, react(conn, encoded(request, 1)))
	}
}
