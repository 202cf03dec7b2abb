#!/bin/sh
# Tags raw text with the released tagger, without any training:
#   echo 我的弟弟在上海工作。 | sh tag.sh
#   sh tag.sh [option of lac_finetune/infer.py]... [file]...
# It finds or makes the environment, see scripts/find_python.sh. Only the tagged text goes to standard output.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
. "$root/scripts/find_python.sh" >&2
exec "$PYTHON" "$root/lac_finetune/infer.py" --model_dir "${ELMO_MODELS:-$root/models}/lac_pku" "$@"
