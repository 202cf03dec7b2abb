# -*- coding: utf-8 -*-
"""Cuts raw Chinese text into words with jieba: words of a vocabulary, or of jieba's own dictionary."""
from __future__ import absolute_import, division, print_function, unicode_literals

import collections
import io
import warnings

from elmo.text import TEXT, InputError, Vocabulary, half_width, list_of_texts

CUT = '_Tokenizer__cut_DAG_NO_HMM'  # jieba's own name of a method that is private to it
_CHARACTERS = 10000  # cut at a time, so that memory is bounded; no sentence is longer


class Segmenter(object):
    """Cuts text along the most probable path through a dictionary. New-word discovery (HMM) is off.

    Text and dictionary are compared in half width. The words keep the characters that they have in the text.

    Args:
        words: a Vocabulary, or the words of the dictionary, most frequent first. The n-th word counts as 1/n of the
            first (Zipf's law). None: jieba's own dictionary.

    Raises:
        InputError: jieba is not installed, or not as it is needed here; or there is no word, or something else.
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
            if isinstance(words, Vocabulary):
                words = sorted(words.half_width, key=words.half_width.get)
            else:
                words = [half_width(word) for word in list_of_texts(words, 'a Vocabulary or a list of words')]
                for word in words:
                    if word.split() != [word]:
                        raise InputError('"%s" is no word to segment by: it is empty or has white space in it' % word)
            words = list(collections.OrderedDict.fromkeys(words))  # of two words that differ in width, the first
            if not words:
                raise InputError('there is no word to segment by: give a vocabulary with words')
            entries = ('%s %d' % (word, max(1, 10 ** 7 // rank)) for rank, word in enumerate(words, 1))
            dictionary = io.BytesIO('\n'.join(entries).encode('utf-8'))
        # This is what initialize() does, without its cache file in the shared temporary directory.
        self._tokenizer.FREQ, self._tokenizer.total = self._tokenizer.gen_pfdict(dictionary)
        self._tokenizer.initialized = True

    def cut(self, text):
        """The words of a text, a list. Joined they are the text without its white space.

        <S>, </S> and <UNK> in it are text like any other. InputError unless it is a text.
        """
        if not isinstance(text, TEXT):
            raise InputError('one text is wanted, got %s' % type(text).__name__)
        # jieba.cut looks up letters, digits and Chinese characters alone. It would not find …… or 20％.
        cut, words = getattr(self._tokenizer, CUT), []
        for part in text.split():
            for first in range(0, len(part), _CHARACTERS):
                place = first
                for found in cut(half_width(part[first:first + _CHARACTERS])):
                    word = part[place:place + len(found)]  # in the width of the text
                    place += len(found)
                    if '\udc00' <= word[0] <= '\udfff' and words:  # second half of a rare character in Python 2.7
                        words[-1] += word
                    else:
                        words.append(word)
        return words

    __call__ = cut
