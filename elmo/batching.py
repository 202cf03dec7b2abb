# -*- coding: utf-8 -*-
"""From sentences to batches of like length and back. Pure numpy."""
from __future__ import absolute_import, division, print_function, unicode_literals

import collections
import sys
import threading

import numpy as np
import six
from six.moves import queue, range

from elmo.text import list_of, list_of_ids

# A part of a sentence: the number of the sentence, the place of the first token in it, and a list of tokens.
Piece = collections.namedtuple('Piece', 'sentence start tokens')


def cut(sentence, size):
    """Yields (place of the first token, list of at most `size` tokens) of a sentence, from its start to its end."""
    for start in range(0, len(sentence), size):
        yield start, sentence[start:start + size]


def flat(sentences):
    """The ids of a list of lists in a row, int64 [N], and the list of the lengths of the lists.

    InputError unless it is a list of lists of ids, or the like.
    """
    wanted = 'a list of lists of ids'
    sentences = [list_of_ids(sentence, wanted) for sentence in list_of(sentences, wanted)]
    return np.array([id for sentence in sentences for id in sentence], dtype='int64'), list(map(len, sentences))


def pad(sentences, value=0):
    """Ids of sentences as a matrix, for networks that take no LoD.

    Args:
        sentences: list of lists of ids.
        value: what stands behind the end of the shorter ones; any id will do, as the mask tells.

    Returns:
        (ids, int64 [sentences, longest]; mask, float32 of the same shape: 1 for an id, 0 behind the end).

    Raises:
        InputError: it is no list of lists of ids.
    """
    ids, lengths = flat(sentences)
    inside = np.arange(max(lengths or [0])) < np.array(lengths, dtype='int64').reshape(-1, 1)
    padded = np.full(inside.shape, value, dtype='int64')
    padded[inside] = ids
    return padded, inside.astype('float32')


def length_buckets(lengths, batch_tokens, random=None):
    """Cuts sentences into batches of like length, each of about `batch_tokens` tokens: a list of arrays of indices.

    Args:
        lengths: of the sentences.
        random: a RandomState, which mixes sentences of equal length and the batches. None keeps them in order.
    """
    lengths = np.asarray(lengths)
    if not len(lengths):
        return []
    order = np.arange(len(lengths)) if random is None else random.permutation(len(lengths))
    order = order[np.argsort(lengths[order], kind='mergesort')]
    ends = np.cumsum(lengths[order])
    number = -(-int(ends[-1]) // batch_tokens)
    cuts = np.searchsorted(ends, np.arange(1, number) * ends[-1] / number, side='left') + 1
    batches = [batch for batch in np.split(order, cuts) if len(batch)]
    if random is not None:
        random.shuffle(batches)
    return batches


def batches_of_pieces(sentences, max_length, batch_tokens):
    """Yields batches of sentences, each a list of Piece. A sentence of more than max_length tokens comes in pieces."""
    pieces = [Piece(number, start, tokens) for number, sentence in enumerate(sentences)
              for start, tokens in cut(sentence, max_length)]
    for batch in length_buckets([len(piece.tokens) for piece in pieces], batch_tokens):
        yield [pieces[index] for index in batch]


def put_back(rows, pieces, results):
    """Writes the rows computed for the tokens of a batch of pieces into the arrays `results`, one a sentence."""
    first = 0
    for piece in pieces:
        last = first + len(piece.tokens)
        results[piece.sentence][piece.start:piece.start + len(piece.tokens)] = rows[first:last]
        first = last


def prefetch(iterable, depth=4):
    """Iterates over `iterable` in a background thread, up to `depth` items ahead of the caller.

    An error of the iterable is raised in the caller, after the items before it.
    """
    items, stopped = queue.Queue(depth), threading.Event()

    def put(item):
        while not stopped.is_set():
            try:
                return items.put(item, timeout=0.1)
            except queue.Full:
                continue

    def work():
        try:
            for item in iterable:
                put((item, None))
                if stopped.is_set():
                    return
            put((None, None))
        except Exception:  # of any kind: it is raised again in the caller
            put((None, sys.exc_info()))

    thread = threading.Thread(target=work)
    thread.daemon = True
    try:
        thread.start()  # a signal may raise an exception in here
        while True:
            item, error = items.get()
            if error:
                six.reraise(*error)
            if item is None:
                return
            yield item
    finally:
        stopped.set()
        if thread.is_alive():
            thread.join(1)  # not for ever: when the interpreter goes down, threads stand still
