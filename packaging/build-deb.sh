#!/bin/sh
# build-deb.sh FOLDER: a Debian package in FOLDER, for this machine's architecture and Debian's python3.
# Takes stage.sh's variables, and COMPRESS, options of dpkg-deb (default: its own).
set -eu

folder=$1
source=$(cd "$(dirname "$0")/.." && pwd)
: "${PYTHON:=/usr/bin/python3}" "${COMPRESS:=}" "${VERSION:=}"
export PYTHON
umask 022
mkdir -p "$folder"
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
chmod 0755 "$root"

UNITDIR=/lib/systemd/system BINDIR=/usr/bin "$source/packaging/stage.sh" "$root"

python=$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
next=$("$PYTHON" -c 'import sys; print("%d.%d" % (sys.version_info[0], sys.version_info[1] + 1))')
: "${VERSION:=$(sed -n 's/^version = "\(.*\)"/\1/p' "$source/pyproject.toml" | head -1)-1}"
architecture=$(dpkg --print-architecture)

doc=$root/usr/share/doc/trunkline
install -d "$doc" "$root/usr/share/lintian/overrides" "$root/DEBIAN"
install -m 0644 "$source/packaging/debian/copyright" "$doc/"
install -m 0644 "$source/packaging/debian/lintian-overrides" "$root/usr/share/lintian/overrides/trunkline"
gzip -9 -n -c "$source/CHANGELOG.md" >"$doc/changelog.gz"
printf 'trunkline (%s) stable; urgency=medium\n\n  * Release %s; changelog.gz says what is new.\n\n -- %s  %s\n' \
    "$VERSION" "${VERSION%-*}" "$(sed -n 's/^Maintainer: //p' "$source/packaging/debian/control.in")" \
    "$(date -R ${SOURCE_DATE_EPOCH:+-d "@$SOURCE_DATE_EPOCH"})" | gzip -9 -n >"$doc/changelog.Debian.gz"
sed -e "s/@VERSION@/$VERSION/" -e "s/@ARCHITECTURE@/$architecture/" -e "s/@PYTHON@/$python/" \
    -e "s/@NEXT_PYTHON@/$next/" -e "s/@SIZE@/$(du -sk --apparent-size "$root" | cut -f1)/" \
    "$source/packaging/debian/control.in" >"$root/DEBIAN/control"
install -m 0644 "$source/packaging/debian/conffiles" "$root/DEBIAN/"
install -m 0755 "$source/packaging/debian/postinst" "$source/packaging/debian/prerm" "$source/packaging/debian/postrm" \
    "$root/DEBIAN/"
(cd "$root" && find opt usr lib -type f -print0 | sort -z | xargs -0 md5sum) >"$root/DEBIAN/md5sums"

# shellcheck disable=SC2086 -- options, word by word
dpkg-deb --root-owner-group $COMPRESS --build "$root" "$folder/trunkline_${VERSION}_${architecture}.deb" >/dev/null
echo "$folder/trunkline_${VERSION}_${architecture}.deb"
