package main

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
)

var place = Place{Topic: "t", Partition: 0}

// record is a step of a history: what was acknowledged, or what a reader saw.
type record struct {
	offset int64
	id     ID
	hash   uint64
}

func honest() (acks, reads []record) {
	for at := int64(0); at < 10; at++ {
		id := ID{Producer: uint32(at % 2), Seq: uint64(at / 2)}
		acks = append(acks, record{at, id, 0})
		reads = append(reads, record{at, id, uint64(100 + at)})
	}
	return acks, reads
}

// check tells a checker a history (an early reader of the first half, then the whole) and wants this violation.
func check(t *testing.T, want string, acks, early, whole []record, told func(*Checker)) {
	t.Helper()
	checker := NewChecker()
	checker.Idempotent(0)
	for _, it := range slices.Concat(acks, early, whole) {
		checker.Sent(place, it.id)
	}
	for _, it := range acks {
		checker.Ack(place, it.offset, it.id)
	}
	if told != nil {
		told(checker)
	}
	if len(early) > 0 {
		session := checker.Reader(place, early[0].offset, "early")
		checker.Watermark(session, 100)
		for _, it := range early {
			checker.Saw(session, it.offset, it.id, it.hash)
		}
	}
	start := int64(0)
	if len(whole) > 0 {
		start = whole[0].offset
	}
	checker.Starts(place, start)
	session := checker.Reader(place, start, "whole")
	checker.Watermark(session, 100)
	for _, it := range whole {
		checker.Saw(session, it.offset, it.id, it.hash)
	}
	checker.Whole(place, start, session)
	var lines []string
	for _, it := range checker.Violations() {
		lines = append(lines, it.String())
	}
	got := strings.Join(lines, "\n")
	if want == "" && got != "" || !strings.Contains(got, want) {
		t.Fatalf("want %q, got %q", want, got)
	}
}

func TestAnHonestHistoryPasses(t *testing.T) {
	acks, reads := honest()
	check(t, "", acks, reads[:5], reads, nil)
}

func TestARecordOfUnknownFateMayStay(t *testing.T) {
	acks, reads := honest()
	check(t, "", acks[:8], reads[:5], reads, nil)
}

func TestALostTailIsFound(t *testing.T) {
	acks, reads := honest()
	check(t, "acknowledged {1 4} is lost", acks, reads[:5], reads[:9], nil)
}

func TestALostRecordInTheMiddleIsFound(t *testing.T) {
	acks, reads := honest()
	check(t, "saw offset 4, expected 3", acks, nil, append(append([]record{}, reads[:3]...), reads[4:]...), nil)
}

func TestAnotherRecordAtAnAcknowledgedOffsetIsFound(t *testing.T) {
	acks, reads := honest()
	reads[6].id = ID{Producer: 9, Seq: 1}
	check(t, "read {9 1}, known as {0 3}", acks, nil, reads, nil)
}

func TestARecordAtAnotherOffsetThanAcknowledgedIsFound(t *testing.T) {
	acks, reads := honest()
	reads[6].id, reads[7].id = reads[7].id, reads[6].id
	check(t, "known as {0 3}", acks, nil, reads, nil)
}

func TestChangedBytesAreFound(t *testing.T) {
	acks, reads := honest()
	changed := append([]record{}, reads...)
	changed[2].hash++
	check(t, "other bytes", acks, reads[:5], changed, nil)
}

func TestARecordThatAReaderSawMayNotVanish(t *testing.T) {
	acks, reads := honest()
	check(t, "was seen by a reader and is gone", acks[:8], reads, reads[:8], nil)
}

func TestADuplicateOfAnIdempotentProducerIsFound(t *testing.T) {
	acks, reads := honest()
	check(t, "is at 8 and at 10", acks, nil, append(reads, record{10, ID{0, 4}, 7}), nil)
}

func TestAPlainProducerMayRepeat(t *testing.T) {
	acks, reads := honest()
	check(t, "", acks, nil, append(reads, record{10, ID{1, 4}, 7}), nil)
}

func TestAnOrderTurnedRoundIsFound(t *testing.T) {
	_, reads := honest()
	reads[6].id, reads[8].id = reads[8].id, reads[6].id
	check(t, "comes after", nil, nil, reads, nil)
}

func TestAnOffsetAcknowledgedTwiceIsFound(t *testing.T) {
	acks, reads := honest()
	check(t, "acknowledged for", append(acks, record{3, ID{7, 7}, 0}), nil, reads, nil)
}

func TestADeleteRecordsUndoneIsFound(t *testing.T) {
	acks, reads := honest()
	check(t, "though it started at 4 before, or an acknowledged DeleteRecords cut it there", acks, nil, reads, func(c *Checker) { c.Cut(place, 4, true) })
}

func TestADeleteRecordsOfUnknownFateMayBeEither(t *testing.T) {
	acks, reads := honest()
	cut := func(c *Checker) { c.Cut(place, 4, false) }
	check(t, "", acks, nil, reads, cut)
	check(t, "", acks, nil, reads[4:], cut)
}

func TestALogStartThatGoesBackIsFound(t *testing.T) {
	acks, reads := honest()
	starts := func(c *Checker) {
		c.Cut(place, math.MaxInt64, false)
		c.Starts(place, 5)
	}
	check(t, "starts at 3, though it started at 5 before", acks, nil, reads[3:], starts)
	check(t, "", acks, nil, reads[6:], starts)
}

func TestALogThatStartsTooLateIsFound(t *testing.T) {
	acks, reads := honest()
	check(t, "nobody asked", acks, nil, reads[2:], nil)
}

func TestARecordThatNobodySentIsFound(t *testing.T) {
	checker := NewChecker()
	checker.Sent(place, ID{1, 0})
	elsewhere := Place{Topic: "t", Partition: 1}
	session := checker.Reader(elsewhere, 0, "reader")
	checker.Watermark(session, 1)
	checker.Saw(session, 0, ID{1, 0}, 7)
	wants(t, checker, Phantom, "read {1 0}, which nobody sent there")
}

func TestBytesThatNobodyMadeAreFound(t *testing.T) {
	checker := NewChecker()
	checker.Corrupt(place, 3, errors.New("a value of 2 bytes that nobody sent"))
	wants(t, checker, Phantom, "offset 3: a value of 2 bytes")
}

func TestARecordPastTheHighWatermarkIsFound(t *testing.T) {
	checker := NewChecker()
	checker.Sent(place, ID{1, 0})
	session := checker.Reader(place, 5, "reader")
	checker.Watermark(session, 5)
	checker.Saw(session, 5, ID{1, 0}, 7)
	wants(t, checker, Watermark, "read it past the high watermark 5")
}

func TestAHighWatermarkThatGoesBackIsFound(t *testing.T) {
	checker := NewChecker()
	session := checker.Reader(place, 0, "reader")
	checker.Watermark(session, 5)
	checker.Watermark(session, 5)
	wants(t, checker, "", "")
	checker.Watermark(session, 4)
	wants(t, checker, Watermark, "high watermark 4, after 5")
}

func TestAnAcknowledgedRecordThatTheEndDoesNotCoverIsFound(t *testing.T) {
	checker := NewChecker()
	checker.Ack(place, 4, ID{1, 0})
	checker.Ends(place, checker.Known(place), 5)
	wants(t, checker, "", "")
	checker.Ack(place, 5, ID{1, 1})
	checker.Ends(place, checker.Known(place), 5)
	wants(t, checker, Lost, "ends at 5, though offsets below 6")
}

func TestAnEndThatGoesBackIsFoundEvenIfNothingWasPromised(t *testing.T) {
	checker := NewChecker()
	checker.Ends(place, 0, 5)
	checker.Ends(place, 0, 4)
	wants(t, checker, Watermark, "ends at 4, and ended at 5 before")
}

func TestALossOfTheEndIsOfOneKindOnlyAndAHoleIsNot(t *testing.T) {
	kinds := func(kept ...record) []Fault {
		acks, _ := honest()
		checker := NewChecker()
		for _, it := range acks {
			checker.Sent(place, it.id)
			checker.Ack(place, it.offset, it.id)
		}
		session := checker.Reader(place, 0, "whole")
		checker.Watermark(session, 100)
		for _, it := range kept {
			checker.Saw(session, it.offset, it.id, it.hash)
		}
		checker.Whole(place, 0, session)
		var found []Fault
		for _, it := range checker.Violations() {
			found = append(found, it.Kind)
		}
		return slices.Compact(found)
	}
	_, reads := honest()
	if got := kinds(reads[:6]...); !slices.Equal(got, []Fault{Lost}) {
		t.Fatalf("a lost end: %v", got)
	}
	if got := kinds(slices.Concat(reads[:4], reads[6:])...); !slices.Contains(got, Skip) {
		t.Fatalf("a hole: %v", got)
	}
}

func TestOneKindOfViolationDoesNotHideAnother(t *testing.T) {
	checker := NewChecker()
	for at := range 100 {
		checker.Ends(place, int64(at+1), int64(at))
	}
	checker.Corrupt(place, 0, errors.New("planted"))
	found := checker.Violations()
	if found[len(found)-1].Kind != Phantom || checker.LostCount != 100 {
		t.Fatalf("%d lost, last %v", checker.LostCount, found[len(found)-1])
	}
}

// wants one violation of this kind, with these words, or none at all.
func wants(t *testing.T, checker *Checker, kind Fault, words string) {
	t.Helper()
	found := checker.Violations()
	if kind == "" && len(found) == 0 {
		return
	}
	if len(found) != 1 || found[0].Kind != kind || !strings.Contains(found[0].Text, words) {
		t.Fatalf("want %s %q, got %v", kind, words, found)
	}
}
