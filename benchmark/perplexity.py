# -*- coding: utf-8 -*-
"""A table of perplexities: a row for each checkpoint of a run, a column for each text.

    python benchmark/perplexity.py --checkpoints checkpoints --vocab_path vocabulary.txt 'heldout/*.txt'

As tools/evaluate.py, but each checkpoint is loaded once for all texts, and the network is built once.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import os

from project import cli
import paddle.fluid as fluid

from elmo import checkpoint, devices, flags
from elmo.evaluator import Evaluator
from elmo.files import read_json
from elmo.text import InputError, Vocabulary, list_files
from reader import BucketedReader


def checkpoints(directory):
    """The paths of the checkpoints of a run, oldest first; InputError if there is none."""
    steps = checkpoint.steps(directory) if os.path.isdir(directory) else []
    if not steps:
        raise InputError('--checkpoints %s: holds no checkpoint' % directory)
    return [os.path.join(directory, '%06d' % step) for step in steps]


def evaluations(path, config, vocabulary, readers, evaluator):
    """The Evaluation of a checkpoint on each of the texts that the readers read."""
    checkpoint.load_language_model(fluid.Executor(evaluator.places[0]), path, evaluator.program, config, vocabulary)
    found = []
    for reader in readers:
        evaluator.reader = reader
        found.append(evaluator.evaluate())
    return found


def main():
    parser = cli.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--checkpoints', required=True, metavar='DIR', help='directory of the checkpoints of a run')
    parser.add_argument('--vocab_path', required=True, help='their vocabulary')
    parser.add_argument('--batch_tokens', type=cli.positive_int, default=1280, help='tokens in a batch')
    flags.max_sentence_length(parser)
    flags.use_one_gpu(parser)
    parser.add_argument('texts', nargs='+', help='segmented texts: files, directories or quoted globs')
    args = parser.parse_args()
    place, vocabulary = devices.places(args.use_gpu)[0], Vocabulary(args.vocab_path)
    texts = [path for pattern in args.texts for path in list_files(pattern)]
    readers = [BucketedReader([text], vocabulary, args.batch_tokens, max_length=args.max_sentence_length, shuffle=False)
               for text in texts]
    paths = checkpoints(args.checkpoints)
    config = checkpoint.read_config(paths[0], vocabulary)
    evaluator = Evaluator(config, readers[0], [place])
    for path in paths:
        found = evaluations(path, config, vocabulary, readers, evaluator)
        if path == paths[0]:
            print_head(texts, found)
        epochs = read_json(os.path.join(path, 'train_state.json'))['epochs_read']
        averages = ' | '.join('%.2f' % each.average for each in found)
        print('| %s | %.2f | %s |' % (os.path.basename(path), epochs, averages))


def print_head(texts, found):
    """Prints what is in the texts, and the head of the table."""
    names = [os.path.splitext(os.path.basename(text))[0] for text in texts]
    for name, each in zip(names, found):
        print('%s: %d sentences, %d tokens, %.2f%% of the words unknown'
              % (name, each.sentences, each.tokens, 100. * each.unknown / each.words))
    print('\n| step | epochs | %s |\n|---|---:|%s' % (' | '.join(names), '---:|' * len(names)))


if __name__ == '__main__':
    cli.run(main)
