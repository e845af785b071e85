package main

import (
	"fmt"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// twinAttacks: row 44, a topic that is deleted while it is used, and made again under its name.
func twinAttacks() []attack {
	const gone = "UNKNOWN_TOPIC_ID|INCONSISTENT_TOPIC_ID"
	return []attack{{row: "44", name: "a topic deleted and made again", siege: twins, shots: []shot{
		{name: "write by the old id", wants: gone}, {name: "read by the old id", wants: gone}, {name: "look for the old id", wants: gone},
		{name: "read on in the session", wants: gone}, {name: "a read that waited", wants: gone + "|UNKNOWN_TOPIC_OR_PARTITION|NOT_LEADER_FOR_PARTITION"},
		{name: "by the new id", wants: "answered"}, {name: "records of the new one", wants: "its own"},
		{name: "an offset of the old one", wants: "gone"}, {name: cleaned, wants: "done"},
	}}}
}

// twins makes a topic, uses it, deletes it, makes it again, and goes on as if nothing had been, until the time is over.
func twins(f *Field) {
	name := f.topic + "-twin"
	became := "done"
	for round := 0; (round == 0 || time.Now().Before(f.end)) && became == "done"; round++ {
		if err := f.twin(name); err != nil {
			became = err.Error()
		}
	}
	if err := dropTopic(f.address, name); err != nil {
		became = err.Error()
	}
	if err := f.dropGroups([]string{name}); err != "done" {
		became = err
	}
	f.saw(cleaned, became)
}

// twin is one life of a topic and the begin of the next.
func (f *Field) twin(name string) error {
	conn, err := f.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	old, err := f.born(conn, name)
	if err != nil {
		return err
	}
	for _, request := range []kmsg.Request{produceTo(old, "old"), produceTo(old, "old"), commit(name, name, "old", 0)} {
		response, err := ask(conn, request, answerLimit)
		if err != nil {
			return err
		}
		if code := firstCode(response); code != 0 {
			return fmt.Errorf("using %s: %s", name, codeName(code))
		}
	}
	session := fetchFrom(old, 2)
	session.SessionEpoch = 0
	response, err := ask(conn, session, answerLimit)
	if err != nil {
		return err
	}
	waited, err := f.wait(old)
	if err != nil {
		return err
	}
	if err := dropTopic(f.address, name); err != nil {
		return err
	}
	young, err := f.born(conn, name)
	if err != nil {
		return err
	}
	f.saw("a read that waited", <-waited)
	next := fetchFrom(old, 2)
	next.SessionID, next.SessionEpoch = response.(*kmsg.FetchResponse).SessionID, 1
	next.Topics = nil
	f.saw("read on in the session", react(conn, encoded(next, 1)))
	f.saw("write by the old id", react(conn, encoded(produceTo(old, "old"), 1)))
	f.saw("read by the old id", react(conn, encoded(fetchFrom(old, 0), 1)))
	f.saw("look for the old id", react(conn, encoded(lookFor(old), 1)))
	f.saw("by the new id", react(conn, encoded(produceTo(young, "young"), 1)))
	f.saw("records of the new one", f.firstOf(conn, young))
	f.saw("an offset of the old one", f.forgotten(conn, name))
	return dropTopic(f.address, name)
}

// born makes the topic and asks for its id.
func (f *Field) born(conn net.Conn, name string) (id [16]byte, err error) {
	if err := makeTopic(f.address, name, 1); err != nil {
		return id, err
	}
	response, err := ask(conn, metadata(12, false, name), answerLimit)
	if err != nil {
		return id, err
	}
	if code := firstCode(response); code != 0 {
		return id, fmt.Errorf("the id of %s: %s", name, codeName(code))
	}
	return response.(*kmsg.MetadataResponse).Topics[0].TopicID, nil
}

// wait begins a read that waits for more than will ever come, on a connection of its own.
func (f *Field) wait(id [16]byte) (<-chan string, error) {
	conn, err := f.dial()
	if err != nil {
		return nil, err
	}
	request := fetchFrom(id, 2)
	request.MinBytes, request.MaxWaitMillis = 1<<20, int32(2*answerLimit.Milliseconds())
	became := make(chan string, 1)
	go func() {
		defer conn.Close()
		became <- react(conn, encoded(request, 1))
	}()
	return became, nil
}

// firstOf is whose the first record of a topic is.
func (f *Field) firstOf(conn net.Conn, id [16]byte) string {
	response, err := ask(conn, fetchFrom(id, 0), answerLimit)
	if err != nil {
		return reaction(0, 0, nil, err)
	}
	batch := kmsg.NewRecordBatch()
	if err := batch.ReadFrom(response.(*kmsg.FetchResponse).Topics[0].Partitions[0].RecordBatches); err != nil {
		return err.Error()
	}
	record := kmsg.NewRecord()
	if err := record.ReadFrom(batch.Records); err != nil {
		return err.Error()
	}
	if batch.FirstOffset != 0 || string(record.Value) != "young" {
		return fmt.Sprintf("%q at offset %d", record.Value, batch.FirstOffset)
	}
	return "its own"
}

// forgotten says whether no offset is there for the topic. Apache Kafka forgets them a little later.
func (f *Field) forgotten(conn net.Conn, group string) string {
	for until := time.Now().Add(answerLimit); ; time.Sleep(10 * time.Millisecond) {
		response, err := ask(conn, committed(group), answerLimit)
		if err != nil {
			return reaction(0, 0, nil, err)
		}
		if len(response.(*kmsg.OffsetFetchResponse).Groups[0].Topics) == 0 {
			return "gone"
		}
		if time.Now().After(until) {
			return "still there"
		}
	}
}

func produceTo(id [16]byte, value string) *kmsg.ProduceRequest {
	request := produce("", -1, single([]byte(value)))
	request.SetVersion(13)
	request.Topics[0].TopicID = id
	return request
}

func fetchFrom(id [16]byte, offset int64) *kmsg.FetchRequest {
	request := fetch("", 0, offset)
	request.SetVersion(13)
	request.Topics[0].TopicID = id
	request.MaxWaitMillis = 0
	return request
}

func lookFor(id [16]byte) *kmsg.MetadataRequest {
	request := metadata(12, false)
	topic := kmsg.NewMetadataRequestTopic()
	topic.TopicID = id
	request.Topics = append(request.Topics, topic)
	return request
}
