# -*- coding: utf-8 -*-
"""Prints the results of benchmark/compare.sh as a markdown table of medians."""
from __future__ import absolute_import, division, print_function, unicode_literals

import collections
import json

from project import cli
from elmo.devices import THREADS
from elmo.text import InputError, read_lines

PEERS = ('torch', 'bilm-tf')


def median(values):
    values = sorted(values)
    return (values[(len(values) - 1) // 2] + values[len(values) // 2]) / 2


def setting(run):
    """The setting of a run in words. Programs that did the same work have the same setting."""
    text = '%s, %d words, %d/%d x %d, batch %d x %d' % tuple(run[key] for key in (
        'work', 'vocab_size', 'embed_size', 'hidden_size', 'num_layers', 'batch_size', 'num_steps'))
    if run['work'] == 'training':
        text += ', sampled %d' % run['num_samples'] if run['num_samples'] else ', full softmax'
    # A peer has one device and all cores. That is also our default.
    devices, threads = run.get('devices', 1), run.get('threads', THREADS)
    if (devices, threads) != (1, THREADS):
        text += ', devices x threads: %d x %d' % (devices, threads)
    if run.get('use_gpu'):
        text += ', GPU, ' + ('TF32' if run['tf32'] else 'float32')
    return text


def read_results(path):
    """{setting: {program: list of its runs}}, in the order of a file; InputError for what is no result."""
    settings = collections.OrderedDict()
    for place, line, _ in read_lines(path):
        try:
            run = json.loads(line)
            programs = settings.setdefault(setting(run), collections.OrderedDict())
            programs.setdefault(run['name'], []).append(run)
        except (ValueError, KeyError, TypeError):
            raise InputError('%s: no result of a speed benchmark; name the file of compare.sh' % place)
    return settings


def main():
    parser = cli.ArgumentParser(__doc__, 'python benchmark/table.py results.jsonl')
    parser.add_argument('results', help='the file of compare.sh')
    settings = read_results(parser.parse_args().results)
    print('| setting | program | runs | tokens/s | of the limit | times torch | times bilm-tf | peak memory, MB |')
    print('|---|---|' + '---:|' * 6)
    for name, programs in settings.items():
        speeds = {program: median([run['tokens_per_second'] for run in runs]) for program, runs in programs.items()}
        for program, runs in programs.items():
            ratios = ['%.2f' % (speeds[program] / speeds[peer]) if peer in speeds else '' for peer in PEERS]
            cells = [name, 'ours' if program == 'fluid' else program, '%d' % len(runs), '%.0f' % speeds[program],
                     '%.2f' % median([run['tokens_per_second'] / run['limit'] for run in runs])] + ratios
            memory = median([run.get('gpu_memory_mb', run['peak_memory_mb']) for run in runs])
            print('| %s | %.0f |' % (' | '.join(cells), memory))


if __name__ == '__main__':
    cli.run(main)
