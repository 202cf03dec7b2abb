# -*- coding: utf-8 -*-
"""Packs a model for release: a checkpoint of train.py, without its softmax, or a tagger of lac_finetune/train.py.

It goes to models/NAME, or to NAME in the directory ELMO_MODELS. A packed model of this name that is there is replaced,
and keeps its README.md. elmo/released.py describes the files. A tagger is packed without its ELMo, which must be a
released one: train the tagger with `--elmo_checkpoint NAME`, as rounding changes an ELMo.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import collections
import os
import re
import shutil

from project import cli
import numpy as np

import bilm
from elmo import checkpoint, manifest, packing, released
from elmo.arrays import open_parameter
from elmo.corpus import write_lines
from elmo.files import new_directory, write_json
from elmo.text import InputError, Vocabulary
from lac_finetune import tagger
from lac_finetune.network import layer_0_alone

CARD = 'README.md'
# Its files, {name: path, list of lines, or value of a JSON}; its parameters, {name: array}; name and digest of the ELMo
# that it needs, None of an ELMo.
Model = collections.namedtuple('Model', 'files parameters needed')


def read_parameters(directory, names):
    """The parameters of these names in a directory, {name: float32 array}."""
    return {name: np.array(open_parameter(os.path.join(directory, name))) for name in names}


def elmo(path, vocab_path):
    """The Model of a checkpoint."""
    path, vocabulary = checkpoint.find(path, 'source'), Vocabulary(vocab_path)
    config = checkpoint.read_whole(path, vocabulary)
    names = set(bilm.parameter_shapes(config)) - set(bilm.SOFTMAX_PARAMETERS)
    config = dict(config, vocab_sha256=vocabulary.sha256)
    return Model({'vocabulary.txt': vocabulary.words, 'bilm.json': config}, read_parameters(path, names), None)


def tagger_with(path, name):
    """The Model of a tagger whose ELMo is the released one of this name, in the same directory of models."""
    settings = tagger.read_settings(path)
    manifest.check(path)
    tagger.check_sizes(path, settings['sizes'])
    if settings['sizes']['elmo'] and layer_0_alone(settings['sizes']):
        raise InputError('%s: reads layer 0 of its ELMo alone, which cannot be packed; train it with --elmo_layers all'
                         % path)
    packed = os.path.join(released.directory(), name)
    unpacked, bits = released.find_model(packed, released.ELMO), released.read_description(packed)['mantissa_bits']
    network, names = os.path.join(path, 'network'), released.parameter_names(unpacked)
    config, sizes = checkpoint.read_config(unpacked), settings['sizes']
    same_sizes = sizes['elmo'] and all(sizes['elmo'][key] == config[key] for key in bilm.PUBLISHED_CONFIG) and (
        sizes.get('vocab_sha256') == config['vocab_sha256'])
    if not same_sizes or not all(is_rounded(network, unpacked, each, bits) for each in names):
        raise InputError('%s: its ELMo is not the released %s; train it with --elmo_checkpoint %s' % (path, name, name))
    settings['flags'] = {key: value for key, value in settings.get('flags', {}).items()
                         if isinstance(value, (int, float))}  # others are paths of the machine where it was trained
    own = [each for each in os.listdir(network) if not each.startswith('__') and each not in names]
    return Model({'tags.txt': os.path.join(path, 'tags.txt'), 'settings.json': settings},
                 read_parameters(network, own), {'name': name, 'sha256': manifest.digest(unpacked)})


def is_rounded(whole, rounded, name, bits):
    """Whether a parameter in the directory `rounded` is that in `whole` with so many bits of mantissa."""
    one, other = [np.array(open_parameter(os.path.join(place, name))) for place in (whole, rounded)]
    return (packing.round_mantissa(one, bits) == other).all()


def write(target, model, bits):
    """Writes a packed Model in place of the one that is there."""
    kind = released.TAGGER if model.needed else released.ELMO
    if os.path.lexists(target) and not released.is_packed(target):
        raise InputError('%s: is there already, and no packed model; choose another name' % target)
    with new_directory(target) as temporary:
        for name, content in model.files.items():
            if isinstance(content, dict):
                write_json(os.path.join(temporary, name), content)
            elif isinstance(content, list):
                write_lines(os.path.join(temporary, name), content)
            else:
                shutil.copyfile(content, os.path.join(temporary, name))
        packing.write(os.path.join(temporary, released.PARAMETERS), model.parameters, bits)
        write_json(os.path.join(temporary, released.DESCRIPTION),
                   {'kind': kind, 'mantissa_bits': bits, 'elmo': model.needed})
        manifest.write(temporary)
        if os.path.exists(os.path.join(target, CARD)):  # behind the manifest, as it may be changed
            shutil.copyfile(os.path.join(target, CARD), os.path.join(temporary, CARD))


def parse_args():
    parser = cli.ArgumentParser(__doc__.splitlines()[0], 'python models/pack.py checkpoints elmo_zh_small '
                                '--vocab_path vocabulary.txt\npython models/pack.py model lac_pku --elmo elmo_zh_small')
    parser.add_argument('source', help='a checkpoint, or a directory of checkpoints, of which the best is taken; with '
                        '--elmo the model directory of a tagger')
    parser.add_argument('name', help='of the released model: letters, digits and _')
    parser.add_argument('--vocab_path', metavar='FILE', default='', help='vocabulary of the checkpoint')
    parser.add_argument('--elmo', metavar='NAME', default='', help='the released ELMo that the tagger was trained with')
    parser.add_argument('--mantissa_bits', type=cli.number(int, low=1, high=packing.MANTISSA), default=6,
                        help='bits of mantissa that are kept of each number; 23: all')
    args = parser.parse_args()
    if bool(args.vocab_path) == bool(args.elmo):
        parser.error('a checkpoint wants --vocab_path, a tagger --elmo: give one of them')
    if not re.match('[A-Za-z0-9_]+$', args.name):
        parser.error('%s: a name has letters, digits and _ alone' % args.name)
    return args


def main():
    args = parse_args()
    model = tagger_with(args.source, args.elmo) if args.elmo else elmo(args.source, args.vocab_path)
    target = os.path.join(released.directory(), args.name)
    write(target, model, args.mantissa_bits)
    numbers = sum(array.size for array in model.parameters.values())
    size = os.path.getsize(os.path.join(target, released.PARAMETERS))
    print('wrote %s: %d numbers in %d bytes, %.2f bits each' % (target, numbers, size, 8 * size / numbers))


if __name__ == '__main__':
    cli.run(main)
