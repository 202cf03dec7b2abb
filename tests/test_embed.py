# -*- coding: utf-8 -*-
"""Vectors of a text: the values equal numpy, the usual readers read the files, order and numbers are kept."""
from __future__ import absolute_import, division, print_function, unicode_literals

import io
import os
import resource
import sys

import h5py
import numpy as np
import pytest

from project import ROOT
from helpers import parameters, random_sentences, refused, run, run_command, write_lines
import bilm
from elmo import arrays, checkpoint
from elmo.embedder import Embedder
from elmo.text import InputError, Vocabulary
import numpy_bilm
from tools import embed, neighbours

pytestmark = pytest.mark.usefixtures('fresh_scope')
LINES = ['词3 词0', '', '词1', '词2 词19 词5 词4 词6 词7 词8', '  词3\u3000词0 ']


@pytest.fixture
def trained(corpus):
    run(corpus, max_steps=2)
    return corpus


def expected_layers(corpus, tokens):
    """Layers 0..L of a sentence, [layers, tokens, 2 * embed_size], by numpy."""
    path, vocabulary = checkpoint.find(str(corpus.directory.join('checkpoints'))), Vocabulary(corpus.vocab_path)
    values, config = parameters(path), bilm.read_config(path)
    ids = vocabulary.ids(['<S>'] + tokens + ['</S>'])
    fw, bw = [numpy_bilm.layer_outputs(part, direction, values, config)
              for part, direction in ((ids[:-1], 'fw'), (ids[1:], 'bw'))]
    return np.array([np.hstack([forward[1:], backward[:-1]]) for forward, backward in zip(fw, bw)])


def embedder(corpus, *args, **kwargs):
    return Embedder(str(corpus.directory.join('checkpoints')), Vocabulary(corpus.vocab_path), *args, **kwargs)


@pytest.mark.parametrize('options, message', [
    ({'mix': [.1, .1, .8, 5.]}, "mix belongs to layers='mix', got layers='average'"),
    ({'layers': 'mix'}, "mix belongs to layers='mix'"),
    ({'layers': 'mix', 'mix': ['a'] * 4}, 'a list of numbers is wanted'),
    ({'layers': 'mix', 'mix': .5}, 'a list of numbers is wanted'),
    ({'batch_tokens': 0}, 'batch_tokens: a whole number from 1 is wanted, got 0'),
    ({'max_length': -1}, 'max_length: a whole number from 1 is wanted, got -1'),
    ({'max_length': 2.5}, 'max_length: a whole number from 1 is wanted, got 2.5')])
def test_what_an_embedder_refuses(trained, options, message):
    with pytest.raises(InputError, match=message):
        embedder(trained, **options)


def test_a_mix_may_be_an_array(trained):
    np.testing.assert_array_equal(*[embedder(trained, 'mix', mix)([['我']])[0]
                                    for mix in ([.5, .25, .25, 2.], np.array([.5, .25, .25, 2.]))])


@pytest.mark.parametrize('layers, mix', [('all', None), ('top', None), ('average', None),
                                         ('mix', [0.5, 0.3, 0.2, 1.5])])
def test_vectors_equal_numpy(trained, layers, mix):
    sentences = [line.split() for line in LINES]
    found = embedder(trained, layers, mix, batch_tokens=5)(sentences)
    for tokens, vectors in zip(sentences, found):
        if not tokens:
            assert vectors.size == 0
            continue
        expected = expected_layers(trained, tokens)
        if layers != 'all':
            shares = {'top': [0, 0, 1], 'average': [1 / 3] * 3, 'mix': [0.75, 0.45, 0.3]}[layers]
            expected = np.tensordot(shares, expected, 1)
        np.testing.assert_allclose(vectors, expected, atol=1e-5)
    assert embedder(trained, layers, mix)([]) == []


def test_an_overlong_sentence_is_read_in_pieces(trained):
    tokens = ['词%d' % (number % 15) for number in range(10)]
    one, = embedder(trained, 'all', max_length=4)([tokens])
    pieces = embedder(trained, 'all')([tokens[:4], tokens[4:8], tokens[8:]])
    np.testing.assert_allclose(one, np.concatenate(pieces, axis=1), atol=1e-6)


def command(corpus, *args, **options):
    """Runs embed.py: (exit code, lines on stdout, lines on stderr)."""
    code, output, errors = run_command(
        [sys.executable, os.path.join(ROOT, 'tools', 'embed.py'),
         '--checkpoint', str(corpus.directory.join('checkpoints', '000002')), '--vocab_path', corpus.vocab_path,
         '--use_gpu', 'False'] + list(args), env=dict(os.environ, GLOG_minloglevel='3', CPU_NUM='1'), **options)
    return code, output.splitlines(), errors.splitlines()


def test_files(trained):
    directory, sentences = trained.directory, [line.split() for line in LINES]
    text = write_lines(directory.join('text.txt'), LINES)
    names = {name: str(directory.join(name)) for name in ('all.npz', 'all.h5', 'top.npz', 'top.h5', 'tokens.txt')}
    for layers in ('all', 'top'):
        vectors = embedder(trained, layers)(sentences)
        code, output, errors = command(trained, text, '--layers', layers, '--output', names[layers + '.npz'])
        assert code == 0 and '5 sentences, 12 tokens' in output[-1], errors
        with np.load(names[layers + '.npz']) as found:
            assert sorted(found.files) == ['0', '1', '2', '3', '4']
            for number, expected in enumerate(vectors):
                np.testing.assert_allclose(found['%d' % number], expected, atol=1e-6)
        # from standard input, in other batches, as float16
        code, output, errors = command(trained, '--layers', layers, '--output', names[layers + '.h5'],
                                       '--dtype', 'float16', '--batch_tokens', '1', '--tokens', names['tokens.txt'],
                                       text='\n'.join(LINES).encode('utf-8'))
        assert code == 0, errors
        with h5py.File(names[layers + '.h5'], 'r') as found:
            assert sorted(found) == ['0', '1', '2', '3', '4'] and found['0'].dtype == np.float16
            assert found['0'].shape == (3 if layers == 'all' else 1, 2, 8) and found['1'].shape[1] == 0
            for number, expected in enumerate(vectors):
                np.testing.assert_allclose(found['%d' % number][...].reshape(expected.shape), expected, atol=2e-3)
    with io.open(names['tokens.txt'], encoding='utf-8') as handle:
        assert [line.split() for line in handle] == sentences


@pytest.mark.parametrize('batch_tokens', [2560, 30, 1])
def test_the_command_and_python_have_the_same_numbers(trained, batch_tokens):
    """Bit for bit, where the batches are the same. With others the last digits may differ, as docs/embeddings.md says.

    With one sentence a batch they are the same in any order, and for a sentence alone.
    """
    lines = random_sentences(['词%d' % number for number in range(20)], 40, seed=4) + LINES
    sentences, path = [line.split() for line in lines], str(trained.directory.join('vectors.npz'))
    model = embedder(trained, 'all', batch_tokens=batch_tokens)
    code, _, errors = command(trained, '--layers', 'all', '--output', path, '--batch_tokens', str(batch_tokens),
                              text='\n'.join(lines).encode('utf-8'))
    assert code == 0, errors
    with np.load(path) as found:
        written = [found['%d' % number] for number in range(len(lines))]
    near = 0 if batch_tokens == 1 else 1e-6
    alone = [model([sentence])[0] for sentence in sentences]
    for vectors, difference in ((model(sentences), 0), (model(sentences[::-1])[::-1], near), (alone, near)):
        for one, other in zip(written, vectors):
            np.testing.assert_allclose(one, other, rtol=0, atol=difference)


def test_raw_text_is_cut_with_the_vocabulary(trained):
    names = [str(trained.directory.join(name)) for name in ('raw.npz', 'tokens.txt')]
    code, _, errors = command(trained, '--raw', '--output', names[0], '--tokens', names[1],
                              text='词1词12 词３x\n<S>\n'.encode('utf-8'))
    assert code == 0, errors
    with io.open(names[1], encoding='utf-8') as handle:
        assert handle.read() == '词1 词12 词３ x\n< S >\n'
    expected, = embedder(trained, 'average')([['词1', '词12', '词3', 'x']])
    np.testing.assert_allclose(np.load(names[0])['0'], expected, atol=1e-6)


def test_bad_use(trained, capsys, monkeypatch):
    output = trained.directory.join('vectors.npz')
    for args, message in (
            (['--output', 'vectors.txt'], 'expected NAME.npz or NAME.h5'),
            (['--output', '-'], '--output -: expected NAME.npz or NAME.h5'),
            (['--output', str(output), '--layers', 'mix'], '--layers mix and --mix belong together'),
            (['--output', str(output), '--layers', 'mix', '--mix', '1', '1'], 'wants 3 shares above 0'),
            (['--output', str(output), '--layers', 'mix', '--mix', '1', '0', '1', '1'], 'wants 3 shares above 0'),
            (['--output', str(output), '--layers', 'mix', '--mix', 'nan', '1', '1', '1'], 'all finite'),
            (['--output', str(output), '--layers', 'mix', '--mix', '1', 'inf', '1', '1'], 'all finite'),
            (['--output', str(output), '--layers', 'mix', '--mix', '1', '1', '1', '1e39'], 'all finite'),
            (['--output', str(output), 'nowhere.txt'], 'no file matches'),
            (['--output', str(output), '--tokens', str(output)], 'vectors.npz: is --output too; choose another'),
            (['--output', str(output), '--tokens', trained.test_path, trained.test_path], 'is input, and would be re'),
            (['--output', str(trained.directory.join('none', 'vectors.npz')), trained.test_path], 'cannot be written'),
            (['--output', str(output), write_lines(trained.directory.join('bad.txt'), ['词1', '<S> 词2'])],
             'bad.txt:2: ')):
        monkeypatch.setattr('sys.argv', ['embed.py', '--checkpoint', str(trained.directory.join('checkpoints')),
                                         '--vocab_path', trained.vocab_path, '--use_gpu', 'False'] + args)
        assert message in refused(capsys, embed.main)
        assert os.path.getsize(trained.test_path) and not output.exists()
        assert not trained.directory.join('vectors.npz.tmp').exists()


def test_h5py_may_be_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, 'h5py', None)
    with pytest.raises(InputError) as error:
        with arrays.hdf5('vectors.h5'):
            pass
    assert 'python -m pip install h5py' in str(error.value)


@pytest.mark.parametrize('same', [False, True])
def test_nearest_words_in_context(trained, same):
    """The same words as by sorting all cosines, with an embedder whose vectors are known."""
    lines = ['词%d 词1 词%d' % (number % 7, number % 5) for number in range(40)] + ['', '词9 词1']
    table = np.random.RandomState(0).randn(60, 4)

    def embedder(sentences):
        return [np.array([table[(len(words) + 3 * place + 5 * int(word[1:])) % 60]
                          for place, word in enumerate(words)]).reshape(-1, 4)
                for words in sentences]

    sentence = ['词9', '词1']
    placed = [('text:%d' % number, line) for number, line in enumerate(lines, 1)]
    blocks = [(placed[:15], 0), (placed[15:], 0)]
    found = neighbours.nearest(embedder, sentence, '词1', blocks, 6, same)
    wanted, cosines = embedder([sentence])[0][1], []
    for number, line in enumerate(lines, 1):
        for place, (word, vector) in enumerate(zip(line.split(), embedder([line.split()])[0] if line else [])):
            if line.split() != sentence and (word == '词1' or not same):
                cosines.append(vector.dot(wanted) / np.linalg.norm(vector) / np.linalg.norm(wanted))
    np.testing.assert_allclose([entry[0] for entry in found], sorted(cosines, reverse=True)[:6])
    for cosine, place, position, words in found:
        assert words == dict(placed)[place].split() and (not same or words[position] == '词1')


def test_neighbours_looks_at_its_arguments_before_the_model(capsys, monkeypatch, tmpdir):
    text = write_lines(tmpdir.join('text.txt'), ['词1'])
    for word, path, message in (('词5', text, '词5: does not occur in the sentence, whose words are: 词9 词1'),
                                ('词1', str(tmpdir.join('none')), 'none: no file matches')):
        monkeypatch.setattr('sys.argv', ['neighbours.py', '词9 词1', word, '--text', path, '--checkpoint', 'nowhere'])
        assert message in refused(capsys, neighbours.main)


@pytest.mark.parametrize('flags, found', [([], 'no other sentence;'), (['--same'], 'no other sentence with 词1;')])
def test_neighbours_without_a_hit(trained, capsys, monkeypatch, flags, found):
    lines = ['词1 词2', ''] + ['词3 词4'] * bool(flags)
    monkeypatch.setattr('sys.argv', [
        'neighbours.py', '词1 词2', '词1', '--text', write_lines(trained.directory.join('text.txt'), lines),
        '--checkpoint', str(trained.directory.join('checkpoints')), '--vocab_path', trained.vocab_path,
        '--use_gpu', 'False'] + flags)
    assert found in refused(capsys, neighbours.main)


def limit_files(size):
    """For preexec_fn: a longer file cannot be written, as on a full disk; Python ignores the signal that comes too."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


@pytest.mark.parametrize('name', ['vectors.h5', 'vectors.npz'])
@pytest.mark.parametrize('size', [100, 500, 9000])
def test_a_full_disk(trained, name, size):
    text = write_lines(trained.directory.join('text.txt'), LINES * 20)
    before = os.listdir(str(trained.directory))
    code, output, errors = command(trained, text, '--output', str(trained.directory.join(name)),
                                   preexec_fn=limit_files(size))
    assert (code, len(errors)) == (2, 1) and name + ': cannot be written: File too large' in errors[0], errors[-3:]
    assert not output and os.listdir(str(trained.directory)) == before


def test_hdf5_into_a_pipe(trained):
    path = str(trained.directory.join('vectors.h5'))
    os.mkfifo(path)
    code, _, errors = command(trained, trained.test_path, '--output', path)
    assert (code, len(errors)) == (2, 1) and 'vectors.h5: cannot be written: Illegal seek' in errors[0], errors


def test_it_is_told_what_cannot_be_read(trained):
    """Linux has files that can be opened, and then not read."""
    code, _, errors = command(trained, '/proc/self/mem', '--output', str(trained.directory.join('vectors.npz')))
    assert (code, len(errors)) == (2, 1)
    assert errors[0].endswith('error: /proc/self/mem: cannot be read: Input/output error')


@pytest.mark.parametrize('redirection', ['<&-', '0>/dev/null'])
@pytest.mark.parametrize('script', ['tools/embed.py', 'data/prepare.py'])
def test_standard_input_is_closed(trained, script, redirection):
    if script == 'tools/embed.py':
        more = ['--checkpoint', str(trained.directory.join('checkpoints', '000002')), '--use_gpu', 'False',
                '--vocab_path', trained.vocab_path, '--output', str(trained.directory.join('vectors.npz'))]
    else:
        more = ['--output', str(trained.directory.join('out'))]
    code, _, errors = run_command(['sh', '-c', 'timeout -s KILL 60 "$0" "$@" ' + redirection, sys.executable,
                                   os.path.join(ROOT, script), '-'] + more)
    assert code == 2 and errors.count('\n') == 1 and 'standard input is closed' in errors, errors
