package main

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// fieldAttacks: rows 17 to 22, the fields of requests that are whole.
func fieldAttacks() []attack {
	return []attack{
		{row: "17", name: "client ids", siege: clientIDs, shots: []shot{
			{name: "32,767 bytes", wants: "answered"}, {name: "not UTF-8", wants: "answered"},
			{name: "NUL, newline and ANSI", wants: "answered"}, {name: "10,000 different", wants: "answered"},
		}},
		{row: "18", name: "varints", shots: varints()},
		{row: "19", name: "2^31-1 elements in 100 bytes", shots: longArrays()},
		{row: "20", name: "a million elements", shots: wideArrays()},
		{row: "21", name: "tagged fields", shots: tags()},
		{row: "22", name: "topic names", shots: topicNames()},
	}
}

func clientIDs(f *Field) {
	ids := map[string]string{
		"32,767 bytes":          string(repeat([]byte("a"), math.MaxInt16)),
		"not UTF-8":             "\xff\xfe\xc0\x80",
		"NUL, newline and ANSI": "\x00\r\n" + forged + "\n" + ansi,
	}
	for serial := 0; time.Now().Before(f.end); {
		conn, err := f.dial()
		if err != nil {
			f.saw("10,000 different", "not connected")
			continue
		}
		for shot, id := range ids {
			f.saw(shot, react(conn, framed(append(header(3, 1, 1, id), 0, 0, 0, 0))))
		}
		for range 10_000 / (f.seconds * 20) {
			serial++
			f.saw("10,000 different", react(conn, framed(append(header(3, 1, 1, fmt.Sprint("client-", serial)), 0, 0, 0, 0))))
		}
		conn.Close()
		// A broker logs what it closes, and may say of whom.
		closing, err := f.dial()
		if err == nil {
			react(closing, framed(header(3, 99, 1, ids["NUL, newline and ANSI"])))
			closing.Close()
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// varints stand where Metadata 9 has its array of topics.
func varints() []shot {
	body := func(bytes ...byte) []byte { return framed(append(flexible(3, 9, 1), bytes...)) }
	rest := []byte{1, 0, 0, 0}
	return []shot{
		sent("name of length 0", "closed", body(append([]byte{2, 0, 0}, rest...)...)),
		sent("six bytes", "closed", body(append([]byte{0x80, 0x80, 0x80, 0x80, 0x80, 1}, rest...)...)),
		sent("eleven bytes", "closed", body(append([]byte{0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1}, rest...)...)),
		sent("overlong", "closed|answered", body(append([]byte{0x81, 0x80, 0x80, 0x80, 0}, rest...)...)),
		sent("2^31", "closed", body(append([]byte{0x80, 0x80, 0x80, 0x80, 8}, rest...)...)),
		sent("2^32-1", "closed", body(append([]byte{255, 255, 255, 255, 15}, rest...)...)),
		sent("no end", "closed", body(0x80, 0x80)),
	}
}

func longArrays() []shot {
	filled := func(key, version int16, before ...byte) []byte {
		bytes := append(header(key, version, 1, "attack"), before...)
		bytes = append(bytes, length32...)
		return framed(append(bytes, make([]byte, 100)...))
	}
	compact := append(flexible(3, 12, 1), 255, 255, 255, 255, 7)
	return []shot{
		sent("Metadata", "closed", filled(3, 1)),
		sent("Metadata, compact", "closed", framed(append(compact, make([]byte, 100)...))),
		sent("Produce", "closed", filled(0, 3, 255, 255, 255, 255, 0, 0, 0, 0)),
		sent("Fetch", "closed", filled(1, 4, 255, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0)),
		sent("ListOffsets", "closed", filled(2, 1, 255, 255, 255, 255)),
		sent("CreateTopics", "closed", filled(19, 2)),
		sent("DeleteTopics", "closed", filled(20, 1)),
		sent("DescribeConfigs", "closed", filled(32, 1)),
	}
}

const million = 1_000_000

// wideArrays are of honest length: what counts is what they cost.
func wideArrays() []shot {
	counted := func(key, version int16, before []byte, count int, element []byte, after ...byte) []byte {
		bytes := append(header(key, version, 1, "attack"), before...)
		bytes = binary.BigEndian.AppendUint32(bytes, uint32(count))
		return framed(append(append(bytes, repeat(element, count)...), after...))
	}
	anyone := []byte{255, 255, 255, 255}
	fetchHead := append(append([]byte{}, anyone...), 0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0)
	one := func(topic string) []byte { // An array of one topic, up to its partitions.
		return append(binary.BigEndian.AppendUint16([]byte{0, 0, 0, 1}, uint16(len(topic))), topic...)
	}
	fetchPartition := make([]byte, 4+8+4)
	produceHead := []byte{255, 255, 255, 255, 0, 0, 3, 232}
	return []shot{
		sent("Produce, topics without partitions", "answered|closed",
			counted(0, 3, produceHead, million, []byte{0, 1, 'a', 0, 0, 0, 0})),
		sent("Metadata, the same unknown topic", "UNKNOWN_TOPIC_OR_PARTITION|closed",
			counted(3, 4, nil, million, []byte{0, 1, '-'}, 0)),
		{"Fetch, unknown partitions", "UNKNOWN_TOPIC_OR_PARTITION|closed", func(topic string) []byte {
			partitions := repeat(fetchPartition, million)
			for at := range million {
				binary.BigEndian.PutUint32(partitions[at*len(fetchPartition):], uint32(at+1))
			}
			return counted(1, 4, append(append([]byte{}, fetchHead...), one(topic)...), million, nil, partitions...)
		}},
		{"Fetch, one partition 10,000 times", "answered|closed", func(topic string) []byte {
			return counted(1, 4, append(append([]byte{}, fetchHead...), one(topic)...), 10_000, fetchPartition)
		}},
		{"ListOffsets, one partition a million times", "INVALID_REQUEST|closed", func(topic string) []byte {
			return counted(2, 1, append(append([]byte{}, anyone...), one(topic)...), million, append(make([]byte, 4), 255, 255, 255, 255, 255, 255, 255, 255))
		}},
	}
}

func tags() []shot {
	tagged := func(count int, fields []byte) []byte {
		bytes := binary.AppendUvarint(header(3, 9, 1, "attack"), uint64(count))
		return framed(append(append(bytes, fields...), 1, 0, 0, 0, 0))
	}
	var ascending, descending []byte
	for at := range million {
		ascending = append(binary.AppendUvarint(ascending, uint64(at)), 0)
		descending = append(binary.AppendUvarint(descending, uint64(million-at)), 0)
	}
	return []shot{
		sent("a million", "answered|closed", tagged(million, ascending)),
		sent("descending", "answered|closed", tagged(million, descending)),
		sent("repeated", "answered|closed", tagged(million, repeat([]byte{5, 0}, million))),
		sent("2^31-1 of none", "closed", tagged(math.MaxInt32, nil)),
		sent("size past the end", "closed", tagged(1, []byte{0, 255, 255, 255, 255, 7})),
		sent("size of 2^32-1", "closed", tagged(1, []byte{0, 255, 255, 255, 255, 15})),
	}
}

func topicNames() (shots []shot) {
	create := func(names ...string) []byte {
		request := createTopic(names[0], 1)
		for _, name := range names[1:] {
			request.Topics = append(request.Topics, createTopic(name, 1).Topics...)
		}
		request.ValidateOnly = true
		return encoded(request, 1)
	}
	for _, it := range [][2]string{
		{"250 characters", strings.Repeat("a", 250)}, {"..", ".."}, {".", "."}, {"empty", ""}, {"a path", "../../etc/passwd"},
		{"NUL", "a\x00b"}, {"Unicode", "\u00fc"}, {"newline and ANSI", "\n" + forged + "\n" + ansi},
	} {
		shot, name := it[0], it[1]
		shots = append(shots,
			sent("create "+shot, "INVALID_TOPIC_EXCEPTION", create(name)),
			sent("ask for "+shot, "INVALID_TOPIC_EXCEPTION|UNKNOWN_TOPIC_OR_PARTITION", encoded(metadata(9, true, name), 1)),
			sent("write to "+shot, "INVALID_TOPIC_EXCEPTION|UNKNOWN_TOPIC_OR_PARTITION", encoded(produce(name, -1, single([]byte("a"))), 1)))
	}
	return append(shots, sent("create 10,000", "POLICY_VIOLATION|answered|closed", manyTopics()),
		sent("null names", "closed|UNKNOWN_SERVER_ERROR|INVALID_REQUEST|UNKNOWN_TOPIC_ID", nullNames()))
}

// manyTopics asks whether 10,000 topics could be created.
func manyTopics() []byte {
	request := createTopic("a", 1)
	request.ValidateOnly = true
	template := request.Topics[0]
	for at := range 10_000 {
		template.Topic = fmt.Sprint("many-", at)
		request.Topics = append(request.Topics, template)
	}
	return encoded(request, 1)
}

func nullNames() []byte {
	request := kmsg.NewPtrMetadataRequest()
	request.SetVersion(12)
	request.Topics = make([]kmsg.MetadataRequestTopic, 10_000)
	return encoded(request, 1)
}
