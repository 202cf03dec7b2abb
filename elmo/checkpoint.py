# -*- coding: utf-8 -*-
"""Saving, keeping, finding and loading checkpoints.

    DIR/000490/            one file a parameter, as fluid.io.save_vars writes it, and nothing else of fluid's
        bilm.json          sizes, and the sha256 of the vocabulary
        optimizer/         accumulators and learning rate
        train_state.json   step, position in the text, best dev perplexity, flags
        manifest.json      size and sha256 of each of these files
    DIR/latest, DIR/best   names of the newest checkpoint and of that with the lowest dev perplexity

A checkpoint is filled beside its place, synced to disk and renamed: it is whole or absent.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import contextlib
import itertools
import os
import re
import sys

import numpy as np
import paddle.fluid as fluid

import bilm
from elmo import devices, manifest, released, schema
from elmo.arrays import check_shape, open_parameter
from elmo.files import new_directory, read_json, remove_tree, replacing, write_json
from elmo.progress import tell_user
from elmo.release import save_vars
from elmo.text import InputError, Vocabulary, check_path, open_binary

POINTERS = 'latest', 'best'
START_ANEW = 'start a new run from its parameters with --init_from'  # for who cannot go on with a checkpoint
NAMES = {'train_units': 'units of the training text:'}  # of what must be the same and is no flag
_NAME = re.compile('[0-9]{6,}$')


class SaveError(InputError):
    """A checkpoint cannot be written."""


def steps(directory):
    """Steps of the checkpoints in a directory, oldest first. Whatever has no manifest of ours is none."""
    return [step for step in _named(directory) if manifest.read(_path(directory, step))]


def _named(directory):
    """Numbers of the directories that are named like a checkpoint, oldest first."""
    return sorted(int(name) for name in os.listdir(directory)
                  if _NAME.match(name) and name == '%06d' % int(name) and os.path.isdir(os.path.join(directory, name)))


def _path(directory, step):
    return os.path.join(directory, '%06d' % step)


@contextlib.contextmanager
def bilm_errors(advice=''):
    """Turns what bilm.py, which is copied alone, says of a checkpoint into an InputError that ends with the advice."""
    try:
        yield
    except bilm.CheckpointError as error:
        raise InputError('%s%s' % (error, advice))


def optimizer_variables(program):
    """What an optimizer keeps between steps: accumulators, learning rate, and the scaling of the loss if there is one.

    Ask for it before the program gets persistable variables of other kinds.
    """
    return [variable for variable in program.list_vars()
            if variable.persistable and not isinstance(variable, fluid.framework.Parameter)]


@contextlib.contextmanager
def saving(directory, variables):
    """For calls of fluid.io that save variables into a directory: InputError if a file is not whole afterwards."""
    try:
        yield
        for variable in variables:  # fluid does not notice a full disk
            bilm.read_shape(os.path.join(directory, variable.name))
    except bilm.CheckpointError as error:
        raise InputError('%s: cannot be saved: %s' % (directory, error))
    except fluid.core.EnforceNotMet as error:
        raise InputError('%s: cannot be saved: %s'
                         % (directory, ('%s' % error).split('Error Message Summary:')[-1].strip('-\n')))


@contextlib.contextmanager
def resumable():
    """For what a run saves, which can be done again: adds to an InputError how to go on, as a SaveError."""
    try:
        yield
    except InputError as error:
        raise SaveError('%s; make room there, then give the same command with --resume' % error)


class Saver(object):
    """Saves the checkpoints of a run, keeps the newest ones and the best, and deletes the others.

    Args:
        exe: a fluid.Executor.
        program: the training program, whose parameters are saved.
        variables: what else it needs to go on, see optimizer_variables.
        directory: where the checkpoints are.
        keep: number of the newest checkpoints kept.
        config: sizes and vocab_sha256 of a biLM, for bilm.json; None for another network.

    Raises:
        InputError: what `best` there says is no name of a checkpoint. It would be the next to be deleted.
    """

    def __init__(self, exe, program, variables, directory, keep, config=None):
        self._exe, self._program, self._variables, self._config = exe, program, variables, config
        self.directory, self._keep = directory, keep
        _pointed(directory, 'best')

    def go_on_from(self, step):
        """Lets DIR/latest name the checkpoint of this step, from which a run goes on, perhaps back from a later one."""
        with resumable():
            self._point('latest', step)

    def save(self, state):
        """Saves a checkpoint named after state['step'], and returns its path.

        Args:
            state: dict for train_state.json. Its 'best_step', if any, is the step of the best checkpoint so far.

        Raises:
            SaveError: it cannot be written, as on a full disk; the checkpoints before it are as they were.
        """
        path = _path(self.directory, state['step'])
        with resumable():
            _move_aside(path)
            with new_directory(path, os.path.join(self.directory, '.saving')) as temporary:
                self._fill(temporary, state)
            self._point('latest', state['step'])
            self._point('best', state.get('best_step'))  # at each save, as a run may have ended just before this line
        self._prune(state['step'])
        return path

    def _point(self, pointer, step):
        """Lets DIR/latest or DIR/best name the checkpoint of a step, if it is there."""
        if step is not None and os.path.isdir(_path(self.directory, step)):
            with replacing(os.path.join(self.directory, pointer)) as output:
                output.write('%06d\n' % step)

    def _fill(self, directory, state):
        for target, variables in ((directory, self._program.all_parameters()),
                                  (os.path.join(directory, 'optimizer'), self._variables)):
            with saving(target, variables):
                save_vars(self._exe, target, self._program, vars=variables)
        write_json(os.path.join(directory, 'train_state.json'), state)
        if self._config:
            write_json(os.path.join(directory, 'bilm.json'), self._config)
        manifest.write(directory)

    def _prune(self, step):
        """Deletes all checkpoints but the newest ones, of which that of `step` is the last, and the best."""
        best = _pointed(self.directory, 'best')
        # Later steps are of a run that went back.
        for other in sorted(steps(self.directory), key=lambda other: (other <= step, other))[:-self._keep]:
            path = _path(self.directory, other)
            if os.path.basename(path) != best:
                _remove(path)


def _remove(path):
    """Deletes a checkpoint. At no time is there half of one under its name."""
    deleted = os.path.join(os.path.dirname(path), '.deleting')
    remove_tree(deleted)
    os.rename(path, deleted)
    remove_tree(deleted)


def _move_aside(path):
    """Gives another name to what stands in the place of a checkpoint and is none, as it is the user's."""
    if os.path.lexists(path) and not manifest.read(path):
        names = ('%s.%d.aside' % (path, number) for number in itertools.count(1))
        other = next(name for name in names if not os.path.lexists(name))
        try:
            os.rename(path, other)
        except OSError as error:
            raise InputError('%s: cannot be saved: %s' % (other, error.strerror))
        print('%s is no checkpoint, and in the place of one: it is now %s' % (path, other))


def _pointed(directory, pointer):
    """The name in the file DIR/latest or DIR/best; empty if there is no such file, InputError if it is no name."""
    path = os.path.join(directory, pointer)
    if not os.path.exists(path):
        return ''
    with open_binary(path) as handle:
        name = handle.read(256).decode('utf-8', 'replace').strip()
    if not _NAME.match(name):
        raise InputError('%s: names no checkpoint; write the name of one into it, or delete it' % path)
    return name


def find(path, flag='--checkpoint', newest=False):
    """The checkpoint that a path names. A line on stderr tells which one that is, unless it is the path itself.

    Args:
        path: a checkpoint; or the file DIR/best or DIR/latest; or DIR, of which the best is taken, or the newest whole
            one if the best is missing or damaged; or the name of a released model, where there is no such directory.
        flag: what the user gave it by.
        newest: True takes the newest whole one of DIR, as a run does that goes on.

    Raises:
        InputError: there is none, or that which DIR/best or DIR/latest names is not whole.
    """
    path = check_path(path, flag)
    if os.path.isfile(os.path.join(path, 'embedding_para')):
        return path
    directory, pointer = os.path.split(path)
    if pointer in POINTERS and os.path.isfile(path):
        found, problem = _pointed_whole(directory, pointer)
        if problem:
            raise InputError('%s %s: no whole checkpoint: %s' % (flag, path, problem))
    elif released.is_packed(path):
        if newest:
            raise InputError('%s %s: is a released model, which has no run to go on with; use --init_from'
                             % (flag, path))
        found = released.find_model(path, released.ELMO)
    elif not os.path.isdir(path):
        raise released.unknown('%s %s' % (flag, path))
    else:
        found = '' if newest else _best_whole(path)
        found = found or newest_whole(path, tell_user)
    if not found:
        raise InputError('%s %s: holds no checkpoint' % (flag, path))
    tell_user('%s: takes %s' % (path, found))
    return found


def _pointed_whole(directory, pointer):
    """(the checkpoint that DIR/best or DIR/latest names, '') if it is whole, ('', what is wrong) otherwise."""
    try:
        name = _pointed(directory, pointer)
    except InputError as error:
        return '', '%s' % error
    if not name:
        return '', '%s: is not there' % os.path.join(directory, pointer)
    damage = manifest.damage_of_ours(os.path.join(directory, name))
    return '' if damage else os.path.join(directory, name), damage


def _best_whole(directory):
    """The best checkpoint in a directory; '' and a line on stderr if there is none that is as it was saved."""
    found, problem = _pointed_whole(directory, 'best')
    if problem and _named(directory):
        tell_user('passed over the best: %s' % problem)
    return found


def newest_whole(directory, tell=print):
    """The newest checkpoint in a directory that is as it was saved, '' if there is none.

    Those after the one that DIR/latest names come last: they are of a run that went back.

    Args:
        tell: a function that gets a line for each that is passed over.
    """
    named = _named(directory) if os.path.isdir(directory) else []
    try:
        latest = int(_pointed(directory, 'latest') or sys.maxsize)
    except InputError:
        latest = sys.maxsize
    for step in sorted(named, key=lambda step: (step <= latest, step), reverse=True):
        path = _path(directory, step)
        damage = manifest.damage_of_ours(path)
        if not damage:
            return path
        tell('passed over: %s' % damage)
    return ''


def to_go_on(directory):
    """The checkpoint that a run with --resume goes on from, '' if it has saved none.

    InputError if none is whole: a new start would take their place in time.
    """
    path = newest_whole(directory)
    if not path and (steps(directory) or os.path.exists(os.path.join(directory, 'latest'))):
        raise InputError('--resume: %s: none of its checkpoints is whole; put back what is missing, or give another '
                         '--save_dir' % directory)
    return path


def vocabulary_of(path, vocab_path=''):
    """The Vocabulary of a checkpoint: that in the file `vocab_path`; not given: that which a released model has.

    InputError if it has none.
    """
    own = os.path.join(path, 'vocabulary.txt')
    if not vocab_path and not os.path.exists(own):
        raise InputError('%s: has no vocabulary.txt, so its vocabulary is wanted too; give Vocabulary(path), or '
                         '--vocab_path' % path)
    return Vocabulary(vocab_path or own)


def read_config(path, vocabulary=None):
    """The config of a checkpoint, ours or the published one, which has no bilm.json.

    InputError if bilm.json is none, or is that of another vocabulary or of other files.
    """
    config = dict(bilm.PUBLISHED_CONFIG, **{'bos_id': vocabulary.bos, 'eos_id': vocabulary.eos} if vocabulary else {})
    if os.path.exists(os.path.join(path, 'bilm.json')):
        with bilm_errors('; copy it again, or take another'):
            config = bilm.read_config(path)
    if vocabulary:
        check_vocabulary(path, vocabulary, config)
    return config


def check_vocabulary(path, vocabulary, config):
    """InputError if the checkpoint at `path`, of this config, was made with another vocabulary."""
    for key, here in (('vocab_size', len(vocabulary)), ('vocab_sha256', vocabulary.sha256),
                      ('bos_id', vocabulary.bos), ('eos_id', vocabulary.eos)):
        if config.get(key, here) != here:
            raise InputError('%s: was trained with another vocabulary than %s: %s is %s there, %s here; give the '
                             'vocabulary of the checkpoint' % (path, vocabulary.path, key, config[key], here))


def check_config(path, config, vocabulary):
    """InputError unless the checkpoint at `path` is of this vocabulary and has files for this config.

    It reads the heads of the files alone: ask before a network is built.
    """
    with bilm_errors():
        if os.path.exists(os.path.join(path, 'bilm.json')):  # the published checkpoint has none
            check_vocabulary(path, vocabulary, bilm.read_config(path))
        bilm.check_files(path, config)


def read_whole(path, vocabulary=None):
    """The config of a checkpoint; InputError unless it is whole, of this vocabulary, and its files have these sizes."""
    config = read_config(path, vocabulary)
    with bilm_errors():
        bilm.check_files(path, config)
    manifest.check(path)
    return config


def load_parameters(exe, path, program, config, vocabulary, scope=None):
    """Loads the parameters of a checkpoint, with or without a softmax; returns their names.

    They go into the scope, None being the current one.

    InputError if sizes or vocabulary differ, or a file is missing or damaged.
    """
    check_config(path, config, vocabulary)
    devices.check_memory(exe.place, [parameter.shape for parameter in program.all_parameters()])
    parameters = {parameter.name for parameter in program.all_parameters()} & set(os.listdir(path))
    manifest.check(path, sorted(parameters))
    names = sorted(parameters & set(bilm.parameter_shapes(config)))
    _fill(scope, exe.place, path, names)
    return names


def load_language_model(exe, path, program, config, vocabulary):
    """As load_parameters, into the current scope; InputError also if the checkpoint has no softmax."""
    names = load_parameters(exe, path, program, config, vocabulary)
    if not set(bilm.SOFTMAX_PARAMETERS) <= set(names):
        raise InputError('%s: has no softmax, so there is no perplexity; name a whole checkpoint' % path)
    return names


def read_state(path, wanted, advice=START_ANEW):
    """The dict in train_state.json of a checkpoint; InputError if it is not as the schema `wanted` says."""
    manifest.check(path, ['train_state.json'])
    state = read_json(os.path.join(path, 'train_state.json'), '; ' + advice)
    problem = schema.problem(state, wanted)
    if problem:
        raise InputError('%s: its train_state.json is not the state of such a run: %s; take another checkpoint'
                         % (path, problem))
    return state


def load_state(exe, path, variables, here, wanted, later, advice=START_ANEW):
    """Loads the state of a run from a checkpoint: the variables saved beside the parameters, and train_state.json.

    It tells where the run goes on in another way than before, see devices.describe.

    Args:
        variables: see Saver.
        here: the state of a run that starts. `flags`, {name: value}, is what must be the same there, and `ran_on` what
            should be.
        wanted: the schema of train_state.json.
        later: {name: value} of the flags that came later than the first release; the value is that of a run before.
        advice: what to do for other flags.

    Returns:
        The dict of train_state.json.

    Raises:
        InputError: a flag differs, and all that do are named; or a file is missing or damaged.
    """
    state = read_state(path, wanted, advice)
    flags, there = here['flags'], dict(later, **state['flags'])
    changed = ['%s %s there, %s here' % (NAMES.get(name, '--' + name), there.get(name, 'missing'), flags[name])
               for name in sorted(flags) if name not in there or there[name] != flags[name]]
    if changed:
        raise InputError('%s: the run would not go on as it was: %s; give them as they were, or %s'
                         % (path, ', '.join(changed), advice))
    if state.get('ran_on') not in (None, here['ran_on']):
        print('the run was on %s, and goes on with %s: the last digits will not be those of a run never stopped'
              % (state['ran_on'], here['ran_on']))
    load_variables(exe, path, 'optimizer', variables)
    return dict(state, ran_on=here['ran_on'])


def load_variables(exe, path, part, variables, scope=None):
    """Loads variables from the directory `part` of a checkpoint, '' being the checkpoint itself.

    They go into the scope, None being the current one.
    InputError if one is missing, damaged or of another shape; then nothing is loaded.
    """
    directory = os.path.join(path, part)
    manifest.check(path, [os.path.join(part, variable.name) for variable in variables])
    for variable in variables:
        check_shape(os.path.join(directory, variable.name), tuple(variable.shape))
    _fill(scope, exe.place, directory, [variable.name for variable in variables])


def _fill(scope, place, directory, names):
    """Sets variables in a scope from their files. fluid.io knows the current scope alone, which all threads share."""
    scope = scope or fluid.global_scope()
    for name in names:
        scope.var(str(name)).get_tensor().set(np.array(open_parameter(os.path.join(directory, name))), place)
