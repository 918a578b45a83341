#!/usr/bin/env bash
# Builds the Debian packages from the tree as it stands, in a clean copy of it.
#
#   packaging/deb.sh FOLDER [ARCHITECTURE]     the packages come to FOLDER
set -euo pipefail
cd "$(dirname "$0")/.."

mkdir -p "$1"
out=$(cd "$1" && pwd)
host=${2:-$(dpkg --print-architecture)}
version=$(dpkg-parsechangelog -l packaging/debian/changelog -S Version)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tree=$work/mailstead-$version

mkdir "$tree"
if [ -e .git ]; then
	git ls-files -co --exclude-standard -z | while IFS= read -r -d '' file; do
		[ ! -e "$file" ] || printf '%s\0' "$file"
	done | tar --null -cf - -T - | tar -xf - -C "$tree"
else
	tar --exclude=./build --exclude=./run -cf - . | tar -xf - -C "$tree"
fi
mv "$tree/packaging/debian" "$tree/debian"

# The tests of `make check` have their own place; DEB_BUILD_OPTIONS= runs the units here too.
export DEB_BUILD_OPTIONS=${DEB_BUILD_OPTIONS-nocheck}
if [ -z "${DEB_BUILD_PROFILES:-}" ] && [ "$host" != "$(dpkg --print-architecture)" ]; then
	export DEB_BUILD_PROFILES="cross nocheck"
fi
unset MAKEFLAGS MAKELEVEL MFLAGS BUILD DESTDIR DIR
(cd "$tree" && dpkg-buildpackage -us -uc -b -a"$host" -j"$(nproc)" >"$out/build.log" 2>&1) || {
	tail -n 40 "$out/build.log" >&2
	exit 1
}
rm -f "$out"/*.deb "$out"/*.changes "$out"/*.buildinfo
mv "$work"/*.deb "$work"/*.changes "$work"/*.buildinfo "$out"
ls "$out"/*.deb
