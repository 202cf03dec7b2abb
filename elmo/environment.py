# -*- coding: utf-8 -*-
"""What fluid and its MKL read from the environment when they are loaded."""
from __future__ import absolute_import, division, print_function, unicode_literals

import ctypes
import io
import multiprocessing
import os
import re
import warnings

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # of malloc.h
MIB = 1 << 20


def defaults(environ, cores, cpu):
    """The variables for a machine, by name.

    Args:
        environ: the environment.
        cores: how many CPU cores this process may use.
        cpu: the text of /proc/cpuinfo, empty where there is none.
    """
    replicas = environ.get('CPU_NUM', '1')
    # Each replica runs two operators at a time, one for each direction. They share the cores of the replica.
    threads = cores // int(replicas) // 2 if re.match('[1-9][0-9]{0,5}$', replicas) else 1  # train.py refuses others
    found = {
        'CPU_NUM': '1',
        # These threads are MKL's. OMP_NUM_THREADS would set them too, but fluid warns when that is above 1.
        'MKL_NUM_THREADS': environ.get('OMP_NUM_THREADS', '%d' % max(1, threads)),
        'OMP_NUM_THREADS': '1',
        # Hides fluid's warnings, which are about fluid itself. Its errors still show.
        'GLOG_minloglevel': '2',
        # Milliseconds. A trainer may wait long for the first one, which evaluates and saves. Watch notices a death.
        'FLAGS_rpc_deadline': '%d' % (24 * 3600 * 1000),
        # fluid 2.4 runs a program that is not compiled by a new executor, which hangs if an operator fails.
        'FLAGS_USE_STANDALONE_EXECUTOR': '0',
    }
    if 'AuthenticAMD' in cpu:
        # fluid's MKL takes its slowest path on an AMD processor. With AVX2 (5) or AVX-512 (7) its matrix products are 3
        # times as fast.
        found['MKL_DEBUG_CPU_TYPE'] = '7' if 'avx512vl' in cpu else '5'
    return found


def _read(path):
    """The text of a file of Linux; empty where there is no such file."""
    if not os.path.exists(path):
        return ''
    with io.open(path, encoding='utf-8', errors='replace') as handle:
        return handle.read()


def cores(read=_read):
    """How many CPU cores this process may use: those that it is bound to, or fewer if its container has a quota.

    Args:
        read: gives the text of a file, empty where there is none.
    """
    allowed = re.search('Cpus_allowed:\\s*(\\S+)', read('/proc/self/status'))
    found = bin(int(allowed.group(1).replace(',', ''), 16)).count('1') if allowed else multiprocessing.cpu_count()
    quota = read('/sys/fs/cgroup/cpu.max').split()  # microseconds in a period of microseconds; "max" is no quota
    quota = quota or [read('/sys/fs/cgroup/cpu/cpu.cfs_%s_us' % name).strip() for name in ('quota', 'period')]
    if all(re.match('[1-9][0-9]*$', number) for number in quota):
        found = min(found, max(1, int(quota[0]) // int(quota[1])))
    return found


def _keep_memory():
    """Lets malloc keep what fluid 2.5 frees, for all threads in one arena.

    fluid 1.8.5 has a pool of its own. fluid 2.5 asks malloc for every tensor of every step, and frees it in another
    thread. With an arena for each thread it takes more memory. Memory that goes back to the system comes again page by
    page, which is slow. If all of it were kept, large tensors would leave gaps: 10 GB instead of 4 at the published
    sizes.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, 'mallopt') and not any(name.startswith('MALLOC_') for name in os.environ):  # glibc
        for option, value in ((M_ARENA_MAX, 1), (M_MMAP_THRESHOLD, 32 * MIB), (M_TRIM_THRESHOLD, 256 * MIB)):
            libc.mallopt(option, value)


def set_defaults():
    """Sets the variables that the user has not set, and hides warnings. Call it before fluid is imported."""
    warnings.filterwarnings('ignore', 'You are using GPU version Paddle', UserWarning)  # on a machine without a GPU
    warnings.filterwarnings('ignore', 'The following exception is not an EOF exception', UserWarning)  # it is told
    _keep_memory()
    for name, value in defaults(os.environ, cores(), _read('/proc/cpuinfo')).items():
        os.environ.setdefault(str(name), str(value))
