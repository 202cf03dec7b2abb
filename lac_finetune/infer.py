# -*- coding: utf-8 -*-
"""Tags text with a model of train.py: reads lines of raw text, writes lines of word/tag word/tag in the same order.

White space separates words and is not part of a word. Every other character stays as it is.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import os
import sys

from project import cli
from elmo import clock, devices, flags
from elmo.progress import Progress
from elmo.stream import read_blocks
from elmo.text import list_inputs
from lac_finetune.tagger import Tagger

BLOCK = 1 << 16  # characters that are read and tagged at a time


def parse_args(argv=None):
    parser = cli.ArgumentParser('Segment and tag text: lines in, lines of word/tag word/tag out.',
                                'python lac_finetune/infer.py --model lac_pku text.txt\n'
                                'echo 我的弟弟在上海工作。 | python lac_finetune/infer.py --model_dir model')
    flags.inputs(parser)
    parser.add_argument('--model_dir', '--model', required=True, metavar='DIR', help='the name of a released model, or '
                        'a model directory that train.py wrote')
    parser.add_argument('--tokenized', action='store_true', help='the input is words separated by white space, which '
                        'are tagged as they are')
    parser.add_argument('--dictionary', metavar='FILE', help='words that are kept as given, whatever the model says: a '
                        'word or several words a line, each word or word/tag')
    parser.add_argument('--batch_tokens', type=cli.positive_int, help='units at a time; not given: as in training')
    parser.add_argument('--batch_wait', type=cli.number(float, low=0, high=3600), default=0.02,
                        help='seconds that a line of a pipe or terminal may wait for more lines to be tagged with it')
    flags.use_one_gpu(parser)
    args = parser.parse_args(argv)
    if args.tokenized and args.dictionary:
        parser.error('--dictionary is for text that is not --tokenized; give one of them')
    if args.dictionary == '-' and '-' in args.input:
        parser.error('--dictionary - and the text are both standard input; name a file for one of them')
    return args


def main():
    args = parse_args()
    paths = list_inputs(args.input)
    run = Tagger(args.model_dir, place=devices.places(args.use_gpu)[0], batch_tokens=args.batch_tokens,
                 dictionary=args.dictionary)
    start, number, characters = clock.now(), 0, 0
    progress = Progress('tagging', None if '-' in paths else sum(map(os.path.getsize, paths)), 'bytes')
    for tagged, size in run.stream(read_blocks(paths, BLOCK, args.batch_wait), args.tokenized):
        output = ''.join(' '.join('%s/%s' % pair for pair in words) + '\n' for words in tagged)
        sys.stdout.write(output.encode('utf-8'))  # in every locale; together, as each write is flushed
        characters += sum(len(word) for words in tagged for word, _ in words)
        number += len(tagged)
        progress.update(size)
    progress.close()
    seconds = clock.now() - start
    sys.stderr.write(str('%d lines, %d characters in %.1f s, %d characters/s; %d I without B\n'
                         % (number, characters, seconds, characters / seconds, run.stray)))


if __name__ == '__main__':
    cli.run(main)
