# -*- coding: utf-8 -*-
"""Files and directories that take their name when they are whole and on disk."""
from __future__ import absolute_import, division, print_function, unicode_literals

import contextlib
import errno
import io
import itertools
import json
import os
import shutil

import six

from elmo.text import InputError, NobodyReads


@contextlib.contextmanager
def new_file(path):
    """Yields a path to write a file at. The file takes the name `path` when it is whole and on disk.

    A symbolic link is followed. What is no file on a disk, such as a pipe or /dev/stdout, is written to as it is.

    InputError if it cannot be written, or what is read for it cannot be read; then what was there stays. NobodyReads if
    it is a pipe that nobody reads any more.
    """
    temporary = None
    try:
        if _is_stream(path):
            with _errors_of_others(path):
                yield path
            return
        target = os.path.realpath(path)
        temporary = _fresh(target, _make_file)
        with _errors_of_others(temporary):
            yield temporary
        sync(temporary)
        os.rename(temporary, target)
        sync(os.path.dirname(target))
    except EnvironmentError as error:
        if error.errno == errno.EPIPE:
            raise NobodyReads('%s: nobody reads it' % path)
        raise InputError('%s: cannot be written: %s' % (path, error.strerror or error))
    finally:
        if temporary and os.path.exists(temporary):
            os.remove(temporary)


@contextlib.contextmanager
def _errors_of_others(path):
    """For what is done while `path` is filled: turns an error of a file elsewhere into an InputError that names it."""
    try:
        yield
    except EnvironmentError as error:
        name = getattr(error, 'filename2', None) or error.filename  # of a copy, the second one is the new file
        if name and not six.ensure_text(name).startswith(path):
            raise InputError('%s: cannot be read: %s' % (six.ensure_text(name), error.strerror))
        raise


def of_system(error):
    """The InputError, which names the file, for an EnvironmentError that nobody expects, as of a full disk."""
    named = isinstance(error.filename, (bytes, six.text_type))  # it may be None, or a number
    return InputError('%s: %s' % (six.ensure_text(error.filename) if named else 'reading or writing',
                                  error.strerror or error))


def _is_stream(path):
    """Whether there is something under this name that a file must not replace; /dev/stdout may lead to a file."""
    return os.path.exists(path) and (not os.path.isfile(path) or os.path.abspath(path).startswith('/dev/'))


def _fresh(path, make):
    """Makes something empty beside `path`, by a function that fails if it is there, and returns its path."""
    for number in itertools.count():
        temporary = '%s.%d.%d.tmp' % (path, os.getpid(), number)
        try:
            make(temporary)
            return temporary
        except OSError as error:
            if error.errno != errno.EEXIST:
                raise


def _make_file(path):
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))


def refuse_to_replace(output, inputs, flag):
    """InputError, which names the flag that gave it, if an output would take the place of an input."""
    if os.path.realpath(output) in map(os.path.realpath, inputs):
        raise InputError('%s %s: is input, and would be replaced; choose another' % (flag, output))


def refuse_existing(paths, advice='choose another'):
    """InputError, which ends with the advice, if there is something at one of the paths."""
    for path in paths:
        if os.path.lexists(path):
            raise InputError('%s: is there already; %s' % (path, advice))


@contextlib.contextmanager
def replacing(path):
    """Yields a text file to write; see new_file."""
    with new_file(path) as temporary, io.open(temporary, 'w', encoding='utf-8') as output:
        yield output


@contextlib.contextmanager
def new_directory(path, temporary=None):
    """Yields a directory to fill. It takes the name `path` when it is whole and on disk; what was there is deleted.

    Args:
        temporary: where it is filled, on the same file system, in a directory that is the caller's alone. What a killed
            process left there is deleted. Not given: a new name beside `path`.

    Raises:
        InputError: it cannot be written; then what was there stays.
    """
    path, whole = os.path.abspath(path), False  # a slash at the end would make the last step fail
    try:
        if temporary:
            shutil.rmtree(temporary, ignore_errors=True)
            os.makedirs(temporary)
        else:
            temporary = _fresh(path, os.makedirs)
        with _errors_of_others(temporary):
            yield temporary
        for parent, _, names in os.walk(temporary):
            for name in names + ['.']:
                sync(os.path.join(parent, name))
        _take_place(temporary, path)
        whole = True
    except EnvironmentError as error:
        raise InputError('%s: cannot be saved: %s' % (path, error.strerror or error))
    finally:
        if temporary and not whole:
            shutil.rmtree(temporary, ignore_errors=True)


def _take_place(temporary, path):
    """Renames a directory to `path`. At no time is there half of a directory under that name."""
    old = temporary + '.old'
    if os.path.isdir(path):
        remove_tree(old)
        os.rename(path, old)
    os.rename(temporary, path)
    sync(os.path.dirname(os.path.abspath(path)))
    remove_tree(old)


def remove_tree(path):
    """Deletes a directory, if it is there. Of a link to one, only the link goes: the user has moved it elsewhere."""
    if os.path.islink(path):
        os.remove(path)
    else:
        shutil.rmtree(path, ignore_errors=True)


def undo_half_a_replacement(path, temporary):
    """Gives a directory its name back, where new_directory was killed after it had moved the directory away."""
    old = temporary + '.old'
    if os.path.isdir(old) and not os.path.isdir(path):
        os.rename(old, path)


def write_json(path, value):
    """Writes a value as JSON; see new_file."""
    with replacing(path) as output:
        output.write(six.text_type(json.dumps(value, indent=2, sort_keys=True)) + '\n')


def read_json(path, advice=''):
    """The value in a JSON file; InputError, which ends with the advice, if it cannot be read."""
    try:
        with io.open(path, encoding='utf-8') as handle:
            return json.loads(handle.read(1 << 20))  # such files are small
    except (EnvironmentError, ValueError, RuntimeError) as error:  # RuntimeError: nested too deep
        raise InputError('%s: cannot be read: %s%s' % (path, getattr(error, 'strerror', None) or error, advice))


def sync(path):
    """Waits until a file or directory is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
