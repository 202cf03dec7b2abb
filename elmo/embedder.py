# -*- coding: utf-8 -*-
"""ELMo's vectors of sentences, from Python."""
from __future__ import absolute_import, division, print_function, unicode_literals

import numbers
import threading

import numpy as np
import paddle.fluid as fluid

import bilm
from elmo import checkpoint, devices
from elmo.batching import batches_of_pieces, prefetch, put_back
from elmo.text import BOS, EOS, InputError, Vocabulary, check_path, check_positive, list_of, read_blocks

BLOCK = 1 << 15  # characters that are read before they are encoded
LAYERS = ('average', 'mix', 'top', 'all')


class Embedder(object):
    """ELMo's vectors of sentences, lists of tokens. Its parameters are in a scope of their own.

    Several threads may make such objects and call them; the calls of one object take turns. While one is made, other
    threads must not build networks, as fluid has one default program for all of them.

    Args:
        path: the name of a released model; or a checkpoint, ours or the published one, or a directory of ours.
        vocabulary: its Vocabulary; None: that of the released model.
        layers: 'average' of the layers, their 'mix', the 'top' one, or 'all'.
        mix: num_layers + 1 shares of the layers, above 0, and gamma; what the ELMo_w and ELMo_gamma of a task stand for
            (equation 1 of Peters et al. 2018).
        place: the device; None: a GPU if there is one.
        batch_tokens: tokens encoded at a time; it bounds memory.
        max_length: a sentence of more tokens is read in pieces.

    Attributes:
        vocabulary: its Vocabulary.
        config: its sizes.

    Raises:
        InputError: the checkpoint is missing, damaged or of another vocabulary, this is no Vocabulary, or layers or mix
            do not fit.
    """

    def __init__(self, path, vocabulary=None, layers='average', mix=None, place=None, batch_tokens=2560,
                 max_length=256):
        path = check_path(path, 'Embedder')
        if not isinstance(vocabulary, (Vocabulary, type(None))):
            raise InputError('Embedder wants a Vocabulary, got %s; give Vocabulary(path)' % type(vocabulary).__name__)
        if layers not in LAYERS:
            raise InputError('layers: wants one of %s' % ', '.join(LAYERS))
        if (layers == 'mix') != (mix is not None):
            raise InputError("mix belongs to layers='mix', got layers='%s'" % layers)
        check_positive(batch_tokens, 'batch_tokens')
        check_positive(max_length, 'max_length')
        self._layers, self._scope = layers, fluid.Scope()
        self._place = place or devices.places()[0]
        self._batch_tokens, self._max_length = batch_tokens, max_length
        path = checkpoint.find(path)
        self.vocabulary = vocabulary = vocabulary or checkpoint.vocabulary_of(path)
        self.config = checkpoint.read_config(path, vocabulary)
        number = self.config['num_layers'] + 1
        mix = list_of([1.] * (number + 1) if mix is None else mix, '--mix: a list of numbers', float,
                      lambda value: isinstance(value, numbers.Real))
        if len(mix) != number + 1 or min(mix[:-1]) <= 0 or not all(abs(x) <= np.finfo('float32').max for x in mix):
            raise InputError('--mix: wants %d shares above 0, one for each layer from 0 on, and gamma, all finite in '
                             'float32' % number)
        program = fluid.Program()
        with devices.building(program):
            word = bilm.data('word', [None, 1], dtype='int64', lod_level=1)
            self._vectors = bilm.elmo_encoder(bilm.emb(word, config=self.config), config=self.config,
                                              layers=layers if layers in ('top', 'all') else 'mix').name
        checkpoint.load_parameters(fluid.Executor(self._place), path, program, self.config, vocabulary, self._scope)
        if layers in ('average', 'mix'):
            self._set_mix(mix)
        self._executor, self._turn = devices.Executor(program, [self._place]), threading.Lock()

    def _set_mix(self, mix):
        """Sets ELMo_w and ELMo_gamma from shares of any sum and gamma."""
        for name, value in (('ELMo_w', np.log(mix[:-1])), ('ELMo_gamma', mix[-1:])):
            self._scope.var(str(name)).get_tensor().set(np.array(value, dtype='float32'), self._place)

    def __call__(self, sentences):
        """The vectors of each sentence: a list of float32 [tokens, 2 * embed_size], with 'all' [layers, tokens, …].

        InputError unless each sentence is a list of words, without <S> and </S>: these are put around it.
        """
        sentences = self._ids(sentences)
        layers = self.config['num_layers'] + 1 if self._layers == 'all' else 1
        shape = layers, 2 * self.config['embed_size']
        results = [np.zeros([len(sentence), shape[0] * shape[1]], dtype='float32') for sentence in sentences]
        with self._turn:
            for pieces, feed in prefetch(self._feeds(sentences)):
                vectors, = self._executor.run([self._vectors], [feed], return_numpy=False, scope=self._scope)
                put_back(np.array(vectors), pieces, results)
        if self._layers == 'all':
            return [vectors.reshape((len(vectors),) + shape).transpose(1, 0, 2) for vectors in results]
        return results

    def _ids(self, sentences):
        """The ids of each sentence; see __call__."""
        sentences = list_of(sentences, 'a list of sentences, each a list of words,')
        found = [self.vocabulary.ids(sentence) for sentence in sentences]
        if any({self.vocabulary.bos, self.vocabulary.eos}.intersection(ids) for ids in found):
            raise InputError('a sentence has the word %s or %s, which is put around it anyway; leave it out'
                             % (BOS, EOS))
        return found

    def _feeds(self, sentences):
        """Yields (a batch of pieces of the sentences, what it is fed)."""
        for pieces in batches_of_pieces(sentences, self._max_length, self._batch_tokens):
            yield pieces, {'word': devices.to_lod([piece.tokens for piece in pieces], self._place)}


def read_segmented(paths):
    """As text.read_blocks, a BLOCK at a time; InputError for <S> or </S> in the text, which ELMo puts there itself."""
    for lines, size in read_blocks(paths, BLOCK):
        for place, text in lines:
            if {BOS, EOS} & set(text.split()):
                raise InputError('%s: holds the token %s or %s, which is put around each sentence anyway; remove it'
                                 % (place, BOS, EOS))
        yield lines, size
