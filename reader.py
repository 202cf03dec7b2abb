# -*- coding: utf-8 -*-
"""Vocabulary and the bucketed token reader: segmented text in, batches of ids out. Pure numpy."""
from __future__ import absolute_import, division, print_function, unicode_literals

import collections
import glob
import hashlib
import io
import os
import sys
import threading

import numpy as np
import six
from six.moves import queue, range

BOS, EOS, UNK = '<S>', '</S>', '<UNK>'
MAX_LINE_BYTES = 16 << 20  # a longer line is an error: it is hardly text, and memory must be bounded


class InputError(Exception):
    """What is wrong with the user's input: one line that says what, where, and what to do."""


def list_files(pattern):
    """The files that `pattern` names: one file, every file in a directory, or the matches of a glob, sorted.

    InputError when there is none. Hidden files (a name beginning with a dot) of a directory are left out.
    """
    if os.path.isdir(pattern):
        paths = [os.path.join(pattern, name) for name in os.listdir(pattern) if not name.startswith('.')]
    else:
        paths = [pattern] if os.path.lexists(pattern) else glob.glob(pattern)
    paths = sorted(path for path in paths if not os.path.isdir(path))
    if not paths:
        raise InputError('%s: no file matches; name a file, a directory or a glob in quotes' % pattern)
    return paths


def byte_lines(handle):
    """The lines of a binary file as bytes; of one that is too long, for decode_line to refuse, only its beginning."""
    return iter(lambda: handle.readline(MAX_LINE_BYTES + 1), b'')


def decode_line(line, path, number):
    """Bytes of line `number` (from 1) of a file as text, without a byte order mark; InputError if that they are not."""
    problem = None
    if len(line) > MAX_LINE_BYTES:
        problem = 'a line of more than %d MB; break it into lines' % (MAX_LINE_BYTES >> 20)
    elif b'\0' in line:
        problem = 'holds a NUL byte, so is no UTF-8 text; convert the file, for example with iconv -f utf-16 -t utf-8'
    else:
        try:
            return line.decode('utf-8-sig' if number == 1 else 'utf-8')
        except UnicodeDecodeError as error:
            problem = ('not UTF-8 (byte %d of the line); convert the file, for example with iconv -f gb18030 -t utf-8'
                       % (error.start + 1))
    raise InputError('%s:%d: %s' % (path, number, problem))


def open_binary(path):
    """Open a file for reading bytes; InputError when that cannot be done."""
    try:
        return io.open(path, 'rb')
    except (IOError, OSError) as error:
        raise InputError('%s: cannot be read: %s' % (path, error.strerror))


def list_inputs(names):
    """The files that several names stand for, each as in list_files; '-' is standard input and stays as it is."""
    return [path for name in names for path in (['-'] if name == '-' else list_files(name))]


def read_blocks(paths, block):
    """Yields (list of (file:line, text), bytes read) of the files, '-' being standard input.

    As many lines come at a time as have `block` characters; from a terminal each, as a person waits for it.
    """
    lines, characters, size = [], 0, 0
    for path in paths:
        name = 'stdin' if path == '-' else path
        with io.open(0, 'rb', closefd=False) if path == '-' else open_binary(path) as handle:
            for number, line in enumerate(byte_lines(handle), 1):
                lines.append(('%s:%d' % (name, number), decode_line(line, name, number)))
                characters, size = characters + len(lines[-1][1]), size + len(line)
                if characters >= block or path == '-' and sys.stdin.isatty():
                    yield lines, size
                    lines, characters = [], 0
    if lines:
        yield lines, size


class Vocabulary(object):
    """Words and their ids: one token a line, `<S>`, `</S>`, `<UNK>` among them, most frequent first.

    Attributes:
        words: list of the tokens, by id.
        bos, eos, unk: ids of `<S>`, `</S>` and `<UNK>`.
        sha256: digest of the tokens, which a checkpoint carries, so that another vocabulary is noticed.
    """

    def __init__(self, path):
        self.path, self.words, self._ids = path, [], {}
        with open_binary(path) as handle:
            for number, line in enumerate(byte_lines(handle), 1):
                word = decode_line(line, path, number).rstrip('\r\n')
                if word.split() != [word]:
                    problem = '"%s" has white space in it' % word if word.strip() else 'empty line'
                    raise InputError('%s:%d: %s; a vocabulary holds one token a line' % (path, number, problem))
                if word in self._ids:
                    raise InputError('%s:%d: %s stands in line %d already; remove one of them'
                                     % (path, number, word, self._ids[word] + 1))
                self._ids[word] = len(self.words)
                self.words.append(word)
        missing = [word for word in (BOS, EOS, UNK) if word not in self._ids]
        if missing:
            raise InputError('%s: lacks %s; add a line for each, best at the top' % (path, ' '.join(missing)))
        self.bos, self.eos, self.unk = [self._ids[word] for word in (BOS, EOS, UNK)]
        self.sha256 = str(hashlib.sha256('\n'.join(self.words).encode('utf-8')).hexdigest())

    def __len__(self):
        return len(self.words)

    def ids(self, words):
        """Ids of a list of tokens; the id of `<UNK>` for one that is not in the vocabulary."""
        get, unk = self._ids.get, self.unk
        return [get(word, unk) for word in words]


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


# What one step reads: a Batch for each device of this trainer; the tokens of all devices of all trainers; where
# reading resumes after it; and how often the text has been read with it, 2.5 in the middle of the third epoch.
GlobalBatch = collections.namedtuple('GlobalBatch', 'batches num_tokens position epochs_read')
_Buffer = collections.namedtuple('_Buffer', 'ids starts lengths sources')


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
        for path in paths:
            if os.path.exists(path) and not os.path.isfile(path):
                raise InputError('%s: not a file on a disk; the text is read often, so copy it into one' % path)
            open_binary(path).close()
        self.sizes = [os.path.getsize(path) for path in paths]
        for path, size in zip(paths, self.sizes):
            if not size:
                raise InputError('%s: empty file; remove it or fill it' % path)

    @staticmethod
    def start(epoch=0):
        """The position at the start of an epoch. `file` counts in the epoch's order of files, `offset` is in bytes."""
        return {'epoch': epoch, 'buffer': 0, 'file': 0, 'offset': 0, 'line': 0, 'batch': 0}

    def check(self, position):
        """InputError unless `position`, which a file may have given, is a place in the text."""
        good = set(position) == set(self.start()) and all(
            isinstance(value, six.integer_types) and 0 <= value and (key == 'offset' or value < 2 ** 32)
            for key, value in position.items()) and position['file'] < len(self.paths)
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
        filled = self._fill(position, order)
        if not filled:
            raise changed
        while filled:
            buffered, following = filled
            batches = length_buckets(buffered.lengths, self.batch_tokens,
                                     self._random(epoch, position['buffer']) if self.shuffle else None)
            if position['batch'] >= len(batches):
                raise changed
            first, last = [sum(sizes[:at['file']]) + at['offset'] for at in (position, following)]
            for number in range(position['batch'], len(batches)):
                resume = dict(position, batch=number + 1)
                if number + 1 == len(batches):
                    filled = self._fill(following, order)
                    resume = following if filled else self.start(epoch + 1)
                    last = last if filled else sum(sizes)
                chosen = batches[number]
                yield GlobalBatch([Batch(buffered, chosen[part::self.num_parts]) for part in self.my_parts],
                                  int(buffered.lengths[chosen].sum()), resume,
                                  epoch + (first + (last - first) * (number + 1) / len(batches)) / sum(sizes))
            position = following

    def _order(self, epoch):
        """The files in the order of an epoch, as indices."""
        return self._random(epoch).permutation(len(self.paths)) if self.shuffle else np.arange(len(self.paths))

    def _random(self, *key):
        return np.random.RandomState((self.seed,) + key)

    def _fill(self, position, order):
        """Reads a buffer from `position` on: the _Buffer and the position of the next one; None at the end."""
        ids, starts, sources = [], [], []
        position = dict(position, buffer=position['buffer'] + 1, batch=0)
        while position['file'] < len(order) and len(ids) < self.buffer_tokens:
            file = order[position['file']]
            whole, before = not position['offset'], len(starts)
            with open_binary(self.paths[file]) as handle:
                if os.fstat(handle.fileno()).st_size != self.sizes[file]:
                    raise InputError('%s: has changed since the run began, from %d to %d bytes; start a new run, or '
                                     'put the old text back and go on with --resume'
                                     % (self.paths[file], self.sizes[file], os.fstat(handle.fileno()).st_size))
                handle.seek(position['offset'])
                for line in byte_lines(handle):
                    position['offset'] += len(line)
                    position['line'] += 1
                    self._add(line, file, position['line'], ids, starts, sources)
                    if len(ids) >= self.buffer_tokens:
                        break
                else:
                    if whole and len(starts) == before:
                        raise InputError('%s: no sentence in it; remove it or fill it' % self.paths[file])
                    position.update(file=position['file'] + 1, offset=0, line=0)
        if not starts:
            return None
        starts = np.array(starts, dtype='int64')
        lengths = np.append(starts, len(ids))
        return _Buffer(np.array(ids, dtype='int64'), starts, lengths[1:] - starts - 1,
                       np.array(sources, dtype='int64').reshape(-1, 2)), position

    def _add(self, line, file, number, ids, starts, sources):
        """Adds the sentence of one line of a file, in pieces if it is overlong, to the lists of a buffer."""
        bos, eos = self.vocabulary.bos, self.vocabulary.eos
        sentence = self.vocabulary.ids(decode_line(line, self.paths[file], number).split())
        if bos in sentence or eos in sentence:
            raise InputError('%s:%d: holds the token %s or %s, which the reader itself puts around each sentence; '
                             'remove it' % (self.paths[file], number, BOS, EOS))
        for start in range(0, len(sentence), self.max_length):
            starts.append(len(ids))
            sources.append((file, number))
            ids.append(bos)
            ids.extend(sentence[start:start + self.max_length])
            ids.append(eos)


def length_buckets(lengths, batch_tokens, random=None):
    """Cuts sentences into batches of like length, each of about `batch_tokens` tokens: a list of arrays of indices.

    Args:
        lengths: of the sentences, at least one.
        random: a RandomState, which mixes sentences of equal length and the batches; None keeps them in order.
    """
    lengths = np.asarray(lengths)
    order = np.arange(len(lengths)) if random is None else random.permutation(len(lengths))
    order = order[np.argsort(lengths[order], kind='mergesort')]
    ends = np.cumsum(lengths[order])
    number = -(-int(ends[-1]) // batch_tokens)
    cuts = np.searchsorted(ends, np.arange(1, number) * ends[-1] / number, side='left') + 1
    batches = [batch for batch in np.split(order, cuts) if len(batch)]
    if random is not None:
        random.shuffle(batches)
    return batches


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
    thread.start()
    try:
        while True:
            item, error = items.get()
            if error:
                six.reraise(*error)
            if item is None:
                return
            yield item
    finally:
        stopped.set()
        thread.join(1)  # not for ever: in an interpreter that is going down, where this may run, threads stand still
