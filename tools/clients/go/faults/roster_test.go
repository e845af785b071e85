package main

import (
	"strings"
	"testing"
	"time"
)

// checkRoster tells a roster what happened, and wants this violation, or none.
func checkRoster(t *testing.T, want string, told func(*Roster)) {
	t.Helper()
	roster := NewRoster()
	told(roster)
	var lines []string
	for _, it := range roster.Violations() {
		lines = append(lines, it.String())
	}
	got := strings.Join(lines, "\n")
	if want == "" && got != "" || !strings.Contains(got, want) {
		t.Fatalf("want %q, got %q", want, got)
	}
}

var (
	began = time.Unix(0, 0)
	later = time.Unix(1, 0)
)

var left, right = Place{"t", 0}, Place{"t", 1}

func TestAnHonestGroupPasses(t *testing.T) {
	checkRoster(t, "", func(r *Roster) {
		r.Joined("g", "a", r.Settled("g"), 1)
		r.Has("g", "a", 1, []Place{left, right})
		r.Trying("g", left, 7)
		r.Commits("g", left, 7)
		r.Joined("g", "b", r.Settled("g"), 2)
		r.Has("g", "a", 2, []Place{right})
		r.Has("g", "b", 2, []Place{left})
		r.Found("g", left, r.Promised("g", left), 7)
		r.Found("g", right, r.Promised("g", right), -1)
	})
}

func TestACommitOfUnknownFateMayBeFoundOrNot(t *testing.T) {
	for _, found := range []int64{7, 8} {
		checkRoster(t, "", func(r *Roster) {
			r.Trying("g", left, 7)
			r.Commits("g", left, 7)
			r.Trying("g", left, 8)
			r.Found("g", left, r.Promised("g", left), found)
		})
	}
}

func TestACommittedOffsetThatGoesBackIsFound(t *testing.T) {
	checkRoster(t, "backwards: g: t/0 is committed at 6, though 7", func(r *Roster) {
		r.Trying("g", left, 7)
		r.Commits("g", left, 7)
		r.Found("g", left, r.Promised("g", left), 6)
	})
	checkRoster(t, "backwards: g: t/0 is committed at -1, though 7", func(r *Roster) {
		r.Trying("g", left, 7)
		r.Found("g", left, r.Promised("g", left), 7)
		r.Found("g", left, r.Promised("g", left), -1)
	})
}

func TestAnOffsetThatNobodyCommittedIsFound(t *testing.T) {
	checkRoster(t, "phantom: g: t/1 is committed at 7", func(r *Roster) {
		r.Trying("g", left, 7)
		r.Found("g", right, -1, 7)
	})
}

func TestTwoOwnersInOneGenerationAreFound(t *testing.T) {
	checkRoster(t, "two owners: g generation 1: t/0 belongs to a and to b", func(r *Roster) {
		r.Has("g", "a", 1, []Place{left})
		r.Has("g", "b", 1, []Place{left, right})
	})
	checkRoster(t, "", func(r *Roster) {
		r.Has("g", "a", 1, []Place{left})
		r.Has("g", "b", 2, []Place{left})
		r.Has("another", "b", 1, []Place{left})
	})
}

func TestAPartitionThatIsGivenBeforeItIsGivenUpIsFound(t *testing.T) {
	checkRoster(t, "two owners: g: b was given t/0, which a still has", func(r *Roster) {
		r.Renews("g", "a", later)
		r.Holds("g", "a", []Place{left, right}, began)
		r.Drops("g", "a", []Place{left})
		r.Holds("g", "b", []Place{right}, began)
		r.Holds("g", "b", []Place{left}, began)
	})
	checkRoster(t, "", func(r *Roster) {
		r.Renews("g", "a", later)
		r.Holds("g", "a", []Place{left, right}, began)
		r.Drops("g", "a", nil)
		r.Holds("g", "b", []Place{left}, began)
	})
}

func TestWhoWasSilentForItsSessionMayLoseItsPartitions(t *testing.T) {
	checkRoster(t, "", func(r *Roster) {
		r.Renews("g", "a", began)
		r.Holds("g", "a", []Place{left}, began)
		r.Holds("g", "b", []Place{left}, later)
		r.Unknown("g", "a", later)
	})
}

func TestAGenerationThatGoesBackIsFound(t *testing.T) {
	checkRoster(t, "backwards: g: b joined generation 2, after 3", func(r *Roster) {
		r.Has("g", "a", 3, nil)
		r.Joined("g", "b", r.Settled("g"), 2)
	})
	// One that was joined and never shared out may be given again after a crash.
	checkRoster(t, "", func(r *Roster) {
		r.Has("g", "a", 3, nil)
		r.Joined("g", "b", r.Settled("g"), 4)
		r.Joined("g", "c", r.Settled("g"), 4)
	})
}

func TestAMemberThatIsForgottenIsFound(t *testing.T) {
	checkRoster(t, "forgotten: g does not know its member a", func(r *Roster) {
		r.Renews("g", "a", later)
		r.Unknown("g", "a", began)
	})
}

func TestAMemberThatMaySpeakForAnOldGenerationIsFound(t *testing.T) {
	checkRoster(t, "senseless: g: a of generation 3 could speak for generation 2", func(r *Roster) { r.Late("g", "a", 2, 3) })
}
