# -*- coding: utf-8 -*-
"""The sampled softmax: candidates and expected counts, loss and gradients against numpy, rows that do not change."""
from __future__ import absolute_import, division, print_function, unicode_literals

import re

import numpy as np
import paddle.fluid as fluid
import pytest
from six.moves import range

from helpers import (SEVERAL_DEVICES, CONFIG, SENTENCES, Model, losses_of_steps, parameters, refused_training, run,
                     write_lines)
from args import parse_args
import bilm
from elmo.sampling import Candidates, LogUniformSampler
from elmo.text import Vocabulary
from elmo.training import TrainingProgram
import numpy_bilm
from reader import BucketedReader
import train

pytestmark = pytest.mark.usefixtures('fresh_scope')

TOKENS, NEXT_TOKENS = [np.array([[id] for sentence in SENTENCES for id in sentence[part]])
                       for part in (slice(None, -1), slice(1, None))]


def probabilities(words):
    """P(k) of the log-uniform distribution, from its cumulative distribution."""
    return np.diff([np.log(k + 1.) / np.log(words + 1.) for k in range(words + 1)])


def test_candidates_differ_and_follow_from_the_seed():
    sampler = LogUniformSampler(100, 40)
    first, again, other = [sampler.draw(np.random.RandomState(seed)) for seed in (1, 1, 2)]
    assert len(set(first.ids)) == 40 and 0 <= first.ids.min() and first.ids.max() < 100
    assert first.draws >= 40
    assert first.ids.tolist() == again.ids.tolist() and first.draws == again.draws
    assert first.ids.tolist() != other.ids.tolist()


def test_all_words_but_one_can_be_drawn():
    assert len(set(LogUniformSampler(30, 29).draw(np.random.RandomState(0)).ids)) == 29


def test_candidates_are_the_first_different_words_of_single_draws():
    """Draws one word after another from the same uniform numbers, by the cumulative distribution."""
    sampler = LogUniformSampler(50, 12)
    for seed in range(20):
        uniform, seen, draws = np.random.RandomState(seed).random_sample(10000), set(), 0
        bounds = np.cumsum(probabilities(50))
        while len(seen) < 12:
            seen.add(int(np.searchsorted(bounds, uniform[draws])))
            draws += 1
        found = sampler.draw(np.random.RandomState(seed))
        assert set(found.ids) == seen and found.draws == draws


def test_words_are_drawn_as_often_as_expected():
    sampler, random = LogUniformSampler(50, 12), np.random.RandomState(0)
    counts, expected, times = np.zeros(50), np.zeros(50), 4000
    for _ in range(times):
        ids, draws = sampler.draw(random)
        counts[ids] += 1
        expected += np.exp(sampler.log_expected_counts(np.arange(50), draws))
    np.testing.assert_allclose(counts / times, expected / times, atol=0.025)  # 3 standard deviations


def test_expected_count_of_a_hand_computed_case():
    # 3 words: P(1) = log(3/2) / log(4). The probability of at least one in 5 draws is 1 - (1 - P)^5.
    assert probabilities(3)[1] == pytest.approx(0.2924812504)
    assert np.exp(LogUniformSampler(3, 2).log_expected_counts(1, 5)) == pytest.approx(1 - 0.7075187496 ** 5)


def test_feed_tells_candidates_from_other_true_words():
    sampler = LogUniformSampler(10, 3)
    feed = sampler.feed(Candidates(np.array([0, 2, 5]), 4), {'tokens': np.array([[2], [9], [0]])})
    assert feed['tokens_missed'].tolist() == [[0], [1], [0]]
    assert feed['tokens_log_counts'][0, 0] == feed['sample_log_counts'][1, 0]
    assert sorted(feed) == ['sample_log_counts', 'samples', 'tokens_log_counts', 'tokens_missed']


class SampledModel(Model):
    """The tiny model with 8 candidates of 23 words. Some true words are candidates, some are not."""

    def __init__(self, manual_gradient=True):
        Model.__init__(self, sampled=True, manual_gradient=manual_gradient)
        self.sampler = LogUniformSampler(CONFIG['vocab_size'], 8)
        self.candidates = self.sampler.draw(np.random.RandomState(3))
        self.feed = self.sampler.feed(self.candidates, {'tokens': TOKENS, 'next_tokens': NEXT_TOKENS})
        assert set(self.feed['tokens_missed'][:, 0]) == set(self.feed['next_tokens_missed'][:, 0]) == {0, 1}

    def expected(self):
        """The losses by numpy: a softmax over the true word and the other candidates, forward and backward."""
        probability = probabilities(CONFIG['vocab_size'])
        correction = np.log(1 - (1 - probability) ** self.candidates.draws)
        result = [[], []]
        for ids in SENTENCES:
            for part, (direction, read, predicted) in enumerate((('fw', ids[:-1], ids[1:]), ('bw', ids[1:], ids[:-1]))):
                hidden = numpy_bilm.layer_outputs(read, direction, self.values, CONFIG)[-1]
                logits = hidden.dot(self.values['softmax_weight'].T) + self.values['softmax_bias'] - correction
                for row, true in zip(logits, predicted):
                    chosen = [true] + [id for id in self.candidates.ids if id != true]
                    result[part].append(np.log(np.exp(row[chosen]).sum()) - row[true])
        return result


@pytest.mark.parametrize('manual_gradient', [False, True])
def test_loss_equals_numpy(manual_gradient):
    model = SampledModel(manual_gradient)
    for loss, expected in zip(model.run(model.losses, **model.feed), model.expected()):
        np.testing.assert_allclose(loss[:, 0], expected, atol=1e-5)


@pytest.mark.parametrize('name', ['embedding_para', 'fw_layer1_gate_w', 'lstmp_3.w_1', 'softmax_weight',
                                  'softmax_bias'])
@pytest.mark.parametrize('manual_gradient', [False, True])
def test_gradient_equals_finite_differences_of_numpy(name, manual_gradient):
    model = SampledModel(manual_gradient)
    gradient = model.gradient(name, **model.feed)
    value, random, step = model.values[name], np.random.RandomState(1), 1e-5
    for _ in range(10):
        index = tuple(random.randint(size) for size in value.shape)
        middle, losses = value[index], []
        for change in (step, -step):
            value[index] = middle + change
            losses.append(sum(map(sum, model.expected())))
        value[index] = middle
        np.testing.assert_allclose(gradient[index], (losses[0] - losses[1]) / (2 * step), atol=1e-5)


@pytest.mark.parametrize('manual_gradient', [False, True])
@pytest.mark.parametrize('low', [-70., -300.])  # the exp of 300 overflows
def test_a_large_loss_is_exact_and_has_a_gradient(manual_gradient, low):
    model = SampledModel(manual_gradient)
    bias = model.values['softmax_bias']
    bias[:] = low  # all words except one candidate are very unlikely
    bias[model.candidates.ids[0]] = 0.
    fluid.global_scope().find_var('softmax_bias').get_tensor().set(bias.astype('float32'), fluid.CPUPlace())
    for loss, expected in zip(model.run(model.losses, **model.feed), model.expected()):
        assert np.max(expected) > -low - 10
        np.testing.assert_allclose(loss[:, 0], expected, rtol=1e-5, atol=1e-5)
    gradient = model.gradient('softmax_bias', **model.feed)
    assert np.isfinite(gradient).all() and np.abs(gradient).max() > 1


@pytest.mark.parametrize('optim', ['adagrad', 'adam', 'sgd'])
def test_only_the_rows_in_use_are_updated(corpus, optim):
    vocabulary = Vocabulary(corpus.vocab_path)
    args = parse_args(corpus.flags(optim=optim, dropout=0, sample_softmax=True, n_negative_samples_batch=4))
    config = dict(bilm.PUBLISHED_CONFIG, vocab_size=len(vocabulary), embed_size=2, hidden_size=3)
    exe, program = fluid.Executor(fluid.CPUPlace()), TrainingProgram(config, args, [fluid.CPUPlace()])
    exe.run(program.startup)

    def weight():
        return np.array(fluid.global_scope().find_var('softmax_weight').get_tensor())

    path = write_lines(corpus.directory.join('one.txt'), ['词1 词3'])
    touched, before = set(), weight()
    for step in range(3):
        batch = next(BucketedReader([path], vocabulary, 60).epoch(BucketedReader.start()))
        feed, = program.feed(batch, step)
        touched |= set(feed['samples'][:, 0]) | set(vocabulary.ids(['<S>', '</S>', '词1', '词3']))
        exe.run(program.whole, feed=feed, fetch_list=[])
    changed = {row for row in range(len(vocabulary)) if (weight()[row] != before[row]).any()}
    assert changed == touched and len(touched) < len(vocabulary)
    operators = {op.type for op in program.whole.global_block().ops}
    assert not operators & {'expand', 'one_hot', 'softmax', 'softmax_with_cross_entropy'}


@SEVERAL_DEVICES
@pytest.mark.parametrize('optim', ['adagrad', 'adam'])
def test_several_devices_train_alike(corpus, monkeypatch, optim):
    flags = {'optim': optim, 'learning_rate': 0.2 if optim == 'adagrad' else 0.01, 'sample_softmax': True,
             'n_negative_samples_batch': 6}
    one, _ = losses_of_steps(corpus, 1, monkeypatch, **flags)
    for num_devices in (2, 4, 8):
        np.testing.assert_allclose(losses_of_steps(corpus, num_devices, monkeypatch, **flags)[0], one, atol=1e-4)


def test_full_softmax_perplexity_of_the_dev_text_falls_alike(corpus, capsys):
    falls = []
    for sampled in (False, True):
        directory = str(corpus.directory.join('run%s' % sampled))
        run(corpus, max_epoch=6, sample_softmax=sampled, n_negative_samples_batch=10,
            save_dir=directory)
        lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith('dev ')]
        falls.append([float(re.search(r'perplexity ([\d.]+)', line).group(1)) for line in lines])
    full, sampled = falls
    assert full[-1] < 0.95 * full[0] and sampled[-1] < 0.95 * sampled[0]
    np.testing.assert_allclose(sampled, full, rtol=0.1)


def test_more_candidates_than_words_are_refused(corpus, capsys):
    line = refused_training(corpus, capsys, sample_softmax=True, n_negative_samples_batch=20)
    assert '--n_negative_samples_batch 20' in line and '20 words' in line
    assert not corpus.directory.join('checkpoints').check()


def test_sampling_is_the_default_of_a_large_vocabulary(corpus, capsys, monkeypatch):
    built = []
    monkeypatch.setattr(train, 'TrainingProgram', lambda config, args, *_: built.append(args.sample_softmax) or 1 / 0)
    for number in (5, 6):
        with pytest.raises(ZeroDivisionError):
            train.train(parse_args(corpus.flags(n_negative_samples_batch=number)))
    assert built == [True, False]  # the vocabulary has 20 words


def test_a_run_goes_on_with_the_same_candidates(corpus):
    flags = dict(max_epoch=1, sample_softmax=True, n_negative_samples_batch=5)
    whole, parts = [str(corpus.directory.join(name)) for name in ('whole', 'parts')]
    run(corpus, save_dir=whole, max_steps=4, **flags)
    run(corpus, save_dir=parts, max_steps=2, **flags)
    run(corpus, save_dir=parts, load_dir=parts, max_steps=4, **flags)
    one, other = [parameters('%s/000004' % path) for path in (whole, parts)]
    assert all((one[name] == other[name]).all() for name in one)
