# -*- coding: utf-8 -*-
"""The pages: links lead somewhere, the script that they show runs, commands and flags exist."""
from __future__ import absolute_import, division, print_function, unicode_literals

import glob
import io
import os
import re
import subprocess
import sys

import pytest

from project import ROOT
from helpers import run, run_command, write_lines

PATTERNS = ('*.md', 'docs/*.md', 'docs/en/*.md', 'lac_finetune/*.md', 'benchmark/*.md',
            'models/*/README.md')
PAGES = sorted(os.path.relpath(path, ROOT) for pattern in PATTERNS for path in glob.glob(os.path.join(ROOT, pattern)))
COMMANDS = ['train.py', 'data/prepare.py', 'data/pku.py', 'data/published.py', 'lac_finetune/infer.py',
            'lac_finetune/train.py', 'models/pack.py', 'models/text.py'] + [
    'tools/%s.py' % name for name in ('convert', 'embed', 'evaluate', 'neighbours', 'plot')]


def text_of(*path):
    with io.open(os.path.join(ROOT, *path), encoding='utf-8') as handle:
        return handle.read()


def anchors(text):
    """The anchors of a page, which are made from its headings."""
    headings = re.findall(r'^#+ +(.*)$', re.sub(r'(?ms)^```.*?^```', '', text), re.M)
    return {re.sub(r'[^\w\- ]', '', heading.replace('`', ''), flags=re.UNICODE).strip().lower().replace(' ', '-')
            for heading in headings}


@pytest.mark.parametrize('page', PAGES)
def test_links_lead_somewhere(page):
    for target in re.findall(r'\]\(([^)\s]+)\)', re.sub(r'(?ms)^```.*?^```', '', text_of(page))):
        if not re.match('[a-z]+:', target):
            path, _, anchor = target.partition('#')
            path = os.path.normpath(os.path.join(os.path.dirname(page), path)) if path else page
            assert os.path.exists(os.path.join(ROOT, path)), target
            assert not anchor or anchor in anchors(text_of(path)), target


@pytest.mark.parametrize('page', PAGES)
def test_flags_in_commands_are_known(page):
    """Every flag in a command line of a page is a flag of that command, or of the program that gets its flags."""
    passed_on = {'run.sh': 'train.py', 'scripts/run_pserver.sh': 'train.py', 'scripts/run_nccl2.sh': 'train.py',
                 'tools/adapt.sh': 'train.py', 'lac_finetune/run.sh': 'lac_finetune/train.py'}
    for block in re.findall(r'(?ms)^```sh\n(.*?)^```', text_of(page)):
        for line in re.sub(r'\\\n', ' ', block).splitlines():
            scripts = [word for word in line.split('#')[0].split() if word in passed_on or word in COMMANDS]
            for script in scripts[:1]:
                known = help_of(passed_on.get(script, script)) + '--archive --resume'
                for flag in re.findall(r'(?<=\s)--(\w+)', line):
                    assert '--' + flag in known, line


HELP = {}


def help_of(command):
    """What COMMAND --help prints."""
    if command not in HELP:
        HELP[command] = subprocess.check_output([sys.executable, os.path.join(ROOT, command), '--help'],
                                                env=dict(os.environ, LC_ALL=str('C.UTF-8'))).decode('utf-8')
        for sub in re.findall('{(to_bilm[^}]*)}', HELP[command])[:1]:
            for name in sub.split(','):
                HELP[command] += subprocess.check_output(
                    [sys.executable, os.path.join(ROOT, command), name, '--help']).decode('utf-8')
    return HELP[command]


@pytest.mark.parametrize('command', COMMANDS)
def test_help_has_an_example_and_no_empty_default(command):
    found = help_of(command)
    assert re.search('example:\n  (python|sh|echo) ', found)
    assert 'default: None' not in found and 'default: )' not in found
    assert 'use_gpu' not in found or '--use_gpu {True,False}' in found


def test_the_readmes_show_the_script():
    script = text_of('docs', 'own_task.py')
    assert script.count('\n') <= 60
    for page in ('README.md', 'README.en.md'):
        assert '```python\n%s```' % script in text_of(page)
        assert text_of(page).count('\n') <= 220


def test_the_script_of_the_readmes_runs(corpus):
    characters = sorted(set(re.findall('[\u4e00-\u9fff]', text_of('data', 'reviews.tsv'))))
    vocabulary = write_lines(corpus.directory.join('characters.txt'), ['<S>', '</S>', '<UNK>'] + characters)
    run(corpus, max_steps=4, vocab_path=vocabulary)
    code, output, errors = run_command([sys.executable, os.path.join(ROOT, 'docs', 'own_task.py'),
                                        str(corpus.directory.join('checkpoints')), vocabulary])
    assert code == 0, errors
    number = r'(-?[\d.]+)'
    (trained,) = re.findall('in training: without ELMo %s, with ELMo %s\n' % (number, number), output)
    trained = list(map(float, trained))
    assert min(trained) > 90
    (found,) = re.findall(r'accuracy without ELMo %s, with ELMo %s, gain \+?%s\n' % (number, number, number), output)
    plain, elmo, gain = map(float, found)
    assert min(plain, elmo) > 55  # guessing has 50
    assert (trained[0], plain) != (trained[1], elmo)  # these are two networks
    assert abs(elmo - plain - gain) < 0.01


def test_the_reviews():
    rows = [line.split('\t') for line in text_of('data', 'reviews.tsv').splitlines()]
    assert [sum(label == kind for label, _ in rows) for kind in ('0', '1')] == [200, 200]
    texts = [text for _, text in rows]
    assert len(set(texts)) == 400
    assert all(8 <= len(text) <= 25 and text == re.sub(r'\s', '', text) for text in texts)
