# -*- coding: utf-8 -*-
"""Compares the vectors of tools/embed.py with those of the authors' bilm-tf, with weights from tools/convert.py.

    python tools/embed.py TEXT --checkpoint CHECKPOINT --vocab_path VOCABULARY --layers all --output VECTORS.npz
    python tools/convert.py to_bilm CHECKPOINT DIR
    .venv-bilm-tf/bin/python benchmark/bilm_tf_vectors.py TEXT VOCABULARY DIR VECTORS.npz

It runs in the environment that compare.sh makes. It prints the largest difference, and exits with code 1 if that is
above 1e-4. bilm-tf keeps the states of its LSTMs from batch to batch, so they are reset before each batch.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import os
import sys

import numpy as np

import comparison

os.environ[str('TF_CPP_MIN_LOG_LEVEL')] = str('3')  # before TensorFlow is imported


def main():
    import tensorflow as tf
    from bilm import BidirectionalLanguageModel, TokenBatcher
    text, vocabulary, directory, vectors = sys.argv[1:]
    weights = os.path.join(directory, 'weights.hdf5')
    model = BidirectionalLanguageModel(os.path.join(directory, 'options.json'), weights, use_character_inputs=False,
                                       embedding_weight_file=weights, max_batch_size=1)
    ids = tf.placeholder('int32', shape=(None, None))
    outputs = model(ids)['lm_embeddings']
    batcher = TokenBatcher(vocabulary)
    with tf.Session() as session:
        def vectors_of(sentence):
            session.run(tf.global_variables_initializer())  # the states are variables
            return session.run(outputs, {ids: batcher.batch_sentences([sentence])})[0]

        comparison.compare_vectors(text, vectors_of, np.load(vectors))


if __name__ == '__main__':
    main()
