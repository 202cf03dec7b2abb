# -*- coding: utf-8 -*-
"""Flags that several commands have. Each function adds one to an argparse parser or group."""
from __future__ import absolute_import, division, print_function, unicode_literals

from elmo.cli import BOOLEAN, number, positive_int
from elmo.text import Vocabulary


def checkpoint(group):
    """Adds --checkpoint, with the --vocab_path that belongs to it."""
    group.add_argument('--checkpoint', '--model', '--load_dir', required=True, metavar='DIR',
                       help='the name of a released model; or a checkpoint, or a directory of checkpoints, of which '
                            'the best is taken; DIR/best and DIR/latest name one too')
    vocab_path(group)


def vocabulary(args):
    """The Vocabulary in the file --vocab_path; None if it is not given."""
    return Vocabulary(args.vocab_path) if args.vocab_path else None


def vocab_path(group):
    """Adds --vocab_path, which may be left out."""
    group.add_argument('--vocab_path', metavar='FILE', default='',
                       help='vocabulary of the checkpoint; a released model has its own')


def inputs(group):
    """Adds the files to read, none or '-' being standard input."""
    group.add_argument('input', nargs='*', default=['-'],
                       help='UTF-8 files, directories or quoted globs; - or none: standard input')


def max_sentence_length(group):
    group.add_argument('--max_sentence_length', type=positive_int, default=256,
                       help='in tokens; a longer sentence is read in pieces of this length')


def random_seed(group):
    group.add_argument('--random_seed', type=number(int, low=0, high=2 ** 31 - 1), default=1,
                       help='of initial values, the order of the text and dropout; the same seed gives the same run')


def use_gpu(group, devices='all visible GPUs, or CPU_NUM CPU replicas'):
    """Adds --use_gpu; `devices` says what the command uses of either kind."""
    group.add_argument('--use_gpu', default=None, help='GPU or CPU: %s; not given: a GPU where there is one' % devices,
                       **BOOLEAN)


def use_one_gpu(group):
    use_gpu(group, 'one device')


def drawing(group):
    """Adds --curves and --visualdl, for a command that trains."""
    group.add_argument('--curves', default=True, help='draw curves.png beside log.jsonl at each save', **BOOLEAN)
    group.add_argument('--visualdl', default=False, help='also write scalars for VisualDL, which must be installed',
                       **BOOLEAN)


def resume(group, what):
    """Adds --resume; `what` says from where."""
    group.add_argument('--resume', nargs='?', const=True, default=False, help='go on %s; without one, start' % what,
                       **BOOLEAN)
