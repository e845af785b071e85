package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

// Ground is what a broker's data lies on.
type Ground interface {
	// Data is the data directory.
	Data() string
	// Close takes the ground away; nobody uses it any more.
	Close() error
}

// Directory is a plain one, on the file system that is there.
type Directory struct{ path string }

func NewDirectory(dir string) (*Directory, error) {
	path := filepath.Join(dir, "data")
	return &Directory{path}, os.MkdirAll(path, 0o755)
}

func (d *Directory) Data() string { return d.path }
func (d *Directory) Close() error { return nil }

// Image is a file with an ext4 in it, mounted through a loop device.
type Image struct {
	file  string
	point string
}

// NewImage makes and mounts one. More words for mkfs.ext4 come last.
func NewImage(dir string, bytes int64, mkfs ...string) (*Image, error) {
	image := &Image{file: filepath.Join(dir, "image"), point: filepath.Join(dir, "mount")}
	if err := os.MkdirAll(image.point, 0o755); err != nil {
		return nil, err
	}
	file, err := os.Create(image.file)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(file.Truncate(bytes), file.Close()); err != nil {
		return nil, err
	}
	if err := format(image.file, mkfs...); err != nil {
		return nil, err
	}
	return image, mount(image.file, image.point)
}

func (i *Image) Data() string { return filepath.Join(i.point, "data") }
func (i *Image) Close() error { return unmount(i.point) }

// Again mounts what is left in the image, as after a power cut: the file system's own journal is replayed.
func (i *Image) Again() error {
	if err := unmount(i.point); err != nil {
		return err
	}
	return mount(i.file, i.point)
}

// EXT4_IOC_SHUTDOWN, and its flag by which not even the journal is flushed.
const (
	shutdownRequest = 0x8004587D
	shutdownNoFlush = 2
)

// Cut ends the file system at once: what it had not written is gone, and nothing works on it any more.
func (i *Image) Cut() error {
	directory, err := os.Open(i.point)
	if err != nil {
		return err
	}
	defer directory.Close()
	flag := uint32(shutdownNoFlush)
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, directory.Fd(), shutdownRequest, uintptr(unsafe.Pointer(&flag)))
	if errno != 0 {
		return fmt.Errorf("EXT4_IOC_SHUTDOWN of %s: %w", i.point, errno)
	}
	return nil
}

// format makes an ext4 without reserved blocks, all of it at once, so that later mounts do the same things.
func format(file string, more ...string) error {
	words := append([]string{"-q", "-F", "-m", "0", "-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0"}, more...)
	return command("mkfs.ext4", append(words, file)...)
}

// mount goes through a loop device that is gone with the mount.
func mount(file, point string) error {
	output, err := exec.Command("losetup", "--find", "--show", "--direct-io=on", file).CombinedOutput()
	device := strings.TrimSpace(string(output))
	if err != nil {
		return fmt.Errorf("losetup %s: %w: %s", file, err, device)
	}
	mounted := command("mount", "-t", "ext4", "-o", "noatime,nodiscard,errors=continue", device, point)
	// While it is mounted this only says that it is to be detached afterwards.
	return errors.Join(mounted, command("losetup", "--detach", device))
}

// unmount waits for the kernel to let go of a dead broker's files.
func unmount(point string) error {
	var err error
	for until := time.Now().Add(20 * time.Second); time.Now().Before(until); time.Sleep(10 * time.Millisecond) {
		err = syscall.Unmount(point, 0)
		if err == nil || errors.Is(err, syscall.EINVAL) {
			return nil // EINVAL: nothing is mounted there.
		}
		if !errors.Is(err, syscall.EBUSY) {
			break
		}
	}
	return fmt.Errorf("unmounting %s: %w", point, err)
}

func command(name string, words ...string) error {
	output, err := exec.Command(name, words...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(words, " "), err, strings.TrimSpace(string(output)))
	}
	return nil
}
