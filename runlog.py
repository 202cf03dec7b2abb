# -*- coding: utf-8 -*-
"""log.jsonl of a run: its figures as they come, a JSON object a line.

Each has `kind` (train, or dev for an evaluation), `step`, `epoch`, and numbers by name: `loss`, `perplexity_fw`,
`learning_rate`, `tokens_per_second`, `seconds` of training so far …
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import io
import json
import os

import six

from files import replacing
from reader import InputError

NAME = 'log.jsonl'
SCALARS = 'visualdl'  # directory of VisualDL's files
KINDS = ('train', 'dev')


class RunLog(object):
    """Writes the figures of a run; to VisualDL too, where it is wanted.

    Args:
        directory: where log.jsonl is; its lines up to `step` are kept.
        step: that the run goes on from. What a killed run has logged after it will come again.
        visualdl: write scalars for VisualDL into the directory SCALARS there.

    Raises:
        InputError: it cannot be written, or VisualDL is not installed.
    """

    def __init__(self, directory, step=0, visualdl=False):
        self._path, self._scalars, kept = os.path.join(directory, NAME), None, []
        if visualdl:
            try:
                from visualdl import LogWriter
            except ImportError:
                raise InputError('--visualdl True: VisualDL is not installed; see the README for how')
            self._scalars = LogWriter(logdir=os.path.join(directory, SCALARS))
        for number, record in _records(self._path) if step and os.path.exists(self._path) else []:
            if record is None:  # the power failed
                print('%s:%d: damaged, and left out' % (self._path, number))
            elif record['step'] <= step:
                kept.append(record)
        with replacing(self._path) as output:
            output.writelines(_line(record) for record in kept)

    def write(self, kind, step, epoch, **figures):
        """Adds a line; InputError if it cannot be written."""
        figures = {name: float('%.7g' % value) for name, value in figures.items()}  # float32 has no more
        try:
            with io.open(self._path, 'a', encoding='utf-8') as output:
                output.write(_line(dict(figures, kind=kind, step=step, epoch=epoch)))
        except (IOError, OSError) as error:
            raise InputError('%s: cannot be written: %s' % (self._path, error.strerror))
        if self._scalars:
            for name, value in figures.items():
                self._scalars.add_scalar('%s/%s' % (kind, name), value, step)
            self._scalars.flush()  # it would keep them for minutes


def _line(record):
    return six.text_type(json.dumps(record, sort_keys=True)) + '\n'


def _record(line):
    """What a line says, None if RunLog cannot have written it."""
    try:
        record = json.loads(line)
        numbers = [value for name, value in record.items() if name != 'kind']
        good = (record['kind'] in KINDS and type(record['step']) is int and
                all(isinstance(number, (int, float)) for number in numbers))
    except (ValueError, AttributeError, KeyError, TypeError, RuntimeError):  # RuntimeError: nested too deep
        good = False
    return record if good else None


def _records(path):
    """Yields (line from 1, what it says or None) of a log, but for a last line without its end: a run was killed."""
    try:
        with io.open(path, encoding='utf-8', errors='replace') as lines:
            for number, line in enumerate(lines, 1):
                if line.endswith('\n'):
                    yield number, _record(line)
    except (IOError, OSError) as error:
        raise InputError('%s: cannot be read: %s' % (path, error.strerror))


def read(directory):
    """The lines of log.jsonl in a directory, in their order: a list of dicts.

    InputError if there is no log, or a line is none of it.
    """
    path, records = os.path.join(directory, NAME), []
    for number, record in _records(path):
        if record is None:
            raise InputError('%s:%d: is no line that a run has logged; name the directory of a run' % (path, number))
        records.append(record)
    return records
