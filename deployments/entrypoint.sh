#!/bin/sh
# Runs a command with every secret in its environment: a secret is a file named like the variable that it fills.
set -eu

for secret in "${SECRETS_DIR:-/run/secrets}"/*; do
    [ -f "$secret" ] || continue
    export "$(basename "$secret")=$(cat "$secret")"
done
exec "$@"
