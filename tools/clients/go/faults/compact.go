package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// compacted are the topics: of small segments and always due. In one of them the markers of deleted keys stay.
var compacted = []struct {
	name            string
	tombstonesMs    string
	keepsTombstones bool
}{
	{"forgets", "50", false},
	{"remembers", "86400000", true},
}

const (
	compactedPartitions = 2
	// retiredPerCycle keys of each writer are deleted for good in each cycle, and others take their places.
	retiredPerCycle = 5
)

// compact is SIGKILL while logs are compacted: of every key its last version must be there, whenever that was.
func compact(r *Run) error {
	if err := r.first(); err != nil {
		return err
	}
	rewriting, err := r.rewrite()
	if err != nil {
		return err
	}
	load := rewriting.load
	defer load.Abandon()
	if err = r.interrupt(rewriting); err == nil {
		load.Stop()
		err = r.proven(rewriting)
	}
	violations := load.errors
	for _, it := range rewriting.latest.Violations() {
		violations = append(violations, it.String())
	}
	for _, it := range violations {
		fmt.Println("violation:", it)
	}
	r.count("records acknowledged", rewriting.latest.Acked)
	r.count("read", rewriting.latest.Read)
	if err == nil && len(violations) > 0 {
		err = errors.New("the broker broke a promise")
	}
	return err
}

// rewrite makes the topics and begins to write to them.
func (r *Run) rewrite() (*Rewriting, error) {
	rewriting := &Rewriting{load: NewLoad(r.broker.address, NewChecker()), latest: NewLatest()}
	wire, err := Dial(r.broker.address)
	if err != nil {
		return nil, err
	}
	defer wire.Close()
	codecs := []kgo.CompressionCodec{kgo.NoCompression(), kgo.Lz4Compression(), kgo.ZstdCompression(), kgo.SnappyCompression()}
	for at, topic := range compacted {
		configs := map[string]string{"cleanup.policy": "compact", "segment.bytes": "1048576", "segment.ms": "500",
			"min.cleanable.dirty.ratio": "0.01", "delete.retention.ms": topic.tombstonesMs}
		if err := wire.Create(topic.name, compactedPartitions, configs); err != nil {
			return nil, fmt.Errorf("creating %s: %w", topic.name, err)
		}
		for writer := range writersPerTopic {
			serial := at*writersPerTopic + writer
			if err := rewriting.Write(topic.name, compactedPartitions, writer, r.seed+int64(serial), codecs[serial]); err != nil {
				return nil, err
			}
		}
	}
	return rewriting, nil
}

// interrupt kills the broker again and again; after each time, all that was acknowledged must be there.
func (r *Run) interrupt(rewriting *Rewriting) error {
	for r.goesOn() {
		rewriting.retired.Add(retiredPerCycle)
		if err := r.awaitKill(); err != nil {
			return err
		}
		gone, err := r.metric(recordsGone)
		if err != nil {
			return err
		}
		r.count("records compacted away in lives that were cut short", gone)
		if err := r.die(300 * time.Millisecond); err != nil {
			return err
		}
		if err := r.again(); err != nil {
			return err
		}
		if _, err := r.readAll(rewriting); err != nil {
			return err
		}
		acked, violations := 0, 0
		rewriting.With(func(l *Latest) { acked, violations = l.Acked, len(l.Violations()) })
		r.turned(acked)
		if violations > 0 {
			break
		}
	}
	return nil
}

// readAll reads all partitions, and counts offsets that have no record any more.
func (r *Run) readAll(rewriting *Rewriting) (gone int64, err error) {
	for _, topic := range compacted {
		for at := range int32(compactedPartitions) {
			records, end, err := rewriting.Read(Place{topic.name, at}, topic.keepsTombstones, r.ready)
			if err != nil {
				return 0, err
			}
			gone += end - int64(records)
		}
	}
	return gone, nil
}

// proven looks at what there is when nobody writes any more: in the running broker, on the disk after one more
// SIGKILL, and in a broker that has started from that. Something must have been compacted, or nothing was shown.
func (r *Run) proven(rewriting *Rewriting) error {
	if _, err := r.readAll(rewriting); err != nil {
		return err
	}
	r.broker.kill()
	if err := command(r.broker.command[0], "log", "verify", r.ground.Data()); err != nil {
		return err
	}
	if err := r.again(); err != nil {
		return err
	}
	gone, err := r.readAll(rewriting)
	if err != nil {
		return err
	}
	if gone == 0 {
		return errors.New("nothing was compacted: this shows nothing")
	}
	r.count("offsets without a record in the end", int(gone))
	return nil
}

// What Odradek counts of its compactions since its start.
const (
	bytesReplaced = "odradek_compacted_bytes_total"
	recordsGone   = "odradek_compacted_records_total"
)

// awaitKill waits for the moment of the next SIGKILL: any; as soon as a file has taken the place of others, and may be
// known to nobody but the broker that is about to die; or a while after that.
func (r *Run) awaitKill() error {
	moment := r.random.Intn(3)
	if moment > 0 {
		before, err := r.metric(bytesReplaced)
		if err != nil {
			return err
		}
		err = await(r.ready, r.broker.ended, func() string {
			bytes, err := r.metric(bytesReplaced)
			if err != nil || bytes == before {
				return fmt.Sprintf("nothing is compacted (%v)", err)
			}
			return ""
		})
		if err != nil {
			return err
		}
	}
	if moment != 1 {
		r.sleep(0, 1500*time.Millisecond)
	}
	return nil
}

// metric is the sum of a counter of all shards.
func (r *Run) metric(name string) (sum int, err error) {
	response, err := http.Get("http://" + r.broker.http + "/metrics")
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err
	}
	found := regexp.MustCompile(`(?m)^`+name+`\{[^}]*\} ([0-9]+)$`).FindAllSubmatch(text, -1)
	if found == nil {
		return 0, fmt.Errorf("%s is not in the broker's metrics", name)
	}
	for _, it := range found {
		number, err := strconv.Atoi(string(it[1]))
		if err != nil {
			return 0, err
		}
		sum += number
	}
	return sum, nil
}
