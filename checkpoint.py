# -*- coding: utf-8 -*-
"""Saving, keeping, finding and loading checkpoints.

    DIR/000490/            one file a parameter, as fluid.io.save_vars writes it, and nothing else of fluid's
        bilm.json          sizes, and the sha256 of the vocabulary
        optimizer/         accumulators and learning rate
        train_state.json   step, position in the text, best dev perplexity, flags
        manifest.json      size and sha256 of each of these files
    DIR/latest, DIR/best   names of the newest checkpoint and of that with the lowest dev perplexity
    DIR/.lock              who writes here

A checkpoint is written beside, synced to disk and renamed: it is whole or absent.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import contextlib
import errno
import fcntl
import hashlib
import io
import os
import re
import shutil
import socket
import tempfile
import time

import paddle.fluid as fluid

import bilm
import distributed
from files import read_json, replacing, sync, write_json
from reader import InputError

MANIFEST = 'manifest.json'
_NAME = re.compile(r'\d{6,}$')


class SaveError(InputError):
    """A checkpoint cannot be written."""


def _steps(directory):
    """Steps of the checkpoints in a directory, oldest first."""
    return sorted(int(name) for name in os.listdir(directory) if _NAME.match(name))


def _path(directory, step):
    return os.path.join(directory, '%06d' % step)


def prepare_directory(directory, continued='', resume=False):
    """Makes and returns the directory of a run that goes on from the checkpoint `continued`, resumes, or starts anew.

    By default that of the checkpoint; to resume, the last of checkpoints, checkpoints.2, checkpoints.3 …; or else the
    first free one of them. InputError if it cannot be written, or holds the checkpoints of another run.
    """
    own = continued and os.path.dirname(os.path.abspath(continued))
    if not directory:
        names = ['checkpoints'] + ['checkpoints.%d' % number for number in range(2, 2 + len(os.listdir('.')))]
        taken = [os.path.isdir(name) and bool(set(os.listdir(name)) - {'.lock'}) for name in names].index(False)
        directory = own or names[max(taken - 1, 0) if resume else taken]
    try:
        try:
            os.makedirs(directory)
        except OSError:
            if not os.path.isdir(directory):  # it may be there, perhaps made by another process of the run just now
                raise
        tempfile.TemporaryFile(dir=directory).close()
    except (IOError, OSError) as error:
        raise InputError('--para_save_dir %s: cannot be written: %s' % (directory, error.strerror))
    if _steps(directory) and not (resume or own and os.path.samefile(directory, own)):
        raise InputError('--para_save_dir %s: holds the checkpoints of another run; choose another directory, or go on '
                         'with that run by --resume' % directory)
    return directory


def optimizer_variables(program):
    """What an optimizer keeps between steps: accumulators and learning rate."""
    return [variable for variable in program.list_vars()
            if fluid.io.is_persistable(variable) and not fluid.io.is_parameter(variable) and
            variable.name not in distributed.VARIABLES]


def save(exe, program, config, state, directory, keep, best=False):
    """Saves a checkpoint named after state['step'].

    Args:
        exe: a fluid.Executor.
        program: the training program; its parameters and other persistable variables are saved.
        config: sizes and vocab_sha256, for bilm.json; None of what is no biLM.
        state: dict for train_state.json.
        directory: where the checkpoints of the run are.
        keep: number of the newest checkpoints kept; the best one is kept beside them.
        best: whether this one is the best so far.

    Returns:
        The path of the checkpoint.

    Raises:
        SaveError: it cannot be written, as on a full disk; the checkpoints before it are as they were.
    """
    path = _path(directory, state['step'])
    with writing(path, os.path.join(directory, '.saving')) as temporary:
        for target, variables in ((temporary, program.all_parameters()),
                                  (os.path.join(temporary, 'optimizer'), optimizer_variables(program))):
            fluid.io.save_vars(exe, target, program, vars=variables)
            check_saved(target, variables)
        write_json(os.path.join(temporary, 'train_state.json'), state)
        if config:
            write_json(os.path.join(temporary, 'bilm.json'), config)
        write_manifest(temporary)
    if os.path.isdir(path):  # of the same run, gone back to an earlier step
        _remove(path)
    os.rename(temporary, path)
    sync(directory)
    for pointer in ['latest'] + ['best'] * best:
        with replacing(os.path.join(directory, pointer)) as output:
            output.write(os.path.basename(path) + '\n')
    _prune(directory, keep, state['step'])
    return path


@contextlib.contextmanager
def writing(path, temporary):
    """Makes the directory `temporary` anew, to be filled and then renamed to `path`; what is in it goes to disk.

    SaveError if it cannot be filled; after any error it is removed.
    """
    whole = False
    try:
        shutil.rmtree(temporary, ignore_errors=True)  # left by a run that was killed
        os.makedirs(temporary)
        yield temporary
        for parent, _, names in os.walk(temporary):
            for name in names + ['.']:
                sync(os.path.join(parent, name))
        whole = True
    except (EnvironmentError, ValueError, InputError, fluid.core.EnforceNotMet) as error:
        raise SaveError('%s: cannot be saved: %s; make room there, then give the same command with --resume'
                        % (path, getattr(error, 'strerror', None) or
                           ('%s' % error).split('Error Message Summary:')[-1].strip('-\n')))
    finally:
        if not whole:
            shutil.rmtree(temporary, ignore_errors=True)


def check_saved(directory, variables):
    """ValueError unless the files of these variables are whole: fluid does not notice a full disk."""
    for variable in variables:
        bilm.read_shape(os.path.join(directory, variable.name))


def _files(directory):
    """Paths of the files below a directory, relative to it."""
    return sorted(os.path.relpath(os.path.join(parent, name), directory)
                  for parent, _, names in os.walk(directory) for name in names)


def _size_and_sha256(path):
    digest = hashlib.sha256()
    with io.open(path, 'rb') as handle:
        for block in iter(lambda: handle.read(1 << 20), b''):
            digest.update(block)
        return [handle.tell(), str(digest.hexdigest())]


def write_manifest(directory):
    """Writes size and sha256 of all files of a directory, for check."""
    write_json(os.path.join(directory, MANIFEST), {name: _size_and_sha256(os.path.join(directory, name))
                                                   for name in _files(directory)})


def _damage(path, names=None):
    """What is wrong with a checkpoint, or with these files of it, by its manifest; None if nothing is.

    A checkpoint without a manifest, as the published one, is taken as it is.
    """
    manifest = os.path.join(path, MANIFEST)
    if not os.path.exists(manifest):
        return None
    expected = read_json(manifest)
    if not isinstance(expected, dict):
        return '%s: damaged: no list of files' % manifest
    for name in sorted(expected) if names is None else names:
        file = os.path.join(path, name)
        if not os.path.isfile(file):
            return '%s: is missing' % file
        if name in expected and _size_and_sha256(file) != expected[name]:
            return '%s: damaged: not what %s says was saved' % (file, manifest)
    return None


def _remove(path):
    """Deletes a checkpoint; at no time is there half of one under its name."""
    deleted = os.path.join(os.path.dirname(path), '.deleting')
    shutil.rmtree(deleted, ignore_errors=True)
    os.rename(path, deleted)
    shutil.rmtree(deleted)


def _prune(directory, keep, step):
    """Deletes all checkpoints but the newest ones, of which that of `step` is the last, and the best."""
    best = _pointed(directory, 'best')
    # Those beyond it are of a run that went back.
    for other in sorted(_steps(directory), key=lambda other: (other <= step, other))[:-keep]:
        path = _path(directory, other)
        if os.path.basename(path) != best:
            _remove(path)


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
    for found in [path] + [_path(path, step) for step in reversed(_steps(path))]:
        if os.path.isfile(os.path.join(found, 'embedding_para')):
            return found
    raise InputError('%s %s: holds no checkpoint' % (flag, path))


def newest_whole(directory):
    """The newest checkpoint in a directory that is as it was saved, None if there is none; names those passed over."""
    for step in reversed(_steps(directory) if os.path.isdir(directory) else []):
        damage = _damage(_path(directory, step))
        if not damage:
            return _path(directory, step)
        print('passed over: %s' % damage)
    return None


def lock(directory, flag='--para_save_dir'):
    """Makes this process the only one that writes checkpoints to a directory, until it ends.

    Returns the open file that holds the lock; InputError if another process has it, wherever it runs.
    """
    handle = io.open(os.path.join(directory, '.lock'), 'a+', encoding='utf-8')
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (IOError, OSError) as error:
        if error.errno not in (errno.EACCES, errno.EAGAIN):
            print('%s: this file system has no locks (%s): let no other run write there' % (directory, error.strerror))
            return handle
        handle.seek(0)
        raise InputError('%s %s: %s writes there; wait for its end, or choose another directory'
                         % (flag, directory, handle.read().strip() or 'another run'))
    handle.truncate(0)
    handle.write('process %d on %s, since %s,\n' % (os.getpid(), socket.gethostname(),
                                                    time.strftime('%Y-%m-%d %H:%M:%S')))
    handle.flush()
    return handle


def read_config(path, vocabulary=None):
    """The config of a checkpoint, ours or the published one, which has no bilm.json; InputError for another vocabulary."""
    config = dict(bilm.PUBLISHED_CONFIG, **{'bos_id': vocabulary.bos, 'eos_id': vocabulary.eos} if vocabulary else {})
    if os.path.exists(os.path.join(path, 'bilm.json')):
        try:
            config = bilm.read_config(path)
        except ValueError as error:
            raise InputError(error)
    if vocabulary:
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
        parameters = {parameter.name for parameter in program.all_parameters()} & set(os.listdir(path))
        check(path, sorted(parameters))
        return bilm.init_pretraining_params(exe, path, program, config)
    except ValueError as error:
        raise InputError(error)


def check(path, names=None):
    """InputError if a file, or one of these, of what was saved at `path` is missing or damaged; see write_manifest."""
    damage = _damage(path, names)
    if damage:
        raise InputError('%s; copy it again, or take another' % damage)


def load_state(exe, path, program, flags, kinds):
    """Loads the optimizer's state and returns train_state.json of a checkpoint.

    InputError if a flag differs on which the continuation depends, or the state lacks what `kinds` says: {key: type}.
    """
    check(path, ['train_state.json'])
    state = read_json(os.path.join(path, 'train_state.json'),
                      '; to start from its parameters alone use --load_pretraining_params')
    if not isinstance(state, dict) or any(not isinstance(state.get(key), kind) for key, kind in kinds.items()):
        raise InputError('%s: its train_state.json is not the state of such a run; take another checkpoint' % path)
    changed = ['--%s %s there, %s here' % (name, state['flags'].get(name), flags[name])
               for name in sorted(flags) if state['flags'].get(name) != flags[name]]
    if changed:
        raise InputError('%s: the run would not go on as it was: %s; for other settings start a new run from its '
                         'parameters with --load_pretraining_params' % (path, ', '.join(changed)))
    load_variables(exe, path, 'optimizer', program, optimizer_variables(program))
    return state


def load_variables(exe, path, part, program, variables):
    """Loads variables of a program from the directory `part` of a checkpoint, '' being the checkpoint itself.

    InputError if one is missing, damaged or of another shape; then nothing is loaded.
    """
    directory = os.path.join(path, part)
    check(path, [os.path.join(part, variable.name) for variable in variables])
    for variable in variables:
        try:
            shape = bilm.read_shape(os.path.join(directory, variable.name))
        except ValueError as error:
            raise InputError('%s; take another checkpoint' % error)
        if shape != tuple(variable.shape):
            raise InputError('%s: has shape %s, needed is %s' % (os.path.join(directory, variable.name), list(shape),
                                                                list(variable.shape)))
    fluid.io.load_vars(exe, directory, program, vars=variables)
