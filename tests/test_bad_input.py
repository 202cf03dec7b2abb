# -*- coding: utf-8 -*-
"""Bad input and use: one line on stderr says what, where and what to do. The exit code is 2. Nothing is written."""
from __future__ import absolute_import, division, print_function, unicode_literals

import errno
import io
import json
import os
import shutil
import sys

import paddle.fluid as fluid
import pytest
import six

from project import ROOT
from helpers import refused, refused_training, run_command, write_lines
from args import parse_args
from elmo import checkpoint, cli
from elmo.text import list_files
from reader import BucketedReader
from tools import evaluate
import train

pytestmark = pytest.mark.usefixtures('fresh_scope')


@pytest.mark.parametrize('flag, value', [
    ('batch_size', '0'), ('batch_size', '-1'), ('batch_size', '1.5'), ('num_steps', '0'), ('embed_size', '0'),
    ('hidden_size', 'x'), ('num_layers', '0'), ('dropout', '1'), ('dropout', '-0.1'), ('dropout', 'nan'),
    ('learning_rate', '0'), ('learning_rate', 'inf'), ('max_grad_norm', '0'), ('cell_clip', '-3'), ('proj_clip', '0'),
    ('max_epoch', '0'), ('max_steps', '-1'), ('log_interval', '0'), ('save_interval', '0'), ('dev_interval', '0'),
    ('keep_checkpoints', '0'), ('random_seed', '-1'), ('use_gpu', 'maybe'), ('optim', 'lion'), ('unknown_flag', '1'),
    ('learning', '0.1'),  # an abbreviation is refused
])
def test_flags(corpus, capsys, flag, value):
    line = refused_training(corpus, capsys, **{flag: value})
    assert '--' + flag in line and value in line
    assert not corpus.directory.join('checkpoints').check()


@pytest.mark.parametrize('optim', ['sgd', 'rmsprop'])
def test_an_optimizer_that_has_no_learning_rate(corpus, capsys, optim):
    line = refused_training(corpus, capsys, optim=optim, learning_rate=None)
    assert '--optim %s wants --learning_rate' % optim in line


def test_boolean_flags():
    assert [cli.boolean(text) for text in ('True', 'true', '1', 'False', 'false', '0')] == [True] * 3 + [False] * 3


def test_both_ways_of_loading(corpus, capsys):
    assert '--resume_from' in refused_training(corpus, capsys, load_dir='a', load_pretraining_params='b')


@pytest.mark.skipif(fluid.is_compiled_with_cuda(), reason='needs a fluid without CUDA')
def test_use_gpu_without_cuda(corpus, capsys):
    assert 'without CUDA' in refused_training(corpus, capsys, use_gpu=True)


@pytest.mark.parametrize('number', ['0', '-1', 'two', ''] + ['²'] * six.PY3)
def test_cpu_num(corpus, capsys, monkeypatch, number):
    monkeypatch.setenv('CPU_NUM', number)
    assert 'CPU_NUM=' + number in refused_training(corpus, capsys)


@pytest.mark.parametrize('flag', ['train_path', 'test_path', 'vocab_path'])
def test_files_that_are_not_there_empty_or_not_utf8(corpus, capsys, flag):
    path = str(corpus.directory.join('bad.txt'))
    assert path in refused_training(corpus, capsys, **{flag: path})
    open(path, 'wb').close()
    assert path in refused_training(corpus, capsys, **{flag: path})
    with open(path, 'wb') as handle:
        handle.write('词0\n'.encode('utf-8') + '词1 词2'.encode('gb18030') + b'\n')
    assert path + ':2: not UTF-8' in refused_training(corpus, capsys, **{flag: path})
    assert not corpus.directory.join('checkpoints', 'latest').check()


def test_a_bad_line_far_into_the_text_costs_no_step(corpus, capsys, monkeypatch):
    monkeypatch.setattr(train, 'BucketedReader', lambda *args, **kwargs: BucketedReader(
        *args, **dict(kwargs, buffer_tokens=100)))
    with open(str(corpus.directory.join('train', 'part1.txt')), 'ab') as handle:
        handle.write(b'\xff\n')
    assert ':31: not UTF-8' in refused_training(corpus, capsys)
    state = json.loads(corpus.directory.join('checkpoints', '%06d' % int(
        corpus.directory.join('checkpoints', 'latest').read()), 'train_state.json').read())
    assert state['step'] >= 3 and state['position']['epoch'] == 0


def test_glob_without_a_match_and_empty_directory(corpus, capsys):
    corpus.directory.mkdir('empty')
    for path in (str(corpus.directory.join('part*')), str(corpus.directory.join('empty'))):
        assert path + ': no file matches' in refused_training(corpus, capsys, train_path=path)


def test_an_unreadable_file_among_others(corpus, capsys):
    path = str(corpus.directory.join('train', 'link'))
    os.symlink('nowhere', path)
    assert path + ': cannot be read: it is a link to nowhere' in refused_training(corpus, capsys)


def test_vocabulary(corpus, capsys):
    path = write_lines(corpus.directory.join('bad.txt'), ['<S>', '</S>', '<UNK>', '的', '的'])
    assert path + ':5: ' in refused_training(corpus, capsys, vocab_path=path)


def test_save_dir_that_cannot_be_written(corpus, capsys):
    path = os.path.join(write_lines(corpus.directory.join('file'), ['x']), 'checkpoints')
    assert path in refused_training(corpus, capsys, save_dir=path)


@pytest.fixture
def trained(corpus):
    train.train(parse_args(corpus.flags(max_steps=1)))
    return checkpoint.find(str(corpus.directory.join('checkpoints')))


def test_a_directory_with_another_run_is_left_alone(corpus, capsys, trained):
    before = sorted(os.listdir(os.path.dirname(trained)))
    assert 'another run' in refused_training(corpus, capsys)
    elsewhere = str(corpus.directory.join('elsewhere'))
    shutil.copytree(os.path.dirname(trained), elsewhere)
    assert 'another run' in refused_training(corpus, capsys, load_dir=elsewhere)
    assert sorted(os.listdir(os.path.dirname(trained))) == before


def test_checkpoints_that_do_not_fit(corpus, capsys, trained):
    other = str(corpus.directory.join('other'))

    def line(**flags):
        return refused_training(corpus, capsys, save_dir=other, **flags)

    for load in ('load_dir', 'load_pretraining_params'):
        found = line(hidden_size=9, **{load: trained})
        assert 'hidden_size is 6 in the checkpoint, 9 here' in found
        words = ['<S>', '</S>', '<UNK>'] + ['字%d' % number for number in range(17)]
        vocabulary = write_lines(corpus.directory.join('other.txt'), words)
        found = line(vocab_path=vocabulary, **{load: trained})
        assert 'vocab_sha256' in found and vocabulary in found
        vocabulary = write_lines(corpus.directory.join('other.txt'), words[:10])
        found = line(vocab_path=vocabulary, **{load: trained})
        assert 'vocab_size is 20 there, 10 here' in found
        assert str(corpus.directory) in line(**{load: str(corpus.directory)})
        assert 'nowhere' in line(**{load: 'nowhere'})
    for flag, value in (('optim', 'sgd'), ('batch_size', 5), ('random_seed', 3), ('num_steps', 9)):
        found = line(load_dir=trained, **{flag: value})
        assert flag in found and str(value) in found
    assert 'train_path' in line(load_dir=trained, train_path=corpus.test_path)
    os.remove(os.path.join(trained, 'optimizer', 'lstmp_0.w_0_moment1_0'))
    assert 'lstmp_0.w_0_moment1_0: is missing' in line(load_dir=trained)
    os.remove(os.path.join(trained, 'lstmp_0.w_0'))
    assert 'lstmp_0.w_0 is missing' in line(load_pretraining_params=trained)


def test_an_error_of_the_system_is_one_line(tmpdir, capsys, monkeypatch):
    """As of a directory that another user owns, which root can read."""
    def refuse(path):
        raise OSError(errno.EACCES, 'Permission denied', path)

    monkeypatch.setattr(os, 'listdir', refuse)
    line = refused(capsys, lambda: list_files(str(tmpdir)))
    assert line.endswith('error: %s: Permission denied' % tmpdir)


def test_a_system_that_has_no_memory_is_one_line(capsys):
    def refuse():
        raise OSError(errno.ENOMEM, 'Cannot allocate memory')  # as os.fork does

    assert 'error: not enough memory (' in refused(capsys, refuse)


def test_evaluate(corpus, capsys, monkeypatch, trained):
    def line(**flags):
        values = dict(checkpoint=trained, test_path=corpus.test_path, vocab_path=corpus.vocab_path, use_gpu='False')
        values.update(flags)
        monkeypatch.setattr('sys.argv', ['evaluate.py'] + [
            text for name, value in values.items() for text in ('--' + name, value)])
        return refused(capsys, evaluate.main)

    assert 'nowhere' in line(checkpoint='nowhere')
    assert 'holds no checkpoint' in line(checkpoint=str(corpus.directory))
    assert 'none.txt' in line(test_path='none.txt')
    assert 'batch_tokens' in line(batch_tokens='0')
    unwritable = os.path.join(corpus.test_path, 'table.tsv')
    assert unwritable in line(per_sentence=unwritable)
    before = io.open(corpus.test_path, 'rb').read()
    for path in (corpus.test_path, corpus.vocab_path):
        assert '--per_sentence %s: is input' % path in line(per_sentence=path)
    assert io.open(corpus.test_path, 'rb').read() == before
    os.remove(os.path.join(trained, 'softmax_weight'))
    assert 'softmax_weight is missing' in line()
    os.remove(os.path.join(trained, 'softmax_bias'))
    assert 'no softmax' in line()
    with open(os.path.join(trained, 'bilm.json'), 'w') as handle:
        handle.write('{"embed_size": 4}')
    assert 'bilm.json' in line()


@pytest.mark.parametrize('script', ['train.py', 'tools/evaluate.py'])
def test_as_a_command(corpus, script):
    code, output, errors = run_command([sys.executable, os.path.join(ROOT, script), '--use_gpu', 'vielleicht',
                                        '--test_path', '没有'])
    assert code == 2 and not output
    name = os.path.basename(script)
    assert errors.splitlines() == [
        "%s: error: argument --use_gpu: expected True or False, got 'vielleicht' (see %s --help)" % (name, name)]
