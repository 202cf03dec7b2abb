# -*- coding: utf-8 -*-
"""How a run answers SIGTERM and Ctrl-C: it comes to an end, and nothing is lost."""
from __future__ import absolute_import, division, print_function, unicode_literals

import contextlib
import os
import signal
import sys


class Stopped(Exception):
    """Raised by Stop.at_once."""


class Stop(object):
    """A context in which SIGTERM and SIGINT only ask for an end; a second one ends the process at once.

    Attributes:
        requested: name of the signal that came, or None.
    """

    def __init__(self):
        self.requested, self._at_once = None, False

    def __enter__(self):
        self._before = {number: signal.signal(number, self._handle) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *_):
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number, _):
        if self.requested:
            os._exit(128 + number)
        self.requested = {signal.SIGTERM: 'SIGTERM', signal.SIGINT: 'SIGINT'}[number]
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
