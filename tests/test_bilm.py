# -*- coding: utf-8 -*-
from __future__ import absolute_import, division, print_function, unicode_literals

import json
import os
import shutil
import struct

import numpy as np
import paddle.fluid as fluid
import pytest
from six.moves import range

from helpers import CONFIG, SENTENCES, Model
import bilm
from elmo.release import save_vars
import numpy_bilm

pytestmark = pytest.mark.usefixtures('fresh_scope')


@pytest.fixture(params=[False, True], ids=['whole', 'in parts'])
def vocabulary(request, monkeypatch):
    if request.param:
        monkeypatch.setattr(bilm, 'SOFTMAX_PART', 8)  # the vocabulary has 23 words


@pytest.mark.usefixtures('vocabulary')
@pytest.mark.parametrize('manual_gradient', [False, True])
def test_loss_equals_numpy_and_both_clips_are_active(manual_gradient):
    model = Model(manual_gradient=manual_gradient)
    expected = [numpy_bilm.cross_entropy(sentence, model.values, CONFIG) for sentence in SENTENCES]
    for loss, reference in zip(model.run(model.losses), zip(*expected)):
        np.testing.assert_allclose(loss[:, 0], np.concatenate(reference), atol=1e-5)
    unclipped = dict(CONFIG, cell_clip=100., proj_clip=100.)
    for key in ('cell_clip', 'proj_clip'):
        other = numpy_bilm.cross_entropy(SENTENCES[2], model.values, dict(unclipped, **{key: CONFIG[key]}))
        assert np.abs(np.array(other) - np.array(expected[2])).max() > 1e-3


def test_hidden_states_of_each_layer_and_direction_equal_numpy():
    model = Model()
    outputs = model.run(model.layer_outputs())
    first = slice(0, len(SENTENCES[0]) - 1)
    for direction, read, found in (('fw', SENTENCES[0][:-1], outputs[:2]), ('bw', SENTENCES[0][1:], outputs[2:])):
        _, one, two = numpy_bilm.layer_outputs(read, direction, model.values, CONFIG)
        np.testing.assert_allclose(found[0][first], one, atol=1e-5)
        np.testing.assert_allclose(found[1][first] + found[0][first], two, atol=1e-5)  # the residual connection


@pytest.mark.parametrize('name', ['embedding_para', 'fw_layer1_gate_w', 'bw_layer2_gate_w', 'lstmp_0.w_0',
                                  'lstmp_1.w_1', 'lstmp_2.b_0', 'lstmp_3.w_0', 'softmax_weight', 'softmax_bias'])
@pytest.mark.usefixtures('vocabulary')
@pytest.mark.parametrize('manual_gradient', [False, True])
def test_gradient_equals_finite_differences_of_numpy(name, manual_gradient):
    model = Model(manual_gradient=manual_gradient)
    gradient = model.gradient(name)

    def loss():
        return sum(part.sum() for sentence in SENTENCES
                   for part in numpy_bilm.cross_entropy(sentence, model.values, CONFIG))

    value, random, step = model.values[name], np.random.RandomState(1), 1e-5
    for _ in range(10):
        index = tuple(random.randint(size) for size in value.shape)
        middle = value[index]
        value[index] = middle + step
        above = loss()
        value[index] = middle - step
        below = loss()
        value[index] = middle
        np.testing.assert_allclose(gradient[index], (above - below) / (2 * step), atol=1e-5)


@pytest.mark.usefixtures('vocabulary')
@pytest.mark.parametrize('manual_gradient', [False, True])
def test_a_word_of_no_probability_has_an_exact_loss_and_gradient(manual_gradient):
    """The softmax is so sharp that some true words have logits far more than 88 below another, where exp overflows."""
    model = Model(manual_gradient=manual_gradient)
    weight = model.values['softmax_weight']
    weight *= 200.
    fluid.global_scope().find_var('softmax_weight').get_tensor().set(weight.astype('float32'), fluid.CPUPlace())
    model.values['softmax_weight'] = weight.astype('float32').astype('float64')
    expected = [np.concatenate(reference) for reference in zip(*[
        numpy_bilm.cross_entropy(sentence, model.values, CONFIG) for sentence in SENTENCES])]
    assert all(np.max(losses) > 150 and np.min(losses) < 10 for losses in expected)
    for loss, reference in zip(model.run(model.losses), expected):
        np.testing.assert_allclose(loss[:, 0], reference, rtol=1e-5, atol=1e-4)
    wanted = np.zeros(len(weight))
    for ids in SENTENCES:
        for direction, read, predicted in (('fw', ids[:-1], ids[1:]), ('bw', ids[1:], ids[:-1])):
            hidden = numpy_bilm.layer_outputs(read, direction, model.values, CONFIG)[-1]
            logits = hidden.dot(model.values['softmax_weight'].T) + model.values['softmax_bias']
            exps = np.exp(logits - logits.max(axis=1, keepdims=True))
            wanted += (exps / exps.sum(axis=1, keepdims=True)).sum(axis=0) - np.bincount(predicted, minlength=23)
    np.testing.assert_allclose(model.gradient('softmax_bias'), wanted, atol=1e-4)
    assert np.isfinite(model.gradient('embedding_para')).all()


@pytest.mark.usefixtures('vocabulary')
@pytest.mark.parametrize('manual_gradient', [False, True])
@pytest.mark.parametrize('longest', [0., 500., 3e4])
def test_the_softmax_is_exact_whatever_its_logits(manual_gradient, longest):
    """One word has a row of this length, across the hidden states but for a little: the bound is far off the maximum.

    The hidden states of the rows differ in length: some rows are near, some far, and with 0 all are near.
    """
    random, size, words, dim = np.random.RandomState(3), 60, 23, 6
    hidden = (random.randn(size, dim) * np.logspace(-2, 1, size).reshape(-1, 1)).astype('float32')
    hidden[:, 0] *= 1e-3
    weight, bias = random.randn(words, dim).astype('float32'), random.randn(words, 1).astype('float32')
    weight[5] = longest * np.eye(dim)[0]
    target = random.randint(words, size=size)
    program = fluid.Program()
    with fluid.program_guard(program, fluid.Program()):
        feed = [bilm.data(name, list(value.shape), dtype='float32') for name, value in
                (('hidden', hidden), ('weight', weight), ('bias', bias), ('true_logit', hidden[:, :1]))]
        for variable in feed:
            variable.stop_gradient = False
        loss = bilm._cross_entropy(feed[0], bilm._softmax_rows(*feed[1:3]), bilm._reach(*feed[1:3]), feed[3], None,
                                   manual_gradient)
        gradients = fluid.gradients([loss], feed)
    logits = hidden.astype('float64').dot(weight.T.astype('float64')) + bias.T
    x = logits - logits[np.arange(size), target].reshape(-1, 1).astype('float32')
    largest = x.max(axis=1, keepdims=True)
    exps = np.exp(x - largest)
    expected = np.log(exps.sum(axis=1, keepdims=True)) + largest
    shares = exps / exps.sum(axis=1, keepdims=True)
    found = fluid.Executor(fluid.CPUPlace()).run(program, feed={
        'hidden': hidden, 'weight': weight, 'bias': bias,
        'true_logit': logits[np.arange(size), target].reshape(-1, 1).astype('float32')}, fetch_list=[loss] + gradients)
    assert longest < 3e4 or largest.max() > 100
    for value, wanted in zip(found, [expected, shares.dot(weight), shares.T.dot(hidden), shares.sum(axis=0)[:, None],
                                     -np.ones([size, 1])]):
        np.testing.assert_allclose(value, wanted, rtol=1e-4, atol=1e-4 * max(1, np.abs(wanted).max()))


def test_forward_sees_the_past_and_backward_the_future():
    model = Model()
    sentence, changed = [0, 5, 6, 7, 8, 9, 1], [0, 5, 6, 11, 8, 9, 1]
    first, second = [model.run(model.layer_outputs(), [one]) for one in (sentence, changed)]
    for number, (a, b) in enumerate(zip(first, second)):
        differs = np.abs(a - b).max(axis=1) > 1e-7
        # forward reads <S> w_1 w_2 w_3 … with w_3 at 3, backward w_1 w_2 w_3 … </S> with w_3 at 2
        expected = [False] * 3 + [True] * 3 if number < 2 else [True] * 3 + [False] * 3
        assert differs.tolist() == expected


def test_layer_2_reads_layer_1():
    model = Model()
    before = model.run(model.layer_outputs())
    for name in ('lstmp_0.b_0', 'lstmp_2.b_0'):  # layer 1 of each direction
        fluid.global_scope().find_var(name).get_tensor().set(
            np.random.RandomState(5).randn(1, 28).astype('float32'), fluid.CPUPlace())
    after = model.run(model.layer_outputs())
    assert all(np.abs(a - b).max() > 1e-3 for a, b in zip(before, after))


def test_a_sentence_has_the_same_loss_alone_and_in_a_batch():
    model = Model()
    together = model.run(model.losses)
    start = 0
    for sentence in SENTENCES:
        alone = model.run(model.losses, [sentence])
        for a, b in zip(alone, together):
            np.testing.assert_allclose(a, b[start:start + len(sentence) - 1], atol=1e-6)
        start += len(sentence) - 1


def test_dropout_masks_follow_the_seeds_and_differ_between_uses():
    model = Model(dropout=0.5)
    masks = [op.output('Mask')[0] for op in model.program.global_block().ops if op.type == 'dropout']
    assert len(masks) == bilm.num_dropout_seeds(CONFIG) == 6

    def run(start):
        return model.run(masks, dropout_seeds=np.arange(start, start + 6, dtype='int32'))

    first, again, other = run(1), run(1), run(100)
    assert all((a == b).all() for a, b in zip(first, again))
    assert all((a != b).any() for a, b in zip(first, other))
    assert all((first[a] != first[b]).any() for a in range(6) for b in range(a))
    assert 0.3 < np.mean([mask.mean() for mask in first]) < 0.7


def test_dropout_is_on_layer_inputs_and_last_output_only():
    model = Model(dropout=0.5)
    block = model.program.global_block()
    dropped = {op.output('Out')[0]: op.input('X')[0] for op in block.ops if op.type == 'dropout'}
    inputs_of_gates = [op.input('X')[0] for op in block.ops
                       if op.type == 'mul' and op.input('Y')[0].endswith('gate_w')]
    assert len(inputs_of_gates) == 4 and set(inputs_of_gates) <= set(dropped)
    columns = {op.output('Out')[0]: op.input('X')[0] for op in block.ops if op.type == 'concat'}
    some_rows = {op.output('Out')[0]: op.input('X')[0] for op in block.ops if op.type == 'gather'}
    inputs_of_softmax = [columns[op.input('X')[0]] for op in block.ops if op.type in ('matmul', 'matmul_v2')]
    assert {some_rows.get(name, name) for name in inputs_of_softmax} == set(dropped) - set(inputs_of_gates)


def initial_values(random_seed):
    main, startup = fluid.Program(), fluid.Program()
    config = dict(CONFIG, vocab_size=300, embed_size=40, hidden_size=60)
    with fluid.program_guard(main, startup), fluid.unique_name.guard():
        bilm.language_model(config, random_seed=random_seed)
    fluid.Executor(fluid.CPUPlace()).run(startup)
    values = {parameter.name: np.array(fluid.global_scope().find_var(parameter.name).get_tensor())
              for parameter in main.all_parameters()}
    assert {name: value.shape for name, value in values.items()} == bilm.parameter_shapes(config)
    return values


def test_initial_values():
    values = initial_values(1)
    assert not values['softmax_bias'].any()
    np.testing.assert_allclose(values['softmax_weight'].std(), 40 ** -0.5, rtol=0.05)
    for number in range(4):
        gates = values['lstmp_%d.b_0' % number].reshape(4, 60)  # candidate, input, forget, output
        assert (gates == np.array([[0], [0], [1], [0]])).all()
    limit = (6. / (2 * 40 + 4 * 60)) ** 0.5  # Glorot for the [2 * embed, 4 * hidden] matrix of TensorFlow
    for name in ('lstmp_0.w_0', 'fw_layer1_gate_w'):
        assert 0.98 * limit < np.abs(values[name]).max() <= limit
    weights = [name for name in values if values[name].std() and '.b_' not in name]
    for a in weights:  # each parameter has its own values
        assert not any(values[a].shape == values[b].shape and (values[a] == values[b]).any() for b in weights if b < a)


def test_initial_values_follow_the_seed():
    one, again, other = initial_values(1), initial_values(1), initial_values(2)
    assert all((one[name] == again[name]).all() for name in one)
    assert (one['fw_layer1_gate_w'] != other['fw_layer1_gate_w']).all()


def test_published_names_and_shapes():
    shapes = bilm.parameter_shapes(bilm.PUBLISHED_CONFIG)
    assert len(shapes) == 3 + 4 * 4
    assert shapes['embedding_para'] == shapes['softmax_weight'] == (52445, 512)
    assert shapes['bw_layer2_gate_w'] == shapes['lstmp_3.w_0'] == (512, 16384)
    assert shapes['lstmp_2.w_1'] == (4096, 512) and shapes['lstmp_0.b_0'] == (1, 16384)


def users_lstmp():
    x = bilm.data('x', [None, 28], 'float32', lod_level=1)
    return fluid.layers.dynamic_lstmp(x, size=28, proj_size=5)


LSTMP = pytest.mark.skipif(not hasattr(fluid.layers, 'dynamic_lstmp'), reason='this fluid has no dynamic_lstmp')


@LSTMP
def test_a_later_dynamic_lstmp_has_names_of_its_own():
    with fluid.program_guard(fluid.Program(), fluid.Program()), fluid.unique_name.guard():
        bilm.language_model(CONFIG)
        ours = set(bilm.parameter_shapes(CONFIG))
        users_lstmp()
        theirs = set(p.name for p in fluid.default_main_program().all_parameters()) - ours
    assert theirs == {'lstmp_4.w_0', 'lstmp_4.w_1', 'lstmp_4.b_0'}


@LSTMP
def test_an_earlier_dynamic_lstmp_that_took_the_names_is_an_error():
    with fluid.program_guard(fluid.Program(), fluid.Program()), fluid.unique_name.guard():
        users_lstmp()
        with pytest.raises(ValueError) as error:
            bilm.language_model(CONFIG)
    assert 'build ELMo first' in str(error.value)


@pytest.fixture
def saved(tmpdir):
    """A model and a flat directory with its parameters, in the layout of the published checkpoint."""
    model = Model()
    directory = str(tmpdir.join('params'))
    save_vars(model.exe, directory, model.program, vars=model.program.all_parameters())
    return model, directory


def load(directory, config=CONFIG):
    """Parameters of a new model, loaded from a directory: (names loaded, values)."""
    main, startup = fluid.Program(), fluid.Program()
    exe = fluid.Executor(fluid.CPUPlace())
    with fluid.scope_guard(fluid.Scope()):
        with fluid.program_guard(main, startup), fluid.unique_name.guard():
            bilm.language_model(config)
        exe.run(startup)
        names = bilm.init_pretraining_params(exe, directory, main, config=config)
        return names, {name: np.array(fluid.global_scope().find_var(name).get_tensor()) for name in names}


def test_loading(saved):
    model, directory = saved
    np.zeros(1).tofile(os.path.join(directory, 'learning_rate_0'))  # not a parameter, so it is not loaded
    names, values = load(directory)
    assert names == sorted(model.values)
    assert all((values[name] == model.values[name]).all() for name in names)


def test_loading_an_encoder_alone(saved):
    _, directory = saved
    for name in bilm.SOFTMAX_PARAMETERS:
        os.remove(os.path.join(directory, name))
    assert load(directory)[0] == sorted(set(bilm.parameter_shapes(CONFIG)) - set(bilm.SOFTMAX_PARAMETERS))


@pytest.mark.parametrize('with_config', [False, True], ids=['sizes of the checkpoint', 'config given'])
def test_loading_layer_0_alone(saved, with_config):
    model, directory = saved
    with open(os.path.join(directory, 'bilm.json'), 'w') as handle:
        json.dump(CONFIG, handle)
    program = fluid.Program()
    with fluid.program_guard(program, fluid.Program()), fluid.unique_name.guard():
        bilm.emb(bilm.data('word', [None, 1], 'int64', lod_level=1), config=CONFIG)
    with fluid.scope_guard(fluid.Scope()):
        names = bilm.init_pretraining_params(model.exe, directory, program, config=CONFIG if with_config else None)
        assert names == [bilm.TABLE]
        table = np.array(fluid.global_scope().find_var(bilm.TABLE).get_tensor())
    assert (table == model.values[bilm.TABLE]).all()


def test_loading_layer_0_of_another_vocabulary(saved):
    model, directory = saved
    with open(os.path.join(directory, 'bilm.json'), 'w') as handle:
        json.dump(CONFIG, handle)
    program = fluid.Program()
    with fluid.program_guard(program, fluid.Program()), fluid.unique_name.guard():
        bilm.emb(bilm.data('word', [None, 1], 'int64', lod_level=1), 24, 5)
    with pytest.raises(ValueError, match='cannot be loaded: vocab_size is 23 in the checkpoint, 24 here$'):
        bilm.init_pretraining_params(model.exe, directory, program)


def test_loading_into_a_program_without_elmo(saved):
    model, directory = saved
    with pytest.raises(ValueError, match='the program has no parameter of a biLM; call emb first'):
        bilm.init_pretraining_params(model.exe, directory, fluid.Program())


def damage_missing(directory):
    os.remove(os.path.join(directory, 'lstmp_2.w_1'))


def damage_truncated(directory):
    with open(os.path.join(directory, 'lstmp_2.w_1'), 'r+b') as handle:
        handle.truncate(100)


def damage_foreign(directory):
    with open(os.path.join(directory, 'lstmp_2.w_1'), 'wb') as handle:
        handle.write(b'hello, world, this is not a tensor')


def damage_empty(directory):
    open(os.path.join(directory, 'lstmp_2.w_1'), 'wb').close()


def damage_shape(directory):
    shutil.copy(os.path.join(directory, 'softmax_bias'), os.path.join(directory, 'lstmp_2.w_1'))


def damage_config(directory):
    with open(os.path.join(directory, 'bilm.json'), 'w') as handle:
        json.dump(dict(CONFIG, cell_clip=7.5), handle)


def damage_extra_layer(directory):
    shutil.copy(os.path.join(directory, 'fw_layer2_gate_w'), os.path.join(directory, 'fw_layer3_gate_w'))


@pytest.mark.parametrize('damage, words', [
    (damage_missing, ['lstmp_2.w_1 is missing']),
    (damage_truncated, ['lstmp_2.w_1', 'truncated']),
    (damage_foreign, ['lstmp_2.w_1', 'not a parameter']),
    (damage_empty, ['lstmp_2.w_1', 'not a parameter']),
    (damage_shape, ['lstmp_2.w_1', '[23]', '[7, 5]']),
    (damage_config, ['cell_clip', '7.5', '0.3']),
    (damage_extra_layer, ['fw_layer3_gate_w']),
])
def test_loading_names_what_is_wrong(saved, damage, words):
    _, directory = saved
    damage(directory)
    with pytest.raises(ValueError) as error:
        load(directory)
    assert all(word in str(error.value) for word in words)


def test_read_shape(saved):
    _, directory = saved
    for name, shape in bilm.parameter_shapes(CONFIG).items():
        assert bilm.read_shape(os.path.join(directory, name)) == shape


def test_a_description_that_ends_too_early_is_damage(tmpdir, recwarn):
    """protobuf reads up to what looks like the end of a group, and only warns."""
    description = b'\x08\x05\x10\x02' + b'\x14'  # float32, a size of 2, an end without a beginning
    path = tmpdir.join('parameter')
    path.write_binary(struct.pack(str('<IQIi'), 0, 0, 0, len(description)) + description + b'\0' * 8)
    with pytest.raises(bilm.CheckpointError) as error:
        bilm.read_shape(str(path))
    assert 'not a parameter saved' in str(error.value) and not recwarn.list
