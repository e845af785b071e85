"""librdkafka through confluent-kafka: producer, assigned consumer, groups and Admin against BROKER.

    python matrix.py BROKER

Ends with 1 and a message at the first expectation that fails.
"""

import random
import sys
import threading
import time
import uuid

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka import TIMESTAMP_CREATE_TIME, IsolationLevel, TopicCollection
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

RUN = uuid.uuid4().hex[:6]
CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
SIZES = [1, 2, 10, 100, 1023, 1024, 4095, 4096, 65_536, 300_000, 1_048_576]
TIME = 1_700_000_000_000
HOUR = 3_600_000


def check(holds, what):
    if not holds:
        raise AssertionError(f"expected: {what}")


def equal(want, got, what):
    if want != got:
        raise AssertionError(f"{what}: want {str(want)[:200]}, got {str(got)[:200]}")


def refused(code, call, what):
    try:
        answer = call()
    except KafkaException as error:
        equal(code, error.args[0].code(), what)
        return
    raise AssertionError(f"{what}: want a refusal, got {answer}")


def soon(call):
    """Apache Kafka's controller answers before its broker knows: asks again for up to 10 s."""
    for turn in range(101):
        try:
            return call()
        except (AssertionError, KafkaException):
            if turn == 100:
                raise
            time.sleep(0.1)


class Client:
    def __init__(self, broker):
        self.base = {"bootstrap.servers": broker, "broker.address.family": "v4", "log_level": 0}
        self.admin = AdminClient(self.base)

    def producer(self, **more):
        config = {"enable.idempotence": True, "linger.ms": 5, "message.max.bytes": 4_000_000}
        return Producer(self.base | config | {key.replace("_", "."): value for key, value in more.items()})

    def consumer(self, **more):
        # A group id is mandatory; who assigns partitions to itself asks no coordinator for it.
        config = {
            "group.id": "unused-" + RUN,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "enable.partition.eof": False,
            "auto.offset.reset": "error",
            "fetch.wait.max.ms": 20,
        }
        return Consumer(self.base | config | {key.replace("_", "."): value for key, value in more.items()})

    def create(self, topic, partitions, **configs):
        configs = {key.replace("_", "."): value for key, value in configs.items()}
        for future in self.admin.create_topics([NewTopic(topic, partitions, 1, config=configs)]).values():
            future.result(30)

        def known():
            found = self.admin.list_topics(topic, 10).topics[topic].partitions
            check(len(found) == partitions and all(it.leader >= 0 for it in found.values()), "leaders")

        soon(known)
        ends = {TopicPartition(topic, at): OffsetSpec.latest() for at in range(partitions)}
        soon(lambda: [future.result(30) for future in self.admin.list_offsets(ends).values()])

    def delete(self, *topics):
        for future in self.admin.delete_topics(list(topics)).values():
            future.result(30)


def send(producer, topic, partition, shapes):
    """Sends all, and returns (error, offset) of each in order."""
    answers = [None] * len(shapes)

    def answered(at):
        def callback(error, message):
            answers[at] = (error, message.offset())

        return callback

    for at, (key, value, headers, stamp) in enumerate(shapes):
        while True:
            try:
                producer.produce(
                    topic, value, key, partition, timestamp=stamp, headers=headers, on_delivery=answered(at)
                )
                break
            except BufferError:
                producer.poll(0.1)
    equal(0, producer.flush(60), "records unanswered after a minute")
    return answers


def read(consumer, count):
    messages = []
    until = time.monotonic() + 30
    while len(messages) < count:
        check(time.monotonic() < until, f"{count} records within 30 s, read {len(messages)}")
        for message in consumer.consume(count - len(messages), 0.2):
            if message.error():
                raise KafkaException(message.error())
            messages.append(message)
    return messages


def shapes():
    rng = random.Random(7)
    values = [b"", None] + [rng.randbytes(size // 2) + b"x" * (size - size // 2) for size in SIZES]
    out = []
    for at, value in enumerate(values):
        key = [None, b"", b"key-%d" % at][at % 3]
        headers = [
            [],
            [("one", b"1")],
            [("same", b"\x00\xff"), ("same", b"")],
            [("none", None), ("grüße", b"\x00" * 5_000)],
        ][at % 4]
        out.append((key, value, headers, TIME + at * HOUR))
    out += [(None, b"small-%d" % at, [], TIME + (100 + at) * HOUR) for at in range(300)]
    return out


def same(sent, message, at, where):
    key, value, headers, stamp = sent
    what = f"{where}: record {at}: "
    equal(at, message.offset(), what + "offset")
    equal(value, message.value(), what + "value")
    equal(key, message.key(), what + "key")
    equal(headers, message.headers() or [], what + "headers")
    equal((TIMESTAMP_CREATE_TIME, stamp), message.timestamp(), what + "time")


def every_shape(client, codec, idempotent):
    topic = f"rdkafka-{codec}-{idempotent}-{RUN}"
    client.create(topic, 3, max_message_bytes="4000000")
    sent = shapes()
    producer = client.producer(compression_type=codec, enable_idempotence=idempotent)
    for at, (error, offset) in enumerate(send(producer, topic, 1, sent)):
        equal(None, error, f"{codec}: answer to record {at}")
        equal(at, offset, f"{codec}: offset of record {at}")
    consumer = client.consumer(fetch_message_max_bytes=4_000_000)
    consumer.assign([TopicPartition(topic, 1, 0)])
    for at, message in enumerate(read(consumer, len(sent))):
        same(sent[at], message, at, codec)
    equal((0, len(sent)), consumer.get_watermark_offsets(TopicPartition(topic, 1), 10), "watermarks")
    seek(consumer, topic, sent)
    consumer.close()
    small = client.consumer(fetch_message_max_bytes=1_000, fetch_max_bytes=4_000_001)
    small.assign([TopicPartition(topic, 1, 0)])
    for at, message in enumerate(read(small, len(sent))):
        same(sent[at], message, at, codec + ", small fetches")
    small.close()
    client.delete(topic)


def seek(consumer, topic, sent):
    rng = random.Random(11)
    for _ in range(10):
        at = rng.randrange(len(sent))
        consumer.seek(TopicPartition(topic, 1, at))
        message = read(consumer, 1)[0]
        equal(at, message.offset(), "first offset after a seek")
    for turn in range(10):
        at = rng.randrange(len(sent))
        stamp = sent[at][3] - (0 if turn % 2 == 0 else HOUR // 2)
        found = consumer.offsets_for_times([TopicPartition(topic, 1, stamp)], 10)[0]
        equal(at, found.offset, f"offset for the time of record {at}")
    after = consumer.offsets_for_times([TopicPartition(topic, 1, sent[-1][3] + 1)], 10)[0]
    equal(-1, after.offset, "offset for a time after the end")
    consumer.seek(TopicPartition(topic, 1, len(sent) + 5))
    until = time.monotonic() + 15
    while True:
        check(time.monotonic() < until, "a seek past the end is refused")
        message = consumer.poll(0.5)
        if message is not None and message.error():
            equal(KafkaError._AUTO_OFFSET_RESET, message.error().code(), "a seek past the end")
            return
        equal(None, message, "nothing past the end")


def many_partitions(client):
    topic = f"rdkafka-hundred-{RUN}"
    client.create(topic, 100)
    producer = client.producer()
    for at in range(1_000):
        producer.produce(topic, b"v%d" % at, b"k%d" % at, at % 100)
    equal(0, producer.flush(60), "records unanswered")
    consumer = client.consumer()
    equal(100, len(consumer.list_topics(topic, 10).topics[topic].partitions), "partitions")
    consumer.assign([TopicPartition(topic, at, 0) for at in range(100)])
    following = [0] * 100
    for message in read(consumer, 1_000):
        at = message.partition()
        equal(following[at], message.offset(), f"offset in partition {at}")
        equal(b"v%d" % (following[at] * 100 + at), message.value(), f"value in partition {at}")
        following[at] += 1
    consumer.close()
    client.delete(topic)


def too_large(client):
    topic = f"rdkafka-too-large-{RUN}"
    client.create(topic, 1, max_message_bytes="10000")
    for idempotent in (False, True):
        producer = client.producer(enable_idempotence=idempotent)
        error, _ = send(producer, topic, 0, [(None, b"x" * 10_000, [], 0)])[0]
        equal(KafkaError.MSG_SIZE_TOO_LARGE, error and error.code(), "10,000 bytes")
    error, offset = send(client.producer(), topic, 0, [(None, b"x" * 9_000, [], 0)])[0]
    equal((None, 0), (error, offset), "9,000 bytes after the refusals")
    client.delete(topic)


def acks(client):
    """acks 0, 1 and all."""
    topic = f"rdkafka-acks-{RUN}"
    client.create(topic, 1)
    for want, acks in enumerate((1, "all", 0)):
        producer = client.producer(enable_idempotence=False, acks=acks)
        error, offset = send(producer, topic, 0, [(None, b"acks %d" % want, [], 0)])[0]
        equal(None, error, f"acks={acks}")
        if acks != 0:
            equal(want, offset, f"offset with acks={acks}")
    consumer = client.consumer()
    consumer.assign([TopicPartition(topic, 0, 0)])
    equal([b"acks 0", b"acks 1", b"acks 2"], [it.value() for it in read(consumer, 3)], "values")
    consumer.close()
    client.delete(topic)


def groups(client, protocol):
    """Two members share the partitions, commit, and leave; a third goes on where they ended."""
    topic = group = f"rdkafka-group-{protocol}-{RUN}"
    client.create(topic, 4)
    times = {"session_timeout_ms": 6_000, "heartbeat_interval_ms": 300} if protocol == "classic" else {}

    def member():
        it = client.consumer(group_id=group, group_protocol=protocol, auto_offset_reset="earliest", **times)
        it.subscribe([topic])
        return it

    def write(count):
        for partition in range(4):
            values = [(None, b"%d-%d" % (partition, at), [], TIME) for at in range(count)]
            equal([None] * count, [error for error, _ in send(client.producer(), topic, partition, values)], "records")

    def follow(members, until, what):
        """What each has read since, once all that is wished for is so."""
        found, end = [[] for _ in members], time.monotonic() + 60
        while not until(found):
            check(time.monotonic() < end, f"{what} in {group} within 60 s, got {[len(it) for it in found]}")
            for it, messages in zip(members, found):
                for message in it.consume(100, 0.1):
                    if message.error():
                        raise KafkaException(message.error())
                    messages.append((message.partition(), message.offset()))
        return found

    pair = [member(), member()]
    follow(pair, lambda _: all(len(it.assignment()) == 2 for it in pair), "two partitions each")
    owned = [{it.partition for it in one.assignment()} for one in pair]
    equal({0, 1, 2, 3}, owned[0] | owned[1], "partitions of both")
    write(25)
    found = follow(pair, lambda found: sum(map(len, found)) >= 100, "a hundred records")
    equal(sorted((at // 25, at % 25) for at in range(100)), sorted(found[0] + found[1]), "records, each once")
    equal(owned, [{partition for partition, _ in one} for one in found], "of whose partitions they are")
    for one, partitions in zip(pair, owned):
        answer = one.commit(offsets=[TopicPartition(topic, it, 25) for it in partitions], asynchronous=False)
        equal([None] * 2, [it.error for it in answer], "commits")
        one.close()
    write(5)
    third = member()
    found = follow([third], lambda found: len(found[0]) >= 20, "twenty records more")
    equal([(at // 5, 25 + at % 5) for at in range(20)], sorted(found[0]), "records from the committed offsets")
    equal([25] * 4, [it.offset for it in third.committed([TopicPartition(topic, at) for at in range(4)], 10)], "offsets")
    third.close()
    for future in client.admin.delete_consumer_groups([group]).values():
        future.result(30)
    client.delete(topic)


def administration(client):
    admin, topic = client.admin, f"rdkafka-admin-{RUN}"
    cluster = admin.describe_cluster().result(30)
    equal(1, len(cluster.nodes), "nodes of the cluster")
    check(cluster.cluster_id, "a cluster id")
    client.create(topic, 2)
    code = KafkaError.TOPIC_ALREADY_EXISTS
    refused(code, lambda: admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(30), "created twice")
    code = KafkaError.TOPIC_EXCEPTION
    refused(code, lambda: admin.create_topics([NewTopic("a b", 1, 1)])["a b"].result(30), "an invalid name")
    description = admin.describe_topics(TopicCollection([topic]))[topic].result(30)
    equal(2, len(description.partitions), "partitions")
    admin.create_partitions([NewPartitions(topic, 7)])[topic].result(30)

    def grown():
        equal(7, len(admin.list_topics(topic, 10).topics[topic].partitions), "partitions after growth")

    soon(grown)
    code = KafkaError.INVALID_PARTITIONS
    refused(code, lambda: admin.create_partitions([NewPartitions(topic, 3)])[topic].result(30), "fewer partitions")
    configs(admin, topic)
    partition = TopicPartition(topic, 0)
    send(client.producer(), topic, 0, [(None, b"v%d" % at, [], TIME + at) for at in range(30)])
    for spec, want in (
        (OffsetSpec.earliest(), 0),
        (OffsetSpec.latest(), 30),
        (OffsetSpec.max_timestamp(), 29),
        (OffsetSpec.for_timestamp(TIME + 11), 11),
        (OffsetSpec.for_timestamp(TIME + 30), -1),
    ):
        for isolation in (IsolationLevel.READ_UNCOMMITTED, IsolationLevel.READ_COMMITTED):
            answer = admin.list_offsets({partition: spec}, isolation_level=isolation)[partition].result(30)
            equal(want, answer.offset, f"list_offsets {spec}")
    answer = admin.delete_records([TopicPartition(topic, 0, 12)])
    equal(12, [it.result(30).low_watermark for it in answer.values()][0], "low watermark")
    equal(12, admin.list_offsets({partition: OffsetSpec.earliest()})[partition].result(30).offset, "earliest")
    client.delete(topic)
    code = KafkaError.UNKNOWN_TOPIC_OR_PART
    refused(code, lambda: admin.delete_topics([topic])[topic].result(30), "deleted twice")


def configs(admin, topic):
    resource = ConfigResource(ResourceType.TOPIC, topic)

    def value(key):
        return admin.describe_configs([resource])[resource].result(30)[key].value

    equal("1048588", value("max.message.bytes"), "max.message.bytes")

    def alter(key, value, operation):
        entry = ConfigEntry(key, value, incremental_operation=operation)
        change = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
        for future in admin.incremental_alter_configs([change]).values():
            future.result(30)

    alter("retention.ms", "60000", AlterConfigOpType.SET)
    soon(lambda: equal("60000", value("retention.ms"), "a set value"))
    alter("retention.ms", None, AlterConfigOpType.DELETE)
    soon(lambda: equal("604800000", value("retention.ms"), "a deleted value"))
    code = KafkaError.INVALID_CONFIG
    refused(code, lambda: alter("retention.ms", "soon", AlterConfigOpType.SET), "no number")


def churn(client):
    """A topic is deleted and created again under load: its neighbour loses nothing."""
    churned, steady = f"rdkafka-churned-{RUN}", f"rdkafka-steady-{RUN}"
    client.create(churned, 4)
    client.create(steady, 1)
    stop = threading.Event()
    offsets, errors, hits = [], [], [0]

    def neighbour():
        producer = client.producer()
        for at in range(100_000):
            if stop.is_set():
                break
            producer.produce(
                steady, b"s%d" % at, partition=0, on_delivery=lambda error, it: offsets.append((error, it.offset()))
            )
            producer.poll(0.0005)
        errors.append(producer.flush(60))

    def hammer():
        while not stop.is_set():
            producer = client.producer(enable_idempotence=False, message_timeout_ms=2_000)

            def answered(error, message):
                if error is None:
                    hits[0] += 1

            for at in range(50):
                producer.produce(churned, b"x" * 500, partition=at % 4, on_delivery=answered)
                producer.poll(0.001)
            producer.flush(5)

    threads = [threading.Thread(target=it, daemon=True) for it in (neighbour, hammer)]
    for thread in threads:
        thread.start()
    for turn in range(6):
        before = hits[0]
        soon(lambda: check(hits[0] > before, f"records reach the topic in turn {turn}"))
        client.delete(churned)
        try:
            admin = client.admin
            admin.create_topics([NewTopic(churned, 4, 1)])[churned].result(30)
        except KafkaException as error:  # A metadata request of the producer may have been first.
            equal(KafkaError.TOPIC_ALREADY_EXISTS, error.args[0].code(), "created again")
    stop.set()
    for thread in threads:
        thread.join(90)
    equal([0], errors, "records of the neighbour unanswered")
    equal([(None, at) for at in range(len(offsets))], offsets, "answers to the neighbour")
    consumer = client.consumer()
    consumer.assign([TopicPartition(steady, 0, 0)])
    for at, message in enumerate(read(consumer, len(offsets))):
        equal(b"s%d" % at, message.value(), "a record of the neighbour")
    consumer.close()
    fresh(client, churned)
    client.delete(churned, steady)


def fresh(client, topic):
    """A topic that is created again begins at offset 0, and shows nothing of the one before."""
    client.delete(topic)
    soon(lambda: check(topic not in client.admin.list_topics(timeout=10).topics, "the topic is gone"))
    client.create(topic, 1)
    partition = TopicPartition(topic, 0)
    end = client.admin.list_offsets({partition: OffsetSpec.latest()})[partition].result(30).offset
    equal(0, end, "end of a topic created again")
    equal([(None, 0)], send(client.producer(), topic, 0, [(None, b"new", [], TIME)]), "its first offset")
    consumer = client.consumer()
    consumer.assign([TopicPartition(topic, 0, 0)])
    equal([(0, b"new")], [(it.offset(), it.value()) for it in read(consumer, 1)], "its first record")
    equal((0, 1), consumer.get_watermark_offsets(partition, 10), "its watermarks")
    consumer.close()


def main():
    client = Client(sys.argv[1])
    for codec in CODECS:
        every_shape(client, codec, True)
    every_shape(client, "lz4", False)
    many_partitions(client)
    too_large(client)
    acks(client)
    for protocol in ("classic", "consumer"):
        groups(client, protocol)
    administration(client)
    churn(client)


if __name__ == "__main__":
    main()
