# Sourced by images.sh: makes root file systems. Its text is a part of every image's recipe hash.
# shellcheck shell=bash disable=SC2016

# One time for every file: the same packages then give the same digest. Equals epoch in hack/mkimage.
export SOURCE_DATE_EPOCH=1735689600

# apt_sources prints one-line sources for the host's own distribution, as its apt knows them. Other vendors'
# archives on this host are left out: apt names each archive's origin, from its signed Release file.
apt_sources() {
	local origin keyring
	origin=$(distribution)
	keyring=/usr/share/keyrings/${origin,,}-archive-keyring.gpg
	[ -r "$keyring" ] || die "$keyring is missing: install the distribution's archive keyring package"
	apt-get indextargets --format "\$(ORIGIN)|deb [signed-by=$keyring] \$(REPO_URI) \$(RELEASE) \$(COMPONENT)" 'Created-By: Packages' |
		sed -n "s/^$origin|//p" | grep -v ' cdrom:' | sort -u
}

# distribution prints the host's distribution by the name that its archive's Release files have.
distribution() {
	case "$(os_field ID)" in
	debian) echo Debian ;;
	ubuntu) echo Ubuntu ;;
	*) die "images are made on Debian or Ubuntu; /etc/os-release says $(os_field ID)" ;;
	esac
}

os_field() { (
	# shellcheck disable=SC1091
	. /etc/os-release && eval "echo \"\${$1:-}\""
); }

# apt_options prints the host's own settings for reaching its archives (proxies, date checks) as apt.conf lines.
apt_options() {
	apt-config dump --format '%F "%v";%n' Acquire |
		grep -E '^Acquire::(https?::|Check-Date|Check-Valid-Until|Retries|ForceIPv)' | grep -v ' "";$' || true
}

# packages_of FILE: its packages, comma-separated. Of alternatives (a|b), the first that the distribution offers.
packages_of() {
	local line choice chosen=()
	while read -r line; do
		for choice in ${line//|/ }; do
			[ "$choice" = "$line" ] || offers "$choice" || continue
			chosen+=("$choice")
			continue 2
		done
		die "$(os_field PRETTY_NAME) offers none of $line"
	done <"$1"
	(IFS=, && echo "${chosen[*]}")
}

# offers PACKAGE: whether the distribution has it, whatever other archives this host uses.
offers() {
	local lists
	mapfile -t lists < <(apt-get indextargets --format '$(ORIGIN)|$(FILENAME)' 'Created-By: Packages' |
		sed -n "s/^$(distribution)|//p")
	/usr/lib/apt/apt-helper cat-file "${lists[@]}" | grep -cx "Package: $1" >/dev/null
}

# debian_rootfs RECIPE-DIR OUT.tar: a minimal system with the recipe's packages.
debian_rootfs() {
	local recipe=$1 out=$2 hook packages
	packages=$(packages_of "$recipe/packages")
	local args=(--quiet --mode=root --variant=minbase --format=tar
		--dpkgopt="$images_dir/dpkg-exclude" --dpkgopt=force-unsafe-io
		# Packages register alternatives beneath man pages' folders, which the excludes would leave out.
		--setup-hook='mkdir -p "$1"/usr/share/man/man1 "$1"/usr/share/man/man7 "$1"/usr/share/man/man8')
	[ -z "$packages" ] || args+=(--include="$packages")
	hook=$(mktemp) && apt_options >"$hook" && args+=(--aptopt="$hook")
	[ ! -x "$recipe/before-install" ] || args+=(--essential-hook="$recipe/before-install")
	[ ! -x "$recipe/after-install" ] || args+=(--customize-hook="$recipe/after-install")
	# What is left of the build: this host's proxy settings, caches, logs, identity.
	args+=(--customize-hook='rm -rf "$1"/etc/apt/apt.conf.d/99mmdebstrap "$1"/var/cache/apt/* "$1"/var/cache/ldconfig/* "$1"/var/log/* "$1"/var/lib/dpkg/*-old "$1"/var/cache/debconf/*-old'
		--customize-hook='mkdir -p "$1"/var/cache/apt/archives/partial; rm -f "$1"/etc/hostname "$1"/etc/resolv.conf')
	[ ! -d "$recipe/rootfs" ] || args+=(--customize-hook="copy-in $recipe/rootfs/. /")
	apt_sources | env DEBIAN_FRONTEND=noninteractive mmdebstrap "${args[@]}" "" "$out" -
	rm -f "$hook"
}

# busybox_rootfs DIR: a system that is one static binary and its names.
busybox_rootfs() {
	local out=$1 scratch name
	scratch=$(mktemp -d)
	# Downloaded and unpacked, not installed: on a host it would replace an installed busybox.
	(cd "$scratch" && apt-get -qq download busybox-static && dpkg-deb -x busybox-static_*.deb unpacked)
	mkdir -p "$out"/{bin,etc,proc,sys,dev,root,tmp,usr/bin,usr/sbin,sbin,var}
	cp "$(find "$scratch/unpacked" -name busybox -type f -perm -u+x | head -n 1)" "$out/bin/busybox"
	rm -rf "$scratch"
	for name in $("$out/bin/busybox" --list-full); do
		[ -e "$out/$name" ] || ln -s /bin/busybox "$out/$name"
	done
	chmod 755 "$out" "$out"/*
	chmod 1777 "$out/tmp"
	chmod 700 "$out/root"
	printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n' >"$out/etc/passwd"
	printf 'root:x:0:\nnogroup:x:65534:\n' >"$out/etc/group"
	chmod 644 "$out/etc/passwd" "$out/etc/group"
}

# node_layer VERSION NPM-VERSION DIR [default]: one Node.js in the place where setup-node looks for it; the
# default one is on the PATH of every shell.
node_layer() {
	local version=$1 npm=$2 out=$3 default=${4:-} arch scratch home name
	arch=$(npm_arch)
	home="$out/opt/hostedtoolcache/node/$version/$arch"
	scratch=$(mktemp -d)
	mkdir -p "$home/bin" "$home/lib/node_modules/npm"
	npm pack --silent --pack-destination "$scratch" "node-linux-$arch@$version" "npm@$npm" >/dev/null
	tar -xzf "$scratch/node-linux-$arch-$version.tgz" -C "$home" --strip-components=1 \
		package/bin/node package/LICENSE
	tar -xzf "$scratch/npm-$npm.tgz" -C "$home/lib/node_modules/npm" --strip-components=1 \
		--exclude=package/docs --exclude=package/man
	rm -rf "$scratch"
	for name in npm npx; do
		chmod 755 "$home/lib/node_modules/npm/bin/$name-cli.js"
		ln -s "../lib/node_modules/npm/bin/$name-cli.js" "$home/bin/$name"
	done
	touch "$home.complete"
	[ -z "$default" ] || for name in node npm npx; do
		mkdir -p "$out/usr/local/bin"
		ln -s "/opt/hostedtoolcache/node/$version/$arch/bin/$name" "$out/usr/local/bin/$name"
	done
	chmod -R u=rwX,go=rX "$out"
}

npm_arch() {
	case "$(uname -m)" in
	x86_64) echo x64 ;;
	aarch64) echo arm64 ;;
	*) die "no Node.js package for $(uname -m): the runner image is made on x86_64 and aarch64" ;;
	esac
}
