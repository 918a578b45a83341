#!/usr/bin/env bash
# An image with mailstead in it, from a Debian root and the Debian package. Needs root, mmdebstrap
# and buildah.
#
#   make deb && packaging/oci/build.sh build/deb [NAME]
#
#   podman run -d --name mail -v mailstead:/var/lib/mailstead \
#     -p 25:10025 -p 465:10465 -p 587:10587 -p 993:10993 -p 995:10995 -p 443:10443 NAME
#   podman exec mail mailsteadctl setup-code
set -euo pipefail
cd "$(dirname "$0")/../.."
deb=$(ls "$1"/mailstead_*_"$(dpkg --print-architecture)".deb)
name=${2:-mailstead:$(dpkg-deb -f "$deb" Version)}
export BUILDAH_ISOLATION=chroot
export STORAGE_DRIVER=${STORAGE_DRIVER:-vfs}
work=$(mktemp -d)
trap 'rm -rf --one-file-system "$work"' EXIT

cp "$deb" "$work/mailstead.deb"
# Nothing that only a machine needs: no init, no manual, no package lists.
mmdebstrap --quiet --variant=minbase --include="systemd-standalone-sysusers" \
	--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
	--customize-hook="copy-in $work/mailstead.deb /tmp" \
	--customize-hook='chroot "$1" apt-get install -q -y --no-install-recommends /tmp/mailstead.deb' \
	--customize-hook='rm "$1/tmp/mailstead.deb"' \
	--customize-hook="copy-in packaging/oci/mailstead.conf /etc/mailstead" \
	--customize-hook='chroot "$1" useradd -u 10001 -M -d /var/lib/mailstead -s /usr/sbin/nologin mailstead-one' \
	--customize-hook='rm -rf "$1/var/lib/mailstead"' \
	--customize-hook='chroot "$1" install -d -o 10001 -g 10001 -m 750 /var/lib/mailstead' \
	--customize-hook='chmod 644 "$1/etc/mailstead/mailstead.conf"' \
	"${SUITE:-bookworm}" "$work/root.tar" "${MIRROR:-http://deb.debian.org/debian}"

container=$(buildah from --format docker scratch)
buildah add --quiet "$container" "$work/root.tar" / >/dev/null
buildah config --user 10001:10001 --workingdir /var/lib/mailstead --volume /var/lib/mailstead \
	--cmd '["/usr/bin/mailsteadctl", "run"]' --stop-signal SIGTERM \
	--healthcheck 'CMD /usr/bin/mailsteadctl ping' --healthcheck-interval 30s \
	--healthcheck-start-period 20s \
	--port 10025 --port 10465 --port 10587 --port 12525 --port 10143 --port 10993 --port 10110 \
	--port 10995 --port 10443 --port 10080 \
	--label org.opencontainers.image.title=mailstead \
	--label org.opencontainers.image.licenses=ISC "$container"
buildah commit --quiet --rm --format docker "$container" "$name"
