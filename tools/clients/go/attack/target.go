package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
)

// Target is the process under attack, as the kernel sees it, and its log.
// Without a process id nothing of it is known; without a log nothing is read.
type Target struct {
	pid int
	log *os.File
}

func (t *Target) path(name string) string { return fmt.Sprintf("/proc/%d/%s", t.pid, name) }

// Ended says why the process is gone; empty if it lives.
func (t *Target) Ended() string {
	if t.pid == 0 {
		return ""
	}
	stat, err := os.ReadFile(t.path("stat"))
	if err != nil {
		return "no such process"
	}
	if _, state, _ := strings.Cut(string(stat), ") "); strings.HasPrefix(state, "Z") {
		return "a zombie"
	}
	return ""
}

func (t *Target) memory() int64 {
	status, err := os.ReadFile(t.path("status"))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return 0
	}
	kib, err := strconv.ParseInt(fields[0], 10, 64)
	if err != nil {
		return 0
	}
	return kib << 10
}

// Follow reads a log from its present end on. Without a name there is none.
func (t *Target) Follow(name string) (err error) {
	if name == "" {
		return nil
	}
	if t.log != nil {
		t.log.Close()
	}
	if t.log, err = os.Open(name); err != nil {
		return err
	}
	_, err = t.log.Seek(0, io.SeekEnd)
	return err
}

// Vitals counts everything.
func (t *Target) Vitals() (found Vitals) {
	if t.pid == 0 {
		return found
	}
	found.Memory = t.memory()
	for _, name := range t.descriptors() {
		to, err := os.Readlink(t.path("fd/" + name))
		if err != nil {
			continue // Closed meanwhile.
		}
		if strings.HasPrefix(to, "socket:") {
			found.Sockets++
		} else {
			found.Files++
		}
	}
	return found
}

func (t *Target) descriptors() []string {
	folder, err := os.Open(t.path("fd"))
	if err != nil {
		return nil
	}
	defer folder.Close()
	names, err := folder.Readdirnames(-1)
	if err != nil {
		return nil
	}
	return names
}

// Watch begins to note the most that the process holds; the function it returns ends that.
func (t *Target) Watch() (end func() (memory int64, descriptors int)) {
	stop, done := make(chan struct{}), make(chan struct{})
	var memory int64
	var descriptors int
	go func() {
		defer close(done)
		for turn := 0; ; turn++ {
			if t.pid != 0 {
				memory = max(memory, t.memory())
				if turn%10 == 0 {
					descriptors = max(descriptors, len(t.descriptors()))
				}
			}
			select {
			case <-stop:
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	}()
	return func() (int64, int) {
		close(stop)
		<-done
		return memory, descriptors
	}
}

// Settle waits until the process is back at its base, or patience ends; what it holds then.
func (t *Target) Settle(base Vitals, l Limits, patience time.Duration) Vitals {
	for until := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		now := t.Vitals()
		isBack := now.Memory <= memoryAfterMax(base.Memory, l) && now.Sockets <= base.Sockets && now.Files <= base.Files+l.Files
		if isBack || time.Now().After(until) {
			return now
		}
	}
}

// Said is what the broker has logged since the last call: how many lines, and those that must not be there.
func (t *Target) Said() (lines int, dirt []string) {
	if t.log == nil {
		return 0, nil
	}
	text, err := io.ReadAll(t.log)
	if err != nil {
		return 0, []string{"it cannot be read: " + err.Error()}
	}
	return bytes.Count(text, []byte("\n")), dirtIn(text)
}

// dirtIn finds panics, and bytes of strangers that would steer a terminal or forge a line.
func dirtIn(text []byte) (dirt []string) {
	for line := range bytes.Lines(text) {
		line = bytes.TrimRight(line, "\n")
		isRaw := bytes.ContainsAny(line, "\x00\r\x07") || bytes.Contains(line, []byte(ansi))
		isForged := bytes.HasPrefix(line, []byte(forged))
		if isRaw || isForged || bytes.Contains(line, []byte("panicked")) {
			dirt = append(dirt, strconv.Quote(string(line[:min(len(line), 200)])))
		}
	}
	return dirt
}

// What attacks put into names and hope to see on the operator's screen.
const (
	ansi   = "\x1b[41mattacked"
	forged = "forged line"
)
