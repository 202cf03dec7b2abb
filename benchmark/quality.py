# -*- coding: utf-8 -*-
"""What pretraining reaches in which time: dev perplexity and seconds of training after each epoch, for several \
settings.

    . scripts/env.sh && "$PYTHON" benchmark/quality.py --train 'zh-text/train-*wiki-*.txt' \\
        --dev 'zh-text/heldout-*wiki-*.txt' --output quality -- \\
        '--sample_softmax False' '--sample_softmax True' '--optim adam --learning_rate 0.004'

Each setting is a run of train.py with these flags after the common flags. The same command goes on after an
interruption: what is finished is not repeated.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import collections
import hashlib
import io
import os
import re
import shlex

from project import ROOT, cli

from benchmark import runs
from elmo import runlog
from elmo.corpus import WordCounts, write_lines
from elmo.files import read_json, write_json
from elmo.text import InputError, list_files, read_lines

COMMON = ('--embed_size 128 --hidden_size 512 --num_layers 2 --batch_size 64 --num_steps 20 '
          '--n_negative_samples_batch 2048 --max_epoch 1')


def words_of(pattern, digest):
    """Yields the list of words of each line of a text, and adds the line to a digest."""
    for path in list_files(pattern):
        for _, line, _ in read_lines(path):
            digest.update(line.encode('utf-8'))
            yield line.split()


def make_vocabulary(args):
    """Writes the vocabulary to --output and returns its path; InputError if what is there belongs to another text."""
    counts, digest = WordCounts(), hashlib.sha256()
    for words in words_of(args.train, digest):
        counts.add(words)
    for _ in words_of(args.dev, digest):
        pass  # it has no part in the vocabulary
    about, texts = os.path.join(args.output, 'texts.json'), {'sha256': str(digest.hexdigest())}
    if not os.path.isdir(args.output):
        os.makedirs(args.output)
    if os.path.exists(about) and read_json(about) != texts:
        raise InputError('%s: has runs on another text; choose another --output' % args.output)
    write_json(about, texts)
    path = os.path.join(args.output, 'vocabulary.txt')
    write_lines(path, counts.vocabulary(min_count=5))
    return path


def run(setting, args, vocabulary):
    """The rows (epoch, dev perplexity, seconds of training) of one setting, one after each epoch."""
    directory = os.path.join(args.output, re.sub(r'[^\w.]+', '-', setting).strip('-') or 'defaults')
    log = directory + '.log'
    if not is_finished(log):
        runs.go_on([os.path.join(ROOT, 'train.py'), '--train_path', args.train, '--test_path', args.dev, '--vocab_path',
                    vocabulary, '--save_dir', directory] + COMMON.split() + shlex.split(setting), log)
    last = collections.OrderedDict((record['epoch'], record) for record in runlog.read(directory)
                                   if record['kind'] == 'dev')
    return [(epoch, record['perplexity'], record['seconds']) for epoch, record in last.items()]


def is_finished(log):
    """Whether the log of a run tells that it came to its end."""
    if not os.path.exists(log):
        return False
    with io.open(log, encoding='utf-8') as lines:
        return any(line.startswith('finished: ') for line in lines)


def main():
    parser = cli.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--train', required=True, help='segmented text, as --train_path of train.py')
    parser.add_argument('--dev', required=True, help='text for the perplexity, as --test_path of train.py')
    parser.add_argument('--output', required=True, help='directory for vocabulary, checkpoints and logs')
    parser.add_argument('settings', nargs='*', default=[''], metavar='SETTING',
                        help='after --: the flags of a run in quotes; common to all: ' + COMMON)
    args = parser.parse_args()
    vocabulary = make_vocabulary(args)
    print('| setting | epoch | dev perplexity | seconds of training |\n|---|---:|---:|---:|')
    for setting in args.settings:
        for row in run(setting, args, vocabulary):
            print('| `%s` | %d | %.2f | %d |' % ((setting,) + row))


if __name__ == '__main__':
    cli.run(main)
