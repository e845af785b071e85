package main

import "time"

// Allowance is how much logs may take while producers write: what their configuration keeps, and what may have been
// written since the broker last looked at what may go.
// It knows no clock: it is told what was acknowledged until when, in the order of time.
type Allowance struct {
	fixed   int64         // whatever the speed
	besides int64         // in files, and no part of a log
	atRest  int64         // when nobody has written for a while
	window  time.Duration // of which all that was written may still be there
	written []progress    // one from before the window, and those within
}

type progress struct {
	until time.Duration
	bytes int64
}

// NewAllowance is of topics that are written to as by `retain`.
func NewAllowance(topics []Keeping) *Allowance {
	// The looks of a broker that was killed right before one begin anew.
	a := &Allowance{window: 2*retentionLook + lateMax, written: []progress{{}}}
	for _, topic := range topics {
		segments := int64(topic.partitions) * topic.segmentBytes
		a.atRest += topic.atRest()
		a.fixed += int64(topic.partitions)*topic.bytes + segments + retainWriters*retainWindow*retainLengthMax
		a.besides += 2 * segments // Space ahead of their ends.
		a.window = max(a.window, 2*retentionLook+lateMax+topic.age)
	}
	a.atRest += restBytes
	a.fixed += checkpointBytes + restBytes
	a.besides += journalBytes + restBytes
	return a
}

// Look: so many bytes were acknowledged until now. Answers how much logs may take.
func (a *Allowance) Look(now time.Duration, bytes int64) int64 {
	a.written = append(a.written, progress{now, bytes})
	for len(a.written) > 1 && a.written[1].until <= now-a.window {
		a.written = a.written[1:]
	}
	return a.fixed + bytes - a.written[0].bytes
}
