# -*- coding: utf-8 -*-
"""What benchmark/crash.py compares: each change is found. Training is not run here."""
from __future__ import absolute_import, division, print_function, unicode_literals

import os
import random
import signal
import sys

import py
import pytest

from benchmark import crash, interrupted
from benchmark.interrupted import Failure, Run, contents, differences


def write(path, text):
    path.ensure().write(text)
    return str(path)


@pytest.fixture
def run(tmpdir):
    """A run with one checkpoint, as the run never stopped has it, and a file of the user's."""
    made = {}
    for name in ('whole', 'run'):
        made[name] = Run([sys.executable, '-c', 'import time; time.sleep(100)'], str(tmpdir.join(name)),
                         str(tmpdir.join(name)), whole=made.get('whole'))
        for file in ('embedding_para', os.path.join('optimizer', 'moment'), 'train_state.json', 'manifest.json'):
            write(tmpdir.join(name, 'checkpoints', '000002', file), 'the same')
    notes = write(tmpdir.join('run', 'checkpoints', '20261124', 'notes.txt'), 'mine')
    made['run'].foreign[os.path.dirname(notes)] = contents(os.path.dirname(notes))
    made['run'].check()
    return made['run']


def test_differences_by_hand(tmpdir):
    write(tmpdir.join('file'), 'abc')
    found = contents(str(tmpdir))
    assert found == {'file': 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'}  # FIPS 180-4 has it
    assert contents(str(tmpdir.join('file'))) == {'.': found['file']} and contents(str(tmpdir.join('none'))) == {}
    assert differences({'a': '1', 'b': '1', 'c': '1'}, {'b': '2', 'c': '1', 'd': '1'}) == ['a', 'b', 'd']


def test_what_varies_is_left_out(tmpdir):
    found = []
    for number, text in enumerate(('{"seconds": 1, "step": 2}', '{"step": 2}', '{"step": 3}', '{"step": 2', '2')):
        write(tmpdir.join('%d' % number, 'train_state.json'), text)
        found.append(contents(str(tmpdir.join('%d' % number))))
    assert not differences(found[0], found[1])
    assert all(differences(one, found[1]) == ['train_state.json'] for one in found[2:])


@pytest.mark.parametrize('name', ['embedding_para', os.path.join('optimizer', 'moment'), 'manifest.json', 'more'])
def test_a_checkpoint_that_differs_is_found(run, name):
    path = os.path.join(run.saved, '000002', name)
    if name == 'manifest.json':
        os.remove(path)
    else:
        write(py.path.local(path), 'another')
    with pytest.raises(Failure) as error:
        run.check()
    assert str(error.value).endswith('000002: differ: ' + name) and not run.finished()


@pytest.mark.parametrize('seed', range(9))
def test_half_a_copy_may_stay_as_it_is_and_not_change(run, seed):
    path = os.path.join(run.saved, '000002')
    crash.spoil(path, random.Random(seed))
    with pytest.raises(Failure):
        run.check()
    run.spoilt[path].append(contents(path))
    run.check()
    write(py.path.local(path).join('more'), 'another')
    with pytest.raises(Failure):
        run.check()


@pytest.mark.parametrize('change', [os.remove, lambda path: os.rename(path, path + 'x')])
def test_what_is_foreign_and_changed_is_found(run, change):
    change(os.path.join(run.saved, '20261124', 'notes.txt'))
    with pytest.raises(Failure) as error:
        run.check()
    assert str(error.value).endswith('20261124: is not as it was')


def test_a_process_that_is_left_is_found_and_ended(run):
    with run:
        run.start()
        assert run.alive() == [run.process.pid]
        with pytest.raises(Failure) as error:
            interrupted.wait_until(lambda: not run.alive(), 'all processes end', limit=0)
        assert 'all processes end' in str(error.value)
    assert run.process.wait() == -signal.SIGKILL and run.alive() == []
