# -*- coding: utf-8 -*-
"""Sets what fluid and its MKL read from the environment, but for what the user has set. To be imported before fluid."""
from __future__ import absolute_import, division, print_function, unicode_literals

import io
import multiprocessing
import os
import re


def defaults(environ, cores, cpu):
    """The variables for a machine, by name.

    Args:
        environ: the environment.
        cores: how many CPU cores this process may use.
        cpu: the text of /proc/cpuinfo, empty where there is none.
    """
    replicas = environ.get('CPU_NUM', '1')
    # Each replica runs two operators at a time, those of the two directions; threads within them would get in the way.
    threads = cores // int(replicas) // 2 if re.match('[1-9][0-9]{0,5}$', replicas) else 1  # or train.py will refuse it
    found = {
        'CPU_NUM': '1',
        # The threads are those of MKL: given as OMP_NUM_THREADS they do the same, but fluid warns of any number above 1.
        'MKL_NUM_THREADS': environ.get('OMP_NUM_THREADS', '%d' % max(1, threads)),
        'OMP_NUM_THREADS': '1',
        # fluid's warnings are about itself, such as optimizations that it has for other devices; its errors still show.
        'GLOG_minloglevel': '2',
        # Milliseconds. A trainer may wait long for the first one, which evaluates and saves; that all are alive is seen
        # to by distributed.Watch.
        'FLAGS_rpc_deadline': '%d' % (24 * 3600 * 1000),
    }
    if 'AuthenticAMD' in cpu:
        # The MKL in fluid takes its slowest path on an AMD processor; told to use AVX2 (5) or AVX-512 (7), it multiplies
        # matrices 3 times as fast.
        found['MKL_DEBUG_CPU_TYPE'] = '7' if 'avx512vl' in cpu else '5'
    return found


def _read(path):
    """A file of Linux; elsewhere it is empty."""
    if not os.path.exists(path):
        return ''
    with io.open(path, encoding='utf-8', errors='replace') as handle:
        return handle.read()


def _cores():
    allowed = re.search('Cpus_allowed:\\s*(\\S+)', _read('/proc/self/status'))
    return bin(int(allowed.group(1).replace(',', ''), 16)).count('1') if allowed else multiprocessing.cpu_count()


for _name, _value in defaults(os.environ, _cores(), _read('/proc/cpuinfo')).items():
    os.environ.setdefault(str(_name), str(_value))
