# -*- coding: utf-8 -*-
"""How a run answers SIGTERM, SIGHUP, Ctrl-C and its script: it comes to an end, and nothing is lost."""
from __future__ import absolute_import, division, print_function, unicode_literals

import contextlib
import ctypes
import os
import signal
import sys


OF_SCRIPT = signal.SIGUSR1  # a script that was sent any of the others passes it on as this one
NAMES = {signal.SIGTERM: 'SIGTERM', signal.SIGHUP: 'SIGHUP', signal.SIGINT: 'SIGINT',
         OF_SCRIPT: 'a signal to the script'}
PR_SET_PDEATHSIG = 1  # of prctl.h


def end_with_script():
    """Lets the death of the script that has started this process, if one has, count as a signal of it. On Linux.

    Returns:
        whether a script has.
    """
    script = os.environ.pop('ELMO_SCRIPT', None)
    if script:
        end_with(int(script), OF_SCRIPT)
    return bool(script)


def end_with(parent, number):
    """Lets this process get a signal when its parent, the process of this number, dies. On Linux."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, 'prctl'):
        libc.prctl(PR_SET_PDEATHSIG, int(number))
        if os.getppid() != parent:  # it was dead before
            os.kill(os.getpid(), number)


class Stopped(BaseException):
    """Raised by Stop.at_once, anywhere. No Exception: libraries catch these, threading while it starts a thread."""


def unless_nohup(numbers):
    """Those of the signals that a process answers: SIGHUP only where it is not ignored, as it is under nohup."""
    return [number for number in numbers if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN]


class Stop(object):
    """A context in which signals only ask for an end; a second one ends the process at once.

    A terminal or a scheduler may send one to a script and to this process; that and what the script passes on are one.
    A process that ignores SIGHUP, as under nohup, goes on doing so.

    Attributes:
        number: of the class, for what runs after the context: the signal that came first to the last one, or None.
    """

    number = None

    def __init__(self):
        self._at_once, self._passed_on = False, []

    @property
    def requested(self):
        """What came first, a value of NAMES, or None."""
        return NAMES.get(Stop.number)

    def __enter__(self):
        Stop.number = None
        self._before = {number: signal.signal(number, self._handle) for number in unless_nohup(NAMES)}
        return self

    def __exit__(self, *_):
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number, _):
        passed_on = number == OF_SCRIPT
        if passed_on in self._passed_on:
            os._exit(128 + number)
        self._passed_on.append(passed_on)
        if self.requested:
            return
        Stop.number = number
        sys.stderr.write(str('%s: coming to an end; once more ends at once\n' % self.requested))
        if self._at_once:
            raise Stopped

    @contextlib.contextmanager
    def at_once(self):
        """Within it a signal raises Stopped, for what may be left half done."""
        if self.requested:
            raise Stopped
        self._at_once = True
        try:
            yield
        finally:
            self._at_once = False
