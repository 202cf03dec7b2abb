# -*- coding: utf-8 -*-
"""What every command of this project shares: flags, exit codes, progress.

Exit codes: 0 success; 2 bad input or use (one line on stderr, no traceback); 1 a fault of the program, to be reported;
130 interrupted before there was anything to save.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import argparse
import codecs
import contextlib
import os
import signal
import sys
import time
import traceback

import six

from reader import InputError


class ArgumentParser(argparse.ArgumentParser):
    """argparse with one-line errors and no guessing at abbreviated flags."""

    def __init__(self, **kwargs):
        kwargs.setdefault('formatter_class', argparse.ArgumentDefaultsHelpFormatter)
        super(ArgumentParser, self).__init__(**kwargs)

    def parse_known_args(self, args=None, namespace=None):
        args = [as_text(arg) for arg in (sys.argv[1:] if args is None else args)]
        return super(ArgumentParser, self).parse_known_args(args, namespace)

    def error(self, message):
        fail('%s (see %s --help)' % (message, self.prog))

    def _get_option_tuples(self, option_string):
        return []  # Python 2.7 has no allow_abbrev=False


def as_text(value):
    """A command line argument or path as text: in Python 2 they are bytes."""
    try:
        if isinstance(value, bytes):
            return value.decode(sys.getfilesystemencoding() or 'utf-8')
        value.encode('utf-8')  # Python 3 lets bytes that the locale does not know pass as surrogates
    except UnicodeError:
        fail('the locale does not know the characters of %r: set LC_ALL=C.UTF-8 or another one of UTF-8' % value)
    return value


def boolean(text):
    """argparse type: `--use_gpu False` is false."""
    if text.lower() in ('true', '1', 'yes'):
        return True
    if text.lower() in ('false', '0', 'no'):
        return False
    raise argparse.ArgumentTypeError('expected True or False, got %r' % str(text))


def number(kind, low=None, high=None, above=None, below=None):
    """argparse type for an int or float with bounds: low <= x <= high, above < x < below."""
    bounds = [word % value for word, value in (('>= %s', low), ('> %s', above), ('<= %s', high), ('< %s', below))
              if value is not None]
    wanted = ('a whole number ' if kind is int else 'a number ') + ' and '.join(bounds)

    def parse(text):
        try:
            value = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError('expected %s, got %r' % (wanted, str(text)))
        inside = ((low is None or value >= low) and (high is None or value <= high) and
                  (above is None or value > above) and (below is None or value < below))
        if not inside or value != value or value in (float('inf'), float('-inf')):
            raise argparse.ArgumentTypeError('expected %s, got %s' % (wanted, text))
        return value

    return parse


positive_int = number(int, low=1)
non_negative_int = number(int, low=0)


class Stream(object):
    """A standard stream that takes Chinese in every locale, in UTF-8 where that is ASCII, and shows each line at once."""

    def __init__(self, stream):
        self._stream, self._bytes = stream, getattr(stream, 'buffer', stream)  # Python 2 has one for both
        encoding = codecs.lookup(getattr(stream, 'encoding', None) or 'ascii').name
        self._encoding = 'utf-8' if encoding == 'ascii' else encoding

    def write(self, text):
        if isinstance(text, six.text_type):
            text = text.encode(self._encoding, 'backslashreplace')
        self._bytes.write(text)
        if b'\n' in text:
            self._bytes.flush()

    def __getattr__(self, name):
        return getattr(self._stream, name)


def tell(message, stream):
    """Writes one line, which begins with the name of the command."""
    stream.write('%s: %s\n' % (as_text(os.path.basename(sys.argv[0])), ' '.join(six.text_type(message).split())))
    stream.flush()


def fail(message):
    """One line on stderr, exit code 2."""
    tell('error: %s' % message, sys.stderr)
    sys.exit(2)


def run(main):
    """Call main(); what is wrong with the user's input becomes one line and exit code 2."""
    sys.stdout, sys.stderr = Stream(sys.stdout), Stream(sys.stderr)
    try:
        main()
    except InputError as error:
        fail(error)
    except KeyboardInterrupt:
        sys.stderr.write(str('interrupted\n'))
        sys.exit(130)
    except Exception:  # of this project's own: told whole, as a report needs it
        traceback.print_exc()
        sys.stderr.write(str('%s: this is a fault of the program. Please report it with the lines above, the command, '
                             'Python %s and paddlepaddle %s\n'
                             % (os.path.basename(sys.argv[0]), sys.version.split()[0], paddle_version())))
        sys.exit(1)


def paddle_version():
    """The version of paddle if it is loaded; this file does without it."""
    return getattr(sys.modules.get('paddle'), '__version__', '(not loaded)')


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


def duration(seconds):
    """Seconds as h:mm:ss."""
    seconds = int(seconds + 0.5)
    return '%d:%02d:%02d' % (seconds // 3600, seconds // 60 % 60, seconds % 60)


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
        self.start = self.shown = time.time()

    def update(self, done):
        """Show that `done` units are finished; cheap enough to call every step."""
        now = time.time()
        if now - self.shown < (0.2 if self.bar else 10):
            return
        self.shown = now
        speed = done / max(now - self.start, 1e-9)
        text = '%s: %d %s, %d/s' % (self.name, done, self.unit, speed)
        if self.total and done:
            share = min(done / self.total, 1.)
            left = ', %.0f%%, %s left' % (100 * share, duration((1 - share) / share * (now - self.start)))
            text = ('[%-20s] ' % ('#' * int(20 * share)) if self.bar else '') + text + left
        self._write('\r%s\x1b[K' % text if self.bar else text + '\n')

    def close(self):
        """Clear the bar, so that the next line starts clean."""
        if self.bar:
            self._write('\r\x1b[K')

    @staticmethod
    def _write(text):
        sys.stderr.write(str(text))
        sys.stderr.flush()
