package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Liar is an ext4 on a disk that forgets what was not flushed, tears, fails and stalls, as it is told.
type Liar struct {
	dir     string
	disk    string // the file that the loop device uses
	point   string
	process *exec.Cmd
	input   io.WriteCloser
	output  *bufio.Reader
}

// NewLiar starts the disk, and makes and mounts a file system on it.
func NewLiar(binary, dir string, bytes int64) (*Liar, error) {
	if binary == "" {
		return nil, errors.New("it needs the liar disk: -liar")
	}
	liar := &Liar{dir: dir, point: filepath.Join(dir, "mount")}
	if err := os.MkdirAll(liar.point, 0o755); err != nil {
		return nil, err
	}
	liar.process = exec.Command(binary, dir, strconv.FormatInt(bytes, 10))
	liar.process.Stderr = os.Stderr
	liar.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	var err error
	if liar.input, err = liar.process.StdinPipe(); err != nil {
		return nil, err
	}
	output, err := liar.process.StdoutPipe()
	if err != nil {
		return nil, err
	}
	liar.output = bufio.NewReader(output)
	if err := liar.process.Start(); err != nil {
		return nil, err
	}
	if liar.disk, err = liar.answer(); err == nil {
		if err = format(liar.disk); err == nil {
			err = mount(liar.disk, liar.point)
		}
	}
	if err != nil {
		return nil, errors.Join(err, liar.Close())
	}
	return liar, nil
}

func (l *Liar) Data() string { return filepath.Join(l.point, "data") }

func (l *Liar) Close() error {
	// What is to fail or to wait must not hinder the end.
	_, healed := l.tell("heal")
	unmounted := unmount(l.point)
	closed := l.input.Close()
	ended := make(chan error, 1)
	go func() { ended <- l.process.Wait() }()
	select {
	case err := <-ended:
		return errors.Join(healed, unmounted, closed, err)
	case <-time.After(10 * time.Second):
		l.process.Process.Kill()
		return errors.Join(healed, unmounted, errors.New("the liar disk does not end"))
	}
}

// tell gives a command and returns its answer.
func (l *Liar) tell(format string, arguments ...any) (string, error) {
	if _, err := fmt.Fprintf(l.input, format+"\n", arguments...); err != nil {
		return "", err
	}
	return l.answer()
}

func (l *Liar) answer() (string, error) {
	line, err := l.output.ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("the liar disk: %w", err)
	}
	if answer, ok := strings.CutPrefix(strings.TrimSpace(line), "ok"); ok {
		return strings.TrimSpace(answer), nil
	}
	return "", fmt.Errorf("the liar disk: %s", line)
}

// Cut ends all reads, writes and flushes at once.
func (l *Liar) Cut() error {
	_, err := l.tell("cut")
	return err
}

// Again brings the power back and mounts what is left: of what was not flushed, what the seed chooses.
func (l *Liar) Again(seed int64) (string, error) {
	if err := unmount(l.point); err != nil {
		return "", err
	}
	words, err := l.tell("restore %d", seed)
	if err != nil {
		return "", err
	}
	return words, mount(l.disk, l.point)
}

// Mend forgets all faults and mounts anew, with nothing lost.
func (l *Liar) Mend() error {
	if _, err := l.tell("heal"); err != nil {
		return err
	}
	if err := unmount(l.point); err != nil {
		return err
	}
	return mount(l.disk, l.point)
}

// applied is how many operations failed or were stalled until now.
func (l *Liar) applied() (int, error) {
	words, err := l.tell("counts")
	if err != nil {
		return 0, err
	}
	var reads, writes, flushes, applied int
	_, err = fmt.Sscan(words, &reads, &writes, &flushes, &applied)
	return applied, err
}
