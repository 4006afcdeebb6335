#!/bin/sh
# Install the locked dependencies into build/venv, once. `PYTHON` chooses the interpreter.
set -eu
cd "$(dirname "$0")/.."

fail() {
    echo "mixpe: set-up: $1" >&2
    exit 2
}

recent='import sys; sys.exit(sys.version_info < (3, 11))'
python=
for candidate in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
    if command -v "$candidate" > /dev/null && "$candidate" -c "$recent"; then
        python=$candidate
        break
    fi
done

[ -n "$python" ] || fail "Python 3.11 or later is missing: install python3 python3-venv libpython3-dev"
command -v "${CXX:-c++}" > /dev/null || fail "a C++ compiler is missing: install g++"
"$python" -c 'import ensurepip, venv' 2> /dev/null \
    || fail "the venv module of $python is missing: install python3-venv"

venv=build/venv
mkdir -p build
exec 9> build/setup.lock
! command -v flock > /dev/null || flock 9

# The installed commands hold the folder's path, so a folder that was moved installs anew.
wanted() {
    pwd
    cat requirements.lock requirements-cells.lock
}

if ! "$venv/bin/python" -c "" 2> /dev/null || ! wanted | cmp -s - "$venv/installed"; then
    echo "mixpe: installing the locked dependencies into $venv (once)"
    rm -rf "$venv" build/cells
    "$python" -m venv "$venv"
    # Modules are compiled when first imported: most never are, and all would take half the time.
    install="$venv/bin/python -m pip --disable-pip-version-check --quiet install --no-compile"
    $install --require-hashes --only-binary :all: -r requirements.lock \
        || fail "the packages of requirements.lock could not be installed"
    $install --no-deps --require-hashes --only-binary :all: --target build/cells -r requirements-cells.lock \
        || fail "the packages of requirements-cells.lock could not be installed"
    $install --no-deps --no-build-isolation --editable . \
        || fail "the checkout could not be installed"
    wanted > "$venv/installed"
fi

if [ ! -e "$venv/libpython" ]; then
    "$venv/bin/python" -c 'import find_libpython as f, sys; sys.exit(not f.find_libpython())' \
        || fail "the shared library of $python is missing: install libpython3-dev"
    : > "$venv/libpython"
fi
