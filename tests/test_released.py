# -*- coding: utf-8 -*-
"""Released models: packed, found by name, unpacked once, and used as the directories that they were packed from."""
from __future__ import absolute_import, division, print_function, unicode_literals

import glob
import gzip
import io
import json
import os
import shutil
import sys

import numpy as np
import paddle.fluid as fluid
import pytest

from project import ROOT
from helpers import make_checkpoint, refused, rounded, run_command, tagger_flags, write_lines
import bilm
from elmo import checkpoint, manifest, packing, released
from elmo.arrays import open_parameter, write_parameter
from elmo.embedder import Embedder
from elmo.text import InputError, Vocabulary
from lac_finetune import tagger, train
from models import pack
from tools import convert, evaluate

pytestmark = pytest.mark.usefixtures('fresh_scope')
TEXT = '我的弟弟在上海工作。'


def parameter(*path):
    return np.array(open_parameter(os.path.join(*map(str, path))))


def files(directory):
    """{name: bytes} of the files in a directory, and below it."""
    found = {}
    for parent, _, names in os.walk(str(directory)):
        for name in names:
            with io.open(os.path.join(parent, name), 'rb') as handle:
                found[os.path.relpath(os.path.join(parent, name), str(directory))] = handle.read()
    return found


def empty(path):
    io.open(path, 'wb').close()


class Models(object):
    """A directory of models, and of what they are packed from: an ELMo `elmo`, a tagger `model` trained with it."""

    def __init__(self, task, monkeypatch):
        self.task, self.directory, self._patch = task, task.join('models'), monkeypatch
        self.directory.mkdir()
        monkeypatch.setenv('ELMO_MODELS', str(self.directory))
        monkeypatch.setenv('XDG_CACHE_HOME', str(task.join('cache')))

    def pack(self, *args):
        self._patch.setattr('sys.argv', ['pack.py'] + [str(arg) for arg in args])
        pack.main()

    def pack_elmo(self, bits=6, source='elmo'):
        self.pack(self.task.join(source), 'elmo_tiny', '--vocab_path', self.task.join('vocabulary.txt'),
                  '--mantissa_bits', bits)

    def pack_tagger(self, bits=6):
        self.pack(self.task.join('model'), 'lac_tiny', '--elmo', 'elmo_tiny', '--mantissa_bits', bits)

    def train(self, **changed):
        """Trains the tagger with the released ELMo and its vocabulary."""
        flags = tagger_flags(self.task, **dict(dict(elmo_checkpoint='elmo_tiny', vocab_path=''), **changed))
        with fluid.scope_guard(fluid.Scope()):
            train.train(train.parse_args(flags))


@pytest.fixture
def models(task, monkeypatch):
    return Models(task, monkeypatch)


@pytest.mark.parametrize('value, bits, expected', [
    (1.25, 1, 1.), (1.75, 1, 2.), (2.5, 1, 2.), (1. + 2. ** -7, 6, 1.), (1. + 3 * 2. ** -7, 6, 1. + 2. ** -5),
    (1. + 2. ** -7 + 2. ** -20, 6, 1. + 2. ** -6), (-1.999, 6, -2.), (0.1, 6, 102. / 1024), (0., 6, 0.),
    (1. + 2. ** -23, 23, 1. + 2. ** -23), (1. + 2. ** -23, 22, 1.), (1. + 3 * 2. ** -23, 22, 1. + 2. ** -21)])
def test_rounding_by_hand(value, bits, expected):
    assert packing.round_mantissa(np.array([value], dtype='float32'), bits).tolist() == [expected]


def test_minus_zero_and_the_smallest_numbers_stay():
    array = np.array([-0., 2. ** -149, -2. ** -140], dtype='float32')
    found = packing.from_planes(packing.to_planes(packing.round_mantissa(array, 23), 23), 23)
    assert found.tobytes() == array.tobytes()


@pytest.mark.parametrize('bits', [1, 2, 6, 7, 8, 12, 15, 16, 22, 23])
def test_what_is_read_is_what_was_rounded(tmpdir, bits):
    random, path = np.random.RandomState(bits), str(tmpdir.join('parameters'))
    arrays = {'one': (random.randn(30, 40) * 10. ** random.randint(-20, 20, [30, 40])).astype('float32'),
              'other.w_0': random.randn(7).astype('float32'), 'cube': np.zeros([2, 3, 4], dtype='float32')}
    packing.write(path, arrays, bits)
    found = packing.read(path, bits)
    assert sorted(found) == sorted(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == np.float32 and found[name].shape == array.shape
        assert found[name].tobytes() == rounded(array, bits).tobytes()
    again = str(tmpdir.join('again'))
    packing.write(again, dict(reversed(sorted(arrays.items()))), bits)
    assert files(tmpdir)['again'] == files(tmpdir)['parameters']


def test_a_file_is_small(tmpdir):
    """With 6 bits of mantissa a float32 needs 7 bits and those of its exponent, of which Gaussian numbers have few."""
    path = str(tmpdir.join('parameters'))
    packing.write(path, {'one': np.random.RandomState(0).randn(100, 1000).astype('float32')}, 6)
    assert 7 < 8 * os.path.getsize(path) / 1e5 < 9.8


@pytest.mark.parametrize('value', [float('nan'), float('inf'), 3.4028235e38])
def test_what_is_not_finite_is_refused(value):
    with pytest.raises(InputError) as error:
        packing.round_mantissa(np.array([1., value], dtype='float32'), 6)
    assert 'not finite' in str(error.value)


def test_an_elmo_is_packed_and_unpacked(models, task):
    models.pack_elmo()
    assert released.names() == ['elmo_tiny']
    path = released.find_model('elmo_tiny')
    names = set(bilm.parameter_shapes(bilm.read_config(path))) - set(bilm.SOFTMAX_PARAMETERS)
    assert set(os.listdir(path)) == names | {'bilm.json', 'vocabulary.txt', 'manifest.json'}
    for name in names:
        assert (parameter(path, name) == rounded(parameter(task, 'elmo', name), 6)).all()
    assert bilm.read_config(path) == bilm.read_config(str(task.join('elmo')))
    assert files(path)['vocabulary.txt'] == task.join('vocabulary.txt').read_binary()
    assert not manifest.damage(path)
    assert os.path.dirname(path) == str(models.directory.join('.unpacked'))


def test_the_same_checkpoint_gives_the_same_bytes(models):
    models.pack_elmo()
    before, path = files(models.directory.join('elmo_tiny')), released.find_model('elmo_tiny')
    models.directory.join('elmo_tiny', 'README.md').write('the card')
    models.pack_elmo()
    assert files(models.directory.join('elmo_tiny')) == dict(before, **{'README.md': b'the card'})
    assert released.find_model('elmo_tiny') == path
    models.pack_elmo(bits=5)
    assert released.find_model('elmo_tiny') != path


def test_it_is_unpacked_once(models):
    models.pack_elmo()
    path = released.find_model('elmo_tiny')
    write_lines(os.path.join(path, 'of_the_first'), [])
    assert released.find_model('elmo_tiny') == path and os.path.exists(os.path.join(path, 'of_the_first'))
    assert os.listdir(os.path.dirname(path)) == [os.path.basename(path)]  # nothing is left of the work


@pytest.mark.parametrize('name', ['bilm.json', 'embedding_para', 'manifest.json'])
@pytest.mark.parametrize('damage', [os.remove, empty])
def test_what_is_damaged_is_unpacked_again(models, capsys, name, damage):
    models.pack_elmo()
    path = released.find_model('elmo_tiny')
    before = files(path)
    damage(os.path.join(path, name))
    assert released.find_model('elmo_tiny') == path and files(path) == before
    assert '%s: damaged; it is unpacked again' % path in capsys.readouterr().err.splitlines()
    assert os.listdir(os.path.dirname(path)) == [os.path.basename(path)]
    assert released.find_model('elmo_tiny') == path and not capsys.readouterr().err


def test_what_a_killed_process_left_goes_in_a_day(models):
    models.pack_elmo()
    place = models.directory.mkdir('.unpacked')
    old, new = place.mkdir('.making-old'), place.mkdir('.making-new')
    os.utime(str(old), (1e9, 1e9))
    released.find_model('elmo_tiny', released.ELMO)
    assert not old.check() and new.check()


def test_two_processes_unpack_at_once(models, monkeypatch):
    """The other one is through just before this one takes the name: its directory stays, as it may be in use."""
    models.pack_elmo()
    rename = os.rename

    def late(source, target):
        if '.unpacked' in target and target.endswith(label):
            shutil.copytree(source, target)
            write_lines(os.path.join(target, 'of_the_other'), [])
        rename(source, target)

    label = 'elmo_tiny-' + manifest.digest(str(models.directory.join('elmo_tiny')))[:released.DIGITS]
    monkeypatch.setattr(os, 'rename', late)
    path = released.find_model('elmo_tiny')
    assert os.path.basename(path) == label and os.path.exists(os.path.join(path, 'of_the_other'))
    assert os.listdir(os.path.dirname(path)) == [label]


def test_models_cannot_be_written(models, task):
    models.pack_elmo()
    models.directory.join('.unpacked').write('no directory')
    path = released.find_model('elmo_tiny')
    assert os.path.dirname(path) == str(task.join('cache', 'elmo_fluid')) and not manifest.damage(path)
    shutil.rmtree(str(task.join('cache')))
    task.join('cache').write('no directory')
    with pytest.raises(InputError) as error:
        released.find_model('elmo_tiny')
    assert 'unpacking a released model in %s' % task.join('cache', 'elmo_fluid') in str(error.value)


def test_embedder_and_commands_take_the_name(models, task, capsys, monkeypatch):
    models.pack_elmo(bits=23)
    vocabulary = Vocabulary(str(task.join('vocabulary.txt')))
    words = [['我', '的', '弟弟'], ['上海']]
    expected = Embedder(str(task.join('elmo')), vocabulary, 'all')(words)
    for name in ('elmo_tiny', str(models.directory.join('elmo_tiny'))):
        found = Embedder(name, layers='all')
        assert found.vocabulary.words == vocabulary.words
        assert [vectors.tobytes() for vectors in found(words)] == [vectors.tobytes() for vectors in expected]
    assert 'elmo_tiny: takes ' + released.find_model('elmo_tiny') in capsys.readouterr().err.splitlines()
    code, _, errors = run_command(
        [sys.executable, os.path.join(ROOT, 'tools', 'embed.py'), '--model', 'elmo_tiny', '--layers', 'all',
         '--use_gpu', 'False', '--output', str(task.join('vectors.npz'))],
        '\n'.join(map(' '.join, words)).encode('utf-8'), dict(os.environ, CPU_NUM='1'))
    assert code == 0, errors
    with np.load(str(task.join('vectors.npz'))) as written:
        for number, vectors in enumerate(expected):
            assert (written['%d' % number] == vectors).all()
    monkeypatch.setattr('sys.argv', ['convert.py', 'to_npz', 'elmo_tiny', str(task.join('all.npz'))])
    convert.main()
    with np.load(str(task.join('all.npz'))) as written:
        assert (written['embedding_para'] == parameter(task, 'elmo', 'embedding_para')).all()
        assert 'softmax_weight' not in written.files


def test_a_directory_of_the_name_comes_first(models, task):
    models.pack_elmo()
    with task.as_cwd():
        shutil.copytree('elmo', 'elmo_tiny')
        assert checkpoint.find('elmo_tiny') == 'elmo_tiny'
    assert checkpoint.find('elmo_tiny') == released.find_model('elmo_tiny')


def test_an_encoder_has_no_perplexity(models, capsys, monkeypatch, task):
    models.pack_elmo()
    text = write_lines(task.join('dev.txt'), ['我 的 弟弟'])
    monkeypatch.setattr('sys.argv', ['evaluate.py', '--model', 'elmo_tiny', '--test_path', text, '--use_gpu', 'False'])
    assert 'has no softmax, so there is no perplexity' in refused(capsys, evaluate.main)


def test_a_checkpoint_without_a_vocabulary(models, task):
    with pytest.raises(InputError) as error:
        Embedder(str(task.join('elmo')))
    assert 'has no vocabulary.txt' in str(error.value) and '--vocab_path' in str(error.value)


def test_unknown_names(models):
    models.pack_elmo()
    for ask in (lambda: checkpoint.find('elmo_big'), lambda: released.find_model('elmo_big'),
                lambda: tagger.Tagger('elmo_big')):
        with pytest.raises(InputError) as error:
            ask()
        assert 'elmo_big: no such directory, and no released model; these are: elmo_tiny' in str(error.value)
    with pytest.raises(InputError, match='--resume_from elmo_tiny: is a released model, which has no run to go on'):
        checkpoint.find('elmo_tiny', '--resume_from', newest=True)
    with pytest.raises(InputError) as error:
        tagger.Tagger('elmo_tiny')
    assert 'elmo_tiny: is a released elmo, and what is wanted is a released tagger' in str(error.value)


@pytest.fixture
def both(models):
    """The released ELMo, and a tagger that was trained with it, packed without any loss."""
    models.pack_elmo()
    models.train()
    models.pack_tagger(bits=23)
    return models


def test_a_tagger_is_packed_and_used(both, task):
    path = released.find_model('lac_tiny')
    trained, unpacked = files(task.join('model', 'network')), files(os.path.join(path, 'network'))
    assert unpacked == {name: trained[name] for name in trained if not name.startswith('__')}
    assert files(path)['vocabulary.txt'] == task.join('vocabulary.txt').read_binary()
    assert not set(packing.read(str(both.directory.join('lac_tiny', released.PARAMETERS)), 23)) & set(
        bilm.parameter_shapes(bilm.PUBLISHED_CONFIG))  # ELMo is stored once
    settings = json.loads(both.directory.join('lac_tiny', 'settings.json').read())
    assert str(task) not in json.dumps(settings) and settings['flags']['random_seed'] == 1
    expected = tagger.Tagger(str(task.join('model'))).run(TEXT)
    assert tagger.Tagger('lac_tiny').run(TEXT) == expected
    line = ' '.join(map('/'.join, zip(*expected))) + '\n'
    for command in (['--model', 'lac_tiny'], ['--model_dir', str(both.directory.join('lac_tiny'))]):
        code, output, errors = run_command(
            [sys.executable, os.path.join(ROOT, 'lac_finetune', 'infer.py'), '--use_gpu', 'False'] + command,
            TEXT.encode('utf-8'))
        assert (code, output) == (0, line), errors


def test_a_rounded_tagger_has_a_rounded_network_and_the_same_elmo(both, task):
    both.pack_tagger(bits=4)
    path = released.find_model('lac_tiny')
    for name in ('crf', 'word_embedding'):
        assert (parameter(path, 'network', name) == rounded(parameter(task, 'model', 'network', name), 4)).all()
    assert (parameter(path, 'network', 'embedding_para') ==
            parameter(released.find_model('elmo_tiny'), 'embedding_para')).all()
    assert tagger.Tagger('lac_tiny').run(TEXT)[0]


def test_training_starts_from_a_released_tagger(both, task):
    both.train(init_from='lac_tiny', elmo_checkpoint='', save_dir=task.join('next'))
    with io.open(str(task.join('next', 'settings.json')), encoding='utf-8') as handle:
        assert json.load(handle)['sizes'] == tagger.read_settings(str(task.join('model')))['sizes']


def test_the_script_tags(both, task):
    """In a directory too that has something else of this name, and with a path of models that is not absolute."""
    shutil.copytree(str(both.directory.join('lac_tiny')), str(both.directory.join('lac_pku')))
    task.mkdir('lac_pku')
    expected = tagger.Tagger('lac_tiny').run(TEXT)
    code, output, errors = run_command(['sh', os.path.join(ROOT, 'tag.sh'), '--use_gpu', 'False'], TEXT.encode('utf-8'),
                                       dict(os.environ, PYTHON=sys.executable, ELMO_MODELS='models'), cwd=str(task))
    assert (code, output) == (0, ' '.join(map('/'.join, zip(*expected))) + '\n'), errors


def test_a_tagger_of_another_elmo_is_refused(models, task, capsys):
    models.pack_elmo()
    models.train(elmo_checkpoint=task.join('elmo'), vocab_path=task.join('vocabulary.txt'))
    models.pack_tagger()  # the ELMo before it was rounded is the same one after it
    make_checkpoint(task.join('other'), Vocabulary(str(task.join('vocabulary.txt'))), embed_size=6)
    models.pack_elmo(source='other')
    line = refused(capsys, models.pack_tagger)
    assert 'its ELMo is not the released elmo_tiny; train it with --elmo_checkpoint elmo_tiny' in line
    with pytest.raises(InputError) as error:
        tagger.Tagger('lac_tiny')
    assert 'lac_tiny: was trained with another elmo_tiny than that beside it' in str(error.value)
    changed = parameter(task, 'model', 'network', 'lstmp_0.w_1')
    models.pack_elmo()
    changed[0, 0] *= 2
    write_parameter(str(task.join('model', 'network', 'lstmp_0.w_1')), changed)
    task.join('model', 'manifest.json').remove()
    manifest.write(str(task.join('model')))
    assert 'its ELMo is not the released elmo_tiny' in refused(capsys, models.pack_tagger)


def test_a_tagger_without_elmo_is_refused(models, task, capsys):
    models.pack_elmo()
    models.train(use_elmo=False)
    assert 'its ELMo is not the released elmo_tiny' in refused(capsys, models.pack_tagger)


def test_a_tagger_that_does_not_tell_its_vocabulary_is_refused(models, task, capsys):
    models.pack_elmo()
    models.train()
    path = task.join('model', 'settings.json')
    settings = json.loads(path.read())
    del settings['sizes']['vocab_sha256']
    path.write(json.dumps(settings))
    assert 'its ELMo is not the released elmo_tiny' in refused(capsys, models.pack_tagger)


def test_a_tagger_of_layer_0_is_refused(models, task, capsys):
    models.pack_elmo()
    models.train(elmo_layers='0')
    line = refused(capsys, models.pack_tagger)
    assert '%s: reads layer 0 of its ELMo alone, which cannot be packed' % task.join('model') in line


def test_the_vocabulary_is_packed_as_its_words(models, task):
    path = task.join('vocabulary.txt')
    words = path.read_binary()
    path.write_binary(b'\xef\xbb\xbf' + words.replace(b'\n', b'\r\n'))
    models.pack_elmo()
    assert files(models.directory.join('elmo_tiny'))['vocabulary.txt'] == words


def test_another_vocabulary_is_refused(models, task, capsys):
    words = write_lines(task.join('words.txt'), ['<S>', '</S>', '<UNK>', '词'])
    line = refused(capsys, lambda: models.pack(task.join('elmo'), 'elmo_tiny', '--vocab_path', words))
    assert 'was trained with another vocabulary than' in line and not models.directory.listdir()


def test_bad_use_of_pack(models, task, capsys):
    models.directory.mkdir('mine').join('file').write('mine')
    words = str(task.join('vocabulary.txt'))
    assert ': error: source nowhere: no such directory' in refused(
        capsys, lambda: models.pack('nowhere', 'elmo_tiny', '--vocab_path', words))
    for args, message in (
            (['elmo_tiny'], 'give one of them'),
            (['elmo_tiny', '--vocab_path', words, '--elmo', 'elmo_tiny'], 'give one of them'),
            (['../elmo', '--vocab_path', words], 'a name has letters, digits and _ alone'),
            (['mine', '--vocab_path', words], 'mine: is there already, and no packed model')):
        assert message in refused(capsys, lambda: models.pack(task.join('elmo'), *args))
    assert models.directory.join('mine', 'file').read() == 'mine' and len(models.directory.listdir()) == 1


def unpacking_says(models):
    with pytest.raises(InputError) as error:
        released.find_model('elmo_tiny')
    assert not glob.glob(str(models.directory.join('.unpacked', '*')))
    assert not glob.glob(str(models.directory.join('.unpacked', '.*')))
    return str(error.value)


def test_a_damaged_file(models):
    models.pack_elmo()
    path = models.directory.join('elmo_tiny', released.PARAMETERS)
    whole = path.read_binary()
    path.write_binary(whole[:-10])
    assert 'parameters.npz.gz: damaged: not what' in unpacking_says(models)
    path.write_binary(whole[:500] + b'damage' + whole[506:])
    assert 'parameters.npz.gz: damaged: not what' in unpacking_says(models)
    path.remove()
    assert 'parameters.npz.gz: is missing' in unpacking_says(models)


def entry(name, array):
    """A packed file with this array under this name."""
    content = io.BytesIO()
    np.savez(content, **{name: array})
    return content.getvalue()


@pytest.mark.parametrize('content, message', [
    (b'nothing', ''), (b'', ''), (None, ''), ('zip', 'holds no such numbers'), ('planes', 'holds no such numbers'),
    ('outside', 'holds no such numbers'), ('npy', '')])
def test_a_file_that_pack_has_not_written(models, content, message):
    """The manifest says that it is whole, so what it holds must be looked at."""
    models.pack_elmo()
    path = models.directory.join('elmo_tiny', released.PARAMETERS)
    arrays = {'zip': ('embedding_para', np.zeros([2, 3])), 'planes': ('embedding_para', np.zeros([3, 4, 5], 'uint8')),
              'outside': (str('../outside'), np.zeros([2, 4, 5], 'uint8'))}
    if content in arrays or content == 'npy':
        inner = entry(*arrays[content]) if content in arrays else b'\x93NUMPY'
        with gzip.open(str(path), 'wb') as output:
            output.write(inner)
    else:
        path.write_binary(path.read_binary()[:-20] if content is None else content)
    models.directory.join('elmo_tiny', 'manifest.json').remove()
    manifest.write(str(models.directory.join('elmo_tiny')))
    found = unpacking_says(models)
    assert 'parameters.npz.gz: damaged: ' in found and message in found and '\n' not in found


@pytest.mark.parametrize('changed', [{'kind': 'bert'}, {'mantissa_bits': 24}, {'elmo': {'name': 'x', 'sha256': ''}}])
def test_a_description_that_pack_has_not_written(models, changed):
    models.pack_elmo()
    path = models.directory.join('elmo_tiny', released.DESCRIPTION)
    path.write(json.dumps(dict(json.loads(path.read()), **changed)))
    assert 'model.json: no packed model: ' in unpacking_says(models)


def test_the_models_of_this_release(tmpdir, monkeypatch):
    """They answer as the pages say, fit in 24 MB, and each has a card."""
    monkeypatch.setenv('ELMO_MODELS', str(tmpdir))  # so nothing is unpacked into the project
    size = 0
    for name in ('elmo_zh_small', 'lac_pku'):
        packed = os.path.join(ROOT, 'models', name)
        os.symlink(packed, str(tmpdir.join(name)))
        assert os.path.exists(os.path.join(packed, 'README.md'))
        size += sum(map(len, files(packed).values()))
    assert released.names() == ['elmo_zh_small', 'lac_pku'] and size < 24e6
    words, tags = tagger.Tagger('lac_pku').run(TEXT)
    assert (words, tags) == (['我', '的', '弟弟', '在', '上海', '工作', '。'], ['r', 'u', 'n', 'p', 'ns', 'v', 'w'])
    one, other = Embedder('elmo_zh_small')([['他', '花', '钱'], ['一', '束', '花']])
    assert one.shape == other.shape == (3, 384) and abs(one[1] - other[2]).max() > 0.1  # 花 in two senses
