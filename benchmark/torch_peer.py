# -*- coding: utf-8 -*-
"""The network of speed.py in PyTorch, on all cores: the same sizes, loss, clipping of gradients and optimizer.

    python benchmark/torch_peer.py [--num_samples 0] [--inference]

nn.LSTM does not clip cells or projections, so it has less work. oneDNN does not support an LSTM with projections.
"""
import os
import time
import warnings

from project import cli
import numpy as np
import torch
from torch import nn
from torch.nn import functional

from benchmark import common
from elmo.sampling import LogUniformSampler


DROPOUT, MAX_GRAD_NORM = 0.1, 10.


class LanguageModel(nn.Module):
    def __init__(self, args):
        super().__init__()
        # The embedding, then weight and bias of the softmax. All are tables: a sampled softmax uses few of their rows.
        sizes = [args.embed_size] if args.inference else [args.embed_size, args.embed_size, 1]
        self.tables = nn.ModuleList(nn.Embedding(args.vocab_size, size, sparse=True) for size in sizes)
        self.directions = nn.ModuleList(
            nn.ModuleList(nn.LSTM(args.embed_size, args.hidden_size, proj_size=args.embed_size)
                          for _ in range(args.num_layers)) for _ in ('fw', 'bw'))

    def encode(self, words):
        """Layers 0..L, each [fw, bw] of [T, B, embed_size]; words is int64 [2, T, B], the input of each direction."""
        layers = [self.tables[0](words).unbind()]
        for number in range(len(self.directions[0])):
            inputs = [functional.dropout(x, DROPOUT, self.training) for x in layers[-1]]
            outputs = [lstms[number](x)[0] for x, lstms in zip(inputs, self.directions)]
            layers.append([output + x for output, x in zip(outputs, inputs)] if number else outputs)
        return layers

    def vectors(self, words, mix, gamma):
        """ELMo's vectors of the words, [T - 1, B, 2 * embed_size]."""
        shares = gamma * mix.softmax(0)
        fw, bw = [sum(share * x[1:] for share, x in zip(shares, layers)) for layers in zip(*self.encode(words))]
        return torch.cat([fw, bw.flip(0)], dim=2)

    def loss(self, words, predicted, sampled):
        """Mean cross entropy of both directions; predicted is int64 [2 * T * B], sampled from sample() or None."""
        hidden = functional.dropout(torch.cat(self.encode(words)[-1]).flatten(0, 1), DROPOUT, self.training)
        _, weights, biases = self.tables
        if sampled is None:
            logits = functional.linear(hidden, weights.weight, biases.weight[:, 0])
            return functional.cross_entropy(logits, predicted)
        ids, log_counts, hits, sizes = sampled
        weight, true_weight = weights(ids).split(sizes)  # one lookup gives one sparse gradient
        bias, true_bias = (biases(ids)[:, 0] - log_counts).split(sizes)
        logits = torch.addmm(bias, hidden, weight.t())
        logits.index_put_(hits, torch.tensor(-np.inf), accumulate=True)  # an assignment would make a copy in backward
        true_logit = (hidden * true_weight).sum(1) + true_bias
        return (torch.logaddexp(logits.logsumexp(1), true_logit) - true_logit).mean()


def sample(sampler, random, predicted):
    """Returns (ids of candidates and true words, logs of their expected counts, (rows, columns) of hits, two sizes)."""
    candidates, draws = sampler.draw(random)
    ids, column = np.concatenate([candidates, predicted]), np.full(sampler.vocab_size, -1)
    column[candidates] = np.arange(len(candidates))
    rows, = np.nonzero(column[predicted] >= 0)
    arrays = ids, sampler.log_expected_counts(ids, draws).astype('float32'), rows, column[predicted[rows]]
    ids, log_counts, *hits = map(torch.from_numpy, arrays)
    return ids, log_counts, hits, [len(candidates), len(predicted)]


def trainer(args, model, words, predicted):
    """Returns a function that trains one step."""
    random = np.random.RandomState(0)
    sampler = LogUniformSampler(args.vocab_size, args.num_samples) if args.num_samples else None
    number = 3 if sampler else 1  # tables with sparse gradients; they come first
    parameters = list(model.parameters())
    sparse, dense = parameters[:number], parameters[number:]
    optimizer = torch.optim.Adagrad([{'params': dense, 'fused': True}, {'params': sparse}], lr=0.2,
                                    initial_accumulator_value=1.)

    def step():
        optimizer.zero_grad()
        sampled = sample(sampler, random, predicted.numpy()) if sampler else None
        (args.num_steps * model.loss(words, predicted, sampled)).backward()
        for parameter in sparse:
            parameter.grad = parameter.grad.coalesce()
        # Done by hand: clip_grad_norm_ accepts no sparse gradients.
        values = [parameter.grad for parameter in dense] + [parameter.grad.values() for parameter in sparse]
        norm = nn.utils.get_total_norm(values)
        if norm > MAX_GRAD_NORM:
            torch._foreach_mul_(values, MAX_GRAD_NORM / norm)
        optimizer.step()
    return step


def timed(function):
    start = time.time()
    function()
    return time.time() - start


def main():
    args = common.parser('Tokens a second of training or inference in PyTorch.').parse_args()
    warnings.filterwarnings('ignore', 'LSTM with projections')  # the docstring says so
    torch.sparse.check_sparse_tensor_invariants.disable()  # this is the default, but torch warns without this call
    torch.set_num_threads(os.cpu_count())
    matrix, product = torch.randn(2048, 2048), torch.empty(2048, 2048)
    best = min(timed(lambda: [torch.mm(matrix, matrix, out=product) for _ in range(8)]) for _ in range(6))
    model, text = LanguageModel(args), torch.tensor(common.sentences(args, args.batch_size)).t()
    ends = torch.zeros(1, args.batch_size, dtype=torch.int64)
    tokens, next_tokens = torch.cat([ends, text]), torch.cat([text, ends + 1])  # <S> is word 0, </S> word 1
    words = torch.stack([tokens, next_tokens.flip(0)])
    if args.inference:
        step = torch.no_grad()(lambda: model.eval().vectors(words, torch.zeros(args.num_layers + 1), torch.ones(1)))
    else:
        step = trainer(args, model, words, torch.cat([next_tokens, tokens.flip(0)]).flatten())
    seconds = [timed(step) for _ in range(args.warm_up + args.steps)]
    common.report('torch', args, seconds[args.warm_up:], gflops=8 * 2e-9 * 2048 ** 3 / best)


if __name__ == '__main__':
    cli.run(main)
