#!/bin/sh
# install.sh install | upgrade | uninstall, as root. Takes stage.sh's variables, and
#   DESTDIR   a folder that stands for /; nothing is started then
#   STAGE     a folder that stage.sh has filled; without it that is done here
#   PURGE     1: uninstall removes the configuration, the secrets and the call records as well
set -eu

action=${1:-}
here=$(cd "$(dirname "$0")" && pwd)
: "${DESTDIR:=}" "${STAGE:=}" "${PURGE:=}" "${UNITDIR:=/etc/systemd/system}" "${BINDIR:=/usr/local/bin}"
export UNITDIR BINDIR
temporary=
trap '[ -z "$temporary" ] || rm -rf "$temporary"' EXIT

live() {
    [ -z "$DESTDIR" ] && [ -d /run/systemd/system ]
}

fail() {
    echo "install.sh: $1" >&2
    exit 1
}

place() {
    if [ -z "$STAGE" ]; then
        temporary=$(mktemp -d)
        STAGE=$temporary
        "$here/stage.sh" "$STAGE"
    fi
    # All is built before anything stops; running calls finish first (drain_s), on the files that they began on.
    running=
    if live && systemctl is-active --quiet trunkline.service; then
        running=yes
        systemctl stop trunkline.service
    fi
    # Piece by piece: a whole tree over / would replace links that Debian has there, such as /lib.
    rm -rf "$DESTDIR/opt/trunkline"
    mkdir -p "$DESTDIR/opt" "$DESTDIR/etc/trunkline" "$DESTDIR$UNITDIR" "$DESTDIR$BINDIR"
    cp -R --preserve=mode,timestamps,links --no-dereference "$STAGE/opt/trunkline" "$DESTDIR/opt/trunkline"
    if [ ! -e "$DESTDIR/etc/trunkline/trunkline.toml" ]; then
        install -m 0644 "$STAGE/etc/trunkline/trunkline.toml" "$DESTDIR/etc/trunkline/"
    fi
    install -d -m 0700 "$DESTDIR/etc/trunkline/credentials"
    install -m 0644 "$STAGE$UNITDIR/trunkline.service" "$DESTDIR$UNITDIR/"
    install -m 0755 "$STAGE$BINDIR/trunkline" "$DESTDIR$BINDIR/"
    if live; then
        systemctl daemon-reload
        [ -z "$running" ] || systemctl start trunkline.service
    fi
}

case $action in
install)
    if [ -z "$DESTDIR" ] && dpkg-query -W trunkline >/dev/null 2>&1; then
        fail "trunkline is installed as a Debian package; upgrade that, or remove it first"
    fi
    place
    echo "Installed. Next: /etc/trunkline/trunkline.toml, the secrets in /etc/trunkline/credentials, then"
    echo "    trunkline check --live && systemctl enable --now trunkline"
    ;;
upgrade)
    [ -d "$DESTDIR/opt/trunkline" ] || fail "nothing is installed; use install"
    place
    ;;
uninstall)
    if live && [ -e "$UNITDIR/trunkline.service" ]; then
        systemctl disable --now trunkline.service
    fi
    rm -rf "$DESTDIR/opt/trunkline"
    rm -f "$DESTDIR$UNITDIR/trunkline.service" "$DESTDIR$BINDIR/trunkline"
    if live; then
        systemctl daemon-reload
    fi
    if [ "$PURGE" = 1 ]; then
        rm -rf "$DESTDIR/etc/trunkline" "$DESTDIR/var/lib/private/trunkline" "$DESTDIR/var/lib/trunkline"
    else
        echo "Kept: $DESTDIR/etc/trunkline and $DESTDIR/var/lib/trunkline (PURGE=1 removes them)"
    fi
    ;;
*)
    fail "usage: install.sh install | upgrade | uninstall"
    ;;
esac
