#!/usr/bin/env bash
# All tests, fast ones first: a broken table fails in seconds, before a container starts. RACE=-race adds the race detector.
set -euo pipefail
cd "$(dirname "$0")/.."
export SLIPWAY_BIN="$PWD/bin/slipway"
export SLIPWAY_TEST_REGISTRY="${SLIPWAY_REGISTRY_ADDR:-127.0.0.1:7430}"
race=${RACE:-}

slow='/(e2e|agent/sandbox)(/|$)'
mapfile -t fast < <(go list ./... | grep -vE "$slow|/proto/gen")
mapfile -t real < <(go list ./... | grep -E "$slow")

echo "== unit and integration: ${#fast[@]} packages"
go test $race "${fast[@]}"
echo "== real containers and whole systems: ${#real[@]} packages"
# One package at a time: each starts a containerd of its own, and they share two cores.
go test $race -p 1 -timeout 30m "${real[@]}"
