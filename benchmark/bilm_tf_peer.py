# -*- coding: utf-8 -*-
"""Measures training by the program of ELMo's authors: bilm 0.1 from PyPI with TensorFlow 1.15, on all cores.

    python benchmark/bilm_tf_peer.py [--num_samples 0]

It runs bilm.training.train unchanged. TensorFlow uses one thread per core. If there is no GPU, it puts the operations
for a GPU on the CPU. Word vectors come from a table, as in this project, not from characters. The time of a step is the
time between two requests of train for a batch.
"""
import contextlib
import io
import os
import shutil
import sys
import tempfile
import time

from project import ROOT, cli
import common

sys.path.remove(ROOT)  # `bilm` is the authors' package here, not our file
os.environ.update(CUDA_VISIBLE_DEVICES='', TF_CPP_MIN_LOG_LEVEL='2')  # before TensorFlow is imported


def sgemm_rate(size=2048, times=8, rounds=5):
    """GFLOPS of square matrix products, one after the other; the best round counts, as in speed.py."""
    import tensorflow as tf
    with tf.Graph().as_default(), tf.Session() as session:
        matrix = tf.Variable(tf.random.normal([size, size], stddev=size ** -0.5))
        x = matrix
        for _ in range(times):
            x = tf.matmul(x, matrix)
        session.run(matrix.initializer)
        seconds = []
        for _ in range(1 + rounds):
            start = time.time()
            session.run(x.op)
            seconds.append(time.time() - start)
    return times * 2e-9 * size ** 3 / min(seconds[1:])


class Batches(object):
    """Gives train the same batch again and again, and records the time of each request."""

    def __init__(self, args):
        import numpy as np
        text = np.array(common.sentences(args, args.batch_size))
        tokens = np.pad(text, [(0, 0), (1, 0)], 'constant', constant_values=0)  # <S>
        next_tokens = np.pad(text, [(0, 0), (0, 1)], 'constant', constant_values=1)  # </S>
        self.batch = {'token_ids': tokens, 'next_token_id': next_tokens,
                      'token_ids_reverse': next_tokens[:, ::-1], 'next_token_id_reverse': tokens[:, ::-1]}
        self.number, self.times = args.warm_up + args.steps, []

    def iter_batches(self, batch_size, num_steps):
        for _ in range(self.number):
            self.times.append(time.time())
            yield self.batch
        self.times.append(time.time())


def main():
    args = common.parser('Tokens a second of training in bilm-tf.').parse_args()
    if args.inference:
        cli.fail('--inference: only training is measured here')
    import tensorflow as tf
    tf.compat.v1.logging.set_verbosity(tf.compat.v1.logging.ERROR)
    from bilm.training import train
    tf.compat.v1.logging.set_verbosity(tf.compat.v1.logging.ERROR)  # again, as the import turns messages on
    options = {
        'bidirectional': True, 'n_tokens_vocab': args.vocab_size, 'batch_size': args.batch_size,
        'unroll_steps': args.num_steps, 'dropout': 0.1, 'all_clip_norm_val': 10., 'learning_rate': 0.2, 'n_epochs': 1,
        'sample_softmax': bool(args.num_samples), 'n_negative_samples_batch': args.num_samples,
        'lstm': {'dim': args.hidden_size, 'projection_dim': args.embed_size, 'n_layers': args.num_layers,
                 'cell_clip': 3., 'proj_clip': 3., 'use_skip_connections': True}}
    gflops, batches, directory = sgemm_rate(), Batches(args), tempfile.mkdtemp()
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # train prints its variables
            train(options, batches, 1, directory, directory)
    finally:
        shutil.rmtree(directory)
    seconds = [end - start for start, end in zip(batches.times, batches.times[1:])]
    common.report('bilm-tf', args, seconds[args.warm_up:], gflops)


if __name__ == '__main__':
    cli.run(main)
