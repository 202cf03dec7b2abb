# -*- coding: utf-8 -*-
"""A clock for durations and deadlines. Unlike time.time() it does not go back when somebody sets the time."""
from __future__ import absolute_import, division, print_function, unicode_literals

import ctypes
import time

CLOCK_MONOTONIC = 1  # of time.h

if hasattr(time, 'monotonic'):
    def now():
        """Seconds since some moment, a float."""
        return time.monotonic()
else:  # Python 2.7
    _libc = ctypes.CDLL(None)

    def now():
        """Seconds since some moment, a float."""
        time_spec = (ctypes.c_long * 2)()  # seconds and nanoseconds
        _libc.clock_gettime(CLOCK_MONOTONIC, time_spec)
        return time_spec[0] + time_spec[1] * 1e-9
