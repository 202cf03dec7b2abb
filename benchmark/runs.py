# -*- coding: utf-8 -*-
"""A training as a process of its own, for the scripts that make a table of several."""
from __future__ import absolute_import, division, print_function, unicode_literals

import io
import os
import subprocess
import sys

from elmo.text import InputError


def go_on(command, path):
    """Trains, or goes on with a training that was interrupted; it ends when this process does.

    Args:
        command: a list, the script and its flags without --resume.
        path: of a file to which all that it prints is added.

    Raises:
        InputError: it failed, or was stopped.
    """
    environment = dict(os.environ)
    environment[str('ELMO_SCRIPT')] = str(os.getpid())  # see elmo/signals.py
    with io.open(path, 'ab') as log:
        code = subprocess.call([sys.executable] + command + ['--resume'], stdout=log, stderr=subprocess.STDOUT,
                               env=environment)
    if code:
        raise InputError('%s: the run failed or was stopped, see its end; the same command goes on' % path)
