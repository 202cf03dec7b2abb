# -*- coding: utf-8 -*-
"""Many processes on loopback train like one process, and end with a clear message when one of them fails."""
from __future__ import absolute_import, division, print_function, unicode_literals

import contextlib
import io
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import paddle.fluid as fluid
import pytest

from project import ROOT
from benchmark import common, scaling
from helpers import SEVERAL_DEVICES, free_port, last, run, run_command, same, wait_for
from args import parse_args
import bilm
from elmo import distributed, release, watch
from elmo.text import InputError
from elmo.training import TrainingProgram
import train

TRAINER = {'TRAINING_ROLE': 'TRAINER', 'PADDLE_TRAINER_ID': '1', 'PADDLE_TRAINERS_NUM': '2',
           'PADDLE_PSERVERS_IP_PORT_LIST': '10.0.0.1:7000,10.0.0.2:7000'}
GPU = {'PADDLE_TRAINER_ID': '1', 'PADDLE_TRAINERS_NUM': '2', 'PADDLE_CURRENT_ENDPOINT': '10.0.0.2:7000',
       'PADDLE_TRAINER_ENDPOINTS': '10.0.0.1:7000,10.0.0.2:7000'}
SERVERS = pytest.mark.skipif(not release.has_servers(), reason='this fluid has no parameter servers')
SAMPLED = {'sample_softmax': True, 'n_negative_samples_batch': 6, 'optim': 'adam', 'learning_rate': 0.01}


def test_who_a_process_is():
    servers = ['10.0.0.1:7000', '10.0.0.2:7000']
    assert distributed.cluster('local', {}) == distributed.LOCAL
    assert distributed.cluster('pserver', TRAINER) == ('pserver', 1, 2, [], servers, None)
    server = dict(TRAINER, TRAINING_ROLE='PSERVER', POD_IP='10.0.0.2', PADDLE_PORT='7000')
    assert distributed.cluster('pserver', server) == ('pserver', None, 2, [], servers, servers[1])
    assert distributed.cluster('pserver', dict(server, PADDLE_CURRENT_ENDPOINT=servers[0])).server == servers[0]
    assert distributed.cluster('nccl2', GPU) == ('nccl2', 1, 2, servers, [], None)


@pytest.mark.parametrize('method, environ, message', [
    ('pserver', {}, 'lacks PADDLE_TRAINERS_NUM, TRAINING_ROLE, PADDLE_PSERVERS_IP_PORT_LIST'),
    ('nccl2', {}, 'lacks PADDLE_TRAINERS_NUM, PADDLE_TRAINER_ID, PADDLE_TRAINER_ENDPOINTS, PADDLE_CURRENT_ENDPOINT'),
    ('pserver', dict(TRAINER, TRAINING_ROLE='CHIEF'), 'TRAINING_ROLE=CHIEF'),
    ('pserver', dict(TRAINER, PADDLE_TRAINER_ID='2'), 'PADDLE_TRAINER_ID=2, PADDLE_TRAINERS_NUM=2'),
    ('pserver', dict(TRAINER, PADDLE_TRAINER_ID='one'), 'PADDLE_TRAINER_ID=one'),
    ('pserver', dict(TRAINER, PADDLE_TRAINER_ID='²'), 'PADDLE_TRAINER_ID=²'),
    ('pserver', dict(TRAINER, PADDLE_PSERVERS_IP_PORT_LIST='a:²'), 'a:² is not ip:port'),
    ('pserver', dict(TRAINER, PADDLE_TRAINERS_NUM='0'), 'PADDLE_TRAINERS_NUM=0'),
    ('pserver', dict(TRAINER, PADDLE_PSERVERS_IP_PORT_LIST='10.0.0.1'), '10.0.0.1 is not ip:port'),
    ('pserver', dict(TRAINER, PADDLE_PSERVERS_IP_PORT_LIST='a:1,a:1'), 'names an endpoint twice'),
    ('pserver', dict(TRAINER, TRAINING_ROLE='PSERVER'), 'lacks PADDLE_CURRENT_ENDPOINT'),
    ('pserver', dict(TRAINER, TRAINING_ROLE='PSERVER', PADDLE_CURRENT_ENDPOINT='a:1'), 'PADDLE_CURRENT_ENDPOINT=a:1'),
    ('nccl2', dict(GPU, PADDLE_CURRENT_ENDPOINT='a:1'), 'PADDLE_CURRENT_ENDPOINT=a:1 does not occur in'),
    ('nccl2', dict(GPU, PADDLE_TRAINER_ID='0'), 'do not fit'),
    ('nccl2', dict(GPU, PADDLE_TRAINERS_NUM='3'), 'do not fit'),
])
def test_what_is_missing_or_contradicts_is_named(method, environ, message):
    with pytest.raises(InputError) as error:
        distributed.cluster(method, environ)
    assert message in '%s' % error.value


STAND_IN = '''#!/bin/sh
case "$*" in *cuda=*) echo cuda=False; exit ;; esac
own=${PADDLE_TRAINER_ID-}${PADDLE_CURRENT_ENDPOINT-}
echo "$TRAINING_ROLE $own $PADDLE_TRAINERS_NUM $PADDLE_PSERVERS_IP_PORT_LIST"
'''


def run_pserver(directory, *args, **environment):
    """Runs scripts/run_pserver.sh with a stand-in for Python that tells who it is: (exit code, lines, errors)."""
    python = directory.join('python')
    python.write(STAND_IN)
    python.chmod(0o755)
    code, output, errors = run_command(['sh', os.path.join(ROOT, 'scripts', 'run_pserver.sh')] + list(args),
                                       env=dict(os.environ, PYTHON=str(python), **environment))
    return code, output.splitlines(), errors


@pytest.mark.parametrize('servers, trainers, port', [(1, 2, 7164), (3, 1, 65000)])
def test_who_the_processes_of_the_script_are(tmpdir, servers, trainers, port):
    numbers = {} if port == 7164 else dict(SERVERS=str(servers), TRAINERS=str(trainers), PORT=str(port))
    code, lines, errors = run_pserver(tmpdir, **numbers)
    endpoints = ['127.0.0.1:%d' % (port + number) for number in range(servers)]
    expected = ['PSERVER ' + endpoint for endpoint in endpoints] + ['TRAINER %d' % each for each in range(trainers)]
    assert (code, sorted(lines)) == (0, ['%s %d %s' % (who, trainers, ','.join(endpoints)) for who in expected]), errors


def start_pserver(tmpdir, **environ):
    """Starts run_pserver.sh, whose trainers tell which signal they get. They end by themselves with exit code 3."""
    python = tmpdir.join('python')
    python.write('#!/bin/sh\ncase "$*" in *cuda=*) echo cuda=False; exit ;; esac\n'
                 '[ "$TRAINING_ROLE" = TRAINER ] || exit 0\n'
                 'trap "echo told USR1; exit 0" USR1\ntrap "echo told another; exit 1" TERM INT HUP\n'
                 'echo ready\nfor _ in $(seq 600); do sleep 0.1; done\nexit 3\n')
    python.chmod(0o755)
    return subprocess.Popen(['sh', os.path.join(ROOT, 'scripts', 'run_pserver.sh')], stdout=subprocess.PIPE,
                            env=dict(os.environ, PYTHON=str(python), **environ), preexec_fn=lambda: [
                                signal.signal(each, signal.SIG_DFL) for each in (signal.SIGINT, signal.SIGHUP)])


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_the_script_passes_a_signal_on_as_its_own(tmpdir, number):
    """A terminal or a scheduler sends it to all processes; the same one twice would end a trainer at once."""
    script = start_pserver(tmpdir)
    assert [script.stdout.readline() for _ in range(2)] == [b'ready\n'] * 2
    script.send_signal(number)
    assert script.communicate()[0] == b'told USR1\n' * 2 and script.returncode == 0


def test_a_signal_before_the_trainers_are_known_is_not_lost(tmpdir):
    """It ends a trainer that is not ready yet."""
    seq = tmpdir.mkdir('bin').join('seq')  # the numbers of the trainers come from it
    seq.write('#!/bin/sh\n[ "$1" != 0 ] || kill -s TERM "$PPID"\nPATH=${PATH#*:}\nexec seq "$@"\n')
    seq.chmod(0o755)
    script = start_pserver(tmpdir, PATH=str(seq.dirname + ':' + os.environ['PATH']))
    told = set(script.communicate()[0].split(b'\n'))
    assert told <= {b'', b'ready', b'told USR1'} and script.returncode in (0, 128 + signal.SIGUSR1)


@pytest.mark.parametrize('name', ['SERVERS', 'TRAINERS', 'PORT'])
@pytest.mark.parametrize('value', ['0', 'two', '-1', '1.5', '010', '1 2', '100000', '9' * 30])
def test_a_number_that_is_none_starts_nothing(tmpdir, name, value):
    code, lines, errors = run_pserver(tmpdir, **{name: value})
    assert (code, lines) == (2, [])
    assert errors == 'run_pserver.sh: error: %s=%s: set it to a whole number from 1 to 99999\n' % (name, value)


def test_a_port_that_is_none_starts_nothing(tmpdir):
    code, lines, errors = run_pserver(tmpdir, PORT='65535', SERVERS='2')
    assert (code, lines) == (2, [])
    assert errors == 'run_pserver.sh: error: PORT=65535: the port of the last server would be 65536, above 65535\n'


def test_the_script_tells_of_itself_once(tmpdir):
    code, lines, errors = run_pserver(tmpdir, '--help')
    assert (code, errors) == (0, '') and lines[0].startswith('Pretrains with parameter servers.')
    assert 'SERVERS' in ' '.join(lines) and not [line for line in lines if line.startswith('PSERVER')]


class Job(object):
    """Processes of train.py on loopback, the servers first. Those whose number is in `absent` are not started."""

    def __init__(self, corpus, servers, trainers, absent=(), **flags):
        port = free_port(servers)
        self.servers = ['127.0.0.1:%d' % (port + number) for number in range(servers)]
        common = dict(os.environ, PADDLE_TRAINERS_NUM=str(trainers), CPU_NUM='1',
                      PADDLE_PSERVERS_IP_PORT_LIST=str(','.join(self.servers)))
        environments = [{'TRAINING_ROLE': 'PSERVER', 'PADDLE_CURRENT_ENDPOINT': server} for server in self.servers]
        environments += [{'TRAINING_ROLE': 'TRAINER', 'PADDLE_TRAINER_ID': '%d' % number} for number in range(trainers)]
        self.environments = [dict(common, **{str(name): str(value) for name, value in environment.items()})
                             for environment in environments]
        self.processes = []
        for number in range(servers + trainers):
            if number not in absent:
                self.start(number, corpus, **flags)
        self.timer = threading.Timer(100, self.kill)
        self.timer.start()

    def start(self, number, corpus, **flags):
        command = [sys.executable, os.path.join(ROOT, 'train.py')] + corpus.flags(update_method='pserver', **flags)
        self.processes.append(subprocess.Popen(command, env=self.environments[number], stdout=subprocess.PIPE,
                                               stderr=subprocess.PIPE))

    def kill(self):
        for process in self.processes:
            if process.poll() is None:
                process.kill()

    def wait_for(self, number, text):
        wait_for(self.processes[number], text)

    def ends(self):
        """Waits for all processes: lists of exit codes, outputs, and last lines on stderr."""
        said, threads = [None] * len(self.processes), []
        for number, process in enumerate(self.processes):
            def communicate(number=number, process=process):
                said[number] = process.communicate()
            threads.append(threading.Thread(target=communicate))
            threads[-1].start()
        for thread in threads:
            thread.join()
        self.timer.cancel()
        return ([process.returncode for process in self.processes], [output.decode('utf-8') for output, _ in said],
                [(errors.decode('utf-8').strip().splitlines() or [''])[-1] for _, errors in said])


def losses(output):
    return [float(loss) for loss in re.findall(r'^epoch .* loss ([\d.]+) ', output, re.M)]


def assert_close(one, other):
    for name in one:
        np.testing.assert_allclose(one[name], other[name], atol=1e-5, err_msg=name)


@SERVERS
@pytest.mark.parametrize('servers, trainers, flags', [(1, 2, {}), (2, 4, SAMPLED)])
def test_many_processes_train_like_one(corpus, capsys, servers, trainers, flags):
    flags = dict(flags, dropout=0, max_epoch=4, max_steps=50, max_grad_norm=1000)
    run(corpus, batch_size=8, save_dir=corpus.directory.join('one'), **flags)
    expected = losses(capsys.readouterr().out)
    job = Job(corpus, servers, trainers, batch_size=8 // trainers, save_dir=corpus.directory.join('many'), **flags)
    codes, outputs, errors = job.ends()
    assert codes == [0] * (servers + trainers), errors
    found = losses(outputs[servers])
    assert len(found) == len(expected) > 20
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert not any(losses(output) for number, output in enumerate(outputs) if number != servers)
    assert_close(last(corpus, 'one'), last(corpus, 'many'))


@SERVERS
def test_checkpoints_go_both_ways_and_a_signal_stops_all(corpus, capsys):
    flags = dict(dropout=0, max_epoch=9, max_grad_norm=1000, num_steps=4, learning_rate=0.05)
    run(corpus, batch_size=8, save_dir=corpus.directory.join('whole'), max_steps=60, **flags)
    run(corpus, batch_size=8, max_steps=5, **flags)
    job = Job(corpus, 1, 2, batch_size=4, resume=True, max_steps=10 ** 6, **dict(flags, max_epoch=10 ** 5))
    job.wait_for(1, 'step 12/')
    for process in job.processes[1:]:
        process.send_signal(signal.SIGTERM)
    codes, outputs, errors = job.ends()
    assert codes == [0, 0, 0], errors
    assert 'to go on: the same command with --resume' in outputs[1] and 'stopped by trainer 0' in errors[2]
    step = int(corpus.directory.join('checkpoints', 'latest').read())
    assert step >= 12
    capsys.readouterr()
    run(corpus, batch_size=8, resume=True, max_steps=max(60, step + 1), **dict(flags, max_epoch=10 ** 5))
    assert 'loaded' in capsys.readouterr().out
    if step < 60:
        assert_close(last(corpus, 'whole'), last(corpus, 'checkpoints'))


@SERVERS
def test_a_job_killed_and_resumed_equals_one_never_stopped(corpus):
    flags = dict(SAMPLED, batch_size=4, num_steps=4, save_interval=2, max_epoch=3)
    codes, _, errors = Job(corpus, 1, 2, save_dir=corpus.directory.join('whole'), max_steps=12, **flags).ends()
    assert codes == [0] * 3, errors
    job = Job(corpus, 1, 2, max_steps=12, **flags)
    job.wait_for(1, 'saved')
    job.kill()
    job.ends()
    job = Job(corpus, 1, 2, resume=True, max_steps=12, **flags)
    codes, outputs, errors = job.ends()
    assert codes == [0] * 3 and ('loaded' in outputs[1]), errors
    assert same(last(corpus, 'whole'), last(corpus, 'checkpoints'))


@SERVERS
@pytest.mark.parametrize('victim, name', [(0, 'server 127.0.0.1:'), (2, 'trainer 1 on ')])
def test_a_process_that_dies_ends_the_others_by_name(corpus, victim, name):
    job = Job(corpus, 1, 2, max_epoch=10 ** 6, batch_size=2)
    job.wait_for(1, 'step 3/')
    job.processes[victim].kill()
    codes, _, errors = job.ends()
    assert codes[victim] == -signal.SIGKILL
    for number in {0, 1, 2} - {victim}:
        assert codes[number] == 1 and re.search('error: %s.* died; start all' % name, errors[number]), errors


@SERVERS
@pytest.mark.parametrize('absent, code, message', [(0, 2, 'did not answer within 3 s'),
                                                   (2, 1, 'trainer 1 did not come within 3 s')])
def test_a_process_that_does_not_come_is_named(corpus, absent, code, message):
    codes, _, errors = Job(corpus, 1, 2, absent=[absent], start_timeout=3, batch_size=2).ends()
    assert codes == [code] * 2 and all(message in error for error in errors), errors


@SERVERS
def test_a_late_trainer_is_waited_for(corpus):
    flags = dict(batch_size=4, max_steps=3)
    job = Job(corpus, 1, 2, absent=[2], **flags)
    job.wait_for(0, 'serving')
    time.sleep(3)
    job.start(2, corpus, **flags)
    codes, outputs, errors = job.ends()
    assert codes == [0] * 3 and len(losses(outputs[1])) == 3, errors


@SERVERS
@pytest.mark.parametrize('said', [b'\xff\n', b'hello 1 x\n', b'hello 0 x start\nend 2 x\n', b'["stop"]\n'])
def test_a_stranger_does_not_end_a_job(corpus, said):
    flags = dict(batch_size=4, max_steps=3)
    job = Job(corpus, 1, 2, absent=[1, 2], **flags)
    job.wait_for(0, 'serving')
    address = watch.Watch._address(job.servers[0])
    with contextlib.closing(socket.create_connection(address)) as stranger:
        stranger.sendall(said)
        for number in (1, 2):
            job.start(number, corpus, **flags)
        codes, _, errors = job.ends()
    assert codes == [0] * 3, errors


@SERVERS
def test_a_trainer_that_fails_alone_costs_no_step(corpus):
    """Its copy of the text is damaged."""
    texts = [corpus.directory.mkdir(name) for name in ('good', 'damaged')]
    for text, last_line in zip(texts, (b'w\n', b'\xff\n')):
        text.join('part').write_binary(b'w \n' * 400000 + last_line)  # beyond the buffer of the reader
    flags = dict(batch_size=500, max_sentence_length=2)
    job = Job(corpus, 1, 2, absent=[2], train_path=texts[0], **flags)
    job.start(2, corpus, train_path=texts[1], **flags)
    codes, _, errors = job.ends()
    assert codes == [2, 2, 2] and all(':400001: not UTF-8' in error for error in errors), errors
    assert all('trainer 1 on' in error for error in errors[:2]), errors


@SERVERS
def test_different_checkpoints_are_noticed(corpus):
    run(corpus, max_steps=2, batch_size=4)
    flags = dict(batch_size=4, max_steps=2, resume=True)
    job = Job(corpus, 1, 2, absent=[1, 2], **flags)
    job.start(1, corpus, save_dir=corpus.directory.join('empty'), **flags)
    codes, _, errors = job.ends()
    assert codes == [2, 2] and all('goes on from start' in error and '000002' in error for error in errors), errors


def network(corpus, cluster, **flags):
    """(Transpiled, parameters) of a tiny network for a cluster."""
    args = parse_args(corpus.flags(update_method=cluster.method, sample_softmax=False, **flags))
    config = dict(bilm.PUBLISHED_CONFIG, vocab_size=20, embed_size=4, hidden_size=6)
    program = TrainingProgram(config, args, [fluid.CPUPlace()], cluster)
    return program.transpiled, {parameter.name for parameter in program.whole.all_parameters()}


@SERVERS
def test_each_parameter_is_updated_by_one_server_and_clipped_by_the_trainers(corpus):
    cluster = distributed.cluster('pserver', TRAINER)
    transpiled, names = network(corpus, cluster)
    trainer = transpiled.program.global_block()
    types = [op.type for op in trainer.ops]
    assert 'adam' not in types and types.count('sqrt') == 4  # the global norm, and the softmax
    sent = [name for op in trainer.ops if op.type == 'send' for name in op.input('X')]
    assert len(sent) == len(names) + 1  # and the losses
    updated = []
    for server in cluster.servers:
        served, _ = network(corpus, cluster._replace(trainer_id=None, server=server))[0].server_programs()
        operators = [op for block in served.blocks for op in block.ops]
        assert not {op.type for op in operators} & {'sqrt', 'square'}
        updated += [op.input('Param')[0] for op in operators if op.type in ('adam', 'sgd')]
    assert sorted(updated) == sorted(names | {'average'})


@SEVERAL_DEVICES
def test_nccl2_sets_up_the_communicator_and_reduces_each_gradient(corpus, monkeypatch):
    """Without a device: fluid for CPUs has no gen_nccl_id, so the test looks at the operator that would be added."""
    cluster, appended = distributed.cluster('nccl2', GPU), []
    append_op = fluid.framework.Block.append_op

    def record(block, *args, **kwargs):
        if kwargs.get('type') == 'gen_nccl_id':
            appended.append(kwargs['attrs'])
            return None
        return append_op(block, *args, **kwargs)

    monkeypatch.setattr(fluid.framework.Block, 'append_op', record)
    transpiled, names = network(corpus, cluster)
    attributes, = appended
    assert attributes['trainers'] == cluster.trainers and attributes['trainer_id'] == 1
    assert transpiled.program._trainers_endpoints == cluster.trainers
    # ParallelExecutor reduces what these attributes of the backward operators name.
    reduced = []
    for op in transpiled.program.global_block().ops:
        if int(op.attr('op_role')) == int(distributed.ROLES.Backward) and op.has_attr('op_role_var'):
            reduced += op.attr('op_role_var')[::2]
    assert sorted(reduced) == sorted(names | {'average'})


@pytest.mark.skipif(fluid.is_compiled_with_cuda(), reason='needs a fluid without CUDA')
def test_the_launcher_gets_as_far_as_a_device_is_needed(corpus):
    process = subprocess.Popen(
        [sys.executable, '-m', 'paddle.distributed.launch', '--selected_gpus', '0,1', os.path.join(ROOT, 'train.py')] +
        corpus.flags(update_method='nccl2'), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env=dict(os.environ, CUDA_VISIBLE_DEVICES=str('')))
    output = process.communicate()[0].decode('utf-8')
    assert 'train.py: error: --update_method nccl2: needs GPUs, and this PaddlePaddle is built without CUDA' in output


def test_a_fluid_without_servers_says_so(corpus, monkeypatch):
    monkeypatch.setattr(release, 'has_servers', lambda: False)
    monkeypatch.setattr(os, 'environ', dict(os.environ, **TRAINER))
    with pytest.raises(InputError) as error:
        train.train(parse_args(corpus.flags(update_method='pserver')))
    assert 'no parameter servers of fluid; use 1.8.5' in str(error.value)


def test_flags_of_many_processes(corpus, capsys):
    for flags, message in (({'save_dir': ''}, '--save_dir'), ({'on_nan': 'skip'}, '--on_nan skip')):
        with pytest.raises(SystemExit):
            parse_args(corpus.flags(update_method='pserver', **flags))
        assert message in capsys.readouterr().err


@SERVERS
def test_bytes_of_a_step_against_counting_by_hand():
    """The published sizes, 8192 candidates, 128 x 20 tokens. benchmark/SCALING.md has the same numbers."""
    args = common.parser('').parse_args([])
    lstm = 4 * 4 * (2 * 512 * 16384 + 4096 * 512 + 16384)
    rows = (2560 + 8192 + 2560) * (512 * 4 + 8)
    counts = scaling.traffic(args)
    assert counts['dense'] == lstm + 4 * 52445 + 12 and counts['sparse'] == rows  # the bias, and three metrics
    assert counts['sent'] == counts['dense'] + rows
    assert counts['fetched'] == counts['dense'] + (2560 + 8192 + 2560) * 512 * 4
    assert scaling.traffic(args, is_sparse=False)['sent'] == lstm + 4 * (2 * 52445 * 512 + 52445) + 12


@SERVERS
def test_a_bad_line_far_into_the_text_costs_no_step(corpus):
    """The first trainer saves before all processes end."""
    with io.open(os.path.join(corpus.train_path, 'part2.txt'), 'wb') as output:
        output.write(b'w \n' * 400000 + b'\xff\n')  # beyond the buffer of the reader
    codes, _, errors = Job(corpus, 1, 2, batch_size=500, max_sentence_length=2).ends()
    assert codes == [2, 2, 2] and all(':400001: not UTF-8' in error for error in errors), errors
    assert int(corpus.directory.join('checkpoints', 'latest').read()) > 2
