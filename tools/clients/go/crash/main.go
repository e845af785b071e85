// crash runs a broker under load and kills it with SIGKILL, again and again, and knows what it promised:
// nothing acknowledged or read may be lost, moved, changed, doubled or undone.
//
//	crash [flags] -- COMMAND...     COMMAND starts the broker in the foreground, listening on -address
//
// Prints per cycle the time from the restart to the first acknowledgement. Ends with 1 after a violation.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// steady are the topics that live through the whole run.
var steady = []struct {
	name       string
	partitions int
	configs    map[string]string
}{
	{"small", 8, map[string]string{"segment.bytes": "1048576"}},
	{"bulk", 2, map[string]string{"segment.bytes": "33554432"}},
	{"packed", 4, nil},
	{"cut", 1, nil},
	{"probe", 1, nil},
}

func streams() []Stream {
	sizes := func(low, high uint64) func(uint64) int {
		return func(seq uint64) int { return int(low + seq*7919%(high-low)) }
	}
	return []Stream{
		{1, "small", 8, sizes(20, 300), 50, 300 * time.Microsecond, true, nil},
		{2, "small", 8, sizes(20, 2_000), 200, 500 * time.Microsecond, true, nil},
		{3, "small", 8, sizes(20, 300), 20, 500 * time.Microsecond, false, []kgo.Opt{kgo.RequiredAcks(kgo.AllISRAcks())}},
		{4, "small", 8, sizes(20, 5_000), 20, time.Millisecond, false, []kgo.Opt{kgo.RequiredAcks(kgo.LeaderAck())}},
		{5, "bulk", 2, sizes(60_000, 200_000), 8, 4 * time.Millisecond, true, nil},
		{6, "packed", 4, sizes(100, 10_000), 100, time.Millisecond, true, []kgo.Opt{
			kgo.ProducerBatchCompression(kgo.Lz4Compression()), kgo.ProducerLinger(2 * time.Millisecond)}},
		{7, "cut", 1, sizes(20, 300), 20, 2 * time.Millisecond, true, nil},
	}
}

// Broker is the process under test.
type Broker struct {
	command []string
	log     *os.File
	process *exec.Cmd
	ended   chan struct{} // closed when the process is gone
}

func (b *Broker) start() error {
	b.process = exec.Command(b.command[0], b.command[1:]...)
	b.process.Stdout, b.process.Stderr = b.log, b.log
	// It must not outlive us.
	b.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
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
	if b.process.Process != nil {
		b.process.Process.Kill() // It may be gone by itself.
		<-b.ended
	}
}

func main() {
	address := flag.String("address", "127.0.0.1:19392", "where the broker will listen")
	cycles := flag.Int("cycles", 20, "how often to kill it")
	seed := flag.Int64("seed", time.Now().UnixNano()&0xffffffff, "of the times of death and of the changes")
	logPath := flag.String("log", "crash.log", "where the broker's own output goes")
	ready := flag.Duration("ready", 30*time.Second, "how long a restart may take to the first acknowledgement")
	flag.Parse()
	if flag.NArg() == 0 {
		fmt.Fprintln(os.Stderr, "usage: crash [flags] -- COMMAND...")
		os.Exit(2)
	}
	if err := run(*address, *cycles, *seed, *logPath, *ready, flag.Args()); err != nil {
		fmt.Fprintf(os.Stderr, "crash: seed %d: %v\n", *seed, err)
		os.Exit(1)
	}
}

func run(address string, cycles int, seed int64, logPath string, ready time.Duration, command []string) error {
	fmt.Printf("seed %d, %d cycles\n", seed, cycles)
	log, err := os.Create(logPath)
	if err != nil {
		return err
	}
	defer log.Close()
	random := rand.New(rand.NewSource(seed))
	checker := NewChecker()
	load := NewLoad(address, checker)
	changes := NewChanges(load, seed)
	broker := &Broker{command: command, log: log}
	if err := broker.start(); err != nil {
		return err
	}
	defer func() { broker.kill() }()
	if err := begin(load, ready, broker.ended); err != nil {
		return err
	}
	var restarts Restarts
	for cycle := 1; cycle <= cycles; cycle++ {
		stop := make(chan struct{})
		done := make(chan struct{})
		go func() {
			defer close(done)
			changes.Run(stop)
		}()
		time.Sleep(time.Duration(200+random.Intn(1_300)) * time.Millisecond)
		broker.kill()
		close(stop)
		<-done
		if random.Intn(4) == 0 { // Die again while recovering.
			if err := broker.start(); err != nil {
				return err
			}
			time.Sleep(time.Duration(random.Intn(80)) * time.Millisecond)
			broker.kill()
		}
		spoken, err := log.Seek(0, io.SeekEnd)
		if err != nil {
			return err
		}
		at := time.Now()
		if err := broker.start(); err != nil {
			return err
		}
		if err := load.probe(uint64(cycle), ready, broker.ended); err != nil {
			return err
		}
		took := time.Since(at)
		restarts.times = append(restarts.times, took)
		fmt.Printf("cycle %d: first acknowledgement after %v, %d acknowledged, %d changes\n",
			cycle, took.Round(100*time.Microsecond), load.acked(), changes.made)
		if err := verify(load, changes, cycle%10 == 0); err != nil {
			return err
		}
		// By now it has said its first words.
		if err := restarts.replayed(cycle, logPath, spoken); err != nil {
			return err
		}
		if wrong := load.violations(); len(wrong) > 0 {
			break
		}
	}
	return end(load, changes, &restarts)
}

// begin creates the topics and starts everything.
func begin(load *Load, ready time.Duration, ended <-chan struct{}) error {
	var wire *Wire
	var err error
	for until := time.Now().Add(ready); ; time.Sleep(5 * time.Millisecond) {
		if wire, err = Dial(load.address); err == nil {
			break
		}
		if time.Now().After(until) {
			return fmt.Errorf("the broker does not listen: %w", err)
		}
	}
	defer wire.Close()
	for _, topic := range steady {
		if err := wire.Create(topic.name, topic.partitions, topic.configs); err != nil {
			return fmt.Errorf("creating %s: %w", topic.name, err)
		}
	}
	for _, topic := range steady {
		for until := time.Now().Add(ready); ; time.Sleep(20 * time.Millisecond) {
			if _, _, err := wire.Bounds(topic.name, topic.partitions); err == nil {
				break
			} else if time.Now().After(until) {
				return fmt.Errorf("the bounds of %s: %w", topic.name, err)
			}
		}
	}
	if err := load.probe(0, ready, ended); err != nil {
		return err
	}
	for _, stream := range streams() {
		if err := load.Produce(stream); err != nil {
			return err
		}
	}
	for _, topic := range steady[:3] {
		if err := load.Follow(topic.name, int32(topic.partitions)); err != nil {
			return err
		}
	}
	return nil
}

// probe sends one record as soon as anybody answers.
func (l *Load) probe(seq uint64, ready time.Duration, ended <-chan struct{}) error {
	id := ID{Producer: 800, Seq: seq}
	var last error
	for until := time.Now().Add(ready); time.Now().Before(until); time.Sleep(time.Millisecond) {
		select {
		case <-ended:
			return errors.New("the broker ended by itself; its log says why")
		default:
		}
		wire, err := Dial(l.address)
		if err != nil {
			last = err
			continue
		}
		offset, err := wire.Produce("probe", 0, value(id, 100), ready)
		wire.Close()
		if err == nil {
			l.With(func(c *Checker) { c.Ack(Place{"probe", 0}, offset, id) })
			return nil
		}
		last = err
	}
	return fmt.Errorf("no acknowledgement within %v: %w", ready, last)
}

// verify looks at all that was promised, while the producers go on.
func verify(load *Load, changes *Changes, thorough bool) error {
	if err := changes.Verify(); err != nil {
		return err
	}
	tail := int64(300)
	if thorough {
		tail = 1 << 62
	}
	for _, topic := range steady {
		if err := load.Read(topic.name, topic.partitions, tail, false); err != nil {
			return err
		}
	}
	return nil
}

func end(load *Load, changes *Changes, restarts *Restarts) error {
	load.Stop()
	load.Halt()
	final := NewLoad(load.address, load.checker)
	if err := changes.Verify(); err != nil {
		return err
	}
	for _, topic := range steady {
		if err := final.Read(topic.name, topic.partitions, 1<<62, true); err != nil {
			return err
		}
	}
	restarts.print()
	fmt.Printf("%d records acknowledged, %d read, %d changes, %d repeated by plain producers\n",
		load.checker.Acked, load.checker.Read, changes.made, load.checker.Repeated)
	wrong := append(load.violations(), final.errors...)
	for _, it := range wrong {
		fmt.Println("violation:", it)
	}
	if len(wrong) > 0 {
		return errors.New("the broker broke a promise")
	}
	return nil
}

func (l *Load) acked() (count int) {
	l.With(func(c *Checker) { count = c.Acked })
	return count
}

func (l *Load) violations() []string {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return append(append([]string{}, l.errors...), l.checker.Violations()...)
}
