# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""From a disparity to metres, by what the settings say where scale and shift come from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from diception_ros import geometry
from diception_ros.alignment import FitReport, align, blend, judge
from diception_ros.geometry import Affine
from diception_ros.labels import Disparity, MetricDepth
from diception_ros.perceive.references import Reference, reference_from, transform_from
from diception_ros.perceive.request import Note
from diception_ros.perceive.settings import IDENTITY

if TYPE_CHECKING:
    from diception_ros.frame import Intrinsics
    from diception_ros.perceive.settings import PerceptionSettings
    from diception_ros.perceive.temporal import Memory


class Metres(NamedTuple):
    """What became of a disparity.

    Attributes:
        depth: metres; None where nothing may be published.
        fit: to the reference; None where none was tried.
        notes: why there is no depth, or what is doubtful about it.
    """

    depth: MetricDepth | None
    fit: FitReport | None
    notes: list[Note]


def to_metres(
    disparity: Disparity,
    intrinsics: Intrinsics | None,
    frame_id: str,
    reference: Any | None,
    settings: PerceptionSettings,
    memory: Memory,
) -> Metres:
    """Metres of a disparity.

    Args:
        disparity: of the frame.
        intrinsics: pinhole of the picture that the disparity is of, where there is one.
        frame_id: of the frame.
        reference: for aligned: depths of the same moment, a Reference or the message that they
            came in; None where there are none.
        settings: `metric` must not be 'off'.
        memory: of the camera; the scale and shift that were used are kept in it.
    """
    if settings.metric == 'fixed':
        affine = Affine(settings.scale, settings.shift)
        return Metres(geometry.to_metric(disparity, affine), None, [])
    if reference is None:
        return Metres(None, None, [Note('no reference', (
            f'no depth in metres: no depth reference within {settings.tolerance_s} s of the '
            'frame; check that it comes, that its stamps are those of the images, and '
            'depth.tolerance_s'
        ))])  # fmt: skip
    try:
        if not isinstance(reference, Reference):
            reference = reference_from(reference, transform_from(settings.reference_transform))
        samples = reference.samples(disparity.size, intrinsics)
    except ValueError as error:
        return Metres(None, None, [Note('reference', f'no depth in metres: {error}')])
    notes = _doubts(reference, frame_id, settings)
    known = disparity.values[samples.rows, samples.columns]
    demands = settings.demands()
    fit = align(known, samples.depth, demands)
    if not fit.good:
        text = f'no depth in metres: bad fit to the depth reference: {fit.problem}'
        return Metres(None, fit, [*notes, Note('bad fit', text)])
    if memory.affine is not None and settings.smooth:
        smooth = judge(
            blend(memory.affine, fit.affine, settings.smooth), known, samples.depth, demands
        )
        # Where the picture changed so much that the last scale misleads, smoothing begins anew.
        fit = smooth if smooth.good else fit
    memory.affine = fit.affine
    return Metres(geometry.to_metric(disparity, fit.affine), fit, notes)


def _doubts(reference: Reference, frame_id: str, settings: PerceptionSettings) -> list[Note]:
    if reference.frame_id == frame_id:
        return []
    if reference.picture is not None:
        text = (
            f'the depth reference is of frame {reference.frame_id!r}, the image of {frame_id!r}; '
            'it is taken to be of the same view, so use one that is registered to the image'
        )
    elif settings.reference_transform == IDENTITY:
        text = (
            f'the reference cloud is of frame {reference.frame_id!r}, the image of {frame_id!r}; '
            'give the pose of one in the other as depth.reference_transform'
        )
    else:
        return []
    return [Note('reference frame', text)]
