#!/bin/sh
# Continues pretraining on other text, such as text of a domain, and adds its new words:
#   TEXT='novels/*.txt' CHECKPOINT=checkpoints VOCABULARY=data/vocabulary_min5k.txt \
#       sh tools/adapt.sh [option of train.py]...
# TEXT is raw text, one document a line (see data/prepare.py). Training starts from CHECKPOINT, with its VOCABULARY.
# Optional variables:
#   OUTPUT     directory for all results (default: adapted)
#   MIN_COUNT  words that occur this often in TEXT are added to the vocabulary (default 5; 0: no new words)
# The text is cut by the vocabulary. After an interruption, the same command continues; it may have other options of
# train.py, but not another text, checkpoint, vocabulary or MIN_COUNT.
set -eu
case " $* " in *' --help '* | *' -h '*) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p;}' "$0"; exit ;; esac

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
. "$root/scripts/find_python.sh"

for name in TEXT CHECKPOINT VOCABULARY; do
    eval "[ -n \"\${$name-}\" ]" || fail "$name is not set: TEXT=… CHECKPOINT=… VOCABULARY=… sh tools/adapt.sh"
done
output=${OUTPUT:-adapted}
case $DEVICE in gpu) use_gpu=True ;; *) use_gpu=False ;; esac

start=$CHECKPOINT
# shellcheck disable=SC2153 # the user sets it, as checked above
vocabulary=$VOCABULARY

# What is in OUTPUT has a note of what it was made of, except what a former release made. The note comes when the part is
# there, so a command that was wrong can be set right.
of_text="TEXT=$TEXT VOCABULARY=$VOCABULARY MIN_COUNT=${MIN_COUNT:-5};"
of_all="$of_text CHECKPOINT=$CHECKPOINT;"
note() { printf '%s\n' "$1" >"$output/made_of"; }
noted=$(cat "$output/made_of" 2>/dev/null) || noted=
case $of_all in "$noted"*) ;; *) fail "$output is of $noted give the same to go on, or another OUTPUT" ;; esac

if [ "${MIN_COUNT:-5}" != 0 ]; then
    vocabulary=$output/words/vocabulary.txt
    start=$output/start
    if [ ! -e "$vocabulary" ]; then
        run_part "$PYTHON" "$root/data/prepare.py" "$TEXT" --extend "$VOCABULARY" --characters \
            --min_count "${MIN_COUNT:-5}" --output "$output/words"
        note "$of_text"
    fi
    [ -e "$start" ] || run_part "$PYTHON" "$root/tools/convert.py" to_vocabulary "$CHECKPOINT" "$start" \
        --vocab_path "$VOCABULARY" --new_vocab_path "$vocabulary"
    note "$of_all"
fi
[ -e "$output/text" ] ||
    run_part "$PYTHON" "$root/data/prepare.py" "$TEXT" --vocab_path "$vocabulary" --output "$output/text"
note "$of_all"
run_part "$PYTHON" "$root/train.py" --train_path "$output/text/train" --test_path "$output/text/dev" \
    --vocab_path "$vocabulary" --init_from "$start" --use_gpu "$use_gpu" --resume "$@" --save_dir "$output/checkpoints"

run_part env PYTHONPATH="$root" "$PYTHON" - "$output/checkpoints" <<'END'
import sys
from elmo import runlog
found = [record['perplexity'] for record in runlog.read(sys.argv[1]) if record['kind'] == 'dev']
print('dev perplexity on the new text: %.2f before, %.2f at best after' % (found[0], min(found[1:] or found)))
END
