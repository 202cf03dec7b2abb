# -*- coding: utf-8 -*-
"""That the READMEs list every error message, and none that there is no more."""
from __future__ import absolute_import, division, print_function, unicode_literals

import ast
import glob
import io
import os
import re

import pytest

from conftest import ROOT

ERRORS = {'InputError', 'SaveError', 'ValueError', 'ArgumentTypeError', 'error', 'fail', '_end'}
WITHIN = {'unknown version', 'num_labels', 'file', 'strerror', 'another run', 'a label', 'a bare tag', 'none', 'sizes',
          '"…" has white space in it', 'Error Message Summary:', 'PADDLE_CURRENT_ENDPOINT', 'all trainers are through',
          'stopped by trainer 0', 'not bidirectional, or without skip connections'}  # no messages of their own


def messages():
    """What the code says when it refuses something, with … for what varies."""
    found = []
    for directory in ('', 'data', 'lac_finetune'):
        for path in glob.glob(os.path.join(ROOT, directory, '*.py')):
            with io.open(path, 'rb') as source:
                nodes = list(ast.walk(ast.parse(source.read())))
            said = [node.args[-1] for node in nodes if isinstance(node, ast.Call) and node.args and
                    getattr(node.func, 'id', getattr(node.func, 'attr', None)) in ERRORS]
            said += [node.value for node in nodes if isinstance(node, ast.Assign) and
                     getattr(node.targets[0], 'id', None) == 'problem']
            texts = {part.s for node in said for part in ast.walk(node) if isinstance(part, ast.Str)}
            found += [re.sub('%[sdr]', '…', text) for text in texts if re.search(r'\w{4}', re.sub('%[sdr]', '', text))]
    return set(found) - WITHIN


@pytest.mark.parametrize('readme', ['README.md', 'README.en.md'])
def test_every_message_has_its_remedy(readme):
    with io.open(os.path.join(ROOT, readme), encoding='utf-8') as handle:
        listed = re.findall(r'^\| `([^`]*)` \|', re.split('\n## (?:错误信息|Error messages)\n', handle.read())[1], re.M)
    everything = messages()
    assert [message for message in everything if not any(text in message for text in listed)] == []
    assert [text for text in listed if not any(text in message for message in everything)] == []
