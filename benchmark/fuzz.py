# -*- coding: utf-8 -*-
"""Feeds random and mutated files to everything that reads files: each is read, or refused with one line.

So is each greeting of a stranger to elmo/watch.py. Whatever else happens is counted, shown, and makes the exit code 1.
What takes too long ends the process.

    . scripts/env.sh && "$PYTHON" benchmark/fuzz.py [--number 100000] [--greetings 2000] [--random_seed 0]
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import collections
import copy
import io
import json
import os
import random
import resource
import shutil
import signal
import socket
import tempfile
import traceback

from project import cli
import numpy as np
import paddle.fluid as fluid
import six

import bilm
from data import prepare
from elmo import checkpoint, connection, files, manifest, runlog
from elmo.arrays import write_parameter
from elmo.embedder import Embedder
from elmo.files import write_json
from elmo.progress import Progress
from elmo.text import InputError, Vocabulary
from lac_finetune import network, tagger
from lac_finetune.reader import read_tagged
from reader import BucketedReader
from tools import convert
import train

SECONDS = 20  # limit for one file or greeting; a longer time is a hang
MEMORY = 4 << 30  # bytes that the process may have beside what it starts with
WORDS = ['<S>', '</S>', '<UNK>', '苹果', '打', '行', 'a', 'n-B', 'n-I', 'O', '-', 'ａ', '\u3000', '\u200b', '\ufeff',
         '\u2028', '\x1c', '\x85', '\udc80' if six.PY2 else '\ufffd', '𠮷']
PIECES = [word.encode('utf-8') for word in WORDS] + [
    b' ', b' ', b' ', b'\n', b'\n', b'\t', b'\r\n', b'\r', b'\0', b'\xff', b'\xe8\x8b', b'\xef\xbb\xbf', b'\xff\xfe',
    b'{', b'}', b'[', b']', b'"', b':', b',', b'0', b'-1', b'1e999', b'9' * 30, b'null']
VALUES = [None, True, False, -1, 0, 1, 2, 2 ** 31 - 1, 10 ** 8, 10 ** 30, 1e308, float('nan'), float('inf'), 'x', '',
          '../../etc', 'a\0b', [], [[1]], {}]
TEXT = '苹果 打 行\n打 行\n'
STATE = {'step': 2, 'position': BucketedReader.start(), 'epochs_read': 0.5, 'seconds': 1., 'flags': {'optim': 'sgd'},
         'best_dev_perplexity': 7., 'dev_pending': False, 'skipped_steps': [1], 'test_path': '1 files, 9 bytes'}
ELMO = dict(bilm.PUBLISHED_CONFIG, vocab_size=5, embed_size=2, hidden_size=3)
LABELS = ['n-B', 'n-I', 'v-B']
SIZES = {'vocab_size': 5, 'num_labels': 3, 'word_emb_dim': 2, 'grnn_hidden_dim': 2, 'bigru_num': 2, 'elmo': ELMO}


def mutated_bytes(numbers, good):
    """Random bytes, random pieces of text, or good bytes of which some are changed, replaced or left out."""
    kind = numbers.random()
    if kind < 0.1:
        return bytes(bytearray(numbers.randrange(256) for _ in range(numbers.randrange(200))))
    if kind < 0.3:
        return b''.join(numbers.choice(PIECES) for _ in range(numbers.randrange(80)))
    if kind < 0.6:
        good = bytearray(good)
        for _ in range(numbers.randrange(1, 9) if good else 0):
            good[numbers.randrange(len(good))] = numbers.randrange(256)
        return bytes(good)
    for _ in range(numbers.randrange(4)):
        place = numbers.randrange(len(good) + 1)
        good = good[:place] + numbers.choice(PIECES) * numbers.randrange(3) + good[place + numbers.randrange(3):]
    return good


def mutated_json(numbers, value):
    """A value of JSON in which one place is replaced, left out or added."""
    kind = numbers.random()
    if not value or not isinstance(value, (dict, list)) or kind < 0.1:
        return copy.deepcopy(numbers.choice(VALUES))
    value = copy.copy(value)
    place = numbers.choice(sorted(value) if isinstance(value, dict) else range(len(value)))
    if kind < 0.2:
        del value[place]
    elif kind < 0.3 and isinstance(value, dict):
        value[numbers.choice(WORDS)] = copy.deepcopy(numbers.choice(VALUES))
    else:
        value[place] = mutated_json(numbers, value[place])
    return value


def mutated(numbers, good, names):
    """Changes one or two of the files `names`: {name: bytes, None if it is missing}; `good` has the bytes of each."""
    name, other, kind = numbers.choice(names), numbers.choice(names), numbers.random()
    if name != other and kind < 0.2:
        return {name: None} if kind < 0.1 else {name: good[other], other: good[name]}
    if name.endswith('.json') and kind < 0.8:
        return {name: json.dumps(mutated_json(numbers, json.loads(good[name].decode('utf-8')))).encode('utf-8')}
    return {name: mutated_bytes(numbers, good[name])}


def write(path, content):
    """Writes a file of bytes, and the directories above it."""
    if not os.path.isdir(os.path.dirname(path)):
        os.makedirs(os.path.dirname(path))
    with io.open(path, 'wb') as output:
        output.write(content)


def make_files(root):
    """Makes good files of every kind, and returns {path below root: bytes}."""
    def at(name):
        return os.path.join(root, name)

    for name, text in (('vocabulary.txt', '<S>\n</S>\n<UNK>\n苹果\n打\n'), ('text.txt', TEXT),
                       ('tagged.tsv', '苹果 打\tn v\n打\tv\n'), ('listed/text.txt', TEXT),
                       ('model/tags.txt', '\n'.join(LABELS) + '\n')):
        write(at(name), text.encode('utf-8'))
    shutil.copyfile(at('vocabulary.txt'), at('model/vocabulary.txt'))
    manifest.write(at('listed'))
    runlog.RunLog(root).write('train', 1, 1, loss=2.)
    program, _ = network.decoding_program(SIZES, whole=True)
    of_tagger = {parameter.name: parameter.shape for parameter in program.all_parameters()}
    for directory, shapes in (('elmo', bilm.parameter_shapes(ELMO)), ('model/network', of_tagger)):
        os.makedirs(at(directory))
        for name, shape in sorted(shapes.items()):
            write_parameter(at(directory + '/' + name), np.ones(shape, 'float32'))
    write_json(at('elmo/bilm.json'), ELMO)
    write_json(at('elmo/train_state.json'), STATE)
    write_json(at('model/settings.json'), {'sizes': SIZES, 'batch_tokens': 5, 'max_length': 9})
    convert.to_bilm(at('elmo'), at('tf'))
    return {os.path.relpath(os.path.join(parent, name), root): io.open(os.path.join(parent, name), 'rb').read()
            for parent, _, names in os.walk(root) for name in names}


def readers(root):
    """What reads files: {name: (beginning of the paths of the files that are changed, function that reads them)}."""
    def at(name):
        return os.path.join(root, name)

    vocabulary = Vocabulary(at('vocabulary.txt'))

    def read_text(name='text.txt', position=None):
        reader = BucketedReader([at(name)], vocabulary, 20, 2, max_length=5)
        for batch in reader.epoch(position or reader.start()):
            assert sum(part.lengths.sum() for part in batch.batches) == batch.num_tokens

    def read_state():
        read_text('listed/text.txt', checkpoint.read_state(at('elmo'), train.STATE)['position'])

    def read_parameter():
        with checkpoint.bilm_errors():
            bilm.read_shape(at('elmo/lstmp_0.w_0'))

    def tag():
        with fluid.scope_guard(fluid.Scope()):
            tagger.Tagger(at('model'), place=fluid.CPUPlace())(TEXT.splitlines())

    return {
        'vocabulary': ('vocabulary.txt', lambda: Vocabulary(at('vocabulary.txt'))),
        'text': ('text.txt', read_text),
        'raw text': ('text.txt', lambda: list(prepare.read_documents([at('text.txt')], 'blank', segmented=True))),
        'tagged text': ('tagged.tsv', lambda: read_tagged(at('tagged.tsv'))),
        'log': ('log.jsonl', lambda: runlog.read(root)),
        'state': ('elmo/train_state.json', read_state),
        'config': ('elmo/bilm.json', lambda: checkpoint.read_config(at('elmo'), vocabulary)),
        'parameter': ('elmo/lstmp_0.w_0', read_parameter),
        'checkpoint': ('elmo/', lambda: Embedder(at('elmo'), vocabulary, place=fluid.CPUPlace())([['打', '行']])),
        'manifest': ('listed/manifest.json', lambda: manifest.check(at('listed'))),
        'settings': ('model/settings.json', tag),
        'tagger': ('model/', tag),
        'HDF5': ('tf/', lambda: convert.from_bilm(at('tf'), at('made'), 0, 1)),
    }


def read(function, description):
    """Calls a function that reads files; tells how it ended: read, refused or other."""
    signal.alarm(SECONDS)
    try:
        function()
        return 'read'
    except InputError:
        return 'refused'
    except Exception:  # that is what is looked for
        print('%s:\n%s' % (description, traceback.format_exc()))
        return 'other'
    finally:
        signal.alarm(0)


def greet(numbers):
    """A stranger sends what may look like a greeting to either side of one; tells how that ended: refused or other."""
    here, there = socket.socketpair()
    content = b''
    for number in (1, 3):  # of texts in a greeting
        message = [connection.random_text() for _ in range(number)]
        as_json = json.dumps(mutated_json(numbers, message) if numbers.random() < 0.5 else message)
        content += mutated_bytes(numbers, as_json.encode('ascii') + b'\n')
    there.sendall(content)
    there.shutdown(socket.SHUT_WR)
    known, side = [], connection.Connection(here)
    sides = [lambda: connection.examine(side, 'secret'), lambda: connection.introduce(side, 'secret', 'who')]
    greeted = numbers.choice(sides)
    end = read(lambda: known.append(greeted()), 'greeting: %r' % content)
    here.close()
    there.close()
    return 'refused' if end == 'read' and not known[0] else 'other'


def bound_memory():
    with io.open('/proc/self/statm') as statm:
        size = int(statm.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))


def fuzz(number, numbers, root):
    """Reads `number` mutations; a Counter of (reader, how it ended)."""
    counts, good, kinds = collections.Counter(), make_files(root), sorted(readers(root).items())
    files.sync = lambda path: None  # what is written here is not kept
    bound_memory()
    progress = Progress('fuzz', number, 'files')
    for tried in range(number):
        name, (beginning, function) = numbers.choice(kinds)
        changes = mutated(numbers, good, sorted(path for path in good if path.startswith(beginning)))
        for path, content in changes.items():
            if content is None:
                os.remove(os.path.join(root, path))
            else:
                write(os.path.join(root, path), content)
        counts[name, read(function, 'input %d, %s: %r' % (tried, name, changes))] += 1
        for path in changes:
            write(os.path.join(root, path), good[path])
        progress.update(tried + 1)
    progress.close()
    return counts


def main():
    parser = cli.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--number', type=cli.positive_int, default=100000, help='files')
    parser.add_argument('--random_seed', type=int, default=0, help='of their contents')
    parser.add_argument('--greetings', type=cli.non_negative_int, default=2000, help='of strangers')
    args, root = parser.parse_args(), tempfile.mkdtemp()
    numbers = random.Random(args.random_seed)
    try:
        counts = fuzz(args.number, numbers, root)
    finally:
        shutil.rmtree(root)
    counts.update(('greeting', greet(numbers)) for _ in range(args.greetings))
    ends, totals = ('read', 'refused', 'other'), collections.Counter()
    for name in sorted({name for name, _ in counts}):
        print('%-12s' % name + ','.join(' %6d %s' % (counts[name, end], end) for end in ends))
        totals.update({end: counts[name, end] for end in ends})
    print('%d tried: %s; peak memory %d MB'
          % (sum(totals.values()), ', '.join('%d %s' % (totals[end], end) for end in ends),
             resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024))
    if totals['other']:
        raise SystemExit(1)


if __name__ == '__main__':
    cli.run(main)
