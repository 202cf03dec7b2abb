# -*- coding: utf-8 -*-
"""How a run answers SIGTERM, SIGHUP and Ctrl-C: it comes to an end, and nothing is lost."""
from __future__ import absolute_import, division, print_function, unicode_literals

import contextlib
import os
import signal
import sys


NAMES = {signal.SIGTERM: 'SIGTERM', signal.SIGHUP: 'SIGHUP', signal.SIGINT: 'SIGINT'}


class Stopped(Exception):
    """Raised by Stop.at_once."""


class Stop(object):
    """A context in which SIGTERM, SIGHUP and SIGINT only ask for an end; a second one ends the process at once.

    A process that ignores SIGHUP, as under nohup, goes on doing so.

    Attributes:
        requested: name of the signal that came, or None.
    """

    def __init__(self):
        self.requested, self._at_once = None, False

    def __enter__(self):
        heard = [number for number in NAMES if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN]
        self._before = {number: signal.signal(number, self._handle) for number in heard}
        return self

    def __exit__(self, *_):
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number, _):
        if self.requested:
            os._exit(128 + number)
        self.requested = NAMES[number]
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
