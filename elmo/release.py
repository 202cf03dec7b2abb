# -*- coding: utf-8 -*-
"""What differs between the releases of fluid, 1.8.5 to 2.5.2, for the library. bilm.py has what the network needs.

Importing it chooses fluid's static mode.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import paddle
import paddle.fluid as fluid

if hasattr(paddle, 'enable_static'):  # fluid 2 starts in dynamic mode
    paddle.enable_static()

if hasattr(fluid.CompiledProgram, 'with_data_parallel'):  # up to fluid 2.4
    from paddle.fluid.clip import GradientClipByGlobalNorm
    from paddle.fluid.initializer import UniformInitializer
    from paddle.fluid.io import load_vars, save_vars
    from paddle.fluid.layers import create_global_var
else:
    from paddle.nn import ClipGradByGlobalNorm as GradientClipByGlobalNorm
    from paddle.nn.initializer import UniformInitializer
    from paddle.static import create_global_var, load_vars, save_vars

__all__ = ['GradientClipByGlobalNorm', 'UniformInitializer', 'allow_tf32', 'create_global_var', 'has_data_parallel',
           'has_servers', 'load_vars', 'save_vars']


def allow_tf32(allowed):
    """Tells fluid 2.5 whether a GPU may compute matrix products in TF32, which keeps 10 of the 23 bits of each factor.

    It lets GPUs of compute capability 8.0 and above do so, unless told otherwise. Older releases are built for CUDA 10,
    which has no TF32.
    """
    if hasattr(fluid.core, 'set_cublas_switch'):
        fluid.core.set_cublas_switch(allowed)


def has_data_parallel():
    """Whether a process can run a program on several devices: fluid 2.5 has no ParallelExecutor."""
    return hasattr(fluid.CompiledProgram, 'with_data_parallel')


def has_servers():
    """Whether this fluid has the operators of its parameter servers: releases from 2.0 on do without them."""
    return 'recv' in fluid.framework.OpProtoHolder.instance().op_proto_map
