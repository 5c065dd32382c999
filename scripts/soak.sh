#!/bin/bash
# Soaks the simulation: FROM and SEEDS say which seeds, PROCS how many processes. It may be stopped and started again: chunks that the ledger has
# for this commit are not done twice. The binary and temporary files are in memory.
set -euo pipefail
cd "$(dirname "$0")/.."
FROM=${FROM:-0} SEEDS=${SEEDS:-5000} PROCS=${PROCS:-$(nproc)} RUNS=${RUNS:-20} CHUNK=${CHUNK:-125}
LEDGER=$PWD/${LEDGER:-e2e/simulation/LEDGER.md}
# What the simulation does not link does not matter for it.
dirty=$(git status --porcelain -- coordinator agent pipeline internal proto e2e/simulation ':!e2e/simulation/LEDGER.md')
commit=${COMMIT:-$(git rev-parse --short=9 HEAD)${dirty:+-dirty}}
dir=$(mktemp -d -p "$([ -d /dev/shm ] && echo /dev/shm || echo "${TMPDIR:-/tmp}")" slipway-soak-XXXXXX)
trap 'rm -rf "$dir"' EXIT
go test -c -o "$dir/soak" ./e2e/simulation
pids=()
for ((i = 0; i < PROCS; i++)); do
  GOMAXPROCS=1 GOGC=400 TMPDIR=$dir "$dir/soak" -test.run '^TestSoak$' -test.timeout 0 -soak "$LEDGER" -commit "$commit" -seed "$FROM" -seeds "$SEEDS" -runs "$RUNS" -chunk "$CHUNK" \
    -part "$i" -parts "$PROCS" &
  pids+=($!)
done
trap 'kill "${pids[@]}" 2>/dev/null; rm -rf "$dir"' INT TERM
failed=0
for pid in "${pids[@]}"; do wait "$pid" || failed=1; done
exit $failed
