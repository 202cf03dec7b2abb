# -*- coding: utf-8 -*-
"""What makes a corpus: text cut into sentences, sentences written to files, words counted for a vocabulary."""
from __future__ import absolute_import, division, print_function, unicode_literals

import collections
import io
import os
import re
import shutil
import tempfile
from contextlib import contextmanager

from elmo.files import refuse_existing
from elmo.text import BOS, EOS, UNK, half_width

RESERVED = (BOS, EOS, UNK)
MAX_WORDS = 2000000  # distinct words counted at once, about 400 MB

FULL_ENDERS, ASCII_ENDERS = '。！？；…｡', '!?;'
CLOSERS = '”’」』）】》〉］｝〕〗)]}'
ENDING = re.compile('[%s%s][%s%s%s"\\s]*' % (FULL_ENDERS, ASCII_ENDERS, FULL_ENDERS, ASCII_ENDERS, re.escape(CLOSERS)),
                    re.UNICODE)

CHARACTER = re.compile('[\ud800-\udbff][\udc00-\udfff]|.', re.DOTALL)  # a rare one is two units in Python 2.7


def split_sentences(text):
    """Splits a text after 。！？；… and !?;, their runs (……, ？！), and the closing quotes and brackets that follow.

    !?; end no sentence right before an ASCII character (a?b=1). Every second straight quote closes. Enders with nothing
    before them open the next sentence. All is kept but the spaces at the cuts.
    """
    sentences, start, counted, quoted = [], 0, 0, False
    for ending in ENDING.finditer(text):
        quoted ^= text.count('"', counted, ending.start()) % 2
        end = ending.start()
        for char in ending.group():
            if char == '"' and not quoted:
                break  # it opens the next quotation
            quoted &= char != '"'
            end += 1
        counted = end
        tight_ascii = '!' <= text[end:end + 1] <= '~' and not text[end - 1].isspace()
        if tight_ascii and not any(char in FULL_ENDERS for char in text[ending.start():end]):
            continue
        if text[start:ending.start()].strip():
            sentences.append(text[start:end].strip())
            start = end
    return sentences + [text[start:].strip()] if text[start:].strip() else sentences


class Shards(object):
    """Writes sentences to sentence_file_00000.txt, … of a new directory, `size` sentences in each file."""

    def __init__(self, directory, size):
        os.mkdir(directory)
        self.directory, self.size, self.sentences, self.file = directory, size, 0, None

    def write(self, sentence):
        """Writes one sentence: tokens separated by one space."""
        if self.sentences % self.size == 0:
            self.close()
            name = 'sentence_file_%05d.txt' % (self.sentences // self.size)
            self.file = io.open(os.path.join(self.directory, name), 'w', encoding='utf-8', newline='\n')
        self.file.write(sentence + '\n')
        self.sentences += 1

    def close(self):
        """Closes the last file."""
        if self.file:
            self.file.close()


class WordCounts(object):
    """Counts words in bounded memory.

    Whenever there are more than `limit` distinct words, the rarest are forgotten: those seen once the first time, those
    seen at most twice the second time, and so on. So a count may be too low, by no more than `error`.
    """

    def __init__(self, limit=MAX_WORDS):
        self.counts, self.limit, self.prunings, self.total = collections.Counter(), limit, 0, 0

    def add(self, words):
        """Counts a list of words."""
        self.counts.update(words)
        self.total += len(words)
        if len(self.counts) > self.limit:
            self.prunings += 1
            self.counts = collections.Counter({w: n for w, n in self.counts.items() if n > self.prunings})

    @property
    def error(self):
        """How much too low a count can be."""
        return self.prunings * (self.prunings + 1) // 2

    def vocabulary(self, min_count=1, max_size=None, characters=False, first=RESERVED):
        """The words `first`, then those counted min_count times and more, most frequent first; max_size in all.

        Words of the same count stand in code point order. With `characters`, the characters of the words that are left
        out are words too, so that text cut by this vocabulary has fewer unknown words.
        """
        counts = collections.Counter({w: n for w, n in self.counts.items() if n >= min_count})
        known = set(first)
        if characters:
            for word, count in self.counts.items():
                if count < min_count and word not in known:
                    for character in CHARACTER.findall(word):
                        counts[character] += count
        words = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0].encode('utf-8')))
        return (list(first) + [word for word, _ in words if word not in known])[:max_size]

    def coverage(self, words):
        """The share of all counted words that are in `words`, in any width."""
        known = set(map(half_width, words))
        return sum(count for word, count in self.counts.items() if half_width(word) in known) / self.total


def write_lines(path, lines):
    """Writes a UTF-8 file of lines."""
    with io.open(path, 'w', encoding='utf-8', newline='\n') as handle:
        handle.writelines(line + '\n' for line in lines)


@contextmanager
def new_output(directory, names, overwrite=False, advice='choose another'):
    """Yields a temporary directory in which to make `names`. At the end they move to `directory`, all complete.

    After an error nothing is left, and what was there stays. InputError, which ends with the advice, if one of them
    exists, unless overwrite; also if another process has made it in the meantime.
    """
    must_be_new = [] if overwrite else [os.path.join(directory, name) for name in names]
    refuse_existing(must_be_new, advice)
    existing = [name for name in names if os.path.lexists(os.path.join(directory, name))]
    made = not os.path.isdir(directory)
    if made:
        os.makedirs(directory)
    work = tempfile.mkdtemp(prefix='.unfinished-', dir=directory)
    old = tempfile.mkdtemp(dir=work)
    try:
        yield work
        refuse_existing(must_be_new, advice)
        for name in existing:
            os.rename(os.path.join(directory, name), os.path.join(old, name))
        for name in names:
            os.rename(os.path.join(work, name), os.path.join(directory, name))
        made = False
    finally:
        for name in existing:
            if not os.path.lexists(os.path.join(directory, name)):  # a move failed after this one
                os.rename(os.path.join(old, name), os.path.join(directory, name))
        shutil.rmtree(work)
        if made and not os.listdir(directory):  # another process may have put something there
            os.rmdir(directory)
