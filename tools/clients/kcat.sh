#!/usr/bin/env bash
# kcat (Debian's, on librdkafka 2.0.2) against a broker: kcat.sh BROKER
# Topics are created by the broker, so it must have auto.create.topics.enable=true. What kcat cannot do (many partitions,
# deletion) Kafka's own command does.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
broker=$1
run=$$-$RANDOM
work=$(mktemp -d)
trap 'touch "$work/stop"; wait; rm -rf "$work"' EXIT

say() { echo "kcat: $*" >&2; exit 1; }
equal() { [ "$2" = "$3" ] || say "$1: want '$2', got '$3'"; }
kcat_() { timeout 60 kcat -b "$broker" -X broker.address.family=v4 "$@"; }
produce() { kcat_ -P "$@"; }
# -e: ends at the end of the partition. -q: only records.
consume() { kcat_ -C -q -e -X fetch.wait.max.ms=50 "$@"; }
topics() { "$here/../suites/kafka.sh" tool org.apache.kafka.tools.TopicCommand --bootstrap-server "$broker" "$@"; }
topic() { # NAME: creates the topic and waits for it: the first answer of Apache Kafka has no leader.
  for _ in $(seq 100); do
    kcat_ -L -J -t "$1" | python3 -c '
import json, sys
topic = json.load(sys.stdin)["topics"][0]
sys.exit(not (topic["partitions"] and all(it["leader"] >= 0 and "error" not in it for it in topic["partitions"])))' && return
    sleep 0.1
  done
  say "no leader for topic $1 within 10 s"
}

# Keys, headers, a time; every codec. Each codec's records are read by one consumer.
topic "kcat-codecs-$run"
for codec in none gzip snappy lz4 zstd; do
  for at in $(seq 200); do printf 'key%d=%s value %d of a text that compresses, text that compresses\n' "$at" "$codec" "$at"; done >"$work/$codec"
  produce -t "kcat-codecs-$run" -p 0 -z "$codec" -K= -H "codec=$codec" -H same=1 -H same=2 -l "$work/$codec"
done
consume -t "kcat-codecs-$run" -p 0 -o beginning -f '%k=%s\n' >"$work/read"
cat "$work"/{none,gzip,snappy,lz4,zstd} | cmp - "$work/read" || say "what was read differs from what was produced"
equal headers "codec=gzip,same=1,same=2" "$(consume -t "kcat-codecs-$run" -p 0 -o 200 -c 1 -f '%h')"
equal offset "key7 206" "$(consume -t "kcat-codecs-$run" -p 0 -o 206 -c 1 -f '%k %o')"
equal tail "key200 999" "$(consume -t "kcat-codecs-$run" -p 0 -o -1 -c 1 -f '%k %o')"

# As a group: two members share the partitions, and read each record once; who comes later goes on where they ended.
# Who is alone reads everything, so what they read is written once both have been told of a half.
group_topic=kcat-group-$run
topics --create --topic "$group_topic" --partitions 4 --replication-factor 1
follow() { # NAME COUNT: reads so many records in the group, and commits them when it ends
  kcat_ -G "kcat-$run" -X auto.offset.reset=earliest -X session.timeout.ms=6000 -X heartbeat.interval.ms=300 \
    -c "$2" -u -f '%p %o %s\n' "$group_topic" >"$work/$1" 2>"$work/$1.told"
}
follow one 20 & one=$!
follow two 20 & two=$!
for _ in $(seq 150); do
  halves=0
  for name in one two; do # Of each, the last that it was told.
    if grep rebalanced "$work/$name.told" | tail -n 1 | grep -q 'assigned: [^,]*, [^,]*$'; then halves=$((halves + 1)); fi
  done
  [ "$halves" != 2 ] || break
  sleep 0.1
done
equal "members with half of the partitions" 2 "$halves"
for partition in 0 1 2 3; do seq -f "$partition-%g" 10 | produce -t "$group_topic" -p "$partition"; done
wait "$one" || say "the first of the group: $(cat "$work/one.told")"
wait "$two" || say "the second of the group: $(cat "$work/two.told")"
equal "records of two members" "$(for partition in 0 1 2 3; do seq -f "$partition $partition-%g" 10; done | sort)" \
  "$(cat "$work/one" "$work/two" | cut -d' ' -f1,3 | sort)"
equal "partitions of each" "2 2" "$(for name in one two; do cut -d' ' -f1 "$work/$name" | sort -u | wc -l; done | xargs)"
for partition in 0 1 2 3; do echo "$partition-11" | produce -t "$group_topic" -p "$partition"; done
follow three 4 || say "the third of the group: $(cat "$work/three.told")"
equal "what the third goes on with" "0 10 0-11,1 10 1-11,2 10 2-11,3 10 3-11," "$(sort "$work/three" | tr '\n' ',')"

# Null and empty: -Z makes an empty key or value null.
topic "kcat-null-$run"
printf ':\n' | produce -t "kcat-null-$run" -p 0 -K: -Z
printf 'k:\n' | produce -t "kcat-null-$run" -p 0 -K: -Z
printf 'k:\n' | produce -t "kcat-null-$run" -p 0 -K:
printf ':v\n' | produce -t "kcat-null-$run" -p 0 -K:
equal "lengths of null (-1) and empty (0)" "-1,-1 1,-1 1,0 0,1 " "$(consume -t "kcat-null-$run" -p 0 -o beginning -f '%K,%S ')"

# By time: each record in its own millisecond and batch.
topic "kcat-time-$run"
for at in 1 2 3 4; do echo "t$at" | produce -t "kcat-time-$run" -p 0; sleep 0.01; done
third=$(consume -t "kcat-time-$run" -p 0 -o 2 -c 1 -f '%T')
equal "from the third's time" "t3 t4 " "$(consume -t "kcat-time-$run" -p 0 -o "s@$third" -f '%s ')"
equal "up to the third's time" "t1 t2 " "$(consume -t "kcat-time-$run" -p 0 -o s@0 -o "e@$third" -f '%s ')"
equal "query of the third's time" "kcat-time-$run [0] offset 2" "$(kcat_ -Q -t "kcat-time-$run:0:$third")"
equal "query of the end" "kcat-time-$run [0] offset 4" "$(kcat_ -Q -t "kcat-time-$run:0:-1")"

# Sizes from 1 B to what max.message.bytes (1,048,588) leaves beside the batch's own 70 bytes or so; one over it is refused.
topic "kcat-sizes-$run"
for size in 1 2 100 4096 65536 900000 1048500; do
  head -c "$size" /dev/urandom >"$work/record"
  produce -t "kcat-sizes-$run" -p 0 -X message.max.bytes=2000000 "$work/record"
  consume -t "kcat-sizes-$run" -p 0 -o -1 -c 1 -D '' | cmp - "$work/record" || say "the record of $size bytes differs"
done
head -c 1100000 /dev/urandom >"$work/record"
if produce -t "kcat-sizes-$run" -p 0 -X message.max.bytes=2000000 "$work/record" 2>"$work/refused"; then say "a record over max.message.bytes was taken"; fi
grep -q 'Message size too large' "$work/refused" || say "another refusal: $(cat "$work/refused")"
equal "records of all sizes" 7 "$(consume -t "kcat-sizes-$run" -p 0 -o beginning -f '%o\n' | wc -l)"

# Idempotent, and acknowledgements 0, 1, all.
topic "kcat-acks-$run"
for at in 0 1 all; do echo "acks $at" | produce -t "kcat-acks-$run" -p 0 -X "acks=$at"; done
echo idempotent | produce -t "kcat-acks-$run" -p 0 -X enable.idempotence=true
equal acks 'acks 0,acks 1,acks all,idempotent,' "$(consume -t "kcat-acks-$run" -p 0 -o beginning -f '%s,')"

# The listing.
kcat_ -L >"$work/listing"
grep -q '^ 1 brokers:' "$work/listing" || say "no broker in the listing"
grep -q "topic \"kcat-codecs-$run\" with" "$work/listing" || say "no topic in the listing"

# A hundred partitions.
topics --create --topic "kcat-hundred-$run" --partitions 100 --replication-factor 1
for at in $(seq 0 99); do echo "partition $at" | produce -t "kcat-hundred-$run" -p "$at" & [ $((at % 10)) = 9 ] && wait; done
wait
equal "records in a hundred partitions" 100 "$(consume -t "kcat-hundred-$run" -f '%p %s\n' | awk '$1 == $3' | sort -u | wc -l)"

# A topic is deleted and created again while kcat writes to it: its neighbour loses nothing, and it begins anew.
lines() { local at=0; until [ -e "$work/stop" ]; do echo "$at"; at=$((at + 1)); sleep 0.002; done; }
end_of() { kcat_ -Q -t "$1:0:-1" 2>/dev/null | sed 's/.* offset //'; }
churn() { # Errors are this topic's lot.
  until [ -e "$work/stop" ]; do lines | kcat_ -P -t "kcat-churned-$run" -p 0 -X message.timeout.ms=2000 2>/dev/null || true; done
}
topic "kcat-churned-$run"
topic "kcat-steady-$run"
churn & churning=$!
lines | tee "$work/steady" | produce -t "kcat-steady-$run" -p 0 & steady=$!
for turn in 1 2 3; do
  for _ in $(seq 100); do [ "$(end_of "kcat-churned-$run")" -gt 0 ] 2>/dev/null && break; sleep 0.1; done
  [ "$(end_of "kcat-churned-$run")" -gt 0 ] || say "no record reaches the topic in turn $turn"
  topics --delete --topic "kcat-churned-$run"
  topics --create --topic "kcat-churned-$run" --partitions 1 --replication-factor 1 --if-not-exists # kcat may have been first.
done
touch "$work/stop"
wait "$steady" || say "a record of the neighbour was not taken"
wait "$churning"
consume -t "kcat-steady-$run" -p 0 -o beginning | cmp - "$work/steady" || say "the neighbour's records differ"
topics --delete --topic "kcat-churned-$run"
topic "kcat-churned-$run"
equal "the end of a topic created again" 0 "$(end_of "kcat-churned-$run")"
echo new | produce -t "kcat-churned-$run" -p 0
equal "what it holds" "new 0," "$(consume -t "kcat-churned-$run" -p 0 -o beginning -f '%s %o,')"
