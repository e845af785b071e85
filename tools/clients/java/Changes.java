import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.regex.Pattern;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.consumer.SubscriptionPattern;
import org.apache.kafka.common.GroupType;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.FencedInstanceIdException;
import org.apache.kafka.common.errors.UnreleasedInstanceIdException;

/**
 * Groups of Java's consumer that change while they are at work: their protocol, their assignor, what they subscribe to, and who
 * they are. Each ends with every partition owned once, every record read, and all of them committed.
 */
final class Changes {
    static final String CONSUMER = Groups.CONSUMER;

    public static void main(String[] arguments) throws Exception {
        try (Admin admin = Check.admin(arguments[0])) {
            var scenes = new ArrayList<Check.Scene>();
            for (String assignor : List.of("Range", "CooperativeSticky", CONSUMER)) {
                scenes.add(() -> new Changes(arguments[0], admin, assignor, "pattern").pattern());
                scenes.add(() -> new Changes(arguments[0], admin, assignor, "topics").topics());
                scenes.add(() -> new Changes(arguments[0], admin, assignor, "death").death());
            }
            for (String assignor : List.of("Range", "CooperativeSticky")) {
                scenes.add(() -> new Changes(arguments[0], admin, assignor, "migration").migration());
            }
            scenes.add(() -> new Changes(arguments[0], admin, "Range", "cooperation").cooperation());
            scenes.add(() -> new Changes(arguments[0], admin, CONSUMER, "range").serverRange());
            scenes.add(() -> new Changes(arguments[0], admin, "Range", "twins").olderTwinIsFenced());
            scenes.add(() -> new Changes(arguments[0], admin, CONSUMER, "twins").newerTwinIsRefused());
            Check.together(scenes);
        }
    }

    final Admin admin;
    final String assignor;
    final Groups group;
    /** Another topic, which is not there yet, of two partitions. */
    final String other;

    Changes(String broker, Admin admin, String assignor, String what) throws Exception {
        this.admin = admin;
        this.assignor = assignor;
        this.group = new Groups(broker, admin, assignor, what);
        this.other = group.topic + "-other";
    }

    boolean isConsumer() {
        return assignor.equals(CONSUMER);
    }

    void createOther() throws Exception {
        Records.create(admin, other, 2, Map.of());
    }

    void finish() throws Exception {
        group.awaitReads(false);
        group.endAll();
        group.checkCommitted();
    }

    void checkKind(GroupType type, String assignor) throws Exception {
        var description = group.describe();
        Check.equal(type, description.type(), "the type of " + group.group);
        Check.equal(assignor, description.partitionAssignor(), "the assignor of " + group.group);
        Check.equal(group.members.size(), description.members().size(), "the members of " + group.group);
    }

    /** One member after the other is replaced by one of the other protocol, and back; both are in the group meanwhile. */
    void migration() throws Exception {
        String name = assignor.equals("Range") ? "range" : "cooperative-sticky";
        Groups.Member first = group.new Member(null);
        Groups.Member second = group.new Member(null);
        group.await(3, 3);
        checkKind(GroupType.CLASSIC, name);
        group.send(120);
        Groups.Member third = group.new Member(null, CONSUMER);
        group.await(2, 2, 2);
        checkKind(GroupType.CONSUMER, "uniform");
        group.send(120);
        first.end();
        group.await(3, 3);
        Groups.Member fourth = group.new Member(null, CONSUMER);
        group.await(2, 2, 2);
        second.end();
        group.await(3, 3);
        group.send(120);
        group.awaitReads(false);
        group.new Member(null);
        group.await(2, 2, 2);
        third.end();
        group.await(3, 3);
        checkKind(GroupType.CONSUMER, "uniform");
        group.send(120);
        group.new Member(null);
        group.await(2, 2, 2);
        fourth.end();
        group.await(3, 3);
        checkKind(GroupType.CLASSIC, name);
        group.send(120);
        group.members.forEach(member -> Check.equal(0, member.lost, "partitions that a member has lost"));
        finish();
    }

    /** A topic that matches comes while they run. */
    void pattern() throws Exception {
        for (int count = 0; count < 2; count++) {
            group.new Member(null, this::subscribeToPattern, null, assignor);
        }
        group.await(3, 3);
        group.send(120);
        createOther();
        group.send(other, 2, 60);
        group.await(4, 4);
        finish();
    }

    private void subscribeToPattern(Groups.Member member) {
        String both = Pattern.quote(group.topic) + "(-other)?";
        if (isConsumer()) {
            // RE2 knows no quotes of Java's; names of topics here have no other sign than "-".
            member.consumer.subscribe(new SubscriptionPattern(group.topic + "(-other)?"), member);
        } else {
            member.consumer.subscribe(Pattern.compile(both), member);
        }
    }

    /** A member wants another topic too, then nothing else; then that topic is deleted. */
    void topics() throws Exception {
        Groups.Member first = group.new Member(null);
        Groups.Member second = group.new Member(null);
        group.await(3, 3);
        group.send(120);
        createOther();
        first.subscription.set(it -> it.consumer.subscribe(List.of(other), it));
        group.await(2, 6);
        Check.equal(partitions(other, 0, 1), first.assigned, "the other topic's partitions");
        group.send(120);
        group.awaitReads(false);
        first.subscription.set(it -> it.consumer.subscribe(List.of(group.topic, other), it));
        second.subscription.set(it -> it.consumer.subscribe(List.of(group.topic, other), it));
        group.await(4, 4);
        group.leaving.add(other);
        Check.get(admin.deleteTopics(List.of(other)).all());
        group.await(3, 3);
        group.send(120);
        Check.equal(0, first.lost + second.lost, "partitions that are lost");
        finish();
    }

    /** A member's process is killed: what it had is nobody's until its session is over. */
    void death() throws Exception {
        if (isConsumer()) {
            sessionMs(6_000);
        }
        Groups.Member first = group.new Member(null);
        group.await(6);
        Process second = process();
        try {
            group.await(3);
        } finally {
            second.destroyForcibly().waitFor();
        }
        Check.equal(2, group.describe().members().size(), "members, one of which is dead");
        group.send(120);
        group.await(6);
        Check.equal(1, group.describe().members().size(), "members without the dead one");
        group.awaitReads(true);
        Check.equal(0, first.lost, "partitions that are lost");
        finish();
    }

    /** Kafka's own consumer, as a member of the group. */
    private Process process() throws Exception {
        var command = new ArrayList<>(List.of("java", "-Xmx64m", "-cp", System.getProperty("java.class.path")));
        command.addAll(List.of("org.apache.kafka.tools.consumer.ConsoleConsumer", "--bootstrap-server", group.broker));
        command.addAll(List.of("--topic", group.topic, "--group", group.group));
        var settings = Groups.settings(assignor);
        for (int at = 0; at < settings.size(); at += 2) {
            command.addAll(List.of("--command-property", settings.get(at) + "=" + settings.get(at + 1)));
        }
        return new ProcessBuilder(command).inheritIO().start();
    }

    private void sessionMs(int ms) throws Exception {
        var resource = new ConfigResource(ConfigResource.Type.GROUP, group.group);
        var entry = new ConfigEntry("consumer.session.timeout.ms", Integer.toString(ms));
        Check.get(admin.incrementalAlterConfigs(Map.of(resource, List.of(new AlterConfigOp(entry, AlterConfigOp.OpType.SET)))).all());
    }

    /** From eager to cooperative by two rounds of restarts, as Kafka's manual has it. */
    void cooperation() throws Exception {
        Groups.Member first = group.new Member(null);
        Groups.Member second = group.new Member(null);
        group.await(3, 3);
        group.send(60);
        for (String assignors : List.of("CooperativeSticky,Range", "CooperativeSticky")) {
            for (Groups.Member member : List.of(first, second)) {
                member.end();
                group.await(6);
                Groups.Member next = group.new Member(null, assignors);
                group.await(3, 3);
                if (member == first) {
                    first = next;
                } else {
                    second = next;
                }
                group.send(60);
                group.awaitReads(false);
            }
        }
        checkKind(GroupType.CLASSIC, "cooperative-sticky");
        int before = first.revoked + second.revoked;
        group.new Member(null, "CooperativeSticky");
        group.await(2, 2, 2);
        Check.equal(2, first.revoked + second.revoked - before, "partitions that move to the third");
        finish();
    }

    /** The broker's other assignor gives each a range of each topic. */
    void serverRange() throws Exception {
        createOther();
        for (int count = 0; count < 2; count++) {
            var both = List.of(group.topic, other);
            group.new Member(null, it -> it.consumer.subscribe(both, it), null, CONSUMER, "group.remote.assignor", "range");
        }
        group.await(4, 4);
        checkKind(GroupType.CONSUMER, "range");
        var halves = Set.of(half(0), half(1));
        Check.equal(halves, Set.copyOf(group.members.stream().map(it -> it.assigned).toList()), "ranges");
        group.send(120);
        group.send(other, 2, 60);
        finish();
    }

    private Set<TopicPartition> half(int at) {
        var half = new HashSet<>(partitions(group.topic, 3 * at, 3 * at + 1, 3 * at + 2));
        half.addAll(partitions(other, at));
        return half;
    }

    private static Set<TopicPartition> partitions(String topic, Integer... indexes) {
        return Set.copyOf(new TreeSet<>(List.of(indexes)).stream().map(it -> new TopicPartition(topic, it)).toList());
    }

    /** Of two with one lasting name, the older ends: the newer has its place. */
    void olderTwinIsFenced() throws Exception {
        Groups.Member older = group.new Member("one", this::subscribe, FencedInstanceIdException.class, assignor);
        group.await(6);
        group.send(60);
        group.awaitReads(true);
        group.awaitCommits(); // Who learns from a commit that it is fenced thinks that it still has its partitions.
        older.isTwin = true;
        group.new Member("one");
        older.awaitEnd();
        group.await(6);
        Check.equal(6, older.lost, "partitions that the fenced one has lost");
        group.send(60);
        finish();
    }

    /** Of two with one lasting name, the newer is refused: the place is taken. */
    void newerTwinIsRefused() throws Exception {
        Groups.Member older = group.new Member("one");
        group.await(6);
        group.send(60);
        Groups.Member newer = group.new Member("one", this::subscribe, UnreleasedInstanceIdException.class, assignor);
        newer.awaitEnd();
        group.await(6);
        Check.equal(0, newer.rebalances + older.revoked + older.lost, "what the twins have been told");
        group.send(60);
        finish();
    }

    private void subscribe(Groups.Member member) {
        member.consumer.subscribe(List.of(group.topic), member);
    }
}
