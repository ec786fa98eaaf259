# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Shows images and predictions in a browser: `diception view`."""

from __future__ import annotations

from dataclasses import dataclass, field
import importlib.util
import ipaddress
from pathlib import Path
import socket
from typing import TYPE_CHECKING

from diception_ros.core.settings import ComputeSettings, Settings, setting
from diception_ros.perception.settings import PerceptionSettings
from diception_ros.system.processes import ended_by_signals
from diception_ros.system.progress import SILENT, Progress

if TYPE_CHECKING:
    from diception_ros.viewer.session import Viewer
    from diception_ros.viewer.sources import Source


@dataclass(frozen=True)
class ViewConfig(Settings):
    """What is shown, and where.

    Raises:
        ValueError: a value that its declaration does not allow, or two that exclude each other.
    """

    sources: tuple[str, ...] = setting(
        (), 'images, folders of images, patterns, or one bag; none: a camera or a running node',
        metavar='SOURCE', flag='sources',
    )  # fmt: skip
    camera: str | None = setting(
        None, 'number or path of a camera of this machine; beside a bag, the topic of its images',
        kind=str, metavar='CAMERA',
    )  # fmt: skip
    depth_reference: str = setting(
        '', 'topic of a bag with depths, for --depth-metric aligned', metavar='TOPIC'
    )
    node: str = setting('/perception', 'full name of the running node', metavar='NAME')
    host: str = setting(
        '127.0.0.1', 'address that the page is served on; 0.0.0.0: all of this machine',
        metavar='ADDRESS',
    )  # fmt: skip
    port: int = setting(8080, 'port of the page; 0: any free one', low=0, high=65535)
    seconds: float = setting(0.0, 'stop after so many seconds; 0: at Ctrl-C', low=0)
    model: str = setting('builtin', "model folder, or 'builtin'", metavar='DIR')
    compute: ComputeSettings = field(default_factory=ComputeSettings)
    perception: PerceptionSettings = field(default_factory=PerceptionSettings)

    def __post_init__(self) -> None:
        super().__post_init__()
        own = self.model != 'builtin' or self.compute != ComputeSettings()
        if self.of_node and (own or self.perception != PerceptionSettings()):
            raise ValueError(
                'the model and its settings are those of the running node: change its parameters '
                'on the page, or give images, a bag or --camera'
            )

    @property
    def of_node(self) -> bool:
        """Whether a running node is shown."""
        return not self.sources and self.camera is None


@dataclass(frozen=True)
class ViewResult:
    """How it went.

    Attributes:
        address: of the page.
        snapshots: images with predictions that were made.
    """

    address: str
    snapshots: int


def view(config: ViewConfig, progress: Progress = SILENT) -> ViewResult:
    """Serve a page with images and predictions until Ctrl-C.

    Raises:
        ModuleNotFoundError: NiceGUI is not installed (the extra 'view').
        FileNotFoundError: no such image, bag or model.
        OSError: the port is taken, or the camera gives no images.
        TimeoutError: there is no such node.
        ValueError: settings that do not suit the model.

    Examples:
        >>> from diception_ros import ViewConfig, view
        >>> config = ViewConfig(sources=['photos'], port=0, seconds=0.5)
        >>> view(config).address
        'http://127.0.0.1:...'
    """
    if importlib.util.find_spec('nicegui') is None:
        raise ModuleNotFoundError(
            'diception view needs NiceGUI, which is not installed: pip install '
            "'diception_ros[view]'",
            name='nicegui',
        )
    with _listen(config.host, config.port) as listening:
        viewer = _node(config) if config.of_node else _session(config)
        try:
            from diception_ros.viewer.page import served

            open_to_others = not _is_loopback(config.host)
            address = _address(listening)
            # A page of another site must not reach this one through a name that leads here.
            hosts = (
                ['*']
                if open_to_others or ':' in config.host
                else ['localhost', '127.0.0.1', config.host]
            )
            with ended_by_signals() as ended, served(viewer, listening, hosts):
                progress.log(f'{viewer.title}: {address} (Ctrl-C ends it)')
                if open_to_others:
                    progress.log(
                        f'warning: {config.host} is reachable from other machines; all who open '
                        'the page see the images and can change settings, without a password'
                    )
                ended.wait(config.seconds or None)
            return ViewResult(address, viewer.snapshot.version)
        finally:
            viewer.close()


def _listen(host: str, port: int) -> socket.socket:
    """A bound socket, so that a port that is taken is known before the model is loaded."""
    family = socket.AF_INET6 if ':' in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise OSError(
            f'cannot listen on {host} port {port}: {error.strerror or error}; choose others with '
            '--host and --port (0: any free port)'
        ) from error
    return listening


def _address(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    if host in ('0.0.0.0', '::'):
        host = socket.gethostname()
    return f'http://[{host}]:{port}' if ':' in host else f'http://{host}:{port}'


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == 'localhost'


def _source(config: ViewConfig) -> Source:
    """The source of images, opened."""
    from diception_ros.viewer import sources
    from diception_ros.workflows.predict import find_images

    paths = [Path(text) for text in config.sources]
    bags = [path for path in paths if sources.is_bag(path)]
    if bags and len(paths) > 1:
        raise ValueError(f'expected images or one bag, got {len(paths)} sources with {bags[0]}')
    if bags:
        perception = config.perception
        return sources.BagFrames(
            bags[0], config.camera or '', config.depth_reference, perception.depth.tolerance_s,
            perception.points.gravity_frame,
        )  # fmt: skip
    if config.depth_reference:
        raise ValueError('depth_reference is a topic of a bag, and no bag is given')
    if paths and config.camera is not None:
        raise ValueError('expected images or a camera, got both')
    if config.camera is not None:
        return sources.CameraDevice(config.camera)
    return sources.ImageFiles(find_images(config.sources))


def _session(config: ViewConfig) -> Viewer:
    source = _source(config)
    try:
        # These load torch, which takes seconds.
        from diception_ros.bags.typestore import BagTypes
        from diception_ros.model import folder
        from diception_ros.perception.perceiver import Perceiver
        from diception_ros.perception.predictor import Predictor
        from diception_ros.viewer.session import Session

        folder.silence_library_logging()
        adapters = bool(config.perception.adapters)
        predictor = Predictor.load(config.model, config.compute, adapters)
        session = Session(source, Perceiver(predictor, BagTypes(), config.perception))
        session.start()
    except BaseException:
        source.close()
        raise
    return session


def _node(config: ViewConfig) -> Viewer:
    from diception_ros.node.live_view import NodeViewer

    return NodeViewer(config.node)
