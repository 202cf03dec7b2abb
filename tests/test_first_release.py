# -*- coding: utf-8 -*-
"""Checkpoints and a tagger of the first release, before the library moved into elmo/. They load and go on as before.

first_release.zip holds a pretraining stopped after step 4, a tagger stopped after its third epoch, their texts, and
results.npz. This has the parameters at step 8 and after the training of the tagger; the first release computed them on
fluid 1.8.5. tagged.txt and tagged_after.txt are raw.txt as tagged before and after the rest of that training.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import io
import os
import zipfile

import numpy as np
import paddle
import paddle.fluid as fluid
import pytest

from project import ROOT
from helpers import refused
from elmo import arrays
from lac_finetune import tagger
from lac_finetune import train as lac_train
import args
import train

PRETRAINING = ('--train_path text.txt --test_path dev.txt --vocab_path vocabulary.txt --embed_size 4 --hidden_size 6 '
               '--batch_size 4 --num_steps 8 --dropout 0.1 --sample_softmax True --n_negative_samples_batch 9 '
               '--max_epoch 5 --max_steps 8 --log_interval 1 --curves False --use_gpu False --save_interval 4 '
               '--dev_interval 1000 --optim adagrad --learning_rate 0.2 --para_save_dir checkpoints --resume')
TAGGER = ('--train_path train.tsv --dev_path dev.tsv --test_path test.tsv --vocab_path vocabulary.txt '
          '--pretrain_elmo_model_path checkpoints --word_emb_dim 4 --grnn_hidden_dim 4 --bigru_num 2 '
          '--batch_tokens 100 --max_epoch 12 --patience 12 --log_interval 1 --use_gpu False --curves False '
          '--save_dir model --base_learning_rate 0.03 --dropout 0.1 --resume')


@pytest.fixture
def saved(tmpdir, monkeypatch):
    """results.npz; the archive is unpacked into the current directory."""
    with zipfile.ZipFile(os.path.join(ROOT, 'tests', 'first_release.zip')) as archive:
        archive.extractall(str(tmpdir))
    monkeypatch.chdir(tmpdir)
    return np.load('results.npz')


def compare(saved, prefix, directory):
    """Checks that files in a directory have the saved values, but for rounding on another CPU or release of fluid."""
    names = [name for name in saved.files if name.startswith(prefix)]
    assert names
    for name in names:
        found = arrays.open_parameter(os.path.join(directory, name[len(prefix):]))
        np.testing.assert_allclose(found, saved[name], atol=1e-5, err_msg=name)


DROPOUT = pytest.mark.skipif(paddle.__version__ >= '2', reason='fluid 2 draws other dropout masks')


def lines(path):
    with io.open(path, encoding='utf-8') as handle:
        return handle.read().splitlines()


def tag(directory):
    with fluid.scope_guard(fluid.Scope()):
        found = tagger.Tagger(directory, place=fluid.CPUPlace())(lines('raw.txt'))
    return [' '.join('%s/%s' % pair for pair in words) for words in found]


@DROPOUT
def test_pretraining_goes_on(saved):
    train.train(args.parse_args(PRETRAINING.split()))
    compare(saved, 'pretraining.', 'checkpoints/000008')
    compare(saved, 'optimizer.', 'checkpoints/000008/optimizer')


def test_a_tagger_tags(saved):
    assert tag('model') == lines('tagged.txt')


def test_the_training_of_a_tagger_does_not_go_on_with_other_layers(saved, capsys):
    with fluid.scope_guard(fluid.Scope()):
        line = refused(capsys, lambda: lac_train.train(lac_train.parse_args(TAGGER.split() + ['--elmo_layers', '0'])))
    assert '--elmo_layers all there, 0 here' in line


@DROPOUT
def test_the_training_of_a_tagger_goes_on(saved):
    with fluid.scope_guard(fluid.Scope()):
        lac_train.train(lac_train.parse_args(TAGGER.split()))
    compare(saved, 'tagger.', 'model/network')
    assert tag('model') == lines('tagged_after.txt') != lines('tagged.txt')
