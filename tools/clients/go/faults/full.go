package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
)

const (
	fullBytes  = 1 << 30
	fullInodes = "4096"
)

// full takes the last block, or the last inode, of the broker's file system, and gives them back. While
// nothing is left the broker answers what needs no space, can be started, and can be made to give some
// back; producers are told to try again. When there is space again it goes on by itself.
func full(r *Run) error {
	image, err := NewImage(r.dir, fullBytes, "-N", fullInodes)
	if err != nil {
		return err
	}
	if err := r.begin(image, streams()); err != nil {
		return err
	}
	return r.loop(func() error {
		victim := fmt.Sprintf("victim-%d", r.turns)
		if err := r.prey(victim); err != nil {
			return err
		}
		r.calm() // A change that is refused for want of space is of unknown fate: none from here on.
		filler := Filler{dir: filepath.Join(image.point, "filler")}
		what, fill := "space", filler.blocks
		if r.random.Intn(3) == 0 {
			what, fill = "inodes", filler.inodes
		}
		r.count("times without "+what, 1)
		if err := fill(); err != nil {
			return err
		}
		if err := r.whileFull(what, victim); err != nil {
			return errors.Join(fmt.Errorf("without %s: %w", what, err), filler.empty())
		}
		return filler.empty()
	})
}

// prey makes a topic with a record in it, to be deleted on a full disk.
func (r *Run) prey(name string) error {
	wire, err := Dial(r.broker.address)
	if err != nil {
		return err
	}
	defer wire.Close()
	if err := wire.Create(name, 1, map[string]string{anyTime: forEver}); err != nil {
		return fmt.Errorf("creating %s: %w", name, err)
	}
	_, err = wire.Produce(name, 0, []byte("prey"), r.ready)
	return err
}

// whileFull is what must work on a full disk, before and perhaps after a start.
func (r *Run) whileFull(what, victim string) error {
	if what == "space" {
		if err := r.refuses(); err != nil {
			return err
		}
	}
	if r.random.Intn(2) == 0 {
		r.broker.kill()
		if err := r.broker.start(); err != nil {
			return err
		}
		if err := reach(r.broker.address, r.ready); err != nil {
			return fmt.Errorf("it does not start: %w", err)
		}
	}
	if err := r.read(100); err != nil {
		return fmt.Errorf("it does not read: %w", err)
	}
	wire, err := Dial(r.broker.address)
	if err != nil {
		return err
	}
	defer wire.Close()
	topics, err := wire.Topics()
	if err != nil {
		return fmt.Errorf("it does not list topics: %w", err)
	}
	if _, exists := topics[victim]; !exists {
		return fmt.Errorf("it lists topics without %s", victim)
	}
	if _, err := wire.Retention("small"); err != nil {
		return fmt.Errorf("it does not describe a topic: %w", err)
	}
	if err := wire.Cut(victim, 0, 1); err != nil {
		return fmt.Errorf("it does not delete records: %w", err)
	}
	if err := wire.Delete(victim); err != nil {
		return fmt.Errorf("it does not delete a topic: %w", err)
	}
	return nil
}

// refuses waits until a producer is told that there is no space: by an error that it tries again after.
func (r *Run) refuses() error {
	for until := time.Now().Add(r.ready); time.Now().Before(until); time.Sleep(5 * time.Millisecond) {
		wire, err := Dial(r.broker.address)
		if err != nil {
			return err
		}
		id := r.load.nextProbe()
		offset, err := wire.Produce("probe", 0, value(id, 100_000), r.ready)
		wire.Close()
		switch {
		case err == nil:
			r.load.With(func(c *Checker) { c.Ack(Place{"probe", 0}, offset, id) })
		case kerr.IsRetriable(err):
			return r.says()
		default:
			return fmt.Errorf("a producer was told: %w", err)
		}
	}
	return fmt.Errorf("no producer was refused within %v", r.ready)
}

// says: a metric tells an operator what is the matter.
func (r *Run) says() error {
	answer, err := http.Get("http://" + r.broker.http + "/metrics")
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, diskLevel) && strings.HasSuffix(strings.TrimSpace(line), " 4") {
			return nil
		}
	}
	return fmt.Errorf("%s is not 4, though a producer was refused", diskLevel)
}

// diskLevel is Odradek's: 4 is a disk on which nothing is appended any more.
const diskLevel = "odradek_disk_level"

// Filler is files of nobody's that take what is left of a file system.
type Filler struct {
	dir   string
	files int
}

func (f *Filler) create() (*os.File, error) {
	if err := os.MkdirAll(f.dir, 0o755); err != nil {
		return nil, err
	}
	f.files++
	return os.Create(filepath.Join(f.dir, fmt.Sprint(f.files)))
}

// blocks takes all that can be allocated.
func (f *Filler) blocks() error {
	file, err := f.create()
	if err != nil {
		return err
	}
	defer file.Close()
	at := int64(0)
	for bytes := int64(64 << 20); bytes >= 4096; {
		err := syscall.Fallocate(int(file.Fd()), 0, at, bytes)
		switch {
		case err == nil:
			at += bytes
		case errors.Is(err, syscall.ENOSPC):
			bytes /= 2
		case !errors.Is(err, syscall.EINTR):
			return err
		}
	}
	return nil
}

// inodes makes files until no more can be made.
func (f *Filler) inodes() error {
	for {
		file, err := f.create()
		if errors.Is(err, syscall.ENOSPC) {
			return nil
		}
		if err != nil {
			return err
		}
		file.Close()
	}
}

func (f *Filler) empty() error { return os.RemoveAll(f.dir) }
