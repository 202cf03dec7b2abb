# -*- coding: utf-8 -*-
"""What ELMo gains in a task of one's own: python docs/own_task.py [CHECKPOINT or NAME] [VOCABULARY]"""
from __future__ import division, print_function, unicode_literals
import io
import os
import sys
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)  # where elmo/ and bilm.py are
from elmo import Segmenter, Vocabulary, checkpoint, to_lod  # before fluid
import numpy as np
import paddle
import paddle.fluid as fluid
from bilm import PUBLISHED_CONFIG, data, elmo_encoder, emb, init_pretraining_params, ops, read_config
if hasattr(paddle, 'enable_static'):  # fluid 2
    paddle.enable_static()

# 1. A checkpoint: a released model (with its vocabulary), the best of `sh run.sh`, or the published one (no bilm.json).
elmo_dir = checkpoint.find(sys.argv[1] if len(sys.argv) > 1 else os.path.join(ROOT, 'checkpoints'))
own, ours = os.path.join(elmo_dir, 'vocabulary.txt'), os.path.join(ROOT, 'data', 'vocabulary_min5k.txt')
vocabulary = Vocabulary(sys.argv[2] if len(sys.argv) > 2 else own if os.path.exists(own) else ours)
config = read_config(elmo_dir) if os.path.exists(os.path.join(elmo_dir, 'bilm.json')) else PUBLISHED_CONFIG
assert config['vocab_size'] == len(vocabulary), elmo_dir + ': no checkpoint of this vocabulary'

# 2. Cut text into words of the vocabulary, and turn these into ids, without <S> and </S>.
reviews = [line.split('\t') for line in io.open(os.path.join(ROOT, 'data', 'reviews.tsv'), encoding='utf-8')]
labels, segmenter = np.array([[int(label)] for label, _ in reviews]), Segmenter(vocabulary)
ids = [vocabulary.ids(segmenter.cut(text)) for _, text in reviews]


def feed(rows):
    return {'word': to_lod([ids[row] for row in rows]), 'label': labels[rows]}


def accuracies(with_elmo, seed):  # percent right of the half of the reviews that it trains on, and of the other half
    main, startup, random = fluid.Program(), fluid.Program(), np.random.RandomState(seed)
    startup.random_seed = seed  # the same start each time
    halves = np.split(random.permutation(len(reviews)), 2)
    with fluid.program_guard(main, startup), fluid.unique_name.guard(), fluid.scope_guard(fluid.Scope()):
        word, label = data('word', [None, 1], 'int64', lod_level=1), data('label', [None, 1], 'int64')
        vectors = ops.embedding(word, size=[len(vocabulary), 32])  # that of the task
        if with_elmo:  # 3. bilm.py: copy it into your project. ELMo is frozen: no gradient goes into it.
            elmo_enc = elmo_encoder(emb(word, config=config), config=config, layer_norm=True)
            vectors = ops.concat([elmo_enc, vectors], axis=1)  # 4. Concatenate both; the rest is that of the task.
        scores = ops.fc(ops.sequence_pool(vectors, 'average'), 2)
        test = main.clone(for_test=True)  # without the optimizer
        fluid.optimizer.Adam(0.005).minimize(ops.mean(ops.softmax_with_cross_entropy(scores, label)))
        exe = fluid.Executor(fluid.CPUPlace())  # on a GPU: fluid.CUDAPlace(0)
        exe.run(startup)
        if with_elmo:  # 5. Load after the startup program has run.
            init_pretraining_params(exe, elmo_dir, main, config=config)
        for step in range(200):
            exe.run(main, feed(random.choice(halves[0], 20)))
        answers = [exe.run(test, feed(half), [scores])[0].argmax(axis=1) for half in halves]
    return [100 * np.mean(answer == labels[half, 0]) for answer, half in zip(answers, halves)]


plain, elmo = [np.mean([accuracies(with_elmo, seed) for seed in range(1, 6)], axis=0) for with_elmo in (False, True)]
print('in training: without ELMo %.1f, with ELMo %.1f' % (plain[0], elmo[0]))
print('accuracy without ELMo %.1f, with ELMo %.1f, gain %+.1f' % (plain[1], elmo[1], elmo[1] - plain[1]))
