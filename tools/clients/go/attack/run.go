package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"
)

const (
	// calmMax windows are remembered: the base of the canary follows the machine.
	calmMax = 9
	// patience is how long the broker has to be back at its base.
	patience = 15 * time.Second
	// strikeMax ends an attack that does not end by itself.
	strikeMax = 3 * time.Minute
)

// Siege is one run of the table.
type Siege struct {
	options Options
	target  *Target
	canary  *Canary
	calm    []time.Duration
	serial  int
}

// Run carries out all attacks and judges them.
func Run(options Options) error {
	siege, err := begin(options)
	if err != nil {
		return err
	}
	first := siege.target.Vitals()
	var run []Measured
	var failed int
	var chosen []int
	for at, it := range attacks() {
		if options.only.MatchString(it.row + " " + it.name) {
			chosen = append(chosen, at)
		}
	}
	began := time.Now()
	for at, index := range chosen {
		measured, err := siege.attack(index)
		if err != nil {
			return err
		}
		run = append(run, measured)
		wrong := verdict(attacks()[index], measured).All()
		progress{at + 1, len(chosen), time.Since(began)}.print(measured, wrong)
		if len(wrong) > 0 {
			failed++
		}
		if measured.Ended != "" {
			return errors.Join(keep(options.keep, run), errors.New("the broker ended: "+measured.Ended))
		}
	}
	acked, err := siege.canary.Stop()
	if err != nil {
		return err
	}
	last := siege.target.Vitals()
	wrong := siege.canary.Wrong()
	for _, it := range wrong {
		fmt.Println("canary:", it)
	}
	fmt.Printf("canary: %d records acknowledged, each found again in its place\n", acked)
	fmt.Printf("memory %s at the beginning, %s in the end\n", mib(first.Memory), mib(last.Memory))
	if err := keep(options.keep, run); err != nil {
		return err
	}
	if (failed > 0 || len(wrong) > 0) && !options.report {
		return fmt.Errorf("%d of %d attacks did harm", max(failed, min(len(wrong), 1)), len(run))
	}
	return nil
}

func begin(options Options) (*Siege, error) {
	siege := &Siege{options: options, target: &Target{pid: options.pid}}
	if options.log != "" {
		log, err := os.Open(options.log)
		if err != nil {
			return nil, err
		}
		if _, err := log.Seek(0, io.SeekEnd); err != nil {
			return nil, err
		}
		siege.target.log = log
	}
	// A canary that waits for a core measures itself; without the right to it, it may have to.
	_ = syscall.Setpriority(syscall.PRIO_PROCESS, 0, -10)
	var err error
	if siege.canary, err = StartCanary(options.address, fmt.Sprintf("canary-%d", os.Getpid())); err != nil {
		return nil, err
	}
	siege.rest(2) // The first windows are those of a broker that warms up.
	siege.calm = nil
	siege.rest(5)
	return siege, nil
}

// rest lets windows pass in which nobody attacks.
func (s *Siege) rest(windows int) {
	for range windows {
		from := time.Now()
		time.Sleep(limits.Window)
		s.calm = append(s.calm, s.canary.P99(from, time.Now(), patience))
	}
	s.calm = s.calm[max(len(s.calm)-calmMax, 0):]
}

func verdict(a attack, m Measured) Findings {
	if m.Skipped != "" {
		return Findings{}
	}
	l := limits
	if a.limit != nil {
		a.limit(&l)
	}
	return Judge(m, l)
}

// attack carries out one. What the machine may have done to it is tried once more, alone.
func (s *Siege) attack(index int) (Measured, error) {
	a := attacks()[index]
	if a.skipped != "" {
		return Measured{Row: a.row, Name: a.name, Skipped: a.skipped}, nil
	}
	measured, err := s.once(index, a)
	if err != nil || s.options.report {
		return measured, err
	}
	if found := verdict(a, measured); len(found.Hard) > 0 || len(found.Soft) == 0 {
		return measured, nil
	}
	s.rest(3)
	measured, err = s.once(index, a)
	measured.Retried = true
	return measured, err
}

func (s *Siege) once(index int, a attack) (m Measured, err error) {
	m = Measured{Row: a.row, Name: a.name}
	s.serial++
	topic := fmt.Sprintf("attacked-%d-%d", os.Getpid(), s.serial)
	if err := makeTopic(s.options.address, topic, 1); err != nil {
		return m, s.gone(err)
	}
	s.rest(1)
	s.target.Said()
	m.Calm = append(m.Calm, s.calm...)
	m.Before = s.target.Vitals()
	watched := s.target.Watch()
	began := time.Now()
	seen, err := s.strike(index, topic)
	m.Took = time.Since(began)
	m.PeakMemory, m.PeakFiles = watched()
	if err != nil {
		return m, s.gone(err)
	}
	for from := began; time.Since(from) >= limits.Window; from = from.Add(limits.Window) {
		if to := from.Add(limits.Window); to.Before(began.Add(m.Took)) {
			m.During = append(m.During, s.canary.P99(from, to, patience))
		}
	}
	for _, shot := range a.only(s.options.shot) {
		m.Reactions = append(m.Reactions, Reaction{Shot: shot.name, Wants: shot.wants, Seen: seen[shot.name]})
	}
	if m.Ended = s.target.Ended(); m.Ended == "" {
		if err := dropTopic(s.options.address, topic); err != nil {
			return m, s.gone(err)
		}
		m.After = s.target.Settle(m.Before, limits, patience)
	}
	m.LogLines, m.Dirt = s.target.Said()
	m.Lost = s.canary.Wrong()
	return m, nil
}

// gone says first of all whether the broker lives.
func (s *Siege) gone(err error) error {
	if ended := s.target.Ended(); ended != "" {
		return fmt.Errorf("the broker ended: %s (%w)", ended, err)
	}
	return err
}

// strike runs an attack in a process of its own.
func (s *Siege) strike(index int, topic string) (seen map[string]map[string]int, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	command := exec.Command(self, "-strike", strconv.Itoa(index), "-topic", topic, "-shot", s.options.shot,
		"-long="+strconv.FormatBool(s.options.long), s.options.address)
	command.Stderr = os.Stderr
	out, err := command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := command.Start(); err != nil {
		return nil, err
	}
	over := time.AfterFunc(strikeMax, func() { command.Process.Kill() })
	defer over.Stop()
	decode := json.NewDecoder(out).Decode(&seen)
	if err := command.Wait(); err != nil {
		return nil, fmt.Errorf("the attack's process: %w", err)
	}
	return seen, decode
}
