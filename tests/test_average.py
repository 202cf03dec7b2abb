# -*- coding: utf-8 -*-
"""The moving average of the tagger's parameters, against numpy."""
from __future__ import absolute_import, division, print_function, unicode_literals

import numpy as np
import paddle.fluid as fluid
from paddle.fluid.layer_helper import LayerHelper
import pytest

from lac_finetune.average import Average

pytestmark = pytest.mark.usefixtures('fresh_scope')


@pytest.fixture
def program():
    """A program with the parameter w, float32 [2]."""
    main = fluid.Program()
    with fluid.program_guard(main, fluid.Program()), fluid.unique_name.guard():
        LayerHelper('w').create_parameter(fluid.ParamAttr(name=str('w')), [2], 'float32')
    return main


def tensor(name='w'):
    return fluid.global_scope().var(str(name)).get_tensor()


def add_all(average, values):
    for step, value in enumerate(values, 1):
        tensor().set(np.array(value, dtype='float32'), fluid.CPUPlace())
        average.add(step)


def test_it_is_the_mean_at_first_and_then_moves_a_part_of_the_way(program):
    values = np.random.RandomState(0).rand(9, 2)
    average = Average(program, fluid.CPUPlace(), 6., 2)
    add_all(average, values)
    expected = values[[1, 3, 5]].mean(axis=0)  # after steps 2, 4 and 6
    expected += 2 / 6 * (values[7] - expected)  # after step 8
    with average.applied():
        np.testing.assert_allclose(tensor(), expected, atol=1e-6)
    np.testing.assert_allclose(tensor(), values[8], atol=1e-6)
    np.testing.assert_allclose(tensor('w.average'), expected, atol=1e-6)


def test_the_last_values_come_back_after_an_error(program):
    average = Average(program, fluid.CPUPlace(), 2., 1)
    add_all(average, [[1, 2], [3, 6]])
    with pytest.raises(ZeroDivisionError), average.applied():
        assert np.array(tensor()).tolist() == [2, 4]
        1 / 0
    assert np.array(tensor()).tolist() == [3, 6]


def test_without_a_horizon_nothing_is_averaged(program):
    average = Average(program, fluid.CPUPlace(), 0., 1)
    add_all(average, [[1, 2], [3, 6]])
    with average.applied():
        assert np.array(tensor()).tolist() == [3, 6]
    assert [variable.name for variable in program.list_vars() if variable.persistable] == ['w']
