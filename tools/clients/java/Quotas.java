import java.io.IOException;
import java.net.Socket;
import java.net.SocketException;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutionException;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterClientQuotasOptions;
import org.apache.kafka.clients.admin.CreateTopicsOptions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.Metric;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.InvalidRequestException;
import org.apache.kafka.common.errors.ThrottlingQuotaExceededException;
import org.apache.kafka.common.quota.ClientQuotaAlteration;
import org.apache.kafka.common.quota.ClientQuotaAlteration.Op;
import org.apache.kafka.common.quota.ClientQuotaEntity;
import org.apache.kafka.common.quota.ClientQuotaFilter;
import org.apache.kafka.common.quota.ClientQuotaFilterComponent;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** Client quotas: set and described by Java's Admin client, and a producer and a consumer that are held by them. */
final class Quotas {
    static final String CLIENT = "java-quotas-" + Check.RUN;
    static final double RATE = 1_000_000;
    /** Kafka lets a client that was quiet use ten seconds' worth at once. */
    static final double CREDIT = 10 * RATE;
    static final int VALUE_BYTES = 100_000;
    static final int COUNT = 140;

    public static void main(String[] arguments) throws Exception {
        String broker = arguments[0];
        try (Admin admin = Check.admin(broker)) {
            described(admin);
            refused(admin);
            Check.get(admin.createTopics(List.of(new NewTopic(CLIENT, 1, (short) 1))).all());
            set(admin, new Op("producer_byte_rate", RATE), new Op("consumer_byte_rate", RATE));
            produced(broker);
            consumed(broker);
            changed(broker, admin);
            connected(broker, admin);
            set(admin, new Op("producer_byte_rate", null), new Op("consumer_byte_rate", null));
            Check.soon(() -> {
                Check.equal(Map.of(), quotas(admin, ofClient(CLIENT)), "quotas when they are taken away");
                return null;
            });
        }
    }

    static void described(Admin admin) throws Exception {
        ClientQuotaEntity both = new ClientQuotaEntity(Map.of("user", CLIENT, "client-id", CLIENT));
        var alteration = new ClientQuotaAlteration(both, List.of(new Op("request_percentage", 12.5)));
        Check.get(admin.alterClientQuotas(List.of(alteration), new AlterClientQuotasOptions().validateOnly(true)).all());
        Check.equal(Map.of(), quotas(admin, ofClient(CLIENT)), "quotas after a validation");
        Check.get(admin.alterClientQuotas(List.of(alteration)).all());
        Check.soon(() -> {
            Map<ClientQuotaEntity, Map<String, Double>> want = Map.of(both, Map.of("request_percentage", 12.5));
            Check.equal(want, quotas(admin, ofClient(CLIENT)), "quotas of a client");
            return null;
        });
        var strict = ClientQuotaFilter.containsOnly(List.of(ClientQuotaFilterComponent.ofEntity("client-id", CLIENT)));
        Check.equal(Map.of(), quotas(admin, strict), "quotas of the client alone");
        var gone = new ClientQuotaAlteration(both, List.of(new Op("request_percentage", null)));
        Check.get(admin.alterClientQuotas(List.of(gone)).all());
    }

    static void refused(Admin admin) throws Exception {
        for (Op op : List.of(new Op("producer_byte_rate", -1.0), new Op("producer_byte_rate", 1.5), new Op("no_such_rate", 1.0))) {
            Check.refused(InvalidRequestException.class, () -> {
                set(admin, op);
                return "set";
            }, op.toString());
        }
    }

    static void produced(String broker) throws Exception {
        var properties = Check.properties(broker, "client.id", CLIENT, "linger.ms", "0", "batch.size", "1",
            "key.serializer", ByteArraySerializer.class, "value.serializer", ByteArraySerializer.class);
        try (var producer = new KafkaProducer<byte[], byte[]>(properties)) {
            producer.partitionsFor(CLIENT);
            long began = System.nanoTime();
            for (int index = 0; index < COUNT; index++) {
                producer.send(new ProducerRecord<>(CLIENT, 0, null, new byte[VALUE_BYTES]));
            }
            producer.flush();
            held(began, "the producer");
            Check.that(metric(producer.metrics().values(), "produce-throttle-time-max") > 0, "the producer sees that it is throttled");
        }
    }

    static void consumed(String broker) {
        var properties = Check.properties(broker, "client.id", CLIENT, "auto.offset.reset", "earliest",
            "key.deserializer", ByteArrayDeserializer.class, "value.deserializer", ByteArrayDeserializer.class);
        try (var consumer = new KafkaConsumer<byte[], byte[]>(properties)) {
            consumer.assign(List.of(new TopicPartition(CLIENT, 0)));
            long began = System.nanoTime();
            int count = 0;
            while (count < COUNT) {
                count += consumer.poll(java.time.Duration.ofMillis(500)).count();
            }
            Check.equal(COUNT, count, "records read");
            held(began, "the consumer");
            Check.that(metric(consumer.metrics().values(), "fetch-throttle-time-max") > 0, "the consumer sees that it is throttled");
        }
    }

    /** Partitions made: eleven at once, then one a second. What is refused may come again when it has waited. */
    static void changed(String broker, Admin admin) throws Exception {
        String changer = CLIENT + "-changes";
        var entity = new ClientQuotaEntity(Map.of("client-id", changer));
        Check.get(admin.alterClientQuotas(List.of(new ClientQuotaAlteration(entity, List.of(new Op("controller_mutation_rate", 1.0))))).all());
        Check.soon(() -> {
            Check.equal(Map.of(entity, Map.of("controller_mutation_rate", 1.0)), quotas(admin, ofClient(changer)), "the quota of changes");
            return null;
        });
        List<String> topics = List.of(changer + "-10", changer + "-5", changer + "-1");
        try (Admin held = Admin.create(Check.properties(broker, "client.id", changer))) {
            Check.get(held.createTopics(List.of(new NewTopic(topics.get(0), 10, (short) 1))).all());
            Check.get(held.createTopics(List.of(new NewTopic(topics.get(1), 5, (short) 1))).all());
            var last = List.of(new NewTopic(topics.get(2), 1, (short) 1));
            var once = new CreateTopicsOptions().retryOnQuotaViolation(false);
            try {
                Check.get(held.createTopics(last, once).all());
                throw new AssertionError("a topic past the quota is made");
            } catch (ExecutionException refused) {
                int wait = ((ThrottlingQuotaExceededException) refused.getCause()).throttleTimeMs();
                Check.that(0 < wait && wait <= 4_000, "the client is told how long to wait: " + wait + " ms");
            }
            Check.get(held.createTopics(last, once.validateOnly(true)).all());
            Check.get(held.createTopics(last).all());
        }
        Check.get(admin.deleteTopics(topics).all());
        Check.get(admin.alterClientQuotas(List.of(new ClientQuotaAlteration(entity, List.of(new Op("controller_mutation_rate", null))))).all());
    }

    /**
     * Connections from this address: eleven at once at most, then one a second; more are closed unanswered. The
     * admin's own are open already, and stay. How far others on this machine get is not looked at.
     */
    static void connected(String broker, Admin admin) throws Exception {
        var address = new ClientQuotaEntity(Map.of("ip", "127.0.0.1"));
        var stranger = new ClientQuotaEntity(Map.of("ip", "192.0.2.9"));
        for (var wrong : List.of(
            new ClientQuotaAlteration(address, List.of(new Op("producer_byte_rate", 1.0))),
            new ClientQuotaAlteration(address, List.of(new Op("connection_creation_rate", 0.5))),
            new ClientQuotaAlteration(address, List.of(new Op("connection_creation_rate", 4e9))),
            new ClientQuotaAlteration(new ClientQuotaEntity(Map.of("ip", "no address")), List.of(new Op("connection_creation_rate", 1.0))),
            new ClientQuotaAlteration(new ClientQuotaEntity(Map.of("ip", "127.0.0.1", "user", CLIENT)), List.of(new Op("connection_creation_rate", 1.0))),
            new ClientQuotaAlteration(new ClientQuotaEntity(Map.of("user", CLIENT)), List.of(new Op("connection_creation_rate", 1.0))))) {
            Check.refused(InvalidRequestException.class, () -> Check.get(admin.alterClientQuotas(List.of(wrong)).all()), wrong.toString());
        }
        rate(admin, stranger, 1.0);
        String[] parts = broker.split(":");
        Check.equal(40, answered(parts[0], Integer.parseInt(parts[1]), 40), "connections answered while another address has a rate");
        rate(admin, address, 1.0);
        var all = ClientQuotaFilter.containsOnly(List.of(ClientQuotaFilterComponent.ofEntityType("ip")));
        Check.soon(() -> {
            var rate = Map.of("connection_creation_rate", 1.0);
            Check.equal(Map.of(address, rate, stranger, rate), quotas(admin, all), "the quotas of addresses");
            return null;
        });
        long began = System.nanoTime();
        int answered = answered(parts[0], Integer.parseInt(parts[1]), 40);
        double seconds = (System.nanoTime() - began) / 1e9;
        Check.that(answered <= 12 + seconds, "connections are held to their rate: " + answered + " in " + seconds + " s");
        rate(admin, address, null);
        rate(admin, stranger, null);
        Check.soon(() -> {
            Check.equal(40, answered(parts[0], Integer.parseInt(parts[1]), 40), "connections answered without a rate");
            return null;
        });
    }

    static void rate(Admin admin, ClientQuotaEntity entity, Double value) throws Exception {
        Check.get(admin.alterClientQuotas(List.of(new ClientQuotaAlteration(entity, List.of(new Op("connection_creation_rate", value))))).all());
    }

    /** Of so many connections that are made together. ApiVersions of version 0, without a client id. */
    static int answered(String host, int port, int count) throws IOException {
        byte[] request = {0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, -1, -1};
        List<Socket> sockets = new ArrayList<>();
        int answered = 0;
        try {
            for (int index = 0; index < count; index++) {
                sockets.add(new Socket(host, port));
            }
            for (Socket socket : sockets) {
                try {
                    socket.setSoTimeout(30_000);
                    socket.getOutputStream().write(request);
                    answered += socket.getInputStream().read() < 0 ? 0 : 1;
                } catch (SocketException closed) {
                    // Closed before the request came: unanswered.
                }
            }
        } finally {
            for (Socket socket : sockets) {
                socket.close();
            }
        }
        return answered;
    }

    /** What is past the credit took its time. The last record's own is not waited for, nor what was read ahead. */
    static void held(long began, String who) {
        double seconds = (System.nanoTime() - began) / 1e9;
        double bytes = (double) (COUNT - 10) * VALUE_BYTES;
        Check.that(bytes <= CREDIT + RATE * seconds, who + " is held at its rate: " + bytes + " bytes in " + seconds + " s");
    }

    static double metric(Collection<? extends Metric> metrics, String name) {
        return metrics.stream().filter(it -> it.metricName().name().equals(name))
            .mapToDouble(it -> ((Number) it.metricValue()).doubleValue()).filter(it -> !Double.isNaN(it)).max().orElse(0);
    }

    static void set(Admin admin, Op... ops) throws Exception {
        ClientQuotaEntity entity = new ClientQuotaEntity(Map.of("client-id", CLIENT));
        Check.get(admin.alterClientQuotas(List.of(new ClientQuotaAlteration(entity, List.of(ops)))).all());
    }

    static ClientQuotaFilter ofClient(String name) {
        return ClientQuotaFilter.contains(List.of(ClientQuotaFilterComponent.ofEntity("client-id", name)));
    }

    static Map<ClientQuotaEntity, Map<String, Double>> quotas(Admin admin, ClientQuotaFilter filter) throws Exception {
        return Check.get(admin.describeClientQuotas(filter).entities());
    }
}
