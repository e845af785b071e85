package main

import (
	"fmt"
	"maps"
	"slices"
)

// Returned is a broken promise of compaction: an older value, or a key that was deleted, is there again.
const Returned Fault = "returned"

// written is one version of a key.
type written struct {
	isTombstone bool
	offset      int64 // -1: not acknowledged
}

// versions are all that were ever written of one key, by its one writer, in order.
type versions struct {
	all   []written
	acked int // the largest that was acknowledged; -1: none
}

// Latest knows what was written under each key of compacted partitions. Whatever is compacted away, the last version
// of each key that was acknowledged must be there, or a later one; only the marker of a deleted key may go, and with
// it everything of that key.
type Latest struct {
	places     map[Place]map[string]*versions
	violations []Violation
	Acked      int
	Read       int
}

func NewLatest() *Latest { return &Latest{places: map[Place]map[string]*versions{}} }

func (l *Latest) Violations() []Violation { return l.violations }

func (l *Latest) fail(kind Fault, format string, arguments ...any) {
	if len(l.violations) < 20 {
		l.violations = append(l.violations, Violation{kind, fmt.Sprintf(format, arguments...)})
	}
}

func (l *Latest) of(place Place, key string) *versions {
	if l.places[place] == nil {
		l.places[place] = map[string]*versions{}
	}
	if l.places[place][key] == nil {
		l.places[place][key] = &versions{acked: -1}
	}
	return l.places[place][key]
}

// Sends: the key's next version is about to be sent.
func (l *Latest) Sends(place Place, key string, isTombstone bool) (version int) {
	it := l.of(place, key)
	it.all = append(it.all, written{isTombstone, -1})
	return len(it.all) - 1
}

// Ack: the broker promised it at this offset.
func (l *Latest) Ack(place Place, key string, version int, offset int64) {
	l.Acked++
	it := l.of(place, key)
	it.all[version].offset = offset
	it.acked = max(it.acked, version)
}

// View is one read of a partition, from its first record to an end that was written after everything promised.
type View struct {
	place    Place
	promised map[string]int // by key, the largest version that was acknowledged when the read began
	found    map[string]int // by key, the last version that was read
	last     int64          // offset
	keeps    bool           // markers of deleted keys stay for longer than a run
	suspects map[string]int // by key, the version that deleted it, of which the read before saw only what it deletes
	count    int
}

// Look begins one. The suspects are those of the read before, if it had some.
func (l *Latest) Look(place Place, keepsTombstones bool, suspects map[string]int) *View {
	view := &View{place: place, promised: map[string]int{}, found: map[string]int{}, last: -1, keeps: keepsTombstones, suspects: suspects}
	for key, it := range l.places[place] {
		view.promised[key] = it.acked
	}
	return view
}

// Saw: this record comes next.
func (l *Latest) Saw(view *View, offset int64, key string, version int, isTombstone bool) {
	l.Read++
	view.count++
	if offset <= view.last {
		l.fail(Order, "%v: offset %d comes after %d", view.place, offset, view.last)
	}
	view.last = offset
	it := l.of(view.place, key)
	if version < 0 || version >= len(it.all) || it.all[version].isTombstone != isTombstone {
		l.fail(Phantom, "%v offset %d: version %d of %s, which nobody wrote", view.place, offset, version, key)
		return
	}
	if known := it.all[version].offset; known >= 0 && known != offset {
		l.fail(Inconsistent, "%v offset %d: version %d of %s, acknowledged at %d", view.place, offset, version, key, known)
	}
	if before, seen := view.found[key]; seen && version <= before {
		l.fail(Order, "%v offset %d: version %d of %s comes after %d", view.place, offset, version, key, before)
	}
	view.found[key] = version
}

// Ends: the view has come to its end. Who reads slowly may be given a value, and find its marker gone when it comes
// there: such keys are suspects, and guilty if the next read finds the value again.
func (l *Latest) Ends(view *View) (suspects map[string]int) {
	suspects = map[string]int{}
	for _, key := range slices.Sorted(maps.Keys(view.promised)) {
		promised := view.promised[key]
		found, isThere := view.found[key]
		mayGo := promised >= 0 && l.of(view.place, key).all[promised].isTombstone && !view.keeps
		suspected, isSuspect := view.suspects[key]
		switch {
		case isThere && found >= promised:
		case isThere && mayGo && (!isSuspect || suspected != promised):
			suspects[key] = promised
		case isThere:
			l.fail(Returned, "%v: the last of %s is version %d, and %d was acknowledged", view.place, key, found, promised)
		case promised >= 0 && !mayGo:
			l.fail(Lost, "%v: version %d of %s was acknowledged, and nothing of it is there", view.place, promised, key)
		}
	}
	return suspects
}
