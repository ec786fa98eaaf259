# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The report opens in a real browser, asks nobody for anything, and its sliders move."""

from html.parser import HTMLParser
import math
import re

import chromium
import numpy as np
import pytest
import recordings

from diception_ros.bags.frames import ImageFrame
from diception_ros.bags.typestore import RawMessage
from diception_ros.core.frame import Frame
from diception_ros.core.labels import Disparity
from diception_ros.reporting import html_report
from diception_ros.reporting.contact_sheets import ReportImages
from diception_ros.reporting.tables import SHOWN
from diception_ros.tasks import BUILTIN

METRICS = {
    'bag': {'name': 'a <b>.mcap', 'path': '/bags/a <b>.mcap', 'sha256': 'ab'},
    'out': 'out.mcap', 'model': {'name': 'tiny'}, 'cameras': [{'topic': '/image'}], 'frames': 20,
    'damage': 'damaged at byte 7', 'skipped': {'jpeg': 2}, 'notes': {}, 'align': 'frame',
    'settings': {'tasks': ('depth',)}, 'stability': {}, 'adapters': [],
    'numbers': {'': {'depth': {'abs_rel': 0.25, 'delta1': math.nan, 'images': 20}}},
    'speed': {'frames_per_s': 3.5, 'model_s': {'p50': 0.1, 'p99': 0.2}},
}  # fmt: skip


def made():
    """A report of twenty frames, the 13th the worst."""
    sheets, rows = ReportImages(20), []
    for k in range(20):
        frame = Frame(recordings.image(k, (60, 80)))
        raw = RawMessage('/image', 'sensor_msgs/msg/Image', None, k * 10**8, b'')
        answer = Disparity(np.linspace(0, 1, 4800, dtype=np.float32).reshape(60, 80))
        row = {'camera': '', 'stamp_ns': k * 10**8, 'log_ns': k * 10**8, 'model_s': 0.1 + k / 100,
               'messages_s': 0.001, 'depth.abs_rel': 0.9 if k == 13 else 0.01 * k}  # fmt: skip
        record = ImageFrame(raw, False, None, frame, None, None, None)
        truths = {'depth': answer.flip()} if k == 13 else {}
        sheets.on_frame(k, '', record, {'depth': answer}, truths, row)
        rows.append(row)
    return html_report.page(METRICS, rows, sheets), sheets


class Names(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.found = [], []

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        if tag not in ('meta', 'link', 'img', 'input', 'br'):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


def test_it_stands_by_itself():
    html, _ = made()
    reader = Names()
    reader.feed(html)
    assert not reader.open
    for tag, attributes in reader.found:
        for name in ('src', 'href'):
            if name in attributes:
                assert attributes[name].startswith('data:'), tag
    assert not re.search(r'(https?:)?//[a-z]', re.sub('data:[^"]*', '', html))
    assert '<b>.mcap' not in html
    assert 'damaged at byte 7' in html


def test_the_worst_frame_is_first_in_table_and_images():
    html, sheets = made()
    table = html[html.index('the worst first') :]
    assert re.search(r'<tr><td>(\d+)</td>', table)[1] == '13'
    worst = sheets.worst()
    assert [shot.number for shot in worst] == [13, 19, 18, 17, 16, 15]
    assert worst[0].words == 'abs_rel 0.9'
    assert [shot.number for shot in sheets.spread] == [0, 4, 8, 12, 16]
    assert sheets.values['depth'].sum() == 20 * 4800


def test_a_plot_has_every_peak_and_no_gaps_but_unknown_ones():
    xs = [*range(5000)]
    ys = [1.0] * 5000
    ys[1234], ys[4000] = 9.0, math.nan
    drawn = html_report.lines('title', 's', {'a': (xs, ys)})
    assert '>9<' in drawn
    line = drawn[drawn.rindex('<path') :]
    heights = [float(y) for y in re.findall(r'[ML][\d.]+,([\d.]+)', line)]
    assert min(heights) == 12  # the peak reaches the top
    assert len(heights) < 1500
    assert html_report.lines('title', '', {'a': ([1, 2], [math.nan, math.nan])}) == ''
    assert html_report.histogram('title', '', [1.0]) == ''
    assert html_report.histogram('title', '', [1.0, 1.0, 2.0]).count('<rect') == 30


def test_metrics_are_ranked_as_in_tables():
    rows = [{f'depth.{metric}': 0.0 for metric in reversed(SHOWN['depth'])}]
    ranked = [f'depth.{metric}' for metric in SHOWN['depth']]
    assert html_report._metrics_of(rows, BUILTIN) == ranked


def test_images_come_before_numbers_and_the_truth_beside_its_prediction():
    html, sheets = made()
    places = [html.index(text) for text in ('<figure>', 'the worst first by', 'What was run')]
    assert places == sorted(places)
    worst = sheets.worst()[0]
    assert worst.truth not in ('', worst.prediction)
    assert html.count(worst.truth) == 1
    assert html.count('>truth<') == 1
    assert html.count('>image<') == 10


@pytest.fixture
def browser():
    if chromium.find() is None:
        pytest.skip('no Chromium here: apt-get install chromium')
    with chromium.Browser() as opened:
        yield opened


def test_a_browser_opens_it_and_the_slider_moves(browser, tmp_path):
    html, _ = made()
    path = tmp_path / 'index.html'
    path.write_text(html)
    browser.open(path.as_uri())
    assert browser.ask('document.title') == 'Replay of a <b>.mcap'
    assert browser.ask('[...document.images].every(i => i.complete && i.naturalWidth > 0)')
    assert browser.ask('document.querySelectorAll(".pair").length') == 11
    assert browser.ask('document.querySelectorAll("svg").length') > 4
    cut = 'getComputedStyle(document.querySelector(".pair")).getPropertyValue("--cut")'
    assert browser.ask(cut) == '0%'  # at rest the whole prediction is shown
    browser.ask('document.querySelector(".pair").scrollIntoView({block: "center"})')
    box = browser.ask(
        '(b => [b.x, b.y, b.width, b.height])'
        '(document.querySelector(".pair").getBoundingClientRect())'
    )
    browser.press(box[0] + box[2] * 0.9, box[1] + box[3] / 2)
    moved = float(browser.ask(cut).rstrip('%'))
    assert moved > 80
    browser.key('ArrowLeft', 37)
    assert float(browser.ask(cut).rstrip('%')) == moved - 0.5
    clip = browser.ask('getComputedStyle(document.querySelector(".pair img+img")).clipPath')
    assert f'{moved - 0.5:g}%' in clip
    # Neither wide nor narrow screens are scrolled sideways.
    for width in (400, 1600):
        browser.call('Emulation.setDeviceMetricsOverride', width=width, height=800,
                     deviceScaleFactor=1, mobile=False)  # fmt: skip
        assert browser.ask('document.documentElement.scrollWidth') <= width
    assert browser.errors == []


@pytest.mark.slow
def test_what_is_wrong_in_a_page_is_seen(browser, tmp_path):
    path = tmp_path / 'index.html'
    path.write_text('<img src="http://example.invalid/a.png"><script>throw new Error(1)</script>')
    browser.open(path.as_uri())
    assert len(browser.errors) >= 2
