# -*- coding: utf-8 -*-
"""Every flag of pretraining, with its reason. The sizes are those of the published Chinese checkpoint."""
from __future__ import absolute_import, division, print_function, unicode_literals

import checkpoint
import distributed
from cli import ArgumentParser, boolean, non_negative_int, number, positive_int

SIZES = ('embed_size', 'hidden_size', 'num_layers', 'cell_clip', 'proj_clip')
USE_GPU = 'True: all visible GPUs; False: CPU_NUM CPU replicas; by default GPUs where there are any'
MAX_SENTENCE_LENGTH = 'longer sentences are read in pieces of this length; a batch of long ones is slow'

CURVES = 'draw curves.png beside log.jsonl at each save'
VISUALDL = 'write scalars for VisualDL, which must be installed, beside log.jsonl'


def parse_args(argv=None):
    parser = ArgumentParser(description='Pretrain a bidirectional LSTM language model (ELMo) on segmented text.')

    group = parser.add_argument_group('data')
    group.add_argument('--train_path', required=True, help='training text: a file, a directory or a quoted glob')
    group.add_argument('--test_path', required=True, help='dev text, evaluated whole: a file, a directory or a glob')
    group.add_argument('--vocab_path', required=True, help='vocabulary: one token a line, most frequent first')
    group.add_argument('--batch_size', type=positive_int, default=128,
                       help='with num_steps, the tokens of a batch: batch_size * num_steps on each device')
    group.add_argument('--num_steps', type=positive_int, default=20,
                       help='mean sentence length that batch_size counts on; the loss is scaled by it')
    group.add_argument('--max_sentence_length', type=positive_int, default=256,
                       help=MAX_SENTENCE_LENGTH)

    group = parser.add_argument_group('network')
    group.add_argument('--embed_size', type=positive_int, default=512, help='embedding and LSTM projection')
    group.add_argument('--hidden_size', type=positive_int, default=4096, help='LSTM cell')
    group.add_argument('--num_layers', type=positive_int, default=2, help='LSTM layers in each direction')
    group.add_argument('--cell_clip', type=number(float, above=0), default=3., help='bound of the LSTM cells')
    group.add_argument('--proj_clip', type=number(float, above=0), default=3., help='bound of the LSTM projections')

    group = parser.add_argument_group('optimization')
    group.add_argument('--dropout', type=number(float, low=0, below=1), default=0.1,
                       help="rate for each layer's input and the last output")
    group.add_argument('--optim', choices=['adagrad', 'sgd', 'adam', 'rmsprop'], default='adagrad',
                       help='adagrad as in the paper; give the others a learning rate of their own')
    group.add_argument('--learning_rate', type=number(float, above=0), default=0.2, help='suits adagrad')
    group.add_argument('--linear_decay', type=boolean, default=False,
                       help='let the learning rate fall linearly, to 0 at the end of the run')
    group.add_argument('--max_grad_norm', type=number(float, above=0), default=10.,
                       help='gradients are scaled down to this global norm; chosen for the loss times num_steps')
    group.add_argument('--on_nan', choices=['stop', 'skip'], default='stop',
                       help='when a loss or gradient is not finite: stop, or go back to the last checkpoint and leave '
                            'that batch out')
    group.add_argument('--max_epoch', type=positive_int, default=10, help='times the training text is read')
    group.add_argument('--max_steps', type=non_negative_int, default=0, help='stop after this many steps; 0: no limit')
    group.add_argument('--random_seed', type=number(int, low=0, high=2 ** 31 - 1), default=1,
                       help='of initial values, order of the text and dropout: the same seed gives the same run')
    group.add_argument('--sample_softmax', type=boolean, default=None,
                       help='train with a softmax over candidates drawn for each step; by default where the vocabulary '
                            'is at least 4 times their number')
    group.add_argument('--n_negative_samples_batch', type=positive_int, default=8192,
                       help='candidates of the sampled softmax, shared by all tokens of a step')

    group = parser.add_argument_group('many processes')
    group.add_argument('--update_method', choices=distributed.METHODS, default='local',
                       help='local: this process alone; nccl2: GPUs of many processes; pserver: parameter servers')
    group.add_argument('--start_timeout', type=positive_int, default=300,
                       help='seconds that the processes may take to come')

    group = parser.add_argument_group('run')
    group.add_argument('--use_gpu', type=boolean, default=None, help=USE_GPU)
    group.add_argument('--log_interval', type=positive_int, default=100, help='steps between log lines')
    group.add_argument('--curves', type=boolean, default=True, help=CURVES)
    group.add_argument('--visualdl', type=boolean, default=False, help=VISUALDL)
    group.add_argument('--dev_interval', type=positive_int, default=10000,
                       help='steps between evaluations of the dev text; the end of an epoch is evaluated anyway')

    group = parser.add_argument_group('checkpoints')
    group.add_argument('--para_save_dir', default='',
                       help='where checkpoints are written; by default in a new directory: checkpoints, checkpoints.2, '
                            'checkpoints.3 …; with --load_dir in that of its checkpoint')
    group.add_argument('--save_interval', type=positive_int, default=10000,
                       help='steps between checkpoints; the best on the dev text and the last are saved anyway')
    group.add_argument('--save_minutes', type=number(float, low=0), default=30.,
                       help='minutes between checkpoints, whatever the steps; 0: no such')
    group.add_argument('--keep_checkpoints', type=positive_int, default=3,
                       help='newest checkpoints kept; the best is kept beside them')
    group.add_argument('--load_pretraining_params', metavar='DIR', default='',
                       help='start from the parameters of this checkpoint, for example on other text; its sizes are '
                            'then the defaults, and the dev text is evaluated first')
    group.add_argument('--load_dir', metavar='DIR', default='',
                       help='go on with the run of this checkpoint: parameters, optimizer, step and place in the text')
    group.add_argument('--resume', type=boolean, nargs='?', const=True, default=False,
                       help='go on with the newest whole checkpoint of para_save_dir; without one, start')
    args = parser.parse_args(argv)
    if args.update_method != 'local':
        if not args.para_save_dir:
            parser.error('--update_method %s wants --para_save_dir, the same for all processes' % args.update_method)
        if args.on_nan == 'skip':
            parser.error('--on_nan skip is for --update_method local: many processes stop and start again')
    if args.load_dir and args.resume:
        parser.error('--load_dir goes on with the checkpoint it names, --resume with the newest: give one of them')
    if args.load_dir and args.load_pretraining_params:
        parser.error('--load_dir goes on with a run, --load_pretraining_params starts a new one: give one of them')
    if args.load_pretraining_params:  # its sizes are the defaults
        config = checkpoint.read_config(checkpoint.find(args.load_pretraining_params, '--load_pretraining_params'))
        parser.set_defaults(**{name: config[name] for name in SIZES})
        args = parser.parse_args(argv)
    return args
