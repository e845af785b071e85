package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Limits are what an attack may cost.
type Limits struct {
	Peak     int64         // bytes of resident memory above the base while it lasts; 0: not judged
	Share    float64       // of the base, that may stay afterwards
	Floor    int64         // bytes that may stay however small the base is
	Files    int           // descriptors that are no sockets and may stay: segments in the cache of open files
	Ratio    float64       // of the canary's calm p99
	Latency  time.Duration // a p99 below it is good whatever the ratio
	LogLines int           // that the broker may write of one attack
	Window   time.Duration // a window of the canary's latencies
}

// limits of every attack, unless its row says otherwise.
//
// Floor: what the allocator keeps in its lists, and the records of the canary and of the attack that the
// broker took, are no leak, and weigh more than 5 % of a broker of 30 MiB.
// Latency: on two cores that broker, canary and attack share, with who knows who else, some turns of the
// kernel's scheduler or a slow flush of the disk double a p99 of 3 ms. A shard that stands still shows all the same.
var limits = Limits{
	Share: 0.05, Floor: 8 << 20, Files: 128, Ratio: 2, Latency: 20 * time.Millisecond, LogLines: 200,
	Window: 500 * time.Millisecond,
}

// Vitals are what a process holds at one moment.
type Vitals struct {
	Memory  int64 // resident bytes
	Sockets int
	Files   int // other descriptors
}

// Measured is everything the oracle knows of one attack. It is also what is kept for a table.
type Measured struct {
	Row, Name     string
	Before, After Vitals
	PeakMemory    int64
	PeakFiles     int
	Calm, During  []time.Duration // p99 of the canary, window by window
	LogLines      int
	Ended         string // why the broker is gone; empty: it lives
	Dirt          []string
	Lost          []string
	Reactions     []Reaction
	Took          time.Duration
	Tries         int      // how often it was carried out; all but the last try saw the canary slow
	Trouble       []string // why it could not be carried out whole
	Skipped       string   // why it was not run; empty: it was
}

// Reaction is how the broker answered one kind of shot, and how often.
type Reaction struct {
	Shot  string
	Wants string // any of these, between bars; empty: not judged
	Seen  map[string]int
}

// Findings are the ways in which a broker failed. Soft ones may be the fault of whatever else the machine does.
type Findings struct{ Hard, Soft []string }

func (f *Findings) hard(format string, arguments ...any) {
	f.Hard = append(f.Hard, fmt.Sprintf(format, arguments...))
}

func (f *Findings) soft(format string, arguments ...any) {
	f.Soft = append(f.Soft, fmt.Sprintf(format, arguments...))
}

func (f Findings) All() []string { return append(slices.Clone(f.Hard), f.Soft...) }

// Judge is the oracle.
func Judge(m Measured, l Limits) (found Findings) {
	if m.Ended != "" {
		found.hard("the broker ended: %s", m.Ended)
	}
	for _, it := range m.Trouble {
		found.hard("the attack: %s", it)
	}
	for _, line := range m.Dirt {
		found.hard("in the broker's log: %s", line)
	}
	for _, line := range m.Lost {
		found.hard("the canary: %s", line)
	}
	for _, reaction := range m.Reactions {
		for _, seen := range reaction.unwanted() {
			found.hard("%s: %s, wanted %s", reaction.Shot, seen, reaction.Wants)
		}
	}
	if m.LogLines > l.LogLines {
		found.hard("%d lines in the broker's log, limit %d", m.LogLines, l.LogLines)
	}
	if peak := m.PeakMemory - m.Before.Memory; l.Peak > 0 && peak > l.Peak {
		found.hard("memory grew by %s, limit %s", mib(peak), mib(l.Peak))
	}
	for _, it := range growth(m.Before, m.After, l) {
		found.hard("%s", it)
	}
	if m.After.Sockets > m.Before.Sockets {
		found.hard("%d sockets before, %d after", m.Before.Sockets, m.After.Sockets)
	}
	if m.After.Files > m.Before.Files+l.Files {
		found.hard("%d open files before, %d after", m.Before.Files, m.After.Files)
	}
	if len(m.Calm) == 0 || len(m.During) == 0 {
		found.hard("the canary has no window")
	}
	calm, during := median(m.Calm), median(m.During)
	if most := max(time.Duration(float64(calm)*l.Ratio), l.Latency); during > most {
		found.soft("canary p99 %v calm, %v during, limit %v", tenth(calm), tenth(during), tenth(most))
	}
	return found
}

// growth says whether memory is not back at its base.
func growth(before, after Vitals, l Limits) []string {
	most := memoryAfterMax(before.Memory, l)
	if after.Memory <= most {
		return nil
	}
	return []string{fmt.Sprintf("memory %s before, %s after, limit %s", mib(before.Memory), mib(after.Memory), mib(most))}
}

// memoryAfterMax is the resident memory that is back at its base.
func memoryAfterMax(base int64, l Limits) int64 {
	return base + max(int64(float64(base)*l.Share), l.Floor)
}

// unwanted are the reactions that no want names; "none" if there was no reaction at all.
func (r Reaction) unwanted() (found []string) {
	if r.Wants == "" {
		return nil
	}
	if len(r.Seen) == 0 {
		return []string{"never tried"}
	}
	wants := strings.Split(r.Wants, "|")
	for seen := range r.Seen {
		if !slices.Contains(wants, seen) {
			found = append(found, fmt.Sprintf("%s (%d times)", seen, r.Seen[seen]))
		}
	}
	slices.Sort(found)
	return found
}

// median of p99s of windows: one window that the machine spoiled does not count.
func median(values []time.Duration) time.Duration {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

// percentile of values, which it sorts.
func percentile(values []time.Duration, share float64) time.Duration {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	return values[min(int(float64(len(values))*share), len(values)-1)]
}

func mib(bytes int64) string { return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20)) }

func tenth(it time.Duration) time.Duration { return it.Round(100 * time.Microsecond) }
