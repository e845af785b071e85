package main

import (
	"fmt"
	"hash/fnv"
	"math"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// untouched is the shot that counts whether anything was left of requests that were refused.
const untouched = "what they leave"

// adminAttacks: row 40, requests that would change a topic and must not.
func adminAttacks() []attack {
	left := shot{name: untouched, wants: "nothing"}
	refused := func(name string, shots func() []shot) attack {
		return attack{row: "40", name: name, siege: func(f *Field) { f.refused(shots()) }, shots: append(shots(), left)}
	}
	return []attack{
		refused("topics that may not be", topicBombs),
		refused("changes that may not be", changeBombs),
	}
}

// refused sends what must be refused, and looks whether something is there afterwards that was not there before.
func (f *Field) refused(shots []shot) {
	before, err := f.inventory()
	if err == nil {
		err = f.shoot(shots)
	}
	after, errAfter := f.inventory()
	switch {
	case err != nil:
		f.saw(untouched, err.Error())
	case errAfter != nil:
		f.saw(untouched, errAfter.Error())
	case before != after:
		f.saw(untouched, fmt.Sprintf("something: before %s, after %s", before, after))
	default:
		f.saw(untouched, "nothing")
	}
}

// inventory is what there is: all topics with their partitions, and of the attack's own topic its configuration
// and where it begins. A short text, so that two can be compared.
func (f *Field) inventory() (string, error) {
	conn, err := f.dial()
	if err != nil {
		return "", err
	}
	defer conn.Close()
	everything := metadata(9, false)
	everything.Topics = nil
	response, err := ask(conn, everything, answerLimit)
	if err != nil {
		return "", err
	}
	var lines []string
	for _, topic := range response.(*kmsg.MetadataResponse).Topics {
		lines = append(lines, fmt.Sprint(*topic.Topic, len(topic.Partitions)))
	}
	slices.Sort(lines)
	topics := len(lines)
	configs := kmsg.NewPtrDescribeConfigsRequest()
	configs.SetVersion(1)
	resource := kmsg.NewDescribeConfigsRequestResource()
	resource.ResourceType, resource.ResourceName = kmsg.ConfigResourceTypeTopic, f.topic
	configs.Resources = append(configs.Resources, resource)
	if response, err = ask(conn, configs, answerLimit); err != nil {
		return "", err
	}
	for _, config := range response.(*kmsg.DescribeConfigsResponse).Resources[0].Configs {
		lines = append(lines, config.Name+"="+*config.Value)
	}
	start := listOffsets(f.topic)
	start.Topics[0].Partitions[0].Timestamp = -2
	if response, err = ask(conn, start, answerLimit); err != nil {
		return "", err
	}
	lines = append(lines, fmt.Sprint(response.(*kmsg.ListOffsetsResponse).Topics[0].Partitions[0].Offset))
	hash := fnv.New32()
	hash.Write([]byte(strings.Join(lines, "\n"))) // It never fails.
	return fmt.Sprintf("%d topics, hash %08x", topics, hash.Sum32()), nil
}

// topicBombs create nothing: what is refused, and what is only asked for.
func topicBombs() (shots []shot) {
	wish := func(name, wants string, change func(*kmsg.CreateTopicsRequest)) {
		shots = append(shots, shot{name, wants, func(topic string) []byte {
			request := createTopic(topic+"-new", 1)
			change(request)
			return encoded(request, 1)
		}})
	}
	it := func(r *kmsg.CreateTopicsRequest) *kmsg.CreateTopicsRequestTopic { return &r.Topics[0] }
	for _, partitions := range []int32{0, -2, math.MinInt32} {
		wish(fmt.Sprint(partitions, " partitions"), "INVALID_PARTITIONS", func(r *kmsg.CreateTopicsRequest) { it(r).NumPartitions = partitions })
	}
	for _, partitions := range []int32{million, math.MaxInt32} {
		wish(fmt.Sprint(partitions, " partitions"), "POLICY_VIOLATION", func(r *kmsg.CreateTopicsRequest) { it(r).NumPartitions = partitions })
	}
	for _, factor := range []int16{0, -2, 2, math.MaxInt16} {
		wish(fmt.Sprint("replication factor ", factor), "INVALID_REPLICATION_FACTOR", func(r *kmsg.CreateTopicsRequest) { it(r).ReplicationFactor = factor })
	}
	wish("a broker that is not there", "INVALID_REPLICA_ASSIGNMENT", func(r *kmsg.CreateTopicsRequest) { assign(it(r), 1, math.MaxInt32) })
	wish("100,000 replicas", "INVALID_REPLICA_ASSIGNMENT|closed", func(r *kmsg.CreateTopicsRequest) { assign(it(r), 1, make([]int32, 100_000)...) })
	wish("partition 2^31-1 only", "INVALID_REPLICA_ASSIGNMENT", func(r *kmsg.CreateTopicsRequest) {
		assign(it(r), 1, 0)
		it(r).ReplicaAssignment[0].Partition = math.MaxInt32
	})
	wish("one name twice", "INVALID_REQUEST", func(r *kmsg.CreateTopicsRequest) { r.Topics = append(r.Topics, r.Topics[0]) })
	wish("one name 10,000 times", "INVALID_REQUEST|closed", func(r *kmsg.CreateTopicsRequest) { r.Topics = slices.Repeat(r.Topics, 10_000) })
	wish("10,000 topics of 10,000 partitions, only asked", "POLICY_VIOLATION|INVALID_PARTITIONS|answered|closed", func(r *kmsg.CreateTopicsRequest) {
		r.ValidateOnly = true
		r.Topics = slices.Repeat(r.Topics, 10_000)
		for at := range r.Topics {
			r.Topics[at].Topic, r.Topics[at].NumPartitions = fmt.Sprint("many-", at), 10_000
		}
	})
	configured := func(name, wants string, configs ...string) {
		wish(name, wants, func(r *kmsg.CreateTopicsRequest) { configure(it(r), configs...) })
	}
	configured("unknown config", "INVALID_CONFIG", "no.such.config", "1")
	configured("config without sense", "INVALID_CONFIG", "retention.ms", "for ever")
	configured("config of 32,767 characters", "INVALID_CONFIG", "retention.ms", strings.Repeat("7", math.MaxInt16))
	configured("config of 1 MiB", "INVALID_CONFIG|closed", "retention.ms", strings.Repeat("7", 1<<20))
	var many []string
	for at := range 10_000 {
		many = append(many, fmt.Sprint("config.", at), "1")
	}
	configured("10,000 configs", "INVALID_CONFIG|closed", many...)
	return shots
}

func assign(topic *kmsg.CreateTopicsRequestTopic, partitions int, replicas ...int32) {
	topic.NumPartitions, topic.ReplicationFactor = -1, -1
	for at := range partitions {
		one := kmsg.NewCreateTopicsRequestTopicReplicaAssignment()
		one.Partition, one.Replicas = int32(at), replicas
		topic.ReplicaAssignment = append(topic.ReplicaAssignment, one)
	}
}

// configure takes names and values in turn.
func configure(topic *kmsg.CreateTopicsRequestTopic, configs ...string) {
	for pair := range slices.Chunk(configs, 2) {
		one := kmsg.NewCreateTopicsRequestTopicConfig()
		one.Name, one.Value = pair[0], &pair[1]
		topic.Configs = append(topic.Configs, one)
	}
}

// changeBombs leave the attack's topic as it is.
func changeBombs() []shot {
	grow := func(name, wants string, count int32) shot {
		return shot{name, wants, func(topic string) []byte { return encoded(growTo(topic, count), 1) }}
	}
	cut := func(name, wants string, offset int64) shot {
		return shot{name, wants, func(topic string) []byte { return encoded(cutAt(topic, offset), 1) }}
	}
	const set, remove, add = kmsg.IncrementalAlterConfigOpSet, kmsg.IncrementalAlterConfigOpDelete, kmsg.IncrementalAlterConfigOpAppend
	alter := func(name, wants string, op kmsg.IncrementalAlterConfigOp, configs ...string) shot {
		return shot{name, wants, func(topic string) []byte { return encoded(alterTopic(topic, op, configs...), 1) }}
	}
	long := strings.Repeat("7", math.MaxInt16)
	return []shot{
		grow("grow to -1", "INVALID_PARTITIONS", -1), grow("grow to 0", "INVALID_PARTITIONS", 0), grow("grow to 1", "INVALID_PARTITIONS", 1),
		grow("grow to 2^31-1", "INVALID_PARTITIONS|POLICY_VIOLATION|UNKNOWN_SERVER_ERROR", math.MaxInt32),
		grow("grow to a million", "INVALID_PARTITIONS|POLICY_VIOLATION|UNKNOWN_SERVER_ERROR", million),
		cut("delete to -1", "answered", -1), cut("delete to -2", "OFFSET_OUT_OF_RANGE", -2),
		cut("delete past the end", "OFFSET_OUT_OF_RANGE", 1), cut("delete to 2^63-1", "OFFSET_OUT_OF_RANGE", math.MaxInt64),
		alter("set an unknown config", "INVALID_CONFIG", set, "no.such.config", "1"),
		alter("set one without sense", "INVALID_CONFIG", set, "retention.ms", "for ever"),
		alter("set one of 32,767 characters", "INVALID_CONFIG", set, "retention.ms", long),
		alter("set one twice", "INVALID_REQUEST", set, "retention.ms", "1000000", "retention.ms", "2000000"),
		alter("set a good one beside a bad one", "INVALID_CONFIG", set, "retention.ms", "1000000", "segment.bytes", "-5"),
		alter("append to what is no list", "INVALID_CONFIG", add, "retention.ms", "1"),
		alter("remove an unknown config", "answered", remove, "no.such.config", ""),
		alter("an operation nobody knows", "UNKNOWN_SERVER_ERROR|INVALID_REQUEST", 77, "retention.ms", "1000000"),
		{"replace all by junk", "INVALID_CONFIG", func(topic string) []byte { return encoded(replaceConfigs(topic, "retention.ms", "for ever"), 1) }},
		{"replace all of a topic that is not there", "UNKNOWN_TOPIC_OR_PARTITION", func(topic string) []byte {
			return encoded(replaceConfigs(topic+"-nowhere", "retention.ms", "1000000"), 1)
		}},
	}
}

func growTo(topic string, count int32) *kmsg.CreatePartitionsRequest {
	request := kmsg.NewPtrCreatePartitionsRequest()
	request.SetVersion(1)
	request.TimeoutMillis = 10_000
	it := kmsg.NewCreatePartitionsRequestTopic()
	it.Topic, it.Count = topic, count
	request.Topics = append(request.Topics, it)
	return request
}

func cutAt(topic string, offset int64) *kmsg.DeleteRecordsRequest {
	request := kmsg.NewPtrDeleteRecordsRequest()
	request.SetVersion(1)
	request.TimeoutMillis = 10_000
	it := kmsg.NewDeleteRecordsRequestTopic()
	it.Topic = topic
	partition := kmsg.NewDeleteRecordsRequestTopicPartition()
	partition.Offset = offset
	it.Partitions = append(it.Partitions, partition)
	request.Topics = append(request.Topics, it)
	return request
}

func alterTopic(topic string, op kmsg.IncrementalAlterConfigOp, configs ...string) *kmsg.IncrementalAlterConfigsRequest {
	request := kmsg.NewPtrIncrementalAlterConfigsRequest()
	request.SetVersion(0)
	resource := kmsg.NewIncrementalAlterConfigsRequestResource()
	resource.ResourceType, resource.ResourceName = kmsg.ConfigResourceTypeTopic, topic
	for pair := range slices.Chunk(configs, 2) {
		one := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
		one.Name, one.Op, one.Value = pair[0], op, &pair[1]
		resource.Configs = append(resource.Configs, one)
	}
	request.Resources = append(request.Resources, resource)
	return request
}

func replaceConfigs(topic string, configs ...string) *kmsg.AlterConfigsRequest {
	request := kmsg.NewPtrAlterConfigsRequest()
	request.SetVersion(1)
	resource := kmsg.NewAlterConfigsRequestResource()
	resource.ResourceType, resource.ResourceName = kmsg.ConfigResourceTypeTopic, topic
	for pair := range slices.Chunk(configs, 2) {
		one := kmsg.NewAlterConfigsRequestResourceConfig()
		one.Name, one.Value = pair[0], &pair[1]
		resource.Configs = append(resource.Configs, one)
	}
	request.Resources = append(request.Resources, resource)
	return request
}
