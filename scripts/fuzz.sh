#!/usr/bin/env bash
# Run every fuzz target for FUZZTIME each (default 30s). Findings land in the package's testdata/fuzz, to be committed as regressions.
set -euo pipefail
cd "$(dirname "$0")/.."
time=${FUZZTIME:-30s}
git grep -lE '^func Fuzz[A-Z]' -- '*_test.go' | while read -r file; do
  grep -oE '^func Fuzz[A-Za-z0-9_]+' "$file" | awk '{print $2}' | while read -r target; do
    echo "== $(dirname "$file") $target for $time"
    go test "./$(dirname "$file")" -run '^$' -fuzz "^$target\$" -fuzztime "$time"
  done
done
