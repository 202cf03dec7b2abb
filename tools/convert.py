# -*- coding: utf-8 -*-
"""Exchanges checkpoints with bilm-tf and AllenNLP, writes one as a plain .npz, or gives it another vocabulary.

    to_bilm CHECKPOINT DIR    weights.hdf5 and options.json, as bilm-tf dumps them
    from_bilm DIR CHECKPOINT  the way back
    to_npz CHECKPOINT FILE    every parameter under its name
    to_vocabulary CHECKPOINT NEW_CHECKPOINT --vocab_path ITS --new_vocab_path NEW

weights.hdf5 holds RNN_0 (forward) and RNN_1 (backward), the rows of the vocabulary as `embedding`, and the softmax. So
it can be weight_file and embedding_weight_file of a biLM with token input. The gates of TensorFlow have another order,
and it adds 1 to the stored bias of its forget gates. What has a row for each word is copied in blocks of rows,
except into an .npz, which takes a whole parameter at a time.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import contextlib
import os

from project import cli
import numpy as np

import bilm
from elmo import checkpoint, child, flags, manifest
from elmo.arrays import ROWS, hdf5, import_h5py, npz, open_parameter, write_parameter
from elmo.files import new_directory, new_file, read_json, refuse_existing, write_json
from elmo.text import InputError, Vocabulary

TO_TENSORFLOW = (1, 0, 2, 3)  # ours: candidate, input, forget, output; TensorFlow's: input, candidate, forget, output
FORGET = 2
OF_WORDS = ('embedding_para',) + bilm.SOFTMAX_PARAMETERS  # a row for each word


def swap_gates(array):
    """Puts an array of gates [..., 4 * hidden] into the other order; a second swap restores it."""
    parts = np.split(array, 4, axis=-1)
    return np.concatenate([parts[number] for number in TO_TENSORFLOW], axis=-1)


def with_forget_bias(bias, more):
    """A bias [..., 4 * hidden] with `more` added to the forget gates; they are third in both orders."""
    hidden = bias.shape[-1] // 4
    bias = np.array(bias)
    bias[..., FORGET * hidden:(FORGET + 1) * hidden] += more
    return bias


def cells(config):
    """Yields (cell name in the HDF5 file, name of the input weight, prefix of the other parameters) of each layer."""
    for number, direction in enumerate(bilm.DIRECTIONS):
        for layer in range(1, config['num_layers'] + 1):
            yield ('RNN_%d/RNN/MultiRNNCell/Cell%d/LSTMCell' % (number, layer - 1),
                   bilm.gate_name(direction, layer), bilm.lstm_name(config, direction, layer))


def to_bilm(path, directory):
    """Makes a directory with weights.hdf5 and options.json of a checkpoint."""
    import_h5py()
    path = checkpoint.find(path, 'CHECKPOINT')
    config = checkpoint.read_whole(path)
    if not os.path.isdir(directory):
        try:
            os.makedirs(directory)
        except EnvironmentError as error:
            raise InputError('%s: cannot be written: %s' % (directory, error.strerror))

    def parameter(name):
        return open_parameter(os.path.join(path, name))

    with new_file(os.path.join(directory, 'weights.hdf5')) as temporary, hdf5(temporary) as write:
        for cell, gate, prefix in cells(config):
            weights = np.concatenate([parameter(gate), parameter(prefix + '.w_0')])
            write(cell + '/W_0', swap_gates(weights))
            write(cell + '/B', with_forget_bias(swap_gates(parameter(prefix + '.b_0')[0]), -1))
            write(cell + '/W_P_0', parameter(prefix + '.w_1'))
        for name, target in (('embedding_para', 'embedding'), ('softmax_weight', 'softmax/W'),
                             ('softmax_bias', 'softmax/b')):
            if os.path.exists(os.path.join(path, name)):  # an encoder alone has no softmax
                write(target, parameter(name))
    write_json(os.path.join(directory, 'options.json'), {
        'bidirectional': True, 'n_tokens_vocab': config['vocab_size'],
        'lstm': {'dim': config['hidden_size'], 'projection_dim': config['embed_size'],
                 'n_layers': config['num_layers'], 'cell_clip': config['cell_clip'], 'proj_clip': config['proj_clip'],
                 'use_skip_connections': True}})


def read_options(directory):
    """The config of the biLM in options.json, without vocab_size and ids; InputError if such a biLM does not fit."""
    path = os.path.join(directory, 'options.json')
    options = read_json(path)
    lstm = options.get('lstm') if isinstance(options, dict) else None
    if not isinstance(lstm, dict):
        raise InputError('%s: no biLM that fits here: no sizes of an LSTM in it' % path)
    if not lstm.get('use_skip_connections') or not options.get('bidirectional'):
        raise InputError('%s: no biLM that fits here: not bidirectional, or without skip connections' % path)
    return {ours: lstm.get(theirs) for ours, theirs in (
        ('embed_size', 'projection_dim'), ('hidden_size', 'dim'), ('num_layers', 'n_layers'),
        ('cell_clip', 'cell_clip'), ('proj_clip', 'proj_clip'))}


@contextlib.contextmanager
def hdf5_errors(path):
    """Turns what h5py raises where it reads a damaged file into an InputError."""
    try:
        yield
    except (EnvironmentError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise InputError('%s: not the weights of a biLM with token input as bilm-tf dumps them: %s' % (path, error))


class _Weight(object):
    """A dataset of an HDF5 file, float32 [rows, …] or another kind of numbers; InputError where it cannot be read."""

    def __init__(self, source, name):
        self._array, self._path, self.shape = source[name], source.filename, source[name].shape

    def __getitem__(self, part):
        with hdf5_errors(self._path):
            return self._array[part].astype('float32')


def check_weights(source, config, path):
    """InputError unless an open HDF5 file has all weights of a biLM with token input, with the sizes of the config."""
    embed_size, gates = config['embed_size'], 4 * config['hidden_size']
    shapes = {'embedding': (config['vocab_size'], embed_size)}
    for cell, _, _ in cells(config):
        shapes.update({cell + '/W_0': (2 * embed_size, gates), cell + '/B': (gates,),
                       cell + '/W_P_0': (config['hidden_size'], embed_size)})
    if 'softmax' in source:
        shapes.update({'softmax/W': shapes['embedding'], 'softmax/b': (config['vocab_size'],)})
    for name, shape in sorted(shapes.items()):
        weight = source.get(name)
        found, kind = getattr(weight, 'shape', None), getattr(getattr(weight, 'dtype', None), 'kind', 'f')
        if kind != 'f':
            raise InputError('%s: not the weights of a biLM with token input as bilm-tf dumps them: %s holds %s'
                             % (path, name, weight.dtype))
        if found != shape:
            raise InputError('%s: %s has shape %s, needed is %s; take weights and options that belong together'
                             % (path, name, list(found or []), list(shape)))


def from_bilm(directory, path, bos_id, eos_id):
    """Makes a checkpoint from weights.hdf5 and options.json; bos_id and eos_id are the rows of <S> and </S>."""
    if bos_id == eos_id:
        raise InputError('--bos_id and --eos_id are both %d; give the lines of <S> and </S>' % bos_id)
    weights, config = os.path.join(directory, 'weights.hdf5'), read_options(directory)
    with new_directory(path) as temporary:
        child.call(lambda: fill_from_bilm(directory, weights, dict(config, bos_id=bos_id, eos_id=eos_id), temporary),
                   '%s: damaged: the library of HDF5 crashes on it; copy it again' % weights)


def fill_from_bilm(directory, weights, config, target):
    """Writes a checkpoint of the weights, an HDF5 file, and the config without vocab_size into a directory."""
    h5py = import_h5py()
    with hdf5_errors(weights):
        source = h5py.File(weights, 'r')
    with source:
        with hdf5_errors(weights):
            rows = (getattr(source.get('embedding'), 'shape', None) or (0,))[0]
        config.update(vocab_size=rows)
        problem = bilm.config_problem(config)
        if problem:
            raise InputError('%s: no biLM that fits here: %s' % (directory, problem))
        config.update(cell_clip=float(config['cell_clip']), proj_clip=float(config['proj_clip']))
        with hdf5_errors(weights):
            check_weights(source, config, weights)
        write_parameters(source, config, target)
        write_json(os.path.join(target, 'bilm.json'), config)
        manifest.write(target)


def write_parameters(source, config, directory):
    """Writes the weights of an open HDF5 file as our parameters."""
    def write(name, array):
        write_parameter(os.path.join(directory, name), array)

    for cell, gate, prefix in cells(config):
        both = swap_gates(_Weight(source, cell + '/W_0')[...])
        write(gate, both[:config['embed_size']])
        write(prefix + '.w_0', both[config['embed_size']:])
        write(prefix + '.w_1', _Weight(source, cell + '/W_P_0'))
        write(prefix + '.b_0', swap_gates(with_forget_bias(_Weight(source, cell + '/B')[...], 1))[None])
    write('embedding_para', _Weight(source, 'embedding'))
    if 'softmax' in source:
        write('softmax_weight', _Weight(source, 'softmax/W'))
        write('softmax_bias', _Weight(source, 'softmax/b'))


class _Rows(object):
    """A parameter [words, …] made of rows of another one on disk. An id below 0 means the mean of all rows."""

    def __init__(self, array, ids):
        self._array, self._ids, self.shape = array, ids, (len(ids),) + array.shape[1:]
        self._mean = sum(array[start:start + ROWS].sum(axis=0, dtype='float64')
                         for start in range(0, array.shape[0], ROWS)) / array.shape[0]

    def __getitem__(self, part):
        ids = self._ids[part]
        rows = np.array(self._array[np.maximum(ids, 0)])
        rows[ids < 0] = self._mean
        return rows


def to_vocabulary(path, target, vocab_path, new_vocab_path):
    """Makes a checkpoint with another vocabulary. Shared words keep their rows; new words start at the mean of all."""
    path = checkpoint.find(path, 'CHECKPOINT')
    vocabulary, new = checkpoint.vocabulary_of(path, vocab_path), Vocabulary(new_vocab_path)
    config = checkpoint.read_whole(path, vocabulary)
    id_of = {word: id for id, word in enumerate(vocabulary.words)}
    ids = np.array([id_of.get(word, -1) for word in new.words])
    with new_directory(target) as temporary:
        for name in sorted(set(bilm.parameter_shapes(config)) & set(os.listdir(path))):
            array = open_parameter(os.path.join(path, name))
            write_parameter(os.path.join(temporary, name), _Rows(array, ids) if name in OF_WORDS else array)
        write_json(os.path.join(temporary, 'bilm.json'), dict(
            config, vocab_size=len(new), vocab_sha256=new.sha256, bos_id=new.bos, eos_id=new.eos))
        manifest.write(temporary)
    shared = int((ids >= 0).sum())
    print('%d words: %d keep their rows, %d are new; %d are left out'
          % (len(new), shared, len(new) - shared, len(vocabulary) - shared))


def to_npz(path, output):
    """Writes every parameter of a checkpoint under its name."""
    path = checkpoint.find(path, 'CHECKPOINT')
    names = sorted(set(bilm.parameter_shapes(checkpoint.read_whole(path))) & set(os.listdir(path)))
    with new_file(output) as temporary, npz(temporary) as write:
        for name in names:
            write(name, open_parameter(os.path.join(path, name)))


def parse_args():
    parser = cli.ArgumentParser(__doc__.splitlines()[0], 'python tools/convert.py to_bilm checkpoints bilm_tf')
    commands = parser.add_subparsers(dest='command')
    commands.required = True
    for name, source, target, description in (
            ('to_bilm', 'CHECKPOINT', 'DIR', 'write weights.hdf5 and options.json'),
            ('from_bilm', 'DIR', 'CHECKPOINT', 'make a checkpoint of weights.hdf5 and options.json'),
            ('to_npz', 'CHECKPOINT', 'FILE', 'write every parameter under its name'),
            ('to_vocabulary', 'CHECKPOINT', 'NEW_CHECKPOINT', 'make a checkpoint with another vocabulary')):
        command = commands.add_parser(name, help=description, description=description)
        command.add_argument('source', metavar=source)
        command.add_argument('target', metavar=target)
        if name == 'from_bilm':
            command.add_argument('--bos_id', type=cli.non_negative_int, default=0,
                                 help='line of <S> in the vocabulary, from 0')
            command.add_argument('--eos_id', type=cli.non_negative_int, default=1, help='that of </S>')
        if name == 'to_vocabulary':
            flags.vocab_path(command)
            command.add_argument('--new_vocab_path', required=True, help='vocabulary of the new checkpoint')
    return parser.parse_args()


def main():
    args = parse_args()
    args.target = args.target.rstrip(os.sep)
    refuse_existing([os.path.join(args.target, name) for name in ('weights.hdf5', 'options.json')]
                    if args.command == 'to_bilm' else [args.target])
    if args.command == 'to_bilm':
        to_bilm(args.source, args.target)
    elif args.command == 'from_bilm':
        from_bilm(args.source, args.target, args.bos_id, args.eos_id)
    elif args.command == 'to_vocabulary':
        to_vocabulary(args.source, args.target, args.vocab_path, args.new_vocab_path)
    else:
        to_npz(args.source, args.target)
    print('wrote %s' % args.target)


if __name__ == '__main__':
    cli.run(main)
