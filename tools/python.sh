#!/bin/sh
# Prints the newest Python on this machine that can run the project and make a virtual environment.
#
# A name on PATH is not enough: pyenv leaves shims for versions that are not active, Debian ships `python3`
# without `venv`, macOS ships one that is too old. So each candidate is run and asked. Where none fits, root on
# Debian or Ubuntu is given Debian's. PYTHON=/path/to/python overrules the search.
set -eu

asks='import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))'

search() {
    for candidate in ${PYTHON:-python3.14 python3.13 python3.12 python3.11 python3 python}; do
        if "$candidate" -c "$asks" >/dev/null 2>&1; then
            command -v "$candidate"
            return 0
        fi
    done
    return 1
}

search && exit 0

if [ -z "${PYTHON:-}" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "installing python3-venv" >&2
    export DEBIAN_FRONTEND=noninteractive
    { apt-get update -q && apt-get install -q -y --no-install-recommends python3-venv; } >/dev/null 2>&1 || true
    search && exit 0
fi

echo "error: ${PYTHON:-no Python here} is not Python >= 3.11 with the modules venv and ensurepip" >&2
echo "hint: Debian/Ubuntu: apt-get install python3-venv; macOS: brew install python;" \
    "or set PYTHON=/path/to/python" >&2
exit 1
