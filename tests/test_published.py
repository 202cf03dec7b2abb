# -*- coding: utf-8 -*-
"""data/download.sh elmo: a tiny model in the layout of the published one, from a server on this machine."""
from __future__ import absolute_import, division, print_function, unicode_literals

import contextlib
import gzip
import io
import os
import resource
import socket
import ssl
import sys
import tarfile
import threading

import numpy as np
import pytest
from six.moves import BaseHTTPServer

from project import ROOT
from helpers import CONFIG, free_port, make_checkpoint, refused, run_command, write_lines
import bilm
from data import published
from elmo import download, rundir
from elmo.embedder import Embedder
from elmo.text import Vocabulary


@pytest.fixture(scope='module')
def model(tmpdir_factory):
    """A directory with a vocabulary and 490001/, as the archive has it: parameters, and a variable beside them."""
    directory = tmpdir_factory.mktemp('original')
    words = write_lines(directory.join('words'), ['<S>', '</S>', '<UNK>'] + ['词%d' % number for number in range(20)])
    parameters = directory.mkdir('490001')
    make_checkpoint(parameters, Vocabulary(words), embed_size=5, hidden_size=7)
    parameters.join('bilm.json').remove()
    parameters.join('learning_rate_0').write('a variable')
    return directory


def contents(directory):
    """{path: bytes} of all files below a directory."""
    return {path.relto(directory): path.read_binary() for path in directory.visit() if path.isfile()}


def member(name, content=b'', kind=tarfile.REGTYPE, **attributes):
    """What an archive has of a file or another thing: (TarInfo, bytes)."""
    found = tarfile.TarInfo(str(name))
    found.type, found.size = kind, len(content)
    for key, value in attributes.items():
        setattr(found, key, value)
    return found, content


def packed(*members, **options):
    """The bytes of a .tar.gz of (TarInfo, bytes)."""
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode='w:gz', format=tarfile.PAX_FORMAT, **options) as archive:
        for found, content in members:
            archive.addfile(found, io.BytesIO(content))
    return output.getvalue()


def files(model):
    return [member('490001', kind=tarfile.DIRTYPE, mode=0o755)] + [
        member('490001/' + name, content) for name, content in sorted(contents(model.join('490001')).items())]


class Server(object):
    """An HTTP server with one file. It keeps the ranges that were asked for."""

    def __init__(self, body):
        self.body, self.tag, self.asked = body, '"1"', []
        self.ranges = self.compares = self.tells_size = True
        self.body_sent = None  # something else than the body
        self.cut = self.stall = None  # the number of bytes after which a connection is closed, or is silent
        self.status, self.end = 200, threading.Event()
        outer = self

        class Handler(BaseHTTPServer.BaseHTTPRequestHandler):
            def do_GET(self):
                outer.answer(self)

            def log_message(self, *_):
                pass

        self.server = BaseHTTPServer.HTTPServer(('127.0.0.1', 0), Handler)
        self.url = 'http://127.0.0.1:%d/model.tar.gz' % self.server.server_port
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))
        self.thread.start()

    def answer(self, handler):
        wanted = handler.headers.get('Range')
        self.asked.append(wanted)
        fits = not self.compares or handler.headers.get('If-Range') == self.tag
        start = int(wanted[len('bytes='):-1]) if wanted and self.ranges and fits else 0
        status = 206 if start else self.status
        if start >= len(self.body):
            status = 416
        handler.send_response(status)
        if self.tag:
            handler.send_header('ETag', self.tag)
        if status == 206:
            handler.send_header('Content-Range', 'bytes %d-%d/%d' % (start, len(self.body) - 1, len(self.body)))
        if self.tells_size:
            handler.send_header('Content-Length', '%d' % (len(self.body) - start))
        handler.end_headers()
        some = self.cut or self.stall or len(self.body)
        try:
            handler.wfile.write(self.body[start:start + some] if self.body_sent is None else self.body_sent)
        except socket.error:  # the other side has closed the connection
            pass
        if self.stall:
            self.end.wait(30)

    def close(self):
        self.end.set()
        self.server.shutdown()
        self.thread.join(30)
        self.server.server_close()


class Machine(object):
    """An output directory, and a server with the model."""

    def __init__(self, directory, model, capsys):
        self.directory, self.capsys = directory, capsys
        self.output = directory.join('elmo_chinese')
        self.archive = packed(*files(model))
        self.server = Server(self.archive)

    def main(self, *flags):
        """Runs the command; returns what it prints."""
        sys.argv = ['published.py', '--output', str(self.output)] + list(flags)
        published.main()
        return self.capsys.readouterr().out

    def refused(self, *flags):
        return refused(self.capsys, lambda: self.main(*flags))

    def refused_archive(self, body):
        """Runs the command with an archive of these bytes. It must leave nothing."""
        self.directory.join('archive').write_binary(body)
        line = self.refused('--archive', str(self.directory.join('archive')))
        assert self.left() == ['archive']
        return line

    def left(self):
        return sorted(path.basename for path in self.directory.listdir())


@pytest.fixture
def machine(tmpdir, model, capsys, monkeypatch):
    monkeypatch.setattr(bilm, 'PUBLISHED_CONFIG', CONFIG)
    monkeypatch.setattr(download, 'PAUSE', 0)
    monkeypatch.setattr(sys, 'argv', sys.argv)
    for name in ('http_proxy', 'HTTP_PROXY', 'all_proxy', 'ALL_PROXY'):
        monkeypatch.delenv(name, raising=False)
    found = Machine(tmpdir.mkdir('data'), model, capsys)
    monkeypatch.setenv('ELMO_URL', str(found.server.url))
    yield found
    found.server.close()


def test_the_model_is_fetched_once(machine, model):
    said = machine.main()
    assert contents(machine.output.join('490001')) == contents(model.join('490001'))
    assert machine.left() == ['elmo_chinese'] and len(machine.output.listdir()) == 1
    assert '%s: the published model' % machine.output.join('490001') in said and '23 words' in said
    assert machine.main() == said  # it is whole
    assert machine.server.asked == [None]


def test_it_can_be_used(machine, model):
    machine.main()
    vocabulary = Vocabulary(str(model.join('words')))
    found, expected = [Embedder(str(parent.join('490001')), vocabulary)([['词1', '词9']])[0]
                       for parent in (machine.output, model)]
    np.testing.assert_array_equal(found, expected)


def test_through_a_proxy(machine, monkeypatch):
    monkeypatch.setenv('http_proxy', str(machine.server.url))
    monkeypatch.setenv('ELMO_URL', 'http://no-such-machine.invalid/model.tar.gz')
    machine.main()
    assert machine.server.asked == [None] and machine.left() == ['elmo_chinese']


def test_from_an_archive(machine, model):
    archive = machine.directory.join('here.tar.gz')
    archive.write_binary(packed(member('./words.txt', b'words'), *[
        member('./deep/' + name, content) for name, content in contents(model.join('490001')).items()]))
    assert str(machine.output.join('deep')) in machine.main('--archive', str(archive))
    assert contents(machine.output.join('deep')) == contents(model.join('490001'))
    assert machine.output.join('words.txt').read() == 'words'  # what else the archive has
    assert machine.left() == ['elmo_chinese', 'here.tar.gz'] and not machine.server.asked


def test_a_broken_download_goes_on(machine, model):
    machine.server.cut = len(machine.archive) // 3 + 1
    machine.main()
    cut = machine.server.cut
    assert machine.server.asked == [None, 'bytes=%d-' % cut, 'bytes=%d-' % (2 * cut)]
    assert contents(machine.output.join('490001')) == contents(model.join('490001'))


def interrupt(machine, monkeypatch, size=1000):
    """Lets a download end after so many bytes."""
    machine.server.cut = size
    with monkeypatch.context() as once:
        once.setattr(download, 'TRIES', 1)
        assert 'the connection broke after %d of %d bytes' % (size, len(machine.archive)) in machine.refused()
    assert machine.left() == ['elmo_chinese.download']
    machine.server.cut = None


def test_the_next_call_goes_on(machine, model, monkeypatch):
    interrupt(machine, monkeypatch)
    machine.main()
    assert machine.server.asked == [None, 'bytes=1000-']
    assert contents(machine.output.join('490001')) == contents(model.join('490001'))


@pytest.mark.parametrize('change, asked', [
    (dict(tag='"2"'), ['bytes=1000-']),
    (dict(tag='"2"', compares=False), ['bytes=1000-', None]),
    (dict(tag=None, compares=False), ['bytes=1000-', None]),
    (dict(ranges=False), ['bytes=1000-']),
])
def test_another_file_or_no_ranges_begin_anew(machine, model, monkeypatch, change, asked):
    interrupt(machine, monkeypatch)
    vars(machine.server).update(change)
    if 'tag' in change:
        machine.server.body = packed(*reversed(files(model)))
    machine.main()
    assert machine.server.asked[1:] == asked
    assert contents(machine.output.join('490001')) == contents(model.join('490001'))


def test_a_shorter_file_begins_anew(machine, model, monkeypatch):
    interrupt(machine, monkeypatch)
    whole, machine.server.body, machine.server.compares = machine.archive, b'short', False
    with monkeypatch.context() as once:
        once.setattr(download, 'TRIES', 1)
        assert 'the server answers 416' in machine.refused()
    machine.server.body = whole
    machine.main()
    assert machine.server.asked == [None, 'bytes=1000-', None]


def test_another_address_begins_anew(machine, monkeypatch):
    interrupt(machine, monkeypatch)
    monkeypatch.setenv('ELMO_URL', str(machine.server.url + '.mirror'))
    machine.main()
    assert machine.server.asked == [None, None]


def test_without_a_version_it_begins_anew(machine, monkeypatch):
    machine.server.tag = None
    interrupt(machine, monkeypatch)
    machine.main()
    assert machine.server.asked == [None, None]


def test_a_whole_download_is_not_asked_for_again(machine, monkeypatch):
    """The process was killed, or the disk was full, while it was unpacked."""
    with monkeypatch.context() as once:
        once.setattr(published, 'unpack', lambda *_: (_ for _ in ()).throw(EnvironmentError(28, 'No space left')))
        assert 'elmo_chinese: cannot be saved: No space left' in machine.refused()
    assert machine.left() == ['elmo_chinese.download']
    machine.main()
    assert machine.server.asked == [None] and machine.left() == ['elmo_chinese']


def test_a_silent_server(machine, monkeypatch):
    monkeypatch.setattr(download, 'SECONDS', 0.5)
    monkeypatch.setattr(download, 'TRIES', 1)
    machine.server.stall = 100
    assert 'timed out' in machine.refused()


@pytest.mark.parametrize('change, said, tries', [
    (dict(status=404), 'the server answers 404', 1),
    (dict(status=503), 'cannot be fetched: the server answers 503', 5),
    (dict(body=b'<html>Log in</html>'), "answers with another thing, which begins with <html>Log in", 1),
    (dict(body=published.GZIP + bytes(bytearray(2000000))), 'has more than 1 MB', 1),
    (dict(body=published.GZIP + bytes(bytearray(2000000)), tells_size=False), 'has more than 1 MB', 1),
    (dict(body=published.GZIP + b'damaged'), 'is damaged, or not the published model', 1),
    (dict(cut=1000, tells_size=False), 'is damaged, or not the published model', 1),
    (dict(body=b''), 'the server answers 416', 5),
    (dict(body_sent=b''), 'the connection broke after 0 of', 5),
])
def test_what_cannot_be_fetched_leaves_nothing(machine, change, said, tries):
    vars(machine.server).update(change)
    assert said in machine.refused()
    assert machine.left() == [] and len(machine.server.asked) == tries


def test_no_server(machine, monkeypatch):
    monkeypatch.setenv('ELMO_URL', 'http://127.0.0.1:%d/model' % free_port(1))
    line = machine.refused()
    assert 'refused; check the network' in line and '--archive' in line and machine.left() == []
    monkeypatch.setenv('ELMO_URL', 'ftp://127.0.0.1/model')
    assert 'is no address' in machine.refused()


def test_a_system_without_certificates(tmpdir, monkeypatch):
    certifi = pytest.importorskip('certifi')
    tmpdir.join('none').write('')
    monkeypatch.setenv('SSL_CERT_FILE', str(tmpdir.join('none')))
    monkeypatch.setenv('SSL_CERT_DIR', str(tmpdir))
    context = download._certificates()
    assert context.verify_mode == ssl.CERT_REQUIRED and context.check_hostname
    with io.open(certifi.where(), encoding='utf-8') as handle:
        assert len(context.get_ca_certs()) == handle.read().count('BEGIN CERTIFICATE') > 0


def test_a_damaged_archive(machine):
    middle = len(machine.archive) // 2
    for body in (machine.archive[:middle], machine.archive[:-3], machine.archive + b'more',
                 machine.archive[:middle] + b'damage' + machine.archive[middle + 6:],
                 machine.archive[:-8] + bytes(bytearray(4)) + machine.archive[-4:],  # the checksum
                 b'<html>', b'', published.GZIP):
        line = machine.refused_archive(body)
        assert 'archive: is damaged, or not the published model (' in line and 'fetch it again' in line
    assert 'cannot be read: No such file' in machine.refused('--archive', str(machine.directory.join('none')))


@pytest.mark.parametrize('hostile, said', [
    (member('/tmp/elmo_hostile', b'x'), "'/tmp/elmo_hostile' would be written elsewhere"),
    (member('490001/../../up', b'x'), 'would be written elsewhere'),
    (member('..', kind=tarfile.DIRTYPE), 'would be written elsewhere'),
    (member('490001/link', kind=tarfile.SYMTYPE, linkname='/etc/passwd'), 'is neither a file nor a directory'),
    (member('490001/link', kind=tarfile.LNKTYPE, linkname='490001/softmax_bias'), 'neither a file nor'),
    (member('490001/pipe', kind=tarfile.FIFOTYPE), 'neither a file nor'),
    (member('490001/zero', kind=tarfile.CHRTYPE, devmajor=1, devminor=5), 'neither a file nor'),
    (member('490001/softmax_bias/x', b'x'), 'is damaged, or not the published model'),
    (member('490001', b'x'), 'is damaged, or not the published model'),
    (member('490001/' + 'long' * 100, b'x'), 'is damaged, or not the published model'),
    (member('490001/large', bytes(bytearray(2000000))), 'it has more than 1000 members or 1 MB'),
    (member('490001/x', pax_headers={'comment': 'x' * 2000000}), 'a name in it has'),
])
def test_a_hostile_archive(machine, model, hostile, said):
    assert said in machine.refused_archive(packed(*files(model) + [hostile]))


def test_too_many_members_or_bytes_behind(machine, model):
    many = [member('490001/%d' % number) for number in range(1000)]
    assert 'it has more than 1000 members' in machine.refused_archive(packed(*files(model) + many))
    behind = io.BytesIO()
    with gzip.GzipFile(fileobj=behind, mode='wb') as output:
        output.write(bytes(bytearray(5000000)))
    assert 'goes on after its last member' in machine.refused_archive(machine.archive + behind.getvalue())


def test_permissions_are_those_of_new_files(machine, model):
    machine.directory.join('archive').write_binary(
        packed(*files(model) + [member('490001/program', b'x', mode=0o4777, uid=1234)]))
    machine.main('--archive', str(machine.directory.join('archive')))
    found = os.stat(str(machine.output.join('490001', 'program')))
    assert found.st_mode & 0o7111 == 0 and found.st_uid == os.getuid()


def test_another_model(machine, model):
    assert '0 directories in it have a file embedding_para' in machine.refused_archive(packed(member('x', b'x')))
    twice = files(model) + [member('again/embedding_para', b'x')]
    assert '2 directories in it' in machine.refused_archive(packed(*twice))
    lacking = [each for each in files(model) if each[0].name != '490001/fw_layer2_gate_w']
    assert 'fw_layer2_gate_w is missing' in machine.refused_archive(packed(*lacking))
    bias = model.join('490001', 'softmax_bias').read_binary()
    line = machine.refused_archive(packed(*files(model) + [member('490001/softmax_weight', bias)]))
    assert 'softmax_weight has shape [23] in the checkpoint, [23, 5] here' in line and 'unpacked' not in line


def test_what_is_there_stays(machine):
    machine.output.mkdir().join('mine').write('mine')
    assert 'exists, but is not the published model' in machine.refused()
    assert machine.output.join('mine').read() == 'mine' and not machine.server.asked
    machine.output.join('mine').remove()
    machine.output.remove()
    machine.main()
    machine.output.join('490001', 'softmax_bias').write('damaged')
    line = machine.refused()
    assert 'softmax_bias: not a parameter' in line and 'delete it' in line


def test_two_at_once(machine):
    work = str(machine.output) + '.download'
    command = [sys.executable, os.path.join(ROOT, 'data', 'published.py'), '--output', str(machine.output)]
    rundir.make(work)
    with rundir.locked(work):
        code, _, errors = run_command(command)
    assert (code, errors.count('\n')) == (2, 1)
    assert '--output %s: process %d on ' % (work, os.getpid()) in errors and 'writes there' in errors
    assert not machine.server.asked and os.listdir(work) == ['.lock']


def test_another_process_was_faster(machine, model, monkeypatch):
    @contextlib.contextmanager
    def locked(*_, **__):
        model.join('490001').copy(machine.output.ensure('490001', dir=True))
        yield

    monkeypatch.setattr(rundir, 'locked', locked)
    machine.main()
    assert machine.left() == ['elmo_chinese'] and not machine.server.asked


def test_a_full_disk(machine):
    """The shell script with the published sizes, as a process that may write files of 1000 bytes."""
    code, _, errors = run_command(
        ['sh', os.path.join(ROOT, 'data', 'download.sh'), 'elmo', '--output', str(machine.output)],
        env=dict(os.environ, PYTHON=sys.executable, PYTHONDONTWRITEBYTECODE='1'),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)))
    assert (code, errors.count('\n')) == (2, 1), errors
    assert 'archive.part: cannot be written: File too large' in errors
    machine.main()
    assert machine.server.asked == [None, 'bytes=1000-']


def test_the_sizes_are_the_published_ones(machine):
    machine.directory.join('archive').write_binary(machine.archive)
    code, _, errors = run_command(
        ['sh', os.path.join(ROOT, 'data', 'download.sh'), 'elmo', '--output', str(machine.output),
         '--archive', str(machine.directory.join('archive'))], env=dict(os.environ, PYTHON=sys.executable))
    assert (code, errors.count('\n')) == (2, 1), errors
    assert 'embedding_para has shape [23, 5] in the checkpoint, [52445, 512] here' in errors
    assert machine.left() == ['archive']


def test_an_unknown_word():
    code, output, errors = run_command(['sh', os.path.join(ROOT, 'data', 'download.sh'), 'bert'])
    assert (code, output) == (2, '')
    assert errors == 'download.sh: error: bert is neither pku nor elmo (see sh data/download.sh --help)\n'
