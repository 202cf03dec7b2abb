# -*- coding: utf-8 -*-
"""Tiny data and networks for the tests."""
from __future__ import absolute_import, division, print_function, unicode_literals

import io
import os
import sys

import numpy as np
import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [ROOT, os.path.join(ROOT, 'tests')]

import devices  # noqa: E402  chooses fluid's static mode for all tests


def write_lines(path, lines):
    """Writes lines of text as UTF-8 and returns the path as text."""
    with io.open(str(path), 'w', encoding='utf-8') as output:
        output.write(''.join(line + '\n' for line in lines))
    return str(path)


def random_sentences(words, number, seed=0, longest=12):
    """Sentences of 1 to `longest` words, some words being far more frequent than others."""
    random = np.random.RandomState(seed)
    weights = 1. / np.arange(1, len(words) + 1)
    return [' '.join(random.choice(words, random.randint(1, longest + 1), p=weights / weights.sum()))
            for _ in range(number)]


@pytest.fixture
def fresh_scope():
    """fluid's global scope for one test alone."""
    import paddle.fluid as fluid
    with fluid.scope_guard(fluid.Scope()):
        yield


class Corpus(object):
    """A vocabulary, training text of two files with 60 sentences, and dev text with 11."""

    def __init__(self, directory):
        words = ['词%d' % number for number in range(20)]
        self.vocab_path = write_lines(directory.join('vocabulary.txt'), ['<S>', '</S>', '<UNK>'] + words[:17])
        directory.mkdir('train')
        for number in range(2):
            write_lines(directory.join('train', 'part%d.txt' % number), random_sentences(words, 30, number))
        self.train_path = str(directory.join('train'))
        self.test_path = write_lines(directory.join('dev.txt'), random_sentences(words, 11, 2))
        self.directory = directory

    def flags(self, **changed):
        """Command line of train.py for a tiny network."""
        values = dict(train_path=self.train_path, test_path=self.test_path, vocab_path=self.vocab_path,
                      embed_size=4, hidden_size=6, batch_size=4, num_steps=8, max_epoch=1, dropout=0.1,
                      para_save_dir=str(self.directory.join('checkpoints')), log_interval=1, use_gpu=False,
                      curves=False)  # each takes half a second
        values.update(changed)
        return [text for name in sorted(values) for text in ('--' + name, '%s' % values[name])]


@pytest.fixture
def corpus(tmpdir):
    return Corpus(tmpdir)
