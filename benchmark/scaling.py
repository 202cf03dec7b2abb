# -*- coding: utf-8 -*-
"""What a step sends over the network, and from how many GPUs on that decides the speed: on paper, from the programs.

    . scripts/env.sh && "$PYTHON" benchmark/scaling.py

The program that fluid's transpiler makes for a trainer shows which gradients are sparse, what is sent and what is
fetched. The sizes follow from the options. SCALING.md lists the assumptions.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

from project import cli
import numpy as np
import paddle.fluid as fluid

import bilm
from args import parse_args
from benchmark import common
from elmo import distributed, release
from elmo.training import TrainingProgram

GBITS = (1, 10, 25, 100)  # of networks, each way


def training_program(args, method, cluster):
    """The TrainingProgram of a trainer of a cluster."""
    flags = parse_args(['--train_path', '.', '--test_path', '.', '--vocab_path', '.', '--update_method', method,
                        '--save_dir', '.', '--learning_rate', '0.2', '--sample_softmax', '%s' % bool(args.num_samples)])
    config = dict(bilm.PUBLISHED_CONFIG, vocab_size=args.vocab_size, embed_size=args.embed_size,
                  hidden_size=args.hidden_size, num_layers=args.num_layers)
    return TrainingProgram(config, flags, [fluid.CPUPlace()], cluster)


def reduced(args):
    """Bytes of a step where the processes sum their gradients by themselves (fluid 2.5).

    Returns:
        {'summed': bytes of the tensors that are summed, 'gathered': bytes that each trainer gives to all others}
    """
    cluster = distributed.Cluster('nccl2', 0, 2, ['127.0.0.1:7164', '127.0.0.1:7165'], [], None)
    block = training_program(args, 'nccl2', cluster).whole.global_block()
    counts = dict(summed=0, gathered=0)
    for op in block.ops:
        if op.type in ('c_allreduce_sum', 'c_allgather'):
            variable = block.var(op.input('X')[0])
            kind, rows = (('summed', args.num_samples) if op.type == 'c_allreduce_sum' else
                          ('gathered', args.batch_size * args.num_steps))
            shape = [rows if size < 0 else size for size in variable.shape]
            counts[kind] += int(np.prod(shape)) * (8 if variable.dtype == fluid.core.VarDesc.VarType.INT64 else 4)
    return counts


def traffic(args, is_sparse=True):
    """Bytes of a step: {'dense': dense gradients, 'sparse': rows of sparse gradients, 'sent', 'fetched'}.

    'sent' and 'fetched' are for a trainer with parameter servers. There is at most one row for each word that a batch
    reads, predicts or draws.

    Args:
        is_sparse: False counts all gradients as dense.
    """
    program = training_program(args, 'pserver', distributed.Cluster('pserver', 0, 2, [], ['127.0.0.1:7164'], None))
    shapes = {parameter.name: parameter.shape for parameter in program.whole.all_parameters()}
    block = program.transpiled.program.global_block()
    tokens = args.batch_size * args.num_steps
    rows = {'embedding_para': tokens, 'softmax_weight': args.num_samples + tokens}
    counts = dict.fromkeys(('dense', 'sparse', 'sent', 'fetched'), 0)
    for op in block.ops:
        if op.type == 'send':
            name = op.attr('op_role_var')[0]
            variable = block.var(op.input('X')[0])
            if variable.type == fluid.core.VarDesc.VarType.SELECTED_ROWS and is_sparse:
                size = min(rows[name], shapes[name][0]) * (4 * shapes[name][1] + 8)  # 8: the number of the row
                counts['sparse'] += size
            else:
                size = 4 * int(np.prod(shapes.get(name, [3])))
                counts['dense'] += size
            counts['sent'] += size
        elif op.type == 'recv':
            counts['fetched'] += 4 * int(np.prod(shapes.get(op.output('Out')[0], [3])))
    fetched = set(shapes) - {name for op in block.ops if op.type == 'recv' for name in op.output('Out')}
    for name in fetched:  # looked up on the servers, a row at a time
        counts['fetched'] += 4 * (min(rows[name], shapes[name][0]) if is_sparse else shapes[name][0]) * shapes[name][1]
    return counts


def main():
    parser = common.sizes_parser(__doc__.splitlines()[0])
    parser.add_argument('--tflops', type=cli.number(float, above=0), default=15.,
                        help='matrix products of a GPU, float32')
    args = parser.parse_args()
    if not release.has_servers():
        counts = reduced(args)
        print('all-reduce: %.1f MB summed; each trainer gives %.1f MB to all others'
              % (counts['summed'] / 1e6, counts['gathered'] / 1e6))
        return
    print('| softmax | gradients | dense, MB | rows, MB | sent to servers, MB | fetched, MB | ms of products a step |')
    print('|---|---|---:|---:|---:|---:|---:|')
    seconds = {}
    for num_samples in (args.num_samples or 8192, 0):
        args.num_samples = num_samples
        seconds[num_samples] = common.flop_per_token(args) * args.batch_size * args.num_steps / args.tflops / 1e12
        for is_sparse in (True, False):
            counts = traffic(args, is_sparse)
            print('| %s | %s | %.1f | %.1f | %.1f | %.1f | %.0f |' % (
                ('sampled %d' % num_samples if num_samples else 'full', 'sparse' if is_sparse else 'dense') +
                tuple(counts[key] / 1e6 for key in ('dense', 'sparse', 'sent', 'fetched')) +
                (1e3 * seconds[num_samples],)))
    print('\n| softmax | gradients | network, Gbit/s | ms of an all-reduce between 2 | between many | GPUs from which '
          'the rows take longer than the products | trainers a server can serve in the time of the products |')
    print('|---|---|---:|---:|---:|---:|---:|')
    for num_samples in sorted(seconds, reverse=True):
        args.num_samples = num_samples
        for is_sparse in (True, False):
            counts = traffic(args, is_sparse)
            for gbits in GBITS:
                rate = gbits * 1e9 / 8
                reduce_ms = [1e3 * 2 * share * counts['dense'] / rate for share in (0.5, 1)]
                rows = counts['sparse'] / rate
                print('| %s | %s | %d | %.0f | %.0f | %s | %.2f |' % (
                    'sampled %d' % num_samples if num_samples else 'full', 'sparse' if is_sparse else 'dense', gbits,
                    reduce_ms[0], reduce_ms[1], '%d' % (2 + int(seconds[num_samples] / rows)) if rows else '-',
                    seconds[num_samples] * rate / max(counts['sent'], counts['fetched'])))


if __name__ == '__main__':
    cli.run(main)
