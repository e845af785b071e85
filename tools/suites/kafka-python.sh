#!/usr/bin/env bash
# kafka-python's own integration tests (3.0.12, a client independent of librdkafka and Java) against any broker.
#   kafka-python.sh run BROKER OUT [pytest arguments]    writes OUT/report.*.xml; the last lines say passed, failed, skipped
#   kafka-python.sh judge OUT                            compare with kafka-python.txt: fails for any other failure, and for
#                                                        a test that passes although it is listed there
# What is not listed and fails is run again, three times at most: its consumer loses a subscription that comes while it applies
# the first metadata (cluster.py: the update that is asked for then is taken for the one just made, and the next is 5 minutes
# away). Its log shows it; the faster a broker answers, the more often: here one of 8 tests that subscribe.
# Its source package lacks two small files of its test folder; stand-ins for them are made here.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${SUITES_CACHE:-$HOME/.cache/odradek-suites}/kafka-python
version=3.0.12

install() {
  [ -f "$cache/.complete" ] && return
  mkdir -p "$cache" && cd "$cache"
  python3 -m venv venv
  venv/bin/pip install -q "kafka-python==$version" py pytest pytest-mock pytest-timeout lz4 zstandard python-snappy crc32c >&2
  venv/bin/pip download -q --no-deps --no-binary :all: "kafka-python==$version" >&2
  tar xzf kafka_python-$version.tar.gz
  touch kafka_python-$version/test/__init__.py
  cat >kafka_python-$version/test/service.py <<'P'
class ExternalService:
    """A broker that somebody else started: nothing to open or close."""

    def __init__(self, host, port):
        self.host, self.port = host, port

    def open(self): ...
    def close(self): ...
    def dump_logs(self): ...
    def wait_for(self, pattern, timeout=30): ...


class SpawnedService: ...
P
  touch .complete
}

run() { # BROKER OUT PYTEST-ARGUMENT...
  local broker=$1 out; mkdir -p "$2"; out=$(cd "$2" && pwd); shift 2
  (install)
  cd "$cache/kafka_python-$version"
  mkdir -p kroot
  rm -f "$out"/report*.xml
  tests "$broker" "$out/report.1.xml" test/integration/test_{admin,consumer,producer}_integration.py "$@" || true # judge says.
  local again
  for try in 2 3 4; do
    mapfile -t again < <(reports unexpected "$out")
    [ ${#again[@]} -eq 0 ] || tests "$broker" "$out/report.$try.xml" "${again[@]}" || true
  done
}

tests() { # BROKER REPORT PYTEST-ARGUMENT...
  local broker=$1 report=$2; shift 2
  KAFKA_ROOT=$PWD/kroot KAFKA_VERSION=4.3 KAFKA_URI=tcp://$broker "$cache/venv/bin/python" -m pytest -q --timeout 120 --timeout-method signal \
    --junitxml "$report" "$@"
}

reports() { # judge|unexpected OUT: what the reports say, or the tests that failed in all of them and are not listed
  python3 - "$1" "$2" "$here/kafka-python.txt" <<'P'
import glob
import sys
import xml.etree.ElementTree as xml

_, what, out, listed = sys.argv

known = {}
for line in open(listed):
    if line.strip() and not line.startswith('#'):
        name, how, why = line.rstrip('\n').split('\t')
        known[name] = (how, why)
results, nodes = {}, {}
for report in sorted(glob.glob(f'{out}/report.*.xml')):
    once = {}
    for case in xml.parse(report).iter('testcase'):
        name, bad = case.get('name'), any(child.tag in ('failure', 'error') for child in case)
        once[name] = once.get(name, True) and not bad
        nodes[name] = f'{case.get("classname").replace(".", "/")}.py::{name}'
    for name, ok in once.items():
        results[name] = results.get(name, False) or ok
if what == 'unexpected':
    print(*(nodes[name] for name, ok in results.items() if not ok and name not in known), sep='\n', end='')
    sys.exit()
wrong = [f'{name}: fails' for name, ok in results.items() if not ok and name not in known]
wrong += [f'{name}: passes, and is listed as failing: take it off the list'
          for name, (how, _) in known.items() if how == 'fails' and results.get(name)]
wrong += [f'{name}: listed, but there is no such test' for name in known if name not in results]
failed = sum(not ok for ok in results.values())
print(f'{len(results)} tests, {failed} fail, {len(wrong)} not as expected')
print('\n'.join(wrong))
sys.exit(bool(wrong) or not results)
P
}

case ${1:-} in
  run) shift; run "$@" ;;
  judge) reports judge "$2" ;;
  *) sed -n '2,8p' "${BASH_SOURCE[0]}" | cut -c3-; exit 2 ;;
esac
