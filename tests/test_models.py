# -*- coding: utf-8 -*-
"""What makes the released models: models/text.py on a tiny archive, models/make.sh, and who takes the models, with a
stand-in for Python.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import io
import os
import shutil
import sys
import tarfile

import numpy as np
import pytest
import six

from project import ROOT
from helpers import run_command, write_lines

# It notes what it is to run, and makes what that would make. At $STOP it fails.
PYTHON = '''#!/bin/sh
case "$*" in *cuda=*) echo cuda=False; exit ;; '- '*) exit ;; esac
echo "$*" >>"$LOG"
stop=no
case "$*" in *"$STOP"*) stop=yes ;; esac
[ -n "$STOP" ] || stop=no
previous=
for word; do
    case $previous in --output | --save_dir) mkdir -p "$word"; last=$word ;; esac
    previous=$word
done
case "$*" in *lac_finetune/train.py*) mkdir -p "$last.resume"; [ $stop = yes ] || rm -r "$last.resume" ;; esac
case $1 in */pack.py) [ $stop = yes ] || { mkdir -p "$ELMO_MODELS/$3" && : >"$ELMO_MODELS/$3/model.json"; } ;; esac
[ $stop = no ]
'''
FILES = ['models/make.sh', 'lac_finetune/run.sh', 'scripts/find_python.sh', 'data/download.sh']


class Machine(object):
    """A copy of the scripts with the stand-in."""

    def __init__(self, directory):
        self.root, self.log = directory.join('root'), directory.join('log')
        for name in FILES:
            self.root.join(name).dirpath().ensure(dir=True)
            shutil.copy(os.path.join(ROOT, name), str(self.root.join(name)))
        shutil.copytree(os.path.join(ROOT, 'requirements'), str(self.root.join('requirements')))
        self.root.ensure('data', 'pku', 'lac', dir=True)
        self.root.join('data', 'pku', 'lac', 'train.tsv').write('')
        self.root.join('python').write(PYTHON)
        self.root.join('python').chmod(0o755)
        self.output, self.archive = directory.join('out'), write_lines(directory.join('zh-text.tar.xz'), [])

    def run(self, script, *args, **environment):
        """Runs a script: (exit code, what it ran, text on stderr)."""
        self.log.write('')
        environment = dict(dict(os.environ, LC_ALL='C.UTF-8', PYTHON=str(self.root.join('python')), STOP='',
                                LOG=str(self.log), OUTPUT=str(self.output)), **environment)
        environment.pop('ELMO_MODELS', None)
        code, _, errors = run_command(['sh', str(self.root.join(script))] + list(args), env=environment)
        return code, self.log.read().replace(str(self.root) + '/', '').splitlines(), errors


@pytest.fixture
def machine(tmpdir):
    return Machine(tmpdir)


def programs(lines):
    return [line.split()[0] for line in lines]


STEPS = ['models/text.py', 'train.py', 'train.py', 'models/pack.py', 'lac_finetune/train.py', 'models/pack.py']


def test_the_steps_of_a_release(machine):
    code, lines, errors = machine.run('models/make.sh', machine.archive)
    assert (code, programs(lines)) == (0, STEPS), errors
    out = str(machine.output)
    assert lines[0] == 'models/text.py %s --output %s/text' % (machine.archive, out)
    for line, name, part, more in (
            (lines[1], 'elmo', 'train', '--embed_size 192 --hidden_size 768 --learning_rate 0.004 --max_epoch 2'),
            (lines[2], 'adapted', 'adapt', '--init_from %s/elmo --learning_rate 0.002 --max_epoch 3' % out)):
        assert line == (
            'train.py --train_path {0}/text/{1}/* --test_path {0}/text/dev --vocab_path {0}/text/vocabulary.txt '
            '--n_negative_samples_batch 4096 --batch_size 128 --optim adam --linear_decay True '
            '--save_minutes 10 --dev_interval 1000 --save_dir {0}/{2} --resume {3}'.format(out, part, name, more))
    assert lines[3] == 'models/pack.py {0}/adapted elmo_zh_small --vocab_path {0}/text/vocabulary.txt'.format(out)
    assert '--elmo_checkpoint models/elmo_zh_small --save_dir %s/lac --resume' % out in lines[4]
    assert lines[5] == 'models/pack.py %s/lac lac_pku --elmo elmo_zh_small' % out
    code, lines, _ = machine.run('models/make.sh', machine.archive)
    assert (code, lines) == (0, [])


@pytest.mark.parametrize('stop, again', [
    ('models/text.py', STEPS[1:]), ('/elmo --resume', STEPS[1:]), ('/adapted --resume', STEPS[1:]),
    ('adapted elmo_zh_small', STEPS[1:]), ('/lac --resume', STEPS[4:]), ('lac lac_pku', STEPS[5:])])
def test_a_release_goes_on_where_it_stopped(machine, stop, again):
    """The stand-in leaves a directory where it stops, as train.py does; the true text.py leaves none."""
    code, lines, _ = machine.run('models/make.sh', machine.archive, STOP=stop)
    assert code != 0 and stop in lines[-1]
    code, lines, errors = machine.run('models/make.sh', machine.archive)
    assert (code, programs(lines)) == (0, again), errors


def test_what_the_target_lacks_is_packed_again(machine):
    assert machine.run('models/make.sh', machine.archive)[0] == 0
    other = str(machine.root.join('other'))
    again = ['train.py', 'train.py', 'models/pack.py', 'models/pack.py']  # the trainings are through
    for expected in (again, []):
        code, lines, errors = machine.run('models/make.sh', machine.archive, TARGET=other)
        assert (code, programs(lines)) == (0, expected), errors
    shutil.rmtree(os.path.join(other, 'lac_pku'))
    assert programs(machine.run('models/make.sh', machine.archive, TARGET=other)[1]) == ['models/pack.py']
    # models/ has models of these names, but they may be others by now
    assert programs(machine.run('models/make.sh', machine.archive)[1]) == again


def test_a_release_wants_an_archive(machine):
    code, lines, errors = machine.run('models/make.sh')
    assert (code, lines, errors) == (2, [], 'make.sh: error: give the archive of the text alone: sh models/make.sh '
                                            'zh-text.tar.xz\n')
    machine.output.ensure('text', dir=True)
    code, lines, errors = machine.run('models/make.sh', 'none.tar.xz')
    assert (code, lines, errors) == (2, [], 'make.sh: error: none.tar.xz: no such file: give zh-text.tar.xz\n')


@pytest.mark.parametrize('args, is_there, elmo, vocabulary', [
    ([], True, 'models/elmo_zh_small', None),
    ([], False, None, 'data/pku/vocabulary.txt'),
    (['pretrain'], True, None, 'data/pku/vocabulary.txt'),
    (['pretrain', '--max_epoch', '1'], True, None, 'data/pku/vocabulary.txt'),
    (['--vocab_path', 'words.txt'], True, None, 'words.txt'),
    (['--elmo_checkpoint', 'mine'], True, 'mine', None),
    (['--elmo_checkpoint', 'other', '--elmo_checkpoint=mine'], True, 'mine', None),
    (['--elmo_checkpoint=mine', '--vocab_path=words.txt'], True, 'mine', 'words.txt')])
def test_the_example_takes_the_released_elmo(machine, args, is_there, elmo, vocabulary):
    """Without a vocabulary, train.py takes that which is beside the ELMo."""
    if is_there:
        machine.root.ensure('models', 'elmo_zh_small', 'model.json')
        machine.root.ensure('models', 'elmo_zh_small', 'vocabulary.txt')
    code, lines, errors = machine.run('lac_finetune/run.sh', *(args + ['--max_epoch', '2']))
    assert code == 0, errors
    pretrained = [] if elmo else ['data/prepare.py', 'train.py']
    assert programs(lines) == pretrained + 2 * ['lac_finetune/train.py']
    for line in lines[-2:]:
        assert ' --elmo_checkpoint %s --use_elmo ' % (elmo or 'lac_finetune/output/elmo') in line
        assert ' --max_epoch 2 ' in line and 'pretrain ' not in line
        assert ' --vocab_path %s ' % vocabulary in line if vocabulary else '--vocab_path' not in line


def test_the_example_compares_no_models_that_start_from_one(machine):
    for args, message in ((['pretrain', '--elmo_checkpoint', 'mine'], 'give one of them'),
                          (['--max_epoch', '2', 'pretrain'], 'give it first'),
                          (['--save_dir', 'mine'], 'use lac_finetune/train.py'),
                          (['--use_elmo=False'], 'use lac_finetune/train.py')):
        code, lines, errors = machine.run('lac_finetune/run.sh', *args)
        assert code == 2 and message in errors and not lines
    code, lines, errors = machine.run('lac_finetune/run.sh', '--init_from', 'lac_pku')
    assert (code, lines, errors.count('\n')) == (2, [], 1) and errors.startswith('run.sh: error: --init_from')


def test_the_example_pretrains_with_one_vocabulary(machine):
    """The text was cut with it."""
    for name in ('one.txt', 'other.txt'):
        machine.root.join(name).write(name)
    assert machine.run('lac_finetune/run.sh', '--vocab_path', str(machine.root.join('one.txt')))[0] == 0
    code, lines, errors = machine.run('lac_finetune/run.sh', '--vocab_path', str(machine.root.join('other.txt')))
    assert code == 2 and not programs(lines) and 'the ELMo of another vocabulary than' in errors
    assert machine.run('lac_finetune/run.sh', '--vocab_path', str(machine.root.join('one.txt')))[0] == 0


def test_the_help_of_the_example_needs_nothing():
    code, output, errors = run_command(['sh', os.path.join(ROOT, 'lac_finetune', 'run.sh'), '--help'],
                                       env=dict(os.environ, PYTHON='/none'))
    assert (code, errors) == (0, '') and output.startswith('The whole example')
    assert '[pretrain]' in output and 'lac_finetune/train.py --help' in output


def add(archive, name, lines, encoding='utf-8'):
    content = '\n'.join(lines).encode(encoding)
    member = tarfile.TarInfo(str(name))
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


python_3 = pytest.mark.skipif(six.PY2, reason='Python 2 reads no .xz')


@pytest.fixture
def texts(tmpdir):
    """An archive and the directory of PKU, each as small as shows what is done with it."""
    lac = tmpdir.mkdir('pku').mkdir('lac')
    # 中国人 crosses the border 中国|人 in 3 of 4 places, 人民 in none; 的 is a word.
    tagged = ['中国 人\tns n'] * 3 + ['中国人\tn', '人民 的\tn u'] + ['%s\tn' % '人民'] * 195
    write_lines(lac.join('train.tsv'), tagged)
    write_lines(tmpdir.join('pku', 'vocabulary.txt'),
                ['<S>', '</S>', '<UNK>', '人民', '中国人', '中国', '人', '的', '从不'])
    with tarfile.open(str(tmpdir.join('zh.tar.xz.gz')), 'w:gz') as archive:
        add(archive, 'zh/train-news-000.txt', ['人民 。'] * 400)
        add(archive, 'zh/train-wiki-000.txt', ['Hello World 的 人民 。 中国 人 。'] * 20 + ['中 国 龙'] * 19)
        add(archive, 'zh/train-wiki-001.txt', ['龙 。'])
        add(archive, 'zh/heldout-wiki-000.txt', ['中国 人 的 Hello World'])
        add(archive, 'zh/README', ['not a text'])
    return tmpdir


def make_text(directory, *more):
    return run_command([sys.executable, os.path.join(ROOT, 'models', 'text.py'), str(directory.join('zh.tar.xz.gz')),
                        '--pku', str(directory.join('pku')), '--output', str(directory.join('text'))] + list(more),
                       env=dict(os.environ, LC_ALL='C.UTF-8'))


def lines_of(path):
    with io.open(str(path), encoding='utf-8') as handle:
        return handle.read().splitlines()


@python_3
def test_the_text_of_a_release(texts):
    code, output, errors = make_text(texts)
    assert code == 0, errors
    assert '1 of 6 words cross borders\n0 of 5 words cross borders\n' in output
    train, adapt = [lines_of(texts.join('text', part, 'sentence_file_00000.txt')) for part in ('train', 'adapt')]
    wiki = ['Hello World 的 人民 。', '中国 人 。']
    expected = {'人民 。': 400, wiki[0]: 20, wiki[1]: 20, '中国 龙': 19, '龙 。': 1, '中国 人': 4, '人民 的': 1, '人民': 193}
    assert {line: train.count(line) for line in train} == expected
    # All 198 sentences of PKU, and of the 460 others each second one, as 460 are 2 times 198 and more.
    assert {line: adapt.count(line) for line in adapt} == {
        '人民 。': 200, wiki[0]: 20, '中国 龙': 10, '中国 人': 4, '人民 的': 1, '人民': 193}
    assert lines_of(texts.join('text', 'dev', 'sentence_file_00000.txt')) == ['人民', '人民']  # sentences 100 and 200
    assert lines_of(texts.join('text', 'heldout', 'wiki.txt')) == ['中国 人 的 Hello World']
    # 人民 400 + 20 + 1 + 193, 。 400 + 20 + 20 + 1, 中国 20 + 19 + 4, 人 20 + 4, 的 20 + 1, then 20 each; 从不 never.
    assert lines_of(texts.join('text', 'vocabulary.txt')) == [
        '<S>', '</S>', '<UNK>', '人民', '。', '中国', '人', '的', 'Hello', 'World', '龙', '从不']


@python_3
def test_another_archive_is_refused(texts):
    with tarfile.open(str(texts.join('zh.tar.xz.gz')), 'w:gz') as archive:
        add(archive, 'zh/train-wiki-000.txt', ['人民'])
    code, _, errors = make_text(texts)
    assert (code, errors.count('\n')) == (2, 1) and 'has no train-PART-000.txt or no heldout-PART-000.txt' in errors
    texts.join('zh.tar.xz.gz').write('none')
    code, _, errors = make_text(texts)
    assert (code, errors.count('\n')) == (2, 1) and 'zh.tar.xz.gz: cannot be read: ' in errors
    texts.join('zh.tar.xz.gz').remove()
    code, output, errors = make_text(texts)
    assert (code, output, errors) == (
        2, '', 'text.py: error: %s: cannot be read: No such file or directory; give zh-text.tar.xz\n'
        % texts.join('zh.tar.xz.gz'))
    assert not texts.join('text').exists()


NUMBERS = ['%d' % number for number in np.random.RandomState(1).randint(10 ** 9, size=30000)]  # which pack badly


@python_3
@pytest.mark.parametrize('packing, damaged', [('gz', 0), ('xz', 0), ('xz', 10000)])
def test_a_damaged_archive_is_refused(texts, packing, damaged):
    with tarfile.open(str(texts.join('zh.tar.xz.gz')), str('w:' + packing)) as archive:
        add(archive, 'train-wiki-000.txt', NUMBERS)
        add(archive, 'heldout-wiki-000.txt', NUMBERS)
    whole = texts.join('zh.tar.xz.gz').read_binary()
    texts.join('zh.tar.xz.gz').write_binary(whole[:len(whole) // 2] + b'damaged' * damaged)
    code, _, errors = make_text(texts)
    assert (code, errors.count('\n')) == (2, 1) and 'zh.tar.xz.gz: cannot be read: ' in errors
    assert errors.endswith('; give zh-text.tar.xz\n') and not texts.join('text').exists()


@pytest.mark.skipif(six.PY3, reason='Python 3 reads it')
def test_python_2_reads_no_xz(texts):
    code, _, errors = make_text(texts)
    assert (code, errors.count('\n')) == (2, 1) and 'this Python has no lzma for .xz; run it with Python 3' in errors


@python_3
def test_a_member_that_is_not_utf8_is_named(texts):
    with tarfile.open(str(texts.join('zh.tar.xz.gz')), 'w:gz') as archive:
        add(archive, 'zh/train-wiki-000.txt', ['ascii', '人民'], 'gb18030')
    code, _, errors = make_text(texts)
    assert (code, errors.count('\n')) == (2, 1) and 'zh.tar.xz.gz: train-wiki-000.txt:2: not UTF-8' in errors


@python_3
def test_of_two_members_of_a_name_the_later_counts(texts):
    """As where tar unpacks them."""
    with tarfile.open(str(texts.join('zh.tar.xz.gz')), 'w:gz') as archive:
        for text in ('中国', '人'):
            for part in ('train', 'heldout'):
                add(archive, 'zh/%s-wiki-000.txt' % part, [text] * 300)
    code, _, errors = make_text(texts)
    assert code == 0, errors
    assert lines_of(texts.join('text', 'heldout', 'wiki.txt')) == ['人'] * 300


@python_3
def test_the_output_may_end_in_a_slash_and_is_not_replaced(texts):
    code, _, errors = make_text(texts, '--output', str(texts.join('text')) + '/')
    assert code == 0 and sorted(os.listdir(str(texts.join('text')))) == [
        'adapt', 'dev', 'heldout', 'train', 'vocabulary.txt'], errors
    code, output, errors = make_text(texts)
    assert (code, output) == (2, '')
    assert errors == 'text.py: error: %s: is there already; choose another\n' % texts.join('text')
