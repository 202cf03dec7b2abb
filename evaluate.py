# -*- coding: utf-8 -*-
"""Perplexity of a checkpoint on a text, forward and backward, over every token with the full softmax."""
from __future__ import absolute_import, division, print_function, unicode_literals

import environment  # noqa: F401  before fluid, which reads it when it is loaded
import numpy as np
import paddle.fluid as fluid

import args as flags
import bilm
import checkpoint
import cli
import devices
from files import replacing
from reader import BucketedReader, InputError, Vocabulary, list_files, prefetch


class Evaluator(object):
    """Evaluates the parameters in scope on a text.

    Args:
        config: sizes of the network.
        reader: a BucketedReader with shuffle=False over the text, for as many devices as `places`.
        places: list of fluid places.
        trained: the devices.Executor that trains the parameters, or None to take them from the global scope.
    """

    def __init__(self, config, reader, places, trained=None):
        self.reader, self.places, self.trained, self.executor = reader, places, trained, None
        self.program = fluid.Program()
        with fluid.program_guard(self.program, fluid.Program()), fluid.unique_name.guard():
            self.losses = bilm.language_model(config)

    def sentences(self):
        """Yields, for a buffer of the reader at a time, the sentences in reading order (pieces of a line summed up):

        sources, int64 [S, 2]: index of the file and line;
        counts, int64 [S, 2]: tokens predicted in each direction, and unknown words among those read;
        losses, float64 [S, 2]: summed cross entropy in nats, forward and backward.
        """
        executor = self.executor
        if executor is None:  # built at first use: the parameters must be loaded by then
            sharing = self.trained if self.trained and self.trained.has_run else None
            executor = devices.Executor(self.program, self.places, share_vars_from=sharing)
            if sharing or not self.trained:  # otherwise it has copies, which training would leave behind
                self.executor = executor
        unk, total, rows = self.reader.vocabulary.unk, sum(self.reader.sizes), []
        progress = cli.Progress('evaluate', total, 'bytes')
        for step in prefetch(self.reader.epoch(self.reader.start())):
            losses = executor.run(feed=devices.feeds(step.batches, self.reader.vocabulary, self.places),
                                  fetch_list=[loss.name for loss in self.losses], return_numpy=False)
            losses = np.hstack([np.array(loss) for loss in losses]).astype('float64')
            for batch in step.batches:
                if len(batch.lengths):
                    columns = np.hstack([batch.tokens == unk, losses[:len(batch.tokens)]])
                    sums = np.add.reduceat(columns, np.cumsum(batch.lengths) - batch.lengths)
                    rows.append(np.column_stack([batch.sources, batch.lengths, sums]))
                losses = losses[max(len(batch.tokens), 1):]  # an empty batch ran on one token
            if not step.position['batch'] and rows:  # the buffer ends here
                rows = np.concatenate(rows)
                sources, line = np.unique(rows[:, :2].astype('int64'), axis=0, return_inverse=True)
                sums = np.zeros([len(sources), 4])
                np.add.at(sums, line, rows[:, 2:])
                yield sources, sums[:, :2].astype('int64'), sums[:, 2:]
                rows = []
            progress.update(int(step.epochs_read * total))
        progress.close()

    def evaluate(self, output=None):
        """Evaluates the whole text; writes a line for each sentence to `output`, an open text file, if there is one.

        Returns sentences, tokens predicted, unknown words, perplexity forward, backward and average.
        """
        totals = np.zeros(5)
        if output:
            output.write('file\tline\ttokens\tunknown\tfw\tbw\taverage\n')
        for sources, counts, losses in self.sentences():
            totals += np.concatenate([[len(counts)], counts.sum(axis=0), losses.sum(axis=0)])
            if output:
                for (file, line), (tokens, unknown), loss in zip(sources, counts, losses):
                    output.write('%s\t%d\t%d\t%d\t%.4f\t%.4f\t%.4f\n' % (
                        (self.reader.paths[file], line, tokens, unknown) + perplexities(loss, tokens)))
        sentences, tokens, unknown = totals[:3].astype('int64')
        return (sentences, tokens, unknown) + perplexities(totals[3:], tokens)


def perplexities(losses, tokens):
    """Perplexity forward, backward and average (that of the mean loss), from summed losses [fw, bw] in nats."""
    fw, bw = losses / tokens
    return np.exp(fw), np.exp(bw), np.exp((fw + bw) / 2)


def main():
    parser = cli.ArgumentParser(description=__doc__)
    parser.add_argument('--load_dir', required=True, help='a checkpoint, or a directory of them: the newest is taken')
    parser.add_argument('--test_path', required=True, help='segmented text: a file, a directory or a quoted glob')
    parser.add_argument('--vocab_path', required=True, help='vocabulary of the checkpoint')
    parser.add_argument('--batch_tokens', type=cli.positive_int, default=1280,
                        help='tokens in a batch of each device; memory grows with it times the vocabulary')
    parser.add_argument('--max_sentence_length', type=cli.positive_int, default=256,
                        help=flags.MAX_SENTENCE_LENGTH)
    parser.add_argument('--use_gpu', type=cli.boolean, default=None, help=flags.USE_GPU)
    parser.add_argument('--per_sentence', metavar='FILE', default='',
                        help='write a line for each sentence: file, line, tokens, unknown words, perplexities')
    args = parser.parse_args()

    places = devices.places(args.use_gpu)
    vocabulary = Vocabulary(args.vocab_path)
    path = checkpoint.find(args.load_dir)
    config = checkpoint.read_config(path, vocabulary)
    reader = BucketedReader(list_files(args.test_path), vocabulary, args.batch_tokens * len(places), len(places),
                            max_length=args.max_sentence_length, shuffle=False)
    evaluator = Evaluator(config, reader, places)
    names = checkpoint.load_parameters(fluid.Executor(places[0]), path, evaluator.program, config, vocabulary)
    if not set(bilm.SOFTMAX_PARAMETERS) <= set(names):
        raise InputError('%s: has no softmax, so there is no perplexity; name a whole checkpoint' % path)
    if args.per_sentence:
        with replacing(args.per_sentence) as output:
            results = evaluator.evaluate(output)
    else:
        results = evaluator.evaluate()
    print('%s\n%d sentences, %d tokens with the sentence ends, %d unknown words (%.2f%%)\n'
          'perplexity fw %.2f bw %.2f average %.2f'
          % ((path,) + results[:3] + (100. * results[2] / (results[1] - results[0]),) + results[3:]))


if __name__ == '__main__':
    cli.run(main)
