# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A real browser without a screen, spoken to through a pipe (Chrome DevTools Protocol)."""

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time

NAMES = ('chromium', 'chromium-browser', 'google-chrome')


def find():
    """The browser's program, None where there is none."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One page of a browser; use it in a `with`. `errors` has what its console complained of.

    A request to the network counts as an error, unless its address begins with `own`.
    """

    def __init__(self, width=1000, height=800):
        self.errors = []
        self.own = 'file:'
        self._size = width, height
        self._number = 0
        self._rest = b''

    def __enter__(self):
        self._profile = tempfile.mkdtemp(prefix='chromium_')
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        # The browser reads file 3 and writes file 4.
        shell = f'exec "$0" "$@" 3<&{theirs_in} 4>&{theirs_out}'
        self._process = subprocess.Popen(
            ['bash', '-c', shell, find(), '--headless', '--no-sandbox', '--disable-gpu',
             '--disable-dev-shm-usage', '--no-first-run', '--disable-extensions',
             '--disable-background-networking', '--remote-debugging-pipe',
             f'--user-data-dir={self._profile}',
             '--window-size={},{}'.format(*self._size), 'about:blank'],
            pass_fds=(theirs_in, theirs_out), stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, env={**os.environ, 'HOME': self._profile},
        )  # fmt: skip
        os.close(theirs_in)
        os.close(theirs_out)
        targets = self._call('Target.getTargets')['targetInfos']
        target = next(one for one in targets if one['type'] == 'page')
        attached = self._call('Target.attachToTarget', targetId=target['targetId'], flatten=True)
        self._session = attached['sessionId']
        for part in ('Page', 'Runtime', 'Log', 'Network'):
            self.call(f'{part}.enable')
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait()
        os.close(self._in)
        os.close(self._out)
        shutil.rmtree(self._profile, ignore_errors=True)

    def open(self, url):
        self.call('Page.navigate', url=url)
        self.until("document.readyState == 'complete'")

    def ask(self, program):
        """The value of an expression in the page."""
        said = self.call('Runtime.evaluate', expression=program, returnByValue=True)
        assert 'exceptionDetails' not in said, said
        return said['result'].get('value')

    def press(self, x, y, button='left'):
        for kind in ('mousePressed', 'mouseReleased'):
            self.call('Input.dispatchMouseEvent', type=kind, x=x, y=y, button=button, clickCount=1)

    def hover(self, x, y):
        self.call('Input.dispatchMouseEvent', type='mouseMoved', x=x, y=y)

    def until(self, program, seconds=300):
        """Wait until an expression in the page is true."""
        end = time.monotonic() + seconds
        while not self.ask(program):
            assert time.monotonic() < end, program
            time.sleep(0.05)

    def key(self, name, code):
        for kind in ('rawKeyDown', 'keyUp'):
            self.call('Input.dispatchKeyEvent', type=kind, key=name, code=name,
                      windowsVirtualKeyCode=code)  # fmt: skip

    def image(self, path):
        data = self.call('Page.captureScreenshot', captureBeyondViewport=True)['data']
        path.write_bytes(base64.b64decode(data))

    def call(self, method, **parameters):
        return self._call(method, self._session, **parameters)

    def _call(self, method, session=None, **parameters):
        self._number += 1
        message = {'id': self._number, 'method': method, 'params': parameters}
        if session:
            message['sessionId'] = session
        os.write(self._out, json.dumps(message).encode() + b'\0')
        while True:
            said = self._read()
            if said.get('id') == self._number:
                assert 'error' not in said, said
                return said['result']
            self._note(said)

    def _note(self, said):
        method, about = said.get('method', ''), said.get('params', {})
        if method == 'Runtime.exceptionThrown':
            self.errors.append(str(about))
        if method == 'Runtime.consoleAPICalled' and about['type'] in ('error', 'warning'):
            self.errors.append(str(about))
        if method == 'Log.entryAdded' and about['entry']['level'] in ('error', 'warning'):
            self.errors.append(str(about))
        if method == 'Network.requestWillBeSent':
            url = about['request']['url']
            own = (self.own, self.own.replace('http', 'ws', 1))
            if not url.startswith((*own, 'file:', 'data:', 'about:')):
                self.errors.append(f'asked the network for {url}')

    def _read(self):
        while b'\0' not in self._rest:
            ready, _, _ = select.select([self._in], [], [], 300)
            assert ready, 'the browser says nothing'
            block = os.read(self._in, 1 << 20)
            assert block, 'the browser has gone'
            self._rest += block
        message, _, self._rest = self._rest.partition(b'\0')
        return json.loads(message)
