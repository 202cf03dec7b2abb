# -*- coding: utf-8 -*-
"""Writes ELMo's vectors of a text: a sentence a line in, an array a sentence out, in the same order.

    OUTPUT.npz   numpy.load(OUTPUT)['0'] is the array of line 0: [tokens, 2 * embed_size], with --layers all
                 [num_layers + 1, tokens, 2 * embed_size]
    OUTPUT.h5    the format of bilm-tf's dump_bilm_embeddings: one dataset for each line, named by the line's number,
                 always [layers, tokens, 2 * embed_size]

Memory depends on one block of lines, not on the text. Only the index of an .npz grows, by one entry for each sentence.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import io
import os

from project import cli
from elmo import arrays, clock, devices, flags
from elmo.embedder import BLOCK, LAYERS, Embedder, read_segmented
from elmo.files import new_file, refuse_to_replace, replacing
from elmo.progress import Progress
from elmo.segment import Segmenter
from elmo.text import list_inputs, read_blocks

WRITERS = {'.npz': arrays.npz, '.h5': arrays.hdf5_of_vectors, '.hdf5': arrays.hdf5_of_vectors}


def parse_args():
    parser = cli.ArgumentParser(
        __doc__.splitlines()[0], 'python tools/embed.py data/dev --model elmo_zh_small --output vectors.npz\n'
        'python tools/embed.py data/dev --checkpoint checkpoints \\\n'
        '    --vocab_path data/vocabulary_min5k.txt --output vectors.npz')
    flags.inputs(parser)
    flags.checkpoint(parser)
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
    flags.max_sentence_length(parser)
    flags.use_one_gpu(parser)
    args = parser.parse_args()
    if os.path.splitext(args.output)[1] not in WRITERS:
        parser.error('--output %s: expected NAME.npz or NAME.h5' % args.output)
    if (args.layers == 'mix') != bool(args.mix):
        parser.error('--layers mix and --mix belong together')
    if args.tokens and os.path.realpath(args.tokens) == os.path.realpath(args.output):
        parser.error('--tokens %s: is --output too; choose another' % args.tokens)
    return args


def main():
    args = parse_args()
    paths = list_inputs(args.input)
    if args.tokens:
        refuse_to_replace(args.tokens, paths, '--tokens')
    embedder = Embedder(args.checkpoint, flags.vocabulary(args), args.layers, args.mix,
                        devices.places(args.use_gpu)[0], args.batch_tokens, args.max_sentence_length)
    cut = Segmenter(embedder.vocabulary).cut if args.raw else lambda text: text.split()
    start, number, tokens = clock.now(), 0, 0
    progress = Progress('embedding', None if '-' in paths else sum(map(os.path.getsize, paths)), 'bytes')
    writer = WRITERS[os.path.splitext(args.output)[1]]
    with new_file(args.output) as temporary, writer(temporary) as write, (
            replacing(args.tokens) if args.tokens else io.open(os.devnull, 'w', encoding='utf-8')) as listed:
        for lines, size in read_blocks(paths, BLOCK) if args.raw else read_segmented(paths):
            sentences = [cut(text) for _, text in lines]
            for sentence, vectors in zip(sentences, embedder(sentences)):
                write('%d' % number, vectors.astype(args.dtype))
                listed.write(' '.join(sentence) + '\n')
                number, tokens = number + 1, tokens + len(sentence)
            progress.update(size)
    progress.close()
    print('%s: %d sentences, %d tokens, %d tokens/s' % (args.output, number, tokens, tokens / (clock.now() - start)))


if __name__ == '__main__':
    cli.run(main)
