# -*- coding: utf-8 -*-
"""Every flag of pretraining, with its reason."""
from __future__ import absolute_import, division, print_function, unicode_literals

from elmo import flags
from elmo.cli import BOOLEAN, ArgumentParser, non_negative_int, number, positive_int

SIZES = ('embed_size', 'hidden_size', 'num_layers', 'cell_clip', 'proj_clip')  # of the network
# A resumed run must have the same values of these: its parameters, accumulators and place in the text depend on them.
FIXED = ('optim', 'learning_rate', 'linear_decay', 'max_grad_norm', 'dropout', 'num_steps', 'max_sentence_length',
         'sample_softmax', 'random_seed', 'use_amp')
# Those of them that came after the first release, and what a run was like before.
LATER = {'use_amp': False}
# The learning rate where none is given, by the number of LSTM cells; measured with 512, 768 and 4096. That of Adam
# falls with the width (Yang et al. 2021, Tensor Programs V): 0.004 is good for small networks, far too high for the
# published one.
DEFAULT_RATES = {'adagrad': lambda cells: 0.2, 'adam': lambda cells: min(0.004, 4. / cells)}
EXAMPLE = """python train.py --train_path 'data/train/*' --test_path data/dev --vocab_path data/vocabulary_min5k.txt \\
    --embed_size 64 --hidden_size 256 --batch_size 8
python train.py … --save_dir checkpoints --resume"""


def parse_args(argv=None):
    """The flags of train.py; argv as sys.argv[1:]. Sizes that are not given are None, see train.network_config, and so
    is the learning rate, see DEFAULT_RATES.
    """
    parser = ArgumentParser('Pretrain a bidirectional LSTM language model (ELMo) on segmented text.', EXAMPLE)
    _add_data(parser.add_argument_group('data'))
    _add_network(parser.add_argument_group('network', 'by default the sizes of the checkpoint that the run starts or '
                                           'goes on from; without one, those of the published Chinese model'))
    _add_optimization(parser.add_argument_group('optimization'))
    _add_processes(parser.add_argument_group('many processes'))
    _add_run(parser.add_argument_group('run'))
    _add_checkpoints(parser.add_argument_group('checkpoints'))
    args = parser.parse_args(argv)
    if args.learning_rate is None and args.optim not in DEFAULT_RATES:
        parser.error('--optim %s wants --learning_rate' % args.optim)
    if args.update_method != 'local':
        if not args.save_dir:
            parser.error('--update_method %s wants --save_dir, the same for all processes' % args.update_method)
        if args.on_nan == 'skip':
            parser.error('--on_nan skip is for --update_method local: many processes stop and start again')
    if args.use_amp and args.update_method == 'pserver':
        parser.error('--use_amp True is for local and nccl2: parameter servers do not know the scaling of the loss')
    if args.resume_from and args.resume:
        parser.error('--resume_from goes on with the checkpoint it names, --resume with the newest: give one of them')
    if args.resume_from and args.init_from:
        parser.error('--resume_from goes on with a run, --init_from starts a new one: give one of them')
    return args


def _add_data(group):
    group.add_argument('--train_path', required=True, help='training text: a file, a directory or a quoted glob')
    group.add_argument('--test_path', required=True, help='dev text, evaluated whole: a file, a directory or a glob')
    group.add_argument('--vocab_path', required=True, help='vocabulary: one token a line, most frequent first')
    group.add_argument('--batch_size', type=positive_int, default=128,
                       help='sentences of num_steps tokens in a batch: it holds batch_size * num_steps tokens on each '
                       'device')
    group.add_argument('--num_steps', type=positive_int, default=20,
                       help='tokens, the mean length of sentences that batch_size counts on; the loss is scaled by it')
    flags.max_sentence_length(group)


def _add_network(group):
    group.add_argument('--embed_size', type=positive_int, help='embedding and LSTM projection (published: 512)')
    group.add_argument('--hidden_size', type=positive_int, help='LSTM cell (published: 4096)')
    group.add_argument('--num_layers', type=positive_int, help='LSTM layers in each direction (published: 2)')
    group.add_argument('--cell_clip', type=number(float, above=0), help='bound of the LSTM cells (published: 3)')
    group.add_argument('--proj_clip', type=number(float, above=0), help='bound of the LSTM projections (published: 3)')


def _add_optimization(group):
    group.add_argument('--dropout', type=number(float, low=0, below=1), default=0.1,
                       help="rate for each layer's input and the last output")
    group.add_argument('--optim', choices=['adagrad', 'sgd', 'adam', 'rmsprop'], default='adam',
                       help='adagrad is that of the paper; adam learns more from the same text')
    group.add_argument('--learning_rate', type=number(float, above=0),
                       help='not given: for adam 4 / hidden_size, at most 0.004, and for adagrad 0.2; sgd and rmsprop '
                            'need one')
    group.add_argument('--linear_decay', default=False,
                       help='let the learning rate fall linearly, towards 0 at the end of the run', **BOOLEAN)
    group.add_argument('--max_grad_norm', type=number(float, above=0), default=10.,
                       help='gradients are scaled down to this global norm; chosen for the loss times num_steps')
    group.add_argument('--use_amp', default=False,
                       help='mixed precision, for GPUs of compute capability 7.0 or later: the matrix products before '
                            'the LSTM layers in float16, with dynamic scaling of the loss; parameters stay float32',
                       **BOOLEAN)
    group.add_argument('--on_nan', choices=['stop', 'skip'], default='stop',
                       help='when a loss or gradient is not finite: stop, or go back to the last checkpoint and leave '
                            'that batch out')
    group.add_argument('--max_epoch', type=positive_int, default=10, help='times the training text is read')
    group.add_argument('--max_steps', type=non_negative_int, default=0, help='stop after this many steps; 0: no limit')
    flags.random_seed(group)
    group.add_argument('--sample_softmax', default=None,
                       help='train with a softmax over candidates drawn for each step; not given: where the vocabulary '
                            'is at least 4 times their number', **BOOLEAN)
    group.add_argument('--n_negative_samples_batch', type=positive_int, default=8192,
                       help='words, the candidates of the sampled softmax, shared by all tokens of a step')


def _add_processes(group):
    group.add_argument('--update_method', choices=['local', 'nccl2', 'pserver'], default='local',
                       help='local: this process alone; nccl2: GPUs of many processes; pserver: parameter servers')
    group.add_argument('--start_timeout', type=positive_int, default=300,
                       help='seconds that the processes may take to come')


def _add_run(group):
    flags.use_gpu(group)
    group.add_argument('--log_interval', type=positive_int, default=100, help='steps between log lines')
    flags.drawing(group)
    group.add_argument('--dev_interval', type=positive_int, default=10000,
                       help='steps between evaluations of the dev text; the end of an epoch is evaluated anyway')


def _add_checkpoints(group):
    group.add_argument('--save_dir', '--para_save_dir', metavar='DIR', default='',
                       help='where checkpoints are written; not given: a new directory, checkpoints, checkpoints.2, '
                            'checkpoints.3 …, or with --resume_from the one of its checkpoint')
    group.add_argument('--save_interval', type=positive_int, default=10000,
                       help='steps between checkpoints; the best on the dev text and the last are saved anyway')
    group.add_argument('--save_minutes', type=number(float, low=0), default=30.,
                       help='minutes between checkpoints, whatever the steps; 0: no limit')
    group.add_argument('--keep_checkpoints', type=positive_int, default=3,
                       help='newest checkpoints kept; the best is kept beside them')
    group.add_argument('--init_from', '--load_pretraining_params', metavar='DIR', default='',
                       help='start a new run from the parameters of this checkpoint, or of the best in a directory of '
                            'them, for example on other text; the dev text is evaluated first')
    group.add_argument('--resume_from', '--load_dir', metavar='DIR', default='',
                       help='go on with the run of this checkpoint, or of the newest in a directory of them: '
                            'parameters, optimizer, step and place in the text')
    flags.resume(group, 'with the newest whole checkpoint of save_dir')
