# -*- coding: utf-8 -*-
"""docs/errors.md lists every error message, and no message that does not exist."""
from __future__ import absolute_import, division, print_function, unicode_literals

import ast
import glob
import io
import os
import re

from project import ROOT

ERRORS = {'InputError', 'SaveError', 'CheckpointError', 'ValueError', 'ArgumentTypeError', 'error', 'fail', '_end'}
DIRECTORIES = ('', 'elmo', 'tools', 'data', 'lac_finetune', 'models')
WITHIN = {'unknown version', 'num_labels', 'file', 'strerror', 'another run', 'a label', 'a bare tag', 'none', 'sizes',
          '"…" has white space in it', 'Error Message Summary:', 'all trainers are through', 'stopped by trainer 0',
          'PADDLE_CURRENT_ENDPOINT', 'pserver', 'local',
          'vocab_size is not that of its ELMo', 'filename',
          'elmo: a tagger has one, and an ELMo has none'}  # these are not messages


def messages():
    """The messages of all errors in the code, with … for the parts that vary."""
    found = []
    for directory in DIRECTORIES:
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


def test_every_message_has_its_remedy():
    with io.open(os.path.join(ROOT, 'docs', 'errors.md'), encoding='utf-8') as handle:
        listed = re.findall(r'^\| `([^`]*)` \|', handle.read(), re.M)
    everything = messages()
    assert [message for message in everything if not any(text in message for text in listed)] == []
    assert [text for text in listed if not any(text in message for message in everything)] == []
