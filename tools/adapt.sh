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

# What is in OUTPUT has a note of what it was made of. What a former release made has none, and gets none.
made_of="TEXT=$TEXT VOCABULARY=$VOCABULARY MIN_COUNT=${MIN_COUNT:-5}; CHECKPOINT=$CHECKPOINT;"
noted=$(cat "$output/made_of" 2>/dev/null) || noted=
without=no
if [ -z "$noted" ] && { [ -e "$output/words" ] || [ -e "$output/text" ]; }; then without=yes; fi
note() {
    mkdir -p "$output"
    [ $without = yes ] || printf '%s\n' "$made_of" >"$output/made_of"
}
# As long as nothing is made of the checkpoint, a wrong one can be set right.
[ -e "$output/start" ] || [ -e "$output/checkpoints/latest" ] || noted=${noted%% CHECKPOINT=*}
case $made_of in "$noted"*) ;; *) fail "$output is of $noted give the same to go on, or another OUTPUT" ;; esac

if [ "${MIN_COUNT:-5}" != 0 ]; then
    vocabulary=$output/words/vocabulary.txt
    start=$output/start
    [ -e "$vocabulary" ] || run_part "$PYTHON" "$root/data/prepare.py" "$TEXT" --extend "$VOCABULARY" --characters \
        --min_count "${MIN_COUNT:-5}" --output "$output/words"
    note
    [ -e "$start" ] || run_part "$PYTHON" "$root/tools/convert.py" to_vocabulary "$CHECKPOINT" "$start" \
        --vocab_path "$VOCABULARY" --new_vocab_path "$vocabulary"
fi
[ -e "$output/text" ] ||
    run_part "$PYTHON" "$root/data/prepare.py" "$TEXT" --vocab_path "$vocabulary" --output "$output/text"
note
run_part "$PYTHON" "$root/train.py" --train_path "$output/text/train" --test_path "$output/text/dev" \
    --vocab_path "$vocabulary" --init_from "$start" --use_gpu "$use_gpu" --resume "$@" --save_dir "$output/checkpoints"

run_part env PYTHONPATH="$root" "$PYTHON" - "$output/checkpoints" <<'END'
import sys
from elmo import runlog
found = [record['perplexity'] for record in runlog.read(sys.argv[1]) if record['kind'] == 'dev']
print('dev perplexity on the new text: %.2f before, %.2f at best after' % (found[0], min(found[1:] or found)))
END
