# -*- coding: utf-8 -*-
"""Compares vectors, for torch_vectors.py and bilm_tf_vectors.py.

In the environment of bilm-tf `bilm` must be the authors' package, so this file imports nothing of the project.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import io
import sys


def compare_vectors(text, vectors_of, expected):
    """Compares the vectors of a file, one sentence a line; exits with 1 if one differs by more than 1e-4.

    Args:
        vectors_of: function that takes a sentence (list of words) and returns its vectors (array).
        expected: {number of the line from 0, as text: array}.
    """
    differences, tokens = [], 0
    with io.open(text, encoding='utf-8') as handle:
        sentences = [line.split() for line in handle]
    for number, sentence in enumerate(sentences):
        if sentence:
            differences.append(float(abs(vectors_of(sentence) - expected['%d' % number]).max()))
            tokens += len(sentence)
    print('%d sentences, %d tokens: largest difference %.2e' % (len(sentences), tokens, max(differences or [0.])))
    sys.exit(int(not differences or not all(each <= 1e-4 for each in differences)))  # a NaN is not
