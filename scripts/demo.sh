#!/usr/bin/env bash
# `make demo` and `make demo-down`: the example application, from commit to test report, on this machine.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
slipway="$root/bin/slipway"
demo="${XDG_CACHE_HOME:-$HOME/.cache}/slipway/demo"
app="$demo/hello-world-api"
config="$demo/coordinator.yaml"

# The pipeline runs on a commit, so the example gets a repository of its own.
commit_example() {
  mkdir -p "$app"
  (cd "$root/examples/hello-world-api" && git ls-files -co --exclude-standard -z . | tar --null -T - -cf -) |
    (cd "$app" && find . -mindepth 1 -maxdepth 1 ! -name .git -exec rm -rf {} + && tar -xf -)
  cd "$app"
  [ -d .git ] || git init -q -b main
  git add -A
  git -c user.name=demo -c user.email=demo@localhost commit -qm "hello-world-api" 2>/dev/null || true
}

case "${1:-}" in
up)
  mkdir -p "$demo"
  sed "s/127.0.0.1:7430/${SLIPWAY_REGISTRY_ADDR:-127.0.0.1:7430}/" "$root/deploy/dev/coordinator.yaml" >"$config"
  "$slipway" dev --detach --config "$config"
  commit_example
  echo "demo: running $app/.github/workflows/ci.yml at commit $(git rev-parse --short HEAD)"
  "$slipway" run --id-file "$demo/run" .github/workflows/ci.yml
  echo
  run=$(cat "$demo/run") # its own: others may run, too
  "$slipway" runs show "$run"
  cat <<TXT

demo: done. Slipway keeps running; next:
  cd $app && $slipway run      # the same again; change a file first, the working tree is what runs
  $slipway runs ls             # what ran
  $slipway logs $run            # its logs
  $slipway artifacts ls $run    # what it made
  make demo-down               # stop it
TXT
  ;;
down)
  [ -x "$slipway" ] && "$slipway" dev --stop
  "$root/scripts/registry.sh" stop
  ;;
*)
  echo "usage: scripts/demo.sh up|down" >&2
  exit 2
  ;;
esac
