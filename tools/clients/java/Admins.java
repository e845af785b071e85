import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.AlterConfigOp.OpType;
import org.apache.kafka.clients.admin.Config;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.CreateTopicsOptions;
import org.apache.kafka.clients.admin.DescribeConfigsOptions;
import org.apache.kafka.clients.admin.LogDirDescription;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.Node;
import org.apache.kafka.common.TopicCollection;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.InvalidConfigurationException;
import org.apache.kafka.common.errors.InvalidPartitionsException;
import org.apache.kafka.common.errors.InvalidReplicationFactorException;
import org.apache.kafka.common.errors.InvalidTopicException;
import org.apache.kafka.common.errors.OffsetOutOfRangeException;
import org.apache.kafka.common.errors.TopicExistsException;
import org.apache.kafka.common.errors.UnknownTopicIdException;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;

/** Java's Admin client: topics, partitions, configs, offsets, records, log directories, the cluster. */
final class Admins {
    public static void main(String[] arguments) throws Exception {
        String broker = arguments[0];
        try (Admin admin = Check.admin(broker)) {
            int node = cluster(admin);
            topics(admin, node);
            refusedTopics(admin);
            partitions(admin);
            configs(admin, node);
            offsets(broker, admin);
            deletedRecords(broker, admin, node);
        }
    }

    static int cluster(Admin admin) throws Exception {
        var cluster = admin.describeCluster();
        Collection<Node> nodes = Check.get(cluster.nodes());
        Check.equal(1, nodes.size(), "nodes of the cluster");
        Node node = nodes.iterator().next();
        Check.equal(node.id(), Check.get(cluster.controller()).id(), "the controller");
        Check.that(!Check.get(cluster.clusterId()).isEmpty(), "a cluster id");
        return node.id();
    }

    static void topics(Admin admin, int node) throws Exception {
        String one = "java-admin-" + Check.RUN;
        String two = "java-admin-defaults-" + Check.RUN;
        var dry = admin.createTopics(List.of(new NewTopic(one, 3, (short) 1)), new CreateTopicsOptions().validateOnly(true));
        Check.get(dry.all());
        Check.that(!Check.get(admin.listTopics().names()).contains(one), "validateOnly creates nothing");

        var created = admin.createTopics(List.of(
            new NewTopic(one, 3, (short) 1).configs(Map.of("retention.ms", "12345", "cleanup.policy", "delete")),
            new NewTopic(two, Optional.empty(), Optional.empty())));
        Check.get(created.all());
        Uuid id = Check.get(created.topicId(one));
        Check.equal(3, Check.get(created.numPartitions(one)), "partitions of the answer");
        Check.equal(1, Check.get(created.replicationFactor(one)), "factor of the answer");
        Config answered = Check.get(created.config(one));
        Check.equal("12345", answered.get("retention.ms").value(), "config of the answer");
        Check.equal(ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG, answered.get("retention.ms").source(), "its source");
        Check.equal(ConfigEntry.ConfigSource.DEFAULT_CONFIG, answered.get("segment.bytes").source(), "source of a default");

        Check.soon(() -> {
            Check.that(Check.get(admin.listTopics().names()).containsAll(List.of(one, two)), "both topics are listed");
            return Check.get(admin.describeTopics(List.of(one, two)).allTopicNames());
        });
        Check.equal(id, Check.get(admin.listTopics().namesToListings()).get(one).topicId(), "id in the listing");
        TopicDescription byName = Check.get(admin.describeTopics(List.of(one)).allTopicNames()).get(one);
        TopicDescription byId = Check.get(admin.describeTopics(TopicCollection.ofTopicIds(List.of(id))).allTopicIds()).get(id);
        Check.equal(List.of(one, id), List.of(byId.name(), byName.topicId()), "described by id and by name");
        Check.equal(3, byName.partitions().size(), "partitions");
        byName.partitions().forEach(partition -> {
            Check.equal(node, partition.leader().id(), "leader");
            Check.equal(1, partition.replicas().size(), "replicas");
            Check.equal(1, partition.isr().size(), "in-sync replicas");
        });
        Check.that(!Check.get(admin.describeTopics(List.of(two)).allTopicNames()).get(two).partitions().isEmpty(), "default partitions");

        Check.refused(TopicExistsException.class, () -> Check.get(admin.createTopics(List.of(new NewTopic(one, 1, (short) 1))).all()), "created twice");
        Check.get(admin.deleteTopics(TopicCollection.ofTopicIds(List.of(id))).all());
        Check.get(admin.deleteTopics(List.of(two)).all());
        Check.soon(() -> {
            var names = Check.get(admin.listTopics().names());
            Check.that(!names.contains(one) && !names.contains(two), "deleted topics are not listed");
            return null;
        });
        Check.refused(UnknownTopicOrPartitionException.class, () -> Check.get(admin.deleteTopics(List.of(one)).all()), "deleted twice");
        Check.refused(UnknownTopicIdException.class, () -> Check.get(admin.deleteTopics(TopicCollection.ofTopicIds(List.of(id))).all()), "deleted twice by id");
        Check.refused(UnknownTopicOrPartitionException.class, () -> Check.get(admin.describeTopics(List.of(one)).allTopicNames()), "described when gone");
        Uuid again = Check.get(admin.createTopics(List.of(new NewTopic(one, 1, (short) 1))).topicId(one));
        Check.that(!again.equals(id), "a new id for a topic created again");
        Check.get(admin.deleteTopics(List.of(one)).all());
    }

    static void refusedTopics(Admin admin) throws Exception {
        String name = "java-refused-" + Check.RUN;
        refusedTopic(admin, InvalidTopicException.class, new NewTopic("a b", 1, (short) 1));
        refusedTopic(admin, InvalidTopicException.class, new NewTopic("..", 1, (short) 1));
        refusedTopic(admin, InvalidTopicException.class, new NewTopic("n".repeat(250), 1, (short) 1));
        refusedTopic(admin, InvalidPartitionsException.class, new NewTopic(name, 0, (short) 1));
        refusedTopic(admin, InvalidReplicationFactorException.class, new NewTopic(name, 1, (short) 3));
        refusedTopic(admin, InvalidConfigurationException.class, new NewTopic(name, 1, (short) 1).configs(Map.of("retention.ms", "soon")));
        refusedTopic(admin, InvalidConfigurationException.class, new NewTopic(name, 1, (short) 1).configs(Map.of("retention.msec", "1")));
        Check.that(!Check.get(admin.listTopics().names()).contains(name), "refused topics do not exist");
    }

    static void refusedTopic(Admin admin, Class<? extends Throwable> want, NewTopic topic) throws Exception {
        Check.refused(want, () -> Check.get(admin.createTopics(List.of(topic)).all()), topic.toString());
    }

    static void partitions(Admin admin) throws Exception {
        String topic = "java-grown-" + Check.RUN;
        Records.create(admin, topic, 2, Map.of());
        Check.get(admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(5))).all());
        Check.soon(() -> {
            Check.equal(5, Check.get(admin.describeTopics(List.of(topic)).allTopicNames()).get(topic).partitions().size(), "partitions after growth");
            return null;
        });
        Check.refused(InvalidPartitionsException.class, () -> Check.get(admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(5))).all()), "the same count");
        Check.refused(InvalidPartitionsException.class, () -> Check.get(admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(1))).all()), "fewer");
        Check.refused(UnknownTopicOrPartitionException.class, () -> Check.get(admin.createPartitions(Map.of(topic + "-not", NewPartitions.increaseTo(5))).all()), "an unknown topic");
        Check.get(admin.deleteTopics(List.of(topic)).all());
    }

    static void configs(Admin admin, int node) throws Exception {
        String topic = "java-configs-" + Check.RUN;
        Records.create(admin, topic, 1, Map.of());
        ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        Config config = described(admin, resource);
        Check.that(config.entries().size() >= 20, "at least 20 topic configs, got " + config.entries().size());
        Check.equal("1048588", config.get("max.message.bytes").value(), "max.message.bytes");
        Check.equal("delete", config.get("cleanup.policy").value(), "cleanup.policy");
        Check.equal("CreateTime", config.get("message.timestamp.type").value(), "message.timestamp.type");
        Check.that(config.get("max.message.bytes").isDefault(), "max.message.bytes is a default");
        Check.equal(ConfigEntry.ConfigType.INT, config.get("max.message.bytes").type(), "its type");
        var verbose = new DescribeConfigsOptions().includeSynonyms(true).includeDocumentation(true);
        ConfigEntry bytes = Check.get(admin.describeConfigs(List.of(resource), verbose).all()).get(resource).get("max.message.bytes");
        Check.that(!bytes.documentation().isEmpty(), "documentation of max.message.bytes");
        Check.equal("message.max.bytes", bytes.synonyms().get(0).name(), "synonym of max.message.bytes");

        alter(admin, resource, "retention.ms", "60000", OpType.SET);
        alter(admin, resource, "cleanup.policy", "compact", OpType.APPEND);
        Check.soon(() -> {
            Config set = described(admin, resource);
            Check.equal("60000", set.get("retention.ms").value(), "a set value");
            Check.equal(ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG, set.get("retention.ms").source(), "its source");
            Check.equal(Set.of("delete", "compact"), Set.of(set.get("cleanup.policy").value().split(",")), "an appended value");
            return null;
        });
        alter(admin, resource, "cleanup.policy", "compact", OpType.SUBTRACT);
        alter(admin, resource, "retention.ms", "", OpType.DELETE);
        Check.soon(() -> {
            Config back = described(admin, resource);
            Check.equal("604800000", back.get("retention.ms").value(), "a deleted value is the default");
            Check.equal("delete", back.get("cleanup.policy").value(), "a subtracted value");
            return null;
        });
        Check.refused(InvalidConfigurationException.class, () -> alter(admin, resource, "retention.ms", "soon", OpType.SET), "no number");
        Check.refused(InvalidConfigurationException.class, () -> alter(admin, resource, "retention.mss", "1", OpType.SET), "an unknown key");
        ConfigResource unknown = new ConfigResource(ConfigResource.Type.TOPIC, topic + "-not");
        Check.refused(UnknownTopicOrPartitionException.class, () -> Check.get(admin.describeConfigs(List.of(unknown)).all()), "an unknown topic");

        ConfigResource self = new ConfigResource(ConfigResource.Type.BROKER, Integer.toString(node));
        Config broker = described(admin, self);
        Check.that(broker.get("num.partitions") != null && broker.get("log.dirs") != null, "the broker's configs");
        Check.get(admin.deleteTopics(List.of(topic)).all());
    }

    static Config described(Admin admin, ConfigResource resource) throws Exception {
        return Check.get(admin.describeConfigs(List.of(resource)).all()).get(resource);
    }

    static Void alter(Admin admin, ConfigResource resource, String key, String value, OpType operation) throws Exception {
        return Check.get(admin.incrementalAlterConfigs(Map.of(resource, List.of(new AlterConfigOp(new ConfigEntry(key, value), operation)))).all());
    }

    static void offsets(String broker, Admin admin) throws Exception {
        String topic = "java-offsets-" + Check.RUN;
        Records.create(admin, topic, 1, Map.of());
        TopicPartition partition = new TopicPartition(topic, 0);
        Check.equal(-1L, offset(admin, partition, OffsetSpec.maxTimestamp()), "max timestamp of nothing");
        Check.equal(0L, offset(admin, partition, OffsetSpec.latest()), "latest of nothing");
        long[] times = {1_000, 5_000, 3_000, 5_000};
        try (var producer = Records.producer(broker)) {
            for (long time : times) {
                producer.send(new ProducerRecord<>(topic, 0, time, null, new byte[10])).get();
            }
        }
        Check.equal(0L, offset(admin, partition, OffsetSpec.earliest()), "earliest");
        Check.equal(0L, offset(admin, partition, OffsetSpec.earliestLocal()), "earliest local");
        Check.equal(4L, offset(admin, partition, OffsetSpec.latest()), "latest");
        Check.equal(-1L, offset(admin, partition, OffsetSpec.latestTiered()), "latest tiered");
        Check.equal(1L, offset(admin, partition, OffsetSpec.maxTimestamp()), "the first record of the highest time");
        Check.equal(0L, offset(admin, partition, OffsetSpec.forTimestamp(0)), "time 0");
        Check.equal(1L, offset(admin, partition, OffsetSpec.forTimestamp(1_001)), "time 1001");
        Check.equal(1L, offset(admin, partition, OffsetSpec.forTimestamp(5_000)), "time 5000");
        Check.equal(-1L, offset(admin, partition, OffsetSpec.forTimestamp(5_001)), "time 5001");
        var info = Check.get(admin.listOffsets(Map.of(partition, OffsetSpec.maxTimestamp())).partitionResult(partition));
        Check.equal(5_000L, info.timestamp(), "the highest time");
        Check.get(admin.deleteTopics(List.of(topic)).all());
    }

    static long offset(Admin admin, TopicPartition partition, OffsetSpec spec) throws Exception {
        return Check.get(admin.listOffsets(Map.of(partition, spec)).partitionResult(partition)).offset();
    }

    static void deletedRecords(String broker, Admin admin, int node) throws Exception {
        String topic = "java-deleted-" + Check.RUN;
        Records.create(admin, topic, 1, Map.of());
        TopicPartition partition = new TopicPartition(topic, 0);
        try (var producer = Records.producer(broker)) {
            for (int at = 0; at < 50; at++) {
                producer.send(new ProducerRecord<>(topic, 0, null, ("v" + at).getBytes()));
            }
            producer.flush();
        }
        Check.equal(17L, delete(admin, partition, 17), "low watermark");
        Check.equal(17L, delete(admin, partition, 3), "low watermark after a lower one");
        Check.equal(17L, offset(admin, partition, OffsetSpec.earliest()), "earliest");
        Check.refused(OffsetOutOfRangeException.class, () -> delete(admin, partition, 51), "past the end");
        try (var consumer = Records.consumer(broker)) {
            consumer.assign(List.of(partition));
            consumer.seekToBeginning(List.of(partition));
            var records = Records.read(consumer, 33);
            Check.equal(17L, records.get(0).offset(), "first offset");
            Check.equal("v17", new String(records.get(0).value()), "first value");
        }
        Map<String, LogDirDescription> directories = Check.get(admin.describeLogDirs(List.of(node)).allDescriptions()).get(node);
        List<Long> sizes = new ArrayList<>();
        directories.values().forEach(directory -> {
            Check.equal(null, directory.error(), "error of a log directory");
            if (directory.replicaInfos().containsKey(partition)) {
                sizes.add(directory.replicaInfos().get(partition).size());
            }
        });
        Check.that(sizes.size() == 1 && sizes.get(0) > 0, "one log with bytes: " + sizes);
        Check.equal(50L, delete(admin, partition, -1), "low watermark of all");
        Check.get(admin.deleteTopics(List.of(topic)).all());
    }

    static long delete(Admin admin, TopicPartition partition, long before) throws Exception {
        return Check.get(admin.deleteRecords(Map.of(partition, RecordsToDelete.beforeOffset(before))).lowWatermarks().get(partition)).lowWatermark();
    }
}
