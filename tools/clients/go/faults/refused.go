package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"unsafe"
)

// launchRefused is the first word by which this program becomes a launcher: of what comes after its errno,
// with every call of io_uring_setup answered by that.
const launchRefused = "launch-without-io-uring"

// refused starts a broker that may not have what it needs of the kernel: it must end with 1 and say why.
func refused(r *Run) error {
	ground, err := NewDirectory(r.dir)
	if err != nil {
		return err
	}
	if err := r.stand(ground, r.command); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	without := func(errno syscall.Errno) []string { return []string{self, launchRefused, strconv.Itoa(int(errno))} }
	for _, it := range []struct {
		name     string
		launcher []string
		words    []string // of which all must be in what it says
	}{
		{"forbidden", without(syscall.EPERM), []string{"io_uring", "kernel.io_uring_disabled", "seccomp"}},
		{"unknown", without(syscall.ENOSYS), []string{"io_uring", "kernel.io_uring_disabled", "seccomp"}},
		{"too old", without(syscall.EINVAL), []string{"io_uring", "Linux 6.1"}},
		{"no memory", without(syscall.ENOMEM), []string{"io_uring", "LimitMEMLOCK"}},
		{"may lock 64 KiB", []string{"prlimit", "--memlock=65536:65536"}, []string{"65536", "LimitMEMLOCK"}},
	} {
		spoken, err := r.broker.spoken()
		if err != nil {
			return err
		}
		if err := r.broker.start(it.launcher...); err != nil {
			return err
		}
		code, err := r.broker.wait(r.ready)
		if err != nil {
			return fmt.Errorf("%s: %w", it.name, err)
		}
		said, err := r.broker.said(spoken)
		if err != nil {
			return err
		}
		if code != 1 {
			return fmt.Errorf("%s: exit code %d, wanted 1: %s", it.name, code, said)
		}
		for _, word := range it.words {
			if !strings.Contains(said, word) {
				return fmt.Errorf("%s: %q is not in what it says: %s", it.name, word, said)
			}
		}
		r.cycles++
		fmt.Printf("refused: %s: %s\n", it.name, strings.TrimSpace(said))
	}
	// What was refused has left nothing behind that would hinder the next start.
	if err := r.broker.start(); err != nil {
		return err
	}
	return reach(r.broker.address, r.ready)
}

// The kernel's names: seccomp(2), bpf(2).
const (
	prSetNoNewPrivs      = 38
	seccompSetModeFilter = 1
	seccompAllow         = 0x7fff0000
	seccompErrno         = 0x00050000
	bpfLoadWord          = 0x20 // of the call's number, at offset 0 of what a filter is given
	bpfJumpIfEqual       = 0x15
	bpfReturn            = 0x06
	callIoUringSetup     = 425 // on every architecture
)

var callSeccomp = map[string]uintptr{"amd64": 317, "arm64": 277}[runtime.GOARCH]

type bpfStep struct {
	code        uint16
	then, other uint8
	value       uint32
}

type bpfProgram struct {
	count uint16
	steps *bpfStep
}

// launch becomes another program, for which io_uring_setup fails with an errno.
func launch(words []string) {
	err := launchWithout(words)
	fmt.Fprintln(os.Stderr, "faults: the launcher:", err)
	os.Exit(3)
}

func launchWithout(words []string) error {
	if len(words) < 2 || callSeccomp == 0 {
		return errors.New("an errno and a command, on x86-64 or arm64")
	}
	errno, err := strconv.Atoi(words[0])
	if err != nil {
		return err
	}
	steps := []bpfStep{
		{code: bpfLoadWord, value: 0},
		{code: bpfJumpIfEqual, then: 0, other: 1, value: callIoUringSetup},
		{code: bpfReturn, value: seccompErrno | uint32(errno)},
		{code: bpfReturn, value: seccompAllow},
	}
	program := bpfProgram{uint16(len(steps)), &steps[0]}
	// Both hold for this thread, and for what it becomes.
	if _, _, errno := syscall.RawSyscall6(syscall.SYS_PRCTL, prSetNoNewPrivs, 1, 0, 0, 0, 0); errno != 0 {
		return fmt.Errorf("prctl: %w", errno)
	}
	if _, _, errno := syscall.RawSyscall(callSeccomp, seccompSetModeFilter, 0, uintptr(unsafe.Pointer(&program))); errno != 0 {
		return fmt.Errorf("seccomp: %w", errno)
	}
	return syscall.Exec(words[1], words[1:], os.Environ())
}
