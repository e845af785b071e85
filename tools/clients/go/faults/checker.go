package main

import (
	"fmt"
	"sort"
)

// ID names one record that a producer sent: the seq-th of that producer to that partition.
type ID struct {
	Producer uint32
	Seq      uint64
}

// Place is a partition of one incarnation of a topic.
type Place struct {
	Topic     string
	Partition int32
}

func (p Place) String() string { return fmt.Sprintf("%s/%d", p.Topic, p.Partition) }

// Fault is a kind of broken promise.
type Fault string

const (
	Lost         Fault = "lost"         // acknowledged or read, and not there any more
	Inconsistent Fault = "inconsistent" // one offset, two records
	Duplicate    Fault = "duplicate"    // a record of an idempotent producer, twice
	Order        Fault = "order"        // of one producer, turned round
	Phantom      Fault = "phantom"      // a record that nobody sent there, or not with these bytes
	Skip         Fault = "skip"         // a reader was not given the next offset
	Watermark    Fault = "watermark"    // went back, or a record was read past it
	Undone       Fault = "undone"       // a DeleteRecords, or one that nobody asked for
)

// Violation is a broken promise.
type Violation struct {
	Kind Fault
	Text string
}

func (v Violation) String() string { return string(v.Kind) + ": " + v.Text }

// entry is what is known of one offset.
type entry struct {
	id    ID
	hash  uint64 // of all bytes a reader saw; 0 until the first read
	acked bool
	seen  bool
}

// history is what was promised about one partition. Offsets are indices, so there are no holes to hide in.
type history struct {
	entries  []entry
	acked    map[ID]int64
	sent     map[uint32]uint64 // by producer, how many records it sent
	end      int64             // the largest that the broker named
	start    int64             // acknowledged by DeleteRecords: nothing below may be read again
	startMax int64             // asked for, perhaps not acknowledged
}

// Checker knows every acknowledged record and every record that a reader saw.
// It is told events in the order in which they became known, and keeps the violations.
type Checker struct {
	places     map[Place]*history
	idempotent map[uint32]bool
	violations []Violation
	LostCount  int // violations of the kind `Lost`, however many are kept
	Acked      int
	Read       int
	Repeated   int // records of plain producers that are there more than once
}

func NewChecker() *Checker {
	return &Checker{places: map[Place]*history{}, idempotent: map[uint32]bool{}}
}

// Idempotent says that this producer's records must be there at most once, in order.
func (c *Checker) Idempotent(producer uint32) { c.idempotent[producer] = true }

func (c *Checker) Violations() []Violation { return c.violations }

func (c *Checker) fail(kind Fault, format string, arguments ...any) {
	if kind == Lost {
		c.LostCount++
	}
	same := 0
	for _, it := range c.violations {
		if it.Kind == kind {
			same++
		}
	}
	if same < 10 {
		c.violations = append(c.violations, Violation{kind, fmt.Sprintf(format, arguments...)})
	}
}

func (c *Checker) at(place Place) *history {
	found := c.places[place]
	if found == nil {
		found = &history{acked: map[ID]int64{}, sent: map[uint32]uint64{}}
		c.places[place] = found
	}
	return found
}

func (h *history) entry(offset int64) *entry {
	for int64(len(h.entries)) <= offset {
		h.entries = append(h.entries, entry{})
	}
	return &h.entries[offset]
}

// Sent: this record is about to be sent there, in the order of its producer's sequence.
func (c *Checker) Sent(place Place, id ID) {
	sent := c.at(place).sent
	sent[id.Producer] = max(sent[id.Producer], id.Seq+1)
}

// Corrupt: a reader of the place was given a value that is not what any producer made.
func (c *Checker) Corrupt(place Place, offset int64, err error) {
	c.fail(Phantom, "%v offset %d: %v", place, offset, err)
}

// Ack: the broker promised this record at this offset.
func (c *Checker) Ack(place Place, offset int64, id ID) {
	c.Acked++
	h := c.at(place)
	if offset < 0 {
		c.fail(Inconsistent, "%v: %v acknowledged at offset %d", place, id, offset)
		return
	}
	known := h.entry(offset)
	if (known.acked || known.seen) && known.id != id {
		c.fail(Inconsistent, "%v offset %d: acknowledged for %v, known as %v", place, offset, id, known.id)
	}
	if before, twice := h.acked[id]; twice {
		c.fail(Duplicate, "%v: %v acknowledged at %d and at %d", place, id, before, offset)
	}
	h.acked[id] = offset
	known.id, known.acked = id, true
}

// Session is one reader of one partition, from its first offset on.
type Session struct {
	place Place
	next  int64
	name  string
	// The largest high watermark that the session was told.
	watermark int64
}

// Reader starts a session that must see every offset from next on.
func (c *Checker) Reader(place Place, next int64, name string) *Session {
	return &Session{place: place, next: next, name: name}
}

// Next is the offset that the session must see next.
func (s *Session) Next() int64 { return s.next }

// Watermark: an answer to the session named this high watermark.
func (c *Checker) Watermark(session *Session, offset int64) {
	if offset < session.watermark {
		c.fail(Watermark, "%v: %s was told the high watermark %d, after %d", session.place, session.name, offset, session.watermark)
	}
	session.watermark = max(session.watermark, offset)
}

// Saw: the session was given this record; hash covers every byte and time of it.
func (c *Checker) Saw(session *Session, offset int64, id ID, hash uint64) {
	c.Read++
	place := session.place
	h := c.at(place)
	if h.sent[id.Producer] <= id.Seq {
		c.fail(Phantom, "%v offset %d: %s read %v, which nobody sent there", place, offset, session.name, id)
	}
	if session.watermark <= offset {
		c.fail(Watermark, "%v offset %d: %s read it past the high watermark %d", place, offset, session.name, session.watermark)
	}
	if offset != session.next {
		c.fail(Skip, "%v: %s saw offset %d, expected %d", place, session.name, offset, session.next)
	}
	session.next = offset + 1
	known := h.entry(offset)
	if (known.acked || known.seen) && known.id != id {
		c.fail(Inconsistent, "%v offset %d: %s read %v, known as %v", place, offset, session.name, id, known.id)
	}
	if known.seen && known.hash != hash {
		c.fail(Inconsistent, "%v offset %d: %s read other bytes than a reader before", place, offset, session.name)
	}
	known.id, known.hash, known.seen = id, hash, true
}

// Cut: DeleteRecords to offset was asked for, and perhaps acknowledged.
func (c *Checker) Cut(place Place, offset int64, acked bool) {
	h := c.at(place)
	h.startMax = max(h.startMax, offset)
	if acked {
		h.start = max(h.start, offset)
	}
}

// Starts: the broker says that the partition starts here.
func (c *Checker) Starts(place Place, offset int64) {
	h := c.at(place)
	if offset < h.start {
		c.fail(Undone, "%v: starts at %d, though it started at %d before, or an acknowledged DeleteRecords cut it there", place, offset, h.start)
	}
	if offset > h.startMax {
		c.fail(Undone, "%v: starts at %d, though nobody asked for more than %d to be deleted", place, offset, h.startMax)
	}
	// What readers may have seen from now on stays: the start never goes back.
	h.start = max(h.start, offset)
}

// Known is the end of what was promised: a read of the whole log must come at least this far.
func (c *Checker) Known(place Place) int64 { return int64(len(c.at(place).entries)) }

// Ends: the broker says that the partition ends here, asked after `promised` was known.
func (c *Checker) Ends(place Place, promised, offset int64) {
	h := c.at(place)
	if offset < promised {
		c.fail(Lost, "%v: ends at %d, though offsets below %d were acknowledged or read", place, offset, promised)
	}
	if offset < h.end {
		c.fail(Watermark, "%v: ends at %d, and ended at %d before", place, offset, h.end)
	}
	h.end = max(h.end, offset)
}

// Whole: a session read the partition from start to its end, when nobody was writing any more.
func (c *Checker) Whole(place Place, start int64, session *Session) {
	h := c.at(place)
	for offset := max(start, session.next); offset < int64(len(h.entries)); offset++ {
		if known := h.entries[offset]; known.acked {
			c.fail(Lost, "%v offset %d: acknowledged %v is lost", place, offset, known.id)
		} else if known.seen {
			c.fail(Lost, "%v offset %d: %v was seen by a reader and is gone", place, offset, known.id)
		}
	}
	c.producers(place, start, h)
}

// producers: order, and at most once for the idempotent.
func (c *Checker) producers(place Place, start int64, h *history) {
	offsets := map[uint32][]int64{}
	for offset := start; offset < int64(len(h.entries)); offset++ {
		if h.entries[offset].seen {
			producer := h.entries[offset].id.Producer
			offsets[producer] = append(offsets[producer], offset)
		}
	}
	names := make([]uint32, 0, len(offsets))
	for producer := range offsets {
		names = append(names, producer)
	}
	sort.Slice(names, func(a, b int) bool { return names[a] < names[b] })
	for _, producer := range names {
		first := map[uint64]int64{}
		var last uint64
		for index, offset := range offsets[producer] {
			seq := h.entries[offset].id.Seq
			before, twice := first[seq]
			switch {
			case twice && c.idempotent[producer]:
				c.fail(Duplicate, "%v: producer %d record %d is at %d and at %d", place, producer, seq, before, offset)
			case twice:
				c.Repeated++
			case index > 0 && seq < last:
				c.fail(Order, "%v offset %d: producer %d record %d comes after %d", place, offset, producer, seq, last)
			}
			if !twice {
				first[seq] = offset
				last = max(last, seq)
			}
		}
	}
}
