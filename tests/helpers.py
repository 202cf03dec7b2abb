# -*- coding: utf-8 -*-
"""Shared by several test files: tiny data and networks, runs of train.py and other commands, errors of one line."""
from __future__ import absolute_import, division, print_function, unicode_literals

import io
import json
import os
import random
import re
import socket
import subprocess
import sys
import threading
import time

from project import ROOT, cli
import numpy as np
import paddle.fluid as fluid
import pytest
import six

import bilm
import train
from args import parse_args
from bilm import ops
from elmo import checkpoint, devices, release, watch
from elmo.release import load_vars, save_vars
from elmo.text import Vocabulary
from elmo.training import TrainingProgram
from reader import BucketedReader

# Fluid 2.5 runs one device in a process.
SEVERAL_DEVICES = pytest.mark.skipif(not release.has_data_parallel(), reason='this fluid has one device a process')
CONFIG = dict(bilm.PUBLISHED_CONFIG, vocab_size=23, embed_size=5, hidden_size=7, cell_clip=0.3, proj_clip=0.15)
SENTENCES = [[0, 5, 6, 7, 1], [0, 9, 1], [0, 3, 3, 8, 12, 22, 4, 1]]
TAGGED = os.path.join(ROOT, 'lac_finetune', 'data')  # a sample of tagged sentences


def write_lines(path, lines):
    """Writes lines of text as UTF-8 and returns the path as text."""
    with io.open(str(path), 'w', encoding='utf-8') as output:
        output.write(''.join(line + '\n' for line in lines))
    return str(path)


def random_sentences(words, number, seed=0, longest=12):
    """Sentences of 1 to `longest` words. Some words are far more frequent than others."""
    random = np.random.RandomState(seed)
    weights = 1. / np.arange(1, len(words) + 1)
    return [' '.join(random.choice(words, random.randint(1, longest + 1), p=weights / weights.sum()))
            for _ in range(number)]


# What the first release did where no optimizer was given.
ADAGRAD = {'optim': 'adagrad', 'learning_rate': 0.2}


class Corpus(object):
    """A vocabulary, two training files with 60 sentences together, and a dev text with 11 sentences."""

    def __init__(self, directory):
        words = ['词%d' % number for number in range(20)]
        self.vocab_path = write_lines(directory.join('vocabulary.txt'), ['<S>', '</S>', '<UNK>'] + words[:17])
        directory.mkdir('train')
        for number in range(2):
            write_lines(directory.join('train', 'part%d.txt' % number), random_sentences(words, 30, number))
        self.train_path = str(directory.join('train'))
        self.test_path = write_lines(directory.join('dev.txt'), random_sentences(words, 11, 2))
        self.directory = directory

    def flags(self, **changed):
        """Flags of train.py for a tiny network; None leaves one out."""
        values = dict(train_path=self.train_path, test_path=self.test_path, vocab_path=self.vocab_path,
                      embed_size=4, hidden_size=6, batch_size=4, num_steps=8, max_epoch=1, dropout=0.1,
                      learning_rate=0.01,  # at which so small a network learns in a few steps
                      save_dir=str(self.directory.join('checkpoints')), log_interval=1, use_gpu=False,
                      curves=False)  # a picture takes half a second
        values.update(changed)
        return [text for name in sorted(values) if values[name] is not None
                for text in ('--' + name, '%s' % values[name])]


def run(corpus, **flags):
    """Trains with the tiny flags of the corpus."""
    with fluid.scope_guard(fluid.Scope()):
        train.train(parse_args(corpus.flags(**flags)))


def log_lines(output, start):
    """The printed lines that begin with `start`, without times and speeds."""
    return [re.sub(r'[\d.]+ tokens/s.*| in [\d.]+ s.*', '', line) for line in output.splitlines()
            if line.startswith(start)]


def parameters(directory):
    """All parameters of a checkpoint, {name: array}; plain fluid.io.load_vars reads them."""
    config = bilm.read_config(directory)
    program, exe = fluid.Program(), fluid.Executor(fluid.CPUPlace())
    with fluid.scope_guard(fluid.Scope()):
        with fluid.program_guard(program, fluid.Program()), fluid.unique_name.guard():
            bilm.language_model(config)
        load_vars(exe, directory, program,
                  predicate=lambda variable: os.path.exists(os.path.join(directory, variable.name)))
        return {name: np.array(fluid.global_scope().find_var(name).get_tensor())
                for name in bilm.parameter_shapes(config)}


def last(corpus, name='checkpoints'):
    """All parameters of the newest checkpoint in a directory of the corpus, {name: array}."""
    return parameters(checkpoint.newest_whole(str(corpus.directory.join(name))))


def same(one, other):
    """Tells whether two checkpoints, {name: array}, have the same values, bit for bit."""
    return all((one[name] == other[name]).all() for name in one)


def make_checkpoint(directory, vocabulary, **changed):
    """Makes a checkpoint of an untrained biLM, on the CPU; `changed` are sizes other than the tiny ones."""
    config = dict(bilm.PUBLISHED_CONFIG, vocab_size=len(vocabulary), embed_size=4, hidden_size=6,
                  vocab_sha256=vocabulary.sha256, bos_id=vocabulary.bos, eos_id=vocabulary.eos)
    config.update(changed)
    main, startup = fluid.Program(), fluid.Program()
    with fluid.program_guard(main, startup), fluid.unique_name.guard():
        bilm.language_model(config)
    exe = fluid.Executor(fluid.CPUPlace())
    with fluid.scope_guard(fluid.Scope()):
        exe.run(startup)
        save_vars(exe, str(directory), main, vars=main.all_parameters())
    write_lines(directory.join('bilm.json'), [json.dumps(config)])


def tagger_flags(directory, **changed):
    """Flags of lac_finetune/train.py for a tiny tagger. With init_from, sizes and ELMo are those of that model."""
    values = dict(vocab_path=str(directory.join('vocabulary.txt')), batch_tokens=100, max_epoch=1, log_interval=1,
                  use_gpu=False, curves=False, save_dir=str(directory.join('model')))
    if 'init_from' not in changed:
        values.update(elmo_checkpoint=str(directory.join('elmo')), word_emb_dim=4, grnn_hidden_dim=4, bigru_num=2)
    values.update({part + '_path': os.path.join(TAGGED, part + '.tsv') for part in ('train', 'dev', 'test')})
    values.update(changed)
    return [text for name in sorted(values) for text in ('--' + name, '%s' % values[name])]


def losses_of_steps(corpus, num_devices, monkeypatch, steps=10, **changed):
    """losses_on CPU replicas; the global batch is the same for any number of them."""
    monkeypatch.setenv('CPU_NUM', str(num_devices))
    return losses_on(devices.places(False), corpus, steps, **changed)


def losses_on(places, corpus, steps, start='', **changed):
    """Trains some steps on these devices, which share a global batch of 60 tokens.

    Args:
        places: list of the devices.
        start: a checkpoint with the parameters to start from; '': the initial values of the seed.

    Returns:
        (losses of each step, float array [steps, 2]; tokens of each device at each step, a list of lists of int).
    """
    args = parse_args(corpus.flags(dropout=0, max_epoch=9, **changed))
    vocabulary = Vocabulary(args.vocab_path)
    reader = BucketedReader([os.path.join(args.train_path, name) for name in os.listdir(args.train_path)], vocabulary,
                            60, len(places))
    config = dict(bilm.PUBLISHED_CONFIG, vocab_size=len(vocabulary), embed_size=4, hidden_size=6)
    losses, parts_of_steps = [], []
    with fluid.scope_guard(fluid.Scope()):
        program, position, exe = TrainingProgram(config, args, places), reader.start(), fluid.Executor(places[0])
        exe.run(program.startup)
        if start:
            checkpoint.load_parameters(exe, start, program.whole, config, vocabulary)
        while len(losses) < steps:
            for batch in reader.epoch(position):
                losses.append(program.run(program.feed(batch, len(losses)))[:2])
                parts_of_steps.append([int(share.lengths.sum()) for share in batch.batches])
                position = batch.position
    return np.array(losses[:steps]), parts_of_steps[:steps]


def wait_for(process, text):
    """Reads the output of a process up to a line with this text."""
    for line in iter(process.stdout.readline, b''):
        if text in line.decode('utf-8'):
            return
    raise AssertionError(process.communicate()[1].decode('utf-8'))


def kill_after(seconds, process):
    """Starts a timer that kills the process, unless the process has ended or the timer is cancelled before."""
    def kill():
        if process.returncode is None:  # Python 2.7 would kill whoever has its number now
            process.kill()

    timer = threading.Timer(seconds, kill)
    timer.daemon = True
    timer.start()
    return timer


def rounded(array, bits):
    """The same as packing.round_mantissa, by arithmetic: numpy rounds to the nearest, and halves to the even one."""
    mantissa, exponent = np.frexp(array.astype('float64'))  # 0.5 <= mantissa < 1
    return np.ldexp(np.round(np.ldexp(mantissa, bits + 1)), exponent - bits - 1).astype('float32')


def wait_until(condition):
    """Returns what condition() does when that is true; it is asked for 100 seconds."""
    for _ in range(1000):
        found = condition()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError('not in time')


def children(parent, command_has):
    """Numbers of the processes that a process has started, and that have this text in their command."""
    found = []
    for number in [name for name in os.listdir('/proc') if name.isdigit()]:
        try:
            with io.open('/proc/%s/stat' % number) as stat, io.open('/proc/%s/cmdline' % number) as command:
                if int(stat.read().rsplit(')', 1)[1].split()[1]) == parent and command_has in command.read():
                    found.append(int(number))
        except EnvironmentError:
            continue  # it has ended
    return found


class Training(object):
    """train.py on several CPU replicas, or GPUs. Every wait ends after 100 seconds."""

    def __init__(self, corpus, number, **flags):
        command = [sys.executable, os.path.join(ROOT, 'train.py')] + corpus.flags(**flags)
        env = dict(os.environ, CPU_NUM=str(number))
        env.pop('FLAGS_selected_gpus', None)  # of the tests of one GPU
        if flags.get('use_gpu'):
            env['CUDA_VISIBLE_DEVICES'] = ','.join(map(str, range(number)))
        env = {str(name): str(value) for name, value in env.items()}
        self.process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.timer = kill_after(100, self.process)

    def wait_for(self, text):
        wait_for(self.process, text)

    def others(self):
        """Numbers of the processes that it has started and that train."""
        return children(self.process.pid, 'train.py')

    def end(self):
        """Waits for the end: (exit code, output, lines on stderr)."""
        output, errors = self.process.communicate()
        self.timer.cancel()
        return self.process.returncode, output.decode('utf-8'), errors.decode('utf-8').splitlines()


def losses(corpus, name):
    """The loss of each step, as log.jsonl has it."""
    with io.open(str(corpus.directory.join(name, 'log.jsonl')), encoding='utf-8') as lines:
        return [record['loss'] for record in map(json.loads, lines) if record['kind'] == 'train']


def run_command(command, text=b'', env=None, **options):
    """Runs a command to its end: (exit code, text on stdout, text on stderr).

    Args:
        command: list of words.
        text: bytes for its stdin.
        env: dict of its environment; None: that of this process.
        options: options of subprocess.Popen.
    """
    if env is not None:
        env = {six.ensure_str(name): six.ensure_str(value) for name, value in env.items()}
    process = subprocess.Popen([six.ensure_str(word) for word in command], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env, **options)
    output, errors = process.communicate(text)
    return process.returncode, output.decode('utf-8'), errors.decode('utf-8')


def refused(capsys, main):
    """Runs a command that must be refused, and returns its line on stderr, after any that tells which checkpoint it
    takes."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        cli.run(main)
    assert stop.value.code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if ': takes ' not in line]
    assert len(lines) == 1 and ': error: ' in lines[0]
    return lines[0]


def refused_training(corpus, capsys, **flags):
    return refused(capsys, lambda: train.train(parse_args(corpus.flags(**flags))))


def lod_tensor(sequences):
    """Lists of ids as an int64 LoD [N, 1] on the CPU."""
    rows = np.array([id for sequence in sequences for id in sequence], dtype='int64').reshape(-1, 1)
    return fluid.create_lod_tensor(rows, [[len(sequence) for sequence in sequences]], fluid.CPUPlace())


def feed_of(sentences, **others):
    return dict(others, tokens=lod_tensor([sentence[:-1] for sentence in sentences]),
                next_tokens=lod_tensor([sentence[1:] for sentence in sentences]))


class Model(object):
    """A language model with random parameters, large enough that both clips are active."""

    def __init__(self, config=CONFIG, dropout=0., **options):
        self.program, startup = fluid.Program(), fluid.Program()
        with fluid.program_guard(self.program, startup), fluid.unique_name.guard():
            self.losses = bilm.language_model(config, dropout, **options)
            self.loss = sum(ops.reduce_sum(loss) for loss in self.losses)
            fluid.backward.append_backward(self.loss)
        self.exe = fluid.Executor(fluid.CPUPlace())
        self.exe.run(startup)
        random = np.random.RandomState(0)
        self.values = {}
        for parameter in self.program.all_parameters():
            tensor = fluid.global_scope().find_var(parameter.name).get_tensor()
            value = np.array(tensor) + random.randn(*parameter.shape) * 0.5
            tensor.set(value.astype('float32'), fluid.CPUPlace())
            self.values[parameter.name] = np.array(tensor).astype('float64')

    def run(self, fetched, sentences=SENTENCES, **feed):
        results = self.exe.run(self.program, feed=feed_of(sentences, **feed), fetch_list=fetched, return_numpy=False)
        return [np.array(result) for result in results]

    def gradient(self, name, **feed):
        """The gradient of a parameter as a dense array."""
        gradient = name + '@GRAD'
        if self.program.global_block().var(gradient).type != fluid.core.VarDesc.VarType.SELECTED_ROWS:
            return self.run([gradient], **feed)[0]
        program = self.program.clone()
        block = program.global_block()
        merged = block.create_var(name=str('merged'), type=fluid.core.VarDesc.VarType.SELECTED_ROWS)
        block.append_op(type='merge_selected_rows', inputs={'X': gradient}, outputs={'Out': merged})
        merged.persistable = True
        self.exe.run(program, feed=feed_of(SENTENCES, **feed))
        selected = fluid.global_scope().find_var('merged').get_selected_rows()
        dense = np.zeros(self.values[name].shape)
        dense[selected.rows()] = np.array(selected.get_tensor())
        return dense

    def layer_outputs(self):
        """Names of the projections of fw layers 1, 2, then bw layers 1, 2, before the residual connection."""
        layers = [op for op in self.program.global_block().ops if op.type == 'lstmp']
        return [op.output('Projection')[0] for op in sorted(layers, key=lambda op: op.attr('is_reverse'))]


def free_port(number):
    """A port; it and the next ports, `number` in all, are free, and so are their ports for Watch."""
    while True:
        port, sockets = random.randint(15000, 22000), []
        try:
            for each in range(number):
                for offset in (0, watch.PORT):
                    sockets.append(socket.socket())
                    sockets[-1].bind(('127.0.0.1', port + each + offset))
            return port
        except socket.error:
            continue
        finally:
            for each in sockets:
                each.close()
