# -*- coding: utf-8 -*-
"""Exchange with bilm-tf: its LSTM gives the same vectors, and a checkpoint converted to it and back is the same."""
from __future__ import absolute_import, division, print_function, unicode_literals

import io
import json
import os
import resource
import signal
import sys

import h5py
import numpy as np
import pytest

from project import ROOT
from helpers import parameters, refused, run, run_command, same, write_lines
import bilm
from elmo import arrays, checkpoint, child
from elmo.embedder import Embedder
from elmo.text import InputError, Vocabulary
from numpy_bilm import sigmoid
from tools import convert

pytestmark = pytest.mark.usefixtures('fresh_scope')
WORDS = ['词3', '词0', '词7', '词19']


@pytest.fixture
def trained(corpus):
    run(corpus, max_steps=4)
    return corpus


def paths(corpus):
    return [str(corpus.directory.join(name)) for name in ('checkpoints', 'tf', 'back')]


def tensorflow_cell(x, source, options):
    """tf.nn.rnn_cell.LSTMCell with a projection, as documented: gates i, j, f, o, forget bias 1."""
    weights, bias, projection = [source[name][...] for name in ('W_0', 'B', 'W_P_0')]
    state, output, outputs = np.zeros(options['dim']), np.zeros(options['projection_dim']), []
    for row in x:
        i, j, f, o = np.split(np.concatenate([row, output]).dot(weights) + bias, 4)
        state = sigmoid(f + 1) * state + sigmoid(i) * np.tanh(j)
        state = np.clip(state, -options['cell_clip'], options['cell_clip'])
        output = np.clip((sigmoid(o) * np.tanh(state)).dot(projection), -options['proj_clip'], options['proj_clip'])
        outputs.append(output)
    return np.array(outputs)


def test_tensorflow_makes_the_same_vectors_of_the_weights(trained):
    ours, directory, _ = paths(trained)
    convert.to_bilm(ours, directory)
    with io.open(os.path.join(directory, 'options.json')) as handle:
        options = json.load(handle)
    assert options['bidirectional'] and options['n_tokens_vocab'] == 20
    vocabulary, halves = Vocabulary(trained.vocab_path), []
    ids = vocabulary.ids(['<S>'] + WORDS + ['</S>'])
    with h5py.File(os.path.join(directory, 'weights.hdf5'), 'r') as source:
        for number, read in enumerate((ids[:-1], ids[:0:-1])):
            x = source['embedding'][...][read]
            outputs = [x]
            for layer in range(options['lstm']['n_layers']):
                y = tensorflow_cell(x, source['RNN_%d/RNN/MultiRNNCell/Cell%d/LSTMCell' % (number, layer)],
                                    options['lstm'])
                x = y + x if layer and options['lstm']['use_skip_connections'] else y
                outputs.append(x)
            halves.append([output[1:][::-1 if number else 1] for output in outputs])
        assert source['softmax/W'].shape == (20, 4) and source['softmax/b'].shape == (20,)
    found, = Embedder(ours, vocabulary, 'all')([WORDS])
    np.testing.assert_allclose(found, [np.hstack(pair) for pair in zip(*halves)], atol=1e-6)


@pytest.mark.parametrize('rows', [3, 10 ** 6])  # in blocks, and all at once
def test_there_and_back(trained, monkeypatch, rows):
    for module in (arrays, convert):
        monkeypatch.setattr(module, 'ROWS', rows)
    ours, directory, back = paths(trained)
    convert.to_bilm(ours, directory)
    convert.from_bilm(directory, back, 0, 1)
    before, after = parameters(checkpoint.find(ours)), parameters(back)
    assert set(before) == set(after)
    for name in before:
        np.testing.assert_allclose(after[name], before[name], atol=1e-6, err_msg=name)
    assert bilm.read_config(back) == {name: value for name, value in bilm.read_config(checkpoint.find(ours)).items()
                                      if name != 'vocab_sha256'}
    run(trained, max_steps=1, load_pretraining_params=back, save_dir=trained.directory.join('more'))


def test_an_encoder_alone(trained):
    ours, directory, back = paths(trained)
    ours = checkpoint.find(ours)
    for name in ('softmax_weight', 'softmax_bias', 'manifest.json'):
        os.remove(os.path.join(ours, name))
    convert.to_bilm(ours, directory)
    convert.from_bilm(directory, back, 0, 1)
    assert sorted(os.listdir(back)) == sorted(set(os.listdir(ours)) - {'optimizer', 'train_state.json'} | {
        'manifest.json'})


def test_npz(trained):
    ours, output = paths(trained)[0], str(trained.directory.join('parameters.npz'))
    convert.to_npz(ours, output)
    expected = parameters(checkpoint.find(ours))
    with np.load(output) as found:
        assert set(found.files) == set(expected) and same(expected, found)


@pytest.mark.parametrize('rows', [3, 10 ** 6])
def test_another_vocabulary(trained, monkeypatch, rows):
    for module in (arrays, convert):
        monkeypatch.setattr(module, 'ROWS', rows)
    ours, _, back = paths(trained)
    old, config = Vocabulary(trained.vocab_path), bilm.read_config(checkpoint.find(ours))
    words = ['新', '词3', '</S>', '<UNK>', '词0', '<S>', '又', '词16']
    new = Vocabulary(write_lines(trained.directory.join('new.txt'), words))
    convert.to_vocabulary(ours, back, old.path, new.path)
    before, after = parameters(checkpoint.find(ours)), parameters(back)
    for name in ('embedding_para', 'softmax_weight', 'softmax_bias'):
        expected = [before[name][old.words.index(word)] if word in old.words else before[name].mean(axis=0)
                    for word in words]
        np.testing.assert_allclose(after.pop(name), expected, atol=1e-7)
    assert same(after, before)
    assert bilm.read_config(back) == dict(config, vocab_size=8, vocab_sha256=new.sha256, bos_id=5, eos_id=2)
    sentence = ['词3', '词0', '词16', '词3']
    np.testing.assert_array_equal(*[Embedder(path, vocabulary, 'all')([sentence])[0]
                                    for path, vocabulary in ((ours, old), (back, new))])


def test_the_rows_of_the_sentence_ends_are_those_of_the_vocabulary(trained, capsys, monkeypatch):
    ours, directory, back = paths(trained)
    convert.to_bilm(ours, directory)
    convert.from_bilm(directory, back, bos_id=1, eos_id=0)
    with pytest.raises(InputError, match='another vocabulary than .*: bos_id is 1 there, 0 here'):
        Embedder(back, Vocabulary(trained.vocab_path))
    monkeypatch.setattr('sys.argv', ['convert.py', 'from_bilm', directory, back + '2', '--eos_id', '0'])
    assert '--bos_id and --eos_id are both 0' in refused(capsys, convert.main)


@pytest.mark.parametrize('command, target, file', [('to_bilm', 'tf', 'weights.hdf5'), ('to_bilm', 'tf', 'options.json'),
                                                   ('to_npz', 'all.npz', '')])
def test_what_is_there_is_not_replaced(trained, capsys, monkeypatch, command, target, file):
    path = trained.directory.join(target, file)
    path.write('mine', ensure=True)
    monkeypatch.setattr('sys.argv', ['convert.py', command, paths(trained)[0], str(trained.directory.join(target))])
    assert '%s: is there already' % path in refused(capsys, convert.main) and path.read() == 'mine'


def test_a_vocabulary_of_another_checkpoint(trained, capsys, monkeypatch):
    ours, _, back = paths(trained)
    new = write_lines(trained.directory.join('new.txt'), ['<S>', '</S>', '<UNK>'])
    for flags, message in (([ours, back, '--vocab_path', new, '--new_vocab_path', new], 'was trained with another'),
                           ([ours, ours, '--vocab_path', trained.vocab_path, '--new_vocab_path', new],
                            'is there already')):
        monkeypatch.setattr('sys.argv', ['convert.py', 'to_vocabulary'] + flags)
        assert message in refused(capsys, convert.main) and not os.path.exists(back)


def test_bad_input(trained, capsys, monkeypatch):
    ours, directory, back = paths(trained)
    convert.to_bilm(ours, directory)

    def line(*args):
        monkeypatch.setattr('sys.argv', ['convert.py'] + list(args))
        found = refused(capsys, convert.main)
        assert not os.path.exists(back) and not os.path.exists(back + '.saving')
        return found

    for command in (['to_bilm', 'nowhere', back], ['to_npz', 'nowhere', back],
                    ['to_vocabulary', 'nowhere', back, '--new_vocab_path', trained.vocab_path]):
        assert ': error: CHECKPOINT nowhere: no such directory' in line(*command)
    assert 'nowhere' in line('from_bilm', 'nowhere', back)
    assert 'is there already' in line('from_bilm', directory, ours)
    options = trained.directory.join('tf', 'options.json')
    whole = json.loads(options.read())
    for change, message in (({'dim': 7}, 'has shape'), ({'n_layers': 3}, 'weights.hdf5: '),
                            ({'dim': 'x'}, 'hidden_size is'),
                            ({'use_skip_connections': False}, 'without skip connections')):
        options.write(json.dumps(dict(whole, lstm=dict(whole['lstm'], **change))))
        assert message in line('from_bilm', directory, back)
    options.write('[]')
    assert 'options.json: no biLM that fits here' in line('from_bilm', directory, back)
    options.write(json.dumps(whole))
    trained.directory.join('tf', 'weights.hdf5').write('x')
    assert 'weights.hdf5: not the weights' in line('from_bilm', directory, back)
    with pytest.raises(InputError):
        arrays.open_parameter(str(options))


@pytest.mark.parametrize('hidden_size, removed, problem', [
    (7, [], 'bw_layer1_gate_w has shape [4, 24] in the checkpoint, [4, 28] here'),
    (6, ['lstmp_0.w_0'], 'lstmp_0.w_0 is missing')])
def test_a_published_checkpoint_that_is_none(trained, capsys, monkeypatch, hidden_size, removed, problem):
    """That one has neither bilm.json nor manifest.json, and the published sizes: here tiny ones."""
    path, _, back = paths(trained)
    path = checkpoint.find(path)
    for name in ['bilm.json', 'manifest.json'] + removed:
        os.remove(os.path.join(path, name))
    for name, size in (('vocab_size', 20), ('embed_size', 4), ('hidden_size', hidden_size)):
        monkeypatch.setitem(bilm.PUBLISHED_CONFIG, name, size)
    for command in ('to_bilm', 'to_npz', 'to_vocabulary'):
        flags = ['--vocab_path', trained.vocab_path, '--new_vocab_path', trained.vocab_path]
        monkeypatch.setattr('sys.argv', ['convert.py', command, path, back] + flags * (command == 'to_vocabulary'))
        assert '%s: cannot be loaded: %s' % (path, problem) in refused(capsys, convert.main)
        assert not os.path.exists(back)


def test_without_h5py_nothing_is_written(trained, capsys, monkeypatch):
    ours, directory, _ = paths(trained)
    monkeypatch.setitem(sys.modules, str('h5py'), None)
    monkeypatch.setattr('sys.argv', ['convert.py', 'to_bilm', ours, directory])
    assert 'h5py is not installed' in refused(capsys, convert.main) and not os.path.exists(directory)


CELL = 'RNN_0/RNN/MultiRNNCell/Cell1/LSTMCell'


def replace(source, name, **dataset):
    del source[name]
    source.create_dataset(name, **dataset)


@pytest.mark.parametrize('change', [
    lambda source: source.pop('RNN_1'),
    lambda source: replace(source, CELL, data=1.),
    lambda source: (source.pop('embedding'), source.create_group('embedding')),
    lambda source: replace(source, 'embedding', data=1.),
    lambda source: replace(source, 'embedding', shape=(2 ** 40, 4), chunks=(9, 4), dtype='float32'),
    lambda source: replace(source, 'embedding', data=[[b'a'] * 4] * 20),
    lambda source: replace(source, CELL + '/B', data=[{}, b'x'][1:] * 24),
    lambda source: replace(source, 'softmax/W', shape=(20, 4), dtype=[(str('a'), 'f4')]),
    lambda source: replace(source, 'softmax', data=1.),
    lambda source: source.__setitem__('loop', h5py.SoftLink('/loop')) or source.pop('embedding') is None or
    source.__setitem__('embedding', h5py.SoftLink('/loop'))])
def test_weights_that_are_none(trained, capsys, monkeypatch, change):
    ours, directory, back = paths(trained)
    convert.to_bilm(ours, directory)
    with h5py.File(os.path.join(directory, 'weights.hdf5'), 'r+') as source:
        change(source)
    monkeypatch.setattr('sys.argv', ['convert.py', 'from_bilm', directory, back])
    assert directory in refused(capsys, convert.main)
    assert not [name for name in os.listdir(str(trained.directory)) if name.startswith('back')]


def test_weights_that_are_damaged(trained, capsys, monkeypatch):
    """Chunks with a checksum: what is damaged shows where it is read, when the target is begun."""
    ours, directory, back = paths(trained)
    convert.to_bilm(ours, directory)
    path = os.path.join(directory, 'weights.hdf5')
    with h5py.File(path, 'r+') as source:
        array = source['embedding'][...]
        replace(source, 'embedding', data=array, chunks=array.shape, fletcher32=True)
    with io.open(path, 'rb') as source:
        content = source.read()
    assert content.count(array.tobytes()) >= 1
    with io.open(path, 'wb') as output:
        output.write(content.replace(array.tobytes(), (array + 1).tobytes()))
    monkeypatch.setattr('sys.argv', ['convert.py', 'from_bilm', directory, back])
    assert 'weights.hdf5: not the weights' in refused(capsys, convert.main)
    assert not [name for name in os.listdir(str(trained.directory)) if name.startswith('back')]


@pytest.mark.parametrize('arguments, size', [
    (['to_bilm', 'tf'], 100), (['to_bilm', 'tf'], 700), (['to_npz', 'x.npz'], 700)])
def test_a_full_disk(trained, arguments, size):
    target = str(trained.directory.join(arguments[1]))
    code, output, errors = run_command(
        [sys.executable, os.path.join(ROOT, 'tools', 'convert.py'), arguments[0],
         checkpoint.find(paths(trained)[0]), target],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)))
    assert code == 2 and errors.count('\n') == 1 and 'cannot be written: File too large' in errors, errors[-300:]
    assert not output and not (os.path.exists(target) and os.listdir(target))


@pytest.mark.parametrize('error, expected', [(InputError('一 line'), InputError), (ValueError('x'), RuntimeError),
                                             (IOError(27, 'too large', 'w'), InputError),
                                             (SystemExit(0), RuntimeError), (None, type(None))])
def test_a_call_in_a_child_raises_what_the_child_has_raised(capfd, error, expected):
    def function():
        if error:
            raise error

    raised = None
    try:
        child.call(function, 'crashed')
    except (InputError, RuntimeError) as found:
        raised = found
    assert type(raised) is expected
    assert expected is not InputError or '%s' % raised in ('一 line', 'w: too large')
    assert ('ValueError: x' in capfd.readouterr().err) == isinstance(error, ValueError)


def test_weights_on_which_hdf5_crashes_are_refused(tmpdir, monkeypatch):
    def crash(*_):
        os.kill(os.getpid(), signal.SIGSEGV)

    directory = tmpdir.mkdir('tf')
    directory.join('options.json').write(json.dumps({'bidirectional': True, 'lstm': {'use_skip_connections': True}}))
    monkeypatch.setattr(convert, 'fill_from_bilm', crash)
    with pytest.raises(InputError) as error:
        convert.from_bilm(str(directory), str(tmpdir.join('made')), 0, 1)
    assert 'weights.hdf5: damaged: the library of HDF5 crashes on it' in str(error.value)
    assert tmpdir.listdir() == [directory]
