# -*- coding: utf-8 -*-
"""Lines of pipes, terminals and files in blocks: who waits for an answer gets it, who sends much is batched."""
from __future__ import absolute_import, division, print_function, unicode_literals

import os
import select
import stat

from elmo import clock
from elmo.text import MAX_LINE_BYTES, InputError, decode_line, open_binary

BYTES = 1 << 16  # read at a time, as much as a pipe of Linux holds


def read_blocks(paths, block, wait):
    """As text.read_blocks, but a list also ends where no line is there to be read `wait` seconds after its first one.

    Args:
        paths: of files, '-' being standard input.
        block: about so many characters in a list. While the lines come fast, each list has as many.
        wait: seconds.
    """
    size, lines, characters, since = 0, [], 0, 0.
    for path in paths:
        with open_binary(path) as handle:
            on_disk = stat.S_ISREG(os.fstat(handle.fileno()).st_mode)
            for place, text, length in _lines(handle, 'stdin' if path == '-' else path):
                if place:
                    since = since if lines else clock.now()
                    lines.append((place, text))
                    characters, size = characters + len(text), size + length
                waited = not place and not on_disk and not _comes(handle, since + wait - clock.now())
                if lines and (characters >= block or waited):
                    yield lines, size
                    lines, characters = [], 0
    if lines:
        yield lines, size


def _comes(handle, seconds):
    """Whether a pipe or terminal has something to read, or its end, within so many seconds."""
    return bool(select.select([handle], [], [], max(seconds, 0.))[0])


def _lines(handle, name):
    """Yields (file:line, text, bytes) of each line, and ('', '', 0) whenever the next one has not been read yet.

    It reads past Python's buffers, which would hide from select what they hold.
    """
    rest, number = b'', 0
    while True:
        try:
            read = os.read(handle.fileno(), BYTES)
        except EnvironmentError as error:
            raise InputError('%s: cannot be read: %s' % (name, error.strerror))
        lines = (rest + read).split(b'\n')
        rest = lines.pop()
        lines = [line + b'\n' for line in lines]
        if rest and not read or len(rest) > MAX_LINE_BYTES:
            lines.append(rest)  # the last line may lack its end; one that is too long is refused
        for line in lines:
            number += 1
            yield '%s:%d' % (name, number), decode_line(line, name, number), len(line)
        if not read:
            return
        yield '', '', 0
