# -*- coding: utf-8 -*-
"""That fluid has a CUDA kernel for each operator of our programs. A GPU build lists its kernels on a CPU too."""
from __future__ import absolute_import, division, print_function, unicode_literals

import argparse

import paddle.fluid as fluid
import pytest

import bilm
from args import parse_args
from elmo import distributed, release
from elmo.training import TrainingProgram
from lac_finetune import network
from lac_finetune.train import training_program

pytestmark = pytest.mark.skipif(not fluid.is_compiled_with_cuda(), reason='this fluid has no CUDA kernels')
CONFIG = dict(bilm.PUBLISHED_CONFIG, vocab_size=23, embed_size=5, hidden_size=7)
LABELS = ['n-B', 'n-I', 'v-B']
ON_THE_CPU = {'linear_chain_crf', 'linear_chain_crf_grad', 'crf_decoding'}  # fluid takes their data there and back
NOT_LISTED = {'cast', 'conditional_block'}  # the list of fluid 2.5 leaves cast out; a block only runs others
# Inputs that fluid's kernels read on the host, whatever device they run on, by their names in all operators.
READ_ON_THE_HOST = {'Seed', 'Offset', 'Length', 'Cond', 'Shape', 'ShapeTensor', 'ShapeTensorList', 'StartsTensor',
                    'StartsTensorList', 'EndsTensor', 'EndsTensorList', 'AxisTensor', 'ScaleTensor', 'TargetLoD',
                    'SectionsTensorList', 'RepeatTimes', 'OutSize', 'K'}
# Of these the kernels themselves make a copy, as fluid's sources show.
COPIED = {('dropout', 'Seed'), ('sequence_slice', 'Offset'), ('sequence_slice', 'Length'),
          ('sequence_unpad', 'Length'), ('conditional_block', 'Cond')}
VAR_TYPE = fluid.core.VarDesc.VarType
TYPES = {VAR_TYPE.FP32: 'float', VAR_TYPE.FP16: '::paddle::platform::float16', VAR_TYPE.INT64: 'int64_t',
         VAR_TYPE.INT32: 'int', VAR_TYPE.UINT8: 'uint8_t', VAR_TYPE.BOOL: 'bool'}


def pretraining(cluster=distributed.LOCAL, **flags):
    values = dict(train_path='.', test_path='.', vocab_path='.', learning_rate=0.1, n_negative_samples_batch=4, **flags)
    args = parse_args([word for name in sorted(values) for word in ('--' + name, '%s' % values[name])])
    return TrainingProgram(CONFIG, args, [fluid.CPUPlace()], cluster).whole


def built(build):
    """The program that a function builds."""
    program = fluid.Program()
    with fluid.program_guard(program, fluid.Program()), fluid.unique_name.guard():
        build()
    return program


def tagger_programs(elmo):
    sizes = {'vocab_size': 23, 'num_labels': 3, 'word_emb_dim': 4, 'grnn_hidden_dim': 4, 'bigru_num': 2, 'elmo': elmo}
    args = argparse.Namespace(base_learning_rate=0.1, dropout=0.1, random_seed=1)
    return training_program(sizes, LABELS, args)[0], network.decoding_program(sizes, whole=True)[0]


def embedding():
    word = bilm.data('word', [None, 1], dtype='int64', lod_level=1)
    bilm.elmo_encoder(bilm.emb(word, config=CONFIG), config=CONFIG, layer_norm=True, dropout=0.1)


def programs():
    for optim in ('adagrad', 'sgd', 'adam', 'rmsprop'):
        for sampled in (False, True):
            yield pretraining(optim=optim, sample_softmax=sampled)
            yield pretraining(optim=optim, sample_softmax=sampled, use_amp=True)
    yield pretraining(linear_decay=True, sample_softmax=True)
    if not release.has_data_parallel():
        yield pretraining(distributed.Cluster('nccl2', 0, 2, ['a:1', 'a:2'], [], None), sample_softmax=True)
    yield built(lambda: bilm.language_model(CONFIG))
    yield built(embedding)
    for elmo in (CONFIG, None):
        for program in tagger_programs(elmo):
            yield program


def types_of(op, block):
    """The data types of the variables that an operator reads and writes, in the words of the kernels."""
    names = op.input_arg_names + op.output_arg_names
    found = [block._find_var_recursive(name) for name in names]
    return {TYPES.get(variable.dtype) for variable in found
            if variable is not None and variable.type in (VAR_TYPE.LOD_TENSOR, VAR_TYPE.SELECTED_ROWS)}


def operators(program):
    """Yields (operator, its block) for all blocks of a program."""
    for number in range(program.num_blocks):
        for op in program.block(number).ops:
            yield op, program.block(number)


def test_each_operator_has_a_cuda_kernel_of_its_type():
    kernels, seen, missing = fluid.core._get_all_register_op_kernels(), set(), set()
    for program in programs():
        for op, block in operators(program):
            seen.add(op.type)
            on_gpu = [kernel for kernel in kernels.get(op.type, []) if 'gpu' in kernel.lower() or 'CUDA' in kernel]
            types = types_of(op, block)
            if not any('data_type[%s]' % kind in kernel for kernel in on_gpu for kind in types):
                missing.add(op.type)
    assert len(seen) > 40 and {'lstmp', 'lstmp_grad', 'gru', 'adam', 'lookup_table_grad'} <= seen
    assert missing - NOT_LISTED == ON_THE_CPU
    assert all(kernels.get(kind) is None for kind in missing & NOT_LISTED)


def test_no_operator_is_given_a_tensor_that_must_be_on_the_cpu():
    found = {(op.type, slot) for program in programs() for op, _ in operators(program) for slot in op.input_names
             if slot in READ_ON_THE_HOST and op.input(slot)}
    assert {('dropout', 'Seed'), ('sequence_slice', 'Offset')} <= found <= COPIED, found - COPIED
