# -*- coding: utf-8 -*-
"""data/prepare.py makes the committed sample from data/raw, as the README says."""
from __future__ import absolute_import, division, print_function, unicode_literals

import io
import os
import subprocess
import sys

from project import ROOT
from elmo.text import Vocabulary, list_files


def lines_of(*path):
    return [line for file in list_files(os.path.join(ROOT, 'data', *path))
            for line in io.open(file, encoding='utf-8').read().splitlines()]


def test_the_sample_is_made_from_raw_text(tmpdir):
    made = str(tmpdir.join('made'))
    subprocess.check_call([sys.executable, os.path.join(ROOT, 'data', 'prepare.py'), os.path.join(ROOT, 'data', 'raw'),
                           '--output', made, '--vocab_name', 'vocabulary_min5k.txt', '--min_count', '2',
                           '--shard_sentences', '600'])
    for part in ('train', 'dev', 'vocabulary_min5k.txt'):
        files = list_files(os.path.join(made, part))
        committed = list_files(os.path.join(ROOT, 'data', part))
        assert [os.path.basename(path) for path in files] == [os.path.basename(path) for path in committed]
        for one, other in zip(files, committed):
            assert io.open(one, 'rb').read() == io.open(other, 'rb').read()


def test_the_sample_is_varied_text():
    train, dev = lines_of('train'), lines_of('dev')
    assert len(list_files(os.path.join(ROOT, 'data', 'train'))) == 2
    assert len(train) >= 600 and len(dev) * 5 >= len(train)
    assert len(set(train + dev)) == len(train + dev)
    openings = [' '.join(sentence.split()[:3]) for sentence in train]
    assert len(set(openings)) > 0.95 * len(openings)  # the sentences do not come from templates
    vocabulary = Vocabulary(os.path.join(ROOT, 'data', 'vocabulary_min5k.txt'))
    known = [word in vocabulary.words for sentence in dev for word in sentence.split()]
    assert sum(known) > 0.7 * len(known)
