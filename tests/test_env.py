# -*- coding: utf-8 -*-
"""The scripts that find Python, run.sh and tests/run.sh, with stand-ins for Python, pip, pyenv, uv and nvidia-smi.

Nothing is downloaded.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import fcntl
import io
import os
import shutil
import signal
import subprocess
import time

import pytest
import six

from project import ROOT
from helpers import kill_after, run_command

TOOLS = 'cat cp cut dirname du env flock grep ln ls mkdir rm sed sh sort tail touch tr uname wc'.split()
NO_GPU = 'NOTICE: this runs on the CPU: '

# A stand-in: it logs its arguments. It has fluid if NAME.fluid is beside it; `pip install -r` makes that file. Where
# $SLOW_IN says, it makes $HOME/begun and waits for $HOME/go, at most 20 seconds.
PYTHON = '''#!/bin/sh
echo "$0 $*" >>"$HOME/calls"
slow() {
    case $SLOW_IN in "$1") : >"$HOME/begun" ;; *) return ;; esac
    number=0
    until [ -e "$HOME/go" ] || [ $number -eq 200 ]; do sleep 1; number=$((number + 1)); done
}
case "$*" in
    *version_info*) echo VERSION ;;
    *paddle.fluid*) [ -e "$0.fluid" ] || { echo Trace; echo "ImportError: no paddle"; exit 1; } >&2; cat "$0.fluid" ;;
    "-m venv "*)
        case $NO_VENV in yes) exit 1 ;; esac
        mkdir -p "$3/bin"
        slow venv
        case $KILLED_IN in venv) touch "$3/partial"; kill -9 $PPID ;; esac
        cp "$0" "$3/bin/python" ;;
    "-m virtualenv "*) mkdir -p "$6/bin" && cp "$(command -v "$5")" "$6/bin/python" ;;
    "-m pip install pip"*) ;;
    "-m pip install "*)
        [ -z "$NO_PIP" ] || { echo "No matching distribution" >&2; exit 1; }
        [ -n "$NO_FLUID" ] || echo cuda=False >"$0.fluid"
        slow pip
        case $KILLED_IN in pip) kill -9 $PPID ;; esac
        case $* in *requirements/gpu* | *cpu-2.5*) : >"$HOME/gpu_wheel" ;; esac ;;
    "-m pip show paddlepaddle") [ ! -e "$HOME/gpu_wheel" ] ;;
    "-m pip show paddlepaddle-gpu") [ -e "$HOME/gpu_wheel" ] ;;
    "-m pip uninstall "*) rm -f "$HOME/gpu_wheel" ;;
    *check_gpu.py) [ -z "$NO_CUDA" ] || { echo "OSError: libcudnn.so: $NO_CUDA" >&2; exit 1; } ;;
    *"-m pip --version") [ -z "$NO_PIP" ] ;;
    "-c import pytest") [ -z "$NO_PYTEST" ] ;;
    *) for word; do echo "argument $word"; done; env ;;
esac
'''
BROKEN = '#!/bin/sh\necho "pyenv: command not found" >&2\nexit 127\n'


class Machine(object):
    """A clone of the project, and a PATH with a few tools and the stand-ins that the test adds."""

    def __init__(self, directory):
        self.directory = directory
        self.bin, self.home, self.root = [os.path.join(directory, name) for name in ('bin', 'home', 'a clone')]
        self.venv = os.path.join(self.root, '.venv')
        for path in [self.bin, self.home] + [
                os.path.join(self.root, name) for name in ('requirements', 'scripts', 'tests')]:
            os.makedirs(path)
        for name in ['run.sh', 'scripts/env.sh', 'scripts/find_python.sh', 'tests/run.sh'] + [
                'requirements/%s.txt' % name for name in (
                    'base', 'cpu', 'cpu-2.5', 'gpu-cuda10', 'gpu-cuda11', 'gpu-2.4', 'tests')]:
            shutil.copy(os.path.join(ROOT, name), os.path.join(self.root, name))
        for tool in TOOLS:
            path = subprocess.check_output(['sh', '-c', 'command -v ' + tool]).decode('utf-8').strip()
            os.symlink(path, os.path.join(self.bin, tool))
        self.script('nproc', '#!/bin/sh\necho 8\n')
        self.script('sleep', '#!/bin/sh\nexec /bin/sleep 0.1\n')  # the scripts wait for seconds
        self.script('locale', '#!/bin/sh\necho C; echo C.utf8; echo POSIX\n')

    def script(self, path, text):
        """Writes a program. A name without a directory goes to the directory on PATH."""
        path = os.path.join(self.bin, path)
        if not os.path.isdir(os.path.dirname(path)):
            os.makedirs(os.path.dirname(path))
        with io.open(path, 'w', encoding='utf-8') as output:
            output.write(text)
        os.chmod(path, 0o755)
        return path

    def python(self, path, version, fluid=None):
        """Adds a Python. fluid: 'cuda=True' or 'cuda=False' if it has fluid."""
        path = self.script(path, PYTHON.replace('VERSION', version))
        if fluid:
            self.script(path + '.fluid', fluid + '\n')
        return path

    def run(self, *command, **environment):
        """Runs a script of the clone from another directory; keeps code, out, err, arguments and calls of Pythons."""
        calls = os.path.join(self.home, 'calls')
        if os.path.exists(calls):
            os.remove(calls)
        self.code, self.out, self.err = run_command(
            ['/bin/sh', os.path.join(self.root, command[0])] + list(command[1:]), env=self.environment(**environment),
            cwd=self.directory)
        self.arguments = [line[len('argument '):] for line in self.out.splitlines() if line.startswith('argument ')]
        self.calls = ''
        if os.path.exists(calls):
            with io.open(calls, encoding='utf-8') as handle:
                self.calls = handle.read()
        return self

    def environment(self, **changed):
        return dict({'PATH': self.bin, 'HOME': self.home, 'LANG': 'C.UTF-8'}, **changed)

    def start(self, name, **environment):
        """Starts a script of the clone, which is killed after 30 seconds."""
        environment = {six.ensure_str(key): six.ensure_str(value)
                       for key, value in self.environment(**environment).items()}

        def begin():
            for number in (signal.SIGHUP, signal.SIGINT):  # which nohup, or a shell's background, ignores
                signal.signal(number, signal.SIG_DFL)

        process = subprocess.Popen(['/bin/sh', os.path.join(self.root, name)], env=environment, cwd=self.directory,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=begin)
        kill_after(30, process)
        return process

    def path(self, name):
        return os.path.join(self.home, name)

    def started_slowly(self, where, **environment):
        """Starts run.sh, whose stand-in of Python stands still there: making the environment, or in pip."""
        process = self.start('run.sh', SLOW_IN=where, **environment)
        for _ in range(200):
            if os.path.exists(self.path('begun')):
                return process
            time.sleep(0.1)
        raise AssertionError(process.communicate())

    def go_on(self):
        self.script(self.path('go'), '')

    def trained_with(self, python):
        """Tells whether run.sh ended in train.py, run by this Python."""
        return not self.code and self.calls.splitlines()[-1].startswith(
            '%s %s ' % (python, os.path.join(self.root, 'train.py')))

    def variable(self, name):
        """The value of a variable in the environment of train.py, or None."""
        return dict(line.split('=', 1) for line in self.out.splitlines() if '=' in line).get(name)

    def failed(self, *words):
        """Tells whether it exited with 2 and one line on stderr that has all these words."""
        return self.code == 2 and self.err.count('\n') == 1 and all(word in self.err for word in words)


@pytest.fixture
def machine(tmpdir):
    return Machine(str(tmpdir))


@pytest.fixture
def fluid_machine(machine):
    """A machine whose python has fluid."""
    machine.python('python', '3.8', 'cuda=False')
    return machine


# Which Python

@pytest.mark.parametrize('name', ['other', 'absent'])
def test_a_bad_python_variable_is_one_line(fluid_machine, name):
    fluid_machine.python('other', '3.8')
    fluid_machine.run('run.sh', PYTHON=os.path.join(fluid_machine.bin, name))
    assert fluid_machine.failed('PYTHON=', 'ImportError: no paddle' if name == 'other' else name)
    assert not os.path.exists(fluid_machine.venv)


def test_the_python_variable_comes_first(fluid_machine):
    other = fluid_machine.python('other', '3.9', 'cuda=False')
    assert fluid_machine.run('run.sh', PYTHON=other).trained_with(other)
    assert '-m pip' not in fluid_machine.calls


def test_the_active_python_comes_before_the_environment(machine):
    machine.python('python3.8', '3.8')
    assert machine.run('run.sh').trained_with(machine.venv + '/bin/python')
    python3 = machine.python('python3', '3.6', 'cuda=False')
    assert machine.run('run.sh').trained_with(python3)
    python = machine.python('python', '3.7', 'cuda=False')
    assert machine.run('run.sh').trained_with(python)
    assert '-m pip' not in machine.calls


def test_an_activated_environment_is_still_looked_after(machine):
    machine.python('python3.8', '3.8')
    machine.run('run.sh')
    path = machine.venv + '/bin:' + machine.bin
    assert machine.run('tests/run.sh', PATH=path, VIRTUAL_ENV=machine.venv).code == 0
    assert '-m pip install' in machine.calls


def test_python_versions_rules_out_the_active_python(fluid_machine):
    fluid_machine.python('python2.7', '2.7')
    fluid_machine.run('run.sh', PYTHON_VERSIONS='2.7', VENV='other venv/')
    assert fluid_machine.trained_with(fluid_machine.directory + '/other venv/bin/python')
    assert fluid_machine.run('run.sh', PYTHON_VERSIONS='3.7 3.8').trained_with(fluid_machine.bin + '/python')


def test_the_newest_python_that_runs(machine):
    machine.script('python3.8', BROKEN)
    machine.python('python3.6', '3.6')
    seven = machine.python('python3.7', '3.7')
    machine.python('python3', '3.11')
    assert machine.run('run.sh').trained_with(machine.venv + '/bin/python')
    assert seven + ' -m venv' in machine.calls


@pytest.mark.parametrize('place', ['home', 'pyenv'])
def test_a_python_of_pyenv(machine, place):
    machine.script('python3.8', BROKEN)
    machine.python('python3.7', '3.7')
    pyenv = os.path.join(machine.home, '.pyenv')
    if place == 'pyenv':
        pyenv = os.path.join(machine.directory, 'py env')
        machine.script('pyenv', '#!/bin/sh\necho "%s"\n' % pyenv)
    python = machine.python(os.path.join(pyenv, 'versions/3.8.18/bin/python'), '3.8')
    assert machine.run('run.sh').trained_with(machine.venv + '/bin/python')
    assert python + ' -m venv' in machine.calls


def test_virtualenv_where_there_is_no_venv(machine):
    python = machine.python('python2.7', '2.7')
    assert machine.run('run.sh', NO_VENV='yes').trained_with(machine.venv + '/bin/python')
    assert python + ' -m virtualenv' in machine.calls


def test_uv_where_there_is_no_python(machine):
    machine.script('uv', '#!/bin/sh\nmkdir -p "$5/bin"; cp "$HOME/managed" "$5/bin/python"; echo "$*" >"$HOME/uv"\n')
    machine.python(os.path.join(machine.home, 'managed'), '3.8')
    assert machine.run('run.sh').trained_with(machine.venv + '/bin/python')
    with io.open(os.path.join(machine.home, 'uv'), encoding='utf-8') as handle:
        assert '--python 3.8 ' in handle.read()


@pytest.mark.parametrize('pip', ['', 'yes'])
def test_no_python_at_all_is_one_line(machine, pip):
    machine.python('python3', '3.11')
    machine.run('run.sh', NO_PIP=pip)
    assert machine.failed('3.8 3.7 3.6 2.7', 'PYTHON', 'UV_PYTHON_INSTALL_MIRROR')
    assert '-m pip install --target' in machine.calls
    assert not os.path.exists(machine.venv) and not os.path.exists(machine.venv + '.making')


def test_an_environment_of_another_version_is_left_alone(machine):
    python = machine.python(machine.venv + '/bin/python', '3.12')
    machine.python('python3.8', '3.8')
    assert machine.run('run.sh').failed(machine.venv, '3.12')
    assert os.path.exists(python)


# What is installed

def test_the_second_run_installs_nothing(machine):
    machine.python('python3.8', '3.8')
    assert '-m pip install' in machine.run('run.sh').calls
    assert '-m pip' not in machine.run('run.sh').calls
    assert '-r %s/requirements/tests.txt' % machine.root in machine.run('tests/run.sh').calls
    assert '-m pip' not in machine.run('tests/run.sh').calls
    assert '-m pip' not in machine.run('run.sh').calls
    with io.open(os.path.join(machine.root, 'requirements', 'base.txt'), 'a', encoding='utf-8') as output:
        output.write('one==1\n')
    assert '-m pip install' in machine.run('run.sh').calls


@pytest.mark.parametrize('where', ['venv', 'pip'])
def test_what_was_interrupted_is_done_again(machine, where):
    machine.python('python3.8', '3.8')
    assert machine.run('run.sh', KILLED_IN=where).code == -9
    assert machine.run('run.sh').trained_with(machine.venv + '/bin/python')
    assert '-m venv' in machine.calls and '-m pip install -r' in machine.calls
    assert not os.path.exists(machine.venv + '/partial')
    assert not os.path.exists(machine.venv + '.making')


def test_what_failed_is_shown_and_done_again(machine):
    machine.python('python3.8', '3.8')
    machine.run('run.sh', NO_PIP='yes')
    assert machine.code == 2 and machine.err.startswith('No matching distribution\nrun.sh: error: ')
    assert machine.run('run.sh').trained_with(machine.venv + '/bin/python')


def test_a_fluid_that_cannot_be_imported_is_one_line(machine):
    machine.python('python3.8', '3.8')
    assert machine.run('run.sh', NO_FLUID='yes').failed(machine.venv, 'ImportError: no paddle')
    assert machine.run('run.sh', NO_FLUID='yes').failed(machine.venv, 'ImportError: no paddle')


@pytest.fixture
def smi(machine):
    """Adds an nvidia-smi: a function of compute capabilities (None: an old driver), the driver, and the name."""
    def add(capabilities, driver='525.85.12', name='NVIDIA'):
        answer = 'exit 2' if capabilities is None else 'printf "%s\n"' % '\n'.join(capabilities.split())
        machine.script('nvidia-smi', '#!/bin/sh\ncase $* in *compute_cap*) %s ;; *name*) echo "%s" ;; *) echo "%s" ;; '
                       'esac\n' % (answer, name, driver))
    return add


@pytest.mark.parametrize('name, capabilities, driver, wheel, version', [
    ('V100', '7.0', '450.80.02', 'gpu-cuda11', '3.11'), ('T4', '7.5', '525.85.12', 'gpu-cuda11', '3.11'),
    ('A100', '8.0', '525.85.12', 'gpu-cuda11', '3.11'), ('RTX 4090', '8.9 8.6', '535.1', 'gpu-cuda11', '3.11'),
    ('NVIDIA A100-SXM4', None, '470.57.02', 'gpu-cuda11', '3.11'), ('H100', '9.0', '535.1', 'cpu', '3.8'),
    ('RTX 5090', '12.0', '570.1', 'cpu', '3.8'), ('Tesla K80', None, '470.57.02', 'cpu', '3.8'),
    ('T4', '7.5', '418.1', 'cpu', '3.8'), ('two kinds', '6.1 8.6', '535.1', 'cpu', '3.8')])
def test_the_wheel_follows_the_gpu(machine, smi, name, capabilities, driver, wheel, version):
    for python in ('3.8', '3.11'):
        machine.python('python' + python, python)
    smi(capabilities, driver, name)
    machine.run('run.sh')
    assert '-m pip install -r %s/requirements/%s.txt' % (machine.root, wheel) in machine.calls
    assert '/python%s -m venv' % version in machine.calls
    assert machine.variable('DEVICE') == ('cpu' if wheel == 'cpu' else 'gpu')
    assert (NO_GPU in machine.out) == (wheel == 'cpu') and not machine.err
    if wheel == 'cpu':  # demanded, the GPU is an error
        assert machine.run('run.sh', '--use_gpu', 'True').failed('--use_gpu True: ')


def test_all_gpus_are_used(machine, smi):
    machine.python('python3.11', '3.11')
    smi('8.0 8.0')
    assert machine.run('run.sh').variable('CUDA_VISIBLE_DEVICES') in (None, '')
    assert machine.run('run.sh', CUDA_VISIBLE_DEVICES='1').variable('CUDA_VISIBLE_DEVICES') == '1'


def test_cuda_10_where_its_libraries_are(machine, smi):
    machine.python('python3.8', '3.8')
    libraries = os.path.join(machine.directory, 'cuda')
    smi('6.1', '418.1', 'GTX 1080')
    for name in ('libcudart.so.10.0', 'libcudnn.so.7'):
        assert 'libcudnn.so.7' in machine.run('run.sh', LD_LIBRARY_PATH=libraries).out
        machine.script(os.path.join(libraries, name), '')
    assert machine.run('run.sh', LD_LIBRARY_PATH='/none:' + libraries).variable('DEVICE') == 'gpu'
    assert 'requirements/gpu-cuda10.txt' in machine.calls and NO_GPU not in machine.out


def test_requirements_of_the_user_on_a_gpu(machine, smi):
    machine.python('python3.10', '3.10')
    smi('6.1')
    wanted = os.path.join(machine.root, 'requirements', 'gpu-2.4.txt')
    assert machine.run('run.sh', REQUIREMENTS=wanted).variable('DEVICE') == 'gpu' and wanted in machine.calls


def test_only_the_visible_gpus_are_asked_for(machine):
    machine.python('python3.11', '3.11')
    machine.script('nvidia-smi', '#!/bin/sh\ncase $* in *driver*) echo 525.1 ;; "-i 1 "*) echo 8.6 ;; *) echo 6.1 ;; '
                   'esac\n')
    assert machine.run('run.sh', CUDA_VISIBLE_DEVICES='1').variable('DEVICE') == 'gpu'


def test_an_nvidia_smi_that_fails(machine):
    machine.python('python3.8', '3.8')
    machine.script('nvidia-smi', '#!/bin/sh\necho "NVIDIA-SMI has failed"; exit 9\n')
    assert machine.run('run.sh').variable('DEVICE') == 'cpu'
    assert NO_GPU + 'nvidia-smi fails (NVIDIA-SMI has failed)' in machine.out
    assert NO_GPU not in machine.run('run.sh', CUDA_VISIBLE_DEVICES='').out


def test_a_cuda_library_that_does_not_load(machine, smi):
    machine.python('python3.11', '3.11')
    smi('8.6')
    machine.run('run.sh', NO_CUDA='cannot open')
    assert machine.variable('DEVICE') == 'cpu' and NO_GPU + 'OSError: libcudnn.so: cannot open' in machine.out
    assert machine.run('run.sh', '--use_gpu=True', NO_CUDA='x').failed('--use_gpu True: OSError: libcudnn.so: x')
    assert machine.run('run.sh').variable('DEVICE') == 'gpu'


def test_the_libraries_of_the_wheels_are_linked_for_paddle(machine, smi):
    machine.python('python3.11', '3.11')
    packages = os.path.join(machine.venv, 'lib/python3.11/site-packages')
    machine.python(machine.venv + '/bin/python', '3.11')
    machine.script(os.path.join(packages, 'nvidia/cudnn/lib/libcudnn.so.8'), 'library')
    os.makedirs(os.path.join(packages, 'paddle/libs'))
    smi('8.0')
    assert not machine.run('run.sh').code
    for name in ('libcudnn.so', 'libcudnn.so.8'):
        with io.open(os.path.join(packages, 'paddle/libs', name), encoding='utf-8') as library:
            assert library.read() == 'library'


def test_the_wheel_follows_the_device(machine, smi):
    machine.python('python3.8', '3.8')
    smi('7.5')
    machine.run('run.sh', CUDA_VISIBLE_DEVICES='')
    assert 'requirements/cpu.txt' in machine.calls and 'uninstall' not in machine.calls
    assert '-m pip' not in machine.run('run.sh', CUDA_VISIBLE_DEVICES='-1').calls
    assert machine.variable('DEVICE') == 'cpu'
    machine.run('run.sh', CUDA_VISIBLE_DEVICES='1')
    uninstalled = machine.calls.index('uninstall -y paddlepaddle paddlepaddle-gpu')
    assert machine.calls.index('requirements/gpu-cuda11.txt') > uninstalled
    assert machine.variable('DEVICE') == 'gpu' and machine.variable('CUDA_VISIBLE_DEVICES') == '1'
    assert '-m pip' not in machine.run('run.sh').calls
    assert 'uninstall' in machine.run('run.sh', CUDA_VISIBLE_DEVICES='').calls
    machine.run('run.sh', KILLED_IN='pip')  # killed while the GPU wheel was installed: the CPU wheel may be damaged
    assert '-m pip install' in machine.run('run.sh', CUDA_VISIBLE_DEVICES='').calls


@pytest.mark.parametrize('version', ['3.9', '3.10', '3.11'])
def test_a_newer_python_alone_gets_fluid_2_5(machine, version):
    python = machine.python('python' + version, version)
    assert machine.run('run.sh').trained_with(machine.venv + '/bin/python')
    assert python + ' -m venv' in machine.calls and 'requirements/cpu-2.5.txt' in machine.calls
    assert '540 MB to download' in machine.out
    assert '-m pip' not in machine.run('run.sh').calls


def test_a_python_without_pip_and_venv_is_one_line(machine):
    machine.python('python3.11', '3.11')
    assert machine.run('run.sh', NO_VENV='yes', NO_PIP='yes').failed('apt-get install python3-venv python3-pip')
    assert not os.path.exists(machine.venv) and not os.path.exists(machine.venv + '.making')


def test_other_requirements(machine):
    machine.python('python3.10', '3.10')
    wanted = os.path.join(machine.root, 'requirements', 'gpu-2.4.txt')
    machine.run('run.sh', PYTHON_VERSIONS='3.10', REQUIREMENTS=wanted)
    assert '-m pip install -r %s\n' % wanted in machine.calls
    machine.run('tests/run.sh', PYTHON_VERSIONS='3.10', REQUIREMENTS=wanted)
    assert '-r %s -r %s' % (wanted, os.path.join(machine.root, 'requirements/tests.txt')) in machine.calls
    assert 'uninstall' not in machine.calls
    assert machine.run('run.sh', PYTHON_VERSIONS='3.10', REQUIREMENTS='none.txt').failed('REQUIREMENTS=none.txt')


@pytest.mark.parametrize('cuda, smi, device', [('True', 'exit 0', 'gpu'), ('False', 'exit 0', 'cpu'),
                                               ('True', 'exit 9', 'cpu')])
def test_the_gpu_is_used_where_smi_and_fluid_know_it(machine, cuda, smi, device):
    machine.python('python', '3.8', 'cuda=' + cuda)
    machine.script('nvidia-smi', '#!/bin/sh\ncase $* in *driver*) echo 525.1 ;; *) echo 8.0 ;; esac\n%s\n' % smi)
    assert machine.run('run.sh').variable('DEVICE') == device
    assert machine.arguments[machine.arguments.index('--use_gpu') + 1] == str(device == 'gpu')
    assert ('4096' in machine.arguments) == (device == 'gpu')


@pytest.mark.parametrize('flags', [['--use_gpu', 'False'], ['--use_gpu=False'], ['--use_gpu', 'false'],
                                   ['--use_gpu=NO'], ['--use_gpu', '0']])
def test_no_gpu_where_it_is_not_wanted(machine, smi, flags):
    machine.python('python3.8', '3.8')
    smi('8.0')
    machine.run('run.sh', *flags)
    assert machine.variable('DEVICE') == 'cpu'
    assert '-m pip install -r %s/requirements/cpu.txt' % machine.root in machine.calls
    assert machine.arguments[machine.arguments.index('--use_gpu') + 1] == 'False' and '4096' not in machine.arguments
    assert NO_GPU not in machine.out  # nothing is wrong


# What is exported

@pytest.mark.parametrize('environment, lc_all', [
    ({'LANG': ''}, 'C.utf8'), ({'LC_ALL': 'C'}, 'C.utf8'), ({'LANG': 'zh_CN.UTF-8'}, None),
    ({'LC_ALL': 'POSIX'}, 'C.utf8')])
def test_chinese_in_the_c_locale(fluid_machine, environment, lc_all):
    assert fluid_machine.run('run.sh', **environment).variable('LC_ALL') == lc_all


# run.sh and tests/run.sh

def test_run_passes_arguments_on(fluid_machine):
    fluid_machine.run('run.sh', '--train_path', '我的 语料/*', '', '--hidden_size', '8')
    assert fluid_machine.arguments[-5:] == ['--train_path', '我的 语料/*', '', '--hidden_size', '8']
    # No glob, as the path of the project may have brackets.
    assert fluid_machine.arguments[:3] == [
        fluid_machine.root + '/train.py', '--train_path', fluid_machine.root + '/data/train']


@pytest.mark.parametrize('flag', ['--init_from', '--load_pretraining_params', '--resume_from', '--load_dir'])
def test_run_leaves_the_sizes_to_a_checkpoint(fluid_machine, flag):
    assert '--hidden_size' in fluid_machine.run('run.sh').arguments
    arguments = fluid_machine.run('run.sh', flag, 'checkpoints').arguments
    assert '--hidden_size' not in arguments and '--embed_size' not in arguments and '--batch_size' in arguments


def test_all_tests_or_those_named(fluid_machine):
    tests = os.path.join(fluid_machine.root, 'tests')
    assert fluid_machine.run('tests/run.sh', '-k', 'a b').arguments == ['-m', 'pytest', '-k', 'a b', tests]
    assert fluid_machine.run('tests/run.sh', 'x/test_a.py::test_b').arguments == ['-m', 'pytest', 'x/test_a.py::test_b']
    assert '-m pip' not in fluid_machine.calls


def test_pytest_missing_is_one_line(fluid_machine):
    assert fluid_machine.run('tests/run.sh', NO_PYTEST='yes').failed('pytest', 'requirements/tests.txt')


# Two at once, and where nothing can be written

def wait_for(process, text):
    """Reads what the process prints up to a line with this text."""
    for line in iter(process.stdout.readline, b''):
        if text in line.decode('utf-8'):
            return line.decode('utf-8')
    raise AssertionError(process.communicate()[1].decode('utf-8'))


@pytest.mark.parametrize('where', ['venv', 'pip'])
def test_two_first_runs_at_once(machine, where):
    machine.python('python3.8', '3.8')
    first = machine.started_slowly(where)
    second = machine.start('tests/run.sh')
    waits = wait_for(second, 'waiting for')
    assert 'process %d on ' % first.pid in waits and machine.venv in waits
    machine.go_on()
    for process in (first, second):
        output, errors = process.communicate()
        assert process.returncode == 0 and not errors, output
    with io.open(machine.path('calls'), encoding='utf-8') as handle:
        calls = handle.read()
    assert calls.count('-m venv') == 1 and calls.count('-m pip install -r') == 2
    assert '-m pip' not in machine.run('tests/run.sh').calls


def test_one_of_two_that_wait_takes_over_from_a_dead_one(machine):
    """What the dead one has started still writes into the environment."""
    machine.python('python3.8', '3.8')
    dead = machine.started_slowly('venv')
    dead.kill()
    dead.wait()
    others = [machine.start(name) for name in ('run.sh', 'tests/run.sh')]
    for other in others:
        wait_for(other, 'waiting for')
    machine.go_on()
    for other in others:
        output, errors = other.communicate()
        assert other.returncode == 0 and not errors, output
    with io.open(machine.path('calls'), encoding='utf-8') as handle:
        assert handle.read().count('-m venv') == 2
    assert '-m pip' not in machine.run('tests/run.sh').calls


@pytest.mark.parametrize('number, code', [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)])
@pytest.mark.parametrize('where', ['venv', 'pip'])
def test_a_signal_ends_the_making_too(machine, where, number, code):
    machine.python('python3.8', '3.8')
    stopped = machine.started_slowly(where)
    stopped.send_signal(number)
    stopped.communicate()
    assert stopped.returncode == code
    with io.open(machine.venv + '.lock') as lock:  # the stand-in would have it for 20 seconds
        for _ in range(50):
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except EnvironmentError:
                time.sleep(0.1)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert machine.run('run.sh').trained_with(machine.venv + '/bin/python') and '-m venv' in machine.calls


def test_waiting_has_an_end(machine):
    machine.python('python3.8', '3.8')
    machine.script('sleep', '#!/bin/sh\n')
    with io.open(machine.venv + '.lock', 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write(u'17 on another')
        lock.flush()
        assert machine.run('run.sh').failed('two hours', 'process 17 on another', machine.venv)


def test_without_locks_it_goes_on(machine):
    machine.python('python3.8', '3.8')
    os.remove(os.path.join(machine.bin, 'flock'))
    assert machine.run('run.sh').trained_with(machine.venv + '/bin/python') and not machine.err


def test_nothing_is_written_into_the_clone_if_venv_is_elsewhere(machine):
    def clone():
        return [(path, sorted(names + files)) for path, names, files in os.walk(machine.root)]

    machine.python('python3.8', '3.8')
    before, venv = clone(), os.path.join(machine.directory, 'not', 'there', 'venv')
    assert machine.run('run.sh', VENV=venv).trained_with(venv + '/bin/python')
    assert clone() == before


def test_a_place_where_nothing_can_be_written_is_one_line(machine):
    machine.python('python3.8', '3.8')
    venv = os.path.join(machine.script(os.path.join(machine.directory, 'file'), ''), 'venv')
    assert machine.run('run.sh', VENV=venv).failed(venv + ' cannot be written: set VENV', 'PYTHON')


def test_an_environment_that_is_ready_is_used_where_nothing_can_be_written(machine):
    machine.python('python3.8', '3.8')
    assert not machine.run('run.sh').code
    os.remove(machine.venv + '.lock')
    os.mkdir(machine.venv + '.lock')  # it cannot be opened
    assert machine.run('run.sh').trained_with(machine.venv + '/bin/python')
    assert machine.run('tests/run.sh').failed(machine.venv + ' cannot be written: set VENV')


# By hand

SHELLS = [command for command in (['/bin/dash'], ['/bin/bash'], ['/bin/bash', '--posix']) if os.path.exists(command[0])]
BY_HAND = '''
set -- a 'b c'
%s
before=$(set +o; trap; type install version)
. scripts/env.sh; code=$?
[ "$(set +o; trap; type install version)" = "$before" ] || echo changed
for name in fail install version is_free last_line run_part found content; do
    case $(command -V "$name" 2>&1) in *function*) echo "$name is a function" ;; esac
    eval "[ -z \\"\\${$name-}\\" ] || echo $name is set"
done
echo "alive $code $# $2 $PYTHON $DEVICE"
'''


def by_hand(machine, shell, before='', **environment):
    """Sources env.sh in the root of the clone: (exit code, stdout, stderr)."""
    for name in ('install', 'version'):
        machine.script(name, '#!/bin/sh\n')
    return run_command(shell + ['-c', BY_HAND % before], cwd=machine.root, env=machine.environment(**environment))


@pytest.mark.parametrize('shell', SHELLS, ids=' '.join)
@pytest.mark.parametrize('before', ['', 'set -eu', 'trap "echo over" EXIT', '. scripts/env.sh',
                                    'PYTHON_VERSIONS=3.8 VENV="a b"'])
def test_sourced_by_hand(machine, shell, before):
    machine.python('python3.8', '3.8')
    machine.python('python2.7', '2.7')
    code, output, errors = by_hand(machine, shell, before)
    venv = os.path.join(machine.root, 'a b' if 'VENV' in before else '.venv')
    assert code == 0 and not errors
    lines = [line for line in output.splitlines() if not line.startswith(('making', 'installing'))]
    assert lines == ['alive 0 2 b c %s/bin/python cpu' % venv] + ['over'] * ('over' in before)


@pytest.mark.parametrize('shell', SHELLS, ids=' '.join)
def test_an_error_leaves_the_shell_alive(fluid_machine, shell):
    code, output, errors = by_hand(fluid_machine, shell, PYTHON='/none')
    assert code == 0 and output == 'alive 2 2 b c /none \n'
    assert errors.count('\n') == 1 and errors.startswith('env.sh: error: PYTHON=/none cannot import')
    code, output, errors = run_command(
        shell + ['-c', '. "%s/scripts/env.sh" || echo alive $?' % fluid_machine.root], cwd=fluid_machine.home,
        env=fluid_machine.environment())
    assert (code, output) == (0, 'alive 2\n') and errors.count('\n') == 1
    assert 'is not the root of the project' in errors


def test_an_error_ends_the_scripts(fluid_machine):
    assert fluid_machine.run('tests/run.sh', PYTHON='/none').failed('PYTHON=/none')
