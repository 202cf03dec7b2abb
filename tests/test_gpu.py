# -*- coding: utf-8 -*-
"""A device computes what the CPU computes. The device is the first GPU; without one the CPU is compared with itself.

The random numbers of a GPU are not those of the CPU. So both load their initial values from one checkpoint, and there
is no dropout where they are compared.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import io
import os
import re

from helpers import (ADAGRAD, SEVERAL_DEVICES, TAGGED, Training, last, losses, losses_on, make_checkpoint, run,
                     tagger_flags, write_lines)
import numpy as np
import paddle.fluid as fluid
import pytest

import bilm
from args import parse_args
from benchmark import common
from elmo import devices, release
from elmo.embedder import Embedder
from elmo.release import load_vars, save_vars
from elmo.text import Vocabulary
from elmo.training import TrainingProgram
from lac_finetune import tagger, train
from lac_finetune.reader import read_tagged
from reader import BucketedReader

CPU, PLACES = fluid.CPUPlace(), devices.places()
# The largest difference of a GPU, relative and absolute. It adds float32 numbers in another order than the CPU, and
# with atomic additions in another one each time, which should change values by about 1e-6. Training hardly enlarges
# that: on the CPU, initial values that are off by 1e-6 change the losses of twenty steps by at most 1e-6. If they are
# off by 5e-4, as with TF32, the losses change by 2.4e-5 or more.
TOLERANCE = 1e-5


def is_gpu(place):
    return isinstance(place, fluid.CUDAPlace)


@pytest.fixture(params=PLACES[:1], ids=['gpu' if is_gpu(PLACES[0]) else 'cpu'])
def device(request, monkeypatch):
    """The place that is compared with the CPU; its kind stands in the names of the tests."""
    monkeypatch.setenv('FLAGS_selected_gpus', '0')  # train.py would take all GPUs
    release.allow_tf32(False)
    yield request.param
    release.allow_tf32(True)


@pytest.fixture
def start(corpus):
    """A checkpoint with initial values, for the vocabulary of the corpus."""
    make_checkpoint(corpus.directory.join('start'), Vocabulary(corpus.vocab_path))
    return str(corpus.directory.join('start'))


def assert_close(device, found, expected):
    """Compares two arrays, which are not of one number alone; the CPU must give the same bits again."""
    assert np.ptp(expected) > 0
    if is_gpu(device):
        np.testing.assert_allclose(found, expected, rtol=TOLERANCE, atol=TOLERANCE)
    else:
        np.testing.assert_array_equal(found, expected)


SAMPLED = dict(sample_softmax=True, n_negative_samples_batch=6)


@pytest.mark.parametrize('flags', [
    ADAGRAD, dict(SAMPLED, linear_decay=True, **ADAGRAD), dict(optim='sgd', learning_rate=0.05),
    dict(optim='adam', learning_rate=0.01), dict(optim='rmsprop', learning_rate=0.01)],
    ids=['adagrad', 'sampled', 'sgd', 'adam', 'rmsprop'])
def test_the_losses_of_twenty_steps(corpus, start, device, flags):
    found, expected = [losses_on([place], corpus, 20, start, **flags)[0] for place in (device, CPU)]
    assert expected[-5:].mean() < expected[:5].mean() - 0.05  # it learns
    assert_close(device, found, expected)


@SEVERAL_DEVICES
def test_two_devices_of_one_process_train_like_one(corpus, start, device):
    """Two GPUs, or two CPU replicas where there are not so many."""
    two = PLACES[:2] if is_gpu(device) and len(PLACES) > 1 else fluid.cpu_places(2)
    several, tokens = losses_on(two, corpus, 20, start)
    assert any(len(set(shares)) > 1 for shares in tokens)  # they have different numbers of tokens
    np.testing.assert_allclose(several, losses_on([device], corpus, 20, start)[0],
                               rtol=TOLERANCE if is_gpu(device) else 1e-6)


def test_two_devices_train_like_one(corpus, start, device):
    """As users start it, on two GPUs, or two CPU replicas where there are not so many."""
    on_gpus = is_gpu(device) and len(PLACES) > 1
    flags = dict(SAMPLED, dropout=0, init_from=start, max_epoch=3)
    run(corpus, save_dir=corpus.directory.join('one'), batch_size=8, use_gpu=is_gpu(device), **flags)
    code, output, errors = Training(corpus, 2, save_dir=corpus.directory.join('two'), batch_size=4, use_gpu=on_gpus,
                                    **flags).end()
    assert code == 0 and output.startswith('2 %s, ' % ('GPU' if on_gpus else 'CPU')), errors
    one, two = losses(corpus, 'one'), losses(corpus, 'two')
    assert len(one) == 21
    np.testing.assert_allclose(two, one, rtol=TOLERANCE)


@pytest.mark.parametrize('hidden_size', [6, 1100])  # a block of a GPU has at most 1024 threads
def test_the_vectors_of_elmo(corpus, device, hidden_size):
    vocabulary, path = Vocabulary(corpus.vocab_path), corpus.directory.join('untrained')
    make_checkpoint(path, vocabulary, hidden_size=hidden_size, cell_clip=0.3, proj_clip=0.15)
    with io.open(corpus.test_path, encoding='utf-8') as lines:
        sentences = [line.split() for line in lines]
    for text in (sentences, sentences[:1]):
        found, expected = [Embedder(str(path), vocabulary, 'all', place=place)(text) for place in (device, CPU)]
        assert [vectors.shape for vectors in found] == [(3, len(sentence), 8) for sentence in text]
        for one, other in zip(found, expected):
            assert_close(device, one, other)


def tagger_losses(task, place, start):
    """The losses of five epochs of training the tagger; saves initial values to a directory, or loads those in it."""
    args = train.parse_args(tagger_flags(task, use_gpu=is_gpu(place), dropout=0, base_learning_rate=0.01))
    losses = []
    with fluid.scope_guard(fluid.Scope()):
        trainer = train.Trainer(train.Job(args))
        share = load_vars if os.path.exists(start) else save_vars
        share(trainer.exe, start, trainer.program, vars=trainer.program.all_parameters())
        for epoch in range(5):
            trainer.state['epoch'] = epoch  # the order of the sentences follows from it
            losses += [trainer.executor.run([trainer.loss], [feed])[0] for feed in trainer.batches()]
    return np.array(losses)


def test_the_losses_of_the_tagger(task, device):
    expected, found = [tagger_losses(task, place, str(task.join('start'))) for place in (CPU, device)]
    assert len(expected) == 20 and expected[-4:].mean() < expected[:4].mean() - 0.3
    assert_close(device, found, expected)


def test_the_tags_of_a_tagger_trained_on_the_device(task, device):
    with fluid.scope_guard(fluid.Scope()):
        train.train(train.parse_args(tagger_flags(task, use_gpu=is_gpu(device), max_epoch=8, base_learning_rate=0.03,
                                                  word_emb_dim=16, grnn_hidden_dim=16)))
    texts = [''.join(sentence.words) for sentence in read_tagged(os.path.join(TAGGED, 'train.tsv'))[0]]
    tagged = []
    for place in (device, CPU):
        with fluid.scope_guard(fluid.Scope()):
            tagged.append(tagger.Tagger(str(task.join('model')), place=place)(texts))
    assert tagged[0] == tagged[1]
    assert len({tag for words in tagged[0] for _, tag in words}) > 5


def memory_mb(device):
    """What this process holds: MB in the memory of the host, and of the GPU."""
    with io.open('/proc/self/status', encoding='utf-8') as status:
        resident = re.search(r'VmRSS:\s*(\d+) kB', status.read()).group(1)
    return np.array([int(resident) / 1024, common.gpu_memory_mb() if is_gpu(device) else 0])


def test_memory_does_not_grow_after_the_first_steps(corpus, device):
    words = ['<S>', '</S>', '<UNK>'] + ['w%d' % number for number in range(2000)]
    vocabulary = Vocabulary(write_lines(corpus.directory.join('words.txt'), words))
    text = write_lines(corpus.directory.join('text.txt'), [' '.join(words[3 + row:13 + row]) for row in range(50)])
    config = dict(bilm.PUBLISHED_CONFIG, vocab_size=len(words), embed_size=8, hidden_size=16)
    reader = BucketedReader([text], vocabulary, 550, 1)
    with fluid.scope_guard(fluid.Scope()):
        program = TrainingProgram(config, parse_args(corpus.flags()), [device])
        fluid.Executor(device).run(program.startup)
        batch, held = next(reader.epoch(reader.start())), []
        for step in range(200):
            if step in (100, 199):  # malloc keeps memory, and takes more at first
                held.append(memory_mb(device))
            program.run(program.feed(batch, step))
    logits = 4 * batch.num_tokens * len(words) / 2. ** 20  # MB; one direction has that much of them
    assert logits > 3 and (held[1] - held[0] < 10 * logits).all(), held


@pytest.mark.parametrize('dropout', [0, 0.1])
def test_a_run_that_changes_its_device_goes_on(corpus, start, device, dropout):
    """With dropout, whose masks a GPU does not share with the CPU, the run stays on the device and is only stopped."""
    there = dict(SAMPLED, dropout=dropout, init_from=start, max_epoch=2, use_gpu=is_gpu(device))
    here = there if dropout else dict(there, use_gpu=False)
    run(corpus, save_dir=corpus.directory.join('whole'), **here)
    for max_steps, flags in ((3, there), (6, here), (0, there)):
        run(corpus, max_steps=max_steps, resume=True, **flags)
    found, expected = last(corpus), last(corpus, 'whole')
    assert int(corpus.directory.join('checkpoints', 'latest').read()) > 8
    for name in expected:
        assert_close(device, found[name], expected[name])
