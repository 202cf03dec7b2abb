# -*- coding: utf-8 -*-
from __future__ import absolute_import, division, print_function, unicode_literals

import collections
import io
import itertools
import os
import subprocess
import sys

import hypothesis
import numpy as np
import pytest
import six
from hypothesis import strategies

from project import ROOT
from helpers import kill_after, random_sentences, write_lines
from elmo.batching import prefetch
from elmo.text import InputError, Vocabulary, list_files
from reader import BucketedReader

WORDS = ['w%d' % number for number in range(30)]


@pytest.fixture
def vocabulary(tmpdir):
    return Vocabulary(write_lines(tmpdir.join('vocabulary.txt'), ['<S>', '</S>', '<UNK>'] + WORDS[:25]))


@pytest.fixture
def shards(tmpdir):
    """Three files with blank lines, an overlong sentence, unknown words, and no line end after the last line."""
    sentences = random_sentences(WORDS, 90, longest=20) + [' '.join(WORDS * 3)]
    paths = []
    for number in range(3):
        lines = list(itertools.chain(*[(sentence, '') for sentence in sentences[number::3]]))
        paths.append(write_lines(tmpdir.join('part%d.txt' % number), ['', '  \t'] + lines))
    with io.open(paths[2], 'a', encoding='utf-8') as output:
        output.write('w1 w2 w3')
    return paths, sentences + ['w1 w2 w3']


def sentences_of(batch, vocabulary):
    """Yields the sentences of a Batch as lists of words; checks that its two sequences agree."""
    ends = np.cumsum(batch.lengths)
    assert len(batch.tokens) == len(batch.next_tokens) == batch.lengths.sum()
    for start, end in zip(ends - batch.lengths, ends):
        tokens, following = batch.tokens[start:end, 0], batch.next_tokens[start:end, 0]
        assert tokens[0] == vocabulary.bos and following[-1] == vocabulary.eos
        assert list(tokens[1:]) == list(following[:-1])
        yield [vocabulary.words[id] for id in tokens[1:]]


def expected_pieces(sentences, vocabulary, max_length):
    """How often each piece of the text occurs, with unknown words replaced; counted from the text itself."""
    pieces = collections.Counter()
    for sentence in sentences:
        words = [word if word in vocabulary.words else '<UNK>' for word in sentence.split()]
        pieces.update(tuple(words[start:start + max_length]) for start in range(0, len(words), max_length))
    return pieces


def read_all(reader, epoch=0):
    return list(reader.epoch(reader.start(epoch)))


def test_vocabulary_ids(vocabulary):
    assert (vocabulary.bos, vocabulary.eos, vocabulary.unk, len(vocabulary)) == (0, 1, 2, 28)
    assert vocabulary.ids(['w0', 'w24', 'w29']) == [3, 27, 2]


def test_vocabulary_accepts_any_order_crlf_and_bom(tmpdir):
    path = tmpdir.join('windows.txt')
    path.write_binary('\ufeff的\r\n</S>\r\n<UNK>\r\n<S>\r\n'.encode('utf-8'))
    vocabulary = Vocabulary(str(path))
    assert vocabulary.words == ['的', '</S>', '<UNK>', '<S>']
    assert (vocabulary.bos, vocabulary.eos, vocabulary.unk) == (3, 1, 2)
    unix = Vocabulary(write_lines(tmpdir.join('unix.txt'), vocabulary.words))
    assert unix.sha256 == vocabulary.sha256


@pytest.mark.parametrize('lines, message', [
    (['</S>', '<UNK>', '的'], 'lacks <S>'),
    (['<S>', '<UNK>', '的'], 'lacks </S>'),
    (['<S>', '</S>', '的'], 'lacks <UNK>'),
    (['<S>', '</S>', '<UNK>', '的', '了', '的'], ':6: 的 stands in line 4 already'),
    (['<S>', '</S>', '', '<UNK>'], ':3: empty line'),
    (['<S>', '</S>', '<UNK>', '苹\u3000果'], ':4: "苹\u3000果" has white space'),
])
def test_vocabulary_rejects(tmpdir, lines, message):
    with pytest.raises(InputError) as error:
        Vocabulary(write_lines(tmpdir.join('vocabulary.txt'), lines))
    assert message in error.value.args[0]


def test_list_files(tmpdir):
    for name in ('b.txt', 'a.txt', '.hidden'):
        write_lines(tmpdir.join(name), ['x'])
    expected = [str(tmpdir.join(name)) for name in ('a.txt', 'b.txt')]
    assert list_files(str(tmpdir)) == expected
    tmpdir.mkdir('sub')
    with pytest.raises(InputError, match='has files and directories'):
        list_files(str(tmpdir))
    assert list_files(str(tmpdir.join('*'))) == list_files(str(tmpdir.join('*.txt'))) == expected
    assert list_files(expected[0]) == expected[:1]
    with pytest.raises(InputError):
        list_files(str(tmpdir.join('none*')))


@pytest.mark.parametrize('pattern', ['', '*'])
def test_a_name_that_is_not_utf8(tmpdir, pattern):
    """Python 3 reads such a file."""
    io.open(os.path.join(str(tmpdir).encode('ascii'), b'\xcf\xfb.txt'), 'wb').close()
    pattern = os.path.join(str(tmpdir), pattern)
    if six.PY3:
        assert list_files(pattern) == [os.path.join(str(tmpdir), '\udccf\udcfb.txt')]
    else:
        with pytest.raises(InputError) as error:
            list_files(pattern)
        assert "\\xcf\\xfb.txt', a file name that is not text; rename the file" in str(error.value)


@pytest.mark.parametrize('num_devices', [1, 2, 7])
@pytest.mark.parametrize('num_trainers', [1, 3])
@pytest.mark.parametrize('buffer_tokens', [50, 10 ** 6])
def test_epoch_reads_every_sentence_once(shards, vocabulary, num_devices, num_trainers, buffer_tokens):
    paths, sentences = shards
    pieces, steps = collections.Counter(), set()
    for trainer_id in range(num_trainers):
        reader = BucketedReader(paths, vocabulary, 60, num_devices, max_length=16, buffer_tokens=buffer_tokens,
                                trainer_id=trainer_id, num_trainers=num_trainers)
        epoch = read_all(reader, epoch=1)
        steps.add(len(epoch))
        assert all(len(step.batches) == num_devices for step in epoch)
        for batch in itertools.chain(*[step.batches for step in epoch]):
            pieces.update(tuple(words) for words in sentences_of(batch, vocabulary))
    expected = expected_pieces(sentences, vocabulary, 16)
    assert pieces == expected
    assert len(steps) == 1  # every trainer has the same number of steps
    if num_trainers == 1:
        assert sum(step.num_tokens for step in epoch) == sum((len(piece) + 1) * times
                                                             for piece, times in expected.items())


def test_tail_smaller_than_the_number_of_devices(tmpdir, vocabulary):
    path = write_lines(tmpdir.join('text.txt'), ['w1 w2', 'w3'])
    step, = read_all(BucketedReader([path], vocabulary, 100, num_devices=4))
    assert sorted(len(batch.lengths) for batch in step.batches) == [0, 0, 1, 1]
    assert step.num_tokens == 5


def test_batches_hold_like_lengths_and_about_the_same_tokens(tmpdir, vocabulary):
    path = write_lines(tmpdir.join('text.txt'), random_sentences(WORDS, 2000, longest=40))
    steps = read_all(BucketedReader([path], vocabulary, 400))
    tokens = [step.num_tokens for step in steps]
    assert min(tokens) > 300 and max(tokens) <= 440
    spread = [np.ptp(step.batches[0].lengths) for step in steps]
    assert np.mean(spread) < 2


def test_sources_name_file_and_line(shards, vocabulary):
    paths, _ = shards
    reader = BucketedReader(paths, vocabulary, 60, max_length=16)
    texts = [io.open(path, encoding='utf-8').read().split('\n') for path in paths]
    for step in read_all(reader):
        batch = step.batches[0]
        for words, (file, line) in zip(sentences_of(batch, vocabulary), batch.sources):
            there = [word if word in vocabulary.words else '<UNK>' for word in texts[file][line - 1].split()]
            assert words in [there[start:start + 16] for start in range(0, len(there), 16)]


def test_order_repeats_with_the_seed_and_changes_with_epoch_and_seed(shards, vocabulary):
    def order(seed, epoch):
        steps = read_all(BucketedReader(shards[0], vocabulary, 60, seed=seed), epoch)
        return np.concatenate([step.batches[0].tokens[:, 0] for step in steps]).tolist()

    assert order(1, 0) == order(1, 0)
    assert order(1, 0) != order(1, 1)
    assert order(1, 0) != order(2, 0)
    assert sorted(order(1, 0)) == sorted(order(1, 1)) == sorted(order(2, 0))


def test_unshuffled_keeps_the_order_of_files(shards, vocabulary):
    reader = BucketedReader(shards[0], vocabulary, 10 ** 6, buffer_tokens=1, shuffle=False)
    sources = np.concatenate([step.batches[0].sources for step in read_all(reader)])
    assert sources.tolist() == sorted(sources.tolist())


@pytest.mark.parametrize('buffer_tokens', [50, 300, 10 ** 6])
def test_resumes_at_the_next_batch_from_any_position(shards, vocabulary, buffer_tokens):
    reader = BucketedReader(shards[0], vocabulary, 60, num_devices=2, max_length=16, buffer_tokens=buffer_tokens)
    steps = read_all(reader, epoch=3)
    assert steps[-1].position == reader.start(4)
    assert steps[-1].epochs_read == 4
    assert [step.epochs_read for step in steps] == sorted(step.epochs_read for step in steps)
    for number, step in enumerate(steps[:-1]):
        rest = list(reader.epoch(step.position))
        assert len(rest) == len(steps) - number - 1
        for one, other in zip(rest, steps[number + 1:]):
            assert one.position == other.position
            assert all((a.tokens == b.tokens).all() for a, b in zip(one.batches, other.batches))


@pytest.mark.parametrize('content, message', [
    (b'', 'empty file'),
    (b'\n \n', 'no sentence'),
    ('w1 w2\nw1 中'.encode('gb18030'), ':2: not UTF-8'),
    (b'w1\nw1 w\xed\xa0\x80\n', ':2: not UTF-8 (byte 5 '),  # a surrogate, which Python 2 decodes
    (b'\xed\x9f\xbf \xf0\xa0\xae\xb7\n\xff\n', ':2: not UTF-8'),  # the first line has what is near to one
    (b'w1\n\nw2 <S> w1\n', ':3: holds the token'),
    (b'w1\nw2\0\n', ':2: holds a NUL byte'),
    ('w1 w2\n'.encode('utf-16'), ':1: '),
])
def test_bad_text(tmpdir, vocabulary, content, message):
    path = tmpdir.join('text.txt')
    path.write_binary(content)
    with pytest.raises(InputError) as error:
        read_all(BucketedReader([str(path)], vocabulary, 60))
    assert message in error.value.args[0]


@pytest.mark.parametrize('buffer_tokens', [20, 10 ** 6])
def test_a_position_in_a_text_that_shrank_is_an_error(tmpdir, vocabulary, buffer_tokens):
    path = write_lines(tmpdir.join('text.txt'), ['w1 w2'] * 50)
    reader = BucketedReader([path], vocabulary, 15, buffer_tokens=buffer_tokens)
    position = read_all(reader)[3].position
    write_lines(tmpdir.join('text.txt'), ['w1 w2'])
    with pytest.raises(InputError):
        list(reader.epoch(position))


def test_what_separates_words_and_lines(tmpdir, vocabulary):
    path = tmpdir.join('text.txt')
    path.write_binary(b'\xef\xbb\xbfw1 w2\r\n' +  # a byte order mark, and line ends of Windows
                      'w1\u3000w2\t w3\u2028w4\r'.encode('utf-8') +  # full-width space, line separator, lone CR
                      'w1\u200bw2 \ufeffw3\n'.encode('utf-8'))  # zero-width characters are part of a word
    batch, = read_all(BucketedReader([str(path)], vocabulary, 100, shuffle=False))
    assert list(sentences_of(batch.batches[0], vocabulary)) == [['w1', 'w2'],
                                                                ['w1', 'w2', 'w3', 'w4', '<UNK>', '<UNK>']]


def test_a_million_empty_lines(tmpdir, vocabulary):
    path = tmpdir.join('text.txt')
    path.write_binary(b'\n' * 10 ** 6 + b'w1')
    batch, = read_all(BucketedReader([str(path)], vocabulary, 100))
    assert batch.batches[0].sources.tolist() == [[0, 10 ** 6 + 1]]


@pytest.mark.parametrize('ending', [b'', b'\nw1\n'])
def test_an_endless_line_is_refused_in_little_memory(tmpdir, vocabulary, ending):
    path = tmpdir.join('text.txt')
    path.write_binary(b'w1\n' + b'w2 ' * (50 << 20 >> 1) + ending)
    program = ('import re, sys\nfrom elmo import InputError, Vocabulary\nfrom reader import BucketedReader\n'
               'try: list(BucketedReader([sys.argv[2]], Vocabulary(sys.argv[1]), 9).epoch(BucketedReader.start()))\n'
               'except InputError as error: print(error)\n'
               'print(int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read()).group(1)) >> 10)')
    output = subprocess.check_output([sys.executable, '-c', program, vocabulary.path, str(path)],
                                     env=dict(os.environ, PYTHONPATH=str(ROOT)))
    message, megabytes = output.decode('utf-8').splitlines()
    assert message == '%s:2: a line of more than 16 MB; break it into lines' % path
    assert int(megabytes) < 120


@pytest.mark.parametrize('change, message', [
    (lambda path: path.write('w1\n', mode='a'), 'has changed since the run began, from 300 to 303 bytes'),
    (lambda path: path.remove(), 'cannot be read')])
def test_a_file_that_changes_between_epochs_is_an_error(tmpdir, vocabulary, change, message):
    path = tmpdir.join('text.txt')
    path.write('w1 w2\n' * 50)
    reader = BucketedReader([str(path)], vocabulary, 15)
    read_all(reader)
    change(path)
    with pytest.raises(InputError) as error:
        read_all(reader, epoch=1)
    assert str(error.value).startswith('%s: %s' % (path, message))


def test_a_pipe_is_refused(tmpdir, vocabulary):
    path = str(tmpdir.join('pipe'))
    os.mkfifo(path)
    with pytest.raises(InputError) as error:
        BucketedReader([path], vocabulary, 9)
    assert 'not a file on a disk' in str(error.value)


PIECES = [b'w1', b'w99', b'<S>', b' ', b' ', b'\t', b'\n', b'\n', b'\r\n', b'\0', b'\xff', b'\xe4', b'\xef\xbb\xbf',
          '词\u3000'.encode('utf-8'), '\u200b'.encode('utf-8'), '\u2028'.encode('utf-8'), b'\x1c', b'\xed\xb2\x80']


@hypothesis.settings(deadline=None, max_examples=300, suppress_health_check=list(hypothesis.HealthCheck))
@hypothesis.given(strategies.one_of(strategies.binary(),
                                    strategies.lists(strategies.sampled_from(PIECES)).map(b''.join)))
def test_any_bytes_are_read_whole_or_refused(tmpdir, vocabulary, content):
    path = tmpdir.join('any.txt')
    path.write_binary(content)
    try:
        batches = read_all(BucketedReader([str(path)], vocabulary, 20, num_devices=2, max_length=5, buffer_tokens=9))
    except InputError as error:
        assert str(error).startswith('%s:' % path) and len(str(error).splitlines()) == 1
        return
    found = collections.Counter(tuple(sentence) for batch in batches for share in batch.batches
                                for sentence in sentences_of(share, vocabulary))
    lines = content.decode('utf-8-sig').split('\n')  # all other bytes were refused above
    assert found == expected_pieces(lines, vocabulary, 5)


def test_prefetch_keeps_order_and_raises_the_error_in_the_caller():
    def numbers():
        for number in range(50):
            yield number
        raise InputError('at the end')

    seen = []
    with pytest.raises(InputError):
        for number in prefetch(numbers(), depth=3):
            seen.append(number)
    assert seen == list(range(50))


def test_prefetch_stops_reading_when_the_caller_does():
    produced = []

    def endless():
        for number in itertools.count():
            produced.append(number)
            yield number

    for number in prefetch(endless(), depth=2):
        if number == 5:
            break
    assert len(produced) <= 10


@pytest.mark.parametrize('end', ['', 'numbers.close()'])
def test_an_unfinished_prefetch_does_not_hold_up_the_end_of_the_process(end):
    program = ('import itertools; from elmo.batching import prefetch; '
               'numbers = prefetch(itertools.count()); next(numbers); ' + end)
    process = subprocess.Popen([sys.executable, '-c', program], stderr=subprocess.PIPE,
                               env=dict(os.environ, PYTHONPATH=str(ROOT)))
    timer = kill_after(60, process)
    _, errors = process.communicate()
    timer.cancel()
    assert process.returncode == 0
    assert not errors or not end  # if it was closed, its thread reports no error at the end
