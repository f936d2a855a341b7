#!/bin/sh
# Renew the locks that the Dockerfile installs from: every package that linkpool and its traces need, and what
# builds its wheel, at the newest version that pyproject.toml allows, with the hashes of its files.
# For Python 3.12 on Linux, as in the image. Look at the difference before it is committed.
#
#   deploy/lock.sh            (PYTHON=… names another interpreter of 3.12)
set -eu
cd "$(dirname "$0")/.."
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
"${PYTHON:-python3.12}" -m venv "$tools"
"$tools/bin/pip" install --quiet 'pip-tools>=7.4'

renew() { # FILE OPTIONS...
    file=$1
    shift
    # Without the address of an index: the lock says what is installed, not where it comes from.
    "$tools/bin/pip-compile" --quiet --upgrade --generate-hashes --strip-extras --allow-unsafe \
        --no-header --no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
        --output-file "$tools/$file" "$@" pyproject.toml
    if grep -n '://' "$tools/$file"; then
        echo "$file would hold an address: see above" >&2
        exit 1
    fi
    { echo "# Made by deploy/lock.sh for Python 3.12 on Linux; do not edit."; cat "$tools/$file"; } >"$file"
}

renew requirements.lock --extra otel
renew requirements-build.lock --only-build-deps --build-deps-for wheel
