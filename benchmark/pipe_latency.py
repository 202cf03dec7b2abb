# -*- coding: utf-8 -*-
"""How long a line waits for its answer where lac_finetune/infer.py stands in a pipe, and its speed for many lines.

    . scripts/env.sh && "$PYTHON" benchmark/pipe_latency.py MODEL [--lines 500] [--batch_wait 0 0.02]

Each line is sent when the one before is answered, the first one at once. The speed is what infer.py itself reports
where all lines are there from the beginning.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import contextlib
import itertools
import os
import re
import subprocess
import sys
import threading

from project import ROOT, cli
import numpy as np
import six

from elmo import clock, flags
from elmo.corpus import split_sentences
from elmo.text import InputError, list_files, read_lines


@contextlib.contextmanager
def started(args, wait):
    """infer.py with pipes. It is killed at the end, and after --limit seconds, so that no wait is without end."""
    command = [sys.executable, os.path.join(ROOT, 'lac_finetune', 'infer.py'), '--model_dir', args.model,
               '--batch_wait', '%g' % wait] + ([] if args.use_gpu is None else ['--use_gpu', '%s' % args.use_gpu])
    process = subprocess.Popen([six.ensure_str(word) for word in command], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    timer = threading.Timer(args.limit, process.kill)
    timer.start()
    try:
        yield process
    finally:
        timer.cancel()
        if process.poll() is None:
            process.kill()
            process.wait()


def refuse(process):
    """InputError with what infer.py said before it ended."""
    raise InputError('infer.py has ended, or was killed as it took more than --limit seconds: %s'
                     % process.stderr.read().decode('utf-8'))


def latencies(args, wait, lines):
    """Seconds from sending each line to its answer, the first one counted from the start of the process."""
    found, start = [], clock.now()
    with started(args, wait) as process:
        for line in lines:
            try:
                process.stdin.write(line)
                process.stdin.flush()
            except EnvironmentError:
                refuse(process)
            if not process.stdout.readline():
                refuse(process)
            found.append(clock.now() - start)
            start = clock.now()
    return found


def speed(args, wait, lines):
    """Characters a second, all lines being there from the beginning."""
    with started(args, wait) as process:
        said = process.communicate(b''.join(lines))[1].decode('utf-8')
    found = re.search(r'(\d+) characters/s', said)
    if process.returncode or not found:
        raise InputError('infer.py failed, or was killed as it took more than --limit seconds: %s' % said)
    return int(found.group(1))


def main():
    parser = cli.ArgumentParser(__doc__.splitlines()[0])
    parser.add_argument('model', help='model directory that lac_finetune/train.py wrote')
    parser.add_argument('--text', default=os.path.join(ROOT, 'data', 'raw'),
                        help='raw text: a file, a directory or a quoted glob; each sentence becomes a line')
    parser.add_argument('--lines', type=cli.number(int, low=2), default=500, help='how many; a short text is repeated')
    parser.add_argument('--batch_wait', type=cli.number(float, low=0), nargs='+', default=[0, 0.02],
                        help='as of infer.py; each value is measured')
    parser.add_argument('--limit', type=cli.positive_int, default=600, help='seconds that one process may take')
    flags.use_one_gpu(parser)
    args = parser.parse_args()
    texts = [sentence for path in list_files(args.text) for _, text, _ in read_lines(path)
             for sentence in split_sentences(text.strip()) if sentence]
    if not texts:
        raise InputError('--text %s: no text in it' % args.text)
    lines = [(text + '\n').encode('utf-8') for text in itertools.islice(itertools.cycle(texts), args.lines)]
    print('%d lines, %.1f characters on average\n' % (len(lines), np.mean([len(line.decode('utf-8')) - 1
                                                                           for line in lines])))
    print('| --batch_wait, s | first answer, s | median, ms | 95th percentile, ms | all at once, characters/s |\n'
          '|---:|---:|---:|---:|---:|')
    for wait in args.batch_wait:
        seconds = latencies(args, wait, lines)
        median, percentile = np.percentile(seconds[1:], [50, 95]) * 1000
        print('| %g | %.2f | %.1f | %.1f | %d |' % (wait, seconds[0], median, percentile, speed(args, wait, lines)))


if __name__ == '__main__':
    cli.run(main)
