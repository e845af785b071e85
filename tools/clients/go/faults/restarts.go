package main

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"time"
)

// replayedLine is Odradek's; another broker says nothing of the kind.
var replayedLine = regexp.MustCompile(`(?m)^replayed +([0-9]+) journal frames, ([0-9]+) bytes`)

// Restarts knows how long each took, and what the broker had to do for it.
type Restarts struct {
	times  []time.Duration
	frames []int64
	bytes  []int64
}

// replayed looks for the line in what the broker has said since from.
func (r *Restarts) replayed(broker *Broker, since int64) error {
	text, err := broker.said(since)
	if err != nil {
		return err
	}
	found := replayedLine.FindStringSubmatch(text)
	if found == nil {
		return nil
	}
	var numbers [2]int64
	for at, digits := range found[1:] {
		if numbers[at], err = strconv.ParseInt(digits, 10, 64); err != nil {
			return err
		}
	}
	r.frames = append(r.frames, numbers[0])
	r.bytes = append(r.bytes, numbers[1])
	return nil
}

func (r *Restarts) words() (words []string) {
	if len(r.times) > 0 {
		median, most := spread(r.times)
		words = append(words, fmt.Sprintf("restart to first acknowledgement: median %v, longest %v",
			median.Round(100*time.Microsecond), most.Round(100*time.Microsecond)))
	}
	if len(r.frames) > 0 {
		frames, framesMost := spread(r.frames)
		bytes, bytesMost := spread(r.bytes)
		words = append(words, fmt.Sprintf("replayed: median %d journal frames and %d bytes, most %d and %d",
			frames, bytes, framesMost, bytesMost))
	}
	return words
}

// spread is the median and the largest.
func spread[T time.Duration | int64](values []T) (T, T) {
	slices.Sort(values)
	return values[len(values)/2], values[len(values)-1]
}
