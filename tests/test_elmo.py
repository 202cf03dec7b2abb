# -*- coding: utf-8 -*-
"""The downstream calls of bilm.py: emb, elmo_encoder, loading."""
from __future__ import absolute_import, division, print_function, unicode_literals

import io
import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import paddle.fluid as fluid
import pytest

from project import ROOT
from helpers import lod_tensor
import bilm
from bilm import ops as layers
from elmo.release import load_vars, save_vars
import numpy_bilm

CONFIG = dict(bilm.PUBLISHED_CONFIG, vocab_size=23, embed_size=5, hidden_size=7, cell_clip=0.3, proj_clip=0.15,
              bos_id=2, eos_id=0)
SENTENCES = [[5, 6, 7], [9], [3, 3, 8, 12, 22, 4], [1, 10]]

pytestmark = pytest.mark.usefixtures('fresh_scope')


def random_values(program, seed=0):
    """Sets all parameters of a program to random values, large enough that both clips are active; returns them."""
    random, values = np.random.RandomState(seed), {}
    for parameter in sorted(program.all_parameters(), key=lambda parameter: parameter.name):
        value = (random.randn(*parameter.shape) * 0.7).astype('float32')
        fluid.global_scope().find_var(parameter.name).get_tensor().set(value, fluid.CPUPlace())
        values[parameter.name] = value
    return values


class Network(object):
    """A program with the output of build(word) and random parameters, on the CPU."""

    def __init__(self, build=None, **options):
        self.program, self.startup = fluid.Program(), fluid.Program()
        with fluid.program_guard(self.program, self.startup), fluid.unique_name.guard():
            word = bilm.data('word', shape=[None, 1], dtype='int64', lod_level=1)
            build = build or (lambda word: bilm.elmo_encoder(bilm.emb(word, config=CONFIG), config=CONFIG, **options))
            self.output = build(word)
        self.exe = fluid.Executor(fluid.CPUPlace())
        self.exe.run(self.startup)
        self.values = random_values(self.program)

    def run(self, sentences=SENTENCES, program=None):
        result, = self.exe.run(program or self.program, feed={'word': lod_tensor(sentences)},
                               fetch_list=[self.output.name], return_numpy=False)
        assert result.recursive_sequence_lengths() == [[len(sentence) for sentence in sentences]]
        return np.array(result)


def numpy_layers(sentence, values, config=CONFIG):
    """Layers 0..L of a sentence, each [T, 2 * embed], from the numpy biLM over <S> … </S>; both ends are dropped."""
    ids = [config['bos_id']] + sentence + [config['eos_id']]
    fw, bw = [numpy_bilm.layer_outputs(ids, direction, values, config) for direction in ('fw', 'bw')]
    return [np.hstack(pair)[1:-1] for pair in zip(fw, bw)]


def softmax(x):
    return np.exp(x) / np.exp(x).sum()


def test_mix_equals_numpy():
    network = Network()
    shares = softmax(network.values['ELMo_w'])
    assert np.ptp(shares) > 0.1 and abs(network.values['ELMo_gamma'] - 1) > 0.1
    expected = np.concatenate([
        network.values['ELMo_gamma'] * sum(share * layer for share, layer in
                                           zip(shares, numpy_layers(sentence, network.values)))
        for sentence in SENTENCES])
    np.testing.assert_allclose(network.run(), expected, atol=1e-5)


@pytest.mark.parametrize('num_layers', [1, 3])
def test_other_numbers_of_layers(num_layers):
    config = dict(CONFIG, num_layers=num_layers)
    network = Network(lambda word: bilm.elmo_encoder(bilm.emb(word, config=config), config=config, layers='all'))
    expected = np.concatenate([np.hstack(numpy_layers(sentence, network.values, config)) for sentence in SENTENCES])
    np.testing.assert_allclose(network.run(), expected, atol=1e-5)


def test_top_and_all():
    expected = [np.hstack(layer) for layer in zip(*[
        [layer.T for layer in numpy_layers(sentence, Network(layers='all').values)] for sentence in SENTENCES])]
    np.testing.assert_allclose(Network(layers='all').run(), np.vstack(expected).T, atol=1e-5)
    np.testing.assert_allclose(Network(layers='top').run(), expected[-1].T, atol=1e-5)
    with pytest.raises(ValueError):
        Network(layers='bottom')


def test_layer_norm():
    network = Network(layer_norm=True)
    shares, expected = softmax(network.values['ELMo_w']), 0
    for share, layer in zip(shares, zip(*[numpy_layers(sentence, network.values) for sentence in SENTENCES])):
        layer = np.vstack(layer)
        mean, variance = layer.mean(axis=1, keepdims=True), layer.var(axis=1, keepdims=True)
        expected = expected + network.values['ELMo_gamma'] * share * (layer - mean) / np.sqrt(variance + 1e-5)
    np.testing.assert_allclose(network.run(), expected, atol=1e-4)


def test_equals_the_hidden_states_of_the_language_model():
    network = Network(layers='all')
    program = fluid.Program()
    with fluid.program_guard(program, fluid.Program()), fluid.unique_name.guard():
        bilm.language_model(CONFIG)
    for name, shape in bilm.parameter_shapes(CONFIG).items():
        if name in bilm.SOFTMAX_PARAMETERS:
            fluid.global_scope().var(name).get_tensor().set(np.zeros(shape, 'float32'), fluid.CPUPlace())
    # what the softmax weight is multiplied with for the exps; the first columns are the hidden states
    ops = program.global_block().ops
    logits = {op.input('X')[0] for op in ops if op.type == 'exp'}
    tops = [op.input('X')[0] for op in ops if op.type in ('matmul', 'matmul_v2') and op.output('Out')[0] in logits]
    for sentence in SENTENCES:
        tokens, next_tokens = [CONFIG['bos_id']] + sentence, sentence + [CONFIG['eos_id']]
        fw, bw = [np.array(state) for state in network.exe.run(
            program, feed={'tokens': lod_tensor([tokens]), 'next_tokens': lod_tensor([next_tokens])}, fetch_list=tops,
            return_numpy=False)]
        np.testing.assert_allclose(network.run([sentence])[:, -10:], np.hstack([fw[1:, :5], bw[:-1, :5]]), atol=1e-6)


def test_a_sentence_has_the_same_vectors_in_any_company():
    network = Network()
    together, backwards = network.run(), network.run(SENTENCES[::-1])
    start = 0
    for sentence in SENTENCES:
        end = start + len(sentence)
        np.testing.assert_allclose(network.run([sentence]), together[start:end], atol=1e-6)
        np.testing.assert_allclose(backwards[len(backwards) - end:len(backwards) - start], together[start:end],
                                   atol=1e-6)
        start = end


EMPTY = [[[3, 4], [], [5]], [[], [5, 6, 7]], [[], [4, 3], [], [], []]]  # the last one has fewer tokens than sentences


@pytest.mark.parametrize('sentences', EMPTY)
def test_empty_sentences(sentences):
    network, others = Network(layers='all'), [sentence for sentence in sentences if sentence]
    found = network.run(sentences)
    np.testing.assert_allclose(found, network.run(others), atol=1e-6)
    expected = np.vstack([np.hstack(numpy_layers(sentence, network.values)) for sentence in others])
    np.testing.assert_allclose(found, expected, atol=1e-5)


def tagger(word, **options):
    """A task with ELMo: the loss of a classifier of tokens."""
    finetune = options.get('finetune', False)
    elmo = bilm.elmo_encoder(bilm.emb(word, config=CONFIG, finetune=finetune), config=CONFIG, **options)
    own = layers.embedding(word, size=[23, 4], param_attr='own_embedding')
    scores = layers.fc(layers.concat([elmo, own], axis=1), size=3, param_attr=None, bias_attr=None)
    thirds = layers.scale(layers.cast(word, 'float32'), 1 / 3.)
    rest = layers.elementwise_sub(thirds, layers.cast(layers.cast(thirds, 'int64'), 'float32'))
    label = layers.cast(layers.scale(rest, 3., bias=0.5), 'int64')  # the id modulo 3
    return layers.mean(layers.softmax_with_cross_entropy(scores, label))


class Task(Network):
    """A task that is trained with Adam."""

    def __init__(self, **options):
        def build(word):
            loss = tagger(word, **options)
            fluid.optimizer.Adam(0.1).minimize(loss)
            return loss
        super(Task, self).__init__(build)

    def step(self, sentences=SENTENCES):
        return float(self.exe.run(self.program, feed={'word': lod_tensor(sentences)}, fetch_list=[self.output])[0])

    def parameters(self):
        return {name: np.array(fluid.global_scope().find_var(name).get_tensor()) for name in self.values}

    def changed(self):
        """Names of the parameters whose values have changed."""
        return {name for name, value in self.parameters().items() if (value != self.values[name]).any()}


BILM = set(bilm.parameter_shapes(CONFIG)) - set(bilm.SOFTMAX_PARAMETERS)


def test_frozen_by_default():
    task = Task()
    losses = [task.step() for _ in range(5)]
    assert losses[-1] < losses[0]
    assert task.changed() == set(task.values) - BILM and 'ELMo_w' in task.changed()
    variables = set(variable.name for variable in task.program.list_vars())
    assert not any(name + '@GRAD' in variables or name + '_moment1_0' in variables for name in BILM)
    types = [op.type for op in task.program.global_block().ops]
    assert 'lstmp' in types and 'lstmp_grad' not in types


def test_finetune():
    task = Task(finetune=True)
    task.step()
    assert task.changed() == set(task.values)
    with pytest.raises(ValueError):
        Network(lambda word: bilm.elmo_encoder(bilm.emb(word, config=CONFIG), config=CONFIG, finetune=True))


@pytest.mark.parametrize('sentences', EMPTY)
def test_empty_sentences_have_no_part_in_training(sentences):
    task = Task(finetune=True)
    loss, found = task.step(sentences), task.parameters()
    task = Task(finetune=True)  # with the same values
    assert task.step([sentence for sentence in sentences if sentence]) == pytest.approx(loss, abs=1e-6)
    for name, value in task.parameters().items():
        np.testing.assert_allclose(found[name], value, atol=1e-5, err_msg=name)


def test_l2_coef_is_added_to_the_gradient_of_the_weights():
    gradients = []
    for l2_coef in (0., 0.25):
        program = fluid.Program()
        with fluid.program_guard(program, fluid.Program()), fluid.unique_name.guard():
            word = bilm.data('word', shape=[None, 1], dtype='int64', lod_level=1)
            fluid.optimizer.SGD(1.).minimize(tagger(word, l2_coef=l2_coef))
        with fluid.scope_guard(fluid.Scope()):
            for name, value in Network(tagger).values.items():
                fluid.global_scope().var(name).get_tensor().set(value, fluid.CPUPlace())
            fluid.global_scope().var('learning_rate_0').get_tensor().set(np.ones(1, 'float32'), fluid.CPUPlace())
            before = np.array(fluid.global_scope().find_var('ELMo_w').get_tensor())
            fluid.Executor(fluid.CPUPlace()).run(program, feed={'word': lod_tensor(SENTENCES)})
            gradients.append(before - np.array(fluid.global_scope().find_var('ELMo_w').get_tensor()))
    np.testing.assert_allclose(gradients[1] - gradients[0], 2 * 0.25 * before, atol=1e-5)


def test_several_uses_share_the_bilm_and_have_a_mix_each():
    def build(word):
        elmo = bilm.emb(word, config=CONFIG)
        return layers.concat([bilm.elmo_encoder(elmo, config=CONFIG, name=name) for name in ('in_', 'out_')], axis=1)

    network = Network(build)
    assert [op.type for op in network.program.global_block().ops].count('lstmp') == 4  # the biLM is computed once
    assert set(network.values) == BILM | {'in_ELMo_w', 'in_ELMo_gamma', 'out_ELMo_w', 'out_ELMo_gamma'}
    both, encoded = network.run(), [np.vstack(layer) for layer in zip(*[
        numpy_layers(sentence, network.values) for sentence in SENTENCES])]
    for name, part in (('in_', both[:, :10]), ('out_', both[:, 10:])):
        shares = softmax(network.values[name + 'ELMo_w'])
        expected = network.values[name + 'ELMo_gamma'] * sum(s * layer for s, layer in zip(shares, encoded))
        np.testing.assert_allclose(part, expected, atol=1e-5)


def users_lstmp(word):
    gates = layers.fc(layers.embedding(word, size=[23, 4]), size=28)
    return layers.dynamic_lstmp(gates, size=28, proj_size=5)[0]


LSTMP = pytest.mark.skipif(not hasattr(fluid.layers, 'dynamic_lstmp'), reason='this fluid has no dynamic_lstmp')


def users_lstm(word):
    return layers.dynamic_lstm(layers.fc(layers.embedding(word, size=[23, 4]), size=28), size=28)[0]


@LSTMP
@pytest.mark.parametrize('before, after', [(users_lstm, users_lstm), (users_lstm, users_lstmp)])
def test_beside_recurrent_layers_of_the_user(before, after):
    def build(word):
        before(word)
        elmo = bilm.elmo_encoder(bilm.emb(word, config=CONFIG), config=CONFIG, layers='all')
        after(word)
        return elmo

    network = Network(build)
    assert len(set(network.values) - BILM) >= 2 * 4
    expected = np.vstack([np.hstack(numpy_layers(sentence, network.values)) for sentence in SENTENCES])
    np.testing.assert_allclose(network.run(), expected, atol=1e-5)


@LSTMP
def test_after_an_unnamed_dynamic_lstmp():
    with pytest.raises(ValueError) as error:
        Network(lambda word: [users_lstmp(word), bilm.elmo_encoder(bilm.emb(word, config=CONFIG), config=CONFIG)][1])
    assert 'build ELMo first' in str(error.value)


def test_dropout_is_off_in_a_clone_for_test():
    network = Network(dropout=0.5)
    plain = Network().run()
    np.testing.assert_allclose(network.run(program=network.program.clone(for_test=True)), plain, atol=1e-6)
    dropped = network.run()
    assert 0.2 < (dropped == 0).mean() < 0.8
    np.testing.assert_allclose(dropped[dropped != 0], 2 * plain[dropped != 0], atol=1e-5)


def test_as_a_saved_inference_model(tmpdir):
    network = Network()
    expected = network.run()
    fluid.io.save_inference_model(str(tmpdir), ['word'], [network.output], network.exe, network.program)
    with fluid.scope_guard(fluid.Scope()):
        program, feeds, fetches = fluid.io.load_inference_model(str(tmpdir), network.exe)
        result, = network.exe.run(program, feed={feeds[0]: lod_tensor(SENTENCES)}, fetch_list=fetches,
                                  return_numpy=False)
    np.testing.assert_allclose(np.array(result), expected, atol=1e-6)


@pytest.fixture
def published(tmpdir):
    """A flat directory like the published checkpoint: no softmax, but a learning rate and moments."""
    directory = str(tmpdir.join('published'))
    task = Task(finetune=True)
    persistable = [variable for variable in task.program.list_vars() if variable.persistable]
    save_vars(task.exe, directory, task.program,
              vars=[variable for variable in persistable if any(name in variable.name for name in BILM)
                    or variable.name.startswith('learning_rate')])
    assert {'learning_rate_0', 'lstmp_0.w_0_moment1_0'} <= set(os.listdir(directory))
    return directory, {name: task.values[name] for name in BILM}


def test_init_pretraining_params_leaves_the_rest_alone(published):
    directory, values = published
    with fluid.scope_guard(fluid.Scope()):
        main, startup = fluid.Program(), fluid.Program()
        with fluid.program_guard(main, startup), fluid.unique_name.guard():
            word = bilm.data('word', shape=[None, 1], dtype='int64', lod_level=1)
            fluid.optimizer.Adam(0.007).minimize(tagger(word))
        exe = fluid.Executor(fluid.CPUPlace())
        exe.run(startup)

        def state():
            return {variable.name: np.array(fluid.global_scope().find_var(variable.name).get_tensor())
                    for variable in main.list_vars() if variable.persistable}

        before = state()
        assert bilm.init_pretraining_params(exe, directory, main) == sorted(BILM)
        after = state()
    np.testing.assert_allclose(after['learning_rate_0'], 0.007, rtol=1e-6)
    for name in after:
        assert (after[name] == (values[name] if name in BILM else before[name])).all()


@pytest.mark.parametrize('page', ['docs/finetune.md', 'docs/en/finetune.md'])
def test_the_documented_predicate_loads_parameters_only(published, page):
    directory, saved = published
    with io.open(os.path.join(ROOT, page), encoding='utf-8') as handle:
        code, = re.findall('(?ms)^def if_exist.*?^$', handle.read())
    names = {'os': os, 'fluid': fluid, 'elmo_dir': directory}
    exec(code.encode('utf-8'), names)
    with fluid.scope_guard(fluid.Scope()):
        main, startup = fluid.Program(), fluid.Program()
        with fluid.program_guard(main, startup), fluid.unique_name.guard():
            word = bilm.data('word', shape=[None, 1], dtype='int64', lod_level=1)
            fluid.optimizer.Adam(0.007).minimize(tagger(word, finetune=True))
        exe = fluid.Executor(fluid.CPUPlace())
        exe.run(startup)
        load_vars(exe, directory, main, predicate=names['if_exist'])
        found = {name: np.array(fluid.global_scope().find_var(name).get_tensor())
                 for name in list(saved) + ['learning_rate_0', 'lstmp_0.w_0_moment1_0']}
    assert all((found[name] == saved[name]).all() for name in saved)
    np.testing.assert_allclose(found['learning_rate_0'], 0.007, rtol=1e-6)
    assert not found['lstmp_0.w_0_moment1_0'].any()


DOCUMENTED = '''
import os, sys
import numpy as np
import paddle
import paddle.fluid as fluid
{imports}
if hasattr(paddle, 'enable_static'):
    paddle.enable_static()
directory = sys.argv[1]
if hasattr(fluid, 'data'):
    import paddle.fluid.layers as layers
    concat, load_vars = layers.concat, fluid.io.load_vars
    word = layers.data(name='word', shape=[1], dtype='int64', lod_level=1)
else:
    import paddle.fluid.layers as layers
    concat = lambda input, axis: paddle.concat(input, axis)
    load_vars = paddle.static.load_vars
    word = paddle.static.data(name='word', shape=[-1, 1], dtype='int64', lod_level=1)
word_embedding = layers.embedding(input=word, size=[23, 4])
elmo_embedding = emb(word{config})
elmo_enc = elmo_encoder(elmo_embedding{config})
word_embedding = concat(input=[elmo_enc, word_embedding], axis=1)
exe = fluid.Executor(fluid.CPUPlace())
exe.run(fluid.default_startup_program())

def if_exist(var):
    return isinstance(var, fluid.framework.Parameter) and os.path.exists(os.path.join(directory, var.name))

load_vars(executor=exe, dirname=directory, main_program=fluid.default_main_program(), predicate=if_exist)
ids = fluid.create_lod_tensor(np.array([[5], [6], [7], [9]], dtype='int64'), [[3, 1]], fluid.CPUPlace())
result, = exe.run(feed={{'word': ids}}, fetch_list=[elmo_enc], return_numpy=False)
np.save(sys.argv[2], np.array(result))
'''


def test_the_documented_calls_with_bilm_alone_in_a_directory(published, tmpdir):
    directory, values = published
    shutil.copy(os.path.join(ROOT, 'bilm.py'), str(tmpdir.mkdir('task')))
    script = str(tmpdir.join('task', 'task.py'))
    with io.open(os.path.join(directory, 'bilm.json'), 'w', encoding='utf-8') as handle:
        handle.write(json.dumps(CONFIG) + '' if sys.version_info[0] > 2 else json.dumps(CONFIG).decode())
    with io.open(script, 'w', encoding='utf-8') as handle:
        handle.write(DOCUMENTED.format(imports='from bilm import emb, elmo_encoder, read_config',
                                       config=', config=read_config(sys.argv[1])'))
    environment = {name: value for name, value in os.environ.items() if name != 'PYTHONPATH'}
    subprocess.check_call([sys.executable, script, directory, str(tmpdir.join('vectors.npy'))], env=environment,
                          cwd=str(tmpdir.join('task')))
    expected = np.vstack([sum(numpy_layers(sentence, values)) / 3 for sentence in ([5, 6, 7], [9])])
    np.testing.assert_allclose(np.load(str(tmpdir.join('vectors.npy'))), expected, atol=1e-5)


def test_the_documented_calls_without_any_option():
    """The network of the published sizes is only built, as running it takes gigabytes."""
    with fluid.program_guard(fluid.Program(), fluid.Program()), fluid.unique_name.guard():
        word = bilm.data('word', shape=[None, 1], dtype='int64', lod_level=1)
        elmo_enc = bilm.elmo_encoder(bilm.emb(word))
        assert elmo_enc.shape == (-1, 1024)
        shapes = {parameter.name: tuple(parameter.shape)
                  for parameter in fluid.default_main_program().all_parameters()}
    expected = bilm.parameter_shapes(bilm.PUBLISHED_CONFIG)
    assert {name: shape for name, shape in shapes.items() if not name.startswith('ELMo_')} == {
        name: expected[name] for name in BILM}
