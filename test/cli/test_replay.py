# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`diception replay`, as a user types it."""

import argparse
import json
import os
from pathlib import Path
import shutil
import signal
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import recordings
from recordings import recorded, write

from diception_ros.bag_replay.run import find_bags, output_names
from diception_ros.bags.reader import Bag
from diception_ros.cli.main import main
from diception_ros.cli.verbs import VERBS
from diception_ros.core import settings
from diception_ros.workflows import replay
from diception_ros.workflows.replay import ReplayConfig

QUICK = ['--num-inference-steps', '1', '--guidance-scale', '1']


def run(*arguments):
    return main(['replay', *map(str, arguments)])


@pytest.fixture
def bag(tmp_path):
    return write(tmp_path / 'drive', recorded(4))


def test_predictions_are_those_of_the_node(bag, tiny, tiny_folder, tmp_path, capsys):
    from diception_ros.bags.typestore import TYPES, BagTypes
    from diception_ros.messages import camera_info, make_header
    from diception_ros.messages import images as image_messages
    from diception_ros.perception.perceiver import Perceiver
    from diception_ros.perception.predictor import Predictor
    from diception_ros.perception.query import Query

    out = tmp_path / 'out.mcap'
    assert run(bag, '--out', out, '--model', tiny_folder, *QUICK) == 0
    said = capsys.readouterr().err
    assert 'predictions for 4 frames' in said
    assert 'drive.mcap: predictions: ' in said
    assert sorted(p.name for p in tmp_path.iterdir()) == ['drive.mcap', 'out.mcap']
    asked = Perceiver(Predictor.load(tiny_folder), BagTypes(), recordings.asked(
        tasks=('depth', 'normal')))  # fmt: skip
    wanted = frozenset(one.topic for one in asked.outputs())
    expected = []
    for k in range(4):
        stamp = recordings.BEGIN + k * 100_000_000
        header = make_header(BagTypes(), stamp, 'cam')
        info = camera_info.info(BagTypes(), recordings.PINHOLE, recordings.SIZE, header)
        message = image_messages.image(BagTypes(), recordings.image(k), 'rgb8', header)
        frame = image_messages.frame_from(message, info)
        for topic, one in asked.process(
            Query('', frame, header, info, asked.tasks_for_topics(wanted), topics=wanted)
        ).messages:
            data = bytes(TYPES.serialize_cdr(one, one.__msgtype__))
            expected.append(('/perception/' + topic, stamp + recordings.LATE, data))
    found = [(topic, stamp, data) for topic, _, stamp, data in recordings.everything(out)]
    assert found == expected


def test_a_part_without_frames_is_named(bag, tiny_folder, tmp_path, capsys):
    arguments = [bag, '--out', tmp_path / 'out.mcap', '--model', tiny_folder, *QUICK]
    assert run(*arguments, '--start', '100') == 1
    assert 'drive.mcap has no frame between --start 100 and its end' in capsys.readouterr().err
    assert run(*arguments, '--force') == 0
    assert 'no frame between' not in capsys.readouterr().err


def test_a_report_and_scores(bag, tiny_folder, tmp_path, capsys):
    out, report = tmp_path / 'out.mcap', tmp_path / 'report'
    truth = tmp_path / 'truth'
    truth.mkdir()
    for k in range(4):
        np.save(truth / f'{k}.npy', np.linspace(1, 4, 24 * 32, dtype=np.float32).reshape(24, 32))
    assert run(bag, '--out', out, '--model', tiny_folder, *QUICK, '--truth', f'depth={truth}',
               '--report', report) == 0  # fmt: skip
    said = capsys.readouterr()
    assert 'abs_rel' in said.out
    assert 'drive.mcap: scores: ' in said.err
    assert sorted(p.name for p in report.iterdir()) == ['frames.csv', 'index.html', 'metrics.json']
    metrics = json.loads((report / 'metrics.json').read_text())
    assert metrics['numbers']['']['depth']['images'] == 4
    assert metrics['frames'] == 4
    assert len((report / 'frames.csv').read_text().splitlines()) == 5
    assert run(bag, '--out', out, '--model', tiny_folder, *QUICK, '--truth', f'depth={truth}',
               '--force') == 0  # fmt: skip
    assert (tmp_path / 'out.metrics.json').exists()
    assert (tmp_path / 'out.frames.csv').exists()


def test_a_damaged_bag_gives_exit_code_3(tiny_folder, tmp_path, capsys):
    bag = write(tmp_path / 'drive', recorded(8), 'mcap-plain')
    content = bag.read_bytes()
    bag.write_bytes(content[: len(content) // 2])
    out = tmp_path / 'out.mcap'
    assert run(bag, '--out', out, '--model', tiny_folder, *QUICK) == 3
    said = capsys.readouterr().err
    assert 'damaged at byte' in said
    assert 'processed up to there' in said
    assert recordings.everything(out)
    bag.write_bytes(content[:100])
    assert run(bag, '--out', tmp_path / 'none.mcap', '--model', tiny_folder) == 3
    assert 'nothing could be read' in capsys.readouterr().err


@pytest.mark.parametrize(('arguments', 'says'), [
    (['--every', '0'], 'every is 0'), (['--end', '-1'], 'end is -1'),
    (['--tasks', 'segmentation'], 'needs --points'),
    (['--points', '3,4'], 'none of depth, normal'),
    (['--camera', '/nothing'], "no topic '/nothing'"), (['--tasks', 'dept'], "no task 'dept'"),
    (['--threads', '-1'], 'threads is -1'),
    (['--num-inference-steps', '0'], 'num_inference_steps is 0'),
    (['--truth', 'depth=/nothing'], 'neither a topic'),
    (['--model', '/nothing'], 'no such model folder'),
    (['--depth-metric', 'fixed'], 'depth.scale'),
])  # fmt: skip
def test_invalid_options_raise_before_the_run(bag, tiny_folder, tmp_path, capsys, arguments, says):
    model = [] if '--model' in arguments else ['--model', tiny_folder]
    assert run(bag, '--out', tmp_path / 'out.mcap', *model, *arguments) == 1
    assert says in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ['drive.mcap']


def test_a_name_of_another_kind_or_a_bag_that_is_there_is_refused(
    bag, tiny_folder, tmp_path, capsys
):
    assert run(bag, '--out', tmp_path / 'out.bag', '--model', tiny_folder) == 1
    assert '.mcap' in capsys.readouterr().err
    (tmp_path / 'out.mcap').write_text('mine')
    assert run(bag, '--out', tmp_path / 'out.mcap', '--model', tiny_folder) == 1
    assert '--force' in capsys.readouterr().err
    assert (tmp_path / 'out.mcap').read_text() == 'mine'


def test_what_is_read_is_not_written(tmp_path, capsys):
    recording = write(tmp_path / 'drive.partial.mcap', recorded(1))  # as a killed record leaves it
    (tmp_path / 'link.mcap').symlink_to(recording)
    before = recording.read_bytes()
    for name, more in (
        ('drive.partial.mcap', ()), ('drive.mcap', ()), ('link.mcap', ()),
        ('out.mcap', ('--summary', recording)), ('out.mcap', ('--view-file', recording)),
    ):  # fmt: skip
        assert run(recording, '--out', tmp_path / name, '--force', *more) == 1
        assert ' is what is read, and would be replaced' in capsys.readouterr().err
        assert recording.read_bytes() == before


def test_many_bags_of_which_some_fail(tmp_path, capsys):
    # The built-in model needs no torch, whose import takes each process seconds.
    folder = tmp_path / 'bags'
    folder.mkdir()
    write(folder / 'a', recorded(3))
    (folder / 'b.mcap').write_text('not a bag')
    cut = write(folder / 'c', recorded(3))
    cut.write_bytes(cut.read_bytes()[:-100])  # the end of the index
    out = tmp_path / 'out'
    code = run(folder, '--out', out, *QUICK, '--no-views', '--jobs', '2')
    assert code == 1
    printed = capsys.readouterr()
    table = printed.out
    assert 'bags: ' in printed.err
    assert ', a, b]' in printed.err  # what is worked on
    assert ', c]' in printed.err
    assert ', a, b, c]' not in printed.err  # two at a time
    rows = [[cell.strip() for cell in line.split('|')[1:-1]] for line in table.splitlines()[2:]]
    assert [Path(row[0]).name for row in rows] == ['a.mcap', 'b.mcap', 'c.mcap']
    assert [row[1] for row in rows] == ['3', '', '3']
    assert rows[0][3] == 'done'
    assert 'not a bag' in rows[1][3]
    assert 'damaged' in rows[2][3]
    alone = tmp_path / 'alone.mcap'
    bag = folder / 'a.mcap'
    assert run(bag, '--out', alone, *QUICK, '--no-views') == 0
    assert alone.read_bytes() == (out / 'a.mcap').read_bytes()
    assert 'predictions for 3 frames' in (out / 'a.log').read_text()


def test_path_that_is_neither_file_nor_folder_raises(tmp_path, capsys):
    for more in ([], [tmp_path / 'other.mcap']):
        for one in more:
            one.touch()
        assert run('/dev/null', *more, '--out', tmp_path / ('out' if more else 'o.mcap')) == 1
        said = capsys.readouterr()
        assert '/dev/null: neither a file nor a folder; expected a bag' in said.err


def test_bags_are_found_in_folders_and_by_patterns(tmp_path):
    for name in ('a', 'b'):
        write(tmp_path / name, recorded(1))
    folder = write(tmp_path / 'c', recorded(1), 'sqlite3')
    assert [p.name for p in find_bags([str(tmp_path)])] == ['c', 'a.mcap', 'b.mcap']
    assert find_bags([str(tmp_path / '*.mcap')]) == [tmp_path / 'a.mcap', tmp_path / 'b.mcap']
    assert find_bags([str(folder), str(folder)]) == [folder]
    for nothing in ('nothing', '*.bag'):
        with pytest.raises(FileNotFoundError, match='no such bag'):
            find_bags([str(tmp_path / nothing)])
    (tmp_path / 'empty').mkdir()
    with pytest.raises(ValueError, match='no bags'):
        find_bags([str(tmp_path / 'empty')])


def test_names_of_many_bags_differ(tmp_path):
    assert output_names([Path('/x/a.mcap'), Path('/x/b.bag')]) == ['a', 'b']
    assert output_names([Path('/x/1/a.mcap'), Path('/x/2/a.mcap')]) == ['1_a.mcap', '2_a.mcap']
    assert output_names([Path('/x/a.mcap'), Path('/x/a.bag')]) == ['a.mcap', 'a.bag']


def test_options_are_handed_on_as_they_were_given():
    given = [*'a b --out o --tasks depth pose --no-views --copy --every 3'.split(),
             *'--no-temporal-track-ids --start 1.5 --categories'.split(),
             'hot dog']  # fmt: skip
    parser = argparse.ArgumentParser()
    VERBS['replay'].add_options(parser)
    config = settings.from_arguments(ReplayConfig, parser.parse_args(given))
    again = settings.to_arguments(config, ('bags', 'out'))
    other = parser.parse_args(['a', 'b', '--out=o', *again])
    assert settings.from_arguments(ReplayConfig, other) == config
    assert len(again) == 10


def test_processes_divide_the_processors(tmp_path, monkeypatch):
    from diception_ros.system import engines, resources

    for name in 'ab':
        write(tmp_path / name, recorded(1))
    monkeypatch.delenv('OMP_NUM_THREADS', raising=False)
    monkeypatch.setattr(resources, 'processors', lambda: 16)
    seen = []

    def engine(todo, *_):
        seen.append([one for task in todo for one in task.command if 'threads' in one])
        yield from (engines.EngineResult(job, 0, '') for job in todo)

    monkeypatch.setattr(engines, 'run_local', engine)
    monkeypatch.setattr(engines, 'run_ray', engine)
    for more in ([], ['--jobs', '4'], ['--jobs', '16'], ['--threads', '5'],
                 ['--jobs', '4', '--engine', 'ray'], ['--device', 'cuda']):  # fmt: skip
        assert run(tmp_path, '--out', tmp_path / 'out', *more) == 0
    assert seen == [[f'--threads={n}'] * 2 for n in (8, 2, 1, 5, 2, 4)]


def test_threads_setting_is_applied_and_reported(bag, tiny_folder, tmp_path):
    import torch

    before = torch.get_num_threads()
    try:
        assert run(bag, '--out', tmp_path / 'out.mcap', '--model', tiny_folder, *QUICK,
                   '--threads', '2', '--max-frames', '1',
                   '--report', tmp_path / 'r') == 0  # fmt: skip
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    content = json.loads((tmp_path / 'r' / 'metrics.json').read_text())
    assert content['options']['threads'] == 2


def test_ray_does_the_same(tmp_path, monkeypatch, capsys):
    """A stand-in for Ray that has what is used of it."""

    def remote(**options):
        assert options == {'num_cpus': 1, 'num_gpus': 0, 'max_retries': 0}
        return lambda work: SimpleNamespace(remote=lambda task: lambda: work(task))

    fake = SimpleNamespace(
        init=lambda **_: None, remote=remote, wait=lambda waiting: (waiting[:1], waiting[1:]),
        get=lambda one: one(), nodes=lambda: [{'Alive': True, 'Resources': {'CPU': 1.0}}],
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, 'ray', fake)
    bag = write(tmp_path / 'a', recorded(2))
    out = tmp_path / 'out'
    assert run(bag, '--out', out, *QUICK, '--engine', 'ray') == 0
    with Bag(out / 'a.mcap') as written:
        assert written.topics['/perception/disparity/image'].count == 2
    monkeypatch.setitem(sys.modules, 'ray', None)
    assert run(bag, '--out', out, '--engine', 'ray') == 1
    said = capsys.readouterr().err
    assert 'needs Ray' in said
    assert '-m pip install' in said


def test_resuming_many_bags_leaves_finished_ones_unchanged(tmp_path, capsys):
    folder = tmp_path / 'bags'
    folder.mkdir()
    for name in 'ab':
        write(folder / name, recorded(2))
    out = tmp_path / 'out'
    out.mkdir()
    asked = [*QUICK, '--no-views']
    assert (
        run(folder / 'a.mcap', '--out', out / 'a.mcap', '--summary', out / 'a.json', *asked) == 0
    )
    before = (out / 'a.mcap').stat().st_mtime_ns
    capsys.readouterr()
    assert run(folder, '--out', out, *asked, '--resume') == 0
    assert (out / 'a.mcap').stat().st_mtime_ns == before
    assert capsys.readouterr().out.count('| 2 ') == 2


# A process that is killed when the bag is finished and nothing is said of it.
KILLED = """
import os, signal, sys
from diception_ros.cli import main
from diception_ros.workflows import replay
replay._log_result = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
main.main(sys.argv[1:])
"""


def test_resuming_many_bags_completes_missing_scores_of_finished_bags(tmp_path, capsys):
    folder, truth = tmp_path / 'bags', tmp_path / 'truth'
    for one in (folder, truth):
        one.mkdir()
    for name in 'ab':
        write(folder / name, recorded(3))
    for k in range(3):
        np.save(truth / f'{k}.npy', np.linspace(1, 4, 24 * 32, dtype=np.float32).reshape(24, 32))
    asked = [*QUICK, '--no-views', '--truth', f'depth={truth}']
    quiet, out = tmp_path / 'quiet', tmp_path / 'out'
    assert run(folder, '--out', quiet, *asked, '--threads', '1') == 0
    out.mkdir()
    killed = subprocess.run([
        sys.executable, '-c', KILLED, 'replay', *map(str, [
            folder / 'a.mcap', '--out', out / 'a.mcap', '--summary', out / 'a.json', *asked,
            '--threads', '1',
        ])], capture_output=True)  # fmt: skip
    assert killed.returncode == -signal.SIGKILL
    assert (out / 'a.mcap').exists()
    assert not (out / 'a.json').exists()
    when = (out / 'a.mcap').stat().st_mtime_ns
    capsys.readouterr()
    for one in quiet.glob('b.*'):
        shutil.copy2(one, out)
    again = [folder / 'a.mcap', '--out', out / 'a.mcap', '--summary', out / 'a.json', *asked]
    assert run(*again, '--threads', '1', '--resume', '--seed', '7') == 1
    assert 'seed = 42, and is to go on with 7' in capsys.readouterr().err
    assert run(folder, '--out', out, *asked, '--threads', '1', '--resume') == 0
    assert (out / 'a.mcap').stat().st_mtime_ns == when
    assert capsys.readouterr().out.count('| 3 ') == 2
    assert {p.name for p in out.iterdir()} == {p.name for p in quiet.iterdir()}
    for name in 'ab':
        assert (out / f'{name}.mcap').read_bytes() == (quiet / f'{name}.mcap').read_bytes()
        first, again = (
            json.loads((place / f'{name}.metrics.json').read_text()) for place in (quiet, out)
        )
        for key in ('numbers', 'stability', 'frames', 'notes', 'damage', 'missing_truth'):
            assert first[key] == again[key]


def test_options_that_exclude_many_bags_raise(tmp_path, capsys):
    for name in 'ab':
        write(tmp_path / name, recorded(1))
    for more, says in ((['--view'], 'one bag'), (['--jobs', '0'], 'at least 1'),
                       (['--engine', 'ray', '--device', 'cuda:1'], 'Ray chooses')):  # fmt: skip
        assert run(tmp_path, '--out', tmp_path / 'out', *more) == 1
        assert says in capsys.readouterr().err


def test_view_without_rerun_raises_before_the_replay(bag, tiny_folder, tmp_path, capsys):
    import importlib.util

    if importlib.util.find_spec('rerun'):
        pytest.skip('Rerun is installed')
    assert run(bag, '--out', tmp_path / 'o.mcap', '--model', tiny_folder, '--view') == 1
    said = capsys.readouterr().err
    assert 'needs Rerun' in said
    assert 'rerun-sdk' in said


def test_a_real_recording(tiny_folder, tmp_path):
    default = Path(__file__).resolve().parents[3] / 'shared' / 'bags' / 'bedroom'
    path = Path(os.environ.get('DICEPTION_BAG', default))
    if not path.exists():
        pytest.skip(f'no recording at {path}; name one in DICEPTION_BAG')
    out = tmp_path / 'out.mcap'
    assert run(path, '--out', out, '--model', tiny_folder, *QUICK, '--tasks', 'depth',
               '--camera', '/camera/image_raw/compressed', '--max-frames', '3') == 0  # fmt: skip
    with Bag(out) as written:
        assert written.topics['/perception/disparity/image'].count == 3


@pytest.mark.parametrize(('more', 'says'), [
    (['--prefix', 'a b'], "prefix is 'a b'; expected a name in ROS, such as /perception"),
    (['--prefix', '/a/../b'], "prefix is '/a/../b'; expected a name in ROS"),
    (['--report', '{bag}'], 'is a file; results need a folder of that name, choose another'),
    (['--report', '{bag}/x'], 'is a file; results need a folder of that name, choose another'),
    (['--summary', '{folder}'], 'is a folder; expected the name of a file'),
])  # fmt: skip
def test_outputs_that_cannot_be_written_are_refused_before_the_model_loads(
    bag, tmp_path, monkeypatch, capsys, more, says
):
    monkeypatch.setattr('diception_ros.perception.predictor.Predictor.load', None)
    more = [one.format(bag=bag, folder=tmp_path) for one in more]
    assert run(bag, '--out', tmp_path / 'out.mcap', '--tasks', 'depth', *more) == 1
    assert says in capsys.readouterr().err
    assert not (tmp_path / 'out.mcap').exists()


@pytest.mark.parametrize(('given', 'prefix'), [
    ('/perception', '/perception'), ('front/node/', '/front/node'), ('/', ''), ('', ''),
])  # fmt: skip
def test_the_prefix_of_topics_begins_with_a_slash(tmp_path, given, prefix):
    config = ReplayConfig(bags=('drive',), out=tmp_path / 'out.mcap', prefix=given)
    assert replay._job(config).prefix == prefix
