# -*- coding: utf-8 -*-
"""One process for each device, with fluid 2.5: together they train like one, and end together."""
from __future__ import absolute_import, division, print_function, unicode_literals

import contextlib
import io
import os
import signal
import socket
import sys

import numpy as np
import paddle.fluid as fluid
import pytest

from project import ROOT
from benchmark import common, scaling
from helpers import Training, last, losses, run, run_command, same, wait_until
from args import parse_args
import bilm
from elmo import collective, devices, distributed, release
from elmo.text import InputError
from elmo.training import TrainingProgram

pytestmark = [pytest.mark.skipif(release.has_data_parallel(), reason='this fluid has ParallelExecutor'),
              pytest.mark.usefixtures('fresh_scope')]
SAMPLED = {'sample_softmax': True, 'n_negative_samples_batch': 6, 'optim': 'adam', 'learning_rate': 0.01}
CLIPPED = {'max_grad_norm': 0.5}
CLUSTER = distributed.Cluster('nccl2', 1, 2, ['10.0.0.1:7000', '10.0.0.2:7000'], [], None)


@pytest.mark.parametrize('number, flags', [(2, CLIPPED), (4, SAMPLED)])
def test_many_processes_train_like_one(corpus, number, flags):
    flags = dict(flags, dropout=0, max_epoch=6, max_steps=30)
    run(corpus, batch_size=8, save_dir=corpus.directory.join('one'), **flags)
    code, output, errors = Training(corpus, number, batch_size=8 // number, save_dir=corpus.directory.join('many'),
                                    **flags).end()
    assert code == 0 and not errors, errors
    assert '%d CPU' % number in output
    expected = losses(corpus, 'one')
    assert len(expected) == 30 and min(expected) < expected[0] - 0.1
    np.testing.assert_allclose(losses(corpus, 'many'), expected, atol=1e-4)
    one, many = last(corpus, 'one'), last(corpus, 'many')
    for name in one:
        np.testing.assert_allclose(many[name], one[name], atol=1e-4, err_msg=name)


def test_a_run_that_lost_a_process_is_resumed_bit_for_bit(corpus):
    flags = dict(SAMPLED, save_interval=2, max_epoch=4, max_steps=14)
    assert Training(corpus, 2, save_dir=corpus.directory.join('whole'), **flags).end()[0] == 0
    broken = Training(corpus, 2, **dict(flags, max_epoch=10 ** 6, max_steps=10 ** 6))
    broken.wait_for('saved')
    other, = broken.others()
    os.kill(other, signal.SIGKILL)
    code, _, errors = broken.end()
    assert code == 1 and 'trainer 1 died with exit code -9' in errors[-1] and '--resume' in errors[-1], errors
    # What was saved beyond the 14 steps of the whole run is left out.
    kept = min(int(name) for name in os.listdir(str(corpus.directory.join('checkpoints'))) if name.isdigit())
    code, _, errors = Training(corpus, 2, load_dir=corpus.directory.join('checkpoints', '%06d' % kept),
                               save_dir=corpus.directory.join('resumed'), **flags).end()
    assert code == 0, errors
    assert same(last(corpus, 'resumed'), last(corpus, 'whole'))


def test_a_signal_ends_all_and_nothing_is_lost(corpus):
    stopped = Training(corpus, 2, max_epoch=10 ** 6)
    stopped.wait_for('step 5/')
    others = stopped.others()
    assert len(others) == 1
    stopped.process.send_signal(signal.SIGTERM)
    code, output, errors = stopped.end()
    assert code == 0 and 'to go on: the same command with --resume' in output
    assert errors == ['SIGTERM: coming to an end; once more ends at once']
    assert not any(os.path.exists('/proc/%d' % number) for number in others)
    assert int(corpus.directory.join('checkpoints', 'latest').read()) >= 5


def test_no_process_trains_on_alone(corpus):
    killed = Training(corpus, 3, max_epoch=10 ** 6)
    killed.wait_for('step 3/')
    others = killed.others()
    assert len(others) == 2
    killed.process.kill()
    killed.end()
    for number in others:  # they end by themselves; the limit of the test is that of Training
        while os.path.exists('/proc/%d' % number):
            pass


def test_no_process_waits_on_alone(corpus):
    """The one that started it is killed before they have found each other."""
    killed = Training(corpus, 2, max_epoch=10 ** 6)
    killed.wait_for('2 CPU')  # it starts the other one next
    others = wait_until(killed.others)
    killed.process.kill()
    killed.end()
    wait_until(lambda: not any(os.path.exists('/proc/%d' % number) for number in others))


def test_batches_are_left_out_by_all(corpus):
    """After each failure all of them go back and on, in the same processes."""
    code, output, errors = Training(corpus, 2, optim='sgd', learning_rate=1e37, on_nan='skip', max_epoch=9).end()
    assert code == 2 and len(errors) == 1 and 'a loss or gradient is not finite' in errors[0]
    assert output.count('going back to') == 10


def test_bad_text_is_told_once(corpus):
    with io.open(os.path.join(corpus.train_path, 'part2.txt'), 'wb') as output:
        output.write(b'w \n' * 400000 + b'\xff\n')  # beyond the buffer of the reader
    code, _, errors = Training(corpus, 2, batch_size=500, max_sentence_length=2).end()
    assert code == 2 and len(errors) == 1 and ':400001: not UTF-8' in errors[0], errors
    assert int(corpus.directory.join('checkpoints', 'latest').read()) > 2


def test_the_launcher_of_many_machines(corpus):
    """As run_nccl2.sh starts it, here with two CPU processes of one machine."""
    flags = dict(dropout=0, max_steps=6, batch_size=4)
    run(corpus, save_dir=corpus.directory.join('one'), **dict(flags, batch_size=8))
    code, output, errors = run_command(
        [sys.executable, '-m', 'paddle.distributed.launch', '--ips', '127.0.0.1', '--nproc_per_node', '2',
         os.path.join(ROOT, 'train.py'), '--update_method', 'nccl2'] +
        corpus.flags(save_dir=corpus.directory.join('many'), **flags), cwd=str(corpus.directory))
    assert code == 0 and '2 CPU' in output, errors
    np.testing.assert_allclose(losses(corpus, 'many'), losses(corpus, 'one'), atol=1e-4)


def test_cpus_of_one_machine_alone(corpus):
    with pytest.raises(InputError) as error:
        collective.join(CLUSTER, fluid.CPUPlace(), 1)
    assert 'on CPUs all processes must be on one machine' in str(error.value)


def test_a_port_that_is_taken_is_told(corpus):
    with contextlib.closing(socket.socket()) as taken:
        taken.bind(('127.0.0.1', 0))
        taken.listen(1)
        endpoints = ['127.0.0.1:%d' % taken.getsockname()[1], '127.0.0.1:1']
        with pytest.raises(InputError) as error:
            collective.join(CLUSTER._replace(trainer_id=0, trainers=endpoints), fluid.CPUPlace(), 1)
    assert 'for the processes to find each other, cannot be used' in str(error.value)


def test_several_devices_in_one_process_are_refused():
    with pytest.raises(InputError) as error:
        devices.Executor(fluid.Program(), fluid.cpu_places(2))
    assert '2 devices: this PaddlePaddle runs one in a process' in str(error.value)


def program(corpus, **flags):
    args = parse_args(corpus.flags(**flags))
    config = dict(bilm.PUBLISHED_CONFIG, vocab_size=20, embed_size=4, hidden_size=6)
    return TrainingProgram(config, args, [fluid.CPUPlace()], CLUSTER).whole


@pytest.mark.parametrize('sampled', [False, True])
def test_each_gradient_is_summed_once_before_it_is_clipped(corpus, sampled):
    whole = program(corpus, sample_softmax=sampled, n_negative_samples_batch=6)
    block = whole.global_block()
    types = [op.type for op in block.ops]
    first_norm = types.index('squared_l2_norm')
    communication = [(number, op) for number, op in enumerate(block.ops)
                     if op.type in ('c_allreduce_sum', 'c_allgather')]
    assert all(number < first_norm for number, _ in communication[:-1])  # the last one is for the losses
    summed = [op.input('X')[0] for _, op in communication if op.type == 'c_allreduce_sum']
    sparse = {'embedding_para'} | ({'softmax_weight'} if sampled else set())
    dense = {parameter.name + '@GRAD' for parameter in whole.all_parameters() if parameter.name not in sparse}
    assert len(summed) == len(set(summed)) and dense < set(summed)
    assert len(summed) == len(dense) + sampled + 1  # the rows of the candidates, and the losses
    gathered = [op.input('X')[0] for _, op in communication if op.type == 'c_allgather']
    assert len(gathered) == len(set(gathered)) == (6 if sampled else 4)  # ids of both texts, and their gradients


def test_bytes_of_a_step_against_counting_by_hand():
    """The published sizes, 8192 candidates, 128 x 20 tokens. benchmark/SCALING.md has the same numbers."""
    args = common.parser('').parse_args([])
    lstm = 4 * 4 * (2 * 512 * 16384 + 4096 * 512 + 16384)
    candidates = 8192 * 512 * 4
    rows = 2560 * (4 * 512 * 4 + 2 * 8)  # two embeddings and two true words; their ids
    assert scaling.reduced(args) == {'summed': lstm + 4 * 52445 + candidates + 8, 'gathered': rows}
    args.num_samples = 0
    rows -= 2560 * 2 * 512 * 4
    assert scaling.reduced(args) == {'summed': lstm + 4 * 52445 + 4 * 52445 * 512 + 8, 'gathered': rows}


def test_nccl_knows_all_trainers():
    create, join = collective.nccl_program(CLUSTER).global_block().ops
    assert create.type == 'c_gen_nccl_id' and join.type == 'c_comm_init'
    assert create.attr('endpoint') == '10.0.0.2:7000' and create.attr('other_endpoints') == ['10.0.0.1:7000']
    assert create.attr('rank') == join.attr('rank') == 1 and join.attr('nranks') == 2
    assert create.output('Out') == join.input('X')
