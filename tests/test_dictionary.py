# -*- coding: utf-8 -*-
"""A user's dictionary against cases written by hand."""
from __future__ import absolute_import, division, print_function, unicode_literals

import pytest

from helpers import refused, write_lines
from elmo.text import InputError
from lac_finetune import infer
from lac_finetune.dictionary import Dictionary

SAID = '春天/t 的/u 花开/v 秋天/t 的/u 风/n'


def pairs(text):
    return [tuple(word.rsplit('/', 1)) for word in text.split()]


@pytest.mark.parametrize('lines, expected', [
    # One word with a tag, and one whose tag is the model's.
    (['春天/SEASON'], '春天/SEASON 的/u 花开/v 秋天/t 的/u 风/n'),
    (['春天'], SAID),
    # Several words in place of one, of which the last has the model's tag.
    (['花/n 开'], '春天/t 的/u 花/n 开/v 秋天/t 的/u 风/n'),
    # One word in place of several. Its tag is that of the model's word with its last character.
    (['秋天的风'], '春天/t 的/u 花开/v 秋天的风/n'),
    # A word of the model that an item cuts keeps its tag, before it and behind it.
    (['天的/x'], '春/t 天的/x 花开/v 秋/t 天的/x 风/n'),
    (['开秋'], '春天/t 的/u 花/v 开秋/t 天/t 的/u 风/n'),
    # The longest item that begins at a place.
    (['春/a', '春天/b', '春天的花/c'], '春天的花/c 开/v 秋天/t 的/u 风/n'),
    # From left to right: what begins first is taken, though what overlaps it is longer.
    (['的花/a', '花开秋天的风/b'], '春天/t 的花/a 开/v 秋天/t 的/u 风/n'),
    # Next to each other, at the beginning and at the end; the same line twice; an empty line.
    (['春天的/a', '', '花/b 开/c', '春天的/a', '风/d'], '春天的/a 花/b 开/c 秋天/t 的/u 风/d'),
    # Not in the text, longer than what is left of it, or in another order.
    (['冬天/x', '风花/x', '花开春天/x'], SAID),
])
def test_by_hand(tmpdir, lines, expected):
    dictionary = Dictionary(write_lines(tmpdir.join('words.txt'), lines))
    assert dictionary.apply(pairs(SAID)) == pairs(expected)
    assert dictionary.apply([]) == []


def test_width_and_slashes(tmpdir):
    """Either width is found, and the text keeps its own. The tag comes after the last /."""
    dictionary = Dictionary(write_lines(tmpdir.join('words.txt'), ['ＡB１/nz', '1/2/m', '//w']))
    assert dictionary.apply([('aAb', 'n'), ('Ａ', 'x'), ('Ｂ1', 'y')]) == [('aAb', 'n'), ('ＡＢ1', 'nz')]
    assert dictionary.apply([('1', 'a'), ('/', 'b'), ('2/', 'c')]) == [('1/2', 'm'), ('/', 'w')]


@pytest.mark.parametrize('inputs', [[], ['-'], ['a.txt', '-']])
def test_standard_input_is_not_both_text_and_dictionary(capsys, inputs):
    flags = ['--model_dir', 'model', '--dictionary', '-']
    assert '--dictionary - ' in refused(capsys, lambda: infer.parse_args(flags + inputs))
    assert infer.parse_args(flags + ['a.txt']).dictionary == '-'


@pytest.mark.parametrize('lines, message', [
    ([], 'words.txt: no word in it'), ([' ', ''], 'words.txt: no word in it'),
    (['好', '春天/'], 'words.txt:2: a / without'), (['/n'], 'words.txt:1: a / without'),
    (['花/n 开/v', '花开/n'], 'words.txt:2: is the same text as'), (['花/n', '花/v'], 'words.txt:1, with other words')])
def test_what_is_no_dictionary_is_refused(tmpdir, lines, message):
    with pytest.raises(InputError) as error:
        Dictionary(write_lines(tmpdir.join('words.txt'), lines))
    assert message in str(error.value)
