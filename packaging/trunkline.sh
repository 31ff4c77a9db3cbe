#!/bin/sh
# The installed command: it sees the configuration, secrets and records of the service.
: "${TRUNKLINE_CONFIG:=/etc/trunkline/trunkline.toml}"
: "${CREDENTIALS_DIRECTORY:=/etc/trunkline/credentials}"
: "${STATE_DIRECTORY:=/var/lib/trunkline}"
export TRUNKLINE_CONFIG CREDENTIALS_DIRECTORY STATE_DIRECTORY
exec /opt/trunkline/bin/trunkline "$@"
