# -*- coding: utf-8 -*-
"""Speed of the tagger, as infer.py runs it: characters a second, their part of the limit, and where the time goes.

    . scripts/env.sh && "$PYTHON" benchmark/tagger_speed.py --model DIR TEXT
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import collections
import time

from project import cli
import numpy as np
import paddle.fluid as fluid

from benchmark import common
from benchmark.speed import sgemm_rate
from elmo import devices
from elmo.text import read_blocks
from lac_finetune import tagger

BLOCK = 1 << 16  # characters at a time, as in infer.py
NO_MATRICES = 'embedding_para', 'word_embedding', 'crf'


def flop_per_unit(program):
    """Floating point operations of the matrix products for one unit: two for each number of a matrix."""
    shapes = {parameter.name: parameter.shape for parameter in program.all_parameters()}
    return 2 * sum(int(np.prod(shape)) for name, shape in shapes.items()
                   if len(shape) == 2 and shape[0] > 1 and name not in NO_MATRICES)


class Clock(object):
    """Adds up the seconds that functions take, by name."""

    def __init__(self):
        self.seconds = collections.Counter()

    def timed(self, name, function):
        """The function, its time being added to that of `name`."""
        def run(*args, **kwargs):
            start = time.time()
            result = function(*args, **kwargs)
            self.seconds[name] += time.time() - start
            return result
        return run


def split_of_time(run, texts):
    """{part: seconds} of tagging blocks of texts, one part after the other."""
    clock = Clock()
    cut, run_network = clock.timed('cutting into units', run.cut), run.decoder.run_network
    run.decoder.run_network = clock.timed('network', run_network)
    tag = clock.timed('all but cutting', run.tag)
    for block in texts:
        tag(cut(block))
    run.decoder.run_network = run_network
    other = clock.seconds.pop('all but cutting') - clock.seconds['network']
    return dict(clock.seconds, **{'other Python': other})


def main():
    parser = cli.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--model', required=True, help='model directory that lac_finetune/train.py wrote')
    parser.add_argument('--passes', type=cli.positive_int, default=3, help='over the text; the fastest counts')
    parser.add_argument('text', help='raw text, a sentence a line')
    args = parser.parse_args()
    blocks = list(read_blocks([args.text], BLOCK))
    texts = [[text for _, text in lines] for lines, _ in blocks]
    place = fluid.CPUPlace()
    run = tagger.Tagger(args.model, place=place)
    characters = sum(len(text) for block in texts for text in block)
    units = sum(len(part) for block in texts for parts in run.cut(block) for part in parts)
    gflops = sgemm_rate([place], devices.THREADS)
    seconds = []
    for _ in range(1 + args.passes):  # the first one warms up
        start = time.time()
        for _ in run.stream(blocks):
            pass
        seconds.append(time.time() - start)
    best, flop = min(seconds[1:]), flop_per_unit(run.decoder.program)
    print('%d characters, %d units, %d characters/s, %.2f of what matrix products at %.0f GFLOPS allow, '
          'peak memory %d MB' % (characters, units, characters / best, units * flop / best / 1e9 / gflops, gflops,
                                 common.peak_memory_mb()))
    parts = split_of_time(run, texts)
    print('one after the other: %s' % ', '.join('%s %.1f%%' % (name, 100 * parts[name] / sum(parts.values()))
                                                for name in sorted(parts)))


if __name__ == '__main__':
    cli.run(main)
