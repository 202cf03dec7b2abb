# -*- coding: utf-8 -*-
"""Commands in a pipe: lines are answered as they come, and in large blocks where they come fast."""
from __future__ import absolute_import, division, print_function, unicode_literals

import io
import os
import subprocess
import sys

import pytest

from project import ROOT
from helpers import kill_after, refused, run_command, tagger_flags, write_lines
from elmo import stream, text
from elmo.text import InputError
from lac_finetune import infer, train

pytestmark = pytest.mark.usefixtures('fresh_scope')
SECONDS = 100  # that a command may take before it is killed
LINES = ['我的弟弟', '', '在上海', '工作']


def started(command):
    """A process with pipes, which is killed after SECONDS, and the timer of that."""
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    return process, kill_after(SECONDS, process)


def test_each_line_is_answered_before_the_next_one_is_sent(task):
    train.train(train.parse_args(tagger_flags(task)))
    process, timer = started([sys.executable, os.path.join(ROOT, 'lac_finetune', 'infer.py'), '--use_gpu', 'False',
                              '--model_dir', str(task.join('model'))])
    try:
        for line in LINES:
            process.stdin.write((line + '\n').encode('utf-8'))
            process.stdin.flush()
            answer = process.stdout.readline().decode('utf-8')
            assert answer.endswith('\n'), process.stderr.read()
            assert ''.join(word.rsplit('/', 1)[0] for word in answer.split()) == line
        process.stdin.close()
        assert process.wait() == 0 and not process.stdout.read()
    finally:
        timer.cancel()
        if process.poll() is None:
            process.kill()


def test_it_ends_when_its_reader_has_gone(task):
    """As `| head -n 1` does, while lines go on coming."""
    train.train(train.parse_args(tagger_flags(task)))
    code, output, errors = run_command(
        ['sh', '-c', '{ yes 我的弟弟 2>/dev/null | timeout -s KILL %d "$0" "$@"; echo $? >&2; } | head -n 1' % SECONDS,
         sys.executable, os.path.join(ROOT, 'lac_finetune', 'infer.py'), '--use_gpu', 'False', '--model_dir',
         str(task.join('model'))])
    assert (code, output.count('\n'), errors) == (0, 1, '141\n')


def test_the_wait_for_an_answer_is_measured(task):
    train.train(train.parse_args(tagger_flags(task)))
    command = [sys.executable, os.path.join(ROOT, 'benchmark', 'pipe_latency.py'), '--use_gpu', 'False', '--lines', '5',
               '--limit', '%d' % SECONDS, '--batch_wait', '0', '0.01', '--text',
               write_lines(task.join('raw.txt'), ['我在。上海工作！', '', '弟弟']), str(task.join('model'))]
    code, output, errors = run_command(command)
    lines = output.splitlines()
    assert (code, errors) == (0, '') and lines[0] == '5 lines, 3.6 characters on average'  # (3 + 5 + 2 + 3 + 5) / 5
    rows = [[float(cell) for cell in line.split('|')[1:-1]] for line in lines[-2:]]
    assert [row[0] for row in rows] == [0, 0.01]
    assert all(0 < median <= percentile and 0 < first and 0 < speed for _, first, median, percentile, speed in rows)
    code, output, errors = run_command(command[:-1] + [str(task.join('none'))])
    assert code == 2 and errors.count('\n') == 1 and 'infer.py has ended' in errors, errors


@pytest.mark.parametrize('end', ['\n', ''])
def test_files_come_as_from_read_blocks(tmpdir, end):
    path = str(tmpdir.join('a.txt'))
    with io.open(path, 'w', encoding='utf-8', newline='') as output:
        output.write('\ufeff词1\r\n\n' + '很长的一行' * 20000 + '\n词2' + end)
    for block in (1, 5, 10 ** 6):
        assert list(stream.read_blocks([path], block, 0)) == list(text.read_blocks([path], block))
        assert list(stream.read_blocks([path, path], block, 0)) == list(text.read_blocks([path, path], block))


def test_a_pipe_that_is_full_is_read_in_blocks(tmpdir):
    """All lines are there before the first is read."""
    path = str(tmpdir.join('pipe'))
    os.mkfifo(path)
    both = os.open(path, os.O_RDWR)  # or opening it would wait for a reader
    os.write(both, '一\n二\n三\n四\n五'.encode('utf-8'))
    found = stream.read_blocks([path], 4, 0.)
    assert [line for _, line in next(found)[0]] == ['一\n', '二\n']
    assert [line for _, line in next(found)[0]] == ['三\n', '四\n']
    os.close(both)
    assert [line for _, line in next(found)[0]] == ['五'] and not list(found)


@pytest.mark.parametrize('wait', ['-1', '3601', '1e10'])
def test_a_wait_that_is_none_is_refused(capsys, wait):
    line = refused(capsys, lambda: infer.parse_args(['--model_dir', 'model', '--batch_wait', wait]))
    assert '--batch_wait' in line and wait in line


def test_a_bad_line_is_named(tmpdir, monkeypatch):
    path = write_lines(tmpdir.join('a.txt'), ['词', '词' * 40])
    monkeypatch.setattr(text, 'MAX_LINE_BYTES', 50)
    monkeypatch.setattr(stream, 'MAX_LINE_BYTES', 50)
    monkeypatch.setattr(stream, 'BYTES', 60)
    with pytest.raises(InputError) as error:
        list(stream.read_blocks([path], 4, 0.))
    assert 'a.txt:2: a line of more than' in str(error.value)
    with pytest.raises(InputError) as error:
        list(stream.read_blocks(['/proc/self/mem'], 4, 0.))
    assert '/proc/self/mem: cannot be read' in str(error.value)
