#!/bin/sh
# Makes the released models, from the text to the packed files:
#   sh models/make.sh ARCHIVE
# ARCHIVE is zh-text.tar.xz. After an interruption the same command goes on; what is finished is not done again.
# Optional variables:
#   OUTPUT   directory for text, checkpoints and tagger (default: released)
#   TARGET   directory of the packed models, which are replaced there (default: models/ of the project)
set -eu
case " $* " in *' --help '* | *' -h '*) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p;}' "$0"; exit ;; esac

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
root=${here%/*}
. "$root/scripts/find_python.sh"

[ $# -eq 1 ] || fail "give the archive of the text alone: sh models/make.sh zh-text.tar.xz"
[ -f "$1" ] || fail "$1: no such file: give zh-text.tar.xz"
output=${OUTPUT:-released}
export ELMO_MODELS="${TARGET:-$here}" # where pack.py writes, and train.py finds the packed ELMo

[ -d "$root/data/pku" ] || run_part sh "$root/data/download.sh" pku
mkdir -p "$output" "$ELMO_MODELS"
[ -d "$output/text" ] || run_part "$PYTHON" "$here/text.py" "$1" --output "$output/text"

vocabulary=$output/text/vocabulary.txt

# pretrain NAME PART [option]...: trains on $output/text/PART to $output/NAME
pretrain() {
    name=$1
    part=$2
    shift 2
    run_part "$PYTHON" "$root/train.py" --train_path "$output/text/$part/*" --test_path "$output/text/dev" \
        --vocab_path "$vocabulary" --n_negative_samples_batch 4096 --batch_size 128 --optim adam --linear_decay True \
        --save_minutes 10 --dev_interval 1000 --save_dir "$output/$name" --resume "$@"
}

# is_packed PART MODEL: was the MODEL that PART ends in packed to where the models go now, and is it still there?
is_packed() {
    [ "$(cat "$output/$1.done" 2>/dev/null)" = "$ELMO_MODELS" ] && [ -e "$ELMO_MODELS/$2/model.json" ]
}

if ! is_packed elmo elmo_zh_small; then
    pretrain elmo train --embed_size 192 --hidden_size 768 --learning_rate 0.004 --max_epoch 2
    pretrain adapted adapt --init_from "$output/elmo" --learning_rate 0.002 --max_epoch 3
    run_part "$PYTHON" "$here/pack.py" "$output/adapted" elmo_zh_small --vocab_path "$vocabulary"
    printf '%s\n' "$ELMO_MODELS" >"$output/elmo.done"
fi
if ! is_packed lac lac_pku; then
    lac=$root/data/pku/lac
    [ -d "$output/lac" ] && [ ! -d "$output/lac.resume" ] ||
        run_part "$PYTHON" "$root/lac_finetune/train.py" --train_path "$lac/train.tsv" --dev_path "$lac/dev.tsv" \
            --test_path "$lac/test.tsv" --elmo_checkpoint "$ELMO_MODELS/elmo_zh_small" --save_dir "$output/lac" --resume
    run_part "$PYTHON" "$here/pack.py" "$output/lac" lac_pku --elmo elmo_zh_small
    printf '%s\n' "$ELMO_MODELS" >"$output/lac.done"
fi
echo "the models are in $ELMO_MODELS: elmo_zh_small and lac_pku"
