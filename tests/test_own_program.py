# -*- coding: utf-8 -*-
"""bilm.py in a program of the user: the calls of the original, mistakes in them, and fluid's averages of parameters."""
from __future__ import absolute_import, division, print_function, unicode_literals

import json
import os
import sys

import numpy as np
import paddle.fluid as fluid
import pytest

from project import ROOT
from helpers import lod_tensor, run_command, write_lines
import bilm
from bilm import ops
from elmo.release import save_vars

CONFIG = dict(bilm.PUBLISHED_CONFIG, vocab_size=23, embed_size=5, hidden_size=7)
SENTENCES = [[5, 6, 7], [9]]

pytestmark = pytest.mark.usefixtures('fresh_scope')


def word_data(lod_level=1):
    return bilm.data('word', shape=[None, 1], dtype='int64', lod_level=lod_level)


def values(program):
    """All parameters of a program: {name: array}."""
    return {parameter.name: np.array(fluid.global_scope().find_var(parameter.name).get_tensor())
            for parameter in program.all_parameters()}


class Program(object):
    """A program with the loss of build(word), trained by SGD. Its parameters have their initial values."""

    def __init__(self, build):
        self.main, startup = fluid.Program(), fluid.Program()
        startup.random_seed = 1
        with fluid.program_guard(self.main, startup), fluid.unique_name.guard():
            self.loss = ops.mean(ops.fc(build(word_data()), 3))
            fluid.optimizer.SGD(0.1).minimize(self.loss)
            self.extend()
        self.exe = fluid.Executor(fluid.CPUPlace())
        self.exe.run(startup)

    def extend(self):
        """For what a user adds after the optimizer."""

    def step(self, feed):
        return float(self.exe.run(self.main, feed={'word': feed}, fetch_list=[self.loss])[0])


def frozen(word):
    return bilm.elmo_encoder(bilm.emb(word, config=CONFIG), config=CONFIG)


def test_the_positions_of_the_original(tmpdir):
    """Sizes by position, the others are the published ones; the coefficient is the second argument."""
    def original(word):
        x_emb = bilm.emb(word, 23, 4)
        return bilm.elmo_encoder(x_emb, 0.25)

    program, directory = Program(original), str(tmpdir.join('checkpoint'))
    shapes = bilm.parameter_shapes(dict(bilm.PUBLISHED_CONFIG, vocab_size=23, embed_size=4))
    before = values(program.main)
    saved = [parameter for parameter in program.main.all_parameters() if parameter.name in shapes]
    assert {parameter.name: tuple(parameter.shape) for parameter in saved} == {
        name: shape for name, shape in shapes.items() if name not in bilm.SOFTMAX_PARAMETERS}
    save_vars(program.exe, directory, program.main, vars=saved)
    names = bilm.init_pretraining_params(program.exe, directory, program.main)
    assert names == sorted(parameter.name for parameter in saved)
    losses = [program.step(lod_tensor(SENTENCES)) for _ in range(3)]
    assert losses[2] < losses[0]
    changed = {name for name, value in values(program.main).items() if (value != before[name]).any()}
    assert 'ELMo_w' in changed and not changed & set(names)
    coefficients = [parameter.regularizer for parameter in program.main.all_parameters() if parameter.name == 'ELMo_w']
    assert coefficients != [None]


def test_the_sizes_by_name():
    vectors = []
    Program(lambda word: vectors.append(bilm.elmo_encoder(bilm.emb(word, vocab_size=23, emb_size=4))) or vectors[0])
    assert vectors[0].shape[1] == 8


def average_of_moments():
    average = fluid.optimizer.ExponentialMovingAverage(0.5)
    average.update()
    return average


def average_of_steps():
    return fluid.optimizer.ModelAverage(0.5, min_average_window=2, max_average_window=4)


class Averaged(Program):
    def __init__(self, build, make):
        self._make = make
        super(Averaged, self).__init__(build)

    def extend(self):
        self.average = self._make()


@pytest.mark.parametrize('make', [average_of_moments, average_of_steps])
def test_averages_of_parameters_leave_frozen_ones_alone(make):
    program = Averaged(frozen, make)
    before, bilm_names = values(program.main), set(bilm.parameter_shapes(CONFIG))
    for _ in range(5):
        program.step(lod_tensor(SENTENCES))
    trained = values(program.main)
    with program.average.apply(program.exe):
        averaged = values(program.main)
    assert {name for name in averaged if (averaged[name] != trained[name]).any()} >= {'ELMo_w', 'ELMo_gamma'}
    for name in bilm_names & set(before):
        assert (averaged[name] == before[name]).all()
    kept = [variable.name for variable in program.main.list_vars() if variable.persistable]
    assert not [name for name in kept if name not in bilm_names and any(one in name for one in bilm_names)]


def mixed(word, **options):
    return bilm.elmo_encoder(bilm.emb(word, config=CONFIG), config=CONFIG, **options)


OTHER = dict(CONFIG, hidden_size=9)


@pytest.mark.parametrize('build, words', [
    (lambda word: bilm.emb(word, CONFIG), 'vocab_size is a number, got a dict: .* config=config'),
    (lambda word: bilm.emb(word, 23, CONFIG), 'embed_size is a number, got a dict: .* config=config'),
    (lambda word: bilm.elmo_encoder(bilm.emb(word, config=CONFIG), CONFIG), 'l2_coef is a number, got a dict: .* '
                                                                            'config=config'),
    (lambda word: bilm.emb(word, 23, config=CONFIG), 'give either config or vocab_size and emb_size'),
    (lambda word: bilm.emb(word, 0), 'vocab_size is 0, not from 1'),
    (lambda word: bilm.emb(word, np.int64(0), 8), 'vocab_size is .?0.?, not from 1'),
    (lambda word: bilm.emb(word, 23, np.float32(8)), 'embed_size is .?8.0.?, not from 1'),
    (lambda word: bilm.emb(word, config='checkpoints'), 'config is what read_config'),
    (lambda word: bilm.emb(word, config={'vocab_size': 23}), 'lacks '),
    (lambda word: bilm.elmo_encoder(bilm.emb(word, config=CONFIG)),
     'same config to emb and elmo_encoder: hidden_size is 7 in emb, 4096 in elmo_encoder'),
    (lambda word: bilm.elmo_encoder(bilm.emb(word), config=CONFIG), 'same config .*hidden_size is 4096 in emb, 7 in'),
    (lambda word: bilm.elmo_encoder(bilm.emb(word, config=CONFIG), config=OTHER), 'hidden_size is 7 in emb, 9 in'),
    (lambda word: bilm.elmo_encoder(ops.scale(bilm.emb(word, config=CONFIG), 2.)),
     'embed_size is 5 in emb, 512 in elmo_encoder'),
    (lambda word: [bilm.emb(word, 23, 4), bilm.emb(word, 24, 4)], 'one program has one biLM'),
    (lambda word: [bilm.elmo_encoder(bilm.emb(word, config=config), config=config)
                   for config in (CONFIG, dict(CONFIG, num_layers=1, bos_id=3))],
     'one program has one biLM: bos_id is 0 in an earlier elmo_encoder, 3 in this one; num_layers is 2 .* 1 in this'),
    (lambda word: [mixed(word, l2_coef=0.5), mixed(word)], 'ELMo_w: has an l2_coef of 0.5 already, not 0'),
    (lambda word: mixed(word, l2_coef=-1), 'l2_coef is -1, not a number from 0'),
    (lambda word: mixed(word, l2_coef=float('nan')), 'l2_coef is nan, not a number from 0'),
    (lambda word: mixed(word, layers='top', l2_coef=0.5), "l2_coef and layer_norm are for layers='mix'"),
    (lambda word: mixed(word, layers='all', layer_norm=True), "l2_coef and layer_norm are for layers='mix'"),
])
def test_a_mistake_is_told_when_the_network_is_built(build, words):
    with fluid.program_guard(fluid.Program(), fluid.Program()), fluid.unique_name.guard():
        with pytest.raises(ValueError, match=words):
            build(word_data())


@pytest.mark.parametrize('lod_level', [0, 2])
def test_an_input_that_is_no_list_of_sentences(lod_level):
    with fluid.program_guard(fluid.Program(), fluid.Program()), fluid.unique_name.guard():
        with pytest.raises(ValueError, match="word has lod_level=%d: declare it as .*lod_level=1" % lod_level):
            bilm.emb(word_data(lod_level), config=CONFIG)


def test_the_sizes_of_a_checkpoint_are_compared_with_the_network(tmpdir):
    """Also those that no shape shows."""
    config = dict(CONFIG, bos_id=1, eos_id=0, cell_clip=1.)
    program = Program(lambda word: bilm.elmo_encoder(bilm.emb(word, config=config), config=config))
    directory, names = str(tmpdir), set(bilm.parameter_shapes(config))
    saved = [parameter for parameter in program.main.all_parameters() if parameter.name in names]
    save_vars(program.exe, directory, program.main, vars=saved)
    write_lines(tmpdir.join('bilm.json'), [json.dumps(config)])
    assert len(bilm.init_pretraining_params(program.exe, directory, program.main)) == len(saved)  # it knows its sizes
    other = Program(frozen)
    for given in ({'config': config}, {}):
        with pytest.raises(ValueError, match='bos_id is 1 .*, 0 .*cell_clip is 1.0 .*, 3.0 '):
            bilm.init_pretraining_params(other.exe, directory, other.main, **given)


def test_a_directory_of_checkpoints(tmpdir):
    program = Program(frozen)
    for name in ('000004', '000008'):
        save_vars(program.exe, str(tmpdir.join(name)), program.main, vars=program.main.all_parameters())
    with pytest.raises(ValueError, match='give one of them, such as .*000008'):
        bilm.init_pretraining_params(program.exe, str(tmpdir), program.main, config=CONFIG)


FED = '''
import signal, sys
signal.alarm(120)  # an operator that fails can hang fluid 2.4
import elmo  # sets what fluid reads
sys.path.insert(0, {tests!r})
import numpy as np
import paddle.fluid as fluid
import bilm
from helpers import lod_tensor
from test_own_program import Program, frozen

array = np.array([[3], [4], [5]], dtype='int64')
two_levels = fluid.create_lod_tensor(array, [[1, 1], [2, 1]], fluid.CPUPlace())
program = Program(frozen)
program.step(lod_tensor([[3, 4], [5]]))
for wrong in {wrong}:
    try:
        program.step(wrong)
    except Exception as error:
        print('refused ' + str(error).replace('\\n', ' '))
program.step(lod_tensor([[3, 4], [5]]))
print('goes on')
'''


@pytest.mark.parametrize('wrong, words', [
    ('lod_tensor([[3, 23]]), lod_tensor([[3], [-1, 4]]), lod_tensor([[40]])', 'expected >= 0 and < 23, but got'),
    ('array, two_levels, array', 'sequence_slice')])
def test_what_is_fed_wrong_is_an_error_each_time(wrong, words):
    code = FED.format(tests=str(os.path.join(ROOT, 'tests')), wrong='(%s)' % wrong)
    environ = {name: value for name, value in os.environ.items() if name != 'FLAGS_USE_STANDALONE_EXECUTOR'}
    code, output, errors = run_command([sys.executable, '-c', code], env=dict(environ, PYTHONPATH=str(ROOT)))
    lines = [line for line in output.splitlines() if line.startswith(('refused', 'goes on'))]
    assert code == 0, errors
    assert len(lines) == 4 and lines[3] == 'goes on' and all(words in line for line in lines[:3])
