# -*- coding: utf-8 -*-
"""Speed of this project: training with the reader, program and executor of train.py, or ELMo's vectors at inference.

    . scripts/env.sh && "$PYTHON" benchmark/speed.py [--num_samples 0] [--inference] [--devices 2] [--use_gpu False]

It also measures the rate of large matrix products, with the same BLAS, executor and threads in the same process.

A GPU computes in float32. fluid 2.5 would let GPUs of compute capability 8.0 and above round the factors of matrix
products to TF32, which is faster; --tf32 lets it, in the rate of matrix products too. fluid queues the work of a GPU,
but each step fetches a result, so it is through when its time is taken.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import io
import itertools
import os
import shutil
import tempfile
import time

from project import cli
import numpy as np
import paddle.fluid as fluid
from paddle.fluid.layer_helper import LayerHelper

import bilm
from args import DEFAULT_RATES, parse_args
from benchmark import common
from elmo import devices, flags, release
from elmo.batching import prefetch
from elmo.text import Vocabulary
from elmo.training import TrainingProgram, steps
from reader import BucketedReader


def sgemm_rate(places, threads, size=2048, times=8, rounds=5):
    """GFLOPS of square matrix products; the best round counts.

    With several threads each device computes two products at a time, as the biLM has two directions.
    """
    program, startup = fluid.Program(), fluid.Program()
    with fluid.program_guard(program, startup), fluid.unique_name.guard('sgemm'):
        ends = []
        for _ in range(min(threads, 2)):
            x = matrix = LayerHelper('sgemm').create_parameter(fluid.ParamAttr(), [size, size], 'float32')
            for _ in range(times):
                x = bilm.ops.matmul(x, matrix)
            ends.append(bilm.ops.slice(x, axes=[0, 1], starts=[0, 0], ends=[1, 1]).name)
    with fluid.scope_guard(fluid.Scope()):
        fluid.Executor(places[0]).run(startup)
        executor = devices.Executor(program, places, threads=threads)
        seconds = []
        for _ in range(1 + rounds):
            start = time.time()
            executor.run(ends)
            seconds.append(time.time() - start)
    return len(places) * len(ends) * times * 2e-9 * size ** 3 / min(seconds[1:])


def write_text(directory, args, number):
    """Writes a vocabulary and a text with `number` sentences; returns their paths."""
    words = ['<S>', '</S>', '<UNK>'] + ['w%d' % number for number in range(3, args.vocab_size)]
    paths = [os.path.join(directory, name) for name in ('vocabulary.txt', 'text.txt')]
    sentences = (' '.join(words[id] for id in sentence) for sentence in common.sentences(args, number))
    for path, lines in zip(paths, (words, sentences)):
        with io.open(path, 'w', encoding='utf-8') as output:
            output.writelines(line + '\n' for line in lines)
    return paths


def training(args, places, vocabulary, text):
    """Returns a function that trains one step. The batches are made in the background."""
    settings = parse_args(['--train_path', text, '--test_path', text, '--vocab_path', vocabulary.path,
                           '--optim', args.optim, '--batch_size', '%d' % args.batch_size,
                           '--num_steps', '%d' % args.num_steps, '--sample_softmax', '%s' % bool(args.num_samples),
                           '--n_negative_samples_batch', '%d' % (args.num_samples or 1)])
    settings.learning_rate = DEFAULT_RATES[args.optim](args.hidden_size)
    config = network(args, vocabulary)
    reader = BucketedReader([text], vocabulary, args.batch_size * args.num_steps * len(places), len(places))
    program = TrainingProgram(config, settings, places, threads=args.threads)
    fluid.Executor(places[0]).run(program.startup)

    def batches():
        for epoch in itertools.count():
            for batch in steps(reader, program, reader.start(epoch), 0):
                yield batch

    stream = prefetch(batches())
    return lambda: program.run(next(stream)[1])


def inference(args, places, vocabulary, text):
    """Returns a function that computes the vectors of a batch, the mix of all layers."""
    config = network(args, vocabulary)
    program, startup = fluid.Program(), fluid.Program()
    with fluid.program_guard(program, startup), fluid.unique_name.guard():
        word = bilm.data('word', [None, 1], dtype='int64', lod_level=1)
        vectors = bilm.elmo_encoder(bilm.emb(word, config=config), config=config)
    fluid.Executor(places[0]).run(startup)
    executor = devices.Executor(program, places, threads=args.threads)
    ids = np.array(common.sentences(args, args.batch_size)).reshape(-1, 1)
    feed = [{'word': fluid.create_lod_tensor(ids, [[args.num_steps - 1] * args.batch_size], place)} for place in places]
    return lambda: executor.run([vectors.name], feed, return_numpy=False)


def memory_mb(args):
    """The peak so far: of the GPUs, or of this process."""
    return common.gpu_memory_mb() if args.use_gpu else common.peak_memory_mb()


def network(args, vocabulary):
    return dict(bilm.PUBLISHED_CONFIG, vocab_size=len(vocabulary), embed_size=args.embed_size,
                hidden_size=args.hidden_size, num_layers=args.num_layers)


def parse():
    """The flags, and the devices; `use_gpu` is then what is used."""
    parser = common.parser('Tokens a second of training or inference, and the limit that matrix products set.')
    flags.use_gpu(parser, '--devices of either')
    parser.add_argument('--devices', type=cli.positive_int, default=1,
                        help='GPUs or CPU replicas; batch_size is that of each')
    parser.add_argument('--tf32', action='store_true', help='let a GPU compute matrix products in TF32, not in float32')
    parser.add_argument('--threads', type=cli.positive_int, default=devices.THREADS,
                        help='threads of each CPU replica that run operators side by side')
    parser.add_argument('--optim', choices=sorted(DEFAULT_RATES), default='adagrad', help='as in train.py')
    parser.add_argument('--profile', default='',
                        help='also write a profile of three more steps to this file (not with fluid 2.5)')
    args = parser.parse_args()
    if args.num_samples >= args.vocab_size:
        parser.error('--num_samples %d: there are only %d words; give fewer' % (args.num_samples, args.vocab_size))
    if args.profile and not hasattr(fluid, 'profiler'):
        parser.error('--profile wants fluid 1.8.5 or 2.4.2')
    os.environ['CPU_NUM'] = str(args.devices)
    places = devices.places(args.use_gpu)
    if args.devices > len(places):
        parser.error('--devices %d: %d GPUs are visible' % (args.devices, len(places)))
    args.use_gpu = isinstance(places[0], fluid.CUDAPlace)
    return args, places[:args.devices]


def main():
    args, places = parse()
    release.allow_tf32(args.tf32)
    # On a GPU, larger matrices keep all of it busy, and one operator runs after the other.
    gflops = sgemm_rate(places, 1, size=4096) if args.use_gpu else sgemm_rate(places, args.threads)
    directory = tempfile.mkdtemp()
    try:
        vocabulary_path, text = write_text(directory, args, 8 * args.devices * args.batch_size)
        step = (inference if args.inference else training)(args, places, Vocabulary(vocabulary_path), text)
        for _ in range(args.warm_up):
            step()
        seconds, warm_memory_mb = [], memory_mb(args)
        for _ in range(args.steps):
            start = time.time()
            step()
            seconds.append(time.time() - start)
        if args.profile:
            with fluid.profiler.profiler(str('CPU'), str('total'), args.profile):
                for _ in range(3):
                    step()
    finally:
        shutil.rmtree(directory)
    print('peak memory after the warm-up: %d MB' % warm_memory_mb)
    common.report('fluid', args, seconds, gflops, memory_mb(args) if args.use_gpu else None)


if __name__ == '__main__':
    cli.run(main)
