#!/bin/sh
# Compares the speed of this project, PyTorch and the authors' bilm-tf in a table: sh benchmark/compare.sh FILE
# Each run adds a line of JSON to FILE. The table shows all results in FILE. The peers are installed into .venv-torch
# and .venv-bilm-tf. Optional variables:
#   ROUNDS            how often each program is measured, in turn (default: 3)
#   PUBLISHED, SMALL  options of benchmark/speed.py for the two networks (default: the published sizes and small ones)
set -eu

output=${1:?name a file for the results}
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
rounds=${ROUNDS:-3}
published=${PUBLISHED-}
small=${SMALL---vocab_size 25680 --embed_size 128 --hidden_size 512 --num_samples 2048 --batch_size 64 --steps 20}
. "$root/scripts/find_python.sh"
ours=$PYTHON

# make_peer NAME VERSION PACKAGE...: makes .venv-NAME, as find_python.sh makes .venv; sets $PYTHON to its Python.
make_peer() {
    VENV=$root/.venv-$1
    # shellcheck disable=SC2034 # make_venv reads it
    PYTHON_VERSIONS=$2
    making=$VENV.making
    PYTHON=$VENV/bin/python
    shift 2
    if [ -d "$making" ] || is_free "$VENV"; then
        make_venv
    fi
    [ "$(cat "$VENV/installed" 2>/dev/null)" != "$*" ] || return 0
    echo "installing $* into $VENV (log: $VENV/install.log)"
    "$PYTHON" -m pip install "$@" >"$VENV/install.log" 2>&1 || fail "cannot install $*: see $VENV/install.log"
    rm -rf "$making"
    echo "$*" >"$VENV/installed"
}

# run PROGRAM [OPTION]...: measures the program once.
run() {
    program=$1
    shift
    case $program in
        ours) set -- "$ours" "$root/benchmark/speed.py" "$@" ;;
        replicas-*) set -- "$ours" "$root/benchmark/speed.py" --devices "${program#*-}" --threads 1 "$@" ;;
        torch) set -- "$torch" "$root/benchmark/torch_peer.py" "$@" ;;
        bilm-tf) set -- "$bilm_tf" "$root/benchmark/bilm_tf_peer.py" "$@" ;;
    esac
    said=$("$@" --output "$output" 2>&1) || fail "$* ended with exit code $?: $(last_line "$said")"
    seconds=$(($(date +%s) - started))
    printf '%d:%02d:%02d %s\n' $((seconds / 3600)) $((seconds / 60 % 60)) $((seconds % 60)) "$(last_line "$said")"
}

# compare 'PROGRAM...' [OPTION]...: measures the programs in turn, so a slow phase of the machine affects all of them.
compare() {
    programs=$1
    shift
    round=0
    while [ "$round" -lt "$rounds" ]; do
        round=$((round + 1))
        for each in $programs; do
            run "$each" "$@"
        done
    done
}

# torch may install CUDA libraries; they are not used.
make_peer torch 3.11 torch==2.13.0 numpy==2.4.6 six==1.17.0
torch=$PYTHON
# bilm is written for TensorFlow 1.15. 1.15.5 is its last release, and 3.7 is the last Python that has it. protobuf and
# numpy have versions of that time, as pip would install later ones.
make_peer bilm-tf 3.7 tensorflow==1.15.5 bilm==0.1.post5 protobuf==3.20.3 numpy==1.16.6
bilm_tf=$PYTHON
export CUDA_VISIBLE_DEVICES= # all on the CPU

echo "$rounds rounds of each program, of which the published sizes take longest; the results go to $output"
started=$(date +%s)
# shellcheck disable=SC2086 # $published and $small are several words
{
    compare 'ours torch bilm-tf' $published
    compare 'ours torch' $published --num_samples 0
    compare 'ours torch' $published --inference
    compare 'ours torch bilm-tf' $small
    compare 'ours torch bilm-tf' $small --num_samples 0
    export MKL_NUM_THREADS=1
    compare 'replicas-1 replicas-2' $published
}
"$ours" "$root/benchmark/table.py" "$output"
