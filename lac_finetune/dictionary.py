# -*- coding: utf-8 -*-
"""A user's dictionary: words that a tagger keeps as they are given, whatever its model says."""
from __future__ import absolute_import, division, print_function, unicode_literals

import bisect
import collections

from elmo.text import InputError, check_path, half_width, read_lines

# What is wanted of a part of a text. words: a list of (word, tag), the tag '' if it is the model's. place: file:line.
_Item = collections.namedtuple('_Item', 'words place')


class Dictionary(object):
    """The items of a file, one a line: a word or several words with spaces between them, each `word` or `word/tag`.

    An item is found where its words stand in the text one behind the other. From left to right, the longest item that
    begins at a place is taken, and the next is looked for behind its end. Characters count as equal in either width.

    Args:
        path: of the file.

    Raises:
        InputError: the file cannot be read or holds no item, a line has a tag without a word or a word with an empty
            tag, or two lines want different things of the same text. A file of one's own text is no dictionary.
    """

    def __init__(self, path):
        path = check_path(path, 'Dictionary')
        self._items, self._lengths = {}, collections.defaultdict(set)
        for place, line, _ in read_lines(path):
            words = [_split(word, place) for word in line.split()]
            if words:
                self._add(half_width(''.join(word for word, _ in words)), _Item(words, place))
        if not self._items:
            raise InputError('%s: no word in it; write a word or several words a line, each word or word/tag' % path)

    def _add(self, text, item):
        known = self._items.setdefault(text, item)
        if known.words != item.words:
            raise InputError('%s: is the same text as %s, with other words or tags; leave one of them out'
                             % (item.place, known.place))
        self._lengths[text[0]].add(len(text))

    def matches(self, text):
        """Yields (start, end, words of the item) of what the items take of a text without white space."""
        text, start = half_width(text), 0
        while start < len(text):
            for length in sorted(self._lengths.get(text[start], ()), reverse=True):
                item = self._items.get(text[start:start + length])
                if item:
                    yield start, start + length, item.words
                    start += length
                    break
            else:
                start += 1

    def apply(self, pairs):
        """The words of a text without white space, with what the items want in place of what the model says.

        A word of the model that an item cuts keeps its tag for what is left of it on either side. A word of an item
        without a tag has that of the model's word with its last character.

        Args:
            pairs: list of (word, tag), as the model found them.

        Returns:
            Another such list. Joined, the words are the same text.
        """
        text = ''.join(word for word, _ in pairs)
        ends, end = [], 0
        for word, _ in pairs:
            end += len(word)
            ends.append(end)

        def of_model(start, end):
            """What the model says of a part of the text, words at its borders cut."""
            while start < end:
                number = bisect.bisect_right(ends, start)
                stop = min(ends[number], end)
                yield text[start:stop], pairs[number][1]
                start = stop

        result, done = [], 0
        for start, end, words in self.matches(text):
            result += of_model(done, start)
            for word, tag in words:
                start += len(word)
                result.append((text[start - len(word):start], tag or pairs[bisect.bisect_left(ends, start)][1]))
            done = end
        return result + list(of_model(done, len(text)))


def _split(word, place):
    """(word, tag, '' if there is none) of `word` or `word/tag`; the tag comes after the last /."""
    if '/' not in word:
        return word, ''
    word, _, tag = word.rpartition('/')
    if not word or not tag:
        raise InputError('%s: a / without a word before it or a tag behind it; write word or word/tag' % place)
    return word, tag
