#!/bin/sh
# Pretrains with parameter servers. All processes run on this machine, on CPUs:
#   sh scripts/run_pserver.sh --save_dir DIR [option of train.py]...
# SERVERS and TRAINERS say how many there are (default 1 and 2), PORT is the port of the first server (default 7164).
# docs/distributed.md has the commands for many machines.
set -eu
case " $* " in *' --help '* | *' -h '*) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p;}' "$0"; exit ;; esac

sizes='--embed_size 64 --hidden_size 256 --num_layers 2 --batch_size 4 --num_steps 20 --dropout 0.3 --max_epoch 10'

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
export CPU_NUM=1 # a trainer has one device
. "$root/scripts/find_python.sh"

for name in TRAINERS SERVERS PORT; do
    eval "value=\${$name:-1}"
    case $value in
        0* | *[!0-9]* | ??????*) fail "$name=$value: set it to a whole number from 1 to 99999" ;;
    esac
done
PADDLE_TRAINERS_NUM=${TRAINERS:-2}
port=${PORT:-7164}
last=$((port + ${SERVERS:-1} - 1))
[ $last -le 65535 ] || fail "PORT=$port: the port of the last server would be $last, above 65535"
PADDLE_PSERVERS_IP_PORT_LIST=$(seq -s , -f '127.0.0.1:%.0f' "$port" "$last")
export PADDLE_TRAINERS_NUM PADDLE_PSERVERS_IP_PORT_LIST

# shellcheck disable=SC2086 # $sizes is several words
train() {
    exec "$PYTHON" "$root/train.py" --train_path "$root/data/train" --test_path "$root/data/dev" \
        --vocab_path "$root/data/vocabulary_min5k.txt" --update_method pserver --use_gpu False $sizes "$@"
}

# Each trainer finishes its step, and the first one saves. SIGUSR1, as the terminal may send its signal to all of them,
# and the same one twice ends a training at once.
# shellcheck disable=SC2086 # $trainers is several words
tell_trainers() { kill -s USR1 $trainers 2>/dev/null || true; }
trainers=
stopped=
trap 'stopped=yes' HUP INT TERM
for endpoint in $(echo "$PADDLE_PSERVERS_IP_PORT_LIST" | tr , ' '); do
    (TRAINING_ROLE=PSERVER PADDLE_CURRENT_ENDPOINT=$endpoint && export TRAINING_ROLE PADDLE_CURRENT_ENDPOINT &&
        train "$@") &
done
for number in $(seq 0 $((PADDLE_TRAINERS_NUM - 1))); do
    (TRAINING_ROLE=TRAINER PADDLE_TRAINER_ID=$number && export TRAINING_ROLE PADDLE_TRAINER_ID && train "$@") &
    trainers="$trainers $!"
    first=${first:-$!}
done
trap tell_trainers HUP INT TERM
[ -z "$stopped" ] || tell_trainers # it came before all of them were known
code=0
wait "$first" || code=$?
while kill -0 "$first" 2>/dev/null; do # a signal has ended the command wait, not the trainer
    code=0
    wait "$first" || code=$?
done
wait || true
exit "$code"
