# -*- coding: utf-8 -*-
"""What Python users call: several models at once, several threads, what is refused, words to ids and back."""
from __future__ import absolute_import, division, print_function, unicode_literals

import io
import json
import os
import shutil
import subprocess
import sys
import threading

import numpy as np
import paddle.fluid as fluid
import pytest
import six

from project import ROOT
from helpers import make_checkpoint, run_command, write_lines
import bilm
from elmo import Embedder, InputError, Segmenter, Tagger, Vocabulary, pad, to_lod
from lac_finetune import network, tagger
from lac_finetune.reader import Units

pytestmark = pytest.mark.usefixtures('fresh_scope')
CPU = fluid.CPUPlace()
WORDS = ['我', '的', '弟弟', '在', '上海', '工作', '。', '123', 'A']
LABELS = ['r-B', 'r-I', 'u-B', 'u-I', 'n-B', 'n-I']
TEXTS = ['我的弟弟在上海工作。', '', '上海 的\u3000弟弟', '我１２３Ａ在' * 9, '龙', '弟弟的工作在上海。' * 3]
SENTENCES = [['我', '的', '弟弟'], ['上海'], [], ['龙', '在', '上海', '工作', '。'] * 3]


@pytest.fixture
def vocabulary(tmpdir):
    return Vocabulary(write_lines(tmpdir.join('vocabulary.txt'), ['<S>', '</S>', '<UNK>'] + WORDS))


def make_model(directory, vocabulary, seed):
    """A model directory with random parameters, and ELMo in it; returns its path."""
    make_checkpoint(directory.join('elmo'), vocabulary)
    with io.open(str(directory.join('elmo', 'bilm.json')), encoding='utf-8') as config:
        elmo = json.load(config)
    sizes = {'vocab_size': len(vocabulary), 'num_labels': len(LABELS), 'word_emb_dim': 4, 'grnn_hidden_dim': 4,
             'bigru_num': 1, 'vocab_sha256': vocabulary.sha256, 'elmo': elmo}
    path, random, scope = str(directory.join('model%d' % seed)), np.random.RandomState(seed), fluid.Scope()
    with fluid.scope_guard(scope):
        program, _ = network.decoding_program(sizes, whole=True)
        for parameter in program.all_parameters():
            scope.var(parameter.name).get_tensor().set(random.randn(*parameter.shape).astype('float32'), CPU)
        tagger.save(fluid.Executor(CPU), path, vocabulary, LABELS,
                    {'sizes': sizes, 'batch_tokens': 60, 'max_length': 20}, path + '.new')
    return path


@pytest.fixture
def models(tmpdir, vocabulary):
    """Two model directories of the same sizes and other parameters."""
    return [make_model(tmpdir, vocabulary, seed) for seed in (1, 2)]


def test_taggers_do_not_share_parameters(models):
    one = Tagger(models[0], place=CPU)
    alone = one(TEXTS)
    other = Tagger(models[1], place=CPU)
    assert one(TEXTS) == alone != other(TEXTS)
    assert fluid.global_scope().find_var('crf') is None  # the scope is the user's


def test_embedders_do_not_share_parameters(tmpdir, vocabulary):
    for name, size in (('one', 6), ('two', 5)):
        make_checkpoint(tmpdir.join(name), vocabulary, hidden_size=size)
    one = Embedder(str(tmpdir.join('one')), vocabulary, place=CPU)
    alone = one(SENTENCES)
    other = Embedder(str(tmpdir.join('two')), vocabulary, place=CPU)
    for found, expected, different in zip(one(SENTENCES), alone, other(SENTENCES)):
        np.testing.assert_array_equal(found, expected)
        assert not len(found) or np.abs(found - different).max() > 0
    assert fluid.global_scope().find_var('embedding_para') is None


def in_threads(functions):
    """Calls functions at the same time, each in a thread; returns their results. The test fails after 100 seconds."""
    results, errors = [None] * len(functions), []

    def call(number):
        try:
            results[number] = functions[number]()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=call, args=(number,)) for number in range(len(functions))]
    for thread in threads:
        thread.daemon = True
        thread.start()
    for thread in threads:
        thread.join(100)
    assert not errors and not any(thread.is_alive() for thread in threads)
    return results


def test_threads_share_a_tagger(models):
    runs = [Tagger(path, place=CPU) for path in models]
    expected = [run(TEXTS) for run in runs]
    found = in_threads([lambda run=run: [run(TEXTS) for _ in range(20)] for run in runs * 2])
    assert found == [[tagged] * 20 for tagged in expected * 2]


def test_threads_share_an_embedder(tmpdir, vocabulary):
    make_checkpoint(tmpdir.join('elmo'), vocabulary)
    embedder = Embedder(str(tmpdir.join('elmo')), vocabulary, batch_tokens=5, place=CPU)
    expected = embedder(SENTENCES)
    for results in in_threads([lambda: [embedder(SENTENCES) for _ in range(20)]] * 4):
        for found in results:
            for one, other in zip(found, expected):
                np.testing.assert_array_equal(one, other)


def test_threads_load_models(tmpdir, models, vocabulary):
    """While the main program of the user is what it was."""
    make_checkpoint(tmpdir.join('other'), vocabulary)
    mine = fluid.default_main_program()

    def embed():
        return [len(vectors) for vectors in Embedder(str(tmpdir.join('other')), vocabulary, place=CPU)(SENTENCES)]

    def tag(path):
        return Tagger(path, place=CPU)(TEXTS)

    expected = [tag(models[0]), tag(models[1]), embed()]
    found = in_threads([lambda: tag(models[0]), lambda: tag(models[1]), embed] * 2)
    assert found == expected * 2
    assert fluid.default_main_program() is mine and not mine.global_block().ops


@pytest.mark.parametrize('sentences', ['我的弟弟', ['我的弟弟'], [[1, 2, 3]], [['我'], 5], [['我', '<S>']], 7,
                                       [['我', '</S>', '的']], [['我'.encode('utf-8')]], [[['我']]], None])
def test_what_an_embedder_refuses(tmpdir, vocabulary, sentences):
    make_checkpoint(tmpdir.join('elmo'), vocabulary)
    embedder = Embedder(str(tmpdir.join('elmo')), vocabulary, place=CPU)
    with pytest.raises(InputError) as error:
        embedder(sentences)
    message = error.value.args[0]
    assert '\n' not in message and ('<S>' if '<S>' in repr(sentences) else '</S>' if '</S>' in repr(sentences)
                                    else 'list of words') in message


@pytest.mark.parametrize('other', ['vocabulary.txt', ['我'], None])
def test_what_is_no_vocabulary(tmpdir, vocabulary, other):
    make_checkpoint(tmpdir.join('elmo'), vocabulary)
    with pytest.raises(InputError) as error:
        Embedder(str(tmpdir.join('elmo')), other, place=CPU)
    assert 'give Vocabulary(path)' in error.value.args[0] and '\n' not in error.value.args[0]
    with pytest.raises(InputError) as error:
        Embedder(None, vocabulary)
    assert 'Embedder wants a path' in error.value.args[0]
    with pytest.raises(InputError) as error:
        Embedder(str(tmpdir.join('elmo')), vocabulary, 'avg', place=CPU)
    assert 'average, mix, top, all' in error.value.args[0]
    for path in (['<S>', '</S>', '<UNK>'], 3, None, {}):
        with pytest.raises(InputError) as error:
            Vocabulary(path)
        assert 'path' in error.value.args[0]


def test_text_is_cut_in_one_way(vocabulary):
    segmenter, units = Segmenter(vocabulary), Units(vocabulary)
    assert segmenter.cut('我１２３Ａ在\u3000123A') == ['我', '１２３', 'Ａ', '在', '123', 'A']
    assert vocabulary.ids(['１２３', 'Ａ', '123', 'A', '１']) == [10, 11, 10, 11, 2]
    random, alphabet = np.random.RandomState(1), list('我的弟在上海工作1２３123ＡA，,．。<S>＜/ＵＮＫ＞龙')
    for _ in range(300):
        text = ''.join(random.choice(alphabet, random.randint(1, 30)))
        words = segmenter.cut(text)
        assert ''.join(words) == text and words == units.cut(text) == segmenter(text)
        assert vocabulary.ids(words) == units.ids(words)


def test_a_vocabulary_with_both_widths(tmpdir):
    """A word has the id that it had in pretraining; what the vocabulary lacks has that of its other width."""
    words = ['<S>', '</S>', '<UNK>', '，', ',', '１９', '(', '（', '1股', 'Ｂ']
    vocabulary = Vocabulary(write_lines(tmpdir.join('vocabulary.txt'), words))
    assert vocabulary.ids(words) == list(range(10))
    assert vocabulary.ids(['19', '１股', 'B', '1９', '＜S＞', '＜UNK＞', '19股', '']) == [5, 8, 9, 5, 2, 2, 2, 2]
    for given in (vocabulary, words[3:]):
        assert Segmenter(given).cut('1９,１股Ｂ（') == ['1９', ',', '１股', 'Ｂ', '（']


def test_reserved_tokens_in_raw_text_are_text(vocabulary):
    words = Segmenter(vocabulary).cut('我<S>的</S><UNK>＜S＞')
    assert ''.join(words) == '我<S>的</S><UNK>＜S＞'
    assert not {'<S>', '</S>', '<UNK>', '＜S＞'} & set(words) and not {0, 1} & set(vocabulary.ids(words))


def test_a_path_may_be_a_plain_string(tmpdir, vocabulary):
    """In Python 2 that is bytes."""
    make_checkpoint(tmpdir.join('elmo'), vocabulary)
    directory = os.path.join(six.text_type(tmpdir), '模型')
    os.rename(str(tmpdir.join('elmo')), directory)
    shutil.copy(vocabulary.path, os.path.join(directory, 'vocabulary.txt'))
    plain = six.ensure_str(directory)
    assert bilm.read_config(plain) == bilm.read_config(directory)
    bilm.check_files(plain, bilm.read_config(plain))
    assert Vocabulary(os.path.join(plain, str('vocabulary.txt'))).words == vocabulary.words
    np.testing.assert_array_equal(*[Embedder(path, vocabulary, place=CPU)([['我']])[0] for path in (plain, directory)])


def test_words_to_ids_and_back(vocabulary):
    words = ['我', '<UNK>', '。', '<S>', '</S>']
    assert vocabulary.words_of(vocabulary.ids(words)) == words
    assert vocabulary.words_of(vocabulary.ids(['龙', '１２３'])) == ['<UNK>', '123']
    assert vocabulary.words_of(np.array([3, 4])) == ['我', '的'] and vocabulary.words_of([]) == []
    for ids, message in (([3, 12], '12'), ([-1], '-1'), (['3'], 'list of ids'), ([1.5], 'list of ids'),
                         (3, 'list of ids'), ([True], 'list of ids'), ([[3]], 'list of ids'), ('我', 'list of ids')):
        with pytest.raises(InputError) as error:
            vocabulary.words_of(ids)
        assert message in error.value.args[0]


def test_what_is_fed():
    """fluid's own operator sees the sentences that went in, also empty ones."""
    sentences = [[3, 4, 5], [], [7]]
    tensor = to_lod(sentences)
    assert tensor.recursive_sequence_lengths() == [[3, 0, 1]] and tensor._dtype() == fluid.core.VarDesc.VarType.INT64
    np.testing.assert_array_equal(np.array(tensor), [[3], [4], [5], [7]])
    assert to_lod([np.array([3, 4])], CPU).recursive_sequence_lengths() == [[2]]
    assert np.array(to_lod([[]])).shape == (0, 1)
    with pytest.raises(InputError):
        to_lod([])
    program = fluid.Program()
    with fluid.program_guard(program, fluid.Program()):
        word = bilm.data('word', [None, 1], dtype='int64', lod_level=1)
        sums = bilm.ops.sequence_pool(bilm.ops.cast(word, 'float32'), 'sum')
    found, = fluid.Executor(CPU).run(program, {'word': tensor}, [sums])
    np.testing.assert_array_equal(found, [[12], [0], [7]])


def test_padding():
    ids, mask = pad([[3, 4, 5], [], (7,)], 9)
    assert (ids.dtype, mask.dtype) == ('int64', 'float32')
    np.testing.assert_array_equal(ids, [[3, 4, 5], [9, 9, 9], [7, 9, 9]])
    np.testing.assert_array_equal(mask, [[1, 1, 1], [0, 0, 0], [1, 0, 0]])
    assert pad([])[0].shape == (0, 0) and pad([[], []])[1].shape == (2, 0) and pad([[1]])[0].tolist() == [[1]]


@pytest.mark.parametrize('function', [pad, to_lod])
@pytest.mark.parametrize('sentences', [[3, 4], [['我']], '我', ['我'], 3, None, [[1.5]], [[[1]]], [[1], 2], [[True]],
                                       [[1, 2 ** 70]], [[1, [2]]]])
def test_what_is_no_list_of_lists_of_ids(function, sentences):
    with pytest.raises(InputError) as error:
        function(sentences)
    assert 'a list of lists of ids is wanted' in error.value.args[0]


def test_a_tagger_runs_as_lac_does(models):
    tagger = Tagger(models[0], place=CPU)
    pairs, run = tagger(TEXTS), tagger.run
    expected = [[[word for word, _ in sentence], [tag for _, tag in sentence]] for sentence in pairs]
    assert run(TEXTS) == run(tuple(TEXTS)) == expected and run([]) == []
    assert [run(text) for text in TEXTS] == expected and expected[1] == [[], []]
    assert [''.join(words) for words, _ in expected] == [''.join(text.split()) for text in TEXTS]
    words = [words for words, _ in expected]
    assert run(TEXTS, mode='seg') == Tagger(models[0], 'seg', CPU).run(TEXTS) == words
    assert run(TEXTS[0], mode='seg') == words[0] and Tagger(models[0], 'seg', CPU).run(TEXTS[0], 'lac') == expected[0]


def test_a_tagger_honours_a_dictionary(tmpdir, models):
    """Whatever the model says, in Python and on the command line, alone and in a batch; white space is a border."""
    path = write_lines(tmpdir.join('words.txt'), ['弟弟在/x', '工/y 作'])
    tagger = Tagger(models[0], place=CPU, dictionary=path)
    texts = ['我的弟弟在上海工作。', '弟弟 在工作', '', '上海']
    plain = Tagger(models[0], place=CPU)
    results = tagger.run(texts)
    assert [tagger.run(text) for text in texts] == results and results != plain.run(texts)
    words, tags = results[0]
    assert ''.join(words) == texts[0] and tags[words.index('弟弟在')] == 'x' and tags[words.index('工')] == 'y'
    assert words[words.index('工') + 1] == '作'
    assert '弟弟在' not in results[1][0] and results[1][0][-2:] == ['工', '作']
    assert results[3] == plain.run(texts[3])
    process = subprocess.Popen([sys.executable, 'lac_finetune/infer.py', '--model_dir', models[0], '--use_gpu', 'False',
                                '--dictionary', path, '-'], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    output = process.communicate('\n'.join(texts).encode('utf-8'))[0].decode('utf-8')
    assert output.splitlines() == [' '.join(map('/'.join, zip(*found))) for found in results]


def test_what_a_tagger_refuses(tmpdir, models):
    run = Tagger(models[0], place=CPU).run
    for texts in (3, None, [3], ['我', None], [['我']], '我'.encode('utf-8')):
        with pytest.raises(InputError) as error:
            run(texts)
        assert 'a text or a list of texts is wanted' in error.value.args[0]
    for call in (lambda: run('我', mode='rank'), lambda: Tagger(models[0], 'tag', CPU)):
        with pytest.raises(InputError) as error:
            call()
        assert "'lac' or 'seg'" in error.value.args[0]
    for directory in (3, None):
        with pytest.raises(InputError):
            Tagger(directory)
    with pytest.raises(InputError, match='batch_tokens: a whole number from 1 is wanted, got -5'):
        Tagger(models[0], place=CPU, batch_tokens=-5)
    with pytest.raises(InputError, match='a path'):
        Tagger(models[0], place=CPU, dictionary=3)


def test_python_and_the_command_say_the_same(tmpdir, models):
    """In batches of any size, in any order, and for a text alone."""
    expected = Tagger(models[0], place=CPU).run(TEXTS)
    lines = [' '.join(map('/'.join, zip(*found))) for found in expected]
    for batch_tokens, order in ((1, 1), (7, -1), (1000, 1)):
        run = Tagger(models[0], place=CPU, batch_tokens=batch_tokens).run
        assert run(TEXTS) == run(TEXTS[::-1])[::-1] == [run(text) for text in TEXTS] == expected
        code, output, errors = run_command(
            [sys.executable, os.path.join(ROOT, 'lac_finetune', 'infer.py'), '--model_dir', models[0], '--use_gpu',
             'False', '--batch_tokens', str(batch_tokens), write_lines(tmpdir.join('raw.txt'), TEXTS[::order])])
        assert (code, output.split('\n')) == (0, lines[::order] + ['']), errors


def test_what_a_segmenter_refuses():
    for words in (['我 们'], ['我', '']):
        with pytest.raises(InputError, match='is no word to segment by'):
            Segmenter(words)
    for words in ('vocabulary.txt', [3], 3, ['我', None]):
        with pytest.raises(InputError) as error:
            Segmenter(words)
        assert 'a Vocabulary or a list of words is wanted' in error.value.args[0]
    for text in (3, None, ['我'], '我'.encode('utf-8')):
        with pytest.raises(InputError) as error:
            Segmenter(['我']).cut(text)
        assert 'one text is wanted' in error.value.args[0]
