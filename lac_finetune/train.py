#!/usr/bin/env python
# -*- coding: utf-8 -*-
"""Trains a segmenter and tagger with or without ELMo, and keeps the model that is best on the dev sentences.

The model directory has all that infer.py needs, and can be moved:

    network/         the decoding network with all parameters, ELMo's among them (fluid.io.save_inference_model)
    vocabulary.txt   that of ELMo
    tags.txt         the labels, by number
    manifest.json    size and sha256 of each of these files
    settings.json    sizes, flags, scores, and the weights of ELMo's layers
    log.jsonl, curves.png, confusion.tsv, confusion.png    the figures of the training, and the tags on the test text

After each epoch, what --resume needs goes to a checkpoint in the directory NAME.resume beside it, until the end; there
log.jsonl and curves.png grow.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import contextlib
import os
import shutil
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import environment  # noqa: E402, F401  before fluid, which reads it when it is loaded
import numpy as np  # noqa: E402
import paddle.fluid as fluid  # noqa: E402

import checkpoint  # noqa: E402
import cli  # noqa: E402
import devices  # noqa: E402
import plot  # noqa: E402
import runlog  # noqa: E402
from args import CURVES, USE_GPU, VISUALDL  # noqa: E402
from files import replacing, write_json  # noqa: E402
from lac_finetune import infer, network  # noqa: E402
from lac_finetune.elmo import ElmoLayers  # noqa: E402
from lac_finetune.evaluation import Score  # noqa: E402
from lac_finetune.reader import (Example, Units, check_tags, feed_words, lod_tensor,  # noqa: E402
                                 read_tagged, read_tags)
from reader import InputError, Vocabulary, length_buckets, prefetch  # noqa: E402

LEARNING_RATE = str('learning_rate')  # the variable's name
# Flags that may change in a run that is resumed.
HARMLESS = ('resume', 'save_dir', 'log_interval', 'max_epoch', 'patience', 'use_gpu', 'curves', 'visualdl')


def parse_args(argv=None):
    parser = cli.ArgumentParser(description='Train a Chinese segmenter and tagger, with ELMo or without.')

    group = parser.add_argument_group('data')
    for part in ('train', 'dev', 'test'):
        group.add_argument('--%s_path' % part, required=True, help='tagged sentences: w1 w2 …<TAB>t1 t2 …')
    group.add_argument('--tag_path', default='', help='the tags that there are, one a line; '
                       'by default those of the training data')
    group.add_argument('--vocab_path', required=True, help='vocabulary of ELMo; without ELMo too it makes the units')
    group.add_argument('--max_sentences', type=cli.non_negative_int, default=0,
                       help='train on this many sentences, drawn at random; 0: all')
    group.add_argument('--max_sentence_length', type=cli.positive_int, default=256,
                       help='sentences of more units are read in pieces')

    group = parser.add_argument_group('network')
    group.add_argument('--use_elmo', type=cli.boolean, default=True, help='False: the word embedding alone')
    group.add_argument('--pretrain_elmo_model_path', metavar='DIR', default='', help='checkpoint of the ELMo')
    group.add_argument('--init_from', metavar='DIR', default='',
                       help='start from this model, whatever its tags: with its sizes and ELMo, all but the last layer '
                            'and the CRF')
    group.add_argument('--word_emb_dim', type=cli.positive_int, default=128, help='size of the word embedding')
    group.add_argument('--grnn_hidden_dim', type=cli.positive_int, default=128, help='size of a GRU; 256 wants a GPU')
    group.add_argument('--bigru_num', type=cli.positive_int, default=2, help='bidirectional GRU layers')

    group = parser.add_argument_group('optimization')
    group.add_argument('--dropout', type=cli.number(float, low=0, below=1), default=0.3, help='rate for each layer')
    group.add_argument('--base_learning_rate', type=cli.number(float, above=0), default=1e-3,
                       help='of Adam, halved after an epoch with a lower F1 on the dev sentences, to an eighth at '
                            'the lowest; that of the word embedding is 5 times, that of the CRF 0.2 times this')
    group.add_argument('--batch_tokens', type=cli.positive_int, default=1600, help='units in a step')
    group.add_argument('--max_epoch', type=cli.positive_int, default=15, help='times the sentences are read')
    group.add_argument('--patience', type=cli.positive_int, default=3,
                       help='stop after this many epochs without a better F1 on the dev sentences')
    group.add_argument('--random_seed', type=cli.number(int, low=0, high=2 ** 31 - 1), default=1,
                       help='of initial values, order, choice and dropout: the same seed gives the same run')

    group = parser.add_argument_group('run')
    group.add_argument('--use_gpu', type=cli.boolean, default=None, help=USE_GPU + '; one device is used')
    group.add_argument('--log_interval', type=cli.positive_int, default=50, help='steps between log lines')
    group.add_argument('--curves', type=cli.boolean, default=True, help=CURVES + ', and the confusions of the tags')
    group.add_argument('--visualdl', type=cli.boolean, default=False, help=VISUALDL)
    group.add_argument('--save_dir', required=True, help='a new directory for the model')
    group.add_argument('--resume', type=cli.boolean, nargs='?', const=True, default=False,
                       help='go on after the last whole epoch of the run that was to make save_dir; without one, start')
    args = parser.parse_args(argv)
    if args.use_elmo and not args.init_from and not args.pretrain_elmo_model_path:
        parser.error('--use_elmo True wants --pretrain_elmo_model_path; --use_elmo False does without')
    return args


def read_gold(path):
    """The gold sentences of a file; tells of n-I that continue nothing."""
    sentences, stray = read_tagged(path)
    if stray:
        print('%s: %d I without B, each read as the beginning of a word' % (path, stray))
    return sentences


def make_examples(sentences, units, max_length):
    """Training sentences in pieces of max_length: (list of Example, the labels by number).

    Labels that never occur (a word of this tag never has a second unit) are left out: the CRF's time goes with the
    square of their number.
    """
    progress, aligned, split = cli.Progress('cutting into units', len(sentences), 'sentences'), [], 0
    for done, sentence in enumerate(sentences):
        pieces, targets, crossing = units.align(sentence)
        aligned += [(pieces[start:start + max_length], targets[start:start + max_length])
                    for start in range(0, len(pieces), max_length)]
        split += crossing
        progress.update(done + 1)
    progress.close()
    labels = sorted({label for _, targets in aligned for label in targets})
    numbers = {label: number for number, label in enumerate(labels)}
    examples = [Example(units.ids(pieces), [numbers[label] for label in targets]) for pieces, targets in aligned]
    print('train: %d sentences, %d units, of which %d were split at a gold border; %d labels'
          % (len(sentences), sum(len(example.ids) for example in examples), split, len(labels)))
    return examples, labels


def load_model(exe, directory, program):
    """Loads all parameters of a model but those of its tags; InputError if one is missing or of another shape."""
    checkpoint.load_variables(exe, directory, 'network', program, [
        parameter for parameter in program.all_parameters() if parameter.name not in network.TAG_PARAMETERS])


class Trainer(object):
    """The training program, one optimizer update a step, and what it is fed.

    Args:
        sizes: see network.py.
        labels: list of the labels, by number.
        args: the flags.
        place: the device.
    """

    def __init__(self, sizes, labels, args, place):
        self.sizes, self.args, self.step = sizes, args, 0
        self.program, startup = fluid.Program(), fluid.Program()
        with fluid.program_guard(self.program, startup), fluid.unique_name.guard():
            loss = network.training(sizes, labels, args.dropout, args.random_seed)
            self.learning_rate = args.base_learning_rate
            variable = fluid.layers.create_global_var([1], self.learning_rate, 'float32', persistable=True,
                                                      name=LEARNING_RATE)
            fluid.optimizer.Adam(variable, lazy_mode=True,
                                 grad_clip=fluid.clip.GradientClipByGlobalNorm(5.)).minimize(loss)
        self.exe = fluid.Executor(place)
        self.exe.run(startup)
        self.loss = loss.name
        self.executor = devices.Executor(self.program, [place], loss.name)

    def halve_learning_rate(self):
        """Halves it three times at most: with few sentences, F1 goes up and down long before it is at its best."""
        self.learning_rate = max(self.learning_rate / 2, self.args.base_learning_rate / 8)
        fluid.global_scope().find_var(LEARNING_RATE).get_tensor().set(
            np.array([self.learning_rate], dtype='float32'), self.exe.place)

    def feeds(self, examples, elmo_layers, epoch):
        """Yields what each step of an epoch is fed; the order and the dropout follow from the seed and the epoch."""
        random = np.random.RandomState((self.args.random_seed, epoch))
        for batch in length_buckets([len(example.ids) for example in examples], self.args.batch_tokens, random):
            feed = feed_words([examples[index].ids for index in batch], self.exe.place, elmo_layers)
            feed['target'] = lod_tensor([examples[index].labels for index in batch], self.exe.place)
            if self.args.dropout:
                number = network.num_dropout_seeds(self.sizes)
                feed['dropout_seeds'] = random.randint(1, 2 ** 31 - 1, number).astype('int32')
            yield feed

    def train(self, examples, elmo_layers, epoch, run_log):
        """Trains an epoch (from 0), with a log line every log_interval steps.

        Args:
            examples: list of Example.
            elmo_layers: an ElmoLayers, or None.
            run_log: a runlog.RunLog.
        """
        lengths = [len(example.ids) for example in examples]
        total = self.args.max_epoch * len(length_buckets(lengths, self.args.batch_tokens))
        losses, units, begin = [], 0, time.time()
        for feed in prefetch(self.feeds(examples, elmo_layers, epoch)):
            losses.append(float(self.executor.run([self.loss], [feed])[0]))
            units += feed['word'].shape()[0]
            self.step += 1
            if self.step % self.args.log_interval == 0:
                seconds, loss = time.time() - begin, np.mean(losses)
                print('epoch %d step %d/%d loss %.4f, learning rate %.6f, %d units/s, %s left'
                      % (epoch + 1, self.step, total, loss, self.learning_rate, units / seconds,
                         cli.duration((total - self.step) * seconds / len(losses))))
                run_log.write('train', self.step, epoch + 1, loss=loss, learning_rate=self.learning_rate,
                              tokens_per_second=units / seconds)
                losses, units, begin = [], 0, time.time()


def save(exe, directory, vocabulary, labels, settings):
    """Writes the model directory beside its place, then puts it there."""
    temporary, old = directory + '.saving', directory + '.old'
    program, path = infer.build_decoding(settings['sizes'], whole=True)  # anew: saving adds to the program
    with checkpoint.writing(directory, temporary):
        fluid.io.save_inference_model(os.path.join(temporary, 'network'), ['word'], [path], exe, program)
        checkpoint.check_saved(os.path.join(temporary, 'network'), program.all_parameters())
        shutil.copyfile(vocabulary.path, os.path.join(temporary, 'vocabulary.txt'))
        with replacing(os.path.join(temporary, 'tags.txt')) as output:
            output.write(''.join(label + '\n' for label in labels))
        checkpoint.write_manifest(temporary)
        write_json(os.path.join(temporary, 'settings.json'), settings)  # the test score is added to it later
    shutil.rmtree(old, ignore_errors=True)
    if os.path.isdir(directory):
        os.rename(directory, old)
    os.rename(temporary, directory)
    shutil.rmtree(old, ignore_errors=True)


def prepare_directory(directory, resume):
    """Makes and returns the directory of checkpoints beside; InputError unless a model can be written to `directory`."""
    checkpoints, old = directory + '.resume', directory + '.old'
    try:
        if not resume and os.path.exists(os.path.join(checkpoints, 'latest')):
            raise InputError('--save_dir %s: is that of an interrupted run; go on with it by --resume, choose another, '
                             'or delete %s' % (directory, checkpoints))
        if resume and os.path.isdir(old) and not os.path.isdir(directory):
            os.rename(old, directory)  # killed between two renamings, see save
        if os.path.isfile(directory) or (os.path.isdir(directory) and os.listdir(directory) and
                                         not (resume and os.path.isdir(checkpoints))):
            raise InputError('--save_dir %s: is there already; choose another' % directory)
        if not os.path.isdir(checkpoints):
            os.makedirs(checkpoints)
        tempfile.TemporaryFile(dir=checkpoints).close()
    except (IOError, OSError) as error:
        raise InputError('--save_dir %s: cannot be written: %s' % (directory, error.strerror))
    return checkpoints


def evaluate(tagger, sentences):
    """The Score of a Tagger on gold sentences, from their raw text."""
    score, progress = Score(), cli.Progress('evaluate', len(sentences), 'sentences')
    for start in range(0, len(sentences), 1000):
        gold = sentences[start:start + 1000]
        for sentence, words in zip(gold, tagger([''.join(sentence.words) for sentence in gold])):
            score.add(words, list(zip(sentence.words, sentence.tags)))
        progress.update(start + len(gold))
    progress.close()
    return score


def choose(sentences, number, random_seed):
    """So many of the sentences, drawn at random; all if the number is 0."""
    order = np.random.RandomState(random_seed).permutation(len(sentences))
    return [sentences[index] for index in order[:number]] if number else sentences


def train(args):
    place = devices.places(args.use_gpu)[0]
    vocabulary = Vocabulary(args.vocab_path)
    tags = args.tag_path and read_tags(args.tag_path)
    train_sentences, dev_sentences, test_sentences = [
        read_gold(path) for path in (args.train_path, args.dev_path, args.test_path)]
    train_sentences = choose(train_sentences, args.max_sentences, args.random_seed)
    if tags:
        check_tags(train_sentences, tags, args.tag_path)

    elmo = None
    if args.init_from:
        sizes = infer.read_settings(args.init_from)['sizes']
        checkpoint.check_vocabulary(args.init_from, vocabulary, sizes)
    else:
        if args.use_elmo:
            elmo = checkpoint.find(args.pretrain_elmo_model_path, '--pretrain_elmo_model_path')
        sizes = {'vocab_size': len(vocabulary), 'vocab_sha256': vocabulary.sha256, 'word_emb_dim': args.word_emb_dim,
                 'grnn_hidden_dim': args.grnn_hidden_dim, 'bigru_num': args.bigru_num,
                 'elmo': checkpoint.read_config(elmo, vocabulary) if elmo else None}
    args.save_dir = args.save_dir.rstrip(os.sep)
    checkpoints = prepare_directory(args.save_dir, args.resume)
    with contextlib.closing(checkpoint.lock(checkpoints, '--save_dir')):
        if fit(args, place, vocabulary, sizes, elmo, train_sentences, dev_sentences, checkpoints):
            keep_log(checkpoints, args.save_dir)
            report(args.save_dir, place, test_sentences, args.curves)
            shutil.rmtree(checkpoints)


def keep_log(checkpoints, directory):
    """Copies what tells of the training from the directory of checkpoints to that of the model."""
    for name in (runlog.NAME, plot.CURVES):
        if os.path.exists(os.path.join(checkpoints, name)):
            shutil.copyfile(os.path.join(checkpoints, name), os.path.join(directory, name))
    if os.path.isdir(os.path.join(checkpoints, runlog.SCALARS)):
        shutil.rmtree(os.path.join(directory, runlog.SCALARS), ignore_errors=True)
        shutil.copytree(os.path.join(checkpoints, runlog.SCALARS), os.path.join(directory, runlog.SCALARS))


def fit(args, place, vocabulary, sizes, elmo, train_sentences, dev_sentences, checkpoints):
    """Trains epoch by epoch and keeps the best model in save_dir; False if a signal asked to stop before the end.

    Args:
        sizes: see network.py; the number of labels is added.
        elmo: a checkpoint of ELMo to start from, or None.
        checkpoints: the directory of checkpoints, from which it goes on if it has one.
    """
    units, elmo_layers = Units(vocabulary), None
    examples, labels = make_examples(train_sentences, units, args.max_sentence_length)
    sizes['num_labels'] = len(labels)

    trainer = Trainer(sizes, labels, args, place)
    whole, _ = infer.build_decoding(sizes, whole=True)
    if args.init_from:
        load_model(trainer.exe, args.init_from, whole)
        print('loaded %s' % args.init_from)
    elif elmo:
        names = checkpoint.load_parameters(trainer.exe, elmo, whole, sizes['elmo'], vocabulary)
        print('loaded %s: %s' % (elmo, ' '.join(names)))
    if sizes['elmo']:
        elmo_layers = ElmoLayers(place, sizes['elmo'], os.path.dirname(os.path.abspath(args.save_dir)))
        elmo_layers.prepare([example.ids for example in examples], args.batch_tokens)

    program, path = infer.build_decoding(sizes, whole=False)
    tagger = infer.Tagger(trainer.exe, program, path, units, labels, args.batch_tokens, args.max_sentence_length,
                          elmo_layers)
    fixed = {name: value for name, value in vars(args).items() if name not in HARMLESS}
    fixed.update(train_units=sum(len(example.ids) for example in examples), elmo_checkpoint=elmo)
    state = {'step': 0, 'epoch': 0, 'best_dev_f1': -1., 'best_epoch': 0, 'flags': fixed,
             'learning_rate': args.base_learning_rate}
    with cli.Stop() as stop:
        resumed = checkpoint.newest_whole(checkpoints)
        if resumed:
            state = checkpoint.load_state(trainer.exe, resumed, trainer.program, fixed,
                                          {key: type(value) for key, value in state.items()})
            checkpoint.load_variables(trainer.exe, resumed, '', trainer.program, trainer.program.all_parameters())
            trainer.step, trainer.learning_rate = state['step'], state['learning_rate']
            print('loaded %s: goes on after epoch %d' % (resumed, state['epoch']))
        run_log = runlog.RunLog(checkpoints, state['step'], args.visualdl)
        curves = plot.Curves(checkpoints, args.curves)
        while state['epoch'] < args.max_epoch and state['epoch'] - state['best_epoch'] < args.patience:
            try:
                with stop.at_once():
                    trainer.train(examples, elmo_layers, state['epoch'], run_log)
                    start, tagger.stray = time.time(), 0
                    score = evaluate(tagger, dev_sentences)
            except cli.Stopped:
                print('stopped by %s; to go on after epoch %d: the same command with --resume'
                      % (stop.requested, state['epoch']))
                return False
            state.update(epoch=state['epoch'] + 1, step=trainer.step)
            print('dev epoch %d step %d %s, %d I without B, %d sentences in %.1f s'
                  % (state['epoch'], trainer.step, score, tagger.stray, len(dev_sentences), time.time() - start))
            run_log.write('dev', trainer.step, state['epoch'], **score.figures())
            if score.f1 > state['best_dev_f1']:
                state.update(best_dev_f1=score.f1, best_epoch=state['epoch'])
                save(trainer.exe, args.save_dir, vocabulary, labels, {
                    'sizes': sizes, 'flags': vars(args), 'batch_tokens': args.batch_tokens,
                    'max_length': args.max_sentence_length, 'dev_f1': score.f1,
                    'elmo_mix': network.mix(fluid.global_scope()) if sizes['elmo'] else None})
                print('saved %s, the best so far' % args.save_dir)
            elif score.f1 < state['best_dev_f1']:
                trainer.halve_learning_rate()
            state['learning_rate'] = trainer.learning_rate
            checkpoint.save(trainer.exe, trainer.program, None, state, checkpoints, keep=1)
            curves.draw()
        curves.draw(last=True)
        if state['epoch'] < args.max_epoch:
            print('stopped: %d epochs without a better dev F1' % args.patience)
    return True


def report(directory, place, test_sentences, pictures):
    """Prints the test scores of a model, as it is saved and for the only time; adds its F1 and confusions to it."""
    score = evaluate(infer.load(directory, place), test_sentences)
    print('test %s, %d sentences' % (score, len(test_sentences)))
    print('most often confused: %s' % ', '.join('%s as %s %d' % error for error in score.errors(5)))
    tags, counts = score.confusion_table()
    with replacing(os.path.join(directory, 'confusion.tsv')) as output:
        output.write('gold\\found\t%s\n' % '\t'.join(tags))
        output.writelines('%s\t%s\n' % (tag, '\t'.join(map(str, row))) for tag, row in zip(tags, counts))
    if pictures:
        plot.draw_confusion(tags, counts, os.path.join(directory, 'confusion.png'))
    settings = dict(infer.read_settings(directory), test_f1=score.f1)
    write_json(os.path.join(directory, 'settings.json'), settings)
    mix = settings['elmo_mix']
    if mix:
        weights = ' '.join('%.3f' % weight for weight in mix['weights'])
        print('ELMo mix: layers %s, gamma %.3f' % (weights, mix['gamma']))


if __name__ == '__main__':
    cli.run(lambda: train(parse_args()))
