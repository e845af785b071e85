import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.OutOfOrderSequenceException;
import org.apache.kafka.common.errors.RetriableException;
import org.apache.kafka.common.errors.TimeoutException;
import org.apache.kafka.common.errors.TopicExistsException;

/** A topic is deleted and created again under load: it starts empty, and its neighbour loses nothing. */
final class Churn {
    public static void main(String[] arguments) throws Exception {
        String broker = arguments[0];
        String churned = "java-churned-" + Check.RUN;
        String steady = "java-steady-" + Check.RUN;
        AtomicBoolean stop = new AtomicBoolean();
        try (Admin admin = Check.admin(broker)) {
            Records.create(admin, steady, 4, Map.of());
            Records.create(admin, churned, 4, Map.of());
            AtomicLong hits = new AtomicLong();
            List<Future<RecordMetadata>> answers = new ArrayList<>();
            Thread neighbour = new Thread(() -> steady(broker, steady, stop, answers));
            Thread load = new Thread(() -> hammer(broker, churned, stop, hits));
            AtomicReference<Throwable> failure = new AtomicReference<>();
            for (Thread thread : List.of(neighbour, load)) {
                thread.setDaemon(true);
                thread.setUncaughtExceptionHandler((failed, error) -> {
                    error.printStackTrace(); // The program may wait for what this thread does not do any more.
                    failure.compareAndSet(null, error);
                });
                thread.start();
            }
            for (int turn = 0; turn < 8; turn++) {
                long before = hits.get();
                Check.soon(() -> {
                    Check.that(hits.get() > before, "records reach the topic in turn " + before);
                    return null;
                });
                Check.get(admin.deleteTopics(List.of(churned)).all());
                try {
                    Check.get(admin.createTopics(List.of(new NewTopic(churned, 4, (short) 1))).all());
                } catch (ExecutionException refused) { // The producer's metadata request may have been first.
                    Check.that(refused.getCause() instanceof TopicExistsException, "created again, got " + refused.getCause());
                }
            }
            stop.set(true);
            neighbour.join();
            load.join();
            if (failure.get() != null) {
                throw new AssertionError("a thread failed", failure.get());
            }
            untouched(broker, steady, answers);
            Check.get(admin.deleteTopics(List.of(churned)).all());
            fresh(broker, admin, churned);
            Check.get(admin.deleteTopics(List.of(churned, steady)).all());
        }
    }

    static void steady(String broker, String topic, AtomicBoolean stop, List<Future<RecordMetadata>> answers) {
        try (KafkaProducer<byte[], byte[]> producer = Records.producer(broker)) {
            for (int at = 0; !stop.get() && at < 200_000; at++) {
                answers.add(producer.send(new ProducerRecord<>(topic, at % 4, null, ("s" + at).getBytes())));
                Thread.sleep(0, 200_000);
            }
        } catch (InterruptedException interrupted) {
            Thread.currentThread().interrupt();
        }
    }

    /** Errors are this topic's lot; what counts is that some records are taken each time it exists. */
    static void hammer(String broker, String topic, AtomicBoolean stop, AtomicLong hits) {
        while (!stop.get()) {
            try (KafkaProducer<byte[], byte[]> producer = Records.producer(broker, "max.block.ms", "500", "request.timeout.ms", "1000",
                    "delivery.timeout.ms", "2000", "metadata.max.age.ms", "500")) {
                for (int at = 0; at < 100; at++) {
                    producer.send(new ProducerRecord<>(topic, at % 4, null, new byte[500])).get(5, TimeUnit.SECONDS);
                    hits.incrementAndGet();
                }
            } catch (ExecutionException refused) {
                Check.that(refused.getCause() instanceof RetriableException || refused.getCause() instanceof TimeoutException
                    || refused.getCause() instanceof OutOfOrderSequenceException, "a known refusal, got " + refused.getCause());
            } catch (java.util.concurrent.TimeoutException | InterruptedException late) {
                throw new AssertionError("a record of the churned topic was never answered", late);
            }
        }
    }

    static void untouched(String broker, String topic, List<Future<RecordMetadata>> answers) throws Exception {
        long[] next = new long[4];
        for (int at = 0; at < answers.size(); at++) {
            Check.equal(next[at % 4]++, answers.get(at).get(30, TimeUnit.SECONDS).offset(), "offset of the neighbour's record " + at);
        }
        try (var consumer = Records.consumer(broker)) {
            List<TopicPartition> partitions = List.of(0, 1, 2, 3).stream().map(it -> new TopicPartition(topic, it)).toList();
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            for (ConsumerRecord<byte[], byte[]> record : Records.read(consumer, answers.size())) {
                Check.equal("s" + (record.offset() * 4 + record.partition()), new String(record.value()), "a record of the neighbour");
            }
        }
    }

    static void fresh(String broker, Admin admin, String topic) throws Exception {
        Check.soon(() -> {
            Check.that(!Check.get(admin.listTopics().names()).contains(topic), "the topic is gone");
            return null;
        });
        Records.create(admin, topic, 1, Map.of());
        TopicPartition partition = new TopicPartition(topic, 0);
        try (var producer = Records.producer(broker); var consumer = Records.consumer(broker)) {
            consumer.assign(List.of(partition));
            Check.equal(0L, consumer.endOffsets(List.of(partition)).get(partition), "end of a topic created again");
            Check.equal(0L, producer.send(new ProducerRecord<>(topic, 0, null, "new".getBytes())).get().offset(), "its first offset");
            consumer.seekToBeginning(List.of(partition));
            Check.equal("new", new String(Records.read(consumer, 1).get(0).value()), "its first record");
        }
    }
}
