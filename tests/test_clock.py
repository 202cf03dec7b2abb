# -*- coding: utf-8 -*-
"""Somebody sets the time back while work goes on: no speed and no time left below 0, and no wait without end."""
from __future__ import absolute_import, division, print_function, unicode_literals

import json
import re
import time

import pytest

from helpers import run
from elmo import clock
from elmo.collective import Started
from elmo.distributed import LOCAL
from elmo.progress import Progress

pytestmark = pytest.mark.usefixtures('fresh_scope')


@pytest.fixture
def set_back(monkeypatch):
    """A time that goes back an hour whenever it is asked for."""
    times = iter(range(10 ** 9, 0, -3600))
    monkeypatch.setattr(time, 'time', lambda: next(times))


def test_the_clock_goes_on():
    before = clock.now()
    time.sleep(0.02)
    assert 0.02 <= clock.now() - before < 100


def test_progress(set_back, monkeypatch, capsys):
    real, gone = clock.now, []
    monkeypatch.setattr(clock, 'now', lambda: real() + sum(gone))
    progress = Progress('reading', 100, 'bytes')
    gone.append(20)
    progress.update(40)
    found = re.match(r'reading: 40 bytes, (\d+)/s, 40%, 0:00:(\d\d) left\n$', capsys.readouterr().err)
    assert found and found.group(1) in ('1', '2') and 29 <= int(found.group(2)) <= 40


def test_training(set_back, corpus, capsys):
    run(corpus, max_steps=3)
    lines = corpus.directory.join('checkpoints', 'log.jsonl').read().splitlines()
    for record in map(json.loads, lines):
        assert record['seconds'] >= 0 and record.get('tokens_per_second', 1) > 0
    output = capsys.readouterr().out
    assert 'step 3' in output and not re.search(r'-\d', output.replace(str(corpus.directory), ''))


def test_a_deadline_comes(set_back):
    started, polls = Started(LOCAL, []), iter([None] * 100)
    started._processes = [type(str('Process'), (), {'poll': lambda self: next(polls)})()]
    started._errors = [None]
    before = clock.now()
    assert started.failed(0.1) == '' and clock.now() - before < 100
