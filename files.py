# -*- coding: utf-8 -*-
"""Files that take their name when they are whole and on disk."""
from __future__ import absolute_import, division, print_function, unicode_literals

import contextlib
import io
import json
import os

import six

from reader import InputError


@contextlib.contextmanager
def new_file(path):
    """A path to write a file at, which takes the name `path` when it is whole and on disk.

    InputError if it cannot be written; then what was there stays.
    """
    temporary = path + '.tmp'
    try:
        yield temporary
        sync(temporary)
        os.rename(temporary, path)
        sync(os.path.dirname(path) or '.')
    except (IOError, OSError) as error:
        raise InputError('%s: cannot be written: %s' % (path, error.strerror or error))
    finally:
        if os.path.exists(temporary):
            os.remove(temporary)


@contextlib.contextmanager
def replacing(path):
    """A text file to write; see new_file."""
    with new_file(path) as temporary, io.open(temporary, 'w', encoding='utf-8') as output:
        yield output


def write_json(path, value):
    """Writes a value as JSON; the file takes its name when it is whole and on disk."""
    with replacing(path) as output:
        output.write(six.text_type(json.dumps(value, indent=2, sort_keys=True)) + '\n')


def read_json(path, advice=''):
    """The value in a JSON file; InputError if it cannot be read."""
    try:
        with io.open(path, encoding='utf-8') as handle:
            return json.loads(handle.read(1 << 20))  # such files are small
    except (IOError, ValueError, RuntimeError) as error:  # RuntimeError: nested too deep
        raise InputError('%s: cannot be read: %s%s' % (path, getattr(error, 'strerror', None) or error, advice))


def sync(path):
    """Waits until a file or directory is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
