#!/bin/bash
# Starts PostgreSQL in a container with the variables that the well-known image takes:
#
#   POSTGRES_PASSWORD[_FILE]   the superuser's password; needed unless POSTGRES_HOST_AUTH_METHOD=trust
#   POSTGRES_USER[_FILE]       the superuser's name; default postgres
#   POSTGRES_DB[_FILE]         a database to create; default: the user's name
#   POSTGRES_INITDB_ARGS       more arguments for initdb
#   POSTGRES_HOST_AUTH_METHOD  how connections over the network authenticate; default scram-sha-256
#   PGDATA                     the data directory
#
# A data directory that holds a cluster is used as it is. Files in /docker-entrypoint-initdb.d (*.sh, *.sql,
# *.sql.gz) run once, after a cluster was created. Until all of that is done nothing listens where clients look,
# so a health check can't pass too early.
set -Eeuo pipefail

socket_dir=/var/run/postgresql
init_dir=/docker-entrypoint-initdb.d

fail() {
	echo "docker-entrypoint: error: $*" >&2
	exit 1
}

# from_file NAME DEFAULT: sets variable NAME from itself, or from the file that NAME_FILE names.
from_file() {
	local name=$1 file=$1_FILE
	if [ -n "${!name:-}" ] && [ -n "${!file:-}" ]; then
		fail "both $name and $file are set; set one"
	fi
	if [ -n "${!file:-}" ]; then
		printf -v "$name" %s "$(<"${!file}")"
	fi
	printf -v "$name" %s "${!name:-$2}"
	unset "$file"
}

# as_owner prepares the directories as root and starts this script again as the user postgres.
as_owner() {
	mkdir -p "$PGDATA" "$socket_dir"
	chmod 700 "$PGDATA"
	chmod 3775 "$socket_dir"
	find "$PGDATA" "$socket_dir" ! -user postgres -exec chown postgres:postgres {} +
	exec setpriv --reuid postgres --regid postgres --init-groups -- "$BASH" "$0" "$@"
}

# single_user runs SQL from standard input with no server: nothing can connect, and it takes no time.
single_user() { postgres --single -D "$PGDATA" -c exit_on_error=on -c log_checkpoints=off postgres >/dev/null; }

create_cluster() {
	from_file POSTGRES_PASSWORD ''
	from_file POSTGRES_USER postgres
	from_file POSTGRES_DB "$POSTGRES_USER"
	local method=${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256} args
	if [ -z "$POSTGRES_PASSWORD" ] && [ "$method" != trust ]; then
		fail "POSTGRES_PASSWORD is empty: set it, or POSTGRES_HOST_AUTH_METHOD=trust to let everyone in"
	fi
	args=(--username="$POSTGRES_USER" --pgdata="$PGDATA" --auth-local=trust --auth-host="$method" --encoding=UTF8)
	# shellcheck disable=SC2086 # several arguments in one variable, as in the well-known image
	if [ -n "$POSTGRES_PASSWORD" ]; then
		initdb "${args[@]}" --pwfile=<(printf '%s\n' "$POSTGRES_PASSWORD") ${POSTGRES_INITDB_ARGS:-}
	else
		initdb "${args[@]}" ${POSTGRES_INITDB_ARGS:-}
	fi
	printf '\nhost all all all %s\n' "$method" >>"$PGDATA/pg_hba.conf"
	if [ "$POSTGRES_DB" != postgres ]; then
		printf 'CREATE DATABASE "%s";\n' "${POSTGRES_DB//\"/\"\"}" | single_user
	fi
	if compgen -G "$init_dir/*" >/dev/null; then
		run_init_files
	fi
}

# run_init_files runs them against a server that only this script can reach.
run_init_files() {
	local private file
	private=$(mktemp -d)
	pg_ctl --pgdata="$PGDATA" --wait --silent -o "-c listen_addresses='' -k $private" start
	export PGHOST=$private PGUSER=$POSTGRES_USER PGDATABASE=$POSTGRES_DB
	# shellcheck disable=SC1090
	for file in "$init_dir"/*; do
		echo "docker-entrypoint: running $file"
		case "$file" in
		*.sh) if [ -x "$file" ]; then "$file"; else . "$file"; fi ;;
		*.sql) psql -v ON_ERROR_STOP=1 --no-psqlrc --quiet -f "$file" ;;
		*.sql.gz) gzip -dc "$file" | psql -v ON_ERROR_STOP=1 --no-psqlrc --quiet ;;
		*) echo "docker-entrypoint: ignoring $file: not .sh, .sql or .sql.gz" ;;
		esac
	done
	unset PGHOST PGUSER PGDATABASE
	pg_ctl --pgdata="$PGDATA" --wait --silent --mode=fast stop
	rm -rf "$private"
}

if [ "${1:-postgres}" != "${1#-}" ]; then
	set -- postgres "$@" # only options were given
fi
if [ "$1" != postgres ]; then
	exec "$@"
fi
if [ "$(id -u)" = 0 ]; then
	as_owner "$@"
fi
if [ ! -s "$PGDATA/PG_VERSION" ]; then
	create_cluster
fi
shift
# A tmpfs over /run may hide the socket's directory from a container that is not started as root.
[ -w "$socket_dir" ] || socket_dir=/tmp
# What the command line asks for comes later, so it wins.
exec postgres -D "$PGDATA" -c listen_addresses='*' -c unix_socket_directories="$socket_dir" "$@"
