# -*- coding: utf-8 -*-
"""The moving average of the parameters of a training, which tags better than their last values (Polyak and Juditsky \
1992).

fluid.optimizer.ExponentialMovingAverage overwrites its average each time it is applied, so it cannot go on after an
evaluation. And it takes time in every step.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import contextlib

import numpy as np
import paddle.fluid as fluid


def _value(name):
    return np.array(fluid.global_scope().find_var(name).get_tensor())


class Average(object):
    """The average of each parameter of a program. The values of `horizon` steps ago count 1/e of the last ones.

    It is in variables of the program, NAME.average, which a checkpoint holds beside what the optimizer keeps.

    Args:
        program: the training program, to which the variables are added.
        place: the device; the parameters are in the current scope there.
        horizon: in steps; 0: no average, and the last values stay.
        every: steps between two additions to it, which take a while.
    """

    def __init__(self, program, place, horizon, every):
        self._place, self._horizon, self._every = place, horizon, every
        self._averages = {}  # {parameter: its average}
        for parameter in program.all_parameters() if horizon else ():
            average = program.global_block().create_var(
                name=str(parameter.name + '.average'), shape=parameter.shape, dtype=parameter.dtype, persistable=True)
            self._averages[parameter.name] = average.name
            fluid.global_scope().var(average.name)
            self._set(average.name, np.zeros(parameter.shape, dtype='float32'))

    def _set(self, name, value):
        fluid.global_scope().find_var(name).get_tensor().set(value, self._place)

    def add(self, step):
        """Adds the parameters as they are after a step, counted from 1. At first all of them count alike."""
        if step % self._every == 0:
            share = self._every / min(step, max(self._every, self._horizon))
            for name, average in self._averages.items():
                mean = _value(average)
                self._set(average, mean + np.float32(share) * (_value(name) - mean))

    @contextlib.contextmanager
    def applied(self):
        """Lets the parameters have their averages, until the context ends."""
        last = {name: _value(name) for name in self._averages}
        for name, average in self._averages.items():
            self._set(name, _value(average))
        try:
            yield
        finally:
            for name, value in last.items():
                self._set(name, value)
