# shellcheck shell=sh disable=SC2154
# Chooses $PYTHON, a Python that has fluid, and $DEVICE. If there is no such Python, it makes an environment with one.
# The run scripts set $root to the root of the project and source this file; an error ends them. A shell of yours sources
# env.sh instead.
# Optional variables:
#   PYTHON           the interpreter to use; it must have fluid, and nothing is installed into it
#   VENV             the environment to make or use (default: .venv in the root)
#   PYTHON_VERSIONS  the Python versions wanted, best first (default: those that suit the CPU or the GPU)
#   REQUIREMENTS     the requirements to install (default: the file of requirements/ that suits the CPU or the GPU)

fail() {
    echo "${0##*/}: error: $*" >&2
    exit 2
}

# run_part COMMAND...: runs it in the background, so that a signal for this script is passed on at once. The script then
# ends when the command has ended. What the terminal or a scheduler sends may reach all processes, and the same signal
# twice ends a training at once. So the terminal's are ignored there, and SIGUSR1 is passed on, which comes from here
# alone. ELMO_SCRIPT lets the command end if this shell is killed, see elmo/signals.py.
run_part() {
    stopped=
    child=starting
    trap 'pass_on 129' HUP
    trap 'pass_on 130' INT
    trap 'pass_on 143' TERM
    true 2>/dev/null 3<&0 || exec </dev/null # it was closed
    { (trap '' HUP INT; export ELMO_SCRIPT=$$; exec "$@") <&3 3<&- & } 3<&0
    child=$!
    [ -z "$stopped" ] || pass_on "$stopped" # it came before the number was known
    code=0
    wait "$child" || code=$?
    while kill -0 "$child" 2>/dev/null; do # a signal has ended the command wait, not the child
        wait "$child" || code=$?
    done
    child=
    [ -z "$stopped" ] || exit "$stopped"
    return "$code"
}

pass_on() {
    stopped=$1
    case $child in
        starting) ;;
        '') exit "$1" ;;
        *) kill -s USR1 "$child" 2>/dev/null || exit "$1" ;;
    esac
}

# Is DIR absent or empty?
is_free() { [ -z "$(ls -A "$1" 2>/dev/null)" ]; }

version() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || echo none; }

is_wanted() { case " $PYTHON_VERSIONS " in *" $(version "$1") "*) ;; *) return 1 ;; esac; }

# Can the interpreter import fluid? $said is then cuda=True or cuda=False, otherwise the error.
has_fluid() {
    said=$("$1" -c 'import paddle.fluid as f; print("cuda=%s" % f.core.is_compiled_with_cuda())' 2>&1) ||
        { said=${said:-exit status $?}; return 1; }
}

last_line() { printf '%s\n' "$*" | sed -n '$s/^ *//p'; }

# Python versions of fluid 1.8.5, which has a wheel for CPUs, and of 2.5.2, whose GPU wheel computes on a CPU too.
fluid_1='3.8 3.7 3.6 2.7'
fluid_2='3.11 3.10 3.9'

# use_cpu [REASON]: the CPU is used. REASON says why not the GPU; it is an error if the options demand a GPU.
use_cpu() {
    DEVICE=cpu
    wheel=$root/requirements/cpu.txt
    versions="$fluid_1 $fluid_2"
    [ -z "$*" ] || {
        case "$demanded" in yes) fail "--use_gpu True: $*" ;; esac
        echo "NOTICE: this runs on the CPU: $*"
    }
}

# use_gpu WHEEL VERSIONS: the GPU is used, with these requirements and Python versions.
use_gpu() { DEVICE=gpu wheel=$root/requirements/$1.txt versions=$2; }

# Is there a shared library of this name? CUDA 10 comes from the system.
has_library() {
    for directory in $(printf '%s' "${LD_LIBRARY_PATH-}" | tr : ' ') /usr/local/cuda*/lib64; do
        [ ! -e "$directory/$1" ] || return 0
    done
    ldconfig -p 2>/dev/null | grep -q "$1"
}

# ask_gpu PROPERTY: that of each GPU in CUDA_VISIBLE_DEVICES, or of all.
ask_gpu() {
    nvidia-smi ${CUDA_VISIBLE_DEVICES:+-i "$CUDA_VISIBLE_DEVICES"} --query-gpu="$1" --format=csv,noheader 2>&1
}

use_cuda_10() {
    if has_library libcudart.so.10.0 && has_library libcudnn.so.7; then
        use_gpu gpu-cuda10 "$fluid_1"
    else
        use_cpu "a GPU below compute capability 7.0, or a driver ($driver) below 450, wants CUDA 10.0 and cuDNN 7, and" \
            "libcudart.so.10.0 or libcudnn.so.7 is not here; install them, or name their directory in LD_LIBRARY_PATH"
    fi
}

# Chooses $DEVICE, $wheel and $versions. The GPUs' compute capability and driver decide, as nvidia-smi tells them.
choose_device() {
    [ "$demanded" != never ] || { use_cpu; return; }
    case ${CUDA_VISIBLE_DEVICES-all} in '' | -1*) use_cpu; return ;; esac
    command -v nvidia-smi >/dev/null 2>&1 || { use_cpu; return; }
    driver=$(ask_gpu driver_version) || { use_cpu "nvidia-smi fails ($(last_line "$driver")); check the driver"; return; }
    driver=$(last_line "$driver")
    [ -z "${REQUIREMENTS-}" ] || { use_gpu "" "$fluid_1 $fluid_2"; return; } # the user has chosen
    capabilities=$(ask_gpu compute_cap) || # an older driver does not know this question
        case $(ask_gpu name) in
            *V100* | *T4* | *A100* | *A10* | *A30* | *A40* | *RTX*) capabilities=7.0 ;;
            *) capabilities=0.0 ;;
        esac
    lowest=$(printf '%s\n' "$capabilities" | sort -n | sed -n 1p)
    highest=$(printf '%s\n' "$capabilities" | sort -n | sed -n '$p')
    [ "${driver%%.*}" -ge 450 ] || new_driver=no
    case ${lowest%%.*}-${highest%%.*}-${new_driver:-yes} in
        [78]-[78]-yes) use_gpu gpu-cuda11 "$fluid_2 3.8 3.7" ;;
        [0-7]-[0-7]-*) use_cuda_10 ;;
        8-8-no) use_cpu "driver $driver is too old for CUDA 11.8; install 450.80 or newer" ;;
        [0-6]-*) use_cpu "no fluid serves compute capabilities $lowest and $highest at once; set CUDA_VISIBLE_DEVICES" ;;
        *) use_cpu "compute capability $highest is newer than fluid, whose last release knows 7.0 to 8.9" ;;
    esac
}

# Lets paddle find the CUDA libraries of the wheels: it asks for names without a version, in a directory of its own.
link_cuda() {
    for library in "$VENV"/lib/python*/site-packages/nvidia/*/lib/lib*.so.*; do
        [ -e "$library" ] || return 0
        name=${library##*/}
        for link in "$name" "${name%%.so.*}.so"; do
            ln -sf "$library" "${library%/nvidia/*}/paddle/libs/$link"
        done
    done
}

# On a terminal, prints a line now and then with the last line of the log $1, until hide_progress.
show_progress() {
    progress=
    [ -t 1 ] || return 0
    (
        waited=0
        while sleep 1 >/dev/null 2>&1 && kill -0 $$ 2>/dev/null; do
            waited=$((waited + 1))
            [ $((waited % 20)) -ne 0 ] || echo "  $waited s, $(du -sm "$VENV" | cut -f1) MB: $(tail -n 1 "$1" | cut -c1-100)"
        done
    ) 9>&- &
    progress=$!
}

hide_progress() { [ -z "$progress" ] || kill "$progress"; }

# Takes the active interpreter, but not that of $VENV: this file manages the packages of $VENV.
find_active() {
    [ "${VIRTUAL_ENV-}" != "$VENV" ] || return 1
    for PYTHON in python python3; do
        if [ "$any_version" = yes ] || is_wanted "$PYTHON"; then
            ! has_fluid "$PYTHON" || return 0
        fi
    done
    return 1
}

# Finds $base, the first interpreter of a wanted version that runs. A pyenv shim can be on PATH and still fail.
find_base() {
    for wanted in $PYTHON_VERSIONS; do
        for base in "python$wanted" "$(pyenv root 2>/dev/null)/versions/$wanted"*/bin/python \
                    "${HOME-}/.pyenv/versions/$wanted"*/bin/python; do
            [ "$(version "$base")" != "$wanted" ] || return 0
        done
    done
    return 1
}

# virtualenv is for Python 2.7, and for a Python 3 without ensurepip. If $base has no pip, another Python runs it.
with_base() {
    run_part "$base" -m venv "$VENV" && return
    for host in "$base" python3 python; do
        run_part "$host" -m pip install --target "$making" virtualenv==20.15.1 &&
            run_part env PYTHONPATH="$making" "$host" -m virtualenv --clear -p "$base" "$VENV" && return
    done
    return 1
}

with_uv() {
    uv=uv
    for host in python3 python; do
        ! command -v "$uv" && run_part "$host" -m pip install --target "$making" uv==0.13.9 && uv=$making/bin/uv
    done
    run_part "$uv" venv --seed --python "${PYTHON_VERSIONS%% *}" "$VENV"
}

# An older pip does not find the wheels; a newer pip may not support this Python.
upgrade_pip() {
    case " $fluid_2 " in
        *" $(version "$VENV/bin/python") "*) pip=pip==23.0.1 ;;
        *) pip=pip==20.3.4 ;;
    esac
    run_part "$VENV/bin/python" -m pip install "$pip"
}

# $making exists until all is installed in a new $VENV. If it exists later, that was interrupted, and all is made again.
make_venv() {
    rm -rf "$VENV" "$making"
    mkdir -p "$making"
    if find_base; then
        make=with_base
        problem="$base cannot make $VENV"
    else
        make=with_uv
        base="a Python that uv fetches"
        problem="no Python $PYTHON_VERSIONS runs here, from PATH or pyenv, and uv could not fetch one"
    fi
    echo "making $VENV with $base"
    "$make" >"$making/log" 2>&1 && upgrade_pip >>"$making/log" 2>&1 || {
        said=$(cat "$making/log")
        rm -rf "$VENV" "$making"
        if [ "$make" = with_base ] && ! "$base" -m pip --version >/dev/null 2>&1; then
            fail "$base has no pip, and perhaps no venv ($(last_line "$said")): install them; in Debian and Ubuntu:" \
                "apt-get install python3-venv python3-pip"
        fi
        fail "$problem ($(last_line "$said")): install one of these versions, set PYTHON to an interpreter" \
            "that has fluid, or UV_PYTHON_INSTALL_MIRROR to a mirror that uv can reach"
    }
}

cannot_write() {
    fail "$VENV cannot be written: set VENV to a directory that can be made, or PYTHON to an interpreter that has fluid"
}

# One process at a time works on $VENV. flock(1) leaves the lock with file 9, which pip has too: it ends with the last of
# them, however they end, and on another machine too. Where there are no locks, this goes on without.
lock_venv() {
    { mkdir -p "${VENV%/*}/" && true >>"$VENV.lock"; } 2>/dev/null || cannot_write
    exec 9>>"$VENV.lock"
    waited=0
    while :; do
        code=0
        flock -n 9 2>/dev/null || code=$?
        [ "$code" -eq 1 ] || break
        holder="process $(cat "$VENV.lock"), or a pip that it started, as it works on $VENV"
        [ "$waited" -ne 0 ] || echo "waiting for $holder"
        [ "$waited" -lt 7200 ] || fail "waited two hours for $holder: end it, or set VENV"
        sleep 10
        waited=$((waited + 10))
    done
    echo "$$ on $(uname -n)" >"$VENV.lock"
}

# fill_venv [FILE...]: makes $VENV unless it is there, and installs the requirements of fluid and of the files into it,
# nothing into the user's interpreter. What is ready needs no lock, as it may be where nothing can be written.
fill_venv() {
    [ "$managed" = yes ] || return 0
    choose_fluid
    ! is_filled "$fluid" "$@" || ! is_wanted "$PYTHON" || return 0
    lock_venv
    if [ -d "$making" ] || is_free "$VENV"; then
        make_venv
    fi
    is_wanted "$PYTHON" ||
        fail "$VENV has Python $(version "$PYTHON"), not one of $PYTHON_VERSIONS: remove it, or set VENV or PYTHON"
    choose_fluid
    is_filled "$fluid" "$@" || install_files "$fluid" "$@"
    exec 9>&-
}

# Sets $fluid to the requirements of fluid, which must suit the Python of $VENV too.
choose_fluid() {
    fluid=$wheel
    case $wheel-$(version "$PYTHON") in *cpu.txt-3.9 | *cpu.txt-3.1?) fluid=$root/requirements/cpu-2.5.txt ;; esac
    fluid=${REQUIREMENTS:-$fluid}
}

# is_filled FILE...: are these installed? The stamp holds what is installed.
is_filled() {
    content=$(cat "$root/requirements/base.txt" "$@")
    case "$(cat "$VENV/installed" 2>/dev/null)$newline" in "$content$newline"*) [ ! -d "$making" ] ;; *) return 1 ;; esac
}

# Installs the files. The stamp is deleted first and written last, so an interrupted installation is repeated.
install_files() {
    log=$VENV/install.log
    { rm -f "$VENV/installed" && true >"$log"; } 2>/dev/null || cannot_write
    other_wheel=paddlepaddle-gpu
    ! grep -q "^$other_wheel" "$fluid" || other_wheel=paddlepaddle
    for file; do
        set -- "$@" -r "$file"
        shift
    done
    case $fluid in
        */cpu-2.5.txt) size=', 540 MB to download' ;;
        */gpu-cuda11.txt) size=', 540 MB and 1.7 GB of CUDA libraries to download' ;;
        *) size= ;;
    esac
    echo "installing ${file#"$root/"} into $VENV: a few minutes the first time$size (log: $log)"
    show_progress "$log"
    {
        # The two wheels have the same files: one must be removed before the other is installed.
        ! "$PYTHON" -m pip show "$other_wheel" || "$PYTHON" -m pip uninstall -y paddlepaddle paddlepaddle-gpu
        run_part "$PYTHON" -m pip install "$@"
    } >"$log" 2>&1 || {
        hide_progress
        tail -n 20 "$log" >&2
        fail "cannot install ${file#"$root/"}: see $log, and set PIP_INDEX_URL if another package index is nearer"
    }
    hide_progress
    link_cuda
    has_fluid "$PYTHON" ||
        fail "fluid is installed in $VENV but cannot be imported: $(last_line "$said"); remove $VENV to make it anew"
    rm -rf "$making"
    printf '%s\n' "$content" >"$VENV/installed"
}

newline='
'
any_version=yes
[ -z "${PYTHON_VERSIONS-}" ] || any_version=no
VENV=${VENV:-$root/.venv}
VENV=${VENV%/}
case $VENV in /*) ;; *) VENV=$PWD/$VENV ;; esac
making=$VENV.making
case " $(printf '%s ' "$@" | tr A-Z a-z)" in # the words that train.py takes for true and false
    *' --use_gpu'[\ =]'true '* | *' --use_gpu'[\ =]'yes '* | *' --use_gpu'[\ =]'1 '*) demanded=yes ;;
    *' --use_gpu'[\ =]'false '* | *' --use_gpu'[\ =]'no '* | *' --use_gpu'[\ =]'0 '*) demanded=never ;;
    *) demanded=no ;;
esac

choose_device
PYTHON_VERSIONS=${PYTHON_VERSIONS:-$versions}
[ -r "${REQUIREMENTS:-$wheel}" ] || fail "REQUIREMENTS=$REQUIREMENTS cannot be read: name a file of requirements, or none"

managed=no
said=
if [ -n "${PYTHON-}" ]; then
    has_fluid "$PYTHON" || fail "PYTHON=$PYTHON cannot import paddle.fluid: $(last_line "$said")"
elif ! find_active; then
    managed=yes
    PYTHON=$VENV/bin/python
    fill_venv
fi
if [ "$DEVICE" = gpu ]; then
    case $managed$said in
        no*cuda=False) use_cpu "$PYTHON has a fluid without CUDA" ;;
        *) said=$(PYTHONPATH=$root "$PYTHON" "$root/scripts/check_gpu.py" 2>&1) || use_cpu "$(last_line "$said")" ;;
    esac
fi
export DEVICE

# Allows Chinese in arguments and file names in the C locale too, which Python 2.7 and 3.6 treat as ASCII.
case ${LC_ALL:-${LC_CTYPE:-${LANG:-C}}} in
    C | POSIX)
        for locale in $(locale -a 2>/dev/null | grep -i '^C\.utf-*8$'); do
            export LC_ALL="$locale"
        done
        ;;
esac
