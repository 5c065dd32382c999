#!/usr/bin/env bash
# Makes the container images that the examples and tests need and pushes them to the local registry.
#
#   scripts/images.sh [--refresh] [NAME...]      names: the folders of deploy/images
#
# An image is made when the registry does not hold it under the hash of its recipe: the files of its folder, the
# scripts and the program that make it, its base, and this host's distribution and architecture. Newer packages
# alone do not make it anew; --refresh does.
set -euo pipefail
script_name=images
# shellcheck source=scripts/lib/common.sh
. "$(dirname "$0")/lib/common.sh"
# shellcheck source=scripts/lib/rootfs.sh
. "$(dirname "$0")/lib/rootfs.sh"

images_dir="$repo_root/deploy/images"
order=(busybox debian runner postgres) # a base before what is built upon it
refresh=

base_of() { case "$1" in runner | postgres) echo debian ;; esac; }
recipe_field() { jq -r "$2" "$images_dir/$1/image.json"; }

# recipe_key NAME: 16 hex digits that change with anything the image is made of.
recipe_key() {
	local base
	base=$(base_of "$1")
	{
		os_field ID
		os_field VERSION_CODENAME
		uname -m
		[ -z "$base" ] || recipe_key "$base"
		echo "$refresh"
		cd "$repo_root"
		find "deploy/images/$1" deploy/images/dpkg-exclude scripts/lib/rootfs.sh hack/mkimage -type f \
			! -name '*_test.go' ! -name '*.md' -print0 | LC_ALL=C sort -z | xargs -0 sha256sum
	} | sha256sum | cut -c1-16
}

# digest_of REPOSITORY TAG: the manifest's digest in the registry; empty if it is not there.
digest_of() {
	curl -sS --noproxy '*' --max-time 10 -o /dev/null -I -w '%header{docker-content-digest}' \
		-H 'Accept: application/vnd.oci.image.manifest.v1+json' "http://$registry_addr/v2/$1/manifests/$2"
}

# is_current NAME KEY: whether the registry holds the recipe's image and every public tag is that image.
is_current() {
	local repository want tag
	repository=$(recipe_field "$1" .repository)
	want=$(digest_of "$repository" "recipe-$2")
	[ -n "$want" ] || return 1
	for tag in $(recipe_field "$1" '.tags[]'); do
		[ "$(digest_of "$repository" "$tag")" = "$want" ] || return 1
	done
}

# prepare NAME: makes the parts of one image in $work/NAME; runs beside the others.
prepare() {
	local name=$1 version npm default n=0
	mkdir -p "$work/$name"
	if [ "$name" = busybox ]; then
		busybox_rootfs "$work/$name/layer-0"
	else
		debian_rootfs "$images_dir/$name" "$work/$name/rootfs.tar"
	fi
	[ ! -f "$images_dir/$name/node" ] || while read -r version npm default; do
		node_layer "$version" "$npm" "$work/$name/layer-$n" "$default"
		n=$((n + 1))
	done <"$images_dir/$name/node"
}

# push NAME KEY: makes the image of its parts and pushes it.
push() {
	local name=$1 key=$2 base dir args
	args=(-registry "$registry_addr" -recipe "$images_dir/$name/image.json" -key "$key")
	base=$(base_of "$name")
	[ -z "$base" ] || args+=(-base "$(recipe_field "$base" .repository):recipe-${keys[$base]}")
	[ ! -f "$work/$name/rootfs.tar" ] || args+=(-rootfs "$work/$name/rootfs.tar")
	for dir in "$work/$name"/layer-*; do
		[ ! -d "$dir" ] || args+=(-layer "$dir")
	done
	say "$("$work/mkimage" "${args[@]}")"
	rm -rf "${work:?}/$name"
}

# clean_up ends what is still being prepared, with everything it started, before its folder goes.
clean_up() {
	local pid
	for pid in "${pids[@]}"; do
		if kill -TERM -- "-$pid" 2>/dev/null; then
			wait "$pid" || true
		fi
	done
	rm -rf "$work"
}

pids=()
build() {
	local name i
	require_root "making images (mmdebstrap, device files, owners)"
	for name in mmdebstrap jq npm go; do
		have "$name" || die "$name is not installed; run: make setup"
	done
	mkdir -p "$cache_dir"
	work=$(mktemp -d "$cache_dir/images.XXXXXX")
	trap clean_up EXIT
	trap 'exit 130' INT TERM
	say "making ${missing[*]} (a minute or two the first time)"
	[ -n "$(apt_sources)" ] || apt-get -qq update
	set -m # each in a process group of its own, for clean_up
	for name in "${missing[@]}"; do
		prepare "$name" >"$work/$name.log" 2>&1 </dev/null 9>&- &
		pids+=("$!")
	done
	set +m
	(cd "$repo_root" && go build -o "$work/mkimage" ./hack/mkimage) || die "could not build hack/mkimage"
	for i in "${!missing[@]}"; do
		name=${missing[$i]}
		if ! wait "${pids[$i]}"; then
			cat "$work/$name.log" >&2
			die "$name: could not make the root file system; see above"
		fi
		push "$name" "${keys[$name]}"
	done
}

declare -A keys
names=()
[ $# -gt 0 ] || set -- "${order[@]}"
for arg in "$@"; do
	case "$arg" in
	--refresh) refresh=$(date +%s) ;;
	-*) die "unknown option $arg; usage: $0 [--refresh] [NAME...]" ;;
	*)
		[ -f "$images_dir/$arg/image.json" ] || die "no image $arg in deploy/images; there are: ${order[*]}"
		names+=("$arg")
		;;
	esac
done
[ ${#names[@]} -gt 0 ] || names=("${order[@]}") # only --refresh was given
mkdir -p "$cache_dir"
exec 9>"$cache_dir/images.lock"
flock -n 9 || { say "waiting for another images.sh" && flock 9; }
"$repo_root/scripts/registry.sh" start 9>&-
missing=()
for name in "${order[@]}"; do
	keys[$name]=$(recipe_key "$name")
	case " ${names[*]} " in
	*" $name "*) is_current "$name" "${keys[$name]}" || missing+=("$name") ;;
	esac
done
if [ ${#missing[@]} -gt 0 ]; then
	build
fi
say "ready in $registry_addr: $(for name in "${names[@]}"; do recipe_field "$name" '.repository + ":" + .tags[0]'; done | paste -sd' ')"
