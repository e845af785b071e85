package main

import (
	"fmt"
	"math"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// groupPartitions is into how many partitions groups are stored: each has its segment opened once it is written to.
const groupPartitions = 50

// full is how a broker says that it holds as many members, groups and offsets as it may.
const full = "|COORDINATOR_NOT_AVAILABLE"

// groupAttacks: rows 37 and 38, groups, their members and their offsets.
func groupAttacks() []attack {
	invited, joined := "MEMBER_ID_REQUIRED"+full, "held|answered"+full
	all := []attack{
		{row: "37", name: "member ids that nobody uses", siege: invitations, shots: []shot{
			{name: "one group, half an hour", wants: invited}, {name: "one group, 6 s", wants: invited},
			{name: "ever new groups, half an hour", wants: invited}, {name: "ever new groups, 6 s", wants: invited},
		}},
		{row: "37", name: "members at once", siege: newcomers, shots: []shot{
			{name: "of one group", wants: joined}, {name: "50 of a group each", wants: joined},
		}},
		{row: "37", name: "members of the consumer protocol", siege: consumers, shots: []shot{
			{name: "of one group", wants: "answered" + full}, {name: "each of a group", wants: "answered" + full},
		}},
		{row: "37", name: "10 MiB of metadata", siege: heavyMembers, shots: []shot{
			{name: "subscription", wants: "answered|closed" + full},
			{name: "assignment", wants: "UNKNOWN_SERVER_ERROR|UNKNOWN_MEMBER_ID|closed" + full},
		}},
		{row: "37", name: "a group that never settles", siege: restless, shots: []shot{
			{name: "join", wants: "answered|UNKNOWN_MEMBER_ID" + full},
			{name: "sync", wants: "answered|REBALANCE_IN_PROGRESS|ILLEGAL_GENERATION|UNKNOWN_MEMBER_ID"},
			{name: "leave", wants: "answered|UNKNOWN_MEMBER_ID"},
		}},
		limitedAttack("37", "limits of a member", memberLimits),
		limitedAttack("37", "limits of a subscription", subscriptionLimits),
		{row: "38", name: "offsets without end", siege: offsets, shots: []shot{
			{name: "ever new groups", wants: "answered" + full}, {name: "as many as a request holds", wants: "answered" + full},
			{name: "all of them asked for", wants: "answered"},
		}},
		limitedAttack("38", "limits of an offset", offsetLimits),
	}
	for at := range all {
		all[at].shots = append(all[at].shots, shot{name: cleaned, wants: "done"})
		all[at].limit = func(l *Limits) { l.Files += groupPartitions }
	}
	return all
}

// invitations asks for member ids, and never joins with one.
func invitations(f *Field) {
	roll := NewRoll()
	var all sync.WaitGroup
	for name, session := range map[string]time.Duration{"half an hour": sessionLong, "6 s": sessionShort} {
		for shot, group := range map[string]func(int) string{
			"one group, ":       func(int) string { return f.topic + name },
			"ever new groups, ": func(serial int) string { return fmt.Sprint(f.topic, name, serial) },
		} {
			all.Add(1)
			go func() {
				defer all.Done()
				f.pour(shot+name, 2, func(serial int) kmsg.Request { return join(9, group(serial), "", session) }, roll.Note)
			}()
		}
	}
	all.Wait()
	roll.Clear(f)
}

// newcomers join at once, as old clients do, and are gone when they are answered.
func newcomers(f *Field) {
	roll := NewRoll()
	count := 500
	if f.long {
		count = 3_000
	}
	come := func(group string) func(net.Conn) string {
		return func(conn net.Conn) string {
			roll.Group(group)
			if _, err := conn.Write(encoded(join(3, group, "", sessionShort), 1)); err != nil {
				return "closed"
			}
			if err := conn.SetDeadline(f.end); err != nil {
				return "closed"
			}
			body, _, err := read(conn)
			if isTimeout(err) {
				return "held"
			}
			return reaction(int16(kmsg.JoinGroup), 3, body, err)
		}
	}
	var all sync.WaitGroup
	all.Add(1)
	go func() {
		defer all.Done()
		f.crowd("of one group", count, come(f.topic))
	}()
	for at := range count / 50 {
		f.crowd("50 of a group each", 50, come(fmt.Sprint(f.topic, at)))
	}
	all.Wait()
	roll.Clear(f)
}

// consumers are members of KIP-848 that say once what they want, and then nothing.
func consumers(f *Field) {
	roll := NewRoll()
	var all sync.WaitGroup
	for shot, group := range map[string]func(int) string{
		"of one group":    func(int) string { return f.topic },
		"each of a group": func(serial int) string { return fmt.Sprint(f.topic, serial) },
	} {
		all.Add(1)
		go func() {
			defer all.Done()
			f.pour(shot, 2, func(serial int) kmsg.Request {
				return beat(group(serial), fmt.Sprint("member-", serial), 0, f.topic)
			}, roll.Note)
		}()
	}
	all.Wait()
	roll.Clear(f)
}

// heavyMembers bring subscriptions as large as a request may be, and share out as much.
func heavyMembers(f *Field) {
	roll := NewRoll()
	heavy := make([]byte, 10<<20)
	count := 8
	if f.long {
		count = 40
	}
	f.crowd("subscription", count, func(conn net.Conn) string {
		group := fmt.Sprint(f.topic, conn.LocalAddr())
		id, err := invited(conn, group, sessionLong)
		if err != nil {
			return reaction(0, 0, nil, err)
		}
		request := join(5, group, id, sessionLong)
		request.Protocols[0].Metadata = heavy
		response, err := ask(conn, request, answerLimit)
		if err != nil {
			return reaction(0, 0, nil, err)
		}
		roll.Note(request, response)
		if code := firstCode(response); code != 0 {
			f.saw("assignment", codeName(code))
			return codeName(code)
		}
		f.saw("assignment", react(conn, encoded(share(group, id, response.(*kmsg.JoinGroupResponse).Generation, heavy), 1)))
		return "answered"
	})
	roll.Clear(f)
}

// invited asks for a member id.
func invited(conn net.Conn, group string, session time.Duration) (string, error) {
	response, err := ask(conn, join(5, group, "", session), answerLimit)
	if err != nil {
		return "", err
	}
	return response.(*kmsg.JoinGroupResponse).MemberID, nil
}

// restless members come, change their minds and go, as fast as they are answered.
func restless(f *Field) {
	roll := NewRoll()
	roll.Group(f.topic)
	var all sync.WaitGroup
	for at := range 8 {
		all.Add(1)
		go func() {
			defer all.Done()
			conn, err := f.dial()
			if err != nil {
				f.saw("join", "not connected")
				return
			}
			defer conn.Close()
			for turn := 0; time.Now().Before(f.end) && err == nil; turn++ {
				err = f.visit(conn, turn, at%2 == 0)
			}
			if err != nil {
				f.saw("join", reaction(0, 0, nil, err))
			}
		}()
	}
	all.Wait()
	roll.Clear(f)
}

// visit is one member's time in a group: it joins, again with another subscription if it stays a while, and leaves.
func (f *Field) visit(conn net.Conn, turn int, stays bool) error {
	id, err := invited(conn, f.topic, sessionLong)
	if err != nil {
		return err
	}
	rounds := 1
	if stays {
		rounds = 10
	}
	for round := 0; round < rounds && time.Now().Before(f.end); round++ {
		request := join(5, f.topic, id, sessionLong)
		request.Protocols[0].Metadata = fmt.Appendf(nil, "%d %d", turn, round)
		response, err := ask(conn, request, answerLimit)
		if err != nil {
			return err
		}
		f.saw("join", codeName(firstCode(response)))
		generation := response.(*kmsg.JoinGroupResponse).Generation
		if response, err = ask(conn, share(f.topic, id, generation, nil), answerLimit); err != nil {
			return err
		}
		f.saw("sync", codeName(firstCode(response)))
	}
	response, err := ask(conn, leave(f.topic, id), answerLimit)
	if err != nil {
		return err
	}
	f.saw("leave", codeName(firstCode(response)))
	return nil
}

// limited is a request to a group of its own, and the reactions that are right.
type limited struct {
	name  string
	wants string
	ask   func(group string) kmsg.Request
}

// limitedAttack sends each of these requests once.
func limitedAttack(row, name string, all func(topic string) []limited) attack {
	var shots []shot
	for _, it := range all("") {
		shots = append(shots, shot{name: it.name, wants: it.wants})
	}
	return attack{row: row, name: name, siege: func(f *Field) { f.each(all(f.topic)) }, shots: shots}
}

// each sends every request on a connection of its own, all at once, as some are answered late, until the time is over.
func (f *Field) each(all []limited) {
	roll := NewRoll()
	for round := 0; round == 0 || time.Now().Before(f.end); round++ {
		var senders sync.WaitGroup
		for at, it := range all {
			senders.Add(1)
			go func() {
				defer senders.Done()
				f.one(it, fmt.Sprint(f.topic, "-", round, "-", at), roll)
			}()
		}
		senders.Wait()
	}
	roll.Clear(f)
}

// one sends a request to a group of its own.
func (f *Field) one(it limited, group string, roll *Roll) {
	conn, err := f.dial()
	if err != nil {
		f.saw(it.name, "not connected")
		return
	}
	defer conn.Close()
	request := it.ask(group)
	response, err := ask(conn, request, answerLimit)
	if err != nil {
		f.saw(it.name, reaction(0, 0, nil, err))
		return
	}
	f.saw(it.name, codeName(firstCode(response)))
	roll.Note(request, response)
}

func millisOf(it time.Duration) int32 { return int32(it.Milliseconds()) }

func memberLimits(string) (all []limited) {
	wish := func(name, wants string, change func(*kmsg.JoinGroupRequest)) {
		all = append(all, limited{name, wants, func(group string) kmsg.Request {
			request := join(3, group, "", sessionShort)
			change(request)
			return request
		}})
	}
	for _, session := range []int32{0, -1, math.MinInt32, millisOf(sessionShort) - 1, millisOf(sessionLong) + 1, math.MaxInt32} {
		wish(fmt.Sprint("session timeout ", session), "INVALID_SESSION_TIMEOUT", func(r *kmsg.JoinGroupRequest) { r.SessionTimeoutMillis = session })
	}
	for _, rebalance := range []int32{0, -1, math.MinInt32, math.MaxInt32} {
		wish(fmt.Sprint("rebalance timeout ", rebalance), "answered", func(r *kmsg.JoinGroupRequest) { r.RebalanceTimeoutMillis = rebalance })
	}
	wish("no protocols", "INCONSISTENT_GROUP_PROTOCOL", func(r *kmsg.JoinGroupRequest) { r.Protocols = nil })
	wish("no protocol type", "INCONSISTENT_GROUP_PROTOCOL", func(r *kmsg.JoinGroupRequest) { r.ProtocolType = "" })
	wish("10,000 protocols", "answered|closed"+full, func(r *kmsg.JoinGroupRequest) {
		for at := range 10_000 {
			protocol := r.Protocols[0]
			protocol.Name = fmt.Sprint("range ", at)
			r.Protocols = append(r.Protocols, protocol)
		}
	})
	wish("no group", "INVALID_GROUP_ID", func(r *kmsg.JoinGroupRequest) { r.Group = "" })
	wish("a member nobody knows", "UNKNOWN_MEMBER_ID", func(r *kmsg.JoinGroupRequest) { r.MemberID = strings.Repeat("m", math.MaxInt16) })
	wish("a group of 32,767 characters", "answered", func(r *kmsg.JoinGroupRequest) {
		r.Group += strings.Repeat("g", math.MaxInt16-len(r.Group))
	})
	return all
}

// subscriptionLimits are of members of KIP-848.
func subscriptionLimits(string) (all []limited) {
	wish := func(name, wants string, change func(*kmsg.ConsumerGroupHeartbeatRequest)) {
		all = append(all, limited{name, wants, func(group string) kmsg.Request {
			request := beat(group, "member", 0)
			change(request)
			return request
		}})
	}
	expression := func(name, wants, text string) {
		wish(name, wants, func(r *kmsg.ConsumerGroupHeartbeatRequest) {
			r.SubscribedTopicNames, r.SubscribedTopicRegex = nil, &text
		})
	}
	expression("an expression that multiplies", "INVALID_REGULAR_EXPRESSION|UNKNOWN_SERVER_ERROR", "((((a{1000}){1000}){1000}){1000}){1000}")
	expression("an expression that explodes", "answered|INVALID_REGULAR_EXPRESSION", "(x+x+)+y|(a*)*b|((a|a)|(a|a))*c")
	expression("an expression of 30,000 characters", "answered|INVALID_REGULAR_EXPRESSION", strings.Repeat("(a|b)", 6_000))
	expression("an expression 10,000 deep", "INVALID_REGULAR_EXPRESSION|UNKNOWN_SERVER_ERROR", strings.Repeat("(", 10_000)+strings.Repeat(")", 10_000))
	expression("an expression with look-ahead", "INVALID_REGULAR_EXPRESSION", "(?=a)b")
	wish("100,000 topics that are not there", "answered|INVALID_REQUEST|UNKNOWN_SERVER_ERROR|closed"+full, func(r *kmsg.ConsumerGroupHeartbeatRequest) {
		for at := range 100_000 {
			r.SubscribedTopicNames = append(r.SubscribedTopicNames, fmt.Sprint("nowhere-", at))
		}
	})
	wish("no member id", "INVALID_REQUEST", func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.MemberID = "" })
	wish("epoch -5", "INVALID_REQUEST", func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.MemberEpoch = -5 })
	wish("epoch 2^31-1", "UNKNOWN_MEMBER_ID|GROUP_ID_NOT_FOUND", func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.MemberEpoch = math.MaxInt32 })
	wish("rebalance timeout -1", "INVALID_REQUEST", func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.RebalanceTimeoutMillis = -1 })
	wish("rebalance timeout 2^31-1", "answered", func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.RebalanceTimeoutMillis = math.MaxInt32 })
	wish("partitions at the first beat", "INVALID_REQUEST", func(r *kmsg.ConsumerGroupHeartbeatRequest) {
		topic := kmsg.NewConsumerGroupHeartbeatRequestTopic()
		topic.Partitions = []int32{0}
		r.Topics = append(r.Topics, topic)
	})
	wish("an assignor nobody knows", "UNSUPPORTED_ASSIGNOR", func(r *kmsg.ConsumerGroupHeartbeatRequest) {
		assignor := strings.Repeat("a", math.MaxInt16)
		r.ServerAssignor = &assignor
	})
	return all
}
