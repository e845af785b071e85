package main

import (
	"bytes"
	"math"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	// slowLimit: a broker ends connections that make no progress within this time.
	slowLimit = 45 * time.Second
	// answerSlowLimit: the time for an answer begins with the answer, which may have waited for memory.
	answerSlowLimit = 60 * time.Second
)

// crowdAttacks: rows 33 to 36, many connections, slow ones and hasty ones.
func crowdAttacks() []attack {
	return []attack{
		// Held: it waits in line for memory that the answers of others have, and its own time has not begun.
		{row: "33", name: "a crowd that never reads", siege: slowReaders, shots: []shot{{name: "readers of all there is", wants: "closed|held"}}},
		{row: "34", name: "a byte a second", siege: slowWriters, shots: []shot{{name: "headers", wants: "closed"}, {name: "bodies", wants: "closed"}}},
		{row: "35", name: "10,000 idle connections", siege: idle, limit: func(l *Limits) { l.Peak = 10_000 * 16 << 10 },
			shots: []shot{{name: "idle", wants: "held|closed"}}},
		{row: "35", name: "connect and close", siege: storm, shots: []shot{{name: "goodbye", wants: "done"}, {name: "reset", wants: "done"}}},
		{row: "35", name: "reset amid a frame", siege: resets, shots: []shot{{name: "half a request", wants: "done"}, {name: "no answer read", wants: "done"}}},
		{row: "36", name: "a million requests, no answer read", siege: flood, shots: []shot{{name: "requests", wants: "no more taken|closed"}}},
		{row: "36", name: "correlation ids", siege: correlations, shots: []shot{{name: "repeated and negative", wants: "in order"}}},
	}
}

// fill writes so many bytes of records into the attack's topic.
func fill(f *Field, total int) error {
	conn, err := f.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	request := produce(f.topic, -1, single(bytes.Repeat([]byte("attack! "), 900<<10/8)))
	for written := 0; written < total; written += 900 << 10 {
		if _, err := ask(conn, request, answerLimit); err != nil {
			return err
		}
	}
	return nil
}

// slowReaders ask for more than fits the way, and read nothing.
func slowReaders(f *Field) {
	if err := fill(f, 16<<20); err != nil {
		f.saw("readers of all there is", err.Error())
		return
	}
	request := fetch(f.topic, 0, 0)
	request.MaxBytes, request.Topics[0].Partitions[0].PartitionMaxBytes = 100<<20, 100<<20
	frame := encoded(request, 1)
	until := time.Now().Add(answerSlowLimit)
	count := 200
	if f.long {
		count = 1_000
	}
	f.crowd("readers of all there is", count, func(conn net.Conn) string {
		_ = conn.(*net.TCPConn).SetReadBuffer(4 << 10) // If it fails, more lies on the way.
		for time.Now().Before(until) {
			if err := conn.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
				return "closed"
			}
			if _, err := conn.Write(frame); err != nil && !isTimeout(err) {
				return "closed"
			}
			time.Sleep(time.Second)
		}
		return "held"
	})
}

// slowWriters send a request byte by byte.
func slowWriters(f *Field) {
	until := time.Now().Add(slowLimit)
	count := 500
	if f.long {
		count = 5_000
	}
	drip := func(first, rest []byte) func(net.Conn) string {
		return func(conn net.Conn) string {
			gone := make(chan string, 1)
			go func() { gone <- ends(conn, until) }()
			send := first
			for at := 0; ; at++ {
				if _, err := conn.Write(send); err != nil {
					return <-gone
				}
				send = rest[at%len(rest) : at%len(rest)+1]
				select {
				case became := <-gone:
					return became
				case <-time.After(time.Second):
				}
			}
		}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.crowd("headers", count, drip([]byte{0}, []byte{0, 16, 0, 0, 3, 0, 1, 0}))
	}()
	whole := encoded(produce(f.topic, -1, single(make([]byte, 100<<10))), 1)
	f.crowd("bodies", count, drip(whole[:1_000], whole[1_000:]))
	<-done
}

// idle connections have said once what they are, as clients do.
func idle(f *Field) {
	hello := encoded(kmsg.NewPtrApiVersionsRequest(), 1)
	until := time.Now().Add(time.Duration(f.seconds+10) * time.Second)
	f.crowd("idle", 10_000, func(conn net.Conn) string {
		if became := react(conn, hello); became != "answered" {
			return became
		}
		return ends(conn, until)
	})
}

func storm(f *Field) {
	for time.Now().Before(f.end) {
		f.crowd("goodbye", 200, func(conn net.Conn) string { return "done" })
		f.crowd("reset", 200, func(conn net.Conn) string {
			reset(conn)
			return "done"
		})
	}
}

func resets(f *Field) {
	whole := encoded(produce(f.topic, -1, single(make([]byte, 64<<10))), 1)
	ask := encoded(metadata(1, true, f.topic), 1)
	for time.Now().Before(f.end) {
		f.crowd("half a request", 50, func(conn net.Conn) string {
			_, _ = conn.Write(whole[:len(whole)/2]) // It is reset all the same.
			reset(conn)
			return "done"
		})
		f.crowd("no answer read", 50, func(conn net.Conn) string {
			_, _ = conn.Write(bytes.Repeat(ask, 20)) // It is reset all the same.
			reset(conn)
			return "done"
		})
		time.Sleep(20 * time.Millisecond)
	}
}

// flood asks and asks, and reads nothing. A broker with bounds stops reading, too.
func flood(f *Field) {
	conn, err := f.dial()
	if err != nil {
		f.saw("requests", "not connected")
		return
	}
	defer conn.Close()
	thousand := bytes.Repeat(encoded(kmsg.NewPtrApiVersionsRequest(), 1), 1_000)
	for range 1_000 {
		if err := conn.SetWriteDeadline(time.Now().Add(2 * time.Second)); err != nil {
			break
		}
		if _, err := conn.Write(thousand); isTimeout(err) {
			f.saw("requests", "no more taken")
			time.Sleep(time.Until(f.end))
			return
		} else if err != nil {
			f.saw("requests", "closed")
			return
		}
	}
	f.saw("requests", "all taken")
}

func correlations(f *Field) {
	ids := []int32{1, 1, -1, math.MinInt32, math.MaxInt32, 0, 1}
	var all []byte
	for _, id := range ids {
		all = append(all, encoded(metadata(1, true, f.topic), id)...)
	}
	for time.Now().Before(f.end) {
		conn, err := f.dial()
		if err != nil {
			f.saw("repeated and negative", "not connected")
			continue
		}
		f.saw("repeated and negative", inOrder(conn, all, ids))
		conn.Close()
		time.Sleep(10 * time.Millisecond)
	}
}

func inOrder(conn net.Conn, all []byte, ids []int32) string {
	if _, err := conn.Write(all); err != nil {
		return "closed"
	}
	for _, id := range ids {
		_, got, err := read(conn)
		if err != nil {
			return "closed"
		}
		if got != id {
			return "out of order"
		}
	}
	return "in order"
}

// longPolls wait for more than will ever come.
func longPolls(f *Field) {
	request := fetch(f.topic, 0, 0)
	request.MaxWaitMillis, request.MinBytes, request.MaxBytes = math.MaxInt32, math.MaxInt32, math.MaxInt32
	frame := encoded(request, 1)
	f.crowd("of 1,000", 1_000, func(conn net.Conn) string {
		if _, err := conn.Write(frame); err != nil {
			return "closed"
		}
		return ends(conn, f.end)
	})
}
