package main

import (
	"encoding/binary"
	"fmt"
	"math"
	"net"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// frameAttacks: rows 1 to 7, 12, 13 and 15, the first bytes of a connection.
func frameAttacks() []attack {
	return []attack{
		{row: "1", name: "size of 2 GiB", shots: []shot{
			sent("2^31-1", "closed", length32),
			sent("100 MiB and a byte", "closed", size(100<<20+1)),
		}},
		{row: "2", name: "10,000 sizes of 100 MiB", siege: halfFrames, limit: func(l *Limits) { l.Peak = 64 << 20 },
			shots: []shot{{name: "four bytes of 100 MiB", wants: "closed"}}},
		{row: "3", name: "size too small", shots: []shot{
			sent("-1", "closed", size(-1)), sent("-2^31", "closed", size(math.MinInt32)),
			sent("0", "closed", size(0)), sent("1", "closed", append(size(1), 0)),
			sent("7", "closed", append(size(7), make([]byte, 7)...)),
		}},
		{row: "4", name: "header cut", shots: cutHeaders()},
		{row: "5", name: "bytes after the body", siege: trailing, shots: []shot{
			{name: "another request inside the frame", wants: "answered|closed"},
			{name: "the next request", wants: "answered|closed"},
		}},
		{row: "6", name: "other protocols", shots: []shot{
			sent("TLS", "closed", append([]byte{22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3}, make([]byte, 505)...)),
			sent("HTTP", "closed", []byte("GET / HTTP/1.1\r\nHost: broker\r\n\r\n")),
			sent("SSH", "closed", []byte("SSH-2.0-OpenSSH_9.9\r\n")),
		}},
		{row: "7", name: "plaintext on a TLS port", skipped: "no TLS yet"},
		{row: "12", name: "ApiVersions of unknown versions", shots: []shot{
			sent("99", "UNSUPPORTED_VERSION", framed(flexible(18, 99, 1))),
			sent("-1", "UNSUPPORTED_VERSION", framed(header(18, -1, 1, "attack"))),
			sent("32767", "UNSUPPORTED_VERSION", framed(flexible(18, math.MaxInt16, 1))),
		}},
		{row: "13", name: "ApiVersions of a bad client", shots: []shot{
			sent("blanks", "INVALID_REQUEST", software("a b")), sent("empty", "INVALID_REQUEST", software("")),
			sent("64 KiB", "INVALID_REQUEST|closed|answered", software(string(repeat([]byte("a"), 64<<10)))),
			sent("ANSI", "INVALID_REQUEST", software(ansi)),
		}},
		{row: "15", name: "unknown keys and versions", shots: []shot{
			sent("key 500", "closed", framed(header(500, 0, 1, "attack"))),
			sent("key -1", "closed", framed(header(-1, 0, 1, "attack"))),
			sent("key 32767", "closed", framed(header(math.MaxInt16, 0, 1, "attack"))),
			sent("Metadata -1", "closed", framed(header(3, -1, 1, "attack"))),
			sent("Metadata 99", "closed", framed(header(3, 99, 1, "attack"))),
			sent("Produce 99", "closed", framed(header(0, 99, 1, "attack"))),
		}},
	}
}

func size(bytes int32) []byte { return binary.BigEndian.AppendUint32(nil, uint32(bytes)) }

// halfFrames is also the bound of what a broker may take for what it is only promised.
func halfFrames(f *Field) {
	f.crowd("four bytes of 100 MiB", 10_000, func(conn net.Conn) string {
		if _, err := conn.Write(append(size(100<<20), 0, 18, 0, 0)); err != nil {
			return "closed"
		}
		return ends(conn, time.Now().Add(slowLimit))
	})
}

func cutHeaders() (shots []shot) {
	whole := header(3, 1, 1, "attack")
	for _, end := range []int{8, 9, 12} {
		shots = append(shots, sent(fmt.Sprintf("of %d bytes", end), "closed", framed(whole[:end])))
	}
	longer := slices.Clone(whole)
	binary.BigEndian.PutUint16(longer[8:], 32_767)
	negative := slices.Clone(whole)
	binary.BigEndian.PutUint16(negative[8:], 0x8000)
	return append(shots,
		sent("client id longer than the frame", "closed", framed(longer)),
		sent("client id of -32768", "closed|answered", framed(append(negative, 0, 0, 0, 0))),
		sent("tags longer than the frame", "closed", framed(append(header(3, 12, 1, "attack"), 1, 0, 255, 255, 255, 7))),
	)
}

// trailing hides a request behind the body of another, and then asks again on the same connection.
func trailing(f *Field) {
	request := metadata(1, true, f.topic)
	frame := encoded(request, 7)
	inside := encoded(metadata(1, true, f.topic), 8)
	frame = append(frame, inside...)
	binary.BigEndian.PutUint32(frame, uint32(len(frame)-4))
	for time.Now().Before(f.end) {
		conn, err := f.dial()
		if err != nil {
			f.saw("another request inside the frame", "not connected")
			continue
		}
		f.saw("another request inside the frame", react(conn, frame))
		f.saw("the next request", inStep(conn))
		conn.Close()
		time.Sleep(10 * time.Millisecond)
	}
}

// inStep says whether a request is answered by its own answer.
func inStep(conn net.Conn) string {
	if _, err := conn.Write(encoded(kmsg.NewPtrApiVersionsRequest(), 9)); err != nil {
		return "closed"
	}
	body, correlation, err := read(conn)
	if err == nil && correlation != 9 {
		return "answered out of step"
	}
	return reaction(apiVersions, 0, body, err)
}

func software(name string) []byte {
	request := kmsg.NewPtrApiVersionsRequest()
	request.SetVersion(3)
	request.ClientSoftwareName, request.ClientSoftwareVersion = name, "1"
	return encoded(request, 1)
}
