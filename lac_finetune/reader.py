# -*- coding: utf-8 -*-
"""Reads tagged sentences, makes units and labels. A unit is a word of the ELMo vocabulary, or an unknown piece of text.

A tagged file is UTF-8, one sentence a line: w1 w2 …<TAB>t1 t2 …. It has one of two schemes, and the tags show which:
whole words with bare tags (n), or units with labels (n-B begins a word, n-I continues it, O has no tag).
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import collections

from elmo.segment import Segmenter
from elmo.text import InputError, half_width, read_lines as text_lines
from lac_finetune.evaluation import OUTSIDE, chunks, split_label, stray

Sentence = collections.namedtuple('Sentence', 'words tags place')  # place is file:line
Example = collections.namedtuple('Example', 'ids labels')  # of the units of a sentence: two lists of int


class Units(object):
    """Cuts text into units and looks them up in an ELMo vocabulary.

    Both the text and the vocabulary are read in half width. So they agree, whether the vocabulary has ， or ,. The units
    themselves keep their width. If words of the vocabulary differ only in width, the most frequent one stands for all:
    models that were trained before have learnt no other. (Vocabulary.ids tells them apart, as pretraining does.)
    """

    def __init__(self, vocabulary):
        self._ids, self._unk, self._segmenter = vocabulary.half_width, vocabulary.unk, Segmenter(vocabulary)

    def cut(self, text):
        """The list of units of a text without white space. Joined, the units are the text."""
        return self._segmenter.cut(text)

    def ids(self, units):
        """Ids of a list of units in the vocabulary."""
        return [self._ids.get(half_width(unit), self._unk) for unit in units]

    def align(self, sentence):
        """The units of a gold Sentence, for training: (units, labels, number of units split at a gold border)."""
        tags, position = {}, 0  # {first character of a word: its tag}
        for word, tag in zip(sentence.words, sentence.tags):
            tags[position] = tag
            position += len(word)
        units, split, position = [], 0, 0
        for unit in self.cut(''.join(sentence.words)):
            start, position = position, position + len(unit)
            inside = [border - start for border in range(start + 1, position) if border in tags]
            if inside:
                split += 1
                units += [piece for first, last in zip([0] + inside, inside + [None])
                          for piece in self.cut(unit[first:last])]
            else:
                units.append(unit)
        labels, position = [], 0
        for unit in units:
            tag = tags.get(position, tag)
            labels.append(label(tag, position in tags))
            position += len(unit)
        return units, labels, split


def label(tag, begins):
    """The label of a unit of a word with this tag: n-B if it begins the word, else n-I."""
    return tag if tag == OUTSIDE else tag + ('-B' if begins else '-I')


def read_lines(path):
    """Yields (file:line, text) of each line of a file; InputError for an empty line."""
    for place, text, _ in text_lines(path):
        if not text.strip():
            raise InputError('%s: empty line; remove it' % place)
        yield place, text.rstrip('\r\n')


class _Scheme(object):
    """Whether the tags of a file are bare tags or labels; InputError if it has both."""

    def __init__(self):
        self.labelled = None

    def read(self, tag, place):
        """The bare tag of a tag or label."""
        bare, position = split_label(tag)
        if tag != OUTSIDE:
            if self.labelled not in (None, bool(position)):
                raise InputError('%s: %s is %s, but the tags before it are not; use n-B and n-I, or n, throughout'
                                 % (place, tag, 'a label' if position else 'a bare tag'))
            self.labelled = bool(position)
        return bare


def read_tagged(path):
    """The gold sentences of a file in either scheme: (list of Sentence with whole words and bare tags, stray I).

    `stray I` is the number of n-I that continue no n; each is read as the beginning of a word. InputError, with
    file:line, for an empty line, unequal numbers of words and tags, or mixed schemes.
    """
    sentences, scheme, strays = [], _Scheme(), 0
    for place, text in read_lines(path):
        columns = [column.split() for column in text.split('\t')]
        if len(columns) != 2 or not columns[0]:
            raise InputError('%s: expected words, a tab, tags; found %d columns' % (place, len(columns)))
        words, tags = columns
        if len(words) != len(tags):
            raise InputError('%s: %d words but %d tags' % (place, len(words), len(tags)))
        for tag in tags:
            scheme.read(tag, place)
        if scheme.labelled:
            strays += stray(tags)
            found = chunks(tags)
            words, tags = [''.join(words[start:end]) for start, end, _ in found], [tag for _, _, tag in found]
        sentences.append(Sentence(words, tags, place))
    if not sentences:
        raise InputError('%s: empty file; fill it' % path)
    return sentences, strays


def read_tags(path):
    """The bare tags of a tag file, in its order: one tag or label a line. A number before it is ignored."""
    tags, scheme = collections.OrderedDict(), _Scheme()
    for place, text in read_lines(path):
        tags[scheme.read(text.split()[-1], place)] = place
    if not tags:
        raise InputError('%s: empty file; give one tag a line' % path)
    return list(tags)


def check_tags(sentences, tags, path):
    """InputError, with file:line, for a tag of a sentence that is not among the tags of the file `path`."""
    known = set(tags)
    for sentence in sentences:
        for tag in sentence.tags:
            if tag not in known:
                raise InputError('%s: unknown tag %s; add it to %s or mend the line' % (sentence.place, tag, path))
