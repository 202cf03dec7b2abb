# -*- coding: utf-8 -*-
"""ELMo's vectors of a text: a sentence a line in, an array a sentence out, in the same order.

    OUTPUT.npz   numpy.load(OUTPUT)['0'] is that of line 0: [tokens, 2 * embed_size], with --layers all
                 [num_layers + 1, tokens, 2 * embed_size]
    OUTPUT.h5    as bilm-tf's dump_bilm_embeddings writes it: a dataset a line, keyed by its number, always
                 [layers, tokens, 2 * embed_size]

Memory is bounded by a block of lines, not by the text; only the index of an .npz grows, by a sentence's entry each.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import contextlib
import io
import os
import time
import zipfile

import environment  # noqa: F401  before fluid, which reads it when it is loaded
import numpy as np
import paddle.fluid as fluid

import args as flags
import bilm
import checkpoint
import cli
import devices
import reader
from files import new_file, replacing
from reader import BOS, EOS, UNK, InputError, Vocabulary, length_buckets, prefetch
from segment import Segmenter

BLOCK = 1 << 15  # characters that are read before they are encoded
LAYERS = ('average', 'mix', 'top', 'all')


class Embedder(object):
    """ELMo's vectors of sentences, lists of tokens; its parameters are in a scope of its own.

    Args:
        path: a checkpoint, ours or the published one, or a directory of ours.
        vocabulary: its Vocabulary.
        layers: 'average' of the layers, their 'mix', the 'top' one, or 'all'.
        mix: the share of each layer, num_layers + 1 numbers above 0, and gamma; what the ELMo_w and ELMo_gamma of a task
            stand for (equation 1 of Peters et al. 2018).
        place: the device; None: a GPU if there is one.
        batch_tokens: tokens encoded at a time; it bounds memory.
        max_length: a sentence of more tokens is read in pieces.

    Raises:
        InputError: the checkpoint is missing, damaged or of another vocabulary, or the mix does not fit.
    """

    def __init__(self, path, vocabulary, layers='average', mix=None, place=None, batch_tokens=2560, max_length=256):
        self._vocabulary, self._layers, self._scope = vocabulary, layers, fluid.Scope()
        self._place = place or devices.places()[0]
        self._batch_tokens, self._max_length = batch_tokens, max_length
        path = checkpoint.find(path)
        self.config = checkpoint.read_config(path, vocabulary)
        number = self.config['num_layers'] + 1
        if layers == 'mix' and (not mix or len(mix) != number + 1 or min(mix[:-1]) <= 0):
            raise InputError('--mix: wants %d shares above 0, one for each layer from 0 on, and gamma' % number)
        program = fluid.Program()
        with fluid.program_guard(program, fluid.Program()), fluid.unique_name.guard():
            word = fluid.data('word', [None, 1], dtype='int64', lod_level=1)
            self._vectors = bilm.elmo_encoder(bilm.emb(word, self.config), self.config,
                                              layers=layers if layers in ('top', 'all') else 'mix').name
        exe = fluid.Executor(self._place)
        with fluid.scope_guard(self._scope):
            checkpoint.load_parameters(exe, path, program, self.config, vocabulary)
            if layers in ('average', 'mix'):
                shares, gamma = (mix[:-1], mix[-1]) if layers == 'mix' else ([1.] * number, 1.)
                for name, value in (('ELMo_w', np.log(shares)), ('ELMo_gamma', [gamma])):
                    self._scope.var(str(name)).get_tensor().set(np.array(value, dtype='float32'), self._place)
            self._executor = devices.Executor(program, [self._place])

    def __call__(self, sentences):
        """The vectors of each sentence: a list of float32 [tokens, 2 * embed_size], with 'all' [layers, tokens, …]."""
        pieces = [(number, start, sentence[start:start + self._max_length]) for number, sentence in enumerate(sentences)
                  for start in range(0, len(sentence), self._max_length)]
        lengths = [len(tokens) for _, _, tokens in pieces]
        shape = self.config['num_layers'] + 1 if self._layers == 'all' else 1, 2 * self.config['embed_size']
        results = [np.zeros([len(sentence), shape[0] * shape[1]], dtype='float32') for sentence in sentences]

        def feeds():
            for batch in length_buckets(lengths, self._batch_tokens) if pieces else []:
                ids = self._vocabulary.ids([token for index in batch for token in pieces[index][2]])
                yield batch, {'word': fluid.create_lod_tensor(
                    np.array(ids, dtype='int64').reshape(-1, 1), [[lengths[index] for index in batch]], self._place)}

        with fluid.scope_guard(self._scope):
            for batch, feed in prefetch(feeds()):
                vectors = np.array(self._executor.run([self._vectors], [feed], return_numpy=False)[0])
                end = 0
                for index in batch:
                    number, start, tokens = pieces[index]
                    end += len(tokens)
                    results[number][start:start + len(tokens)] = vectors[end - len(tokens):end]
        if self._layers == 'all':
            return [vectors.reshape((len(vectors),) + shape).transpose(1, 0, 2) for vectors in results]
        return results


def read_blocks(paths):
    """Yields (list of (file:line, text), bytes read) of the files, '-' being standard input: a BLOCK of lines at a time."""
    for lines, size in reader.read_blocks(paths, BLOCK):
        for place, text in lines:
            if {BOS, EOS} & set(text.split()):
                raise InputError('%s: holds the token %s or %s, which is put around each sentence anyway; remove it'
                                 % (place, BOS, EOS))
        yield lines, size


@contextlib.contextmanager
def npz(path):
    """A function that writes an array under a key, as numpy.savez does, but one at a time."""
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_STORED, allowZip64=True) as output:
        def write(key, array):
            entry = io.BytesIO()
            np.lib.format.write_array(entry, np.ascontiguousarray(array), allow_pickle=False)
            output.writestr(str(key + '.npy'), entry.getvalue())

        yield write


def import_h5py():
    """h5py, which nothing else needs; InputError if it is not installed."""
    try:
        import h5py
    except ImportError:
        raise InputError('h5py is not installed: python -m pip install h5py, or write an .npz')
    return h5py


@contextlib.contextmanager
def hdf5(path):
    """A function that writes an array as a dataset."""
    with import_h5py().File(path, 'w') as output:
        yield lambda key, array: output.create_dataset(key, data=array if array.ndim == 3 else array[None])


def main():
    parser = cli.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('input', nargs='*', default=['-'], help='UTF-8 files, directories or quoted globs; - or none: '
                        'standard input')
    parser.add_argument('--load_dir', required=True, help='a checkpoint, or a directory of them: the newest is taken')
    parser.add_argument('--vocab_path', required=True, help='vocabulary of the checkpoint')
    parser.add_argument('--output', required=True, metavar='FILE', help='NAME.npz, or NAME.h5 (with h5py installed)')
    parser.add_argument('--layers', choices=LAYERS, default='average', help='the average of all layers, their mix, the '
                        'top one, or all one by one')
    parser.add_argument('--mix', type=float, nargs='+', help='for --layers mix: the share of each layer from 0 on, and '
                        'gamma, as training a task prints them')
    parser.add_argument('--raw', action='store_true', help='the text is not segmented: cut it with the words of the '
                        'vocabulary')
    parser.add_argument('--tokens', metavar='FILE', default='', help='also write the tokens that the vectors belong to')
    parser.add_argument('--dtype', choices=['float32', 'float16'], default='float32', help='of the numbers written')
    parser.add_argument('--batch_tokens', type=cli.positive_int, default=2560, help='tokens encoded at a time')
    parser.add_argument('--max_sentence_length', type=cli.positive_int, default=256, help=flags.MAX_SENTENCE_LENGTH)
    parser.add_argument('--use_gpu', type=cli.boolean, default=None, help=flags.USE_GPU + '; one device is used')
    args = parser.parse_args()
    writers = {'.npz': npz, '.h5': hdf5, '.hdf5': hdf5}
    kind = os.path.splitext(args.output)[1]
    if kind not in writers:
        parser.error('--output %s: expected NAME.npz or NAME.h5' % args.output)
    if (args.layers == 'mix') != bool(args.mix):
        parser.error('--layers mix and --mix belong together')

    paths = reader.list_inputs(args.input)
    vocabulary = Vocabulary(args.vocab_path)
    embedder = Embedder(args.load_dir, vocabulary, args.layers, args.mix, devices.places(args.use_gpu)[0],
                        args.batch_tokens, args.max_sentence_length)
    cut = Segmenter([word for word in vocabulary.words if word not in (BOS, EOS, UNK)]) if args.raw else None
    start, number, tokens = time.time(), 0, 0
    progress = cli.Progress('embedding', None if '-' in paths else sum(map(os.path.getsize, paths)), 'bytes')
    with new_file(args.output) as temporary, writers[kind](temporary) as write, (
            replacing(args.tokens) if args.tokens else io.open(os.devnull, 'w', encoding='utf-8')) as listed:
        for lines, size in read_blocks(paths):
            sentences = [cut(text) if cut else text.split() for _, text in lines]
            for sentence, vectors in zip(sentences, embedder(sentences)):
                write('%d' % number, vectors.astype(args.dtype))
                listed.write(' '.join(sentence) + '\n')
                number, tokens = number + 1, tokens + len(sentence)
            progress.update(size)
    progress.close()
    seconds = time.time() - start
    print('%s: %d sentences, %d tokens, %d tokens/s' % (args.output, number, tokens, tokens / seconds))


if __name__ == '__main__':
    cli.run(main)
