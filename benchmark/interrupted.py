# -*- coding: utf-8 -*-
"""A run of training that is interrupted and goes on, and what it is compared with: a run never stopped."""
from __future__ import absolute_import, division, print_function, unicode_literals

import collections
import glob
import hashlib
import io
import json
import os
import random
import re
import shutil
import signal
import subprocess
import time

from elmo.text import InputError

LIMIT = 120  # seconds for each wait; a longer time is a hang
# What is another in each run: times, what a signal leaves of an evaluation for later, and the digest of these.
VARIES = {'train_state.json': ('seconds', 'dev_pending', 'best_dev_perplexity', 'best_step'),
          'manifest.json': ('train_state.json',)}
# What a run writes beside checkpoints. A killed one may leave what was not whole.
OURS = re.compile(r'(\.lock|\.saving|\.deleting|(latest|best|log\.jsonl|curves\.png)(\.\d+\.\d+\.tmp)?)$')


class Failure(InputError):
    """A promise was not kept."""


def expect(held, message):
    if not held:
        raise Failure(message)


def wait_until(done, what, limit=LIMIT):
    """Waits until done() is true; after `limit` seconds Failure tells what was waited for."""
    end = time.time() + limit
    while not done():
        expect(time.time() < end, 'not within %d s: %s' % (limit, what))
        time.sleep(0.02)


def read(path):
    """The bytes of a file."""
    with io.open(path, 'rb') as handle:
        return handle.read()


def without(data, names):
    """The bytes of a JSON object without these names; those of anything else as they are."""
    try:
        value = json.loads(data.decode('utf-8'))
        return json.dumps({name: value[name] for name in value if name not in names}, sort_keys=True).encode('utf-8')
    except (ValueError, TypeError):
        return data


def contents(path):
    """{relative path: sha256 of what does not vary} of the files of a directory, or of a file; {} if there is none."""
    paths = [path] if os.path.isfile(path) else [os.path.join(parent, name) for parent, _, names in os.walk(path)
                                                 for name in names]
    return {os.path.relpath(name, path): hashlib.sha256(
        without(read(name), VARIES.get(os.path.basename(name), ()))).hexdigest() for name in paths}


def differences(found, expected):
    """Names of the files that are not alike, or on one side alone; see contents."""
    return sorted(name for name in set(found) | set(expected) if found.get(name) != expected.get(name))


class Run(object):
    """A context in which training is started and interrupted. No process of it is left behind.

    Args:
        command: list of words, without --save_dir.
        directory: for what the run says on stderr.
        place: for its checkpoints and its output; may be on another disk.
        seed: of the random numbers.
        whole: the Run never stopped; None for that one itself.

    Attributes:
        saved: directory of the checkpoints.
        numbers: a random.Random.
        seconds: how long the run never stopped took.
        foreign: {path: contents} of what is not of the run.
        spoilt: {path: list of contents} of the checkpoints that were made half copies.
        may_lose: how many lines of its log may be missing.
        compared: number of files.
    """

    def __init__(self, command, directory, place, seed=0, whole=None):
        self._command, self._directory, self.place, self._whole = command, directory, place, whole
        self.saved, self.numbers, self.seconds = os.path.join(place, 'checkpoints'), random.Random(seed), 0.
        self.foreign, self.spoilt, self.compared, self._starts = {}, collections.defaultdict(list), 0, 0
        self.may_lose = 0
        for path in {directory, place}:
            os.mkdir(path)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for number in self.alive():
            self.send(number, signal.SIGKILL)

    def forget(self):
        """Deletes what the run has left."""
        for path in {self._directory, self.place}:
            shutil.rmtree(path)

    def keep(self):
        """Puts what the run has left into its directory, and returns that."""
        if self.place != self._directory:
            shutil.move(self.place, os.path.join(self._directory, 'place'))
        return self._directory

    def start(self, **options):
        """Starts training, which goes on from what is there; `options` are those of subprocess.Popen."""
        self._starts += 1
        self._output = os.path.join(self.place, 'output.%d' % self._starts)
        self._errors = os.path.join(self._directory, 'errors.%d' % self._starts)
        with io.open(self._output, 'wb') as output, io.open(self._errors, 'wb') as errors:
            options = dict({'stdout': output, 'stderr': errors, 'env': dict(os.environ, CRASH=self.place)}, **options)
            self.process = subprocess.Popen(self._command + ['--save_dir', self.saved], **options)

    def sleep(self, least=0.2):
        """Waits for a random share, `least` to 1, of the time that the run never stopped took."""
        time.sleep(self.numbers.uniform(least, 1) * self._whole.seconds)

    def alive(self):
        """Numbers of the processes of this run, whoever started them."""
        mark, found = ('CRASH=%s' % self.place).encode('utf-8'), []
        for path in glob.glob('/proc/[0-9]*/environ'):
            try:
                if mark in read(path).split(b'\0'):
                    found.append(int(path.split('/')[2]))
            except EnvironmentError:
                continue  # it has ended, or is another user's
        return found

    @staticmethod
    def send(number, what):
        """Sends a signal to a process, unless that has ended."""
        try:
            os.kill(number, what)
        except OSError:
            pass

    def output(self):
        return read(self._output).decode('utf-8')

    def wait_for(self, text):
        """Waits until the output has a text, or the process ends."""
        wait_until(lambda: text in self.output() or self.process.poll() is not None, 'the output has: ' + text)

    def end(self, *allowed):
        """Waits for the end of all processes, and compares; `allowed` are exit codes. Returns the text on stderr."""
        wait_until(lambda: not self.alive(), 'all processes end')
        code, said = self.process.wait(), read(self._errors).decode('utf-8')
        expect(code in allowed, 'exit code %d: %s' % (code, said))
        expect(said.count(': error: ') == (code in (1, 2)) and 'Traceback' not in said, 'it said: ' + said)
        self.check()
        return said

    def checkpoints(self):
        """Paths of the checkpoints, oldest first."""
        names = sorted(os.listdir(self.saved)) if os.path.isdir(self.saved) else []
        paths = [os.path.join(self.saved, name) for name in names if re.match('[0-9]{6}$', name)]
        return [path for path in paths if os.path.isdir(path)]

    def differences(self, path):
        """Names of the files of a checkpoint that are not as the run never stopped saved them."""
        return differences(contents(path), contents(os.path.join(self._whole.saved, os.path.basename(path))))

    def check(self):
        """Failure if a checkpoint is not that of the run never stopped, or something foreign is not as it was."""
        for path in self.checkpoints() if self._whole else []:
            found = self.differences(path)
            self.compared += len(contents(path))
            expect(not found or contents(path) in self.spoilt.get(path, ()), '%s: differ: %s' % (path, ' '.join(found)))
        for path, expected in sorted(self.foreign.items()):
            expect(contents(path) == expected, '%s: is not as it was' % path)

    def finished(self):
        """Whether it has saved the last checkpoint of the run never stopped."""
        path = os.path.join(self.saved, os.path.basename(self._whole.checkpoints()[-1]))
        return path in self.checkpoints() and not self.differences(path)

    def finish(self):
        """Goes on to the end, and compares what is the same only there."""
        self.start()
        self.end(0)
        expect(self.finished(), 'the last checkpoint is missing')
        mine, its = [run.ending() for run in (self, self._whole)]
        lost = [line for line in its['log'] if line not in mine['log']]
        expect(len(lost) <= self.may_lose, 'the log has lost %s' % lost)
        its['log'] = [line for line in its['log'] if line not in lost]
        for name in its:
            expect(mine[name] == its[name], '%s differs: %.200s, not %.200s' % (name, mine[name], its[name]))
        names = {os.path.relpath(path, self.saved).split(os.sep)[0] for path in list(self.foreign) + self.checkpoints()}
        left = [name for name in os.listdir(self.saved)
                if name not in names and not OURS.match(name) and not self._is_moved_aside(name)]
        expect(not left, 'left behind: %s' % ' '.join(left))
        kept = [path for path in self.checkpoints() if path not in self.spoilt]
        expect(len(kept) <= 4, 'more than the newest three and the best are left: %s' % ' '.join(kept))

    def _is_moved_aside(self, name):
        """Whether it is half a copy that made room for a checkpoint, as it was."""
        path = os.path.join(self.saved, name)
        return contents(path) in self.spoilt.get(re.sub(r'\.[0-9]+\.aside$', '', path), ())

    def ending(self):
        """{name: value} of what must be the same at the end, beside the checkpoints."""
        names = {'latest': 'latest', 'best': 'best', 'log': 'log.jsonl',
                 'state': os.path.join(os.path.basename(self.checkpoints()[-1]), 'train_state.json')}
        found = {name: read(os.path.join(self.saved, path)) for name, path in names.items()}
        log = [without(line, ('seconds', 'tokens_per_second')) for line in found['log'].splitlines()]
        return dict(found, state=without(found['state'], ('seconds',)), log=log)
