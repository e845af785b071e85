package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// clock lets the broker's wall clock jump: a library between it and the C library adds an offset, read from a
// file at every call. The monotonic clock goes on as it is, as the kernel's does.
func clock(r *Run) error {
	if r.clock == "" {
		return errors.New("it needs libfaketime: -clock")
	}
	ground, err := NewDirectory(r.dir)
	if err != nil {
		return err
	}
	file := filepath.Join(r.dir, "offset")
	if err := setClock(file, 0); err != nil {
		return err
	}
	lying := []string{"env", "LD_PRELOAD=" + r.clock, "FAKETIME_TIMESTAMP_FILE=" + file, "FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1"}
	r.launcher = lying
	if err := r.begin(ground, streams()); err != nil {
		return err
	}
	r.broker.leaves = []string{"/dev/shm/faketime_shm_%d", "/dev/shm/sem.faketime_sem_%d"}
	wire, err := Dial(r.broker.address)
	if err != nil {
		return err
	}
	defer wire.Close()
	if err := wire.Create("stamped", 1, map[string]string{"message.timestamp.type": "LogAppendTime"}); err != nil {
		return err
	}
	return r.loop(func() error {
		for range 1 + r.random.Intn(3) {
			offset := r.between(-12*time.Hour, 12*time.Hour)
			r.longest = max(r.longest, offset.Abs())
			if err := setClock(file, offset); err != nil {
				return err
			}
			if err := r.sees(offset); err != nil {
				return err
			}
			r.sleep(50*time.Millisecond, 500*time.Millisecond)
		}
		if r.random.Intn(3) > 0 {
			return nil
		}
		// A start at another time than the last, and files that are younger than now.
		r.broker.kill()
		return r.restart()
	})
}

// setClock replaces the file in one step: the broker reads it at any moment.
func setClock(file string, offset time.Duration) error {
	text := fmt.Sprintf("%+d\n", int64(offset/time.Second))
	if err := os.WriteFile(file+".new", []byte(text), 0o644); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

// sees checks that the broker's clock really tells the time that it is to tell.
func (r *Run) sees(offset time.Duration) error {
	wire, err := Dial(r.broker.address)
	if err != nil {
		return err
	}
	defer wire.Close()
	_, stamp, err := wire.Stamp("stamped", 0, []byte("now"), r.ready)
	if err != nil {
		return err
	}
	if off := time.Until(stamp) - offset; off.Abs() > r.ready {
		return fmt.Errorf("the broker's clock should be off by %v, and tells %v", offset, stamp)
	}
	return nil
}
