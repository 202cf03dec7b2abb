# -*- coding: utf-8 -*-
"""Tagged files and raw text become units and labels, labels become words, and words get a score."""
from __future__ import absolute_import, division, print_function, unicode_literals

import os
import re
import sys

import numpy as np
import pytest

from project import ROOT
from helpers import write_lines
from elmo.batching import length_buckets
from elmo.text import HALF_WIDTH, InputError, Vocabulary, half_width
from lac_finetune.evaluation import Score, chunks, split_label, stray
from lac_finetune.reader import Sentence, Units, read_tagged, read_tags

LABELS = ['n-B', 'n-I', 'v-B', 'v-I', 'nr-B', 'nr-I', 'O']


@pytest.fixture
def units(tmpdir):
    words = ['<S>', '</S>', '<UNK>', '，', '的', '北京', '大学', '北京大学', '学生', '生活', '1998年', 'Ａ股', '(', '中']
    return Units(Vocabulary(write_lines(tmpdir.join('vocabulary.txt'), words)))


def test_half_width_of_every_full_width_ascii_character():
    full = ''.join(chr_(code) for code in range(0xff01, 0xff5f))
    assert half_width(full) == ''.join(chr_(code) for code in range(0x21, 0x7f))
    assert half_width('\u3000') == ' ' and len(HALF_WIDTH) == 95
    assert half_width('。、“”《》—…·中A1') == '。、“”《》—…·中A1'


def chr_(code):
    return ('\\u%04x' % code).encode('ascii').decode('unicode_escape')


def test_text_and_vocabulary_agree_in_any_width(units):
    for text, ids in (('北京大学，', [7, 3]), ('北京大学,', [7, 3]), ('１９９８年', [10]), ('1998年', [10]),
                      ('A股Ａ股', [11, 11]), ('(（', [12, 12]), ('龙', [2])):
        found = units.cut(text)
        assert ''.join(found) == text and units.ids(found) == ids
    assert 2 in units.ids(units.cut('<UNK>')) and 0 not in units.ids(units.cut('<S></S>'))


def test_no_character_is_lost(units):
    random = np.random.RandomState(1)
    alphabet = '北京大学生活中的，,（(1１aＡ％。…—\u200b\ufeff\u0301é龙<UNK>'
    for _ in range(200):
        text = ''.join(random.choice(list(alphabet), random.randint(1, 30)))
        assert ''.join(units.cut(text)) == text


def test_align(units):
    def align(text, tags):
        return units.align(Sentence(text.split(), tags.split(), 'file:1'))

    assert align('北京大学 的 学生', 'nt u n') == (['北京大学', '的', '学生'], ['nt-B', 'u-B', 'n-B'], 0)
    assert align('龙王的 学生', 'n n') == (['龙', '王', '的', '学生'], ['n-B', 'n-I', 'n-I', 'n-B'], 0)
    # 北京大学 crosses the border between two words: it is split there, and the pieces are cut again
    assert align('北京 大学', 'ns n') == (['北京', '大学'], ['ns-B', 'n-B'], 1)
    assert align('北京大 学', 'ns n')[0] == ['北京', '大', '学']
    assert align('中 O', 'O O') == (['中', 'O'], ['O', 'O'], 0)


def test_two_schemes_say_the_same(tmpdir):
    bare = write_lines(tmpdir.join('bare'), ['北京大学 的 学生\tnt u n', '生活\tO'])
    labelled = write_lines(tmpdir.join('labelled'), ['北京 大学 的 学 生\tnt-B nt-I u-B n-B n-I', '生活\tO'])
    one, other = read_tagged(bare), read_tagged(labelled)
    assert [sentence[:2] for sentence in one[0]] == [sentence[:2] for sentence in other[0]]
    assert one[1] == other[1] == 0
    # I that continue nothing
    path = write_lines(tmpdir.join('stray'), ['北京 大学 的\tn-I v-I v-I'])
    assert read_tagged(path) == ([Sentence(['北京', '大学的'], ['n', 'v'], path + ':1')], 2)


def test_tag_file_in_any_order_and_form(tmpdir):
    for number, lines in enumerate((['v', 'n', 'O'], ['v-I', 'n-B', 'v-B', 'O', 'n-I'],
                                    ['7\tv-B', '0\tn-I', '3\tO', '2\tv-I', '9\tn-B'])):
        tags = read_tags(write_lines(tmpdir.join('tags%d' % number), lines))
        assert len(tags) == 3 and set(tags) == {'v', 'n', 'O'}


@pytest.mark.parametrize('lines, place', [
    (['中\tn', '中 的\tn'], ':2: 2 words but 1 tags'),
    (['中\tn', '', '的\tu'], ':2: empty line'),
    (['中 n'], ':1: expected words, a tab, tags; found 1 columns'),
    (['中\tn\tn'], ':1: expected words, a tab, tags; found 3 columns'),
    (['\t'], ':1: empty line'),
    (['中\tn', '的\tu-B'], ':2: u-B is a label'),
    (['中\tn-B', '的\tu'], ':2: u is a bare tag'),
    ([], ': empty file'),
])
def test_malformed_tagged_files(tmpdir, lines, place):
    path = write_lines(tmpdir.join('bad.tsv'), lines)
    with pytest.raises(InputError) as error:
        read_tagged(path)
    assert path + place in error.value.args[0]


@pytest.mark.parametrize('lines, place', [(['n', ''], ':2: empty line'), (['n', 'v-B'], ':2: v-B is a label'),
                                          ([], ': empty file')])
def test_malformed_tag_files(tmpdir, lines, place):
    path = write_lines(tmpdir.join('tags'), lines)
    with pytest.raises(InputError) as error:
        read_tags(path)
    assert path + place in error.value.args[0]


def test_batches_hold_each_sentence_once_and_like_lengths():
    lengths = np.random.RandomState(1).randint(1, 60, 500)
    found = length_buckets(lengths, 300, np.random.RandomState(2))
    assert sorted(np.concatenate(found)) == list(range(500))
    assert max(lengths[batch].sum() for batch in found) < 300 + 60
    assert np.mean([np.ptp(lengths[batch]) for batch in found]) < 3
    again, other = [length_buckets(lengths, 300, np.random.RandomState(seed)) for seed in (2, 3)]
    assert np.concatenate(again).tolist() == np.concatenate(found).tolist() != np.concatenate(other).tolist()


def expected_chunks(labels):
    """The rule of chunks() as a regular expression, with one letter for each label; without O."""
    kinds = sorted({split_label(label)[0] for label in labels} - {'O'})
    text = ''.join(' ' if label == 'O' else chr_(0x41 + 2 * kinds.index(label[:-2]) + (label[-1] == 'I'))
                   for label in labels)
    pattern = '|'.join('[%s%s]%s*' % (chr_(0x41 + 2 * k), chr_(0x42 + 2 * k), chr_(0x42 + 2 * k))
                       for k in range(len(kinds)))
    return [(match.start(), match.end(), kinds[(ord(match.group()[0]) - 0x41) // 2])
            for match in re.finditer(pattern, text) if pattern]


def random_labels():
    random = np.random.RandomState(1)
    return [list(random.choice(LABELS, random.randint(1, 12))) for _ in range(500)]


def test_chunks_of_random_labels():
    for labels in random_labels():
        found = chunks(labels)
        assert [chunk for chunk in found if chunk[2] != 'O'] == expected_chunks(labels)
        assert [place for first, last, _ in found for place in range(first, last)] == list(range(len(labels)))


@pytest.mark.skipif(sys.version_info < (3, 7), reason='seqeval is for Python 3.7')
def test_chunks_and_score_are_those_of_seqeval():
    from seqeval import metrics
    gold, predicted, score = random_labels(), [], Score()
    random = np.random.RandomState(2)
    for labels in gold:
        predicted.append([label if random.rand() < 0.7 else random.choice(LABELS) for label in labels])
        score.add(*[words_of(side) for side in (predicted[-1], labels)])
        entities = metrics.sequence_labeling.get_entities(labels, suffix=True)
        assert [chunk for chunk in chunks(labels) if chunk[2] != 'O'] == [
            (first, last + 1, str(tag)) for tag, first, last in entities]
    assert abs(score.f1 / 100 - metrics.f1_score(gold, predicted, suffix=True)) < 1e-9
    correct, found, wanted = score.tagging
    assert abs(correct / found - metrics.precision_score(gold, predicted, suffix=True)) < 1e-9
    assert abs(correct / wanted - metrics.recall_score(gold, predicted, suffix=True)) < 1e-9


def words_of(labels):
    """[(word, tag)] of labels; each unit is one character."""
    return [('x' * (last - first), tag) for first, last, tag in chunks(labels)]


def test_gold_against_gold_counts_every_chunk():
    score, number = Score(), 0
    for labels in random_labels():
        score.add(words_of(labels), words_of(labels))
        number += len([chunk for chunk in chunks(labels) if chunk[2] != 'O'])
    assert score.tagging == [number] * 3 and score.f1 == 100


def test_score_of_known_words():
    score = Score()
    score.add([('北京', 'ns'), ('大学', 'n'), ('的', 'u')], [('北京大学', 'nt'), ('的', 'u')])
    score.add([('学生', 'v')], [('学生', 'n')])
    assert score.tagging == [1, 4, 3] and score.segmentation == [2, 4, 3]
    assert str(score) == 'precision 25.00 recall 33.33 F1 28.57, segmentation F1 57.14'
    assert str(Score()) == 'precision 0.00 recall 0.00 F1 0.00, segmentation F1 0.00'


def test_stray():
    assert [stray(labels.split()) for labels in ('n-B n-I', 'n-I n-I', 'n-B v-I', 'O n-I', 'n-B n-B', '')] == [
        0, 1, 1, 1, 0, 0]


def test_the_sample():
    directory = os.path.join(ROOT, 'lac_finetune')
    known = set(read_tags(os.path.join(directory, 'conf', 'pku_tags.txt')))
    total = 0
    for part in ('train', 'dev', 'test'):
        sentences, strays = read_tagged(os.path.join(directory, 'data', part + '.tsv'))
        assert strays == 0 and {tag for sentence in sentences for tag in sentence.tags} <= known
        total += len(sentences)
    assert total == 60
