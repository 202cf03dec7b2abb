# -*- coding: utf-8 -*-
"""Pretrains a bidirectional LSTM language model: one optimizer update a step, over all devices."""
from __future__ import absolute_import, division, print_function, unicode_literals

import json
import os
import resource
import sys

from elmo import cli  # elmo comes before fluid: it sets what fluid reads from the environment
import numpy as np
import paddle.fluid as fluid

import bilm
from args import DEFAULT_RATES, FIXED, LATER, SIZES, parse_args
from elmo import amp, checkpoint, clock, collective, devices, distributed, manifest, progress, rundir, schema
from elmo.batching import prefetch
from elmo.connection import random_text
from elmo.curves import Curves
from elmo.evaluator import Evaluator, perplexity
from elmo.files import replacing
from elmo.runlog import RunLog, Window
from elmo.signals import Stop, Stopped
from elmo.text import InputError, Vocabulary, list_files
from elmo.training import KEPT, TrainingProgram, steps
from elmo.watch import SECRET, Watch
from reader import PLACE, BucketedReader

MAX_SKIPPED = 10  # batches of a run that --on_nan skip leaves out; more of them are a matter of the settings
STATE = {  # in train_state.json
    'step': schema.whole(), 'position': PLACE, 'epochs_read': schema.real(0, 2 ** 31), 'seconds': schema.real(),
    'best_dev_perplexity': schema.or_null(schema.real()), 'best_step': schema.or_null(schema.whole()),
    'dev_pending': schema.truth,
    'skipped_steps': schema.each(list, schema.whole(1)), 'flags': schema.each(dict, schema.scalar),
    'test_path': schema.text(), 'ran_on': schema.or_null(schema.text()), 'decay': schema.or_null(schema.text())}
DECAY = 'from the whole learning rate'  # of --linear_decay; it fell to 0 before, which wasted the last step


class NotFinite(Exception):
    """A loss or the gradient of a step is not finite; the parameters must not be saved."""

    def __init__(self, step):
        super(NotFinite, self).__init__(step)
        self.step = step


class Job(object):
    """What a run is made of and does not change while it trains: flags, devices, texts, and where it saves.

    Raises:
        InputError: a flag, a text or a directory is not as it should be. Nothing has been written then.
    """

    def __init__(self, args):
        self.args, self.started, self._joined = args, None, False
        self.cluster, self.places = distributed.cluster(args.update_method), devices.places(args.use_gpu)
        distributed.check(self.cluster, self.places)
        if args.use_amp:
            amp.check(self.places)
        self._starts_others = devices.too_many(self.places)
        if self._starts_others:
            self.cluster, self.places = collective.cluster_of_devices(len(self.places)), self.places[:1]
            os.environ.setdefault(str(SECRET), str(random_text()))
        self.num_devices = self.cluster.num_trainers * len(self.places)
        self.vocabulary = Vocabulary(args.vocab_path)
        self._choose_softmax()
        batch_tokens = args.batch_size * args.num_steps * len(self.places)
        self.reader = BucketedReader(
            list_files(args.train_path), self.vocabulary, batch_tokens * self.cluster.num_trainers, len(self.places),
            args.random_seed, args.max_sentence_length, trainer_id=self.cluster.trainer_id or 0,
            num_trainers=self.cluster.num_trainers)
        self.dev_reader = BucketedReader(list_files(args.test_path), self.vocabulary, batch_tokens, len(self.places),
                                         max_length=args.max_sentence_length, shuffle=False)
        for _ in self.dev_reader.epoch(self.dev_reader.start()):
            pass  # a bad line of the dev text is told now, not after an epoch
        self.resume_from = args.resume_from and checkpoint.find(args.resume_from, '--resume_from', newest=True)
        self.init_from = args.init_from and checkpoint.find(args.init_from, '--init_from')
        self.directory = self._make_directory()

    def _choose_softmax(self):
        args, words = self.args, len(self.vocabulary)
        if args.sample_softmax is None:
            args.sample_softmax = words >= 4 * args.n_negative_samples_batch
        if args.sample_softmax and args.n_negative_samples_batch >= words:
            raise InputError('--n_negative_samples_batch %d: %s has only %d words; give fewer, or --sample_softmax '
                             'False' % (args.n_negative_samples_batch, args.vocab_path, words))

    def _make_directory(self):
        """The directory that the run saves to; InputError if it holds the checkpoints of another run."""
        own = self.resume_from and os.path.dirname(os.path.abspath(self.resume_from))
        directory = self.args.save_dir or own or rundir.default(self.args.resume)
        rundir.make(directory)
        if checkpoint.steps(directory) and not (self.args.resume or own and os.path.samefile(directory, own)):
            raise InputError('--save_dir %s: holds the checkpoints of another run; choose another directory, or go on '
                             'with that run by --resume' % directory)
        return directory

    def start_others(self):
        """Starts a process for each other device, where this fluid runs one device in a process."""
        values = dict(vars(self.args), save_dir=self.directory)
        flags = [word for name, value in sorted(values.items()) if value is not None
                 for word in ('--' + name, '%s' % value)]
        self.started = collective.Started(self.cluster if self._starts_others else distributed.LOCAL,
                                          [sys.executable, os.path.abspath(__file__)] + flags)
        return self.started

    def watch(self, path):
        """The Watch of a run that goes on from the checkpoint at `path`, or '', unless it starts from --init_from."""
        start, agreed = path or self.init_from, ('start', '')
        if start and self.cluster != distributed.LOCAL:
            digest = manifest.digest(start)
            agreed = '%s (digest %s)' % (os.path.basename(start), digest[:16]), digest
        # Without a secret of the user's, what a stranger on the network does not see.
        secret = os.environ.get(SECRET) or json.dumps([self.vocabulary.sha256, describe(self.reader)])
        return Watch(self.cluster, secret, agreed, self.args.start_timeout, self.started)

    def join(self, watch):
        """Joins the other processes of the cluster, where they sum the gradients by themselves."""
        if collective.needed(self.cluster) and not self._joined:
            watch.wait_for_all()
            collective.join(self.cluster, self.places[0], self.args.start_timeout)
            self._joined = True

    def network_config(self, path):
        """The sizes of the network: those of the flags; where a flag is not given, those of the checkpoint at `path`;
        without one, the published ones.
        """
        source = checkpoint.read_config(path) if path else bilm.PUBLISHED_CONFIG
        given = {name: getattr(self.args, name) for name in SIZES}
        sizes = {name: source[name] if size is None else size for name, size in given.items()}
        return dict(sizes, vocab_size=len(self.vocabulary), vocab_sha256=self.vocabulary.sha256,
                    bos_id=self.vocabulary.bos, eos_id=self.vocabulary.eos)

    def fixed_flags(self):
        """What a run that is resumed must not change: {name: value}."""
        args = self.args
        fixed = {name: getattr(args, name) for name in FIXED}
        # Other devices may share the same batch. The result is then the same but for rounding and dropout.
        fixed['batch_size of all devices'] = args.batch_size * self.num_devices
        fixed['train_path'] = describe(self.reader)
        if args.sample_softmax:
            fixed['n_negative_samples_batch'] = args.n_negative_samples_batch
        if args.linear_decay:
            fixed.update(max_epoch=args.max_epoch, max_steps=args.max_steps)
        return fixed


def describe(reader):
    """What a run remembers of a text, to notice another one."""
    return '%d files, %d bytes' % (len(reader.paths), sum(reader.sizes))


class Trainer(object):
    """A run that is going on, in the current scope. Of many trainers the first one logs, evaluates and saves.

    Args:
        job: a Job.
        program: a TrainingProgram.
        stop: a signals.Stop.
        watch: a Watch.

    Attributes:
        state: what a checkpoint keeps of the run beside parameters and optimizer: step, position in the text, epochs
            read, seconds of training, best dev perplexity, whether an evaluation is pending …
    """

    def __init__(self, job, program, stop, watch):
        self.job, self.args, self.program, self.stop, self.watch = job, job.args, program, stop, watch
        self.first = job.cluster.trainer_id == 0
        self.exe = fluid.Executor(job.places[0])
        self.exe.run(program.startup)
        self.state = {
            'step': 0, 'position': job.reader.start(), 'epochs_read': 0., 'seconds': 0., 'best_dev_perplexity': None,
            'best_step': None, 'dev_pending': False, 'skipped_steps': [], 'flags': job.fixed_flags(),
            'test_path': describe(job.dev_reader), 'ran_on': devices.describe(job.places, job.num_devices),
            'decay': DECAY}
        self.saver = checkpoint.Saver(self.exe, program.whole, program.optimizer_variables, job.directory,
                                      self.args.keep_checkpoints, program.config)

    def restore(self, path, skipped):
        """Loads the checkpoint at `path` to go on with its run, or else the parameters that --init_from names.

        Args:
            path: '' to start anew.
            skipped: steps to leave out, beside those of the checkpoint.
        """
        start = path or self.job.init_from
        if start:
            names = checkpoint.load_parameters(self.exe, start, self.program.whole, self.program.config,
                                               self.job.vocabulary)
            print('loaded %s: %s' % (start, ' '.join(names)))
            if not set(bilm.SOFTMAX_PARAMETERS) <= set(names):
                print('this checkpoint is an encoder alone: the softmax starts anew')
            self.state['dev_pending'] = True
        if path:
            here, self.state = self.state, dict(self.state, dev_pending=False, decay=None)
            self.state.update(checkpoint.load_state(self.exe, path, self.program.optimizer_variables, here, STATE,
                                                    LATER))
            self.job.reader.check(self.state['position'])
            if self.args.linear_decay and self.state['decay'] != DECAY:
                print('the learning rates of the run were each that of the step after; from here on they are one step '
                      'behind, and the last is not 0')
            self.state['decay'] = DECAY
            if self.state['test_path'] != here['test_path']:
                print('the dev text is another than before: its best perplexity counts anew')
                self.state.update(test_path=here['test_path'], best_dev_perplexity=None, best_step=None)
        self.state['skipped_steps'] = sorted(set(self.state['skipped_steps'] + skipped))
        self._begin(path and os.path.dirname(os.path.abspath(path)))

    def _begin(self, before):
        """Opens what tells of the run from here on. `before`: the directory where it was until now, '' if it starts."""
        directory, state = self.job.directory, self.state
        # What is logged elsewhere may be of another run, which was killed before it saved anything.
        goes_on = before and os.path.samefile(before, directory)
        logged = state['step'] if goes_on else None
        if goes_on and self.first:
            self.saver.go_on_from(state['step'])
        self.evaluator = Evaluator(self.program.config, self.job.dev_reader, self.job.places, self.program.executor)
        self.run_log = RunLog(directory, logged, self.args.visualdl) if self.first else None
        self.curves = Curves(directory, self.args.curves)
        self.window, self.begun, self.learning_rate = Window(), dict(state), self.args.learning_rate
        self.saved_step, self.saved_time = state['step'], clock.now()

    @property
    def epoch(self):
        """The epoch (from 1) of the last step, 0 before the first step."""
        return int(np.ceil(self.state['epochs_read']))

    def batches(self):
        """Yields the batches of an epoch from where the run stands, each with what its step feeds."""
        self._waiting_since = clock.now()
        for item in prefetch(steps(self.job.reader, self.program, self.state['position'], self.state['step'])):
            yield item
            self._waiting_since = clock.now()  # what came between is no training

    def step(self, batch, feed):
        """Trains on a batch, unless it is one to leave out.

        NotFinite if a loss or the gradient is not finite; the sentences of the batch are kept in a file then.
        """
        state, step = self.state, self.state['step'] + 1
        left_out = step in state['skipped_steps']
        if self.first:
            self.watch.begin(step)
        if not left_out:
            metrics = self.program.run(feed)
            if not np.isfinite(metrics).all():
                self._keep(batch, step, metrics)
                raise NotFinite(step)
        seconds = clock.now() - self._waiting_since
        state.update(step=step, position=batch.position, epochs_read=batch.epochs_read,
                     seconds=state['seconds'] + seconds)
        if not left_out:
            self.window.add(batch.num_tokens, metrics[:2], seconds)
            self.learning_rate = float(feed[0].get('learning_rate', self.learning_rate))

    def _keep(self, batch, step, metrics):
        """Writes the sentences of a batch, each with its file and line, for inspection, if that is possible."""
        share = '.trainer_%d' % self.job.cluster.trainer_id if self.job.cluster.num_trainers > 1 else ''
        path = os.path.join(self.job.directory, 'not_finite.%06d%s.txt' % (step, share))
        kept = 'kept in %s' % path
        try:
            with replacing(path) as output:
                for place, words in self.job.reader.sentences(batch):
                    output.write('%s\t%s\n' % (place, ' '.join(words)))
        except InputError as error:
            kept = 'not kept: %s' % error
        print('step %d: loss fw %s bw %s, norm of the gradient %s; its batch is %s'
              % ((step,) + tuple(metrics) + (kept,)))

    def log(self):
        """Prints a line every log_interval steps, and adds it to log.jsonl."""
        state, args = self.state, self.args
        if not self.first or state['step'] % args.log_interval or not self.window.steps:
            return
        # The number of steps in an epoch is not known before its end, but the share of the text that was read is.
        steps_per_epoch = ((state['step'] - self.begun['step']) / (state['epochs_read'] - self.begun['epochs_read']))
        total = int(state['step'] + (args.max_epoch - state['epochs_read']) * steps_per_epoch + 0.5)
        total = min(total, args.max_steps or total)
        (fw, bw), speed = self.window.loss, self.window.tokens_per_second
        perplexity_fw, perplexity_bw = perplexity(fw), perplexity(bw)
        print('epoch %d step %d/%d loss %.4f perplexity fw %.2f bw %.2f, %d tokens/s, %s left'
              % (self.epoch, state['step'], total, (fw + bw) / 2, perplexity_fw, perplexity_bw, speed,
                 self.window.time_left(total - state['step'])))
        self.run_log.write('train', state['step'], self.epoch, loss=(fw + bw) / 2, perplexity_fw=perplexity_fw,
                           perplexity_bw=perplexity_bw, learning_rate=self.learning_rate, tokens_per_second=speed,
                           seconds=state['seconds'])
        self.window = Window()

    def evaluation_due(self):
        epoch_ended = self.state['position']['epoch'] == self.epoch
        return self.first and (self.finished() or epoch_ended or self.state['step'] % self.args.dev_interval == 0)

    def evaluate(self):
        """Evaluates the dev text, and saves a checkpoint if it is the best so far."""
        start, state = clock.now(), self.state
        state['dev_pending'] = True
        self._pull(self.program.whole.all_parameters())
        with self.stop.at_once():
            found = self.evaluator.evaluate()
        state['dev_pending'] = False
        print('dev epoch %d step %d perplexity %.2f fw %.2f bw %.2f, %d tokens in %.1f s, after %s of training'
              % (self.epoch, state['step'], found.average, found.fw, found.bw, found.tokens, clock.now() - start,
                 progress.duration(state['seconds'])))
        self.run_log.write('dev', state['step'], self.epoch, loss=np.log(found.average), perplexity=found.average,
                           perplexity_fw=found.fw, perplexity_bw=found.bw, seconds=state['seconds'])
        if found.average < (state['best_dev_perplexity'] or np.inf):
            state.update(best_dev_perplexity=float(found.average), best_step=state['step'])
            self.save(best=True)

    def save_due(self):
        args, minutes = self.args, (clock.now() - self.saved_time) / 60
        return self.state['step'] % args.save_interval == 0 or 0 < args.save_minutes <= minutes

    def save(self, best=False):
        """Saves a checkpoint; `best` says that the dev text was just evaluated and is the best so far."""
        parameters = [] if best else self.program.whole.all_parameters()  # evaluate has just pulled them
        self._pull(parameters + self.program.optimizer_variables)
        self._check_parameters()
        path = self.saver.save(self.state)
        print('saved %s%s' % (path, ', the best so far' if best else ''))
        self.saved_step, self.saved_time = self.state['step'], clock.now()
        self.curves.draw()

    def _check_parameters(self):
        """The last update may have been too large, with a loss and a gradient that were finite."""
        step = self.state['step']
        for parameter in self.program.whole.all_parameters():
            if not np.isfinite(np.array(fluid.global_scope().find_var(parameter.name).get_tensor())).all():
                if self.job.cluster.num_trainers > 1:  # the others do not know
                    raise InputError('a parameter is not finite after step %d: %s; lower --learning_rate, and go on '
                                     'with --resume' % (step, parameter.name))
                raise NotFinite(step)

    def save_the_rest(self):
        """Saves what was trained since the last checkpoint, if there is any."""
        if self.first and self.saved_step < self.state['step']:
            self.save()

    def _pull(self, variables):
        """Gets variables from the parameter servers, if there are any."""
        if self.job.cluster.servers:
            self.program.transpiled.pull(self.exe, variables)

    def finished(self):
        return self.state['position']['epoch'] >= self.args.max_epoch or 0 < self.args.max_steps <= self.state['step']

    def ending(self):
        return self.finished() or self.first and bool(self.stop.requested)

    def conclude(self):
        """Prints how the run ended; when it was stopped, all other processes stop too."""
        self.curves.draw(last=True)
        state = self.state
        if self.stop.requested and not (self.finished() and not state['dev_pending']):
            flag = '--resume_from %s' % self.job.directory if self.args.resume_from else '--resume'
            print('stopped by %s after step %d; to go on: the same command with %s --save_dir %s'
                  % (self.stop.requested, state['step'], flag, self.job.directory))
            self.watch.stop()
        else:
            print('finished: epoch %d, step %d, best dev perplexity %.2f, peak memory %d MB'
                  % (state['position']['epoch'], state['step'], state['best_dev_perplexity'] or np.inf,
                     resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024))


def fit(trainer):
    """Trains to the end, or until a signal asks to stop."""
    if trainer.first and trainer.state['dev_pending']:
        trainer.evaluate()
    while not trainer.ending():
        for batch, feed in trainer.batches():
            trainer.step(batch, feed)
            trainer.log()
            if trainer.evaluation_due():
                trainer.evaluate()
            if trainer.save_due():
                trainer.save_the_rest()
            if trainer.ending():
                break
    trainer.save_the_rest()


def run(job, config, path, skipped, stop):
    """Trains from the checkpoint at `path` or the start on, in a scope of its own; see Trainer and Trainer.restore.

    NotFinite if a loss or gradient is not finite.
    """
    failure = None
    watch = job.watch(path)
    with fluid.scope_guard(fluid.Scope()), watch:
        job.join(watch)
        program = TrainingProgram(config, job.args, job.places, job.cluster)
        if job.cluster.server:
            return serve(job, program, path)
        trainer = Trainer(job, program, stop, watch)
        trainer.restore(path, skipped)
        try:
            fit(trainer)
        except NotFinite as error:
            failure = error  # raised outside, as all processes find it and the watch need not tell them
        except Stopped:  # a signal in an evaluation, which is done again when the run goes on
            trainer.save_the_rest()
        except checkpoint.SaveError:
            raise
        except InputError as error:  # a bad line far into the text: what was learned until there is kept
            if not trainer.first:
                watch.fail(trainer.state['step'] + 1, error)
            trainer.save_the_rest()
            raise
        if trainer.first and not failure:
            trainer.conclude()
    if failure:
        raise failure


def serve(job, program, path):
    """Runs a parameter server from the checkpoint at `path` or the start on, until all trainers are through."""
    main, startup = program.transpiled.server_programs()
    exe = fluid.Executor(job.places[0])
    exe.run(startup)
    if path or job.init_from:
        held = main.global_block().vars
        of_optimizer = {variable.name for variable in program.optimizer_variables} if path else set()
        path = path or job.init_from
        for part, names in (('', os.listdir(path)), ('optimizer', of_optimizer)):
            checkpoint.load_variables(exe, path, part,
                                      [variable for name, variable in sorted(held.items()) if name in names])
    print('serving at %s' % job.cluster.server)
    exe.run(main)


def train(args):
    """Trains as the flags say."""
    job = Job(args)
    with rundir.locked(job.directory, alone=job.cluster.trainer_id == 0):
        path = checkpoint.to_go_on(job.directory) if args.resume else job.resume_from
        if args.resume and not path and job.cluster.trainer_id == 0:
            print('--resume: no checkpoint in %s yet: the run starts anew' % job.directory)
        start = path or job.init_from
        config = job.network_config(start)
        if start:
            checkpoint.check_config(start, config, job.vocabulary)
        devices.check_memory(job.places[0], bilm.parameter_shapes(config).values(), 1 + KEPT[args.optim])
        if args.learning_rate is None:
            args.learning_rate = DEFAULT_RATES[args.optim](config['hidden_size'])
        print('%d %s, %d words, embed_size %d, hidden_size %d, num_layers %d, %d tokens a step, %s %g'
              % (job.num_devices, 'GPU' if isinstance(job.places[0], fluid.CUDAPlace) else 'CPU', len(job.vocabulary),
                 config['embed_size'], config['hidden_size'], config['num_layers'], job.reader.batch_tokens,
                 args.optim, args.learning_rate))
        with job.start_others(), Stop() as stop:
            run_until_finite(job, config, path, stop)


def run_until_finite(job, config, path, stop):
    """Runs from the checkpoint at `path` or the start on. After a failure --on_nan skip goes back to the last
    checkpoint and leaves out the step that failed. A signal meanwhile, which `stop` knows, ends the run there.

    InputError without --on_nan skip, or after MAX_SKIPPED failures.
    """
    skipped = []
    while True:
        try:
            return run(job, config, path, skipped, stop)
        except NotFinite as error:
            skipped.append(error.step)
            path = checkpoint.newest_whole(job.directory) or path
        if job.args.on_nan == 'stop' or len(skipped) > MAX_SKIPPED:
            raise InputError('step %d: a loss or gradient is not finite; the checkpoint before it is %s. Lower '
                             '--learning_rate, or leave such batches out with --on_nan skip (at most %d)'
                             % (skipped[-1], path or 'none', MAX_SKIPPED))
        print('going back to %s to leave out step %d, %d so far' % (path or 'the start', skipped[-1], len(skipped)))


if __name__ == '__main__':
    cli.run(lambda: train(parse_args()), trains=True)
