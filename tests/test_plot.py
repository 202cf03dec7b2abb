# -*- coding: utf-8 -*-
"""The log of a run, and its pictures."""
from __future__ import absolute_import, division, print_function, unicode_literals

import io
import re
import sys
import types

import numpy as np
import pytest
from matplotlib.image import imread

from helpers import refused, run, write_lines
from elmo import cli, curves, runlog
from elmo.text import InputError
from lac_finetune.evaluation import NO_WORD, Score
from tools import plot

pytestmark = pytest.mark.usefixtures('fresh_scope')


def without_times(records):
    return [{name: value for name, value in record.items() if name not in ('seconds', 'tokens_per_second')}
            for record in records]


def test_a_run_logs_what_it_prints(corpus, capsys):
    run(corpus, max_epoch=2, log_interval=3, curves=True, learning_rate=0.1)
    output, records = capsys.readouterr().out, runlog.read(str(corpus.directory.join('checkpoints')))
    printed = re.findall(r'^epoch (\d+) step (\d+)/\d+ loss ([\d.]+) perplexity fw ([\d.]+) bw ([\d.]+), '
                         r'(\d+) tokens/s', output, re.M)
    names = ('epoch', 'step', 'loss', 'perplexity_fw', 'perplexity_bw', 'tokens_per_second')
    logged = [[record[name] for name in names] for record in records if record['kind'] == 'train']
    assert len(logged) > 4
    np.testing.assert_allclose(logged, np.array(printed, dtype='float64'), rtol=1e-3, atol=1)
    np.testing.assert_allclose([row[2] for row in logged], [float(row[2]) for row in printed], atol=6e-5)
    assert all(record['learning_rate'] == 0.1 for record in records if record['kind'] == 'train')
    dev = re.findall(r'^dev epoch (\d) step (\d+) perplexity ([\d.]+) fw ([\d.]+) bw ([\d.]+),', output, re.M)
    found = [[record[name] for name in ('epoch', 'step', 'perplexity', 'perplexity_fw', 'perplexity_bw')]
             for record in records if record['kind'] == 'dev']
    assert len(found) == 2
    np.testing.assert_allclose(found, np.array(dev, dtype='float64'), atol=0.006)
    picture = imread(str(corpus.directory.join('checkpoints', 'curves.png')))
    assert picture.shape[:2] == (800, 1200) and 0.5 < picture[:, :, :3].mean() < 1


def test_the_log_of_a_resumed_run_is_that_of_one_never_stopped(corpus, capsys):
    flags = dict(max_epoch=2, linear_decay=True, save_interval=2, keep_checkpoints=20)
    run(corpus, save_dir=corpus.directory.join('whole'), **flags)
    run(corpus, **flags)
    directory = corpus.directory.join('checkpoints')
    for path in directory.listdir():
        if path.basename.isdigit() and int(path.basename) > 20:  # as after a kill at a later step, within a line
            path.remove()
    with io.open(str(directory.join('log.jsonl')), 'a', encoding='utf-8') as log:
        log.write('\x00\x00\n{"kind": "tra')
    run(corpus, resume=True, **flags)
    assert 'log.jsonl:31: damaged, and left out' in capsys.readouterr().out
    whole, resumed = [runlog.read(str(corpus.directory.join(name))) for name in ('whole', 'checkpoints')]
    assert without_times(whole) == without_times(resumed) and whole[-1]['step'] > 21
    rates = [record['learning_rate'] for record in whole if record['kind'] == 'train']
    assert rates == sorted(rates, reverse=True) and rates[-1] < 0.001 < 0.0075 < rates[0]


@pytest.mark.parametrize('line', ['[]', '{', '{"kind": "train"}', '{"kind": "other", "step": 1}', '\x00', '[' * 10 ** 5,
                                  '{"kind": "train", "step": "one"}', '{"kind": "dev", "step": 1, "loss": "low"}'])
def test_a_line_of_no_run_is_told(tmpdir, line):
    write_lines(tmpdir.join('log.jsonl'), ['{"kind": "train", "step": 1, "loss": 2.5}', line])
    with pytest.raises(InputError) as error:
        runlog.read(str(tmpdir))
    assert 'log.jsonl:2: is no line that a run has logged' in str(error.value)


def made_up(directory, step, **metrics):
    """Makes a directory with a log of these metrics at steps 1, 1 + step …; returns its path."""
    log = runlog.RunLog(str(directory.ensure(dir=True)))
    for number, values in enumerate(zip(*metrics.values())):
        log.write('train', 1 + number * step, 1, **dict(zip(metrics, values)))
    log.write('dev', 1 + step, 1, perplexity=70.5, perplexity_fw=70, perplexity_bw=71)
    return str(directory)


def test_what_is_drawn(tmpdir, monkeypatch, capsys):
    losses, figures = [5., 4.5, 4.25, 4.], []
    runs = [made_up(tmpdir.join('one'), 10, loss=losses, learning_rate=[0.2] * 4),
            made_up(tmpdir.join('two'), 20, loss=losses[::-1], learning_rate=[0.1] * 4)]
    save = curves.save
    monkeypatch.setattr(curves, 'save', lambda figure, path: figures.append(figure) or save(figure, path))
    output = str(tmpdir.join('runs.png'))
    monkeypatch.setattr(sys, 'argv', ['plot.py'] + runs + ['--output', output])
    cli.run(plot.main)
    axes = figures[0].axes
    assert [panel.get_title().split()[0] for panel in axes] == ['loss', 'perplexity', 'learning']
    lines = [line.get_xydata().tolist() for line in axes[0].get_lines()]
    assert lines == [[[1, 5], [11, 4.5], [21, 4.25], [31, 4]], [[1, 4], [21, 4.25], [41, 4.5], [61, 5]]]
    dev = [line.get_xydata().tolist() for line in axes[1].get_lines()]
    assert dev == [[[11, 70]], [[21, 70]], [[11, 71]], [[21, 71]]]
    assert [text.get_text() for text in figures[0].legends[0].get_texts()] == runs
    assert imread(output).shape[1] == 1200
    assert 'two: step 21, best dev perplexity 70.50 at step 21' in capsys.readouterr().out


@pytest.mark.parametrize('metrics, rows', [({}, 1), (dict(loss=1.), 1), (dict(loss=1., learning_rate=1.), 2)])
def test_no_part_of_the_picture_is_empty(monkeypatch, metrics, rows):
    """Also of a tagger whose log has few lines: its first is an evaluation."""
    figures = []
    monkeypatch.setattr(curves, 'save', lambda figure, path: figures.append(figure))
    records = [dict(metrics, kind='train', step=1, epoch=1)] if metrics else []
    curves.draw([('', records + [{'kind': 'dev', 'step': 2, 'epoch': 1, 'f1': 80.}])], 'x.png')
    boxes = [panel.get_position() for panel in figures[0].axes]
    assert len(boxes) == 1 + len(metrics)
    for row in range(rows):
        inside = [box for box in boxes if box.y0 < (row + 0.5) / rows < box.y1]
        assert min(box.x0 for box in inside) < 0.1 and max(box.x1 for box in inside) > 0.95


def test_runs_of_two_kinds_are_not_drawn_together(tmpdir, monkeypatch, capsys):
    model, tagger, output = made_up(tmpdir.join('model'), 10, loss=[4.]), tmpdir.mkdir('tagger'), tmpdir.join('x.png')
    log = runlog.RunLog(str(tagger))
    log.write('train', 50, 1, loss=0.2)
    log.write('dev', 60, 1, f1=90.)
    monkeypatch.setattr(sys, 'argv', ['plot.py', model, str(tagger), '--output', str(output)])
    line = refused(capsys, plot.main)
    assert 'of a language model and of a tagger' in line and not output.check()


def test_of_equal_scores_the_first_is_the_best():
    """As the training keeps it."""
    f1 = [{'kind': 'dev', 'step': step, 'f1': value} for step, value in ((10, 80.), (20, 90.), (30, 90.), (40, 85.))]
    assert plot.summary(f1) == 'step 40, best dev f1 90.00 at step 20'


def test_the_log_of_another_run_is_left_behind(corpus):
    """A run that was killed before its first checkpoint has left a log in the directory where another one goes on."""
    run(corpus, max_steps=4)
    other = corpus.directory.mkdir('other')
    log = runlog.RunLog(str(other))
    for step in (1, 2, 1000):
        log.write('train', step, 1, loss=9.)
    run(corpus, max_steps=6, resume_from=corpus.directory.join('checkpoints'), save_dir=other)
    assert {record['step'] for record in runlog.read(str(other))} == {5, 6}
    assert {record['step'] for record in runlog.read(str(corpus.directory.join('checkpoints')))} == {1, 2, 3, 4}


def test_many_points_are_means_of_neighbours(monkeypatch):
    monkeypatch.setattr(curves, 'POINTS', 3)
    assert curves.thin([(1, 10.), (2, 20.), (3, 30.)]).tolist() == [[1, 10], [2, 20], [3, 30]]
    assert curves.thin([(1, 10.), (2, 20.), (3, 30.), (4, 50.)]).tolist() == [[1.5, 15], [3.5, 40]]


def test_plot_refuses(tmpdir, monkeypatch, capsys):
    write_lines(tmpdir.join('log.jsonl'), [])
    for flags, message in (([str(tmpdir.join('none'))], 'cannot be read'),
                           ([str(tmpdir)], 'nothing is logged there yet'),
                           ([made_up(tmpdir.join('one'), 1, loss=[1.]), '--output', str(tmpdir.join('no', 'x.png'))],
                            'cannot be written')):
        monkeypatch.setattr(sys, 'argv', ['plot.py'] + flags)
        assert message in refused(capsys, plot.main)


def test_without_matplotlib_plot_is_refused(tmpdir, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, str('matplotlib.lines'), None)
    run, output = made_up(tmpdir.join('one'), 1, loss=[1.]), tmpdir.join('x.png')
    monkeypatch.setattr(sys, 'argv', ['plot.py', run, '--output', str(output)])
    assert 'matplotlib cannot be imported' in refused(capsys, plot.main) and not output.check()


@pytest.mark.parametrize('fitting', [True, False])
def test_without_matplotlib_training_goes_on(corpus, capsys, monkeypatch, fitting):
    if fitting:
        monkeypatch.setitem(sys.modules, str('matplotlib.lines'), None)
    else:  # an old matplotlib says so of a new numpy
        monkeypatch.setattr(curves, 'chinese_font', lambda: np.no_such_type)
    run(corpus, max_steps=2, curves=True)
    output = capsys.readouterr().out
    assert output.count('curves.png is not drawn any more: ') == 1 and 'finished' in output


def test_a_save_before_the_first_line(corpus, capsys):
    run(corpus, max_steps=4, save_interval=2, log_interval=1000, curves=True)
    assert 'not drawn' not in capsys.readouterr().out
    assert imread(str(corpus.directory.join('checkpoints', 'curves.png'))).shape[0] == 400  # only the dev text is drawn


def test_visualdl(corpus, capsys, monkeypatch):
    class LogWriter(object):
        def __init__(self, logdir):
            pass

        def add_scalar(self, *args):
            scalars.append(args)

        def flush(self):
            pass

    scalars, module = [], types.ModuleType(str('visualdl'))
    module.LogWriter = LogWriter
    monkeypatch.setitem(sys.modules, str('visualdl'), None)
    assert '--visualdl True: VisualDL is not installed' in refused(capsys, lambda: run(corpus, visualdl=True))
    monkeypatch.setitem(sys.modules, str('visualdl'), module)
    run(corpus, max_steps=2, visualdl=True)
    records = runlog.read(str(corpus.directory.join('checkpoints')))
    for record in records:
        for name in set(record) - {'kind', 'step', 'epoch'}:
            assert ('%(kind)s/' % record + name, record[name], record['step']) in scalars
    assert {step for _, _, step in scalars} == {1, 2}


def test_confusion_by_hand(tmpdir):
    score = Score()
    score.add([('我', 'r'), ('爱', 'v'), ('北京', 'n')], [('我', 'r'), ('爱', 'v'), ('北京', 'ns')])
    score.add([('天', 'n'), ('安门', 'n')], [('天安门', 'ns')])
    score.add([('我', 'v'), ('爱', 'v')], [('我', 'r'), ('爱', 'v')])
    tags, counts = score.confusion_table()
    assert tags == ['ns', 'r', 'v', 'n', NO_WORD]
    assert counts.tolist() == [[0, 0, 0, 1, 1], [0, 1, 1, 0, 0], [0, 0, 2, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 2, 0]]
    assert score.errors(1) == [('ns', 'n', 1)]
    path = str(tmpdir.join('confusion.png'))
    curves.draw_confusion(tags, counts, path)
    assert imread(path).shape[0] == int(100 * (3 + 0.28 * 5))
