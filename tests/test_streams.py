# -*- coding: utf-8 -*-
"""Standard output that cannot be written, and signals: training loses nothing, the other commands end quietly."""
from __future__ import absolute_import, division, print_function, unicode_literals

import os
import signal
import subprocess
import sys
import time

from project import ROOT
from helpers import Corpus, run, run_command, tagger_flags, write_lines  # comes before fluid: it finds the project
import paddle.fluid as fluid
import pytest
import six

from elmo import checkpoint
from lac_finetune import train as tagger


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


READERS = {
    'infer': ['lac_finetune/infer.py', 'TEXT', '--model_dir', 'DIR/model', '--use_gpu', 'False'],
    'evaluate': ['tools/evaluate.py', '--test_path', 'TEXT', 'ELMO'],
    'evaluate each': ['tools/evaluate.py', '--test_path', 'TEXT', '--per_sentence', '/dev/stdout', 'ELMO'],
    'embed': ['tools/embed.py', 'TEXT', '--output', 'DIR/vectors.npz', 'ELMO'],
    'embed tokens': ['tools/embed.py', 'TEXT', '--output', 'DIR/vectors.npz', '--tokens', '/dev/stdout', 'ELMO'],
    'neighbours': ['tools/neighbours.py', '词1', '词1', '--text', 'TEXT', 'ELMO'],
    'plot': ['tools/plot.py', 'DIR/checkpoints', '--output', 'DIR/picture.png'],
    'convert': ['tools/convert.py', 'to_npz', 'DIR/checkpoints/000002', 'DIR/parameters.npz'],
    'prepare': ['data/prepare.py', 'TEXT', '--output', 'DIR/prepared', '--min_count', '1'],
    'pku': ['data/pku.py', '--help'], 'train': ['train.py', '--help'], 'lac': ['lac_finetune/train.py', '--help']}


@pytest.fixture(scope='module')
def directory(tmpdir_factory):
    """A directory with a trained network, a tagger and a text of many lines, in which READERS find what they want."""
    directory = tmpdir_factory.mktemp('readers')
    corpus = Corpus(directory)
    run(corpus, max_steps=2)
    write_lines(directory.join('text.txt'), ['词1 词2 词3'] * 3000)  # more than a pipe holds
    with fluid.scope_guard(fluid.Scope()):
        tagger.train(tagger.parse_args(tagger_flags(directory, elmo_checkpoint=directory.join('checkpoints'))))
    return str(directory)


def command_of(name, directory):
    """The words of a command of READERS."""
    elmo = ['--checkpoint', 'DIR/checkpoints', '--vocab_path', 'DIR/vocabulary.txt', '--use_gpu', 'False']
    words = [word for part in READERS[name] for word in (elmo if part == 'ELMO' else [part])]
    words = [word.replace('TEXT', 'DIR/text.txt').replace('DIR', directory) for word in words]
    return ['timeout', '-s', 'KILL', '100', sys.executable, os.path.join(ROOT, words[0])] + words[1:]


@pytest.mark.parametrize('name', sorted(READERS))
def test_a_command_ends_quietly_when_nobody_reads(directory, name):
    """Its output is a pipe that is closed at the other end before it writes."""
    read, write = os.pipe()
    os.close(read)
    process = subprocess.Popen([six.ensure_str(word) for word in command_of(name, directory)], stdout=write,
                               stderr=subprocess.PIPE, env=dict(os.environ, LC_ALL=str('C.UTF-8')))
    os.close(write)
    errors = [line for line in process.communicate()[1].decode('utf-8').splitlines() if ': takes ' not in line]
    assert (process.returncode, errors) == (128 + signal.SIGPIPE, [])


@pytest.mark.parametrize('redirection, reason', [
    ('> /dev/full', 'No space left on device'), ('>&-', 'Bad file descriptor' if six.PY2 else 'it is closed')])
@pytest.mark.parametrize('name', ['evaluate', 'infer'])
def test_output_that_cannot_be_written(directory, name, redirection, reason):
    code, output, errors = run_command(['sh', '-c', '"$0" "$@" ' + redirection] + command_of(name, directory))
    assert (code, output) == (2, '') and errors.endswith(
        '%s.py: error: standard output cannot be written: %s\n' % (name, reason)), errors


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
