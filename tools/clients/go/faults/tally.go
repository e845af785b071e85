package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Tally is what all rounds of a kind come to.
type Tally struct {
	cycles      int
	Acked       int
	Read        int
	changesMade int
	restarts    Restarts
	counts      map[string]int // of what a kind wants told, by its name
	longest     time.Duration  // of what a kind drew
}

func NewTally() *Tally { return &Tally{counts: map[string]int{}} }

func (t *Tally) count(what string, more int) { t.counts[what] += more }

func (t *Tally) String() string {
	words := []string{fmt.Sprintf("%d cycles", t.cycles)}
	if t.Acked > 0 {
		words = append(words, fmt.Sprintf("%d records acknowledged, %d read, %d changes", t.Acked, t.Read, t.changesMade))
	}
	for _, what := range slices.Sorted(maps.Keys(t.counts)) {
		words = append(words, fmt.Sprintf("%d %s", t.counts[what], what))
	}
	if t.longest > 0 {
		words = append(words, fmt.Sprintf("at most %v", t.longest.Round(time.Millisecond)))
	}
	return strings.Join(append(words, t.restarts.words()...), ", ")
}
