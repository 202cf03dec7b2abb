# -*- coding: utf-8 -*-
"""What ELMo gains in a classification of short texts: accuracy without ELMo, with its layer 0, with all its layers.

    python benchmark/reviews.py --checkpoint checkpoints --vocab_path data/vocabulary_min5k.txt

The task is that of docs/own_task.py: the average of the word vectors, ELMo's beside those of the task. Each seed trains
on another half of the texts, and is tested on the other half. ELMo is frozen and the average is linear, so the layers
of each text are averaged once, for all seeds.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import os

from project import ROOT, cli
import numpy as np
import paddle.fluid as fluid

import bilm
from benchmark import gains
from bilm import data, ops
from elmo import Embedder, Segmenter, flags, to_lod
from elmo.text import InputError, read_lines


def read_texts(path):
    """(labels, int64 [texts, 1]; list of texts) of a file of lines `0<TAB>text` or `1<TAB>text`."""
    labels, texts = [], []
    for place, line, _ in read_lines(path):
        label, _, text = line.partition('\t')
        if label not in ('0', '1') or not text.split():
            raise InputError('%s: expected 0 or 1, a tab and a text' % place)
        labels.append([int(label)])
        texts.append(text)
    return np.array(labels, dtype='int64'), texts


def averages(vectors):
    """The average over the words of a text, of each layer, normalised as bilm.weight_layers does: [layers, D].

    Args:
        vectors: float32 [layers, words, D].
    """
    centred = vectors - vectors.mean(axis=2, keepdims=True)
    return (centred / np.sqrt((centred ** 2).mean(axis=2, keepdims=True) + 1e-5)).mean(axis=1)


class Task(object):
    """Texts with their labels, and what the classifiers read of them.

    Args:
        labels: int64 [texts, 1].
        ids: the words of each text, a list of lists.
        layers: averages of each text, float32 [texts, layers, D].
        words: size of the vocabulary.
    """

    def __init__(self, labels, ids, layers, words):
        self.labels, self.ids, self.layers, self.words = labels, ids, layers, words

    def feed(self, rows, layers):
        """What the classifier that reads so many layers is fed, for some texts."""
        feed = {'layer%d' % layer: self.layers[rows, layer] for layer in range(layers)}
        return dict(feed, word=to_lod([self.ids[row] for row in rows]), label=self.labels[rows])

    def classifier(self, layers):
        """Scores of both labels, float32 [texts, 2], and the loss, float32 [1]."""
        word, label = data('word', [None, 1], 'int64', lod_level=1), data('label', [None, 1], 'int64')
        vectors = ops.sequence_pool(ops.embedding(word, size=[self.words, 32]), 'average')
        if layers:
            elmo = [data('layer%d' % layer, [None, self.layers.shape[2]], 'float32') for layer in range(layers)]
            vectors = ops.concat([bilm.weight_layers(elmo), vectors], axis=1)
        scores = ops.fc(vectors, 2)
        return scores, ops.mean(ops.softmax_with_cross_entropy(scores, label))

    def accuracy(self, layers, seed):
        """Percent right of the half of the texts that it does not train on."""
        main, startup, random = fluid.Program(), fluid.Program(), np.random.RandomState(seed)
        startup.random_seed = seed
        order = random.permutation(len(self.ids))
        train, test = order[:len(order) // 2], order[len(order) // 2:]
        with fluid.program_guard(main, startup), fluid.unique_name.guard(), fluid.scope_guard(fluid.Scope()):
            scores, loss = self.classifier(layers)
            program = main.clone(for_test=True)
            fluid.optimizer.Adam(0.005).minimize(loss)
            exe = fluid.Executor(fluid.CPUPlace())
            exe.run(startup)
            for _ in range(200):
                exe.run(main, self.feed(random.choice(train, 20), layers))
            found = exe.run(program, self.feed(test, layers), [scores])[0].argmax(axis=1)
        return 100 * np.mean(found == self.labels[test, 0])


def make_task(path, embedder):
    """The Task of a file of texts, with the layers of an Embedder of 'all'."""
    labels, texts = read_texts(path)
    segmenter = Segmenter(embedder.vocabulary)
    words = [segmenter.cut(text) for text in texts]
    layers = np.array([averages(vectors) for vectors in embedder(words)])
    return Task(labels, [embedder.vocabulary.ids(text) for text in words], layers, len(embedder.vocabulary))


def main():
    parser = cli.ArgumentParser(description=__doc__.splitlines()[0])
    flags.checkpoint(parser)
    parser.add_argument('--data', default=os.path.join(ROOT, 'data', 'reviews.tsv'),
                        help='lines 0<TAB>text or 1<TAB>text')
    gains.add_flags(parser, list(gains.VARIANTS))
    args = parser.parse_args()
    task = make_task(args.data, Embedder(args.checkpoint, flags.vocabulary(args), 'all'))
    layers = {'without': 0, 'layer0': 1, 'all': task.layers.shape[1]}
    print(gains.head('texts', args.variants))
    print(gains.row(len(task.ids), [[task.accuracy(layers[variant], seed) for seed in args.seeds]
                                    for variant in args.variants]))


if __name__ == '__main__':
    cli.run(main)
