# -*- coding: utf-8 -*-
"""Our tagger beside Baidu's released LAC on the same raw sentences of the PKU test set: F1, and speed on 1 and 2 cores.

    python benchmark/lac_peer.py --model DIR

LAC==2.1.2 has its own model. It runs in .venv-lac, which find_python.sh makes. Its word standard differs from that of
the People's Daily: 江泽民, 1月30日 and 一种 are one word each for LAC, and two words in the gold standard. So its F1
measures the difference of the standards as well as the quality of LAC. Our tagger was trained on this newspaper and its
standard.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

from project import ROOT, cli
from elmo import devices
from elmo.files import write_json
from elmo.text import InputError, read_blocks
from lac_finetune import tagger
from lac_finetune.evaluation import OUTSIDE, Score, ratios
from lac_finetune.reader import read_tagged

# The tags that both have: first those with the same name, then {LAC's name: PKU's name}. Only LAC has nw (title of a
# work), xc (other function word) and O. Only PKU has Ag b Bg Dg e h i j k l Mg Ng nx o Rg Tg Vg Yg y z. These count for
# segmentation only: a word with such a tag is neither a predicted word (precision) nor a gold word (recall) of the
# tagging score. If only PKU has the gold tag and LAC says n, that n is still a mistake of LAC.
SHARED = {tag: tag for tag in 'a ad an c d f m n nr ns nt nz p q r s t u v vd vn w'.split()}
SHARED.update(PER='nr', LOC='ns', ORG='nt', TIME='t')

BLOCK = 1 << 16  # characters at a time, as in infer.py
PEER_BATCH = 128  # sentences; LAC has the same speed from 64 to 1,024 at a time, and is slower with fewer
PASSES = 3
WORKER = '--worker'  # first argument of the processes that main starts, one for each tagger

# find_python.sh sets $PYTHON. The imports of devices.py set the variables that make MKL fast on this processor, for
# both taggers. LAC's predictor has one thread, ours two, whose MKL has one each. pip gets --no-deps, as LAC requires
# paddlepaddle.
SETTINGS = {'root': ROOT, 'MKL_NUM_THREADS': '1', 'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': ''}
CORES = 1, 2
START = 'exec taskset -c "$cores" "$PYTHON" "$@"'
FIND_PYTHON = '. "$root/scripts/find_python.sh"\n'
FIND_LAC = '''
if ! "$PYTHON" -m pip freeze 2>/dev/null | grep -qxF LAC==2.1.2; then
    [ "$managed" = yes ] || fail "$PYTHON has no LAC==2.1.2: install it there, or leave out --peer_python"
    echo "installing LAC==2.1.2 into $VENV"
    said=$("$PYTHON" -m pip --disable-pip-version-check install --no-deps LAC==2.1.2 2>&1) ||
        fail "cannot install LAC==2.1.2 into $VENV: $(last_line "$said")"
fi
'''


def work(texts, output, model=None):
    """Tags a file of sentences with our model, or with LAC if `model` is None; writes {words, seconds} to a file.

    `seconds` is the time of the fastest pass over all sentences, after one warm-up pass, without the loading.
    """
    blocks = list(read_blocks([texts], BLOCK))
    if model:
        ours = tagger.Tagger(model, place=devices.places(False)[0])

        def run():  # as infer.py does
            return [words for found, _ in ours.stream(blocks) for words in found]
    else:
        from LAC import LAC  # imported here, as only its own environment has it
        peer = LAC(mode='lac')
        lines = [text.strip() for block, _ in blocks for _, text in block]

        def run():
            return [list(zip(*columns)) for start in range(0, len(lines), PEER_BATCH)
                    for columns in peer.run(lines[start:start + PEER_BATCH])]

    seconds = []
    for _ in range(1 + PASSES):
        start = time.time()
        words = run()
        seconds.append(time.time() - start)
    write_json(output, {'words': words, 'seconds': min(seconds[1:])})


def start_worker(name, cores, directory, script, environment, model=()):
    """Starts a worker for directory/texts on so many cores, and returns what it writes.

    It exits with code 2 if the worker cannot be started.
    """
    paths = [os.path.join(directory, file_name) for file_name in ('texts', 'output')]
    command = ['sh', '-euc', script + START, os.path.basename(__file__), os.path.abspath(__file__), WORKER]
    environment = dict(environment, cores='0-%d' % (cores - 1), **SETTINGS)
    code = subprocess.call(command + paths + list(model), env=environment)
    if code == 2:
        sys.exit(2)  # the worker has printed the reason
    if code:
        raise InputError('%s ended with exit code %d; see above' % (name, code))
    with io.open(paths[1], encoding='utf-8') as handle:
        return json.load(handle)


def evaluate(name, texts, found, gold):
    """The Score of the words found in each text; ValueError if the words change the characters of a text."""
    if len(found) != len(texts):
        raise ValueError('%s has made %d sentences of %d' % (name, len(found), len(texts)))
    score = Score()
    for text, words, sentence in zip(texts, found, gold):
        if ''.join(word for word, _ in words) != text:
            raise ValueError('%s has changed the characters of %s: %s' % (name, sentence.place, text))
        score.add(*[[(word, SHARED.get(tag, OUTSIDE)) for word, tag in side]
                    for side in (words, zip(sentence.words, sentence.tags))])
    return score


def main():
    parser = cli.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--model', required=True, help='model directory that lac_finetune/train.py wrote')
    parser.add_argument('--data', default=os.path.join(ROOT, 'data/pku'), help='what data/download.sh made')
    parser.add_argument('--peer_python', help='a Python that has LAC==2.1.2; by default that of .venv-lac')
    args = parser.parse_args()
    path = os.path.join(args.data, 'lac', 'test.tsv')
    if not os.path.isfile(path):
        raise InputError('%s: no such file; make it with sh data/download.sh, or name its directory with --data' % path)
    gold, _ = read_tagged(path)
    texts = [''.join(sentence.words) for sentence in gold]

    ours, peer = dict(os.environ, PYTHON=sys.executable), dict(os.environ, PYTHON=args.peer_python or '')
    if not args.peer_python:  # with VIRTUAL_ENV it is used even if another environment with fluid is active
        peer['VENV'] = peer['VIRTUAL_ENV'] = os.path.join(ROOT, '.venv-lac')
    directory = tempfile.mkdtemp()
    try:
        with io.open(os.path.join(directory, 'texts'), 'w', encoding='utf-8', newline='\n') as handle:
            handle.writelines(text + '\n' for text in texts)
        taggers = ('ours', FIND_PYTHON, ours, [args.model]), ('LAC 2.1.2', FIND_PYTHON + FIND_LAC, peer, [])
        results = [(name, cores, start_worker(name, cores, directory, script, environment, model))
                   for name, script, environment, model in taggers for cores in CORES]
    finally:
        shutil.rmtree(directory)

    characters, rows = sum(map(len, texts)), []
    for name, cores, result in results:
        score = evaluate(name, texts, result['words'], gold)
        shares = ratios(score.segmentation) + ratios(score.tagging)
        rows.append((name, cores) + tuple(100 * share for share in shares) + (characters / result['seconds'],))
    print('%s: %d sentences, %d characters, %d words, of which %d have a tag that both know. Fastest of %d passes.\n'
          % (path, len(texts), characters, score.segmentation[2], score.tagging[2], PASSES))
    print('| tagger | cores | segmentation P | R | F1 | tagging P | R | F1 | characters/s |\n' + '|---' * 9 + '|')
    for row in rows:
        print('| %s | %d | %.2f | %.2f | %.2f | %.2f | %.2f | %.2f | %d |' % row)


if __name__ == '__main__':
    cli.run((lambda: work(*map(cli.as_text, sys.argv[2:]))) if sys.argv[1:2] == [WORKER] else main)
