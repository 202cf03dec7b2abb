#!/bin/sh
# All tests: sh tests/run.sh [option of pytest]... Finds or makes the environment (see scripts/env.sh).
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
. "$root/scripts/env.sh"
install "$root/requirements/tests.txt"
"$PYTHON" -c 'import pytest' 2>/dev/null || fail "$PYTHON has no pytest: install requirements/tests.txt into it"

case "$*" in *.py*) ;; *) set -- "$@" "$root/tests" ;; esac # unless test files are named, all
exec "$PYTHON" -m pytest "$@"
