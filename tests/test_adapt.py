# -*- coding: utf-8 -*-
"""adapt.sh: trains a checkpoint on other text, with and without new words."""
from __future__ import absolute_import, division, print_function, unicode_literals

import os
import re
import sys

import pytest

from project import ROOT
from helpers import run, run_command, write_lines
import bilm
from elmo import checkpoint
from elmo.text import Vocabulary

pytestmark = pytest.mark.usefixtures('fresh_scope')


def adapt(corpus, *flags, **environment):
    """Runs adapt.sh: (exit code, output, errors)."""
    environment = dict(os.environ, PYTHON=sys.executable, LC_ALL='C.UTF-8', **environment)
    command = ['sh', os.path.join(ROOT, 'tools', 'adapt.sh'), '--learning_rate', '0.5', '--batch_size', '4',
               '--num_steps', '8', '--curves', 'False'] + list(flags)
    return run_command(command, env=environment)


@pytest.mark.parametrize('min_count, words', [('20', 23), ('0', 20)])
def test_a_run_on_other_text(corpus, min_count, words):
    run(corpus, max_steps=4)
    start, output = str(corpus.directory.join('checkpoints')), corpus.directory.join('adapted')
    text = write_lines(corpus.directory.join('raw.txt'), ['甲乙 词3'] * 40 + ['词0 词7'] * 40)
    environment = dict(TEXT=text, CHECKPOINT=start, VOCABULARY=corpus.vocab_path, OUTPUT=str(output),
                       MIN_COUNT=min_count)
    code, first, errors = adapt(corpus, '--max_epoch', '1', **environment)
    assert code == 0, errors
    config = bilm.read_config(checkpoint.find(str(output.join('checkpoints'))))
    assert (config['embed_size'], config['hidden_size']) == (4, 6)
    before, after = [float(number) for number in re.search('text: ([\\d.]+) before, ([\\d.]+) at best', first).groups()]
    assert after < before and 'dev epoch 0 step 0 perplexity %.2f ' % before in first
    if min_count == '0':
        assert config['vocab_size'] == 20 and not output.join('words').exists()
    else:
        old, new = Vocabulary(corpus.vocab_path).words, Vocabulary(str(output.join('words', 'vocabulary.txt'))).words
        assert new[:20] == old and len(new) == config['vocab_size'] and '甲乙' in ''.join(new[20:])
    code, _, errors = adapt(corpus, **dict(environment, CHECKPOINT='another'))
    assert code == 2 and errors.count('\n') == 1 and 'CHECKPOINT=%s; give the same to go on' % start in errors
    output.join('made_of').remove()  # as of a former release
    elsewhere = corpus.directory.join('elsewhere')
    code, second, errors = adapt(corpus, '--max_epoch', '2', '--save_dir', str(elsewhere), **environment)
    assert not elsewhere.check()
    assert code == 0 and 'epoch 0 step 0' not in second and 'dev epoch 2' in second, errors
    assert 'new text: %.2f before' % before in second
    assert not output.join('made_of').check()  # nobody knows what it is of


@pytest.mark.parametrize('min_count', ['5', '0'])
def test_another_text_wants_another_output(corpus, min_count):
    text = write_lines(corpus.directory.join('raw.txt'), ['甲乙 词3'] * 40)
    environment = dict(TEXT=text, CHECKPOINT='nowhere', VOCABULARY=corpus.vocab_path, MIN_COUNT=min_count,
                       OUTPUT=str(corpus.directory.join('out')))
    assert 'nowhere: no such directory' in adapt(corpus, **environment)[2]
    made_of = 'TEXT=%s VOCABULARY=%s MIN_COUNT=%s;' % (text, corpus.vocab_path, min_count)
    for name, value in (('TEXT', '/no/text'), ('VOCABULARY', text), ('MIN_COUNT', '50')):
        code, _, errors = adapt(corpus, **dict(environment, **{name: value}))
        assert (code, errors) == (2, 'adapt.sh: error: %s is of %s give the same to go on, or another OUTPUT\n'
                                  % (environment['OUTPUT'], made_of))
    environment['CHECKPOINT'] = 'elsewhere'  # a wrong one can be set right, as nothing is made of it yet
    assert 'elsewhere: no such directory' in adapt(corpus, **environment)[2]


def test_help_needs_nothing(corpus):
    code, output, errors = adapt(corpus, '--help')
    assert code == 0 and not errors and output.startswith('Continues pretraining') and 'MIN_COUNT' in output


def test_what_is_missing_is_named(corpus):
    code, _, errors = adapt(corpus, TEXT='x', CHECKPOINT='y')
    assert code == 2 and errors.count('\n') == 1 and 'VOCABULARY is not set' in errors
    code, _, errors = adapt(corpus, TEXT='/no/text', CHECKPOINT='y', VOCABULARY=corpus.vocab_path,
                            OUTPUT=str(corpus.directory.join('out')))
    assert code == 2 and '/no/text' in errors.strip().splitlines()[-1]
    assert not corpus.directory.join('out').check()
