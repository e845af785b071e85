package main

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// answerLimit is how long an answer is waited for.
const answerLimit = 20 * time.Second

// Field is where one attack is carried out: a process of its own, of the lowest priority, so that it takes
// no core from the broker and the canary, as an attacker on another machine would not.
type Field struct {
	address string
	topic   string // empty, of one partition, of this attack alone
	seconds int    // that the attack should last
	long    bool
	end     time.Time
	served  atomic.Int64 // connections made
	mutex   sync.Mutex
	seen    map[string]map[string]int
}

// Strike carries out one attack and prints what it saw.
func Strike(a attack, topic string, options Options) error {
	if err := syscall.Setpriority(syscall.PRIO_PROCESS, 0, 19); err != nil {
		return err
	}
	field := &Field{address: options.address, topic: topic, seconds: options.seconds(), long: options.long}
	field.seen = map[string]map[string]int{}
	field.end = time.Now().Add(time.Duration(field.seconds) * time.Second)
	if a.siege != nil {
		a.siege(field)
	} else if err := field.shoot(a.only(options.shot)); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(field.seen)
}

// saw counts a reaction.
func (f *Field) saw(shot, reaction string) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	if f.seen[shot] == nil {
		f.seen[shot] = map[string]int{}
	}
	f.seen[shot][reaction]++
}

// shoot sends each shot, again and again, each on a connection of its own, until the time is over.
func (f *Field) shoot(shots []shot) error {
	frames := make([][]byte, len(shots))
	for at, shot := range shots {
		frames[at] = shot.send(f.topic)
	}
	for round := 0; round == 0 || time.Now().Before(f.end); round++ {
		for at, shot := range shots {
			conn, err := f.dial()
			if err != nil {
				return fmt.Errorf("%s: %w", shot.name, err)
			}
			f.saw(shot.name, react(conn, frames[at]))
			conn.Close()
			time.Sleep(10 * time.Millisecond)
		}
	}
	return nil
}

// react sends bytes that begin with a request, and says what becomes of it.
func react(conn net.Conn, bytes []byte) string {
	if err := conn.SetDeadline(time.Now().Add(answerLimit)); err != nil {
		return "closed"
	}
	// The broker may close before it has read all: its answer counts, not our failure to write.
	_, _ = conn.Write(bytes)
	body, _, err := read(conn)
	var key, version int16
	if len(bytes) >= 8 {
		key, version = int16(binary.BigEndian.Uint16(bytes[4:])), int16(binary.BigEndian.Uint16(bytes[6:]))
	}
	if key == apiVersions && (version < 0 || version > 4) {
		version = 0 // What an unknown version is answered with.
	}
	return reaction(key, version, body, err)
}

// dial connects; on this machine from many addresses, so that ports do not run out.
func (f *Field) dial() (net.Conn, error) {
	dialer := net.Dialer{Timeout: 10 * time.Second}
	if host, _, err := net.SplitHostPort(f.address); err == nil && net.ParseIP(host).IsLoopback() {
		from := f.served.Add(1) / 1_000
		own := os.Getpid()
		dialer.LocalAddr = &net.TCPAddr{IP: net.IPv4(127, byte(1+own%250), byte(1+own/250%250), byte(1+from%250))}
	}
	return dialer.Dial("tcp", f.address)
}

// crowd has count connections open at once, and does something with each, many at a time.
// What cannot connect is counted as a reaction of its own.
func (f *Field) crowd(shot string, count int, do func(net.Conn) string) {
	var all sync.WaitGroup
	door := make(chan struct{}, 64) // that many connect at a time
	for range count {
		all.Add(1)
		door <- struct{}{}
		go func() {
			defer all.Done()
			conn, err := f.dial()
			<-door
			if err != nil {
				f.saw(shot, "not connected")
				return
			}
			defer conn.Close()
			f.saw(shot, do(conn))
		}()
	}
	all.Wait()
}

// pourWindow requests may be unanswered on a connection.
const pourWindow = 64

// pour sends requests on some connections, each of a serial number of its own, until the time is over, and counts
// the answers. Those that were answered are told to heard, if there is one, with their answers.
func (f *Field) pour(shot string, connections int, next func(serial int) kmsg.Request, heard func(kmsg.Request, kmsg.Response)) {
	var serial atomic.Int64
	more := func() kmsg.Request {
		if !time.Now().Before(f.end) {
			return nil
		}
		return next(int(serial.Add(1)))
	}
	var all sync.WaitGroup
	for range connections {
		all.Add(1)
		go func() {
			defer all.Done()
			conn, err := f.dial()
			if err == nil {
				defer conn.Close()
				err = pipeline(conn, more, func(request kmsg.Request, response kmsg.Response) {
					f.saw(shot, codeName(firstCode(response)))
					if heard != nil {
						heard(request, response)
					}
				})
			}
			if err != nil {
				f.saw(shot, reaction(0, 0, nil, err))
			}
		}()
	}
	all.Wait()
}

// drain sends all requests on one connection, and has each answer heard.
func (f *Field) drain(requests []kmsg.Request, heard func(kmsg.Response)) error {
	conn, err := f.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	at := 0
	more := func() kmsg.Request {
		if at == len(requests) {
			return nil
		}
		at++
		return requests[at-1]
	}
	return pipeline(conn, more, func(_ kmsg.Request, response kmsg.Response) {
		if heard != nil {
			heard(response)
		}
	})
}

// pipeline sends requests until there are no more, and does not wait for the answer of one with the next.
func pipeline(conn net.Conn, more func() kmsg.Request, heard func(kmsg.Request, kmsg.Response)) error {
	sent, over := make(chan kmsg.Request, pourWindow), make(chan struct{})
	go func() {
		defer close(sent)
		for request := more(); request != nil; request = more() {
			select {
			case sent <- request:
			case <-over:
				return
			}
			if _, err := conn.Write(encoded(request, 1)); err != nil {
				return // Whoever reads learns of it, too.
			}
		}
	}()
	defer close(over)
	for request := range sent {
		if err := conn.SetReadDeadline(time.Now().Add(answerLimit)); err != nil {
			return err
		}
		body, _, err := read(conn)
		if err != nil {
			return err
		}
		response, err := decoded(request.Key(), request.GetVersion(), body)
		if err != nil {
			return err
		}
		heard(request, response)
	}
	return nil
}

// ends waits until the broker closes the connection, or patience ends.
func ends(conn net.Conn, until time.Time) string {
	if err := conn.SetDeadline(until); err != nil {
		return "closed"
	}
	if _, err := io.Copy(io.Discard, conn); isTimeout(err) {
		return "held"
	}
	return "closed"
}

func isTimeout(err error) bool {
	timeout, ok := err.(net.Error)
	return ok && timeout.Timeout()
}

// reset closes a connection without goodbye.
func reset(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // If it fails the goodbye is sent.
	}
	conn.Close()
}
