// attack sends a broker what hostile clients send, while a canary producer and consumer work beside it.
//
//	attack [flags] ADDRESS        runs the table of attacks, a line per attack, and a table at the end
//	attack -table FILE...         one table of what runs have kept with -keep
//
// What is wanted of a broker: it lives, its log is clean, its memory and its descriptors are back at their base
// afterwards, the canary's p99 is at most twice its base, and nothing of the canary is lost or reordered; and
// to each attack it reacts as the table says. Ends with 1 if something is not so, unless -report is given: then
// all of it is a figure, and what one attack spoils is made anew for the next.
// The canary's p99 alone may be the fault of whatever else the machine does: it has three tries.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"regexp"
)

func main() {
	var options Options
	flag.IntVar(&options.pid, "pid", 0, "the broker's process, for memory and descriptors")
	flag.StringVar(&options.log, "log", "", "the broker's log, in which nothing may panic")
	flag.StringVar(&options.restart, "restart", "", "a shell command that starts the broker anew after an attack that it or the canary "+
		"did not get over, and prints its process as its last word")
	flag.IntVar(&options.warm, "warm", 0, "MiB of records that are written first, so that the broker's caches are full at its base")
	flag.BoolVar(&options.report, "report", false, "only tell: another broker may have other limits and answers")
	flag.BoolVar(&options.long, "long", false, "attacks last ten seconds instead of two, and some are larger")
	flag.DurationVar(&limits.Latency, "latency", limits.Latency, "a p99 of the canary below it is good whatever its base")
	floor := flag.Int64("floor", limits.Floor>>20, "MiB of memory that may stay after an attack however small the base is")
	only := flag.String("only", "", "a regular expression of rows and names")
	flag.StringVar(&options.keep, "keep", "", "a file for what was measured")
	flag.StringVar(&options.shot, "shot", "", "only the shots whose name contains this; sieges are whole")
	strike := flag.Int("strike", -1, "carry out the attack of this index, for the process that watches")
	topic := flag.String("topic", "", "of the attack")
	table := flag.Bool("table", false, "the arguments are files of -keep")
	flag.Parse()
	limits.Floor = *floor << 20
	err := func() (err error) {
		switch {
		case *table:
			return PrintTable(flag.Args())
		case flag.NArg() != 1:
			return errors.New("which broker? usage: attack [flags] ADDRESS")
		}
		options.address = flag.Arg(0)
		if *strike >= 0 {
			return Strike(attacks()[*strike], *topic, options)
		}
		if options.only, err = regexp.Compile(*only); err != nil {
			return err
		}
		return Run(options)
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, "attack:", err)
		os.Exit(1)
	}
}

// Options of a run.
type Options struct {
	address, log, keep string
	restart            string
	pid                int
	warm               int // MiB
	report, long       bool
	only               *regexp.Regexp
	shot               string
}

func (o Options) seconds() int {
	if o.long {
		return 10
	}
	return 2
}

// keep writes what was measured to a file.
func keep(path string, run []Measured) error {
	if path == "" {
		return nil
	}
	text, err := json.MarshalIndent(run, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}
