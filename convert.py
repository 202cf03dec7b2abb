# -*- coding: utf-8 -*-
"""Exchanges checkpoints with bilm-tf and AllenNLP, writes one as a plain .npz, or gives it another vocabulary.

    python convert.py to_bilm CHECKPOINT DIR    weights.hdf5 and options.json, as bilm-tf dumps them
    python convert.py from_bilm DIR CHECKPOINT  the way back
    python convert.py to_npz CHECKPOINT FILE    every parameter under its name
    python convert.py to_vocabulary CHECKPOINT NEW_CHECKPOINT --vocab_path ITS --new_vocab_path NEW

weights.hdf5 holds RNN_0 (forward) and RNN_1 (backward), the rows of the vocabulary as `embedding`, and the softmax. So it
serves as weight_file and as embedding_weight_file of a biLM with token input. TensorFlow's gates come in another order
and its forget gates are biased by 1 more than is stored. Large parameters go through a block of rows at a time.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import io
import os
import struct

import numpy as np
from paddle.fluid.proto import framework_pb2

import bilm
import checkpoint
import cli
import embed
from files import new_file, read_json, write_json
from reader import InputError, Vocabulary

ROWS = 4096  # of a parameter at a time
TO_TENSORFLOW = (1, 0, 2, 3)  # ours: candidate, input, forget, output; TensorFlow's: input, candidate, forget, output
FORGET = 2
OF_WORDS = ('embedding_para',) + bilm.SOFTMAX_PARAMETERS  # a row for each word


def swap_gates(array):
    """An array of gates [..., 4 * hidden] in the other order; the same swap leads there and back."""
    parts = np.split(array, 4, axis=-1)
    return np.concatenate([parts[number] for number in TO_TENSORFLOW], axis=-1)


def with_forget_bias(bias, more):
    """A bias [..., 4 * hidden] with `more` added at the forget gates, which stand third in both orders."""
    hidden = bias.shape[-1] // 4
    bias = np.array(bias)
    bias[..., FORGET * hidden:(FORGET + 1) * hidden] += more
    return bias


def open_parameter(path):
    """The parameter in a file of fluid.io.save_vars as an array on disk; InputError if it is not a whole one."""
    try:
        shape = bilm.read_shape(path)
    except ValueError as error:
        raise InputError('%s; take another checkpoint' % error)
    return np.memmap(path, dtype='<f4', mode='r', offset=os.path.getsize(path) - 4 * int(np.prod(shape)), shape=shape)


def write_parameter(path, array):
    """Writes an array, perhaps one on disk, as fluid.io.save_vars does; see bilm.read_shape for the layout."""
    tensor = framework_pb2.VarType.TensorDesc()
    tensor.data_type = framework_pb2.VarType.FP32
    tensor.dims.extend(array.shape)
    description = tensor.SerializeToString()
    with io.open(path, 'wb') as output:
        output.write(struct.pack(str('<IQIi'), 0, 0, 0, len(description)) + description)
        for start in range(0, array.shape[0], ROWS):
            output.write(np.ascontiguousarray(array[start:start + ROWS], dtype='<f4').tobytes())


def cells(config):
    """(name of the cell in the HDF5 file, name of its input weight, prefix of its other parameters) of each layer."""
    for number, direction in enumerate(bilm.DIRECTIONS):
        for layer in range(1, config['num_layers'] + 1):
            yield ('RNN_%d/RNN/MultiRNNCell/Cell%d/LSTMCell' % (number, layer - 1),
                   bilm.gate_name(direction, layer), bilm.lstm_name(config, direction, layer))


def to_bilm(path, directory):
    """Writes weights.hdf5 and options.json of a checkpoint into a directory, which is made."""
    path = checkpoint.find(path)
    config, h5py = checkpoint.read_config(path), embed.import_h5py()
    checkpoint.check(path)
    if not os.path.isdir(directory):
        os.makedirs(directory)

    def parameter(name):
        return open_parameter(os.path.join(path, name))

    with new_file(os.path.join(directory, 'weights.hdf5')) as temporary, \
            h5py.File(temporary, 'w') as output:
        for cell, gate, prefix in cells(config):
            weights = np.concatenate([parameter(gate), parameter(prefix + '.w_0')])
            output[cell + '/W_0'] = swap_gates(weights)
            output[cell + '/B'] = with_forget_bias(swap_gates(parameter(prefix + '.b_0')[0]), -1)
            output[cell + '/W_P_0'] = parameter(prefix + '.w_1')
        for name, target in (('embedding_para', 'embedding'), ('softmax_weight', 'softmax/W'),
                             ('softmax_bias', 'softmax/b')):
            if os.path.exists(os.path.join(path, name)):  # an encoder alone has no softmax
                array = parameter(name)
                dataset = output.create_dataset(target, array.shape, dtype='float32')
                for start in range(0, array.shape[0], ROWS):
                    dataset[start:start + ROWS] = array[start:start + ROWS]
    write_json(os.path.join(directory, 'options.json'), {
        'bidirectional': True, 'n_tokens_vocab': config['vocab_size'],
        'lstm': {'dim': config['hidden_size'], 'projection_dim': config['embed_size'],
                 'n_layers': config['num_layers'], 'cell_clip': config['cell_clip'], 'proj_clip': config['proj_clip'],
                 'use_skip_connections': True}})


def from_bilm(directory, path, bos_id, eos_id):
    """Makes a checkpoint of weights.hdf5 and options.json in a directory; bos_id and eos_id are rows of <S> and </S>."""
    h5py, weights = embed.import_h5py(), os.path.join(directory, 'weights.hdf5')
    options = read_json(os.path.join(directory, 'options.json'))
    try:
        with h5py.File(weights, 'r') as source:
            lstm = options['lstm']
            config = {'vocab_size': source['embedding'].shape[0], 'embed_size': lstm['projection_dim'],
                      'hidden_size': lstm['dim'], 'num_layers': lstm['n_layers'], 'cell_clip': float(lstm['cell_clip']),
                      'proj_clip': float(lstm['proj_clip']), 'bos_id': bos_id, 'eos_id': eos_id}
            problem = bilm.config_problem(config)
            if not lstm.get('use_skip_connections') or not options.get('bidirectional'):
                problem = 'not bidirectional, or without skip connections'
            if problem:
                raise InputError('%s: no biLM that fits here: %s' % (directory, problem))
            embed_size, gates = config['embed_size'], 4 * config['hidden_size']
            shapes = {'embedding': (config['vocab_size'], embed_size)}
            for cell, _, _ in cells(config):
                shapes.update({cell + '/W_0': (2 * embed_size, gates), cell + '/B': (gates,),
                               cell + '/W_P_0': (config['hidden_size'], embed_size)})
            if 'softmax/W' in source:
                shapes.update({'softmax/W': shapes['embedding'], 'softmax/b': (config['vocab_size'],)})
            for name, shape in sorted(shapes.items()):
                if source[name].shape != shape:
                    raise InputError('%s: %s has shape %s, needed is %s' % (weights, name, list(source[name].shape),
                                                                           list(shape)))
            with checkpoint.writing(path, path + '.saving') as temporary:
                def write(name, array):
                    write_parameter(os.path.join(temporary, name), array)

                for cell, gate, prefix in cells(config):
                    both = swap_gates(source[cell + '/W_0'][...])
                    write(gate, both[:embed_size])
                    write(prefix + '.w_0', both[embed_size:])
                    write(prefix + '.w_1', source[cell + '/W_P_0'])
                    write(prefix + '.b_0', swap_gates(with_forget_bias(source[cell + '/B'][...], 1))[None])
                write('embedding_para', source['embedding'])
                if 'softmax/W' in source:
                    write('softmax_weight', source['softmax/W'])
                    write('softmax_bias', source['softmax/b'])
                write_json(os.path.join(temporary, 'bilm.json'), config)
                checkpoint.write_manifest(temporary)
    except (IOError, OSError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError('%s: not the weights of a biLM with token input as bilm-tf dumps them: %s' % (weights, error))
    os.rename(path + '.saving', path)


class _Rows(object):
    """A parameter [words, …] with rows of another one, on disk, and the mean of those for ids below 0."""

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
    """Makes a checkpoint with another vocabulary: words of both keep their rows, new ones start at the mean of all."""
    path, vocabulary, new = checkpoint.find(path), Vocabulary(vocab_path), Vocabulary(new_vocab_path)
    config = checkpoint.read_config(path, vocabulary)
    checkpoint.check(path)
    id_of = {word: id for id, word in enumerate(vocabulary.words)}
    ids = np.array([id_of.get(word, -1) for word in new.words])
    with checkpoint.writing(target, target + '.saving') as temporary:
        for name in sorted(set(bilm.parameter_shapes(config)) & set(os.listdir(path))):
            array = open_parameter(os.path.join(path, name))
            write_parameter(os.path.join(temporary, name), _Rows(array, ids) if name in OF_WORDS else array)
        write_json(os.path.join(temporary, 'bilm.json'), dict(
            config, vocab_size=len(new), vocab_sha256=new.sha256, bos_id=new.bos, eos_id=new.eos))
        checkpoint.write_manifest(temporary)
    os.rename(target + '.saving', target)
    shared = int((ids >= 0).sum())
    print('%d words: %d keep their rows, %d are new; %d are left out'
          % (len(new), shared, len(new) - shared, len(vocabulary) - shared))


def to_npz(path, output):
    """Writes every parameter of a checkpoint under its name."""
    path = checkpoint.find(path)
    checkpoint.check(path)
    names = sorted(set(bilm.parameter_shapes(checkpoint.read_config(path))) & set(os.listdir(path)))
    with new_file(output) as temporary, embed.npz(temporary) as write:
        for name in names:
            write(name, open_parameter(os.path.join(path, name)))


def main():
    parser = cli.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest='command')
    commands.required = True
    for name, source, target in (('to_bilm', 'CHECKPOINT', 'DIR'), ('from_bilm', 'DIR', 'CHECKPOINT'),
                                 ('to_npz', 'CHECKPOINT', 'FILE'), ('to_vocabulary', 'CHECKPOINT', 'NEW_CHECKPOINT')):
        command = commands.add_parser(name)
        command.add_argument('source', metavar=source)
        command.add_argument('target', metavar=target)
        if name == 'from_bilm':
            command.add_argument('--bos_id', type=cli.non_negative_int, default=0, help='line of <S> in the vocabulary, '
                                 'from 0')
            command.add_argument('--eos_id', type=cli.non_negative_int, default=1, help='that of </S>')
        if name == 'to_vocabulary':
            command.add_argument('--vocab_path', required=True, help='vocabulary of the checkpoint')
            command.add_argument('--new_vocab_path', required=True, help='vocabulary of the new one')
    args = parser.parse_args()
    args.target = args.target.rstrip(os.sep)
    if args.command in ('from_bilm', 'to_vocabulary') and os.path.exists(args.target):
        raise InputError('%s: is there already; choose another' % args.target)
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
