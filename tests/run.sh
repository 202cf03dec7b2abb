#!/bin/sh
# All tests: sh tests/run.sh [option of pytest]... Finds or makes the environment (see scripts/find_python.sh).
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
. "$root/scripts/find_python.sh"
fill_venv "$root/requirements/tests.txt"
"$PYTHON" -c 'import pytest' 2>/dev/null || fail "$PYTHON has no pytest: install requirements/tests.txt into it"

case "$*" in *.py*) ;; *) set -- "$@" "$root/tests" ;; esac # unless test files are named, all
exec "$PYTHON" -m pytest "$@"
