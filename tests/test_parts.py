# -*- coding: utf-8 -*-
"""Signals to scripts that run several programs one after the other: what runs is told, and nothing else starts."""
from __future__ import absolute_import, division, print_function, unicode_literals

import os
import shutil
import signal
import subprocess
import sys
import threading

import pytest
import six

from project import ROOT
from helpers import children, run, wait_for, write_lines
from elmo import checkpoint

# A stand-in for Python: train.py notes what it is told, and ends when it was told $TIMES times.
PYTHON = '''#!/bin/sh
case "$*" in
    *cuda=*) echo cuda=False ;;
    *pku.py*) exit 1 ;;
    *train.py*)
        for name in INT HUP TERM USR1; do trap "echo told $name; told=\\$((told + 1))" $name; done
        told=0 number=0
        echo stand-in
        until [ $told -ge $TIMES ] || [ $number -eq 200 ]; do sleep 0.1; number=$((number + 1)); done
        echo saved ;;
esac
'''
SCRIPTS = {'tools/adapt.sh': {'TEXT': 'x', 'CHECKPOINT': 'y', 'VOCABULARY': 'z', 'MIN_COUNT': '0'},
           'lac_finetune/run.sh': {}}
CODES = [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)]


class Script(object):
    """A script that runs in a process group of its own, as on a terminal. It is killed after 60 seconds."""

    def __init__(self, path, nohup=False, **environment):
        def begin():
            os.setsid()
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.signal(signal.SIGHUP, signal.SIG_IGN if nohup else signal.SIG_DFL)

        environment = dict(os.environ, LC_ALL='C.UTF-8', **environment)
        environment = {six.ensure_str(name): six.ensure_str(value) for name, value in environment.items()}
        self.process = subprocess.Popen(['sh'] + path, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, preexec_fn=begin)
        self.timer = threading.Timer(60, os.killpg, [self.process.pid, signal.SIGKILL])
        self.timer.daemon = True
        self.timer.start()

    def wait_for(self, text):
        wait_for(self.process, text)

    def end(self):
        """Waits until all that it started has ended: (exit code, lines on stdout)."""
        output = self.process.communicate()[0].decode('utf-8').splitlines()
        self.timer.cancel()
        return self.process.returncode, output


@pytest.fixture
def start(tmpdir):
    """Starts a script of a copy of the project with the stand-in, and waits until it trains."""
    root = tmpdir.join('root')
    for name in list(SCRIPTS) + ['scripts/find_python.sh', 'data/download.sh']:
        root.join(name).dirpath().ensure(dir=True)
        shutil.copy(os.path.join(ROOT, name), str(root.join(name)))
    shutil.copytree(os.path.join(ROOT, 'requirements'), str(root.join('requirements')))
    root.join('data').ensure('text', dir=True)
    python = root.join('python')
    python.write(PYTHON)
    python.chmod(0o755)

    def begin(name, times=1, **options):
        script = Script([str(root.join(name))], PYTHON=str(python), TIMES='%d' % times, OUTPUT=str(tmpdir.join('out')),
                        **dict(SCRIPTS[name], **options))
        script.wait_for('stand-in')
        return script
    return begin


@pytest.mark.parametrize('number, code', CODES)
@pytest.mark.parametrize('name', sorted(SCRIPTS))
def test_a_signal_for_the_script_alone(start, name, number, code):
    script = start(name)
    script.process.send_signal(number)
    assert script.end() == (code, ['told USR1', 'saved'])


@pytest.mark.parametrize('number, code', CODES[1:])
def test_what_a_terminal_sends_to_all_is_told_once(start, number, code):
    script = start('tools/adapt.sh', times=2)
    os.killpg(script.process.pid, number)
    script.wait_for('told USR1')
    os.killpg(script.process.pid, number)  # and told again the second time
    assert script.end() == (code, ['told USR1', 'saved'])


def test_nohup_holds(start):
    script = start('tools/adapt.sh', nohup=True)
    script.process.send_signal(signal.SIGHUP)
    script.process.send_signal(signal.SIGTERM)
    assert script.end() == (143, ['told USR1', 'saved'])


@pytest.mark.parametrize('number, code', [(signal.SIGTERM, 143), (signal.SIGKILL, -9), ('group', 143),
                                          ('training alone', 143)])
def test_training_saves_and_ends(corpus, number, code):
    """Also if the script is killed, if all processes get SIGTERM, as from systemd or timeout, and if train.py alone
    does: the script must not go on with half a training.
    """
    run(corpus, max_steps=1)
    text = write_lines(corpus.directory.join('raw.txt'), ['词1 词3'] * 40)
    output = corpus.directory.join('adapted')
    script = Script(
        [os.path.join(ROOT, 'tools', 'adapt.sh'), '--batch_size', '4', '--num_steps', '8', '--max_epoch', '1000000',
         '--curves', 'False', '--log_interval', '1', '--use_gpu', 'False'], PYTHON=sys.executable, TEXT=text,
        CHECKPOINT=str(corpus.directory.join('checkpoints')), VOCABULARY=corpus.vocab_path, OUTPUT=str(output),
        MIN_COUNT='0')
    script.wait_for('step 3/')
    if number == 'group':
        os.killpg(script.process.pid, signal.SIGTERM)
    elif number == 'training alone':
        os.kill(children(script.process.pid, 'train.py')[0], signal.SIGTERM)
    else:
        script.process.send_signal(number)
    found, lines = script.end()
    assert found == code and 'stopped by ' in lines[-1] and 'to go on: ' in lines[-1]
    assert 'step %d;' % max(checkpoint.steps(str(output.join('checkpoints')))) in lines[-1]
