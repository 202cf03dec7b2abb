# -*- coding: utf-8 -*-
"""No work is lost: exact continuation, whole checkpoints, signals, bad batches, full disks."""
from __future__ import absolute_import, division, print_function, unicode_literals

import io
import json
import os
import re
import resource
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

from project import ROOT
from helpers import ADAGRAD, SEVERAL_DEVICES, last, parameters, refused_training, run, run_command, same
from elmo import checkpoint
from elmo.evaluator import Evaluator
from elmo.signals import Stop, Stopped
from elmo.text import InputError
from elmo.training import TrainingProgram
from train import Trainer

pytestmark = pytest.mark.usefixtures('fresh_scope')
SAMPLED = {'sample_softmax': True, 'n_negative_samples_batch': 9}


def steps(directory):
    return sorted(name for name in os.listdir(str(directory)) if name.isdigit())


def damage(path):
    """Changes one byte of a file and keeps its size."""
    with io.open(str(path), 'r+b') as handle:
        handle.seek(-3, os.SEEK_END)
        byte = handle.read(1)
        handle.seek(-3, os.SEEK_END)
        handle.write(bytes(bytearray([bytearray(byte)[0] ^ 1])))


@pytest.mark.parametrize('num_devices', ['1', pytest.param('2', marks=SEVERAL_DEVICES)])
@pytest.mark.parametrize('flags', [{}, SAMPLED, ADAGRAD])
def test_a_resumed_run_equals_one_never_stopped(corpus, monkeypatch, num_devices, flags):
    monkeypatch.setenv('CPU_NUM', num_devices)
    run(corpus, max_epoch=2, save_dir=corpus.directory.join('whole'), **flags)
    for max_steps in (3, 4, 0):
        run(corpus, max_epoch=2, max_steps=max_steps, resume=True, **flags)
    assert same(last(corpus, 'whole'), last(corpus))


def test_resume_passes_over_a_damaged_checkpoint(corpus, capsys):
    run(corpus, max_epoch=2, save_dir=corpus.directory.join('whole'))
    run(corpus, max_epoch=2, max_steps=4, save_interval=2, dev_interval=1000)
    directory = corpus.directory.join('checkpoints')
    damage(directory.join('000004', 'lstmp_1.w_0'))
    capsys.readouterr()
    run(corpus, max_epoch=2, resume=True)
    output = capsys.readouterr().out
    assert re.search(r'passed over: \S+lstmp_1.w_0: damaged', output)
    assert 'loaded %s' % directory.join('000002') in output
    assert same(last(corpus, 'whole'), last(corpus))


def test_resume_where_no_checkpoint_is_whole_changes_nothing(corpus):
    run(corpus, max_steps=4, save_interval=2, dev_interval=1000)
    directory = corpus.directory.join('checkpoints')
    for step in ('000002', '000004'):
        damage(directory.join(step, 'lstmp_1.w_0'))

    def contents():
        paths = [path for path in directory.visit() if path.check(file=1) and path.basename != '.lock']
        return {path: path.read_binary() for path in paths}

    before = contents()
    with pytest.raises(InputError, match='--resume: .*none of its checkpoints is whole; put back what is missing'):
        run(corpus, max_steps=9, resume=True)
    assert contents() == before


@pytest.mark.parametrize('name', ['embedding_para', 'optimizer/embedding_para_moment1_0', 'train_state.json'])
def test_a_damaged_file_is_named(corpus, name):
    run(corpus, max_steps=2)
    path = corpus.directory.join('checkpoints', '000002')
    damage(path.join(name))
    with pytest.raises(InputError) as error:
        run(corpus, load_dir=path)
    assert '%s: ' % path.join(name) in str(error.value)


def test_resume_starts_where_there_is_nothing(corpus, capsys):
    run(corpus, max_steps=1, resume=True)
    run(corpus, max_steps=1, save_dir=corpus.directory.join('other'))
    assert same(last(corpus), last(corpus, 'other'))


def test_resume_finds_the_last_default_directory(corpus, monkeypatch):
    monkeypatch.chdir(corpus.directory)
    for flags in ({}, {}, {'resume': True, 'max_steps': 2}):
        run(corpus, save_dir='', **dict({'max_steps': 1}, **flags))
    assert [steps(name) for name in ('checkpoints', 'checkpoints.2')] == [['000001'], ['000001', '000002']]
    os.mkdir('checkpoints.3')
    with io.open(os.path.join('checkpoints.3', 'log.jsonl'), 'w'):
        pass  # a run that was killed before it saved anything
    run(corpus, save_dir='', resume=True, max_steps=3)
    assert steps('checkpoints.2')[-1] == '000003' and os.listdir('checkpoints.3') == ['log.jsonl']


def test_resume_says_that_it_starts_anew(corpus, capsys):
    run(corpus, resume=True, max_steps=1)
    assert '--resume: no checkpoint in %s yet' % corpus.directory.join('checkpoints') in capsys.readouterr().out


def test_changed_flags_that_break_the_continuation_are_all_named(corpus):
    run(corpus, max_steps=1)
    with pytest.raises(InputError) as error:
        run(corpus, resume=True, dropout=0.2, learning_rate=0.1, max_grad_norm=5, random_seed=7, log_interval=3)
    for change in ('dropout 0.1 there, 0.2 here', 'learning_rate', 'max_grad_norm', 'random_seed 1 there, 7 here'):
        assert '--' + change in str(error.value)
    assert 'log_interval' not in str(error.value)
    run(corpus, resume=True, max_epoch=2, log_interval=2, max_steps=3, save_interval=2, dev_interval=3)


def test_another_dev_text_has_a_best_of_its_own(corpus, capsys):
    run(corpus, max_steps=1)
    run(corpus, max_steps=2, resume=True, test_path=corpus.train_path)
    assert 'its best perplexity counts anew' in capsys.readouterr().out
    assert corpus.directory.join('checkpoints', 'best').read() == '000002\n'


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_step_and_saves(corpus, capsys, monkeypatch, number):
    run(corpus, max_epoch=2, save_dir=corpus.directory.join('whole'))
    step = Trainer.step

    def interrupted(self, *args):
        step(self, *args)
        if self.state['step'] == 3:
            os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, 'step', interrupted)
        run(corpus, max_epoch=2)
    output, said = capsys.readouterr()
    assert 'after step 3; to go on: the same command with --resume --save_dir' in output
    assert 'SIG' in said and 'coming to an end' in said and signal.getsignal(number) == before
    assert steps(corpus.directory.join('checkpoints')) == ['000003']
    run(corpus, max_epoch=2, resume=True)
    assert same(last(corpus, 'whole'), last(corpus))


@pytest.mark.parametrize('num_devices', ['1', pytest.param('2', marks=SEVERAL_DEVICES)])
def test_a_signal_in_an_evaluation_leaves_it_for_later(corpus, capsys, monkeypatch, num_devices):
    def interrupted(self):
        os.kill(os.getpid(), signal.SIGTERM)
        yield

    monkeypatch.setenv('CPU_NUM', num_devices)
    with monkeypatch.context() as patch:
        patch.setattr(Evaluator, 'sentences', interrupted)
        run(corpus, max_steps=5, dev_interval=2)
    output = capsys.readouterr().out
    assert 'stopped by SIGTERM after step 2' in output and 'dev epoch' not in output
    lines = []
    for flags in ({'resume': True}, {'save_dir': corpus.directory.join('whole')}):
        run(corpus, max_steps=5, dev_interval=2, **flags)
        lines.append([re.sub(', [0-9]+ tokens.*', '', line) for line in capsys.readouterr().out.splitlines()
                      if re.match('(dev )?epoch', line)])
    assert lines[0] == lines[1][2:] and lines[0][0].startswith('dev epoch 1 step 2 ')
    assert same(last(corpus), last(corpus, 'whole'))


def test_a_second_signal_ends_at_once(monkeypatch, capsys):
    codes = []
    monkeypatch.setattr(os, '_exit', codes.append)
    with Stop() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.requested == 'SIGTERM' and not codes
        os.kill(os.getpid(), signal.SIGINT)
    assert codes == [130]


def test_what_a_script_passes_on_is_no_second_signal(monkeypatch, capsys):
    codes = []
    monkeypatch.setattr(os, '_exit', codes.append)
    for first, other in ((signal.SIGUSR1, signal.SIGTERM), (signal.SIGINT, signal.SIGUSR1)):
        with Stop() as stop:
            os.kill(os.getpid(), first)
            os.kill(os.getpid(), other)
            assert 'SIG' in stop.requested or 'script' in stop.requested
            assert not codes and capsys.readouterr().err.count('coming to an end') == 1
            os.kill(os.getpid(), other)
        assert codes.pop() == 128 + other


def test_a_signal_after_the_last_look_at_what_is_to_save(corpus, monkeypatch):
    due = Trainer.save_due

    def due_and_signal(self):
        found = due(self)
        if self.state['step'] == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return found

    monkeypatch.setattr(Trainer, 'save_due', due_and_signal)
    run(corpus, max_steps=9)
    assert steps(corpus.directory.join('checkpoints'))[-1] == '000003'


def test_a_signal_while_a_thread_starts(monkeypatch):
    start = threading._start_new_thread

    def start_and_signal(*arguments):
        started = start(*arguments)
        thread.began.wait(100)
        os.kill(os.getpid(), signal.SIGTERM)
        return started

    thread = threading.Thread(target=lambda: thread.began.set())
    thread.began = threading.Event()
    monkeypatch.setattr(threading, '_start_new_thread', start_and_signal)
    with Stop() as stop, pytest.raises(Stopped), stop.at_once():
        thread.start()


def test_saves_by_the_clock(corpus):
    run(corpus, max_steps=4, save_minutes=1e-9)
    assert steps(corpus.directory.join('checkpoints')) == ['000002', '000003', '000004']  # the three newest


WHOLE_FEED = TrainingProgram.feed


def spoil(monkeypatch, number):
    """Lets the loss of a step be NaN; steps count from 1."""
    def spoilt(self, batch, step):
        feeds = WHOLE_FEED(self, batch, step)
        if step == number - 1:  # here they count from 0
            feeds[0]['loss_scale'] = np.array([np.nan], dtype='float32')
        return feeds

    monkeypatch.setattr(TrainingProgram, 'feed', spoilt)


@pytest.fixture
def nan_in_step_4(monkeypatch):
    spoil(monkeypatch, 4)


@pytest.fixture
def nan_in_step_6(monkeypatch):
    spoil(monkeypatch, 6)


@pytest.mark.usefixtures('nan_in_step_4')
def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_batch(corpus, capsys):
    with pytest.raises(InputError) as error:
        run(corpus, max_epoch=2, save_interval=2)
    directory = corpus.directory.join('checkpoints')
    assert 'step 4: ' in str(error.value) and str(directory.join('000002')) in str(error.value)
    assert steps(directory) == ['000002']
    output = capsys.readouterr().out
    assert re.search(r'step 4: loss fw nan bw nan, norm of the gradient nan', output)
    with io.open(str(directory.join('not_finite.000004.txt')), encoding='utf-8') as handle:
        kept = [line.rstrip('\n').split('\t') for line in handle]
    assert len(kept) > 1
    for place, words in kept:
        path, number = place.rsplit(':', 1)
        with io.open(path, encoding='utf-8') as handle:
            line = handle.read().splitlines()[int(number) - 1]
        assert len(words.split()) == len(line.split())


@pytest.mark.parametrize('save_interval', [2, 1000])  # it goes back to a checkpoint, or to the start
def test_a_batch_that_is_not_finite_can_be_left_out(corpus, capsys, monkeypatch, save_interval):
    feed = TrainingProgram.feed

    def run_with(value, name, **flags):
        def changed(self, batch, step):
            feeds = feed(self, batch, step)
            if step == 3:
                feeds[0]['loss_scale'] = np.array([value], dtype='float32')
            return feeds

        monkeypatch.setattr(TrainingProgram, 'feed', changed)
        run(corpus, max_epoch=2, dev_interval=1000, save_dir=corpus.directory.join(name), **dict(ADAGRAD, **flags))

    run_with(0., 'without')  # with a gradient of 0, Adagrad changes nothing
    run_with(np.nan, 'skipped', on_nan='skip', save_interval=save_interval)
    assert re.search(r'going back to .* to leave out step 4, 1 so far', capsys.readouterr().out)
    assert same(last(corpus, 'without'), last(corpus, 'skipped'))
    with io.open(os.path.join(checkpoint.find(str(corpus.directory.join('skipped'))), 'train_state.json')) as handle:
        assert json.load(handle)['skipped_steps'] == [4]


@pytest.mark.usefixtures('nan_in_step_4')
def test_a_signal_in_the_step_that_is_left_out_is_not_forgotten(corpus, capsys, monkeypatch):
    step = TrainingProgram.run

    def spoilt(self, feed):
        metrics = step(self, feed)
        if np.isnan(feed[0]['loss_scale']):
            os.kill(os.getpid(), signal.SIGTERM)
        return metrics

    monkeypatch.setattr(TrainingProgram, 'run', spoilt)
    run(corpus, max_epoch=2, save_interval=2, dev_interval=1000, on_nan='skip')
    assert 'stopped by SIGTERM after step 2' in capsys.readouterr().out
    assert steps(corpus.directory.join('checkpoints')) == ['000002']


def test_a_gradient_that_is_not_finite_is_noticed(corpus, monkeypatch):
    """The loss may still be finite when the gradient overflows."""
    with pytest.raises(InputError) as error:
        run(corpus, max_steps=4, num_steps=10 ** 38, batch_size=1)
    assert 'step 1: a loss or gradient is not finite' in str(error.value)


def test_going_back_keeps_what_is_newest(corpus):
    run(corpus, max_epoch=2, max_steps=6, save_interval=1, dev_interval=1000, keep_checkpoints=9)
    directory = corpus.directory.join('checkpoints')
    run(corpus, max_epoch=2, max_steps=4, save_interval=1, dev_interval=1000, keep_checkpoints=2,
        load_dir=directory.join('000002'))
    assert '000004' in steps(directory) and directory.join('latest').read() == '000004\n'


@pytest.mark.parametrize('stopped', [True, False])  # by a signal, or killed before it saves anything
def test_a_run_that_went_back_goes_on_there(corpus, capsys, monkeypatch, stopped):
    flags = {'max_epoch': 2, 'save_interval': 4, 'dev_interval': 1000, 'keep_checkpoints': 9}
    run(corpus, max_steps=12, **flags)
    directory = corpus.directory.join('checkpoints')
    due = Trainer.save_due

    def end(self):
        if self.state['step'] == 6:
            if not stopped:
                raise SystemExit
            os.kill(os.getpid(), signal.SIGTERM)
        return due(self)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, 'save_due', end)
        try:
            run(corpus, resume_from=directory.join('000004'), **flags)
        except SystemExit:
            assert not stopped
    output = capsys.readouterr().out
    assert not stopped or 'go on: the same command with --resume_from %s --save_dir' % directory in output
    run(corpus, max_steps=7, resume=True, **flags)
    assert 'loaded %s' % directory.join('000006' if stopped else '000004') in capsys.readouterr().out
    assert checkpoint.newest_whole(str(directory)).endswith('000007')


@pytest.mark.usefixtures('nan_in_step_6')
def test_a_run_that_went_back_leaves_out_its_own_step(corpus, capsys, monkeypatch):
    """And not one of the run that it has left."""
    flags = {'max_epoch': 2, 'save_interval': 4, 'dev_interval': 1000, 'keep_checkpoints': 9, 'on_nan': 'skip'}
    directory = corpus.directory.join('checkpoints')
    with monkeypatch.context() as patch:
        patch.setattr(TrainingProgram, 'feed', WHOLE_FEED)
        run(corpus, max_steps=12, **flags)
    run(corpus, max_steps=7, resume_from=directory.join('000004'), **flags)
    assert 'going back to %s to leave out step 6' % directory.join('000004') in capsys.readouterr().out


def command(corpus, **flags):
    return [sys.executable, os.path.join(ROOT, 'train.py')] + corpus.flags(**flags)


def test_a_full_disk_leaves_the_last_checkpoint(corpus):
    run(corpus, max_steps=2, log_interval=100)

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (400, 400))  # bytes in a file; some parameters are larger

    code, _, said = run_command(command(corpus, max_steps=4, resume=True, log_interval=100), preexec_fn=limit)
    assert code == 2
    errors = [line for line in said.splitlines() if 'error' in line]
    assert len(errors) == 1 and 'cannot be saved' in errors[0] and 'Traceback' not in said
    directory = corpus.directory.join('checkpoints')
    assert steps(directory) == ['000002'] and not directory.join('.saving').exists()
    run(corpus, max_steps=4, resume=True)
    run(corpus, max_steps=4, save_dir=corpus.directory.join('whole'))
    assert same(last(corpus, 'whole'), last(corpus))


def test_a_disk_that_is_full_at_the_start_is_one_line(corpus):
    """The first file that is written is that of the lock."""
    code, _, said = run_command(command(corpus), preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)))
    assert code == 2 and 'Traceback' not in said, said
    assert said.splitlines()[-1].endswith('cannot be written: File too large'), said  # a library warns before
    run(corpus, max_steps=1)


def test_a_second_run_in_a_directory_names_the_first(corpus):
    directory = corpus.directory.mkdir('checkpoints')
    holder = subprocess.Popen(
        [sys.executable, '-c', 'import sys\nfrom elmo import rundir\nwith rundir.locked(%r):\n'
         '    print("held"); sys.stdout.flush(); sys.stdin.read()' % str(directory)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=dict(os.environ, PYTHONPATH=str(ROOT)))
    try:
        assert holder.stdout.readline() == b'held\n'
        with pytest.raises(InputError) as error:
            run(corpus, max_steps=1)
        assert 'process %d on ' % holder.pid in str(error.value)
    finally:
        holder.communicate(b'')
    run(corpus, max_steps=1)


def test_a_foreign_state_is_one_line(corpus):
    run(corpus, max_steps=2)
    path = corpus.directory.join('checkpoints', '000002')
    path.join('manifest.json').remove()
    whole = json.loads(path.join('train_state.json').read())
    for change in ({'step': 'two'}, {'position': {}}, {'position': dict(whole['position'], offset=-1)},
                   {'position': dict(whole['position'], file=10 ** 9)},
                   {'position': dict(whole['position'], offset=10 ** 18)}, {'flags': None}, {'epochs_read': None}):
        path.join('train_state.json').write(json.dumps(dict(whole, **change)))
        with pytest.raises(InputError):
            run(corpus, load_dir=path)
    for text in ('', '[]', '{', '\x00'):
        path.join('train_state.json').write(text)
        with pytest.raises(InputError):
            run(corpus, load_dir=path)


def test_2000_steps_take_no_more_memory_files_or_threads_than_500(corpus, monkeypatch):
    step, used = Trainer.step, {}

    def measured(self, *args):
        step(self, *args)
        with io.open('/proc/self/statm') as statm:
            used[self.state['step']] = (int(statm.read().split()[1]) * resource.getpagesize() >> 20,
                                        len(os.listdir('/proc/self/fd')), len(os.listdir('/proc/self/task')))

    monkeypatch.setattr(Trainer, 'step', measured)
    run(corpus, max_steps=2000, max_epoch=1000, log_interval=1000, save_interval=100, **SAMPLED)
    megabytes, files, threads = np.subtract(used[2000], used[500])
    assert megabytes < 10 and files <= 0 and threads <= 1  # the thread of the reader comes and goes


def test_only_what_has_our_manifest_is_a_checkpoint(corpus, capsys):
    """Retention leaves other directories and files alone, whatever their names, and --resume does not take them."""
    directory = corpus.directory.join('checkpoints')
    kept = directory.mkdir().join('20261124').mkdir().join('backup.txt')
    kept.write('mine')
    directory.join('20261125').write('a file')
    flags = dict(max_epoch=2, save_interval=1, keep_checkpoints=1, dev_interval=1000)
    run(corpus, max_steps=3, **flags)
    run(corpus, max_steps=5, resume=True, **flags)
    assert kept.read() == 'mine' and directory.join('20261125').read() == 'a file'
    assert 'loaded %s' % directory.join('000003') in capsys.readouterr().out
    assert checkpoint.steps(str(directory)) == [5]


def test_what_stands_in_the_place_of_a_checkpoint_is_moved_aside(corpus, capsys):
    directory = corpus.directory.mkdir('checkpoints')
    directory.mkdir('000001').join('notes').write('mine')
    directory.join('000002').write('a file')
    directory.mkdir('0000002').join('notes').write('another name of step 2')
    run(corpus, max_epoch=2, max_steps=5, save_interval=1, keep_checkpoints=1, dev_interval=1000)
    kept = [directory.join(*names).read() for names in (('000001.1.aside', 'notes'), ('000002.1.aside',),
                                                        ('0000002', 'notes'))]
    assert kept == ['mine', 'a file', 'another name of step 2']
    assert checkpoint.steps(str(directory)) == [5]
    assert capsys.readouterr().out.count('is no checkpoint, and in the place of one') == 2


def test_the_best_is_named_again_if_the_run_ended_just_before(corpus, monkeypatch):
    """The best checkpoint was in its place, the file that names it was not."""
    evaluate, perplexities = Evaluator.evaluate, iter(range(2, 99))  # the first is the best
    monkeypatch.setattr(Evaluator, 'evaluate', lambda self: evaluate(self)._replace(average=next(perplexities)))
    flags = dict(max_epoch=4, dev_interval=4, save_interval=1, keep_checkpoints=1)
    run(corpus, max_steps=4, **flags)
    best = corpus.directory.join('checkpoints', 'best')
    assert best.read() == '000004\n'
    best.remove()
    run(corpus, max_steps=6, resume=True, **dict(flags, dev_interval=1000))
    assert best.read() == '000004\n'
    assert checkpoint.steps(str(corpus.directory.join('checkpoints'))) == [4, 6]


def test_the_start_may_be_the_best(corpus, monkeypatch):
    """A run from --init_from evaluates before its first step. Killed then, it goes on with what it has logged."""
    run(corpus, max_steps=2)
    evaluate, perplexities = Evaluator.evaluate, iter(range(2, 99))  # the first is the best
    monkeypatch.setattr(Evaluator, 'evaluate', lambda self: evaluate(self)._replace(average=next(perplexities)))
    directory = corpus.directory.join('next')
    flags = dict(init_from=corpus.directory.join('checkpoints'), save_dir=directory, max_steps=3, save_interval=1,
                 dev_interval=1, keep_checkpoints=1)
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, 'batches', lambda self: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run(corpus, **flags)
    assert directory.join('best').read() == directory.join('latest').read() == '000000\n'
    run(corpus, resume=True, **flags)
    assert directory.join('best').read() == '000000\n' and steps(directory) == ['000000', '000003']
    logged = [json.loads(line) for line in directory.join('log.jsonl').read().splitlines()]
    assert [(each['step'], each['perplexity']) for each in logged if each['kind'] == 'dev'] == [
        (0, 2), (1, 3), (2, 4), (3, 5)]


def test_a_half_copy_that_was_moved_may_be_replaced_again_and_again(corpus):
    """Its link is not left under the name of what is deleted next."""
    flags = dict(max_epoch=3, save_interval=2, dev_interval=1000)
    directory = corpus.directory.join('checkpoints')
    run(corpus, max_steps=4, **flags)
    for number in range(2):
        moved = corpus.directory.join('moved%d' % number)
        directory.join('000004').move(moved)
        moved.join('embedding_para').write('half')
        directory.join('000004').mksymlinkto(moved)
        run(corpus, max_steps=4, resume=True, **flags)
        assert moved.join('embedding_para').read() == 'half' and not os.path.islink(str(directory.join('000004')))
    assert not [name for name in os.listdir(str(directory)) if name.startswith('.saving')]


@pytest.mark.parametrize('damage', ['no manifest', 'an empty manifest', 'half a manifest', 'an empty directory'])
def test_a_half_copied_checkpoint_is_passed_over(corpus, capsys, damage):
    """By --resume, and by every command that reads."""
    run(corpus, max_epoch=2, save_dir=corpus.directory.join('whole'))
    run(corpus, max_epoch=2, max_steps=4, save_interval=2, dev_interval=1000)
    newest = corpus.directory.join('checkpoints', '000004')
    manifest = newest.join('manifest.json')
    if damage == 'no manifest':
        manifest.remove()
    elif damage == 'an empty directory':
        newest.remove()
        newest.mkdir()
    else:
        manifest.write('' if damage == 'an empty manifest' else manifest.read()[:100])
    capsys.readouterr()
    assert checkpoint.find(str(corpus.directory.join('checkpoints'))).endswith('000002')
    assert 'passed over: %s' % newest in capsys.readouterr().err
    run(corpus, max_epoch=2, resume=True)
    assert 'passed over: %s' % newest in capsys.readouterr().out
    assert same(last(corpus, 'whole'), last(corpus))


def test_a_checkpoint_that_was_moved_loses_its_link_alone(corpus):
    flags = dict(max_epoch=3, save_interval=1, keep_checkpoints=1, dev_interval=1000)
    run(corpus, max_steps=2, **flags)
    moved, link = corpus.directory.join('elsewhere'), corpus.directory.join('checkpoints', '000002')
    link.move(moved)
    link.mksymlinkto(moved)
    run(corpus, max_steps=4, resume=True, **flags)
    assert not os.path.lexists(str(link)) and moved.join('train_state.json').check()
    assert checkpoint.steps(str(corpus.directory.join('checkpoints'))) == [4]


def test_nothing_is_saved_after_an_update_that_was_not_finite(corpus, capsys):
    """Not even where the file that keeps the batch cannot be written."""
    flags = dict(optim='sgd', learning_rate=1e37, save_interval=1, dev_interval=1000)
    for number in range(1, 9):
        corpus.directory.join('checkpoints').ensure('not_finite.%06d.txt' % number, dir=True)
    line = refused_training(corpus, capsys, **flags)
    assert 'not finite' in line
    for step in checkpoint.steps(str(corpus.directory.join('checkpoints'))):
        saved = parameters(str(corpus.directory.join('checkpoints', '%06d' % step)))
        assert all(np.isfinite(value).all() for value in saved.values())
