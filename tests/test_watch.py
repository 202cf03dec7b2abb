# -*- coding: utf-8 -*-
"""The processes of a job know each other: strangers are turned away, and all end together, each with one line."""
from __future__ import absolute_import, division, print_function, unicode_literals

import contextlib
import multiprocessing
import os
import socket
import threading
import time

import pytest

from elmo import cli, collective, distributed, manifest, watch
from elmo.connection import Connection, examine, introduce
from elmo.watch import Watch
from helpers import free_port

ENOUGH = 60  # seconds; longer is a hang


@pytest.fixture
def job(capfd):
    """A function that starts a process of a job: its Watch, around a function of it."""
    endpoints = ['127.0.0.1:%d' % free_port(1), '127.0.0.1:1', '127.0.0.1:2']
    processes = []

    class Process(object):
        def __init__(self, trainer_id, act, secret='secret', agreed=('start', ''), num_trainers=2, timeout=ENOUGH):
            cluster = distributed.Cluster('nccl2', trainer_id, num_trainers, endpoints[:num_trainers], [], None)

            def run():
                def main():
                    with Watch(cluster, secret, agreed, timeout, collective.Started(distributed.LOCAL, [])) as own:
                        act(own)
                cli.run(main)

            self.process = multiprocessing.Process(target=run)
            self.process.start()
            processes.append(self.process)

        def code(self):
            self.process.join(ENOUGH)
            return self.process.exitcode

    Process.root = watch.Watch._address(endpoints[0])
    Process.errors = staticmethod(lambda: [line.split(': ', 1)[1] for line in capfd.readouterr().err.splitlines()])
    yield Process
    for process in processes:
        if process.is_alive():
            os.kill(process.pid, 9)


def for_ever(_):
    time.sleep(2 * ENOUGH)


def connected(address):
    """A connection of a stranger, once somebody listens."""
    end = time.time() + ENOUGH
    while True:
        try:
            return socket.create_connection(address, timeout=ENOUGH)
        except socket.error:
            if time.time() > end:
                raise
            time.sleep(0.05)


def slowly(stranger):
    try:
        for _ in range(ENOUGH):
            stranger.sendall(b'[')
            time.sleep(1)
    except socket.error:
        pass  # turned away


STRANGERS = {
    'no UTF-8': b'\xff\xfe\xe8\x8b\n', 'binary': bytes(bytearray(range(256))) * 20, 'an old greeting': b'hello 1 x\n',
    'end': b'["end", 2, "x"]\n', 'stop': b'["stop"]\n', 'bye': b'["bye"]\n', 'nothing': b'', 'an empty line': b'\n',
    'nested': b'[' * 5000 + b'\n', 'a long number': b'[' + b'9' * 5000 + b']\n', 'without an end': b'[' * (1 << 17),
    'no proof': b'["[1, \\"x\\", [\\"start\\", \\"\\"]]", "00", "00"]\n', 'other types': b'[1, null, {}]\n',
    'half a character': b'["\\ud800", "\\udc00", "\\ud800"]\n', 'one more': b'["a", "b", "c", "d"]\n'}


@pytest.mark.parametrize('kind', sorted(STRANGERS))
def test_what_a_stranger_says_is_no_greeting(kind):
    here, there = socket.socketpair()
    with contextlib.closing(there):
        sender = threading.Thread(target=lambda: (there.sendall(STRANGERS[kind]), there.shutdown(socket.SHUT_WR)))
        sender.start()
        assert examine(Connection(here), 'secret') == ''
        here.close()
        sender.join(ENOUGH)


@pytest.mark.parametrize('secrets, known', [(('one', 'one'), True), (('one', 'two'), False), (('一', '一'), True)])
def test_both_sides_prove_that_they_know_the_secret(secrets, known):
    here, there = socket.socketpair()
    found = []
    thread = threading.Thread(target=lambda: found.append(examine(Connection(here), secrets[0])) or here.close())
    thread.start()
    assert introduce(Connection(there), secrets[1], 'it is me') == known
    thread.join(ENOUGH)
    assert found == ['it is me' if known else '']


def test_what_another_one_has_proved_is_no_proof_again():
    """A stranger repeats the answer that it saw; the challenge is another one."""
    here, there = socket.socketpair()
    thread = threading.Thread(target=introduce, args=(Connection(here), 'secret', 'me'))
    thread.start()
    connection = Connection(there)
    connection.send('a challenge')
    seen = connection.receive()
    thread.join(1)
    there.close()
    here, there = socket.socketpair()
    Connection(there).send(*seen)
    assert examine(Connection(here), 'secret') == ''


def test_strangers_do_not_end_hang_or_fool_a_job(job):
    root = job(0, lambda own: own.wait_for_all())
    strangers = [connected(job.root) for _ in range(2 * watch.STRANGERS)]  # more than there is room for
    for stranger, said in zip(strangers, STRANGERS.values()):
        try:
            stranger.sendall(said)
        except socket.error:
            pass  # turned away while it spoke
    slow = threading.Thread(target=slowly, args=(connected(job.root),))
    slow.daemon = True
    slow.start()
    other = job(1, lambda own: None)
    assert [root.code(), other.code()] == [0, 0]
    assert job.errors() == ['turned away: 127.0.0.1, which is not of this job, or has another vocabulary, text or '
                            'ELMO_SECRET']
    for stranger in strangers:
        stranger.close()


def test_another_secret_is_told_on_both_sides(job):
    root, other = job(0, for_ever, timeout=3), job(1, for_ever, secret='another', timeout=2)
    assert (root.code(), other.code()) == (1, 2)
    errors = '\n'.join(job.errors())
    assert 'turned away: 127.0.0.1' in errors and 'trainer 1 did not come within 3 s' in errors
    assert 'did not answer within 2 s (it is not of this job, or has another vocabulary, text or ELMO_SECRET)' in errors


def test_only_who_listens_at_the_endpoint_is_reached(job):
    """Not every address of the machine."""
    root = job(0, lambda own: own.wait_for_all())
    connected(job.root).close()
    with pytest.raises(socket.error):
        socket.create_connection(('127.0.0.2', job.root[1]), timeout=ENOUGH)
    job(1, lambda own: None)
    assert root.code() == 0


def test_a_trainer_started_twice_is_told(job):
    root = job(0, for_ever, num_trainers=3)
    first = job(1, for_ever, num_trainers=3)
    connected(job.root).close()
    second = job(1, for_ever, num_trainers=3)
    first.process.join(0.1)
    end = time.time() + ENOUGH
    while first.process.is_alive() and second.process.is_alive() and time.time() < end:
        time.sleep(0.05)
    assert sorted([first.process.exitcode, second.process.exitcode], key=str) == [2, None]
    assert 'trainer 1 is there already; start each once' in job.errors()[-1]
    assert root.process.is_alive()


@pytest.mark.parametrize('agreed, same', [(('a copy', 'd1'), True), (('000002', 'd2'), False)])
def test_checkpoints_are_compared_by_content(job, agreed, same):
    root = job(0, lambda own: own.wait_for_all(), agreed=('000002', 'd1'))
    other = job(1, lambda own: None if same else for_ever(own), agreed=agreed)
    assert [root.code(), other.code()] == [0 if same else 2] * 2
    assert same or all('goes on from 000002' in line for line in job.errors())


def test_the_digest_of_a_directory(tmpdir):
    """The same for copies, also with spaces in their names; another one when a byte differs."""
    copies = [tmpdir.mkdir(name) for name in ('one', 'two of them', 'three')]
    for copy, content in zip(copies, ('x', 'x', 'y')):
        copy.join('parameter').write(content)
    manifest.write(str(copies[0]))
    digests = [manifest.digest(str(copy)) for copy in copies]
    assert digests[0] == digests[1] != digests[2]


def fails(own):
    own.wait_for_all()
    own.fail(2, 'a bad line')


def hears_in_time(own):
    """Trainer 0 has not begun step 2, so it saves."""
    own.wait_for_all()
    end = time.time() + ENOUGH
    try:
        while time.time() < end:
            own.begin(1)
    finally:
        os.write(1, b'saved\n')


def waits_in_step_2(own):
    own.wait_for_all()
    own.begin(2)
    for_ever(own)


@pytest.mark.parametrize('act, said', [(hears_in_time, 'saved\n'), (waits_in_step_2, '')])
def test_a_trainer_that_fails_alone_ends_all(job, capfd, act, said):
    root, other = job(0, act), job(1, fails)
    assert [root.code(), other.code()] == [2, 2]
    out, err = capfd.readouterr()
    assert (out, len(err.splitlines())) == (said, 2), err
    assert all('error: ' in line and 'trainer 1 on ' in line and ': a bad line' in line for line in err.splitlines())
