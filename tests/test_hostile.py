# -*- coding: utf-8 -*-
"""JSON of a checkpoint or a tagger that is damaged, or made to do harm: one line, and no network is built."""
from __future__ import absolute_import, division, print_function, unicode_literals

import json
import os
import sys

import numpy as np
import pytest

from project import ROOT
from helpers import refused, refused_training, run, run_command, tagger_flags
import bilm
from elmo import checkpoint, manifest, runlog
from elmo.arrays import write_parameter
from elmo.evaluator import Evaluation, Evaluator
from elmo.text import InputError
from lac_finetune import infer, network, tagger
from lac_finetune import train as lac_train
from tools import convert, embed, evaluate, neighbours
import train

SIZES = dict(bilm.PUBLISHED_CONFIG, vocab_size=20, embed_size=4, hidden_size=6)

pytestmark = pytest.mark.usefixtures('fresh_scope')


@pytest.fixture
def trained(corpus):
    """The checkpoint of two steps, without the list of its files, which would tell of every change."""
    run(corpus, max_steps=2)
    path = corpus.directory.join('checkpoints', '000002')
    path.join('manifest.json').remove()
    return path


def files_of(config, directory):
    """Makes the files of the parameters of a biLM, without a bilm.json."""
    for name, shape in bilm.parameter_shapes(config).items():
        write_parameter(str(directory.join(name)), np.zeros(shape, 'float32'))
    return directory


def change(path, **values):
    """Changes values in a JSON file; returns what it held before."""
    before = json.loads(path.read())
    path.write(json.dumps(dict(before, **values)))
    return before


STATES = [{name: value} for name, values in (
    ('step', [-300, None, True, 1.5, '2', 10 ** 30, [2]]), ('skipped_steps', [None, [[1]], [True], ['x'], {}, [-1]]),
    ('best_dev_perplexity', ['x', float('nan'), float('inf'), -1., True, {}]), ('seconds', ['1', float('nan'), -1.]),
    ('epochs_read', [float('inf'), None, 'x', True]), ('dev_pending', [None, 1, 'x']), ('test_path', [None, 1, []]),
    ('flags', [None, [], {'optim': ['adagrad']}, {'dropout': float('nan')}]), ('position', [None, {}, []]),
    ('ran_on', [1, [], {}]), ('best_step', [-1, 'x', True, 1.5])) for value in values]


def test_a_state_that_no_run_has_saved_is_one_line(corpus, trained, capsys):
    path = trained.join('train_state.json')
    whole = path.read()
    position = json.loads(whole)['position']
    places = [{'position': dict(position, **{name: value})} for name in position
              for value in (True, None, -1, 10 ** 30, 'x', 1.5)]
    for values in STATES[::6] + places[::9]:
        change(path, **values)
        line = refused_training(corpus, capsys, resume_from=trained)
        assert '%s: its train_state.json is not the state of such a run: %s' % (trained, list(values)[0]) in line
        assert 'take another checkpoint' in line and len(line) < 2000
        path.write(whole)
    for values in STATES + places:
        change(path, **values)
        with pytest.raises(InputError):
            checkpoint.read_state(str(trained), train.STATE)
        path.write(whole)
    for name in json.loads(whole):
        if name not in ('ran_on', 'best_dev_perplexity', 'best_step', 'decay'):  # null is nothing there
            state = json.loads(whole)
            del state[name]
            path.write(json.dumps(state))
            with pytest.raises(InputError):
                checkpoint.read_state(str(trained), train.STATE)
    path.write(whole)
    assert checkpoint.read_state(str(trained), train.STATE) == json.loads(whole)


def test_the_state_of_a_tagger(task, capsys, monkeypatch):
    def stop(*_):
        raise InputError('stopped here')

    flags = dict(max_epoch=2, max_sentences=20, use_elmo=False)
    with monkeypatch.context() as patch:
        patch.setattr(lac_train, 'keep_log', stop)
        refused(capsys, lambda: lac_train.train(lac_train.parse_args(tagger_flags(task, **flags))))
    path = task.join('model.resume').listdir(lambda entry: entry.basename.isdigit())[0]
    for values in ({'epoch': 2 ** 40}, {'best_dev_f1': 'x'}, {'learning_rate': -1}, {'best_epoch': None}):
        before = change(path.join('train_state.json'), **values)
        path.join('manifest.json').remove()
        manifest.write(str(path))
        line = refused(capsys, lambda: lac_train.train(lac_train.parse_args(tagger_flags(task, resume=True, **flags))))
        assert 'its train_state.json is not the state of such a run: %s: ' % list(values)[0] in line
        change(path.join('train_state.json'), **before)


def test_a_flag_that_came_later_has_the_value_of_before(corpus, trained, capsys):
    path = trained.join('train_state.json')
    state = json.loads(path.read())
    first = dict(state, flags={name: value for name, value in state['flags'].items() if name != 'use_amp'})
    path.write(json.dumps(first))
    run(corpus, max_steps=3, resume_from=trained)
    del first['flags']['dropout']
    path.write(json.dumps(first))
    assert '--dropout missing there, 0.1 here' in refused_training(corpus, capsys, resume_from=trained)
    assert 'use_amp' not in refused_training(corpus, capsys, resume_from=trained)


@pytest.fixture
def nothing_is_built(monkeypatch):
    def build(*_):
        raise AssertionError('a network is built')

    monkeypatch.setattr(bilm, '_Parameters', build)
    monkeypatch.setattr(network, 'decoding', build)


def lines_of_commands(corpus, directory, capsys, monkeypatch):
    """What each command says that reads a checkpoint."""
    reading = ['--checkpoint', directory, '--vocab_path', corpus.vocab_path, '--use_gpu', 'False']
    output = str(corpus.directory.join('output'))
    for module, words in ((evaluate, ['--test_path', corpus.test_path] + reading),
                          (embed, [corpus.test_path, '--output', output + '.npz'] + reading),
                          (neighbours, ['词1 词2', '词1', '--text', corpus.test_path] + reading),
                          (convert, ['to_bilm', directory, output]), (convert, ['to_npz', directory, output]),
                          (convert, ['to_vocabulary', directory, output, '--vocab_path', corpus.vocab_path,
                                     '--new_vocab_path', corpus.vocab_path])):
        monkeypatch.setattr('sys.argv', ['command'] + words)
        yield refused(capsys, module.main)
    for flag in ('init_from', 'resume_from'):
        yield refused_training(corpus, capsys, embed_size=4, save_dir=output, **{flag: directory})
    flags = tagger_flags(corpus.directory, vocab_path=corpus.vocab_path, elmo_checkpoint=directory)
    yield refused(capsys, lambda: lac_train.train(lac_train.parse_args(flags)))


@pytest.mark.usefixtures('nothing_is_built')
@pytest.mark.parametrize('values', [
    {'hidden_size': 10 ** 8}, {'hidden_size': 2 ** 31 - 1}, {'num_layers': 3}, {'num_layers': 1}, {'embed_size': 5},
    {'hidden_size': True}, {'cell_clip': float('nan')}, {'hidden_size': [[1]]}, {'bos_id': 10 ** 30},
    {'vocab_sha256': ['x' * 500]}])
def test_sizes_that_are_not_those_of_the_files(corpus, capsys, monkeypatch, values):
    directory = files_of(SIZES, corpus.directory.mkdir('elmo'))
    directory.join('bilm.json').write(json.dumps(dict(SIZES, **values)))
    for line in lines_of_commands(corpus, str(directory), capsys, monkeypatch):
        assert str(directory) in line and 'copy it again, or take another' in line


@pytest.mark.usefixtures('nothing_is_built')
def test_a_run_of_other_sizes_than_its_checkpoint(corpus, capsys):
    directory = files_of(SIZES, corpus.directory.mkdir('elmo'))
    line = refused_training(corpus, capsys, init_from=directory, hidden_size=10 ** 8)
    assert 'has shape [4, 24] in the checkpoint, [4, 400000000] here' in line


def test_a_clip_that_is_a_whole_number(corpus, trained):
    run(corpus, max_steps=1, save_dir=corpus.directory.join('float'), init_from=trained)
    change(trained.join('bilm.json'), cell_clip=3, proj_clip=3)
    run(corpus, max_steps=1, save_dir=corpus.directory.join('whole'), init_from=trained)
    losses = [corpus.directory.join(name, 'log.jsonl').read().split('"loss"')[1].split(',')[0]
              for name in ('float', 'whole')]
    assert losses[0] == losses[1]


@pytest.fixture
def model(task):
    lac_train.train(lac_train.parse_args(tagger_flags(task, max_sentences=20)))
    return task


def test_settings_of_a_tagger(model, capsys, monkeypatch):
    path = model.join('model', 'settings.json')
    whole = json.loads(path.read())
    sizes, elmo = whole['sizes'], whole['sizes']['elmo']
    changes = [dict(sizes, grnn_hidden_dim=10 ** 8), dict(sizes, word_emb_dim=2 ** 31 - 1), dict(sizes, bigru_num=3),
               dict(sizes, num_labels=10 ** 8), dict(sizes, elmo=dict(elmo, hidden_size=10 ** 8)), [],
               dict(sizes, bigru_num=True), dict(sizes, elmo=dict(elmo, hidden_size=None)), dict(sizes, elmo={}),
               dict(sizes, elmo=dict(elmo, vocab_size=9))]
    monkeypatch.setattr(network, 'decoding', None)
    for changed in [{'sizes': value} for value in changes] + [{'batch_tokens': 0}, {'max_length': 10 ** 30}]:
        path.write(json.dumps(dict(whole, **changed)))
        monkeypatch.setattr('sys.argv', ['infer.py', '--model_dir', str(model.join('model')), '--use_gpu', 'False',
                                         os.path.join(ROOT, 'README.md')])
        line = refused(capsys, infer.main)
        assert str(model.join('model')) in line and len(line) < 2000
        flags = tagger_flags(model, init_from=model.join('model'), save_dir=model.join('second'))
        assert refused(capsys, lambda: lac_train.train(lac_train.parse_args(flags)))
    without = {name: value for name, value in sizes.items() if name != 'elmo'}
    path.write(json.dumps(dict(whole, sizes=without)))
    assert tagger.read_settings(str(model.join('model')))['sizes'] == dict(without, elmo=None)


@pytest.mark.parametrize('names', [
    ['../../etc/passwd'], ['/etc/passwd'], ['a\0b'], ['\udc80'], [''], ['.'], ['x' * 5000], ['embedding_para', '..']])
def test_a_manifest_of_other_files(tmpdir, names):
    tmpdir.join('embedding_para').write('x')
    manifest.write(str(tmpdir))
    entry = manifest.read(str(tmpdir))['embedding_para']
    tmpdir.join('manifest.json').write(json.dumps({name: entry for name in names}))
    assert manifest.read(str(tmpdir)) is None and 'no list of files' in manifest.damage(str(tmpdir))


@pytest.mark.parametrize('entry', [None, [], 'x', [1], [-1, 'x'], [True, 'x'], [1, 2], {'x': 1}, [1, 'x', 'y']])
def test_a_manifest_of_no_sizes_and_digests(tmpdir, entry):
    tmpdir.join('embedding_para').write('x')
    tmpdir.join('manifest.json').write(json.dumps({'embedding_para': entry}))
    assert manifest.read(str(tmpdir)) is None and 'no list of files' in manifest.damage(str(tmpdir))


@pytest.mark.skipif(os.geteuid() == 0, reason='root may read every file')
def test_a_file_that_may_not_be_read(tmpdir):
    tmpdir.join('embedding_para').write('x')
    manifest.write(str(tmpdir))
    tmpdir.join('embedding_para').chmod(0)
    assert 'embedding_para: cannot be read' in manifest.damage(str(tmpdir))


@pytest.mark.parametrize('content', [b'../../etc', b'', b'\xff\xfe\0', b'000002 000003', b'/'])
def test_a_pointer_that_names_no_checkpoint(corpus, trained, capsys, content):
    manifest.write(str(trained))
    best = corpus.directory.join('checkpoints', 'best')
    best.write_binary(content)
    line = refused_training(corpus, capsys, max_steps=3, resume=True)
    assert '%s: names no checkpoint' % best in line
    best.remove()
    run(corpus, max_steps=3, resume=True)


def test_a_perplexity_that_is_not_finite_is_not_the_best(corpus, capsys, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Evaluator, 'evaluate', lambda _: Evaluation(1, 1, 2, 0, np.inf, np.inf, np.inf))
        run(corpus, max_steps=1)
    assert 'best dev perplexity inf' in capsys.readouterr().out
    state = json.loads(corpus.directory.join('checkpoints', '000001', 'train_state.json').read())
    assert state['best_dev_perplexity'] is None
    run(corpus, max_steps=2, resume=True)
    assert corpus.directory.join('checkpoints', 'best').read() == '000002\n'


@pytest.mark.parametrize('values', [{'step': -1}, {'step': True}, {'step': 10 ** 30}, {'loss': 10 ** 400},
                                    {'epoch': True}, {'loss': 'x'}, {'loss': [1]}, {'kind': []}])
def test_a_log_with_other_values(tmpdir, values):
    log = runlog.RunLog(str(tmpdir))
    log.write('train', 1, 1, loss=float('inf'))  # a loss may overflow
    assert len(runlog.read(str(tmpdir))) == 1
    change(tmpdir.join('log.jsonl'), **values)
    tmpdir.join('log.jsonl').write('\n', 'a')
    with pytest.raises(InputError):
        runlog.read(str(tmpdir))


@pytest.mark.parametrize('before, now, told', [('2', '1', True), ('1', '1', False)])
def test_another_number_of_threads_is_told(corpus, capsys, monkeypatch, before, now, told):
    monkeypatch.setenv('MKL_NUM_THREADS', before)
    run(corpus, max_steps=1)
    monkeypatch.setenv('MKL_NUM_THREADS', now)
    capsys.readouterr()
    run(corpus, max_steps=2, resume=True)
    lines = [line for line in capsys.readouterr().out.splitlines() if 'last digits' in line]
    assert bool(lines) == told
    if told:
        assert 'MKL_NUM_THREADS=2' in lines[0] and 'MKL_NUM_THREADS=1' in lines[0]


def test_the_fuzzer_finds_nothing():
    code, output, errors = run_command([sys.executable, os.path.join(ROOT, 'benchmark', 'fuzz.py'), '--number', '60'])
    assert code == 0 and '60 tried' in output, errors
