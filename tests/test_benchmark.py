# -*- coding: utf-8 -*-
"""The scripts of benchmark/: their tables, the tasks that they make, what they compute, bad input."""
from __future__ import absolute_import, division, print_function, unicode_literals

import io
import json
import os
import re
import subprocess
import sys

import numpy as np
import paddle.fluid as fluid
import pytest

from project import ROOT
from helpers import (TAGGED, children, make_checkpoint, refused, rounded, run, tagger_flags, wait_until,
                     write_lines)
import bilm
from benchmark import (common, comparison, gains, lac_gain, perplexity, quality, reader_speed, reviews, rounding,
                       scaling, speed, table, ud)
from bilm import ops
from elmo import Embedder, checkpoint, to_lod
from elmo.arrays import open_parameter, write_parameter
from elmo.text import Vocabulary
from lac_finetune import train
from lac_finetune.reader import Units, read_tagged
from tools import evaluate


def output_of(main, arguments, monkeypatch, capsys):
    """The lines that a command prints."""
    monkeypatch.setattr(sys, 'argv', ['command'] + list(map(str, arguments)))
    capsys.readouterr()
    with fluid.scope_guard(fluid.Scope()):
        main()
    return capsys.readouterr().out.splitlines()


def test_gains_by_hand():
    assert gains.head('texts', ['without', 'layer0', 'all']).splitlines() == [
        '| texts | without ELMo | layer 0 | with ELMo | gain over without ELMo | standard deviation of the gain '
        '| gain over layer 0 | standard deviation of the gain |', '|---|---:|---:|---:|---:|---:|---:|---:|']
    scores = [80, 82], [81, 85], [84, 90]  # gains 4 and 8 over the first, 3 and 5 over the second
    assert gains.row('all', scores) == '| all | 81.00 | 83.00 | 87.00 | +6.00 | 2.83 | +4.00 | 1.41 |'
    assert gains.row(9, [[2.5], [1]]) == '| 9 | 2.50 | 1.00 | -1.50 |  |'


class Runs(object):
    """Stands for subprocess.call: a run of lac_finetune/train.py ends at once, with this test F1."""

    def __init__(self, scores):
        self.scores, self.flags, self.code = scores, [], 0

    def __call__(self, command, **options):
        flags = dict(zip(command[2::2], command[3::2]))
        self.flags.append(flags)
        if not self.code:
            os.makedirs(flags['--save_dir'])
            f1 = self.scores[flags.get('--use_elmo', 'True'), flags.get('--elmo_layers', 'all')]
            settings = {'test_f1': f1 + int(flags['--random_seed']), 'flags': vars(train.parse_args(command[2:]))}
            write_lines(os.path.join(flags['--save_dir'], 'settings.json'), [json.dumps(settings)])
        return self.code


@pytest.mark.parametrize('difference, code', [(0., 0), (9e-5, 0), (2e-4, 1), (np.nan, 1)])
def test_vectors_are_compared(tmpdir, difference, code):
    text = write_lines(tmpdir.join('text'), ['a b', 'c'])
    expected = {'0': np.zeros([3, 2, 4]), '1': np.zeros([3, 1, 4])}
    with pytest.raises(SystemExit) as error:
        comparison.compare_vectors(text, lambda sentence: np.full([3, len(sentence), 4], difference), expected)
    assert error.value.code == code


def test_each_variant_of_the_tagger_is_a_run(tmpdir, monkeypatch, capsys):
    runs = Runs({('False', 'all'): 80, ('True', '0'): 84, ('True', 'all'): 90})
    monkeypatch.setattr(subprocess, 'call', runs)
    common = ['--elmo_checkpoint', 'elmo', '--output', tmpdir.join('gain'), '--sentences', '0', '5', '--data', 'ner']
    more = ['--', '--max_epoch', '2']
    lines = output_of(lac_gain.main, common + more, monkeypatch, capsys)
    assert lines[-4:-2] == gains.head('sentences', ['without', 'all']).splitlines()
    assert lines[-2:] == ['| %s | 82.00 | 92.00 | +10.00 | 0.00 |' % name for name in ('all', '5')]
    assert len(runs.flags) == 12 and {flags['--max_epoch'] for flags in runs.flags} == {'2'}

    everything = common + ['--variants', 'without', 'layer0', 'all'] + more
    lines = output_of(lac_gain.main, everything, monkeypatch, capsys)
    assert lines[-1] == '| 5 | 82.00 | 86.00 | 92.00 | +10.00 | 0.00 | +6.00 | 0.00 |'
    assert len(runs.flags) == 18  # what is finished is not repeated
    assert {flags['--test_path'] for flags in runs.flags[12:]} == {os.path.join('ner', 'test.tsv')}
    assert {flags['--elmo_layers'] for flags in runs.flags[12:]} == {'0'}
    for flag, others in (('dropout', more + ['--dropout', '0.5']), ('max_epoch', []),
                         ('elmo_checkpoint', ['--elmo_checkpoint', 'x'] + more)):
        monkeypatch.setattr(sys, 'argv', ['command'] + list(map(str, common)) + others)
        message = refused(capsys, lac_gain.main)
        assert 'was trained with --%s' % flag in message and 'another directory' in message
    monkeypatch.setattr(sys, 'argv', ['command'] + list(map(str, common)) + ['--', '--dropot', '0.5'])
    assert 'unrecognized arguments: --dropot' in refused(capsys, lac_gain.main)
    assert len(runs.flags) == 18
    runs.code = 1
    monkeypatch.setattr(sys, 'argv', ['command'] + list(map(str, common)) + ['--seeds', '4'])
    assert 'the run failed or was stopped' in refused(capsys, lac_gain.main)


def test_an_interrupted_table_goes_on(task, monkeypatch, capsys):
    output = task.join('gain')
    flags = ['--elmo_checkpoint', task.join('elmo'), '--vocab_path', task.join('vocabulary.txt'), '--data', TAGGED,
             '--output', output, '--sentences', 0, '--seeds', 1, '--', '--word_emb_dim', 4, '--grnn_hidden_dim', 4,
             '--use_gpu', 'False', '--curves', 'False', '--max_epoch', 12]
    process = subprocess.Popen([sys.executable, os.path.join(ROOT, 'benchmark', 'lac_gain.py')] + list(map(str, flags)))
    run = output.join('sentences0-seed1-elmoFalse.resume')
    wait_until(run.join('latest').exists)
    training, = children(process.pid, 'lac_finetune/train.py')
    process.kill()
    process.wait()
    wait_until(lambda: not os.path.exists('/proc/%d' % training))  # it goes with its table
    assert run.join('latest').exists()
    lines = output_of(lac_gain.main, flags, monkeypatch, capsys)
    assert re.match(r'\| all( \| [\d.]+){2} \| [+-][\d.]+ \|  \|$', lines[-1])
    assert 'goes on after epoch' in output.join('sentences0-seed1-elmoFalse.log').read()
    assert not run.exists()


@pytest.mark.parametrize('main, flags, message', [
    (speed.main, ['--steps', '0'], '--steps: expected a whole number >= 1, got 0'),
    (speed.main, ['--vocab_size', '3'], '--vocab_size: expected a whole number >= 4, got 3'),
    (speed.main, ['--num_samples', '9', '--vocab_size', '9'], '--num_samples 9: there are only 9 words'),
    (speed.main, ['--devices', '0'], '--devices: expected a whole number >= 1, got 0'),
    (speed.main, ['--threads', '0'], '--threads: expected a whole number >= 1, got 0'),
    (speed.main, ['--output', 'none/x'], '--output: cannot write none/x: No such file'),
    (scaling.main, ['--tflops', '0'], '--tflops: expected a number > 0, got 0'),
    (scaling.main, ['--steps', '3'], 'unrecognized arguments: --steps'),
    (reader_speed.main, ['--millions', '0'], '--millions: expected a whole number >= 1, got 0'),
    (reader_speed.main, ['--inference'], 'unrecognized arguments: --inference'),
    (table.main, [], 'error'), (table.main, ['none'], 'none: cannot be read')])
def test_bad_flags(tmpdir, monkeypatch, capsys, main, flags, message):
    monkeypatch.setattr(sys, 'argv', ['command'] + flags)
    with tmpdir.as_cwd():
        assert message in refused(capsys, main)


def test_a_table_of_speeds_by_hand(tmpdir, monkeypatch, capsys):
    path = str(tmpdir.join('results'))
    for name, speeds in (('fluid', [100, 300, 900]), ('torch', [100, 200])):
        for tokens in speeds:
            flags = ['--output', path, '--batch_size', '1', '--num_steps', '%d' % tokens]
            common.report(name, common.parser('').parse_args(flags), [1.], 1.)
    with io.open(path, encoding='utf-8') as results:
        runs = [dict(json.loads(line), num_steps=20, peak_memory_mb=7, limit=1000.) for line in results]
    write_lines(path, map(json.dumps, runs))
    setting = 'training, 52445 words, 512/4096 x 2, batch 1 x 20, sampled 8192'
    assert output_of(table.main, [path], monkeypatch, capsys)[2:] == [
        '| %s | %s |' % (setting, row) for row in ('ours | 3 | 300 | 0.30 | 2.00 |  | 7',
                                                   'torch | 2 | 150 | 0.15 | 1.00 |  | 7')]
    write_lines(path, [json.dumps(runs[0]), '{"name": "fluid"}'])
    assert '%s:2: no result of a speed benchmark' % path in refused(capsys, table.main)


class Pretraining(object):
    """Stands for subprocess.call: train.py, which trains an epoch at a time and is stopped before `stop`."""

    def __init__(self):
        self.settings, self.stop = [], 9

    def __call__(self, command, stdout, **options):
        flags = dict(zip(command[2::2], command[3::2]))
        self.settings.append(flags['--max_epoch'])
        path = os.path.join(flags['--save_dir'], 'log.jsonl')
        if not os.path.isdir(flags['--save_dir']):
            os.makedirs(flags['--save_dir'])
            write_lines(path, [])
        for epoch in range(1 + len(io.open(path).readlines()), 1 + int(flags['--max_epoch'])):
            if epoch == self.stop:
                return 143
            record = {'kind': 'dev', 'step': epoch, 'epoch': epoch, 'perplexity': 100. / epoch, 'seconds': 60. * epoch}
            with io.open(path, 'ab') as log:
                log.write(json.dumps(record).encode('ascii') + b'\n')
        stdout.write(b'finished: epoch 2\n')
        return 0


def test_settings_of_pretraining(tmpdir, monkeypatch, capsys):
    runs, output = Pretraining(), tmpdir.join('quality')
    monkeypatch.setattr(subprocess, 'call', runs)
    train, dev = write_lines(tmpdir.join('train'), ['a'] * 5), write_lines(tmpdir.join('dev'), ['a'])
    command = ['--train', train, '--dev', dev, '--output', output, '--', '--max_epoch 2', '--max_epoch 1']
    monkeypatch.setattr(sys, 'argv', ['quality.py'] + list(map(str, command)))
    runs.stop = 2
    assert 'max_epoch-2.log: the run failed or was stopped, see its end' in refused(capsys, quality.main)
    runs.stop = 9
    rows = output_of(quality.main, command, monkeypatch, capsys)[2:]
    assert rows == ['| `--max_epoch %d` | %d | %.2f | %d |' % row for row in (
        (2, 1, 100, 60), (2, 2, 50, 120), (1, 1, 100, 60))]
    assert output_of(quality.main, command, monkeypatch, capsys)[2:] == rows
    assert runs.settings == ['2', '2', '1']  # what is finished is not repeated
    for path in (train, dev):
        write_lines(path, ['b'] * 5)
        assert '%s: has runs on another text; choose another --output' % output in refused(capsys, quality.main)
        write_lines(path, ['a'] * (5 if path == train else 1))
    tmpdir.join('dev').write_binary('中国'.encode('gb18030'))
    assert 'dev:1: not UTF-8' in refused(capsys, quality.main)
    assert runs.settings == ['2', '2', '1']


PARTS = {'train': '我们 在 上海\tr p ns', 'dev': '在\tp', 'test': '上海\tns'}


@pytest.fixture
def treebank(tmpdir):
    for name, line in PARTS.items():
        tmpdir.join('ud', 'ner').ensure(dir=True)
        write_lines(tmpdir.join('ud', name + '.tsv'), [line])
        write_lines(tmpdir.join('ud', 'ner', name + '.tsv'), [
            '张 三 李 四 住 在 上 海 市\tB-PER I-PER B-PER I-PER O O B-LOC I-LOC I-LOC', '我 们\tO O'])
    return tmpdir


def test_tasks_of_a_treebank(treebank, monkeypatch, capsys):
    output_of(ud.main, [treebank.join('ud'), treebank.join('tasks')], monkeypatch, capsys)
    for name, line in PARTS.items():
        with io.open(str(treebank.join('tasks', 'pos', name + '.tsv')), encoding='utf-8') as text:
            assert text.read() == line + '\n'
        found, stray = read_tagged(str(treebank.join('tasks', 'ner', name + '.tsv')))
        assert [each[:2] for each in found] == [
            (['张三', '李四', '住在', '上海市'], ['PER', 'PER', 'O', 'LOC']), (['我们'], ['O'])]
    vocabulary = Vocabulary(write_lines(treebank.join('vocabulary.txt'), ['<S>', '</S>', '<UNK>', '住在', '市', '上海']))
    units, labels, split = Units(vocabulary).align(found[0])
    assert units[-3:] == ['住在', '上海', '市'] and labels[-3:] == ['O', 'LOC-B', 'LOC-I'] and not split
    assert 'is there already' in refused(capsys, ud.main)


@pytest.mark.parametrize('line, message', [
    ('张 三\tB-PER E-PER', 'found E-PER'), ('张 三\tB-PER', 'found 2 and 1'), ('张\tB-', 'found B-')])
def test_bad_entities(treebank, monkeypatch, capsys, line, message):
    path = write_lines(treebank.join('ud', 'ner', 'dev.tsv'), ['我\tO', line])
    monkeypatch.setattr(sys, 'argv', ['ud.py', str(treebank.join('ud')), str(treebank.join('tasks'))])
    found = refused(capsys, ud.main)
    assert path + ':2: ' in found and found.endswith(message)
    assert not treebank.join('tasks').check()


@pytest.fixture
def texts(tmpdir):
    """A vocabulary, an ELMo, and texts that one word decides."""
    path = write_lines(tmpdir.join('vocabulary.txt'), ['<S>', '</S>', '<UNK>', '好', '坏', '的', '书', '这'])
    make_checkpoint(tmpdir.join('elmo'), Vocabulary(path))
    write_lines(tmpdir.join('texts.tsv'), ['%d\t%s' % (label, text % word) for label, word in enumerate('坏好')
                                           for text in ('%s书', '%s的书', '这书%s', '这%s书', '这%s的书', '书%s')])
    return tmpdir


def test_the_averages_of_reviews_are_those_of_the_network(texts):
    """Of docs/own_task.py: the average of the mix of normalised layers, here with equal shares."""
    vocabulary, path = Vocabulary(str(texts.join('vocabulary.txt'))), str(texts.join('elmo'))
    task = reviews.make_task(str(texts.join('texts.tsv')), Embedder(path, vocabulary, 'all'))
    main, startup, exe = fluid.Program(), fluid.Program(), fluid.Executor(fluid.CPUPlace())
    config = bilm.read_config(path)
    with fluid.program_guard(main, startup), fluid.unique_name.guard(), fluid.scope_guard(fluid.Scope()):
        word = bilm.data('word', [None, 1], 'int64', lod_level=1)
        mix = bilm.elmo_encoder(bilm.emb(word, config=config), config=config, layer_norm=True)
        pooled = ops.sequence_pool(mix, 'average')
        exe.run(startup)
        bilm.init_pretraining_params(exe, path, main, config=config)
        expected, = exe.run(main, {'word': to_lod(task.ids)}, [pooled])
    assert task.layers.shape == (12, 3, 8) and task.ids[7] == [3, 5, 6]
    np.testing.assert_allclose(task.layers.mean(axis=1), expected, atol=1e-5)


def test_reviews(texts, monkeypatch, capsys):
    flags = ['--checkpoint', texts.join('elmo'), '--vocab_path', texts.join('vocabulary.txt'), '--data',
             texts.join('texts.tsv'), '--seeds', '2']
    lines = output_of(reviews.main, flags, monkeypatch, capsys)
    assert lines == gains.head('texts', list(gains.VARIANTS)).splitlines() + [
        '| 12 | 100.00 | 100.00 | 100.00 | +0.00 |  | +0.00 |  |']
    write_lines(texts.join('texts.tsv'), ['1\t好书', '2\t坏书'])
    assert 'texts.tsv:2: expected 0 or 1' in refused(capsys, reviews.main)


def test_perplexities_are_those_of_evaluate(corpus, monkeypatch, capsys):
    run(corpus, max_epoch=2, save_interval=5)
    directory = str(corpus.directory.join('checkpoints'))
    other = write_lines(corpus.directory.join('other.txt'), ['词1 词2', '词19'])
    steps = checkpoint.steps(directory)
    assert len(steps) > 1
    flags = ['--vocab_path', corpus.vocab_path, '--use_gpu', 'False']
    lines = output_of(perplexity.main, ['--checkpoints', directory] + flags + [corpus.test_path, other], monkeypatch,
                      capsys)
    assert lines[1] == 'other: 2 sentences, 5 tokens, 33.33% of the words unknown'
    rows = [line.strip('| ').split(' | ') for line in lines if line.startswith('| ')]
    assert rows[0] == ['step', 'epochs', 'dev', 'other'] and float(rows[-1][1]) == 2
    assert [row[0] for row in rows[1:]] == ['%06d' % step for step in steps]
    assert len({row[2] for row in rows[1:]}) == len(steps)
    for row in rows[1:]:
        for text, found in zip((corpus.test_path, other), row[2:]):
            printed = output_of(evaluate.main, ['--checkpoint', os.path.join(directory, row[0]), '--test_path', text]
                                + flags, monkeypatch, capsys)
            assert re.search(r'average ([\d.]+)$', printed[-1]).group(1) == found
    assert 'holds no checkpoint' in refused_perplexity(corpus, flags, monkeypatch, capsys)


def refused_perplexity(corpus, flags, monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', ['perplexity.py', '--checkpoints', str(ROOT)] + flags + [corpus.test_path])
    return refused(capsys, perplexity.main)


def test_what_rounding_costs(task, monkeypatch, capsys):
    """Perplexity is that of a checkpoint rounded by numpy; each row starts from the numbers of the file."""
    train.train(train.parse_args(tagger_flags(task)))
    text = write_lines(task.join('text.txt'), ['我 的 弟弟 在 上海 工作 。'])
    flags = ['--vocab_path', task.join('vocabulary.txt'), '--test_path', text, '--use_gpu', 'False']
    lines = output_of(rounding.main, ['--checkpoint', task.join('elmo'), '--model_dir', task.join('model'), '--data',
                                      os.path.join(ROOT, 'lac_finetune', 'data', 'test.tsv'),
                                      '--bits', 23, 1, 23] + flags, monkeypatch, capsys)
    rows = [line.strip('| ').split(' | ') for line in lines[2:]]
    with io.open(str(task.join('model', 'settings.json')), encoding='utf-8') as settings:
        assert rows[0] == rows[2] and rows[0][2] == '%.2f' % json.load(settings)['test_f1']
    for bits, row in ((23, rows[0]), (1, rows[1])):
        for name in bilm.parameter_shapes(bilm.read_config(str(task.join('elmo')))):
            path = str(task.join('elmo', name))
            write_parameter(path, rounded(np.array(open_parameter(path)), bits))
        printed = output_of(evaluate.main, ['--checkpoint', task.join('elmo')] + flags, monkeypatch, capsys)
        assert re.search(r'average ([\d.]+)$', printed[-1]).group(1) == row[1]
    assert rows[0][1] != rows[1][1]
