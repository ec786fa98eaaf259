# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The page in a real browser: it loads from itself alone, clicks move the mask, tasks switch."""

import contextlib
import socket

import chromium
import numpy as np
import pytest
from recordings import Cheap, asked, recorded, write

from diception_ros.bags.typestore import BagTypes
from diception_ros.core import images
from diception_ros.core.labels import Mask
from diception_ros.perception.perceiver import Perceiver
from diception_ros.viewer.session import Session
from diception_ros.viewer.sources import BagFrames, ImageFiles

SIZE = (96, 128)
# The mean absolute difference between the present image of a tile and one kept before.
PIXELS = """
(() => {
  const image = document.querySelectorAll('.tile img')[%d];
  const canvas = document.createElement('canvas');
  canvas.width = image.naturalWidth; canvas.height = image.naturalHeight;
  const context = canvas.getContext('2d');
  context.drawImage(image, 0, 0);
  return [...context.getImageData(0, 0, canvas.width, canvas.height).data]
    .filter((_, k) => k %% 64 == 0);
})()
"""
CLICK = '[...document.querySelectorAll({0!r})].find(e => e.innerText.trim() == {1!r}).click()'


class Discs(Cheap):
    """Answers a point with a disc around it."""

    def infer(self, frames, prompts, settings, at_model_size=False):
        found = super().infer(frames, prompts, settings, at_model_size)
        for frame, one in zip(frames, found, strict=True):
            if one.prompt.task == 'segmentation':
                rows, columns = np.mgrid[: frame.size[0], : frame.size[1]]
                near = [np.hypot(columns - x, rows - y) < 20 for x, y in one.prompt.points]
                one.label = Mask(np.any(near, axis=0), 0.5)
        return found


@pytest.fixture
def address(tmp_path):
    images.write(tmp_path / 'room.png', np.full((*SIZE, 3), (200, 120, 40), np.uint8))
    with opened(ImageFiles([tmp_path / 'room.png'])) as found:
        yield found


@contextlib.contextmanager
def opened(source):
    """The address of a page, and its session."""
    pytest.importorskip('nicegui', reason='NiceGUI is not installed (diception_ros[view])')
    if chromium.find() is None:
        pytest.skip('no Chromium here: apt-get install chromium')
    from diception_ros.viewer.page import served

    perceiver = Perceiver(Discs(), BagTypes(), asked(tasks=('depth', 'normal')))
    session = Session(source, perceiver)
    session.start()
    with socket.create_server(('127.0.0.1', 0)) as listening:
        port = listening.getsockname()[1]
        with served(session, listening, ['127.0.0.1']):
            yield f'http://127.0.0.1:{port}/', session
    session.close()


@pytest.mark.slow
def test_a_click_moves_the_mask_and_a_task_switch_changes_the_image(address):
    url, session = address
    with chromium.Browser(1000, 800) as browser:
        browser.own = url.rstrip('/')
        browser.open(url)
        browser.until('document.querySelector(".tile img")?.naturalWidth == 128')
        browser.until('document.querySelectorAll(".tile img")[1].naturalWidth == 128')

        def place(x, y):
            left, top, width, height = browser.ask(
                '(b => [b.x, b.y, b.width, b.height])'
                '(document.querySelector(".tile img").getBoundingClientRect())'
            )
            return left + x * width, top + y * height

        def over(version):
            """The overlay's pixels, once it is of this version or newer."""
            browser.until(
                'Number(document.querySelectorAll(".tile img")[1].src.split("/")[4]) >= '
                f'{version} && document.querySelectorAll(".tile img")[1].complete'
            )
            return np.array(browser.ask(PIXELS % 1))

        # A click is a point, and switches segmentation on; the mask follows the points.
        version = session.snapshot.version
        browser.press(*place(0.25, 0.5))
        first = over(version + 1)
        browser.until('document.querySelectorAll("svg circle").length == 2')
        assert np.allclose(session.points, [(31.5, 47.5)], atol=0.6)
        assert 'segmentation' in session.tasks()
        version = session.snapshot.version
        browser.press(*place(0.75, 0.5))
        second = over(version + 1)
        assert np.abs(first - second).mean() > 1
        browser.until('document.body.innerText.includes("score 0.50")')

        # The value under the pointer.
        browser.hover(*place(0.75, 0.5))
        browser.until('document.getElementById("values").innerText.includes("inside, score 0.50")')

        # The secondary button removes the nearest, and opens no menu.
        browser.press(*place(0.2, 0.5), button='right')
        browser.until('document.querySelectorAll("svg circle").length == 2')
        assert np.allclose(session.points, [(95.5, 47.5)], atol=0.6)

        # A task that is switched on is shown; one that is switched off is gone.
        version = session.snapshot.version
        browser.ask(CLICK.format('.q-toggle', 'entity'))
        third = over(version + 1)
        browser.until('document.body.innerText.includes("entity")')
        assert np.abs(third - second).mean() > 1
        browser.ask(CLICK.format('.q-toggle', 'depth'))
        browser.ask(CLICK.format('button', 'side by side'))
        browser.until('document.querySelectorAll(".tile").length == 4')
        assert set(session.tasks()) == {'normal', 'segmentation', 'entity'}

        for width in (400, 1400):
            browser.call('Emulation.setDeviceMetricsOverride', width=width, height=800,
                         deviceScaleFactor=1, mobile=False)  # fmt: skip
            assert browser.ask('document.documentElement.scrollWidth') <= width
        assert browser.errors == []


@pytest.mark.slow
def test_the_camera_is_switched_and_a_playing_cloud_is_drawn(tmp_path):
    both = [*recorded(40), *recorded(40, '/left/image_raw', size=(12, 16))]
    path = write(tmp_path / 'drive', sorted(both, key=lambda one: one[2]))
    with opened(BagFrames(path)) as (url, session), chromium.Browser(1000, 800) as browser:
        browser.own = url.rstrip('/')
        browser.open(url)
        browser.until('document.querySelector(".tile img")?.naturalWidth == 32')
        browser.press(*browser.ask(
            '(b => [b.x + b.width / 2, b.y + b.height / 2])'
            '(document.querySelector(".q-select").getBoundingClientRect())'
        ))  # fmt: skip
        browser.until('document.querySelectorAll(".q-menu .q-item").length == 2')
        browser.ask(CLICK.format('.q-menu .q-item', '/left/image_raw'))
        browser.until('document.querySelector(".tile img")?.naturalWidth == 16')
        assert session.camera == '/left/image_raw'
        browser.until('document.body.innerText.includes("drive.mcap: /left/image_raw")')
        browser.ask(CLICK.format('button', '3D'))
        browser.until('document.body.innerText.includes(" points, relative depth")')
        version = session.snapshot.version
        session.play(True)
        browser.until('!!document.querySelector("canvas")')
        while session.playing:
            browser.until('!document.body.innerText.includes("onnection lost")', 0.2)
        assert session.snapshot.version > version
        # A browser without a GPU warns of that.
        assert [error for error in browser.errors if 'WebGL' not in error] == []


@pytest.mark.slow
def test_another_host_name_is_refused(address):
    import http.client

    url, _ = address
    connection = http.client.HTTPConnection(url.split('/')[2], timeout=600)
    for host, status in (('127.0.0.1', 200), ('evil.example', 400)):
        connection.request('GET', '/', headers={'Host': host})
        prediction = connection.getresponse()
        prediction.read()
        assert prediction.status == status
