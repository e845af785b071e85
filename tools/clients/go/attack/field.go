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
