# -*- coding: utf-8 -*-
"""ELMo in a task of one's own: python docs/own_task.py [CHECKPOINT] [VOCABULARY]"""
from __future__ import division, print_function, unicode_literals
import os
import sys
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)  # where elmo/ and bilm.py are
from elmo import Segmenter, Vocabulary  # before fluid
import numpy as np
import paddle
import paddle.fluid as fluid
from bilm import (PUBLISHED_CONFIG, data, elmo_encoder, emb, init_pretraining_params, read_config,
                  ops as layers)  # ops: fluid.layers, or its like in fluid 2.5

WEATHER = ['今天下雨，风很大。', '冬天的雪很深。', '昨天气温下降了。', '夏天的太阳很热。', '台风带来了雨水。']
FOOD = ['他喜欢吃饺子。', '妈妈做的面条很好吃。', '早上喝茶，吃面包。', '晚上吃鱼和豆腐。', '苹果又甜又便宜。']
if hasattr(paddle, 'enable_static'):  # fluid 2
    paddle.enable_static()
fluid.default_startup_program().random_seed = 1  # the same start each time

# 1. A checkpoint: the best one of `sh run.sh`, or the published one; and the vocabulary it has.
checkpoint = sys.argv[1] if len(sys.argv) > 1 else os.path.join(ROOT, 'checkpoints')
if os.path.exists(os.path.join(checkpoint, 'best')):
    checkpoint = os.path.join(checkpoint, open(os.path.join(checkpoint, 'best')).read().strip())
default = os.path.join(ROOT, 'data', 'vocabulary_min5k.txt')
vocabulary = Vocabulary(sys.argv[2] if len(sys.argv) > 2 else default)

# 2. bilm.py: copy it into your project. The published checkpoint has no bilm.json with its sizes.
ours = os.path.exists(os.path.join(checkpoint, 'bilm.json'))
config = read_config(checkpoint) if ours else PUBLISHED_CONFIG
assert config['vocab_size'] == len(vocabulary), checkpoint + ': no checkpoint of this vocabulary'
word = data('word', shape=[None, 1], dtype='int64', lod_level=1)
label = data('label', shape=[None, 1], dtype='int64')
elmo_enc = elmo_encoder(emb(word, config=config), config=config)  # frozen: no gradient into it
word_embedding = layers.embedding(word, size=[len(vocabulary), 16])  # that of the task

# 5. Concatenate both; the rest of the network is that of the task.
word_embedding = layers.concat(input=[elmo_enc, word_embedding], axis=1)
scores = layers.fc(layers.sequence_pool(word_embedding, 'max'), 2)
loss = layers.mean(layers.softmax_with_cross_entropy(scores, label))
fluid.optimizer.Adam(0.01).minimize(loss)

# 3. Load after the startup program has run. It reads parameters alone: a directory may also hold
#    a learning rate and moments, and fluid.io.load_vars would put them over those of the task.
exe = fluid.Executor(fluid.CPUPlace())  # on a GPU: fluid.CUDAPlace(0)
exe.run(fluid.default_startup_program())
init_pretraining_params(exe, checkpoint, fluid.default_main_program(), config=config)

# 4. Cut text into words of the vocabulary, and turn these into ids, without <S> and </S>.
segment = Segmenter([token for token in vocabulary.words if token not in ('<S>', '</S>', '<UNK>')])
ids = [vocabulary.ids(segment(text)) for text in WEATHER + FOOD]
words = fluid.create_lod_tensor(np.concatenate(ids).reshape(-1, 1).astype('int64'),
                                [[len(sentence) for sentence in ids]], fluid.CPUPlace())
labels = np.array([[0]] * len(WEATHER) + [[1]] * len(FOOD), dtype='int64')
for step in range(1, 31):
    cost, found = exe.run(feed={'word': words, 'label': labels}, fetch_list=[loss, scores])
    if step % 10 == 0:
        right = found.argmax(axis=1) == labels[:, 0]
        print('step %d loss %.4f, %d of %d right' % (step, float(cost), right.sum(), len(right)))
