# -*- coding: utf-8 -*-
"""Mixed precision: some matrix products in float16, and a loss that is scaled so that its gradients fit into float16.

fluid's own optimizer of mixed precision fails at the sparse gradient of an embedding, in all releases. So the casts are
fluid's, and the scaling is here.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import paddle.fluid as fluid

from bilm import append_operator, ops
from elmo import release
from elmo.text import InputError

# The products before the LSTM layers alone. fluid has no lstmp in float16. Two of the three products of the softmax
# read exp(logit - maximum), and float16 has nothing below 6e-8: a large vocabulary would lose most of its sum. The
# third one would round the logits.
HALF = ('mul',)
FIRST, LOWEST, HIGHEST = 2. ** 15, 1., 2. ** 24  # values of the scaling; powers of 2 round nothing
GROWTH = 1024  # steps in a row without overflow, after which the scaling is doubled
LARGEST = 3e38  # float32 ends a little above


def check(places):
    """InputError unless these devices are GPUs with units for float16."""
    if not isinstance(places[0], fluid.CUDAPlace):
        raise InputError('--use_amp True: this runs on the CPU, and mixed precision wants a GPU of compute capability '
                         '7.0 or later; give --use_amp False')
    capability = release.compute_capability()
    if capability and capability < 7:
        raise InputError('--use_amp True: a GPU has compute capability %s, and mixed precision wants 7.0 or later; '
                         'choose others by CUDA_VISIBLE_DEVICES, or give --use_amp False' % capability)


class Scaling(object):
    """An optimizer for a program that computes HALF in float16, to be used as one of fluid's.

    The loss is multiplied by a scaling, and the gradients are divided by it again before they are clipped. A step whose
    gradient overflows changes nothing, but halves the scaling. GROWTH steps in a row without overflow double it.

    Args:
        optimizer: one of fluid's, which does not clip.
        clip: a distributed.Clip.

    Attributes:
        norm: float32 [1], the global norm of the gradient before it is clipped. It is 0 if the gradient overflowed, and
            not finite if it did so at the lowest scaling.
    """

    def __init__(self, optimizer, clip):
        self._optimizer, self._clip, self.norm = optimizer, clip, None

    def backward(self, loss):
        """Appends the backward pass to the program of a loss, float32 [1]: a list of (parameter, gradient).

        The gradients are those of the scaled loss.
        """
        release.compute_in_half(loss.block.program, HALF)
        self._scaling, self._good_steps = [
            release.create_global_var([1], value, 'float32', persistable=True, name=str(name))
            for name, value in (('loss_scaling', FIRST), ('good_steps', 0.))]
        return self._optimizer.backward(ops.elementwise_mul(loss, self._scaling))

    def apply_gradients(self, params_grads):
        """Appends the update by what backward returned."""
        program = fluid.default_main_program()
        with program._optimized_guard([]):
            inverse = append_operator('reciprocal', {'X': self._scaling})
            for _, gradient in params_grads:
                program.global_block().append_op(type='elementwise_mul', inputs={'X': gradient, 'Y': inverse},
                                                 outputs={'Out': gradient}, attrs={'axis': -1})
            clipped = self._clip(params_grads)
            largest = ops.scale(self._scaling, scale=0., bias=LARGEST)
            finite = append_operator('less_than', {'X': self._clip.norm, 'Y': largest}, 'bool', axis=-1)
            # 0, and 0 / 0 at the lowest scaling.
            self.norm = ops.elementwise_div(ops.scale(self._scaling, scale=0.), ops.scale(self._scaling, bias=-LOWEST))

            def update():
                self._optimizer.apply_gradients(clipped)
                ops.assign(self._clip.norm, self.norm)

            # A gradient of 0 would not do instead: 0 * NaN is NaN, and Adam moves on without one.
            release.run_if(finite, update)
            self._rescale(ops.cast(finite, 'float32'))

    def _rescale(self, finite):
        """Appends the change of the scaling. `finite` is 1 if the gradient was, otherwise 0: float32 [1]."""
        good_steps = ops.elementwise_mul(ops.scale(self._good_steps, bias=1.), finite)
        grows = append_operator('floor', {'X': ops.scale(good_steps, scale=1. / GROWTH)})
        factor = ops.elementwise_add(ops.scale(finite, scale=0.5, bias=0.5), grows)  # 0.5, 1 or 2
        scaling = append_operator('clip', {'X': ops.elementwise_mul(self._scaling, factor)}, min=LOWEST, max=HIGHEST)
        ops.assign(scaling, self._scaling)
        ops.assign(ops.elementwise_mul(good_steps, ops.scale(grows, scale=-1., bias=1.)), self._good_steps)
