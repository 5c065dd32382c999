# Sourced by the scripts of this folder: messages, paths and addresses they share.
# shellcheck shell=bash disable=SC2034

repo_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cache_dir="${XDG_CACHE_HOME:-$HOME/.cache}/slipway"
registry_addr="${SLIPWAY_REGISTRY_ADDR:-127.0.0.1:7430}"

# Every message names its script, so that a line in the output of `make demo` says where it came from.
say() { printf '%s: %s\n' "${script_name:-slipway}" "$*" >&2; }
die() {
	say "error: $*"
	exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# require_root WHAT: stops unless run as root; says why root is needed.
require_root() {
	[ "$(id -u)" -eq 0 ] || die "$1 needs root; run it as root (for example: sudo -E make setup)"
}
