# -*- coding: utf-8 -*-
"""What all commands share: flags, errors of one line, exit codes.

Exit codes: 0 success; 2 bad input or use (one line on stderr, no traceback); 1 a fault of the program, or the death of
another process of the job; 130 interrupted before there was anything to save; 141 nobody reads the output; 143 ended by
SIGTERM.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import argparse
import codecs
import errno
import io
import os
import resource
import signal
import sys
import traceback

import six

from elmo import memory, signals
from elmo.files import of_system
from elmo.text import InputError, NobodyReads


class _HelpFormatter(argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter):
    """Shows the default of a flag that has one."""

    def _get_help_string(self, action):
        is_switch = action.default is False and action.metavar != BOOLEAN['metavar']
        if action.default in (None, '') or is_switch or action.nargs == '*':
            return action.help
        return super(_HelpFormatter, self)._get_help_string(action)


class ArgumentParser(argparse.ArgumentParser):
    """argparse with one-line errors, an example in its help, and no guessing at abbreviated flags.

    Args:
        description: what the command does.
        example: a command line, or several; in it %(prog)s is the name of the command.
    """

    def __init__(self, description=None, example=None, **kwargs):
        epilog = example and 'example:\n' + ''.join('  %s\n' % line for line in example.splitlines())
        super(ArgumentParser, self).__init__(description=description, epilog=epilog, formatter_class=_HelpFormatter,
                                             **kwargs)

    def parse_known_args(self, args=None, namespace=None):
        args = [as_text(arg) for arg in (sys.argv[1:] if args is None else args)]
        return super(ArgumentParser, self).parse_known_args(args, namespace)

    def error(self, message):
        fail('%s (see %s --help)' % (message, self.prog))

    def _get_option_tuples(self, option_string):
        return []  # Python 2.7 has no allow_abbrev=False


def as_text(value):
    """An argument of the command line, or a path, as text. In Python 2 it is bytes."""
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


BOOLEAN = {'type': boolean, 'metavar': '{True,False}'}  # for add_argument


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


MIN_FILES = 64  # with fewer, a failed import is rather a matter of that than of what is installed


class Stream(object):
    """A standard stream that takes Chinese in every locale and shows each line at once.

    Where the locale knows ASCII alone, it writes UTF-8.

    Args:
        stream: of Python; None if it was closed.
        goes_on: what to do when it cannot be written: go on without it, or raise NobodyReads or InputError.
        told: a stream where that is told; None: it is not.
    """

    def __init__(self, stream, goes_on=True, told=None):
        self._bytes = getattr(stream, 'buffer', stream)  # Python 2 has one for both
        self._stream = stream or io.open(os.devnull, 'w')
        self._goes_on, self._told = goes_on, told
        encoding = codecs.lookup(getattr(stream, 'encoding', None) or 'ascii').name
        self._encoding = 'utf-8' if encoding == 'ascii' else encoding

    def write(self, text):
        if isinstance(text, six.text_type):
            text = text.encode(self._encoding, 'backslashreplace')
        try:
            if self._bytes is None:
                raise EnvironmentError(errno.EBADF, 'it is closed')
            self._bytes.write(text)
            if b'\n' in text:
                self._bytes.flush()
        except EnvironmentError as error:
            self._fail(error)

    def _fail(self, error):
        # Python writes what is left at its end. It must not fail once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
        self._bytes = io.open(os.devnull, 'wb')
        if self._goes_on and self._told:
            tell('standard output cannot be written (%s); the run goes on, and log.jsonl has its figures'
                 % error.strerror, self._told)
        if not self._goes_on and error.errno == errno.EPIPE:
            raise NobodyReads('nobody reads standard output')
        if not self._goes_on:
            raise InputError('standard output cannot be written: %s' % error.strerror)

    def __getattr__(self, name):
        return getattr(self._stream, name)


def tell(message, stream):
    """Writes a message as one line, behind the name of the command."""
    stream.write('%s: %s\n' % (as_text(os.path.basename(sys.argv[0])), ' '.join(six.text_type(message).split())))
    stream.flush()


def fail(message):
    """One line on stderr, exit code 2."""
    tell('error: %s' % message, sys.stderr)
    sys.exit(2)


def _occupy_standard_streams():
    """Opens what the caller has closed. The next file would get its number, and whoever prints would write into it."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDONLY if number else os.O_WRONLY)  # whoever uses it is told


_occupy_standard_streams()
IN_SCRIPT = signals.end_with_script()  # early, as a script may be killed at any time


def _end_by_signal(number, _):
    """Unlike the signal alone, this removes what is half written."""
    sys.exit(128 + (signal.SIGTERM if number == signals.OF_SCRIPT else number))


def run(main, trains=False):
    """Calls main(). An InputError becomes one line on stderr and exit code 2.

    Args:
        trains: whether main() goes on when nobody reads what it prints, as it saves its work.
    """
    _occupy_standard_streams()  # again: in Python 2 a module that was being imported had a number of theirs
    errors = Stream(sys.stderr)
    trains = trains and not {'-h', '--help'}.intersection(sys.argv)  # these print and end
    sys.stdout, sys.stderr = Stream(sys.stdout, trains, errors), errors
    for number in signals.unless_nohup((signal.SIGTERM, signal.SIGHUP, signals.OF_SCRIPT)):
        signal.signal(number, _end_by_signal)
    try:
        main()
        if IN_SCRIPT and signals.Stop.number not in (None, signals.OF_SCRIPT):
            sys.exit(128 + signals.Stop.number)  # it came to an end early, and the script knows nothing of it
    except NobodyReads:
        sys.exit(128 + signal.SIGPIPE)
    except InputError as error:
        fail(error)
    except EnvironmentError as error:
        refuse_want_of_memory(error)
        fail(of_system(error))
    except KeyboardInterrupt:
        sys.stderr.write(str('interrupted\n'))
        sys.exit(130)
    except Exception as error:  # a fault of this program: a report needs all of it
        refuse_want_of_memory(error)
        traceback.print_exc()
        sys.stderr.write(str('%s: this is a fault of the program. Please report it with the lines above, the command, '
                             'Python %s and paddlepaddle %s\n'
                             % (os.path.basename(sys.argv[0]), sys.version.split()[0], paddle_version())))
        sys.exit(1)


def refuse_want_of_memory(error):
    """One line on stderr and exit code 2 if an exception comes of a want of memory."""
    said = memory.want(error)
    if said:
        fail('not enough memory (%s); give a smaller network or batch, or a higher limit (ulimit -v)' % said)


def _tell_what_was_raised(kind, error, trace):
    """For what is raised before run(), while modules are imported."""
    refuse_want_of_memory(error)
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if isinstance(error, ImportError) and 0 <= files < MIN_FILES:  # Python 2 takes an open file for each nested import
        fail('only %d files may be open (%s); give a higher limit (ulimit -n %d)' % (files, error, MIN_FILES))
    sys.__excepthook__(kind, error, trace)


sys.excepthook = _tell_what_was_raised


def paddle_version():
    """The version of paddle, if it is loaded."""
    return getattr(sys.modules.get('paddle'), '__version__', '(not loaded)')
