# -*- coding: utf-8 -*-
"""Finds the words of a text whose vectors in context are nearest to that of a word in a sentence: senses come apart.

Sentences are words separated by white space. Nearness is the cosine of the vectors. Memory does not grow with the text.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import heapq
import os

from project import cli
import numpy as np

from elmo import devices, flags
from elmo.embedder import Embedder, read_segmented
from elmo.progress import Progress
from elmo.text import InputError, list_files

CONTEXT = 8  # words shown on each side


def unit(vectors):
    """Vectors [N, D] scaled to length 1. A vector of zeros stays as it is."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def nearest(embedder, sentence, word, blocks, count, same=False):
    """The nearest words: a list of (cosine, file:line, position in the line, its words), nearest first.

    Args:
        embedder: an Embedder of one layer.
        sentence: list of words that contains `word`; its first occurrence counts.
        blocks: as read_segmented yields them.
        count: how many to find.
        same: True finds only other occurrences of `word`.
    """
    wanted = unit(embedder([sentence])[0])[sentence.index(word)]
    found, seen = [], 0
    for lines, _ in blocks:
        split = [(place, text.split()) for place, text in lines]
        split = [(place, words) for place, words in split if words != sentence and (not same or word in words)]
        for (place, words), vectors in zip(split, embedder([words for _, words in split])):
            for position, cosine in enumerate(unit(vectors).dot(wanted)):
                if not same or words[position] == word:
                    seen += 1  # if cosines are equal, the first word wins
                    (heapq.heappush if len(found) < count else heapq.heappushpop)(
                        found, (float(cosine), -seen, place, position, words))
    return [(cosine, place, position, words) for cosine, _, place, position, words in sorted(found, reverse=True)]


def parse_args():
    parser = cli.ArgumentParser(
        __doc__.splitlines()[0], "python tools/neighbours.py '他 在 打 电话' 打 --text data/train "
        "--checkpoint checkpoints \\\n    --vocab_path data/vocabulary_min5k.txt")
    parser.add_argument('sentence', help='words separated by white space')
    parser.add_argument('word', help='one of them')
    parser.add_argument('--text', required=True, help='where to look: a file, a directory or a quoted glob; segmented')
    flags.checkpoint(parser)
    parser.add_argument('--number', type=cli.positive_int, default=10, help='how many words to show')
    parser.add_argument('--same', action='store_true', help='only other occurrences of the word')
    parser.add_argument('--layers', choices=['average', 'top'], default='top', help='which vectors to compare')
    flags.use_one_gpu(parser)
    return parser.parse_args()


def main():
    args = parse_args()
    sentence, paths = args.sentence.split(), list_files(args.text)
    if args.word not in sentence:
        raise InputError('%s: does not occur in the sentence, whose words are: %s' % (args.word, ' '.join(sentence)))
    embedder = Embedder(args.checkpoint, flags.vocabulary(args), args.layers, place=devices.places(args.use_gpu)[0])
    progress = Progress('reading', sum(map(os.path.getsize, paths)), 'bytes')

    def blocks():
        for lines, size in read_segmented(paths):
            progress.update(size)
            yield lines, size

    found = nearest(embedder, sentence, args.word, blocks(), args.number, args.same)
    progress.close()
    if not found:
        wanted = ' with %s' % args.word if args.same else ''
        raise InputError('--text %s: no other sentence%s; give more text' % (args.text, wanted))
    for cosine, place, position, words in found:
        before, after = words[max(position - CONTEXT, 0):position], words[position + 1:position + 1 + CONTEXT]
        print('%.3f  %s: %s' % (cosine, place, ' '.join(before + ['[%s]' % words[position]] + after)))


if __name__ == '__main__':
    cli.run(main)
