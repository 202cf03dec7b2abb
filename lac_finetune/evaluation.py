# -*- coding: utf-8 -*-
"""Turns labels into words and scores the words: precision, recall and F1 of tagged spans of characters.

A label is a tag and a position: n-B begins a word with the tag n, n-I continues it, O is a unit without a tag. The form
of the label tells them apart.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import collections

import numpy as np

OUTSIDE = 'O'
NO_WORD = '(no word)'  # in the confusion table, if one side has no word with these borders


def split_label(label):
    """Tag and position of a label: n-B -> (n, B). The position of O and of a bare tag is ''."""
    return (label[:-2], label[-1]) if label[:-2] and label[-2:] in ('-B', '-I') else (label, '')


def chunks(labels):
    """The chunks of a sequence of labels, each as (first unit, unit after the last, tag).

    B begins a chunk, and I continues a chunk of its tag. An I after another tag begins a chunk too, as in conlleval and
    seqeval. So no unit is lost, and gold against gold counts every chunk. Each O is one chunk.
    """
    result, last = [], None
    for place, label in enumerate(labels):
        tag, position = split_label(label)
        if position == 'I' and tag == last:
            result[-1] = (result[-1][0], place + 1, tag)
        else:
            result.append((place, place + 1, tag))
        last = tag
    return result


def stray(labels):
    """The number of labels I that continue nothing."""
    pairs = [split_label(label) for label in labels]
    return sum(1 for (before, _), (tag, position) in zip([(None, '')] + pairs, pairs)
               if position == 'I' and tag != before)


def spans(words):
    """The set of (first character, character after the last, tag) of [(word, tag)]; white space does not count."""
    result, end = set(), 0
    for word, tag in words:
        start, end = end, end + len(word)
        result.add((start, end, tag))
    return result


class Score(object):
    """Precision, recall and F1, micro-averaged over all the sentences added.

    Attributes:
        tagging: counts [correct, predicted, gold] of spans with their tags; spans without a tag (O) do not count.
        segmentation: the same counts of spans without regard to tags.
        confusion: {(gold tag, predicted tag): spans}.
    """

    def __init__(self):
        self.tagging, self.segmentation, self.confusion = [0, 0, 0], [0, 0, 0], collections.Counter()

    def add(self, predicted, gold):
        """Adds a sentence: its predicted and gold words, two lists of (word, tag) over the same characters."""
        predicted, gold = spans(predicted), spans(gold)
        untagged = [{span[:2] for span in side} for side in (predicted, gold)]
        tagged = [{span for span in side if span[2] != OUTSIDE} for side in (predicted, gold)]
        for counts, (one, other) in ((self.segmentation, untagged), (self.tagging, tagged)):
            for place, number in enumerate((len(one & other), len(one), len(other))):
                counts[place] += number
        tags = [{span[:2]: span[2] for span in side} for side in (gold, predicted)]
        self.confusion.update(tuple(side.get(span, NO_WORD) for side in tags) for span in untagged[0] | untagged[1])

    def metrics(self):
        """Precision, recall and F1 of tagging and F1 of segmentation by name, in percent."""
        names = ('precision', 'recall', 'f1', 'segmentation_f1')
        return dict(zip(names, (100 * value for value in ratios(self.tagging) + ratios(self.segmentation)[2:])))

    @property
    def f1(self):
        """F1 of tagging, in percent."""
        return self.metrics()['f1']

    def __str__(self):
        return str('precision %(precision).2f recall %(recall).2f F1 %(f1).2f, segmentation F1 %(segmentation_f1).2f'
                   % self.metrics())

    def confusion_table(self):
        """(list of the tags, int64 [tags, tags]): how many spans of each gold tag (row) got each tag (column).

        The most frequent gold tags come first, NO_WORD last.
        """
        total = collections.Counter()
        for (gold, predicted), number in self.confusion.items():
            total[gold] += number
            total[predicted] += 0
        tags = sorted(total, key=lambda tag: (tag == NO_WORD, -total[tag], tag))
        return tags, np.array([[self.confusion[gold, predicted] for predicted in tags] for gold in tags], dtype='int64')

    def errors(self, number):
        """The most frequent confusions of one tag with another: [(gold tag, predicted tag, spans)]."""
        pairs = [(-spans, gold, predicted) for (gold, predicted), spans in self.confusion.items()
                 if gold != predicted and NO_WORD not in (gold, predicted)]
        return [(gold, predicted, -spans) for spans, gold, predicted in sorted(pairs)[:number]]


def ratios(counts):
    """(precision, recall, F1) of [correct, predicted, gold]."""
    correct, predicted, gold = counts
    return correct / max(predicted, 1), correct / max(gold, 1), 2 * correct / max(predicted + gold, 1)
