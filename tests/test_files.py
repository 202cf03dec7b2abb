# -*- coding: utf-8 -*-
"""Files that take their name when they are whole, and what they never replace."""
from __future__ import absolute_import, division, print_function, unicode_literals

import os
import resource
import stat
import sys
import threading

import pytest


from project import ROOT
from helpers import run_command
from elmo import rundir
from elmo.files import new_directory, replacing
from elmo.text import InputError


def write(path, text='new'):
    with replacing(str(path)) as output:
        output.write(text)


def test_a_file_of_the_users_beside_it_stays(tmpdir):
    tmpdir.join('out.tmp').write('mine')
    write(tmpdir.join('out'))
    assert tmpdir.join('out').read() == 'new' and tmpdir.join('out.tmp').read() == 'mine'
    assert len(tmpdir.listdir()) == 2


def test_a_link_is_followed(tmpdir):
    target, link = tmpdir.mkdir('elsewhere').join('out'), tmpdir.join('link')
    target.write('old')
    link.mksymlinkto(target)
    write(link)
    assert link.islink() and target.read() == 'new'
    tmpdir.join('dangling').mksymlinkto(tmpdir.join('elsewhere', 'made'))
    write(tmpdir.join('dangling'))
    assert tmpdir.join('dangling').islink() and tmpdir.join('elsewhere', 'made').read() == 'new'


def test_a_pipe_is_written_to(tmpdir):
    path, found = str(tmpdir.join('pipe')), []
    os.mkfifo(path)

    def read():
        with open(path) as pipe:
            found.append(pipe.read())

    thread = threading.Thread(target=read)
    thread.start()
    write(path)
    thread.join(10)
    assert found == ['new'] and stat.S_ISFIFO(os.stat(path).st_mode)


def test_a_device_is_written_to(tmpdir):
    """/dev/stdout is a link that leads to what this process writes to."""
    code = ("import sys; sys.path.insert(0, %r); from elmo.files import replacing\n"
            "with replacing('/dev/stdout') as output: output.write(u'new')" % str(ROOT))
    before = os.readlink('/dev/stdout')
    assert run_command([sys.executable, '-c', code])[:2] == (0, 'new')
    assert os.readlink('/dev/stdout') == before


def test_a_failure_leaves_what_was_there(tmpdir):
    path = tmpdir.join('out')
    path.write('old')
    with pytest.raises(InputError):
        with replacing(str(path)) as output:
            output.write('half')
            raise EnvironmentError(28, 'No space left on device')
    assert path.read() == 'old' and tmpdir.listdir() == [path]
    path.remove()
    path.mkdir()
    with pytest.raises(InputError) as error:
        write(path)
    assert 'out: cannot be written: Is a directory' in str(error.value) and path.check(dir=True)


def test_an_error_of_another_file_names_it(tmpdir):
    for make in (replacing, new_directory):
        path = str(tmpdir.join('out'))
        with pytest.raises(InputError) as error:
            with make(path):
                open(str(tmpdir.join('source')))
        assert str(error.value).endswith('source: cannot be read: No such file or directory')
        with pytest.raises(InputError) as error:
            with make(path) as output:
                open(os.path.join(getattr(output, 'name', output), 'part', 'x'), 'w')
        assert 'out: cannot be ' in str(error.value) and 'read' not in str(error.value)
        assert not tmpdir.listdir()


def test_the_lock_on_a_full_disk(tmpdir):
    code = ("import sys; from elmo import cli, rundir\n"
            "def main():\n  with rundir.locked(sys.argv[1]): print('locked')\ncli.run(main)")
    found, output, errors = run_command(
        [sys.executable, '-c', code, str(tmpdir)], cwd=ROOT,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)))
    assert (found, output, errors.count('\n')) == (2, '', 1)
    assert '--save_dir %s: cannot be written: File too large' % tmpdir in errors


def test_a_lock_that_cannot_be_opened(tmpdir):
    tmpdir.mkdir('.lock')
    with pytest.raises(InputError) as error:
        with rundir.locked(str(tmpdir)):
            pass
    assert 'cannot be written: Is a directory' in str(error.value)


def test_a_slash_at_the_end_of_a_new_directory(tmpdir):
    with new_directory(str(tmpdir.join('model')) + '/') as temporary:
        with open(os.path.join(temporary, 'file'), 'w') as output:
            output.write('new')
    assert tmpdir.join('model', 'file').read() == 'new' and len(tmpdir.listdir()) == 1


def test_a_directory_of_the_users_beside_it_stays(tmpdir):
    for name in ('model', 'model.saving', 'model.saving.old'):
        tmpdir.mkdir(name).join('file').write('mine')
    with new_directory(str(tmpdir.join('model'))) as temporary:
        with open(os.path.join(temporary, 'file'), 'w') as output:
            output.write('new')
    assert tmpdir.join('model', 'file').read() == 'new'
    assert tmpdir.join('model.saving', 'file').read() == tmpdir.join('model.saving.old', 'file').read() == 'mine'
    assert len(tmpdir.listdir()) == 3
