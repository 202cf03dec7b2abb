# -*- coding: utf-8 -*-
"""A step of pretraining: its program, what it is fed, and its run."""
from __future__ import absolute_import, division, print_function, unicode_literals

import numpy as np
import paddle.fluid as fluid

import bilm
from bilm import data, ops
from elmo import amp, checkpoint, collective, devices, distributed
from elmo.sampling import LogUniformSampler

# How many numbers each optimizer keeps for one of a parameter.
KEPT = {'adagrad': 1, 'sgd': 0, 'adam': 2, 'rmsprop': 3}
OPTIMIZERS = {
    # The accumulators start at 1 as in the TensorFlow reference. From 0, the first update of each parameter would be as
    # large as the learning rate.
    'adagrad': lambda rate, clip: fluid.optimizer.Adagrad(rate, initial_accumulator_value=1., grad_clip=clip),
    'sgd': lambda rate, clip: fluid.optimizer.SGD(rate, grad_clip=clip),
    'adam': lambda rate, clip: fluid.optimizer.Adam(rate, lazy_mode=True, grad_clip=clip),
    'rmsprop': lambda rate, clip: fluid.optimizer.RMSProp(rate, grad_clip=clip),
}


class TrainingProgram(object):
    """The program of a step, what it is fed, and its run.

    fluid averages the gradients of the devices. So each device is fed `loss_scale`, float32 [1]: number of devices /
    tokens of the step, both over all trainers. A step then minimises the mean over all tokens, however they are dealt.
    Where collective.py sums the gradients, it is 1 / tokens of the step.

    Args:
        config: sizes of the network.
        args: the flags.
        places: devices of this process.
        cluster: a distributed.Cluster.
        threads: see devices.Executor.

    Attributes:
        whole: the training program with all variables, to load and to save.
        optimizer_variables: what the optimizer keeps between steps.
        startup: gives the parameters their initial values.
        transpiled: a distributed.Transpiled, None of a single process.
        executor: a devices.Executor, None of a parameter server.
    """

    def __init__(self, config, args, places, cluster=distributed.LOCAL, threads=devices.THREADS):
        self.config, self.args, self.places, self.cluster = config, args, places, cluster
        self.transpiled = self.executor = None
        self._sums = collective.needed(cluster)
        main, self.startup = fluid.Program(), fluid.Program()
        with devices.building(main, self.startup):
            self._loss, self._metrics, names = self._build()
        self.whole = main
        if cluster.method != 'local' and not self._sums:
            self.whole = main.clone()  # the program of a trainer lacks what the servers do
            self.transpiled = distributed.Transpiled(cluster, main, self.startup)
            main = self.transpiled.program
        self.optimizer_variables = [self.whole.global_block().var(name) for name in names]
        if not cluster.server:
            self.executor = devices.Executor(main, places, self._loss, threads=threads, cluster=cluster)

    def _build(self):
        """Builds the step; returns the names of its loss, of its metrics, and of what the optimizer keeps.

        The metrics, float32 [3], are the mean losses forward and backward and the global norm of the gradient before it
        is clipped. See amp.Scaling for the norm of a gradient that overflows.
        """
        args = self.args
        loss_scale = data('loss_scale', [1], dtype='float32')
        losses = bilm.language_model(self.config, args.dropout, args.random_seed, manual_gradient=True,
                                     sampled=args.sample_softmax)
        fw, bw = [ops.elementwise_mul(ops.reduce_sum(loss), loss_scale) for loss in losses]
        # The learning rate and the bound of the gradients were chosen for the loss summed over num_steps tokens.
        loss = ops.scale(ops.elementwise_add(fw, bw), 0.5 * args.num_steps)
        rate = data('learning_rate', [1], dtype='float32') if args.linear_decay else args.learning_rate
        clip, make = distributed.Clip(args.max_grad_norm), OPTIMIZERS[args.optim]
        optimizer = amp.Scaling(make(rate, None), clip) if args.use_amp else make(rate, clip)
        gradients = optimizer.backward(loss)
        if self._sums:
            collective.sum_gradients(gradients, self.cluster.num_trainers)
        optimizer.apply_gradients(gradients)
        names = [variable.name for variable in checkpoint.optimizer_variables(fluid.default_main_program())]
        losses = ops.concat([fw, bw])
        if self._sums:
            collective.sum_over_trainers(losses)
        metrics = ops.concat([losses, optimizer.norm if args.use_amp else clip.norm])
        if self.cluster.num_trainers > 1 and not self._sums:
            metrics = distributed.average(metrics)
        return loss.name, metrics.name, names

    def feed(self, batch, step):
        """What step number `step` (from 0) feeds to each device of this process: a list of dicts.

        Dropout masks and candidates follow from (random_seed, step). All devices share the candidates.

        Args:
            batch: a reader.GlobalBatch.
        """
        args, random = self.args, np.random.RandomState((self.args.random_seed, step))
        feeds = devices.feeds(batch.batches, self.config, self.places)
        if args.sample_softmax:
            sampler = LogUniformSampler(self.config['vocab_size'], args.n_negative_samples_batch)
            candidates = sampler.draw(random)
            for feed in feeds:
                words = {name: np.array(feed[name]) for name in ('tokens', 'next_tokens')}
                feed.update(sampler.feed(candidates, words))
        num_devices = len(self.places) * self.cluster.num_trainers
        seeds = random.randint(1, 2 ** 31 - 1, [num_devices, bilm.num_dropout_seeds(self.config)]).astype('int32')
        first = self.cluster.trainer_id * len(self.places)
        for number, (feed, share) in enumerate(zip(feeds, batch.batches), first):
            scale = (1 if self._sums else num_devices) / batch.num_tokens if len(share.lengths) else 0.
            if self._sums:
                feed.update(collective.gather_feed(max(len(share.tokens), 1), batch.most_tokens))
            feed['loss_scale'] = np.array([scale], dtype='float32')
            if args.dropout:
                feed['dropout_seeds'] = seeds[number]
            if args.linear_decay:
                feed['learning_rate'] = np.array([self._decayed_rate(batch, step)], dtype='float32')
        return feeds

    def _decayed_rate(self, batch, step):
        """By what was done before the step, so that the last one still has a rate above 0."""
        args = self.args
        done = max(batch.epochs_before / args.max_epoch, step / args.max_steps if args.max_steps else 0.)
        return args.learning_rate * (1 - done)

    def run(self, feed):
        """Runs a step: its mean losses forward and backward and its gradient norm, float32 [3]."""
        return np.reshape(self.executor.run([self._metrics], feed), [-1, 3]).mean(axis=0)  # over the devices


def steps(reader, program, position, step):
    """Yields (batch, what its step feeds) of an epoch from a position on; `step` is the number of the first one."""
    for number, batch in enumerate(reader.epoch(position), step):
        yield batch, program.feed(batch, number)
