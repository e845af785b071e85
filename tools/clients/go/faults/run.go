package main

import (
	"errors"
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Run is one kind at work: a broker on its ground, under load, with a checker that knows what was promised.
type Run struct {
	Setting
	*Tally
	kind     string
	budget   Budget
	turns    int // cycles of this round
	random   *rand.Rand
	launcher []string
	ground   Ground
	broker   *Broker
	checker  *Checker
	load     *Load
	changes  *Changes
	calm     func() // ends the changes that are being made, if any
}

// Budget says how many cycles a kind may have.
type Budget struct {
	cycles   int
	began    time.Time
	until    time.Time
	progress *Progress
}

const (
	cyclesMin = 3
	// What a round writes must fit a developer's disk, and each ends with a read of all of it.
	turnsMax = 25
)

func (b *Budget) more(done int) bool {
	if b.cycles > 0 {
		return done < b.cycles
	}
	return done < cyclesMin || time.Now().Before(b.until)
}

// left is the time that a kind still has, and at least a second.
func (b *Budget) left() time.Duration {
	if b.cycles > 0 {
		return 24 * time.Hour
	}
	return max(time.Until(b.until), time.Second)
}

// round is a kind's run, from an empty directory.
func (r *Run) round(kind *Kind) error {
	r.random = rand.New(rand.NewSource(r.seed))
	if err := os.RemoveAll(r.dir); err != nil {
		return err
	}
	if err := os.MkdirAll(r.dir, 0o755); err != nil {
		return err
	}
	fmt.Printf("%s: seed %d\n", r.kind, r.seed)
	err := kind.run(r)
	if err != nil {
		r.tell()
	}
	if err = errors.Join(err, r.close()); err != nil {
		return err
	}
	return os.RemoveAll(r.dir)
}

// goesOn says whether there is one more cycle in this round.
func (r *Run) goesOn() bool { return r.turns < turnsMax && r.budget.more(r.cycles) }

// turned counts a cycle that ended well.
func (r *Run) turned(acked int) {
	r.turns++
	r.cycles++
	r.budget.progress.cycle(r.cycles, &r.budget, r.Acked+acked)
}

// close takes down what the kind built, and tells what it could not.
func (r *Run) close() error {
	if r.load != nil {
		r.load.Abandon()
		r.load.With(func(c *Checker) {
			r.Acked += c.Acked
			r.Read += c.Read
		})
		r.changesMade += r.changes.made
	}
	var broken error
	if r.broker != nil {
		r.broker.kill()
		broken = r.broker.panicked()
		r.broker.log.Close()
	}
	if r.ground != nil {
		broken = errors.Join(broken, r.ground.Close())
		cleanups.forget(r)
	}
	return broken
}

// begin starts a broker on a ground, with topics, producers and followers.
func (r *Run) begin(ground Ground, streams []Stream) error {
	if err := r.stand(ground, r.command); err != nil {
		return err
	}
	r.checker = NewChecker()
	r.load = NewLoad(r.broker.address, r.checker)
	r.changes = NewChanges(r.load, r.seed)
	if err := r.broker.start(); err != nil {
		return err
	}
	return begin(r.load, streams, r.ready, r.broker.ended)
}

// stand takes the ground and makes a broker on it, not yet started.
func (r *Run) stand(ground Ground, command []string) (err error) {
	r.ground = ground
	cleanups.add(r, func() {
		if r.broker != nil {
			r.broker.kill()
		}
		ground.Close()
	})
	r.broker, err = NewBroker(command, ground.Data(), filepath.Join(r.dir, "broker.log"))
	if err == nil {
		r.broker.launcher = r.launcher
	}
	return err
}

// loop breaks something again and again; after each time, all that was promised must be there.
// A breakage returns when the broker is to serve again.
func (r *Run) loop(breakage func() error) error {
	for r.goesOn() {
		r.stir()
		r.sleep(200*time.Millisecond, 1500*time.Millisecond)
		err := breakage()
		r.calm()
		if err != nil {
			return err
		}
		if err := r.load.settle(r.ready, r.broker.ended); err != nil {
			return err
		}
		if err := r.verify(r.turns%10 == 9); err != nil {
			return err
		}
		r.turned(r.load.acked())
		if len(r.load.violations()) > 0 {
			break
		}
	}
	return r.end()
}

// stir lets changes of topics be made, until calm.
func (r *Run) stir() {
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		r.changes.Run(stop)
	}()
	r.calm = sync.OnceFunc(func() {
		close(stop)
		<-done
	})
}

// restart starts the broker and waits for its first acknowledgement.
func (r *Run) restart() error {
	spoken, err := r.broker.spoken()
	if err != nil {
		return err
	}
	at := time.Now()
	if err := r.broker.start(); err != nil {
		return err
	}
	if err := r.load.probe(r.ready, r.broker.ended); err != nil {
		return err
	}
	r.restarts.times = append(r.restarts.times, time.Since(at))
	return r.restarts.replayed(r.broker, spoken)
}

// end stops the load and reads everything from its start: all that was promised must be there.
func (r *Run) end() error {
	load := r.load
	load.Stop()
	if err := load.CatchUp(r.ready); err != nil {
		return err
	}
	load.Halt()
	final := NewLoad(load.address, load.checker)
	if err := r.changes.Verify(); err != nil {
		return err
	}
	for _, topic := range steady {
		if err := final.Read(topic.name, topic.partitions, 1<<62, true); err != nil {
			return err
		}
	}
	load.errors = append(load.errors, final.errors...)
	if len(load.violations()) > 0 {
		return errors.New("the broker broke a promise")
	}
	return nil
}

// tell says all that went wrong.
func (r *Run) tell() {
	if r.load == nil {
		return
	}
	for _, it := range r.load.violations() {
		fmt.Println("violation:", it)
	}
}

// between draws a duration.
func (r *Run) between(low, high time.Duration) time.Duration {
	return low + time.Duration(r.random.Int63n(int64(high-low)))
}

// sleep is the length of a scene, drawn; nothing is expected of what has happened by its end.
func (r *Run) sleep(low, high time.Duration) { time.Sleep(r.between(low, high)) }

// verify looks at all that was promised, while the producers go on.
func (r *Run) verify(thorough bool) error {
	if err := r.changes.Verify(); err != nil {
		return err
	}
	if thorough {
		return r.read(1 << 62)
	}
	return r.read(300)
}

// read reads the last `tail` records of each partition, while the producers go on.
// Changes are not: a DeleteRecords may cut up to the end, and whoever reads below it is rightly told so.
func (r *Run) read(tail int64) error {
	r.calm()
	for _, topic := range steady {
		if err := r.load.Read(topic.name, topic.partitions, tail, false); err != nil {
			return err
		}
	}
	return nil
}

// Cleanups are what must be undone however we end.
type Cleanups struct {
	mutex sync.Mutex
	steps map[*Run]func()
}

var cleanups = Cleanups{steps: map[*Run]func(){}}

func (c *Cleanups) add(run *Run, step func()) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.steps[run] = step
}

func (c *Cleanups) forget(run *Run) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	delete(c.steps, run)
}

func (c *Cleanups) all() {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	for _, step := range c.steps {
		step()
	}
}
