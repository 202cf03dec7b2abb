# -*- coding: utf-8 -*-
"""A biLM in numpy, written from the equations, for one sentence at a time. The tests compare bilm.py with it."""
from __future__ import absolute_import, division, print_function, unicode_literals

import numpy as np


def sigmoid(x):
    return 1. / (1. + np.exp(-x))


def lstmp(x, gate_w, w_recurrent, w_projection, bias, cell_clip, proj_clip):
    """LSTM with projection (Sak et al. 2014), no peepholes. x: [T, embed]; returns [T, embed]."""
    hidden = w_projection.shape[0]
    cell, projection = np.zeros(hidden), np.zeros(w_projection.shape[1])
    outputs = []
    for row in x:
        candidate, i, f, o = np.split(row.dot(gate_w) + projection.dot(w_recurrent) + bias[0], 4)
        cell = np.clip(sigmoid(f) * cell + sigmoid(i) * np.tanh(candidate), -cell_clip, cell_clip)
        projection = np.clip((sigmoid(o) * np.tanh(cell)).dot(w_projection), -proj_clip, proj_clip)
        outputs.append(projection)
    return np.array(outputs)


def layer_outputs(ids, direction, values, config):
    """Outputs of layers 0..L of one direction for the ids it reads (in reading order): list of [T, embed]."""
    values = {name: np.asarray(value, 'float64') for name, value in values.items()}
    x = values['embedding_para'][np.asarray(ids)]
    if direction == 'bw':
        x = x[::-1]
    outputs = [x]
    for layer in range(1, config['num_layers'] + 1):
        number = layer - 1 + (config['num_layers'] if direction == 'bw' else 0)
        projection = lstmp(x, values['%s_layer%d_gate_w' % (direction, layer)],
                           *[values['lstmp_%d.%s' % (number, part)] for part in ('w_0', 'w_1', 'b_0')],
                           cell_clip=config['cell_clip'], proj_clip=config['proj_clip'])
        x = projection if layer == 1 else projection + x
        outputs.append(x)
    return [output[::-1] for output in outputs] if direction == 'bw' else outputs


def cross_entropy(ids, values, config):
    """Cross entropies of the forward and of the backward predictions of <S> w_1 … w_n </S>: two arrays [n + 1]."""
    losses = []
    for direction, read, predicted in (('fw', ids[:-1], ids[1:]), ('bw', ids[1:], ids[:-1])):
        hidden = layer_outputs(read, direction, values, config)[-1]
        logits = hidden.dot(np.asarray(values['softmax_weight'], 'float64').T) + values['softmax_bias']
        logits -= logits.max(axis=1, keepdims=True)
        log_probabilities = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        losses.append(-log_probabilities[np.arange(len(predicted)), predicted])
    return losses
