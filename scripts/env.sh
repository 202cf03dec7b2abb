# shellcheck shell=sh disable=SC2154
# Chooses $PYTHON, a Python that has fluid, and $DEVICE. If there is no such Python, it makes an environment with one.
# The run scripts set $root to the root of the project and source this file. By hand, in the root: . scripts/env.sh
# Optional variables:
#   PYTHON           the interpreter to use; it must have fluid, and nothing is installed into it
#   VENV             the environment to make or use (default: .venv in the root)
#   PYTHON_VERSIONS  the Python versions wanted, best first (default: those that fluid 1.8.5 has wheels for)
#   REQUIREMENTS     the requirements to install (default: requirements/cpu.txt or, with a GPU, requirements/gpu.txt)

fail() {
    echo "${0##*/}: error: $*" >&2
    exit 2
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
    "$base" -m venv "$VENV" && return
    for host in "$base" python3 python; do
        "$host" -m pip install --target "$making" virtualenv==20.15.1 &&
            PYTHONPATH=$making "$host" -m virtualenv --clear -p "$base" "$VENV" && return
    done
    return 1
}

with_uv() {
    uv=uv
    for host in python3 python; do
        ! command -v "$uv" && "$host" -m pip install --target "$making" uv==0.13.9 && uv=$making/bin/uv
    done
    "$uv" venv --seed --python "${PYTHON_VERSIONS%% *}" "$VENV"
}

# $making exists only while $VENV is being made. If it exists later, the making was interrupted.
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
    # An older pip does not find these wheels; a newer pip may not support this Python.
    { "$make" && "$VENV/bin/python" -m pip install pip==20.3.4; } >"$making/log" 2>&1 || {
        said=$(cat "$making/log")
        rm -rf "$VENV" "$making"
        fail "$problem ($(last_line "$said")): install one of these versions, set PYTHON to an interpreter" \
            "that has fluid, or UV_PYTHON_INSTALL_MIRROR to a mirror that uv can reach"
    }
    rm -rf "$making"
}

# install [FILE...]: installs the requirements of fluid and of the files into $VENV, nothing into the user's interpreter.
# The stamp holds what is installed. It is deleted first and written last, so an interrupted installation is repeated.
install() {
    [ "$managed" = yes ] || return 0
    stamp=$VENV/installed
    log=$VENV/install.log
    set -- "$wheel" "$@"
    content=$(cat "$root/requirements/base.txt" "$@")
    case "$(cat "$stamp" 2>/dev/null)$newline" in "$content$newline"*) return 0 ;; esac
    rm -f "$stamp"
    for file; do
        set -- "$@" -r "$file"
        shift
    done
    echo "installing ${file#"$root/"} into $VENV: a few minutes the first time (log: $log)"
    {
        # The two wheels have the same files: one must be removed before the other is installed.
        ! "$PYTHON" -m pip show "$other_wheel" || "$PYTHON" -m pip uninstall -y paddlepaddle paddlepaddle-gpu
        "$PYTHON" -m pip install "$@"
    } >"$log" 2>&1 || {
        tail -n 20 "$log" >&2
        fail "cannot install ${file#"$root/"}: see $log, and set PIP_INDEX_URL if another package index is nearer"
    }
    has_fluid "$PYTHON" || fail "fluid is installed in $VENV but cannot be imported: $(last_line "$said")"
    printf '%s\n' "$content" >"$stamp"
}

newline='
'
root=${root:-$PWD}
[ -e "$root/scripts/env.sh" ] || fail "root=$root is not the root of the project: go there, or set it"
any_version=yes
[ -z "${PYTHON_VERSIONS-}" ] || any_version=no
PYTHON_VERSIONS=${PYTHON_VERSIONS:-3.8 3.7 3.6 2.7}
VENV=${VENV:-$root/.venv}
VENV=${VENV%/}
case $VENV in /*) ;; *) VENV=$PWD/$VENV ;; esac
making=$VENV.making

DEVICE=cpu
wheel=$root/requirements/cpu.txt
case ${CUDA_VISIBLE_DEVICES-all} in
    '' | -1*) ;;
    *)
        if nvidia-smi >/dev/null 2>&1; then
            DEVICE=gpu
            wheel=$root/requirements/gpu.txt
        fi
        ;;
esac

wheel=${REQUIREMENTS:-$wheel}
other_wheel=paddlepaddle-gpu
[ -r "$wheel" ] || fail "REQUIREMENTS=$wheel cannot be read: name a file of requirements, or none"
! grep -q "^$other_wheel" "$wheel" || other_wheel=paddlepaddle

managed=no
said=
if [ -n "${PYTHON-}" ]; then
    has_fluid "$PYTHON" || fail "PYTHON=$PYTHON cannot import paddle.fluid: $(last_line "$said")"
elif ! find_active; then
    managed=yes
    PYTHON=$VENV/bin/python
    if [ -d "$making" ] || is_free "$VENV"; then
        make_venv
    fi
    is_wanted "$PYTHON" ||
        fail "$VENV has Python $(version "$PYTHON"), not one of $PYTHON_VERSIONS: remove it, or set VENV or PYTHON"
    install
fi
case $managed$said in no*cuda=False) DEVICE=cpu ;; esac # there is a GPU, but this fluid cannot use it
export DEVICE

# Allows Chinese in arguments and file names in the C locale too, which Python 2.7 and 3.6 treat as ASCII.
case ${LC_ALL:-${LC_CTYPE:-${LANG:-C}}} in
    C | POSIX)
        for locale in $(locale -a 2>/dev/null | grep -i '^C\.utf-*8$'); do
            export LC_ALL="$locale"
        done
        ;;
esac
