# -*- coding: utf-8 -*-
"""Trains a segmenter and tagger with or without ELMo, and keeps the model that is best on the dev sentences.

tagger.py says what the model directory holds. It also gets log.jsonl and curves.png, the metrics of the training, and
confusion.tsv and confusion.png, the tags on the test text. During training, the directory NAME.resume beside the model
holds a checkpoint of the last epoch, log.jsonl and curves.png.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import os
import shutil

from project import cli
import numpy as np
import paddle.fluid as fluid

from elmo import checkpoint, clock, curves, devices, flags, release, rundir, runlog, schema
from elmo.batching import cut, length_buckets, prefetch
from elmo.files import new_directory, new_file, read_json, remove_tree, replacing, undo_half_a_replacement, write_json
from elmo.progress import Progress
from elmo.signals import Stop, Stopped
from elmo.text import InputError
from lac_finetune import network, tagger
from lac_finetune.average import Average
from lac_finetune.elmo import ElmoLayers
from lac_finetune.evaluation import Score
from lac_finetune.reader import Example, Units, check_tags, read_tagged, read_tags

LEARNING_RATE = str('learning_rate')  # the variable's name
# A resumed run must have the same values of these flags.
FIXED = ('train_path', 'dev_path', 'test_path', 'tag_path', 'vocab_path', 'max_sentences', 'max_sentence_length',
         'use_elmo', 'elmo_layers', 'init_from', 'word_emb_dim', 'grnn_hidden_dim', 'bigru_num', 'dropout',
         'base_learning_rate', 'average_epochs', 'batch_tokens', 'random_seed')
# With --init_from its model has these, and they may not be given. Without it, these are the defaults.
NETWORK = {'use_elmo': True, 'elmo_layers': 'all', 'word_emb_dim': 128, 'grnn_hidden_dim': 128, 'bigru_num': 2}
# Flags that the first release had not, and what a run did without them.
LATER = {'elmo_layers': 'all', 'average_epochs': 0.}
ADDITIONS_OF_EPOCH = 50  # to the moving average; each copies all parameters
STATE = {  # in train_state.json
    'step': schema.whole(), 'epoch': schema.whole(), 'best_epoch': schema.whole(), 'best_dev_f1': schema.real(-1, 100),
    'learning_rate': schema.real(), 'flags': schema.each(dict, schema.scalar), 'ran_on': schema.or_null(schema.text())}
OF_RUN = {'flags': schema.each(dict, schema.scalar), 'test_f1': schema.or_null(schema.real())}  # in settings.json
EXAMPLE = ('sh data/download.sh\n'
           'python lac_finetune/train.py --train_path data/pku/lac/train.tsv --dev_path data/pku/lac/dev.tsv \\\n'
           '    --test_path data/pku/lac/test.tsv --elmo_checkpoint elmo_zh_small --save_dir model')


def parse_args(argv=None):
    parser = cli.ArgumentParser('Train a Chinese segmenter and tagger, with ELMo or without.', EXAMPLE)

    group = parser.add_argument_group('data')
    for part in ('train', 'dev', 'test'):
        group.add_argument('--%s_path' % part, required=True, metavar='FILE',
                           help='tagged sentences: w1 w2 …<TAB>t1 t2 …')
    group.add_argument('--tag_path', metavar='FILE', default='', help='the tags that there are, one a line; not given: '
                       'those of the training data')
    group.add_argument('--vocab_path', metavar='FILE', default='',
                       help='vocabulary of ELMo; without ELMo too it makes the units; a released model has its own')
    group.add_argument('--max_sentences', type=cli.non_negative_int, default=0,
                       help='train on this many sentences, drawn at random; 0: all')
    flags.max_sentence_length(group)

    group = parser.add_argument_group('network')
    group.add_argument('--use_elmo', help='False: the word embedding alone (default: True)', **cli.BOOLEAN)
    group.add_argument('--elmo_checkpoint', '--pretrain_elmo_model_path', metavar='DIR', default='',
                       help='name of a released ELMo; or a checkpoint, or a directory of checkpoints, of which the '
                            'best is taken')
    group.add_argument('--elmo_layers', choices=('all', '0'),
                       help='of ELMo: all layers and their mix, or 0, the word vectors without context, for comparison '
                            '(default: all)')
    group.add_argument('--init_from', metavar='DIR', default='',
                       help='start from this model, whatever its tags: with its sizes and ELMo, all but the last layer '
                            'and the CRF')
    group.add_argument('--word_emb_dim', type=cli.positive_int, help='size of the word embedding (default: 128)')
    group.add_argument('--grnn_hidden_dim', type=cli.positive_int,
                       help='size of a GRU; 256 is slow on a CPU (default: 128)')
    group.add_argument('--bigru_num', type=cli.positive_int, help='bidirectional GRU layers (default: 2)')

    group = parser.add_argument_group('optimization')
    group.add_argument('--dropout', type=cli.number(float, low=0, below=1), default=0.3, help='rate for each layer')
    group.add_argument('--base_learning_rate', type=cli.number(float, above=0), default=1e-3,
                       help='of Adam, halved after an epoch with a lower F1 on the dev sentences than the '
                            'best, to an eighth at the lowest; that of the word embedding is 5 times, that of the CRF '
                            '0.2 times this')
    group.add_argument('--average_epochs', type=cli.number(float, low=0), default=0.,
                       help='the model has a moving average of the parameters over about this many epochs; 0: their '
                            'last values')
    group.add_argument('--batch_tokens', type=cli.positive_int, default=1600, help='units in a step')
    group.add_argument('--max_epoch', type=cli.positive_int, default=15, help='times the sentences are read')
    group.add_argument('--patience', type=cli.positive_int, default=3,
                       help='stop after this many epochs without a better F1 on the dev sentences')
    flags.random_seed(group)

    group = parser.add_argument_group('run')
    flags.use_one_gpu(group)
    group.add_argument('--log_interval', type=cli.positive_int, default=50, help='steps between log lines')
    flags.drawing(group)
    group.add_argument('--save_dir', required=True, metavar='DIR', help='a new directory for the model')
    flags.resume(group, 'after the last whole epoch of the run that was to make save_dir')
    return _checked(parser.parse_args(argv), parser)


def _checked(args, parser):
    """The flags, with the defaults of NETWORK. Without --init_from none of them is None."""
    given = ['--' + name for name in ['elmo_checkpoint'] + sorted(NETWORK) if getattr(args, name) not in (None, '')]
    if args.use_elmo is False and args.elmo_layers:
        parser.error('--elmo_layers has no effect with --use_elmo False; leave it out')
    if args.init_from and given:
        parser.error('--init_from takes sizes and ELMo from its model; leave out %s' % ', '.join(given))
    if not args.init_from:
        vars(args).update((name, value) for name, value in NETWORK.items() if getattr(args, name) is None)
    if args.use_elmo and not args.init_from and not args.elmo_checkpoint:
        parser.error('--use_elmo True wants --elmo_checkpoint; --use_elmo False does without')
    if not args.vocab_path and not args.init_from and not args.elmo_checkpoint:
        parser.error('--vocab_path is wanted; --elmo_checkpoint or --init_from with a released model does without')
    if os.path.basename(args.save_dir.rstrip(os.sep)) in ('', os.curdir, os.pardir):
        parser.error('--save_dir %s: names no new directory; give it a name, such as model' % args.save_dir)
    return args


def read_gold(path):
    """The gold sentences of a file; prints the number of n-I that continue nothing."""
    sentences, stray = read_tagged(path)
    if stray:
        print('%s: %d I without B, each read as the beginning of a word' % (path, stray))
    return sentences


def compare_tags(path, sentences, train):
    """Prints the tags of the sentences of a file that the training sentences lack; InputError if they lack all."""
    found, known = [{tag for sentence in part for tag in sentence.tags} for part in (sentences, train)]
    if not found & known:
        raise InputError('%s: has none of the tags of the training text; give text with these tags' % path)
    if found - known:
        print('%s: has tags that the training text lacks, so they count as errors: %s'
              % (path, ' '.join(sorted(found - known))))


def choose(sentences, number, random_seed):
    """`number` of the sentences, drawn at random; all if the number is 0."""
    order = np.random.RandomState(random_seed).permutation(len(sentences))
    return [sentences[index] for index in order[:number]] if number else sentences


def make_examples(sentences, units, max_length):
    """Training sentences in pieces of max_length: (list of Example, the labels by number).

    Labels that never occur (a word of this tag never has a second unit) are left out: the time of the CRF grows with
    the square of the number of labels.
    """
    progress, aligned, split = Progress('cutting into units', len(sentences), 'sentences'), [], 0
    for done, sentence in enumerate(sentences):
        pieces, targets, crossing = units.align(sentence)
        aligned += [(piece, targets[start:start + max_length]) for start, piece in cut(pieces, max_length)]
        split += crossing
        progress.update(done + 1)
    progress.close()
    labels = sorted({label for _, targets in aligned for label in targets})
    numbers = {label: number for number, label in enumerate(labels)}
    examples = [Example(units.ids(pieces), [numbers[label] for label in targets]) for pieces, targets in aligned]
    print('train: %d sentences, %d units, of which %d were split at a gold border; %d labels'
          % (len(sentences), sum(len(example.ids) for example in examples), split, len(labels)))
    return examples, labels


def training_program(sizes, labels, args):
    """The program of a step, one optimizer update.

    Args:
        sizes, labels: see network.training.
        args: the flags base_learning_rate, dropout and random_seed.

    Returns:
        (program, startup program, loss)
    """
    program, startup = fluid.Program(), fluid.Program()
    with devices.building(program, startup):
        loss = network.training(sizes, labels, args.dropout, args.random_seed)
        rate = release.create_global_var([1], args.base_learning_rate, 'float32', persistable=True, name=LEARNING_RATE)
        clip = release.GradientClipByGlobalNorm(5.)
        fluid.optimizer.Adam(rate, lazy_mode=True, grad_clip=clip).minimize(loss)
    return program, startup, loss


def checkpoints_of(save_dir):
    """The directory of the checkpoints of a run, while it is not finished."""
    return save_dir.rstrip(os.sep) + '.resume'


class Job(object):
    """The parts of a run that do not change during training: flags, device, sentences, sizes, directories.

    Raises:
        InputError: a flag, a file or a directory is wrong.
    """

    def __init__(self, args):
        self.args, self.place = args, devices.places(args.use_gpu)[0]
        self.init_from = args.init_from and tagger.find(args.init_from)
        # It is checked where it is not used too: perhaps this is the run that one with ELMo is compared with.
        elmo = args.elmo_checkpoint and checkpoint.find(args.elmo_checkpoint, '--elmo_checkpoint')
        self.elmo = elmo if elmo and args.use_elmo else None  # the checkpoint, if the run starts from one
        self.vocabulary = checkpoint.vocabulary_of(self.init_from or elmo, args.vocab_path)
        config = elmo and checkpoint.read_config(elmo, self.vocabulary)
        if elmo:
            checkpoint.check_config(elmo, config, self.vocabulary)
        tags = args.tag_path and read_tags(args.tag_path)
        sentences, self.dev, self.test = [read_gold(path) for path in (args.train_path, args.dev_path, args.test_path)]
        self.train = choose(sentences, args.max_sentences, args.random_seed)
        for part in (self.train, self.dev, self.test) if tags else ():
            check_tags(part, tags, args.tag_path)
        for path, part in ((args.dev_path, self.dev), (args.test_path, self.test)):
            compare_tags(path, part, sentences)
        self.sizes = self._sizes(config if self.elmo else None)
        self.directory = args.save_dir.rstrip(os.sep)
        self.checkpoints = checkpoints_of(args.save_dir)
        self.temporary = os.path.join(self.checkpoints, '.model')  # where the model is written until it is whole
        self._prepare_directories()

    def _sizes(self, elmo):
        """See network.py; `elmo` is its config. The number of labels is not known yet, except from a model."""
        args = self.args
        if args.init_from:
            sizes = tagger.read_settings(self.init_from)['sizes']
            checkpoint.check_vocabulary(self.init_from, self.vocabulary, sizes)
            tagger.check_sizes(self.init_from, sizes)
            return sizes
        return {'vocab_size': len(self.vocabulary), 'vocab_sha256': self.vocabulary.sha256,
                'word_emb_dim': args.word_emb_dim, 'grnn_hidden_dim': args.grnn_hidden_dim, 'bigru_num': args.bigru_num,
                'elmo': elmo, 'elmo_layers': args.elmo_layers}

    def _prepare_directories(self):
        """Makes the directory of checkpoints; InputError unless a model can be written to save_dir."""
        resume = self.args.resume
        if not resume and os.path.exists(os.path.join(self.checkpoints, 'latest')):
            raise InputError('--save_dir %s: is that of an interrupted run; go on with it by --resume, choose another, '
                             'or delete %s' % (self.directory, self.checkpoints))
        if resume:
            undo_half_a_replacement(self.directory, self.temporary)
        free = not os.path.exists(self.directory) or os.path.isdir(self.directory) and not os.listdir(self.directory)
        if not free and not (resume and os.path.isdir(self.directory) and os.path.isdir(self.checkpoints)):
            raise InputError('--save_dir %s: is there already; choose another' % self.directory)
        rundir.make(self.checkpoints)


class Trainer(object):
    """A run in the current scope: the training program, the tagger that it evaluates, and its state.

    Args:
        job: a Job.

    Attributes:
        state: what a checkpoint keeps besides parameters and optimizer: step, epoch, best dev F1, learning rate …
    """

    def __init__(self, job):
        self.job, self.args = job, job.args
        units = Units(job.vocabulary)
        self.examples, self.labels = make_examples(job.train, units, self.args.max_sentence_length)
        self.lengths = [len(example.ids) for example in self.examples]
        self.steps_of_epoch = len(length_buckets(self.lengths, self.args.batch_tokens))
        self.sizes = dict(job.sizes, num_labels=len(self.labels))
        self._build()
        self._load()
        self.elmo_layers = None
        if self.sizes['elmo']:
            self.elmo_layers = ElmoLayers(job.place, self.sizes, os.path.dirname(os.path.abspath(job.directory)))
        decoder = tagger.Decoder(self.exe, self.sizes, self.elmo_layers, self.args.batch_tokens,
                                 self.args.max_sentence_length)
        self.tagger = tagger.TextTagger(decoder, units, self.labels)
        own = NETWORK if self.args.init_from else ()  # they are the model's; older runs name others
        fixed = {name: getattr(self.args, name) for name in FIXED if name not in own}
        fixed.update(train_units=sum(self.lengths), elmo_checkpoint=job.elmo)
        self.state = {'step': 0, 'epoch': 0, 'best_dev_f1': -1., 'best_epoch': 0, 'flags': fixed,
                      'learning_rate': self.args.base_learning_rate, 'ran_on': devices.describe([job.place])}
        self.saver = checkpoint.Saver(self.exe, self.program, self.kept, job.checkpoints, keep=1)

    def _build(self):
        """The training program and what runs it, with initial values in the scope."""
        self.program, startup, loss = training_program(self.sizes, self.labels, self.args)
        self.exe = fluid.Executor(self.job.place)
        devices.check_memory(self.job.place, [parameter.shape for parameter in self.program.all_parameters()])
        self.exe.run(startup)
        self.loss, steps = loss.name, self.steps_of_epoch
        self.average = Average(self.program, self.job.place, self.args.average_epochs * steps,
                               max(1, steps // ADDITIONS_OF_EPOCH))
        self.kept = checkpoint.optimizer_variables(self.program)
        self.executor = devices.Executor(self.program, [self.job.place], loss.name)

    def _load(self):
        """Loads ELMo's parameters, or all parameters of the --init_from model except those of the tags."""
        if self.args.init_from:
            whole, _ = network.decoding_program(self.sizes, whole=True)
            kept = [parameter for parameter in whole.all_parameters() if parameter.name not in network.TAG_PARAMETERS]
            checkpoint.load_variables(self.exe, self.job.init_from, 'network', kept)
            print('loaded %s' % self.job.init_from)
        elif self.job.elmo:  # a checkpoint is loaded with all its layers, whichever the tagger reads
            whole, _ = network.decoding_program(dict(self.sizes, elmo_layers='all'), whole=True)
            names = checkpoint.load_parameters(self.exe, self.job.elmo, whole, self.sizes['elmo'], self.job.vocabulary)
            print('loaded %s: %s' % (self.job.elmo, ' '.join(names)))

    def restore(self):
        """Goes on from the newest whole checkpoint, if there is one, and opens log and curves."""
        path = checkpoint.to_go_on(self.job.checkpoints)
        if path:
            self.state = checkpoint.load_state(self.exe, path, self.kept, self.state, STATE, LATER,
                                               'choose another --save_dir')
            checkpoint.load_variables(self.exe, path, '', self.program.all_parameters())
            print('loaded %s: goes on after epoch %d' % (path, self.state['epoch']))
        self.run_log = runlog.RunLog(self.job.checkpoints, self.state['step'] if path else None, self.args.visualdl)
        self.curves = curves.Curves(self.job.checkpoints, self.args.curves)

    def prepare(self):
        """Computes ELMo's layers of the training sentences, if they are still to be trained on. It takes minutes."""
        if self.elmo_layers and not self.finished():
            self.elmo_layers.prepare([example.ids for example in self.examples], self.args.batch_tokens)

    def batches(self):
        """Yields the feed of each step of an epoch. The order and the dropout follow from the seed and the epoch."""
        args, random = self.args, np.random.RandomState((self.args.random_seed, self.state['epoch']))
        for batch in length_buckets(self.lengths, args.batch_tokens, random):
            feed = network.feed([self.examples[index].ids for index in batch], self.job.place, self.elmo_layers)
            feed['target'] = devices.to_lod([self.examples[index].labels for index in batch], self.job.place)
            if args.dropout:
                number = network.num_dropout_seeds(self.sizes)
                feed['dropout_seeds'] = random.randint(1, 2 ** 31 - 1, number).astype('int32')
            yield feed

    def train_epoch(self):
        """Trains an epoch, with a log line every log_interval steps; returns the number of the last step."""
        args, step, epoch = self.args, self.state['step'], self.state['epoch'] + 1
        total = args.max_epoch * self.steps_of_epoch
        window, start = runlog.Window(), clock.now()
        for feed in prefetch(self.batches()):
            loss = self.executor.run([self.loss], [feed])[0]
            step += 1
            self.average.add(step)
            window.add(feed['word'].shape()[0], loss, clock.now() - start)
            start = clock.now()
            if step % args.log_interval == 0:
                print('epoch %d step %d/%d loss %.4f, learning rate %.6f, %d units/s, %s left'
                      % (epoch, step, total, window.loss, self.state['learning_rate'], window.tokens_per_second,
                         window.time_left(total - step)))
                self.run_log.write('train', step, epoch, loss=window.loss, learning_rate=self.state['learning_rate'],
                                   tokens_per_second=window.tokens_per_second)
                window = runlog.Window()
        return step

    def evaluate(self):
        """The Score on the dev sentences."""
        self.tagger.stray = 0
        with self.average.applied():
            return evaluate(self.tagger, self.job.dev)

    def end_epoch(self, step, score, seconds):
        """Logs an epoch, saves the model if it is the best so far, and the checkpoint to go on from."""
        state = self.state
        state.update(epoch=state['epoch'] + 1, step=step)
        print('dev epoch %d step %d %s, %d I without B, %d sentences in %.1f s'
              % (state['epoch'], step, score, self.tagger.stray, len(self.job.dev), seconds))
        self.run_log.write('dev', step, state['epoch'], **score.metrics())
        if score.f1 > state['best_dev_f1']:
            state.update(best_dev_f1=score.f1, best_epoch=state['epoch'])
            self._save_model()
        elif score.f1 < state['best_dev_f1']:
            self._halve_learning_rate()
        self.saver.save(state)
        self.curves.draw()

    def _save_model(self):
        args = self.args
        settings = {'sizes': self.sizes, 'flags': vars(args), 'batch_tokens': args.batch_tokens,
                    'max_length': args.max_sentence_length, 'dev_f1': self.state['best_dev_f1'], 'elmo_mix': None}
        with checkpoint.resumable(), self.average.applied():
            if self.sizes['elmo']:
                settings['elmo_mix'] = network.mix(fluid.global_scope())
            tagger.save(self.exe, self.job.directory, self.job.vocabulary, self.labels, settings, self.job.temporary)
        print('saved %s, the best so far' % self.job.directory)

    def _halve_learning_rate(self):
        """Halves it three times at most: with few sentences, F1 goes up and down long before it reaches its best."""
        rate = max(self.state['learning_rate'] / 2, self.args.base_learning_rate / 8)
        self.state['learning_rate'] = rate
        fluid.global_scope().find_var(LEARNING_RATE).get_tensor().set(np.array([rate], dtype='float32'), self.job.place)

    def finished(self):
        state = self.state
        return state['epoch'] >= self.args.max_epoch or state['epoch'] - state['best_epoch'] >= self.args.patience


def fit(trainer, stop):
    """Trains epoch by epoch and keeps the best model; False if a signal asked to stop before the end."""
    try:
        with stop.at_once():
            trainer.prepare()
        while not trainer.finished():
            with stop.at_once():
                step, start = trainer.train_epoch(), clock.now()
                score = trainer.evaluate()
            trainer.end_epoch(step, score, clock.now() - start)
    except Stopped:
        print('stopped by %s; to go on after epoch %d: the same command with --resume'
              % (stop.requested, trainer.state['epoch']))
        return False
    trainer.curves.draw(last=True)
    if trainer.state['epoch'] < trainer.args.max_epoch:
        print('stopped: %d epochs without a better dev F1' % trainer.args.patience)
    return True


def evaluate(run, sentences):
    """The Score of a Tagger on gold sentences, from their raw text."""
    score, progress = Score(), Progress('evaluate', len(sentences), 'sentences')
    for start, gold in cut(sentences, 1000):
        for sentence, words in zip(gold, run([''.join(sentence.words) for sentence in gold])):
            score.add(words, list(zip(sentence.words, sentence.tags)))
        progress.update(start + len(gold))
    progress.close()
    return score


def keep_log(checkpoints, directory):
    """Copies log and curves from the directory of checkpoints to that of the model; SaveError if that fails."""
    with checkpoint.resumable():
        for name in (runlog.NAME, curves.NAME):
            if os.path.exists(os.path.join(checkpoints, name)):
                with new_file(os.path.join(directory, name)) as temporary:
                    shutil.copyfile(os.path.join(checkpoints, name), temporary)
        if os.path.isdir(os.path.join(checkpoints, runlog.SCALARS)):
            with new_directory(os.path.join(directory, runlog.SCALARS)) as temporary:
                for name in os.listdir(os.path.join(checkpoints, runlog.SCALARS)):
                    shutil.copyfile(os.path.join(checkpoints, runlog.SCALARS, name), os.path.join(temporary, name))


def report(job):
    """Tests the saved model, only once: prints the scores, adds F1 and confusions to the model directory."""
    score = evaluate(tagger.Tagger(job.directory, place=job.place), job.test)
    print('test %s, %d sentences' % (score, len(job.test)))
    print('most often confused: %s' % ', '.join('%s as %s %d' % error for error in score.errors(5)))
    settings = dict(tagger.read_settings(job.directory), test_f1=score.f1)
    write_json(os.path.join(job.directory, 'settings.json'), settings)
    tags, counts = score.confusion_table()
    with replacing(os.path.join(job.directory, 'confusion.tsv')) as output:
        output.write('gold\\found\t%s\n' % '\t'.join(tags))
        output.writelines('%s\t%s\n' % (tag, '\t'.join(map(str, row))) for tag, row in zip(tags, counts))
    if job.args.curves:
        try:
            curves.draw_confusion(tags, counts, os.path.join(job.directory, 'confusion.png'))
        except curves.FAILURES as error:
            print('confusion.png is not drawn: %s: %s' % (type(error).__name__, error))
    mix = settings['elmo_mix']
    if mix:
        weights = ' '.join('%.3f' % weight for weight in mix['weights'])
        print('ELMo mix: layers %s, gamma %.3f' % (weights, mix['gamma']))


def finished_f1(args):
    """Test F1 in percent of the finished run that has made save_dir; None if there is none, or it is not finished.

    InputError if it had other flags.
    """
    path = os.path.join(args.save_dir, 'settings.json')
    settings, wanted = read_json(path) if os.path.exists(path) else None, vars(args)
    if schema.problem(settings, OF_RUN):
        return None
    for name in FIXED + ('max_epoch', 'patience') + (('elmo_checkpoint',) if args.use_elmo else ()):
        found = settings['flags'].get(name, LATER.get(name))
        if found != wanted[name]:
            raise InputError('%s: was trained with --%s %s, not %s; choose another directory'
                             % (path, name, found, wanted[name]))
    return settings.get('test_f1')


def train(args):
    """Trains as the flags say, then tests the best model."""
    checkpoints = checkpoints_of(args.save_dir)
    if args.resume and not checkpoint.newest_whole(checkpoints, lambda line: None):
        f1 = finished_f1(args)
        if f1 is not None:
            remove_tree(checkpoints)  # it was killed while it did so
            print('finished: %s, test F1 %.2f' % (args.save_dir, f1))
            return
    job = Job(args)
    with rundir.locked(job.checkpoints):
        trainer = Trainer(job)
        with Stop() as stop:
            trainer.restore()
            through = fit(trainer, stop)
        if through:
            keep_log(job.checkpoints, job.directory)
            report(job)
            shutil.rmtree(job.checkpoints)


if __name__ == '__main__':
    cli.run(lambda: train(parse_args()), trains=True)
