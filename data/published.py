# -*- coding: utf-8 -*-
"""Fetches the published Chinese ELMo into data/elmo_chinese/ and checks it; download.sh runs this.

The directory has all that the archive holds. Before it is whole, what has arrived is in data/elmo_chinese.download/.
ELMO_URL in the environment is another address.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import contextlib
import errno
import gzip
import io
import os
import struct
import sys
import tarfile
import zlib

from project import ROOT, cli
import six

import bilm
from elmo import download, memory, rundir
from elmo.files import new_directory, remove_tree
from elmo.progress import Progress
from elmo.text import InputError

URL = 'https://dureader.gz.bcebos.com/elmo/elmo_chinese_checkpoint.tar.gz'
GZIP = b'\x1f\x8b'  # what a .tar.gz begins with
MOST_MEMBERS = 1000
BLOCK = 1 << 20


class Unfit(Exception):
    """An archive, or a directory, that is not the published model; says why."""


DAMAGE = (Unfit, tarfile.TarError, zlib.error, struct.error, EOFError, EnvironmentError, ValueError, RuntimeError,
          TypeError)  # gzip of Python 2.7 where the head is cut
OF_NAMES = None, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG  # not the disk's; None is gzip's


def most_bytes():
    """How many bytes the archive can hold: the parameters, two moments of each, and a MB of other files."""
    return 12 * sum(map(memory.size_of, bilm.parameter_shapes(bilm.PUBLISHED_CONFIG).values())) + 1000000


class _Unzipped(gzip.GzipFile):
    """A .gz file read in blocks. tarfile takes the name of a member at once, however long it claims to be."""

    def read(self, size=-1):
        if not 0 <= size <= BLOCK:
            raise Unfit('a name in it has %d bytes' % size)
        return super(_Unzipped, self).read(size)


def unpack(archive, directory):
    """Unpacks a .tar.gz into an empty directory.

    One of DAMAGE if it is damaged, or has anything but files and directories within, or more than the model can have.
    """
    most = most_bytes()
    with io.open(archive, 'rb') as zipped:
        unzipped, total = _Unzipped(fileobj=zipped, mode='rb'), 0
        progress = Progress('unpacking', os.path.getsize(archive) / 1e6, 'MB')
        with contextlib.closing(progress), tarfile.open(fileobj=unzipped, mode='r:') as members:
            for number, member in enumerate(members, 1):
                path = _place(member)
                total += member.size
                if number > MOST_MEMBERS or member.size < 0 or total > most:
                    raise Unfit('it has more than %d members or %d MB' % (MOST_MEMBERS, most / 1e6))
                _write(members, member, os.path.join(directory, path))
                progress.update(zipped.tell() / 1e6)
            while unzipped.read(BLOCK):  # to the end, where the checksum is
                total += BLOCK
                if total > most + BLOCK:
                    raise Unfit('it goes on after its last member')


def _place(member):
    """The path of a member, relative to where it is unpacked; Unfit unless it is a file or directory within."""
    if not member.isdir() and (not member.isreg() or member.issparse()):
        raise Unfit('%r is neither a file nor a directory' % member.name[:80])
    path = six.ensure_text(member.name)
    path.encode('utf-8')  # ValueError if it is no text
    if path.startswith('/') or '..' in path.split('/') or '\0' in path:
        raise Unfit('%r would be written elsewhere' % member.name[:80])
    return path


def _write(members, member, path):
    """Writes a member, with the permissions of a new file or directory."""
    parent = path if member.isdir() else os.path.dirname(path)
    if not os.path.isdir(parent):
        os.makedirs(parent)
    if member.isdir():
        return
    with io.open(path, 'wb') as output:
        for block in iter(lambda source=members.extractfile(member): source.read(1 << 16), b''):
            output.write(block)


def find(directory):
    """The directory of the parameters within; Unfit or CheckpointError unless there is one, and all are whole."""
    found = [parent for parent, _, names in os.walk(directory) if bilm.TABLE in names]
    if len(found) != 1:
        raise Unfit('%d directories in it have a file %s' % (len(found), bilm.TABLE))
    bilm.check_files(found[0], bilm.PUBLISHED_CONFIG)
    return found[0]


def make(output, work, archive):
    """Makes the directory `output` of an archive; None: of that which is fetched into `work`."""
    part = os.path.join(work, 'archive.part')
    url = cli.as_text(os.environ.get('ELMO_URL') or URL)
    try:
        if os.path.lexists(output):  # another process has made it just now
            return
        if archive is None:
            download.fetch(url, part, GZIP, most_bytes())
        with new_directory(output, os.path.join(work, 'unpacked')) as directory:
            try:
                unpack(part if archive is None else archive, directory)
                find(directory)
            except DAMAGE as error:
                if getattr(error, 'errno', None) not in OF_NAMES:
                    raise
                if archive is None:
                    download.forget(part)
                raise InputError('%s: is damaged, or not the published model (%s); fetch it again'
                                 % (archive or url, ('%s' % error).replace(directory + os.sep, '')))
        download.forget(part)
    finally:
        if not os.path.exists(part) or not os.path.getsize(part):  # there is nothing to go on with
            remove_tree(work)


def tell(output):
    """Says where the model is and how to use it; InputError if it is not whole."""
    def shown(path):
        path = os.path.abspath(cli.as_text(path))
        return os.path.relpath(path, ROOT) if path.startswith(ROOT + os.sep) else path

    try:
        found = shown(find(output))
    except (Unfit, bilm.CheckpointError) as error:
        raise InputError('%s: exists, but is not the published model (%s); delete it, or choose another --output'
                         % (output, error))
    print('%s: the published model; names, sizes and shapes of its files are right' % found)
    print('Its vocabulary is vocabulary_min5k.txt of the original repository (PaddlePaddle/models, '
          'PaddleNLP/ELMO/data), %d words. The file of this name in data/ is another.'
          % bilm.PUBLISHED_CONFIG['vocab_size'])
    print('Next, from the root of the project, with that vocabulary as VOCABULARY:')
    print('  %s tools/embed.py TEXT --output vectors.npz --checkpoint %s --vocab_path VOCABULARY'
          % (shown(sys.executable), found))
    print('  sh lac_finetune/run.sh --elmo_checkpoint %s --vocab_path VOCABULARY' % found)


def main():
    parser = cli.ArgumentParser(__doc__.splitlines()[0],
                                'sh data/download.sh elmo\nELMO_URL=https://MIRROR/FILE sh data/download.sh elmo')
    parser.add_argument('--archive', metavar='FILE', help='elmo_chinese_checkpoint.tar.gz, already fetched')
    parser.add_argument('--output', metavar='DIR', default=os.path.join(ROOT, 'data', 'elmo_chinese'),
                        help='the new directory; DIR.download has what has arrived')
    args = parser.parse_args()
    output = os.path.abspath(args.output)
    work = output + '.download'
    if not os.path.lexists(output):
        rundir.make(work, '--output')
        with rundir.locked(work, flag='--output'):
            make(output, work, args.archive)
    tell(output)


if __name__ == '__main__':
    cli.run(main)
