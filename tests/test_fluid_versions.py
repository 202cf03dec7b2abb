# -*- coding: utf-8 -*-
"""One release of fluid uses a checkpoint that another release has saved.

tests/fluid_VERSION.zip holds a checkpoint, and the results that the release which saved it computed from it.
`python tests/test_fluid_versions.py` makes the file of the installed fluid.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import io
import os
import shutil
import zipfile

import numpy as np
import paddle
import paddle.fluid as fluid
import py
import pytest

from project import ROOT
from helpers import ADAGRAD, Corpus, parameters, run
from elmo import checkpoint, devices
from elmo.embedder import Embedder
from elmo.evaluator import Evaluator
from elmo.text import Vocabulary
from reader import BucketedReader

STEPS = dict(ADAGRAD, dropout=0, max_epoch=5)  # Adam amplifies small rounding differences


def results(corpus, directory):
    """From the checkpoint 000004 in `directory`: vectors and losses of the dev text, and parameters 4 steps later."""
    vocabulary, path = Vocabulary(corpus.vocab_path), os.path.join(directory, '000004')
    with io.open(corpus.test_path, encoding='utf-8') as handle:
        sentences = [line.split() for line in handle]
    encoder = Embedder(path, vocabulary, layers='all')
    found = {'vectors': np.concatenate(encoder(sentences), axis=1)}
    reader = BucketedReader([corpus.test_path], vocabulary, 100, shuffle=False)
    evaluator = Evaluator(encoder.config, reader, devices.places(False))
    with fluid.scope_guard(fluid.Scope()):
        checkpoint.load_parameters(fluid.Executor(fluid.CPUPlace()), path, evaluator.program, encoder.config,
                                   vocabulary)
        found['losses'] = np.concatenate([losses for _, _, losses in evaluator.sentences()])
    run(corpus, max_steps=8, load_dir=path, **dict(STEPS, save_dir=directory))
    found.update(parameters(os.path.join(directory, '000008')))
    return found


def archive(version):
    return os.path.join(ROOT, 'tests', 'fluid_%s.zip' % version)


@pytest.mark.parametrize('version', ['1.8.5', '2.4.2', '2.5.2'])
def test_a_checkpoint_of_any_release_gives_the_same(corpus, version):
    with zipfile.ZipFile(archive(version)) as saved:
        saved.extractall(str(corpus.directory))
    expected = np.load(str(corpus.directory.join('results.npz')))
    found = results(corpus, str(corpus.directory.join('checkpoints')))
    assert set(found) == set(expected.files)
    for name in found:
        np.testing.assert_allclose(found[name], expected[name], atol=1e-5, err_msg=name)


def save():
    """Makes tests/fluid_VERSION.zip."""
    corpus = Corpus(py.path.local.mkdtemp())
    try:
        run(corpus, max_steps=4, **STEPS)
        with corpus.directory.as_cwd(), \
                zipfile.ZipFile(archive(paddle.__version__), 'w', zipfile.ZIP_DEFLATED) as output:
            for file in corpus.directory.join('checkpoints', '000004').visit(lambda file: file.isfile()):
                output.write(file.relto(corpus.directory))
            np.savez('results.npz', **results(corpus, 'checkpoints'))
            output.write('results.npz')
    finally:
        shutil.rmtree(str(corpus.directory))


if __name__ == '__main__':
    save()
