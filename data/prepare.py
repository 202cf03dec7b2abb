#!/usr/bin/env python
# -*- coding: utf-8 -*-
"""Turns raw or segmented text into what train.py reads: OUTPUT/train/, OUTPUT/dev/ and a vocabulary.

    text -> documents (a line, a file, or up to a blank line) -> sentences -> tokens -> every 6th document to dev/

Text is UTF-8. White space, full-width and zero-width spaces among it, separates tokens and is never part of one; every
other character is kept. Memory is bounded by the longest line and the number of distinct words, not by the input.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import collections
import io
import multiprocessing
import os
import re
import shutil
import signal
import sys
import tempfile
from contextlib import closing, contextmanager

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir))
from cli import ArgumentParser, Progress, number, positive_int, run  # noqa: E402
from reader import BOS, EOS, UNK, InputError, Vocabulary, byte_lines, decode_line, list_inputs, open_binary  # noqa: E402
from segment import Segmenter  # noqa: E402

RESERVED = (BOS, EOS, UNK)
BATCH = 1 << 17  # characters a process segments at a time
MAX_WORDS = 2000000  # distinct words counted at once, about 400 MB

# What str.split() takes for no space, or not in every Python: Mongolian separator, zero-width characters, BOM.
INVISIBLE = {code: ' ' for code in [0x180e, 0x200b, 0x200c, 0x200d, 0x200e, 0x200f, 0x2060, 0xfeff]}

FULL_ENDERS, ASCII_ENDERS = '。！？；…｡', '!?;'
CLOSERS = '”’」』）】》〉］｝〕〗)]}'
ENDING = re.compile('[%s%s][%s%s%s"\\s]*' % (FULL_ENDERS, ASCII_ENDERS, FULL_ENDERS, ASCII_ENDERS, re.escape(CLOSERS)),
                    re.UNICODE)

CHARACTER = re.compile('[\ud800-\udbff][\udc00-\udfff]|.', re.DOTALL)  # a rare one is two units in Python 2.7


def split_sentences(text):
    """Splits a text after 。！？；… and !?;, their runs (……, ？！), and the closing quotes and brackets that follow.

    !?; end no sentence right before an ASCII character (a?b=1). Of straight quotes, every second one closes. Enders
    with nothing before them open the next sentence. All but the spaces at the cuts is kept.
    """
    sentences, start, counted, quoted = [], 0, 0, False
    for ending in ENDING.finditer(text):
        quoted ^= text.count('"', counted, ending.start()) % 2
        end = ending.start()
        for char in ending.group():
            if char == '"' and not quoted:
                break  # it opens the next quotation
            quoted &= char != '"'
            end += 1
        counted = end
        tight_ascii = '!' <= text[end:end + 1] <= '~' and not text[end - 1].isspace()
        if tight_ascii and not any(char in FULL_ENDERS for char in text[ending.start():end]):
            continue
        if text[start:ending.start()].strip():
            sentences.append(text[start:end].strip())
            start = end
    return sentences + [text[start:].strip()] if text[start:].strip() else sentences


def read_documents(paths, kind, segmented):
    """Yields (document from 1, text, bytes read) for each line of the files that has text; '-' is standard input.

    Args:
        kind: what a document is: 'line', 'file', or 'blank' (up to a blank line or the end of the file).
        segmented: the text is tokens, which must not be <S>, </S> or <UNK>.
    """
    document = 0
    for path in paths:
        with open_binary(path) if path != '-' else io.open(0, 'rb', closefd=False) as lines:
            size, begins = 0, True
            for position, line in enumerate(byte_lines(lines), 1):
                size += len(line)
                tokens = decode_line(line, path, position).translate(INVISIBLE).split()
                for token in RESERVED:
                    if segmented and token in tokens:
                        raise InputError('%s:%d: holds the token %s, which is reserved; remove it or write it otherwise'
                                         % (path, position, token))
                if tokens:
                    document += begins or kind == 'line'
                    yield document, ' '.join(tokens), size
                    size, begins = 0, False
                elif kind == 'blank':
                    begins = True


def batches(lines):
    """Groups what read_documents yields: (list of documents, list of texts, bytes read)."""
    documents, texts, size, length = [], [], 0, 0
    for document, text, read in lines:
        documents.append(document)
        texts.append(text)
        size, length = size + read, length + len(text)
        if length >= BATCH:
            yield documents, texts, size
            documents, texts, size, length = [], [], 0, 0
    if texts:
        yield documents, texts, size


segment = None  # the Segmenter of this process


def start_worker(words, started):
    """What a process of the pool does first."""
    global segment
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process alone answers Ctrl-C
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    started.release()
    segment = segment or Segmenter(words)  # a forked process has inherited it


def segment_texts(texts):
    """For each text the list of its sentences, each a string of tokens separated by one space."""
    return [[' '.join(segment(sentence)) for sentence in split_sentences(text)] for text in texts]


def wait(result, workers):
    """The value of an AsyncResult. InputError when a worker was killed: its result would never come."""
    while not result.ready():
        result.wait(1)
        if not workers.issubset(multiprocessing.active_children()):
            raise InputError('a process was killed, perhaps for want of memory; give fewer --processes')
    return result.get()


def segment_batches(lines, words, processes):
    """Yields (documents, lists of sentences, bytes read) in the order of the input, for any number of processes."""
    global segment
    segment = Segmenter(words)  # here first: a pool would start workers for ever, if jieba were missing
    if processes == 1:
        for documents, texts, size in batches(lines):
            yield documents, segment_texts(texts), size
        return
    started = multiprocessing.Semaphore(0)
    pool = multiprocessing.Pool(processes, start_worker, (words, started))
    workers = frozenset(multiprocessing.active_children())
    try:
        waiting = collections.deque()
        for documents, texts, size in batches(lines):
            waiting.append((documents, pool.apply_async(segment_texts, (texts,)), size))
            if len(waiting) > 2 * processes:  # Pool.imap would read ahead without bound
                documents, result, size = waiting.popleft()
                yield documents, wait(result, workers), size
        for documents, result, size in waiting:
            yield documents, wait(result, workers), size
    finally:
        for _ in range(processes):
            started.acquire()  # before that a process may lose SIGTERM, and terminate would wait for it for ever
        pool.terminate()


class Shards(object):
    """Writes sentences to sentence_file_00000.txt, … of a new directory, `size` sentences in each file."""

    def __init__(self, directory, size):
        os.mkdir(directory)
        self.directory, self.size, self.sentences, self.file = directory, size, 0, None

    def write(self, sentence):
        """Writes one sentence: tokens separated by one space."""
        if self.sentences % self.size == 0:
            self.close()
            name = 'sentence_file_%05d.txt' % (self.sentences // self.size)
            self.file = io.open(os.path.join(self.directory, name), 'w', encoding='utf-8', newline='\n')
        self.file.write(sentence + '\n')
        self.sentences += 1

    def close(self):
        """Closes the last file."""
        if self.file:
            self.file.close()


class WordCounts(object):
    """Counts words in bounded memory.

    Whenever there are more than `limit` distinct words, those seen at most n times are forgotten, n = 1 the first time,
    2 the second, and so on. So a count may be too low, by no more than `error`; words that matter are far above it.
    """

    def __init__(self, limit=MAX_WORDS):
        self.counts, self.limit, self.prunings, self.total = collections.Counter(), limit, 0, 0

    def add(self, words):
        """Counts a list of words."""
        self.counts.update(words)
        self.total += len(words)
        if len(self.counts) > self.limit:
            self.prunings += 1
            self.counts = collections.Counter({w: n for w, n in self.counts.items() if n > self.prunings})

    @property
    def error(self):
        """How much too low a count can be."""
        return self.prunings * (self.prunings + 1) // 2

    def vocabulary(self, min_count=1, max_size=None, characters=False, first=RESERVED):
        """The words `first`, then those counted min_count times and more, most frequent first; max_size in all.

        Words of the same count stand in code point order. With `characters`, those of the words that are left out are
        words too, counted as often as there: what they are cut into by this vocabulary is then known.
        """
        counts = collections.Counter({w: n for w, n in self.counts.items() if n >= min_count})
        known = set(first)
        if characters:
            for word, count in self.counts.items():
                if count < min_count and word not in known:
                    for character in CHARACTER.findall(word):
                        counts[character] += count
        words = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0].encode('utf-8')))
        return (list(first) + [word for word, _ in words if word not in known])[:max_size]

    def coverage(self, words):
        """The share of all counted words that are in `words`."""
        return sum(self.counts.get(word, 0) for word in words) / self.total


def write_lines(path, lines):
    """Writes a UTF-8 file of lines."""
    with io.open(path, 'w', encoding='utf-8', newline='\n') as handle:
        handle.writelines(line + '\n' for line in lines)


@contextmanager
def new_output(directory, names, overwrite=False):
    """Yields a temporary directory in which to make `names`; at the end they move to `directory`, all complete.

    After an error nothing is left, and what was there stays. InputError when one of them exists, unless overwrite.
    """
    existing = [name for name in names if os.path.lexists(os.path.join(directory, name))]
    if existing and not overwrite:
        raise InputError('%s exists; choose another output or add --overwrite' % os.path.join(directory, existing[0]))
    made = not os.path.isdir(directory)
    if made:
        os.makedirs(directory)
    work = tempfile.mkdtemp(prefix='.unfinished-', dir=directory)
    old = tempfile.mkdtemp(dir=work)
    try:
        yield work
        for name in existing:
            os.rename(os.path.join(directory, name), os.path.join(old, name))
        for name in names:
            os.rename(os.path.join(work, name), os.path.join(directory, name))
        made = False
    finally:
        for name in existing:
            if not os.path.lexists(os.path.join(directory, name)):  # a move failed after this one
                os.rename(os.path.join(old, name), os.path.join(directory, name))
        shutil.rmtree(work)
        if made:
            os.rmdir(directory)


def find_input(args, names):
    """The input files, '-' for standard input. InputError for one named twice or about to be overwritten."""
    paths = list_inputs(args.input)
    targets = [os.path.realpath(os.path.join(args.output, name)) + os.sep for name in names]
    for path, times in collections.Counter(paths).items():
        if times > 1:
            raise InputError('%s: named %d times; name it once' % (path, times))
        if (os.path.realpath(path) + os.sep).startswith(tuple(targets)):
            raise InputError('%s: is input, and would be overwritten; choose another --output' % path)
    return paths


def read_sentences(paths, args, words):
    """Yields (documents, list of sentences of each, bytes read), the sentences segmented."""
    lines = read_documents(paths, args.document, args.segmented)
    if args.segmented:
        return (([document], [[text]], size) for document, text, size in lines)
    known = words and [word for word in words if word not in RESERVED]
    if known == []:
        raise InputError('%s: has no word besides %s; add some' % (args.vocab_path, ' '.join(RESERVED)))
    return segment_batches(lines, known, args.processes)


def prepare(args):
    """Does the work; args as parse_args() returns them. Raises InputError."""
    names = ['train', 'dev'] + ([] if args.vocab_path else [args.vocab_name])
    paths = find_input(args, names)
    words = Vocabulary(args.vocab_path).words if args.vocab_path else None
    first = Vocabulary(args.extend).words if args.extend else RESERVED
    if args.max_size and args.max_size < len(first):
        raise InputError('--max_size %d: %s alone has %d words; give more' % (args.max_size, args.extend, len(first)))
    source = ', '.join(args.input)
    with new_output(args.output, names, args.overwrite) as work, \
            closing(Shards(os.path.join(work, 'train'), args.shard_sentences)) as train, \
            closing(Shards(os.path.join(work, 'dev'), args.shard_sentences)) as dev, \
            closing(read_sentences(paths, args, words)) as results, \
            closing(Progress('preparing', None if '-' in paths else sum(map(os.path.getsize, paths)) // 1000,
                             'KB')) as progress:
        counts, document, done = WordCounts(), 0, 0
        for documents, texts, size in results:
            for document, sentences in zip(documents, texts):
                for sentence in sentences:
                    if document % args.dev_every:
                        train.write(sentence)
                        counts.add(sentence.split(' '))
                    else:
                        dev.write(sentence)
            done += size
            progress.update(done // 1000)
        if not document:
            raise InputError('%s: no text in it; nothing to prepare' % source)
        if not dev.sentences:
            raise InputError('%s: %d document(s), and every %dth goes to dev/, so it would be empty; give more text, a '
                             'lower --dev_every, or another --document' % (source, document, args.dev_every))
        if not args.vocab_path:
            words = counts.vocabulary(args.min_count or 5, args.max_size, args.characters, first)
            if len(words) == len(RESERVED):
                raise InputError('%s: no word occurs %d times; lower --min_count' % (source, args.min_count or 5))
            write_lines(os.path.join(work, args.vocab_name), words)
    print('train: %d sentences, %d tokens; dev: %d sentences; %d documents'
          % (train.sentences, counts.total, dev.sentences, document))
    print('vocabulary: %d words, %.2f%% of the tokens of train' % (len(words), 100 * counts.coverage(words)))
    if args.extend:
        print('%d of them are new, after the %d of %s' % (len(words) - len(first), len(first), args.extend))
    if counts.prunings:
        print('over %d distinct words: the rarest were forgotten %d time(s), a count may be up to %d too low'
              % (counts.limit, counts.prunings, counts.error))


def parse_args(argv=None):
    """The flags of prepare.py."""
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('input', nargs='+', help='files, directories (the files in them, not the hidden '
                        'ones), quoted globs, or - for standard input')
    parser.add_argument('--output', required=True, help='directory that gets train/, dev/ and the '
                        'vocabulary')
    parser.add_argument('--document', choices=['line', 'file', 'blank'], default='line',
                        help='a document, which is never divided between train/ and dev/: one line, one file, or what '
                        'stands between blank lines')
    parser.add_argument('--segmented', action='store_true', help='the text is segmented: a line is a sentence, white '
                        'space separates its tokens; it is kept as it is')
    parser.add_argument('--vocab_path', metavar='FILE', help='segment with the words of this vocabulary, '
                        'the most frequent first, and build none')
    parser.add_argument('--extend', metavar='FILE', help='the new vocabulary begins with all words of this one, in '
                        'their order')
    parser.add_argument('--vocab_name', default='vocabulary.txt', help='name of the new vocabulary in '
                        '--output')
    parser.add_argument('--min_count', type=positive_int, help='the new vocabulary has words that occur in train/ this '
                        'often; 5 if not given')
    parser.add_argument('--characters', action='store_true', help='the new vocabulary also has the characters of the words '
                        'that are too rare for it, for text that will be cut with it')
    parser.add_argument('--max_size', type=number(int, low=4), help='lines of the new vocabulary at most, with <S>, '
                        '</S> and <UNK>')
    parser.add_argument('--dev_every', type=number(int, low=2), default=6, help='every n-th document goes to dev/')
    parser.add_argument('--shard_sentences', type=positive_int, default=200000, help='sentences in each file')
    parser.add_argument('--processes', type=number(int, low=1, high=256), default=multiprocessing.cpu_count(),
                        help='processes that segment; the result is the same for any number')
    parser.add_argument('--overwrite', action='store_true', help='replace train/, dev/ and vocabulary in --output')
    args = parser.parse_args(argv)
    if args.vocab_path and (args.min_count or args.max_size or args.extend or
                            args.vocab_name != parser.get_default('vocab_name')):
        parser.error('--vocab_path uses a vocabulary; --extend, --vocab_name, --min_count and --max_size build one: '
                     'give one or the other')
    if args.vocab_name in ('train', 'dev', '', '.', '..') or os.path.basename(args.vocab_name) != args.vocab_name:
        parser.error('--vocab_name: expected a plain file name other than train and dev, got %s' % args.vocab_name)
    return args


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # to leave nothing behind then either
    try:
        prepare(parse_args())
    except EnvironmentError as error:  # the disk is full, the output cannot be written
        raise InputError('%s: %s' % (error.filename or 'reading or writing', error.strerror))


if __name__ == '__main__':
    run(main)
