# -*- coding: utf-8 -*-
"""Feeds random and mutated files to everything that reads files: each is read, or refused with one line.

    . scripts/env.sh && "$PYTHON" benchmark/fuzz.py [--number 100000] [--random_seed 0]
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import collections
import hashlib
import io
import json
import os
import random
import resource
import shutil
import signal
import struct
import tempfile

from project import cli
import numpy as np
import six

import bilm
from data import prepare
from elmo import checkpoint, manifest
from elmo.files import read_json
from elmo.progress import Progress
from elmo.text import InputError, Vocabulary
from lac_finetune import tagger
from lac_finetune.reader import read_tagged
from reader import BucketedReader

SECONDS = 20  # limit for one file; a longer time is a hang
WORDS = ['<S>', '</S>', '<UNK>', '苹果', '打', '行', 'a', 'n-B', 'n-I', 'O', '-', 'ａ', '\u3000', '\u200b', '\ufeff',
         '\u2028', '\x1c', '\x85', '\udc80' if six.PY2 else '\ufffd', '𠮷']
PIECES = [word.encode('utf-8') for word in WORDS] + [
    b' ', b' ', b' ', b'\n', b'\n', b'\t', b'\r\n', b'\r', b'\0', b'\xff', b'\xe8\x8b', b'\xef\xbb\xbf', b'\xff\xfe',
    b'{', b'}', b'[', b']', b'"', b':', b',', b'0', b'-1', b'1e999', b'9' * 30, b'null']
TENSOR = struct.pack(str('<IQIi'), 0, 0, 0, 4) + b'\x08\x05\x10\x02' + np.zeros(2, 'float32').tobytes()
STATE = {'step': 2, 'position': BucketedReader.start(), 'epochs_read': 0.5, 'seconds': 1., 'flags': {}}
SIZES = {'vocab_size': 5, 'num_labels': 3, 'word_emb_dim': 4, 'grnn_hidden_dim': 4, 'bigru_num': 2,
         'elmo': dict(bilm.PUBLISHED_CONFIG, vocab_size=5)}
TEXT = '苹果 打 行\n打 行\n'.encode('utf-8')
GOOD = {  # a good file for each reader
    'vocabulary': '<S>\n</S>\n<UNK>\n苹果\n打\n'.encode('utf-8'), 'text': TEXT, 'raw text': TEXT, 'parameter': TENSOR,
    'tagged text': '苹果 打\tn v\n打\tv\n'.encode('utf-8'), 'config': json.dumps(bilm.PUBLISHED_CONFIG).encode('utf-8'),
    'state': json.dumps(STATE).encode('utf-8'),
    'manifest': json.dumps({'text': [len(TEXT), hashlib.sha256(TEXT).hexdigest()]}).encode('utf-8'),
    'settings': json.dumps({'sizes': SIZES, 'batch_tokens': 5, 'max_length': 9}).encode('utf-8')}


def content(numbers, good):
    """The bytes of a file: random bytes, random pieces of text, or a good file with some bytes or pieces changed."""
    kind = numbers.random()
    if kind < 0.1:
        return bytes(bytearray(numbers.randrange(256) for _ in range(numbers.randrange(200))))
    if kind < 0.4:
        return b''.join(numbers.choice(PIECES) for _ in range(numbers.randrange(80)))
    for _ in range(numbers.randrange(4)):
        place = numbers.randrange(len(good) + 1)
        good = good[:place] + numbers.choice(PIECES) * numbers.randrange(3) + good[place + numbers.randrange(3):]
    return good


def readers(directory, vocabulary):
    """The functions that read files: {name: function of a path}."""
    text_path = os.path.join(directory, 'text')
    with io.open(text_path, 'wb') as output:
        output.write(TEXT)

    def as_input_error(read, path):
        with checkpoint.bilm_errors():
            read(path)

    def named(name, read):
        def copied(path):
            shutil.copyfile(path, os.path.join(directory, name))
            as_input_error(read, directory)
        return copied

    def text(path):
        reader = BucketedReader([path], vocabulary, 20, 2, max_length=5)
        for batch in reader.epoch(reader.start()):
            assert sum(part.lengths.sum() for part in batch.batches) == batch.num_tokens

    def state(path):
        value = read_json(path)
        if isinstance(value, dict) and isinstance(value.get('position'), dict):
            list(BucketedReader([text_path], vocabulary, 20).epoch(value['position']))

    return {'vocabulary': Vocabulary, 'text': text, 'state': state, 'config': named('bilm.json', bilm.read_config),
            'parameter': lambda path: as_input_error(bilm.read_shape, path),
            'manifest': named('manifest.json', manifest.check),
            'settings': named('settings.json', tagger.read_settings),
            'tagged text': read_tagged,
            'raw text': lambda path: list(prepare.read_documents([path], 'blank', segmented=True))}


def main():
    parser = cli.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--number', type=cli.positive_int, default=100000, help='files')
    parser.add_argument('--random_seed', type=int, default=0, help='of their contents')
    args = parser.parse_args()
    numbers, directory, counts = random.Random(args.random_seed), tempfile.mkdtemp(), collections.Counter()
    path = os.path.join(directory, 'file')
    try:
        good = os.path.join(directory, 'vocabulary.txt')
        with io.open(good, 'wb') as output:
            output.write(GOOD['vocabulary'])
        functions = sorted(readers(directory, Vocabulary(good)).items())
        progress = Progress('fuzz', args.number, 'files')
        for number in range(args.number):
            name, read = numbers.choice(functions)
            data = content(numbers, GOOD[name])
            with io.open(path, 'wb') as output:
                output.write(data)
            signal.alarm(SECONDS)
            try:
                read(path)
                counts[name, 'read'] += 1
            except InputError:
                counts[name, 'refused'] += 1
            except Exception:
                print('file %d, read as %s: %r' % (number, name, data))
                raise
            signal.alarm(0)
            progress.update(number + 1)
        progress.close()
    finally:
        shutil.rmtree(directory)
    for name, _ in functions:
        print('%-12s %6d read, %6d refused' % (name, counts[name, 'read'], counts[name, 'refused']))
    print('%d files, none of them other; peak memory %d MB'
          % (args.number, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024))


if __name__ == '__main__':
    cli.run(main)
