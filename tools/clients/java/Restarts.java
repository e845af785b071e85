import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.Callable;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.MemberDescription;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.GroupState;
import org.apache.kafka.common.TopicPartition;

/**
 * Groups of Java's consumer whose broker is ended and comes back on its data, while a producer writes. A broker loads its groups
 * with their members: who was in one stays in it, under the same generation and with the same partitions, and is told nothing.
 * What was committed stays so; each record is in the log once, and read.
 *
 * A classic leader that finds no broker bootstraps anew, which empties its metadata: it sees its topics go and come, and has its
 * group rebalance once. It is the client that does so; "none" of metadata.recovery.strategy keeps it from that.
 */
final class Restarts {
    static final int SECONDS_MAX = 60;

    public static void main(String[] arguments) throws Exception {
        var broker = new Broker(List.of(arguments).subList(1, arguments.length));
        Runtime.getRuntime().addShutdownHook(new Thread(() -> broker.process.destroyForcibly()));
        broker.start();
        try (Admin admin = Check.admin(arguments[0])) {
            var scene = new Restarts(arguments[0], admin, broker);
            scene.begin();
            scene.stays(broker::kill);
            scene.stays(broker::stop);
            scene.staticMemberIsAway(broker::kill);
            scene.staticMemberIsAway(broker::stop);
            scene.checkReadOnce();
            scene.othersJoin(broker::kill);
            scene.finish();
        }
        broker.stop();
    }

    /** The process, which is a child of ours. */
    static final class Broker {
        private final ProcessBuilder command;
        private volatile Process process;

        Broker(List<String> command) {
            this.command = new ProcessBuilder(command).inheritIO();
        }

        void start() throws Exception {
            process = command.start();
        }

        void kill() throws Exception {
            Check.that(process.isAlive(), "the broker runs until it is killed");
            process.destroyForcibly().waitFor();
        }

        void stop() throws Exception {
            Check.that(process.isAlive(), "the broker runs until it is asked to stop");
            process.destroy();
            Check.that(process.waitFor(SECONDS_MAX, TimeUnit.SECONDS), "the broker stops when it is asked to");
            Check.that(Set.of(0, 128 + 15).contains(process.exitValue()), "it stops in peace, or as a JVM does; " + process.exitValue());
        }
    }

    /** How the broker ends. */
    interface End {
        void come() throws Exception;
    }

    final String address;
    final Admin admin;
    final Broker broker;
    final List<Groups> groups = new ArrayList<>();
    Writer writer;

    Restarts(String address, Admin admin, Broker broker) {
        this.address = address;
        this.admin = admin;
        this.broker = broker;
    }

    /** One producer for all topics, over all restarts; to each the numbers from 0 on. */
    final class Writer extends Thread {
        final Map<Groups, Set<Integer>> acknowledged = new HashMap<>();
        final AtomicReference<Throwable> failure = new AtomicReference<>();
        volatile boolean isStopped;
        /** Of records that are not acknowledged: while the broker is away, they wait here. */
        private final Semaphore room = new Semaphore(600);

        Writer() {
            groups.forEach(group -> acknowledged.put(group, ConcurrentHashMap.newKeySet()));
            setDaemon(true);
            setUncaughtExceptionHandler((thread, error) -> failure.compareAndSet(null, error));
        }

        @Override
        public void run() {
            try (KafkaProducer<byte[], byte[]> producer = Records.producer(address)) {
                while (!isStopped) {
                    groups.forEach(group -> send(producer, group));
                    Groups.pause(5);
                }
            }
        }

        private void send(KafkaProducer<byte[], byte[]> producer, Groups group) {
            room.acquireUninterruptibly();
            int number = group.sent++;
            int partition = number % Groups.PARTITIONS;
            producer.send(new ProducerRecord<>(group.topic, partition, null, Integer.toString(number).getBytes()), (metadata, error) -> {
                if (error == null) {
                    acknowledged.get(group).add(number);
                } else {
                    failure.compareAndSet(null, error);
                }
                room.release();
            });
        }
    }

    /** What a restart must not change, fact by fact: of each group as the broker tells, and of each member as it was told. */
    Map<String, Object> standings(List<Groups.Member> but) throws Exception {
        var facts = new TreeMap<String, Object>();
        for (Groups group : groups) {
            var it = group.describe();
            facts.put(group.group + " is", List.of(it.type(), it.partitionAssignor(), it.groupEpoch(), it.targetAssignmentEpoch()));
            for (Groups.Member member : group.members) {
                String id = member.metadata.memberId();
                if (!but.contains(member)) {
                    facts.put(group.group + " has told " + id + " to own and of losses", List.of(member.assigned, member.lost));
                    var told = List.of(member.metadata.generationId(), member.rebalances, member.revoked);
                    if (!mayRebalance(group)) {
                        facts.put(group.group + " has told " + id + " of generation, rebalances and revocations", told);
                    }
                    var described = it.members().stream().filter(other -> other.consumerId().equals(id)).findFirst();
                    facts.put(group.group + " has " + id, described);
                }
            }
        }
        return facts;
    }

    private static void checkSame(Map<String, Object> before, Map<String, Object> after) {
        var was = new TreeMap<>(before);
        was.entrySet().removeAll(after.entrySet());
        var is = new TreeMap<>(after);
        is.entrySet().removeAll(before.entrySet());
        Check.equal(was, is, "what a restart leaves as it is");
    }

    /** Until it holds. */
    void await(Callable<Boolean> condition, Callable<String> what) throws Exception {
        long until = System.nanoTime() + TimeUnit.SECONDS.toNanos(SECONDS_MAX);
        while (!condition.call()) {
            checkFailures();
            if (System.nanoTime() > until) {
                throw new AssertionError("within " + SECONDS_MAX + " s: " + what.call());
            }
            Groups.pause(50);
        }
        checkFailures();
    }

    private void checkFailures() {
        Check.that(writer == null || writer.failure.get() == null, "no record fails, but " + (writer == null ? "" : writer.failure));
        for (Groups group : groups) {
            Check.that(group.failure.get() == null, "no member of " + group.group + " fails, but " + group.failure.get());
        }
    }

    Groups.Member join(Groups group, String instance) {
        // Nobody's session ends because the broker is away for a while.
        var settings = new ArrayList<Object>(List.of("max.poll.interval.ms", "45000"));
        if (!group.assignor.equals(Groups.CONSUMER)) {
            settings.addAll(List.of("session.timeout.ms", "45000"));
        }
        if (!mayRebalance(group)) {
            settings.addAll(List.of("metadata.recovery.strategy", "none"));
        }
        return group.new Member(instance, group.assignor, settings.toArray());
    }

    /** Its members are as their defaults have it: the leader may have it rebalance when there is no broker. */
    private static boolean mayRebalance(Groups group) {
        return group.assignor.equals("Range");
    }

    void begin() throws Exception {
        for (String assignor : List.of("Range", "CooperativeSticky", Groups.CONSUMER)) {
            groups.add(new Groups(address, admin, assignor, "restarts"));
        }
        for (Groups group : groups) {
            join(group, null);
            join(group, null);
            join(group, "one");
        }
        settle();
        writer = new Writer();
        writer.start();
        goOn();
    }

    /** Until the members of each group own a part of equal size, and the broker says the same. */
    void settle() throws Exception {
        for (Groups group : groups) {
            int count = group.members.size();
            Integer[] parts = new Integer[count];
            for (int at = 0; at < count; at++) {
                parts[at] = (Groups.PARTITIONS + at) / count;
            }
            group.await(parts);
            await(() -> isSettled(group), () -> "the broker sees " + group.group + " as its members do: " + group.describe());
        }
    }

    private static boolean isSettled(Groups group) throws Exception {
        var description = group.describe();
        var owned = new ArrayList<TopicPartition>();
        var parts = new HashSet<Set<TopicPartition>>();
        for (MemberDescription member : description.members()) {
            owned.addAll(member.assignment().topicPartitions());
            parts.add(member.assignment().topicPartitions());
        }
        var mine = new HashSet<Set<TopicPartition>>();
        group.members.forEach(member -> mine.add(member.assigned));
        return description.groupState() == GroupState.STABLE && description.members().size() == group.members.size()
            && parts.equals(mine) && owned.size() == Groups.PARTITIONS && Set.copyOf(owned).size() == Groups.PARTITIONS;
    }

    /** Until each group has read what is acknowledged by then and something more, and committed in every partition. */
    void goOn() throws Exception {
        for (Groups group : groups) {
            var acknowledged = writer.acknowledged.get(group);
            var committed = committed(group);
            int more = acknowledged.size() + 10 * Groups.PARTITIONS;
            await(() -> acknowledged.size() >= more, () -> "records are acknowledged: " + acknowledged.size() + " of " + more);
            var all = Set.copyOf(acknowledged);
            await(
                () -> group.reads.keySet().containsAll(all),
                () -> group.group + " reads " + all.size() + " records that are acknowledged, it has read " + group.reads.size());
            await(
                () -> isPast(committed, committed(group), group),
                () -> group.group + " commits more than " + committed + " in every partition, it has " + committed(group));
        }
    }

    private static boolean isPast(Map<TopicPartition, Long> before, Map<TopicPartition, Long> after, Groups group) {
        return group.partitions().allMatch(it -> after.getOrDefault(it, 0L) > before.getOrDefault(it, 0L));
    }

    Map<TopicPartition, Long> committed(Groups group) throws Exception {
        var committed = new HashMap<TopicPartition, Long>();
        // This may be what waits for the broker to be back.
        admin.listConsumerGroupOffsets(group.group).partitionsToOffsetAndMetadata().get(SECONDS_MAX, TimeUnit.SECONDS)
            .forEach((partition, offset) -> committed.put(partition, offset.offset()));
        return committed;
    }

    /** The broker ends in the midst of commits and comes back; nobody commits until it has told what it knows. */
    void restart(End end) throws Exception {
        var before = new HashMap<Groups, Map<TopicPartition, Long>>();
        for (Groups group : groups) {
            before.put(group, committed(group));
        }
        end.come();
        for (Groups group : groups) {
            group.isSilent = true;
            group.committed.forEach((partition, offset) -> before.get(group).merge(partition, offset, Math::max));
        }
        broker.start();
        for (Groups group : groups) {
            var after = committed(group);
            before.get(group).forEach((partition, offset) -> Check.that(
                after.getOrDefault(partition, -1L) >= offset,
                partition + " is committed up to " + offset + ", as before the restart, not " + after.get(partition)));
            group.isSilent = false;
        }
    }

    /** Members that are there all the time notice nothing. */
    void stays(End end) throws Exception {
        var before = standings(List.of());
        restart(end);
        settle();
        goOn();
        checkSame(before, standings(List.of()));
    }

    /** The broker restarts while a static member does: it gets what it had, and the others notice nothing. */
    void staticMemberIsAway(End end) throws Exception {
        var away = new ArrayList<Groups.Member>();
        for (Groups group : groups) {
            away.addAll(group.members.stream().filter(it -> it.instance != null).toList());
        }
        var before = standings(away);
        for (Groups.Member member : away) {
            member.end();
        }
        restart(end);
        var again = groups.stream().map(group -> join(group, "one")).toList();
        settle();
        goOn();
        checkSame(before, standings(again));
        for (int at = 0; at < again.size(); at++) {
            Check.equal(away.get(at).assigned, again.get(at).assigned, "partitions of the static member of " + groups.get(at).group);
        }
    }

    /** As nobody has lost its place, nothing is read twice. */
    void checkReadOnce() throws Exception {
        for (Groups group : groups) {
            var twice = new TreeMap<>(group.reads);
            twice.values().removeIf(count -> count == 1);
            Check.equal(Map.of(), twice, "records read more than once by " + group.group);
        }
    }

    /** The broker ends while a member joins, and the others are about to make room. */
    void othersJoin(End end) throws Exception {
        Map<Groups, Integer> counts = new HashMap<>();
        groups.forEach(group -> counts.put(group, group.members.size()));
        groups.forEach(group -> join(group, null));
        await(() -> {
            for (Groups group : groups) {
                var description = group.describe();
                if (description.groupState() != GroupState.STABLE || description.members().size() > counts.get(group)) {
                    return true;
                }
            }
            return false;
        }, () -> "somebody joins");
        restart(end);
        settle();
        goOn();
    }

    void finish() throws Exception {
        writer.isStopped = true;
        writer.join(TimeUnit.SECONDS.toMillis(SECONDS_MAX));
        Check.that(!writer.isAlive(), "the producer ends");
        checkFailures();
        for (Groups group : groups) {
            Check.equal(group.sent, writer.acknowledged.get(group).size(), "records that are acknowledged");
            var ends = new HashMap<TopicPartition, OffsetSpec>();
            group.partitions().forEach(it -> ends.put(it, OffsetSpec.latest()));
            long total = Check.get(admin.listOffsets(ends).all()).values().stream().mapToLong(it -> it.offset()).sum();
            Check.equal((long) group.sent, total, "records in the log of " + group.topic);
            group.awaitReads(false);
        }
        end();
        for (Groups group : groups) {
            group.checkCommitted();
        }
    }

    /** One after the other, the static one last: while it is away, a rebalance of the others waits for it. */
    private void end() throws Exception {
        for (int count = groups.get(0).members.size(); count > 0; count--) {
            settle();
            for (Groups group : groups) {
                group.members.forEach(member -> Check.equal(0, member.lost, "partitions that a member of " + group.group + " has lost"));
                group.members.sort(Comparator.comparing(member -> member.instance != null));
                group.members.get(0).end();
            }
        }
    }
}
