# -*- coding: utf-8 -*-
"""Training by many processes with fluid's own engines: NCCL2 between GPUs, or parameter servers.

Who a process is, it learns from the variables that paddle's launchers set:

    nccl2    PADDLE_TRAINER_ID, PADDLE_TRAINERS_NUM, PADDLE_TRAINER_ENDPOINTS, PADDLE_CURRENT_ENDPOINT
    pserver  TRAINING_ROLE (TRAINER or PSERVER), PADDLE_TRAINERS_NUM, PADDLE_PSERVERS_IP_PORT_LIST, PADDLE_TRAINER_ID of a
             trainer, PADDLE_CURRENT_ENDPOINT (or POD_IP and PADDLE_PORT) of a server

Every trainer reads the whole text and takes its own part of each step; see reader.BucketedReader.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import collections
import contextlib
import io
import os
import socket
import sys
import threading
import time

import paddle.fluid as fluid
from paddle.fluid import layers

import cli
from reader import InputError

METHODS = ('local', 'nccl2', 'pserver')
VARIABLES = ('average_rate', 'average')  # see average; they are no part of what is trained
WATCH_PORT = 10000  # that of Watch, counted from the port of the process to which the others connect
KEEPALIVE = {'TCP_KEEPIDLE': 20, 'TCP_KEEPINTVL': 10, 'TCP_KEEPCNT': 3}  # a machine that is gone is noticed after 50 s
ROLES = fluid.core.op_proto_and_checker_maker.OpRole

# method: one of METHODS; trainer_id: None of a server; trainers, servers: lists of endpoints, ip:port; server: its own
# endpoint, None of a trainer.
Cluster = collections.namedtuple('Cluster', 'method trainer_id num_trainers trainers servers server')
LOCAL = Cluster('local', 0, 1, [], [], None)


def has_servers():
    """Whether this fluid has the operators of its parameter servers: later releases do without them."""
    return 'recv' in fluid.framework.OpProtoHolder.instance().op_proto_map


def cluster(method, environ=None):
    """The Cluster that this process belongs to, as the environment says.

    InputError names the variables that are missing or contradict each other.
    """
    if method == 'local':
        return LOCAL
    environ, missing = os.environ if environ is None else environ, []

    def get(name):
        if not environ.get(name):
            missing.append(name)
        return environ.get(name, '')

    def number(name):
        text = get(name)
        if text and not text.isdigit():
            raise InputError('%s=%s: set it to a whole number' % (name, text))
        return int(text or 0)

    def endpoints(name):
        found = get(name).split(',')
        for endpoint in found:
            host, _, port = endpoint.rpartition(':')
            if get(name) and not (host and port.isdigit() and 0 < int(port) < 65536):
                raise InputError('%s=%s: %s is not ip:port' % (name, get(name), endpoint))
        if len(set(found)) < len(found):
            raise InputError('%s=%s: names an endpoint twice' % (name, get(name)))
        return found

    def own(name, among):
        if not missing and environ[name] not in endpoints(among):
            raise InputError('%s=%s does not occur in %s=%s' % (name, environ[name], among, environ[among]))
        return environ.get(name)

    num_trainers, server, trainer_id, trainers, servers = number('PADDLE_TRAINERS_NUM'), None, None, [], []
    role = 'TRAINER'
    if method == 'pserver':
        role = get('TRAINING_ROLE')
        servers = endpoints('PADDLE_PSERVERS_IP_PORT_LIST')
        if role and role not in ('TRAINER', 'PSERVER'):
            raise InputError('TRAINING_ROLE=%s: set it to TRAINER or PSERVER' % role)
        if role == 'PSERVER':
            if environ.get('POD_IP') and environ.get('PADDLE_PORT') and not environ.get('PADDLE_CURRENT_ENDPOINT'):
                environ = dict(environ, PADDLE_CURRENT_ENDPOINT='%(POD_IP)s:%(PADDLE_PORT)s' % environ)
            get('PADDLE_CURRENT_ENDPOINT')
            server = own('PADDLE_CURRENT_ENDPOINT', 'PADDLE_PSERVERS_IP_PORT_LIST')
    if role == 'TRAINER':
        trainer_id = number('PADDLE_TRAINER_ID')
    if method == 'nccl2':
        trainers = endpoints('PADDLE_TRAINER_ENDPOINTS')
        get('PADDLE_CURRENT_ENDPOINT')
        own('PADDLE_CURRENT_ENDPOINT', 'PADDLE_TRAINER_ENDPOINTS')
    if missing:
        raise InputError('--update_method %s: lacks %s in the environment; start it by paddle.distributed.launch%s, or '
                         'set them' % (method, ', '.join(collections.OrderedDict.fromkeys(missing)),
                                       '_ps' if servers else ''))
    if not num_trainers or (trainer_id or 0) >= num_trainers:
        raise InputError('PADDLE_TRAINER_ID=%s, PADDLE_TRAINERS_NUM=%d: trainers count from 0 to their number less 1'
                         % (trainer_id, num_trainers))
    if trainers and (len(trainers) != num_trainers or trainers[trainer_id] != environ['PADDLE_CURRENT_ENDPOINT']):
        raise InputError('PADDLE_TRAINER_ID=%d, PADDLE_TRAINERS_NUM=%d, PADDLE_CURRENT_ENDPOINT=%s do not fit '
                         'PADDLE_TRAINER_ENDPOINTS=%s' % (trainer_id, num_trainers, environ['PADDLE_CURRENT_ENDPOINT'],
                                                          ','.join(trainers)))
    return Cluster(method, trainer_id, num_trainers, trainers, servers, server)


class Clip(fluid.clip.GradientClipByGlobalNorm):
    """Clips the gradient of this process by its global norm.

    fluid's transpiler leaves clipping to the trainers if it knows the operators by this scope; fluid 1.8.5 has another
    name there, so that they would go to the servers, each of which has a part of the gradient only, and crash.
    """

    def __call__(self, params_grads):
        with fluid.name_scope('@CLIP'):
            return super(Clip, self).__call__(params_grads)


def average(figures):
    """The mean over all trainers of float32 [k], known to each of them after the step.

    The engines average gradients alone. So it is a variable whose gradient makes one step of SGD set it to that mean.
    """
    program = fluid.default_main_program()
    rate, mean = [layers.create_global_var(shape, value, 'float32', persistable=True, name=str(name))
                  for shape, value, name in zip(([1], figures.shape), (1., 0.), VARIABLES)]
    difference = layers.elementwise_sub(mean, figures)
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


class Watch(object):
    """A context that ends this process, with one line, when another of its cluster dies, does not come, or disagrees.

    Each trainer keeps a connection to every server, or to trainer 0 if there are none, at the port of its endpoint
    + WATCH_PORT. A process that dies closes its connections; of a machine that is gone TCP's keepalive tells. Training
    itself goes by fluid's own engines, which would wait for ever.

    Args:
        cluster: a Cluster; a local one is not watched.
        agreed: text that is to be the same everywhere, as the checkpoint that the run goes on from.
        timeout: seconds that the processes may take to come.
    """

    def __init__(self, cluster, agreed, timeout):
        self.cluster, self._agreed, self._timeout, self._lock = cluster, agreed, timeout, threading.Lock()
        self._name = ('server %s' % cluster.server if cluster.server else
                      'trainer %d on %s' % (cluster.trainer_id, socket.gethostname()))
        self._connections = {}  # {socket: name of the other process}
        self._through, self._over = 0, False  # trainers that have ended well; whether this process has

    def __enter__(self):
        roots, deadline = self.cluster.servers or self.cluster.trainers[:1], time.time() + self._timeout
        if self.cluster.server or self.cluster.trainers and not self.cluster.trainer_id:
            self._start(self._watch_trainers, self._listen(self.cluster.server or roots[0]), deadline)
        else:
            for root in roots:
                connection = self._connect(root, deadline)
                name = ('server ' if self.cluster.servers else 'trainer 0 at ') + root
                self._connections[connection] = name
                self._send(connection, 'hello %d %s %s' % (self.cluster.trainer_id, self._name, self._agreed))
                self._start(self._watch_root, connection, name)
        return self

    def __exit__(self, kind, error, _):
        if kind and issubclass(kind, fluid.core.EnforceNotMet):
            time.sleep(5)  # fluid may notice a death first: let Watch name it
        self._over = True
        self._tell('bye' if kind is None else 'end 2 %s: %s' % (self._name, ' '.join(('%s' % error).split())))

    def stop(self):
        """Ends all other processes, with success."""
        self._over = True
        self._tell('stop')

    @staticmethod
    def _start(target, *args):
        thread = threading.Thread(target=target, args=args)
        thread.daemon = True
        thread.start()

    @staticmethod
    def _address(endpoint):
        host, _, port = endpoint.rpartition(':')
        port = int(port) + WATCH_PORT
        return host, port if port < 65536 else port - 2 * WATCH_PORT

    def _listen(self, endpoint):
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(('', self._address(endpoint)[1]))
            listener.listen(self.cluster.num_trainers)
        except socket.error as error:
            raise InputError('port %d, for the watch of %s, cannot be used: %s; end what has it, or choose another '
                             'endpoint' % (self._address(endpoint)[1], endpoint, error.strerror))
        return listener

    def _connect(self, endpoint, deadline):
        while True:
            try:
                return self._kept(socket.create_connection(self._address(endpoint), timeout=5))
            except (socket.error, socket.timeout) as error:
                if time.time() > deadline:
                    raise InputError('%s did not answer within %d s (%s); start it, and this again'
                                     % (endpoint, self._timeout, error))
                time.sleep(0.2)

    @staticmethod
    def _kept(connection):
        connection.settimeout(None)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in KEEPALIVE.items():
            if hasattr(socket, option):
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
        return connection

    @staticmethod
    def _send(connection, line):
        try:
            connection.sendall((line + '\n').encode('utf-8'))
        except socket.error:
            pass  # its end is noticed where it is read

    def _tell(self, line):
        with self._lock:
            for connection in self._connections:
                self._send(connection, line)

    def _end(self, code, reason):
        """Ends this process at once, whatever fluid is waiting for, and all that are connected."""
        self._tell('end %d %s' % (code, reason))
        cli.tell(('error: ' if code else '') + reason, cli.Stream(sys.__stderr__))  # sys.stderr may be hidden by _quiet
        os._exit(code)

    def _died(self, name):
        self._end(1, '%s died; start all processes again, with --resume' % name)

    @staticmethod
    def _lines(connection):
        """Yields what the other side says, a line at a time, until it closes the connection."""
        with contextlib.closing(connection.makefile('rb')) as lines:
            try:
                for line in iter(lambda: lines.readline(1 << 16), b''):
                    yield line.decode('utf-8').rstrip('\n')
            except socket.error:
                pass

    def _watch_root(self, connection, name):
        for line in self._lines(connection):
            word, _, rest = line.partition(' ')
            if self._over or word == 'bye':
                return
            if word == 'stop':
                self._end(0, 'stopped by trainer 0')
            if word == 'end':
                self._end(int(rest[0]), rest[2:])
        if not self._over:
            self._died(name)

    def _watch_trainers(self, listener, deadline):
        """Takes the connections of all trainers but this one."""
        wanted = set(range(self.cluster.num_trainers)) - {self.cluster.trainer_id}
        listener.settimeout(1)
        while wanted:
            try:
                connection = self._kept(listener.accept()[0])
            except socket.timeout:
                if time.time() > deadline:
                    self._end(1, '%s: trainer %s did not come within %d s; start all processes again' % (
                        self._name, ', '.join(map(str, sorted(wanted))), self._timeout))
                continue
            lines = self._lines(connection)
            connection.settimeout(5)  # whoever else connects must not hold up the trainers
            hello = next(lines, '').split(' ', 2)
            connection.settimeout(None)
            if len(hello) == 3 and hello[0] == 'hello' and hello[1].isdigit() and int(hello[1]) in wanted:
                wanted.remove(int(hello[1]))
                self._start(self._watch_trainer, connection, lines, *hello[2].rsplit(' ', 1))
        listener.close()

    def _watch_trainer(self, connection, lines, name, agreed):
        with self._lock:
            self._connections[connection] = name
        if agreed != self._agreed:
            self._end(2, '%s goes on from %s, %s from %s: give all the same checkpoints' % (name, agreed, self._name,
                                                                                        self._agreed))
        for line in lines:
            word, _, rest = line.partition(' ')
            if word == 'stop':
                self._tell('stop')
                self._end(0, 'stopped by trainer 0')
            if word == 'end':
                self._end(int(rest[0]), rest[2:])
            if word == 'bye':
                with self._lock:
                    del self._connections[connection]
                    self._through += 1
                if self.cluster.server and self._through == self.cluster.num_trainers:
                    self._end(0, 'all trainers are through')
                return
        self._died(name)
