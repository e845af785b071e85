package main

import (
	"fmt"
	"os"
	"strings"
	"time"
)

// Progress is one line on a terminal: how much is done, and how long the rest will take. Elsewhere, a line per cycle.
type Progress struct {
	kind  string
	share float64 // of all, before this kind
	part  float64 // of all, this kind
}

const barWidth = 30

func isTerminal() bool {
	info, err := os.Stderr.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("TERM") != ""
}

// cycle tells of a cycle that ended well.
func (p *Progress) cycle(done int, budget *Budget, acked int) {
	if !isTerminal() {
		fmt.Printf("%s: cycle %d, %d acknowledged\n", p.kind, done, acked)
		return
	}
	whole := p.share + p.part*budget.done(done)
	left := "?"
	if whole > 0 {
		left = time.Duration(float64(time.Since(started)) * (1 - whole) / whole).Round(time.Second).String()
	}
	filled := int(whole * barWidth)
	fmt.Fprintf(os.Stderr, "\r\033[K[%s%s] %3.0f %%  %s cycle %d, %d acknowledged, %s left",
		strings.Repeat("=", filled), strings.Repeat(" ", barWidth-filled), whole*100, p.kind, done, acked, left)
}

// clear makes room for a line that stays.
func (p *Progress) clear() {
	if isTerminal() {
		fmt.Fprint(os.Stderr, "\r\033[K")
	}
}

// done is the share of a kind's cycles or time that is over.
func (b *Budget) done(cycles int) float64 {
	if b.cycles > 0 {
		return min(float64(cycles)/float64(b.cycles), 1)
	}
	if b.began.IsZero() {
		return 0
	}
	return min(time.Since(b.began).Seconds()/max(b.until.Sub(b.began).Seconds(), 1), 1)
}
