#!/bin/sh
# Pretrains on the sample in data/: sh run.sh [option of train.py]...
# It finds or makes the environment, see scripts/find_python.sh.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
. "$root/scripts/find_python.sh"

# The published sizes need a GPU. With the small sizes, the sample takes 20 seconds on 2 CPU cores.
case $DEVICE in
    gpu)
        use_gpu=True
        sizes='--embed_size 512 --hidden_size 4096 --num_layers 2'
        options='--batch_size 128 --num_steps 20'
        ;;
    *)
        use_gpu=False
        sizes='--embed_size 64 --hidden_size 256 --num_layers 2'
        options='--batch_size 8 --num_steps 20 --dropout 0.3 --max_epoch 10 --log_interval 100'
        ;;
esac
case " $* " in
    # train.py takes the sizes of the checkpoint
    *' --init_from'* | *' --load_pretraining_params'* | *' --resume_from'* | *' --load_dir'*) sizes= ;;
esac

echo "training on the $DEVICE with $sizes $options"
echo "any option of train.py can follow run.sh and replaces the one above; sh run.sh --help lists them"
# shellcheck disable=SC2086 # $sizes and $options are several words
exec "$PYTHON" "$root/train.py" --train_path "$root/data/train" --test_path "$root/data/dev" \
    --vocab_path "$root/data/vocabulary_min5k.txt" --use_gpu "$use_gpu" $sizes $options "$@"
