package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Broker is the process under test.
type Broker struct {
	command     []string
	address     string
	http        string
	launcher    []string // words before the command, of every start
	leaves      []string // files that stay when it is killed, with %d for its process id
	environment []string
	log         *os.File
	process     *exec.Cmd
	ended       chan struct{} // closed when the process is gone
}

// NewBroker puts addresses and the data directory into the command.
func NewBroker(command []string, data string, logPath string) (*Broker, error) {
	address, http := freeAddresses()
	log, err := os.Create(logPath)
	if err != nil {
		return nil, err
	}
	places := strings.NewReplacer("{address}", address, "{http}", http, "{data}", data)
	broker := &Broker{address: address, http: http, log: log}
	for _, word := range command {
		broker.command = append(broker.command, places.Replace(word))
	}
	return broker, nil
}

// freeAddresses finds two ports beside each other. They are below those that the kernel gives to those who connect, so that
// nobody has them while the broker is down.
func freeAddresses() (string, string) {
	for {
		port := 2 * (10_000 + rand.IntN(6_000))
		one, two := fmt.Sprintf("127.0.0.1:%d", port), fmt.Sprintf("127.0.0.1:%d", port+1)
		if isFree(one) && isFree(two) {
			return one, two
		}
	}
}

func isFree(address string) bool {
	listener, err := net.Listen("tcp", address)
	if err == nil {
		listener.Close()
	}
	return err == nil
}

// start starts it, behind the words of one more launcher if there are any.
func (b *Broker) start(launcher ...string) error {
	command := slices.Concat(launcher, b.launcher, b.command)
	b.process = exec.Command(command[0], command[1:]...)
	b.process.Stdout, b.process.Stderr = b.log, b.log
	b.process.Env = append(os.Environ(), b.environment...)
	// It must not outlive us, and a Ctrl-C is meant for us only.
	b.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := b.process.Start(); err != nil {
		return err
	}
	process, ended := b.process, make(chan struct{})
	b.ended = ended
	go func() {
		process.Wait() // How it ended is in its log; mostly we killed it.
		close(ended)
	}()
	return nil
}

func (b *Broker) kill() {
	if b.process != nil && b.process.Process != nil {
		b.process.Process.Kill() // It may be gone by itself.
		<-b.ended
		for _, file := range b.leaves {
			os.Remove(fmt.Sprintf(file, b.process.Process.Pid)) // It has none if it ended by itself.
		}
	}
}

func (b *Broker) signal(signal syscall.Signal) error { return b.process.Process.Signal(signal) }

// wait waits until it has ended by itself, and tells its exit code.
func (b *Broker) wait(limit time.Duration) (int, error) {
	select {
	case <-b.ended:
		return b.process.ProcessState.ExitCode(), nil
	case <-time.After(limit):
		return 0, fmt.Errorf("the broker still runs after %v", limit)
	}
}

// exited says whether it has ended by itself, and with which code.
func (b *Broker) exited() (code int, ended bool) {
	select {
	case <-b.ended:
		return b.process.ProcessState.ExitCode(), true
	default:
		return 0, false
	}
}

// spoken is how much it has said until now.
func (b *Broker) spoken() (int64, error) { return b.log.Seek(0, io.SeekEnd) }

// said is what it has said since.
func (b *Broker) said(since int64) (string, error) {
	text, err := os.ReadFile(b.log.Name())
	if err != nil {
		return "", err
	}
	return string(text[min(since, int64(len(text))):]), nil
}

// descriptors counts its open files.
func (b *Broker) descriptors() (int, error) {
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", b.process.Process.Pid))
	return len(entries), err
}

// namelessBytes is what its open files take that have been deleted.
func (b *Broker) namelessBytes() (sum int64, err error) {
	dir := fmt.Sprintf("/proc/%d/fd", b.process.Process.Pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0, err
	}
	for _, entry := range entries {
		info, err := os.Stat(filepath.Join(dir, entry.Name()))
		if errors.Is(err, os.ErrNotExist) {
			continue // Closed since.
		}
		if err != nil {
			return 0, err
		}
		if stat := info.Sys().(*syscall.Stat_t); info.Mode().IsRegular() && stat.Nlink == 0 {
			sum += stat.Blocks * 512
		}
	}
	return sum, nil
}

// panicked finds the first trace of a bug in its log: no fault of the world is an excuse for one.
func (b *Broker) panicked() error {
	text, err := os.ReadFile(b.log.Name())
	if err != nil {
		return err
	}
	for line := range bytes.Lines(text) {
		if bytes.Contains(line, []byte("panicked")) {
			return errors.New("the broker has a bug: " + strings.TrimSpace(string(line)))
		}
	}
	return nil
}
