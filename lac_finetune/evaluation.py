# -*- coding: utf-8 -*-
"""From labels to words, and how good the words are: precision, recall and F1 of tagged spans of characters.

A label is a tag and a position: n-B begins a word that is an n, n-I continues it, O is a unit without a tag. Which is
which is read from the label itself.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

OUTSIDE = 'O'


def split_label(label):
    """Tag and position of a label: n-B -> (n, B); the untagged O, and a bare tag n -> (n, '')."""
    return (label[:-2], label[-1]) if label[:-2] and label[-2:] in ('-B', '-I') else (label, '')


def chunks(labels):
    """The chunks of a sequence of labels, each as (first unit, unit after the last, tag).

    B begins a chunk, I goes on with one of its tag. An I after another tag begins one too, as in conlleval and seqeval:
    nothing is lost, and gold against gold counts every chunk. An O is a chunk of its own.
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
    """How many of the labels are an I that continues nothing."""
    pairs = [split_label(label) for label in labels]
    return sum(1 for (before, _), (tag, position) in zip([(None, '')] + pairs, pairs)
               if position == 'I' and tag != before)


def spans(words):
    """The set of (first character, character after the last, tag) of [(word, tag)]; white space is no character."""
    result, end = set(), 0
    for word, tag in words:
        start, end = end, end + len(word)
        result.add((start, end, tag))
    return result


class Score(object):
    """Precision, recall and F1, micro-averaged over all the sentences added.

    Attributes:
        tagging: counts [correct, predicted, gold] of spans with their tag; those without (O) are not counted.
        segmentation: the same of spans alone.
    """

    def __init__(self):
        self.tagging, self.segmentation = [0, 0, 0], [0, 0, 0]

    def add(self, predicted, gold):
        """Adds a sentence: its predicted and gold words, two lists of (word, tag) over the same characters."""
        predicted, gold = spans(predicted), spans(gold)
        untagged = [{span[:2] for span in side} for side in (predicted, gold)]
        tagged = [{span for span in side if span[2] != OUTSIDE} for side in (predicted, gold)]
        for counts, (one, other) in ((self.segmentation, untagged), (self.tagging, tagged)):
            for place, number in enumerate((len(one & other), len(one), len(other))):
                counts[place] += number

    @property
    def f1(self):
        """F1 of tagging, in percent."""
        return 100 * ratios(self.tagging)[2]

    def __str__(self):
        values = tuple(100 * value for value in ratios(self.tagging) + ratios(self.segmentation)[2:])
        return str('precision %.2f recall %.2f F1 %.2f, segmentation F1 %.2f' % values)


def ratios(counts):
    """(precision, recall, F1) of [correct, predicted, gold]."""
    correct, predicted, gold = counts
    return correct / max(predicted, 1), correct / max(gold, 1), 2 * correct / max(predicted + gold, 1)
