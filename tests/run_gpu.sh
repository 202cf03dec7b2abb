#!/bin/sh
# Tries the project on a GPU and writes a report to send: sh tests/run_gpu.sh
# The report has the machine, the tests that compare the GPU with the CPU, and the speed at the published sizes. A part
# that fails does not stop the others. Finds or makes the environment (see scripts/find_python.sh).
# sh tests/run_gpu.sh --cpu does the same on the CPU with tiny sizes, to try this script.
# Exit code: 0 all is well, 1 a part failed, 2 there is no GPU or no environment.
# Optional variable: REPORT, the file to write (default: gpu-report.txt in the root)
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
no_gpu() {
    echo "${0##*/}: error: no GPU is visible: check nvidia-smi and CUDA_VISIBLE_DEVICES; --cpu does without one" >&2
    exit 2
}
case $* in
    '')
        wanted=gpu
        options='--use_gpu True --steps 20'
        command -v nvidia-smi >/dev/null 2>&1 || no_gpu # before an environment is made
        set -- --use_gpu True # scripts/find_python.sh then says why a GPU cannot be used
        ;;
    --cpu)
        wanted=cpu
        options='--use_gpu False --vocab_size 500 --embed_size 8 --hidden_size 16 --num_samples 20 --batch_size 4'
        export CUDA_VISIBLE_DEVICES=
        ;;
    *)
        echo "${0##*/}: error: unknown option $*; there is --cpu alone" >&2
        exit 2
        ;;
esac
. "$root/scripts/find_python.sh"
[ "$DEVICE" = "$wanted" ] || no_gpu
fill_venv "$root/requirements/tests.txt"

report=${REPORT:-$root/gpu-report.txt}
output=$(mktemp)
trap 'rm -f "$output"' EXIT
failed=

# part TITLE COMMAND...: adds what the command prints to the report.
part() {
    printf '\n== %s\n' "$1" | tee -a "$report"
    shift
    code=0
    "$@" >"$output" 2>&1 || code=$?
    [ "$code" -eq 0 ] || { failed=yes; echo "failed: exit code $code" >>"$output"; }
    tee -a "$report" <"$output"
}

# gpu PROPERTY: that of each GPU, in one line. An older driver does not know all properties.
gpu() {
    said=$(ask_gpu "$1") || said=unknown
    printf '%s' "$said" | tr '\n' ';'
}

machine() {
    echo "date: $(date '+%Y-%m-%d %H:%M %z')"
    commit=$(git -C "$root" rev-parse HEAD 2>/dev/null) || commit=unknown
    [ "$commit" = unknown ] || git -C "$root" diff --quiet HEAD || commit="$commit, with changes"
    echo "commit: $commit"
    case $DEVICE in
        gpu) echo "GPU: $(gpu name), compute capability $(gpu compute_cap), $(gpu memory.total), driver" \
            "$(gpu driver_version)" ;;
        *) echo "GPU: none is used" ;;
    esac
    PYTHONPATH=$root "$PYTHON" -c "from elmo import release
import platform
import paddle.fluid
print('fluid %s, CUDA: %s' % (paddle.__version__, paddle.fluid.is_compiled_with_cuda()))
print('Python %s on %s' % (platform.python_version(), platform.platform()))"
}

# shellcheck disable=SC2086 # $options is several words
speed() { "$PYTHON" "$root/benchmark/speed.py" $options "$@"; }

: >"$report"
part machine machine
part tests "$PYTHON" -m pytest -q -rpfEs --tb=short -W ignore \
    "$root/tests/test_gpu.py" "$root/tests/test_gpu_kernels.py"
part 'speed of training' speed
part 'speed of training with TF32, as fluid 2.5 trains on compute capability 8.0 and above' speed --tf32
part 'speed of inference' speed --inference
printf '\nThe report is %s; please send it as an issue\n' "$report"
[ -z "$failed" ]
