package main

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// checkLedger acknowledges and reads what is told, record by record, and wants this complaint, or none.
func checkLedger(t *testing.T, want string, acks, seen [][2]int64, whole []int64) {
	t.Helper()
	var ledger Ledger
	for _, it := range acks {
		ledger.Ack(it[0], it[1])
	}
	for _, it := range seen {
		ledger.Saw(it[0], it[1])
	}
	ledger.Whole(whole)
	got := strings.Join(ledger.wrong, "\n")
	if want == "" && got != "" || !strings.Contains(got, want) {
		t.Fatalf("want %q, got %q", want, got)
	}
}

var three = [][2]int64{{0, 0}, {1, 1}, {2, 2}}

func TestAnHonestBrokerPasses(t *testing.T) {
	checkLedger(t, "", three, three, []int64{0, 1, 2})
	checkLedger(t, "", three, three[:1], []int64{0, 1, 2, 3})
}

func TestALostRecordIsDetected(t *testing.T) {
	checkLedger(t, "3 records acknowledged, 2 found", three, three[:2], []int64{0, 1})
	checkLedger(t, "3 records read, 2 found", three[:2], three, []int64{0, 1})
	checkLedger(t, "record 2 found at offset 1", three, nil, []int64{0, 2, 2})
	checkLedger(t, "read offset 2 after 0", three, [][2]int64{{0, 0}, {2, 2}}, []int64{0, 1, 2})
}

func TestAReorderedRecordIsDetected(t *testing.T) {
	checkLedger(t, "record 1 acknowledged at offset 2", [][2]int64{{0, 0}, {1, 2}}, nil, []int64{0, 1, 2})
	checkLedger(t, "record 2 acknowledged after 0", [][2]int64{{0, 0}, {2, 2}}, nil, []int64{0, 1, 2})
	checkLedger(t, "record 2 read at offset 1", three, [][2]int64{{0, 0}, {2, 1}}, []int64{0, 1, 2})
	checkLedger(t, "record 2 found at offset 1", three, nil, []int64{0, 2, 1})
}

// calm is an attack that did nothing.
func calm() Measured {
	vitals := Vitals{Memory: 30 << 20, Sockets: 10, Files: 20}
	return Measured{
		Before: vitals, After: vitals, PeakMemory: 31 << 20,
		Calm: []time.Duration{14e6, 15e6, 16e6}, During: []time.Duration{15e6, 16e6, 17e6},
		Reactions: []Reaction{{Shot: "a", Wants: "closed|answered", Seen: map[string]int{"closed": 3}}},
	}
}

// checkVerdict judges a calm attack after a change, and wants this finding, or none.
func checkVerdict(t *testing.T, want string, change func(*Measured)) {
	t.Helper()
	measured := calm()
	change(&measured)
	l := limits
	l.Peak = 64 << 20
	got := strings.Join(Judge(measured, l).All(), "\n")
	if want == "" && got != "" || !strings.Contains(got, want) {
		t.Fatalf("want %q, got %q", want, got)
	}
}

func TestACalmAttackPasses(t *testing.T) {
	checkVerdict(t, "", func(*Measured) {})
}

func TestAnEndedBrokerIsDetected(t *testing.T) {
	checkVerdict(t, "the broker ended: gone", func(m *Measured) { m.Ended = "gone" })
}

func TestALeakIsDetected(t *testing.T) {
	checkVerdict(t, "", func(m *Measured) { m.After.Memory += limits.Floor })
	checkVerdict(t, "memory 30.0 MiB before", func(m *Measured) { m.After.Memory += limits.Floor + 1 })
	large := func(m *Measured) { m.Before.Memory, m.PeakMemory = 1000<<20, 1000<<20 }
	checkVerdict(t, "", func(m *Measured) { large(m); m.After.Memory = 1050 << 20 })
	checkVerdict(t, "memory 1000.0 MiB before", func(m *Measured) { large(m); m.After.Memory = 1051 << 20 })
	checkVerdict(t, "10 sockets before, 11 after", func(m *Measured) { m.After.Sockets++ })
	checkVerdict(t, "20 open files before", func(m *Measured) { m.After.Files += limits.Files + 1 })
}

func TestMemoryThatOnlyPeaksIsDetected(t *testing.T) {
	checkVerdict(t, "", func(m *Measured) { m.PeakMemory = m.Before.Memory + 64<<20 })
	checkVerdict(t, "memory grew by 64.0 MiB, limit 64.0 MiB", func(m *Measured) { m.PeakMemory = m.Before.Memory + 64<<20 + 1 })
}

func TestASlowCanaryIsDetected(t *testing.T) {
	slow := func(during ...time.Duration) func(*Measured) { return func(m *Measured) { m.During = during } }
	checkVerdict(t, "", slow(30e6, 30e6, 30e6))
	checkVerdict(t, "canary p99 15ms calm, 31ms during, limit 30ms", slow(31e6, 31e6, 31e6))
	// One window that the machine spoiled is no verdict; two of three are.
	checkVerdict(t, "", slow(8e6, 900e6, 8e6))
	checkVerdict(t, "canary p99", slow(900e6, 8e6, 900e6))
}

func TestOnlyASlowCanaryIsTriedAgain(t *testing.T) {
	check := func(isHard bool, change func(*Measured)) {
		t.Helper()
		measured := calm()
		change(&measured)
		l := limits
		l.Peak = 1 << 20
		if found := Judge(measured, l); (len(found.Hard) > 0) != isHard || (len(found.Soft) > 0) == isHard {
			t.Fatalf("hard %q, soft %q", found.Hard, found.Soft)
		}
	}
	check(false, func(m *Measured) { m.During = []time.Duration{900e6} })
	check(true, func(m *Measured) { m.Ended = "gone" })
	check(true, func(m *Measured) { m.Lost = []string{"a record"} })
	check(true, func(m *Measured) { m.Dirt = []string{"panicked"} })
	check(true, func(m *Measured) { m.Trouble = []string{"no topic"} })
	check(true, func(m *Measured) { m.PeakMemory += 2 << 20 })
	check(true, func(m *Measured) { m.After.Memory *= 2 })
	check(true, func(m *Measured) { m.After.Sockets++ })
	check(true, func(m *Measured) { m.Reactions[0].Seen["silent"] = 1 })
}

func TestAFastCanaryMayBecomeALittleSlower(t *testing.T) {
	fast := func(during time.Duration) func(*Measured) {
		return func(m *Measured) { m.Calm, m.During = []time.Duration{1e6}, []time.Duration{during} }
	}
	checkVerdict(t, "", fast(limits.Latency))
	checkVerdict(t, "canary p99 1ms calm", fast(limits.Latency+1e6))
}

func TestACanaryThatWasNotMeasuredIsDetected(t *testing.T) {
	checkVerdict(t, "no window", func(m *Measured) { m.During = nil })
	checkVerdict(t, "no window", func(m *Measured) { m.Calm = nil })
}

func TestAWrongReactionIsDetected(t *testing.T) {
	checkVerdict(t, "a: silent (2 times), wanted closed|answered", func(m *Measured) { m.Reactions[0].Seen["silent"] = 2 })
	checkVerdict(t, "a: never tried", func(m *Measured) { m.Reactions[0].Seen = nil })
}

func TestWhatTheBrokerMustNotSayIsDetected(t *testing.T) {
	checkVerdict(t, "201 lines", func(m *Measured) { m.LogLines = limits.LogLines + 1 })
	checkVerdict(t, "in the broker's log: x", func(m *Measured) { m.Dirt = []string{"x"} })
	checkDirt := func(text string, want int) {
		t.Helper()
		if got := dirtIn([]byte(text)); len(got) != want {
			t.Fatalf("%q: want %d findings, got %q", text, want, got)
		}
	}
	checkDirt("INFO a line\nINFO another\n", 0)
	checkDirt("thread 'shard-0' panicked at a.rs:1\nrest\n", 1)
	checkDirt("client="+ansi+"\n", 1)
	checkDirt("client=x\n"+forged+"\n", 1)
	checkDirt("client=a\x00b\n", 1)
}

func TestThePercentileOfAWindowIsOneOfItsLatencies(t *testing.T) {
	var latencies []time.Duration
	for at := range 1_000 {
		latencies = append(latencies, time.Duration(1_000-at))
	}
	if got := percentile(latencies, 0.99); got != 991 {
		t.Fatalf("want 991, got %d", got)
	}
	if got := percentile(nil, 0.99); got != 0 {
		t.Fatalf("want 0, got %d", got)
	}
}

func TestACanaryCountsWhatNeverCame(t *testing.T) {
	began := time.Now().Add(-2 * time.Second)
	half := &lane{began: began, seenAt: slices.Repeat([]time.Duration{0}, 100)}
	canary := Canary{lanes: []*lane{half}}
	// Half of the second's records came, the rest did not in a second and more.
	if got := canary.P99(began, began.Add(time.Second), 0); got < time.Second {
		t.Fatalf("want more than a second, got %v", got)
	}
}

// Each row is there, and no shot has the name of another of its attack: reactions are counted by it.
func TestTheTableIsSound(t *testing.T) {
	rows := map[string]bool{}
	for _, it := range attacks() {
		rows[it.row] = true
		seen := map[string]bool{}
		for _, shot := range it.shots {
			if seen[shot.name] {
				t.Errorf("%s: two shots %q", it.name, shot.name)
			}
			seen[shot.name] = true
			if it.siege == nil && len(shot.send("topic")) < 4 {
				t.Errorf("%s, %s: nothing is sent", it.name, shot.name)
			}
		}
		if it.skipped == "" && len(it.shots) == 0 {
			t.Errorf("%s: no shots", it.name)
		}
	}
	for _, row := range strings.Fields("1 2 3 4 5 6 7 12 13 15 17 18 19 20 21 22 23 24 25 26 27 28 30 31 32 33 34 35 36") {
		if !rows[row] {
			t.Errorf("no attack of row %s", row)
		}
	}
}
