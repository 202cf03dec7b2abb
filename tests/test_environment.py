# -*- coding: utf-8 -*-
"""The variables that a command sets for fluid, and its standard streams, if it starts without find_python.sh."""
from __future__ import absolute_import, division, print_function, unicode_literals

import os
import subprocess
import sys

import pytest

from project import ROOT
from helpers import refused
from elmo import cli, environment


@pytest.mark.parametrize('cpu_num, omp, wanted', [
    (None, None, '4'), ('3', None, '1'), ('16', None, '1'), ('2', '5', '5'), ('0', None, '1'), ('08', None, '1'),
    ('two', None, '1')])
def test_threads(cpu_num, omp, wanted):
    environ = {name: value for name, value in (('CPU_NUM', cpu_num), ('OMP_NUM_THREADS', omp)) if value}
    assert environment.defaults(environ, 8, '')['MKL_NUM_THREADS'] == wanted


@pytest.mark.parametrize('files, wanted', [
    ({}, 4), ({'/sys/fs/cgroup/cpu.max': 'max 100000'}, 4), ({'/sys/fs/cgroup/cpu.max': '200000 100000'}, 2),
    ({'/sys/fs/cgroup/cpu.max': '50000 100000'}, 1), ({'/sys/fs/cgroup/cpu.max': '900000 100000'}, 4),
    ({'/sys/fs/cgroup/cpu/cpu.cfs_quota_us': '-1', '/sys/fs/cgroup/cpu/cpu.cfs_period_us': '100000'}, 4),
    ({'/sys/fs/cgroup/cpu/cpu.cfs_quota_us': '300000', '/sys/fs/cgroup/cpu/cpu.cfs_period_us': '100000'}, 3)])
def test_cores_of_a_container(files, wanted):
    files = dict({'/proc/self/status': 'Name: x\nCpus_allowed:\tf\nCpus_allowed_list: 0-3'}, **files)
    assert environment.cores(lambda path: files.get(path, '')) == wanted


@pytest.mark.parametrize('cpu, wanted', [
    ('vendor_id : AuthenticAMD\nflags : fma avx2', '5'), ('vendor_id : AuthenticAMD\nflags : avx2 avx512vl', '7'),
    ('vendor_id : GenuineIntel\nflags : avx2 avx512vl', None), ('', None)])
def test_mkl(cpu, wanted):
    assert environment.defaults({}, 8, cpu).get('MKL_DEBUG_CPU_TYPE') == wanted


def python(code, **variables):
    """Runs code in a new process that ends at once and flushes nothing at the end; returns its output."""
    names = list(environment.defaults({}, 1, 'AuthenticAMD')) + ['PYTHONIOENCODING', 'PYTHONUNBUFFERED']
    environ = {name: value for name, value in os.environ.items() if name not in names}
    environ.update({str(name): str(value) for name, value in variables.items()}, PYTHONPATH=str(ROOT))
    code = 'from __future__ import print_function\nimport os, sys\n%s\nos._exit(0)\n' % code
    return subprocess.check_output([sys.executable, '-c', code], env=environ)


@pytest.mark.parametrize('command', ['train.py', 'tools/evaluate.py', 'tools/embed.py', 'tools/neighbours.py',
                                     'lac_finetune/train.py', 'lac_finetune/infer.py', 'benchmark/speed.py'])
def test_every_command_sets_it_before_fluid(command):
    code = """
class Finder(object):
    def find_spec(self, name, *_):
        if name == 'paddle':
            print('CPU_NUM' in os.environ)
            sys.stdout.flush()
            os._exit(0)
    find_module = find_spec
sys.meta_path.insert(0, Finder())
sys.path.insert(0, os.path.dirname(%r))
runpy.run_path(%r)"""
    path = str(os.path.join(ROOT, command))
    assert python('import runpy' + code % (path, path)) == b'True\n'


def test_what_the_user_has_set_stays():
    code = 'import elmo; print(os.environ["GLOG_minloglevel"], os.environ["CPU_NUM"]); sys.stdout.flush()'
    assert python(code, GLOG_minloglevel='0') == b'0 1\n'


@pytest.mark.parametrize('variables, encoding', [
    ({'LC_ALL': 'C'}, 'utf-8'), ({'LC_ALL': 'C.UTF-8'}, 'utf-8'), ({'LC_ALL': 'C', 'PYTHONIOENCODING': 'gbk'}, 'gbk')])
def test_chinese_is_written_a_line_at_a_time(variables, encoding):
    code = """from elmo import cli
def main():
    print(u'\\u8bcd', 1)
    sys.stderr.write(u'\\u6253\\n')
    print(u'\\u4e00', end='')
sys.stderr = sys.stdout
cli.run(main)"""
    assert python(code, **variables) == '词 1\n打\n'.encode(encoding)


def test_an_argument_that_the_locale_does_not_know(capsys):
    bad = b'\xff' if str is bytes else '\udcff'
    assert 'set LC_ALL=C.UTF-8' in refused(capsys, lambda: cli.as_text(bad))
