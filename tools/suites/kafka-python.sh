#!/usr/bin/env bash
# kafka-python's own integration tests (3.0.12, a client independent of librdkafka and Java) against any broker.
#   kafka-python.sh run BROKER OUT [pytest arguments]    writes OUT/report.xml; the last lines say passed, failed, skipped
#   kafka-python.sh judge OUT                            compare with kafka-python.txt: fails for any other failure, and for
#                                                        a test that passes although it is listed there
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
  KAFKA_ROOT=$PWD/kroot KAFKA_VERSION=4.3 KAFKA_URI=tcp://$broker "$cache/venv/bin/python" -m pytest -q --timeout 120 --timeout-method signal \
    --junitxml "$out/report.xml" test/integration/test_{admin,consumer,producer}_integration.py "$@"
}

judge() { # OUT
  python3 - "$1/report.xml" "$here/kafka-python.txt" <<'P'
import sys
import xml.etree.ElementTree as xml

known = {}
for line in open(sys.argv[2]):
    if line.strip() and not line.startswith('#'):
        name, how, why = line.rstrip('\n').split('\t')
        known[name] = (how, why)
results = {}
for case in xml.parse(sys.argv[1]).iter('testcase'):
    bad = any(child.tag in ('failure', 'error') for child in case)
    results[case.get('name')] = results.get(case.get('name'), True) and not bad
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
  judge) judge "$2" ;;
  *) sed -n '2,5p' "${BASH_SOURCE[0]}" | cut -c3-; exit 2 ;;
esac
