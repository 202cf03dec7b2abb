# -*- coding: utf-8 -*-
"""A call in a process of its own, for a library that crashes where its file is damaged."""
from __future__ import absolute_import, division, print_function, unicode_literals

import io
import os
import signal
import traceback

import six

from elmo.files import of_system
from elmo.text import InputError


def call(function, crash):
    """Calls a function that returns nothing, in a child process.

    Args:
        crash: what to say when the child dies.

    Raises:
        InputError: it was raised there, or a file could not be read or written, or the child died.
        RuntimeError: there was another error, which the child has printed.
    """
    receiving, sending = os.pipe()
    child = os.fork()
    if not child:
        _run(function, sending)
    os.close(sending)
    said = None
    try:
        with io.open(receiving, 'rb') as pipe:
            said = pipe.read().decode('utf-8')  # until the child ends
    finally:
        if said is None:  # this process is interrupted
            os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        raise InputError(crash)
    if said:
        raise InputError(said)
    if status:
        raise RuntimeError('the child process failed, see above')


def _run(function, sending):
    """What the child does. It never returns, as what stands above it is the parent's."""
    code = 1
    try:
        function()
        code = 0
    except (InputError, EnvironmentError) as error:
        said = error if isinstance(error, InputError) else of_system(error)
        os.write(sending, six.text_type(said).encode('utf-8'))
    except Exception:
        traceback.print_exc()
    finally:
        os._exit(code)
