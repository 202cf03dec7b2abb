# -*- coding: utf-8 -*-
"""The directory of a run: which one it is, whether it can be written, and that one run alone writes there."""
from __future__ import absolute_import, division, print_function, unicode_literals

import contextlib
import errno
import fcntl
import io
import os
import socket
import tempfile
import time

from elmo.text import InputError


def make(directory, flag='--save_dir'):
    """Makes a directory, unless it is there; InputError if it cannot be written. `flag` is what the user gave it by."""
    try:
        try:
            os.makedirs(directory)
        except OSError:
            if not os.path.isdir(directory):  # another process of the run may have made it just now
                raise
        tempfile.TemporaryFile(dir=directory).close()
    except EnvironmentError as error:
        raise _not_writable(directory, error, flag)


def _not_writable(directory, error, flag):
    return InputError('%s %s: cannot be written: %s' % (flag, directory, error.strerror))


def default(resume):
    """The first free one of checkpoints, checkpoints.2, checkpoints.3 …; to resume, the last before it that has a
    checkpoint, or else the one before it.
    """
    names = ['checkpoints'] + ['checkpoints.%d' % number for number in range(2, 2 + len(os.listdir('.')))]
    free = [os.path.isdir(name) and bool(set(os.listdir(name)) - {'.lock'}) for name in names].index(False)
    if not resume:
        return names[free]
    before = names[:free] or names[:1]
    return ([name for name in before if os.path.exists(os.path.join(name, 'latest'))] or before)[-1]


@contextlib.contextmanager
def locked(directory, alone=True, flag='--save_dir'):
    """A context in which no other process can lock the directory.

    Args:
        flag: what the user gave the directory by.
        alone: False for the processes of a run whose first one has the lock.

    Raises:
        InputError: another process has locked it, wherever it runs; or it cannot be written.
    """
    if not alone:
        yield
        return
    try:
        # Without a buffer: what a full disk does not take would be written once more when the file is closed.
        handle = io.open(os.path.join(directory, '.lock'), 'a+b', buffering=0)
    except EnvironmentError as error:
        raise _not_writable(directory, error, flag)
    with handle:
        _lock(handle, directory, flag)
        yield


def _lock(handle, directory, flag):
    """Locks the open file in a directory, and writes there who did."""
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except EnvironmentError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            handle.seek(0)
            holder = handle.read().decode('utf-8', 'replace').strip() or 'another run'
            raise InputError('%s %s: %s writes there; wait for its end, or choose another directory'
                             % (flag, directory, holder))
        print('%s: this file system has no locks (%s): let no other run write there' % (directory, error.strerror))
        return
    who = 'process %d on %s, since %s,\n' % (os.getpid(), socket.gethostname(), time.strftime('%Y-%m-%d %H:%M:%S'))
    try:
        handle.truncate(0)
        handle.write(who.encode('utf-8'))
    except EnvironmentError as error:
        raise _not_writable(directory, error, flag)
