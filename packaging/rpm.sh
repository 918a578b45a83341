#!/usr/bin/env bash
# Builds an RPM from the tree as it stands, with whatever rpmbuild this machine has.
#
#   packaging/rpm.sh FOLDER      the package comes to FOLDER
#
# On Debian it shows that the recipe works: there the libraries' names are Debian's, so dependencies
# are not checked and the macros of systemd-rpm-macros are given here.
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p "$1"
out=$(cd "$1" && pwd)
version=$(sed -n 's/^Version: *//p' packaging/rpm/mailstead.spec)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

mkdir -p "$work/mailstead-$version" "$work/SOURCES"
git ls-files -co --exclude-standard -z | while IFS= read -r -d '' file; do
	[ ! -e "$file" ] || printf '%s\0' "$file"
done | tar --null -cf - -T - | tar -xf - -C "$work/mailstead-$version"
tar -C "$work" -czf "$work/SOURCES/mailstead-$version.tar.gz" "mailstead-$version"

options=()
if [ -e /etc/debian_version ]; then
	options+=(--nodeps
		--define "_unitdir /usr/lib/systemd/system"
		--define "_sysusersdir /usr/lib/sysusers.d"
		--define "_tmpfilesdir /usr/lib/tmpfiles.d"
		--define "_docdir /usr/share/doc"
		--define "tmpfiles_create() systemd-tmpfiles --create %1 || :"
		--define "systemd_post() systemctl preset %1 || :"
		--define "systemd_preun() systemctl disable --now %1 || :"
		--define "systemd_postun_with_restart() systemctl try-restart %1 || :")
fi
unset MAKEFLAGS MAKELEVEL MFLAGS BUILD DESTDIR
rpmbuild -bb "${options[@]}" --define "_topdir $work" packaging/rpm/mailstead.spec \
	>"$out/rpm.log" 2>&1 || {
	tail -n 30 "$out/rpm.log" >&2
	exit 1
}
find "$work/RPMS" -name '*.rpm' -exec cp {} "$out" \;
ls "$out"/*.rpm
