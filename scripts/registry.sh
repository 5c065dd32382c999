#!/usr/bin/env bash
# Runs a private image registry (the distribution's docker-registry) on a loopback address.
#
#   scripts/registry.sh start|stop|status
#
# Address: SLIPWAY_REGISTRY_ADDR (default 127.0.0.1:7430, plain http). Images, log and pid file are kept in
# $XDG_CACHE_HOME/slipway/registry. `start` does nothing if the registry runs; `stop` ends only a process
# that `start` began, which it knows by pid and start time: a pid that was reused is left alone.
set -euo pipefail
script_name=registry
# shellcheck source=scripts/lib/common.sh
. "$(dirname "$0")/lib/common.sh"

dir="$cache_dir/registry"
state="$dir/run" # one line: PID START-TIME ADDRESS
log="$dir/registry.log"

# start_time PID: the process' start time in clock ticks since boot (field 22 of proc_pid_stat(5)); with
# the pid it names one process for good. Empty if there is no such process.
start_time() {
	local stat
	stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 0
	stat=${stat##*) } # the command name may hold spaces
	# shellcheck disable=SC2086
	set -- $stat
	[ "$1" = Z ] || echo "${20}"
}

# running: succeeds, and sets pid and addr, if the process in the pid file is alive and is that process.
running() {
	local began
	[ -s "$state" ] || return 1
	read -r pid began addr <"$state" || return 1
	[[ "$pid" =~ ^[0-9]+$ && -n "$began" ]] || return 1
	[ "$(start_time "$pid")" = "$began" ]
}

answers() { curl -fsS --noproxy '*' --max-time 2 -o /dev/null "http://$1/v2/" 2>/dev/null; }

# listener_uid: who listens on registry_addr, by /proc/net/tcp; empty if nobody does.
listener_uid() {
	local host=${registry_addr%:*} port=${registry_addr##*:} a b c d hex
	IFS=. read -r a b c d <<<"$host"
	hex=$(printf '%02X%02X%02X%02X:%04X' "$d" "$c" "$b" "$a" "$port") # the address is in host byte order
	awk -v want="$hex" '$4 == "0A" && $2 == want { print $8; exit }' /proc/net/tcp
}

check_addr() {
	[[ "$registry_addr" =~ ^127(\.[0-9]{1,3}){3}:[0-9]{1,5}$ ]] ||
		die "SLIPWAY_REGISTRY_ADDR=$registry_addr is not 127.x.x.x:PORT; the registry has no password, so it stays on loopback"
}

write_config() {
	cat >"$dir/config.yml" <<-YAML
		version: 0.1
		log: {level: warn, accesslog: {disabled: true}}
		storage:
		  filesystem: {rootdirectory: "$dir/data"}
		  delete: {enabled: true}
		  cache: {blobdescriptor: inmemory}
		http: {addr: "$registry_addr"}
	YAML
}

start() {
	check_addr
	have docker-registry || die "docker-registry is not installed; run: make setup"
	mkdir -p "$dir"
	exec 9>"$dir/lock"
	flock -w 30 9 || die "another start or stop holds $dir/lock for 30 s"
	local uid
	if running; then
		if [ "$addr" = "$registry_addr" ] && answers "$addr"; then
			say "already running on $addr (pid $pid)"
			return
		fi
		[ "$addr" = "$registry_addr" ] ||
			die "runs on $addr (pid $pid), but SLIPWAY_REGISTRY_ADDR is $registry_addr; stop it first: SLIPWAY_REGISTRY_ADDR=$addr $0 stop"
	else
		rm -f "$state"
		uid=$(listener_uid)
		if [ -n "$uid" ]; then
			# Whoever owns this port decides what runs in the jobs: only our own user may.
			if [ "$uid" != "$(id -u)" ] || ! answers "$registry_addr"; then
				die "$registry_addr is taken by a process of uid $uid that is not our registry; stop it or set SLIPWAY_REGISTRY_ADDR"
			fi
			say "using the registry that already answers on $registry_addr (not started from $dir, so not stopped from here)"
			return
		fi
		launch
	fi
	await
}

# launch starts the registry as a session of its own, so that it outlives the terminal and this script.
launch() {
	write_config
	# OTEL_*/REGISTRY_* variables of the caller would override the configuration file.
	env -i PATH="$PATH" HOME="$HOME" setsid docker-registry serve "$dir/config.yml" >>"$log" 2>&1 </dev/null 9>&- &
	pid=$!
	disown "$pid"
	echo "$pid $(start_time "$pid") $registry_addr" >"$state"
}

await() {
	local tries
	for ((tries = 0; tries < 200; tries++)); do
		if answers "$registry_addr"; then
			say "running on $registry_addr (pid $pid, log $log)"
			return
		fi
		running || die "ended at once; its last words: $(tail -n 3 "$log" | tr '\n' ' ')"
		sleep 0.05
	done
	die "does not answer on $registry_addr after 10 s; see $log"
}

stop() {
	mkdir -p "$dir"
	exec 9>"$dir/lock"
	flock -w 30 9 || die "another start or stop holds $dir/lock for 30 s"
	if ! running; then
		rm -f "$state"
		say "not running (nothing that was started from $dir)"
		return
	fi
	local tries
	kill -TERM "$pid"
	for ((tries = 0; tries < 100; tries++)); do
		if ! running; then
			rm -f "$state"
			say "stopped (pid $pid)"
			return
		fi
		sleep 0.05
	done
	kill -KILL "$pid"
	rm -f "$state"
	say "killed (pid $pid did not end within 5 s)"
}

status() {
	if running && answers "$addr"; then
		say "running on $addr (pid $pid), $(du -sh "$dir/data" 2>/dev/null | cut -f1) in $dir/data"
	elif running; then
		say "pid $pid is alive but does not answer on $addr; see $log"
		return 1
	else
		say "not running"
		return 3
	fi
}

case "${1:-}" in
start) start ;;
stop) stop ;;
status) status ;;
*) die "usage: $0 start|stop|status" ;;
esac
