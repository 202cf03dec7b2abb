# -*- coding: utf-8 -*-
"""Kills training at random moments, resumes it until its end, and compares what it saves with a run never stopped.

    . scripts/env.sh && "$PYTHON" benchmark/crash.py [--runs 50] [--devices 2]

A tiny network with dropout, shuffling and a sampled softmax saves after every second step, so many kills happen during
a save. After each kill, every checkpoint must equal that of the run that was never stopped, bit for bit. At the end the
parameters are compared.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import collections
import filecmp
import io
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time

from project import ROOT, cli
from elmo.progress import Progress
from elmo.text import InputError

FLAGS = ('--embed_size 16 --hidden_size 32 --num_layers 2 --batch_size 4 --num_steps 10 --max_epoch 2 --dropout 0.1 '
         '--sample_softmax True --n_negative_samples_batch 20 --save_interval 2 --log_interval 1000 --use_gpu False')


def write_text(directory):
    """Writes two files of sentences, a dev text and a vocabulary; returns the flags that name them."""
    numbers = random.Random(0)
    words = ['w%d' % number for number in range(200)]
    paths = [os.path.join(directory, name) for name in ('vocabulary.txt', 'dev.txt', 'train1.txt', 'train2.txt')]
    for path, count in zip(paths, (0, 5, 100, 100)):
        lines = [' '.join(numbers.choice(words) for _ in range(numbers.randint(1, 18))) for _ in range(count)]
        with io.open(path, 'w', encoding='utf-8') as output:
            output.writelines(line + '\n' for line in lines or ['<S>', '</S>', '<UNK>'] + words)
    return ['--vocab_path', paths[0], '--test_path', paths[1], '--train_path', os.path.join(directory, 'train*.txt')]


def files(directory):
    """{path relative to the directory: path} of the files of all checkpoints, without the files that hold times."""
    found = {}
    for parent, _, names in os.walk(directory):
        relative = os.path.relpath(parent, directory)
        if relative.split(os.sep)[0].isdigit():
            found.update({os.path.join(relative, name): os.path.join(parent, name) for name in names
                          if name not in ('train_state.json', 'manifest.json')})
    return found


def compare(found, reference):
    """Returns the number of files; InputError names a file that differs from the reference."""
    for name, path in found.items():
        if name not in reference or not filecmp.cmp(path, reference[name], shallow=False):
            raise InputError('%s: not what the run never stopped saved' % path)
    return len(found)


def main():
    parser = cli.ArgumentParser(__doc__.splitlines()[0])
    parser.add_argument('--runs', type=cli.positive_int, default=50,
                        help='runs that are killed, each one to three times')
    parser.add_argument('--devices', type=cli.positive_int, default=1, help='CPU replicas')
    parser.add_argument('--random_seed', type=int, default=0, help='of the moments')
    args = parser.parse_args()
    directory, moments, counts = tempfile.mkdtemp(), random.Random(args.random_seed), collections.Counter()
    command = [sys.executable, os.path.join(ROOT, 'train.py')] + write_text(directory) + FLAGS.split()
    environment = dict(os.environ, CPU_NUM=str(args.devices))

    def start(name, keep, log):
        return subprocess.Popen(command + ['--resume', '--save_dir', os.path.join(directory, name),
                                           '--keep_checkpoints', str(keep)], stdout=log, stderr=log, env=environment)

    def finish(process, log):
        if process.wait():
            log.seek(0)
            raise InputError('a run ended with exit code %d: %s' % (process.returncode, log.read().decode('utf-8')))

    try:
        begin = time.time()
        with tempfile.TemporaryFile() as log:
            finish(start('whole', 1000, log), log)
        seconds = time.time() - begin
        reference = files(os.path.join(directory, 'whole'))
        print('the run never stopped: %d checkpoints in %.1f s'
              % (len({os.path.dirname(name) for name in reference if name.endswith('bilm.json')}), seconds))
        progress = Progress('kill', args.runs, 'runs')
        for number in range(args.runs):
            saved = os.path.join(directory, 'run')
            for _ in range(moments.randint(1, 3)):
                with tempfile.TemporaryFile() as log:
                    process = start('run', 3, log)
                    time.sleep(moments.uniform(0.2, 1) * seconds)
                    process.kill()
                    process.wait()
                counts['kills'] += 1
                counts['in a save'] += os.path.isdir(os.path.join(saved, '.saving'))
                counts['files compared'] += compare(files(saved), reference)
            with tempfile.TemporaryFile() as log:
                finish(start('run', 3, log), log)
            last = files(saved)
            if max(last) != max(reference):
                raise InputError('the run ended at another step')
            counts['files compared'] += compare(last, reference)
            shutil.rmtree(saved)
            progress.update(number + 1)
        progress.close()
    finally:
        shutil.rmtree(directory)
    print('%d runs, killed %d times, %d of them in a save; %d files of checkpoints compared, all equal'
          % (args.runs, counts['kills'], counts['in a save'], counts['files compared']))


if __name__ == '__main__':
    cli.run(main)
