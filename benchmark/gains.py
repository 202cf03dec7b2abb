# -*- coding: utf-8 -*-
"""The table of what ELMo gains, for lac_gain.py and reviews.py: the same task without ELMo, with its layer 0, with all.

Layer 0 has static word vectors, trained on the same text as the rest of ELMo. So the gain of all layers over it is what
context gives.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import collections

from project import cli
import numpy as np

VARIANTS = collections.OrderedDict([('without', 'without ELMo'), ('layer0', 'layer 0'), ('all', 'with ELMo')])


def add_flags(parser, variants):
    """Adds --seeds and --variants; these are the default."""
    parser.add_argument('--seeds', type=cli.positive_int, nargs='+', default=[1, 2, 3], help='random seeds')
    parser.add_argument('--variants', choices=list(VARIANTS), nargs='+', default=variants,
                        help='columns: without ELMo, with its layer 0 alone, with all its layers; the gain is that of '
                             'the last one over each of the others')


def head(first, variants):
    """The two lines above the rows; `first` is the name of the first column."""
    names = [VARIANTS[variant] for variant in variants]
    columns = [first] + names
    for name in names[:-1]:
        columns += ['gain over %s' % name, 'standard deviation of the gain']
    return '| %s |\n|---|%s' % (' | '.join(columns), '---:|' * (len(columns) - 1))


def row(name, scores):
    """A row of the table.

    Args:
        name: of the row.
        scores: for each variant the scores in percent, one a seed, in the same order of the seeds.
    """
    scores = np.array(scores)
    cells = ['%s' % name] + ['%.2f' % mean for mean in scores.mean(axis=1)]
    for gain in scores[-1] - scores[:-1]:
        cells += ['%+.2f' % gain.mean(), '%.2f' % gain.std(ddof=1) if len(gain) > 1 else '']
    return '| %s |' % ' | '.join(cells)
