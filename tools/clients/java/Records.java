import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndTimestamp;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.InvalidTimestampException;
import org.apache.kafka.common.errors.RecordTooLargeException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** Producer and assigned consumer of Java: what was sent is what is read, by offset and by time. */
final class Records {
    static final String[] CODECS = {"none", "gzip", "snappy", "lz4", "zstd"};
    static final int[] SIZES = {1, 2, 10, 100, 1023, 1024, 4095, 4096, 65_536, 300_000, 1_048_576};
    static final long TIME = 1_700_000_000_000L;

    public static void main(String[] arguments) throws Exception {
        String broker = arguments[0];
        try (Admin admin = Check.admin(broker)) {
            for (String codec : CODECS) {
                everyShape(broker, admin, codec);
            }
            manyPartitions(broker, admin);
            recompressed(broker, admin);
            appendTime(broker, admin);
            timeBounds(broker, admin);
            tooLarge(broker, admin);
        }
    }

    static KafkaProducer<byte[], byte[]> producer(String broker, Object... more) {
        var properties = Check.properties(broker, more);
        properties.putIfAbsent("acks", "all");
        properties.putIfAbsent("enable.idempotence", "true");
        properties.putIfAbsent("max.request.size", "4000000");
        return new KafkaProducer<>(properties, new ByteArraySerializer(), new ByteArraySerializer());
    }

    static KafkaConsumer<byte[], byte[]> consumer(String broker, Object... more) {
        var properties = Check.properties(broker, more);
        properties.putIfAbsent("enable.auto.commit", "false");
        properties.putIfAbsent("auto.offset.reset", "none");
        properties.putIfAbsent("fetch.max.wait.ms", "20"); // A seek waits for the fetch in flight.
        return new KafkaConsumer<>(properties, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    static void create(Admin admin, String topic, int partitions, Map<String, String> configs) throws Exception {
        Check.get(admin.createTopics(List.of(new NewTopic(topic, partitions, (short) 1).configs(configs))).all());
        // Apache Kafka answers before every partition takes records; sequences then start in the middle.
        Map<TopicPartition, OffsetSpec> ends = new HashMap<>();
        for (int at = 0; at < partitions; at++) {
            ends.put(new TopicPartition(topic, at), OffsetSpec.latest());
        }
        Check.soon(() -> Check.get(admin.listOffsets(ends).all()));
    }

    /** Null, empty and filled keys and values of every size, with and without headers, an hour apart. */
    static List<ProducerRecord<byte[], byte[]>> shapes(String topic, int partition) {
        Random random = new Random(7);
        List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
        List<byte[]> values = new ArrayList<>(List.of(new byte[0]));
        values.add(null);
        for (int size : SIZES) {
            byte[] value = new byte[size];
            random.nextBytes(value);
            // Half of it compresses.
            Arrays.fill(value, size / 2, size, (byte) 'x');
            values.add(value);
        }
        for (int at = 0; at < values.size(); at++) {
            byte[] key = switch (at % 3) {
                case 0 -> null;
                case 1 -> new byte[0];
                default -> ("key-" + at).getBytes();
            };
            List<Header> headers = switch (at % 4) {
                case 0 -> List.of();
                case 1 -> List.of(new RecordHeader("one", "1".getBytes()));
                case 2 -> List.of(new RecordHeader("same", new byte[] {0, -1}), new RecordHeader("same", new byte[0]));
                default -> List.of(new RecordHeader("", (byte[]) null), new RecordHeader("grüße", new byte[5_000]));
            };
            records.add(new ProducerRecord<>(topic, partition, TIME + at * 3_600_000L, key, values.get(at), headers));
        }
        for (int at = 0; at < 300; at++) { // Many small ones share a batch.
            records.add(new ProducerRecord<>(topic, partition, TIME + (100 + at) * 3_600_000L, null, ("small-" + at).getBytes()));
        }
        return records;
    }

    static void everyShape(String broker, Admin admin, String codec) throws Exception {
        String topic = "java-" + codec + "-" + Check.RUN;
        create(admin, topic, 3, Map.of("max.message.bytes", "4000000"));
        TopicPartition partition = new TopicPartition(topic, 1);
        List<ProducerRecord<byte[], byte[]>> sent = shapes(topic, 1);
        try (var producer = producer(broker, "compression.type", codec, "linger.ms", "5")) {
            List<Future<RecordMetadata>> answers = new ArrayList<>();
            sent.forEach(record -> answers.add(producer.send(record)));
            for (int at = 0; at < answers.size(); at++) {
                RecordMetadata answer = answers.get(at).get(60, TimeUnit.SECONDS);
                Check.equal((long) at, answer.offset(), codec + ": offset of record " + at);
                Check.equal(sent.get(at).timestamp(), answer.timestamp(), codec + ": time of record " + at);
            }
            Check.equal(3, producer.partitionsFor(topic).size(), "partitions of " + topic);
        }
        try (var consumer = consumer(broker)) {
            consumer.assign(List.of(partition));
            Check.equal(Map.of(partition, 0L), consumer.beginningOffsets(Set.of(partition)), "beginning");
            Check.equal(Map.of(partition, (long) sent.size()), consumer.endOffsets(Set.of(partition)), "end");
            consumer.seek(partition, 0);
            List<ConsumerRecord<byte[], byte[]>> read = read(consumer, sent.size());
            for (int at = 0; at < sent.size(); at++) {
                same(sent.get(at), read.get(at), at, codec);
            }
            seek(consumer, partition, sent);
        }
        // Small fetches cut the answer inside batches and records.
        try (var consumer = consumer(broker, "fetch.max.bytes", "1000", "max.partition.fetch.bytes", "1000", "max.poll.records", "7")) {
            consumer.assign(List.of(partition));
            consumer.seekToBeginning(List.of(partition));
            List<ConsumerRecord<byte[], byte[]>> read = read(consumer, sent.size());
            for (int at = 0; at < sent.size(); at++) {
                same(sent.get(at), read.get(at), at, codec + ", small fetches");
            }
        }
        Check.get(admin.deleteTopics(List.of(topic)).all());
    }

    static void seek(KafkaConsumer<byte[], byte[]> consumer, TopicPartition partition, List<ProducerRecord<byte[], byte[]>> sent) {
        Random random = new Random(11);
        for (int turn = 0; turn < 20; turn++) {
            int at = random.nextInt(sent.size());
            consumer.seek(partition, at);
            ConsumerRecord<byte[], byte[]> record = read(consumer, 1).get(0);
            Check.equal((long) at, record.offset(), "first offset after a seek to " + at);
        }
        for (int turn = 0; turn < 20; turn++) {
            int at = random.nextInt(sent.size());
            long back = turn % 2 == 0 ? 0 : 1_800_000; // On the record's time, or half an hour before it.
            OffsetAndTimestamp found = consumer.offsetsForTimes(Map.of(partition, sent.get(at).timestamp() - back)).get(partition);
            Check.equal((long) at, found.offset(), "offset for the time of record " + at);
            Check.equal(sent.get(at).timestamp(), found.timestamp(), "time for the time of record " + at);
        }
        long last = sent.get(sent.size() - 1).timestamp();
        Check.equal(null, consumer.offsetsForTimes(Map.of(partition, last + 1)).get(partition), "offset for a time after the end");
        Check.equal(0L, consumer.offsetsForTimes(Map.of(partition, 0L)).get(partition).offset(), "offset for time 0");
        consumer.seekToEnd(List.of(partition));
        Check.equal((long) sent.size(), consumer.position(partition), "position at the end");
        consumer.seek(partition, sent.size() + 5L);
        try {
            for (int turn = 0; turn < 20; turn++) {
                Check.that(consumer.poll(Duration.ofMillis(500)).isEmpty(), "nothing past the end");
            }
            throw new AssertionError("a seek past the end was not refused");
        } catch (org.apache.kafka.clients.consumer.OffsetOutOfRangeException expected) {
            consumer.seekToBeginning(List.of(partition));
        }
    }

    static void manyPartitions(String broker, Admin admin) throws Exception {
        String topic = "java-hundred-" + Check.RUN;
        create(admin, topic, 100, Map.of());
        try (var producer = producer(broker, "linger.ms", "1"); var consumer = consumer(broker)) {
            List<Future<RecordMetadata>> answers = new ArrayList<>();
            for (int at = 0; at < 1_000; at++) {
                answers.add(producer.send(new ProducerRecord<>(topic, at % 100, null, ("k" + at).getBytes(), ("v" + at).getBytes())));
            }
            for (int at = 0; at < 1_000; at++) {
                Check.equal(at / 100L, answers.get(at).get(60, TimeUnit.SECONDS).offset(), "offset of record " + at);
            }
            List<TopicPartition> partitions = consumer.partitionsFor(topic).stream().map(it -> new TopicPartition(topic, it.partition())).toList();
            Check.equal(100, partitions.size(), "partitions of " + topic);
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            int[] next = new int[100];
            for (ConsumerRecord<byte[], byte[]> record : read(consumer, 1_000)) {
                int at = next[record.partition()] * 100 + record.partition();
                Check.equal((long) next[record.partition()], record.offset(), "offset in partition " + record.partition());
                Check.equal("v" + at, new String(record.value()), "value in partition " + record.partition());
                next[record.partition()] += 1;
            }
            consumer.endOffsets(partitions).forEach((partition, end) -> Check.equal(10L, end, "end of " + partition));
        }
        Check.get(admin.deleteTopics(List.of(topic)).all());
    }

    /** A topic's codec changes, at its slowest level, while producers of every codec send: records stay what they are. */
    static void recompressed(String broker, Admin admin) throws Exception {
        String topic = "java-recompressed-" + Check.RUN;
        create(admin, topic, 1, Map.of("max.message.bytes", "4000000"));
        TopicPartition partition = new TopicPartition(topic, 0);
        List<ProducerRecord<byte[], byte[]>> sent = new ArrayList<>();
        List<Map<String, String>> wanted = List.of(
            Map.of("compression.type", "uncompressed"),
            Map.of("compression.type", "gzip", "compression.gzip.level", "9"),
            Map.of("compression.type", "snappy"),
            Map.of("compression.type", "lz4", "compression.lz4.level", "17"),
            Map.of("compression.type", "lz4"),
            Map.of("compression.type", "zstd", "compression.zstd.level", "15"));
        for (Map<String, String> configs : wanted) {
            configure(admin, topic, configs);
            for (String codec : CODECS) {
                List<ProducerRecord<byte[], byte[]>> records = shapes(topic, 0);
                try (var producer = producer(broker, "compression.type", codec, "linger.ms", "5")) {
                    List<Future<RecordMetadata>> answers = new ArrayList<>();
                    records.forEach(record -> answers.add(producer.send(record)));
                    for (Future<RecordMetadata> answer : answers) {
                        Check.equal((long) sent.size(), answer.get(60, TimeUnit.SECONDS).offset(), codec + " in " + configs);
                        sent.add(records.get(sent.size() % records.size()));
                    }
                }
            }
        }
        try (var consumer = consumer(broker)) {
            consumer.assign(List.of(partition));
            consumer.seek(partition, 0);
            List<ConsumerRecord<byte[], byte[]>> read = read(consumer, sent.size());
            for (int at = 0; at < sent.size(); at++) {
                same(sent.get(at), read.get(at), at, "recompressed");
            }
        }
        // What is small in the codec of its producer may be too large in that of its topic.
        configure(admin, topic, Map.of("compression.type", "uncompressed", "max.message.bytes", "10000"));
        try (var producer = producer(broker, "compression.type", "gzip")) {
            Check.refused(RecordTooLargeException.class, () -> producer.send(new ProducerRecord<>(topic, 0, null, new byte[10_000])).get(), "10,000 zeros");
            Check.equal((long) sent.size(), producer.send(new ProducerRecord<>(topic, 0, null, new byte[9_000])).get().offset(), "offset after a refusal");
        }
        Check.get(admin.deleteTopics(List.of(topic)).all());
    }

    static void configure(Admin admin, String topic, Map<String, String> configs) throws Exception {
        var changes = configs.entrySet().stream().map(it -> new AlterConfigOp(new ConfigEntry(it.getKey(), it.getValue()), AlterConfigOp.OpType.SET));
        var resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        Check.get(admin.incrementalAlterConfigs(Map.of(resource, changes.toList())).all());
    }

    static void timeBounds(String broker, Admin admin) throws Exception {
        String topic = "java-time-bounds-" + Check.RUN;
        create(admin, topic, 1, Map.of("message.timestamp.before.max.ms", "60000", "message.timestamp.after.max.ms", "60000"));
        for (String codec : CODECS) {
            try (var producer = producer(broker, "compression.type", codec)) {
                long now = System.currentTimeMillis();
                producer.send(new ProducerRecord<>(topic, 0, now, null, new byte[1])).get();
                for (long time : new long[] {now - 3_600_000, now + 3_600_000}) {
                    var record = new ProducerRecord<byte[], byte[]>(topic, 0, time, null, new byte[1]);
                    Check.refused(InvalidTimestampException.class, () -> producer.send(record).get(), "a time out of bounds");
                }
            }
        }
        Check.get(admin.deleteTopics(List.of(topic)).all());
    }

    static void appendTime(String broker, Admin admin) throws Exception {
        String topic = "java-append-time-" + Check.RUN;
        create(admin, topic, 1, Map.of("message.timestamp.type", "LogAppendTime"));
        TopicPartition partition = new TopicPartition(topic, 0);
        try (var producer = producer(broker); var consumer = consumer(broker)) {
            long before = System.currentTimeMillis();
            RecordMetadata answer = producer.send(new ProducerRecord<>(topic, 0, 5L, null, new byte[1])).get();
            long after = System.currentTimeMillis();
            Check.that(before <= answer.timestamp() && answer.timestamp() <= after, "the broker's time, not " + answer.timestamp());
            consumer.assign(List.of(partition));
            consumer.seekToBeginning(List.of(partition));
            ConsumerRecord<byte[], byte[]> record = read(consumer, 1).get(0);
            Check.equal(TimestampType.LOG_APPEND_TIME, record.timestampType(), "time type");
            Check.equal(answer.timestamp(), record.timestamp(), "time of the record");
        }
        Check.get(admin.deleteTopics(List.of(topic)).all());
    }

    static void tooLarge(String broker, Admin admin) throws Exception {
        String topic = "java-too-large-" + Check.RUN;
        create(admin, topic, 1, Map.of("max.message.bytes", "10000"));
        try (var producer = producer(broker)) {
            producer.send(new ProducerRecord<>(topic, 0, null, new byte[9_000])).get();
            Check.refused(RecordTooLargeException.class, () -> producer.send(new ProducerRecord<>(topic, 0, null, new byte[10_000])).get(), "10,000 bytes");
            Check.equal(1L, producer.send(new ProducerRecord<>(topic, 0, null, new byte[1])).get().offset(), "offset after a refusal");
        }
        Check.get(admin.deleteTopics(List.of(topic)).all());
        String plain = "java-default-large-" + Check.RUN;
        create(admin, plain, 1, Map.of());
        try (var producer = producer(broker)) {
            Check.refused(RecordTooLargeException.class, () -> producer.send(new ProducerRecord<>(plain, 0, null, new byte[1_048_588])).get(), "over the default maximum");
            Check.equal(0L, producer.send(new ProducerRecord<>(plain, 0, null, new byte[1_048_000])).get().offset(), "just below it");
        }
        Check.get(admin.deleteTopics(List.of(plain)).all());
    }

    static List<ConsumerRecord<byte[], byte[]>> read(KafkaConsumer<byte[], byte[]> consumer, int count) {
        List<ConsumerRecord<byte[], byte[]>> records = new ArrayList<>();
        long until = System.nanoTime() + 30_000_000_000L;
        while (records.size() < count) {
            Check.that(System.nanoTime() < until, count + " records within 30 s, read " + records.size());
            consumer.poll(Duration.ofMillis(200)).forEach(records::add);
        }
        return records;
    }

    static void same(ProducerRecord<byte[], byte[]> sent, ConsumerRecord<byte[], byte[]> read, int at, String where) {
        String what = where + ": record " + at + ": ";
        Check.equal((long) at, read.offset(), what + "offset");
        Check.equal(sent.timestamp(), read.timestamp(), what + "time");
        Check.equal(TimestampType.CREATE_TIME, read.timestampType(), what + "time type");
        Check.equal(sent.key(), read.key(), what + "key");
        Check.equal(sent.value(), read.value(), what + "value");
        Check.equal(sent.headers().toArray(), read.headers().toArray(), what + "headers");
    }
}
