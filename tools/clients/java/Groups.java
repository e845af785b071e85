import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.BooleanSupplier;
import java.util.function.Consumer;
import java.util.function.Supplier;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.ConsumerGroupDescription;
import org.apache.kafka.clients.admin.MemberToRemove;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.RemoveMembersFromConsumerGroupOptions;
import org.apache.kafka.clients.consumer.CloseOptions;
import org.apache.kafka.clients.consumer.ConsumerGroupMetadata;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.GroupState;
import org.apache.kafka.common.GroupType;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.GroupIdNotFoundException;
import org.apache.kafka.common.errors.GroupNotEmptyException;
import org.apache.kafka.common.errors.GroupSubscribedToTopicException;
import org.apache.kafka.common.errors.RebalanceInProgressException;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;

/**
 * Groups of Java's consumer through rebalances: members come, go, get stuck, are restarted, and the topic grows; what changes
 * in a group that is at work is in {@link Changes}. At every instant a partition has at most one owner; each record is read,
 * and twice only when its reader was thrown out. What members are told of partitions is what Apache Kafka tells them.
 */
final class Groups {
    static final int PARTITIONS = 6;
    /** No assignor of the client's: KIP-848, in which the broker assigns. */
    static final String CONSUMER = "consumer";

    public static void main(String[] arguments) throws Exception {
        String broker = arguments[0];
        try (Admin admin = Check.admin(broker)) {
            var scenes = new ArrayList<Check.Scene>();
            for (String assignor : List.of("Range", "RoundRobin", "Sticky", "CooperativeSticky", CONSUMER)) {
                scenes.add(() -> new Groups(broker, admin, assignor).rebalances());
            }
            for (String assignor : List.of("Range", "CooperativeSticky", CONSUMER)) {
                scenes.add(() -> new Groups(broker, admin, assignor).staticMembers());
            }
            scenes.add(() -> new Groups(broker, admin, "Range").administration());
            scenes.add(() -> new Groups(broker, admin, CONSUMER).administration());
            Check.together(scenes);
        }
    }

    final String broker;
    final Admin admin;
    final String assignor;
    final String group;
    final String topic;
    /** Who owns a partition, as the members' listeners say. */
    final Map<TopicPartition, Member> owners = new ConcurrentHashMap<>();
    final Map<Integer, Integer> reads = new ConcurrentHashMap<>();
    final AtomicReference<Throwable> failure = new AtomicReference<>();
    final List<Member> members = new ArrayList<>();
    /** Topics whose offsets nobody commits, as they are about to be deleted. */
    final Set<String> leaving = ConcurrentHashMap.newKeySet();
    /** What the broker has acknowledged as committed while members read. */
    final Map<TopicPartition, Long> committed = new ConcurrentHashMap<>();
    /** Nobody commits what it reads. */
    volatile boolean isSilent;
    int sent;

    Groups(String broker, Admin admin, String assignor) throws Exception {
        this(broker, admin, assignor, "rebalances");
    }

    Groups(String broker, Admin admin, String assignor, String what) throws Exception {
        this.broker = broker;
        this.admin = admin;
        this.assignor = assignor;
        this.group = "java-" + what + "-" + assignor + "-" + Long.toString(System.nanoTime(), 36);
        this.topic = group;
        Records.create(admin, topic, PARTITIONS, Map.of());
    }

    /** A consumer on a thread of its own. */
    final class Member extends Thread implements ConsumerRebalanceListener {
        final String instance;
        volatile boolean isStopped;
        volatile boolean isStuck;
        /** Somebody else has its lasting name, and its place. */
        volatile boolean isTwin;
        volatile int rebalances;
        /** How many partitions it was told to give up, and has lost, so far. */
        volatile int revoked;
        volatile int lost;
        volatile Set<TopicPartition> assigned = Set.of();
        volatile ConsumerGroupMetadata metadata;
        /** What it shall subscribe to, before it polls next. */
        final AtomicReference<Consumer<Member>> subscription;
        /** What ends it, if that is to be. */
        volatile Class<? extends Exception> end;
        final KafkaConsumer<byte[], byte[]> consumer;

        Member(String instance) {
            this(instance, assignor);
        }

        /** With such assignors, in the order of its wishes, and settings that beat the usual. */
        Member(String instance, String assignors, Object... settings) {
            this(instance, it -> it.consumer.subscribe(List.of(topic), it), null, assignors, settings);
        }

        Member(String instance, Consumer<Member> first, Class<? extends Exception> end, String assignors, Object... settings) {
            this.instance = instance;
            this.subscription = new AtomicReference<>(first);
            this.end = end;
            Object[] more = {
                "group.id", group, "max.poll.interval.ms", "6000", "metadata.max.age.ms", "500", "auto.offset.reset", "earliest",
                "fetch.max.wait.ms", "100",
                "allow.auto.create.topics", "false", // A topic that is deleted stays so.
            };
            var list = new ArrayList<Object>(List.of(more));
            list.addAll(settings(assignors));
            if (instance != null) {
                list.addAll(List.of("group.instance.id", instance));
            }
            list.addAll(List.of(settings)); // The last wins.
            consumer = Records.consumer(broker, list.toArray());
            setDaemon(true);
            setUncaughtExceptionHandler((thread, error) -> failure.compareAndSet(null, error));
            members.add(this);
            start();
        }

        @Override
        public void run() {
            try {
                follow();
            } catch (KafkaException exception) {
                if (end == null || !end.isInstance(exception)) {
                    throw exception;
                }
                consumer.close(CloseOptions.timeout(Duration.ZERO));
                owners.values().removeIf(owner -> owner == this);
            }
        }

        private void follow() {
            while (!isStopped) {
                var next = subscription.getAndSet(null);
                if (next != null) {
                    next.accept(this);
                }
                if (poll() && !isSilent) {
                    consumer.commitAsync(this::onCommitted);
                }
                metadata = consumer.groupMetadata();
                assigned = Set.copyOf(consumer.assignment());
                while (isStuck && !isStopped) {
                    pause(50);
                }
            }
            commitLast();
            consumer.close();
            // A static member's partitions are its own until somebody else gets them.
            owners.values().removeIf(owner -> owner == this);
        }

        /** Whether there was something to read. */
        private boolean poll() {
            var records = consumer.poll(Duration.ofMillis(50));
            for (ConsumerRecord<byte[], byte[]> record : records) {
                reads.merge(Integer.parseInt(new String(record.value())), 1, Integer::sum);
            }
            return !records.isEmpty();
        }

        /** Kafka's client commits nothing while its group rebalances (another has just left, say): polls bring that to its end. */
        private void commitLast() {
            while (true) {
                try {
                    commit();
                    return;
                } catch (RebalanceInProgressException exception) {
                    poll();
                }
            }
        }

        private void onCommitted(Map<TopicPartition, OffsetAndMetadata> offsets, Exception error) {
            if (error == null) {
                offsets.forEach((partition, offset) -> committed.merge(partition, offset.offset(), Math::max));
            }
        }

        private void commit() {
            var positions = new HashMap<TopicPartition, OffsetAndMetadata>();
            for (TopicPartition partition : consumer.assignment()) {
                if (!leaving.contains(partition.topic())) {
                    positions.put(partition, new OffsetAndMetadata(consumer.position(partition)));
                }
            }
            consumer.commitSync(positions);
        }

        @Override
        public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
            rebalances++;
            for (TopicPartition partition : partitions) {
                Member before = owners.put(partition, this);
                Check.that(before == null || before == this || before.isStuck || before.isTwin, partition + " had no owner");
            }
        }

        @Override
        public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
            revoked += partitions.size();
            commit();
            partitions.forEach(partition -> owners.remove(partition, this));
        }

        @Override
        public void onPartitionsLost(Collection<TopicPartition> partitions) {
            lost += partitions.size();
            partitions.forEach(partition -> owners.remove(partition, this));
        }

        void end() throws InterruptedException {
            isStopped = true;
            join(20_000);
            Check.that(!isAlive(), "a member ends");
            members.remove(this);
        }

        /** Until what shall end it has done so. */
        void awaitEnd() throws Exception {
            join(20_000);
            Check.that(!isAlive(), end.getSimpleName() + " ends a member of " + group);
            members.remove(this);
        }
    }

    /** What makes a member of one that asks for such assignors. */
    static List<String> settings(String assignors) {
        if (assignors.equals(CONSUMER)) {
            return List.of("group.protocol", "consumer");
        }
        var classes = Stream.of(assignors.split(",")).map(it -> "org.apache.kafka.clients.consumer." + it + "Assignor");
        return List.of(
            "session.timeout.ms", "6000", "heartbeat.interval.ms", "300",
            "partition.assignment.strategy", classes.collect(Collectors.joining(",")));
    }

    static void pause(long ms) {
        try {
            Thread.sleep(ms);
        } catch (InterruptedException interrupted) {
            throw new AssertionError(interrupted);
        }
    }

    Stream<TopicPartition> partitions() {
        return IntStream.range(0, PARTITIONS).mapToObj(it -> new TopicPartition(topic, it));
    }

    /** Until the members own so many partitions each, all of them together. */
    void await(Integer... counts) throws Exception {
        var want = new ArrayList<>(List.of(counts));
        want.sort(null);
        for (int turn = 0; ; turn++) {
            Check.that(failure.get() == null, "no member fails, but " + failure.get());
            var got = new ArrayList<Integer>();
            var owned = new TreeSet<String>();
            for (Member member : members) {
                if (!member.isStuck) {
                    got.add(member.assigned.size());
                    member.assigned.forEach(it -> owned.add(it.toString()));
                }
            }
            got.sort(null);
            int total = want.stream().mapToInt(it -> it).sum();
            if (got.equals(want) && owned.size() == total && owners.size() >= total) {
                return;
            }
            Check.that(turn < 1200, "partitions of each member " + want + ", got " + got + " of " + owned + " in " + group);
            pause(50);
        }
    }

    void send(int count) throws Exception {
        send(topic, PARTITIONS, count);
    }

    void send(String topic, int partitions, int count) throws Exception {
        try (KafkaProducer<byte[], byte[]> producer = Records.producer(broker)) {
            for (int index = 0; index < count; index++) {
                producer.send(new ProducerRecord<>(topic, sent % partitions, null, Integer.toString(sent++).getBytes()));
            }
            producer.flush();
        }
    }

    void awaitReads(boolean isExactlyOnce) {
        until(() -> reads.size() >= sent, () -> "each of " + sent + " records is read, " + reads.size() + " are");
        if (isExactlyOnce) {
            var twice = new TreeMap<>(reads);
            twice.values().removeIf(count -> count == 1);
            Check.equal(Map.of(), twice, "records read more than once by " + group);
        }
    }

    /** Until what is sent is committed, and acknowledged as such: no commit is on its way then. */
    void awaitCommits() {
        until(
            () -> committed.values().stream().mapToLong(it -> it).sum() >= sent,
            () -> "each of " + sent + " records is committed, got " + committed);
    }

    private void until(BooleanSupplier condition, Supplier<String> what) {
        for (int turn = 0; !condition.getAsBoolean(); turn++) {
            Check.that(failure.get() == null, "no member fails, but " + failure.get());
            Check.that(turn < 1200, what.get());
            pause(50);
        }
    }

    void rebalances() throws Exception {
        send(300);
        boolean isEager = List.of("Range", "RoundRobin", "Sticky").contains(assignor);
        Member first = new Member(null);
        await(6);
        Check.equal(0, first.revoked, "partitions that are given up by the first");
        Member second = new Member(null);
        await(3, 3);
        Check.equal(isEager ? 6 : 3, first.revoked, "partitions that are given up for the second");
        send(300);
        Member third = new Member(null);
        await(2, 2, 2);
        send(300);
        awaitReads(true);
        second.end();
        await(3, 3);
        third.isStuck = true; // It does not poll any more, and leaves after max.poll.interval.ms.
        await(6);
        send(300);
        awaitReads(false);
        Check.equal(0, first.lost, "partitions that the first has lost");
        third.isStuck = false; // It finds out that it is not a member, and joins again.
        await(3, 3);
        Check.equal(3, third.lost, "partitions that the stuck member has lost");
        Check.get(admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(8))).all());
        await(4, 4);
        endAll();
        checkCommitted();
    }

    void checkCommitted() throws Exception {
        var committed = Check.get(admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata());
        long total = committed.values().stream().mapToLong(OffsetAndMetadata::offset).sum();
        Check.equal((long) sent, total, "records that are committed in " + group);
        Check.that(failure.get() == null, "no member fails, but " + failure.get());
    }

    void endAll() throws Exception {
        for (Member member : List.copyOf(members)) {
            member.end();
        }
    }

    /** KIP-345: who comes back under its lasting name gets what it had, and the others notice nothing. */
    void staticMembers() throws Exception {
        Member one = new Member("one");
        Member two = new Member("two");
        await(3, 3);
        Set<TopicPartition> had = one.assigned;
        int before = two.rebalances;
        one.end();
        Member again = new Member("one");
        await(3, 3);
        Check.equal(had, again.assigned, "partitions after the restart of a static member");
        Check.equal(before, two.rebalances, "rebalances that the other has seen");
        send(100);
        awaitReads(true);
        again.end();
        Check.equal(2, describe().members().size(), "members, one of which is away");
        var remove = new RemoveMembersFromConsumerGroupOptions(List.of(new MemberToRemove("one")));
        Check.get(admin.removeMembersFromConsumerGroup(group, remove).all());
        await(6);
        two.end();
        var removeAll = new RemoveMembersFromConsumerGroupOptions();
        Check.get(admin.removeMembersFromConsumerGroup(group, removeAll).all());
        Check.equal(GroupState.EMPTY, describe().groupState(), "the state without members");
        Check.that(failure.get() == null, "no member fails, but " + failure.get());
    }

    ConsumerGroupDescription describe() throws Exception {
        return Check.get(admin.describeConsumerGroups(List.of(group)).describedGroups().get(group));
    }

    /** What an administrator sees and does. */
    void administration() throws Exception {
        send(60);
        var first = new TopicPartition(topic, 0);
        Member member = new Member(null);
        await(6);
        awaitReads(true);
        var description = describe();
        Check.equal(GroupState.STABLE, description.groupState(), "the state");
        boolean isConsumer = assignor.equals(CONSUMER);
        Check.equal(isConsumer ? GroupType.CONSUMER : GroupType.CLASSIC, description.type(), "the type");
        Check.equal(isConsumer ? "uniform" : "range", description.partitionAssignor(), "the assignor");
        var described = description.members().iterator().next();
        Check.equal("/127.0.0.1", described.host(), "the member's host");
        Check.equal(member.assigned, described.assignment().topicPartitions(), "the member's partitions");
        var listed = Check.get(admin.listGroups().all()).stream().filter(it -> it.groupId().equals(group)).findFirst();
        Check.that(listed.isPresent(), "the group is listed");
        Check.equal("consumer", listed.get().protocol(), "the listed protocol");

        Map<TopicPartition, OffsetAndMetadata> back = new HashMap<>(Map.of(first, new OffsetAndMetadata(3, "note")));
        Check.refused(Exception.class, () -> Check.get(admin.alterConsumerGroupOffsets(group, back).all()), "offsets of a group at work");
        Check.refused(GroupNotEmptyException.class, () -> Check.get(admin.deleteConsumerGroups(List.of(group)).all()), "a group at work");
        Check.refused(
            GroupSubscribedToTopicException.class,
            () -> Check.get(admin.deleteConsumerGroupOffsets(group, Set.of(first)).all()),
            "offsets of a topic that is read");
        member.end();

        Check.get(admin.alterConsumerGroupOffsets(group, back).all());
        var offsets = Check.get(admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata());
        Check.equal(new OffsetAndMetadata(3, "note"), offsets.get(first), "the altered offset");
        var strange = Map.of(new TopicPartition(topic + "-none", 0), new OffsetAndMetadata(1));
        Check.refused(
            UnknownTopicOrPartitionException.class,
            () -> Check.get(admin.alterConsumerGroupOffsets(group, strange).all()),
            "offsets of a topic that is not there");
        Check.get(admin.deleteConsumerGroupOffsets(group, Set.of(first)).all());
        offsets = Check.get(admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata());
        Check.that(!offsets.containsKey(first), "the offset is gone");
        Check.get(admin.deleteConsumerGroups(List.of(group)).all());
        Check.refused(GroupIdNotFoundException.class, () -> describe(), "a deleted group");
        Check.refused(
            GroupIdNotFoundException.class, () -> Check.get(admin.deleteConsumerGroups(List.of(group)).all()), "a deleted group");
        Check.equal(Map.of(), Check.get(admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata()), "offsets of a deleted group");
    }
}
