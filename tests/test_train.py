# -*- coding: utf-8 -*-
from __future__ import absolute_import, division, print_function, unicode_literals

import io
import json
import os
import re
import shutil

import numpy as np
import paddle.fluid as fluid
import pytest

from helpers import (ADAGRAD, SEVERAL_DEVICES, log_lines, losses_of_steps, parameters, random_sentences, run, same,
                     write_lines)
from args import DEFAULT_RATES, parse_args
import bilm
from elmo import checkpoint, manifest, runlog
from elmo.text import InputError, Vocabulary
from elmo.training import TrainingProgram
import numpy_bilm
from reader import BucketedReader
from tools import evaluate
import train

pytestmark = pytest.mark.usefixtures('fresh_scope')


@SEVERAL_DEVICES
@pytest.mark.parametrize('flags', [ADAGRAD, {}, {'linear_decay': True}])
def test_1_2_4_and_8_devices_train_alike(corpus, monkeypatch, flags):
    one, _ = losses_of_steps(corpus, 1, monkeypatch, **flags)
    assert one[-1].mean() < one[0].mean() - 0.05  # it learns
    for num_devices in (2, 4, 8):
        several, tokens = losses_of_steps(corpus, num_devices, monkeypatch, **flags)
        assert any(len(set(shares)) > 1 for shares in tokens)  # the devices have different numbers of tokens
        np.testing.assert_allclose(several, one, atol=1e-4)


@SEVERAL_DEVICES
def test_a_device_without_a_sentence_counts_nothing(corpus, monkeypatch, tmpdir):
    shutil.rmtree(corpus.train_path)
    os.mkdir(corpus.train_path)
    write_lines(os.path.join(corpus.train_path, 'two.txt'), ['词0 词1 词2', '词3'])
    one, _ = losses_of_steps(corpus, 1, monkeypatch, steps=3)
    four, tokens = losses_of_steps(corpus, 4, monkeypatch, steps=3)
    assert [sorted(shares) for shares in tokens] == [[0, 0, 2, 4]] * 3
    np.testing.assert_allclose(four, one, atol=1e-4)


def test_the_step_is_adagrad_of_the_scaled_and_clipped_mean_loss(corpus, monkeypatch):
    """One update of every parameter equals numpy: accumulators start at 1, global norm 10, loss times num_steps."""
    vocabulary = Vocabulary(corpus.vocab_path)
    for max_grad_norm in (10., 0.5):
        args = parse_args(corpus.flags(dropout=0, max_grad_norm=max_grad_norm, **ADAGRAD))
        config = dict(bilm.PUBLISHED_CONFIG, vocab_size=len(vocabulary), embed_size=2, hidden_size=3)
        with fluid.scope_guard(fluid.Scope()):
            program, exe = TrainingProgram(config, args, [fluid.CPUPlace()]), fluid.Executor(fluid.CPUPlace())
            exe.run(program.startup)
            batch = next(BucketedReader([corpus.test_path], vocabulary, 15).epoch(BucketedReader.start()))

            def values():
                return {p.name: np.array(fluid.global_scope().find_var(p.name).get_tensor()).astype('float64')
                        for p in program.whole.all_parameters()}

            before = values()
            exe.run(program.whole, feed=program.feed(batch, 0)[0], fetch_list=[])
            after = values()
        share, = batch.batches
        ends = np.cumsum(share.lengths)
        sentences = [[0] + share.next_tokens[start:end, 0].tolist() for start, end in zip(ends - share.lengths, ends)]

        def objective(values):
            losses = [numpy_bilm.cross_entropy(sentence, values, config) for sentence in sentences]
            return 8 * sum(part.sum() for pair in losses for part in pair) / 2 / batch.num_tokens

        gradients = {name: np.zeros_like(value) for name, value in before.items()}
        for name, value in before.items():
            for index in np.ndindex(*value.shape):
                middle = value[index]
                value[index] = middle + 1e-5
                above = objective(before)
                value[index] = middle - 1e-5
                gradients[name][index] = (above - objective(before)) / 2e-5
                value[index] = middle
        norm = np.sqrt(sum((gradient ** 2).sum() for gradient in gradients.values()))
        assert (norm > max_grad_norm) == (max_grad_norm < 1)
        for name in before:
            gradient = gradients[name] * min(1, max_grad_norm / norm)
            expected = before[name] - 0.2 * gradient / (np.sqrt(1 + gradient ** 2) + 1e-6)
            np.testing.assert_allclose(after[name], expected, atol=2e-5, err_msg=name)


@pytest.mark.parametrize('optim, rate', [(None, 0.004), ('adagrad', 0.2)])
def test_the_learning_rate_where_none_is_given(corpus, capsys, optim, rate):
    run(corpus, optim=optim, learning_rate=None, max_steps=1)
    assert '%s %s\n' % (optim or 'adam', rate) in capsys.readouterr().out
    state = json.loads(corpus.directory.join('checkpoints', '000001', 'train_state.json').read())
    assert state['flags']['learning_rate'] == rate


def test_adam_has_a_lower_rate_in_a_wide_network():
    rates = [DEFAULT_RATES['adam'](cells) for cells in (512, 1000, 2000, 4096)]
    assert rates[:3] == [0.004, 0.004, 0.002] and 0.0009 < rates[3] < 0.001


def test_log_epochs_and_best(corpus, capsys):
    run(corpus, max_epoch=3, optim='adagrad', learning_rate=0.05)
    output = capsys.readouterr().out
    steps = log_lines(output, 'epoch')
    per_epoch = [sum(line.startswith('epoch %d ' % epoch) for line in steps) for epoch in (1, 2, 3)]
    assert per_epoch[0] == per_epoch[1] == per_epoch[2] > 3
    assert re.match(r'epoch 1 step 1/\d+ loss \d\.\d{4} perplexity fw [\d.]+ bw [\d.]+', steps[0])
    total = sum(per_epoch)
    assert steps[-1].startswith('epoch 3 step %d/%d ' % (total, total))
    dev = log_lines(output, 'dev')
    assert len(dev) == 3
    perplexities = [float(re.search(r'perplexity ([\d.]+)', line).group(1)) for line in dev]
    assert perplexities == sorted(perplexities, reverse=True) and perplexities[0] < 20
    last = corpus.directory.join('checkpoints', '%06d' % total)
    assert corpus.directory.join('checkpoints', 'best').read().strip() == last.basename
    state = json.loads(last.join('train_state.json').read())
    assert state['step'] == total and state['position'] == BucketedReader.start(3)
    assert abs(state['best_dev_perplexity'] - perplexities[-1]) < 0.01


@pytest.mark.parametrize('num_devices', ['1', pytest.param('2', marks=SEVERAL_DEVICES)])
def test_same_seed_same_run(corpus, capsys, monkeypatch, num_devices):
    monkeypatch.setenv('CPU_NUM', num_devices)
    runs = []
    for number, seed in enumerate([1, 1, 2]):
        directory = str(corpus.directory.join('run%d' % number))
        run(corpus, random_seed=seed, save_dir=directory, max_steps=4)
        runs.append((log_lines(capsys.readouterr().out, 'epoch'), parameters(checkpoint.find(directory, newest=True))))
    assert runs[0][0] == runs[1][0] and same(runs[0][1], runs[1][1])
    assert runs[0][0] != runs[2][0]


@SEVERAL_DEVICES
def test_dropout_masks_change_every_step(corpus):
    args = parse_args(corpus.flags())
    config = dict(bilm.PUBLISHED_CONFIG, vocab_size=20, embed_size=4, hidden_size=6)
    program = TrainingProgram(config, args, [fluid.CPUPlace()] * 2)
    reader = BucketedReader([corpus.test_path], Vocabulary(corpus.vocab_path), 30, 2)
    batch = next(reader.epoch(reader.start()))
    seeds = np.concatenate([feed['dropout_seeds'] for step in range(3) for feed in program.feed(batch, step)])
    assert len(seeds) == len(set(seeds)) == 3 * 2 * 6


def test_a_checkpoint_holds_parameters_apart_from_the_rest(corpus):
    run(corpus, max_steps=2, **ADAGRAD)
    directory = corpus.directory.join('checkpoints')
    assert sorted(path.basename for path in directory.listdir()) == ['.lock', '000002', 'best', 'latest', 'log.jsonl']
    names = sorted(path.basename for path in directory.join('000002').listdir())
    config = json.loads(directory.join('000002', 'bilm.json').read())
    assert names == sorted(list(bilm.parameter_shapes(config)) +
                           ['bilm.json', 'manifest.json', 'optimizer', 'train_state.json'])
    accumulators = set(path.basename for path in directory.join('000002', 'optimizer').listdir())
    assert accumulators == set(name + '_moment_0' for name in bilm.parameter_shapes(config)) | {'learning_rate_0'}


def test_keeps_the_newest_checkpoints_and_the_best(corpus, capsys):
    flags = dict(max_epoch=2, save_interval=2, dev_interval=1000, keep_checkpoints=2, optim='adagrad',
                 learning_rate=0.05)
    run(corpus, **flags)
    saved = [int(step) for step in re.findall(r'saved \S+/(\d+)', capsys.readouterr().out)]
    directory = str(corpus.directory.join('checkpoints'))
    assert sorted(name for name in os.listdir(directory) if name.isdigit()) == ['%06d' % step for step in saved[-2:]]
    # a worse checkpoint does not replace the best
    best = checkpoint.find(directory)
    write_lines(os.path.join(directory, 'best'), ['%06d' % saved[-2]])
    saver = checkpoint.Saver(fluid.Executor(fluid.CPUPlace()), fluid.Program(), [], directory, keep=2)
    for step in (901, 902, 903):
        saver.save({'step': step})
    assert sorted(name for name in os.listdir(directory) if name.isdigit()) == ['%06d' % saved[-2], '000902', '000903']
    assert os.path.basename(best) == '%06d' % saved[-1]


def test_going_on_from_a_checkpoint_equals_a_run_never_stopped(corpus, capsys):
    run(corpus, max_epoch=2, save_dir=corpus.directory.join('whole'))
    whole = log_lines(capsys.readouterr().out, 'epoch')
    directory = str(corpus.directory.join('parts'))
    run(corpus, max_epoch=2, max_steps=3, save_dir=directory)
    run(corpus, max_epoch=2, save_dir=directory, load_dir=directory)
    parts = log_lines(capsys.readouterr().out, 'epoch')

    def without_total(lines):
        return [re.sub(r'/\d+', '', line) for line in lines]

    assert without_total(parts) == without_total(whole)
    assert same(*[parameters(checkpoint.find(str(corpus.directory.join(name)), newest=True))
                  for name in ('whole', 'parts')])


@pytest.mark.parametrize('num_devices', ['1', pytest.param('2', marks=SEVERAL_DEVICES)])
def test_starting_from_parameters_on_other_text(corpus, capsys, monkeypatch, num_devices):
    monkeypatch.setenv('CPU_NUM', num_devices)
    run(corpus, max_epoch=6, learning_rate=0.5)
    last = log_lines(capsys.readouterr().out, 'dev')[-1]
    trained = checkpoint.newest_whole(str(corpus.directory.join('checkpoints')))
    other = write_lines(corpus.directory.join('other.txt'), random_sentences(['词0', '词1', '词2'], 20, 9))
    perplexity = {}
    for name, flags in (('anew', {}), ('continued', {'load_pretraining_params': trained})):
        capsys.readouterr()
        run(corpus, train_path=other, save_dir=corpus.directory.join(name), max_steps=1, learning_rate=1e-6,
            **flags)
        output = capsys.readouterr().out
        perplexity[name] = float(re.search(r'dev .* perplexity ([\d.]+)', output).group(1))
        assert ('softmax_bias' in output) == (name == 'continued')
        if name == 'continued':
            assert log_lines(output, 'dev')[0] == re.sub(r'epoch \d+ step \d+', 'epoch 0 step 0', last)
    assert perplexity['continued'] < perplexity['anew'] - 1
    for sizes, hidden_size in (([], 6), (['--hidden_size', '7'], 7)):  # the default is the size of the checkpoint
        directory = corpus.directory.join('sizes%d' % hidden_size)
        flags = [flag for flag in corpus.flags(init_from=trained, save_dir=directory)
                 if flag not in ('--hidden_size', '6')]
        assert train.Job(parse_args(flags + sizes)).network_config(trained)['hidden_size'] == hidden_size
    for name in bilm.SOFTMAX_PARAMETERS:
        os.remove(os.path.join(trained, name))
    run(corpus, train_path=other, save_dir=corpus.directory.join('encoder'), max_steps=1,
        load_pretraining_params=trained)
    assert 'the softmax starts anew' in capsys.readouterr().out


@pytest.mark.parametrize('optim', ['sgd', 'adagrad', 'rmsprop'])
def test_other_optimizers_learn_and_go_on(corpus, capsys, optim):
    directory = str(corpus.directory.join('checkpoints'))
    flags = dict(optim=optim, learning_rate=0.01, max_epoch=2)
    run(corpus, max_steps=4, **flags)
    run(corpus, load_dir=directory, **flags)
    dev = [float(text) for text in re.findall(r'dev .* perplexity ([\d.]+)', capsys.readouterr().out)]
    assert dev == sorted(dev, reverse=True) and len(dev) == 3


def test_linear_decay_begins_with_the_whole_rate_and_ends_above_0(corpus):
    """The rate of a step is the share of the run that is still to be done before it, of max_steps or of the text."""
    directories = [str(corpus.directory.join(name)) for name in ('steps', 'epochs')]
    flags = dict(optim='sgd', learning_rate=0.3, linear_decay=True)
    run(corpus, max_steps=4, save_dir=directories[0], **flags)
    run(corpus, max_epoch=1, save_dir=directories[1], **flags)
    rates = [[record['learning_rate'] for record in runlog.read(directory) if record['kind'] == 'train']
             for directory in directories]
    np.testing.assert_allclose(rates[0], [0.3, 0.225, 0.15, 0.075])
    steps = len(rates[1])  # a buffer holds all text, and its batches count alike
    np.testing.assert_allclose(rates[1], [0.3 * (1 - step / steps) for step in range(steps)], rtol=1e-5)
    with pytest.raises(InputError) as error:
        run(corpus, optim='sgd', linear_decay=True, max_epoch=2, load_dir=directories[1])
    assert '--max_epoch 1 there, 2 here' in str(error.value)


@pytest.mark.parametrize('of_old', [True, False])
def test_a_run_with_the_old_linear_decay_is_told_of_the_new_one(corpus, capsys, of_old):
    flags = dict(optim='sgd', learning_rate=0.3, linear_decay=True, max_steps=4, save_interval=2, dev_interval=1000)
    run(corpus, **flags)
    directory = corpus.directory.join('checkpoints')
    directory.join('000004').remove()
    if of_old:
        state = json.loads(directory.join('000002', 'train_state.json').read())
        del state['decay']
        directory.join('000002', 'train_state.json').write(json.dumps(state))
        directory.join('000002', 'manifest.json').remove()
        manifest.write(str(directory.join('000002')))
    capsys.readouterr()
    run(corpus, resume=True, **flags)
    assert ('from here on they are one step behind' in capsys.readouterr().out) == of_old
    rates = [record['learning_rate'] for record in runlog.read(str(directory)) if record['kind'] == 'train']
    np.testing.assert_allclose(rates, [0.3, 0.225, 0.15, 0.075])
    assert json.loads(directory.join('000004', 'train_state.json').read())['decay']


@pytest.mark.parametrize('num_devices', ['1', '3'])
def test_evaluate_equals_numpy(corpus, capsys, monkeypatch, num_devices):
    run(corpus, max_epoch=2)
    directory = checkpoint.find(str(corpus.directory.join('checkpoints')))
    sentences = random_sentences(['词%d' % number for number in range(20)], 9, 5) + ['', ' '.join(['词0'] * 20)]
    text = write_lines(corpus.directory.join('text.txt'), sentences)
    table = str(corpus.directory.join('table.tsv'))
    monkeypatch.setenv('CPU_NUM', num_devices)
    monkeypatch.setattr('sys.argv', ['evaluate.py', '--checkpoint', directory, '--test_path', text, '--vocab_path',
                                     corpus.vocab_path, '--per_sentence', table, '--max_sentence_length', '8',
                                     '--batch_tokens', '12', '--use_gpu', 'False'])
    capsys.readouterr()
    evaluate.main()
    output = capsys.readouterr().out

    vocabulary, values, config = Vocabulary(corpus.vocab_path), parameters(directory), bilm.read_config(directory)
    rows, totals = [], np.zeros(4)
    for line, sentence in enumerate(sentences, 1):
        ids = vocabulary.ids(sentence.split())
        pieces = [[0] + ids[start:start + 8] + [1] for start in range(0, len(ids), 8)]
        if pieces:
            losses = np.sum([[part.sum() for part in numpy_bilm.cross_entropy(piece, values, config)]
                             for piece in pieces], axis=0)
            tokens = len(ids) + len(pieces)
            rows.append([line, tokens, ids.count(2)] + list(np.exp(losses / tokens)) + [np.exp(losses.mean() / tokens)])
            totals += [tokens, ids.count(2)] + list(losses)
    with io.open(table, encoding='utf-8') as handle:
        lines = [line.rstrip('\n').split('\t') for line in handle]
    assert lines[0] == ['file', 'line', 'tokens', 'unknown', 'fw', 'bw', 'average']
    assert all(line[0] == text for line in lines[1:])
    np.testing.assert_allclose(np.array([line[1:] for line in lines[1:]], dtype='float64'), rows, atol=2e-4)
    fw, bw = np.exp(totals[2:] / totals[0])
    found = [float(number) for number in re.search('fw (.*) bw (.*) average (.*)', output).groups()]
    np.testing.assert_allclose(found, [fw, bw, np.sqrt(fw * bw)], atol=0.006)
    assert '%d sentences, %d tokens' % (len(rows), totals[0]) in output
    words = sum(len(sentence.split()) for sentence in sentences)  # each once, in however many pieces its line is read
    assert '%d unknown words (%.2f%%)' % (totals[1], 100 * totals[1] / words) in output


def test_where_a_run_saves(corpus, capsys, monkeypatch):
    monkeypatch.chdir(corpus.directory)
    flags = dict(save_dir='', max_epoch=2)
    run(corpus, max_steps=1, **flags)
    run(corpus, max_steps=1, **flags)
    run(corpus, max_steps=2, load_dir='checkpoints', **flags)
    saved = re.findall(r'saved ([^\s,]+)', capsys.readouterr().out)
    expected = ['checkpoints/000001', 'checkpoints.2/000001', 'checkpoints/000002']
    assert [str(corpus.directory.join(path)) for path in expected] == [os.path.abspath(path) for path in saved]
