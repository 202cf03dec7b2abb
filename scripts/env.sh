# shellcheck shell=sh
# For a shell of yours, in the root of the project: sets $PYTHON, a Python that has fluid, and $DEVICE. find_python.sh
# chooses or makes them, and tells of its variables:
#   . scripts/env.sh && "$PYTHON" benchmark/speed.py
# It runs in a process of its own, so its errors, functions and options do not come into your shell.
{
    found=$(root=${root:-$PWD} PYTHON=${PYTHON-} VENV=${VENV-} PYTHON_VERSIONS=${PYTHON_VERSIONS-} \
        REQUIREMENTS=${REQUIREMENTS-} sh -euc '
            [ -e "$root/scripts/find_python.sh" ] || {
                echo "env.sh: error: root=$root is not the root of the project: go there, or set it" >&2
                exit 2
            }
            . "$root/scripts/find_python.sh" >&4
            printf "%s\n" "$DEVICE:${LC_ALL-}:$PYTHON"' env.sh)
} 4>&1 || return "$?"
export DEVICE="${found%%:*}"
found=${found#*:}
[ -z "${found%%:*}" ] || export LC_ALL="${found%%:*}"
# shellcheck disable=SC2034 # it is for your shell
PYTHON=${found#*:}
unset found
