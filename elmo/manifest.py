# -*- coding: utf-8 -*-
"""manifest.json: size and sha256 of each file of a directory, so that damage is noticed."""
from __future__ import absolute_import, division, print_function, unicode_literals

import hashlib
import io
import json
import os
import re

from elmo import schema
from elmo.files import read_json, write_json
from elmo.text import InputError

NAME = 'manifest.json'
_FILE = re.compile('[A-Za-z0-9_][A-Za-z0-9_.@+-]*(/[A-Za-z0-9_][A-Za-z0-9_.@+-]*)*$')  # never outside the directory
_SIZE, _SHA256 = schema.whole(0, 2 ** 63), schema.text(64)


def write(directory):
    """Writes the manifest of all files below a directory."""
    write_json(os.path.join(directory, NAME), _made(directory))


def _made(directory):
    return {name: _size_and_sha256(os.path.join(directory, name)) for name in _files(directory)}


def digest(directory):
    """The sha256 of all that a directory holds, by its manifest if it has one; in hexadecimal digits."""
    content = json.dumps(read(directory) or _made(directory), sort_keys=True)
    return str(hashlib.sha256(content.encode('ascii')).hexdigest())


def read(directory):
    """The manifest of a directory, {name: [size, sha256]}; None if it has none that can be read."""
    try:
        found = read_json(os.path.join(directory, NAME))
    except InputError:
        return None
    return found if isinstance(found, dict) and found and all(map(_is_entry, found.items())) else None


def _is_entry(item):
    name, entry = item
    return (len(name) < 256 and bool(_FILE.match(name)) and isinstance(entry, list) and len(entry) == 2 and
            not _SIZE(entry[0]) and not _SHA256(entry[1]))


def damage(directory, names=None):
    """What is wrong with a directory, or with these files of it, by its manifest; an empty text if nothing is.

    A directory without a manifest, as the published checkpoint, is taken as it is.
    """
    path = os.path.join(directory, NAME)
    if not os.path.exists(path):
        return ''
    expected = read(directory)
    if expected is None:
        return '%s: damaged: no list of files' % path
    for name in sorted(expected) if names is None else names:
        file = os.path.join(directory, name)
        if not os.path.isfile(file):
            return '%s: is missing' % file
        try:
            if name in expected and _size_and_sha256(file) != expected[name]:
                return '%s: damaged: not what %s says was saved' % (file, path)
        except EnvironmentError as error:
            return '%s: cannot be read: %s' % (file, error.strerror)
    return ''


def damage_of_ours(directory):
    """As damage, for what was saved with a manifest."""
    return damage(directory) if read(directory) else '%s: has no whole %s' % (directory, NAME)


def check(directory, names=None):
    """InputError if a file of a directory, or one of these files, is missing or damaged; see damage."""
    found = damage(directory, names)
    if found:
        raise InputError('%s; copy it again, or take another' % found)


def _files(directory):
    """Paths of the files below a directory, relative to it."""
    return sorted(os.path.relpath(os.path.join(parent, name), directory)
                  for parent, _, names in os.walk(directory) for name in names)


def _size_and_sha256(path):
    digest = hashlib.sha256()
    with io.open(path, 'rb') as handle:
        for block in iter(lambda: handle.read(1 << 20), b''):
            digest.update(block)
        return [handle.tell(), str(digest.hexdigest())]
