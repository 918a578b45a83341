#!/usr/bin/env bash
# The gates of the Debian packages in FOLDER: lintian, the units' exposure, built twice alike.
set -euo pipefail
cd "$(dirname "$0")/.."
out=$1
arch=$(dpkg --print-architecture)
deb=$(ls "$out"/mailstead_*_"$arch".deb)

lintian --allow-root --fail-on error,warning "${deb%.deb}.changes"

# Tenths: what systemd-analyze calls exposure.
exposure()
{
	local limit=$1 unit
	shift
	for unit in "$@"; do
		systemd-analyze security --offline=true --no-pager --threshold="$limit" \
			"$PWD/packaging/system/mailstead-$unit.service" >"$out/security.log" || {
			grep '✗' "$out/security.log"
			tail -n 1 "$out/security.log"
			exit 1
		}
		tail -n 1 "$out/security.log"
	done
}
exposure 5 authd keyd
exposure 26 smtpd imapd pop3d web-server acme maint
exposure 15 backup

again=$(mktemp -d)
trap 'rm -rf "$again"' EXIT
(
	umask 027
	TZ=Pacific/Kiritimati LC_ALL=C.UTF-8 packaging/deb.sh "$again" >/dev/null
)
cmp "$deb" "$again/$(basename "$deb")"
echo "built twice alike: $(basename "$deb")"
