# -*- coding: utf-8 -*-
"""What rounding the parameters costs: perplexity of a language model and F1 of a tagger, by bits of mantissa kept.

    python benchmark/rounding.py --checkpoint released/adapted --vocab_path released/text/vocabulary.txt \\
        --test_path released/text/dev --model_dir released/lac --data data/pku/lac/test.tsv

models/pack.py rounds so. The softmax is rounded here too, though it is not released.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

from project import cli
import numpy as np
import paddle.fluid as fluid

from elmo import checkpoint, devices, flags
from elmo.evaluator import Evaluator
from elmo.packing import MANTISSA, round_mantissa
from elmo.text import list_files
from lac_finetune.reader import read_tagged
from lac_finetune.tagger import Tagger
from lac_finetune.train import evaluate
from reader import BucketedReader


class Rounded(object):
    """The parameters of these names in a scope, which can be rounded anew, each time from what they are now."""

    def __init__(self, scope, place, names):
        self._place = place
        self._tensors = [scope.find_var(name).get_tensor() for name in names]
        self._arrays = [np.array(tensor) for tensor in self._tensors]

    def keep(self, bits):
        """Lets the parameters have so many bits of mantissa."""
        for tensor, array in zip(self._tensors, self._arrays):
            tensor.set(round_mantissa(array, bits), self._place)


def language_model(args, place):
    """A function of the bits: the perplexity, average of both directions."""
    path = checkpoint.find(args.checkpoint)
    vocabulary = checkpoint.vocabulary_of(path, args.vocab_path)
    config = checkpoint.read_config(path, vocabulary)
    evaluator = Evaluator(config, BucketedReader(list_files(args.test_path), vocabulary, 1280, shuffle=False), [place])
    names = checkpoint.load_language_model(fluid.Executor(place), path, evaluator.program, config, vocabulary)
    parameters = Rounded(fluid.global_scope(), place, names)

    def perplexity(bits):
        parameters.keep(bits)
        return evaluator.evaluate().average
    return perplexity


def tagger(args, place):
    """A function of the bits: F1 of tagging, in percent."""
    run, (sentences, _) = Tagger(args.model_dir, place=place), read_tagged(args.data)
    parameters = Rounded(run.decoder.scope, place, [each.name for each in run.decoder.program.all_parameters()])

    def f1(bits):
        parameters.keep(bits)
        return evaluate(run, sentences).f1
    return f1


def main():
    parser = cli.ArgumentParser(description=__doc__.splitlines()[0])
    flags.checkpoint(parser)
    parser.add_argument('--test_path', required=True, help='segmented text for the perplexity')
    parser.add_argument('--model_dir', required=True, help='model directory of a tagger')
    parser.add_argument('--data', required=True, help='tagged sentences for F1')
    parser.add_argument('--bits', type=cli.number(int, low=1, high=MANTISSA), nargs='+',
                        default=[MANTISSA, 8, 7, 6, 5, 4, 3], help='bits of mantissa kept; %d: all' % MANTISSA)
    flags.use_one_gpu(parser)
    args = parser.parse_args()
    place = devices.places(args.use_gpu)[0]
    perplexity, f1 = language_model(args, place), tagger(args, place)
    print('| bits of mantissa | perplexity | F1 |\n|---:|---:|---:|')
    for bits in args.bits:
        print('| %d | %.2f | %.2f |' % (bits, perplexity(bits), f1(bits)))


if __name__ == '__main__':
    cli.run(main)
