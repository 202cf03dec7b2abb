# -*- coding: utf-8 -*-
"""The devices that a program runs on, and what is fed to each of them."""
from __future__ import absolute_import, division, print_function, unicode_literals

import os

import environment  # noqa: F401  before fluid, which reads it when it is loaded
import numpy as np
import paddle
import paddle.fluid as fluid

from reader import InputError

if hasattr(paddle, 'enable_static'):  # fluid 2 starts in dynamic mode
    paddle.enable_static()


def places(use_gpu=None):
    """The devices to run on: every visible GPU, or CPU_NUM CPU replicas.

    Args:
        use_gpu: True, False, or None for GPUs where there are any.
    """
    gpus = fluid.core.get_cuda_device_count() if fluid.is_compiled_with_cuda() else 0
    if use_gpu and not fluid.is_compiled_with_cuda():
        raise InputError('--use_gpu True: this PaddlePaddle is built without CUDA; install paddlepaddle-gpu, '
                         'or give --use_gpu False')
    if use_gpu and not gpus:
        raise InputError('--use_gpu True: no GPU is visible; check nvidia-smi and CUDA_VISIBLE_DEVICES, '
                         'or give --use_gpu False')
    if use_gpu or (use_gpu is None and gpus):
        return fluid.cuda_places()
    number = os.environ['CPU_NUM']  # fluid reads it too
    if not number.isdigit() or not int(number):
        raise InputError('CPU_NUM=%s: set it to the number of CPU replicas, 1 or more' % number)
    return fluid.cpu_places(int(number))


THREADS = 2  # of each CPU replica that run operators, one for each direction of a biLM


class Executor(object):
    """Runs a program on several devices at a time, each fed its own part of a batch.

    On each CPU replica so many threads run operators that do not wait for one another, as those of the two directions
    of a biLM: unlike threads within each operator, they share all of its work, not the matrix products alone.

    Args:
        program: a fluid.Program.
        places: list of the devices.
        loss: name of the loss, if the program trains.
        share_vars_from: an Executor that has run, whose variables are used.
        cluster: a distributed.Cluster whose trainers run the program with NCCL2.
        threads: of each CPU replica.

    Attributes:
        has_run: whether it has; until then it has no variables to share.
    """

    def __init__(self, program, places, loss=None, share_vars_from=None, threads=THREADS, cluster=None):
        build, execution = fluid.BuildStrategy(), fluid.ExecutionStrategy()
        if cluster and cluster.trainers:
            build.num_trainers, build.trainer_id = cluster.num_trainers, cluster.trainer_id
        if not isinstance(places[0], fluid.CUDAPlace):
            execution.num_threads = threads * len(places)
            # An operator that shares its input's memory leaves what follows in the queue of its own thread: one thread
            # then has the work of both directions while another waits.
            build.enable_inplace = False
        # A single device has its variables in the global scope; told to share them, fluid would print that it need not.
        shared = share_vars_from._program if share_vars_from and len(places) > 1 else None
        self._exe, self.has_run = fluid.Executor(places[0]), False
        self._program = fluid.CompiledProgram(program).with_data_parallel(loss, build, execution, shared, places)

    def run(self, fetch_list, feed=None, return_numpy=True):
        """As fluid.Executor.run; `feed` is a list of one dict a device."""
        self.has_run = True
        return self._exe.run(self._program, feed, fetch_list, return_numpy=return_numpy)


def _lod_tensor(array, lengths, place):
    tensor = fluid.LoDTensor()
    tensor.set(array, place)
    tensor.set_recursive_sequence_lengths([lengths.tolist()])
    return tensor


def feeds(batches, vocabulary, devices):
    """One feed dict a device for the `tokens` and `next_tokens` of bilm.language_model.

    A device whose batch is empty gets the empty sentence, as fluid cannot run on nothing; the caller must
    not count its loss.
    """
    result = []
    for batch, place in zip(batches, devices):
        tokens, next_tokens, lengths = batch.tokens, batch.next_tokens, batch.lengths
        if not len(lengths):
            tokens, next_tokens = [np.array([[id]], dtype='int64') for id in (vocabulary.bos, vocabulary.eos)]
            lengths = np.array([1])
        result.append({'tokens': _lod_tensor(tokens, lengths, place),
                       'next_tokens': _lod_tensor(next_tokens, lengths, place)})
    return result
