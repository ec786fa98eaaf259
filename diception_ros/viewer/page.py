# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The page of `diception view`, built with NiceGUI, which serves all its files itself.

Every browser has its own choice of what is shown; tasks, points and parameters are the viewer's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
import contextlib
import functools
import math
import socket
import threading
from typing import Any
from urllib.parse import quote
import warnings

from diception_ros.core.prompt import COCO_CATEGORIES, MAX_POINTS, Point
from diception_ros.core.settings import Declared
from diception_ros.viewer import drawing
from diception_ros.viewer.drawing import IMAGE
from diception_ros.viewer.session import Snapshot, Viewer

# Seconds between looks for a new snapshot; the page is as quick as a cinema film then.
REFRESH_S = 0.05
# Seconds between clouds.
CLOUD_S = 1.0
# Seconds to wait for a browser to draw a cloud, which takes seconds without a GPU.
DRAWN_S = 30.0
# Seconds for which a browser may be silent: one without a GPU is busy for seconds with a cloud,
# and the wireless network of a robot has gaps.
RECONNECT_S = 30.0
OVERLAY, BESIDE, CLOUD = 'overlay', 'side by side', '3D'
_CATEGORIES = 'semantic.categories'
_STYLE = """
body { overflow-x: hidden }
.frame { display: grid; gap: 6px; width: 100%; grid-template-columns: minmax(0, 1fr) }
.frame.many { grid-template-columns: repeat(auto-fit, minmax(min(340px, 100%), 1fr)) }
.tile img { cursor: crosshair; user-select: none; touch-action: manipulation }
.nicegui-scene { overflow: hidden }
.over { opacity: var(--overlay, 0.6) }
.over img { display: block !important }
.columns { display: grid; gap: 12px; width: 100%; grid-template-columns: minmax(0, 1fr) 320px }
.panel { display: flex; flex-direction: column; gap: 8px; min-width: 0 }
.values { min-height: 2.8em; font-variant-numeric: tabular-nums }
@media (max-width: 800px) { .columns { grid-template-columns: minmax(0, 1fr) } }
"""


@contextlib.contextmanager
def served(viewer: Viewer, listening: socket.socket, hosts: Sequence[str]) -> Iterator[None]:
    """Serve the page in a thread while the context lasts.

    Args:
        viewer: what is shown.
        listening: a bound socket.
        hosts: names under which the page may be asked for; a page of another site whose name
            leads here is refused. '*' allows all.
    """
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    import uvicorn

    _viewers[:] = [viewer]
    trusted = TrustedHostMiddleware(_app(), allowed_hosts=[*hosts])
    server = uvicorn.Server(
        uvicorn.Config(
            trusted, log_level='warning', access_log=False, ws='wsproto',
            timeout_graceful_shutdown=1,
        )
    )  # fmt: skip
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True, name='page')
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(timeout=10)


# The one that is served now; NiceGUI has one application in a process.
_viewers: list[Viewer] = []


@functools.cache
def _app() -> Any:
    """The application, which can be served again and again, but not made twice."""
    from fastapi import FastAPI, Response
    from nicegui import ui

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.get('/drawn/{version}/{name:path}')
    def drawn(version: int, name: str) -> Response:
        try:
            data = drawing.jpeg(_viewers[0].snapshot, name)
        except KeyError:
            # Gone since the page was told of it: a newer image follows, so this is no error.
            return Response(status_code=204)
        return Response(data, media_type='image/jpeg', headers={'Cache-Control': 'no-store'})

    # NiceGUI looks at every object of the process, and torch warns of some of its own.
    warnings.filterwarnings('ignore', category=FutureWarning, module='nicegui')
    ui.run_with(
        app, root=lambda: _Page(_viewers[0], ui).build(), title='diception view', dark=None,
        show_welcome_message=False, reconnect_timeout=RECONNECT_S,
    )  # fmt: skip
    return app


class _Page:
    """The page in one browser."""

    def __init__(self, viewer: Viewer, ui: Any) -> None:
        self._viewer, self._ui = viewer, ui
        self._shown = -1  # version of the snapshot
        self._mode, self._over = OVERLAY, ''
        self._names: tuple[str, ...] = ()
        self._tiles: dict[str, _Tile] = {}
        self._cloud: Any = None
        self._cloud_in_work = False
        self._building = False

    def build(self) -> None:
        ui, viewer = self._ui, self._viewer
        ui.add_css(_STYLE)
        with ui.row().classes('w-full items-baseline gap-x-4 gap-y-0'):
            ui.label('diception view').classes('text-lg font-bold')
            self._title = ui.label(viewer.title).classes('text-sm break-words')
            if viewer.cameras:
                ui.select(
                    [*viewer.cameras], value=viewer.camera, label='camera',
                    on_change=lambda event: self._guarded(
                        lambda: viewer.set_camera(event.value)
                    )(),
                ).props('dense options-dense').classes('min-w-40').mark('camera')  # fmt: skip
            self._status = ui.label('').classes('text-sm').mark('status')
        self._error = ui.label('').classes('text-negative text-sm break-words')
        with ui.element('div').classes('columns'):
            with ui.element('div').classes('panel'):
                self._modes()
                self._frame = ui.element('div').classes('frame')
                self._transport()
                self._caption = ui.label('').classes('text-sm break-words')
                self._values = ui.label('').classes('values text-sm').props('id=values')
                self._legend = ui.column().classes('w-full gap-1')
            with ui.element('div').classes('panel'):
                self._tasks()
                self._points()
                self._parameters()
        ui.timer(REFRESH_S, self._refresh)

    # ---- controls -------------------------------------------------------------------------------

    def _modes(self) -> None:
        ui = self._ui
        with ui.row().classes('w-full items-center gap-x-4 gap-y-1'):
            ui.toggle([OVERLAY, BESIDE, CLOUD], value=self._mode, on_change=self._set_mode).props(
                'dense no-caps'
            )
            self._choice = ui.select([], on_change=self._set_over).props('dense options-dense')
            self._choice.classes('min-w-32')
            self._opacity = ui.slider(min=0, max=100, value=60).classes('w-40')
            self._opacity.props('label aria-label="opacity of the overlay, percent"')
            # In the browser alone, so that it moves at once.
            self._opacity.on(
                'update:model-value',
                js_handler="(v) => document.body.style.setProperty('--overlay', v / 100)",
            )

    def _transport(self) -> None:
        ui, viewer = self._ui, self._viewer
        self._play: Any = None
        self._slider: Any = None
        if not (viewer.plays or viewer.end):
            return
        with ui.row().classes('w-full items-center no-wrap'):
            if viewer.plays:
                self._play = ui.button(icon='play_arrow', on_click=self._toggle_play)
                self._play.props('dense flat aria-label="play or pause"')
            if viewer.end:
                self._slider = ui.slider(min=0, max=viewer.end, step=viewer.step, value=0)
                self._slider.on('change', lambda event: viewer.seek(float(event.args)))
                self._slider.props('aria-label="position"')

    def _tasks(self) -> None:
        ui, viewer = self._ui, self._viewer
        ui.label('Tasks').classes('font-bold')
        self._switches: dict[str, Any] = {}
        self._switch_row = ui.row().classes('gap-x-4 gap-y-0')
        self._update_task_switches()
        words = list(viewer.values().get(_CATEGORIES, ()))
        self._words = ui.select(
            [*dict.fromkeys([*words, *COCO_CATEGORIES])], multiple=True, value=words,
            label='categories', new_value_mode='add-unique', with_input=True,
            on_change=self._set_words,
        )  # fmt: skip
        self._words.classes('w-full').props('use-chips dense hide-dropdown-icon')

    def _points(self) -> None:
        ui = self._ui
        with ui.row().classes('w-full items-center'):
            ui.label('Points').classes('font-bold')
            ui.button('clear', on_click=self._guarded(lambda: self._viewer.set_points(()))).props(
                'flat dense no-caps'
            )
        ui.label(
            f'Click an object: up to {MAX_POINTS} points. The secondary button, or a long touch, '
            'removes the nearest.'
        ).classes('text-xs')
        self._chips = ui.row().classes('gap-1')

    def _parameters(self) -> None:
        ui, viewer = self._ui, self._viewer
        with ui.expansion('Parameters').classes('w-full').props('dense'):
            values = viewer.values()
            for item in viewer.declared():
                if item.name in values:
                    self._parameter(item, values[item.name])

    def _parameter(self, item: Declared, value: Any) -> None:
        ui = self._ui

        def change(event: Any) -> None:
            try:
                self._viewer.set_value(item.name, _typed(item, event.sender.value))
            except ValueError as error:
                ui.notify(str(error), type='negative')
                event.sender.set_value(_plain(self._viewer.values()[item.name]))

        if item.kind is bool:
            made = ui.switch(item.name, value=value, on_change=change)
        elif item.choices and item.kind is not tuple:
            made = ui.select([*item.choices], label=item.name, value=value, on_change=change)
        else:
            made = ui.input(item.name, value=_plain(value))
            made.on('keydown.enter', change)
            made.on('blur', lambda event: change(event) if event.sender.value != _plain(
                self._viewer.values()[item.name]) else None)  # fmt: skip
        made.classes('w-full').props('dense').tooltip(item.about)

    # ---- events ---------------------------------------------------------------------------------

    def _guarded(self, action: Callable[[], None]) -> Callable[[], None]:
        """The action, whose ValueError is shown."""

        def run() -> None:
            try:
                action()
            except ValueError as error:
                self._ui.notify(str(error), type='negative')

        return run

    def _switch(self) -> None:
        if self._building:
            return
        on = [name for name, switch in self._switches.items() if switch.value]
        self._guarded(lambda: self._viewer.set_active_tasks(on))()
        self._update_task_switches()

    def _update_task_switches(self) -> None:
        """Let the switches show which tasks there are and which are on, whoever changed them."""
        self._building = True
        for name in self._viewer.available_tasks():
            if name not in self._switches:
                with self._switch_row:
                    switch = self._ui.switch(name, on_change=self._switch)
                self._switches[name] = switch.props('dense')
            self._switches[name].set_value(name in self._viewer.tasks())
        self._building = False

    def _set_words(self) -> None:
        viewer, words = self._viewer, tuple(self._words.value)
        if words == tuple(viewer.values().get(_CATEGORIES, ())):
            return
        self._guarded(lambda: viewer.set_value(_CATEGORIES, words))()
        self._words.set_value(list(viewer.values().get(_CATEGORIES, ())))

    def _set_mode(self, event: Any) -> None:
        self._mode, self._shown = event.value, -1

    def _set_over(self, event: Any) -> None:
        self._over, self._shown = event.value, -1

    def _toggle_play(self) -> None:
        self._viewer.play(not self._viewer.playing)

    def _mouse(self, event: Any) -> None:
        # The browser counts from the corner of the image, pixel centres are at whole numbers.
        place = Point(event.image_x - 0.5, event.image_y - 0.5)
        viewer = self._viewer
        if event.type == 'click':
            self._guarded(lambda: viewer.add_point(place))()
            self._shown = -1
        elif event.type == 'contextmenu':
            self._guarded(lambda: viewer.remove_point(place))()
            self._shown = -1
        else:
            values = (
                drawing.values_at(viewer.snapshot, *place) if event.type == 'mousemove' else ()
            )
            self._values.set_text(' · '.join(values))

    # ---- what is shown --------------------------------------------------------------------------

    def _refresh(self) -> None:
        """Show the newest snapshot, if it is another."""
        viewer, snapshot = self._viewer, self._viewer.snapshot
        if self._play is not None:
            self._play.props(f'icon={"pause" if viewer.playing else "play_arrow"}')
        if snapshot.version == self._shown:
            return
        self._shown = snapshot.version
        self._status.set_text(status(snapshot))
        self._title.set_text(viewer.title)
        problem = ' · '.join(filter(None, (snapshot.error, *snapshot.notes)))
        self._error.set_text(problem)
        self._error.set_visibility(bool(problem))
        self._caption.set_text(snapshot.caption)
        if self._slider is not None:
            self._slider.set_value(snapshot.position)
        self._update_task_switches()
        names = [name for name in snapshot.labels if drawing.shown(snapshot, name) is not None]
        if self._over not in names:
            self._over = names[-1] if names else ''
        elif self._new_task(names):
            self._over = self._new_task(names)
        self._choice.set_options(names, value=self._over or None)
        for part in (self._choice, self._opacity):
            part.set_visibility(bool(names) and self._mode != BESIDE)
        self._opacity.set_visibility(bool(names) and self._mode == OVERLAY)
        self._known = names
        self._show_images(snapshot, names)
        self._show_points(snapshot)
        self._show_legend(snapshot, names)

    _known: Sequence[str] = ()

    def _new_task(self, names: Sequence[str]) -> str:
        """The task that was switched on since the last snapshot, which is then shown."""
        new = [name for name in names if name not in self._known]
        return new[-1] if self._known and new else ''

    def _show_images(self, snapshot: Snapshot, names: Sequence[str]) -> None:
        if snapshot.image is None:
            return
        wanted = {OVERLAY: (IMAGE,), BESIDE: (IMAGE, *names), CLOUD: (CLOUD,)}[self._mode]
        if wanted != self._names:
            self._names, self._tiles, self._cloud = wanted, {}, None
            self._frame.clear()
            self._frame.classes(add='many' if len(wanted) > 1 else '', remove='many'
                                if len(wanted) == 1 else '')  # fmt: skip
            with self._frame:
                if self._mode == CLOUD:
                    self._make_scene()
                else:
                    self._tiles = {
                        name: _Tile(self._ui, name, self._mouse, len(wanted) > 1)
                        for name in wanted
                    }
        if self._mode == CLOUD:
            self._show_cloud(snapshot)
        for name, tile in self._tiles.items():
            over = self._over if self._mode == OVERLAY and self._over in names else ''
            tile.show(snapshot, name, over, self._viewer.points)

    def _make_scene(self) -> None:
        self._scene = self._ui.scene(grid=False, background_color='#202020')
        self._scene.classes('w-full').style('height: 60vh')
        # A little above and behind the camera; before it is made in the browser it takes no place.
        self._scene.on(
            'init',
            lambda: self._scene.move_camera(
                x=0, y=-1, z=0.8, look_at_x=0, look_at_y=3, look_at_z=-0.3, duration=0
            ),
        )

    def _show_cloud(self, snapshot: Snapshot) -> None:
        """Send a cloud, unless the browser has not drawn the one before."""
        from nicegui import background_tasks

        if self._cloud_in_work:
            self._shown = -1  # look again
            return
        self._cloud_in_work = True
        background_tasks.create(self._send_cloud(snapshot))

    async def _send_cloud(self, snapshot: Snapshot) -> None:
        from nicegui import run

        scene = self._scene
        try:
            # In a thread, since the loop must answer the browser meanwhile.
            over = self._over if self._over != 'depth' else IMAGE
            cloud = await run.io_bound(_cloud_lists, snapshot, over)
            if scene.is_deleted or scene is not self._scene:
                return
            if cloud is None:
                self._caption.set_text('a cloud needs the task depth; switch it on')
                return
            places, shades, words = cloud
            self._caption.set_text(f'{snapshot.caption} · {len(places)} points, {words}')
            if self._cloud is None:
                with scene:
                    self._cloud = scene.point_cloud(places, shades, 0.02)
            else:
                self._cloud.set_points(places, shades)
            # The browser answers after the next frame that it draws, so clouds do not pile up.
            with contextlib.suppress(TimeoutError):
                await scene.client.run_javascript(
                    'await new Promise(done => requestAnimationFrame(done))', timeout=DRAWN_S
                )
            await asyncio.sleep(CLOUD_S)
        finally:
            self._cloud_in_work = False

    def _show_points(self, snapshot: Snapshot) -> None:
        self._chips.clear()
        ui, viewer = self._ui, self._viewer
        with self._chips:
            for number, point in enumerate(viewer.points, 1):
                text = f'{number}: {point.x:g}, {point.y:g}'
                rest = tuple(other for other in viewer.points if other is not point)
                remove = self._guarded(lambda rest=rest: viewer.set_points(rest))  # type: ignore[misc]
                ui.chip(text, removable=True, on_value_change=remove).props('dense')

    def _show_legend(self, snapshot: Snapshot, names: Sequence[str]) -> None:
        ui = self._ui
        self._legend.clear()
        with self._legend:
            for name in [self._over] if self._mode == OVERLAY else names:
                label = drawing.shown(snapshot, name)
                if label is None:
                    continue
                with ui.row().classes('items-center gap-x-3 gap-y-0 text-sm'):
                    ui.label(name).classes('font-bold')
                    for entry in drawing.legend(label):
                        _entry(ui, entry)


def _cloud_lists(snapshot: Snapshot, over: str) -> tuple[list[Any], list[Any], str] | None:
    """Points, colours and a caption as the scene takes them."""
    cloud = drawing.cloud(snapshot, over)
    if cloud is None:
        return None
    points, colors, words = cloud
    # Few digits: the JSON is a third as long.
    return points.astype(float).round(3).tolist(), colors.astype(float).round(2).tolist(), words


class _Tile:
    """An image that takes clicks, with a second one over it, and points."""

    def __init__(self, ui: Any, name: str, mouse: Callable[[Any], None], titled: bool) -> None:
        events = ['click', 'contextmenu', 'mousemove', 'mouseleave']
        with ui.column().classes('w-full gap-0'):
            if titled:
                ui.label(name).classes('text-xs')
            self._image = ui.interactive_image(on_mouse=mouse, events=events, sanitize=False)
        self._image.classes('tile w-full')
        self._image.on('contextmenu', js_handler='(e) => e.preventDefault()')
        self._over = self._image.add_layer().classes('over')
        self._marks = self._image.add_layer()
        self._over.set_visibility(False)

    def show(self, snapshot: Snapshot, name: str, over: str, points: Sequence[Point]) -> None:
        self._image.set_source(f'/drawn/{snapshot.version}/{quote(name)}')
        if over:
            self._over.set_source(f'/drawn/{snapshot.version}/{quote(over)}')
        self._over.set_visibility(bool(over))
        assert snapshot.image is not None
        self._marks.set_content(_marks(points, snapshot.image.shape[0]))


def _marks(points: Sequence[Point], height: int) -> str:
    """Points as SVG."""
    radius = max(3.0, height / 80)
    return ''.join(
        f'<circle cx="{point.x + 0.5:g}" cy="{point.y + 0.5:g}" r="{radius:g}" fill="none" '
        f'stroke="{color}" stroke-width="{width:g}"/>'
        for point in points
        for color, width in (('black', radius / 1.3), ('white', radius / 2.5))
    )


def _entry(ui: Any, entry: drawing.LegendEntry) -> None:
    with ui.row().classes('items-center gap-1 no-wrap'):
        wide = 'width: 120px' if entry.ends else 'width: 14px'
        if entry.ends:
            ui.label(entry.ends[0])
        ui.element('span').style(f'background: {entry.color}; {wide}; height: 14px; flex: none')
        ui.label(', '.join([*entry.ends[1:], entry.text]))


def status(snapshot: Snapshot) -> str:
    """Times and dropped images in words."""
    parts = []
    if not math.isnan(snapshot.model_ms):
        parts.append(f'model {snapshot.model_ms:.0f} ms')
    if not math.isnan(snapshot.latency_ms):
        parts.append(f'latency {snapshot.latency_ms:.0f} ms')
    return ' · '.join([*parts, f'{snapshot.dropped} dropped'])


def _plain(value: Any) -> Any:
    """A value as its control has it."""
    if isinstance(value, (list, tuple)):
        return ', '.join(map(str, value))
    return value if isinstance(value, bool) else str(value)


def _typed(item: Declared, value: Any) -> Any:
    """What was typed, as the setting wants it; the setting itself reports what does not fit."""
    if item.kind is tuple:
        return tuple(part.strip() for part in str(value).split(',') if part.strip())
    if item.kind in (int, float):
        try:
            return item.kind(value)
        except ValueError:
            raise ValueError(f'{item.name} is {value!r}; expected a number') from None
    return value
