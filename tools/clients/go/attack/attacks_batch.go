package main

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// batchAttacks: rows 23 to 27 and 30, the batch of a Produce request.
func batchAttacks() []attack {
	return []attack{
		{row: "23", name: "batch lengths", shots: []shot{
			written("48", "CORRUPT_MESSAGE", length(48)), written("0", "CORRUPT_MESSAGE", length(0)),
			written("-1", "CORRUPT_MESSAGE|INVALID_RECORD", length(-1)),
			written("past the end", "INVALID_RECORD|CORRUPT_MESSAGE", length(1_000)),
			written("2^31-1", "INVALID_RECORD|CORRUPT_MESSAGE", length(math.MaxInt32)),
			written("one short", "CORRUPT_MESSAGE|INVALID_RECORD", length(int32(len(single([]byte("a")))-13))),
		}},
		{row: "24", name: "checksum, format, attributes", shots: heads()},
		{row: "25", name: "counts and offsets", shots: counts()},
		{row: "26", name: "other than one batch", shots: []shot{
			written("two batches", "INVALID_RECORD", slices.Concat(single([]byte("a")), single([]byte("b")))),
			written("bytes after it", "answered|INVALID_RECORD", append(single([]byte("a")), 1, 2, 3)),
			written("none", "INVALID_RECORD", []byte{}),
			written("null", "INVALID_RECORD|closed", nil),
			written("half a header", "INVALID_RECORD", single([]byte("a"))[:30]),
		}},
		{row: "27", name: "bodies of records", shots: bodies()},
		{row: "30", name: "timestamps", shots: timestamps()},
	}
}

// written is a shot that produces these bytes.
func written(name, wants string, records []byte) shot {
	return shot{name, wants, func(topic string) []byte { return encoded(produce(topic, -1, records), 1) }}
}

func length(bytes int32) []byte {
	batch := single([]byte("a"))
	binary.BigEndian.PutUint32(batch[lengthAt:], uint32(bytes))
	return batch
}

func heads() (shots []shot) {
	crc := single([]byte("a"))
	crc[crcAt] ^= 1
	shots = append(shots, written("wrong checksum", "CORRUPT_MESSAGE", crc))
	for _, magic := range []int8{0, 1, 3, -1} {
		batch := single([]byte("a"))
		batch[magicAt] = byte(magic)
		shots = append(shots, written(fmt.Sprint("magic ", magic), "CORRUPT_MESSAGE|INVALID_RECORD|UNSUPPORTED_FOR_MESSAGE_FORMAT", batch))
	}
	for _, codec := range []int16{5, 6, 7} {
		shots = append(shots, written(fmt.Sprint("codec ", codec), "UNKNOWN_SERVER_ERROR|CORRUPT_MESSAGE|UNSUPPORTED_COMPRESSION_TYPE", changed(func(b *kmsg.RecordBatch) { b.Attributes = codec })))
	}
	return append(shots,
		written("reserved bits", "answered|INVALID_RECORD", changed(func(b *kmsg.RecordBatch) { b.Attributes = -0x80 })),
		written("control", "INVALID_RECORD", changed(func(b *kmsg.RecordBatch) { b.Attributes = 32 })),
		written("transactional", "TRANSACTIONAL_ID_AUTHORIZATION_FAILED|INVALID_RECORD", changed(func(b *kmsg.RecordBatch) { b.Attributes = 16 })))
}

func counts() []shot {
	one := func(name string, change func(*kmsg.RecordBatch)) shot {
		return written(name, "INVALID_RECORD", changed(change))
	}
	return []shot{
		one("last offset delta 3 of 3", func(b *kmsg.RecordBatch) { b.LastOffsetDelta = 3 }),
		one("last offset delta -1", func(b *kmsg.RecordBatch) { b.LastOffsetDelta = -1 }),
		one("last offset delta 2^31-1", func(b *kmsg.RecordBatch) { b.LastOffsetDelta = math.MaxInt32 }),
		one("count -1", func(b *kmsg.RecordBatch) { b.NumRecords = -1 }),
		one("count 0", func(b *kmsg.RecordBatch) { b.NumRecords = 0 }),
		one("count 2^31-1", func(b *kmsg.RecordBatch) { b.NumRecords = math.MaxInt32 }),
		one("count 2^31-1, deltas too", func(b *kmsg.RecordBatch) { b.NumRecords, b.LastOffsetDelta = math.MaxInt32, math.MaxInt32-1 }),
		one("count of fewer", func(b *kmsg.RecordBatch) { b.NumRecords, b.LastOffsetDelta = 2, 1 }),
		one("base offset 5", func(b *kmsg.RecordBatch) { b.FirstOffset = 5 }),
		one("base offset -1", func(b *kmsg.RecordBatch) { b.FirstOffset = -1 }),
		written("gap", "INVALID_RECORD|answered", sealed(batchOf(2, append(record(0, nil), record(9, nil)...)))),
	}
}

func bodies() []shot {
	// raw is one record of these bytes, after a length that need not fit.
	raw := func(name string, length int64, body ...byte) shot {
		return written(name, "INVALID_RECORD", sealed(batchOf(1, append(binary.AppendVarint(nil, length), body...))))
	}
	many := binary.AppendVarint([]byte{0, 0, 0, 1, 1}, math.MaxInt32)
	return []shot{
		raw("length past the end", 1_000, 0, 0, 0, 1, 1, 0), raw("length -1", -1, 0, 0, 0, 1, 1, 0),
		raw("length 2^31-1", math.MaxInt32, 0, 0, 0, 1, 1, 0), raw("length 0", 0),
		raw("key of -2", 6, 0, 0, 0, 3, 1, 0), raw("value of -2", 6, 0, 0, 0, 1, 3, 0),
		raw("key past the end", 6, 0, 0, 0, 100, 1, 0),
		raw("2^31-1 headers", int64(len(many)), many...),
		raw("-1 headers", 6, 0, 0, 0, 1, 1, 1),
		raw("header with a null key", 8, 0, 0, 0, 1, 1, 2, 1, 1),
		raw("bytes after the headers", 8, 0, 0, 0, 1, 1, 0, 0, 0),
		raw("length without end", -1<<62, 128, 128, 128, 128, 128),
		written("bytes after the records", "INVALID_RECORD", sealed(batchOf(1, append(record(0, nil), 1, 2, 3)))),
	}
}

func timestamps() []shot {
	at := func(name, wants string, first, most int64) shot {
		return written(name, wants, changed(func(b *kmsg.RecordBatch) { b.FirstTimestamp, b.MaxTimestamp = first, most }))
	}
	now := time.Now().UnixMilli()
	future := time.Now().AddDate(10, 0, 0).UnixMilli()
	return []shot{
		at("smallest", "answered|INVALID_TIMESTAMP", math.MinInt64, math.MinInt64), at("largest", "INVALID_TIMESTAMP", math.MaxInt64, math.MaxInt64),
		at("in ten years", "INVALID_TIMESTAMP", future, future), at("-1", "answered|INVALID_TIMESTAMP", -1, -1),
		at("max is a lie", "answered|INVALID_TIMESTAMP", now, math.MaxInt64), at("max below first", "answered|INVALID_TIMESTAMP", now, 0),
	}
}
