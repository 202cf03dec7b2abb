# -*- coding: utf-8 -*-
"""Compares the vectors of tools/embed.py with those of torch.nn.LSTM, with parameters from tools/convert.py.

    python tools/embed.py TEXT --checkpoint CHECKPOINT --vocab_path VOCABULARY --layers all --output VECTORS.npz
    python tools/convert.py to_npz CHECKPOINT PARAMETERS.npz
    .venv-torch/bin/python benchmark/torch_vectors.py TEXT VOCABULARY PARAMETERS.npz VECTORS.npz

It runs in the environment that compare.sh makes. It prints the largest difference, and exits with code 1 if that is
above 1e-4. torch's LSTM clips nothing, so the comparison is valid only if no cell and no projection reaches its clip.
"""
import io
import sys

import numpy as np
import torch

import comparison

ORDER = (1, 2, 0, 3)  # torch: input, forget, candidate, output; ours: candidate, input, forget, output


def gates(array):
    """Converts our array [..., 4 * hidden] to the layout of torch, [4 * hidden, ...]."""
    parts = np.split(array, 4, axis=-1)
    return torch.tensor(np.concatenate([parts[number] for number in ORDER], axis=-1).T.copy())


def lstm(values, gate, prefix):
    """The LSTM layer whose input weight is `gate` and whose other parameters begin with `prefix`."""
    hidden, embed = values[prefix + '.w_1'].shape
    layer = torch.nn.LSTM(embed, hidden, proj_size=embed, batch_first=True)
    with torch.no_grad():
        layer.weight_ih_l0.copy_(gates(values[gate]))
        layer.weight_hh_l0.copy_(gates(values[prefix + '.w_0']))
        layer.weight_hr_l0.copy_(torch.tensor(values[prefix + '.w_1'].T.copy()))
        layer.bias_ih_l0.copy_(gates(values[prefix + '.b_0'][0]))
        layer.bias_hh_l0.zero_()
    return layer


def main():
    text, vocabulary, parameters, vectors = sys.argv[1:]
    with io.open(vocabulary, encoding='utf-8') as handle:
        ids = {word: number for number, word in enumerate(handle.read().split())}
    values = np.load(parameters)
    num_layers = sum(name.startswith('fw_layer') for name in values.files)
    stacks = {direction: [lstm(values, '%s_layer%d_gate_w' % (direction, layer + 1), 'lstmp_%d' % (start + layer))
                          for layer in range(num_layers)] for direction, start in (('fw', 0), ('bw', num_layers))}
    table = values['embedding_para']

    def vectors_of(sentence):
        read = [ids[word] if word in ids else ids['<UNK>'] for word in ['<S>'] + sentence + ['</S>']]
        halves = []
        for direction, stack in stacks.items():
            x = torch.tensor(table[read[:-1] if direction == 'fw' else read[:0:-1]])[None]
            outputs = [x]
            for layer, cell in enumerate(stack):
                y, _ = cell(x)
                x = y + x if layer else y
                outputs.append(x)
            halves.append([output[0, 1:].numpy()[::1 if direction == 'fw' else -1] for output in outputs])
        return np.array([np.hstack(pair) for pair in zip(*halves)])

    with torch.no_grad():
        comparison.compare_vectors(text, vectors_of, np.load(vectors))


if __name__ == '__main__':
    main()
