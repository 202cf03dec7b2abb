# -*- coding: utf-8 -*-
"""Candidates of the sampled softmax, drawn by the frequency rank of words. Pure numpy."""
from __future__ import absolute_import, division, print_function, unicode_literals

import collections

import numpy as np

# The candidates of a step: ids, int64 [S], all different; and how many draws it took to find them.
Candidates = collections.namedtuple('Candidates', 'ids draws')


class LogUniformSampler(object):
    """Draws different words, word k (from 0, most frequent first) with P(k) = log((k + 2) / (k + 1)) / log(words + 1).

    Jean et al. 2015, arXiv 1412.2007; the distribution and the expected counts are those of TensorFlow's
    log_uniform_candidate_sampler with unique=True.

    Args:
        vocab_size: number of words.
        num_samples: candidates a step, fewer than words.
    """

    def __init__(self, vocab_size, num_samples):
        if not 0 < num_samples < vocab_size:
            raise ValueError('%d candidates cannot be drawn from %d words' % (num_samples, vocab_size))
        self.vocab_size, self.num_samples = vocab_size, num_samples

    def draw(self, random):
        """Draws until num_samples different words are there, with a numpy RandomState: Candidates."""
        drawn = np.empty(0, dtype='int64')
        while True:
            uniform = random.random_sample(2 * self.num_samples)
            more = (np.exp(uniform * np.log(self.vocab_size + 1.)) - 1.).astype('int64')
            drawn = np.append(drawn, np.minimum(more, self.vocab_size - 1))  # rounding may reach vocab_size
            ids, first = np.unique(drawn, return_index=True)
            if len(ids) >= self.num_samples:
                draws = int(np.sort(first)[self.num_samples - 1]) + 1
                return Candidates(ids[first < draws], draws)

    def log_expected_counts(self, ids, draws):
        """Log of how often each word is expected among the candidates of `draws` draws, float64, shape of ids."""
        probabilities = np.log1p(1. / (np.asarray(ids) + 1.)) / np.log(self.vocab_size + 1.)
        return np.log(-np.expm1(draws * np.log1p(-probabilities)))

    def feed(self, candidates, batch_words):
        """What bilm.language_model is fed beside the words: a dict of numpy arrays, see there.

        Args:
            candidates: as draw returns them.
            batch_words: {name: int64 [N, 1]} of the words to predict, for `name_log_counts` and `name_missed`.
        """
        ids, draws = candidates
        is_candidate = np.zeros(self.vocab_size, dtype=bool)
        is_candidate[ids] = True
        feed = {'samples': ids.reshape(-1, 1),
                'sample_log_counts': self.log_expected_counts(ids, draws).reshape(-1, 1).astype('float32')}
        for name, words in batch_words.items():
            feed[name + '_log_counts'] = self.log_expected_counts(words, draws).astype('float32')
            feed[name + '_missed'] = (~is_candidate[words]).astype('float32')
        return feed
