package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestAllowance(t *testing.T) {
	a := NewAllowance([]Keeping{
		{topic: "by-size", partitions: 3, segmentBytes: 1 << 20, bytes: 8 << 20},
		{topic: "by-age", partitions: 1, segmentBytes: 2 << 20, age: time.Minute},
	})
	if want := int64(3*(8+1)<<20 + restBytes); a.atRest != want {
		t.Errorf("at rest %d, not %d", a.atRest, want)
	}
	flying := int64(2 * retainWriters * retainWindow * retainLengthMax)
	if want := (3*9+2)<<20 + flying + checkpointBytes + restBytes; a.fixed != want {
		t.Errorf("fixed %d, not %d", a.fixed, want)
	}
	window := time.Minute + 2*retentionLook + lateMax
	for _, it := range []struct {
		now            time.Duration
		bytes, allowed int64
	}{
		{time.Second, 100, 100},
		{window, 300, 300},
		{window + time.Second/2, 310, 310},
		{window + time.Second, 400, 300},       // What was written until the first second is not young any more.
		{2*window + time.Second - 1, 500, 190}, // 310 until the last look before the window.
		{2*window + time.Second, 500, 100},
		{9 * window, 500, 0},
	} {
		if got := a.Look(it.now, it.bytes) - a.fixed; got != it.allowed {
			t.Errorf("%d bytes at %v: %d more are allowed, not %d", it.bytes, it.now, got, it.allowed)
		}
	}
}

func TestLogBytes(t *testing.T) {
	one := `{"brokers":[{"id":1,"log_dirs":[{"log_bytes":42,"path":"/d","total_bytes":9,"usable_bytes":5}]}],"topics":3}`
	if got, err := logBytes([]byte(one)); got != 42 || err != nil {
		t.Errorf("%d, %v", got, err)
	}
	for _, line := range []string{
		``,
		`{"brokers":[]}`,
		`{"brokers":[{"log_dirs":[{"path":"/d"}]}]}`,
		`{"brokers":[{"log_dirs":[{"log_bytes":42,"error":"offline"}]}]}`,
		`{"brokers":[{"log_dirs":[{"log_bytes":1},{"log_bytes":1}]}]}`,
	} {
		if _, err := logBytes([]byte(line)); err == nil {
			t.Errorf("%s was taken", line)
		}
	}
}

func TestFileBytes(t *testing.T) {
	dir := t.TempDir()
	before, err := fileBytes(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "segment"), make([]byte, 1<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	if after, err := fileBytes(dir); err != nil || after-before < 1<<20 {
		t.Errorf("a file of 1 MiB: %d bytes, then %d, %v", before, after, err)
	}
	if bytes, err := fileBytes(filepath.Join(dir, "gone")); bytes != 0 || err != nil {
		t.Errorf("what is gone: %d bytes, %v", bytes, err)
	}
}
