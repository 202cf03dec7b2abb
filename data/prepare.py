# -*- coding: utf-8 -*-
"""Turns raw or segmented text into what train.py reads: OUTPUT/train/, OUTPUT/dev/ and a vocabulary.

    text -> documents (a line, a file, or up to a blank line) -> sentences -> tokens -> every 6th document to dev/

Text is UTF-8. White space, including full-width and zero-width spaces, separates tokens and is never part of a token.
Every other character is kept. Memory depends on the longest line and the number of distinct words, not on the input.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import collections
import os
from contextlib import closing

from project import cli
from elmo import segment_pool
from elmo.cli import number, positive_int
from elmo.corpus import RESERVED, Shards, WordCounts, new_output, split_sentences, write_lines
from elmo.progress import Progress
from elmo.text import InputError, Vocabulary, list_inputs, read_lines

BATCH = 1 << 17  # characters that a process cuts at a time

# str.split() does not split at these, or not in every Python: Mongolian separator, zero-width characters, BOM.
INVISIBLE = {code: ' ' for code in [0x180e, 0x200b, 0x200c, 0x200d, 0x200e, 0x200f, 0x2060, 0xfeff]}


def read_documents(paths, kind, segmented):
    """Yields (document, counted from 1; text; bytes read) for each line that has text; '-' is standard input.

    Args:
        kind: what a document is: 'line', 'file', or 'blank' (up to a blank line or the end of the file).
        segmented: the text is tokens, which must not be <S>, </S> or <UNK>.
    """
    document = 0
    for path in paths:
        size, begins = 0, True
        for place, line, length in read_lines(path):
            size += length
            tokens = line.translate(INVISIBLE).split()
            if segmented:
                refuse_reserved(tokens, place)
            if tokens:
                document += begins or kind == 'line'
                yield document, ' '.join(tokens), size
                size, begins = 0, False
            elif kind == 'blank':
                begins = True


def refuse_reserved(tokens, place):
    """InputError, which names `place`, if a token is <S>, </S> or <UNK>."""
    for token in RESERVED:
        if token in tokens:
            raise InputError('%s: holds the token %s, which is reserved; remove it or write it otherwise'
                             % (place, token))


def batches(lines):
    """Groups the lines of read_documents: yields ((list of documents, bytes read), list of texts)."""
    documents, texts, size, length = [], [], 0, 0
    for document, text, read in lines:
        documents.append(document)
        texts.append(text)
        size, length = size + read, length + len(text)
        if length >= BATCH:
            yield (documents, size), texts
            documents, texts, size, length = [], [], 0, 0
    if texts:
        yield (documents, size), texts


def find_input(args, names):
    """The input files, '-' for standard input. InputError for one named twice or about to be overwritten."""
    paths = list_inputs(args.input)
    targets = [os.path.realpath(os.path.join(args.output, name)) + os.sep for name in names]
    real = [path if path == '-' else os.path.realpath(path) for path in paths]
    times = collections.Counter(real)
    for path, place in zip(paths, real):
        if times[place] > 1:
            raise InputError('%s: named %d times; name it once' % (path, times[place]))
        if (place + os.sep).startswith(tuple(targets)):
            raise InputError('%s: is input, and would be overwritten; choose another --output' % path)
    return paths


def read_sentences(paths, args, words):
    """Yields ((documents, bytes read), list of sentences of each); the sentences are segmented."""
    lines = read_documents(paths, args.document, args.segmented)
    if args.segmented:
        return ((([document], size), [[text]]) for document, text, size in lines)
    known = words and [word for word in words if word not in RESERVED]
    if known == []:
        raise InputError('%s: has no word besides %s; add some' % (args.vocab_path, ' '.join(RESERVED)))
    return segment_pool.cut_batches(batches(lines), known, args.processes, split_sentences)


class Corpus(object):
    """The output text: train/ and dev/, and the word counts of train/.

    Args:
        directory: where train/ and dev/ are made.
        dev_every: every n-th document goes to dev/.
        shard_sentences: sentences in each file.
    """

    def __init__(self, directory, dev_every, shard_sentences):
        self.train, self.dev = [Shards(os.path.join(directory, part), shard_sentences) for part in ('train', 'dev')]
        self.counts, self.documents, self._dev_every = WordCounts(), 0, dev_every

    def add(self, document, sentences):
        """Writes sentences of a document; documents count from 1."""
        self.documents = document
        for sentence in sentences:
            if document % self._dev_every:
                self.train.write(sentence)
                self.counts.add(sentence.split(' '))
            else:
                self.dev.write(sentence)

    def close(self):
        self.train.close()
        self.dev.close()


def empty_dev(args, documents):
    """The InputError where so many documents leave dev/ empty."""
    return InputError('%s: %d document(s), and every %dth goes to dev/, so it would be empty; give more text, a lower '
                      '--dev_every, or another --document' % (', '.join(args.input), documents, args.dev_every))


def write_corpus(args, paths, words, directory):
    """Makes train/ and dev/ in a directory; returns the Corpus. InputError if one of them would be empty."""
    total = None if '-' in paths else sum(map(os.path.getsize, paths)) // 1000
    with closing(Corpus(directory, args.dev_every, args.shard_sentences)) as corpus, \
            closing(read_sentences(paths, args, words)) as results, \
            closing(Progress('preparing', total, 'KB')) as progress:
        done = 0
        for (documents, size), texts in results:
            for document, sentences in zip(documents, texts):
                corpus.add(document, sentences)
            done += size
            progress.update(done // 1000)
    if not corpus.documents:
        raise InputError('%s: no text in it; nothing to prepare' % ', '.join(args.input))
    if not corpus.dev.sentences:
        raise empty_dev(args, corpus.documents)
    return corpus


def prepare(args):
    """Makes the output; args are those of parse_args(). Raises InputError."""
    names = ['train', 'dev'] + ([] if args.vocab_path else [args.vocab_name])
    paths = find_input(args, names)
    if args.document == 'file' and len(paths) < args.dev_every:
        raise empty_dev(args, len(paths))
    words = Vocabulary(args.vocab_path).words if args.vocab_path else None
    first = Vocabulary(args.extend).words if args.extend else RESERVED
    if args.max_size and args.max_size < len(first):
        raise InputError('--max_size %d: %s alone has %d words; give more' % (args.max_size, args.extend, len(first)))
    with new_output(args.output, names, args.overwrite, 'choose another --output, or add --overwrite') as work:
        corpus = write_corpus(args, paths, words, work)
        if not args.vocab_path:
            words = corpus.counts.vocabulary(args.min_count, args.max_size, args.characters, first)
            if len(words) == len(RESERVED):
                raise InputError('%s: no word occurs %d times; lower --min_count'
                                 % (', '.join(args.input), args.min_count))
            write_lines(os.path.join(work, args.vocab_name), words)
    counts = corpus.counts
    print('train: %d sentences, %d tokens; dev: %d sentences; %d documents'
          % (corpus.train.sentences, counts.total, corpus.dev.sentences, corpus.documents))
    print('vocabulary: %d words, %.2f%% of the tokens of train' % (len(words), 100 * counts.coverage(words)))
    if args.extend:
        print('%d of them are new, after the %d of %s' % (len(words) - len(first), len(first), args.extend))
    if counts.prunings:
        print('over %d distinct words: the rarest were forgotten %d time(s), a count may be up to %d too low'
              % (counts.limit, counts.prunings, counts.error))


def parse_args(argv=None):
    """The flags of prepare.py."""
    parser = cli.ArgumentParser(__doc__.splitlines()[0],
                                'python data/prepare.py data/raw --output my_data --min_count 2')
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
    parser.add_argument('--characters', action='store_true', help='the new vocabulary also has the characters of the '
                        'words that are too rare for it, for text that will be cut with it')
    parser.add_argument('--max_size', type=number(int, low=4), help='lines of the new vocabulary at most, with <S>, '
                        '</S> and <UNK>')
    parser.add_argument('--dev_every', type=number(int, low=2), default=6, help='every n-th document goes to dev/')
    parser.add_argument('--shard_sentences', type=positive_int, default=200000, help='sentences in each file')
    segment_pool.add_flag(parser)
    parser.add_argument('--overwrite', action='store_true', help='replace train/, dev/ and vocabulary in --output')
    args = parser.parse_args(argv)
    if args.vocab_path and (args.min_count or args.max_size or args.extend or args.characters or
                            args.vocab_name != parser.get_default('vocab_name')):
        parser.error('--vocab_path uses a vocabulary; --extend, --vocab_name, --min_count, --characters and --max_size '
                     'build one: give one or the other')
    if args.vocab_path and args.segmented:
        parser.error('--vocab_path segments the text, --segmented leaves it as it is: give one or the other')
    if args.vocab_name in ('train', 'dev', '', '.', '..') or os.path.basename(args.vocab_name) != args.vocab_name:
        parser.error('--vocab_name: expected a plain file name other than train and dev, got %s' % args.vocab_name)
    args.min_count = args.min_count or 5
    return args


if __name__ == '__main__':
    cli.run(lambda: prepare(parse_args()))
