# -*- coding: utf-8 -*-
"""One process for each device, for a fluid without ParallelExecutor: its gradients are summed by NCCL or gloo.

A user who has several devices starts one process. It is trainer 0, and starts the others.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time

import numpy as np
import paddle.fluid as fluid

from bilm import data
from elmo import clock, distributed, release, signals
from elmo.text import InputError

RING = 0  # fluid's number of the communicator
SHARED = ('samples',)  # the ids of these lookups are the same in all processes


def needed(cluster):
    """Whether the processes of a cluster sum their gradients by the operators of this module."""
    return bool(cluster.trainers) and not release.has_data_parallel()


def sum_gradients(params_grads, num_trainers):
    """Adds to the default program what replaces the gradients of a step by their sum over all trainers.

    A dense gradient is summed as it is. A sparse one is made from the gradients of looked up rows: they travel, and the
    sparse gradient of all is made from them. The rows of candidates, which all trainers share, are summed.

    Args:
        params_grads: as optimizer.backward returns them.
        num_trainers: of the cluster.
    """
    block = fluid.default_main_program().global_block()
    data('gather_rows', [None], dtype='int64')
    data('gather_mask', [None, 1], dtype='float32')
    ids_of_all = {}
    for lookup in [op for op in block.ops if op.type == 'lookup_table_grad']:
        ids, gradient = lookup.input('Ids')[0], lookup.input('Out@GRAD')[0]
        if ids in SHARED:
            _insert_sum(block, block.ops.index(lookup), gradient)
            continue
        if ids not in ids_of_all:
            ids_of_all[ids] = _insert_gather(block, 0, ids, num_trainers)
        gathered = _insert_gather(block, block.ops.index(lookup), gradient, num_trainers)
        lookup._rename_input(ids, ids_of_all[ids])
        lookup._rename_input(gradient, gathered)
    for _, gradient in params_grads:
        if gradient.type == fluid.core.VarDesc.VarType.LOD_TENSOR:
            sum_over_trainers(gradient)


def sum_over_trainers(variable):
    """Appends what replaces a variable by its sum over all trainers."""
    _insert_sum(variable.block, len(variable.block.ops), variable.name)


def _insert(block, index, kind, inputs, output, **attrs):
    attrs['op_role'] = int(distributed.ROLES.Backward)
    block._insert_op(index, type=kind, inputs=inputs, outputs={'Out': output}, attrs=attrs)


def _insert_sum(block, index, name):
    """Replaces a tensor by its sum, at a place of the block."""
    _insert(block, index, 'c_allreduce_sum', {'X': name}, name, ring_id=RING, use_calc_stream=True)


def _insert_gather(block, index, name, num_trainers):
    """Makes a tensor of the rows of one in all trainers, one trainer behind the other, and returns its name.

    A gather wants equally many rows everywhere. The fed `gather_rows` repeats the last row; the tensors of gradients
    have their repeated rows set to 0 by `gather_mask`.
    """
    like = block.var(name)
    rows, result = [block.create_var(name='%s@%s' % (name, part), dtype=like.dtype, shape=[-1] + list(like.shape[1:]),
                                     stop_gradient=True).name for part in ('rows', 'of_all')]
    operators = [('gather', {'X': name, 'Index': 'gather_rows'}, rows, {}),
                 ('c_allgather', {'X': rows}, result, dict(ring_id=RING, use_calc_stream=True, nranks=num_trainers))]
    if like.dtype == fluid.core.VarDesc.VarType.FP32:
        operators.insert(1, ('elementwise_mul', {'X': rows, 'Y': 'gather_mask'}, rows, {'axis': -1}))
    for place, (kind, inputs, output, attrs) in enumerate(operators, index):
        _insert(block, place, kind, inputs, output, **attrs)
    return result


def gather_feed(rows, most_rows):
    """What sum_gradients wants to be fed.

    Args:
        rows: tokens of this trainer in the step, at least 1.
        most_rows: tokens of the trainer that has most.
    """
    numbers = np.arange(most_rows)
    return {'gather_rows': np.minimum(numbers, rows - 1),
            'gather_mask': (numbers < rows).astype('float32').reshape(-1, 1)}


def join(cluster, place, timeout):
    """Makes the communicator of all trainers, which must all call this, once in a process.

    Args:
        timeout: seconds to wait for the others. Their Watch should be up: nothing else runs in this process meanwhile.
    """
    if isinstance(place, fluid.CUDAPlace):
        fluid.Executor(place).run(nccl_program(cluster))
        return
    host, port = cluster.trainers[0].rsplit(':', 1)
    if {endpoint.rsplit(':', 1)[0] for endpoint in cluster.trainers} != {host}:
        raise InputError('--update_method nccl2: on CPUs all processes must be on one machine; use GPUs')
    strategy = fluid.core.GlooParallelStrategy()
    strategy.rank, strategy.rank_num = cluster.trainer_id, cluster.num_trainers
    strategy.ip_address, strategy.ip_port = host, int(port)
    strategy.init_seconds, strategy.run_seconds = timeout, 10 ** 7  # trainer 0 may take long to evaluate
    server = cluster.trainer_id == 0 and _start_rendezvous(host, port, cluster.num_trainers)
    fluid.core.GlooParallelContext(strategy).init()
    if server:
        server.wait()  # the others may not be through


def _start_rendezvous(host, port, number):
    """Starts rendezvous.py; InputError if it cannot use the port."""
    command = [sys.executable, os.path.join(os.path.dirname(__file__), 'rendezvous.py'), host, port, '%d' % number]
    with open(os.devnull, 'w') as null:
        server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=null)
    if not server.stdout.readline():
        raise InputError('port %s, for the processes to find each other, cannot be used; choose another' % port)
    return server


def nccl_program(cluster):
    """The program that makes NCCL's communicator: trainer 0 sends an id to the others, at their endpoints."""
    program = fluid.Program()
    block = program.global_block()
    number = block.create_var(name=str('nccl_id'), persistable=True, type=fluid.core.VarDesc.VarType.RAW)
    current, rank = cluster.trainers[cluster.trainer_id], cluster.trainer_id
    others = [endpoint for endpoint in cluster.trainers if endpoint != current]
    block.append_op(type='c_gen_nccl_id', outputs={'Out': number},
                    attrs={'rank': rank, 'endpoint': current, 'other_endpoints': others, 'ring_id': RING})
    block.append_op(type='c_comm_init', inputs={'X': number},
                    attrs={'nranks': cluster.num_trainers, 'rank': rank, 'ring_id': RING})
    return program


def cluster_of_devices(number):
    """The Cluster of this process, as trainer 0, and of those it will start: one for each device."""
    listeners = [socket.socket() for _ in range(number)]
    for listener in listeners:
        listener.bind(('127.0.0.1', 0))
    endpoints = ['127.0.0.1:%d' % listener.getsockname()[1] for listener in listeners]
    for listener in listeners:
        listener.close()
    return distributed.Cluster('local', 0, number, endpoints, [], None)


def _begin(parent):
    """The first that a started process does. It dies with its parent."""
    os.setsid()  # Ctrl-C is for trainer 0
    # Its Watch would end it too, but not while it still waits for the others, where gloo lets no thread run.
    signals.end_with(parent, signal.SIGKILL)


class Started(object):
    """The processes of the other devices of a cluster, which this process starts. A context; they end with it.

    Args:
        cluster: as cluster_of_devices made it; LOCAL: no process is started.
        command: list of words that each of them runs.
    """

    def __init__(self, cluster, command):
        self._processes, parent = [], os.getpid()
        self._errors = [tempfile.TemporaryFile() for _ in cluster.trainers[1:]]  # shown only if they matter
        for trainer_id, errors in enumerate(self._errors, 1):
            environ = dict(os.environ, CPU_NUM='1', FLAGS_selected_gpus='%d' % trainer_id)
            environ[distributed.STARTED] = '%d %s' % (trainer_id, ','.join(cluster.trainers))
            environ = {str(name): str(value) for name, value in environ.items()}
            with open(os.devnull, 'r+') as null:
                self._processes.append(subprocess.Popen(command, env=environ, stdin=null, stdout=null, stderr=errors,
                                                        preexec_fn=lambda: _begin(parent)))

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        for process in self._processes:
            if kind and process.poll() is None:
                process.kill()
            process.wait()

    def failed(self, seconds=0):
        """Which of them ended with an error, its exit code and what it said, as text; '' if none does within a time."""
        end = clock.now() + seconds
        while self._processes:
            for number, (process, errors) in enumerate(zip(self._processes, self._errors), 1):
                if process.poll():
                    errors.seek(0)
                    said = errors.read().decode('utf-8', 'replace').strip() or 'it said nothing'
                    return 'trainer %d died with exit code %d: %s; go on with --resume' % (
                        number, process.returncode, said)
            if clock.now() >= end:
                break
            time.sleep(0.1)
        return ''
