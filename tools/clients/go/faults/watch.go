package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

const (
	watchPause = "0.1" // seconds between two looks
	// What a core of Odradek may have written between two checkpoints: straight to segments, and by half of its
	// journal. A file goes when a checkpoint does not need it.
	checkpointBytes = 64<<20 + journalBytes/2
	journalBytes    = 64 << 20
	// Whatever else there is: of the metadata, of indexes, checkpoints.
	restBytes = 4 << 20
	// lateMax is how late a broker may be with what it does from time to time, and a look with its answer, on a
	// machine that has other things to do.
	lateMax = time.Second
)

// Watch has the broker's own command say again and again what its logs take, and measures their files.
type Watch struct {
	mutex     sync.Mutex
	load      *Load
	data      string
	process   *exec.Cmd
	log       *os.File
	ended     chan struct{}
	isOver    bool
	allowance *Allowance
	began     time.Time
	away      time.Duration // all times without a broker
	goneAt    time.Time     // zero while there is one
	looks     int
	last      Size
	most      Size
	fullest   int64 // hundredths of what was allowed that the logs took, at most
}

// Size is of logs as the broker tells it, of all files, and what the logs may have.
type Size struct{ logs, files, allowed int64 }

func NewWatch(broker *Broker, data string, load *Load) (*Watch, error) {
	watch := &Watch{load: load, data: data, allowance: NewAllowance(retained), began: time.Now(), ended: make(chan struct{})}
	watch.process = exec.Command(broker.command[0], "cluster", "describe", "--watch="+watchPause, "--json", "--broker", broker.address)
	watch.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	var err error
	if watch.log, err = os.Create(filepath.Join(filepath.Dir(data), "watch.log")); err != nil {
		return nil, err
	}
	watch.process.Stderr = watch.log // It says there that a broker is away.
	lines, err := watch.process.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := watch.process.Start(); err != nil {
		return nil, err
	}
	go watch.run(lines)
	return watch, nil
}

// run takes looks until there are none.
func (w *Watch) run(lines io.Reader) {
	defer close(w.ended)
	scanner := bufio.NewScanner(lines)
	for scanner.Scan() {
		if err := w.look(scanner.Bytes()); err != nil {
			w.load.fail("a look at the logs' size: %v", err)
		}
	}
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if !w.isOver {
		w.load.fail("the command that watches has ended by itself; watch.log says why")
	}
}

// look is one answer, with a look at the files.
func (w *Watch) look(line []byte) error {
	logs, err := logBytes(line)
	if err != nil {
		return err
	}
	files, err := fileBytes(w.data)
	if err != nil {
		return err
	}
	w.mutex.Lock()
	defer w.mutex.Unlock()
	allowed := w.allowance.Look(w.lived(), w.load.bytes())
	w.looks++
	w.last = Size{logs, files, allowed}
	w.most = Size{max(w.most.logs, logs), max(w.most.files, files), max(w.most.allowed, allowed)}
	w.fullest = max(w.fullest, 100*logs/allowed)
	if logs > allowed {
		w.load.fail("the logs take %d bytes where %d are allowed", logs, allowed)
	}
	if most := allowed + w.allowance.besides; files > most {
		w.load.fail("the files take %d bytes where %d are allowed", files, most)
	}
	return nil
}

// lived is how long there has been a broker.
func (w *Watch) lived() time.Duration {
	now := time.Now()
	if !w.goneAt.IsZero() {
		now = w.goneAt
	}
	return now.Sub(w.began) - w.away
}

// Gone: the broker is about to be killed.
func (w *Watch) Gone() {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.goneAt = time.Now()
}

// Back: the broker serves again.
func (w *Watch) Back() {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.away += time.Since(w.goneAt)
	w.goneAt = time.Time{}
}

func (w *Watch) looked() int {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	return w.looks
}

// allowed is what the logs might take at the last look.
func (w *Watch) allowed() int64 {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	return max(w.last.allowed, w.allowance.fixed)
}

// await waits until so many looks were taken.
func (w *Watch) await(looks int, limit time.Duration) error {
	return await(limit, w.ended, func() string {
		if w.looked() < looks {
			return "nobody looks at the logs' size"
		}
		return ""
	})
}

// awaitRest waits until the logs take no more than is kept when nobody writes.
func (w *Watch) awaitRest(limit time.Duration) error {
	looks := w.looked()
	return await(limit, w.ended, func() string {
		w.mutex.Lock()
		defer w.mutex.Unlock()
		// The first look may have been answered before it began.
		if w.looks < looks+2 || w.last.logs > w.allowance.atRest {
			return fmt.Sprintf("the logs take %d bytes and are to keep %d", w.last.logs, w.allowance.atRest)
		}
		return ""
	})
}

// End ends the command.
func (w *Watch) End() {
	w.mutex.Lock()
	w.isOver = true
	w.mutex.Unlock()
	w.process.Process.Kill() // It may be gone by itself, which was told.
	<-w.ended
	w.process.Wait()
	w.log.Close()
}

func (w *Watch) tell(tally *Tally) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	tally.count("looks", w.looks)
	tally.count("MiB written", int(w.load.bytes()>>20))
	for what, most := range map[string]int64{
		"MiB in logs at most":           w.most.logs >> 20,
		"MiB in files at most":          w.most.files >> 20,
		"MiB allowed in logs at most":   w.most.allowed >> 20,
		"% of what was allowed at most": w.fullest,
	} {
		tally.counts[what] = max(tally.counts[what], int(most))
	}
}

// logBytes is what one line of the command says of all log directories.
func logBytes(line []byte) (sum int64, err error) {
	var answer struct {
		Brokers []struct {
			LogDirs []struct {
				LogBytes *int64 `json:"log_bytes"`
				Error    string
			} `json:"log_dirs"`
		}
	}
	if err := json.Unmarshal(line, &answer); err != nil {
		return 0, err
	}
	dirs := 0
	for _, broker := range answer.Brokers {
		for _, dir := range broker.LogDirs {
			if dir.LogBytes == nil || dir.Error != "" {
				return 0, fmt.Errorf("a directory without its size: %s", line)
			}
			sum += *dir.LogBytes
			dirs++
		}
	}
	if dirs != 1 {
		return 0, fmt.Errorf("%d log directories of one broker: %s", dirs, line)
	}
	return sum, nil
}

// fileBytes is what the file system has given to all files below a directory. Files come and go meanwhile.
func fileBytes(dir string) (sum int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			sum += info.Sys().(*syscall.Stat_t).Blocks * 512
		}
		return err
	})
	return sum, err
}
