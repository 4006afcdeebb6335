#!/bin/sh
# Renew requirements.lock from pyproject.toml, for every platform and Python version. Needs `uv`.
set -eu
cd "$(dirname "$0")/.."
uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
    --extra cluster --extra dev --extra fpga --extra fusesoc --no-annotate --custom-compile-command scripts/lock.sh \
    "$@" pyproject.toml -o requirements.lock
