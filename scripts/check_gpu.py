# -*- coding: utf-8 -*-
"""Multiplies two matrices on the first GPU. Where that fails, the last line on stderr says why; exit code 1."""
from __future__ import absolute_import, division, print_function, unicode_literals

from elmo import devices
import numpy as np
import paddle.fluid as fluid

import bilm


def main():
    place = devices.places(use_gpu=True)[0]
    program = fluid.Program()
    with fluid.program_guard(program, fluid.Program()):
        x = bilm.data('x', [2, 2], dtype='float32')
        product = bilm.ops.matmul(x, x)
    found, = fluid.Executor(place).run(program, feed={'x': np.eye(2, dtype='float32')}, fetch_list=[product])
    np.testing.assert_array_equal(found, np.eye(2))


if __name__ == '__main__':
    main()
