#!/usr/bin/env bash
# All tests, fast ones first: a broken table fails in seconds, before a container starts. What failed is said again at the end.
# RACE=-race adds the race detector.
set -euo pipefail
cd "$(dirname "$0")/.."
export SLIPWAY_BIN="$PWD/bin/slipway"
export SLIPWAY_TEST_REGISTRY="${SLIPWAY_REGISTRY_ADDR:-127.0.0.1:7430}"
# What the tests need is there by now: to be without it is a failure, not a skip.
export SLIPWAY_TEST_ALL=1
race=${RACE:-}

slow='/(e2e|agent/sandbox)(/|$)'
# Only packages with tests; those without are compiled by `make check`.
tested='{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}{{end}}'
mapfile -t fast < <(go list -f "$tested" ./... | grep -vE "$slow|/proto/gen")
mapfile -t real < <(go list -f "$tested" ./... | grep -E "$slow")

# run NAME FLAG… PACKAGE…: the tests' own output of what failed, and at the end all failures together.
run() {
  local name=$1; shift
  go tool -modfile=tools/go.mod gotestsum --format pkgname --format-icons text --jsonfile "bin/test-$name.json" -- $race "$@"
}

echo "== unit and integration: ${#fast[@]} packages"
run unit "${fast[@]}"
echo "== real containers and whole systems: ${#real[@]} packages"
# Two packages at a time: each starts a containerd of its own, and waits for it as often as it works.
run real -p 2 -timeout 30m "${real[@]}"
