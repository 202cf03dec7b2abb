# -*- coding: utf-8 -*-
"""The bucketed token reader: segmented text in, batches of ids out. Pure numpy."""
from __future__ import absolute_import, division, print_function, unicode_literals

import collections
import os

import numpy as np
from six.moves import range

from elmo import schema
from elmo.batching import cut, length_buckets
from elmo.text import BOS, EOS, InputError, byte_lines, decode_line, open_binary


class Batch(object):
    """One device's share of a step: sentences of like length, perhaps none.

    Attributes:
        tokens: int64 [N, 1], `<S> w_1 … w_n` of each sentence in turn.
        next_tokens: int64 [N, 1], `w_1 … w_n </S>` of the same.
        lengths: int64 [S], n + 1 of each sentence; their sum is N.
        sources: int64 [S, 2], where each sentence stands: index of the file in reader.paths, line from 1.
    """

    def __init__(self, buffered, chosen):
        starts, self.lengths = buffered.starts[chosen], buffered.lengths[chosen]
        ends = np.cumsum(self.lengths)
        index = np.arange(self.lengths.sum()) + np.repeat(starts - (ends - self.lengths), self.lengths)
        self.tokens = buffered.ids[index].reshape(-1, 1)
        self.next_tokens = buffered.ids[index + 1].reshape(-1, 1)
        self.sources = buffered.sources[chosen]


# What one step reads: a Batch for each device of this trainer; the number of tokens on all devices of all trainers, and
# on the device that has most; the position after it; how often the text has been read by then, 2.5 in the middle of the
# third epoch; and how often before it.
GlobalBatch = collections.namedtuple('GlobalBatch', 'batches num_tokens most_tokens position epochs_read epochs_before')
# Sentences in memory: the ids of all of them; where each begins, its length as in Batch, and its source.
_Buffer = collections.namedtuple('_Buffer', 'ids starts lengths sources')

# A place in the text, see BucketedReader.start. All but the offset are small; epoch and buffer are seeds.
PLACE = dict({name: schema.whole(0, 2 ** 32 - 1) for name in ('epoch', 'buffer', 'file', 'line', 'batch')},
             offset=schema.whole(0, 2 ** 63))


class _Sentences(object):
    """Collects the sentences of a _Buffer."""

    def __init__(self):
        self.ids, self.starts, self.sources = [], [], []

    def add(self, ids, source):
        """Adds a sentence: its ids with <S> and </S>, and (index of the file, line)."""
        self.starts.append(len(self.ids))
        self.sources.append(source)
        self.ids.extend(ids)

    def buffer(self):
        ids, starts = [np.array(values, dtype='int64') for values in (self.ids, self.starts)]
        lengths = np.diff(np.append(starts, len(ids))) - 1
        return _Buffer(ids, starts, lengths, np.array(self.sources, dtype='int64').reshape(-1, 2))


def _bytes_of(path):
    """The size of a file with text; InputError if it is empty, or not one that can be read again and again."""
    if os.path.exists(path) and not os.path.isfile(path):
        raise InputError('%s: not a file on a disk; the text is read often, so copy it into one' % path)
    open_binary(path).close()
    size = os.path.getsize(path)
    if not size:
        raise InputError('%s: empty file; remove it or fill it' % path)
    return size


class BucketedReader(object):
    """Reads sentences into batches of like length, each of about `batch_tokens` tokens.

    An epoch goes through the files in a random order. The reader fills a buffer, sorts its sentences by length,
    cuts them into equal batches, and yields these in a random order. All of it follows from (seed, epoch, number of
    the buffer), so a position is a small record, and reading resumes with the buffer it names.

    Args:
        paths: list of text files: UTF-8, one sentence a line, tokens separated by white space.
        vocabulary: a Vocabulary.
        batch_tokens: tokens in a step, over all devices of all trainers.
        num_devices: devices of this trainer; the sentences of a step are dealt out to them one by one.
        seed: of the order.
        max_length: a sentence of more tokens is cut into pieces of this length, each read as a sentence.
        buffer_tokens: tokens in the buffer; it bounds memory, and how far sentences are shuffled.
        shuffle: False reads the files and the batches in order.
        trainer_id, num_trainers: this process and their number; each reads its own share of every step.

    Every method raises InputError for a file that cannot be read or has no sentence.
    """

    def __init__(self, paths, vocabulary, batch_tokens, num_devices=1, seed=0, max_length=256, buffer_tokens=1 << 20,
                 shuffle=True, trainer_id=0, num_trainers=1):
        self.paths, self.vocabulary, self.batch_tokens = paths, vocabulary, batch_tokens
        self.seed, self.max_length, self.buffer_tokens, self.shuffle = seed, max_length, buffer_tokens, shuffle
        self.num_parts = num_devices * num_trainers
        self.my_parts = range(trainer_id * num_devices, (trainer_id + 1) * num_devices)
        self.sizes = [_bytes_of(path) for path in paths]

    @staticmethod
    def start(epoch=0):
        """The position at the start of an epoch. `file` counts in the epoch's order of files, `offset` is in bytes."""
        return {'epoch': epoch, 'buffer': 0, 'file': 0, 'offset': 0, 'line': 0, 'batch': 0}

    def check(self, position):
        """InputError unless `position`, which a file may have given, is a place in the text."""
        good = not schema.problem(position, PLACE) and position['file'] < len(self.paths)
        if not good or position['offset'] > self.sizes[self._order(position['epoch'])[position['file']]]:
            raise InputError('%s: there is no such place in the text to go on at; start a new run'
                             % ' '.join('%s %s' % item for item in sorted(position.items())))

    def epoch(self, position):
        """Yields the GlobalBatches of one epoch from `position` on, as start() or a GlobalBatch gave it."""
        self.check(position)
        epoch = position['epoch']
        order = self._order(epoch)
        sizes = [self.sizes[file] for file in order]
        changed = InputError('%s: changed since reading stopped there; start a new run'
                             % self.paths[order[position['file']]])
        buffered, following = self._fill(position, order)
        if not len(buffered.starts):
            raise changed
        while len(buffered.starts):
            batches = length_buckets(buffered.lengths, self.batch_tokens,
                                     self._random(epoch, position['buffer']) if self.shuffle else None)
            if position['batch'] >= len(batches):
                raise changed
            begin, end = [sum(sizes[:at['file']]) + at['offset'] for at in (position, following)]
            next_buffered, next_following = buffered, following
            for number in range(position['batch'], len(batches)):
                resume = dict(position, batch=number + 1)
                if number + 1 == len(batches):
                    next_buffered, next_following = self._fill(following, order)
                    is_last = not len(next_buffered.starts)
                    resume, end = (self.start(epoch + 1), sum(sizes)) if is_last else (following, end)
                chosen = batches[number]
                shares = [chosen[part::self.num_parts] for part in range(self.num_parts)]
                tokens = [int(buffered.lengths[share].sum()) for share in shares]
                read, before = [epoch + (begin + (end - begin) * done / len(batches)) / sum(sizes)
                                for done in (number + 1, number)]
                yield GlobalBatch([Batch(buffered, shares[part]) for part in self.my_parts],
                                  sum(tokens), max(tokens), resume, read, before)
            buffered, position, following = next_buffered, following, next_following

    def sentences(self, batch):
        """Yields (file:line, list of words) of each sentence of a GlobalBatch, as far as this trainer has it."""
        for share in batch.batches:
            starts = np.cumsum(share.lengths) - share.lengths
            for start, length, (file, line) in zip(starts, share.lengths, share.sources):
                words = [self.vocabulary.words[id] for id in share.tokens[start + 1:start + length, 0]]
                yield '%s:%d' % (self.paths[file], line), words

    def _order(self, epoch):
        """The files in the order of an epoch, as indices."""
        return self._random(epoch).permutation(len(self.paths)) if self.shuffle else np.arange(len(self.paths))

    def _random(self, *key):
        return np.random.RandomState((self.seed,) + key)

    def _fill(self, position, order):
        """Reads from `position` on: (_Buffer, position of the next one). At the end of the text the buffer is empty."""
        sentences, position = _Sentences(), dict(position, buffer=position['buffer'] + 1, batch=0)
        while position['file'] < len(order) and len(sentences.ids) < self.buffer_tokens:
            self._read(order[position['file']], position, sentences)
        return sentences.buffer(), position

    def _read(self, file, position, sentences):
        """Reads on in one file, until the buffer is full or the file ends; moves `position`."""
        path, from_start, before = self.paths[file], not position['offset'], len(sentences.starts)
        with open_binary(path) as handle:
            size = os.fstat(handle.fileno()).st_size
            if size != self.sizes[file]:
                raise InputError('%s: has changed since the run began, from %d to %d bytes; start a new run, or put '
                                 'the old text back and go on with --resume' % (path, self.sizes[file], size))
            handle.seek(position['offset'])
            for line in byte_lines(handle, path):
                position['offset'] += len(line)
                position['line'] += 1
                self._add(line, file, position['line'], sentences)
                if len(sentences.ids) >= self.buffer_tokens:
                    return
        if from_start and len(sentences.starts) == before:
            raise InputError('%s: no sentence in it; remove it or fill it' % path)
        position.update(file=position['file'] + 1, offset=0, line=0)

    def _add(self, line, file, number, sentences):
        """Adds the sentence of one line of a file, in pieces if it is too long."""
        bos, eos = self.vocabulary.bos, self.vocabulary.eos
        ids = self.vocabulary.ids(decode_line(line, self.paths[file], number).split())
        if bos in ids or eos in ids:
            raise InputError('%s:%d: holds the token %s or %s, which the reader itself puts around each sentence; '
                             'remove it' % (self.paths[file], number, BOS, EOS))
        for _, piece in cut(ids, self.max_length):
            sentences.add([bos] + piece + [eos], (file, number))
