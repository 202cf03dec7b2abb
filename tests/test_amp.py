# -*- coding: utf-8 -*-
"""Mixed precision: what computes in float16, the scaling of the loss, and where it is refused.

A CPU has no float16 products. The tests look at the program, and run it with float32 products or with rounded ones.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import os
import stat

from helpers import (ADAGRAD, SEVERAL_DEVICES, last, lod_tensor, log_lines, losses_of_steps, refused_training, run,
                     same, write_lines)
import numpy as np
import paddle
import paddle.fluid as fluid
import pytest

import bilm
from args import parse_args
from elmo import amp, checkpoint, release
from elmo.files import read_json
from elmo.text import InputError
from elmo.training import TrainingProgram
import train

pytestmark = pytest.mark.usefixtures('fresh_scope')
CONFIG = dict(bilm.PUBLISHED_CONFIG, vocab_size=20, embed_size=4, hidden_size=6)
FP16, FP32, LOD_TENSOR = [getattr(fluid.core.VarDesc.VarType, name) for name in ('FP16', 'FP32', 'LOD_TENSOR')]
SAMPLED = {'sample_softmax': True, 'n_negative_samples_batch': 9}


@pytest.fixture
def allowed(monkeypatch):
    """Lets a CPU train in mixed precision."""
    monkeypatch.setattr(amp, 'check', lambda places: None)


@pytest.fixture
def without_half(monkeypatch, allowed):
    """Leaves the products in float32, so that a CPU can run the program, with the scaling alone."""
    monkeypatch.setattr(release, 'compute_in_half', lambda program, kinds: None)


def round_to_half(program):
    """Has a CPU compute what is in float16 in float32, and rounds each result to float16."""
    block = program.global_block()
    half = {name for name, variable in block.vars.items() if variable.type == LOD_TENSOR and variable.dtype == FP16}
    for name in half:
        block.var(name).desc.set_dtype(FP32)
        block.create_var(name=name + '.rounded', dtype=FP16)
    for number in range(len(block.ops) - 1, -1, -1):
        op = block.ops[number]
        for attribute in ('in_dtype', 'out_dtype'):
            if op.type == 'cast' and half & set(op.input_arg_names + op.output_arg_names):
                op._set_attr(attribute, FP32)
        for name in sorted(half & set(op.output_arg_names)):
            for source, target in ((name + '.rounded', name), (name, name + '.rounded')):
                block._insert_op(number + 1, type='cast', inputs={'X': block.var(source)},
                                 outputs={'Out': block.var(target)},
                                 attrs={'in_dtype': block.var(source).dtype, 'out_dtype': block.var(target).dtype})


@pytest.fixture
def rounded(monkeypatch, allowed):
    """Lets a CPU train with float16 products, each computed in float32 and rounded."""
    build = TrainingProgram._build

    def rounding(self):
        built = build(self)
        round_to_half(fluid.default_main_program())
        return built

    monkeypatch.setattr(TrainingProgram, '_build', rounding)


def program_of(corpus, **flags):
    return TrainingProgram(CONFIG, parse_args(corpus.flags(**flags)), [fluid.CPUPlace()])


def values(program):
    """Parameters and what the optimizer keeps: {name: array}."""
    scope = fluid.global_scope()
    return {variable.name: np.array(scope.find_var(variable.name).get_tensor())
            for variable in program.whole.all_parameters() + program.optimizer_variables}


def start(program):
    fluid.Executor(fluid.CPUPlace()).run(program.startup)


def feed(scale=0.1):
    """What a step is fed. Its loss is the sum over the tokens times `scale`."""
    return [{'tokens': lod_tensor([[0, 5, 6, 7], [0, 9]]), 'next_tokens': lod_tensor([[5, 6, 7, 1], [9, 1]]),
             'loss_scale': np.array([scale], dtype='float32')}]


@pytest.mark.parametrize('flags', [{}, {'dropout': 0}, SAMPLED, ADAGRAD])
def test_the_products_before_the_lstm_layers_and_nothing_else_are_in_half(corpus, flags):
    program = program_of(corpus, use_amp=True, **flags).whole
    in_half, blocks = [], [program.block(number) for number in range(program.num_blocks)]
    for block in blocks:
        for op in block.ops:
            variables = [block._find_var_recursive(name) for name in op.input_arg_names + op.output_arg_names]
            types = {variable.dtype for variable in variables if variable is not None and variable.type == LOD_TENSOR}
            if FP16 in types and op.type != 'cast':
                assert types == {FP16}
                in_half.append((op.type, op.input('Y')[0].split('.')[0]))
    gates = [bilm.gate_name(direction, layer) for direction in bilm.DIRECTIONS for layer in (1, 2)]
    assert sorted(in_half) == sorted((kind, gate) for kind in ('mul', 'mul_grad') for gate in gates)
    assert {'lstmp', 'exp', 'log', 'reduce_sum', 'lookup_table_grad'} <= {op.type for op in blocks[0].ops}
    for parameter in program.all_parameters():
        assert parameter.dtype == FP32 and blocks[0].var(parameter.name + '@GRAD').dtype == FP32


@pytest.mark.usefixtures('without_half')
@pytest.mark.parametrize('num_devices', ['1', pytest.param('2', marks=SEVERAL_DEVICES)])
@pytest.mark.parametrize('flags', [ADAGRAD, SAMPLED, {}, dict(SAMPLED, optim='rmsprop', learning_rate=0.01),
                                   {'optim': 'sgd', 'max_grad_norm': 0.5}])
def test_scaling_alone_changes_nothing(corpus, monkeypatch, num_devices, flags):
    """The gradient is clipped as without it. The scaling rounds nothing, as it is a power of 2."""
    monkeypatch.setenv('CPU_NUM', num_devices)
    for name, use_amp in (('plain', False), ('scaled', True)):
        run(corpus, max_steps=4, save_dir=corpus.directory.join(name), use_amp=use_amp, **flags)
    plain, scaled = last(corpus, 'plain'), last(corpus, 'scaled')
    for name in plain:  # fluid adds up the norm in another order
        np.testing.assert_allclose(scaled[name], plain[name], atol=1e-6, err_msg=name)


@pytest.mark.usefixtures('without_half')
@pytest.mark.parametrize('flags', [{'optim': 'adagrad'}, {'optim': 'sgd'}, {}, {'optim': 'rmsprop'}])
def test_a_step_that_overflows_changes_the_scaling_alone(corpus, monkeypatch, flags):
    """At 1e34 the loss is finite, that times the scaling is not."""
    monkeypatch.setattr(amp, 'GROWTH', 2)
    monkeypatch.setattr(amp, 'FIRST', amp.HIGHEST)
    program, scaling, good_steps = program_of(corpus, use_amp=True, dropout=0, **flags), amp.HIGHEST, 0
    start(program)
    for overflows in (False, False, True, True, False, False, True, False, False, False):
        before = values(program)
        metrics = program.run(feed(1e34 if overflows else 0.1))
        after = values(program)
        assert np.isfinite(metrics).all() and (metrics[2] == 0) == overflows
        changed = {name for name in before if (before[name] != after[name]).any()} - {'loss_scaling', 'good_steps'}
        assert (not changed) if overflows else changed >= set(bilm.parameter_shapes(CONFIG)) - {'embedding_para'}
        good_steps = 0 if overflows else good_steps + 1
        scaling = min(scaling * (0.5 if overflows else 2. if good_steps == 2 else 1.), amp.HIGHEST)
        good_steps %= 2
        assert (after['loss_scaling'], after['good_steps']) == (scaling, good_steps)


@pytest.mark.usefixtures('rounded')
def test_the_scaling_keeps_small_gradients(corpus, monkeypatch):
    """float16 has nothing between 0 and 6e-8."""
    gradients = []
    for use_amp, first in ((False, 1.), (True, 1.), (True, 2. ** 15)):
        monkeypatch.setattr(amp, 'FIRST', first)
        with fluid.scope_guard(fluid.Scope()):
            program = program_of(corpus, use_amp=use_amp, dropout=0)
            start(program)
            gradients.append(program.executor.run(['bw_layer1_gate_w@GRAD'], feed(1e-8))[0])
    plain, unscaled, scaled = gradients
    assert 1e-10 < abs(plain).max() < 3e-8 and not unscaled.any()
    assert 0 < abs(scaled - plain).max() < 0.003 * abs(plain).max()  # float16 has 11 bits


@pytest.mark.usefixtures('rounded')
@pytest.mark.parametrize('flags', [ADAGRAD, dict(SAMPLED, **ADAGRAD), {}])
def test_products_in_half_train_alike(corpus, monkeypatch, flags):
    plain, half = [losses_of_steps(corpus, 1, monkeypatch, 20, use_amp=use_amp, **flags)[0]
                   for use_amp in (False, True)]
    assert plain[-1].mean() < plain[0].mean() - 0.1  # it learns
    assert 0 < abs(half - plain).max() < 1e-3


@pytest.mark.usefixtures('rounded')
@pytest.mark.parametrize('num_devices', ['1', pytest.param('2', marks=SEVERAL_DEVICES)])
@pytest.mark.parametrize('flags', [ADAGRAD, {}])
def test_a_run_goes_on_after_overflow_and_resumes_exactly(corpus, capsys, monkeypatch, num_devices, flags):
    """The scaling begins so high that gradients overflow in float16, and soon comes back there."""
    monkeypatch.setenv('CPU_NUM', num_devices)
    monkeypatch.setattr(amp, 'FIRST', 2. ** 22)
    monkeypatch.setattr(amp, 'GROWTH', 2)
    norms, step = [], TrainingProgram.run
    monkeypatch.setattr(TrainingProgram, 'run', lambda self, feed: norms.append(step(self, feed)) or norms[-1])
    run(corpus, max_epoch=2, use_amp=True, save_dir=corpus.directory.join('whole'), **flags)
    overflows = [metrics[2] == 0 for metrics in norms]
    assert overflows[0] and 3 < sum(overflows) < len(overflows) - 3 and overflows[:3] != overflows[-3:]
    assert len(log_lines(capsys.readouterr().out, 'epoch')) == len(norms) and np.isfinite(norms).all()
    for max_steps in (2, 6, 7, 0):
        run(corpus, max_epoch=2, max_steps=max_steps, use_amp=True, resume=True, **flags)
    assert same(last(corpus, 'whole'), last(corpus))
    paths = [checkpoint.find(str(corpus.directory.join(name)), newest=True) for name in ('whole', 'checkpoints')]
    sums = [{name: entry for name, entry in read_json(os.path.join(path, 'manifest.json')).items()
             if name.startswith('optimizer')} for path in paths]
    assert sums[0] == sums[1] and {'optimizer/loss_scaling', 'optimizer/good_steps'} <= set(sums[0])


@pytest.mark.usefixtures('without_half')
@pytest.mark.parametrize('scale, failed', [(1e34, 5), (np.nan, 3)])  # the gradient overflows, or the loss is no number
def test_what_no_scaling_mends_ends_the_run(corpus, monkeypatch, capsys, scale, failed):
    """Overflow ends it when the scaling has fallen from 4 to 2 and 1, and a loss at once, as it is not scaled."""
    original = TrainingProgram.feed
    monkeypatch.setattr(amp, 'FIRST', 4.)
    monkeypatch.setattr(TrainingProgram, 'feed', lambda self, batch, step: [
        dict(one, loss_scale=np.array([scale], dtype='float32')) if step >= 2 else one
        for one in original(self, batch, step)])
    with pytest.raises(InputError) as error:
        run(corpus, max_epoch=2, use_amp=True, log_interval=100)
    assert 'step %d: a loss or gradient is not finite' % failed in str(error.value)
    assert 'norm of the gradient nan' in capsys.readouterr().out or failed == 3


@pytest.mark.usefixtures('without_half')
@pytest.mark.parametrize('before, after', [(False, True), (True, False)])
def test_a_run_keeps_its_precision(corpus, before, after):
    run(corpus, max_steps=1, use_amp=before)
    with pytest.raises(InputError) as error:
        run(corpus, max_steps=2, use_amp=after, resume=True)
    assert '--use_amp %s there, %s here' % (before, after) in str(error.value)


def test_a_run_of_before_the_flag_goes_on(corpus, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(train, 'FIXED', [name for name in train.FIXED if name != 'use_amp'])
        run(corpus, max_steps=2)
    run(corpus, max_steps=3, resume=True)
    assert corpus.directory.join('checkpoints', '000003').check()


def test_a_cpu_is_refused(corpus, capsys):
    assert '--use_amp True: this runs on the CPU' in refused_training(corpus, capsys, use_amp=True)
    assert not corpus.directory.join('checkpoints').check()


def test_parameter_servers_are_refused(corpus, capsys):
    assert '--use_amp True is for local' in refused_training(corpus, capsys, use_amp=True, update_method='pserver')


@pytest.mark.parametrize('capability, allowed', [(3.5, False), (6.1, False), (7.0, True), (8.6, True), (None, True)])
def test_an_old_gpu_is_refused(monkeypatch, capability, allowed):
    class Place(object):
        """Stands in for fluid.CUDAPlace, which a CPU cannot make."""

    monkeypatch.setattr(fluid, 'CUDAPlace', Place)
    monkeypatch.setattr(release, 'compute_capability', lambda: capability)
    if allowed:
        amp.check([Place()])
    else:
        with pytest.raises(InputError) as error:
            amp.check([Place()])
        assert 'compute capability %s' % capability in str(error.value)


@pytest.mark.skipif(hasattr(paddle, 'device'), reason='this fluid tells the capability itself')
@pytest.mark.parametrize('answer, found', [('echo 8.6; echo 6.1', 6.1), ('echo 7.0', 7.0), ('echo 10.0; echo 9.0', 9.0),
                                           ('echo Field is not valid; exit 2', None), ('echo none', None)])
def test_nvidia_smi_tells_the_capability(monkeypatch, tmpdir, answer, found):
    script = write_lines(tmpdir.join('nvidia-smi'), [
        '#!/bin/sh', 'case "$*" in *compute_cap*"-i 2,3") ;; *) exit 1; esac', answer])
    os.chmod(script, stat.S_IRWXU)
    monkeypatch.setenv('PATH', str(tmpdir))
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '2,3')
    assert release.compute_capability() == found


@pytest.mark.skipif(hasattr(paddle, 'device'), reason='this fluid tells the capability itself')
def test_without_nvidia_smi_the_capability_is_not_known(monkeypatch, tmpdir):
    monkeypatch.setenv('PATH', str(tmpdir))
    assert release.compute_capability() is None


@pytest.mark.skipif(not hasattr(paddle, 'device'), reason='this fluid does not tell the capability')
def test_fluid_tells_the_capability(monkeypatch):
    monkeypatch.setattr(paddle.device.cuda, 'device_count', lambda: 2)
    monkeypatch.setattr(paddle.device.cuda, 'get_device_capability', lambda number: [(8, 6), (7, 5)][number])
    assert release.compute_capability() == 7.5
