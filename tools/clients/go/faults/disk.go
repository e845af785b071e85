package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"
)

const liarBytes = 8 << 30 // Sparse, twice.

// onLiar begins a run on a liar disk.
func (r *Run) onLiar() (*Liar, error) {
	liar, err := NewLiar(r.liar, r.dir, liarBytes)
	if err != nil {
		return nil, err
	}
	return liar, r.begin(liar, streams())
}

// story keeps what the disk was told last, if something is wrong.
func (r *Run) story(liar *Liar, err error) error {
	if err != nil {
		if _, untold := liar.tell("story %s", filepath.Join(r.dir, "story")); untold != nil {
			return errors.Join(err, untold)
		}
	}
	return err
}

// cut is a power cut of the disk itself: of what was not flushed, any part survives, torn anywhere.
func cut(r *Run) error {
	liar, err := r.onLiar()
	if err != nil {
		return err
	}
	err = r.loop(func() error {
		if r.random.Intn(3) > 0 {
			// While flushes wait, much is written that nobody may have promised yet.
			if _, err := liar.tell("stall flush 0 1000000 %d", 50+r.random.Intn(400)); err != nil {
				return err
			}
			r.sleep(20*time.Millisecond, 400*time.Millisecond)
		}
		if err := liar.Cut(); err != nil {
			return err
		}
		r.sleep(0, 100*time.Millisecond)
		r.broker.kill()
		words, err := liar.Again(r.random.Int63())
		if err != nil {
			return err
		}
		var counts [3]int
		if _, err := fmt.Sscanf(words, "%d whole %d torn %d lost", &counts[0], &counts[1], &counts[2]); err != nil {
			return err
		}
		for at, what := range []string{"survived", "were torn", "were lost"} {
			r.count("unflushed writes "+what, counts[at])
		}
		return r.restart()
	})
	return r.story(liar, err)
}

// eio has the disk fail reads, writes and flushes, under load and while the broker starts. What it
// acknowledged before and meanwhile must be there once the disk is well and the broker started anew.
func eio(r *Run) error {
	liar, err := r.onLiar()
	if err != nil {
		return err
	}
	err = r.loop(func() error {
		operation := []string{"read", "write", "flush"}[r.random.Intn(3)]
		onStart := operation == "read" || r.random.Intn(4) == 0
		if onStart {
			// Without a page cache that spares the disk the reads.
			r.broker.kill()
			if err := liar.Mend(); err != nil {
				return err
			}
		}
		if _, err := liar.tell("fail %s %d %d", operation, r.random.Intn(30), 1+r.random.Intn(8)); err != nil {
			return err
		}
		if onStart {
			if err := r.broker.start(); err != nil {
				return err
			}
		}
		r.sleep(300*time.Millisecond, 1500*time.Millisecond)
		if code, ended := r.broker.exited(); ended {
			// It may refuse to start on a disk that fails, with words; it may not end under load.
			if !onStart || code != 1 {
				return fmt.Errorf("a disk that fails %ss ended the broker with exit code %d", operation, code)
			}
			r.count("starts refused", 1)
		} else if err := r.readsOn(liar); err != nil {
			return fmt.Errorf("after a disk failed %ss: %w", operation, err)
		}
		r.broker.kill()
		if err := liar.Mend(); err != nil {
			return err
		}
		return r.restart()
	})
	applied, uncounted := liar.applied()
	r.count("operations failed", applied)
	if err == nil && applied == 0 {
		err = errors.New("no operation of the disk failed: this shows nothing")
	}
	return r.story(liar, errors.Join(err, uncounted))
}

// readsOn: whatever may not be written any more, what is durable is read, by the same run of the broker.
func (r *Run) readsOn(liar *Liar) error {
	if _, err := liar.tell("heal"); err != nil {
		return err
	}
	if err := reach(r.broker.address, r.ready); err != nil {
		return err
	}
	return r.read(300)
}

// stall has the disk take up to 30 s longer for some operations. Nothing ends, and nothing is lost.
func stall(r *Run) error {
	liar, err := r.onLiar()
	if err != nil {
		return err
	}
	err = r.loop(func() error {
		operation := []string{"read", "write", "flush"}[r.random.Intn(3)]
		time := min(r.pauseOf(), r.budget.left())
		r.longest = max(r.longest, time)
		count := 1 + r.random.Intn(4)
		if _, err := liar.tell("stall %s %d %d %d", operation, r.random.Intn(10), count, time.Milliseconds()); err != nil {
			return err
		}
		r.sleep(time, time+time/2+1)
		_, err := liar.tell("heal")
		return err
	})
	applied, uncounted := liar.applied()
	r.count("operations stalled", applied)
	if err == nil && applied == 0 {
		err = errors.New("no operation of the disk was stalled: this shows nothing")
	}
	return r.story(liar, errors.Join(err, uncounted))
}

// pauseOf draws from a millisecond to half a minute, short ones far more often.
func (r *Run) pauseOf() time.Duration {
	switch r.random.Intn(12) {
	case 0:
		return r.between(3*time.Second, 30*time.Second)
	case 1, 2, 3:
		return r.between(300*time.Millisecond, 3*time.Second)
	default:
		return r.between(time.Millisecond, 300*time.Millisecond)
	}
}
