# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Many processes: none stops another, none outlives who wants it; here and on real Ray."""

from pathlib import Path
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import recordings

from diception_ros.bags.mcap_writer import Writer
from diception_ros.cli.main import main
from diception_ros.core import images
from diception_ros.system import engines
from diception_ros.system.engines import EngineJob, EngineResult

pytestmark = pytest.mark.slow

# Says its number, and then sleeps unless it is to go on.
SLEEPER = """
import os, sys, time
from diception_ros.system import processes
processes.exit_with_parent()
try:
    print(os.getpid(), flush=True)
    time.sleep(0 if '--resume' in sys.argv else 600)
except KeyboardInterrupt:
    print('interrupted', flush=True)
    sys.exit(130)
"""


def engine_job(folder, name, program):
    command = [sys.executable, '-c', program]
    return EngineJob(Path(name), folder / f'{name}.mcap', command, folder, resume=('--resume',))


def said(one):
    log = one.out.with_suffix('.log')
    return log.read_text().split() if log.exists() else []


def until(true):
    end = time.monotonic() + 300
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def interrupt_when(true):
    """As Ctrl-C, once something is so."""

    def wait():
        until(true)
        signal.raise_signal(signal.SIGINT)

    threading.Thread(target=wait).start()


def gone(pid):
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_run_local_reports_exit_codes_and_last_lines(tmp_path):
    jobs = [
        engine_job(tmp_path, 'a', 'print("fine")'),
        engine_job(tmp_path, 'b', 'import sys; sys.exit("no")'),
        engine_job(tmp_path, 'c', 'import os; os.kill(os.getpid(), 9)'),
        engine_job(tmp_path, 'd', ''),
    ]
    found = sorted(engines.run_local(jobs, 2))
    assert [(one.code, one.last_line) for one in found] == [
        (0, 'fine'), (1, 'no'), (-9, 'ended by signal 9'), (0, 'no output'),
    ]  # fmt: skip


def test_run_job_runs_in_the_folder_of_the_command_line(tmp_path):
    (tmp_path / 'there').mkdir()
    one = engine_job(tmp_path / 'there', 'a', 'import os; print(os.getcwd())')
    assert engines.run_job(one).last_line == str(tmp_path / 'there')


def test_run_local_interrupt_ends_processes_and_starts_no_more(tmp_path):
    jobs = [
        engine_job(tmp_path, 'z', ''),
        *(engine_job(tmp_path, name, SLEEPER) for name in 'abc'),
    ]
    ending = engines.run_local(jobs, 2)
    assert next(ending).job == jobs[0]
    interrupt_when(lambda: said(jobs[1]) and said(jobs[2]))
    with pytest.raises(KeyboardInterrupt):
        next(ending)
    assert [said(one)[1:] for one in jobs] == [[], ['interrupted'], ['interrupted'], []]
    assert not said(jobs[3])


def test_run_job_process_exits_with_its_parent(tmp_path):
    one = engine_job(tmp_path, 'a', SLEEPER)
    program = (
        f'from pathlib import *\nfrom diception_ros.system import engines\n'
        f'engines.run_job(engines.{one!r})'
    )
    parent = subprocess.Popen([sys.executable, '-c', program])
    until(lambda: said(one))
    parent.kill()
    parent.wait()
    until(lambda: gone(int(said(one)[0])))


def test_writer_locks_its_file(tmp_path):
    with Writer(tmp_path / 'a.mcap') as first:
        first.add('/a', 'std_msgs/msg/Empty', '')
        first.flush()
        before = first.partial.read_bytes()
        with pytest.raises(BlockingIOError, match='another process writes it'):
            Writer(tmp_path / 'a.mcap')
        assert first.partial.read_bytes() == before
        first.finish()
    Writer(tmp_path / 'a.mcap')  # nothing keeps it now


@pytest.mark.parametrize('gpu', [False, True])
def test_run_ray_asks_for_processors_and_a_gpu_by_the_device(tmp_path, monkeypatch, gpu):
    asked = []

    def remote(**options):
        asked.append(options)
        return lambda work: SimpleNamespace(remote=lambda job: lambda: EngineResult(job, 0, ''))

    nodes = [{'Alive': alive, 'Resources': {'CPU': 8.0, 'GPU': 1.0}} for alive in (1, 1, 0)]
    fake = SimpleNamespace(
        init=lambda **_: None, remote=remote, get=lambda one: one(), nodes=lambda: nodes,
        wait=lambda waiting: (waiting[:1], waiting[1:]),
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, 'ray', fake)
    # Two living nodes: with a GPU each they run one at a time, otherwise two with four processors.
    assert engines.slots('ray', 4, gpu) == (2 if gpu else 4)
    jobs = [EngineJob(Path(name), tmp_path / name, [name], tmp_path) for name in 'ab']
    assert [one.code for one in engines.run('ray', jobs, 4, gpu)] == [0, 0]
    assert asked == [{'num_cpus': 4, 'num_gpus': int(gpu), 'max_retries': 0}]


@pytest.fixture(scope='module')
def ray():
    """A cluster of two nodes on this machine, with a processor each."""
    ray = pytest.importorskip('ray', reason='Ray is not installed (diception_ros[ray])')
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('RAY_USAGE_STATS_ENABLED', '0')
        # Ray's own is 15: beside busy processes its workers would get no time.
        patch.setenv('RAY_worker_niceness', '0')
        cluster = Cluster(
            initialize_head=True, head_node_args={'num_cpus': 1, 'include_dashboard': False}
        )
        cluster.add_node(num_cpus=1)
        ray.init(address=cluster.address, log_to_driver=False)
        yield ray
        ray.shutdown()
        cluster.shutdown()


# Goes on when as many have begun as argv says: they run at the same time.
TOGETHER = """
import os, sys, time
from pathlib import Path
Path(f'{os.getpid()}.begun').touch()
while len([*Path().glob('*.begun')]) < 2:
    time.sleep(0.02)
print(os.getpid())
"""


def test_run_ray_writes_the_same_files(ray, tiny_folder, tmp_path, capsys):
    folder = tmp_path / 'bags'
    folder.mkdir()
    for k, name in enumerate('ac'):
        recordings.write(folder / name, recordings.recorded(2 + k))
    (folder / 'bad.mcap').write_text('not a bag')
    cut = folder / 'c.mcap'
    cut.write_bytes(cut.read_bytes()[:-100])
    tables = []
    for engine in ('local', 'ray'):
        out = tmp_path / engine
        assert main(['replay', str(folder), '--out', str(out), '--model', str(tiny_folder),
                     '--num-inference-steps', '1',
                     '--engine', engine, '--threads', '1']) == 1  # fmt: skip
        rows = [line.split('|') for line in capsys.readouterr().out.splitlines()[2:]]
        tables.append([(Path(row[1].strip()).name, row[2], row[4].strip()) for row in rows])
    assert tables[0] == tables[1]
    assert [row[0] for row in tables[1]] == ['a.mcap', 'bad.mcap', 'c.mcap']
    for name in 'ac':
        local, there = ((tmp_path / engine / f'{name}.mcap') for engine in ('local', 'ray'))
        assert local.read_bytes() == there.read_bytes()


def test_run_ray_uses_all_nodes(ray, tmp_path):
    assert engines.slots('ray', 1, gpu=False) == 2
    assert engines.slots('ray', 2, gpu=False) == 1  # none has two, and one may be added
    # A node has one processor, so two at a time are on two nodes.
    found = [
        *engines.run_ray([engine_job(tmp_path, name, TOGETHER) for name in 'ab'], 1, gpu=False)
    ]
    assert [one.code for one in found] == [0, 0]


def test_run_ray_names_the_node_on_which_a_file_is_missing(ray, tmp_path):
    one = engine_job(tmp_path, 'a', 'print("ran")')._replace(
        needs=(tmp_path, tmp_path / 'gone.mcap')
    )
    (done,) = engines.run_ray([one], 1, gpu=False)
    assert done.code == 1
    assert f'{tmp_path / "gone.mcap"} is not on the Ray node' in done.last_line
    assert any(node['NodeID'][:8] in done.last_line for node in ray.nodes())
    assert not said(one)


def test_run_ray_predicts_the_same_images(ray, tiny_folder, tmp_path):
    for k in range(3):
        images.write(tmp_path / f'{k}.png', np.full((40, 60, 3), 50 * k, np.uint8))
    for engine in ('local', 'ray'):
        assert main(['predict', str(tmp_path / '*.png'), '--tasks', 'depth', '--threads', '1',
                     '--out', str(tmp_path / engine), '--model', str(tiny_folder),
                     '--num-inference-steps', '1', '--engine', engine]) == 0  # fmt: skip
    for k in range(3):
        local, there = (tmp_path / engine / f'{k}.png/depth.npz' for engine in ('local', 'ray'))
        assert local.read_bytes() == there.read_bytes()
    assert not [*(tmp_path / 'ray').glob('part*')]


def test_run_ray_resumes_after_a_lost_worker(ray, tmp_path):
    one = engine_job(tmp_path, 'a', SLEEPER)
    killed = []

    def kill():
        until(lambda: said(one))
        killed.append(int(said(one)[0]))
        psutil.Process(killed[0]).parent().kill()

    threading.Thread(target=kill).start()
    (done,) = engines.run_ray([one], 1, gpu=False)
    assert done.code == 0
    assert int(done.last_line) != killed[0]
    assert gone(killed[0])


def test_run_ray_is_interrupted(ray, tmp_path):
    jobs = [engine_job(tmp_path, name, SLEEPER) for name in 'abc']  # one more than processors
    interrupt_when(lambda: sum(bool(said(one)) for one in jobs) == 2)
    with pytest.raises(KeyboardInterrupt):
        next(engines.run_ray(jobs, 1, gpu=False))
    assert sorted(said(one)[1:] for one in jobs) == [[], ['interrupted'], ['interrupted']]
