#!/usr/bin/env bash
# The tests on another machine's instructions: builds for arm64 or armhf and runs unit and protocol
# tests under qemu-user, in a Debian root of their own. Needs root and Debian's package sources.
#
#   packaging/arm-check.sh arm64|armhf [TEST ...]     TEST: files of tests/ for pytest
#
# ROOT=folder keeps the Debian root there for the next run.
set -euo pipefail
cd "$(dirname "$0")/.."

host=$1
shift
native=$(dpkg --print-architecture)
triplet=$(dpkg-architecture -a "$host" -q DEB_HOST_GNU_TYPE 2>/dev/null)
suite=${SUITE:-bookworm} mirror=${MIRROR:-http://deb.debian.org/debian}
root=${ROOT:-}
if [ -z "$root" ]; then
	root=$(mktemp -d)
	trap 'rm -rf --one-file-system "$root"' EXIT
fi

# The kernel starts other machines' programs through qemu, in every root.
command -v qemu-arm-static >/dev/null && command -v update-binfmts >/dev/null ||
	apt-get install -q -y --no-install-recommends qemu-user-static binfmt-support
[ -e /proc/sys/fs/binfmt_misc/register ] || mount -t binfmt_misc none /proc/sys/fs/binfmt_misc
update-binfmts --enable

libraries=(libargon2-dev libevent-dev libidn2-dev liblmdb-dev libqrencode-dev libseccomp-dev nettle-dev
	libssl-dev libunbound-dev libutf8proc-dev libzstd-dev zlib1g-dev check)
if [ ! -e "$root/usr/bin/$triplet-gcc" ]; then
	mmdebstrap --quiet --variant=apt --architectures="$native,$host" \
		--include="build-essential,crossbuild-essential-$host,pkgconf:$host,python3-pytest" \
		--include="python3-pytest-xdist,openssl,ca-certificates,dns-root-data" \
		--include="lighttpd,lighttpd-mod-openssl,curl,swaks" \
		--include="$(printf ",%s:$host" "${libraries[@]}" | cut -c 2-)" \
		"$suite" "$root" "$mirror"
fi

tree=$root/build
mkdir -p "$tree"
git ls-files -z | tar --null -cf - -T - | tar -xf - -C "$tree"
unshare --mount --pid --fork --kill-child bash -c '
	mount -t proc proc "$0/proc" && mount --rbind /dev "$0/dev" && exec chroot "$0" "$@"
' "$root" env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 CK_TIMEOUT_MULTIPLIER=10 bash -c '
	set -e
	cd /build
	triplet=$1
	shift
	build=(-s -j"$(nproc)" CC=$triplet-gcc AR=$triplet-ar PKG_CONFIG=$triplet-pkg-config
		CPPFLAGS="-DMS_SANITIZED=1 -DMS_EMULATED=1")
	make "${build[@]}" all
	if [ $# = 0 ]; then
		make "${build[@]}" check-unit
		set -- tests/protocol/chat
	fi
	MS_BUILD=build /usr/bin/python3 -m pytest -q -p no:cacheprovider -n 2 --dist loadfile "$@"
' bash "$triplet" "$@"
