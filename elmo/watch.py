# -*- coding: utf-8 -*-
"""Ends all processes of a job, by name, when one of them dies, does not come, or disagrees."""
from __future__ import absolute_import, division, print_function, unicode_literals

import contextlib
import os
import socket
import sys
import threading
import time

import paddle.fluid as fluid

from elmo import cli
from elmo.text import InputError, is_whole_number

PORT = 10000  # added to the port of the process to which the others connect
KEEPALIVE = {'TCP_KEEPIDLE': 20, 'TCP_KEEPINTVL': 10, 'TCP_KEEPCNT': 3}  # a machine that is gone is noticed after 50 s


class Watch(object):
    """A context that ends this process with one line when another one of its cluster dies, does not come, or disagrees.

    Each trainer keeps a connection to every server, or to trainer 0 if there are no servers, at the port of its
    endpoint + PORT. A process that dies closes its connections. TCP's keepalive tells of a machine that is gone.
    fluid's own engines, which do the training, would wait for ever.

    Args:
        cluster: a distributed.Cluster; a local one is not watched.
        agreed: text that must be the same everywhere, as the checkpoint that the run goes on from.
        timeout: seconds that the processes may take to come.
        started: the collective.Started of the processes that this one has started.
    """

    def __init__(self, cluster, agreed, timeout, started):
        self.cluster, self._agreed, self._timeout, self._lock = cluster, agreed, timeout, threading.Lock()
        self._name = ('server %s' % cluster.server if cluster.server else
                      'trainer %d on %s' % (cluster.trainer_id, socket.gethostname()))
        self._started, self._complete = started, threading.Event()
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
        if kind and issubclass(kind, (fluid.core.EnforceNotMet, RuntimeError)) and self._connections:
            time.sleep(5)  # fluid, or gloo under it, may notice a death first: let Watch name it
        self._over = True
        self._tell('bye' if kind is None else 'end 2 %s: %s' % (self._name, ' '.join(('%s' % error).split())))

    def wait_for_all(self):
        """Waits until all trainers have come, if they come to this process."""
        if not self.cluster.trainer_id:
            while not self._complete.wait(1):  # without a limit, Python 2.7 would not answer a signal
                pass

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
        port = int(port) + PORT
        return host, port if port < 65536 else port - 2 * PORT

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
        reason = self._started.failed(1)  # its connection closes before it has ended
        if reason:
            self._end(1, reason)
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
                reason = self._started.failed()
                if reason:
                    self._end(1, reason)
                if time.time() > deadline:
                    self._end(1, '%s: trainer %s did not come within %d s; start all processes again' % (
                        self._name, ', '.join(map(str, sorted(wanted))), self._timeout))
                continue
            lines = self._lines(connection)
            connection.settimeout(5)  # whoever else connects must not hold up the trainers
            hello = next(lines, '').split(' ', 2)
            connection.settimeout(None)
            if len(hello) == 3 and hello[0] == 'hello' and is_whole_number(hello[1]) and int(hello[1]) in wanted:
                wanted.remove(int(hello[1]))
                self._start(self._watch_trainer, connection, lines, *hello[2].rsplit(' ', 1))
        listener.close()
        self._complete.set()

    def _watch_trainer(self, connection, lines, name, agreed):
        with self._lock:
            self._connections[connection] = name
        if agreed != self._agreed:
            self._end(2, '%s goes on from %s, %s from %s: give all the same checkpoints'
                      % (name, agreed, self._name, self._agreed))
        for line in lines:
            word, _, rest = line.partition(' ')
            if self._over:
                return  # the others end because this process told them to
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
        if not self._over:
            self._died(name)
