# -*- coding: utf-8 -*-
"""data/prepare.py: sentences, words, documents, the vocabulary, and what it refuses."""
from __future__ import absolute_import, division, print_function, unicode_literals

import collections
import io
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from project import ROOT
from helpers import run_command, write_lines
from data import prepare
from elmo import corpus
from elmo.segment import Segmenter
from elmo.text import InputError, Vocabulary

RESERVED = ['<S>', '</S>', '<UNK>']


def run(flags, stdin=b''):
    """Runs the command with a list of flags: (exit code, stdout, stderr)."""
    return run_command([sys.executable, os.path.join(ROOT, 'data', 'prepare.py')] + flags, stdin,
                       env=dict(os.environ, LC_ALL='C.UTF-8'))


def prepared(tmpdir, source, *flags):
    """Runs the command with a new output directory: {name: lines} of each part; the files of a part are in order."""
    output = str(tmpdir.join('out'))
    code, _, err = run([source, '--output', output] + list(flags))
    assert (code, err) == (0, '')
    assert sorted(name for name in os.listdir(output) if name.startswith('.')) == []
    return read(output)


def read(output):
    parts = collections.defaultdict(list)
    for root, _, names in os.walk(output):
        for name in sorted(names):
            with io.open(os.path.join(root, name), encoding='utf-8', newline='\n') as lines:
                parts[os.path.basename(root) if name.startswith('sentence_file') else name] += lines.read().split(
                    '\n')[:-1]
    return dict(parts)


@pytest.mark.parametrize('text, sentences', [
    ('今天下雨。我不出门', ['今天下雨。', '我不出门']),
    ('真的？！真的！！！好；行', ['真的？！', '真的！！！', '好；', '行']),
    ('他想了想……走了。', ['他想了想……', '走了。']),
    ('……他没有说话。', ['……他没有说话。']),
    ('。。。', ['。。。']),
    ('他说：“走。”“不走！”（笑。）好', ['他说：“走。”', '“不走！”', '（笑。）', '好']),
    ('“他说：‘好。’”』又说', ['“他说：‘好。’”』', '又说']),
    ('他说："走。"又说："不走？"', ['他说："走。"', '又说："不走？"']),
    ('好。"走吧。"他说', ['好。', '"走吧。"', '他说']),
    ('"好。走吧。"他说', ['"好。', '走吧。"', '他说']),
    ('Really? Yes! 好!走?"', ['Really?', 'Yes!', '好!', '走?"']),
    ('看a.com/x?y=1;z=2和Yahoo!的3.5版', ['看a.com/x?y=1;z=2和Yahoo!', '的3.5版']),
    ('一 。 ” 二', ['一 。 ”', '二']),
    ('没有标点', ['没有标点']),
    (' 。 好 ', ['。 好']),
    ('  ', []),
    ('', []),
])
def test_split_sentences(text, sentences):
    assert corpus.split_sentences(text) == sentences


def test_nothing_is_lost():
    draw = random.Random(1)
    segment = Segmenter(['今天', '天气', '……', '"好', '3G', 'A股', '！"'])
    for _ in range(2000):
        text = ''.join(draw.choice('今天气好，。！？；…“”"\'）]A3Gg %股!?; 𠮷') for _ in range(draw.randint(0, 30)))
        sentences = corpus.split_sentences(text)
        assert ''.join(sentences).replace(' ', '') == text.replace(' ', '')
        assert all(sentence.strip() for sentence in sentences)
        tokens = [token for sentence in sentences for token in segment(sentence)]
        assert ''.join(tokens) == text.replace(' ', '')
        assert all(token == token.strip() != '' for token in tokens)


def test_long_runs_take_linear_time():
    assert corpus.split_sentences('!' * 300000 + 'a') == ['!' * 300000 + 'a']
    assert len(corpus.split_sentences('好。"' * 100000)) == 100000
    assert ''.join(Segmenter(['好好'])('好' * 100001)) == '好' * 100001


def test_segmenter_knows_the_vocabulary_alone():
    segment = Segmenter(['的', '研究', '研究生', 'A股', '3G', '20%', '２０％', '……', 'C++', '——', '𠮷野'])
    assert segment('A股的3G研究生命……') == ['A股', '的', '3G', '研究生', '命', '……']
    assert segment('20%２０％——C++𠮷野𠮷') == ['20%', '２０％', '——', 'C++', '𠮷野', '𠮷']
    assert segment('学生iPhone7是12月') == ['学', '生', 'iPhone7', '是', '12', '月']
    assert segment('研 究') == ['研', '究']  # no word has a space in it
    assert Segmenter(['你好'])('你好你好') == ['你好', '你好']


def test_raw_text_keeps_its_width(tmpdir):
    raw = write_lines(tmpdir.join('raw.txt'), ['我１２３在。', '我123在。'])
    vocab_path = write_lines(tmpdir.join('vocabulary.txt'), RESERVED + ['我', '123', '在', '。'])
    args = prepare.parse_args([raw, '--output', str(tmpdir.join('out')), '--vocab_path', vocab_path, '--dev_every', '2',
                               '--processes', '1'])
    prepare.prepare(args)
    found = [io.open(str(tmpdir.join('out', part, 'sentence_file_00000.txt')), encoding='utf-8').read()
             for part in ('train', 'dev')]
    assert found == ['我 １２３ 在 。\n', '我 123 在 。\n']


def test_frequent_words_win():
    assert Segmenter(['的', '我', '是', '的我', '我是'])('的我是') == ['的', '我是']  # 1/1 * 1/5 > 1/4 * 1/3
    assert Segmenter(['的我', '的', '是', '我', '我是'])('的我是') == ['的我', '是']  # 1/1 * 1/3 > 1/2 * 1/5


def test_the_halves_of_a_character_stay_together():
    assert Segmenter(['好'])('好\ud842\udfb7\ud842\udfb7') == ['好', '\ud842\udfb7', '\ud842\udfb7']


def test_segmenter_finds_what_jieba_finds(tmpdir):
    import jieba
    original = jieba.Tokenizer()
    original.tmp_dir = str(tmpdir)
    jieba.setLogLevel('WARNING')
    segment = Segmenter()
    for text in ['他来到了网易杭研大厦', '工信处女干事每月经过下属科室都要亲口交代24口交换机等技术性器件的安装工作',
                 '结婚的和尚未结婚的', 'T恤和B超以及iPhone12手机', '长春市长春节讲话南京市长江大桥']:
        assert segment(text) == original.lcut(text, HMM=False)


def test_vocabulary_order():
    counts = corpus.WordCounts()
    counts.add('乙 乙 甲 甲 丙 a 丁 丁 丁'.split())
    counts.add(['\U00020bb7', '\uff5e'])
    assert counts.vocabulary() == RESERVED + ['丁', '乙', '甲', 'a', '丙', '\uff5e', '\U00020bb7']
    assert counts.vocabulary(min_count=2) == RESERVED + ['丁', '乙', '甲']
    assert counts.vocabulary(max_size=5) == RESERVED + ['丁', '乙']
    assert counts.coverage(['丁', '乙', '无']) == 5 / 11
    assert counts.coverage(['\uff41', '~', '甲']) == 4 / 11  # in any width


def test_vocabulary_with_the_characters_of_rare_words():
    counts = corpus.WordCounts()
    counts.add('机器 机器 尔 哈尔滨 哈哈\U00020bb7'.split())
    assert counts.vocabulary(min_count=2, characters=True) == RESERVED + ['哈', '尔', '机器', '滨', '\U00020bb7']
    units = Segmenter(counts.vocabulary(min_count=2, characters=True)[3:])('哈尔滨机器\U00020bb7')
    assert units == ['哈', '尔', '滨', '机器', '\U00020bb7']
    first = RESERVED + ['滨', '哈哈\U00020bb7', '无']
    assert counts.vocabulary(min_count=2, characters=True, first=first) == first + ['尔', '机器', '哈']
    assert counts.vocabulary(first=first) == first + ['机器', '哈尔滨', '尔']


def test_counting_in_bounded_memory():
    counts = corpus.WordCounts(limit=10)
    for number in range(100):
        counts.add(['常', '词%d' % number])
    assert len(counts.counts) <= 10 and counts.total == 200
    assert counts.counts['常'] == 100  # it was always above the threshold
    assert counts.prunings == 10 and counts.error == 55  # one for every ten new words: 1 + 2 + ... + 10


def test_documents_five_to_one(tmpdir):
    source = write_lines(tmpdir.join('raw.txt'), ['第%d篇。再说。' % number for number in range(1, 15)] + ['', '  '])
    vocab_path = write_lines(tmpdir.join('vocabulary.txt'), RESERVED + ['第', '篇', '再说'])
    parts = prepared(tmpdir, source, '--vocab_path', vocab_path)
    assert parts == {
        'dev': ['第 6 篇 。', '再说 。', '第 12 篇 。', '再说 。'],
        'train': [line for number in range(1, 15) if number not in (6, 12) for line in
                  ('第 %d 篇 。' % number, '再说 。')]}


@pytest.mark.parametrize('kind, dev', [('line', '乙 丁 己 辛'), ('blank', '丙 丁 己 庚'), ('file', '己 庚 辛')])
def test_kinds_of_documents(tmpdir, kind, dev):
    directory = tmpdir.mkdir('raw')
    write_lines(directory.join('a'), ['', '甲', '乙', '', '\u3000', '丙', '丁', '', '戊'])
    write_lines(directory.join('b'), ['己', '庚', '', '辛'])
    write_lines(directory.join('.hidden'), ['壬'])
    parts = prepared(tmpdir, str(directory), '--segmented', '--document', kind, '--dev_every', '2', '--min_count', '1')
    assert parts['dev'] == dev.split()
    assert sorted(parts['train'] + parts['dev']) == sorted('甲乙丙丁戊己庚辛')


def test_segmented_text_shards_and_vocabulary(tmpdir):
    lines = ['我 爱 你 。 你 呢 ？', '我 来', '他 来', '来', '他\u3000去 \t 了', '走 。']
    source = write_lines(tmpdir.join('seg.txt'), lines)
    parts = prepared(tmpdir, source, '--segmented', '--min_count', '2', '--shard_sentences', '3', '--vocab_name', 'v')
    assert parts['train'] == ['我 爱 你 。 你 呢 ？', '我 来', '他 来', '来', '他 去 了']
    assert parts['dev'] == ['走 。']
    assert parts['v'] == RESERVED + ['来', '他', '你', '我']  # 来 3 times, 。 once in train
    assert sorted(os.listdir(str(tmpdir.join('out', 'train')))) == ['sentence_file_0000%d.txt' % n for n in (0, 1)]
    assert len(Vocabulary(str(tmpdir.join('out', 'v')))) == 7


def test_new_words_come_after_a_vocabulary(tmpdir):
    source = write_lines(tmpdir.join('seg.txt'), ['来 来 去 去 去', '走 来', '去 走 我'] + ['我'] * 3)
    first = write_lines(tmpdir.join('first'), RESERVED + ['无', '来'])
    flags = [source, '--segmented', '--extend', first, '--min_count', '2']
    assert prepared(tmpdir, *flags)['vocabulary.txt'] == RESERVED + ['无', '来', '去', '我', '走']
    assert '--max_size 4: %s alone has 5 words' % first in refused(str(tmpdir.join('no')), flags + ['--max_size', '4'])


def test_own_dictionary_and_a_chinese_path(tmpdir):
    plain = write_lines(tmpdir.join('raw.txt'), ['今天天气很好。我们去公园'] * 5 + ['我们在北京'])
    source = plain.replace('raw', '原文')
    os.rename(plain.encode('utf-8'), source.encode('utf-8'))
    parts = prepared(tmpdir, source, '--min_count', '5')
    assert parts['train'] == ['今天天气 很 好 。', '我们 去 公园'] * 5
    assert parts['dev'] == ['我们 在 北京']
    assert parts['vocabulary.txt'] == RESERVED + sorted(['今天天气', '很', '好', '。', '我们', '去', '公园'])


def test_standard_input_and_odd_white_space(tmpdir):
    text = '\ufeff甲\u3000乙\r\n\u200b丙\u200b丁\ufeff\r\n戊\xa0己\u2028庚'.encode('utf-8')
    code, out, err = run(['-', '--segmented', '--output', str(tmpdir.join('out')), '--dev_every', '3', '--min_count',
                          '1'], text)
    assert (code, err) == (0, '') and '3 documents' in out
    parts = read(str(tmpdir.join('out')))
    assert parts['train'] == ['甲 乙', '丙 丁'] and parts['dev'] == ['戊 己 庚']


def in_new_process(program):
    """Runs Python source that can use `prepare` in a process without threads: (exit code, stdout, stderr)."""
    return run_command([sys.executable, '-c', 'import multiprocessing, os, sys\nimport prepare\n' + program],
                       env=dict(os.environ, PYTHONPATH=os.path.join(ROOT, 'data')))


def test_the_result_is_the_same_for_any_number_of_processes():
    code, out, err = in_new_process(
        'prepare.BATCH = 10\n'
        'lines = [(n, u"ab!" * (n % 7 + 1) + u"a" * n, 1) for n in range(100)]\n'
        'one, three = [list(prepare.segment_pool.cut_batches(prepare.batches(lines), [u"ab"], processes, '
        'prepare.split_sentences)) for processes in (1, 3)]\n'
        'print(one == three and [n for batch in one for n in batch[0][0]] == list(range(100)))\n'
        'print(len(one) > 90 and str(one[-1][1][-1][0]))')
    assert (code, err) == (0, '')
    assert out.splitlines() == ['True', 'ab ! ab !' + ' ' + 'a' * 99]


def test_a_killed_process_is_noticed():
    code, _, err = in_new_process(
        'batches = prepare.segment_pool.cut_batches([((), [1])], [u"ab"], 2, os._exit)\n'
        'prepare.cli.run(lambda: list(batches))')
    assert code == 2 and err.count('\n') == 1 and '--processes' in err


def refused(output, flags, stdin=b''):
    """The one line on stderr of a command that must fail and leave no output."""
    before = sorted(os.listdir(output)) if os.path.exists(output) else None
    code, out, err = run(flags + ['--output', output], stdin)
    assert (code, out) == (2, '') and err.count('\n') == 1 and ': error: ' in err and 'Traceback' not in err
    assert (sorted(os.listdir(output)) if os.path.exists(output) else None) == before
    return err


@pytest.mark.parametrize('content, flags, words', [
    (b'', [], 'no text'),
    (b'\n \n\xe3\x80\x80\n', ['--document', 'line'], 'no text'),
    (b'a\nb\nc\n', [], '3 document(s)'),
    (b'a\n' * 9, ['--document', 'file'], '1 document(s)'),
    (b'a\nb\n\xd6\xd0\n' + b'a\n' * 9, [], 'raw.txt:3'),
    (b'\xff\xfea\x00', [], 'raw.txt:1'),
    (b'a\n' * 5 + b'b <S> c\n', ['--segmented'], 'raw.txt:6'),
    (b'a </S>\n' * 6, ['--segmented'], 'raw.txt:1'),
    (b'a <UNK>\n' * 6, ['--segmented'], '<UNK>'),
    (b'a b\n' * 6, ['--segmented', '--min_count', '6'], '--min_count'),
])
def test_bad_text(tmpdir, content, flags, words):
    tmpdir.join('raw.txt').write(content, 'wb')
    vocabulary = [] if '--segmented' in flags else ['--vocab_path', write_lines(tmpdir.join('v'), RESERVED + ['a'])]
    assert words in refused(str(tmpdir.join('out')), [str(tmpdir.join('raw.txt'))] + flags + vocabulary)


def test_a_file_named_in_two_ways(tmpdir):
    path = write_lines(tmpdir.join('raw.txt'), ['a'] * 12)
    again = os.path.join(str(tmpdir), '.', 'raw.txt')
    assert '%s: named 2 times' % path in refused(str(tmpdir.join('out')), [path, again])


def test_too_few_files_are_told_before_they_are_read(tmpdir):
    path = write_lines(tmpdir.join('raw.txt'), ['a'] * 12)
    missing = str(tmpdir.join('no.vocabulary'))  # which is read first of all
    err = refused(str(tmpdir.join('out')), [path, '--document', 'file', '--vocab_path', missing])
    assert '1 document(s), and every 6th goes to dev/' in err


def test_a_line_that_is_too_long(tmpdir):
    tmpdir.join('raw.txt').write(b'a\n' * 6 + b'a' * (16 << 20) + b'\n', 'wb')
    assert 'raw.txt:7' in refused(str(tmpdir.join('out')), [str(tmpdir.join('raw.txt')), '--segmented'])


def test_reserved_words_of_raw_text_are_characters(tmpdir):
    source = write_lines(tmpdir.join('raw.txt'), ['a<S>'] * 6)
    vocab_path = write_lines(tmpdir.join('v'), RESERVED + ['a'])
    assert prepared(tmpdir, source, '--vocab_path', vocab_path)['dev'] == ['a < S >']


@pytest.mark.parametrize('flag', [
    ['--dev_every', '1'], ['--dev_every', 'x'], ['--shard_sentences', '0'], ['--min_count', '0'], ['--max_size', '3'],
    ['--processes', '0'], ['--document', 'page'], ['--vocab_name', 'a/b'], ['--vocab_name', 'train'], ['--unknown'],
    ['--vocab_path', 'v', '--extend', 'w'], ['--vocab_path', 'v', '--min_count', '2'],
    ['--vocab_path', 'v', '--vocab_name', 'w'], ['--segment'], ['--vocab_path', 'v', '--characters'],
    ['--vocab_path', 'v', '--segmented']])
def test_flags(tmpdir, flag, capsys):
    with pytest.raises(SystemExit) as stop:
        prepare.parse_args(['-', '--output', str(tmpdir.join('out'))] + flag)
    err = capsys.readouterr()[1]
    assert stop.value.code == 2 and err.count('\n') == 1 and flag[0] in err


def test_bad_paths(tmpdir):
    output, source = str(tmpdir.join('out')), write_lines(tmpdir.join('raw.txt'), ['a'] * 6)
    assert 'no file matches' in refused(output, [str(tmpdir.join('*.text')), '--segmented'])
    assert 'no file matches' in refused(output, [str(tmpdir.mkdir('empty')), '--segmented'])
    assert '2 times' in refused(output, [source, str(tmpdir.join('*.txt')), '--segmented'])
    assert 'cannot be read' in refused(output, [source, '--vocab_path', str(tmpdir.join('none'))])
    assert 'no word besides' in refused(output, [source, '--vocab_path', write_lines(tmpdir.join('v'), RESERVED)])
    assert 'lacks <S>' in refused(output, [source, '--vocab_path', source.replace(
        'raw.txt', os.path.basename(write_lines(tmpdir.join('words'), ['a'])))])
    assert 'raw.txt' in refused(os.path.join(source, 'out'), [source, '--segmented', '--min_count', '1'])


def test_existing_output_is_kept_unless_overwrite(tmpdir):
    output = tmpdir.mkdir('out')
    write_lines(output.join('vocabulary.txt'), ['mine'])
    write_lines(output.join('notes'), ['mine too'])
    source = write_lines(tmpdir.join('raw.txt'), ['a'] * 6)
    flags = [source, '--segmented', '--min_count', '1']
    assert 'vocabulary.txt: is there already; choose another --output, or add --o' in refused(str(output), flags)
    assert output.join('vocabulary.txt').read() == 'mine\n'
    tmpdir.join('raw.txt').write(b'a\n' * 6 + b'\xff', 'wb')
    assert 'raw.txt:7' in refused(str(output), flags + ['--overwrite'])
    assert output.join('vocabulary.txt').read() == 'mine\n'
    write_lines(tmpdir.join('raw.txt'), ['a'] * 6)
    parts = prepared(tmpdir, source, '--segmented', '--min_count', '1', '--overwrite')
    assert parts == {'train': ['a'] * 5, 'dev': ['a'], 'vocabulary.txt': RESERVED + ['a'], 'notes': ['mine too']}
    inside = str(output.join('train', 'sentence_file_00000.txt'))
    assert 'is input' in refused(str(output), [inside, '--segmented', '--overwrite'])


def test_a_failed_move_loses_nothing(tmpdir, monkeypatch):
    for name in ('train', 'dev'):
        write_lines(tmpdir.mkdir('out').join(name) if name == 'train' else tmpdir.join('out', name), ['old ' + name])
    rename = os.rename

    def failing(source, target):
        if source.endswith('dev'):
            raise OSError(16, 'busy')
        rename(source, target)

    monkeypatch.setattr(os, 'rename', failing)
    with pytest.raises(OSError):
        with corpus.new_output(str(tmpdir.join('out')), ['train', 'dev'], overwrite=True) as work:
            for name in ('train', 'dev'):
                write_lines(os.path.join(work, name), ['new'])
    assert sorted(os.listdir(str(tmpdir.join('out')))) == ['dev', 'train']
    assert tmpdir.join('out', 'train').read() == 'old train\n' and tmpdir.join('out', 'dev').read() == 'old dev\n'


def test_of_two_processes_the_first_wins(tmpdir):
    """The other one, which found nothing at its start, makes its output while this one works."""
    with pytest.raises(InputError) as error:
        with corpus.new_output(str(tmpdir), ['dev', 'train']) as work:
            for place in (work, str(tmpdir)):
                write_lines(os.path.join(place, 'train'), [place])
            write_lines(os.path.join(work, 'dev'), [])
    assert str(error.value) == '%s: is there already; choose another' % tmpdir.join('train')
    assert os.listdir(str(tmpdir)) == ['train'] and tmpdir.join('train').read() == '%s\n' % tmpdir


@pytest.mark.parametrize('name', ['SIGTERM', 'SIGINT', 'SIGHUP'])
def test_a_kill_leaves_nothing(tmpdir, name):
    command = [sys.executable, os.path.join(ROOT, 'data', 'prepare.py'), '-', '--output', str(tmpdir.join('out')),
               '--vocab_path', write_lines(tmpdir.join('v'), RESERVED + ['a']), '--processes', '2']
    # A background job ignores SIGINT, so the handler is set again.
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE,
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))
    process.stdin.write(b'a\n' * 200000)
    process.stdin.flush()
    while not tmpdir.join('out').check():
        time.sleep(0.01)
    time.sleep(0.3)  # it works and waits for more text
    process.send_signal(getattr(signal, name))
    process.communicate()
    assert process.returncode not in (0, 2) and not tmpdir.join('out').check()


@pytest.mark.skipif(not hasattr(os, 'register_at_fork'), reason='wants Python 3.7')
def test_bad_text_before_the_processes_are_up_ends_them(tmpdir):
    """A process that is still starting loses the signal that should end it."""
    source = str(tmpdir.join('raw.txt'))
    tmpdir.join('raw.txt').write_binary(b'a\n\xd6\n')
    slow = ("import os, runpy, sys, time; os.register_at_fork(after_in_child=lambda: time.sleep(0.5)); "
            "sys.argv = sys.argv[1:]; sys.path[0] = os.path.dirname(sys.argv[0]); "
            "runpy.run_path(sys.argv[0], run_name='__main__')")
    process = subprocess.Popen(
        [sys.executable, '-c', slow, os.path.join(ROOT, 'data', 'prepare.py'), source, '--output',
         str(tmpdir.join('out')), '--vocab_path', write_lines(tmpdir.join('v'), RESERVED + ['a']), '--processes', '2'],
        stderr=subprocess.PIPE, start_new_session=True)
    try:
        assert 'raw.txt:2' in process.communicate(timeout=20)[1].decode('utf-8') and process.returncode == 2
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)


def test_segment_without_jieba(tmpdir, monkeypatch):
    monkeypatch.setitem(sys.modules, str('jieba'), None)
    with pytest.raises(InputError) as error:
        Segmenter()
    assert 'pip install jieba' in str(error.value)


@pytest.mark.parametrize('attributes', [{}, {'Tokenizer': object}])
def test_another_jieba(tmpdir, monkeypatch, attributes):
    monkeypatch.setitem(sys.modules, str('jieba'), type(str('jieba'), (), dict(attributes, __version__='0.3')))
    with pytest.raises(InputError) as error:
        Segmenter(['好'])
    assert str(error.value) == 'jieba 0.3 cannot be used here: python -m pip install jieba==0.42.1'
