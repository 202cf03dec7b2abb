# -*- coding: utf-8 -*-
"""The devices that a program runs on, and what is fed to each of them."""
from __future__ import absolute_import, division, print_function, unicode_literals

import contextlib
import os
import threading

import numpy as np
import paddle.fluid as fluid

from elmo import memory, release
from elmo.batching import flat
from elmo.text import InputError, is_whole_number

THREADS = 2  # of each CPU replica that run operators, one for each direction of a biLM
_builders = threading.RLock()


@contextlib.contextmanager
def building(program, startup=None):
    """Layers that are made within go into `program`, and what gives their parameters initial values into `startup`.

    One thread builds at a time: fluid's default program and its counter of names are those of all threads.
    """
    with _builders, fluid.program_guard(program, startup or fluid.Program()), fluid.unique_name.guard():
        yield


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
    if not is_whole_number(number) or not int(number):
        raise InputError('CPU_NUM=%s: set it to the number of CPU replicas, 1 or more' % number)
    return fluid.cpu_places(int(number))


def too_many(places):
    """Whether these are more devices than this fluid runs a program on in one process."""
    return len(places) > 1 and not release.has_data_parallel()


def places_of_one_process(use_gpu=None):
    """As `places`; of several devices only the first, which is told, where this fluid runs one in a process."""
    found = places(use_gpu)
    if too_many(found):
        print('this PaddlePaddle runs one device in a process: the first of %d is used' % len(found))
        return found[:1]
    return found


def describe(places, number=1):
    """What the last digits of a run depend on: its devices, `number` in all, and MKL's threads of each on a CPU.

    Sums are made in another order with other threads.
    """
    if isinstance(places[0], fluid.CUDAPlace):
        return '%d GPU' % number
    return '%d CPU, MKL_NUM_THREADS=%s' % (number, os.environ.get('MKL_NUM_THREADS'))


def check_memory(place, shapes, kept=1):
    """See memory.check; the memory of a GPU is its own, and fluid tells when it is full."""
    if not isinstance(place, fluid.CUDAPlace):
        memory.check(shapes, kept)


class Executor(object):
    """Runs a program on several devices at a time, each fed its own part of a batch.

    On each CPU replica several threads run operators that do not wait for one another, as those of the two directions
    of a biLM. Unlike threads within an operator, they share all of the work, not the matrix products alone.

    Args:
        program: a fluid.Program.
        places: list of the devices.
        loss: name of the loss, if the program trains.
        share_vars_from: an Executor that has run; this one uses its variables.
        cluster: a distributed.Cluster whose trainers run the program with NCCL2.
        threads: of each CPU replica.

    Attributes:
        has_run: whether it has; until then it has no variables to share.
    """

    def __init__(self, program, places, loss=None, share_vars_from=None, threads=THREADS, cluster=None):
        if too_many(places):
            raise InputError('%d devices: this PaddlePaddle runs one in a process; set CUDA_VISIBLE_DEVICES to one '
                             'GPU, or CPU_NUM=1' % len(places))
        build, execution = fluid.BuildStrategy(), fluid.ExecutionStrategy()
        if cluster and cluster.trainers:
            build.num_trainers, build.trainer_id = cluster.num_trainers, cluster.trainer_id
        if not isinstance(places[0], fluid.CUDAPlace):
            execution.num_threads = threads * len(places)
            # An operator that shares the memory of its input puts what follows into the queue of its own thread. One
            # thread would have the work of both directions while the other one waits.
            build.enable_inplace = False
        # A single device has its variables in the scope. There fluid would print that it need not share them.
        shared = share_vars_from._program if share_vars_from and len(places) > 1 else None
        self._exe, self.has_run, self._program = fluid.Executor(places[0]), False, program
        if release.has_data_parallel():
            self._program = fluid.CompiledProgram(program).with_data_parallel(loss, build, execution, shared, places)

    def run(self, fetch_list, feed=None, return_numpy=True, scope=None):
        """As fluid.Executor.run; `feed` is a list of one dict a device. The scope must be the same in each call."""
        self.has_run = True
        return self._exe.run(self._program, feed, fetch_list, scope=scope, return_numpy=return_numpy)


def lod_tensor(array, lengths, place):
    """A LoD tensor of rows [N, ...] of any dtype; `lengths` are those of the sequences, their sum is N."""
    tensor = fluid.LoDTensor()
    tensor.set(array, place)
    tensor.set_recursive_sequence_lengths([list(lengths)])
    return tensor


def to_lod(sentences, place=None):
    """Ids of sentences as one fluid.LoDTensor, int64 [N, 1] of N ids in all: what `emb` and other layers are fed.

    Args:
        sentences: list of lists of ids, for `emb` without <S> and </S>.
        place: the device that it is on; None: the CPU, from where fluid copies it.

    Raises:
        InputError: it is no list of lists of ids, or there is no sentence, which fluid cannot run on.
    """
    ids, lengths = flat(sentences)
    if not lengths:
        raise InputError('a list of lists of ids is wanted, got an empty list')
    return lod_tensor(ids.reshape(-1, 1), lengths, place or fluid.CPUPlace())


def feeds(batches, config, places):
    """What each device is fed as `tokens` and `next_tokens` of bilm.language_model: a list of dicts.

    A device whose batch is empty gets the empty sentence, as fluid cannot run on nothing. The caller must not count
    its loss.

    Args:
        batches: one reader.Batch a device.
        config: of the biLM, with the ids of <S> and </S>.
    """
    result = []
    for batch, place in zip(batches, places):
        tokens, next_tokens, lengths = batch.tokens, batch.next_tokens, batch.lengths.tolist()
        if not lengths:
            tokens, next_tokens = [np.array([[id]], dtype='int64') for id in (config['bos_id'], config['eos_id'])]
            lengths = [1]
        result.append({'tokens': lod_tensor(tokens, lengths, place),
                       'next_tokens': lod_tensor(next_tokens, lengths, place)})
    return result
