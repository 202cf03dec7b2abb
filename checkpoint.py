# -*- coding: utf-8 -*-
"""Saving, keeping, finding and loading checkpoints.

    DIR/000490/            one file a parameter, as fluid.io.save_vars writes it, and nothing else of fluid's
        bilm.json          sizes, and the sha256 of the vocabulary
        optimizer/         accumulators and learning rate
        train_state.json   step, position in the text, best dev perplexity, flags
    DIR/latest, DIR/best   names of the newest checkpoint and of that with the lowest dev perplexity

A checkpoint is written beside, synced to disk and renamed: it is whole or absent.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import contextlib
import io
import json
import os
import re
import shutil
import tempfile

import paddle.fluid as fluid
import six

import bilm
from reader import InputError

_NAME = re.compile(r'\d{6,}$')


def _steps(directory):
    """Steps of the checkpoints in a directory, oldest first."""
    return sorted(int(name) for name in os.listdir(directory) if _NAME.match(name))


def _path(directory, step):
    return os.path.join(directory, '%06d' % step)


def prepare_directory(directory, continued=None):
    """Makes and returns the directory of a run that goes on from the checkpoint `continued`, or starts anew.

    By default that of the checkpoint, or else the first free one of checkpoints, checkpoints.2, checkpoints.3 …
    InputError if it cannot be written, or holds the checkpoints of another run.
    """
    own = continued and os.path.dirname(os.path.abspath(continued))
    if not directory:
        number, directory = 1, own or 'checkpoints'
        while not own and os.path.isdir(directory) and os.listdir(directory):
            number += 1
            directory = 'checkpoints.%d' % number
    try:
        if not os.path.isdir(directory):
            os.makedirs(directory)
        tempfile.TemporaryFile(dir=directory).close()
    except (IOError, OSError) as error:
        raise InputError('--para_save_dir %s: cannot be written: %s' % (directory, error.strerror))
    if _steps(directory) and not (own and os.path.samefile(directory, own)):
        raise InputError('--para_save_dir %s: holds the checkpoints of another run; choose another directory, or go on '
                         'with that run by --load_dir %s' % (directory, directory))
    return directory


def _optimizer_variables(program):
    return [variable for variable in program.list_vars()
            if fluid.io.is_persistable(variable) and not fluid.io.is_parameter(variable)]


def save(exe, program, config, state, directory, keep, best):
    """Saves a checkpoint named after state['step'].

    Args:
        exe: a fluid.Executor.
        program: the training program; its parameters and other persistable variables are saved.
        config: sizes and vocab_sha256, for bilm.json.
        state: dict for train_state.json.
        directory: where the checkpoints of the run are.
        keep: number of the newest checkpoints kept; the best one is kept beside them.
        best: whether this one is the best so far.

    Returns:
        The path of the checkpoint.
    """
    path = _path(directory, state['step'])
    temporary = os.path.join(directory, '.saving')
    shutil.rmtree(temporary, ignore_errors=True)  # left by a run that was killed
    os.makedirs(temporary)
    fluid.io.save_vars(exe, temporary, program, vars=program.all_parameters())
    fluid.io.save_vars(exe, os.path.join(temporary, 'optimizer'), program, vars=_optimizer_variables(program))
    for name, value in (('bilm.json', config), ('train_state.json', state)):
        write_json(os.path.join(temporary, name), value)
    for parent, _, names in os.walk(temporary):
        for name in names + ['.']:
            _sync(os.path.join(parent, name))
    if os.path.isdir(path):  # of the same run, gone back to an earlier step
        _remove(path)
    os.rename(temporary, path)
    for pointer in ['latest'] + ['best'] * best:
        with replacing(os.path.join(directory, pointer)) as output:
            output.write(os.path.basename(path) + '\n')
    _prune(directory, keep)
    return path


def _remove(path):
    """Deletes a checkpoint; at no time is there half of one under its name."""
    deleted = os.path.join(os.path.dirname(path), '.deleting')
    shutil.rmtree(deleted, ignore_errors=True)
    os.rename(path, deleted)
    shutil.rmtree(deleted)


def _prune(directory, keep):
    """Deletes all checkpoints but the newest ones and the best."""
    best = _pointed(directory, 'best')
    for step in _steps(directory)[:-keep]:
        path = _path(directory, step)
        if os.path.basename(path) != best:
            _remove(path)


@contextlib.contextmanager
def replacing(path):
    """A text file to write, which takes its name when it is whole and on disk; InputError if it cannot be written."""
    temporary = path + '.tmp'
    try:
        with io.open(temporary, 'w', encoding='utf-8') as output:
            yield output
        _sync(temporary)
        os.rename(temporary, path)
        _sync(os.path.dirname(path) or '.')
    except (IOError, OSError) as error:
        raise InputError('%s: cannot be written: %s' % (path, error.strerror))


def write_json(path, value):
    """Writes a value as JSON; the file takes its name when it is whole and on disk."""
    with replacing(path) as output:
        output.write(six.text_type(json.dumps(value, indent=2, sort_keys=True)) + '\n')


def _sync(path):
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _pointed(directory, pointer):
    path = os.path.join(directory, pointer)
    if not os.path.exists(path):
        return None
    with io.open(path, encoding='utf-8') as handle:
        return handle.read().strip()


def find(path, flag='--load_dir'):
    """The checkpoint that a path names: itself, or the newest in a directory of them; InputError if there is none."""
    if not os.path.isdir(path):
        raise InputError('%s %s: no such directory' % (flag, path))
    latest = _pointed(path, 'latest')
    found = os.path.join(path, latest) if latest else path
    if not os.path.isfile(os.path.join(found, 'embedding_para')):
        raise InputError('%s %s: holds no checkpoint' % (flag, path))
    return found


def read_config(path, vocabulary):
    """The config of a checkpoint; InputError if it has none or was made with another vocabulary."""
    try:
        config = bilm.read_config(path)
    except ValueError as error:
        raise InputError(error)
    check_vocabulary(path, vocabulary, config)
    return config


def check_vocabulary(path, vocabulary, config):
    """InputError if the checkpoint at `path`, of this config, was made with another vocabulary."""
    for key, here in (('vocab_size', len(vocabulary)), ('vocab_sha256', vocabulary.sha256)):
        if config.get(key, here) != here:
            raise InputError('%s: was trained with another vocabulary than %s: %s is %s there, %s here; give the '
                             'vocabulary of the checkpoint' % (path, vocabulary.path, key, config[key], here))


def load_parameters(exe, path, program, config, vocabulary):
    """Loads the parameters of a checkpoint, with or without a softmax; returns their names.

    InputError if sizes or vocabulary differ, or a file is missing or damaged.
    """
    try:
        if os.path.exists(os.path.join(path, 'bilm.json')):  # the published checkpoint has none
            check_vocabulary(path, vocabulary, bilm.read_config(path))
        return bilm.init_pretraining_params(exe, path, program, config)
    except ValueError as error:
        raise InputError(error)


def load_state(exe, path, program, flags):
    """Loads the optimizer's state and returns train_state.json of a checkpoint.

    InputError if a flag differs on which the continuation depends.
    """
    try:
        with io.open(os.path.join(path, 'train_state.json'), encoding='utf-8') as handle:
            state = json.load(handle)
    except (IOError, ValueError) as error:
        raise InputError('%s: no readable train_state.json (%s); to start from its parameters alone use '
                         '--load_pretraining_params' % (path, error))
    for name in sorted(flags):
        if state['flags'].get(name) != flags[name]:
            raise InputError('%s: goes on only with the same %s: %s there, %s here; for other settings start a new run '
                             'with --load_pretraining_params' % (path, name, state['flags'].get(name), flags[name]))
    # The learning rate is a flag of each run; it is saved for the record.
    variables = [variable for variable in _optimizer_variables(program) if 'learning_rate' not in variable.name]
    directory = os.path.join(path, 'optimizer')
    for variable in variables:
        file = os.path.join(directory, variable.name)
        if not os.path.exists(file):
            raise InputError('%s: is missing' % file)
        try:
            shape = bilm.read_shape(file)
        except ValueError as error:
            raise InputError(error)
        if shape != tuple(variable.shape):
            raise InputError('%s: has shape %s, needed is %s' % (file, list(shape), list(variable.shape)))
    fluid.io.load_vars(exe, directory, program, vars=variables)
    return state
