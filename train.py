# -*- coding: utf-8 -*-
"""Pretrains a bidirectional LSTM language model: one optimizer update a step, over all devices."""
from __future__ import absolute_import, division, print_function, unicode_literals

import contextlib
import io
import os
import resource
import time

import environment  # noqa: F401  before fluid, which reads it when it is loaded
import numpy as np
import paddle.fluid as fluid

import bilm
import checkpoint
import cli
import devices
import distributed
import plot
from args import SIZES, parse_args
from evaluate import Evaluator
from files import replacing
from reader import BucketedReader, InputError, Vocabulary, list_files, prefetch
from runlog import RunLog
from sampling import LogUniformSampler

MAX_SKIPPED = 10  # batches in a run; more of them are a matter of the settings
STATE = {'step': int, 'position': dict, 'epochs_read': float, 'seconds': float, 'flags': dict}  # to go on from
OPTIMIZERS = {
    # The accumulators start at 1 as in the TensorFlow reference: from 0, every parameter's first update would be as
    # large as the learning rate.
    'adagrad': lambda rate, clip: fluid.optimizer.Adagrad(rate, initial_accumulator_value=1., grad_clip=clip),
    'sgd': lambda rate, clip: fluid.optimizer.SGD(rate, grad_clip=clip),
    'adam': lambda rate, clip: fluid.optimizer.Adam(rate, lazy_mode=True, grad_clip=clip),
    'rmsprop': lambda rate, clip: fluid.optimizer.RMSProp(rate, grad_clip=clip),
}


def build(config, args, cluster=distributed.LOCAL):
    """The training program, its startup program, the name of the loss, and that of what each step fetches, float32 [3]:
    the mean loss forward and backward, and the global norm of the gradient before it is clipped.

    Each device is fed `loss_scale`, float32 [1]: number of devices / tokens of the step on all of them, those of all
    trainers. As fluid averages the gradients of the devices, a step minimises the mean over all tokens, whatever each
    device got. With linear_decay it is fed `learning_rate`, float32 [1], too.
    """
    main_program, startup_program = fluid.Program(), fluid.Program()
    with fluid.program_guard(main_program, startup_program), fluid.unique_name.guard():
        loss_scale = fluid.data('loss_scale', [1], dtype='float32')
        fw, bw = [fluid.layers.elementwise_mul(fluid.layers.reduce_sum(loss), loss_scale)
                  for loss in bilm.language_model(config, args.dropout, args.random_seed, training=True,
                                                  sampled=args.sample_softmax)]
        # The learning rate and the bound of the gradients were chosen for the loss summed over num_steps tokens.
        loss = fluid.layers.scale(fluid.layers.elementwise_add(fw, bw), 0.5 * args.num_steps)
        clip = distributed.Clip(args.max_grad_norm)
        rate = fluid.data('learning_rate', [1], dtype='float32') if args.linear_decay else args.learning_rate
        OPTIMIZERS[args.optim](rate, clip).minimize(loss)
        block = main_program.global_block()
        norm, = [block.var(op.output('Out')[0]) for op in block.ops if op.type == 'sqrt']
        figures = fluid.layers.concat([fw, bw, norm])
        if cluster.num_trainers > 1:
            figures = distributed.average(figures)
    return main_program, startup_program, loss.name, figures.name


def feed_step(batch, step, vocabulary, places, config, args, cluster=distributed.LOCAL):
    """What step number `step` (from 0) feeds to each device of this trainer.

    Its dropout masks, and the candidates of a sampled softmax, the same for all devices, follow from
    (random_seed, step).
    """
    feeds = devices.feeds(batch.batches, vocabulary, places)
    random = np.random.RandomState((args.random_seed, step))
    if args.sample_softmax:
        sampler = LogUniformSampler(config['vocab_size'], args.n_negative_samples_batch)
        candidates = sampler.draw(random)
        for feed in feeds:
            feed.update(sampler.feed(candidates, {name: np.array(feed[name]) for name in ('tokens', 'next_tokens')}))
    if args.linear_decay:
        done = max(batch.epochs_read / args.max_epoch, (step + 1) / args.max_steps if args.max_steps else 0.)
        for feed in feeds:
            feed['learning_rate'] = np.array([args.learning_rate * (1 - done)], dtype='float32')
    num_devices = len(places) * cluster.num_trainers
    seeds = random.randint(1, 2 ** 31 - 1, [num_devices, bilm.num_dropout_seeds(config)]).astype('int32')
    for number, (feed, share) in enumerate(zip(feeds, batch.batches), cluster.trainer_id * len(places)):
        feed['loss_scale'] = np.array([num_devices / batch.num_tokens if len(share.lengths) else 0.], dtype='float32')
        if args.dropout:
            feed['dropout_seeds'] = seeds[number]
    return feeds


def run_step(executor, figures, feed):
    """Runs a step; its mean losses forward and backward and its gradient norm, float32 [3]. `figures` is from build."""
    return np.reshape(executor.run([figures], feed), [-1, 3]).mean(axis=0)  # of the devices


class Log(object):
    """Tells of training every log_interval steps: a line on the standard output, and one of log.jsonl."""

    def __init__(self, state, args, run_log):
        self.args, self.start, self.run_log = args, dict(state), run_log
        self._begin()

    def _begin(self):
        self.steps, self.tokens, self.losses, self.seconds = 0, 0, np.zeros(2), 0.

    def step(self, epoch, state, tokens, losses, seconds, learning_rate):
        """Takes in a step: its epoch, the state after it, its tokens, mean losses [fw, bw], duration, learning rate."""
        self.steps, self.tokens, self.seconds = self.steps + 1, self.tokens + tokens, self.seconds + seconds
        self.losses += tokens * losses
        if state['step'] % self.args.log_interval:
            return
        # The number of steps in an epoch is not known before its end, but the share of the text read is.
        steps_per_epoch = (state['step'] - self.start['step']) / (state['epochs_read'] - self.start['epochs_read'])
        total = int(state['step'] + (self.args.max_epoch - state['epochs_read']) * steps_per_epoch + 0.5)
        total = min(total, self.args.max_steps or total)
        left = cli.duration((total - state['step']) * self.seconds / self.steps)
        fw, bw = self.losses / self.tokens
        loss, speed = (fw + bw) / 2, self.tokens / self.seconds
        print('epoch %d step %d/%d loss %.4f perplexity fw %.2f bw %.2f, %d tokens/s, %s left'
              % (epoch + 1, state['step'], total, loss, np.exp(fw), np.exp(bw), speed, left))
        self.run_log.write('train', state['step'], epoch + 1, loss=loss, perplexity_fw=np.exp(fw),
                           perplexity_bw=np.exp(bw), learning_rate=learning_rate, tokens_per_second=speed,
                           seconds=state['seconds'])
        self._begin()


def steps(reader, state, *settings):
    """Yields the batches of an epoch from where `state` is on, each with what its step feeds; see feed_step."""
    for step, batch in enumerate(reader.epoch(state['position']), state['step']):
        yield batch, feed_step(batch, step, *settings)


def describe(reader):
    """What a run remembers of a text, to notice another one."""
    return '%d files, %d bytes' % (len(reader.paths), sum(reader.sizes))


def keep_batch(batch, reader, path):
    """Writes the sentences of a batch, each with its file and line, for inspection."""
    with replacing(path) as output:
        for share in batch.batches:
            starts = np.cumsum(share.lengths) - share.lengths
            for start, length, (file, line) in zip(starts, share.lengths, share.sources):
                words = [reader.vocabulary.words[id] for id in share.tokens[start + 1:start + length, 0]]
                output.write('%s:%d\t%s\n' % (reader.paths[file], line, ' '.join(words)))


def train(args):
    """Trains as the flags say; with --on_nan skip, again from the last checkpoint without a batch that failed."""
    cluster = distributed.cluster(args.update_method)
    if cluster.method == 'nccl2' and not fluid.is_compiled_with_cuda():
        raise InputError('--update_method nccl2: needs GPUs, and this PaddlePaddle is built without CUDA; install '
                         'paddlepaddle-gpu, or use pserver')
    if cluster.servers and not distributed.has_servers():
        raise InputError('--update_method pserver: this PaddlePaddle has no parameter servers of fluid; use 1.8.5')
    places = devices.places(args.use_gpu)
    if cluster.servers and len(places) > 1:
        raise InputError('--update_method pserver: a trainer has one device, not %d; start more trainers instead, each '
                         'with CPU_NUM=1 or one CUDA_VISIBLE_DEVICES' % len(places))
    vocabulary = Vocabulary(args.vocab_path)
    if args.sample_softmax is None:
        args.sample_softmax = len(vocabulary) >= 4 * args.n_negative_samples_batch
    if args.sample_softmax and args.n_negative_samples_batch >= len(vocabulary):
        raise InputError('--n_negative_samples_batch %d: %s has only %d words; give fewer, or --sample_softmax False'
                         % (args.n_negative_samples_batch, args.vocab_path, len(vocabulary)))
    batch_tokens = args.batch_size * args.num_steps * len(places)
    reader = BucketedReader(list_files(args.train_path), vocabulary, batch_tokens * cluster.num_trainers, len(places),
                            args.random_seed, args.max_sentence_length, trainer_id=cluster.trainer_id or 0,
                            num_trainers=cluster.num_trainers)
    dev_reader = BucketedReader(list_files(args.test_path), vocabulary, batch_tokens, len(places),
                                max_length=args.max_sentence_length, shuffle=False)
    for _ in dev_reader.epoch(dev_reader.start()):
        pass  # a bad line of the dev text is told now, not after an epoch
    load_dir = args.load_dir and checkpoint.find(args.load_dir, '--load_dir')
    pretrained = args.load_pretraining_params and checkpoint.find(args.load_pretraining_params,
                                                                  '--load_pretraining_params')
    save_dir = checkpoint.prepare_directory(args.para_save_dir, load_dir, args.resume)
    print('%d %s, %d words, embed_size %d, hidden_size %d, num_layers %d, %d tokens a step'
          % (cluster.num_trainers * len(places), 'GPU' if isinstance(places[0], fluid.CUDAPlace) else 'CPU',
             len(vocabulary), args.embed_size, args.hidden_size, args.num_layers, reader.batch_tokens))
    with contextlib.closing(checkpoint.lock(save_dir) if cluster.trainer_id == 0 else io.open(os.devnull)):
        if args.resume:
            load_dir = checkpoint.newest_whole(save_dir)
        skipped = []
        while True:
            agreed = os.path.basename(load_dir or pretrained or 'start')
            with fluid.scope_guard(fluid.Scope()), cli.Stop() as stop, \
                    distributed.Watch(cluster, agreed, args.start_timeout) as watch:
                failed = run(args, places, reader, dev_reader, save_dir, load_dir, pretrained, skipped, stop, watch)
            if failed is None:
                return
            skipped.append(failed)
            load_dir = checkpoint.newest_whole(save_dir) or load_dir
            if args.on_nan == 'stop' or len(skipped) > MAX_SKIPPED:
                raise InputError('step %d: a loss or gradient is not finite; the checkpoint before it is %s. Lower '
                                 '--learning_rate, or leave such batches out with --on_nan skip (at most %d)'
                                 % (failed, load_dir or 'none', MAX_SKIPPED))
            print('going back to %s to leave out step %d, %d so far' % (load_dir or 'the start', failed, len(skipped)))


def serve(exe, transpiled, path, optimizer_variables):
    """Runs a parameter server from a checkpoint or the start on, until all trainers are through.

    Args:
        path: the checkpoint, or None.
        optimizer_variables: those to load from it.
    """
    program, startup_program = transpiled.server_programs()
    exe.run(startup_program)
    if path:
        held, of_optimizer = program.global_block().vars, {variable.name for variable in optimizer_variables}
        for part, names in (('', os.listdir(path)), ('optimizer', of_optimizer)):
            checkpoint.load_variables(exe, path, part, program,
                                      [variable for name, variable in sorted(held.items()) if name in names])
    print('serving at %s' % transpiled.cluster.server)
    exe.run(program)


def run(args, places, reader, dev_reader, save_dir, load_dir, pretrained, skipped, stop, watch):
    """Trains from a checkpoint or the start on, to the end or until a signal asks to stop; all in the current scope.

    Of many trainers the first one logs, evaluates and saves; a parameter server serves them.

    Returns None, or the number of the step at which a loss or the gradient was not finite.
    """
    vocabulary, cluster = reader.vocabulary, watch.cluster
    first = cluster.trainer_id == 0
    config = dict({name: getattr(args, name) for name in SIZES}, vocab_size=len(vocabulary),
                  vocab_sha256=vocabulary.sha256, bos_id=vocabulary.bos, eos_id=vocabulary.eos)
    main_program, startup_program, loss, figures = build(config, args, cluster)
    exe, whole = fluid.Executor(places[0]), main_program
    if cluster.method != 'local':
        whole = main_program.clone()  # a trainer's program lacks what the servers do
        transpiled = distributed.Transpiled(cluster, main_program, startup_program)
        main_program = transpiled.program
        if cluster.server:
            serve(exe, transpiled, load_dir or pretrained, checkpoint.optimizer_variables(whole) if load_dir else [])
            return None
    exe.run(startup_program)

    # A run goes on only with the same values of what its parameters, accumulators and place in the text depend on.
    fixed = {name: getattr(args, name) for name in (
        'optim', 'learning_rate', 'linear_decay', 'max_grad_norm', 'dropout', 'num_steps', 'max_sentence_length',
        'sample_softmax', 'random_seed')}
    # The same batch may be divided among other devices: the result is the same but for rounding and dropout.
    fixed['batch_size of all devices'] = args.batch_size * len(places) * cluster.num_trainers
    fixed['train_path'] = describe(reader)
    if args.sample_softmax:
        fixed['n_negative_samples_batch'] = args.n_negative_samples_batch
    if args.linear_decay:
        fixed.update(max_epoch=args.max_epoch, max_steps=args.max_steps)
    state = {'step': 0, 'position': reader.start(), 'epochs_read': 0., 'seconds': 0., 'best_dev_perplexity': None,
             'dev_pending': bool(pretrained), 'skipped_steps': [], 'flags': fixed, 'test_path': describe(dev_reader)}
    if load_dir or pretrained:
        names = checkpoint.load_parameters(exe, load_dir or pretrained, whole, config, vocabulary)
        print('loaded %s: %s' % (load_dir or pretrained, ' '.join(names)))
        if not set(bilm.SOFTMAX_PARAMETERS) <= set(names):
            print('this checkpoint is an encoder alone: the softmax starts anew')
    if load_dir:
        state.update(checkpoint.load_state(exe, load_dir, whole, fixed, STATE))
        reader.check(state['position'])
        if state['test_path'] != describe(dev_reader):
            print('the dev text is another than before: its best perplexity counts anew')
            state.update(test_path=describe(dev_reader), best_dev_perplexity=None)
    state['skipped_steps'] = sorted(set(state['skipped_steps'] + skipped))

    executor = devices.Executor(main_program, places, loss, cluster=cluster)
    evaluator = Evaluator(config, dev_reader, places, executor)
    run_log = RunLog(save_dir, state['step'], args.visualdl) if first else None
    curves = plot.Curves(save_dir, args.curves)
    log, saved = Log(state, args, run_log), {'step': state['step'], 'time': time.time()}

    def save(best=False):
        if cluster.servers:
            parameters = [] if best else whole.all_parameters()  # evaluate has just pulled them
            transpiled.pull(exe, parameters + checkpoint.optimizer_variables(whole))
        path = checkpoint.save(exe, whole, config, state, save_dir, args.keep_checkpoints, best)
        print('saved %s%s' % (path, ', the best so far' if best else ''))
        saved.update(step=state['step'], time=time.time())
        curves.draw()

    def evaluate(epoch):
        """Evaluates the dev text, and saves a checkpoint if it is the best so far."""
        start = time.time()
        state['dev_pending'] = True
        if cluster.servers:
            transpiled.pull(exe, whole.all_parameters())
        with stop.at_once():
            _, tokens, _, fw, bw, average = evaluator.evaluate()
        state['dev_pending'] = False
        print('dev epoch %d step %d perplexity %.2f fw %.2f bw %.2f, %d tokens in %.1f s, after %s of training'
              % (epoch, state['step'], average, fw, bw, tokens, time.time() - start, cli.duration(state['seconds'])))
        run_log.write('dev', state['step'], epoch, loss=np.log(average), perplexity=average, perplexity_fw=fw,
                      perplexity_bw=bw, seconds=state['seconds'])
        if state['best_dev_perplexity'] is None or average < state['best_dev_perplexity']:
            state['best_dev_perplexity'] = float(average)
            save(best=True)

    def finished():
        return state['position']['epoch'] >= args.max_epoch or 0 < args.max_steps <= state['step']

    def ending():
        return finished() or first and stop.requested

    try:
        if state['dev_pending'] and first:
            evaluate(int(np.ceil(state['epochs_read'])))
        while not ending():
            epoch, start = state['position']['epoch'], time.time()
            for batch, feed in prefetch(steps(reader, dict(state), vocabulary, places, config, args, cluster)):
                step = state['step'] + 1
                left_out = step in state['skipped_steps']
                if not left_out:
                    values = run_step(executor, figures, feed)
                    if not np.isfinite(values).all():
                        share = '.trainer_%d' % cluster.trainer_id if cluster.num_trainers > 1 else ''
                        path = os.path.join(save_dir, 'not_finite.%06d%s.txt' % (step, share))
                        keep_batch(batch, reader, path)
                        print('step %d: loss fw %s bw %s, norm of the gradient %s; its batch is kept in %s'
                              % ((step,) + tuple(values) + (path,)))
                        return step
                seconds = time.time() - start  # with the wait for the reader, without evaluation and saving
                state.update(step=step, position=batch.position, epochs_read=batch.epochs_read,
                             seconds=state['seconds'] + seconds)
                if first:
                    if not left_out:
                        log.step(epoch, state, batch.num_tokens, values[:2], seconds,
                                 feed[0].get('learning_rate', args.learning_rate))
                    if finished() or batch.position['epoch'] > epoch or step % args.dev_interval == 0:
                        evaluate(epoch + 1)
                    due = step % args.save_interval == 0 or 0 < args.save_minutes <= (time.time() - saved['time']) / 60
                    if saved['step'] < step and (due or ending()):
                        save()
                if ending():
                    break
                start = time.time()
    except checkpoint.SaveError:
        raise
    except (InputError, cli.Stopped) as error:
        # A bad line far into the text, or a signal during an evaluation: keep what was learned until there.
        if not first:
            time.sleep(60)  # the first one saves, and ends this one by its own end
        elif saved['step'] < state['step']:
            save()
        if isinstance(error, InputError):
            raise
    if not first:
        return None
    curves.draw(last=True)
    if stop.requested and not (finished() and not state['dev_pending']):
        print('stopped by %s after step %d; to go on: the same command with --resume --para_save_dir %s'
              % (stop.requested, state['step'], save_dir))
        watch.stop()
        return None
    print('finished: epoch %d, step %d, best dev perplexity %.2f, peak memory %d MB'
          % (state['position']['epoch'], state['step'], state['best_dev_perplexity'],
             resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024))
    return None


if __name__ == '__main__':
    cli.run(lambda: train(parse_args()))
