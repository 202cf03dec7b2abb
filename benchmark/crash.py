# -*- coding: utf-8 -*-
"""Interrupts training by faults of many kinds at random moments, resumes it, and compares it with a run never stopped.

    . scripts/env.sh && "$PYTHON" benchmark/crash.py [--runs 50] [--devices 2] [--kinds kill full_disk]

A tiny network with dropout, shuffling and a sampled softmax saves after every second step, so many faults come during a
save. After each fault, every checkpoint must equal that of the run never stopped, bit for bit, and what is not of the
run must be as it was. At the end its state, its log and the names of the newest and the best are compared too.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import collections
import contextlib
import io
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from project import ROOT, cli
from benchmark.interrupted import Failure, Run, contents, expect
from elmo.progress import Progress

FLAGS = ('--embed_size 16 --hidden_size 32 --num_layers 2 --batch_size 4 --num_steps 10 --max_epoch 2 --dropout 0.1 '
         '--sample_softmax True --n_negative_samples_batch 20 --log_interval 1 --use_gpu False --resume')
DISK = 16 << 20  # bytes of the small disk
FOREIGN = ('20261124/notes.txt', '900001', '000002x/notes.txt', '0000002/notes.txt', 'notes.txt', '.hidden',
           'MODEL.old/notes.txt', 'latest.tmp', 'latest.1.0.tmp', '000002.saving/notes.txt')


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


def kill(run):
    """Kills the process that was started, or any that it has started."""
    run.start()
    run.sleep()
    victim = run.numbers.choice([run.process.pid] + run.alive())
    run.send(victim, signal.SIGKILL)
    run.end(0, -signal.SIGKILL if victim == run.process.pid else 1)


def ask(run):
    """Asks the run to end by a signal: it saves and succeeds. While it still starts, the signal may just end it."""
    number = run.numbers.choice([signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
    run.start()
    run.wait_for('tokens a step')
    run.sleep(0)
    run.send(run.process.pid, number)
    said = run.end(0, 128 + number, -number)
    expect(run.process.returncode == 0 or 'coming to an end' not in said, 'it was asked to end, and failed')
    told = re.search(r'stopped by \w+ after step ([1-9]\d*);', run.output())
    step = told and os.path.join(run.saved, '%06d' % int(told.group(1)))
    expect(not told or step in run.checkpoints(), '%s was not saved' % step)


def fill(path, left):
    """Fills the disk with a file of zeros, but for `left` bytes."""
    disk = os.statvfs(os.path.dirname(path))
    try:
        with io.open(path, 'wb') as output:
            output.write(b'\0' * max(0, disk.f_bavail * disk.f_frsize - left))
    except EnvironmentError:
        pass  # the run has just taken the last of it


def full_disk(run):
    """Leaves no room for a checkpoint, or for few, on the small disk or in each file; then there is room again.

    The line of log.jsonl that met the full disk may be lost.
    """
    filler, left, limit = os.path.join(run.place, 'filler'), run.numbers.randrange(1 << 19), run.numbers.uniform(9, 15)

    def limit_files():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(2 ** limit),) * 2)  # the largest parameter has 13,000 bytes

    if not os.path.ismount(os.path.dirname(run.place)):
        run.start(preexec_fn=limit_files)
    elif run.numbers.random() < 0.5:
        fill(filler, left)
        run.start()
    else:
        run.start()
        run.sleep()
        fill(filler, left)
    run.end(0, 2)
    run.may_lose += 1
    if os.path.exists(filler):
        os.remove(filler)


def closed_log(run):
    """Nobody reads the output, it is closed, or cannot be written. Training goes on to its end."""
    how = run.numbers.choice(['reader', 'closed', 'full'])
    if how == 'reader':
        run.start(stdout=subprocess.PIPE)
        run.sleep()
        run.process.stdout.close()
    elif how == 'closed':
        run.start(stdout=None, preexec_fn=lambda: os.close(1))
    else:
        with io.open('/dev/full', 'wb') as full:
            run.start(stdout=full)
    said = run.end(0)
    expect(said.count('the run goes on') <= 1, 'it said: ' + said)
    expect(run.finished(), 'it did not train to its end')


def half_copy(run):
    """Spoils the newest checkpoint. The run passes over it, and says so."""
    whole = []
    while len(whole) < 2:  # where none is left, no run goes on
        kill(run)
        whole = [path for path in run.checkpoints() if not run.differences(path)]
    newest = whole[-1]
    spoil(newest, run.numbers)
    run.spoilt[newest].append(contents(newest))
    run.foreign = {path: contents(path) for path in run.foreign}  # a link may lead there
    run.start()
    run.wait_for('passed over: ' + newest)
    run.sleep(0)
    run.send(run.process.pid, signal.SIGKILL)
    run.end(0, -signal.SIGKILL)
    expect('passed over: ' + newest in run.output(), 'it does not say that it passes over ' + newest)


def spoil(path, numbers):
    """Makes half a copy of a checkpoint."""
    manifest = os.path.join(path, 'manifest.json')
    how = numbers.choice(['no manifest', 'empty manifest', 'half a manifest', 'half a file', 'nothing'])
    if how == 'no manifest':
        os.remove(manifest)
    elif how == 'nothing':
        for name in os.listdir(path):
            inner = os.path.join(path, name)
            (shutil.rmtree if os.path.isdir(inner) else os.remove)(inner)
    else:
        victim = os.path.join(path, numbers.choice(sorted(contents(path)))) if how == 'half a file' else manifest
        with io.open(victim, 'r+b') as output:
            output.truncate(0 if how == 'empty manifest' else os.path.getsize(victim) // 2)


def foreign(run):
    """Puts what is not of the run into its directory; moves a checkpoint elsewhere and links it back."""
    kill(run)
    for name in FOREIGN:
        path = os.path.join(run.saved, name)
        if not os.path.isdir(os.path.dirname(path)):
            os.makedirs(os.path.dirname(path))
        with io.open(path, 'w', encoding='utf-8') as output:
            output.write('not of the run: %s\n' % name)
        run.foreign[path] = contents(path)
    paths = [path for path in run.checkpoints() if not os.path.islink(path)]
    if paths:
        path = run.numbers.choice(paths)
        moved = os.path.join(run.place, 'moved', '%d' % len(run.foreign), os.path.basename(path))
        shutil.move(path, moved)
        os.symlink(moved, path)
        run.foreign[moved] = contents(moved)


KINDS = collections.OrderedDict([('kill', kill), ('signal', ask), ('full_disk', full_disk), ('closed_log', closed_log),
                                 ('half_copy', half_copy), ('foreign', foreign)])


@contextlib.contextmanager
def small_disk(path):
    """A context with a tmpfs mounted at `path`, if this process may do so; yields whether it may."""
    os.mkdir(path)
    with io.open(os.devnull, 'wb') as null:
        mounted = os.geteuid() == 0 and not subprocess.call(
            ['mount', '-t', 'tmpfs', '-o', 'size=%d' % DISK, 'tmpfs', path], stderr=null)
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.check_call(['umount', path])


def hold(run, kinds):
    """Interrupts a run one to three times, and lets it go on to its end: (the kinds of faults, Failure or None)."""
    tried = []
    try:
        for _ in range(run.numbers.randint(1, 3)):
            if not run.finished():  # else there is nothing to interrupt
                tried.append(run.numbers.choice(kinds))
                KINDS[tried[-1]](run)
        run.finish()
    except Failure as error:
        return tried, error
    return tried, None


def campaign(args, directory, mounted):
    """Runs all runs: (Counter of (kind, whether its run held), number of files compared)."""
    command = [sys.executable, os.path.join(ROOT, 'train.py')] + write_text(directory) + FLAGS.split()
    path, counts, compared = os.path.join(directory, 'whole'), collections.Counter(), 0
    with Run(command + ['--keep_checkpoints', '1000', '--save_interval', '1'], path, path) as whole:
        begin = time.time()
        whole.start()
        whole.end(0)
        whole.seconds = time.time() - begin
    print('the run never stopped: %d checkpoints in %.1f s; all files are in %s, which goes if all holds; %s'
          % (len(whole.checkpoints()), whole.seconds, directory, 'every second run is on a small disk' if mounted else
             'no disk can be mounted: the size of files is limited instead'))
    progress = Progress('crash', args.runs, 'runs')
    for number in range(args.random_seed, args.random_seed + args.runs):
        path = os.path.join(directory, '%d' % number)
        place = os.path.join(directory, 'disk', '%d' % number) if mounted and number % 2 else path
        with Run(command + ['--save_interval', '2'], path, place, number, whole) as run:
            tried, failure = hold(run, args.kinds or list(KINDS))
        counts.update((kind, not failure) for kind in tried)
        compared += run.compared
        if failure:
            print('failed: --random_seed %d --runs 1, after %s: %s; its files are in %s'
                  % (number, ', '.join(tried), failure, run.keep()))
        else:
            run.forget()
        progress.update(number - args.random_seed + 1)
    progress.close()
    return counts, compared


def main():
    parser = cli.ArgumentParser(__doc__.splitlines()[0])
    parser.add_argument('--runs', type=cli.positive_int, default=50, help='each is interrupted one to three times')
    parser.add_argument('--devices', type=cli.positive_int, default=1, help='CPU replicas')
    parser.add_argument('--kinds', nargs='+', choices=list(KINDS), help='of the faults; without it all of them')
    parser.add_argument('--random_seed', type=cli.non_negative_int, default=0,
                        help='of the faults of the first run; each run has the next number')
    args = parser.parse_args()
    os.environ['CPU_NUM'] = str('%d' % args.devices)
    directory = tempfile.mkdtemp(prefix='crash.')
    with small_disk(os.path.join(directory, 'disk')) as mounted:
        counts, compared = campaign(args, directory, mounted)
    for kind in KINDS:
        held, other = counts[kind, True], counts[kind, False]
        print('%-10s %4d tried, %4d held, %4d other' % (kind, held + other, held, other))
    print('%d files of checkpoints compared' % compared)
    if any(counts[kind, False] for kind in KINDS):
        sys.exit(1)
    shutil.rmtree(directory)


if __name__ == '__main__':
    cli.run(main)
