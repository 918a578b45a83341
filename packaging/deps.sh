#!/usr/bin/env bash
# Installs what building, trying and testing need, on Debian 12 and 13: only what is missing.
#
#   packaging/deps.sh [--list] [--build-only | --deb | --bench | --browser]
#
# --build-only: enough for `make` and `make quickstart`; --deb: enough for `make deb`; --bench: what
# `make bench-smtp` compares with; --browser: what `make check-browser` runs; else for everything else too. --list prints the names only.
#
# Elsewhere it names the packages and goes on: the compiler then tells what is not there.
set -euo pipefail

build=(
	build-essential pkg-config
	libssl-dev libevent-dev liblmdb-dev libargon2-dev libzstd-dev zlib1g-dev libidn2-dev nettle-dev
	libutf8proc-dev libseccomp-dev libunbound-dev libqrencode-dev
	python3 ca-certificates dns-root-data lighttpd lighttpd-mod-openssl
)
checks=(
	# units, sanitizers and checks of the source
	git check clang clang-format clang-tidy cppcheck libclang-rt-dev strace man-db groff
	# protocol and end-to-end tests: clients that nobody here wrote
	python3-pytest python3-pytest-xdist openssl curl swaks isync fetchmail neomutt
	# verifiers of signatures and zones that nobody here wrote
	python3-dkim python3-nacl opendkim bind9-utils
	# a name server for signed zones; run as one's own, not as the service
	knot
	# the peer that answers and times are compared with; run as one's own, not as the service
	dovecot-imapd
)
# the peers of `make bench-smtp` and `make bench-memory`
bench=(postfix dovecot-lmtpd dovecot-imapd dovecot-pop3d strace)
# the web admin as a person sees it, and an authority for certificates
browser=(chromium chromium-driver python3-selenium uacme pebble)
packages=(
	dpkg-dev debhelper dh-apparmor fakeroot lintian mmdebstrap systemd
)

wanted=("${build[@]}" "${checks[@]}")
is_list=no
for option in "$@"; do
	case $option in
	--build-only) wanted=("${build[@]}") ;;
	--bench) wanted=("${bench[@]}") ;;
	--browser) wanted=("${build[@]}" "${checks[@]}" "${browser[@]}") ;;
	--deb) wanted=("${build[@]}" "${packages[@]}") ;;
	--list) is_list=yes ;;
	*)
		echo "usage: packaging/deps.sh [--list] [--build-only | --deb | --bench | --browser]" >&2
		exit 2
		;;
	esac
done
if [ $is_list = yes ]; then
	printf '%s\n' "${wanted[@]}"
	exit 0
fi

if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
	echo "deps.sh: not a Debian system; these must be there by another way: ${wanted[*]}" >&2
	exit 0
fi

list_missing()
{
	local have
	have=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' "${wanted[@]}" 2>/dev/null |
		sed -n 's/^installed //p') || true
	comm -23 <(printf '%s\n' "${wanted[@]}" | sort) <(printf '%s\n' "$have" | sort -u)
}

mapfile -t missing < <(list_missing)
[ ${#missing[@]} -gt 0 ] || exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
	if ! command -v sudo >/dev/null; then
		echo "deps.sh: run this as root first: apt-get install ${missing[*]}" >&2
		exit 1
	fi
	as_root=(sudo)
fi
apt()
{
	"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -o Dpkg::Use-Pty=0 "$@"
}

log=$(mktemp)
policy=/usr/sbin/policy-rc.d
made_policy=no
finish()
{
	rm -f "$log"
	if [ $made_policy = yes ]; then
		"${as_root[@]}" rm -f $policy
	fi
}
trap finish EXIT

# The web admin runs a lighttpd of its own: the system's, new on this machine, must not take port 80.
is_lighttpd_new=no
case " ${missing[*]} " in
*" lighttpd "*)
	is_lighttpd_new=yes
	if [ ! -e $policy ]; then
		printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee $policy >/dev/null
		"${as_root[@]}" chmod 755 $policy
		made_policy=yes
	fi
	;;
esac

echo "installing: ${missing[*]}"
install()
{
	apt update >"$log" 2>&1 && apt install -y --no-install-recommends "${missing[@]}" >>"$log" 2>&1
}
if ! install; then
	# Mirrors have bad moments: once more, then it is for a person to look at.
	sleep 3
	if ! install; then
		tail -n 30 "$log" >&2
		echo "deps.sh: apt-get did not install: ${missing[*]}" >&2
		exit 1
	fi
fi
if [ $is_lighttpd_new = yes ] && [ -d /run/systemd/system ]; then
	"${as_root[@]}" systemctl disable --now lighttpd.service >/dev/null 2>&1 || true
fi
