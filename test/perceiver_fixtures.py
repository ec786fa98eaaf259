# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Requests to a Perceiver, its messages as bytes, and a predictor whose predictions are given."""

from dataclasses import replace

import numpy as np

from diception_ros.bags.typestore import TYPES, BagTypes
from diception_ros.core import settings
from diception_ros.core.frame import Frame, Intrinsics
from diception_ros.core.labels import Instances
from diception_ros.core.prompt import Point
from diception_ros.messages import camera_info, make_header
from diception_ros.messages import images as image_messages
from diception_ros.model.sampler import STAGES
from diception_ros.perception.perceiver import Perceiver
from diception_ros.perception.predictor import Predictor
from diception_ros.perception.query import Prediction, Query
from diception_ros.perception.settings import PerceptionSettings
from diception_ros.tasks import BUILTIN, get

MAKE = BagTypes()
SIZE = (40, 60)
PINHOLE = Intrinsics(50.0, 45.0, 30.0, 19.0)
POINTS = (Point(3, 4), Point(20, 11))
EVERY = ('depth', 'normal', 'segmentation', 'semantic', 'entity', 'pose')


def chosen(**changes):
    """Settings that are quick on the tiny pipeline; a double underscore is a dot."""
    quick = PerceptionSettings(tasks=EVERY, categories=('person', 'cat'))
    return settings.changed(quick, {k.replace('__', '.'): v for k, v in changes.items()})


def perceiver(pipe, **changes):
    return Perceiver(Predictor(pipe), MAKE, chosen(**changes))


def task_of(task):
    return get(task) if isinstance(task, str) else task


def request(seed=0, stamp_ns=5, size=SIZE, tasks=EVERY, topics=None, **more):
    """A request about a random image; asks for all possible topics."""
    rgb = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    header = make_header(MAKE, stamp_ns, 'cam')
    info = camera_info.info(MAKE, PINHOLE, size, make_header(MAKE, stamp_ns, 'cam'))
    made = Query(
        'front', Frame(rgb, stamp_ns, 'cam', PINHOLE), header, info,
        tuple(map(task_of, tasks)), POINTS,
        topics=everything() if topics is None else frozenset(topics),
    )  # fmt: skip
    return replace(made, **more)


def everything():
    names = (f'{task}/{end}' for task in (*EVERY, 'disparity') for end in (
        'image', 'camera_info', 'color', 'overlay', 'mask', 'label', 'instances', 'label_info',
        'confidence', 'detections', 'keypoints',
    ))  # fmt: skip
    return frozenset([*names, 'points', 'scan'])


def raw(prediction):
    """Topic, type and bytes of every message."""
    return [
        (topic, message.__msgtype__, bytes(TYPES.serialize_cdr(message, message.__msgtype__)))
        for topic, message in prediction.messages
    ]


class Canned:
    """A predictor that gives given labels: by task, or by task and category."""

    def __init__(self, **labels):
        self.labels, self.asked, self.tasks = labels, [], BUILTIN

    def infer(self, frames, prompts, settings, at_model_size=False):
        self.asked += prompts
        return [
            Prediction(
                self._label(prompt), prompt, frame.stamp_ns, frame.frame_id,
                dict.fromkeys(STAGES, 0.001), None,
            )
            for frame, prompt in zip(frames, prompts, strict=True)
        ]  # fmt: skip

    def check(self, prompts, settings, adapters=()):
        pass

    def _label(self, prompt):
        found = self.labels[prompt.task]
        return found[prompt.category] if prompt.category else found


def things(*places, size=SIZE, names=None, scores=None):
    """Instances of 10 x 10 pixels with their left edge at these columns, in this order."""
    ids = np.zeros(size, np.int32)
    for number, x in enumerate(places, 1):
        ids[5:15, x : x + 10] = number
    scores = np.full(len(places), 0.5, np.float32) if scores is None else np.float32(scores)
    return Instances(ids, tuple(names or [''] * len(places)), scores)


def topics(prediction):
    return [topic for topic, _ in prediction.messages]


def image(prediction, topic):
    return image_messages.array_from(dict(prediction.messages)[topic])


def semantic(**more):
    """A Perceiver that is asked for three categories, some of whose things overlap."""
    labels = {
        'person': things(0, 20, names=['person'] * 2, scores=[0.9, 0.3]),
        'cat': things(15, 40, names=['cat'] * 2, scores=[0.6, 0.7]),
        'dog': things(),
    }
    return Perceiver(Canned(semantic=labels), MAKE, chosen(**more))
