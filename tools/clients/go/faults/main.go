// faults runs a broker under load, breaks what it stands on, again and again, and knows what it promised:
// nothing acknowledged or read may be lost, moved, changed, doubled or undone, and all goes on after a fault.
//
//	faults [flags] KIND... -- COMMAND...
//
// COMMAND starts the broker in the foreground; {address}, {http} and {data} in it are replaced.
// Kinds that mount need root, and a mount namespace of their own (`unshare --mount`), so that nothing of
// theirs outlives them. Prints a line per cycle and per kind. Ends with 1 after a violation.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"time"
)

// Setting is what all kinds are given.
type Setting struct {
	command    []string
	failpoints string // a broker that knows failpoints
	liar       string // the liar disk
	dir        string // all that a kind makes lies below
	clock      string // a library that lies about the wall clock
	seed       int64
	ready      time.Duration
}

// Kind is one way to break a broker. Its run is a round: from an empty directory to the last full read.
type Kind struct {
	name   string
	does   string
	run    func(*Run) error
	isOnce bool // more rounds show nothing more
}

var kinds = []Kind{
	{"kill", "SIGKILL at random times, also while it recovers", kill, false},
	{"groups", "SIGKILL while members of groups come, go and commit", groups, false},
	{"compact", "SIGKILL while logs are compacted", compact, false},
	{"retain", "SIGKILL while the oldest records go as fast as new ones come, with the disk use watched", retain, false},
	{"failpoint", "an abort right before or after the nth write, sync, rename, ...", failpoint, false},
	{"pause", "SIGSTOP for 100 ms to 5 s", pause, false},
	{"power", "power cut of a file system: what it had not written is gone", power, false},
	{"cut", "power cut of a disk: what was not flushed is lost, torn and in another order", cut, false},
	{"eio", "a disk that fails reads, writes and flushes", eio, false},
	{"stall", "a disk that takes up to 30 s for an operation", stall, false},
	{"full", "a file system without space, and without inodes", full, false},
	{"descriptors", "no file descriptors are left for new connections", descriptors, false},
	{"refused", "io_uring is refused, or may lock no memory", refused, true},
	{"clock", "the wall clock jumps by up to half a day, to and fro", clock, false},
	{"caching", "the check of the check: a topic with write.caching loses its end in a power cut", caching, false},
}

func main() {
	// The broker is told when this thread dies.
	runtime.LockOSThread()
	var setting Setting
	if len(os.Args) > 1 && os.Args[1] == launchRefused {
		launch(os.Args[2:])
	}
	flag.Usage = usage
	flag.StringVar(&setting.dir, "dir", "faults", "an empty directory for data, logs and images")
	flag.StringVar(&setting.failpoints, "failpoints", "", "a broker built with failpoints, for `failpoint`")
	flag.StringVar(&setting.liar, "liar", "", "the liar disk's `binary`")
	flag.StringVar(&setting.clock, "clock", "", "libfaketime's `library`")
	flag.Int64Var(&setting.seed, "seed", time.Now().UnixNano()&0xffffffff, "of the times of faults and of the changes")
	flag.DurationVar(&setting.ready, "ready", 30*time.Second, "how long a broker may take to its first acknowledgement, and to go on after a fault")
	cycles := flag.Int("cycles", 0, "of each kind; 0: as many as the time allows, and at least three")
	minutes := flag.Float64("minutes", 5, "for all kinds together")
	flag.Parse()
	names, command, err := arguments(flag.Args())
	if err != nil {
		fmt.Fprintln(os.Stderr, "faults:", err)
		os.Exit(2)
	}
	if command == nil {
		usage()
		os.Exit(2)
	}
	if setting.dir, err = filepath.Abs(setting.dir); err != nil {
		fmt.Fprintln(os.Stderr, "faults:", err)
		os.Exit(2)
	}
	setting.command = command
	cleanUpOnSignals()
	failed := false
	for at, name := range names {
		budget := Budget{cycles: *cycles, began: time.Now(), progress: &Progress{kind: name, share: float64(at) / float64(len(names)), part: 1 / float64(len(names))}}
		if *cycles == 0 {
			budget.until = started.Add(time.Duration(float64(at+1) / float64(len(names)) * *minutes * float64(time.Minute)))
		}
		if !one(setting, name, budget) {
			failed = true
		}
	}
	if failed {
		os.Exit(1)
	}
}

// arguments are kinds, then `--`, then the command; without kinds, all of them.
func arguments(given []string) (names, command []string, err error) {
	at := slices.Index(given, "--")
	if at < 0 {
		return given, nil, nil
	}
	names, command = given[:at], given[at+1:]
	if len(names) == 0 {
		for _, it := range kinds {
			names = append(names, it.name)
		}
	}
	for _, name := range names {
		if find(name) == nil {
			return nil, nil, fmt.Errorf("no such kind: %s", name)
		}
	}
	return names, command, nil
}

func find(name string) *Kind {
	at := slices.IndexFunc(kinds, func(it Kind) bool { return it.name == name })
	if at < 0 {
		return nil
	}
	return &kinds[at]
}

func usage() {
	fmt.Fprintln(os.Stderr, "usage: faults [flags] [KIND...] -- COMMAND...\nkinds:")
	for _, it := range kinds {
		fmt.Fprintf(os.Stderr, "  %-12s %s\n", it.name, it.does)
	}
	flag.PrintDefaults()
}

var started = time.Now()

// one runs a kind, in rounds, and says how it went. What a round leaves is kept only if it failed.
func one(setting Setting, name string, budget Budget) bool {
	began := time.Now()
	kind := find(name)
	tally := NewTally()
	var err error
	for round := int64(0); round == 0 || !kind.isOnce && budget.more(tally.cycles); round++ {
		run := &Run{Setting: setting, Tally: tally, kind: name, budget: budget}
		run.dir = filepath.Join(setting.dir, name)
		run.seed += round
		if err = run.round(kind); err != nil {
			fmt.Fprintf(os.Stderr, "faults: %s, seed %d: %v\n", name, run.seed, err)
			break
		}
	}
	verdict := "passed"
	if err != nil {
		verdict = "FAILED"
	}
	budget.progress.clear()
	fmt.Printf("%-12s %s  %4.0f s  %s\n", name, verdict, time.Since(began).Seconds(), tally)
	return err == nil
}

// cleanUpOnSignals: whatever ends us, the brokers end, and what was mounted is unmounted.
func cleanUpOnSignals() {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		got := <-signals
		fmt.Fprintf(os.Stderr, "faults: ended by %v\n", got)
		cleanups.all()
		os.Exit(128 + int(got.(syscall.Signal)))
	}()
}
