# -*- coding: utf-8 -*-
"""Shared by all speed benchmarks: flags for the sizes, the operations per token, and the report of a result.

The peers run in their own environments, so this file does without numpy and fluid.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import argparse
import collections
import io
import json
import math
import os
import random
import resource
import subprocess

from project import cli

SIZES = collections.OrderedDict([  # of the network and the batch: the published value, the smallest one, what it is
    ('vocab_size', (52445, 4, 'words')), ('embed_size', (512, 1, 'embedding and projection')),
    ('hidden_size', (4096, 1, 'LSTM cell')), ('num_layers', (2, 1, 'LSTM layers in each direction')),
    ('batch_size', (128, 1, 'sentences in a batch')), ('num_steps', (20, 2, 'tokens in each sentence')),
    ('num_samples', (8192, 0, 'candidates of the sampled softmax; 0: the full one'))])


def sizes_parser(description, names=tuple(SIZES)):
    """A parser with these sizes."""
    result = cli.ArgumentParser(description)
    for name in names:
        default, low, text = SIZES[name]
        result.add_argument('--' + name, type=cli.number(int, low=low), default=default, help=text)
    return result


def parser(description):
    """A parser with all sizes, and with what is measured."""
    result = sizes_parser(description)
    result.add_argument('--steps', type=cli.positive_int, default=5, help='steps measured')
    result.add_argument('--warm_up', type=cli.non_negative_int, default=2, help='steps before that')
    result.add_argument('--inference', action='store_true', help='the vectors of the layers alone, not training')
    result.add_argument('--output', type=_results, help='a file to which the result is added as a line of JSON')
    return result


def _results(path):
    """argparse type: a file to which lines can be added."""
    try:
        io.open(path, 'a').close()
    except EnvironmentError as error:
        raise argparse.ArgumentTypeError('cannot write %s: %s' % (path, error.strerror))
    return path


def flop_per_token(args, inference=False):
    """Floating point operations of the matrix products for one token. Backward takes twice as many as forward.

    In each direction and layer: input to 4 gates, recurrent projection to 4 gates, cell to projection; then the
    softmax. The other work of a step (gates, optimizer, embedding) has no matrix products and is not counted.
    """
    layer = 2 * (2 * args.embed_size * 4 * args.hidden_size + args.hidden_size * args.embed_size)
    softmax = 2 * args.embed_size * (args.num_samples or args.vocab_size)
    if inference:
        return 2 * args.num_layers * layer
    return 3 * 2 * (args.num_layers * layer + softmax)


def sentences(args, number, seed=0):
    """Lists of num_steps - 1 word ids, log-uniform over the words after <S>, </S> and <UNK>."""
    draw, words = random.Random(seed).random, args.vocab_size - 3
    return [[2 + int(math.exp(draw() * math.log(words + 1))) for _ in range(args.num_steps - 1)] for _ in range(number)]


def peak_memory_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def _nvidia_smi(*query):
    """The rows of what nvidia-smi answers, lists of texts."""
    answer = subprocess.check_output(('nvidia-smi', '--format=csv,noheader,nounits') + query).decode('utf-8')
    return [line.split(', ') for line in answer.splitlines()]


def gpu_memory_mb():
    """MB of GPU memory that this process holds. fluid keeps what it once took, so at the end this is the peak.

    In a container nvidia-smi does not know the processes by their ids. Then it is what is taken of the visible GPUs, by
    whatever process.
    """
    held = [mb for pid, mb in _nvidia_smi('--query-compute-apps=pid,used_memory') if pid == '%d' % os.getpid()]
    if not held or not all(mb.isdigit() for mb in held):
        visible = os.environ.get('CUDA_VISIBLE_DEVICES')
        held = [mb for mb, in _nvidia_smi('--query-gpu=memory.used', *(['--id=' + visible] if visible else []))]
    return sum(int(mb) for mb in held)


def report(name, args, seconds, gflops, gpu_memory_mb=None):
    """Prints the result of a benchmark: tokens a second (median of the steps), and the fraction of the limit.

    Args:
        name: name of the measured program.
        seconds: list, seconds of each step.
        gflops: rate of matrix products, measured in this process.
        gpu_memory_mb: peak of the memory of the GPUs, if the program ran on them.
    """
    middle = sorted(seconds)[len(seconds) // 2]
    tokens = args.batch_size * args.num_steps * getattr(args, 'devices', 1)
    result = {'name': name, 'tokens_per_second': tokens / middle,
              'peak_memory_mb': peak_memory_mb(),
              'work': 'inference' if args.inference else 'training'}
    memory = 'peak memory %d MB' % result['peak_memory_mb']
    if gpu_memory_mb is not None:
        result['gpu_memory_mb'] = gpu_memory_mb
        memory += ', of the GPU %d MB' % gpu_memory_mb
    result.update({key: value for key, value in vars(args).items() if key not in ('output', 'inference')})
    result['gflops'], result['limit'] = gflops, 1e9 * gflops / flop_per_token(args, args.inference)
    print('%s: %d tokens/s, %.2f of the %d that matrix products at %.0f GFLOPS allow, %s, %d steps of %d x %d'
          % (name, result['tokens_per_second'], result['tokens_per_second'] / result['limit'], result['limit'], gflops,
             memory, len(seconds), args.batch_size, args.num_steps))
    if args.output:
        with io.open(args.output, 'a', encoding='utf-8') as output:
            output.write(u'%s\n' % json.dumps(result, sort_keys=True))
