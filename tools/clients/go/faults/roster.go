package main

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

const (
	TwoOwners Fault = "two owners" // of a partition, in one generation or at one time
	Backwards Fault = "backwards"  // a generation, or an offset that was committed
	Forgotten Fault = "forgotten"  // a member that had been told that it is one
	Senseless Fault = "senseless"  // an answer that no member should get
)

// assembly is what was promised about one group.
type assembly struct {
	// The largest generation, or epoch, that a member was told to have its partitions in.
	settled int32
	// By generation or epoch, who was told to have what.
	owners map[int32]map[Place]string
	// Who has what at present; only where members give up a partition before another gets it.
	holders map[Place]string
	// Until when a member cannot be taken for gone: its session has not ended since it was last answered.
	leases map[string]time.Time
	marks  map[Place]*mark
}

// mark is what is known of one committed offset. Its owners only ever commit larger ones.
type mark struct {
	sent  int64 // the largest that anybody tried
	acked int64 // the largest that was acknowledged, or found
	count int   // acknowledged commits
}

// Roster knows every promise that groups were given, and keeps the violations.
// It is told events in the order in which they became known.
type Roster struct {
	groups     map[string]*assembly
	violations []Violation
	Committed  int
}

func NewRoster() *Roster { return &Roster{groups: map[string]*assembly{}} }

func (r *Roster) Violations() []Violation { return r.violations }

func (r *Roster) fail(kind Fault, format string, arguments ...any) {
	if len(r.violations) < 20 {
		r.violations = append(r.violations, Violation{kind, fmt.Sprintf(format, arguments...)})
	}
}

func (r *Roster) group(name string) *assembly {
	found := r.groups[name]
	if found == nil {
		found = &assembly{owners: map[int32]map[Place]string{}, holders: map[Place]string{},
			leases: map[string]time.Time{}, marks: map[Place]*mark{}}
		r.groups[name] = found
	}
	return found
}

func (r *Roster) mark(group string, place Place) *mark {
	marks := r.group(group).marks
	if marks[place] == nil {
		marks[place] = &mark{sent: -1, acked: -1}
	}
	return marks[place]
}

// Settled is the largest generation of the group that a member was told to have its partitions in.
func (r *Roster) Settled(group string) int32 { return r.group(group).settled }

// Joined: who asked to join when `settled` was known was let into this generation.
func (r *Roster) Joined(group, member string, settled, generation int32) {
	if generation < settled {
		r.fail(Backwards, "%s: %s joined generation %d, after %d", group, member, generation, settled)
	}
}

// Has: the member was told that in this generation it has these partitions, and no others.
func (r *Roster) Has(group, member string, generation int32, places []Place) {
	it := r.group(group)
	it.settled = max(it.settled, generation)
	owners := it.owners[generation]
	if owners == nil {
		owners = map[Place]string{}
		it.owners[generation] = owners
	}
	for _, place := range places {
		if before, taken := owners[place]; taken && before != member {
			r.fail(TwoOwners, "%s generation %d: %v belongs to %s and to %s", group, generation, place, before, member)
		}
		owners[place] = member
	}
}

// Renews: the member was answered, and is one until then at least.
func (r *Roster) Renews(group, member string, until time.Time) { r.group(group).leases[member] = until }

// Holds: the member was given partitions that it keeps until it says that it gives them up.
func (r *Roster) Holds(group, member string, places []Place, now time.Time) {
	it := r.group(group)
	for _, place := range places {
		if before, taken := it.holders[place]; taken && before != member && now.Before(it.leases[before]) {
			r.fail(TwoOwners, "%s: %s was given %v, which %s still has", group, member, place, before)
		}
		it.holders[place] = member
	}
}

// Drops: the member is about to say that it has these partitions and no others, or is no member any more.
func (r *Roster) Drops(group, member string, keeps []Place) {
	maps.DeleteFunc(r.group(group).holders, func(place Place, holder string) bool {
		return holder == member && !slices.Contains(keeps, place)
	})
}

// Unknown: the broker does not know a member that it had answered.
func (r *Roster) Unknown(group, member string, now time.Time) {
	if now.Before(r.group(group).leases[member]) {
		r.fail(Forgotten, "%s does not know its member %s any more", group, member)
	}
}

// Told: a member was given an answer that it should not get.
func (r *Roster) Told(group string, err error) {
	r.fail(Senseless, "%s: a member was told: %v", group, err)
}

// Late: the member has spoken for a generation that is over, and was not refused.
func (r *Roster) Late(group, member string, generation, present int32) {
	r.fail(Senseless, "%s: %s of generation %d could speak for generation %d", group, member, present, generation)
}

// Trying: this offset is about to be committed.
func (r *Roster) Trying(group string, place Place, offset int64) {
	it := r.mark(group, place)
	it.sent = max(it.sent, offset)
}

// Commits: it was acknowledged.
func (r *Roster) Commits(group string, place Place, offset int64) {
	r.Committed++
	it := r.mark(group, place)
	it.acked = max(it.acked, offset)
	it.count++
}

// Promised is the offset below which none may be found by who asks now; -1: none is promised.
func (r *Roster) Promised(group string, place Place) int64 { return r.mark(group, place).acked }

// Found: who asked when `promised` was known was told this offset, or -1 for none.
func (r *Roster) Found(group string, place Place, promised, offset int64) {
	it := r.mark(group, place)
	if offset < promised {
		r.fail(Backwards, "%s: %v is committed at %d, though %d was acknowledged or found", group, place, offset, promised)
	}
	if offset > it.sent {
		r.fail(Phantom, "%s: %v is committed at %d, and nobody committed more than %d", group, place, offset, it.sent)
	}
	it.acked = max(it.acked, offset)
}

// Counts are the acknowledged commits of a group, by partition.
func (r *Roster) Counts(group string) map[Place]int {
	counts := map[Place]int{}
	for place, it := range r.group(group).marks {
		counts[place] = it.count
	}
	return counts
}
