#!/bin/sh
# Pretraining on the sample in data/: sh run.sh [option of train.py]... Finds or makes the environment (see env.sh).
set -eu

# The published sizes ask for a GPU. With the small ones the sample takes about a minute on 2 CPU cores.
gpu_sizes='--embed_size 512 --hidden_size 4096 --num_layers 2 --batch_size 128 --num_steps 20'
cpu_sizes='--embed_size 64 --hidden_size 256 --num_layers 2 --batch_size 8 --num_steps 20'
cpu_sizes="$cpu_sizes --dropout 0.3 --max_epoch 20 --log_interval 100"

root=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
. "$root/env.sh"

case $DEVICE in
    gpu) use_gpu=True sizes=$gpu_sizes ;;
    *) use_gpu=False sizes=$cpu_sizes ;;
esac

echo "training on the $DEVICE with $sizes"
echo "any option of train.py can follow run.sh and replaces the one above; sh run.sh --help lists them"
# shellcheck disable=SC2086 # $sizes is several words
exec "$PYTHON" "$root/train.py" --train_path "$root/data/train/*" --test_path "$root/data/dev/*" \
    --vocab_path "$root/data/vocabulary_min5k.txt" --use_gpu "$use_gpu" $sizes "$@"
