# -*- coding: utf-8 -*-
"""Speed and memory of the reader, from text to batches of ids, for a small and a large text.

    python benchmark/reader_speed.py [--millions 1 10 100]

Each text is read in its own process. The limit is measured too: the same text is decoded and split into words, nothing
else.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import io
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time

from project import cli
from six.moves import range

from benchmark import common
from elmo.progress import Progress
from elmo.text import Vocabulary, list_files
from reader import BucketedReader

BLOCK_SENTENCES = 50000  # generated once and repeated: 1 million tokens, sentence ends included


def write_texts(directory, args):
    """Writes a vocabulary, and a directory of files of one block each; returns both paths."""
    words = ['<S>', '</S>', '<UNK>'] + ['词%d' % number for number in range(3, args.vocab_size)]
    vocabulary, text = os.path.join(directory, 'vocabulary.txt'), os.path.join(directory, 'text')
    with io.open(vocabulary, 'w', encoding='utf-8') as output:
        output.writelines(word + '\n' for word in words)
    os.mkdir(text)
    block = ''.join(' '.join(words[id] for id in sentence) + '\n'
                    for sentence in common.sentences(args, BLOCK_SENTENCES)).encode('utf-8')
    progress = Progress('writing', max(args.millions), 'million tokens')
    for number in range(max(args.millions)):
        with io.open(os.path.join(text, '%05d' % number), 'wb') as output:
            output.write(block)
        progress.update(number + 1)
    progress.close()
    return vocabulary, text


def read(vocabulary, text, millions):
    """Reads an epoch; prints the seconds to the first batch, tokens a second, the limit, and peak memory."""
    vocabulary, paths = Vocabulary(vocabulary), list_files(text)[:millions]
    start = time.time()
    reader = BucketedReader(paths, vocabulary, batch_tokens=2560)
    first, tokens = None, 0
    for batch in reader.epoch(reader.start()):
        first = first or time.time() - start
        tokens += batch.num_tokens
    speed = tokens / (time.time() - start)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    start, words = time.time(), 0
    for line in io.open(paths[0], 'rb'):
        words += len(line.decode('utf-8').split()) + 1
    limit = words / (time.time() - start)
    print('| %d | %.2f | %d | %d | %.2f | %d |' % (tokens, first, speed, limit, speed / limit, memory))


def main():
    parser = common.sizes_parser('Speed and memory of the reader.', ['vocab_size', 'num_steps'])
    parser.add_argument('--millions', type=cli.positive_int, nargs='+', default=[1, 10, 100],
                        help='millions of tokens in the texts')
    parser.add_argument('--read', nargs=3, help='for the processes that this one starts')
    args = parser.parse_args()
    if args.read:
        return read(args.read[0], args.read[1], int(args.read[2]))
    directory = tempfile.mkdtemp()
    try:
        vocabulary, text = write_texts(directory, args)
        print('| tokens | seconds to the first batch | tokens/s | decode and split alone | fraction | '
              'peak memory, MB |')
        print('|---' * 6 + '|')
        sys.stdout.flush()
        for millions in args.millions:
            subprocess.check_call([sys.executable, __file__, '--read', vocabulary, text, str(millions)])
    finally:
        shutil.rmtree(directory)


if __name__ == '__main__':
    cli.run(main)
