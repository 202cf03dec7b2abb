# -*- coding: utf-8 -*-
"""The released models, by name. models/NAME/ holds one, packed by models/pack.py:

    parameters.npz.gz   the parameters, rounded, see packing.py; those of an encoder, or of a tagger without its ELMo
    model.json          its kind, the bits of mantissa kept, and for a tagger name and digest of its ELMo
    manifest.json       size and sha256 of each of these files
    bilm.json vocabulary.txt     of an ELMo
    settings.json tags.txt       of a tagger; its vocabulary is that of its ELMo

Who wants one gets the path of a directory that holds it unpacked: a checkpoint with vocabulary.txt beside its
parameters, or a model directory as lac_finetune/tagger.py describes it, without the program in network/. It is unpacked
once, in models/.unpacked/NAME-DIGEST, or where models/ cannot be written, in the user's cache; and again if it is found
damaged. A new release has another digest. These directories can be deleted at any time.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import glob
import os
import shutil
import tempfile
import time

from elmo import manifest, packing, rundir, schema
from elmo.arrays import write_parameter
from elmo.files import new_directory, read_json, remove_tree
from elmo.progress import tell_user
from elmo.text import InputError, check_path

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PARAMETERS, DESCRIPTION = 'parameters.npz.gz', 'model.json'
ELMO, TAGGER = 'elmo', 'tagger'
TEXTS = {ELMO: ('bilm.json', 'vocabulary.txt'), TAGGER: ('settings.json', 'tags.txt')}
DIGITS = 12  # of a digest, in the name of a directory
SCHEMA = {  # of model.json
    'kind': schema.one_of(ELMO, TAGGER), 'mantissa_bits': schema.whole(1, packing.MANTISSA),
    'elmo': schema.or_null({'name': schema.text(100), 'sha256': schema.text(64)})}


def directory():
    """The directory of the packed models: that in ELMO_MODELS, or models/ of the project."""
    return check_path(os.environ.get('ELMO_MODELS') or os.path.join(ROOT, str('models')), 'ELMO_MODELS')


def names():
    """The names of the released models, sorted."""
    place = directory()
    return sorted(name for name in (os.listdir(place) if os.path.isdir(place) else []) if is_packed(name))


def is_packed(name):
    """Whether this is the name of a released model, or the path of a packed one."""
    return bool(packed_directory(name))


def unknown(name):
    """The InputError of a name that is none."""
    known = ', '.join(names()) or 'none'
    return InputError('%s: no such directory, and no released model; these are: %s' % (name, known))


def packed_directory(name):
    """The directory of a packed model, '' if there is none of this name. A directory in the current one comes first."""
    path = name if os.path.isdir(name) or os.path.basename(name) != name else os.path.join(directory(), name)
    return path if os.path.isfile(os.path.join(path, DESCRIPTION)) else ''


def find_model(name, kind=None):
    """The directory of an unpacked model, see above.

    Args:
        name: of the model, or the path of a packed one.
        kind: ELMO or TAGGER, where only this will do.

    Raises:
        InputError: there is no such model, it is of the other kind, or it is damaged; or it cannot be unpacked.
    """
    packed = packed_directory(name)
    if not packed:
        raise unknown(name)
    model = read_description(packed)
    found = model['kind']
    if kind not in (None, found):
        raise InputError('%s: is a released %s, and what is wanted is a released %s' % (name, found, kind))
    label = '%s-%s' % (os.path.basename(os.path.abspath(packed)), manifest.digest(packed)[:DIGITS])
    places = [os.path.join(os.path.dirname(os.path.abspath(packed)), '.unpacked'), _cache()]
    for path in [os.path.join(place, label) for place in places]:
        if not manifest.damage_of_ours(path):
            return path
    path = os.path.join(_first_writable(places), label)
    _unpack(packed, model, path)
    return path


def read_description(packed):
    """model.json of a packed model; InputError if pack.py cannot have written it."""
    path = os.path.join(packed, DESCRIPTION)
    found = read_json(path)
    problem = schema.problem(found, SCHEMA)
    if not problem and (found['kind'] == TAGGER) != bool(found.get('elmo')):
        problem = 'elmo: a tagger has one, and an ELMo has none'
    if problem:
        raise InputError('%s: no packed model: %s; copy it again, or take another' % (path, problem))
    return found


def _cache():
    """The directory in the user's cache."""
    home = os.environ.get('XDG_CACHE_HOME') or os.path.expanduser(str('~/.cache'))
    return os.path.join(check_path(home, 'XDG_CACHE_HOME'), 'elmo_fluid')


def _first_writable(places):
    """The first directory that can be written; InputError of the last one if there is none."""
    for place in places[:-1]:
        try:
            rundir.make(place)
            return place
        except InputError:
            continue
    rundir.make(places[-1], 'unpacking a released model in')
    return places[-1]


def _unpack(packed, model, path):
    """Makes the directory `path`. Another process may do so at the same time: the first one wins."""
    manifest.check(packed)
    for work in glob.glob(os.path.join(os.path.dirname(path), '.making-*')):
        if time.time() - os.path.getmtime(work) > 24 * 3600:  # of a process that was killed
            remove_tree(work)
    work = tempfile.mkdtemp(prefix='.making-', dir=os.path.dirname(path))
    try:
        whole = os.path.join(work, 'model')
        with new_directory(whole) as temporary:
            (_fill_elmo if model['kind'] == ELMO else _fill_tagger)(packed, model, temporary)
            manifest.write(temporary)
        try:
            if os.path.isdir(path) and manifest.damage_of_ours(path):
                tell_user('%s: damaged; it is unpacked again' % path)
                os.rename(path, os.path.join(work, 'damaged'))
            os.rename(whole, path)
        except OSError as error:  # a directory that is not empty is never replaced
            if manifest.damage_of_ours(path):
                raise InputError('%s: cannot be saved: %s' % (path, error.strerror))
    finally:
        remove_tree(work)


def _fill_elmo(packed, model, target):
    for name in TEXTS[ELMO]:
        shutil.copyfile(os.path.join(packed, name), os.path.join(target, name))
    _write_parameters(packed, model, target)


def _fill_tagger(packed, model, target):
    elmo = elmo_of(packed, model)
    for name in TEXTS[TAGGER]:
        shutil.copyfile(os.path.join(packed, name), os.path.join(target, name))
    shutil.copyfile(os.path.join(elmo, 'vocabulary.txt'), os.path.join(target, 'vocabulary.txt'))
    network = os.path.join(target, 'network')
    os.mkdir(network)
    for name in parameter_names(elmo):
        shutil.copyfile(os.path.join(elmo, name), os.path.join(network, name))
    _write_parameters(packed, model, network)


def _write_parameters(packed, model, target):
    for name, array in packing.read(os.path.join(packed, PARAMETERS), model['mantissa_bits']).items():
        write_parameter(os.path.join(target, name), array)


def elmo_of(packed, model):
    """The unpacked ELMo that a tagger was trained with, which is released beside it; InputError if it is another."""
    name, sha256 = model['elmo']['name'], model['elmo']['sha256']
    elmo = find_model(os.path.join(os.path.dirname(os.path.abspath(packed)), name), ELMO)
    if manifest.digest(elmo) != sha256:
        raise InputError('%s: was trained with another %s than that beside it; take the two of one release'
                         % (packed, name))
    return elmo


def parameter_names(elmo):
    """Names of the parameters in an unpacked ELMo, sorted."""
    return sorted(set(os.listdir(elmo)) - set(TEXTS[ELMO]) - {manifest.NAME})
