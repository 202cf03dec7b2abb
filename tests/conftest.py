# -*- coding: utf-8 -*-
"""Fixtures."""
from __future__ import absolute_import, division, print_function, unicode_literals

import os

from helpers import TAGGED, Corpus, make_checkpoint, write_lines  # comes before fluid: it finds the project
import paddle.fluid as fluid
import pytest

from elmo.text import Vocabulary
from lac_finetune.reader import read_tagged


@pytest.fixture
def fresh_scope():
    """fluid's global scope for one test alone."""
    with fluid.scope_guard(fluid.Scope()):
        yield


@pytest.fixture
def corpus(tmpdir):
    return Corpus(tmpdir)


@pytest.fixture
def task(tmpdir):
    """A directory with a vocabulary and an ELMo for the tagger."""
    words = {word for sentence in read_tagged(os.path.join(TAGGED, 'train.tsv'))[0] for word in sentence.words}
    path = write_lines(tmpdir.join('vocabulary.txt'), ['<S>', '</S>', '<UNK>'] + sorted(words))
    make_checkpoint(tmpdir.join('elmo'), Vocabulary(path))
    return tmpdir
