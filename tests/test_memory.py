# -*- coding: utf-8 -*-
"""A want of memory is one line with exit code 2, whoever notices it, and no fault of the program."""
from __future__ import absolute_import, division, print_function, unicode_literals

import resource
import sys

import numpy as np
import paddle.fluid as fluid
import pytest

from project import ROOT
from helpers import make_checkpoint, refused, refused_training, run_command
from bilm import data, ops
from elmo import cli, memory
from elmo.embedder import Embedder
from elmo.text import InputError, Vocabulary

pytestmark = pytest.mark.usefixtures('fresh_scope')


def python_wants():
    np.ones([1 << 45])


def fluid_wants():
    program = fluid.Program()
    with fluid.program_guard(program, fluid.Program()):
        row, column = data('row', [1, None], dtype='float32'), data('column', [None, 1], dtype='float32')
        product = ops.matmul(column, row)
    many = np.ones([1 << 23], dtype='float32')
    fluid.Executor(fluid.CPUPlace()).run(program, {'row': many[None], 'column': many[:, None]}, [product.name])


def a_thread_is_wanted():
    raise RuntimeError("can't start new thread")


@pytest.mark.parametrize('main', [python_wants, fluid_wants, a_thread_is_wanted])
def test_a_want_of_memory_is_one_line(capsys, main):
    assert 'error: not enough memory (' in refused(capsys, main)


def test_other_faults_remain_faults(capsys):
    def main():
        raise RuntimeError('the memory of a fault')

    with pytest.raises(SystemExit) as stop:
        cli.run(main)
    assert stop.value.code == 1 and 'the memory of a fault' in capsys.readouterr().err


@pytest.mark.parametrize('raised, code', [('MemoryError', 2), ('KeyError', 1)])
def test_what_is_raised_while_modules_are_imported(raised, code):
    code_of_it = 'import elmo.cli; raise %s' % raised
    found, _, errors = run_command([sys.executable, '-c', code_of_it], cwd=ROOT)
    assert found == code and ('not enough memory (MemoryError)' in errors) == (code == 2)
    assert (len(errors.splitlines()) == 1) == (code == 2), errors


def test_a_network_that_cannot_fit(corpus, capsys):
    line = refused_training(corpus, capsys, hidden_size=2 ** 31 - 1, embed_size=2 ** 20)
    assert 'not enough memory: the network takes' in line


@pytest.mark.parametrize('optim, fits', [('sgd', True), ('adagrad', False)])
def test_the_optimizer_counts(corpus, capsys, monkeypatch, optim, fits):
    """The parameters of the tiny network are 20 * 9 + 4 * (2 * 4 * 24 + 6 * 4 + 24) numbers of 4 bytes."""
    monkeypatch.setattr(memory, 'total', lambda: 4 * (20 * 9 + 4 * (2 * 4 * 24 + 6 * 4 + 24)))
    flags = dict(optim=optim, train_path=corpus.train_path if not fits else corpus.vocab_path)
    assert ('not enough memory' in refused_training(corpus, capsys, **flags)) != fits  # a vocabulary is no text


def test_a_checkpoint_that_cannot_fit(corpus, monkeypatch):
    vocabulary = Vocabulary(corpus.vocab_path)
    make_checkpoint(corpus.directory.mkdir('elmo'), vocabulary)
    monkeypatch.setattr(memory, 'total', lambda: 1000)
    with pytest.raises(InputError) as error:
        Embedder(str(corpus.directory.join('elmo')), vocabulary)
    assert 'not enough memory' in str(error.value)


def test_the_limit_of_the_process_counts():
    limit = 7 << 30
    code = 'from elmo import memory; print(memory.total())'
    found = run_command([sys.executable, '-c', code], cwd=ROOT,
                        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)))
    assert 0 < int(found[1]) <= limit


@pytest.mark.parametrize('files, code', [(16, 2), (1000, 1)])
def test_modules_that_need_more_files_than_may_be_open(files, code):
    """Python 2 cannot load fluid with 16; Python 3 can."""
    found, _, errors = run_command(
        [sys.executable, '-c', 'import elmo.cli; raise ImportError("x")'], cwd=ROOT,
        close_fds=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (files, files)))
    assert found == code and ('only 16 files may be open (x)' in errors) == (code == 2), errors


def test_16_open_files_are_enough_or_told(corpus):
    command = [sys.executable, 'train.py'] + corpus.flags(max_steps=1)
    found, output, errors = run_command(
        command, cwd=ROOT, close_fds=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16)))
    assert 'finished' in output if found == 0 else found == 2 and 'only 16 files may be open' in errors, errors
