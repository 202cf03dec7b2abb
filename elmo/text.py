# -*- coding: utf-8 -*-
"""Text files as the user gives them: which ones, their lines, their encoding; and the vocabulary."""
from __future__ import absolute_import, division, print_function, unicode_literals

import glob
import hashlib
import io
import numbers
import os
import re
import sys

BOS, EOS, UNK = '<S>', '</S>', '<UNK>'
# Full-width ASCII and the full-width space. One character becomes one character, so that places in a text stay.
HALF_WIDTH = {code: code - 0xfee0 for code in range(0xff01, 0xff5f)}
HALF_WIDTH[0x3000] = 0x20
TEXT = type('')  # unicode in Python 2.7
MAX_LINE_BYTES = 16 << 20  # a longer line is hardly text, and memory must be bounded


class InputError(Exception):
    """What is wrong with the user's input, in one line: what, where, and what to do."""


class NobodyReads(InputError):
    """The pipe that is written to is closed at its other end, as by `| head`. A command ends without a word."""


def half_width(text):
    """The text with its full-width ASCII characters (Ａ１％，（) in half width. Other punctuation (。、“《) stays."""
    return text.translate(HALF_WIDTH)


def check_path(path, owner):
    """The path as text; in Python 2 it may be bytes. InputError unless this, which `owner` wants, is one."""
    if not isinstance(path, (str, TEXT)) and not hasattr(path, '__fspath__'):
        raise InputError('%s wants a path, got %s' % (owner, _kind(path)))
    try:
        return path.decode(sys.getfilesystemencoding() or 'utf-8') if isinstance(path, bytes) else path
    except UnicodeDecodeError:
        raise InputError('%r: the locale does not know the characters of this path; set LC_ALL=C.UTF-8' % path)


def check_positive(value, name):
    """InputError, which names the value, unless it is a whole number from 1."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 1:
        raise InputError('%s: a whole number from 1 is wanted, got %s' % (name, value))


def list_of(values, wanted, kind=None, good=None):
    """The values as a list; InputError, which says what is `wanted`, unless they are a list or the like.

    Args:
        kind: the type that each value has; None: any.
        good: tells for a value of another type whether it will do too.
    """
    if isinstance(values, (bytes, TEXT)) or not hasattr(values, '__iter__'):
        raise InputError('%s is wanted, got %s' % (wanted, _kind(values)))
    values = list(values)
    for value in values if kind and set(map(type, values)) - {kind} else ():
        if not good(value):
            raise InputError('%s is wanted, got %s in a list' % (wanted, _kind(value)))
    return values


def list_of_texts(values, wanted):
    """As list_of, for text."""
    return list_of(values, wanted, TEXT, lambda value: isinstance(value, TEXT))


def list_of_ids(values, wanted):
    """As list_of, for whole numbers that int64 can hold."""
    values = list_of(values, wanted, int,
                     lambda value: isinstance(value, numbers.Integral) and not isinstance(value, bool))
    if values and not -1 << 63 <= min(values) <= max(values) < 1 << 63:
        raise InputError('%s is wanted, got a number beyond int64 in a list' % wanted)
    return values


def _kind(value):
    """What a value is, in words."""
    if isinstance(value, TEXT):
        return 'one text'
    return "bytes, which need .decode('utf-8')" if isinstance(value, bytes) else type(value).__name__


def list_files(pattern):
    """The files that `pattern` names: one file, all files in a directory, or the matches of a glob, sorted.

    Leaves out the hidden files of a directory. InputError if there is no file, or a link leads nowhere; in Python 2 too
    if a name is not in the encoding of the system.
    """
    try:
        if os.path.isdir(pattern):
            paths = [os.path.join(pattern, name) for name in os.listdir(pattern) if not name.startswith('.')]
            if len(set(map(os.path.isdir, paths))) == 2:
                raise InputError('%s: has files and directories; name one of the directories, or give a quoted glob, '
                                 'which leaves directories out' % pattern)
        else:
            paths = [pattern] if os.path.lexists(pattern) else glob.glob(pattern)
    except UnicodeDecodeError as error:
        raise InputError('%s: has %r, a file name that is not text; rename the file, or set LC_ALL=C.UTF-8'
                         % (pattern, error.object))
    paths = sorted(path for path in paths if not os.path.isdir(path))
    if not paths:
        raise InputError('%s: no file matches; name a file, a directory or a glob in quotes' % pattern)
    for path in paths:
        if os.path.islink(path) and not os.path.exists(path):
            raise InputError('%s: cannot be read: it is a link to %s, which is not there' % (path, os.readlink(path)))
    return paths


def list_inputs(names):
    """The files that several names stand for, see list_files. '-' is standard input and stays as it is."""
    return [path for name in names for path in (['-'] if name == '-' else list_files(name))]


def open_binary(path):
    """Opens a file for reading bytes, '-' being standard input; InputError if that is not possible."""
    if path == '-':
        try:
            os.read(0, 0)
        except EnvironmentError:
            raise InputError('standard input is closed, or cannot be read; name a file, or give it a text')
        return io.open(0, 'rb', closefd=False)
    try:
        return io.open(path, 'rb')
    except EnvironmentError as error:
        raise InputError('%s: cannot be read: %s' % (path, error.strerror))


def byte_lines(handle, path):
    """Yields the lines of a binary file as bytes; InputError, which names `path`, if it cannot be read.

    Of a line that is too long it yields only the beginning, which decode_line refuses.
    """
    try:
        for line in iter(lambda: handle.readline(MAX_LINE_BYTES + 1), b''):
            yield line
    except EnvironmentError as error:
        raise InputError('%s: cannot be read: %s' % (path, error.strerror))


def decode_line(line, path, number):
    """The text of line `number` (from 1) of a file, without a byte order mark; InputError if it is no UTF-8 text."""
    problem = None
    if str is bytes:  # Python 2 decodes surrogates too
        line = re.sub(b'\xed[\xa0-\xbf]', b'\xff', line)
    if len(line) > MAX_LINE_BYTES:
        problem = 'a line of more than %d MB; break it into lines' % (MAX_LINE_BYTES >> 20)
    elif b'\0' in line:
        problem = 'holds a NUL byte, so is no UTF-8 text; convert the file, for example with iconv -f utf-16 -t utf-8'
    else:
        try:
            return line.decode('utf-8-sig' if number == 1 else 'utf-8')
        except UnicodeDecodeError as error:
            problem = ('not UTF-8 (byte %d of the line); convert the file, for example with iconv -f gb18030 -t utf-8'
                       % (error.start + 1))
    raise InputError('%s:%d: %s' % (path, number, problem))


def read_lines(path):
    """Yields (file:line, text, bytes) of each line of a file, '-' being standard input; InputError for a bad line."""
    name = 'stdin' if path == '-' else path
    with open_binary(path) as handle:
        for number, line in enumerate(byte_lines(handle, name), 1):
            yield '%s:%d' % (name, number), decode_line(line, name, number), len(line)


def read_blocks(paths, block):
    """Yields (list of (file:line, text), bytes read so far) of the files, '-' being standard input.

    Each list has about `block` characters. From a terminal each line comes alone, as a person waits for its answer.
    """
    lines, characters, size = [], 0, 0
    for path in paths:
        for place, text, length in read_lines(path):
            lines.append((place, text))
            characters, size = characters + len(text), size + length
            if characters >= block or path == '-' and sys.stdin.isatty():
                yield lines, size
                lines, characters = [], 0
    if lines:
        yield lines, size


def is_whole_number(text):
    """Whether int() takes a text, and it has the digits 0 to 9 alone; isdigit() knows others, such as ²."""
    return bool(re.match('[0-9]{1,9}$', text))


class Vocabulary(object):
    """Words and their ids: one token a line, `<S>`, `</S>` and `<UNK>` among them, most frequent first.

    Args:
        path: of a UTF-8 file.

    Attributes:
        words: list of the tokens, by id.
        bos, eos, unk: ids of `<S>`, `</S>` and `<UNK>`.
        half_width: {word in half width: id}, without these three; of several words the most frequent one.
        sha256: digest of the tokens. A checkpoint carries it, so that another vocabulary is noticed.

    Raises:
        InputError: names the file and the line that is wrong, or says that this is no path.
    """

    def __init__(self, path):
        path = check_path(path, 'Vocabulary')
        self.path, self.words, self._ids = path, [], {}
        for place, text, _ in read_lines(path):
            word = text.rstrip('\r\n')
            if word.split() != [word]:
                problem = '"%s" has white space in it' % word if word.strip() else 'empty line'
                raise InputError('%s: %s; a vocabulary holds one token a line' % (place, problem))
            if word in self._ids:
                raise InputError('%s: %s stands in line %d already; remove one of them'
                                 % (place, word, self._ids[word] + 1))
            self._ids[word] = len(self.words)
            self.words.append(word)
        missing = [word for word in (BOS, EOS, UNK) if word not in self._ids]
        if missing:
            raise InputError('%s: lacks %s; add a line for each, best at the top' % (path, ' '.join(missing)))
        self.bos, self.eos, self.unk = [self._ids[word] for word in (BOS, EOS, UNK)]
        self.half_width = {}
        for number, word in enumerate(self.words):
            if number not in (self.bos, self.eos, self.unk):
                self.half_width.setdefault(half_width(word), number)
        self.sha256 = str(hashlib.sha256('\n'.join(self.words).encode('utf-8')).hexdigest())

    def __len__(self):
        return len(self.words)

    def ids(self, words):
        """Ids of a list of words, a list of int.

        A word that the vocabulary has only in the other width (１２３ and 123) gets that id, any other unknown word that
        of `<UNK>`. The words `<S>`, `</S>` and `<UNK>` get their own. InputError unless it is a list of text.
        """
        known, other, unk = self._ids, self.half_width.get, self.unk
        return [known[word] if word in known else other(half_width(word), unk)
                for word in list_of_texts(words, 'a list of words, as Segmenter cuts a text,')]

    def words_of(self, ids):
        """The words of a list of ids. InputError unless it is a list of int from 0 to below the number of words."""
        ids = list_of_ids(ids, 'a list of ids')
        for number in ids:
            if not 0 <= number < len(self.words):
                raise InputError('%d is no id of a vocabulary of %d words' % (number, len(self.words)))
        return [self.words[number] for number in ids]
