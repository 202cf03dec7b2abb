#!/bin/sh
# All tests on fluid 2.4.2 and Python 3.10, on the CPU: sh tests/run_fluid2.sh [option of pytest]...
# PyPI has the GPU build of 2.4.2 alone. It runs without a GPU if it finds the runtime library of CUDA 10.2, of which a
# wheel of torch has a copy.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
PYTHON_VERSIONS=3.10 VENV=$root/.venv-fluid2 REQUIREMENTS=$root/requirements/gpu-2.4.txt
library=$VENV.cuda/libcudart.so.10.2
if [ ! -e "$library" ]; then
    echo "fetching the wheel of torch for $library"
    mkdir -p "$VENV.cuda"
    python3 -m pip download --quiet --no-deps --only-binary :all: --python-version 310 --platform manylinux1_x86_64 \
        --dest "$VENV.cuda" torch==1.12.1
    python3 - "$VENV.cuda" <<'END'
import glob, os, sys, zipfile
wheel, = glob.glob(sys.argv[1] + '/torch-*.whl')
with zipfile.ZipFile(wheel) as contents:
    name, = [name for name in contents.namelist() if os.path.basename(name).startswith('libcudart-')]
    with open(sys.argv[1] + '/part', 'wb') as output:
        output.write(contents.read(name))
os.remove(wheel)
END
    mv "$VENV.cuda/part" "$library"
fi
LD_LIBRARY_PATH=$VENV.cuda${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
PYTHONWARNINGS=ignore::UserWarning:paddle.fluid.framework # that there is no GPU
export PYTHON_VERSIONS VENV REQUIREMENTS LD_LIBRARY_PATH PYTHONWARNINGS
unset PYTHON
exec sh "$root/tests/run.sh" "$@"
