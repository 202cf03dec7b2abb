# -*- coding: utf-8 -*-
"""The tagger: word embedding ++ ELMo, stacked bidirectional GRU, linear-chain CRF.

The ELMo part is the weighted sum of ELMo's layers (Peters et al. 2018, equation 1) and each layer too: the sum alone
gains less. Or it is layer 0 alone, times gamma: word vectors without context, which the tagger can be compared with.

`sizes` is a dict: vocab_size, num_labels, word_emb_dim, grnn_hidden_dim, bigru_num, `elmo`, the config of the biLM or
None, and `elmo_layers`, '0' or 'all'; older models lack it, and have all. Every parameter has its own name, so
separately built programs share it.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import numpy as np
import paddle.fluid as fluid
from paddle.fluid.layer_helper import LayerHelper

import bilm
from bilm import data, ops
from elmo import devices, release
from lac_finetune.evaluation import split_label

# Learning rates, as multiples of the base: a row of the embedding is rarely updated, the CRF at every unit.
EMBEDDING_RATE, CRF_RATE = 5., 0.2
STRAY = -10.  # initial score in the CRF of n-I after another tag
# These depend on the tag set. With another tag set they get new initial values.
TAG_PARAMETERS = ('emission.w', 'emission.b', 'crf')


def _attr(name, random_seed, bound=None, rate=1.):
    """Name, seeded initial values (uniform in +-bound, or Glorot) and learning rate of a parameter."""
    seed = bilm.parameter_seed(name, random_seed)
    initializer = (release.UniformInitializer(-bound, bound, seed=seed) if bound else bilm.XavierInitializer(seed=seed))
    return fluid.ParamAttr(name=str(name), initializer=initializer, learning_rate=rate)


def _zeros(name):
    return fluid.ParamAttr(name=str(name), initializer=bilm.ConstantInitializer(0.))


def _emission(word, encoded, sizes, drop, random_seed):
    """Score of each label for each unit, float32 LoD [N, num_labels].

    Args:
        word: int64 LoD [N, 1].
        encoded: ELMo's layers, float32 LoD [N, elmo_width(sizes)], or None.
    """
    inputs = [ops.embedding(word, size=[sizes['vocab_size'], sizes['word_emb_dim']], is_sparse=True,
                            param_attr=_attr('word_embedding', random_seed, bound=0.1, rate=EMBEDDING_RATE))]
    if encoded is not None and layer_0_alone(sizes):
        inputs = [bilm.weight_layers([encoded])] + inputs
    elif encoded is not None:
        inputs = [bilm.weight_layers(ops.split(encoded, sizes['elmo']['num_layers'] + 1, dim=1)), encoded] + inputs
    size = sizes['grnn_hidden_dim']
    for number in range(1, sizes['bigru_num'] + 1):
        inputs, outputs = _drop_side_by_side(inputs, drop), []
        for direction in bilm.DIRECTIONS:
            name = '%s_gru%d' % (direction, number)
            gates = _product(inputs, _attr(name + '.w_in', random_seed), 3 * size)
            outputs.append(_gru(gates, size, name, random_seed, direction == 'bw'))
        inputs = [ops.concat(outputs, axis=1)]
    return ops.fc(drop(inputs[0]), sizes['num_labels'], param_attr=_attr('emission.w', random_seed),
                  bias_attr=_zeros('emission.b'))


def _drop_side_by_side(inputs, drop):
    """Drops elements of the inputs as if they were one. Those that need no gradient still do not."""
    if len(inputs) == 1 or drop is _same:
        return [drop(x) for x in inputs]
    parts = ops.split(drop(ops.concat(inputs, axis=1)), [int(x.shape[1]) for x in inputs], dim=1)
    for part, x in zip(parts, inputs):
        part.stop_gradient = x.stop_gradient
    return parts


def _product(inputs, attr, size):
    """The inputs side by side times one matrix: float32 LoD [N, D_i] each, to [N, size].

    Each input has a product of its own with its rows of the matrix. So fluid computes no gradient for those that need
    none, which the layers of the frozen biLM are: the widest of all.
    """
    helper = LayerHelper('product')
    widths, products = [int(x.shape[1]) for x in inputs], []
    matrix = helper.create_parameter(attr, [sum(widths), size], 'float32')
    for x, rows in zip(inputs, ops.split(matrix, widths, dim=0) if len(inputs) > 1 else [matrix]):
        products.append(helper.create_variable_for_type_inference('float32'))
        helper.append_op(type='mul', inputs={'X': x, 'Y': rows}, outputs={'Out': products[-1]})
    return ops.sums(products)


def _gru(gates, size, name, random_seed, is_reverse):
    """A GRU over sentences: float32 LoD [N, 3 * size] to [N, size], in reading order.

    The operator is appended by hand, because fluid 2.5 has no function for it.
    """
    helper = LayerHelper('gru')
    outputs = {slot: helper.create_variable_for_type_inference('float32')
               for slot in ('Hidden', 'BatchGate', 'BatchResetHiddenPrev', 'BatchHidden')}
    helper.append_op(
        type='gru',
        inputs={'Input': gates,
                'Weight': helper.create_parameter(_attr(name + '.w', random_seed), [size, 3 * size], 'float32'),
                'Bias': helper.create_parameter(_zeros(name + '.b'), [1, 3 * size], 'float32', is_bias=True)},
        outputs=outputs,
        attrs={'is_reverse': is_reverse, 'gate_activation': 'sigmoid', 'activation': 'tanh', 'origin_mode': False})
    return outputs['Hidden']


def layer_0_alone(sizes):
    """Whether the tagger reads the biLM's word vectors and none of its LSTM layers."""
    return sizes.get('elmo_layers') == '0'


def elmo_width(sizes):
    """How many numbers the layers of the biLM that the tagger reads have for a unit."""
    layers = 1 if layer_0_alone(sizes) else sizes['elmo']['num_layers'] + 1
    return layers * 2 * sizes['elmo']['embed_size']


def elmo_shapes(sizes):
    """The biLM's parameters in the network of `decoding`: {name: shape}."""
    shapes = bilm.parameter_shapes(sizes['elmo'])
    return {bilm.TABLE: shapes[bilm.TABLE]} if layer_0_alone(sizes) else shapes


def word_data():
    """The variable that the units are fed to, int64 LoD [N, 1]."""
    return data('word', [None, 1], dtype='int64', lod_level=1)


def _elmo_data(sizes):
    return data('elmo_layers', [None, elmo_width(sizes)], dtype='float32', lod_level=1)


def elmo_layers(word, sizes):
    """The layers of the frozen biLM that the tagger reads: int64 LoD [N, 1] to float32 LoD [N, elmo_width(sizes)]."""
    embedding = bilm.emb(word, config=sizes['elmo'])
    if layer_0_alone(sizes):
        return ops.concat([embedding, embedding], axis=1)  # as in bilm.elmo_encoder
    return bilm.elmo_encoder(embedding, config=sizes['elmo'], layers='all')


def num_dropout_seeds(sizes):
    """How many seeds training needs: one for each layer's input."""
    return sizes['bigru_num'] + 1


def _crf(labels):
    """Initial scores of the CRF, [2 + labels, labels]: of the beginning, of the end, and from label to label.

    An n-I that continues no n starts with a very low score: the learning rate is too low to reach it by training.
    """
    scores = np.zeros([2 + len(labels), len(labels)], dtype='float32')
    for row, (before, _) in enumerate(map(split_label, labels), 2):
        for column, (tag, position) in enumerate(map(split_label, labels)):
            if position == 'I' and tag != before:
                scores[row, column] = STRAY
    return fluid.ParamAttr(name=str('crf'), initializer=bilm.NumpyArrayInitializer(scores),
                           learning_rate=CRF_RATE)


def _crf_cost(emission, target, scores):
    """Negative log likelihood of the CRF of each sentence, float32 [S, 1]; `scores` is the ParamAttr of its scores."""
    helper = LayerHelper('linear_chain_crf')
    labels = emission.shape[1]
    outputs = {slot: helper.create_variable_for_type_inference('float32')
               for slot in ('Alpha', 'EmissionExps', 'TransitionExps', 'LogLikelihood')}
    helper.append_op(
        type='linear_chain_crf',
        inputs={'Emission': emission, 'Label': target,
                'Transition': helper.create_parameter(scores, [labels + 2, labels], 'float32')},
        outputs=outputs)
    return outputs['LogLikelihood']


def training(sizes, labels, dropout, random_seed):
    """The loss: mean over units of the CRF's negative log likelihood, float32 [1]. `labels`: list, by number.

    Feeds: `word` and `target`, int64 LoD [N, 1]; with ELMo also `elmo_layers`, float32 LoD [N, elmo_width(sizes)], and
    with dropout `dropout_seeds`, int32 [num_dropout_seeds(sizes)].
    """
    word, target = word_data(), data('target', [None, 1], dtype='int64', lod_level=1)
    encoded, drop = _elmo_data(sizes) if sizes['elmo'] else None, _same
    if dropout:
        drop = bilm.SeededDropout(dropout, data('dropout_seeds', [num_dropout_seeds(sizes)], dtype='int32'))
    emission = _emission(word, encoded, sizes, drop, random_seed)
    cost = _crf_cost(emission, target, _crf(labels))
    units = ops.cast(ops.shape(word), 'float32')
    return ops.elementwise_div(ops.reduce_sum(cost), ops.slice(units, axes=[0], starts=[0], ends=[1]))


def decoding(sizes, whole):
    """The best label of each unit, int64 LoD [N, 1].

    Feeds: `word`, int64 LoD [N, 1]; with ELMo also `elmo_layers`, unless `whole`: then the biLM is in the network.
    """
    word, encoded = word_data(), None
    if sizes['elmo']:
        encoded = elmo_layers(word, sizes) if whole else _elmo_data(sizes)
    emission = _emission(word, encoded, sizes, _same, random_seed=0)
    helper = LayerHelper('crf_decoding')
    scores = helper.create_parameter(fluid.ParamAttr(name=str('crf')),
                                     [sizes['num_labels'] + 2, sizes['num_labels']], 'float32')
    path = helper.create_variable_for_type_inference('int64')
    helper.append_op(type='crf_decoding', inputs={'Emission': emission, 'Transition': scores},
                     outputs={'ViterbiPath': path})
    return path


def decoding_program(sizes, whole):
    """The program of `decoding`, and its output."""
    program = fluid.Program()
    with devices.building(program):
        return program, decoding(sizes, whole)


def feed(sentences, place, elmo_layers=None):
    """The feed for sentences (lists of ids): `word`, and `elmo_layers` if an ElmoLayers is given."""
    found = {'word': devices.to_lod(sentences, place)}
    if elmo_layers is not None:
        found['elmo_layers'] = devices.lod_tensor(elmo_layers(sentences), [len(ids) for ids in sentences], place)
    return found


def _same(x):
    return x


def mix(scope):
    """The mix of ELMo's layers in the trained tagger: {'weights': floats of sum 1, one a layer, 'gamma': float}."""
    scalars, gamma = [np.array(scope.find_var(str(name)).get_tensor()) for name in ('ELMo_w', 'ELMo_gamma')]
    weights = np.exp(scalars - scalars.max())
    return {'weights': (weights / weights.sum()).tolist(), 'gamma': float(gamma[0])}
