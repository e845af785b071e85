package main

import (
	"fmt"
	"net"
	"strconv"
	"time"
)

// descriptors lets a broker have few descriptors (twice those it uses under load, as it leaves half to its
// files), has strangers want many more, and lets them go again: its partitions must not have noticed.
func descriptors(r *Run) error {
	ground, err := NewDirectory(r.dir)
	if err != nil {
		return err
	}
	if err := r.begin(ground, streams()); err != nil {
		return err
	}
	refused := 0
	err = r.loop(func() error {
		used, err := r.broker.descriptors()
		if err != nil {
			return err
		}
		r.broker.kill()
		// Half of them are for files, and some of the load's connections may not have been there when they were
		// counted: for its own the broker must have enough.
		limit := strconv.Itoa(3 * used)
		if err := r.broker.start("prlimit", "--nofile="+limit+":"+limit); err != nil {
			return err
		}
		if err := reach(r.broker.address, r.ready); err != nil {
			return err
		}
		strangers, served := r.crowd(4 * used)
		r.sleep(200*time.Millisecond, 2*time.Second)
		for _, it := range strangers {
			it.conn.Close()
		}
		refused += len(strangers) - served
		return r.load.settle(r.ready, r.broker.ended)
	})
	r.count("connections of strangers waited in vain", refused)
	if err == nil && refused == 0 {
		return fmt.Errorf("the broker never ran out of descriptors: this shows nothing")
	}
	return err
}

// crowd connects many strangers, and says how many of them the broker talks to.
func (r *Run) crowd(count int) (strangers []*Wire, served int) {
	for range count {
		conn, err := net.DialTimeout("tcp", r.broker.address, time.Second)
		if err != nil {
			break // The listener's queue is full, too.
		}
		strangers = append(strangers, &Wire{conn: conn})
	}
	answers := make(chan error, len(strangers))
	for _, it := range strangers {
		go func() { answers <- it.Versions(time.Second) }()
	}
	for range strangers {
		if <-answers == nil {
			served++
		}
	}
	return strangers, served
}
