# -*- coding: utf-8 -*-
"""Cuts raw Chinese text into words with jieba: those of a vocabulary, or of jieba's own dictionary."""
from __future__ import absolute_import, division, print_function, unicode_literals

import io

from six.moves import range

from reader import InputError

# Full-width ASCII and the full-width space: one character becomes one, so that places in a text stay the same.
HALF_WIDTH = {code: code - 0xfee0 for code in range(0xff01, 0xff5f)}
HALF_WIDTH[0x3000] = 0x20

_CHARACTERS = 10000  # cut at once, so that memory is bounded; no sentence is longer


class Segmenter(object):
    """Cuts text along the most probable path through a dictionary, new-word discovery (HMM) off.

    Args:
        words: the only words there are, most frequent first; the n-th counts 1/n of the first (Zipf's law).
            None: jieba's own dictionary.

    InputError when jieba is not installed.
    """

    def __init__(self, words=None):
        try:
            import jieba  # here, as nothing else needs it
        except ImportError:
            raise InputError('jieba is not installed: python -m pip install jieba==0.42.1')
        self._tokenizer = jieba.Tokenizer()
        dictionary = self._tokenizer.get_dict_file()
        if words is not None:
            if not words:
                raise InputError('there is no word to segment by: give a vocabulary with words')
            entries = ('%s %d' % (word, max(1, 10 ** 7 // rank)) for rank, word in enumerate(words, 1))
            dictionary = io.BytesIO('\n'.join(entries).encode('utf-8'))
        # what initialize() does, without its cache file in the shared temporary directory
        self._tokenizer.FREQ, self._tokenizer.total = self._tokenizer.gen_pfdict(dictionary)
        self._tokenizer.initialized = True

    def __call__(self, text):
        """The tokens of a text, a list; joined they are the text without its white space."""
        # Not jieba.cut, which looks up only letters, digits and Chinese characters: …… or 20％ would not be found.
        cut, tokens = self._tokenizer._Tokenizer__cut_DAG_NO_HMM, []
        for part in text.split():
            for start in range(0, len(part), _CHARACTERS):
                for token in cut(part[start:start + _CHARACTERS]):
                    if '\udc00' <= token[0] <= '\udfff' and tokens:  # second half of a rare character in Python 2.7
                        tokens[-1] += token
                    else:
                        tokens.append(token)
        return tokens
