# -*- coding: utf-8 -*-
"""Draws the curves of several runs, of the language model or of the tagger, in one picture."""
from __future__ import absolute_import, division, print_function, unicode_literals

import os

from project import cli
from elmo import curves, runlog
from elmo.text import InputError


def main():
    parser = cli.ArgumentParser('Draw the curves of runs: loss, perplexity or F1, learning rate, speed.',
                                'python tools/plot.py checkpoints checkpoints.2 --output runs.png')
    parser.add_argument('runs', nargs='+', metavar='RUN', help='directory of a run, the one with log.jsonl')
    parser.add_argument('--output', metavar='FILE.png', default=curves.NAME, help='the picture')
    args = parser.parse_args()
    runs = [(path.rstrip(os.sep), runlog.read(path)) for path in args.runs]
    for path, records in runs:
        if not records:
            raise InputError('%s: nothing is logged there yet' % os.path.join(path, runlog.NAME))
    if len({any('perplexity_fw' in record for record in records) for _, records in runs}) > 1:
        raise InputError('the runs are of a language model and of a tagger, whose losses are not to be compared; draw '
                         'them apart')
    try:
        curves.draw(runs, args.output)
    except ImportError as error:
        raise InputError('matplotlib cannot be imported (%s): python -m pip install matplotlib' % error)
    for path, records in runs:
        print('%s: %s' % (path, summary(records)))
    print('drawn: %s' % args.output)


def summary(records):
    """The last step and the best dev metrics of a run, as one line."""
    values = ['step %d' % records[-1]['step']]
    for name, best in (('perplexity', min), ('f1', max)):
        found = [(record[name], record['step']) for record in records if name in record]
        if found:
            values.append('best dev %s %.2f at step %d' % ((name,) + best(found, key=lambda pair: pair[0])))
    return ', '.join(values)


if __name__ == '__main__':
    cli.run(main)
