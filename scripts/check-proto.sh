#!/usr/bin/env bash
# Lint the protocols, hold them against the last tag or origin for breaking changes, and check that proto/gen is what they generate.
set -euo pipefail
cd "$(dirname "$0")/.."
buf() { go tool -modfile=tools/go.mod buf "$@"; }

buf lint

base=$(git describe --tags --abbrev=0 2>/dev/null || git rev-list --max-parents=0 HEAD | tail -n 1)
if git cat-file -e "$base:buf.yaml" 2>/dev/null && [ -n "$(git describe --tags --abbrev=0 2>/dev/null)" ]; then
  buf breaking --against ".git#ref=$base"
else
  echo "protocols: no release is tagged yet, so nothing to break"
fi

kept=$(mktemp -d)
trap 'rm -rf "$kept"' EXIT
cp -r proto/gen "$kept/gen"
buf generate
if ! diff -r "$kept/gen" proto/gen >/dev/null; then
  echo "proto/gen is not what the protocols generate: run 'make generate' and commit the result" >&2
  exit 1
fi
echo "protocols: linted, generated code is current"
