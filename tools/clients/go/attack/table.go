package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// progress is how far a run has come.
type progress struct {
	at, of int
	took   time.Duration
}

// left is how long the rest takes if it takes as long as what came before, attack by attack.
func (p progress) left() time.Duration {
	return (p.took / time.Duration(p.at) * time.Duration(p.of-p.at)).Round(time.Second)
}

// print says what became of the attack that has just ended.
func (p progress) print(m Measured, wrong []string) {
	state := "passed"
	switch {
	case m.Skipped != "":
		state = "skipped: " + m.Skipped
	case len(wrong) > 0:
		state = "HARM" + m.tries()
	default:
		state += m.tries()
	}
	fmt.Printf("%2d/%d, %v left  row %-2s %-36s %5.1f s  %s  %s\n", p.at, p.of, p.left(), m.Row, m.Name, m.Took.Seconds(),
		m.figures(), state)
	for _, it := range wrong {
		fmt.Println("      ", it)
	}
}

// tries says how often the attack was carried out, if not once.
func (m Measured) tries() string {
	if m.Tries < 2 {
		return ""
	}
	return fmt.Sprintf(" (try %d)", m.Tries)
}

// figures are what one attack cost.
func (m Measured) figures() string {
	if m.Skipped != "" {
		return "-"
	}
	return fmt.Sprintf("p99 %v/%v  memory %s %+.1f %+.1f  log %d",
		tenth(median(m.Calm)), tenth(median(m.During)), mib(m.Before.Memory),
		float64(m.PeakMemory-m.Before.Memory)/(1<<20), float64(m.After.Memory-m.Before.Memory)/(1<<20), m.LogLines)
}

// reactions are all that were seen, the most frequent first.
func (m Measured) reactions() string {
	if m.Skipped != "" {
		return "(" + m.Skipped + ")"
	}
	counts := map[string]int{}
	var names []string
	for _, reaction := range m.Reactions {
		for name, count := range reaction.Seen {
			if counts[name] == 0 {
				names = append(names, name)
			}
			counts[name] += count
		}
	}
	slices.SortFunc(names, func(a, b string) int {
		if counts[a] != counts[b] {
			return counts[b] - counts[a]
		}
		return strings.Compare(a, b)
	})
	return strings.Join(append(names, m.troubles()...), ", ")
}

// troubles are what kept the attack from being carried out, and what became of the canary.
func (m Measured) troubles() (all []string) {
	for _, it := range slices.Concat(m.Trouble, m.Lost) {
		all = append(all, "("+it+")")
	}
	if m.Ended != "" {
		all = append(all, "(the broker ended: "+m.Ended+")")
	}
	return all
}

// PrintTable sets runs beside each other: an attack a line, and then the shots to which they react differently.
func PrintTable(paths []string) error {
	var names []string
	var runs [][]Measured
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		var run []Measured
		if err := json.Unmarshal(text, &run); err != nil {
			return err
		}
		names = append(names, strings.TrimSuffix(filepath.Base(path), filepath.Ext(path)))
		runs = append(runs, run)
	}
	out := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(out, "row\tattack\tbroker\tp99 calm\tp99 during\tmemory before\tpeak\tafter\tlog lines\treactions")
	each(runs, func(row []Measured) {
		for at, m := range row {
			name := m.Name + m.tries()
			fmt.Fprintf(out, "%s\t%s\t%s\t%s\t%s\t%s\t%+.1f\t%+.1f\t%d\t%s\n", m.Row, name, names[at],
				millis(median(m.Calm)), millis(median(m.During)), mib(m.Before.Memory),
				float64(m.PeakMemory-m.Before.Memory)/(1<<20), float64(m.After.Memory-m.Before.Memory)/(1<<20),
				m.LogLines, m.reactions())
		}
	})
	if len(runs) > 1 {
		fmt.Fprintln(out, "\nrow\tshot\tbroker\treactions")
		each(runs, func(row []Measured) { differences(out, names, row) })
	}
	return out.Flush()
}

// each attack that all runs have.
func each(runs [][]Measured, do func([]Measured)) {
	if len(runs) == 0 {
		return
	}
	for _, first := range runs[0] {
		row := []Measured{first}
		for _, run := range runs[1:] {
			same := func(m Measured) bool { return m.Row == first.Row && m.Name == first.Name }
			if at := slices.IndexFunc(run, same); at >= 0 {
				row = append(row, run[at])
			}
		}
		if len(row) == len(runs) {
			do(row)
		}
	}
}

func differences(out *tabwriter.Writer, names []string, row []Measured) {
	for at, reaction := range row[0].Reactions {
		var all []string
		for _, m := range row {
			if at < len(m.Reactions) {
				all = append(all, Measured{Reactions: m.Reactions[at : at+1]}.reactions())
			}
		}
		if len(slices.Compact(slices.Clone(all))) < 2 {
			continue
		}
		for broker, text := range all {
			fmt.Fprintf(out, "%s\t%s\t%s\t%s\n", row[0].Row, reaction.Shot, names[broker], text)
		}
	}
}

func millis(it time.Duration) string { return fmt.Sprintf("%.1f ms", float64(it)/1e6) }
