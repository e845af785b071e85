#!/usr/bin/env bash
# rsyslog and collectd (Debian's, on librdkafka 2.0.2) send to a broker what they collect: daemons.sh BROKER
# Each runs with a configuration of its own in a folder that is removed. kcat reads what came, so the broker must have
# auto.create.topics.enable=true.
set -euo pipefail
broker=$1
run=$$-$RANDOM
work=$(mktemp -d)
pids=()
finish() {
  [ ${#pids[@]} = 0 ] || { kill "${pids[@]}" 2>/dev/null || true; wait "${pids[@]}" 2>/dev/null || true; }
  rm -rf "$work"
}
trap finish EXIT

say() { echo "daemons: $*" >&2; tail -n 5 "$work"/*.log >&2; exit 1; }
create() { timeout 60 kcat -b "$broker" -L -t "$1" >/dev/null; } # A broker that may makes what is asked for.
# Until so many records came, or a minute has passed.
consume() { timeout 60 kcat -b "$broker" -C -q -u -o beginning -c "$1" -t "$2"; }

# Lines that come in by TCP go out idempotently and compressed, and what could not be sent is sent again.
lines=5000
port=$("$(dirname "${BASH_SOURCE[0]}")/../free-port")
create "syslog-$run"
cat >"$work/rsyslog.conf" <<END
global(workDirectory="$work")
module(load="imptcp")
module(load="omkafka")
template(name="line" type="string" string="%msg%")
ruleset(name="out") {
  action(type="omkafka" broker=["$broker"] topic="syslog-$run" partitions.auto="on" template="line" resubmitOnFailure="on"
    confParam=["enable.idempotence=true", "compression.codec=lz4", "broker.address.family=v4"])
}
input(type="imptcp" address="127.0.0.1" port="$port" ruleset="out")
END
rsyslogd -n -f "$work/rsyslog.conf" -i "$work/rsyslog.pid" >"$work/rsyslog.log" 2>&1 &
pids+=($!)
python3 - "$port" "$lines" <<'END' || say "rsyslog does not listen"
import socket, sys, time
port, lines = map(int, sys.argv[1:])
for _ in range(300):
    try:
        daemon = socket.create_connection(("127.0.0.1", port))
        break
    except ConnectionRefusedError:
        time.sleep(0.1)
else:
    sys.exit(1)
for at in range(lines):
    daemon.sendall(b"<13>Jan  1 00:00:00 host test: line %d\n" % at)
daemon.close()
END
consume "$lines" "syslog-$run" | sed 's/^ *//' | sort >"$work/read" || say "fewer than $lines lines came from rsyslog"
for at in $(seq 0 $((lines - 1))); do echo "line $at"; done | sort | cmp - "$work/read" || say "what came from rsyslog differs"

# Values of this machine, as JSON with a key.
create "collectd-$run"
cat >"$work/collectd.conf" <<END
Hostname "odradek"
FQDNLookup false
Interval 1
BaseDir "$work"
PIDFile "$work/collectd.pid"
TypesDB "/usr/share/collectd/types.db"
LoadPlugin load
LoadPlugin memory
LoadPlugin write_kafka
<Plugin write_kafka>
  Property "metadata.broker.list" "$broker"
  Property "broker.address.family" "v4"
  <Topic "collectd-$run">
    Format JSON
  </Topic>
</Plugin>
END
collectd -f -C "$work/collectd.conf" >"$work/collectd.log" 2>&1 &
pids+=($!)
consume 20 "collectd-$run" >"$work/values" || say "collectd sent fewer than 20 values"
python3 - "$work/values" <<'END' || say "what collectd sent is not what it collects"
import json, sys
values = [value for line in open(sys.argv[1]) for value in json.loads(line)]
assert {"load", "memory"} == {it["plugin"] for it in values}, values
assert {"odradek"} == {it["host"] for it in values}, values
assert all(it["values"] and it["dstypes"] for it in values), values
END
