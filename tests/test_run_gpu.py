# -*- coding: utf-8 -*-
"""tests/run_gpu.sh and the memory that it reports, with stand-ins for Python and nvidia-smi."""
from __future__ import absolute_import, division, print_function, unicode_literals

import os

import pytest

from project import ROOT
from helpers import run_command
from benchmark import common

# fluid for GPUs. The tests end with $TESTS, each benchmark with $SPEED.
PYTHON = '''#!/bin/sh
case "$*" in
    *cuda=*) echo cuda=True ;;
    *"-m pytest"*) echo "a test says $*"; exit ${TESTS:-0} ;;
    *speed.py*) echo "speed.py says $* on GPU ${CUDA_VISIBLE_DEVICES-0}"; exit ${SPEED:-0} ;;
    *platform*) echo "fluid 2.5.2" ;;
esac
'''
# An A100. In $PROCESSES are what processes hold; $MINE is what this one holds.
NVIDIA_SMI = '''#!/bin/sh
case "$*" in
    *driver_version*) echo ${DRIVER:-525.60.13} ;;
    *compute_cap*) echo 8.0 ;;
    *memory.total*) echo 40536 MiB ;;
    *compute-apps*) echo "1, 300"; [ -z "$MINE" ] || echo "$PPID, $MINE" ;;
    *--id=0*memory.used* | *memory.used*--id=0*) echo 500 ;;
    *memory.used*) echo 500; echo 40 ;;
    *name*) echo NVIDIA A100 ;;
esac
'''


def script(path, text):
    path.write(text)
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def machine(tmpdir, monkeypatch):
    """Runs tests/run_gpu.sh on a machine with a GPU: (exit code, lines on stdout, lines on stderr, the report)."""
    script(tmpdir.join('nvidia-smi'), NVIDIA_SMI)
    report = tmpdir.join('report.txt')
    for name in ('CUDA_VISIBLE_DEVICES', 'REQUIREMENTS', 'PYTHON_VERSIONS', 'VENV'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv('PATH', '%s:%s' % (tmpdir, os.environ['PATH']))

    def run(*options, **changed):
        env = dict(os.environ, PYTHON=script(tmpdir.join('python'), PYTHON), REPORT=str(report))
        env.update(changed)
        code, output, errors = run_command(['/bin/sh', os.path.join(ROOT, 'tests', 'run_gpu.sh')] + list(options),
                                           env=env)
        return code, output.splitlines(), errors.splitlines(), report.read() if report.check() else None
    return run


def test_the_report(machine, tmpdir):
    code, output, errors, report = machine()
    assert code == 0 and not errors
    assert output[-1] == 'The report is %s; please send it as an issue' % tmpdir.join('report.txt')
    assert report.splitlines() == output[:-2]
    for text in ('GPU: NVIDIA A100, compute capability 8.0, 40536 MiB, driver 525.60.13', 'fluid 2.5.2',
                 'tests/test_gpu.py', '--use_gpu True --steps 20 on', '--tf32 on', '--inference on'):
        assert text in report, text
    assert 'vocab_size' not in report and 'failed' not in report  # the published sizes


@pytest.mark.parametrize('variable, count', [('TESTS', 1), ('SPEED', 3)])
def test_a_part_that_fails_does_not_stop_the_others(machine, variable, count):
    code, output, _, report = machine(**{variable: '139'})
    assert code == 1 and report.count('failed: exit code 139') == count
    assert report.count('speed.py says') == 3 and 'The report is' in output[-1]


def test_cpu(machine):
    code, _, _, report = machine('--cpu')
    assert code == 0 and report.count('--use_gpu False --vocab_size 500') == 3
    assert 'on GPU \n' in report and 'A100' not in report


@pytest.mark.parametrize('options, changed, message', [
    ([], {'CUDA_VISIBLE_DEVICES': ''}, 'no GPU is visible: check nvidia-smi and CUDA_VISIBLE_DEVICES; --cpu does'),
    ([], {'DRIVER': '440.10'}, '--use_gpu True: driver 440.10 is too old'),
    (['--gpu'], {}, 'unknown option --gpu; there is --cpu')])
def test_where_it_cannot_run_it_says_so_in_a_line(machine, options, changed, message):
    code, output, errors, report = machine(*options, **changed)
    assert code == 2 and report is None and not output
    assert len(errors) == 1 and errors[0].startswith('run_gpu.sh: error: ' + message)


def test_without_nvidia_smi_it_makes_no_environment(machine, tmpdir):
    tools = tmpdir.mkdir('tools')
    tools.join('dirname').mksymlinkto('/usr/bin/dirname')
    code, output, errors, _ = machine(PATH=str(tools), PYTHON='/none')
    assert code == 2 and not output and len(errors) == 1 and 'no GPU is visible' in errors[0]


@pytest.mark.parametrize('mine, visible, expected', [
    ('7', None, 7), (None, None, 540), (None, '0', 500), ('[N/A]', None, 540)])
def test_memory_of_the_gpu(machine, monkeypatch, capsys, mine, visible, expected):
    """That of this process; where nvidia-smi cannot tell, that of the visible GPUs."""
    for name, value in (('MINE', mine), ('CUDA_VISIBLE_DEVICES', visible)):
        if value:
            monkeypatch.setenv(name, value)
    assert common.gpu_memory_mb() == expected
    common.report('name', common.parser('').parse_args([]), [1.], 1., common.gpu_memory_mb())
    assert ', of the GPU %d MB, ' % expected in capsys.readouterr().out
