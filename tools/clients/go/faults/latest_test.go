package main

import (
	"strings"
	"testing"
)

// step is a record that is read: version -1 of a key stands for one that nobody wrote.
type step struct {
	offset      int64
	key         string
	version     int
	isTombstone bool
}

// checkLatest writes three versions of "a", of which the last is acknowledged or not, two of "b", of which the second
// deletes it, and one of "c"; then it reads these records and wants this violation, or none.
func checkLatest(t *testing.T, want string, keepsTombstones bool, read ...step) {
	t.Helper()
	latest := NewLatest()
	for offset, it := range []step{{0, "a", 0, false}, {1, "b", 0, false}, {2, "a", 1, false}, {3, "b", 1, true}, {4, "c", 0, false}} {
		version := latest.Sends(place, it.key, it.isTombstone)
		latest.Ack(place, it.key, version, int64(offset))
	}
	latest.Sends(place, "a", false) // Its fate is unknown.
	var suspects map[string]int
	for range 2 { // The second read confirms what the first has found suspicious.
		view := latest.Look(place, keepsTombstones, suspects)
		for _, it := range read {
			latest.Saw(view, it.offset, it.key, it.version, it.isTombstone)
		}
		suspects = latest.Ends(view)
	}
	var lines []string
	for _, it := range latest.Violations() {
		lines = append(lines, it.String())
	}
	got := strings.Join(lines, "\n")
	if want == "" && got != "" || !strings.Contains(got, want) {
		t.Fatalf("want %q, got %q", want, got)
	}
}

func TestALogThatIsCompactedOrNotPasses(t *testing.T) {
	whole := []step{{0, "a", 0, false}, {1, "b", 0, false}, {2, "a", 1, false}, {3, "b", 1, true}, {4, "c", 0, false}}
	checkLatest(t, "", true, whole...)
	checkLatest(t, "", true, whole[2:]...)
	checkLatest(t, "", false, whole[2], whole[4])
	checkLatest(t, "", false, append(whole, step{5, "a", 2, false})...)
}

func TestALastVersionThatIsGoneIsFound(t *testing.T) {
	checkLatest(t, "lost: t/0: version 0 of c", false, step{2, "a", 1, false}, step{3, "b", 1, true})
	checkLatest(t, "returned: t/0: the last of a is version 0, and 1", false, step{0, "a", 0, false}, step{3, "b", 1, true}, step{4, "c", 0, false})
}

func TestADeletedKeyThatIsThereAgainIsFound(t *testing.T) {
	checkLatest(t, "returned: t/0: the last of b is version 0, and 1", false, step{1, "b", 0, false}, step{2, "a", 1, false}, step{4, "c", 0, false})
}

func TestAReaderThatIsSlowerThanACompactionAccusesNobody(t *testing.T) {
	latest := NewLatest()
	latest.Ack(place, "b", latest.Sends(place, "b", false), 0)
	latest.Ack(place, "b", latest.Sends(place, "b", true), 1)
	slow := latest.Look(place, false, nil)
	latest.Saw(slow, 0, "b", 0, false)
	suspects := latest.Ends(slow)
	if len(suspects) != 1 {
		t.Fatalf("suspects: %v", suspects)
	}
	if suspects = latest.Ends(latest.Look(place, false, suspects)); len(suspects)+len(latest.Violations()) != 0 {
		t.Fatalf("suspects %v, violations %v", suspects, latest.Violations())
	}
}

func TestATombstoneThatIsGoneTooEarlyIsFound(t *testing.T) {
	checkLatest(t, "lost: t/0: version 1 of b", true, step{2, "a", 1, false}, step{4, "c", 0, false})
}

func TestRecordsThatMovedOrTurnedRoundAreFound(t *testing.T) {
	checkLatest(t, "inconsistent: t/0 offset 5: version 0 of c, acknowledged at 4", false, step{2, "a", 1, false}, step{5, "c", 0, false})
	checkLatest(t, "order: t/0: offset 2 comes after 4", false, step{4, "c", 0, false}, step{2, "a", 1, false})
	checkLatest(t, "order: t/0 offset 6: version 1 of a comes after 2", false, step{5, "a", 2, false}, step{6, "a", 1, false}, step{4, "c", 0, false})
}

func TestAVersionThatNobodyWroteIsFound(t *testing.T) {
	checkLatest(t, "phantom: t/0 offset 9: version 3 of a", false, step{2, "a", 1, false}, step{4, "c", 0, false}, step{9, "a", 3, false})
	checkLatest(t, "phantom: t/0 offset 4: version 0 of c", false, step{2, "a", 1, false}, step{4, "c", 0, true})
}
