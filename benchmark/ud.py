# -*- coding: utf-8 -*-
"""Makes two tasks for lac_gain.py of UD Chinese GSD: words and their tags (pos), and named entities (ner).

    tar xJf ud-lac.tar.xz
    python benchmark/ud.py ud-lac ud

The input has train.tsv, dev.tsv and test.tsv, `words<TAB>tags`, and in ner/ the same names, `characters<TAB>tags` with
the tags B-PER, I-PER … and O. The output has pos/ and ner/ as lac_finetune/reader.py reads them: whole words. In ner/ a
word is an entity, or all that stands between two of them, with the tag O. So only the borders of entities cut a unit of
ELMo, and F1 counts entities alone. Segmentation F1 says nothing there.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import itertools
import os
import re

from project import cli
from elmo.corpus import write_lines
from elmo.files import new_directory, refuse_existing
from elmo.text import InputError
from lac_finetune.evaluation import OUTSIDE, chunks
from lac_finetune.reader import Sentence, read_lines, read_tagged

PARTS = ('train', 'dev', 'test')


def entities(characters, tags, place):
    """The Sentence of characters with their tags B-X, I-X and O; InputError, with file:line, for any other tag."""
    unknown = [tag for tag in tags if tag != OUTSIDE and not re.match('[BI]-.', tag)]
    if unknown or len(characters) != len(tags):
        raise InputError('%s: expected characters, a tab, and for each character B-X, I-X or O; found %s'
                         % (place, unknown[0] if unknown else '%d and %d' % (len(characters), len(tags))))
    labels = [tag if tag == OUTSIDE else '%s-%s' % (tag[2:], tag[0]) for tag in tags]
    words, found = [], []
    for outside, group in itertools.groupby(chunks(labels), key=lambda chunk: chunk[2] == OUTSIDE):
        group = list(group)
        if outside:
            group = [(group[0][0], group[-1][1], OUTSIDE)]
        words += [''.join(characters[start:end]) for start, end, _ in group]
        found += [tag for _, _, tag in group]
    return Sentence(words, found, place)


def read_entities(path):
    """The sentences of a file of named entities: a list of Sentence."""
    sentences = []
    for place, line in read_lines(path):
        characters, _, tags = line.partition('\t')
        sentences.append(entities(characters.split(), tags.split(), place))
    return sentences


def main():
    parser = cli.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('input', help='directory with train.tsv, dev.tsv, test.tsv and ner/')
    parser.add_argument('output', help='a new directory, which gets pos/ and ner/')
    args = parser.parse_args()
    refuse_existing([args.output])
    with new_directory(args.output) as temporary:
        for name, source, read in (('pos', '', lambda path: read_tagged(path)[0]), ('ner', 'ner', read_entities)):
            os.mkdir(os.path.join(temporary, name))
            for part in PARTS:
                sentences = read(os.path.join(args.input, source, part + '.tsv'))
                write_lines(os.path.join(temporary, name, part + '.tsv'),
                            ['%s\t%s' % (' '.join(sentence.words), ' '.join(sentence.tags)) for sentence in sentences])
                print('%s: %s has %d sentences, %d words with a tag'
                      % (name, part, len(sentences), sum(tag != OUTSIDE for each in sentences for tag in each.tags)))


if __name__ == '__main__':
    cli.run(main)
