# -*- coding: utf-8 -*-
"""What pretraining reaches in which time: dev perplexity and seconds of training after each epoch, for several \
settings.

    . scripts/env.sh && "$PYTHON" benchmark/quality.py --train 'zh-text/train-*wiki-*.txt' \\
        --dev 'zh-text/heldout-*wiki-*.txt' --output quality -- \\
        '--sample_softmax False' '--sample_softmax True' '--optim adam --learning_rate 0.004'

Each setting is a run of train.py with these flags after the common flags. Finished runs in --output are not repeated.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import io
import os
import re
import shlex
import subprocess
import sys

from project import ROOT, cli
from elmo.corpus import WordCounts, write_lines
from elmo.text import InputError, list_files

COMMON = ('--embed_size 128 --hidden_size 512 --num_layers 2 --batch_size 64 --num_steps 20 '
          '--n_negative_samples_batch 2048 --max_epoch 1')


def read_log(path):
    """The output of train.py; empty if the run is not finished."""
    if not os.path.exists(path):
        return ''
    with io.open(path, encoding='utf-8') as handle:
        text = handle.read()
    return text if 'finished: ' in text else ''


def run(setting, args, vocabulary):
    """The rows [epoch, perplexity, seconds of training] of one setting."""
    directory = os.path.join(args.output, re.sub(r'[^\w.]+', '-', setting).strip('-') or 'defaults')
    log = directory + '.log'
    if not read_log(log):
        command = [sys.executable, os.path.join(ROOT, 'train.py'), '--train_path', args.train, '--test_path', args.dev,
                   '--vocab_path', vocabulary, '--save_dir', directory] + COMMON.split() + shlex.split(setting)
        with io.open(log, 'wb') as output:
            code = subprocess.call(command, stdout=output, stderr=subprocess.STDOUT)
        if code:
            raise InputError('%s: the run failed, see its end' % log)
    found = re.findall(r'^dev epoch (\d+) .*?perplexity ([\d.]+) .* after (\d+):(\d+):(\d+) of', read_log(log), re.M)
    return [[epoch, perplexity, int(hours) * 3600 + int(minutes) * 60 + int(seconds)]
            for epoch, perplexity, hours, minutes, seconds in found]


def main():
    parser = cli.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--train', required=True, help='segmented text, as --train_path of train.py')
    parser.add_argument('--dev', required=True, help='text for the perplexity, as --test_path of train.py')
    parser.add_argument('--output', required=True, help='directory for vocabulary, checkpoints and logs')
    parser.add_argument('settings', nargs='*', default=[''], metavar='SETTING',
                        help='after --: the flags of a run in quotes; common to all: ' + COMMON)
    args = parser.parse_args()
    if not os.path.isdir(args.output):
        os.makedirs(args.output)
    counts = WordCounts()
    for path in list_files(args.train):
        with io.open(path, encoding='utf-8') as lines:
            for line in lines:
                counts.add(line.split())
    vocabulary = os.path.join(args.output, 'vocabulary.txt')
    write_lines(vocabulary, counts.vocabulary(min_count=5))
    print('| setting | epoch | dev perplexity | seconds of training |\n|---|---:|---:|---:|')
    for setting in args.settings:
        for row in run(setting, args, vocabulary):
            print('| `%s` | %s | %s | %d |' % tuple([setting] + row))


if __name__ == '__main__':
    cli.run(main)
