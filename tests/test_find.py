# -*- coding: utf-8 -*-
"""Which checkpoint a path names: commands that read take the best, a run goes on from the newest."""
from __future__ import absolute_import, division, print_function, unicode_literals

import numpy as np
import pytest

from helpers import parameters, run, same, tagger_flags
from elmo import checkpoint
from elmo.embedder import Embedder
from elmo.text import InputError, Vocabulary
from lac_finetune import train as lac_train
from tools import convert, evaluate

pytestmark = pytest.mark.usefixtures('fresh_scope')


@pytest.fixture
def saved(corpus):
    """A directory with the checkpoints 2, 4 and 6, of which that of step 2 is the best."""
    run(corpus, max_epoch=2, max_steps=6, save_interval=2, dev_interval=1000)
    directory = corpus.directory.join('checkpoints')
    directory.join('best').write('000002\n')
    return directory


def found(path, **options):
    return checkpoint.find(str(path), **options)


@pytest.mark.parametrize('name, options, expected', [
    ('', {}, '000002'), ('best', {}, '000002'), ('latest', {}, '000006'), ('', {'newest': True}, '000006'),
    ('best', {'newest': True}, '000002'), ('000004', {}, '000004'), ('000004', {'newest': True}, '000004')])
def test_names(saved, capsys, name, options, expected):
    path = saved.join(name) if name else saved
    assert found(path, **options) == str(saved.join(expected))
    output, errors = capsys.readouterr()
    assert not output and errors.splitlines() == (
        [] if name == expected else ['%s: takes %s' % (path, saved.join(expected))])


@pytest.mark.parametrize('best, why', [
    (None, 'best: is not there'), ('', 'names no checkpoint'), ('../000002', 'names no checkpoint'),
    ('000003', '000003: has no whole manifest.json'), ('000002', 'is missing')])
def test_without_a_whole_best_the_newest_is_taken(saved, capsys, best, why):
    """The name alone is refused then: whoever writes it wants that one."""
    saved.join('best').remove()
    if best is not None:
        saved.join('best').write(best)
    saved.join('000002', 'softmax_bias').remove()
    assert found(saved) == str(saved.join('000006'))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and lines[0].startswith('passed over the best: ') and why in lines[0]
    assert lines[1].endswith('takes %s' % saved.join('000006'))
    with pytest.raises(InputError) as error:
        found(saved.join('best'))
    assert (why if best is not None else 'no such directory') in str(error.value)


def test_every_command_that_reads_takes_the_best(saved, corpus, capsys, monkeypatch):
    best, values = str(saved.join('000002')), parameters(str(saved.join('000002')))
    for number, path in enumerate((str(saved), str(saved.join('best')))):
        output = str(corpus.directory.join('%d.npz' % number))
        capsys.readouterr()
        common = ['--vocab_path', corpus.vocab_path, '--use_gpu', 'False']
        monkeypatch.setattr('sys.argv', ['evaluate.py', '--checkpoint', path, '--test_path', corpus.test_path] + common)
        evaluate.main()
        assert capsys.readouterr().out.splitlines()[0] == best
        monkeypatch.setattr('sys.argv', ['convert.py', 'to_npz', path, output])
        convert.main()
        with np.load(output) as written:
            assert same(values, written)
        one, other = [Embedder(name, Vocabulary(corpus.vocab_path))([['词1', '词2']])[0] for name in (path, best)]
        assert (one == other).all()


def test_init_from_takes_the_best_and_resume_from_the_newest(saved, corpus, capsys):
    flags = dict(max_epoch=2, max_steps=6)
    for flag, expected in (('init_from', '000002'), ('resume_from', '000006')):
        run(corpus, save_dir=corpus.directory.join(flag), **dict(flags, **{flag: saved}))
        assert 'loaded %s:' % saved.join(expected) in capsys.readouterr().out
    run(corpus, save_dir=corpus.directory.join('named'), resume_from=saved.join('best'), **flags)
    assert 'loaded %s:' % saved.join('000002') in capsys.readouterr().out


def test_the_tagger_takes_the_best_elmo(saved, corpus):
    args = lac_train.parse_args(tagger_flags(corpus.directory, elmo_checkpoint=saved))
    assert lac_train.Job(args).elmo == str(saved.join('000002'))
