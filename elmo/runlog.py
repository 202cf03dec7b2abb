# -*- coding: utf-8 -*-
"""log.jsonl of a run: its metrics as they come, a JSON object a line.

Each line has `kind` (train, or dev for an evaluation), `step`, `epoch`, and numbers by name: `loss`, `perplexity_fw`,
`learning_rate`, `tokens_per_second`, `seconds` of training so far …
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import io
import json
import os

import numpy as np
import six

from elmo import schema
from elmo.files import replacing
from elmo.progress import duration
from elmo.text import InputError

NAME = 'log.jsonl'
SCALARS = 'visualdl'  # directory of VisualDL's files
KINDS = ('train', 'dev')
STEP, WHOLE = schema.whole(), schema.whole(-2 ** 53, 2 ** 53)


class RunLog(object):
    """Writes the metrics of a run to log.jsonl, and to VisualDL where that is wanted.

    Args:
        directory: where log.jsonl is.
        step: the step that the run goes on from; None: it starts, and what is there is deleted. Lines of later steps,
            which a killed run wrote, are deleted.
        visualdl: write scalars for VisualDL into the directory SCALARS there.

    Raises:
        InputError: it cannot be written, or VisualDL is not installed.
    """

    def __init__(self, directory, step=None, visualdl=False):
        self._path, self._scalars, kept = os.path.join(directory, NAME), None, []
        if visualdl:
            try:
                from visualdl import LogWriter
            except ImportError:
                raise InputError('--visualdl True: VisualDL is not installed; docs/pretraining.md says how')
            self._scalars = LogWriter(logdir=os.path.join(directory, SCALARS))
        for number, record in _records(self._path) if step is not None and os.path.exists(self._path) else []:
            if record is None:  # the power failed
                print('%s:%d: damaged, and left out' % (self._path, number))
            elif record['step'] <= step:
                kept.append(record)
        with replacing(self._path) as output:
            output.writelines(_line(record) for record in kept)

    def write(self, kind, step, epoch, **metrics):
        """Adds a line; InputError if it cannot be written."""
        metrics = {name: float('%.7g' % value) for name, value in metrics.items()}  # float32 has no more digits
        try:
            with io.open(self._path, 'a', encoding='utf-8') as output:
                output.write(_line(dict(metrics, kind=kind, step=step, epoch=epoch)))
        except EnvironmentError as error:
            raise InputError('%s: cannot be written: %s' % (self._path, error.strerror))
        if self._scalars:
            for name, value in metrics.items():
                self._scalars.add_scalar('%s/%s' % (kind, name), value, step)
            self._scalars.flush()  # VisualDL would keep them for minutes


class Window(object):
    """The steps since the last line of the log.

    Attributes:
        steps: their number.
        loss: mean over their tokens, float64 [k] of k losses.
        tokens_per_second: speed of training.
    """

    def __init__(self):
        self.steps, self._tokens, self._losses, self._seconds = 0, 0, 0., 0.

    def add(self, tokens, losses, seconds):
        """Takes in a step: its tokens, mean losses [k], and duration."""
        self.steps, self._tokens, self._seconds = self.steps + 1, self._tokens + tokens, self._seconds + seconds
        self._losses = self._losses + tokens * np.asarray(losses, dtype='float64')

    @property
    def loss(self):
        return self._losses / self._tokens

    @property
    def tokens_per_second(self):
        return self._tokens / self._seconds

    def time_left(self, steps):
        """The time that so many steps will take, as h:mm:ss."""
        return duration(steps * self._seconds / self.steps)


def _line(record):
    return six.text_type(json.dumps(record, sort_keys=True)) + '\n'


def _record(line):
    """The dict of a line, None if RunLog cannot have written the line."""
    try:
        record = json.loads(line)
        numbers = [value for name, value in record.items() if name != 'kind']
        good = (record['kind'] in KINDS and not STEP(record['step']) and
                all(isinstance(number, float) or not WHOLE(number) for number in numbers))
    except (ValueError, AttributeError, KeyError, TypeError, RuntimeError):  # RuntimeError: nested too deep
        good = False
    return record if good else None


def _records(path):
    """Yields (number of the line from 1, see _record) of a log. A last line without its end is left out: its run was
    killed."""
    try:
        with io.open(path, encoding='utf-8', errors='replace') as lines:
            for number, line in enumerate(lines, 1):
                if line.endswith('\n'):
                    yield number, _record(line)
    except EnvironmentError as error:
        raise InputError('%s: cannot be read: %s' % (path, error.strerror))


def read(directory):
    """The lines of log.jsonl in a directory, in their order: a list of dicts.

    InputError if there is no log, or no run has logged one of its lines.
    """
    path, records = os.path.join(directory, NAME), []
    for number, record in _records(path):
        if record is None:
            raise InputError('%s:%d: is no line that a run has logged; name the directory of a run' % (path, number))
        records.append(record)
    return records
