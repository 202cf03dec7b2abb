# -*- coding: utf-8 -*-
"""A large file over HTTP. What was interrupted goes on where it stopped."""
from __future__ import absolute_import, division, print_function, unicode_literals

import contextlib
import io
import itertools
import os
import re
import ssl
import time

from six.moves import http_client
from six.moves.urllib.error import HTTPError
from six.moves.urllib.request import Request, urlopen

from elmo.files import read_json, write_json
from elmo.progress import Progress
from elmo.text import InputError

TRIES, PAUSE = 5, 2  # seconds between two of them
SECONDS = 30  # without an answer or a byte
BLOCK = 1 << 16
PASSING = (408, 416, 429)  # errors of HTTP that another try may not get; and from 500 on


class _Broken(Exception):
    """A try that failed for a reason that may pass."""


def fetch(url, path, begins, limit):
    """Downloads a file to `path`, which has what has arrived so far; `path`.json says of which file that is.

    Proxies are those of the environment (https_proxy, no_proxy).

    Args:
        begins: bytes that such a file begins with; so a page in its place is noticed.
        limit: bytes that it has at most.

    Raises:
        InputError: it is not there, is no such file, or cannot be fetched or written. What has arrived stays.
    """
    if not re.match(r'https?://[!-~]+$', url):
        raise InputError('%s: is no address to fetch from; give one that begins with https:// or http://' % url)
    for rest in reversed(range(TRIES)):
        try:
            return _try(url, path, begins, limit)
        except _Broken as error:
            if not rest:
                raise InputError('%s: cannot be fetched: %s; check the network and run this again, which goes on where '
                                 'it stopped, or fetch it elsewhere and name it with --archive' % (url, error))
            print('%s; trying again' % error)
            time.sleep(PAUSE)
        except EnvironmentError as error:
            raise InputError('%s: cannot be written: %s' % (path, error.strerror or error))


def forget(path):
    """Deletes what has arrived, so that the next call of fetch begins anew."""
    for name in (path, path + '.json'):
        if os.path.exists(name):
            os.remove(name)


def _try(url, path, begins, limit):
    """Fetches what is missing, in one connection."""
    start, source = _begun(url, path)
    if start and start == source['size']:
        return
    wanted = {'Range': 'bytes=%d-' % start, 'If-Range': source['version']} if start else {}
    with _network(url, path):
        response = urlopen(Request(str(url), headers={str(name): str(value) for name, value in wanted.items()}),
                           timeout=SECONDS, context=_certificates())
    with contextlib.closing(response):
        now, first = _source(url, response)
        if response.getcode() == 206 and (now, first) != (source, start):
            forget(path)
            raise _Broken('the file has changed')
        if start and not first:
            print('the file has changed, or the server cannot go on: this begins anew')
        _receive(response, path, first, now, begins, limit)


def _begun(url, path):
    """What earlier calls have left: (the number of bytes, the source they are of)."""
    try:
        source = read_json(path + '.json')
    except InputError:  # there is none
        return 0, {}
    known = isinstance(source, dict) and source.get('url') == url and source.get('version') and os.path.exists(path)
    return (os.path.getsize(path), source) if known else (0, {})


def _source(url, response):
    """What a server says of a file: ({url, version, size}, the place at which the response begins).

    A version is text by which the file is known again, None if there is none; the size is None if it is not told.
    """
    headers = response.info()
    etag = headers.get('ETag') or 'W/'  # a weak one is no promise that all bytes are the same
    version = headers.get('Last-Modified') if etag.startswith('W/') else etag
    version = version if version and re.match('[ -~]+$', version) else None
    found = re.match(r'bytes (\d{1,18})-\d+/(\d{1,18})$', headers.get('Content-Range') or '')
    if response.getcode() == 206:
        first, size = map(int, found.groups()) if found else (-1, None)
    else:
        length = headers.get('Content-Length') or ''
        first, size = 0, int(length) if re.match(r'\d{1,18}$', length) else None
    return {'url': url, 'version': version, 'size': size}, first


def _receive(response, path, start, source, begins, limit):
    """Writes a response to the file, from the byte `start` on."""
    url, size, done = source['url'], source['size'], start
    block = _read(response)
    if block and not start and not block.startswith(begins):
        seen = str(block[:20].decode('latin-1').encode('unicode_escape').decode('ascii'))
        raise InputError('%s: answers with another thing, which begins with %s; look at it with a browser, or set '
                         'ELMO_URL to a mirror' % (url, seen))
    progress = Progress('downloading the rest' if start else 'downloading', size and (size - start) / 1e6, 'MB')
    with contextlib.closing(progress), io.open(path, 'ab' if start else 'wb') as output:
        if not start:
            write_json(path + '.json', source)  # now, as the file is empty: at no time do the two contradict each other
        for block in itertools.chain([block], iter(lambda: _read(response), b'')):
            done += len(block)
            if max(done, size or 0) > limit:
                forget(path)
                raise InputError('%s: has more than %d MB, so it is another file; set ELMO_URL to a mirror'
                                 % (url, limit / 1e6))
            output.write(block)
            progress.update((done - start) / 1e6)
    if size is not None and done != size:
        raise _Broken('the connection broke after %d of %d bytes' % (done, size))


def _read(response):
    with _network():
        return response.read(BLOCK)


@contextlib.contextmanager
def _network(url='', path=''):
    """Turns the errors of a connection into _Broken, or into an InputError if another try would get the same."""
    try:
        yield
    except HTTPError as error:
        error.close()
        if error.code == 416:  # there is no such place in the file
            forget(path)
        if error.code < 500 and error.code not in PASSING:
            raise InputError('%s: the server answers %d %s; set ELMO_URL to a mirror, or fetch it elsewhere and name '
                             'it with --archive' % (url, error.code, error.reason))
        raise _Broken('the server answers %d %s' % (error.code, error.reason))
    except (EnvironmentError, http_client.HTTPException, ValueError) as error:  # ValueError: a certificate, old Pythons
        raise _Broken('%s' % (getattr(error, 'reason', None) or error or type(error).__name__))


def _certificates():
    """Whom to trust: the system, SSL_CERT_FILE, and certifi if it is there, as some systems have no certificates."""
    context = ssl.create_default_context()
    try:
        import certifi
        context.load_verify_locations(certifi.where())
    except (ImportError, EnvironmentError):
        pass
    return context
