#!/bin/sh
# The whole example on the PKU People's Daily: trains the tagger without and with ELMo, prints the gain.
#   sh lac_finetune/run.sh [pretrain] [option of lac_finetune/train.py]...
# The ELMo is that of --elmo_checkpoint, with the --vocab_path that belongs to it; or the released elmo_zh_small. With
# the word pretrain, with a --vocab_path alone, or where models/ has no elmo_zh_small, a small one is pretrained first.
# All output goes to lac_finetune/output, or to lac_finetune/output.sample where the corpus cannot be fetched and a few
# sentences take its place. An interrupted pretraining goes on there; a finished one is used again.
# The options: .venv/bin/python lac_finetune/train.py --help
set -eu
case " $* " in *' --help '* | *' -h '*) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p;}' "$0"; exit ;; esac

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
root=${here%/*}
. "$root/scripts/find_python.sh"

# option NAME [WORD]...: prints the value of --NAME, if it is among the words; the last one if it is there twice.
option() {
    name=$1
    shift
    previous=
    value=
    for word; do
        case $word in --"$name"=*) value=${word#*=} ;; esac
        [ "$previous" != "--$name" ] || value=$word
        previous=$word
    done
    printf '%s\n' "$value"
}

pretrain=no
if [ "${1-}" = pretrain ]; then
    pretrain=yes
    shift
fi
elmo=$(option elmo_checkpoint "$@")
elmo=${elmo:-$(option pretrain_elmo_model_path "$@")}
vocabulary=$(option vocab_path "$@")
[ "$pretrain" = no ] || [ -z "$elmo" ] || fail "pretrain and --elmo_checkpoint: give one of them"
case " $* " in
    *' pretrain '*) fail "pretrain: give it first, before the options" ;;
    *' --save_dir'* | *' --use_elmo'* | *' --resume'*)
        fail "--save_dir, --use_elmo and --resume are set here; for one tagger use lac_finetune/train.py" ;;
esac
[ -z "$(option init_from "$@")" ] ||
    fail "--init_from: its model has an ELMo or none, so there is no gain to measure; use lac_finetune/train.py"
released=${ELMO_MODELS:-$root/models}/elmo_zh_small # a path: another thing here may have that name
if [ -z "$elmo$vocabulary" ] && [ "$pretrain" = no ] && [ -e "$released/model.json" ]; then
    elmo=$released
fi

if [ -d "$root/data/pku" ] || run_part sh "$root/data/download.sh"; then
    lac=$root/data/pku/lac
    output=$here/output
    text=$output/text
    words=$root/data/pku/vocabulary.txt
    network='--embed_size 128 --hidden_size 512 --num_layers 2 --batch_size 64 --num_steps 20 --max_epoch 3'
    network="$network --sample_softmax True --n_negative_samples_batch 2048 --optim adam --learning_rate 0.004"
    tagger=
    time='45 minutes'
else
    echo "NOTICE: the People's Daily corpus could not be fetched (see above). This goes on with the few sentences in"
    echo "NOTICE: lac_finetune/data, which show that everything runs; their scores say nothing about what ELMo gains."
    lac=$here/data
    output=$here/output.sample
    text=$root/data
    words=$root/data/vocabulary_min5k.txt
    network='--embed_size 32 --hidden_size 64 --num_layers 2 --batch_size 8 --num_steps 20 --max_epoch 3'
    tagger='--batch_tokens 60 --max_epoch 40 --patience 10'
    time='two minutes'
fi
case $DEVICE in gpu) use_gpu=True ;; *) use_gpu=False ;; esac
mkdir -p "$output"
echo "all of it goes to $output"

if [ -n "$elmo" ]; then
    echo "1/3 the ELMo is there: $elmo"
else
    vocabulary=${vocabulary:-$words}
    echo "with the pretraining this takes about $time on 2 CPU cores"
    if [ -e "$output/vocabulary.txt" ] && ! cmp -s "$vocabulary" "$output/vocabulary.txt"; then
        fail "$output has the ELMo of another vocabulary than $vocabulary; remove $output/text, $output/elmo and" \
            "$output/vocabulary.txt"
    fi
    [ ! -e "$vocabulary" ] || cp "$vocabulary" "$output/vocabulary.txt"
    if [ ! -d "$text" ]; then # cut with the vocabulary, as the tagger will see it, not by the gold standard
        cut -f1 "$lac/train.tsv" | tr -d ' ' >"$output/raw.txt"
        run_part "$PYTHON" "$root/data/prepare.py" "$output/raw.txt" --vocab_path "$vocabulary" --dev_every 40 \
            --output "$text"
    fi
    echo "1/3 pretraining a small ELMo: $network"
    # shellcheck disable=SC2086 # $network is several words
    run_part "$PYTHON" "$root/train.py" --train_path "$text/train" --test_path "$text/dev" --vocab_path "$vocabulary" \
        --use_gpu "$use_gpu" --save_dir "$output/elmo" $network --resume
    elmo=$output/elmo
fi

number=1
until is_free "$output/models.$number"; do number=$((number + 1)); done
models=$output/models.$number
step=2
for use_elmo in False True; do
    echo "$step/3 training the tagger, --use_elmo $use_elmo"
    # shellcheck disable=SC2086 # $tagger is several words
    run_part "$PYTHON" "$here/train.py" --train_path "$lac/train.tsv" --dev_path "$lac/dev.tsv" \
        --test_path "$lac/test.tsv" --use_gpu "$use_gpu" $tagger "$@" ${vocabulary:+--vocab_path "$vocabulary"} \
        --elmo_checkpoint "$elmo" --use_elmo "$use_elmo" --save_dir "$models/elmo_$use_elmo"
    step=3
done

run_part "$PYTHON" - "$models" <<'END'
import io, json, sys
without, with_elmo = [json.load(io.open('%s/elmo_%s/settings.json' % (sys.argv[1], use), encoding='utf-8'))['test_f1']
                      for use in (False, True)]
print('test F1 without ELMo %.2f, with ELMo %.2f: a gain of %+.2f' % (without, with_elmo, with_elmo - without))
END
echo "to tag text: $PYTHON $here/infer.py --model_dir $models/elmo_True FILE"
