# -*- coding: utf-8 -*-
"""Cuts much text into words, in several processes."""
from __future__ import absolute_import, division, print_function, unicode_literals

import collections
import multiprocessing
import signal

from elmo import environment, signals
from elmo.cli import number
from elmo.segment import Segmenter
from elmo.text import InputError

_segmenter = None  # of this process


def add_flag(parser):
    """The flag --processes, for the argument of this name below."""
    parser.add_argument('--processes', type=number(int, low=1, high=256), default=environment.cores(),
                        help='processes that segment; the result is the same for any number')


def cut_batches(batches, words, processes, split):
    """Yields (key, result) for each batch, in their order, for any number of processes.

    Args:
        batches: an iterable of (key, list of texts), read only a few ahead.
        words: see Segmenter.
        processes: 1 makes no other process.
        split: gives the parts of a text; a function of a module, which each process imports.

    Returns:
        A generator. Its result has for each text the list of its parts, each a string of words joined by one space.

    Raises:
        InputError: see Segmenter; or a process was killed.
    """
    global _segmenter
    _segmenter = Segmenter(words)  # made here first: without jieba, a pool would start workers for ever
    if processes == 1:
        for key, texts in batches:
            yield key, _cut(texts, split)
        return
    started = multiprocessing.Semaphore(0)
    pool = multiprocessing.Pool(processes, _start_worker, (words, started))
    workers = frozenset(multiprocessing.active_children())
    try:
        waiting = collections.deque()
        for key, texts in batches:
            waiting.append((key, pool.apply_async(_cut, (texts, split))))
            if len(waiting) > 2 * processes:  # Pool.imap would read ahead without bound
                key, result = waiting.popleft()
                yield key, _wait(result, workers)
        for key, result in waiting:
            yield key, _wait(result, workers)
    finally:
        for _ in range(processes):
            started.acquire()  # a process that has not started may lose SIGTERM; then terminate waits for ever
        pool.terminate()


def _start_worker(words, started):
    """Initializes a process of the pool."""
    global _segmenter
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # only the main process handles Ctrl-C
    for which in signals.unless_nohup((signal.SIGTERM, signal.SIGHUP, signals.OF_SCRIPT)):
        signal.signal(which, signal.SIG_DFL)
    started.release()
    _segmenter = _segmenter or Segmenter(words)  # a forked process has inherited it


def _cut(texts, split):
    return [[' '.join(_segmenter(part)) for part in split(text)] for text in texts]


def _wait(result, workers):
    """The value of an AsyncResult. InputError if a worker was killed, as its result would never come."""
    while not result.ready():
        result.wait(1)
        if not workers.issubset(multiprocessing.active_children()):
            raise InputError('a process was killed, perhaps for want of memory; give fewer --processes')
    return result.get()
