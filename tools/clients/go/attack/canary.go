package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Each lane has a partition and two connections of its own, so that the lanes spread over the broker's cores.
const (
	laneCount = 4
	laneEvery = 5 * time.Millisecond
)

// Canary writes and reads on, at a steady pace, while a broker is attacked beside it.
// A record's latency is the time from when it should be sent until its reader has it.
type Canary struct {
	address string
	topic   string
	lanes   []*lane
}

type lane struct {
	topic     string
	partition int32
	began     time.Time // when record 0 should be sent
	producer  net.Conn
	consumer  net.Conn

	mutex  sync.Mutex
	ledger Ledger
	seenAt []time.Duration // by record, since began
	failed error
	stop   chan struct{}
	sent   sync.WaitGroup
	done   sync.WaitGroup
}

// StartCanary creates the canary's topic and sets off.
func StartCanary(address, topic string) (*Canary, error) {
	if err := makeTopic(address, topic, laneCount); err != nil {
		return nil, err
	}
	canary := &Canary{address: address, topic: topic}
	began := time.Now()
	for at := range laneCount {
		lane := &lane{topic: topic, partition: int32(at), stop: make(chan struct{})}
		lane.began = began.Add(laneEvery * time.Duration(at) / laneCount)
		var err error
		if lane.producer, err = net.Dial("tcp", address); err != nil {
			return nil, err
		}
		if lane.consumer, err = net.Dial("tcp", address); err != nil {
			return nil, err
		}
		canary.lanes = append(canary.lanes, lane)
	}
	for _, lane := range canary.lanes {
		lane.sent.Add(1)
		lane.done.Add(2)
		go lane.send()
		go lane.acknowledge()
		go lane.read()
	}
	return canary, nil
}

func (l *lane) fail(what string, err error) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if l.failed == nil {
		l.failed = fmt.Errorf("lane %d, %s: %w", l.partition, what, err)
	}
}

// send sends record n at its time, or late if the broker does not take it.
func (l *lane) send() {
	defer l.sent.Done()
	for seq := int64(0); ; seq++ {
		select {
		case <-l.stop:
			return
		case <-time.After(time.Until(l.began.Add(time.Duration(seq) * laneEvery))):
		}
		request := produce(l.topic, -1, single(binary.BigEndian.AppendUint64(nil, uint64(seq))))
		request.Topics[0].Partitions[0].Partition = l.partition
		if _, err := l.producer.Write(encoded(request, int32(seq))); err != nil {
			l.fail("sending", err)
			return
		}
	}
}

func (l *lane) acknowledge() {
	defer l.done.Done()
	for {
		body, seq, err := read(l.producer)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			l.fail("waiting for acknowledgements", err)
			return
		}
		response, err := decoded(int16(kmsg.Produce), 9, body)
		if err != nil {
			l.fail("an acknowledgement", err)
			return
		}
		partition := response.(*kmsg.ProduceResponse).Topics[0].Partitions[0]
		l.mutex.Lock()
		if partition.ErrorCode != 0 {
			l.ledger.fail("record %d refused: %s", seq, codeName(partition.ErrorCode))
		} else {
			l.ledger.Ack(int64(seq), partition.BaseOffset)
		}
		l.mutex.Unlock()
	}
}

func (l *lane) read() {
	defer l.done.Done()
	for next := int64(0); ; {
		seqs, err := records(l.consumer, l.topic, l.partition, next)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			l.fail("reading", err)
			return
		}
		now := time.Since(l.began)
		l.mutex.Lock()
		for _, seq := range seqs {
			l.ledger.Saw(seq, next)
			l.seenAt = append(l.seenAt, now)
			next++
		}
		l.mutex.Unlock()
	}
}

// records fetches what lies from an offset on: the numbers of the records.
func records(conn net.Conn, topic string, partition int32, offset int64) (seqs []int64, err error) {
	if _, err := conn.Write(encoded(fetch(topic, partition, offset), 1)); err != nil {
		return nil, err
	}
	body, _, err := read(conn)
	if err != nil {
		return nil, err
	}
	response, err := decoded(int16(kmsg.Fetch), 11, body)
	if err != nil {
		return nil, err
	}
	answer := response.(*kmsg.FetchResponse)
	if code := firstCode(answer); code != 0 {
		return nil, errors.New(codeName(code))
	}
	for rest := answer.Topics[0].Partitions[0].RecordBatches; len(rest) >= batchHeadBytes; {
		end := 12 + int(binary.BigEndian.Uint32(rest[lengthAt:]))
		if end > len(rest) {
			break // Cut at the end, as a fetch may be.
		}
		batch := kmsg.NewRecordBatch()
		if err := batch.ReadFrom(rest[:end]); err != nil {
			return nil, err
		}
		one := kmsg.NewRecord()
		if err := one.ReadFrom(batch.Records); err != nil {
			return nil, err
		}
		if want := offset + int64(len(seqs)); batch.FirstOffset != want || len(one.Value) != 8 {
			return nil, fmt.Errorf("offset %d with %d bytes, wanted offset %d", batch.FirstOffset, len(one.Value), want)
		}
		seqs = append(seqs, int64(binary.BigEndian.Uint64(one.Value)))
		rest = rest[end:]
	}
	return seqs, nil
}

// P99 of the records that should have been sent between two times. It waits for those that are on their way,
// but not for ever: what is not there after patience counts as that late.
func (c *Canary) P99(from, to time.Time, patience time.Duration) time.Duration {
	var latencies []time.Duration
	for _, lane := range c.lanes {
		first := int64(max(from.Sub(lane.began), 0) / laneEvery)
		end := int64(to.Sub(lane.began) / laneEvery)
		lane.await(end, to.Add(patience))
		lane.mutex.Lock()
		for seq := first; seq < end; seq++ {
			due := time.Duration(seq) * laneEvery
			seenAt := time.Since(lane.began)
			if seq < int64(len(lane.seenAt)) {
				seenAt = lane.seenAt[seq]
			}
			latencies = append(latencies, seenAt-due)
		}
		lane.mutex.Unlock()
	}
	return percentile(latencies, 0.99)
}

func (l *lane) await(end int64, until time.Time) {
	for {
		l.mutex.Lock()
		over := int64(len(l.seenAt)) >= end || l.failed != nil
		l.mutex.Unlock()
		if over || time.Now().After(until) {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// Wrong is everything that must not happen to a canary.
func (c *Canary) Wrong() (wrong []string) {
	for _, lane := range c.lanes {
		lane.mutex.Lock()
		for _, it := range lane.ledger.wrong {
			wrong = append(wrong, fmt.Sprintf("partition %d: %s", lane.partition, it))
		}
		if lane.failed != nil {
			wrong = append(wrong, lane.failed.Error())
		}
		lane.mutex.Unlock()
	}
	return wrong
}

// Abandon ends one that came to harm. What it was told stays unproven, and its topic stays.
func (c *Canary) Abandon() (acked int64) {
	for _, lane := range c.lanes {
		close(lane.stop)
		lane.producer.Close()
		lane.consumer.Close()
		lane.sent.Wait()
		lane.done.Wait()
		acked += lane.ledger.acked
	}
	return acked
}

// Stop ends it, and reads everything again, from the first record to the last.
func (c *Canary) Stop() (acked int64, err error) {
	for _, lane := range c.lanes {
		close(lane.stop)
		lane.sent.Wait()
		lane.await(int64(time.Since(lane.began)/laneEvery)-2, time.Now().Add(10*time.Second))
		lane.producer.Close()
		lane.consumer.Close()
		lane.done.Wait()
		lane.ledger.Whole(lane.everything(c.address))
		acked += lane.ledger.acked
	}
	return acked, dropTopic(c.address, c.topic)
}

func (l *lane) everything(address string) (seqs []int64) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		l.fail("the last reader", err)
		return nil
	}
	defer conn.Close()
	for {
		more, err := records(conn, l.topic, l.partition, int64(len(seqs)))
		if err != nil {
			l.fail("the last reader", err)
			return seqs
		}
		if len(more) == 0 {
			return seqs
		}
		seqs = append(seqs, more...)
	}
}

// warm writes so many bytes of records into a topic that stays: a cache of recent records that is full does not
// grow while somebody attacks.
func warm(address string, total int) error {
	if total == 0 {
		return nil
	}
	const partitions, part = 16, 512 << 10
	topic := fmt.Sprintf("warm-%d", os.Getpid())
	if err := makeTopic(address, topic, partitions); err != nil {
		return err
	}
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	request := produce(topic, -1, single(make([]byte, part)))
	for written := 0; written < total; written += part {
		request.Topics[0].Partitions[0].Partition = int32(written / part % partitions)
		response, err := ask(conn, request, answerLimit)
		if err != nil {
			return err
		}
		if code := firstCode(response); code != 0 {
			return errors.New(codeName(code))
		}
	}
	return nil
}

// makeTopic creates a topic, and waits until it can be written to.
func makeTopic(address, name string, partitions int32) error {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	response, err := ask(conn, createTopic(name, partitions), 15*time.Second)
	if err != nil {
		return err
	}
	if code := firstCode(response); code != 0 {
		return fmt.Errorf("creating %s: %s", name, codeName(code))
	}
	for until := time.Now().Add(15 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		request := listOffsets(name)
		template := request.Topics[0].Partitions[0]
		request.Topics[0].Partitions = nil
		for at := range partitions {
			template.Partition = at
			request.Topics[0].Partitions = append(request.Topics[0].Partitions, template)
		}
		if response, err = ask(conn, request, 5*time.Second); err != nil {
			return err
		}
		if code := firstCode(response); code == 0 {
			return nil
		} else if time.Now().After(until) {
			return fmt.Errorf("%s is not ready: %s", name, codeName(code))
		}
	}
}

func dropTopic(address, name string) error {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = ask(conn, deleteTopic(name), 15*time.Second)
	return err
}
