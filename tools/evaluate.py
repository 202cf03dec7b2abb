# -*- coding: utf-8 -*-
"""Prints the perplexity of a checkpoint on a text, forward and backward, over every token with the full softmax."""
from __future__ import absolute_import, division, print_function, unicode_literals

from project import cli
import paddle.fluid as fluid

from elmo import checkpoint, devices, flags
from elmo.evaluator import Evaluator
from elmo.files import refuse_to_replace, replacing
from elmo.text import list_files
from reader import BucketedReader


def parse_args():
    parser = cli.ArgumentParser(
        __doc__, 'python tools/evaluate.py --checkpoint checkpoints --vocab_path data/vocabulary_min5k.txt \\\n'
        '    --test_path data/dev')
    flags.checkpoint(parser)
    parser.add_argument('--test_path', required=True, help='segmented text: a file, a directory or a quoted glob')
    parser.add_argument('--batch_tokens', type=cli.positive_int, default=1280,
                        help='tokens in a batch of each device; memory grows with it times the vocabulary')
    flags.max_sentence_length(parser)
    flags.use_gpu(parser)
    parser.add_argument('--per_sentence', metavar='FILE', default='',
                        help='write a line for each sentence: file, line, tokens, unknown words, perplexities')
    return parser.parse_args()


def main():
    args = parse_args()
    places = devices.places_of_one_process(args.use_gpu)
    paths, path = list_files(args.test_path), checkpoint.find(args.checkpoint)
    if args.per_sentence:
        refuse_to_replace(args.per_sentence, paths + [args.vocab_path], '--per_sentence')
    vocabulary = checkpoint.vocabulary_of(path, args.vocab_path)
    config = checkpoint.read_config(path, vocabulary)
    reader = BucketedReader(paths, vocabulary, args.batch_tokens * len(places), len(places),
                            max_length=args.max_sentence_length, shuffle=False)
    evaluator = Evaluator(config, reader, places)
    checkpoint.load_language_model(fluid.Executor(places[0]), path, evaluator.program, config, vocabulary)
    if args.per_sentence:
        with replacing(args.per_sentence) as output:
            found = evaluator.evaluate(output)
    else:
        found = evaluator.evaluate()
    print('%s\n%d sentences, %d tokens with the sentence ends, %d unknown words (%.2f%%)\n'
          'perplexity fw %.2f bw %.2f average %.2f'
          % (path, found.sentences, found.tokens, found.unknown,
             100. * found.unknown / found.words, found.fw, found.bw, found.average))


if __name__ == '__main__':
    cli.run(main)
