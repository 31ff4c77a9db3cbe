#!/bin/sh
# stage.sh ROOT: everything that an installation has, under ROOT, as it will stand in /.
#   PIP         a pip of 22.3 or newer (default: python3 -m pip)
#   PYTHON      the interpreter that the service runs on (default: /usr/bin/python3; not one in a home directory,
#               which the service cannot see)
#   WHEELHOUSE  a folder of wheels (make wheelhouse); with it nothing is downloaded
#   UNITDIR, BINDIR   where the unit and the command go
set -eu

root=$1
source=$(cd "$(dirname "$0")/.." && pwd)
: "${PIP:=python3 -m pip}" "${PYTHON:=/usr/bin/python3}" "${WHEELHOUSE:=}"
: "${UNITDIR:=/etc/systemd/system}" "${BINDIR:=/usr/local/bin}"
venv=$root/opt/trunkline
umask 022

rm -rf "$venv"
mkdir -p "$venv"
"$PYTHON" -m venv --without-pip "$venv"

# Built from a copy: what an earlier build left beside the sources would come along.
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
for part in pyproject.toml README.md LICENSE codecs rtp sip gateway; do
    cp -R "$source/$part" "$copy/"
done
find "$copy" -name __pycache__ -prune -exec rm -rf {} +
set -- --quiet --disable-pip-version-check --no-warn-script-location --no-compile --constraint "$source/constraints.txt"
if [ -n "$WHEELHOUSE" ]; then
    set -- "$@" --no-index --find-links "$WHEELHOUSE"
fi
PYTHONWARNINGS=ignore $PIP --python "$venv/bin/python" install "$@" "$copy[postgresql]"

# The environment is used at /opt/trunkline, wherever it was built; only the command is run by name.
find "$venv/bin" -type f ! -name trunkline -delete
sed -i '1s,^#!.*,#!/opt/trunkline/bin/python,' "$venv/bin/trunkline"
sed -i '/^command = /d' "$venv/pyvenv.cfg"
site=$(echo "$venv"/lib/python3.*/site-packages)
rm -f "$site"/trunkline-*.dist-info/direct_url.json
find "$site" -type d -name tests -prune -exec rm -rf {} +
chmod -R u=rwX,go=rX "$venv"
find "$venv/lib" -name '*.so*' -type f -exec chmod 0644 {} +
# The service cannot write there: without bytecode every start would compile again.
"$venv/bin/python" -m compileall -q -j 0 -s "$root" --invalidation-mode unchecked-hash "$venv/lib"

doc=$venv/share/doc/trunkline
install -d "$doc" "$venv/share/trunkline" "$root/etc/trunkline" "$root$UNITDIR" "$root$BINDIR"
install -m 0644 "$source"/docs/*.md "$source"/docs/*.png "$source/README.md" "$source/LICENSE" "$source/conf/trunkline.toml" "$doc/"
install -m 0644 "$source/conf/trunkline.service.d/realtime.conf" "$venv/share/trunkline/"
install -m 0644 "$source/packaging/trunkline.toml" "$root/etc/trunkline/trunkline.toml"
install -d -m 0700 "$root/etc/trunkline/credentials"
install -m 0644 "$source/conf/trunkline.service" "$root$UNITDIR/trunkline.service"
install -m 0755 "$source/packaging/trunkline.sh" "$root$BINDIR/trunkline"
