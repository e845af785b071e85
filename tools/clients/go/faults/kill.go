package main

import (
	"fmt"
	"strings"
	"syscall"
	"time"
)

// kill is SIGKILL at random times.
func kill(r *Run) error {
	ground, err := NewDirectory(r.dir)
	if err != nil {
		return err
	}
	if err := r.begin(ground, streams()); err != nil {
		return err
	}
	return r.loop(func() error {
		if err := r.die(80 * time.Millisecond); err != nil {
			return err
		}
		return r.restart()
	})
}

// die is a SIGKILL; one in four is followed by another, so soon after the next start, while the broker recovers or
// right after.
func (r *Run) die(soon time.Duration) error {
	r.broker.kill()
	if r.random.Intn(4) != 0 {
		return nil
	}
	if err := r.broker.start(); err != nil {
		return err
	}
	r.sleep(0, soon)
	r.broker.kill()
	return nil
}

// points are the operations of a broker that knows failpoints, and up to which of them it may live.
var points = []struct {
	name string
	most int
}{
	{"write", 2_000}, {"write-bytes", 20}, {"sync", 40}, {"allocate", 12}, {"truncate", 6},
	{"open", 60}, {"rename", 4}, {"unlink", 10}, {"make-dir", 8}, {"sync-dir", 12},
}

// failpoint is an abort right before or after an operation on the disk.
func failpoint(r *Run) error {
	if r.failpoints == "" {
		return fmt.Errorf("it needs a broker built with failpoints: -failpoints")
	}
	ground, err := NewDirectory(r.dir)
	if err != nil {
		return err
	}
	r.command = append([]string{r.failpoints}, r.command[1:]...)
	if err := r.begin(ground, streams()); err != nil {
		return err
	}
	return r.loop(func() error {
		r.broker.kill()
		point := points[r.random.Intn(len(points))]
		moment := []string{"before", "after"}[r.random.Intn(2)]
		// Small numbers as often as large ones: the first operations are the recovery's.
		count := 1 + r.random.Intn(1+r.random.Intn(point.most))
		spoken, err := r.broker.spoken()
		if err != nil {
			return err
		}
		r.broker.environment = []string{fmt.Sprintf("ODRADEK_FAILPOINT=%s:%s:%d", moment, point.name, count)}
		if err := r.broker.start(); err != nil {
			return err
		}
		r.calm()
		r.stir()
		_, alive := r.broker.wait(4 * time.Second)
		r.broker.kill()
		r.calm()
		r.broker.environment = nil
		if said, err := r.broker.said(spoken); err != nil {
			return err
		} else if alive == nil && strings.Contains(said, "failpoint: ") {
			r.count("died at "+point.name, 1)
		} else if alive == nil {
			return fmt.Errorf("the broker ended, and not by its failpoint: %s", said)
		}
		return r.restart()
	})
}

// pause stops all threads of the broker for a while; its clients wait or ask again.
func pause(r *Run) error {
	ground, err := NewDirectory(r.dir)
	if err != nil {
		return err
	}
	if err := r.begin(ground, streams()); err != nil {
		return err
	}
	return r.loop(func() error {
		if err := r.broker.signal(syscall.SIGSTOP); err != nil {
			return err
		}
		if r.random.Intn(4) == 0 {
			r.sleep(time.Second, 5*time.Second)
		} else {
			r.sleep(100*time.Millisecond, time.Second)
		}
		return r.broker.signal(syscall.SIGCONT)
	})
}
