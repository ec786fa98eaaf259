# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Counts the named containers of a frame's way, from the image callback to the publishers.

`python bench/frame_containers.py` sends frames through FrameQueue, Worker and Perceiver with a
tiny random model, and prints the names of the dataclasses and NamedTuples of diception_ros that
are constructed for the second one. Left out are labels, settings, and values (points, intrinsics),
which say nothing about the way; the first frame fills caches of what does not depend on the frame.
"""

import argparse
from collections import Counter
from contextlib import ExitStack
from dataclasses import is_dataclass
import inspect
import sys
from types import SimpleNamespace
from unittest import mock

import numpy as np

# Values without a part in the way.
VALUES = ('Point', 'Intrinsics', 'Transform', 'ScaleShift')


def container_types():
    """All dataclasses and NamedTuples of the package that are imported."""
    from diception_ros.core.labels import Label

    modules = [module for name, module in sys.modules.items() if name.startswith('diception_ros')]
    found = {kind for module in modules for _, kind in inspect.getmembers(module, inspect.isclass)}
    return [
        kind
        for kind in found
        if kind.__module__.startswith('diception_ros')
        and (is_dataclass(kind) or (issubclass(kind, tuple) and hasattr(kind, '_fields')))
        and not issubclass(kind, Label)
        and kind.__name__ not in VALUES
        and not kind.__name__.endswith('Settings')
    ]


def counted(work):
    """Names of the containers that are constructed while a function runs, with their number."""
    counts = Counter()
    with ExitStack() as stack:
        for kind in container_types():
            attribute = '__new__' if issubclass(kind, tuple) else '__init__'
            original = getattr(kind, attribute)

            def construct(*args, _kind=kind, _original=original, **more):
                counts[_kind.__name__] += 1
                return _original(*args, **more)

            stack.enter_context(mock.patch.object(kind, attribute, construct))
        work()
    return counts


def main():
    """Print the containers of one frame."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.parse_args()
    from diception_ros.bags.typestore import BagTypes
    from diception_ros.messages import images, make_header
    from diception_ros.model.tiny import tiny_pipeline
    from diception_ros.node.frame_queue import FrameQueue
    from diception_ros.node.worker import Worker
    from diception_ros.perception.perceiver import Perceiver
    from diception_ros.perception.predictor import Predictor
    from diception_ros.perception.settings import PerceptionSettings

    types = BagTypes()
    settings = PerceptionSettings(tasks=('depth', 'normal'))
    perceiver = Perceiver(Predictor(tiny_pipeline()), types, settings)
    topics = frozenset(output.topic for output in perceiver.outputs())
    published = []
    publishers = SimpleNamespace(
        subscribed_topics=lambda camera: topics,
        publish=lambda camera, messages: published.append(messages),
        names=lambda: sorted(topics),
    )
    camera = SimpleNamespace(
        name='', prefix='', frame_id=None, info_of=lambda message: (None, 'none'),
        points=SimpleNamespace(for_size=lambda size: ((), 0)),
        camera_infos=SimpleNamespace(why_none=lambda message: ''),
    )  # fmt: skip
    queue = FrameQueue([''])
    log = mock.Mock()
    worker = Worker(queue, perceiver, {'': camera}, publishers, lambda: (1, True), log, None)
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)

    def send():
        before = len(published)
        queue.put('', images.image(types, image, 'rgb8', make_header(types, 1, 'camera')))
        while len(published) == before:
            if log.error_once.called:
                raise RuntimeError(log.error_once.call_args)

    worker.start()
    send()
    counts = counted(send)
    worker.stop()
    for name, number in sorted(counts.items()):
        print(f'{name}: {number}')
    print(f'{len(counts)} named containers from the image callback to the publishers')


if __name__ == '__main__':
    main()
