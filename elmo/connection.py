# -*- coding: utf-8 -*-
"""A connection between two processes of a job, which prove to each other that they belong to it."""
from __future__ import absolute_import, division, print_function, unicode_literals

import binascii
import hashlib
import hmac
import json
import os
import socket

import six

from elmo import clock

KEEPALIVE = {'TCP_KEEPIDLE': 20, 'TCP_KEEPINTVL': 10, 'TCP_KEEPCNT': 3}  # a machine that is gone is noticed after 50 s
GREETING = 5  # seconds in which the other side must prove that it belongs to the job
LONGEST, LONGEST_GREETING = 1 << 20, 1 << 12  # bytes of a message


class Connection(object):
    """Messages over a socket. Each is a list, a line of JSON."""

    def __init__(self, channel):
        self._channel, self._unread = channel, b''

    def send(self, *message):
        """Sends a message. Who does not get it has closed the connection, which is noticed where it is read."""
        try:
            self._channel.sendall(json.dumps(message).encode('ascii') + b'\n')
        except socket.error:
            pass

    def receive(self, seconds=None, longest=LONGEST):
        """The next message; [] if none comes within a time, the connection is closed, or what comes is no message."""
        deadline = seconds and clock.now() + seconds
        try:
            while b'\n' not in self._unread and len(self._unread) < longest:
                self._channel.settimeout(deadline and max(deadline - clock.now(), 1e-3))
                received = self._channel.recv(4096)
                if not received:
                    return []
                self._unread += received
            line, _, self._unread = self._unread.partition(b'\n')
            message = json.loads(line.decode('utf-8'))
            self._channel.settimeout(None)
        except (socket.error, ValueError, RuntimeError):  # RuntimeError: nested too deep
            return []
        return message if isinstance(message, list) else []

    def messages(self):
        """Yields what the other side says, until it closes the connection."""
        return iter(self.receive, [])

    def close(self):
        """Closes the connection, also if another thread waits for a message."""
        try:
            self._channel.shutdown(socket.SHUT_RDWR)
        except socket.error:
            pass  # the other side was faster
        self._channel.close()


def kept_alive(channel):
    """A socket of TCP that notices when the machine at its other end is gone."""
    channel.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in KEEPALIVE.items():
        if hasattr(socket, option):
            channel.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
    return channel


def introduce(connection, secret, who):
    """Says who this is; returns whether the other side knows the secret.

    Each side sends the HMAC (RFC 2104) of what the other one has chosen at random. What follows is not encrypted.

    Args:
        secret: text that only the processes of the job know.
        who: a text.
    """
    challenge, = _greeting(connection, 1)
    own = random_text()
    connection.send(who, own, _proof(secret, challenge, who, own))
    welcome, = _greeting(connection, 1)
    return _same(welcome, _proof(secret, own))


def examine(connection, secret):
    """Who the other side says it is, see introduce; an empty text if it does not know the secret."""
    challenge = random_text()
    connection.send(challenge)
    who, other, proof = _greeting(connection, 3)
    if not _same(proof, _proof(secret, challenge, who, other)):
        return ''
    connection.send(_proof(secret, other))
    return who


def random_text():
    """32 hexadecimal digits that nobody can guess."""
    return binascii.hexlify(os.urandom(16)).decode('ascii')


def _greeting(connection, number):
    """A message of as many texts; empty texts if there comes anything else."""
    message = connection.receive(GREETING, LONGEST_GREETING)
    if len(message) != number or not all(isinstance(text, six.text_type) for text in message):
        return [''] * number
    return message


def _proof(secret, *texts):
    return hmac.new(secret.encode('utf-8'), json.dumps(texts).encode('ascii'), hashlib.sha256).hexdigest()


def _same(one, other):
    return hmac.compare_digest(*[json.dumps(text).encode('ascii') for text in (one, other)])
