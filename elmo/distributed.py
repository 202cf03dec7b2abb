# -*- coding: utf-8 -*-
"""Training by many processes with fluid's own engines: NCCL2 between GPUs, or parameter servers.

paddle's launchers tell each process who it is, by variables of the environment:

    nccl2    PADDLE_TRAINER_ID, PADDLE_TRAINERS_NUM, PADDLE_TRAINER_ENDPOINTS, PADDLE_CURRENT_ENDPOINT
    pserver  TRAINING_ROLE (TRAINER or PSERVER), PADDLE_TRAINERS_NUM, PADDLE_PSERVERS_IP_PORT_LIST; a trainer also has
             PADDLE_TRAINER_ID, and a server PADDLE_CURRENT_ENDPOINT (or POD_IP and PADDLE_PORT)

Every trainer reads the whole text and takes its own part of each step.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import collections
import contextlib
import io
import os
import sys

import paddle.fluid as fluid

from bilm import ops
from elmo import devices, release
from elmo.text import InputError, is_whole_number

STARTED = 'ELMO_TRAINER'  # of a process that another one started, see collective.Started: '1 ip:port,ip:port'
ROLES = fluid.core.op_proto_and_checker_maker.OpRole

# method: local, nccl2 or pserver. trainer_id: None for a server. trainers, servers: lists of endpoints, ip:port.
# server: the endpoint of this server, None for a trainer.
Cluster = collections.namedtuple('Cluster', 'method trainer_id num_trainers trainers servers server')
LOCAL = Cluster('local', 0, 1, [], [], None)


class _Environment(object):
    """Reads the variables of a launcher, and notes those that are missing."""

    def __init__(self, values):
        self.values, self.missing = dict(values), []

    def text(self, name):
        """A variable that must be set; '' if it is not."""
        if not self.values.get(name):
            self.missing.append(name)
        return self.values.get(name, '')

    def number(self, name):
        """A whole number, 0 if the variable is missing; InputError for anything else."""
        text = self.text(name)
        if text and not is_whole_number(text):
            raise InputError('%s=%s: set it to a whole number' % (name, text))
        return int(text or 0)

    def endpoints(self, name):
        """A list of different ip:port; InputError if it is not one."""
        text = self.text(name)
        found = text.split(',') if text else []
        for endpoint in found:
            host, _, port = endpoint.rpartition(':')
            if not (host and is_whole_number(port) and 0 < int(port) < 65536):
                raise InputError('%s=%s: %s is not ip:port' % (name, text, endpoint))
        if len(set(found)) < len(found):
            raise InputError('%s=%s: names an endpoint twice' % (name, text))
        return found

    def current_endpoint(self, name, endpoints):
        """The endpoint of this process; InputError unless it is one of those in the variable `name`."""
        current = self.text('PADDLE_CURRENT_ENDPOINT')
        if not self.missing and current not in endpoints:
            raise InputError('PADDLE_CURRENT_ENDPOINT=%s does not occur in %s=%s'
                             % (current, name, self.values[name]))
        return current


def cluster(method, environ=None):
    """The Cluster that this process belongs to, as the environment says.

    InputError names the variables that are missing or contradict each other.
    """
    environ = os.environ if environ is None else environ
    if method == 'local':
        return _of_started(environ[STARTED]) if environ.get(STARTED) else LOCAL
    environment = _Environment(environ)
    found = (_of_servers if method == 'pserver' else _of_gpus)(environment)
    if environment.missing:
        raise InputError('--update_method %s: lacks %s in the environment; start it by paddle.distributed.launch%s, or '
                         'set them' % (method, ', '.join(environment.missing), '_ps' if method == 'pserver' else ''))
    if not found.num_trainers or (found.trainer_id or 0) >= found.num_trainers:
        raise InputError('PADDLE_TRAINER_ID=%s, PADDLE_TRAINERS_NUM=%d: trainers count from 0 to their number less 1'
                         % (found.trainer_id, found.num_trainers))
    current = environment.values.get('PADDLE_CURRENT_ENDPOINT')
    if found.trainers and (len(found.trainers) != found.num_trainers or found.trainers[found.trainer_id] != current):
        raise InputError('PADDLE_TRAINER_ID=%d, PADDLE_TRAINERS_NUM=%d, PADDLE_CURRENT_ENDPOINT=%s do not fit '
                         'PADDLE_TRAINER_ENDPOINTS=%s' % (found.trainer_id, found.num_trainers, current,
                                                          ','.join(found.trainers)))
    return found


def _of_started(text):
    """The Cluster of a process that another one has started for one of its devices."""
    trainer_id, trainers = text.split()
    return Cluster('local', int(trainer_id), trainers.count(',') + 1, trainers.split(','), [], None)


def _of_gpus(environment):
    """The Cluster of a process that drives one GPU."""
    num_trainers, trainer_id = environment.number('PADDLE_TRAINERS_NUM'), environment.number('PADDLE_TRAINER_ID')
    trainers = environment.endpoints('PADDLE_TRAINER_ENDPOINTS')
    environment.current_endpoint('PADDLE_TRAINER_ENDPOINTS', trainers)
    return Cluster('nccl2', trainer_id, num_trainers, trainers, [], None)


def _of_servers(environment):
    """The Cluster of a parameter server, or of a trainer that has servers."""
    num_trainers, role = environment.number('PADDLE_TRAINERS_NUM'), environment.text('TRAINING_ROLE')
    servers = environment.endpoints('PADDLE_PSERVERS_IP_PORT_LIST')
    if role not in ('', 'TRAINER', 'PSERVER'):
        raise InputError('TRAINING_ROLE=%s: set it to TRAINER or PSERVER' % role)
    if role == 'PSERVER':
        values = environment.values
        if values.get('POD_IP') and values.get('PADDLE_PORT') and not values.get('PADDLE_CURRENT_ENDPOINT'):
            values['PADDLE_CURRENT_ENDPOINT'] = '%(POD_IP)s:%(PADDLE_PORT)s' % values
        server = environment.current_endpoint('PADDLE_PSERVERS_IP_PORT_LIST', servers)
        return Cluster('pserver', None, num_trainers, [], servers, server)
    trainer_id = environment.number('PADDLE_TRAINER_ID') if role else None
    return Cluster('pserver', trainer_id, num_trainers, [], servers, None)


def check(cluster, places):
    """InputError unless this fluid and these devices can do what the cluster wants."""
    if cluster.method == 'nccl2' and not fluid.is_compiled_with_cuda():
        raise InputError('--update_method nccl2: needs GPUs, and this PaddlePaddle is built without CUDA; install '
                         'paddlepaddle-gpu, or use pserver')
    if cluster.method == 'nccl2' and devices.too_many(places):
        raise InputError('--update_method nccl2: with fluid 2.5 a process has one device, not %d; start it by '
                         'scripts/run_nccl2.sh, or set FLAGS_selected_gpus' % len(places))
    if cluster.servers and not release.has_servers():
        raise InputError('--update_method pserver: this PaddlePaddle has no parameter servers of fluid; use 1.8.5')
    if cluster.servers and cluster.num_trainers == 1:
        raise InputError('--update_method pserver: servers cannot serve one trainer alone; start more, or train '
                         'without servers')
    if cluster.servers and len(places) > 1:
        raise InputError('--update_method pserver: a trainer has one device, not %d; start more trainers instead, each '
                         'with CPU_NUM=1 or one CUDA_VISIBLE_DEVICES' % len(places))


class Clip(release.GradientClipByGlobalNorm):
    """Clips the gradient of this process by its global norm.

    fluid's transpiler leaves the operators of this name scope to the trainers. fluid 1.8.5 itself takes another name,
    so that they would go to the servers. A server has a part of the gradient alone, and would crash.

    Attributes:
        norm: float32 [1], the global norm of the gradient before it is clipped; there once it was called.
    """

    def __call__(self, params_grads):
        block = fluid.default_main_program().global_block()
        before = len(block.ops)
        with fluid.name_scope('@CLIP'):
            clipped = super(Clip, self).__call__(params_grads)
        self.norm, = [block.var(op.output('Out')[0]) for op in block.ops[before:] if op.type == 'sqrt']
        return clipped


def average(metrics):
    """The mean over all trainers of float32 [k], which each of them knows after the step.

    The engines average gradients alone. So the mean is a variable, and its gradient makes a step of SGD set it.
    """
    program = fluid.default_main_program()
    rate, mean = [release.create_global_var(shape, value, 'float32', persistable=True, name=str(name))
                  for shape, value, name in (([1], 1., 'average_rate'), (metrics.shape, 0., 'average'))]
    difference = ops.elementwise_sub(mean, metrics)
    operator = program.global_block().ops[-1]
    operator._set_attr('op_role', int(ROLES.Backward))
    operator._set_attr('op_role_var', [mean.name, difference.name])
    with program._optimized_guard([mean, difference]):
        program.global_block().append_op(
            type='sgd', inputs={'Param': mean, 'Grad': difference, 'LearningRate': rate}, outputs={'ParamOut': mean})
    return mean


class Transpiled(object):
    """A training program and its startup program as this process of a cluster runs them.

    Args:
        cluster: a Cluster; its programs are changed in place.
        program, startup_program: as for a single process.
    """

    def __init__(self, cluster, program, startup_program):
        self.cluster, self.program, self.startup_program = cluster, program, startup_program
        # {name: the parameter that an operator of the optimizer updates by it}
        self._used_for = {name: op.input('Param')[0] for op in program.global_block().ops if 'Param' in op.input_names
                          for slot in op.input_names if slot != 'Grad' for name in op.input(slot)}
        config = fluid.DistributeTranspilerConfig()
        config.slice_var_up = False  # a server holds whole parameters, under their own names
        config.wait_port = cluster.method == 'nccl2'  # otherwise Watch waits
        config.mode = str(cluster.method)
        self._transpiler = fluid.DistributeTranspiler(config)
        with _quiet():
            if cluster.method == 'nccl2':
                self._transpiler.transpile(
                    cluster.trainer_id, program, trainers=str(','.join(cluster.trainers)),
                    startup_program=startup_program, current_endpoint=str(cluster.trainers[cluster.trainer_id]))
            else:
                self._transpiler.transpile(
                    cluster.trainer_id or 0, program, pservers=str(','.join(cluster.servers)),
                    trainers=cluster.num_trainers, startup_program=startup_program)
                if not cluster.server:
                    self.program = self._transpiler.get_trainer_program(wait_port=False)

    def server_programs(self):
        """The program and the startup program of this parameter server."""
        with _quiet():
            return self._transpiler.get_pserver_programs(str(self.cluster.server))

    def pull(self, exe, variables):
        """Gets these variables, of the program as it was, from the servers that hold them.

        A trainer has no accumulators, and of the embedding only the rows of its own step.
        """
        server_of = {parameter.name: server for server, held in self._transpiler.param_grad_ep_mapping.items()
                     for parameter in held['params']}
        program = fluid.Program()
        for variable in variables:
            if variable.name in self._used_for:
                out = program.global_block().create_var(name=variable.name, shape=variable.shape, dtype=variable.dtype,
                                                        persistable=True)
                program.global_block().append_op(type='recv', inputs={'X': []}, outputs={'Out': [out]}, attrs={
                    'epmap': [server_of[self._used_for[variable.name]]], 'trainer_id': 0, 'with_barrier': False,
                    'op_role': int(ROLES.RPC)})
        exe.run(program)


@contextlib.contextmanager
def _quiet():
    """The transpiler tells on stderr that it is deprecated, at each use."""
    stderr, sys.stderr = sys.stderr, io.BytesIO() if str is bytes else io.StringIO()
    try:
        yield
    finally:
        sys.stderr = stderr
