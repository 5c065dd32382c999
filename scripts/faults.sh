#!/usr/bin/env bash
# Faults at length. KILLS is a range of seeds, three kill -9 each, against a whole Slipway; a row of the range goes into the ledger.
# Then CRASHES kills of a coordinator under load, from seed CRASH_SEED on, with a row in a ledger of its own; then simulated fleets. A range that was interrupted is taken up again by its seeds: each is on its own.
set -euo pipefail
cd "$(dirname "$0")/.."
export SLIPWAY_BIN="$PWD/bin/slipway"
export SLIPWAY_TEST_REGISTRY="${SLIPWAY_REGISTRY_ADDR:-127.0.0.1:7430}"
go test -count=1 -timeout 12h -v ./e2e/faults -args -seeds "${KILLS:-1:100}" -ledger "$PWD/e2e/faults/LEDGER.md"
go test -count=1 -timeout 2h -v ./e2e/crash -args -kills "${CRASHES:-200}" -seed "${CRASH_SEED:-1}" -ledger "$PWD/e2e/crash/LEDGER.md" -commit "$(git rev-parse --short HEAD)"
go test -count=1 -timeout 30m ./e2e/simulation -seeds 200 -replays 50
