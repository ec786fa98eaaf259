# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A bag in, a bag out: what the Perceiver says of every frame, whatever happens on the way."""

from __future__ import annotations

from dataclasses import replace
import os
import threading

import floor_scenes
import numpy as np
import pytest
import recordings
from recordings import BEGIN, LATE, MAKE, everything, perceiver, recorded, write
from task_examples import example

from diception_ros.bag_replay import checkpoint, run
from diception_ros.bag_replay.run import BackgroundWriter, Job, prefetch
from diception_ros.bags.channels import OfferedQos, qos_from_text, qos_to_text
from diception_ros.bags.mcap_writer import Writer, partial_of
from diception_ros.bags.reader import Bag
from diception_ros.bags.typestore import TYPES, definition_of
from diception_ros.core.frame import Intrinsics
from diception_ros.messages import camera_info, make_header, poses, stamp_of
from diception_ros.messages import images as image_messages
from diception_ros.perception.query import Query


def replay(path, out, asked=None, **job):
    with Bag(path) as bag:
        return run.replay(bag, asked or perceiver(), Job(out, **job))


@pytest.fixture
def bag(tmp_path):
    return write(tmp_path / 'bag', recorded(9))


def test_replay_results_equal_those_of_the_perceiver(bag, tmp_path):
    asked = perceiver(tasks=('depth', 'normal', 'entity', 'semantic', 'pose'))
    wanted = frozenset(one.topic for one in asked.outputs())
    # What tells of the settings stands once, before all results.
    expected = [
        ('/perception/semantic/label_info', one.__msgtype__, BEGIN + LATE,
         bytes(TYPES.serialize_cdr(one, one.__msgtype__)))
        for _, one in asked.latched()
    ]  # fmt: skip
    assert len(expected) == 1
    for k in range(9):
        stamp = BEGIN + k * 100_000_000
        header = make_header(MAKE, stamp, 'cam')
        info = camera_info.info(MAKE, recordings.PINHOLE, recordings.SIZE, header)
        message = image_messages.image(MAKE, recordings.image(k), 'rgb8', header)
        prediction = asked.process(
            Query('', image_messages.frame_from(message, info), header, info,
                    asked.tasks_for_topics(wanted), topics=wanted)
        )  # fmt: skip
        expected += [
            ('/perception/' + topic, one.__msgtype__, stamp + LATE,
             bytes(TYPES.serialize_cdr(one, one.__msgtype__)))
            for topic, one in prediction.messages
        ]  # fmt: skip
    result = replay(bag, tmp_path / 'out.mcap', perceiver(
        tasks=('depth', 'normal', 'entity', 'semantic', 'pose')))  # fmt: skip
    assert everything(tmp_path / 'out.mcap') == expected
    assert result.frames == 9
    assert not result.skipped
    assert result.damage == ''
    assert {topic for topic, *_ in expected} == {f'/perception/{topic}' for topic in wanted}


def test_replay_takes_gravity_from_the_transforms_of_the_bag(tmp_path):
    """As if it had been given: static and moving, also of what is recorded before the part."""
    turned = floor_scenes.rotation(10, 5)
    upright = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])  # of the level optical frame
    header = make_header(MAKE, 0, 'base_link')
    static = poses.transform(MAKE, np.zeros(3), upright, header, 'mast')
    messages = [('/tf_static', static, BEGIN), *recorded(5)]
    for k in range(5):
        header = make_header(MAKE, BEGIN + k * 100_000_000 + 1, 'mast')
        moved = poses.transform(MAKE, np.zeros(3), turned.T, header, 'cam')
        # After its image, and so much that the next image is before it.
        messages.append(('/tf', moved, BEGIN + LATE + k * 100_000_000 + 150_000_000))
    path = write(tmp_path / 'bag', sorted(messages, key=lambda one: one[2]))
    common = {
        'tasks': ('depth', 'normal'), 'points__ground': 'drop',
        'depth__metric': 'fixed', 'depth__scale': 0.5, 'depth__shift': 0.1,
    }  # fmt: skip
    gravity = ' '.join(map(repr, (turned @ [0, 1, 0]).tolist()))
    found = []
    for name, changes in (('tf', {}), ('given', {'points__gravity': gravity}),
                          ('none', {'points__gravity_frame': ''})):  # fmt: skip
        out = tmp_path / f'{name}.mcap'
        result = replay(path, out, perceiver(**common, **changes), start_s=0.25)
        found.append(everything(out))
        assert ('gravity' in result.notes) == (name == 'none'), result.notes
    assert [topic for topic, *_ in found[0]].count('/perception/points') == 2
    assert found[0] == found[1]


def test_replay_is_the_same_for_every_run_and_format(tmp_path):
    files = []
    for form in ('mcap', 'mcap', 'sqlite3-message', 'ros1'):
        path = write(tmp_path / str(len(files)), recorded(9), form)
        files.append(tmp_path / f'{len(files)}_out.mcap')
        replay(path, files[-1])
    assert len({file.read_bytes() for file in files}) == 1


def test_replay_of_compressed_images_equals_that_of_raw_ones(bag, tmp_path):
    path = write(tmp_path / 'c', recorded(9, '/camera/image_raw/compressed', compressed=True))
    replay(bag, tmp_path / 'a.mcap')
    replay(path, tmp_path / 'b.mcap')
    assert (tmp_path / 'a.mcap').read_bytes() == (tmp_path / 'b.mcap').read_bytes()


def test_replay_batches_change_the_number_of_model_calls_alone(bag, tmp_path):
    asked = perceiver()
    replay(bag, tmp_path / 'a.mcap', asked, batch_frames=4)
    assert asked._predictor.calls == [8, 8, 2]
    replay(bag, tmp_path / 'b.mcap')
    assert everything(tmp_path / 'a.mcap') == everything(tmp_path / 'b.mcap')


@pytest.mark.parametrize(('job', 'kept'), [
    ({'every': 3}, [0, 3, 6]), ({'max_frames': 2}, [0, 1]),
    ({'every': 2, 'max_frames': 3}, [0, 2, 4]),
    ({'start_s': 0.25}, [3, 4, 5, 6, 7, 8]), ({'start_s': 0.25, 'end_s': 0.45}, [3, 4]),
    ({'end_s': 0.3, 'every': 2}, [0, 2]),
])  # fmt: skip
def test_replay_of_a_part_of_the_frames(bag, tmp_path, job, kept):
    replay(bag, tmp_path / 'out.mcap', **job)
    found = [stamp for topic, _, stamp, _ in everything(tmp_path / 'out.mcap')
             if topic.endswith('disparity/image')]  # fmt: skip
    assert found == [BEGIN + LATE + k * 100_000_000 for k in kept]


def test_checkpoint_is_written_after_its_data_is_synced(bag, tmp_path, monkeypatch):
    synced, written, write_state = [0], [], checkpoint.save

    def sync(number):
        synced.append(max(synced[-1], os.fstat(number).st_size))  # the journal is smaller

    def write_checked(path, now, about):
        written.append(now.offset)
        assert now.offset <= synced[-1]
        write_state(path, now, about)

    monkeypatch.setattr(os, 'fsync', sync)
    monkeypatch.setattr(checkpoint, 'save', write_checked)
    monkeypatch.setattr(checkpoint, 'CHUNK_FRAMES', 2)
    monkeypatch.setattr(checkpoint, 'SAVE_S', 0)
    replay(bag, tmp_path / 'out.mcap')
    assert len(written) == 5
    assert synced[-1] == (tmp_path / 'out.mcap').stat().st_size


def test_replay_copies_stand_before_results_unchanged(bag, tmp_path):
    replay(bag, tmp_path / 'out.mcap', copy=True, every=2)
    found = everything(tmp_path / 'out.mcap')
    assert [one for one in found if not one[0].startswith('/perception')] == everything(bag)
    at = [topic for topic, *_ in found].index('/perception/disparity/image')
    assert found[at - 1][0] == '/camera/image_raw'
    assert found[at - 1][2] == found[at][2]


def test_replay_copies_all_messages_beside_few_results(bag, tmp_path):
    result = replay(bag, tmp_path / 'out.mcap', copy=True, max_frames=2)
    assert result.frames == 2
    found = everything(tmp_path / 'out.mcap')
    assert [one for one in found if not one[0].startswith('/perception')] == everything(bag)


def test_replay_writes_what_publishers_offer(tmp_path):
    path, out = tmp_path / 'bag.mcap', tmp_path / 'out.mcap'
    lossy, latched = OfferedQos(reliable=False, depth=5), OfferedQos(latched=True, depth=1)
    with Writer(path) as writer:
        for topic, message, stamp in recorded(2):
            kind = message.__msgtype__
            text = qos_to_text(lossy if 'image' in topic else latched)
            writer.add(topic, kind, definition_of(TYPES, kind), text)
            writer.write(topic, TYPES.serialize_cdr(message, kind), stamp)
        writer.finish()
    replay(path, out, perceiver(tasks=('semantic',)), copy=True)
    with Bag(out) as bag:
        found = {name: qos_from_text(topic.qos) for name, topic in bag.topics.items()}
    assert (found['/camera/image_raw'], found['/words']) == ([lossy], [latched])
    assert found['/perception/semantic/label'] == [OfferedQos()]
    assert found['/perception/semantic/label_info'] == [latched]


def test_replay_without_views(bag, tmp_path):
    replay(bag, tmp_path / 'out.mcap', views=False)
    topics = {topic for topic, *_ in everything(tmp_path / 'out.mcap')}
    assert '/perception/entity/label' in topics
    assert not [topic for topic in topics if topic.endswith(('color', 'overlay'))]


def messages_with_infos():
    """Images whose CameraInfo comes before, after, or late, each with a pinhole of its own."""
    for k in range(6):
        stamp = BEGIN + k * 100_000_000
        header = make_header(MAKE, stamp, 'cam')
        image = image_messages.image(MAKE, recordings.image(k), 'rgb8', header)
        pinhole = Intrinsics(10.0 + k, 20.0, 3.0, 4.0)
        info = camera_info.info(MAKE, pinhole, recordings.SIZE, header)
        offset = (-1000, 1000, 90_000_000)[k % 3]
        yield '/front/image_raw', image, stamp
        yield '/front/camera_info', info, stamp + offset


def test_camera_info_is_matched_by_stamp(tmp_path):
    messages = sorted(messages_with_infos(), key=lambda one: one[2])
    path = write(tmp_path / 'bag', messages)
    replay(path, tmp_path / 'out.mcap', perceiver(tasks=('normal',)))
    with Bag(tmp_path / 'out.mcap') as out:
        found = [out.decode(raw) for raw in out.messages(['/perception/normal/camera_info'])]
    assert [message.k[0] for message in found] == [10.0 + k for k in range(6)]
    assert [stamp_of(message.header) for message in found] == [
        BEGIN + k * 100_000_000 for k in range(6)
    ]


def test_replay_late_images_have_their_own_camera_info(tmp_path):
    messages = []
    for topic, message, stamp in messages_with_infos():
        late = 250_000_000 if topic.endswith('image_raw') else 0
        messages.append((topic, message, stamp + late))
    path = write(tmp_path / 'bag', sorted(messages, key=lambda one: one[2]))
    replay(path, tmp_path / 'out.mcap', perceiver(tasks=('normal',)))
    with Bag(tmp_path / 'out.mcap') as out:
        found = [out.decode(raw) for raw in out.messages(['/perception/normal/camera_info'])]
    assert [message.k[0] for message in found] == [10.0 + k for k in range(6)]


def test_frames_references_are_matched_within_the_tolerance(tmp_path):
    messages = []
    for k in range(4):
        stamp = BEGIN + k * 100_000_000
        header = make_header(MAKE, stamp, 'cam')
        messages.append(
            ('/image', image_messages.image(MAKE, recordings.image(k), 'rgb8', header), stamp)
        )
        off = 20_000_000 if k != 2 else 60_000_000
        depth = np.full(recordings.SIZE, 1 + k, np.float32)
        depth[: k + 1] = 0.5  # two depths, so that there is a fit
        header = make_header(MAKE, stamp + off, 'cam')
        messages.append(
            ('/depth', image_messages.image(MAKE, depth, '32FC1', header), stamp + off)
        )
    path = write(tmp_path / 'bag', sorted(messages, key=lambda one: one[2]))
    seen = []
    with Bag(path) as bag:
        from diception_ros.bags.frames import FrameSelection, choose, frames

        for taken in frames(bag, choose(bag, ['/image'], references=['/depth']), FrameSelection()):
            seen.append(None if taken.reference is None else
                        float(image_messages.array_from(taken.reference).max()))  # fmt: skip
    # The depth of the third comes 60 ms late; that of the second is 80 ms off: neither counts.
    assert seen == [1.0, 2.0, None, 4.0]


def test_replay_cameras_have_names_and_state_of_their_own(tmp_path):
    messages = [*recorded(5, '/front/image_raw'), *recorded(5, '/rear/image_raw', period_s=0.07)]
    path = write(tmp_path / 'bag', sorted(messages, key=lambda one: one[2]))
    with pytest.raises(ValueError, match=r'(?s)--camera.*/front/image_raw.*/rear/image_raw'):
        replay(path, tmp_path / 'out.mcap')
    result = replay(path, tmp_path / 'out.mcap', cameras=('/front/image_raw', '/rear/image_raw'))
    assert result.frames == 10
    assert [one.info for one in result.cameras] == ['/front/camera_info', '/rear/camera_info']
    found = everything(tmp_path / 'out.mcap')
    for name in ('front', 'rear'):
        alone = tmp_path / f'{name}.mcap'
        replay(path, alone, cameras=(f'/{name}/image_raw',))
        mine = [(t.replace(f'/{name}/', '/'), k, s, d) for t, k, s, d in found if f'/{name}/' in t]
        assert mine == everything(alone)


def test_replay_counts_frames_that_cannot_be_decoded(tmp_path):
    messages = [*recorded(6, info=False)]
    broken = messages[2][1]
    messages[2] = (messages[2][0], replace(broken, encoding='strange'), messages[2][2])
    messages[6] = (
        messages[6][0],
        replace(messages[6][1], data=messages[6][1].data[:50]),
        messages[6][2],
    )
    messages[8][1].header.stamp.sec = -1
    path = write(tmp_path / 'bag', messages)
    words = []
    with Bag(path) as bag:
        result = run.replay(bag, perceiver(), Job(tmp_path / 'out.mcap'), log=words.append)
    assert dict(result.skipped) == {"encoding 'strange'": 1, 'data': 1, 'stamp': 1}
    assert result.frames == 3
    assert len([word for word in words if 'skipped' in word]) == 3
    assert len([word for word in words if 'expected a stamp >= 0' in word]) == 1


def test_replay_refuses_an_existing_file(bag, tmp_path):
    out = tmp_path / 'out.mcap'
    out.write_text('mine')
    with pytest.raises(FileExistsError, match='--force'):
        replay(bag, out)
    with pytest.raises(FileExistsError, match='--force'):
        replay(bag, out, resume=True)
    replay(bag, out, force=True)
    assert len(everything(out)) > 9
    partial_of(out).write_text('half')
    out.unlink()
    with pytest.raises(FileExistsError, match='--resume'):
        replay(bag, out)


def test_resume_with_other_options_is_refused(bag, tmp_path, monkeypatch):
    out = tmp_path / 'out.mcap'
    stop_at(monkeypatch, 6)
    with pytest.raises(KeyboardInterrupt):
        replay(bag, out, asked=perceiver())
    monkeypatch.undo()
    assert checkpoint.state_path(out).exists()
    with pytest.raises(ValueError, match='seed = 42, and is to go on with 7'):
        replay(bag, out, perceiver(seed=7), resume=True)
    with pytest.raises(ValueError, match='every = 1'):
        replay(bag, out, resume=True, every=2)


def stop_at(monkeypatch, frame):
    """Let every frame be saved, and an interrupt come at one."""
    monkeypatch.setattr(checkpoint, 'CHUNK_FRAMES', 1)
    seen = []

    def infer(self, *given, infer=recordings.Cheap.infer, **more):
        seen.append(1)
        if len(seen) == frame:
            raise KeyboardInterrupt
        return infer(self, *given, **more)

    monkeypatch.setattr(recordings.Cheap, 'infer', infer)


@pytest.mark.parametrize('at', [1, 4, 9])
def test_interrupted_replay_is_readable_and_resumes(bag, tmp_path, monkeypatch, at):
    out, whole = tmp_path / 'out.mcap', tmp_path / 'whole.mcap'
    monkeypatch.setattr(checkpoint, 'CHUNK_FRAMES', 1)
    replay(bag, whole, copy=True)
    stop_at(monkeypatch, at)
    with pytest.raises(KeyboardInterrupt):
        replay(bag, out, copy=True)
    partial = everything(partial_of(out))
    assert partial == everything(whole)[: len(partial)]
    monkeypatch.undo()
    monkeypatch.setattr(checkpoint, 'CHUNK_FRAMES', 1)
    result = replay(bag, out, copy=True, resume=True)
    assert result.frames == 9
    assert out.read_bytes() == whole.read_bytes()
    checkpoint.remove_files(out)
    assert [one.name for one in tmp_path.glob('out.*')] == ['out.mcap']


def test_resume_of_a_finished_bag_leaves_it_as_it_is(tmp_path):
    messages = [*recorded(9)]
    broken = messages[3][1]
    messages[3] = (messages[3][0], replace(broken, encoding='strange'), messages[3][2])
    bag, out = write(tmp_path / 'bag', messages), tmp_path / 'out.mcap'
    bag.write_bytes(bag.read_bytes()[:-100])  # the end of the index
    first = replay(bag, out)
    assert first.damage
    before, when = out.read_bytes(), out.stat().st_mtime_ns
    asked = perceiver()
    again = replay(bag, out, asked, resume=True)
    assert replace(again, seconds=first.seconds, processed=8, model_s=first.model_s) == first
    assert again.processed == 0
    assert not asked._predictor.calls
    assert out.stat().st_mtime_ns == when
    with pytest.raises(ValueError, match='every = 1'):
        replay(bag, out, resume=True, every=2)
    with pytest.raises(FileExistsError, match='--force'):
        replay(bag, out)
    journal = again.journal.read_bytes()
    half = len(before) // 2
    for harm, harmed in ((out, before[:-1]), (out, before + b' '), (out, before[:half]),
                         (out, before[:half] + bytes(len(before) - half)),
                         (again.journal, journal[:-1])):  # fmt: skip
        harm.write_bytes(harmed)
        with pytest.raises(FileExistsError, match='--force'):
            replay(bag, out, resume=True)
        out.write_bytes(before)
        again.journal.write_bytes(journal)
    assert replay(bag, out, resume=True).frames == 8
    checkpoint.remove_files(out)
    done = replay(bag, out, resume=True)
    assert (done.finished_before, done.code) == (True, 0)
    assert out.read_bytes() == before
    for harmed in (before[:-1], before + b' ', before[: len(before) // 2], b'mine'):
        out.write_bytes(harmed)
        with pytest.raises(FileExistsError, match='--force'):
            replay(bag, out, resume=True)


def test_resume_refuses_a_checkpoint_of_another_version(bag, tmp_path, monkeypatch):
    replay(bag, tmp_path / 'out.mcap')
    monkeypatch.setattr(checkpoint, 'FORMAT', 3)
    with pytest.raises(ValueError, match='format 2 of another version'):
        replay(bag, tmp_path / 'out.mcap', resume=True)


def test_replay_of_a_cut_bag_ends_at_the_damage(tmp_path):
    path = write(tmp_path / 'bag', recorded(60), 'mcap-plain')
    replay(path, tmp_path / 'whole.mcap', perceiver(tasks=('depth',)))
    whole = everything(tmp_path / 'whole.mcap')
    content = path.read_bytes()
    rng = np.random.default_rng(3)
    processed = []
    for cut in sorted(rng.integers(5000, len(content) - 1, 50).tolist()):
        path.write_bytes(content[:cut])
        result = replay(path, tmp_path / 'out.mcap', perceiver(tasks=('depth',)), force=True)
        assert 'damaged' in result.damage
        found = everything(tmp_path / 'out.mcap')
        assert found == whole[: len(found)]
        processed.append(result.frames)
    assert processed == sorted(processed)
    assert processed[0] < 10
    assert processed[-1] > 50


def test_replay_memory_does_not_grow_with_frames(tmp_path):
    import psutil

    path = write(tmp_path / 'bag', recorded(2000, period_s=0.01, size=(8, 8)))
    process, sizes = psutil.Process(), []
    asked = perceiver(tasks=('depth',))
    label = example(recordings.tasks.get('depth'), np.random.default_rng(0), 8)
    asked._predictor.infer = lambda frames, prompts, *_, **more: [
        recordings.SimpleNamespace(label=label, prompt=prompt, uncertainty=None,
                                   seconds=dict.fromkeys(('encode', 'denoise', 'decode'), 0.0))
        for prompt in prompts
    ]  # fmt: skip
    with Bag(path) as bag:
        run.replay(bag, asked, Job(tmp_path / 'out.mcap'), progress=lambda n: sizes.append(
            process.memory_info().rss if len(sizes) % 100 == 0 else 0))  # fmt: skip
    sampled = [size for size in sizes if size]
    assert len(sizes) == 2000
    assert max(sampled) < 1.05 * sampled[3]


def test_replay_logs_for_each_camera_why_its_camera_info_is_not_used(tmp_path):
    messages = []
    for name, size, frame_id in (('front', (0, 0), 'cam'), ('rear', recordings.SIZE, 'other')):
        for topic, message, stamp in recorded(2, f'/{name}/image_raw'):
            if topic.endswith('/camera_info'):
                header = make_header(MAKE, stamp - LATE - 1000, frame_id)
                message = camera_info.info(MAKE, recordings.PINHOLE, size, header)
            messages.append((topic, message, stamp))
    messages.sort(key=lambda one: one[2])
    path, logged = write(tmp_path / 'bag', messages), []
    with Bag(path) as bag:
        job = Job(
            tmp_path / 'out.mcap', cameras=('front=/front/image_raw', 'rear=/rear/image_raw')
        )
        result = run.replay(bag, perceiver(), job, log=logged.append)
    assert result.frames == 4
    assert [line.partition(':')[0] for line in logged] == ['front', 'rear']
    assert 'its width and height are 0 x 0' in logged[0]
    assert "the frame_id of CameraInfo is 'other'" in logged[1]


def test_prefetch_keeps_order_and_raises_in_turn():
    def items():
        yield from range(20)
        raise OSError('the disk is gone')

    came = []

    def take():
        for item in prefetch(items(), 5):
            came.append(item)

    with pytest.raises(OSError, match='the disk is gone'):
        take()
    assert came == list(range(20))


def test_background_writer_keeps_order():
    done = []
    with BackgroundWriter(3) as background:
        for k in range(50):
            background.submit(done.append, k)
        background.join()
        assert done == list(range(50))


def test_background_writer_stops_at_the_first_error():
    done, go = [], threading.Event()

    def fail():
        go.wait(60)
        raise OSError('no room')

    def run():
        with BackgroundWriter(9) as background:
            background.submit(done.append, 1)
            background.submit(fail)
            background.submit(done.append, 2)  # waits already when that fails
            background.submit(done.append, 3)
            go.set()
            background.join()

    with pytest.raises(OSError, match='no room'):
        run()
    assert done == [1]
