# -*- coding: utf-8 -*-
"""Standard output that cannot be written, and signals: training loses nothing, the other commands end quietly."""
from __future__ import absolute_import, division, print_function, unicode_literals

import os
import signal
import subprocess
import sys
import time

import pytest
import six

from project import ROOT
from helpers import run, run_command
from elmo import checkpoint


def train(corpus, redirection, **flags):
    """Trains through a shell: (exit code, text on stdout, text on stderr)."""
    return run_command(['sh', '-c', '"$0" "$@" ' + redirection, sys.executable, os.path.join(ROOT, 'train.py')] +
                       corpus.flags(**flags))


@pytest.mark.parametrize('redirection, reason', [('> /dev/full', 'No space left'), ('>&-', 'it is closed'),
                                                 ('| true', 'Broken pipe')])
def test_training_goes_on_without_its_output(corpus, redirection, reason):
    code, output, errors = train(corpus, redirection, max_steps=3)
    assert code == 0 and not output
    assert checkpoint.steps(str(corpus.directory.join('checkpoints'))) == [3]
    if six.PY2 and redirection == '>&-':  # Python 2.7 does not notice
        return
    assert errors.count('\n') == 1 and reason in errors and 'the run goes on' in errors, errors


def test_training_goes_on_without_stderr(corpus):
    code, output, _ = train(corpus, '2>&-', max_steps=3)
    assert code == 0 and 'finished: ' in output


def evaluate(corpus, redirection):
    command = [sys.executable, os.path.join(ROOT, 'tools', 'evaluate.py'), '--checkpoint',
               str(corpus.directory.join('checkpoints', '000002')), '--test_path', corpus.test_path, '--vocab_path',
               corpus.vocab_path, '--use_gpu', 'False']
    return run_command(['sh', '-c', '"$0" "$@" %s; echo $? >&2' % redirection] + command)[2]


def test_a_reader_ends_quietly_when_nobody_reads(corpus):
    run(corpus, max_steps=2)
    said = evaluate(corpus, '| true')
    assert said == '0\n', said  # that of true
    closed = 'Bad file descriptor' if six.PY2 else 'it is closed'
    for redirection, reason in (('> /dev/full', 'No space left on device'), ('>&-', closed)):
        lines = evaluate(corpus, redirection).splitlines()
        assert lines[1:] == ['2'] and 'standard output cannot be written: ' + reason in lines[0], lines


def test_hangup_saves_and_nohup_trains_on(corpus):
    for ignored in (False, True):
        name = 'nohup' if ignored else 'hangup'
        command = [sys.executable, os.path.join(ROOT, 'train.py')] + corpus.flags(
            save_dir=corpus.directory.join(name), max_epoch=10 ** 6)
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL))
        for line in iter(process.stdout.readline, b''):
            if b'step 3/' in line:
                break
        process.send_signal(signal.SIGHUP)
        if ignored:
            for line in iter(process.stdout.readline, b''):
                if b'step 2000/' in line:
                    break
            process.send_signal(signal.SIGTERM)
        output, errors = process.communicate()
        assert process.returncode == 0 and b'stopped by ' + (b'SIGTERM' if ignored else b'SIGHUP') in output, errors
        assert checkpoint.steps(str(corpus.directory.join(name)))


def test_sigterm_leaves_nothing_half_written(corpus):
    run(corpus, max_steps=2)
    os.mkfifo(str(corpus.directory.join('text')))
    command = [sys.executable, os.path.join(ROOT, 'tools', 'embed.py'), str(corpus.directory.join('text')),
               '--checkpoint', str(corpus.directory.join('checkpoints')), '--vocab_path', corpus.vocab_path, '--output',
               str(corpus.directory.join('vectors.npz')), '--use_gpu', 'False']
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    before = set(os.listdir(str(corpus.directory)))
    for _ in range(600):  # until the file is begun
        if set(os.listdir(str(corpus.directory))) - before or process.poll() is not None:
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == 128 + signal.SIGTERM
    assert set(os.listdir(str(corpus.directory))) == before
