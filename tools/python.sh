#!/bin/sh
# Prints the newest Python on this machine that can run the project and make a virtual environment.
#
# A name on PATH is not enough: pyenv leaves shims for versions that are not active, Debian ships `python3`
# without `venv`, macOS ships one that is too old. So each candidate is run and asked.
# PYTHON=/path/to/python overrules the search.
set -eu

asks='import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))'

for candidate in ${PYTHON:-python3.14 python3.13 python3.12 python3.11 python3 python}; do
    if "$candidate" -c "$asks" >/dev/null 2>&1; then
        command -v "$candidate"
        exit 0
    fi
done

echo "error: no Python >= 3.11 with the modules venv and ensurepip was found" >&2
echo "hint: Debian/Ubuntu: apt-get install python3-venv; macOS: brew install python; or set PYTHON=/path/to/python" >&2
exit 1
