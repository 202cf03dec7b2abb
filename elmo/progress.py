# -*- coding: utf-8 -*-
"""What is told on stderr: single lines, and the progress of long work with its speed and the time left."""
from __future__ import absolute_import, division, print_function, unicode_literals

import sys

from elmo import clock


def duration(seconds):
    """Seconds as h:mm:ss."""
    seconds = int(seconds + 0.5)
    return '%d:%02d:%02d' % (seconds // 3600, seconds // 60 % 60, seconds % 60)


def tell_user(line):
    """Writes a line to stderr. In Python 2, that of a user's own program takes no Chinese otherwise."""
    line += '\n'
    sys.stderr.write(line.encode('utf-8') if str is bytes else line)


class Progress(object):
    """Progress of long work on stderr: a bar on a terminal, a plain line every 10 seconds in a log.

    Args:
        name: what is being done.
        total: amount of work in `unit`, or None when unknown.
        unit: what is counted, e.g. 'tokens'.
    """

    def __init__(self, name, total, unit):
        self.name, self.total, self.unit = name, total, unit
        self.bar = sys.stderr.isatty()
        self.start = self.shown = clock.now()

    def update(self, done):
        """Shows that `done` units are finished. It is cheap enough for every step."""
        now = clock.now()
        if now - self.shown < (0.2 if self.bar else 10):
            return
        self.shown = now
        speed = done / max(now - self.start, 1e-9)
        text = '%s: %d %s, %s/s' % (self.name, done, self.unit, '%d' % speed if speed >= 10 else '%.2g' % speed)
        if self.total and done:
            share = min(done / self.total, 1.)
            left = ', %.0f%%, %s left' % (100 * share, duration((1 - share) / share * (now - self.start)))
            text = ('[%-20s] ' % ('#' * int(20 * share)) if self.bar else '') + text + left
        self._write('\r%s\x1b[K' % text if self.bar else text + '\n')

    def close(self):
        """Clears the bar, so that the next line starts clean."""
        if self.bar:
            self._write('\r\x1b[K')

    @staticmethod
    def _write(text):
        sys.stderr.write(str(text))
        sys.stderr.flush()
