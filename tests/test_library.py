# -*- coding: utf-8 -*-
"""elmo/ as a library: it imports only what it may, and modules of a user do not disturb it."""
from __future__ import absolute_import, division, print_function, unicode_literals

import ast
import glob
import io
import os
import subprocess
import sys

import pytest

from project import ROOT
from helpers import parameters, run, run_command, write_lines

DIRECTORIES = {'tools', 'data', 'benchmark', 'lac_finetune', 'models'}
OURS = {os.path.basename(path)[:-3] for directory in DIRECTORIES | {''}
        for path in glob.glob(os.path.join(ROOT, directory, '*.py'))} | DIRECTORIES | {'elmo'}


def imported(path):
    """The first part of the name of each module that a file imports."""
    with io.open(path, 'rb') as source:
        nodes = list(ast.walk(ast.parse(source.read())))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    return {name.split('.')[0] for name in names + [node.module for node in nodes if isinstance(node, ast.ImportFrom)]}


@pytest.mark.parametrize('pattern, allowed', [
    ('bilm.py', set()), ('elmo/*.py', {'elmo', 'bilm'}), ('reader.py', {'elmo'}), ('args.py', {'elmo'}),
    ('train.py', {'elmo', 'bilm', 'reader', 'args'}), ('tools/*.py', {'elmo', 'bilm', 'reader', 'project'}),
    ('lac_finetune/*.py', {'elmo', 'bilm', 'lac_finetune', 'project'}),
    ('models/*.py', {'elmo', 'bilm', 'lac_finetune', 'project'})])
def test_imports_go_one_way(pattern, allowed):
    for path in glob.glob(os.path.join(ROOT, pattern)):
        assert imported(path) & OURS <= allowed, path


def test_a_user_may_have_modules_of_the_same_names(corpus):
    run(corpus, max_steps=2)
    expected = parameters(str(corpus.directory.join('checkpoints', '000002')))['embedding_para'].shape[1]
    for name in ('reader', 'args', 'train', 'files', 'checkpoint', 'cli', 'project', 'text'):
        write_lines(corpus.directory.join(name + '.py'), ['raise RuntimeError("of the user")'])
    write_lines(corpus.directory.join('task.py'), [
        'from __future__ import print_function', 'import sys',
        'sys.path.append(sys.argv[1])  # behind the directory of the user',
        'from elmo import Embedder, InputError, Segmenter, Vocabulary',
        'vocabulary = Vocabulary(sys.argv[3])',
        'vectors = Embedder(sys.argv[2], vocabulary)([Segmenter(vocabulary).cut(u"3")])[0]',
        'print(*vectors.shape)'])
    output = subprocess.check_output(
        [sys.executable, str(corpus.directory.join('task.py')), str(ROOT), str(corpus.directory.join('checkpoints')),
         corpus.vocab_path], stderr=subprocess.STDOUT)
    assert output.decode('utf-8').splitlines()[-1] == '1 %d' % (2 * expected)


def test_what_needs_no_fluid_does_not_load_it():
    for code in ('from elmo import Vocabulary, Segmenter', 'import reader', 'import args'):
        subprocess.check_call([sys.executable, '-c', code + '; import sys; sys.exit("paddle" in sys.modules)'],
                              env=dict(os.environ, PYTHONPATH=str(ROOT)))


def test_an_unknown_name():
    code = 'import elmo\ntry: elmo.Nothing\nexcept AttributeError as error: print(error)'
    output = subprocess.check_output([sys.executable, '-c', code], env=dict(os.environ, PYTHONPATH=str(ROOT)))
    assert output == b'elmo has no Nothing\n'


def test_the_segmenter_needs_nothing_else():
    """Neither numpy nor fluid, nor another module that was imported before."""
    code = ('# -*- coding: utf-8 -*-\nfrom __future__ import unicode_literals\nimport sys\n'
            'from elmo.segment import Segmenter\n'
            'assert Segmenter(["你好"]).cut("你好吗") == ["你好", "吗"]\n'
            'print(*sorted({"numpy", "paddle", "six", "bilm"} & set(sys.modules)))').replace(
                'import unicode', 'import print_function, unicode')
    code, output, errors = run_command([sys.executable, '-'], code.encode('utf-8'), dict(os.environ, PYTHONPATH=ROOT))
    assert (code, output) == (0, '\n'), errors
