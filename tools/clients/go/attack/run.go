package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	// calmMax windows are remembered: the base of the canary follows the machine.
	calmMax = 18
	// patience is how long the broker has to be back at its base.
	patience = 30 * time.Second
	// startMax is how long a broker that was just started may refuse the canary.
	startMax = time.Minute
	// triesMax is how often in a row the canary has to be slow.
	triesMax = 3
	// strikeMax ends an attack that does not end by itself.
	strikeMax = 3 * time.Minute
)

// Siege is one run of the table.
type Siege struct {
	options Options
	target  *Target
	canary  *Canary
	acked   int64 // of canaries that are gone
	calm    []time.Duration
	serial  int
}

// Run carries out all attacks and judges them.
func Run(options Options) error {
	siege, err := begin(options)
	if err != nil {
		return err
	}
	base := siege.target.Vitals()
	run := siege.all()
	last := siege.target.Settle(base, limits, patience)
	acked, err := siege.canary.Stop()
	if err != nil && !options.report {
		return err
	}
	wrong := siege.canary.Wrong()
	for _, it := range wrong {
		fmt.Println("canary:", it)
	}
	fmt.Printf("canary: %d records acknowledged, each found again in its place\n", siege.acked+acked)
	fmt.Printf("memory %s at the beginning, %s in the end\n", mib(base.Memory), mib(last.Memory))
	wrong = append(wrong, growth(base, last, limits)...)
	if err := keep(options.keep, run); err != nil {
		return err
	}
	var harmful int
	for _, it := range run {
		if len(verdict(it).All()) > 0 {
			harmful++
		}
	}
	switch {
	case siege.target.Ended() != "":
		return errors.New("the broker ended: " + siege.target.Ended())
	case options.report:
		return nil
	case harmful > 0:
		return fmt.Errorf("%d of %d attacks did harm", harmful, len(run))
	case len(wrong) > 0:
		return errors.New("all attacks together: " + strings.Join(wrong, "; "))
	}
	return nil
}

// all attacks that are chosen, as long as there is a broker.
func (s *Siege) all() (run []Measured) {
	var chosen []attack
	for _, it := range attacks() {
		if s.options.only.MatchString(it.row + " " + it.name) {
			chosen = append(chosen, it)
		}
	}
	began := time.Now()
	for at, it := range chosen {
		measured := s.attack(it)
		run = append(run, measured)
		progress{at + 1, len(chosen), time.Since(began)}.print(measured, verdict(measured).All())
		if measured.Ended != "" && s.options.restart == "" {
			break
		}
		if isSpoilt := len(measured.Trouble) > 0 || len(measured.Lost) > 0; measured.Ended != "" || isSpoilt {
			if err := s.renew(); err != nil {
				fmt.Println("no more attacks:", err)
				break
			}
		}
	}
	return run
}

func begin(options Options) (*Siege, error) {
	siege := &Siege{options: options, target: &Target{pid: options.pid}}
	if err := siege.target.Follow(options.log); err != nil {
		return nil, err
	}
	// A canary that waits for a core measures itself; without the right to it, it may have to.
	_ = syscall.Setpriority(syscall.PRIO_PROCESS, 0, -10)
	if err := warm(options.address, options.warm<<20); err != nil {
		return nil, fmt.Errorf("filling the caches: %w", err)
	}
	if err := warmGroups(options.address); err != nil {
		return nil, fmt.Errorf("the first groups: %w", err)
	}
	if err := siege.hatch(); err != nil {
		return nil, err
	}
	siege.rest(4) // The first windows are those of a broker that warms up.
	siege.calm = nil
	siege.rest(10)
	return siege, nil
}

// hatch starts a canary, as soon as the broker has ears for it.
func (s *Siege) hatch() error {
	for until := time.Now().Add(startMax); ; time.Sleep(time.Second) {
		s.serial++
		canary, err := StartCanary(s.options.address, fmt.Sprintf("canary-%d-%d", os.Getpid(), s.serial))
		if err == nil {
			s.canary = canary
			return nil
		}
		if time.Now().After(until) {
			return err
		}
	}
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

// verdict on an attack, by its own limits if it has some.
func verdict(m Measured) Findings {
	if m.Skipped != "" {
		return Findings{}
	}
	l := limits
	for _, a := range attacks() {
		if a.row == m.Row && a.name == m.Name && a.limit != nil {
			a.limit(&l)
		}
	}
	return Judge(m, l)
}

// attack carries out one; again, if nothing is wrong but what the machine may have done to it.
func (s *Siege) attack(a attack) (m Measured) {
	if a.skipped != "" {
		return Measured{Row: a.row, Name: a.name, Skipped: a.skipped}
	}
	for tries := 1; ; tries++ {
		m = s.once(a)
		m.Tries = tries
		found := verdict(m)
		isClear := len(found.Hard) > 0 || len(found.Soft) == 0
		if isClear || tries == triesMax || s.options.report {
			return m
		}
		s.calm = nil // What else the machine does may have changed.
		s.rest(6)
	}
}

func (s *Siege) once(a attack) (m Measured) {
	m = Measured{Row: a.row, Name: a.name}
	s.serial++
	topic := fmt.Sprintf("attacked-%d-%d", os.Getpid(), s.serial)
	if err := makeTopic(s.options.address, topic, 1); err != nil {
		m.trouble("no topic for it", err)
		m.Ended = s.target.Ended()
		return m
	}
	s.rest(2)
	s.target.Said()
	m.Calm = append(m.Calm, s.calm...)
	m.Before = s.target.Vitals()
	watched := s.target.Watch()
	began := time.Now()
	seen, err := s.strike(a, topic)
	m.Took = time.Since(began)
	m.PeakMemory, m.PeakFiles = watched()
	if err != nil {
		m.trouble("its process", err)
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
			m.trouble("dropping its topic", err)
		}
		m.After = s.target.Settle(m.Before, limits, patience)
	}
	m.LogLines, m.Dirt = s.target.Said()
	m.Lost = s.canary.Wrong()
	return m
}

func (m *Measured) trouble(what string, err error) {
	m.Trouble = append(m.Trouble, fmt.Sprintf("%s: %v", what, err))
}

// renew has another canary, for one that came to harm would come to it in every later attack too; and another
// life of the broker, if somebody said how.
func (s *Siege) renew() error {
	s.acked += s.canary.Abandon()
	s.canary = &Canary{address: s.options.address, topic: s.canary.topic}
	if s.options.restart != "" {
		out, err := exec.Command("bash", "-c", s.options.restart).Output()
		words := strings.Fields(string(out))
		if err != nil || len(words) == 0 {
			return fmt.Errorf("%s: %w", s.options.restart, errors.Join(err, errors.New(string(out))))
		}
		if s.target.pid, err = strconv.Atoi(words[len(words)-1]); err != nil {
			return err
		}
		if err := s.target.Follow(s.options.log); err != nil {
			return err
		}
	}
	if err := s.hatch(); err != nil {
		return err
	}
	if err := warmGroups(s.options.address); err != nil {
		return err
	}
	s.rest(4)
	s.calm = nil
	s.rest(10)
	return nil
}

// strike runs an attack in a process of its own.
func (s *Siege) strike(a attack, topic string) (seen map[string]map[string]int, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	isIt := func(it attack) bool { return it.row == a.row && it.name == a.name }
	index := slices.IndexFunc(attacks(), isIt)
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
