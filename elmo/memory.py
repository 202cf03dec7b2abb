# -*- coding: utf-8 -*-
"""Memory that is not there: told beforehand where that is possible, and found in what was raised otherwise."""
from __future__ import absolute_import, division, print_function, unicode_literals

import io
import os
import re
import resource
import traceback

import six

from elmo.text import InputError

# What Python, numpy, the loader of libraries and the releases of fluid say. Others get through as they are.
_WANT = re.compile('MemoryError|bad_alloc|Alloc [0-9]+ error|ResourceExhausted|Out of memory|annot allocate memory|'
                   'failed to map segment|start new thread')
LIMITS = ('/sys/fs/cgroup/memory.max', '/sys/fs/cgroup/memory/memory.limit_in_bytes')  # of a container


def total():
    """The bytes of memory that this process can have at most: of the machine, its swap included, or of a limit."""
    with io.open('/proc/meminfo', encoding='utf-8') as lines:
        sizes = re.findall(r'^(?:MemTotal|SwapTotal):\s+(\d+) kB', lines.read(), re.M)
    found = [1024 * sum(map(int, sizes)), resource.getrlimit(resource.RLIMIT_AS)[0]]
    for path in LIMITS:
        if os.path.exists(path):
            with io.open(path, encoding='utf-8') as limit:
                found += map(int, re.findall('[0-9]+', limit.read()))
    return min(size for size in found if size > 0)  # no limit is -1, or a word


def check(shapes, kept=1):
    """InputError if a network can never fit into memory. The kernel would kill the process without a word.

    Args:
        shapes: of its parameters, float32.
        kept: how many numbers are kept for each of a parameter's.
    """
    needed = 4 * kept * sum(size_of(shape) for shape in shapes)
    if needed > total():
        raise InputError('not enough memory: the network takes %d MB, and there are %d MB at most; make it smaller, or '
                         'take another machine' % (needed >> 20, total() >> 20))


def size_of(shape):
    """The number of elements, as a Python int, which does not overflow."""
    result = 1
    for size in shape:
        result *= int(size)
    return result


def want(error):
    """What could not be had, in a few words, if an exception comes of a want of memory; '' otherwise."""
    said = six.ensure_text(''.join(traceback.format_exception_only(type(error), error)), errors='replace')
    lines = [line.strip() for line in said.splitlines() if _WANT.search(line)]
    return ' '.join([lines[-1]] + re.findall(r'\[operator < \w+ > error\]', said)[-1:]) if lines else ''
