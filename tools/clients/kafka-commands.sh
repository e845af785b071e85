#!/usr/bin/env bash
# Apache Kafka's own commands against a broker of one node: kafka-commands.sh BROKER
# Each does its work, and its output is looked at. The broker's node id is read from the cluster.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
broker=$1
topic=commands-$$-$RANDOM
work=$(mktemp -d)
followers=()
finish() {
  [ ${#followers[@]} = 0 ] || { kill "${followers[@]}" 2>/dev/null || true; wait "${followers[@]}" 2>/dev/null || true; }
  rm -rf "$work"
}
trap finish EXIT

say() { echo "kafka-commands: $*" >&2; exit 1; }

try() { # CLASS ARGUMENT...: its output is in $work/said
  local class=$1; shift
  [[ $class == *.*.* ]] || class=org.apache.kafka.tools.$class
  "$here/../suites/kafka.sh" tool "$class" --bootstrap-server "$broker" "$@" >"$work/said" 2>"$work/complained"
}

run() { # CLASS ARGUMENT...
  try "$@" || say "$*: exit code $?: $(tail -n 5 "$work/said" "$work/complained")"
}

refused() { # PATTERN CLASS ARGUMENT...: it fails, and says why
  local pattern=$1; shift
  if try "$@"; then say "$*: it is not refused: $(cat "$work/said")"; fi
  grep -Eq -- "$pattern" "$work/said" "$work/complained" || say "$*: no '$pattern' in: $(cat "$work/said" "$work/complained")"
}

says() { # PATTERN...: each is in what the last command said
  local pattern
  for pattern in "$@"; do
    grep -Eq -- "$pattern" "$work/said" || say "no '$pattern' in: $(cat "$work/said" "$work/complained")"
  done
}

# Topics: made, described by pages, grown, listed.
run TopicCommand --create --topic "$topic" --partitions 3 --replication-factor 1 --config max.message.bytes=100000
run TopicCommand --describe --topic "$topic" --partition-size-limit-per-response 2
says "PartitionCount: 3" "max.message.bytes=100000" "Partition: 2.*Leader: [0-9]+.*Isr: [0-9]+"
node=$(sed -nE 's/.*Partition: 0.*Leader: ([0-9]+).*/\1/p' "$work/said")
run TopicCommand --alter --topic "$topic" --partitions 4
run TopicCommand --describe --topic "$topic"
says "PartitionCount: 4"
run TopicCommand --list
says "^$topic$"

# Records of an idempotent producer, their offsets, who wrote them, and their deletion.
"$here/../suites/kafka.sh" tool org.apache.kafka.tools.ProducerPerformance --topic "$topic" --num-records 400 --record-size 100 \
  --throughput -1 --producer-props "bootstrap.servers=$broker" enable.idempotence=true >"$work/said" 2>&1 ||
  say "ProducerPerformance: $(cat "$work/said")"
says "^400 records sent"
run GetOffsetShell --topic "$topic"
[ "$(awk -F: '{ sum += $3 } END { print sum }' "$work/said")" = 400 ] || say "other offsets: $(cat "$work/said")"
full=$(awk -F: '$3 > 0 { print $2; exit }' "$work/said")
run TransactionsCommand describe-producers --topic "$topic" --partition "$full"
says "^ProducerId" "^[0-9]+[[:space:]]+0[[:space:]]"
printf '{"version": 1, "partitions": [{"topic": "%s", "partition": %d, "offset": 1}]}' "$topic" "$full" >"$work/offsets.json"
run DeleteRecordsCommand --offset-json-file "$work/offsets.json"
says "partition: $topic-$full.*low_watermark: 1"
run GetOffsetShell --topic "$topic" --partitions "$full" --time earliest
says "^$topic:$full:1$"

# Leaders and replicas: all is where it shall be, and another broker is refused.
run LeaderElectionCommand --election-type preferred --topic "$topic" --partition 0
says "Valid replica already elected for partitions? $topic-0"
run LeaderElectionCommand --election-type preferred --all-topic-partitions
assign() { printf '{"version": 1, "partitions": [{"topic": "%s", "partition": 0, "replicas": [%s]}]}' "$topic" "$1" >"$work/assign.json"; }
assign "$node"
run reassign.ReassignPartitionsCommand --reassignment-json-file "$work/assign.json" --execute
says "Successfully started partition reassignment for $topic-0"
run reassign.ReassignPartitionsCommand --reassignment-json-file "$work/assign.json" --verify
says "Reassignment of partition $topic-0 is completed"
run reassign.ReassignPartitionsCommand --list
says "No partition reassignments found"
assign $((node + 1))
refused 'no such broker|[Uu]nknown broker' reassign.ReassignPartitionsCommand --reassignment-json-file "$work/assign.json" --execute

# Directories, quorum, features, versions.
run LogDirsCommand --describe --topic-list "$topic"
says "\"partition\":\"$topic-0\""
run MetadataQuorumCommand describe --status
says "^LeaderId: +$node$" "^HighWatermark: +[0-9]+$" "^CurrentVoters:.*\"id\": $node"
run MetadataQuorumCommand describe --replication
says "^$node[[:space:]].*Leader"
run FeatureCommand describe
says "Feature: group.version .*FinalizedVersionLevel: 1"
run BrokerApiVersionsCommand
says "DescribeTopicPartitions\(75\)"

# Configs of topics and brokers.
run kafka.admin.ConfigCommand --alter --entity-type topics --entity-name "$topic" --add-config retention.ms=123456789
run kafka.admin.ConfigCommand --describe --entity-type topics --entity-name "$topic"
says "retention.ms=123456789 .*DYNAMIC_TOPIC_CONFIG:retention.ms=123456789"
run kafka.admin.ConfigCommand --alter --entity-type topics --entity-name "$topic" --delete-config retention.ms
run kafka.admin.ConfigCommand --describe --entity-type topics
says "Dynamic configs for topic $topic are"
run kafka.admin.ConfigCommand --describe --entity-type brokers --entity-name "$node" --all
says "^  listeners=.*STATIC_BROKER_CONFIG:listeners"

# Groups of both protocols, with a member each at work, and then with none. These commands end with 0 whatever happens.
classic=$topic-classic consumer=$topic-consumer
groups() { run org.apache.kafka.tools.consumer.group.ConsumerGroupCommand "$@"; }
both() { groups "$@" --group "$classic" --group "$consumer"; }
sum() { awk -v group="$1" -v column="$2" '$1 == group { sum += $column } END { print sum + 0 }' "$work/said"; } # GROUP COLUMN
sums() { echo "$(sum "$classic" "$1") $(sum "$consumer" "$1")"; }                                          # COLUMN: of both
for protocol in classic consumer; do
  "$here/../suites/kafka.sh" tool org.apache.kafka.tools.consumer.ConsoleConsumer --bootstrap-server "$broker" --topic "$topic" \
    --group "$topic-$protocol" --from-beginning --command-property "group.protocol=$protocol" \
    --command-property auto.commit.interval.ms=100 >"$work/read-$protocol" 2>"$work/followed-$protocol" &
  followers+=($!)
done
for _ in $(seq 20); do # Until they have read and committed all.
  both --describe --offsets
  [ "$(sums 4) $(sums 6)" != "400 400 0 0" ] || break
done
[ "$(sums 4) $(sums 6)" = "400 400 0 0" ] || say "other offsets and lags of groups: $(cat "$work/said" "$work"/followed-*)"
for protocol in classic consumer; do
  [ "$(wc -l <"$work/read-$protocol")" = 399 ] || say "other records are read by the $protocol protocol: $(wc -l "$work"/read-*)"
done
both --describe --state
says "^$classic +$broker +\($node\) +range +Stable +1\b" "^$consumer +$broker +\($node\) +uniform +Stable +1\b"
both --describe --members --verbose
member='[^ ]+ +/[0-9.]+ +console-consumer +4'
says "^$classic +$member +- +$topic:0,1,2,3 +- +-" "^$consumer +$member +([0-9]+) +$topic:0,1,2,3 +\\1 +$topic:0,1,2,3"
both --delete
says "Group '$classic' could not be deleted.*GroupNotEmptyException" "Group '$consumer' could not be deleted.*GroupNotEmptyException"
groups --delete-offsets --group "$consumer" --topic "$topic"
says "^$topic +3 +Error: .*GroupSubscribedToTopicException"
kill "${followers[@]}"
wait "${followers[@]}" || true
followers=()
both --reset-offsets --topic "$topic" --to-earliest --execute
for group in "$classic" "$consumer"; do says "^$group +$topic +$full +1\b" "^$group +$topic +[0-3] +0\b"; done
both --describe --offsets
[ "$(sums 4) $(sums 6)" = "1 1 399 399" ] || say "other offsets and lags after the reset: $(cat "$work/said")"
groups --delete-offsets --group "$consumer" --topic "$topic:$full"
says "^$topic +$full +Successful"
groups --list --state
says "^$classic +Empty" "^$consumer +Empty"
groups --describe --offsets --group "$consumer"
[ "$(grep -c "^$consumer " "$work/said")" = 3 ] || say "not one offset is deleted: $(cat "$work/said")"
both --delete
says "Deletion of requested consumer groups .*'$classic'.* was successful" "'$consumer'"
groups --list
if grep -q "$topic" "$work/said"; then say "a group is there after its deletion: $(cat "$work/said")"; fi

# Configs of a group that has not come yet.
run kafka.admin.ConfigCommand --alter --entity-type groups --entity-name "$topic" --add-config consumer.session.timeout.ms=50000
run kafka.admin.ConfigCommand --describe --entity-type groups --entity-name "$topic"
says "consumer.session.timeout.ms=50000 .*DYNAMIC_GROUP_CONFIG:consumer.session.timeout.ms=50000, DEFAULT_CONFIG:group.consumer"
run kafka.admin.ConfigCommand --alter --entity-type groups --entity-name "$topic" --delete-config consumer.session.timeout.ms

# Quotas of users, of clients, of both, and of all the others.
quota() { run kafka.admin.ConfigCommand "$@"; }
quota --alter --entity-type clients --entity-name "$topic" --add-config producer_byte_rate=1048576,consumer_byte_rate=2097152
quota --describe --entity-type clients --entity-name "$topic"
says "client-id '$topic' are .*producer_byte_rate=1048576" "consumer_byte_rate=2097152"
quota --alter --entity-type users --entity-name "$topic" --entity-type clients --entity-default --add-config request_percentage=50
quota --describe --entity-type users --entity-name "$topic" --entity-type clients --entity-default
says "user-principal '$topic', the default client-id are .*request_percentage=50"
quota --alter --entity-type users --entity-name "$topic" --add-config producer_byte_rate=3145728
quota --describe --entity-type users
says "user-principal '$topic' are .*producer_byte_rate=3145728"
quota --alter --entity-type users --entity-name "$topic" --delete-config producer_byte_rate
refused 'InvalidRequest|greater than 0' kafka.admin.ConfigCommand --alter --entity-type clients --entity-name "$topic" --add-config producer_byte_rate=-5
quota --alter --entity-type clients --entity-name "$topic" --delete-config producer_byte_rate,consumer_byte_rate
quota --alter --entity-type users --entity-name "$topic" --entity-type clients --entity-default --delete-config request_percentage
quota --describe --entity-type clients
if grep -q "$topic" "$work/said"; then say "a quota is there after its deletion: $(cat "$work/said")"; fi

# Quotas of addresses. Nobody connects from this one.
quota --alter --entity-type ips --entity-name 192.0.2.7 --add-config connection_creation_rate=5
quota --alter --entity-type ips --entity-default --add-config connection_creation_rate=100000
quota --describe --entity-type ips
says "ip '192.0.2.7' are .*connection_creation_rate=5" "the default ip are .*connection_creation_rate=100000"
quota --describe --entity-type ips --entity-name 192.0.2.7
says "ip '192.0.2.7' are .*connection_creation_rate=5"
refused 'InvalidRequest|greater than 0' kafka.admin.ConfigCommand --alter --entity-type ips --entity-name 192.0.2.7 --add-config connection_creation_rate=-5
quota --alter --entity-type ips --entity-name 192.0.2.7 --delete-config connection_creation_rate
quota --alter --entity-type ips --entity-default --delete-config connection_creation_rate
quota --describe --entity-type ips
if grep -q connection_creation_rate "$work/said"; then say "a quota is there after its deletion: $(cat "$work/said")"; fi

run TopicCommand --delete --topic "$topic"
run TopicCommand --list
if grep -qx "$topic" "$work/said"; then say "the topic is there after its deletion"; fi
