# -*- coding: utf-8 -*-
"""Cuts raw Chinese text into words with jieba: words of a vocabulary, or of jieba's own dictionary."""
from __future__ import absolute_import, division, print_function, unicode_literals

import io
import warnings

from elmo.batching import cut as pieces
from elmo.text import InputError

# Full-width ASCII and the full-width space. One character becomes one character, so that places in a text stay.
HALF_WIDTH = {code: code - 0xfee0 for code in range(0xff01, 0xff5f)}
HALF_WIDTH[0x3000] = 0x20

CUT = '_Tokenizer__cut_DAG_NO_HMM'  # jieba's own name of a method that is private to it
_CHARACTERS = 10000  # cut at a time, so that memory is bounded; no sentence is longer


class Segmenter(object):
    """Cuts text along the most probable path through a dictionary. New-word discovery (HMM) is off.

    Args:
        words: the words of the dictionary, most frequent first. The n-th word counts as 1/n of the first (Zipf's law).
            None: jieba's own dictionary.

    Raises:
        InputError: jieba is not installed, or not as it is needed here; or there is no word.
    """

    def __init__(self, words=None):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter('ignore')  # of escape sequences in its strings, which newer Pythons mind
                import jieba  # here, as nothing else needs it
        except ImportError:
            raise InputError('jieba is not installed: python -m pip install jieba==0.42.1')
        tokenizer = getattr(jieba, 'Tokenizer', None)
        if not all(hasattr(tokenizer, name) for name in (CUT, 'gen_pfdict', 'get_dict_file')):
            version = getattr(jieba, '__version__', 'of an unknown version')
            raise InputError('jieba %s cannot be used here: python -m pip install jieba==0.42.1' % version)
        self._tokenizer = tokenizer()
        dictionary = self._tokenizer.get_dict_file()
        if words is not None:
            if not words:
                raise InputError('there is no word to segment by: give a vocabulary with words')
            entries = ('%s %d' % (word, max(1, 10 ** 7 // rank)) for rank, word in enumerate(words, 1))
            dictionary = io.BytesIO('\n'.join(entries).encode('utf-8'))
        # This is what initialize() does, without its cache file in the shared temporary directory.
        self._tokenizer.FREQ, self._tokenizer.total = self._tokenizer.gen_pfdict(dictionary)
        self._tokenizer.initialized = True

    def __call__(self, text):
        """The tokens of a text, a list. Joined they are the text without its white space."""
        # jieba.cut looks up letters, digits and Chinese characters alone. It would not find …… or 20％.
        cut, tokens = getattr(self._tokenizer, CUT), []
        for part in text.split():
            for _, piece in pieces(part, _CHARACTERS):
                for token in cut(piece):
                    if '\udc00' <= token[0] <= '\udfff' and tokens:  # second half of a rare character in Python 2.7
                        tokens[-1] += token
                    else:
                        tokens.append(token)
        return tokens
