package main

import (
	"errors"
	"fmt"
	"time"
)

const imageBytes = 16 << 30 // Sparse: only what is written takes space.

// power ends the broker's file system with whatever it had not written, as a power cut does.
func power(r *Run) error {
	image, err := NewImage(r.dir, imageBytes)
	if err != nil {
		return err
	}
	if err := r.begin(image, streams()); err != nil {
		return err
	}
	return r.loop(func() error {
		if err := image.Cut(); err != nil {
			return err
		}
		// For a moment it lives on a dead disk: nothing more may be acknowledged.
		r.sleep(0, 100*time.Millisecond)
		r.broker.kill()
		if err := image.Again(); err != nil {
			return err
		}
		return r.restart()
	})
}

// caching is the check of the check: a topic that is acknowledged from memory must be found to have lost its
// end in a power cut, by the same checker, and nothing but its end; a durable topic beside it, nothing.
func caching(r *Run) error {
	image, err := NewImage(r.dir, imageBytes)
	if err != nil {
		return err
	}
	if err := r.stand(image, r.command); err != nil {
		return err
	}
	if err := r.broker.start(); err != nil {
		return err
	}
	lost := 0
	for r.goesOn() {
		cached, durable, err := r.twins(image)
		if err != nil {
			return err
		}
		if wrong := durable.violations(); len(wrong) > 0 {
			return errors.New("a durable topic: " + wrong[0])
		}
		for _, it := range cached.checker.Violations() {
			if it.Kind != Lost {
				return fmt.Errorf("a cached topic may lose its end and nothing else: %v", it)
			}
		}
		if len(cached.errors) > 0 {
			return errors.New("a cached topic: " + cached.errors[0])
		}
		lost += cached.checker.LostCount
		r.Acked += cached.acked() + durable.acked()
		r.Read += cached.checker.Read + durable.checker.Read
		r.turned(0)
	}
	if lost == 0 {
		return errors.New("no power cut lost anything of a topic that is acknowledged from memory: this check finds no loss")
	}
	r.count("records of topics with write.caching=true found lost, as must be", lost)
	return nil
}

// twins writes to two topics, cuts the power, and reads both.
func (r *Run) twins(image *Image) (cached, durable *Load, err error) {
	names := []string{fmt.Sprintf("cached-%d", r.turns), fmt.Sprintf("durable-%d", r.turns)}
	loads := []*Load{NewLoad(r.broker.address, NewChecker()), NewLoad(r.broker.address, NewChecker())}
	if err := reach(r.broker.address, r.ready); err != nil {
		return nil, nil, err
	}
	wire, err := Dial(r.broker.address)
	if err != nil {
		return nil, nil, err
	}
	defer wire.Close()
	for at, configs := range []map[string]string{{"write.caching": "true"}, nil} {
		if err := wire.Create(names[at], 1, configs); err != nil {
			return nil, nil, fmt.Errorf("creating %s: %w", names[at], err)
		}
		loads[at].writers.Add(1)
		go loads[at].writeUntilError(names[at], ID{Producer: uint32(at + 1)})
	}
	r.sleep(300*time.Millisecond, 1500*time.Millisecond)
	if err := image.Cut(); err != nil {
		return nil, nil, err
	}
	r.broker.kill()
	for _, load := range loads {
		load.writers.Wait()
	}
	if err := image.Again(); err != nil {
		return nil, nil, err
	}
	if err := r.broker.start(); err != nil {
		return nil, nil, err
	}
	if err := reach(r.broker.address, r.ready); err != nil {
		return nil, nil, err
	}
	for at, load := range loads {
		if err := load.Read(names[at], 1, 1<<62, true); err != nil {
			return nil, nil, err
		}
	}
	return loads[0], loads[1], nil
}

// writeUntilError writes one record after the other, for as long as they are acknowledged.
func (l *Load) writeUntilError(topic string, id ID) {
	defer l.writers.Done()
	wire, err := Dial(l.address)
	if err != nil {
		return
	}
	defer wire.Close()
	place := Place{topic, 0}
	for ; ; id.Seq++ {
		l.With(func(c *Checker) { c.Sent(place, id) })
		offset, err := wire.Produce(topic, 0, value(id, 200), 5*time.Second)
		if err != nil {
			return
		}
		l.With(func(c *Checker) { c.Ack(place, offset, id) })
	}
}
