# -*- coding: utf-8 -*-
"""Tags text with a model. The directory of a model holds:

    network/         the decoding network with all parameters, also ELMo's (fluid.io.save_inference_model)
    vocabulary.txt   the vocabulary of ELMo
    tags.txt         the labels, by number
    manifest.json    size and sha256 of each of these files
    settings.json    sizes, flags, scores, and the weights of ELMo's layers
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import os
import threading

import numpy as np
import paddle.fluid as fluid

import bilm
from elmo import checkpoint, devices, manifest, released, schema
from elmo.arrays import check_shape
from elmo.batching import batches_of_pieces, prefetch, put_back
from elmo.corpus import write_lines
from elmo.files import new_directory, read_json, write_json
from elmo.text import TEXT, InputError, Vocabulary, check_path, check_positive, list_of_texts
from lac_finetune import network
from lac_finetune.dictionary import Dictionary
from lac_finetune.evaluation import chunks, split_label, stray
from lac_finetune.reader import Units, read_lines

SETTINGS = {  # in settings.json, of what is read
    'sizes': {'vocab_size': schema.whole(1), 'num_labels': schema.whole(1), 'word_emb_dim': schema.whole(1),
              'grnn_hidden_dim': schema.whole(1), 'bigru_num': schema.whole(1, 100),
              'vocab_sha256': schema.or_null(schema.text(64)), 'elmo': schema.or_null(bilm.config_problem),
              'elmo_layers': schema.or_null(schema.one_of('all', '0'))},
    'batch_tokens': schema.whole(1), 'max_length': schema.whole(1)}


class Decoder(object):
    """Finds the best label of each unit of sentences.

    Args:
        exe: a fluid.Executor.
        sizes: see network.py.
        elmo_layers: an ElmoLayers; None: the network computes the layers itself.
        batch_tokens: units decoded at a time; it bounds memory.
        max_length: a sentence with more units is decoded in pieces.
        scope: the fluid.Scope with the parameters; None: the current one.
    """

    def __init__(self, exe, sizes, elmo_layers=None, batch_tokens=1600, max_length=256, scope=None):
        self.exe, self.scope, self.elmo_layers = exe, scope, elmo_layers
        self.batch_tokens, self.max_length = batch_tokens, max_length
        self.program, path = network.decoding_program(sizes, whole=elmo_layers is None)
        self._executor, self._path = devices.Executor(self.program, [exe.place]), path.name

    def __call__(self, sentences):
        """The label numbers of each sentence, a list of int64 [units]. A sentence is a list of ids."""
        results = [np.zeros([len(ids)], dtype='int64') for ids in sentences]
        for pieces in batches_of_pieces(sentences, self.max_length, self.batch_tokens):
            feed = network.feed([piece.tokens for piece in pieces], self.exe.place, self.elmo_layers)
            put_back(self.run_network(feed), pieces, results)
        return results

    def run_network(self, feed):
        """The label numbers of what is fed, see network.feed: int64 [N]."""
        path, = self._executor.run([self._path], [feed], return_numpy=False, scope=self.scope)
        return np.array(path).reshape(-1)


class TextTagger(object):
    """Finds the words of raw texts and their tags. Several threads may call it; the calls take turns.

    Args:
        decoder: a Decoder.
        units: a Units.
        labels: list of the labels, by number.

    Attributes:
        stray: how many n-I so far continued no n; each was taken as the beginning of a word.
        dictionary: a Dictionary, or None.
    """

    def __init__(self, decoder, units, labels):
        self.decoder, self.units, self.labels, self.stray, self.dictionary = decoder, units, labels, 0, None
        self._turn = threading.Lock()

    def __call__(self, texts, tokenized=False):
        """The words of each text: a list of [(word, tag)]. White space is a border of words.

        Args:
            tokenized: the texts are words separated by white space. Each stays whole, and has the tag of its last unit.
                The dictionary is for texts that are not.
        """
        return self.tag(self.cut(texts), tokenized)

    def stream(self, blocks, tokenized=False):
        """Yields (what __call__ returns of a block of lines, bytes) of each block, while it cuts the next ones.

        Args:
            blocks: what read_blocks yields.
        """
        for cut_texts, size in prefetch((self.cut([text for _, text in lines]), size) for lines, size in blocks):
            yield self.tag(cut_texts, tokenized), size

    def cut(self, texts):
        """The parts of each text between white space, each a list of units."""
        return [[self.units.cut(part) for part in text.split()] for text in texts]

    def tag(self, cut_texts, tokenized=False):
        """As __call__, of texts that `cut` has cut."""
        with self._turn:
            return self._tag(cut_texts, tokenized)

    def _tag(self, cut_texts, tokenized):
        results = []
        decoded = self.decoder([self.units.ids([unit for part in parts for unit in part]) for parts in cut_texts])
        for parts, numbers in zip(cut_texts, decoded):
            labels, words, end = [self.labels[number] for number in numbers], [], 0
            for part in parts:
                start, end = end, end + len(part)
                if tokenized:
                    words.append((''.join(part), split_label(labels[end - 1])[0]))
                else:
                    self.stray += stray(labels[start:end])
                    found = [(''.join(part[first:last]), tag) for first, last, tag in chunks(labels[start:end])]
                    words += self.dictionary.apply(found) if self.dictionary else found
            results.append(words)
        return results


class Tagger(TextTagger):
    """The tagger of a model directory that train.py wrote. Its parameters are in a scope of their own.

    Several threads may make taggers and run them; the runs of one tagger take turns. While one is made, other threads
    must not build networks, as fluid has one default program for all of them.

    Args:
        model_dir: the directory, or the name of a released model.
        mode: what `run` returns: 'lac', words and tags, or 'seg', words alone.
        place: the device; None: a GPU if there is one.
        batch_tokens: units decoded at a time, which bounds memory; None: as in training.
        dictionary: path of a user's dictionary, see Dictionary; None: there is none.

    Raises:
        InputError: a file is missing, truncated or from another model, there is no such mode, batch_tokens is not from
            1, or this is no dictionary.
    """

    def __init__(self, model_dir, mode='lac', place=None, batch_tokens=None, dictionary=None):
        model_dir = check_path(model_dir, 'Tagger')
        self.mode = check_mode(mode)
        super(Tagger, self).__init__(*load_parts(find(model_dir), place or devices.places()[0]))
        if batch_tokens is not None:
            check_positive(batch_tokens, 'batch_tokens')
            self.decoder.batch_tokens = batch_tokens
        if dictionary:
            self.load_customization(dictionary)

    def load_customization(self, path):
        """Takes a user's dictionary, in place of the one before; InputError if it is none, see Dictionary."""
        self.dictionary = Dictionary(path)

    def run(self, texts, mode=None):
        """Words and tags, as Baidu's LAC().run returns them.

        Args:
            texts: a text, or a list of texts. White space is a border of words and is left out.
            mode: 'lac' or 'seg'; None: that of the tagger.

        Returns:
            'lac': [words, tags], two lists of text; 'seg': words. Of a list of texts a list of these.

        Raises:
            InputError: it is neither a text nor a list of texts, or there is no such mode.
        """
        mode, single = check_mode(mode or self.mode), isinstance(texts, TEXT)
        found = self([texts] if single else list_of_texts(texts, 'a text or a list of texts'))
        found = [[[pair[column] for pair in pairs] for column in (0, 1)] for pairs in found]
        if mode == 'seg':
            found = [words for words, _ in found]
        return found[0] if single else found


def check_mode(mode):
    """The mode; InputError if there is no such."""
    if mode not in ('lac', 'seg'):
        raise InputError("mode is 'lac' or 'seg', not %s" % (mode,))
    return mode


def find(path):
    """The model directory that a path names, or if there is none, that of the released model of this name."""
    if released.is_packed(path):
        return released.find_model(path, released.TAGGER)
    if not os.path.isdir(path):
        raise released.unknown(path)
    return path


def load_parts(directory, place):
    """What makes the TextTagger of a model directory: a Decoder with a scope of its own, Units, labels.

    InputError if a file is missing, truncated or from another model.
    """
    settings = read_settings(directory)
    manifest.check(directory)
    vocabulary = Vocabulary(os.path.join(directory, 'vocabulary.txt'))
    labels = [line for _, line in read_lines(os.path.join(directory, 'tags.txt'))]
    checkpoint.check_vocabulary(directory, vocabulary, settings['sizes'])
    if len(labels) != settings['sizes']['num_labels']:
        raise InputError('%s: %d labels in tags.txt, %d in settings.json; copy it again, or take another'
                         % (directory, len(labels), settings['sizes']['num_labels']))
    check_sizes(directory, settings['sizes'])
    # The network is built here: a saved program could do anything.
    decoder = Decoder(fluid.Executor(place), settings['sizes'], None, settings['batch_tokens'], settings['max_length'],
                      fluid.Scope())
    parameters = decoder.program.all_parameters()
    devices.check_memory(place, [parameter.shape for parameter in parameters])
    checkpoint.load_variables(decoder.exe, directory, 'network', parameters, decoder.scope)
    return decoder, Units(vocabulary), labels


def save(exe, directory, vocabulary, labels, settings, temporary):
    """Writes a model directory; see files.new_directory for `temporary`."""
    program, path = network.decoding_program(settings['sizes'], whole=True)  # a new one, as saving changes the program
    with new_directory(directory, temporary) as temporary:
        target, parameters = os.path.join(temporary, 'network'), program.all_parameters()
        with checkpoint.saving(target, parameters):
            fluid.io.save_inference_model(target, ['word'], [path], exe, program)
        # The vocabulary as it was read: its file may have changed since, or be a pipe.
        for name, lines in (('vocabulary.txt', vocabulary.words), ('tags.txt', labels)):
            write_lines(os.path.join(temporary, name), lines)
        manifest.write(temporary)
        write_json(os.path.join(temporary, 'settings.json'), settings)  # not in the manifest: it gets the test score


def read_settings(directory):
    """settings.json of a model directory; InputError if train.py cannot have written it."""
    path = os.path.join(directory, 'settings.json')
    settings = read_json(path, '; name a model directory that train.py wrote')
    problem = schema.problem(settings, SETTINGS)
    if not problem:
        sizes = settings['sizes']
        if sizes.setdefault('elmo', None) and sizes['elmo']['vocab_size'] != sizes['vocab_size']:
            problem = 'vocab_size is not that of its ELMo'
    if problem:
        raise InputError('%s: not the settings of a tagger: %s; name a model directory that train.py wrote'
                         % (path, problem))
    return settings


def check_sizes(directory, sizes):
    """InputError unless the files of a model have these sizes; ask before a network is built, which may be huge."""
    parameters, hidden, labels = os.path.join(directory, 'network'), sizes['grnn_hidden_dim'], sizes['num_labels']
    for name, shape in (('word_embedding', (sizes['vocab_size'], sizes['word_emb_dim'])),
                        ('bw_gru%d.w' % sizes['bigru_num'], (hidden, 3 * hidden)), ('crf', (labels + 2, labels))):
        check_shape(os.path.join(parameters, name), shape)
    if sizes['elmo']:
        with checkpoint.bilm_errors('; copy it again, or take another'):
            bilm.check_files(parameters, sizes['elmo'], network.elmo_shapes(sizes))
