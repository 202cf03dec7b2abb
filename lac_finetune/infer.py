#!/usr/bin/env python
# -*- coding: utf-8 -*-
"""Tags text with a model of train.py: a line of raw text in, a line of word/tag word/tag out, in the same order.

White space separates words and is not part of one; every other character comes out as it went in.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import os
import signal
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import environment  # noqa: E402, F401  before fluid, which reads it when it is loaded
import numpy as np  # noqa: E402
import paddle.fluid as fluid  # noqa: E402

import bilm  # noqa: E402
import checkpoint  # noqa: E402
import cli  # noqa: E402
import devices  # noqa: E402
from args import USE_GPU  # noqa: E402
from files import read_json  # noqa: E402
from lac_finetune import network  # noqa: E402
from lac_finetune.evaluation import chunks, split_label, stray  # noqa: E402
from lac_finetune.reader import Units, feed_words, read_lines  # noqa: E402
from reader import InputError, Vocabulary, length_buckets, list_inputs, read_blocks  # noqa: E402

BLOCK = 1 << 16  # characters that are read before they are tagged


class Tagger(object):
    """Finds the words of raw texts and their tags.

    Args:
        exe: a fluid.Executor; the parameters are in its scope.
        program: the program of network.decoding.
        path: its output.
        units: a Units.
        labels: list of the labels, by number.
        batch_tokens: units decoded at a time; it bounds memory.
        max_length: more units than this are decoded in pieces.
        elmo_layers: an ElmoLayers, if the program is fed with them.

    Attributes:
        stray: number of n-I so far that continued no n; each was taken as the beginning of a word.
    """

    def __init__(self, exe, program, path, units, labels, batch_tokens, max_length, elmo_layers=None):
        self.exe, self.program, self.path, self.units, self.labels = exe, program, path, units, labels
        self.batch_tokens, self.max_length, self.elmo_layers, self.stray = batch_tokens, max_length, elmo_layers, 0

    def __call__(self, texts, tokenized=False):
        """The words of each text: a list of [(word, tag)]. White space is a border of words.

        Args:
            tokenized: the texts are words separated by white space. Each stays whole, and has the tag of its last unit.
        """
        texts = [[self.units.cut(part) for part in text.split()] for text in texts]
        results = []
        for parts, labels in zip(texts, self._decode([[unit for part in parts for unit in part] for parts in texts])):
            words, end = [], 0
            for part in parts:
                start, end = end, end + len(part)
                if tokenized:
                    words.append((''.join(part), split_label(labels[end - 1])[0]))
                else:
                    self.stray += stray(labels[start:end])
                    words += [(''.join(part[first:last]), tag) for first, last, tag in chunks(labels[start:end])]
            results.append(words)
        return results

    def _decode(self, sentences):
        """The labels of each list of units."""
        pieces = [(number, units[start:start + self.max_length]) for number, units in enumerate(sentences)
                  for start in range(0, len(units), self.max_length)]
        found = [None] * len(pieces)
        for batch in length_buckets([len(units) for _, units in pieces], self.batch_tokens) if pieces else []:
            ids = [self.units.ids(pieces[index][1]) for index in batch]
            path, = self.exe.run(self.program, feed=feed_words(ids, self.exe.place, self.elmo_layers),
                                 fetch_list=[self.path], return_numpy=False)
            ends = np.cumsum([len(piece) for piece in ids])
            for index, numbers in zip(batch, np.split(np.array(path).reshape(-1), ends[:-1])):
                found[index] = numbers
        labels = [[] for _ in sentences]
        for (number, _), numbers in zip(pieces, found):
            labels[number] += [self.labels[label] for label in numbers]
        return labels


def load(directory, place):
    """The Tagger of a model directory; its parameters go into the global scope.

    InputError if a file of it is missing, truncated or another one's.
    """
    settings = read_settings(directory)
    checkpoint.check(directory)
    vocabulary = Vocabulary(os.path.join(directory, 'vocabulary.txt'))
    labels = [line for _, line in read_lines(os.path.join(directory, 'tags.txt'))]
    checkpoint.check_vocabulary(directory, vocabulary, settings['sizes'])
    if len(labels) != settings['sizes']['num_labels']:
        raise InputError('%s: %d labels in tags.txt, %d in settings.json; copy it again, or take another'
                         % (directory, len(labels), settings['sizes']['num_labels']))
    exe = fluid.Executor(place)
    program, path = build_decoding(settings['sizes'], whole=True)  # anew: the saved one could do anything
    checkpoint.load_variables(exe, directory, 'network', program, program.all_parameters())
    return Tagger(exe, program, path, Units(vocabulary), labels, settings['batch_tokens'], settings['max_length'])


def build_decoding(sizes, whole):
    """The decoding program and its output; see network.decoding."""
    program = fluid.Program()
    with fluid.program_guard(program, fluid.Program()), fluid.unique_name.guard():
        return program, network.decoding(sizes, whole)


def read_settings(directory):
    """settings.json of a model directory; InputError if there is none that train.py can have written."""
    path = os.path.join(directory, 'settings.json')
    settings = read_json(path, '; name a model directory that train.py wrote')
    try:
        sizes = settings['sizes']
        whole_numbers = [settings['batch_tokens'], settings['max_length']] + [
            sizes[name] for name in ('vocab_size', 'num_labels', 'word_emb_dim', 'grnn_hidden_dim', 'bigru_num')]
        elmo = sizes['elmo'] or dict(bilm.PUBLISHED_CONFIG, vocab_size=sizes['vocab_size'])
        good = (all(type(number) is int and 0 < number < 2 ** 31 for number in whole_numbers) and
                sizes['bigru_num'] <= 100 and not bilm.config_problem(elmo) and
                elmo['vocab_size'] == sizes['vocab_size'])
    except (KeyError, TypeError):
        good = False
    if not good:
        raise InputError('%s: not the settings of a tagger; name a model directory that train.py wrote' % path)
    return settings


def parse_args(argv=None):
    parser = cli.ArgumentParser(description='Segment and tag text: lines in, lines of word/tag word/tag out.')
    parser.add_argument('input', nargs='*', default=['-'], help='UTF-8 files, directories or quoted globs; - or none: '
                        'standard input')
    parser.add_argument('--model_dir', required=True, metavar='DIR', help='model directory that train.py wrote')
    parser.add_argument('--tokenized', action='store_true', help='the input is words separated by white space, which '
                        'are tagged as they are')
    parser.add_argument('--batch_tokens', type=cli.positive_int, help='units at a time; by default as in training')
    parser.add_argument('--use_gpu', type=cli.boolean, default=None, help=USE_GPU + '; one device is used')
    return parser.parse_args(argv)


def main():
    args = parse_args()
    paths = list_inputs(args.input)
    tagger = load(args.model_dir, devices.places(args.use_gpu)[0])
    tagger.batch_tokens = args.batch_tokens or tagger.batch_tokens
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` ends it without a traceback
    output, start, number, characters = getattr(sys.stdout, 'buffer', sys.stdout), time.time(), 0, 0
    progress = cli.Progress('tagging', None if '-' in paths else sum(map(os.path.getsize, paths)), 'bytes')
    for lines, size in read_blocks(paths, BLOCK):
        for words in tagger([text for _, text in lines], args.tokenized):
            output.write((' '.join('%s/%s' % pair for pair in words) + '\n').encode('utf-8'))
            characters += sum(len(word) for word, _ in words)
        output.flush()
        number += len(lines)
        progress.update(size)
    progress.close()
    seconds = time.time() - start
    sys.stderr.write(str('%d lines, %d characters in %.1f s, %d characters/s; %d I without B\n'
                         % (number, characters, seconds, characters / seconds, tagger.stray)))


if __name__ == '__main__':
    cli.run(main)
