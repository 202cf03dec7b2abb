# -*- coding: utf-8 -*-
"""Ends all processes of a job, by name, when one of them dies, does not come, or disagrees."""
from __future__ import absolute_import, division, print_function, unicode_literals

import json
import os
import socket
import sys
import threading
import time

import paddle.fluid as fluid
from six.moves import _thread

from elmo import cli, clock
from elmo.connection import GREETING, Connection, examine, introduce, kept_alive
from elmo.text import InputError

SECRET = 'ELMO_SECRET'  # variable of the environment: text that only the processes of the job know
PORT = 10000  # added to the port of the process to which the others connect
STRANGERS = 32  # connections that have not proved it yet; a further one takes the place of the oldest


class Watch(object):
    """A context that ends this process with one line when another one of its cluster dies, does not come, or disagrees.

    Each trainer keeps a connection to every server, or to trainer 0 if there are no servers, at the port of its
    endpoint + PORT. A process that dies closes its connections. TCP's keepalive tells of a machine that is gone.
    fluid's own engines, which do the training, would wait for ever.

    Both sides of a connection prove that they know the secret of the job. Whoever else connects is turned away.

    Args:
        cluster: a distributed.Cluster; a local one is not watched.
        secret: text that all processes of the job know, and no one else.
        agreed: (name, digest) of what the run goes on from. The digest must be the same everywhere.
        timeout: seconds that the processes may take to come.
        started: the collective.Started of the processes that this one has started.
    """

    def __init__(self, cluster, secret, agreed, timeout, started):
        self.cluster, self._agreed, self._timeout, self._secret = cluster, agreed, timeout, secret
        self._lock = threading.Lock()
        self._name = ('server %s' % cluster.server if cluster.server else
                      'trainer %d on %s' % (cluster.trainer_id, socket.gethostname()))
        self._started, self._complete = started, threading.Event()
        self._wanted = set(range(cluster.num_trainers)) - {cluster.trainer_id}  # trainers that have not come yet
        self._strangers = []  # connections that have not proved yet to be of the job
        self._turned_away = set()  # addresses
        self._connections = {}  # {Connection: name of the other process}
        self._through, self._over = 0, False  # trainers that have ended well; whether this process has
        self._step, self._failure = 0, ''  # the step that trainer 0 has begun; why another trainer does not begin it

    def __enter__(self):
        roots, deadline = self.cluster.servers or self.cluster.trainers[:1], clock.now() + self._timeout
        if self.cluster.server or self.cluster.trainers and not self.cluster.trainer_id:
            self._start(self._take_trainers, self._listen(self.cluster.server or roots[0]), deadline)
        else:
            for root in roots:
                connection = self._connect(root, deadline)
                with self._lock:
                    self._connections[connection] = ('server ' if self.cluster.servers else 'trainer 0 at ') + root
                self._start(self._follow, connection)
        return self

    def __exit__(self, kind, error, _):
        if kind and issubclass(kind, (fluid.core.EnforceNotMet, RuntimeError)) and self._connections:
            time.sleep(5)  # fluid, or gloo under it, may notice a death first: let Watch name it
        self._over = True
        if kind is None:
            self._tell('bye')
        else:
            self._tell('end', 2, '%s: %s' % (self._name, ' '.join(('%s' % error).split())))

    def wait_for_all(self):
        """Waits until all trainers have come, if they come to this process."""
        if not self.cluster.trainer_id:
            while not self._complete.wait(1):  # without a limit, Python 2.7 would not answer a signal
                pass

    def stop(self):
        """Ends all other processes, with success."""
        self._over = True
        self._tell('stop')

    def begin(self, step):
        """Trainer 0 says that it begins a step, in which it waits for all others; InputError if one will not come."""
        with self._lock:
            if self._failure:
                raise InputError(self._failure)
            self._step = step

    def fail(self, step, error):
        """Another trainer says that it cannot begin a step; it does not return.

        Trainer 0 saves and ends all, as it meets the same error, or hears of this one before it begins the step. If it
        has begun the step it waits for what will not come, and ends all at once.
        """
        self._tell('failed', step, '%s: %s' % (self._name, error))
        while True:
            time.sleep(1)

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
            listener.bind(self._address(endpoint))
            listener.listen(self.cluster.num_trainers + STRANGERS)
        except socket.error as error:
            raise InputError('port %d, for the watch of %s, cannot be used: %s; end what has it, or choose another '
                             'endpoint' % (self._address(endpoint)[1], endpoint, error.strerror))
        listener.settimeout(1)
        return listener

    def _connect(self, endpoint, deadline):
        """The connection to a root, once that is there; InputError if it is not there by the deadline."""
        who = json.dumps([self.cluster.trainer_id, self._name, self._agreed])
        while True:
            try:
                connection = Connection(kept_alive(socket.create_connection(
                    self._address(endpoint), timeout=GREETING)))
                if introduce(connection, self._secret, who):
                    return connection
                connection.close()
                reason = 'it is not of this job, or has another vocabulary, text or ELMO_SECRET'
            except socket.error as error:
                reason = error
            if clock.now() > deadline:
                raise InputError('%s did not answer within %d s (%s); start it, and this again'
                                 % (endpoint, self._timeout, reason))
            time.sleep(0.2)

    def _take_trainers(self, listener, deadline):
        """Takes the connections of all trainers but this one."""
        while self._wanted:
            problem = self._started.failed()
            if not problem and clock.now() > deadline:
                problem = '%s: trainer %s did not come within %d s; start all processes again' % (
                    self._name, ', '.join(map(str, sorted(self._wanted))), self._timeout)
            if problem:
                self._end(1, problem)
            try:
                channel, address = listener.accept()
                self._make_room(listener, Connection(kept_alive(channel)), address[0])
            except socket.timeout:
                pass
            except (socket.error, _thread.error):
                time.sleep(0.1)  # all are there, or no descriptor or thread is free, or the other side is gone already
        listener.close()
        self._complete.set()

    def _make_room(self, listener, connection, address):
        with self._lock:
            if len(self._strangers) == STRANGERS:
                self._strangers.pop(0).close()
            self._strangers.append(connection)
        self._start(self._welcome, listener, connection, address)

    def _welcome(self, listener, connection, address):
        """Finds out who has connected, and follows a trainer of the job to its end."""
        who = examine(connection, self._secret)
        with self._lock:
            if connection in self._strangers:
                self._strangers.remove(connection)
        if not who:
            connection.close()
            self._tell_of_stranger(address)
            return
        trainer_id, name, (goes_on_from, digest) = json.loads(who)
        with self._lock:
            again = trainer_id not in self._wanted
            if not again:
                self._connections[connection] = name
                if self._wanted == {trainer_id}:
                    listener.shutdown(socket.SHUT_RDWR)  # wakes who waits for connections
                self._wanted.remove(trainer_id)  # from here on, the listener may be closed
        if again:
            problem = '%s: trainer %d is there already; start each once' % (self._name, trainer_id)
            connection.send('end', 2, problem)
            return
        if digest != self._agreed[1]:
            self._end(2, '%s goes on from %s, %s from %s: give all the same checkpoint'
                      % (name, goes_on_from, self._name, self._agreed[0]))
        self._follow(connection)

    def _tell_of_stranger(self, address):
        if address not in self._turned_away:
            self._turned_away.add(address)
            problem = 'turned away: %s, which is not of this job, or has another vocabulary, text or ELMO_SECRET'
            cli.tell(problem % address, cli.Stream(sys.__stderr__))

    def _tell(self, *message):
        with self._lock:
            for connection in self._connections:
                connection.send(*message)

    def _end(self, code, reason):
        """Ends this process at once, whatever fluid is waiting for, and all that are connected."""
        self._tell('end', code, reason)
        cli.tell(('error: ' if code else '') + reason, cli.Stream(sys.__stderr__))  # sys.stderr may be hidden by _quiet
        os._exit(code)

    def _follow(self, connection):
        """Does what another process of the job says, until one of them ends."""
        for message in connection.messages():
            if self._over:
                return  # the others end because this process told them to
            word = message[0]
            if word == 'stop':
                self._tell('stop')
                self._end(0, 'stopped by trainer 0')
            if word == 'end':
                self._end(*message[1:])
            if word == 'failed':
                self._heard_failure(*message)
            if word == 'bye':
                self._heard_bye(connection)
                return
        if not self._over:
            name = self._connections[connection]
            # What this process has started closes its connections before it has ended.
            self._end(1, self._started.failed(1) or '%s died; start all processes again, with --resume' % name)

    def _heard_failure(self, word, step, reason):
        if self.cluster.server:
            self._tell(word, step, reason)  # trainers do not hear each other
        elif not self.cluster.trainer_id:
            with self._lock:
                self._failure = reason
                begun = self._step >= step
            if begun:
                self._end(2, reason)

    def _heard_bye(self, connection):
        with self._lock:
            del self._connections[connection]
            self._through += 1
        if self.cluster.server and self._through == self.cluster.num_trainers:
            self._end(0, 'all trainers are through')
