#!/usr/bin/env bash
# Installs what the demo and the tests need from the distribution's packages (Debian, Ubuntu). Does nothing,
# and needs no root, when all of it is there. No service is started or enabled: Slipway runs its own.
set -euo pipefail
script_name=setup
# shellcheck source=scripts/lib/common.sh
. "$(dirname "$0")/lib/common.sh"

# What is needed: a file or a command that shows that it is there, and the package that brings it.
needs=(
	containerd containerd
	ctr containerd
	runc runc
	crun crun
	iptables iptables
	mmdebstrap mmdebstrap
	docker-registry docker-registry
	jq jq
	curl curl
	git git
	xz xz-utils
	zstd zstd
	npm npm
	chromium chromium
	fc-list fontconfig
	/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf fonts-dejavu-core
	/etc/ssl/certs/ca-certificates.crt ca-certificates
)
# Packages whose installation would enable a system service that we don't want to be the cause of.
services=(containerd docker-registry)

# present FILE-OR-COMMAND. The administrator's folders count even where a user's PATH lacks them.
present() {
	case "$1" in
	/*) [ -e "$1" ] ;;
	*) PATH="$PATH:/usr/sbin:/sbin" command -v "$1" >/dev/null 2>&1 ;;
	esac
}

missing_packages() {
	local i
	for ((i = 0; i < ${#needs[@]}; i += 2)); do
		present "${needs[$i]}" || echo "${needs[$i + 1]}"
	done | sort -u
}

check_go() {
	local want have
	have go || die "Go is not installed; Slipway needs the version that go.mod names, or any from 1.21 on that may fetch it"
	want=$(sed -n 's/^go //p' "$repo_root/go.mod")
	have=$(cd "$repo_root" && go env GOVERSION) || die "go does not run; see above"
	[ "$(printf '%s\n%s\n' "$want" "${have#go}" | sort -V | head -n 1)" = "$want" ] ||
		die "Go $want or newer is needed, and go env GOVERSION says $have"
}

# installable PACKAGE...: whether apt's lists know all of them.
installable() {
	local package
	for package; do
		[[ "$(LC_ALL=C apt-cache policy "$package")" == *'Candidate: '[!\(]* ]] || return 1
	done
}

# hold_services makes package installation start nothing, unless the host has a policy of its own (policy-rc.d
# is Debian's interface for this: invoke-rc.d(8)).
hold_services() {
	policy=/usr/sbin/policy-rc.d
	[ ! -e "$policy" ] || return 0
	printf '#!/bin/sh\nexit 101\n' >"$policy"
	chmod 755 "$policy"
	trap 'rm -f "$policy"' EXIT
}

install_packages() {
	local service fresh=()
	for service in "${services[@]}"; do
		[ -e "/lib/systemd/system/$service.service" ] || fresh+=("$service.service")
	done
	hold_services
	if ! installable "$@" || ! apt_install "$@"; then
		say "refreshing the package lists"
		apt-get -qq update || die "apt-get update failed; see above (is the network reachable?)"
		installable "$@" || die "the package sources don't offer all of: $* (on Ubuntu, enable universe)"
		apt_install "$@" || die "apt-get could not install: $*; see above"
	fi
	if have systemctl; then
		for service in "${fresh[@]}"; do
			systemctl --quiet disable "$service" 2>/dev/null || true # not every version has the unit
		done
	fi
}

# apt_install PACKAGE...: what apt says goes to the log, and is shown if it fails.
apt_install() {
	mkdir -p "$cache_dir"
	DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends --no-remove \
		-o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=120 install "$@" \
		>"$cache_dir/setup.log" 2>&1 </dev/null || { tail -n 20 "$cache_dir/setup.log" >&2; return 1; }
}

mapfile -t missing < <(missing_packages)
if [ ${#missing[@]} -gt 0 ]; then
	have apt-get || die "missing: ${missing[*]}; this host has no apt-get, so install them by hand (tested: Debian 12)"
	require_root "installing ${missing[*]}"
	say "installing ${missing[*]}"
	install_packages "${missing[@]}"
	mapfile -t missing < <(missing_packages)
	[ ${#missing[@]} -eq 0 ] || die "still missing after the installation: ${missing[*]}"
fi
check_go
say "ready"
