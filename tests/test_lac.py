# -*- coding: utf-8 -*-
"""Training the tagger and tagging with it, on the committed sample and a tiny ELMo."""
from __future__ import absolute_import, division, print_function, unicode_literals

import collections
import io
import json
import os
import re
import resource
import shutil
import signal
import sys

import numpy as np
import paddle.fluid as fluid
import pytest
from matplotlib.image import imread

from project import ROOT
from helpers import TAGGED, refused, run_command, tagger_flags, write_lines
import bilm
from elmo import arrays, checkpoint, manifest, runlog
from elmo.text import InputError
from lac_finetune import network, tagger, train
from lac_finetune.average import Average
from lac_finetune.elmo import ElmoLayers
from lac_finetune.evaluation import Score
from lac_finetune.reader import read_tagged

INFER = os.path.join(ROOT, 'lac_finetune', 'infer.py')


def run(directory, **changed):
    """Trains in a scope of its own."""
    with fluid.scope_guard(fluid.Scope()):
        train.train(train.parse_args(tagger_flags(directory, **changed)))


@pytest.fixture
def model(task):
    run(task)
    return task


def values(directory):
    """{name: bytes} of the parameters in a directory."""
    return {name: io.open(os.path.join(str(directory), name), 'rb').read() for name in os.listdir(str(directory))
            if not name.startswith('__') and not name.endswith('.json')}


def settings(directory):
    with io.open(os.path.join(str(directory), 'settings.json'), encoding='utf-8') as handle:
        return json.load(handle)


def log_lines(output):
    """The lines of the log without times, speeds and the name of the directory."""
    return re.sub(r'\d+ units/s, [\d:]+ left| in [\d.]+ s|saved .*', '', output).splitlines()


@pytest.mark.parametrize('use_elmo', [True, False])
def test_the_same_seed_gives_the_same_run_whatever_cpu_num_is(task, capsys, monkeypatch, use_elmo):
    outputs = []
    for number, (seed, cpu_num) in enumerate([(1, '1'), (1, '2'), (2, '1')]):
        monkeypatch.setenv('CPU_NUM', cpu_num)
        name = 'model%d' % number
        run(task, save_dir=str(task.join(name)), random_seed=seed, max_epoch=2, max_sentences=30, use_elmo=use_elmo)
        outputs.append(log_lines(capsys.readouterr().out))
    assert outputs[0] == outputs[1] != outputs[2]
    one, other, third = [values(task.join('model%d' % number, 'network')) for number in range(3)]
    assert one == other
    assert [name for name in one if name not in bilm.parameter_shapes(bilm.PUBLISHED_CONFIG)] == [
        name for name in one if one[name] != third[name]]
    losses = [float(line.split()[5].rstrip(',')) for line in outputs[0] if line.startswith('epoch')]
    assert losses[-1] < losses[0]


def test_the_bilm_is_frozen_and_the_rest_is_trained(model):
    elmo, trained = values(model.join('elmo')), values(model.join('model', 'network'))
    assert set(elmo) - set(trained) == {'softmax_weight', 'softmax_bias'}
    assert all(trained[name] == elmo[name] for name in elmo if name in trained)
    mix = settings(model.join('model'))['elmo_mix']
    assert abs(sum(mix['weights']) - 1) < 1e-6 and len(mix['weights']) == 3
    assert mix['gamma'] != 1 and len(set(mix['weights'])) == 3


def test_layer_0_alone(task):
    """The tagger reads ELMo's word vectors times gamma. Its model does without the LSTM, and starts another one."""
    run(task, elmo_layers='0')
    elmo, saved = values(task.join('elmo')), values(task.join('model', 'network'))
    assert {name for name in saved if name in elmo} == {'embedding_para'}
    assert saved['embedding_para'] == elmo['embedding_para']
    found = settings(task.join('model'))
    gamma, table = [np.array(arrays.open_parameter(str(task.join('model', 'network', name))))
                    for name in ('ELMo_gamma', 'embedding_para')]
    assert found['sizes']['elmo_layers'] == '0' and found['elmo_mix'] == {'weights': [1], 'gamma': gamma[0]}
    assert gamma[0] != 1
    shutil.rmtree(str(task.join('elmo')))
    decoder, ids = tagger.Tagger(str(task.join('model')), place=fluid.CPUPlace()).decoder, [[5, 3], [9, 2, 5]]
    mixed, = [op for op in decoder.program.global_block().ops if 'ELMo_gamma' in op.input_arg_names]
    place = fluid.CPUPlace()
    vectors, = fluid.Executor(place).run(decoder.program, network.feed(ids, place), mixed.output_arg_names,
                                         scope=decoder.scope, return_numpy=False)
    rows = table[[5, 3, 9, 2, 5]]
    np.testing.assert_allclose(vectors, gamma * np.hstack([rows, rows]), rtol=1e-6)

    run(task, init_from=str(task.join('model')), save_dir=str(task.join('other')))
    assert settings(task.join('other'))['sizes'] == found['sizes']


def test_no_gradient_is_computed_for_the_layers_of_elmo(task):
    """They are frozen, and wider than all else that the tagger reads: half of the work of its backward pass."""
    sizes = {'vocab_size': 23, 'num_labels': 3, 'word_emb_dim': 4, 'grnn_hidden_dim': 5, 'bigru_num': 2,
             'elmo': dict(bilm.PUBLISHED_CONFIG, vocab_size=23, embed_size=6, hidden_size=7)}
    program, _, _ = train.training_program(sizes, ['n-B', 'n-I', 'v-B'], train.parse_args(tagger_flags(task)))
    block, width = program.global_block(), 3 * 2 * 6
    wide = {name for name, variable in block.vars.items()
            if len(variable.shape) == 2 and tuple(variable.shape) == (-1, width)}
    products = [op for op in block.ops if op.type == 'mul_grad' and op.input('Y')[0].startswith('split')]
    assert sorted(len(op.output('X@GRAD')) for op in products) == [0, 0, 1, 1, 1, 1]  # of layers, mix, words, each way
    assert all(set(op.input('X')) <= wide for op in products if not op.output('X@GRAD'))
    assert not any('elmo_layers@GRAD' in op.output_arg_names for op in block.ops)


def test_the_tagger_learns(task, capsys):
    """It learns a few sentences by heart, so training, decoding, alignment and scores agree."""
    path = os.path.join(TAGGED, 'dev.tsv')
    run(task, train_path=path, dev_path=path, test_path=path, max_epoch=90, patience=90, word_emb_dim=16,
        grnn_hidden_dim=16, dropout=0, base_learning_rate=0.01, log_interval=30, curves=True)
    output = capsys.readouterr().out.splitlines()
    test = [line for line in output if line.startswith('test')]
    assert float(re.search(r' F1 ([\d.]+)', test[0]).group(1)) > 90 and len(test) == 1
    assert output[-1].startswith('ELMo mix: layers ')

    printed = [re.search(r' F1 ([\d.]+)', line).group(1) for line in output if line.startswith('dev')]
    records = runlog.read(str(task.join('model')))
    assert ['%.2f' % record['f1'] for record in records if record['kind'] == 'dev'] == printed
    assert {record['step'] for record in records if record['kind'] == 'train'} >= {30, 60}
    for name in ('curves.png', 'confusion.png'):
        assert imread(str(task.join('model', name))).shape[0] > 300
    with io.open(str(task.join('model', 'confusion.tsv')), encoding='utf-8') as table:
        tags, rows = next(table).rstrip('\n').split('\t')[1:], [line.rstrip('\n').split('\t') for line in table]
    gold = collections.Counter(tag for sentence in read_tagged(path)[0] for tag in sentence.tags)
    assert [row[0] for row in rows] == tags
    assert {row[0]: sum(map(int, row[1:])) for row in rows if row[0] != '(no word)'} == gold


def test_best_is_kept_and_training_stops_early(task, capsys, monkeypatch):
    scores, rates = iter([10., 30., 20., 25., 40., 99.]), []

    def evaluate(tagger, sentences):
        rates.append(float(np.array(fluid.global_scope().find_var('learning_rate').get_tensor())))
        score = Score()
        score.tagging = [next(scores), 100, 100]
        return score

    monkeypatch.setattr(train, 'evaluate', evaluate)
    run(task, max_epoch=9, patience=2)
    output = capsys.readouterr().out
    assert [float(score) for score in re.findall(r'^dev .* F1 ([\d.]+), seg', output, re.M)] == [10, 30, 20, 25]
    assert len(re.findall('^saved', output, re.M)) == 2 and 'stopped' in output
    np.testing.assert_allclose(rates, [1e-3, 1e-3, 1e-3, 5e-4, 2.5e-4])  # halved after the scores 20 and 25
    assert settings(task.join('model'))['dev_f1'] == 30 and settings(task.join('model'))['test_f1'] == 40


def test_the_model_has_the_average_of_the_parameters(task, monkeypatch):
    """In the first epoch, all steps count alike."""
    add, values_of_steps = Average.add, []

    def recorded(average, step):
        values_of_steps.append(np.array(fluid.global_scope().find_var('emission.b').get_tensor()))
        add(average, step)

    monkeypatch.setattr(Average, 'add', recorded)
    run(task, average_epochs=1)
    decoder, _, _ = tagger.load_parts(str(task.join('model')), fluid.CPUPlace())
    saved = np.array(decoder.scope.find_var('emission.b').get_tensor())
    assert len(values_of_steps) > 2
    np.testing.assert_allclose(saved, np.mean(values_of_steps, axis=0), atol=1e-7)
    assert np.abs(saved - values_of_steps[-1]).max() > 1e-5


def command(model_dir, *arguments, **options):
    """Runs infer.py: (exit code, output, lines on stderr)."""
    code, output, errors = run_command(
        [sys.executable, INFER, '--use_gpu', 'False', '--model_dir', str(model_dir)] + list(arguments),
        cwd=str(model_dir.dirpath()), **options)
    return code, output, errors.splitlines()


RAW = ['我的弟弟每天跑步。', '', '  王小明 在上海\u3000工作  ', 'ＡＢＣ，123,龙/龘é\u200b', '，' * 300, '他']


def test_infer_keeps_every_character_and_the_order(model):
    moved = model.join('elsewhere', '模型') if sys.version_info > (3,) else model.join('elsewhere', 'moved')
    os.makedirs(str(moved.dirpath()))
    os.rename(str(model.join('model')), str(moved))
    shutil.rmtree(str(model.join('elmo')))
    path = write_lines(moved.dirpath().join('raw.txt'), RAW)
    code, output, errors = command(moved, path)
    assert code == 0 and len(errors) == 1 and 'characters/s' in errors[0] and errors[0].startswith('6 lines, ')
    lines = output.split('\n')
    assert lines.pop() == '' and len(lines) == len(RAW)
    for line, raw in zip(lines, RAW):
        words = [word.rsplit('/', 1) for word in line.split(' ')] if line else []
        assert ''.join(word for word, _ in words) == ''.join(raw.split())
    # white space is a border of words
    assert re.match('[王小明/a-zA-Z ]*明/[A-Za-z]+ 在', lines[2])
    # standard input, several files and other batches give the same
    raw = '\n'.join(RAW).encode('utf-8')
    assert command(moved, text=raw)[:2] == (0, output)
    assert command(moved, '--batch_tokens', '1', '-', text=raw)[:2] == (0, output)
    assert command(moved, path, path)[1] == output * 2


def test_infer_tokenized_keeps_the_words(model):
    code, output, _ = command(model.join('model'), '--tokenized', text='我 的弟弟 每天跑步。\n\n龙\n'.encode('utf-8'))
    assert code == 0
    words = [[word.rsplit('/', 1)[0] for word in line.split()] for line in output.splitlines()]
    assert words == [['我', '的弟弟', '每天跑步。'], [], ['龙']]


def test_infer_writes_what_was_evaluated(model):
    sentences, _ = read_tagged(os.path.join(TAGGED, 'test.tsv'))
    raw = '\n'.join(''.join(sentence.words) for sentence in sentences).encode('utf-8')
    score = Score()
    for line, sentence in zip(command(model.join('model'), text=raw)[1].splitlines(), sentences):
        score.add([word.rsplit('/', 1) for word in line.split()], list(zip(sentence.words, sentence.tags)))
    assert score.f1 == settings(model.join('model'))['test_f1']


def test_init_from_a_model_with_other_tags(model, capsys):
    coarse = []
    for sentence in read_tagged(os.path.join(TAGGED, 'train.tsv'))[0]:
        coarse.append('%s\t%s' % (' '.join(sentence.words), ' '.join(tag[0].upper() for tag in sentence.tags)))
    path = write_lines(model.join('coarse.tsv'), coarse)
    other = str(model.join('other'))
    run(model, train_path=path, dev_path=path, test_path=path, init_from=str(model.join('model')), save_dir=other,
        base_learning_rate=1e-9, max_epoch=1)
    before, after = values(model.join('model', 'network')), values(os.path.join(other, 'network'))
    changed = {name for name in before if not np.allclose(*[np.frombuffer(side[name][-32:], 'float32')
                                                            for side in (before, after)], atol=1e-6)}
    assert changed <= {'emission.w', 'emission.b', 'crf'} and 'emission.w' in changed
    assert settings(other)['sizes']['word_emb_dim'] == 4 and settings(other)['sizes']['elmo']
    os.remove(str(model.join('model', 'network', 'fw_gru1.w')))
    capsys.readouterr()
    line = refused(capsys, lambda: run(model, init_from=str(model.join('model')), save_dir=str(model.join('third'))))
    assert 'fw_gru1.w' in line


@pytest.mark.parametrize('name, value', [
    ('use_elmo', False), ('use_elmo', True), ('elmo_checkpoint', 'elmo'), ('elmo_layers', 'all'), ('word_emb_dim', 128),
    ('grnn_hidden_dim', 4), ('bigru_num', 2)])
def test_init_from_refuses_what_its_model_decides(tmpdir, capsys, name, value):
    flags = tagger_flags(tmpdir, init_from='model', **{name: value})
    line = refused(capsys, lambda: train.parse_args(flags))
    assert '--init_from' in line and 'leave out --' + name in line


def test_the_sizes_where_none_are_given(tmpdir):
    flags = tagger_flags(tmpdir)
    for name in ('word_emb_dim', 'grnn_hidden_dim', 'bigru_num'):
        start = flags.index('--' + name)
        del flags[start:start + 2]
    args = train.parse_args(flags)
    assert (args.elmo_layers, args.word_emb_dim, args.grnn_hidden_dim, args.bigru_num) == ('all', 128, 128, 2)


def test_a_run_from_a_model_goes_on_though_the_release_before_had_other_flags_in_it(model, monkeypatch):
    """That release took flags beside --init_from that it did not heed. Nobody can give them now."""
    changed = dict(init_from=str(model.join('model')), save_dir=str(model.join('next')), max_epoch=2, max_sentences=20)
    with monkeypatch.context() as patch:
        stopped_in_epoch(2, patch)
        run(model, **changed)
    path = checkpoint.newest_whole(str(model.join('next.resume')))
    with io.open(os.path.join(path, 'train_state.json'), encoding='utf-8') as handle:
        state = json.load(handle)
    state['flags'].update(use_elmo=False, elmo_layers='0', word_emb_dim=9, grnn_hidden_dim=128, bigru_num=1)
    write_lines(os.path.join(path, 'train_state.json'), [json.dumps(state)])
    os.remove(os.path.join(path, 'manifest.json'))
    manifest.write(path)
    run(model, resume=True, **changed)
    assert settings(model.join('next'))['test_f1'] > 0


def test_published_layout(task, monkeypatch):
    """A flat directory without bilm.json and softmax, with a learning rate and moments in it."""
    elmo = task.join('elmo')
    config = bilm.read_config(str(elmo))
    for name in ('bilm.json', 'softmax_weight', 'softmax_bias'):
        os.remove(str(elmo.join(name)))
    for name in ('learning_rate_0', 'embedding_para_moment_0'):
        shutil.copyfile(str(elmo.join('embedding_para')), str(elmo.join(name)))
    monkeypatch.setattr(bilm, 'PUBLISHED_CONFIG', {name: config[name] for name in bilm.PUBLISHED_CONFIG})
    run(task)
    assert settings(task.join('model'))['sizes']['elmo']['embed_size'] == 4


@pytest.mark.parametrize('source', ['changed', 'pipe'])
def test_the_model_has_the_vocabulary_that_it_was_trained_with(task, monkeypatch, source):
    """Whatever has become of the file meanwhile; a pipe can be read only once."""
    path, fit = task.join('vocabulary.txt'), train.fit
    content = path.read_binary()

    def changed(*args):
        path.write_binary(content + '新词\n'.encode('utf-8'))
        return fit(*args)

    if source == 'pipe':
        reader, writer = os.pipe()
        os.write(writer, content)
        os.close(writer)
        run(task, vocab_path='/dev/fd/%d' % reader)
        os.close(reader)
    else:
        monkeypatch.setattr(train, 'fit', changed)
        run(task)
    assert task.join('model', 'vocabulary.txt').read_binary() == content
    assert 'test_f1' in settings(task.join('model'))  # it was loaded again


def test_bad_training_data(task, capsys):
    def line(**changed):
        found = refused(capsys, lambda: run(task, **changed))
        assert not task.join('model').check()
        return found

    bad = write_lines(task.join('bad.tsv'), ['我 的\tr u', '我 的\tr'])
    for part in ('train', 'dev', 'test'):
        assert bad + ':2: 2 words but 1 tags' in line(**{part + '_path': bad})
        assert 'nowhere.tsv: cannot be read' in line(**{part + '_path': 'nowhere.tsv'})
    write_lines(bad, ['我 的\tr u', ''])
    assert bad + ':2: empty line' in line(train_path=bad)
    tags = write_lines(task.join('tags.txt'), ['r', 'u', 'n', 'v'])
    assert TAGGED + '/train.tsv:1: unknown tag t' in line(tag_path=tags)
    assert 'nowhere.txt: cannot be read' in line(tag_path='nowhere.txt')
    other = write_lines(task.join('other.tsv'), ['我\tZZZ', '你\tYYY'])
    for part in ('dev', 'test'):
        assert '%s: has none of the tags of the training' % other in line(**{part + '_path': other})
    assert 'other.tsv:1: unknown tag ZZZ' in line(
        dev_path=other, tag_path=os.path.join(ROOT, 'lac_finetune', 'conf', 'pku_tags.txt'))
    with io.open(bad, 'wb') as output:
        output.write('我\tr\n'.encode('gb18030'))
    assert bad + ':1: not UTF-8' in line(train_path=bad)


def test_elmo_layers_without_elmo(task, capsys):
    line = refused(capsys, lambda: run(task, use_elmo=False, elmo_layers='0'))
    assert '--elmo_layers has no effect with --use_elmo False' in line


def test_tags_that_training_lacks_are_named(task, capsys):
    path = write_lines(task.join('dev.tsv'), ['我 爱 你\tr zz r'])
    run(task, dev_path=path, max_epoch=1)
    assert '%s: has tags that the training text lacks, so they count as errors: zz\n' % path in capsys.readouterr().out


def test_stray_gold_labels_are_reported(task, capsys):
    path = write_lines(task.join('stray.tsv'), ['我 的\tr-I u-I', '每 天\tt-B t-I'])
    run(task, train_path=path, dev_path=path, test_path=path)
    assert path + ': 2 I without B' in capsys.readouterr().out


def test_bad_elmo(task, capsys):
    def line(**changed):
        found = refused(capsys, lambda: run(task, **changed))
        assert not task.join('model').check()
        return found

    words = ['<S>', '</S>', '<UNK>', '我']
    other = write_lines(task.join('other.txt'), words)
    assert 'another vocabulary' in line(vocab_path=other)
    assert '--elmo_checkpoint nowhere: no such directory' in line(elmo_checkpoint='nowhere')
    assert '--use_elmo' in line(elmo_checkpoint='')
    assert 'bilm.json' not in line(elmo_checkpoint=str(task))
    path = str(task.join('elmo', 'lstmp_1.w_0'))
    with open(path, 'r+b') as handle:
        handle.truncate(os.path.getsize(path) - 4)
    assert path + ': truncated' in line()
    os.remove(path)
    assert 'lstmp_1.w_0 is missing' in line()
    os.remove(str(task.join('elmo', 'bilm.json')))  # without bilm.json it counts as the published checkpoint
    assert 'vocab_size is 52445 there' in line()


def test_a_wrong_elmo_is_refused_though_this_run_does_without(task, capsys):
    """The run with ELMo that it is to be compared with comes later, perhaps hours later."""
    def line(**changed):
        found = refused(capsys, lambda: run(task, use_elmo=False, **changed))
        assert not task.join('model').check()
        return found

    assert '--elmo_checkpoint nowhere: no such directory' in line(elmo_checkpoint='nowhere')
    words = write_lines(task.join('other.txt'), ['<S>', '</S>', '<UNK>', '我'])
    assert 'another vocabulary' in line(vocab_path=words)
    task.join('elmo', 'lstmp_1.w_0').remove()
    assert 'lstmp_1.w_0 is missing' in line()
    run(task, use_elmo=False, elmo_checkpoint='')
    assert settings(task.join('model'))['sizes']['elmo'] is None


@pytest.mark.parametrize('flag, value', [
    ('dropout', '1'), ('max_epoch', '0'), ('use_elmo', 'maybe'), ('batch_tokens', '0'), ('patience', '0'),
    ('base_learning_rate', '0'), ('bigru_num', '0'), ('random_seed', '-1'), ('max_sentences', '-1'), ('unknown', '1')])
def test_flags(task, capsys, flag, value):
    line = refused(capsys, lambda: run(task, **{flag: value}))
    assert '--' + flag in line and value in line


def test_save_dir_that_cannot_be_used(model, capsys):
    before = settings(model.join('model'))
    assert 'is there already' in refused(capsys, lambda: run(model))
    assert settings(model.join('model')) == before
    path = os.path.join(write_lines(model.join('file'), ['x']), 'model')
    assert path in refused(capsys, lambda: run(model, save_dir=path))


@pytest.mark.parametrize('save_dir', ['', '/', '//', '.', './', 'models/..'])
def test_save_dir_that_names_no_new_directory(tmpdir, capsys, save_dir):
    line = refused(capsys, lambda: train.parse_args(tagger_flags(tmpdir, save_dir=save_dir)))
    assert '--save_dir %s: names no new directory' % save_dir in line


def test_without_matplotlib_only_the_pictures_are_missing(task, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, 'matplotlib', None)
    run(task, curves=True)
    output = capsys.readouterr().out
    assert 'curves.png is not drawn' in output and 'confusion.png is not drawn: ' in output
    assert settings(task.join('model'))['test_f1'] > 0 and task.join('model', 'confusion.tsv').check()
    assert not task.join('model.resume').check()


def test_a_log_that_cannot_be_kept(tmpdir):
    """The model is whole then; only its log and what the test tells are missing."""
    write_lines(tmpdir.join('log.jsonl'), [])
    with pytest.raises(checkpoint.SaveError) as error:
        train.keep_log(str(tmpdir), str(tmpdir.join('none')))
    assert 'none/log.jsonl: cannot be written' in str(error.value) and 'same command with --resume' in str(error.value)


def test_bad_input_of_infer(model):
    directory = model.join('model')
    code, output, errors = command(directory, text='我\n'.encode('utf-8') + b'\xff\n')
    assert code == 2 and len(errors) == 1 and errors[0].startswith('infer.py: error: stdin:2: not UTF-8')
    code, output, errors = command(directory, 'nowhere.txt')
    assert code == 2 and len(errors) == 1 and 'nowhere.txt: no file matches' in errors[0]
    path = directory.join('network', 'lstmp_0.w_0')
    content = path.read_binary()
    path.write_binary(content[:-4])
    code, output, errors = command(directory, text=b'')
    assert code == 2 and len(errors) == 1 and 'lstmp_0.w_0: damaged' in errors[0]
    path.remove()
    code, output, errors = command(directory, text=b'')
    assert code == 2 and len(errors) == 1 and 'lstmp_0.w_0: is missing' in errors[0]
    code, output, errors = command(model.join('elmo'), text=b'')
    assert code == 2 and len(errors) == 1 and 'settings.json: cannot be read' in errors[0]


def test_settings_and_network_of_a_model_are_not_trusted(model, monkeypatch):
    directory, place = model.join('model'), fluid.CPUPlace()
    monkeypatch.setattr(fluid.io, 'load_inference_model', None)  # the saved program is not run
    whole = settings(directory)
    for change in ({'sizes': None}, {'sizes': {}}, {'batch_tokens': 0}, {'max_length': '9'},
                   {'sizes': dict(whole['sizes'], bigru_num=10 ** 6)}, {'sizes': dict(whole['sizes'], num_labels=1)},
                   {'sizes': dict(whole['sizes'], elmo={'vocab_size': 5})},
                   {'sizes': dict(whole['sizes'], elmo=dict(whole['sizes']['elmo'], num_layers=10 ** 6))},
                   {'sizes': dict(whole['sizes'], elmo_layers='top')}, {'sizes': dict(whole['sizes'], elmo_layers='0')},
                   {'sizes': dict(whole['sizes'], grnn_hidden_dim=5)}):
        write_lines(directory.join('settings.json'), [json.dumps(dict(whole, **change))])
        with pytest.raises(InputError), fluid.scope_guard(fluid.Scope()):
            tagger.Tagger(str(directory), place=place)
    write_lines(directory.join('settings.json'), [json.dumps(whole)])
    with fluid.scope_guard(fluid.Scope()):
        tagger.Tagger(str(directory), place=place)


def stopped_in_epoch(number, monkeypatch):
    """Sends SIGTERM in the evaluation of this epoch; epochs count from 1."""
    evaluate, epochs = train.evaluate, []

    def interrupted(*args):
        epochs.append(1)
        if len(epochs) == number:
            os.kill(os.getpid(), signal.SIGTERM)
        return evaluate(*args)

    monkeypatch.setattr(train, 'evaluate', interrupted)


@pytest.mark.parametrize('number', [1, 2, 3])
def test_a_resumed_tagger_equals_one_never_stopped(task, capsys, monkeypatch, number):
    changed = {'max_epoch': 3, 'max_sentences': 30, 'patience': 3, 'average_epochs': 1}
    run(task, save_dir=str(task.join('whole')), **changed)
    whole = log_lines(capsys.readouterr().out)
    with monkeypatch.context() as patch:
        stopped_in_epoch(number, patch)
        run(task, **changed)
    output = capsys.readouterr().out
    assert 'to go on after epoch %d: the same command with --resume' % (number - 1) in output
    run(task, resume=True, **changed)
    output = log_lines(capsys.readouterr().out)
    assert ('goes on after epoch %d' % (number - 1) in '\n'.join(output)) == (number > 1)
    assert output[-3:] == whole[-3:]
    assert values(task.join('model', 'network')) == values(task.join('whole', 'network'))
    assert settings(task.join('model'))['test_f1'] == settings(task.join('whole'))['test_f1']
    assert not task.join('model.resume').check()


def test_an_interrupted_tagger_is_not_lost(task, capsys, monkeypatch):
    changed = {'max_epoch': 3, 'max_sentences': 30}
    with monkeypatch.context() as patch:
        stopped_in_epoch(2, patch)
        run(task, **changed)
    assert '--resume' in refused(capsys, lambda: run(task, **changed))
    line = refused(capsys, lambda: run(task, resume=True, dropout=0.2, word_emb_dim=5, log_interval=9, **changed))
    assert '--dropout 0.3 there, 0.2 here, --word_emb_dim 4 there, 5 here' in line and 'log_interval' not in line
    task.join('model').rename(task.join('model.resume', '.model.old'))  # as after a kill between two renames
    run(task, resume=True, **changed)
    assert settings(task.join('model'))['test_f1'] and not task.join('model.resume').check()


def test_a_tagger_whose_checkpoint_is_damaged_is_not_trained_anew(task, capsys, monkeypatch):
    changed = {'max_epoch': 3, 'max_sentences': 30}
    with monkeypatch.context() as patch:
        stopped_in_epoch(2, patch)
        run(task, **changed)
    before, path = settings(task.join('model')), checkpoint.newest_whole(str(task.join('model.resume')))
    with io.open(os.path.join(path, 'emission.w'), 'r+b') as handle:
        handle.seek(-3, os.SEEK_END)
        handle.write(b'abc')
    line = refused(capsys, lambda: run(task, resume=True, **changed))
    assert 'none of its checkpoints is whole' in line
    assert settings(task.join('model')) == before and os.path.isdir(path)


def test_a_tagger_that_was_killed_at_its_end_is_finished(model, capsys):
    before = settings(model.join('model'))
    model.mkdir('model.resume')
    run(model, resume=True)
    assert 'finished: ' in capsys.readouterr().out
    assert settings(model.join('model')) == before and not model.join('model.resume').check()


def test_to_resume_a_finished_tagger_says_so(model, capsys):
    before = settings(model.join('model'))
    capsys.readouterr()
    run(model, resume=True, log_interval=9)
    expected = 'finished: %s, test F1 %.2f\n' % (model.join('model'), before['test_f1'])
    assert capsys.readouterr().out == expected and settings(model.join('model')) == before
    line = refused(capsys, lambda: run(model, resume=True, dropout=0.2))
    assert 'was trained with --dropout 0.3, not 0.2' in line and not model.join('model.resume').check()


def test_a_tagger_does_not_go_on_with_another_training_text(task, capsys, monkeypatch):
    with io.open(os.path.join(TAGGED, 'train.tsv'), encoding='utf-8') as handle:
        lines = handle.read().splitlines()
    changed = {'max_epoch': 3, 'train_path': write_lines(task.join('train.tsv'), lines)}
    with monkeypatch.context() as patch:
        stopped_in_epoch(2, patch)
        run(task, **changed)
    write_lines(task.join('train.tsv'), lines + lines[:1])
    monkeypatch.setattr(ElmoLayers, 'prepare', None)  # which takes minutes, so the flags are compared before
    line = refused(capsys, lambda: run(task, resume=True, **changed))
    assert re.search(r'as it was: units of the training text: \d+ there, \d+ here; ', line)
    assert 'another --save_dir' in line and 'init_from' not in line


def test_a_signal_stops_a_run_that_prepares_the_layers_of_elmo(task, capsys, monkeypatch):
    compute = ElmoLayers._compute

    def interrupted(*args):
        os.kill(os.getpid(), signal.SIGTERM)
        compute(*args)
        raise AssertionError('it goes on')

    with monkeypatch.context() as patch:
        patch.setattr(ElmoLayers, '_compute', interrupted)
        run(task)
    assert 'to go on after epoch 0: the same command with --resume' in capsys.readouterr().out
    run(task, resume=True)
    assert settings(task.join('model'))['test_f1'] > 0


def test_a_full_disk_under_the_layers_of_elmo(task):
    """Also where the disk is full only when a buffer is written, later."""
    for size in (100, 5000):
        code, _, errors = run_command(
            [sys.executable, os.path.join(ROOT, 'lac_finetune', 'train.py')] + tagger_flags(task), preexec_fn=lambda:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)))
        lines = [line for line in errors.splitlines() if 'error' in line.lower()]
        assert code == 2 and len(lines) == 1 and 'File too large' in lines[0], errors
        assert size < 5000 or "cannot hold ELMo's layers" in lines[0]
        shutil.rmtree(str(task.join('model.resume')))
