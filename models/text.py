# -*- coding: utf-8 -*-
"""Makes the text that the released models learn from: the parts of zh-text and PKU's training days, cut alike.

    OUTPUT/vocabulary.txt        PKU's words, and what else the text has often, the most frequent first
    OUTPUT/train/                all sentences, shuffled: train.py shuffles within a file, and each source is one kind
    OUTPUT/adapt/                PKU's sentences, and about as many others, for the end of the training
    OUTPUT/dev/                  every 100th sentence of PKU's training days
    OUTPUT/heldout/PART.txt      the sentences of PART that zh-text holds out

The tagger cuts raw text with the vocabulary, and labels units. A unit that crosses a border of PKU's words cannot be
labelled right. So words that mostly do so are left out.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import collections
import os
import re
import tarfile
import zlib
from contextlib import closing

import numpy as np

from project import ROOT, cli
from elmo import segment_pool
from elmo.corpus import RESERVED, Shards, new_output, split_sentences, write_lines
from elmo.progress import Progress
from elmo.segment import Segmenter
from elmo.text import InputError, Vocabulary, decode_line
from lac_finetune.reader import read_tagged

try:
    import lzma
except ImportError:  # Python 2
    lzma = None

MEMBER = re.compile(r'(?:.*/)?(train|heldout)-([a-z]+)-\d+\.txt$')
SPACE = re.compile('(?<![!-~]) | (?![!-~])')  # of the segmentation; one between two words in ASCII is of the text
MIN_COUNT = 20  # of a character, a Latin word or a number that PKU's words do not have
CROSSING = 0.25  # a word that crosses borders more often than this is left out
ROUNDS = 2  # of leaving out: what is cut instead may cross borders too
DEV_EVERY = 100
SHARD_SENTENCES = 50000
BATCH = 2000  # sentences that a process cuts at a time


def without_crossing(words, sentences):
    """The words but those that cross the borders of gold words in more than CROSSING of the places where they are cut.

    Args:
        words: most frequent first.
        sentences: each a list of gold words.
    """
    segmenter, total, crossing = Segmenter(words), collections.Counter(), collections.Counter()
    for sentence in sentences:
        borders, position = set(), 0
        for word in sentence:
            position += len(word)
            borders.add(position)
        position = 0
        for unit in segmenter.cut(''.join(sentence)):
            total[unit] += 1
            crossing[unit] += any(place in borders for place in range(position + 1, position + len(unit)))
            position += len(unit)
    return [word for word in words if crossing[word] <= CROSSING * total[word]]


def archive_lines(path):
    """Yields ('train' or 'heldout', part, a line or several) of zh-text. Of two members of a name the later counts."""
    with tarfile.open(path) as archive:
        members = {member.name: member for member in archive.getmembers() if member.isfile()}
        for name in sorted(filter(MEMBER.match, members)):
            kind, part = MEMBER.match(name).groups()
            place = '%s: %s' % (path, os.path.basename(name))
            for number, line in enumerate(archive.extractfile(members[name]), 1):
                yield kind, part, decode_line(line, place, number)


def read_archive(path):
    """The text of zh-text without the spaces of its words: {'train' or 'heldout': {part: list of sentences}}."""
    texts = {'train': collections.defaultdict(list), 'heldout': collections.defaultdict(list)}
    if lzma is None:
        raise InputError('%s: cannot be read: this Python has no lzma for .xz; run it with Python 3' % path)
    try:
        for kind, part, text in archive_lines(path):
            texts[kind][part] += [sentence for line in text.splitlines()
                                  for sentence in split_sentences(SPACE.sub('', line))]
    except (EnvironmentError, EOFError, tarfile.TarError, zlib.error, lzma.LZMAError) as error:
        raise InputError('%s: cannot be read: %s; give zh-text.tar.xz'
                         % (path, getattr(error, 'strerror', None) or error))
    if not all(texts.values()):
        raise InputError('%s: has no train-PART-000.txt or no heldout-PART-000.txt; give zh-text.tar.xz' % path)
    return texts


def whole(text):
    """The parts of a text that is a sentence."""
    return [text]


def cut(sentences, words, processes, title):
    """The sentences cut with the words, most frequent first: a list of strings of units joined by spaces."""
    batches = ((first, sentences[first:first + BATCH]) for first in range(0, len(sentences), BATCH))
    result = []
    with closing(Progress(title, len(sentences), 'sentences')) as progress, \
            closing(segment_pool.cut_batches(batches, words, processes, whole)) as results:
        for _, texts in results:
            result += [units for units, in texts]
            progress.update(len(result))
    return result


def choose_words(words, sentences, processes):
    """The vocabulary without its reserved words, most frequent first: `words`, and what the sentences have besides.

    What the cut leaves beside the words are single characters, Latin words and numbers.
    """
    lines = cut(sentences, words, processes, 'counting')
    counts = collections.Counter(unit for line in lines for unit in line.split(' '))
    known = set(words)
    chosen = known.union(unit for unit, count in counts.items() if count >= MIN_COUNT).difference(RESERVED)
    return sorted(chosen, key=lambda word: (-counts[word], word.encode('utf-8')))


def write_shards(directory, lines):
    """Writes lines to files of SHARD_SENTENCES."""
    with closing(Shards(directory, SHARD_SENTENCES)) as shards:
        for line in lines:
            shards.write(line)


def build(archive, pku, directory, processes):
    """Writes all of the text to a directory; `pku` is the directory that data/pku.py makes."""
    gold = [sentence.words for sentence in read_tagged(os.path.join(pku, 'lac', 'train.tsv'))[0]]
    words = [word for word in Vocabulary(os.path.join(pku, 'vocabulary.txt')).words if word not in RESERVED]
    texts = read_archive(archive)
    for _ in range(ROUNDS):
        before, words = len(words), without_crossing(words, gold)
        print('%d of %d words cross borders' % (before - len(words), before))
    days = [''.join(sentence) for sentence in gold]
    general = [sentence for part in sorted(texts['train']) for sentence in texts['train'][part]]
    news = [sentence for number, sentence in enumerate(days, 1) if number % DEV_EVERY]
    train = general + news
    words = choose_words(words, train, processes)
    write_lines(os.path.join(directory, 'vocabulary.txt'), list(RESERVED) + words)
    lines = cut(train, words, processes, 'train')
    order = np.random.RandomState(1).permutation(len(lines))
    write_shards(os.path.join(directory, 'train'), (lines[index] for index in order))
    every = max(1, len(general) // len(news))
    write_shards(os.path.join(directory, 'adapt'),
                 (lines[index] for index in order if index >= len(general) or index % every == 0))
    write_shards(os.path.join(directory, 'dev'), cut(days[DEV_EVERY - 1::DEV_EVERY], words, processes, 'dev'))
    os.mkdir(os.path.join(directory, 'heldout'))
    for part, sentences in sorted(texts['heldout'].items()):
        write_lines(os.path.join(directory, 'heldout', part + '.txt'), cut(sentences, words, processes, part))
    print('%d words, %d sentences, %d units'
          % (len(words) + len(RESERVED), len(lines), sum(line.count(' ') + 1 for line in lines)))


def main():
    parser = cli.ArgumentParser(__doc__.splitlines()[0], 'python models/text.py zh-text.tar.xz --output text')
    parser.add_argument('archive', help='zh-text.tar.xz')
    parser.add_argument('--pku', default=os.path.join(ROOT, 'data', 'pku'), help='the directory of sh data/download.sh')
    parser.add_argument('--output', required=True, help='directory of the text; it must not exist')
    segment_pool.add_flag(parser)
    args = parser.parse_args()
    args.output = os.path.abspath(args.output)
    parent, name = os.path.split(args.output)
    with new_output(parent, [name]) as work:
        directory = os.path.join(work, name)
        os.mkdir(directory)
        build(args.archive, args.pku, directory, args.processes)


if __name__ == '__main__':
    cli.run(main)
