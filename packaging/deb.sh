#!/usr/bin/env bash
# Builds the Debian packages from the tree as it stands, in a clean copy of it.
#
#   packaging/deb.sh FOLDER [ARCHITECTURE]     the packages come to FOLDER
#
# For another machine (arm64, armhf) it needs root: the compiler and that machine's libraries are
# installed into a folder of their own (mmdebstrap), which is removed afterwards.
set -euo pipefail
cd "$(dirname "$0")/.."

mkdir -p "$1"
out=$(cd "$1" && pwd)
native=$(dpkg --print-architecture)
host=${2:-$native}
version=$(dpkg-parsechangelog -l packaging/debian/changelog -S Version)
work=$(mktemp -d)
trap 'rm -rf --one-file-system "$work"' EXIT

# The tests of `make check` have their own place; DEB_BUILD_OPTIONS= runs the units here too.
export DEB_BUILD_OPTIONS=${DEB_BUILD_OPTIONS-nocheck}
unset MAKEFLAGS MAKELEVEL MFLAGS BUILD DESTDIR DIR

copy_tree()
{
	mkdir -p "$1"
	if [ -e .git ]; then
		git ls-files -co --exclude-standard -z | while IFS= read -r -d '' file; do
			[ ! -e "$file" ] || printf '%s\0' "$file"
		done | tar --null -cf - -T - | tar -xf - -C "$1"
	else
		tar --exclude=./build --exclude=./run -cf - . | tar -xf - -C "$1"
	fi
	mv "$1/packaging/debian" "$1/debian"
}

build_native()
{
	copy_tree "$work/mailstead-$version"
	(cd "$work/mailstead-$version" && dpkg-buildpackage -us -uc -b -j"$(nproc)")
	made=$work
}

build_cross()
{
	local root=$work/root suite=${SUITE:-bookworm} mirror=${MIRROR:-http://deb.debian.org/debian}

	mmdebstrap --quiet --variant=apt --architectures="$native,$host" \
		--include="build-essential,crossbuild-essential-$host" "$suite" "$root" "$mirror"
	made=$root/build
	copy_tree "$made/mailstead-$version"
	cp /etc/resolv.conf "$root/etc/resolv.conf"
	unshare --mount --pid --fork --kill-child bash -c '
		mount -t proc proc "$0/proc" && mount --rbind /dev "$0/dev" && exec chroot "$0" "$@"
	' "$root" env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 \
		DEBIAN_FRONTEND=noninteractive DEB_BUILD_OPTIONS=nocheck \
		DEB_BUILD_PROFILES="cross nocheck" bash -c '
		set -e
		cd "/build/mailstead-$1"
		apt-get update -q
		apt-get build-dep -q -y --no-install-recommends -a"$0" -P cross,nocheck ./
		dpkg-buildpackage -us -uc -b -a"$0" -j"$(nproc)"
	' "$host" "$version"
}

if [ "$host" = "$native" ]; then
	build=build_native
else
	build=build_cross
fi
# Not in an if: a failure inside must end it.
set +e
(set -e; $build; cp "$made"/*.deb "$made"/*.changes "$made"/*.buildinfo "$out") >"$out/$host.log" 2>&1
status=$?
set -e
if [ $status -ne 0 ]; then
	tail -n 40 "$out/$host.log" >&2
	exit $status
fi
ls "$out"/*_"$version"_"$host".deb
