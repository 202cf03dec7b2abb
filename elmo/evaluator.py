# -*- coding: utf-8 -*-
"""Perplexity of a language model on a text, forward and backward, over every token with the full softmax."""
from __future__ import absolute_import, division, print_function, unicode_literals

import collections

import numpy as np
import paddle.fluid as fluid

import bilm
from elmo import devices
from elmo.batching import prefetch
from elmo.progress import Progress

# Of a text: the number of sentences, of words, of tokens predicted in each direction (words, and an end for each piece
# of a sentence), and of unknown words; the perplexity forward, backward and average.
Evaluation = collections.namedtuple('Evaluation', 'sentences words tokens unknown fw bw average')


class Evaluator(object):
    """Evaluates the parameters in scope on a text.

    Args:
        config: sizes of the network.
        reader: a BucketedReader of the text with shuffle=False, for as many devices as `places`.
        places: list of fluid places.
        trained: the devices.Executor that trains the parameters. None: they are in the current scope.
    """

    def __init__(self, config, reader, places, trained=None):
        self.config, self.reader, self.places = config, reader, places
        self.trained, self.executor = trained, None
        self.program = fluid.Program()
        with devices.building(self.program):
            self.losses = bilm.language_model(config)

    def _executor(self):
        """Made at first use, as the parameters must be loaded by then."""
        if self.executor:
            return self.executor
        sharing = self.trained if self.trained and self.trained.has_run else None
        executor = devices.Executor(self.program, self.places, share_vars_from=sharing)
        if sharing or not self.trained:  # otherwise it has copies, which training would leave behind
            self.executor = executor
        return executor

    def _step(self, executor, step):
        """The losses of a GlobalBatch: float64 [S, 6], for each sentence its file, line, tokens, unknown words and the
        summed losses forward and backward.
        """
        feeds = devices.feeds(step.batches, self.config, self.places)
        losses = executor.run([loss.name for loss in self.losses], feeds, return_numpy=False)
        losses, rows = np.hstack([np.array(loss) for loss in losses]).astype('float64'), []
        for batch in step.batches:
            if len(batch.lengths):
                columns = np.hstack([batch.tokens == self.reader.vocabulary.unk, losses[:len(batch.tokens)]])
                sums = np.add.reduceat(columns, np.cumsum(batch.lengths) - batch.lengths)
                rows.append(np.column_stack([batch.sources, batch.lengths, sums]))
            losses = losses[max(len(batch.tokens), 1):]  # an empty batch ran on one token
        return np.concatenate(rows)

    def sentences(self):
        """Yields the sentences of a buffer of the reader at a time, in reading order; pieces of a line are summed up.

        Yields:
            sources, int64 [S, 2]: index of the file and line.
            counts, int64 [S, 2]: tokens predicted in each direction, and unknown words among those read.
            losses, float64 [S, 2]: summed cross entropy in nats, forward and backward.
        """
        executor, total, rows = self._executor(), sum(self.reader.sizes), []
        progress = Progress('evaluate', total, 'bytes')
        for step in prefetch(self.reader.epoch(self.reader.start())):
            rows.append(self._step(executor, step))
            if not step.position['batch']:  # the buffer ends here
                rows = np.concatenate(rows)
                sources, line = np.unique(rows[:, :2].astype('int64'), axis=0, return_inverse=True)
                sums = np.zeros([len(sources), 4])
                np.add.at(sums, line, rows[:, 2:])
                yield sources, sums[:, :2].astype('int64'), sums[:, 2:]
                rows = []
            progress.update(int(step.epochs_read * total))
        progress.close()

    def evaluate(self, output=None):
        """The Evaluation of the whole text. Writes a line a sentence to `output`, a text file, if there is one."""
        totals, words = np.zeros(5), 0
        if output:
            output.write('file\tline\ttokens\tunknown\tfw\tbw\taverage\n')
        for sources, counts, losses in self.sentences():
            totals += np.concatenate([[len(counts)], counts.sum(axis=0), losses.sum(axis=0)])
            pieces = np.ceil(counts[:, 0] / (self.reader.max_length + 1))  # all but the last of a line are full
            words += int((counts[:, 0] - pieces).sum())
            if output:
                for (file, line), (tokens, unknown), loss in zip(sources, counts, losses):
                    output.write('%s\t%d\t%d\t%d\t%.4f\t%.4f\t%.4f\n' % (
                        (self.reader.paths[file], line, tokens, unknown) + perplexities(loss, tokens)))
        sentences, tokens, unknown = totals[:3].astype('int64')
        return Evaluation(sentences, words, tokens, unknown, *perplexities(totals[3:], tokens))


def perplexities(losses, tokens):
    """Perplexity forward, backward and average (that of the mean loss), from summed losses [fw, bw] in nats."""
    fw, bw = losses / tokens
    return perplexity(fw), perplexity(bw), perplexity((fw + bw) / 2)


def perplexity(loss):
    """The perplexity of a mean loss in nats; infinite where float64 does not hold it."""
    with np.errstate(over='ignore'):
        return np.exp(loss)
