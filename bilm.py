# -*- coding: utf-8 -*-
"""The bidirectional language model of ELMo in PaddlePaddle fluid, in one file that can be copied alone.

Paper: Peters et al. 2018, "Deep contextualized word representations", arXiv 1802.05365. A config is a dict of sizes,
as bilm.json beside the parameters of a checkpoint holds it; the default is that of the published Chinese checkpoint.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import io
import json
import numbers
import os
import struct
import sys
import warnings
import zlib

import numpy as np
import paddle.fluid as fluid
from google.protobuf.message import DecodeError
from paddle.fluid.layer_helper import LayerHelper
from paddle.fluid.proto import framework_pb2


def append_operator(kind, inputs, dtype='float32', **attrs):
    """Appends an operator to the program; its output has this dtype, and the shape and LoD that fluid infers."""
    helper = LayerHelper(kind)
    out = helper.create_variable_for_type_inference(dtype)
    helper.append_op(type=kind, inputs=inputs, outputs={'Out': out}, attrs=attrs)
    return out


if hasattr(fluid.layers, 'matmul'):  # up to fluid 2.4
    from paddle.fluid import layers as ops
    from paddle.fluid.initializer import (ConstantInitializer, NormalInitializer, NumpyArrayInitializer,
                                          XavierInitializer)
    from paddle.fluid.regularizer import L2DecayRegularizer as L2Decay
    data, load_vars, sequence_unpad = fluid.data, fluid.io.load_vars, ops.sequence_unpad
else:  # fluid 2.5 has all operators, but few of the functions of fluid.layers
    import types

    import paddle
    from paddle.nn import functional
    from paddle.nn.initializer import (ConstantInitializer, NormalInitializer, NumpyArrayInitializer,
                                       XavierInitializer)
    from paddle.regularizer import L2Decay
    from paddle.static import nn
    data, load_vars, sequence_unpad = paddle.static.data, paddle.static.load_vars, nn.sequence_unpad

    def _elementwise(kind):
        return lambda x, y: append_operator('elementwise_' + kind, {'X': x, 'Y': y}, axis=-1)

    ops = types.SimpleNamespace(  # what is used here of fluid.layers, and what a small task wants beside it
        assign=paddle.assign, cast=paddle.cast, exp=paddle.exp, log=paddle.log, mean=paddle.mean,
        reshape=paddle.reshape, shape=paddle.shape, slice=paddle.slice,
        relu=functional.relu, softmax=functional.softmax,
        softmax_with_cross_entropy=functional.softmax_with_cross_entropy,
        layer_norm=nn.layer_norm, sequence_concat=nn.sequence_concat, sequence_pool=nn.sequence_pool,
        sequence_slice=nn.sequence_slice, embedding=fluid.layers.embedding,
        fill_constant_batch_size_like=fluid.layers.fill_constant_batch_size_like,
        elementwise_add=_elementwise('add'), elementwise_sub=_elementwise('sub'), elementwise_mul=_elementwise('mul'),
        elementwise_div=_elementwise('div'),
        matmul=lambda x, y, transpose_y=False: paddle.matmul(x, y, False, transpose_y),
        reduce_max=lambda x, dim=None, keep_dim=False: paddle.max(x, dim, keepdim=keep_dim),
        reduce_sum=lambda x, dim=None, keep_dim=False: paddle.sum(x, dim, keepdim=keep_dim),
        split=lambda x, number, dim: paddle.split(x, number, dim),
        concat=lambda input, axis=0: append_operator('concat', {'X': input}, axis=axis),
        sums=lambda parts: append_operator('sum', {'X': parts}),
        scale=lambda x, scale=1., bias=0.: append_operator('scale', {'X': x}, scale=scale, bias=bias),
        gather=lambda x, index, overwrite: append_operator('gather', {'X': x, 'Index': index}, overwrite=overwrite),
        lod_reset=lambda x, y: append_operator('lod_reset', {'X': x, 'Y': y}),
        dropout=lambda x, rate, dropout_implementation: functional.dropout(x, rate, mode=dropout_implementation),
        fc=lambda x, size, param_attr=None, bias_attr=None: nn.fc(x, size, weight_attr=param_attr,
                                                                  bias_attr=bias_attr))

PUBLISHED_CONFIG = {
    'vocab_size': 52445,
    'embed_size': 512,  # also the size of the LSTM projections
    'hidden_size': 4096,
    'num_layers': 2,
    'cell_clip': 3.,
    'proj_clip': 3.,
    'bos_id': 0,  # <S>
    'eos_id': 1,  # </S>
}
DIRECTIONS = ('fw', 'bw')
SOFTMAX_PART = 8192  # words at a time, see _softmax_rows
MILD = 60.  # float32 holds the sum of exps of a softmax from e^-MILD to e^MILD, whatever the vocabulary, see _shift
TABLE = 'embedding_para'
SOFTMAX_PARAMETERS = ('softmax_weight', 'softmax_bias')


class CheckpointError(ValueError):
    """A checkpoint, or a file of it, that cannot be used; says what is wrong in one line."""


def lstm_name(config, direction, layer):
    """Name prefix of an LSTMP layer (counted from 1) in the published checkpoint: fw layers first, from lstmp_0."""
    return str('lstmp_%d' % (DIRECTIONS.index(direction) * config['num_layers'] + layer - 1))


def gate_name(direction, layer):
    """Name of the input-to-gates weight of a layer (counted from 1)."""
    return str('%s_layer%d_gate_w' % (direction, layer))


def parameter_shapes(config):
    """All parameters of the language model: {name: shape}."""
    vocab, embed, gates = config['vocab_size'], config['embed_size'], 4 * config['hidden_size']
    shapes = {TABLE: (vocab, embed), 'softmax_weight': (vocab, embed), 'softmax_bias': (vocab,)}
    for direction in DIRECTIONS:
        for layer in range(1, config['num_layers'] + 1):
            name = lstm_name(config, direction, layer)
            shapes[gate_name(direction, layer)] = (embed, gates)
            shapes[name + '.w_0'] = (embed, gates)
            shapes[name + '.w_1'] = (config['hidden_size'], embed)
            shapes[name + '.b_0'] = (1, gates)
    return {str(name): shape for name, shape in shapes.items()}


def parameter_seed(name, random_seed):
    """A seed for the initial values of one parameter.

    fluid gives all operators of a seeded program one seed. Parameters of equal shape, as those of the two directions,
    would start with equal values.
    """
    return 1 + ((zlib.crc32(name.encode()) & 0xffffffff) + random_seed * 0x9e3779b1) % 0x7ffffffe


def _initializer(name, config, random_seed):
    """Initial values as in the TensorFlow reference: Glorot for embedding and LSTM, forget gates biased by 1."""
    seed = parameter_seed(name, random_seed)
    hidden = config['hidden_size']
    if name == 'softmax_bias':
        return ConstantInitializer(0.)
    if name == 'softmax_weight':
        return NormalInitializer(0., config['embed_size'] ** -0.5, seed=seed)
    if name.endswith('.b_0'):
        bias = np.zeros([1, 4 * hidden], dtype='float32')
        bias[0, 2 * hidden:3 * hidden] = 1.  # fluid's gate order: candidate, input, forget, output
        return NumpyArrayInitializer(bias)
    if name.endswith('gate_w') or name.endswith('.w_0'):  # one matrix in TensorFlow, two here
        return XavierInitializer(fan_in=2 * config['embed_size'], fan_out=4 * hidden, seed=seed)
    return XavierInitializer(seed=seed)


class _Parameters(object):
    """Makes the parameters of one biLM, each with its published name. A second use in a program shares them."""

    def __init__(self, config, trainable=True, random_seed=0):
        self.config, self.trainable, self.random_seed = config, trainable, random_seed
        self.shapes = parameter_shapes(config)
        embedding = fluid.default_main_program().global_block().vars.get(TABLE)
        if embedding is not None and embedding.trainable != trainable:
            raise ValueError('one biLM is either trained or frozen: give the same finetune to emb and elmo_encoder')
        if embedding is not None and tuple(embedding.shape) != self.shapes[TABLE]:
            raise ValueError('one program has one biLM: its embedding is %s, and %s by this call; give the same config '
                             'to emb and elmo_encoder' % (list(embedding.shape), list(self.shapes[TABLE])))

    def attr(self, name):
        # fluid's averages of parameters would move frozen ones by rounding, and keep copies of them.
        return fluid.ParamAttr(name=name, trainable=self.trainable, do_model_average=self.trainable,
                               initializer=_initializer(name, self.config, self.random_seed))

    def create(self, helper, name):
        return helper.create_parameter(self.attr(name), shape=list(self.shapes[name]), dtype='float32')


def _embedding(ids, parameters):
    """Rows of the embedding table: int64 LoD [N, 1] to float32 LoD [N, embed_size]."""
    return ops.embedding(ids, size=list(parameters.shapes[TABLE]), is_sparse=True,
                         param_attr=parameters.attr(TABLE))


def _fixed(kind, inputs, dtype='float32', **attrs):
    """As append_operator; the output has no gradient."""
    return _constant(append_operator(kind, inputs, dtype, **attrs))


def _lstmp(x, direction, layer, parameters):
    """One LSTM layer with projection (Sak et al. 2014), cell and projection clipped, outputs in reading order.

    The operator is appended by hand, because fluid.layers.dynamic_lstmp cannot name its two weights.
    """
    config = parameters.config
    gate, prefix = gate_name(direction, layer), lstm_name(config, direction, layer)
    # The helper moves the counter of lstmp in fluid past the published names, so that no lstmp built later gets
    # them. An lstmp built earlier has them already.
    helper = LayerHelper('lstmp')
    variables = helper.main_program.global_block().vars
    if prefix + '.w_0' in variables and gate not in variables:
        raise ValueError("the parameter name %s.w_0 of ELMo is taken by another dynamic_lstmp of this program: "
                         "build ELMo first, or give the other one a name" % prefix)
    gates = ops.fc(x, size=4 * config['hidden_size'], param_attr=parameters.attr(gate), bias_attr=False)
    outputs = {slot: helper.create_variable_for_type_inference('float32')
               for slot in ('Projection', 'Cell', 'BatchHidden', 'BatchGate', 'BatchCellPreAct')}
    helper.append_op(
        type='lstmp',
        inputs={'Input': gates,
                'Weight': parameters.create(helper, prefix + '.w_0'),
                'ProjWeight': parameters.create(helper, prefix + '.w_1'),
                'Bias': parameters.create(helper, prefix + '.b_0')},
        outputs=outputs,
        attrs={'use_peepholes': False, 'is_reverse': direction == 'bw',
               'cell_clip': float(config['cell_clip']), 'proj_clip': float(config['proj_clip']),
               'gate_activation': 'sigmoid', 'cell_activation': 'tanh', 'candidate_activation': 'tanh',
               'proj_activation': 'identity'})
    return outputs['Projection']


def _encode(inputs, parameters, dropouts):
    """The LSTM layers of both directions.

    They stand in the program layer by layer. fluid 2.5 runs random operators, such as dropout, in the order of the
    program: with one direction behind the other they would not run side by side.

    Args:
        inputs: the embedded sentences that each direction reads, float32 LoD [N, embed_size] each.
        dropouts: for each direction a function that is applied to each layer's input.

    Returns:
        For each direction a list of the outputs of layers 1..L, after the residual connection, in reading order. Each
        has the shape of the input.
    """
    inputs, outputs = list(inputs), ([], [])
    for layer in range(1, parameters.config['num_layers'] + 1):
        for number, direction in enumerate(DIRECTIONS):
            x = dropouts[number](inputs[number])
            projection = _lstmp(x, direction, layer, parameters)
            inputs[number] = projection if layer == 1 else ops.elementwise_add(projection, x)
            outputs[number].append(inputs[number])
    return outputs


class SeededDropout(object):
    """Dropout whose masks follow from fed seeds: fresh in each step, and the same when a run is repeated.

    fluid's own dropout offers one of both. Each use takes the next element of `seeds`, int32 [uses], from `first` on.
    """

    def __init__(self, rate, seeds, first=0):
        self.rate, self.seeds, self.used = rate, seeds, first

    def __call__(self, x):
        helper = LayerHelper('dropout')
        out = helper.create_variable_for_type_inference('float32')
        mask = helper.create_variable_for_type_inference('uint8', stop_gradient=True)
        seed = ops.slice(self.seeds, axes=[0], starts=[self.used], ends=[self.used + 1])
        self.used += 1
        helper.append_op(type='dropout', inputs={'X': x, 'Seed': seed}, outputs={'Out': out, 'Mask': mask},
                         attrs={'dropout_prob': self.rate, 'dropout_implementation': 'upscale_in_train'})
        return out


def num_dropout_seeds(config):
    """How many seeds language_model needs: one for each layer's input and the last output of each direction."""
    return len(DIRECTIONS) * (config['num_layers'] + 1)


def _dropouts(rate, config):
    """A SeededDropout for each direction, fed with `dropout_seeds`."""
    number = num_dropout_seeds(config)
    seeds = data('dropout_seeds', [number], dtype='int32')
    return [SeededDropout(rate, seeds, first) for first in range(0, number, number // len(DIRECTIONS))]


def _same(x):
    return x


def _constant(x):
    x.stop_gradient = True
    return x


def _ones(x):
    return _constant(ops.scale(x, scale=0., bias=1.))


def _inner(x, y):
    """Inner product of each row of x with that of y: float32 [N, D] both, to [N, 1]."""
    return ops.reduce_sum(ops.elementwise_mul(x, y), dim=1, keep_dim=True)


def _largest(x):
    """The maximum of each row: float32 [N, D] to [N, 1]."""
    return ops.reduce_max(x, dim=1, keep_dim=True)


def _softmax_rows(weight, bias):
    """Rows [weight; bias; 1] of S words in parts of SOFTMAX_PART: a list of float32 [part, D + 2].

    All logits of a large vocabulary at once would be slow on a CPU: fluid's memory pool serves no tensor above 500 MB.
    The process would get new memory in every step, which takes longer than the exp.

    Args:
        weight, bias: float32 [S, D] and [S, 1].
    """
    words = ops.concat([weight, bias, _ones(bias)], axis=1)
    number = words.shape[0]  # -1 of a sampled softmax
    sizes = [min(SOFTMAX_PART, number - start) for start in range(0, number, SOFTMAX_PART)]
    return ops.split(words, sizes, dim=0) if len(sizes) > 1 else [words]


def _hidden_rows(hidden, minus):
    """Rows [hidden; 1; -minus], of which the product with _softmax_rows is the logits less `minus`, float32 [N, 1]."""
    return ops.concat([hidden, _ones(minus), ops.scale(minus, -1.)], axis=1)


def _reach(weight, bias):
    """How long the longest row of the weight is, and the largest bias: float32 [1] both, of [S, D] and [S, 1]."""
    lengths = ops.reduce_sum(ops.elementwise_mul(weight, weight), dim=1)
    return [_fixed('reduce_max', {'X': x}, dim=[0], reduce_all=True) for x in (_fixed('sqrt', {'X': lengths}), bias)]


def _shift(hidden, true_logit, parts, reach):
    """What to take from each x = logit - true_logit, so that the sum of the exps fits into float32: float32 [N, 1].

    The maximum of x would do, but to look for it takes time. A length of hidden times that of the longest row, plus the
    largest bias, is a bound of it that costs nothing (Cauchy-Schwarz). Where the bound is at most 2 * MILD, what it has
    above MILD will do: no exp is above e^MILD then, and that of the true word, whose x is 0, not below e^-MILD. The
    maximum itself is found for the other rows alone, which a language model hardly ever has.
    """
    length = ops.reduce_sum(ops.elementwise_mul(hidden, hidden), dim=1, keep_dim=True)
    bound = ops.elementwise_mul(_fixed('sqrt', {'X': length}), reach[0])
    bound = ops.elementwise_sub(ops.elementwise_add(bound, reach[1]), true_logit)
    # The row of the largest bound is always among them, as fluid cannot run on none. So is a NaN, which is not less.
    limit = _fixed('clip', {'X': _fixed('reduce_max', {'X': bound}, dim=[0], reduce_all=True)}, min=-3e38, max=2 * MILD)
    near = _fixed('less_than', {'X': bound, 'Y': limit}, 'bool', axis=-1)
    places = _fixed('where_index', {'Condition': _fixed('logical_not', {'X': near}, 'bool')}, 'int64')
    far = ops.reshape(ops.slice(places, axes=[1], starts=[0], ends=[1]), [-1])
    rows = _hidden_rows(*[ops.gather(x, far, overwrite=False) for x in (hidden, true_logit)])
    maxima = [_largest(ops.matmul(rows, part, transpose_y=True)) for part in parts]
    shift = _fixed('scatter', {'X': ops.scale(bound, bias=-MILD), 'Ids': far,
                               'Updates': _largest(ops.concat(maxima, axis=1))}, overwrite=True)
    return _constant(ops.relu(shift))


def _cross_entropy(hidden, parts, reach, true_logit, missed, manual_gradient):
    """Cross entropy in nats of N predictions among S words and the true one.

    With x = logit - true_logit the loss is log(sum_j exp(x_j) + missed), and its gradient is sum_j p_j dx_j with
    p_j = exp(x_j) / exp(loss). The manual gradient takes three matrix products and one exp over [N, S] for both passes:
    the bias, the true logit and the sum are columns of the products, and p is scaled after its product. Each row has
    the exps of x less its shift, as exp(x_j) would overflow where a word of probability below e^-88 comes true.

    Args:
        hidden: float32 [N, D].
        parts: the S words, as _softmax_rows returns them.
        reach: what _reach returns of them.
        true_logit: float32 [N, 1].
        missed: float32 [N, 1], 1 where the true word is not among the S; None if it always is.
        manual_gradient: build the gradient into the graph; otherwise fluid makes it, if it is asked for.

    Returns:
        float32 [N, 1].
    """
    shift = _shift(hidden, true_logit, parts, reach)
    rows = _hidden_rows(hidden, ops.elementwise_add(true_logit, shift))
    exps = [ops.exp(ops.matmul(rows, part, transpose_y=True)) for part in parts]
    missed = [] if missed is None else [ops.elementwise_mul(missed, ops.exp(ops.scale(shift, -1.)))]
    if not manual_gradient:
        totals = [ops.reduce_sum(exp, dim=1, keep_dim=True) for exp in exps]
        return ops.elementwise_add(ops.log(ops.sums(totals + missed)), shift)
    summed = ops.sums([ops.matmul(_constant(exp), part) for exp, part in zip(exps, parts)])
    last_column = ops.slice(summed, axes=[1], starts=[-1], ends=[2 ** 31 - 1])
    total = _constant(ops.sums([last_column] + missed))
    with_gradient = ops.elementwise_div(_inner(summed, rows), total)
    # The log and the shift are the value. The rest is 0 and has the gradient.
    zero = ops.elementwise_sub(with_gradient, _constant(ops.assign(with_gradient)))
    return ops.sums([ops.log(total), shift, zero])


def language_model(config, dropout=0., random_seed=0, manual_gradient=False, sampled=False):
    """The bidirectional language model (equation 1 of the paper); both directions share the softmax.

    It is fed:
        tokens: int64 LoD [N, 1], <S> w_1 … w_n of each sentence; the forward direction reads it, the backward one
            predicts it.
        next_tokens: int64 LoD [N, 1], w_1 … w_n </S> of each sentence; the reverse.
        dropout_seeds: int32 [num_dropout_seeds(config)], with dropout.

    A sampled softmax reads only the rows of S candidates and of the true words. It is also fed:
        samples: int64 [S, 1], the candidates, all different. A candidate that is the true word counts once.
        sample_log_counts: float32 [S, 1], log of how often each is expected among the candidates.
        tokens_log_counts, next_tokens_log_counts: float32 [N, 1], the same of the true words.
        tokens_missed, next_tokens_missed: float32 [N, 1], 1 for a true word that is no candidate, otherwise 0.

    Args:
        config: dict of sizes, see PUBLISHED_CONFIG.
        dropout: rate of dropping each layer's input and the last output; 0 for evaluation.
        random_seed: of the initial values.
        manual_gradient: build the gradient of the softmax into the graph, which is faster than fluid's own.
        sampled: take the sampled softmax, which is for training alone.

    Returns:
        Cross entropy in nats of each token, forward and backward: two float32 [N, 1]. Row k of the forward one belongs
        to row k of next_tokens, row k of the backward one to row k of tokens.
    """
    tokens = data('tokens', shape=[None, 1], dtype='int64', lod_level=1)
    next_tokens = data('next_tokens', shape=[None, 1], dtype='int64', lod_level=1)
    drops = _dropouts(dropout, config) if dropout else [_same, _same]
    parameters = _Parameters(config, random_seed=random_seed)
    helper = LayerHelper('softmax')
    weight, bias = [parameters.create(helper, name) for name in SOFTMAX_PARAMETERS]

    def rows(ids, log_counts=None):
        """Rows of the weight and the bias of the softmax; the bias is corrected for the sampling if there is one."""
        # With overwrite, a word that occurs several times would get the gradient of one of its places.
        index = ops.reshape(ids, [-1])
        row_bias = ops.reshape(ops.gather(bias, index, overwrite=False), [-1, 1])
        if log_counts is None:
            return ops.gather(weight, index, overwrite=False), row_bias
        row_weight = ops.embedding(ids, size=list(parameters.shapes['softmax_weight']), is_sparse=True,
                                   param_attr=parameters.attr('softmax_weight'))
        return row_weight, ops.elementwise_sub(row_bias, log_counts)

    if sampled:
        words = rows(data('samples', shape=[None, 1], dtype='int64'),
                     data('sample_log_counts', shape=[None, 1], dtype='float32'))
    else:
        words = weight, ops.reshape(bias, [-1, 1])
    parts, reach = _softmax_rows(*words), _reach(*words)
    encoded = _encode([_embedding(read, parameters) for read in (tokens, next_tokens)], parameters, drops)
    losses = []
    for layers, drop, predicted in zip(encoded, drops, (next_tokens, tokens)):
        hidden = drop(layers[-1])
        log_counts, missed = [data(predicted.name + part, shape=[None, 1], dtype='float32') if sampled else None
                              for part in ('_log_counts', '_missed')]
        true_weight, true_bias = rows(predicted, log_counts)
        true_logit = ops.elementwise_add(_inner(hidden, true_weight), true_bias)
        losses.append(_cross_entropy(hidden, parts, reach, true_logit, missed, manual_gradient))
    return losses


def _check_number(name, value):
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise ValueError('%s is a number, got a %s: give every other option by its name, as config=config'
                         % (name, type(value).__name__))


def _sizes(config, **given):
    """A config, the published one if it is None; `given` are sizes in place of its own. ValueError if it is none."""
    given = {name: value for name, value in given.items() if value is not None}
    if config is not None and given:
        raise ValueError('sizes are given twice: give either config or vocab_size and emb_size')
    for name, value in sorted(given.items()):
        _check_number(name, value)
    config = dict(PUBLISHED_CONFIG, **given) if config is None else config
    problem = config_problem(config)
    if problem:
        raise ValueError('config is what read_config(directory) returns; this one is not: %s' % problem)
    return config


def emb(word, vocab_size=None, emb_size=None, config=None, finetune=False):
    """The token embedding of a sentence, layer 0 of the biLM.

    Args:
        word: int64 LoD [N, 1], ids of the ELMo vocabulary, without <S> and </S>. A sentence may be empty, but not all.
        vocab_size, emb_size: sizes, as programs for the original of this file give them; the others are those of the
            published checkpoint.
        config: all sizes, as read_config returns them; None: those of the published checkpoint.
        finetune: train the embedding with the task; otherwise it is frozen.

    Returns:
        float32 LoD [N, embed_size].

    Raises:
        ValueError: word has not one level of LoD, the sizes are none, or others than in an earlier call.
    """
    if word.lod_level != 1:
        raise ValueError("emb reads sentences, which are one level of LoD, and %s has lod_level=%d: declare it as "
                         "data('%s', shape=[None, 1], dtype='int64', lod_level=1)"
                         % (word.name, word.lod_level, word.name))
    config = _sizes(config, vocab_size=vocab_size, embed_size=emb_size)
    embedding = _embedding(word, _Parameters(config, trainable=finetune))
    embedding.stop_gradient = not finetune
    embedding.elmo_config = config  # elmo_encoder reads it
    return embedding


def _encode_sentences(embedding, parameters):
    """The biLM over sentences that are read between <S> and </S>, as in pretraining.

    Args:
        embedding: float32 LoD [N, embed_size], of the tokens without <S> and </S>.
        parameters: the _Parameters of the biLM.

    Returns:
        The layers 0..L, each float32 LoD [N, 2 * embed_size]: the embedding twice, then [fw; bw] of each LSTM layer.
    """
    def each_sentence(value, like=embedding):
        """int64 [sentences, 1]; fluid's batch size of a LoD input is its number of sentences."""
        return ops.fill_constant_batch_size_like(like, shape=[-1, 1], dtype='int64', value=value)

    zeros = each_sentence(0)
    # fluid's sequence_concat crashes the process if a plain array is fed, or no token at all. The first of these raises
    # an error if there is not one level of LoD, the second one if there is no row 0.
    checked = ops.sequence_slice(embedding, offset=zeros, length=zeros)
    first = _fixed('lookup_table', {'W': embedding, 'Ids': each_sentence(0, like=checked)})
    ones = each_sentence(1, like=first)

    def boundary(key):  # made without the sentence, which may have no token to take the LoD from
        vectors = _embedding(each_sentence(parameters.config[key]), parameters)
        return sequence_unpad(ops.reshape(vectors, [-1, 1, parameters.config['embed_size']]), ops.reshape(ones, [-1]))

    # The forward direction needs no </S> after the last token, the backward one no <S> before the first.
    read = [ops.sequence_concat(pair) for pair in ([boundary('bos_id'), embedding], [embedding, boundary('eos_id')])]
    each_token = ops.scale(ops.slice(read[0], axes=[1], starts=[0], ends=[1]), scale=0., bias=1.)
    lengths = ops.cast(ops.scale(ops.sequence_pool(each_token, 'sum'), bias=-1.), 'int64')
    fw, bw = _encode(read, parameters, [_same, _same])
    fw = [ops.sequence_slice(output, offset=ones, length=lengths) for output in fw]
    bw = [ops.sequence_slice(output, offset=zeros, length=lengths) for output in bw]
    return [ops.concat(list(pair), axis=1) for pair in zip([embedding] + fw, [embedding] + bw)]


def weight_layers(encoded, name='', l2_coef=0., layer_norm=False):
    """Mixes layers (equation 1 of the paper): gamma * sum_j s_j * h_j, s = softmax(ELMo_w).

    Args:
        encoded: list of the layers h_0..h_L, each float32 LoD [N, D].
        name: prefix of the trainable parameters `ELMo_w` [L + 1], starts at 0, and `ELMo_gamma` [1], starts at 1.
        l2_coef: l2_coef * sum(ELMo_w ** 2) is added to the loss; uses of one name have the same.
        layer_norm: normalise each h_j to mean 0 and variance 1 over its D values before.

    Returns:
        float32 LoD [N, D].

    Raises:
        ValueError: l2_coef is no number from 0, or another one than in an earlier use of the name.
    """
    if not 0 <= l2_coef < float('inf'):
        raise ValueError('l2_coef is %s, not a number from 0' % l2_coef)
    helper, name_w = LayerHelper('weight_layers'), name + 'ELMo_w'
    before = getattr(helper.main_program.global_block().vars.get(name_w), 'l2_coef', l2_coef)
    if before != l2_coef:
        raise ValueError('%s: has an l2_coef of %s already, not %s; give the same, or another name'
                         % (name_w, before, l2_coef))
    regularizer = L2Decay(2. * l2_coef) if l2_coef else None  # fluid's is coefficient / 2 * w ** 2
    weights = helper.create_parameter(
        fluid.ParamAttr(name=name_w, initializer=ConstantInitializer(0.), regularizer=regularizer),
        shape=[len(encoded)], dtype='float32')
    weights.l2_coef = l2_coef  # a later use of the name is compared with it
    gamma = helper.create_parameter(
        fluid.ParamAttr(name=name + 'ELMo_gamma', initializer=ConstantInitializer(1.)), [1], 'float32')
    shares = ops.softmax(weights)
    if layer_norm:
        encoded = [ops.layer_norm(layer, scale=False, shift=False, begin_norm_axis=1) for layer in encoded]
    mixed = [ops.elementwise_mul(layer, ops.slice(shares, axes=[0], starts=[j], ends=[j + 1]))
             for j, layer in enumerate(encoded)]
    return ops.elementwise_mul(ops.sums(mixed), gamma)


def _encoder_sizes(elmo_embedding, config):
    """The config of elmo_encoder, None or what it was given; ValueError if it is not that of emb."""
    of_emb = getattr(elmo_embedding, 'elmo_config', None)  # None of what is made from emb's result
    if of_emb and config is None:
        config = dict(PUBLISHED_CONFIG, vocab_size=of_emb['vocab_size'], embed_size=of_emb['embed_size'])
    config = _sizes(config)
    of_emb = of_emb or dict(config, embed_size=elmo_embedding.shape[-1])
    differing = _differences(of_emb, 'in emb', config, 'in elmo_encoder')
    if differing:
        raise ValueError('give the same config to emb and elmo_encoder: %s' % '; '.join(differing))
    before = getattr(fluid.default_main_program(), 'elmo_config', config)  # of an earlier elmo_encoder
    differing = _differences(before, 'in an earlier elmo_encoder', config, 'in this one')
    if differing:
        raise ValueError('one program has one biLM: %s; give all the same config' % '; '.join(differing))
    return config


def _differences(one, of_one, other, of_other):
    """What two configs differ in: a list of texts, which say whose each value is."""
    return ['%s is %s %s, %s %s' % (key, one[key], of_one, other[key], of_other)
            for key in sorted(PUBLISHED_CONFIG) if one[key] != other[key]]


def elmo_encoder(elmo_embedding, l2_coef=0., config=None, name='', layers='mix', dropout=0., layer_norm=False,
                 finetune=False):
    """ELMo's vectors of the tokens of a sentence, read between <S> and </S> as in pretraining.

    Args:
        elmo_embedding: what emb returned.
        l2_coef: see weight_layers.
        config: sizes, the same as was said to emb.
        name: prefix of the mix's parameters; several uses of one elmo_embedding share the
            biLM's computation and have each their own mix.
        layers: 'mix' of the layers by weight_layers, the 'top' layer, or 'all' layers 0..L side by side.
        dropout: rate of dropping elements of the result in training.
        layer_norm: see weight_layers.
        finetune: train the biLM with the task, as was said to emb; otherwise it is frozen.

    Returns:
        float32 LoD [N, 2 * embed_size], with 'all' [N, (L + 1) * 2 * embed_size].

    Raises:
        ValueError: an option is unknown or without effect, the config is not that of emb or of an earlier call, or
            names of the biLM are taken in this program.
    """
    if layers not in ('mix', 'top', 'all'):
        raise ValueError("layers is 'mix', 'top' or 'all', got %r" % (layers,))
    _check_number('l2_coef', l2_coef)
    if layers != 'mix' and (l2_coef or layer_norm):
        raise ValueError("l2_coef and layer_norm are for layers='mix', got layers='%s'" % layers)
    parameters = _Parameters(_encoder_sizes(elmo_embedding, config), trainable=finetune)
    encoded = getattr(elmo_embedding, 'elmo_layers', None)  # of an earlier use of the same embedding
    if encoded is None:
        encoded = elmo_embedding.elmo_layers = _encode_sentences(elmo_embedding, parameters)
        fluid.default_main_program().elmo_config = parameters.config  # a clone does not keep it
    for layer in encoded:
        layer.stop_gradient = not finetune
    if layers == 'mix':
        vectors = weight_layers(encoded, name, l2_coef, layer_norm)
    else:
        vectors = encoded[-1] if layers == 'top' else ops.concat(encoded, axis=1)
    if dropout:
        vectors = ops.dropout(vectors, dropout, dropout_implementation='upscale_in_train')
    return vectors


def _text(path):
    """A path as text; in Python 2 it may be bytes."""
    return path.decode(sys.getfilesystemencoding() or 'utf-8') if isinstance(path, bytes) else path


def read_config(dirname):
    """The config in bilm.json of a checkpoint.

    CheckpointError if it is not there, is none, or has other sizes than the parameters beside it. So nobody builds a
    network of sizes that come from nowhere, which could take all memory.
    """
    dirname = _text(dirname)
    path = os.path.join(dirname, 'bilm.json')
    try:
        with io.open(path, encoding='utf-8') as handle:
            config = json.loads(handle.read(1 << 20))
    except (IOError, ValueError, RuntimeError) as error:  # RuntimeError: nested too deep
        raise CheckpointError('%s: no readable checkpoint config (%s)' % (path, error))
    problem = config_problem(config)
    if problem:
        raise CheckpointError('%s: not a checkpoint config: %s' % (path, problem))
    problems = _problems_of_files(dirname, parameter_shapes(config), config['num_layers'])
    if problems:
        raise CheckpointError('%s: not the config of the parameters beside it: %s' % (path, '; '.join(problems)))
    return config


def config_problem(config):
    """What is wrong with a config, which may come from anywhere; an empty text if nothing is."""
    if not isinstance(config, dict):
        return 'no sizes in it'
    missing = sorted(set(PUBLISHED_CONFIG) - set(config))
    if missing:
        return 'lacks ' + ', '.join(missing)
    for name in sorted(PUBLISHED_CONFIG, key=lambda name: name.endswith('_id')):  # ids are below vocab_size
        value, kind, low, high = config[name], numbers.Integral, 1, 2 ** 31 - 1
        if name.endswith('_clip'):
            kind, low = numbers.Real, 1e-9
        elif name.endswith('_id'):
            low, high = 0, config['vocab_size'] - 1
        elif name == 'num_layers':
            high = 100
        if isinstance(value, bool) or not isinstance(value, kind) or not low <= value <= high:
            return '%s is %s, not from %s to %s' % (name, json.dumps(value, default=str)[:40], low, high)
    digest = config.get('vocab_sha256')
    if digest is not None and (not isinstance(digest, type('')) or len(digest) > 64):
        return 'vocab_sha256 is %s, not a digest' % json.dumps(digest, default=str)[:40]
    return ''


def read_shape(path):
    """Shape of the float32 tensor in a file written by fluid.io.save_vars; CheckpointError if it is not a whole one.

    Layout: uint32 version, uint64 levels of LoD (0 for a parameter), uint32 tensor version, int32 length of a
    protobuf TensorDesc, the TensorDesc, the data.
    """
    tensor = framework_pb2.VarType.TensorDesc()
    try:
        with io.open(path, 'rb') as handle:
            versions_and_levels, length = struct.unpack('<16si', handle.read(20))
            if any(bytearray(versions_and_levels)) or not 0 <= length < 1024:  # a few numbers
                raise ValueError('unknown version')
            with warnings.catch_warnings(record=True) as warned:  # protobuf only warns of some damage
                warnings.simplefilter('always')
                tensor.ParseFromString(handle.read(length))
            if warned:
                raise ValueError('unknown version')
            data = os.path.getsize(path) - handle.tell()
    except (IOError, OSError) as error:
        raise CheckpointError('%s: cannot be read: %s' % (path, error.strerror))
    except (struct.error, DecodeError, ValueError):
        raise CheckpointError('%s: not a parameter saved by fluid.io.save_vars' % path)
    if tensor.data_type != framework_pb2.VarType.FP32:
        raise CheckpointError('%s: not a float32 parameter' % path)
    shape = tuple(int(size) for size in tensor.dims)
    expected = 4
    for size in shape:  # numpy's product could overflow
        expected *= max(size, 0)
    if data != expected:
        raise CheckpointError('%s: truncated or damaged: holds %d bytes of data, its shape needs %d'
                              % (path, data, expected))
    return shape


def check_files(dirname, config, shapes=None):
    """Whether a checkpoint directory, ours or the published one, perhaps of an encoder alone, has what a config needs.

    It reads bilm.json, if there is one, and the heads of the other files, so it costs nothing to ask this before a
    network is built.

    Args:
        shapes: {name: shape} of the parameters needed; None: all that the config stands for.

    Raises:
        CheckpointError: names every parameter that is missing, unexpected, damaged or of another shape.
    """
    dirname, problems = _text(dirname), []
    if os.path.exists(os.path.join(dirname, 'bilm.json')):
        saved = read_config(dirname)
        problems = _differences(saved, 'in the checkpoint', config, 'here')
    if not problems:  # otherwise the shapes would only say it again
        problems = _problems_of_files(dirname, parameter_shapes(config) if shapes is None else shapes,
                                      config['num_layers'])
    if problems:
        raise CheckpointError('%s: cannot be loaded: %s' % (dirname, '; '.join(problems)))


def _problems_of_files(dirname, shapes, num_layers):
    """What is wrong with the files of parameters of these shapes: a list of texts."""
    present, problems = set(os.listdir(dirname)), []
    if gate_name('fw', num_layers + 1) in present:
        problems.append('%s is in the checkpoint, but this network has %d layers'
                        % (gate_name('fw', num_layers + 1), num_layers))
    encoder_alone = not present & set(SOFTMAX_PARAMETERS)
    for name in sorted(set(shapes) - set(SOFTMAX_PARAMETERS if encoder_alone else ())):
        if name not in present:
            problems.append('%s is missing' % name)
            continue
        try:
            shape = read_shape(os.path.join(dirname, name))
            if shape != shapes[name]:
                problems.append('%s has shape %s in the checkpoint, %s here' % (name, list(shape), list(shapes[name])))
        except CheckpointError as error:
            problems.append(error.args[0])
    return problems


def init_pretraining_params(exe, dirname, main_program, config=None):
    """Loads the biLM's parameters of a program from a checkpoint directory, ours or the published one.

    Only parameters are read: a learning rate or moments that lie beside them are left alone. The softmax may be
    missing as a whole, as in an encoder-only checkpoint. Call it after the startup program has run.

    Args:
        exe: a fluid.Executor.
        dirname: directory with one file a parameter, as fluid.io.save_vars writes it.
        main_program: the fluid.Program, already built.
        config: sizes, as was said to emb and elmo_encoder; a bilm.json in the directory must agree. None: those of the
            program; of a clone, which does not keep them, the clips and ids are those of the published checkpoint.

    Returns:
        Sorted list of the names loaded.

    Raises:
        CheckpointError: names every parameter that is missing, unexpected, damaged or of another shape. Nothing is
            loaded then.
    """
    dirname = _text(dirname)
    shapes = {parameter.name: tuple(int(size) for size in parameter.shape)
              for parameter in main_program.all_parameters()}
    num_layers = sum(1 for name in shapes if name.startswith('fw_layer') and name.endswith('_gate_w'))
    names = set(shapes) & set(parameter_shapes(dict(PUBLISHED_CONFIG, num_layers=num_layers)))
    if TABLE not in names:
        raise CheckpointError('%s: cannot be loaded: the program has no parameter of a biLM; call emb first' % dirname)
    if not os.path.isdir(dirname):
        raise CheckpointError('%s: no such checkpoint directory' % dirname)
    inner = sorted(name for name in os.listdir(dirname) if os.path.exists(os.path.join(dirname, name, TABLE)))
    if inner and not os.path.exists(os.path.join(dirname, TABLE)):
        raise CheckpointError('%s: holds checkpoints, but is none itself; give one of them, such as %s'
                              % (dirname, os.path.join(dirname, inner[-1])))
    built = getattr(main_program, 'elmo_config', None)
    config = config or built
    differing = _differences(config, 'in config', built, 'in the program') if built else ()
    if differing:
        raise CheckpointError('%s: cannot be loaded: %s; give all the same config' % (dirname, '; '.join(differing)))
    if config is None:
        has_own = not num_layers and os.path.exists(os.path.join(dirname, 'bilm.json'))
        config = dict(read_config(dirname) if has_own else PUBLISHED_CONFIG)
        config['vocab_size'], config['embed_size'] = shapes[TABLE]
        if num_layers:
            config['hidden_size'] = shapes[gate_name('fw', 1)][1] // 4
    if num_layers:  # emb alone has none; it is layer 0 of any number
        config = dict(config, num_layers=num_layers)
    check_files(dirname, config, {name: shapes[name] for name in names})
    names = sorted(names & set(os.listdir(dirname)))
    block = main_program.global_block()
    load_vars(exe, dirname, main_program, vars=[block.var(name) for name in names])
    return names
