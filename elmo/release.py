# -*- coding: utf-8 -*-
"""What differs between the releases of fluid, 1.8.5 to 2.5.2, for the library. bilm.py has what the network needs.

Importing it chooses fluid's static mode.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import os
import re
import subprocess

import paddle
import paddle.fluid as fluid

if hasattr(paddle, 'enable_static'):  # fluid 2 starts in dynamic mode
    paddle.enable_static()

if hasattr(fluid.CompiledProgram, 'with_data_parallel'):  # up to fluid 2.4
    from paddle.fluid.clip import GradientClipByGlobalNorm
    from paddle.fluid.contrib.mixed_precision import AutoMixedPrecisionLists
    from paddle.fluid.contrib.mixed_precision.fp16_utils import rewrite_program
    from paddle.fluid.initializer import UniformInitializer
    from paddle.fluid.io import load_vars, save_vars
    from paddle.fluid.layers import cond, create_global_var
else:
    from paddle.nn import ClipGradByGlobalNorm as GradientClipByGlobalNorm
    from paddle.nn.initializer import UniformInitializer
    from paddle.static import create_global_var, load_vars, save_vars
    from paddle.static.amp import AutoMixedPrecisionLists, cast_model_to_fp16
    from paddle.static.nn import cond

    def rewrite_program(program, lists):
        cast_model_to_fp16(program, lists, use_fp16_guard=False, level='O1')

__all__ = ['GradientClipByGlobalNorm', 'UniformInitializer', 'allow_tf32', 'compute_capability', 'compute_in_half',
           'create_global_var', 'has_data_parallel', 'has_servers', 'load_vars', 'run_if', 'save_vars']


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


def compute_in_half(program, kinds):
    """Has the operators of these types, and no others, compute in float16: puts casts around them.

    Call it before the program has a backward pass, which then does the same.

    Args:
        program: a fluid.Program, which is changed in place.
        kinds: names of types of operators.
    """
    lists = AutoMixedPrecisionLists()
    lists.white_list, lists.gray_list = set(kinds), set()  # what is in no list computes in float32
    rewrite_program(program, lists)


def run_if(condition, append):
    """Appends operators to the program that run only where a condition is true.

    Args:
        condition: bool [1].
        append: a function that appends them; an optimizer may do so.
    """
    program = fluid.default_main_program()

    def append_to_its_block():
        block = program.current_block()
        block._set_forward_block_idx(block.idx)  # an optimizer looks here for the block to append to
        append()

    cond(condition, append_to_its_block)
    last = len(program.global_block().ops) - 1
    if program.global_block().ops[last].type == 'conditional_block_grad':
        program.global_block()._remove_op(last)  # fluid 1.8.5 thinks that the block has a backward pass


def compute_capability():
    """The lowest compute capability of the visible GPUs, such as 7.0; None where it is not known."""
    if hasattr(paddle, 'device'):  # fluid 2
        cuda = paddle.device.cuda
        found = [cuda.get_device_capability(number) for number in range(cuda.device_count())]
        return min(major + minor / 10 for major, minor in found)
    visible = os.environ.get('CUDA_VISIBLE_DEVICES')
    command = ['nvidia-smi', '--query-gpu=compute_cap', '--format=csv,noheader'] + (['-i', visible] if visible else [])
    try:
        output = subprocess.check_output(command, stderr=subprocess.STDOUT).decode('utf-8', 'replace')
    except (OSError, subprocess.CalledProcessError):  # an older driver does not know this question
        return None
    return min([float(text) for text in re.findall(r'^\d+\.\d+$', output, re.M)] or [None])
