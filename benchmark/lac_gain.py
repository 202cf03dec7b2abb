# -*- coding: utf-8 -*-
"""What ELMo gains in Chinese lexical analysis: test F1 without and with it, for several sizes of training data \
and seeds.

    python benchmark/lac_gain.py --elmo_checkpoint checkpoints --output gain [--sentences 2000 8000 0]
    python benchmark/lac_gain.py --elmo_checkpoint checkpoints --output gain --data ud/ner --sentences 0 \\
        --variants without layer0 all

Each cell of the table is a run of lac_finetune/train.py. The runs of a row and seed differ only in --use_elmo and
--elmo_layers. The same command continues an interrupted table: what is finished is not repeated.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import contextlib
import itertools
import multiprocessing.pool
import os

from project import ROOT, cli

from benchmark import gains, runs
from lac_finetune import train

FLAGS = {'without': ['--use_elmo', 'False'], 'layer0': ['--elmo_layers', '0'], 'all': []}
NAMES = {'without': 'False', 'layer0': '0', 'all': 'True'}  # in the directory of a model


def model_directory(args, sentences, seed, variant):
    return os.path.join(args.output, 'sentences%d-seed%d-elmo%s' % (sentences, seed, NAMES[variant]))


def train_flags(args, sentences, seed, variant):
    """The flags of lac_finetune/train.py for a run."""
    found = ['--vocab_path', args.vocab_path, '--max_sentences', str(sentences), '--random_seed', str(seed),
             '--elmo_checkpoint', args.elmo_checkpoint, '--save_dir', model_directory(args, sentences, seed, variant)]
    for part in ('train', 'dev', 'test'):
        found += ['--%s_path' % part, os.path.join(args.data, part + '.tsv')]
    return found + FLAGS[variant] + args.more


def test_f1(flags):
    """Test F1 of the run with these flags in percent; None if it is not finished. InputError if it had other flags."""
    return train.finished_f1(train.parse_args(flags))


def run(flags):
    """Trains and tests one model, or goes on with that."""
    runs.go_on([os.path.join(ROOT, 'lac_finetune', 'train.py')] + flags, train.parse_args(flags).save_dir + '.log')


def main():
    parser = cli.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--elmo_checkpoint', '--pretrain_elmo_model_path', required=True, help='checkpoint of the ELMo')
    parser.add_argument('--vocab_path', default=os.path.join(ROOT, 'data/pku/vocabulary.txt'), help='its vocabulary')
    parser.add_argument('--data', default=os.path.join(ROOT, 'data/pku/lac'),
                        help='has train.tsv, dev.tsv and test.tsv')
    parser.add_argument('--output', required=True, help='directory for the models and logs')
    parser.add_argument('--sentences', type=cli.non_negative_int, nargs='+', default=[2000, 8000, 0],
                        help='sizes of the training data; 0: all of it')
    gains.add_flags(parser, ['without', 'all'])
    parser.add_argument('--jobs', type=cli.positive_int, default=1,
                        help='runs at a time; set OMP_NUM_THREADS to cores / jobs')
    parser.add_argument('more', nargs='*', help='after --: flags for lac_finetune/train.py')
    args = parser.parse_args()
    if not os.path.isdir(args.output):
        os.makedirs(args.output)
    runs = [train_flags(args, *cell) for cell in itertools.product(args.sentences, args.seeds, args.variants)]
    left = [flags for flags in runs if test_f1(flags) is None]
    with contextlib.closing(multiprocessing.pool.ThreadPool(args.jobs)) as pool:
        for number, _ in enumerate(pool.imap(run, left), 1):
            print('%d of %d runs finished' % (len(runs) - len(left) + number, len(runs)))

    print(gains.head('sentences', args.variants))
    for sentences in args.sentences:
        print(gains.row(sentences or 'all', [[test_f1(train_flags(args, sentences, seed, variant))
                                              for seed in args.seeds] for variant in args.variants]))


if __name__ == '__main__':
    cli.run(main)
