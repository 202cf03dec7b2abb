#!/bin/sh
# Pretrains on the GPUs of many machines, with one process for each GPU. Run it on every machine, with the same NODES:
#   NODES=10.0.0.1,10.0.0.2 NODE=10.0.0.1 sh scripts/run_nccl2.sh --save_dir DIR [option of train.py]...
# NODES has the addresses of all machines, NODE the address of this machine (default: this machine alone). GPUS has the
# GPUs of this machine (default: 0,1,2,3,4,5,6,7).
set -eu
case " $* " in *' --help '* | *' -h '*) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p;}' "$0"; exit ;; esac

sizes='--embed_size 512 --hidden_size 4096 --num_layers 2 --batch_size 128 --num_steps 20'

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
. "$root/scripts/find_python.sh"

# shellcheck disable=SC2086 # $sizes is several words
set -- "$root/train.py" --train_path "$root/data/train" --test_path "$root/data/dev" \
    --vocab_path "$root/data/vocabulary_min5k.txt" --update_method nccl2 $sizes "$@"
nodes=${NODES:-127.0.0.1} node=${NODE:-127.0.0.1} gpus=${GPUS:-0,1,2,3,4,5,6,7}
case $("$PYTHON" -m paddle.distributed.launch --help 2>&1) in # fluid 2 has other options
    *--cluster_node_ips*) set -- --cluster_node_ips "$nodes" --node_ip "$node" --selected_gpus "$gpus" "$@" ;;
    *) set -- --ips "$nodes" --host "$node" --devices "$gpus" "$@" ;;
esac
exec "$PYTHON" -m paddle.distributed.launch "$@"
