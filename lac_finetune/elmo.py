# -*- coding: utf-8 -*-
"""Computes ELMo's layers of sentences once: the biLM is frozen, so they are the same in every epoch."""
from __future__ import absolute_import, division, print_function, unicode_literals

import tempfile

import numpy as np
import paddle.fluid as fluid

from elmo import devices
from elmo.batching import length_buckets
from elmo.progress import Progress
from elmo.text import InputError
from lac_finetune import network


def _temporary_file(directory):
    try:
        return tempfile.TemporaryFile(dir=directory)
    except EnvironmentError as error:
        raise InputError('%s: cannot be written: %s' % (directory, error.strerror))


class ElmoLayers(object):
    """ELMo's layers of sentences. A temporary file keeps them as float16 until the process ends.

    Args:
        place: the device; the biLM's parameters are in the current scope.
        sizes: see network.py.
        directory: the directory of that file.
    """

    def __init__(self, place, sizes, directory):
        self._place, self._width, self._directory = place, network.elmo_width(sizes), directory
        self._file, self._starts = _temporary_file(directory), {}  # {ids of a sentence: its place}
        program = fluid.Program()
        with devices.building(program):
            self._layers = network.elmo_layers(network.word_data(), sizes).name
        self._executor = devices.Executor(program, [place])

    def prepare(self, sentences, batch_tokens):
        """Computes the layers of the sentences, lists of ids, in advance."""
        lengths = [len(ids) for ids in sentences]
        progress, done = Progress('ELMo', sum(lengths), 'units'), 0
        for batch in length_buckets(lengths, batch_tokens):
            self._compute([sentences[index] for index in batch])
            done += sum(lengths[index] for index in batch)
            progress.update(done)
        progress.close()

    def __call__(self, sentences):
        """The layers of the sentences, side by side: float32 [N, network.elmo_width(sizes)]."""
        self._compute([ids for ids in sentences if tuple(ids) not in self._starts])
        rows = []
        for ids in sentences:
            self._file.seek(self._starts[tuple(ids)])
            rows.append(np.frombuffer(self._file.read(2 * len(ids) * self._width), dtype='float16'))
        return np.concatenate(rows).reshape(-1, self._width).astype('float32')

    def _compute(self, sentences):
        if not sentences:
            return
        feed = {'word': devices.to_lod(sentences, self._place)}
        layers, = self._executor.run([self._layers], [feed], return_numpy=False)
        self._file.seek(0, 2)
        start = self._file.tell()
        try:
            self._file.write(np.array(layers).astype('float16').tobytes())
            self._file.flush()  # else a full disk shows where the layers are read
        except EnvironmentError as error:
            raise InputError('%s: cannot hold ELMo\'s layers of the sentences, %d MB so far: %s; give a --save_dir on '
                             'another disk' % (self._directory, start >> 20, error.strerror))
        for ids in sentences:
            self._starts[tuple(ids)] = start
            start += 2 * len(ids) * self._width
