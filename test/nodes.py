# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The node in a process of its own, and a peer here that talks to it."""

import array
from collections import defaultdict
import contextlib
import os
from pathlib import Path
import pty
import select
import signal
import subprocess
import sys
import threading
import time

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
ZERO = [str(ROOT / 'bench' / 'zero.py')]
REAL = ['-m', 'diception_ros', 'node']
# Machines that test are slow at times; nothing here waits that long when all is well.
PATIENCE = 600


class Running:
    """A node process.

    Args:
        domain: ROS_DOMAIN_ID.
        parameters: of the node, as YAML texts.
        command: what python runs: ZERO, or REAL.
        more: arguments after the parameters, such as ['-r', 'image:=/camera'].
        environment: variables beside those here.
        terminal: run it in a terminal of its own; see `hang_up`.
    """

    def __init__(
        self, domain, parameters=None, command=ZERO, more=(), environment=None, terminal=False
    ):
        given = [f'{name}:={value}' for name, value in (parameters or {}).items()]
        arguments = ['--ros-args', *(part for one in given for part in ('-p', one)), *more]
        variables = {
            **os.environ,
            'ROS_DOMAIN_ID': str(domain),
            'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST',
            'OMP_NUM_THREADS': '1',
            'PYTHONUNBUFFERED': '1',
            'ZERO_REPORT_S': '0.1',  # bench/zero.py: the tests wait for diagnostics
            **(environment or {}),
        }
        # None removes a variable.
        variables = {name: value for name, value in variables.items() if value is not None}
        self.lines = []
        out = subprocess.PIPE
        if terminal:
            ours, out = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, *command, *arguments],
            env=variables, cwd=ROOT, stdin=out if terminal else subprocess.DEVNULL, stdout=out,
            stderr=out if terminal else subprocess.STDOUT, start_new_session=True,
            preexec_fn=_own_terminal if terminal else None,
        )  # fmt: skip
        if terminal:
            os.close(out)
        self._source = ours if terminal else self.process.stdout.fileno()
        self._hung_up = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        rest = b''
        while not self._hung_up:
            if not select.select([self._source], [], [], 0.05)[0]:
                continue
            try:
                part = os.read(self._source, 65536)
            except OSError:  # a terminal whose other end is closed
                return
            if not part:
                return
            *lines, rest = (rest + part).split(b'\n')
            self.lines += [line.decode(errors='replace').rstrip() for line in lines]

    def hang_up(self):
        """Close its terminal, as when the window is closed."""
        self._hung_up = True
        self._reader.join()
        os.close(self._source)

    @property
    def text(self):
        return '\n'.join(self.lines)

    def count(self, words):
        """How many lines have these words."""
        return sum(words in line for line in list(self.lines))

    def wait_alternating(self, first, second, last, seconds=PATIENCE):
        """Wait until the last line with `first` or `second` has `last`; they must alternate.

        A line may come later than the diagnostics that it is about.
        """
        end, found = time.monotonic() + seconds, []
        while not found or found[-1] != last:
            assert time.monotonic() < end, f'{found}:\n{self.text}'
            time.sleep(0.01)
            lines = list(self.lines)
            found = [words for line in lines for words in (first, second) if words in line]
            assert found == [(first, second)[k % 2] for k in range(len(found))], self.text

    def wait_for(self, words, seconds=PATIENCE, count=1):
        """The line that has these words."""
        end, ended = time.monotonic() + seconds, False
        while time.monotonic() < end:
            found = [line for line in list(self.lines) if words in line]
            if len(found) >= count:
                return found[count - 1]
            if ended:
                raise AssertionError(f'ended with {self.process.poll()}:\n{self.text}')
            if ended := self.process.poll() is not None:  # its last lines may not be read yet
                self._reader.join(60)
            time.sleep(0.01)
        raise AssertionError(f'{words!r} did not come in {seconds} s:\n{self.text}')

    def end(self, *signals, pause=0.05):
        """Send signals, and say the exit code and after how many seconds it came."""
        begin = time.monotonic()
        for k, number in enumerate(signals or (signal.SIGINT,)):
            if k:
                time.sleep(pause)
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process.pid, number)
        code = self.process.wait(PATIENCE)
        seconds = time.monotonic() - begin
        self._reader.join(60)  # its last lines
        return code, seconds

    def __enter__(self):
        return self

    def __exit__(self, *error):
        if self.process.poll() is None:
            # Killed at once, it would leave the files of Fast DDS in /dev/shm.
            self.process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(60)
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if error[0] is not None:
            print(self.text)


def _own_terminal():
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


class Peer:
    """A node of the test: publishes, listens, asks."""

    def __init__(self, domain, name='peer'):
        import rclpy
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.signals import SignalHandlerOptions

        os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
        self.context = rclpy.Context()
        rclpy.init(
            context=self.context, domain_id=domain,
            signal_handler_options=SignalHandlerOptions.NO,
        )  # fmt: skip
        self.node = rclpy.create_node(name, context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.got = defaultdict(list)
        self._clients = {}
        self._statuses = None

    def close(self):
        self.executor.shutdown()
        self.node.destroy_node()
        self.context.try_shutdown()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def listen(self, topic, kind, **qos):
        """Collect what comes on a topic in `got[topic]`."""
        from rclpy.qos import QoSProfile

        return self.node.create_subscription(
            kind, topic, lambda message: self.got[topic].append(message),
            QoSProfile(**{'depth': 100, **qos}),
        )  # fmt: skip

    def publisher(self, topic, kind, wait=True, **qos):
        """A reliable publisher, by default once somebody listens."""
        from rclpy.qos import QoSProfile

        made = self.node.create_publisher(kind, topic, QoSProfile(**{'depth': 10, **qos}))
        if wait:
            self.until(made.get_subscription_count, f'nobody listens to {topic}')
        return made

    def spin(self, seconds):
        end = time.monotonic() + seconds
        while (rest := end - time.monotonic()) > 0:
            self.executor.spin_once(timeout_sec=rest)

    def until(self, condition, otherwise='it did not happen', seconds=PATIENCE):
        """Spin until a condition holds, and say what it said."""
        end = time.monotonic() + seconds
        while not (found := condition()):
            assert time.monotonic() < end, otherwise() if callable(otherwise) else otherwise
            self.executor.spin_once(timeout_sec=0.02)
        return found

    def feed(self, publisher, message, condition, seconds=PATIENCE, slowest=2.0):
        """Publish a message over and over until a condition holds.

        Ever more slowly, down to a pause of `slowest` seconds: on a busy machine the answers on
        many topics pile up, and the executor takes those of the first subscriptions first.
        """
        end, pause = time.monotonic() + seconds, 0.05
        while not condition():
            assert time.monotonic() < end, 'it did not happen'
            publisher.publish(message)
            again = time.monotonic() + pause
            while not condition() and (rest := again - time.monotonic()) > 0:
                self.executor.spin_once(timeout_sec=rest)
            pause = min(1.3 * pause, slowest)

    def drain(self, publish, topics):
        """Wait until the results of an image came on all topics, and none of an earlier one can.

        Args:
            publish: publishes a new image and returns its header.
            topics: in `got`, with results of images in the order in which they were published.
        """
        sent, due = [], 0.0

        def last(topic):
            return self.got[topic][-1].header.stamp if self.got[topic] else None

        def done():
            nonlocal due
            if time.monotonic() >= due:  # again, since an image may be lost
                sent.append(publish().stamp)
                due = time.monotonic() + 5
            return all(last(topic) == sent[-1] for topic in topics)

        self.until(done, 'an image without results')

    def steady(self, name, seconds=2.0):
        """A number of the diagnostics once it has not changed for some seconds."""
        now = self.count(name)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.diagnostics()
            if self.count(name) != now:
                now, end = self.count(name), time.monotonic() + seconds
        return now

    def connect(self, *topics):
        """Wait until what we listen to is published."""
        for topic in topics:
            self.until(lambda topic=topic: self.node.count_publishers(topic), f'no {topic}')

    def client(self, service, kind):
        """A client of a service that is there."""
        if service not in self._clients:
            self._clients[service] = self.node.create_client(kind, service)
        self.until(self._clients[service].service_is_ready, f'no service {service}')
        return self._clients[service]

    def ask(self, service, kind, **request):
        """Call a service."""
        future = self.client(service, kind).call_async(kind.Request(**request))
        self.until(future.done, f'no answer of {service}')
        return future.result()

    def look_up(self, service, kind, **request):
        """Call a service that changes nothing, and again while no answer comes.

        Fast DDS drops an answer if it has not found who waits for it, as may be on a busy machine.
        """
        client, start, calls = self.client(service, kind), time.monotonic(), []

        def answered():
            if time.monotonic() - start >= 5 * len(calls):
                calls.append(client.call_async(kind.Request(**request)))
            return next((one for one in calls if one.done()), None)

        return self.until(answered, f'no answer of {service}').result()

    def set(self, node='/perception', **values):
        """Set parameters at once: '' or why not. Names with __ for dots."""
        from rcl_interfaces.srv import SetParametersAtomically
        from rclpy.parameter import Parameter

        parameters = []
        for name, value in values.items():
            if isinstance(value, (list, tuple)):
                one = Parameter(name.replace('__', '.'), Parameter.Type.STRING_ARRAY, [*value])
            else:
                one = Parameter(name.replace('__', '.'), value=value)
            parameters.append(one.to_parameter_msg())
        done = self.ask(
            f'{node}/set_parameters_atomically', SetParametersAtomically, parameters=parameters
        )
        return '' if done.result.successful else done.result.reason

    def get(self, name, node='/perception'):
        from rcl_interfaces.srv import GetParameters
        from rclpy.parameter import parameter_value_to_python

        (value,) = self.look_up(f'{node}/get_parameters', GetParameters, names=[name]).values
        return parameter_value_to_python(value)

    def change(self, transition, node='/perception'):
        """Ask for a lifecycle transition: whether it succeeded."""
        future = self.start_change(transition, node)
        self.until(future.done, f'no answer of {node}/change_state')
        return future.result().success

    def start_change(self, transition, node='/perception'):
        """Ask for a lifecycle transition: the future of the response."""
        from lifecycle_msgs.srv import ChangeState

        request = ChangeState.Request()
        request.transition.label = transition
        return self.client(f'{node}/change_state', ChangeState).call_async(request)

    def state(self, node='/perception'):
        from lifecycle_msgs.srv import GetState

        return self.look_up(f'{node}/get_state', GetState).current_state.label

    def count(self, name, node='/perception'):
        """A number of the last diagnostics that came, 0 before."""
        self._listen_to_diagnostics()
        last = self._statuses.get(node)
        return int(values(last).get(name, 0)) if last else 0

    def status_with(self, name, message):
        """The status of a name with a message, if there was one since `got` was cleared."""
        self._listen_to_diagnostics()
        found = [one for array in self.got['/diagnostics'] for one in array.status]
        return next((one for one in found if (one.name, one.message) == (name, message)), None)

    def _listen_to_diagnostics(self):
        from diagnostic_msgs.msg import DiagnosticArray

        def keep(array):
            self.got['/diagnostics'].append(array)
            self._statuses.update({one.name: one for one in array.status})

        if self._statuses is None:
            self._statuses = {}
            self.node.create_subscription(DiagnosticArray, '/diagnostics', keep, 100)

    def diagnostics(self, condition=lambda found: True, seconds=PATIENCE):
        """{name: status} of the first diagnostics from now on that meet a condition.

        A status that the condition looks for and that is not there may come: a node that is not
        configured yet tells nothing of its cameras.
        """
        self._listen_to_diagnostics()
        self.got['/diagnostics'].clear()
        last, now = {}, time.time_ns()

        def met():
            while self.got['/diagnostics']:
                array = self.got['/diagnostics'].pop(0)
                stamp_ns = array.header.stamp.sec * 10**9 + array.header.stamp.nanosec
                # What was under way says nothing of the present. Simulated time is far back.
                if now - 10**12 < stamp_ns < now:
                    continue
                last.clear()
                last.update({one.name: one for one in array.status})
                with contextlib.suppress(KeyError):
                    if condition(last):
                        return True
            return False

        self.until(met, lambda: f'last diagnostics: {last}', seconds)
        return last


def values(status):
    return {pair.key: pair.value for pair in status.values}


def stamp(k):
    """A stamp of its own for each k, in the present."""
    from builtin_interfaces.msg import Time

    return Time(sec=int(time.time()), nanosec=k)


def image(pixels, encoding='rgb8', header=None, step=None):
    """sensor_msgs/Image of an array (H, W[, C])."""
    from sensor_msgs.msg import Image

    message = Image(encoding=encoding, height=pixels.shape[0], width=pixels.shape[1])
    message.step = step or pixels[0].nbytes
    message.data = array.array('B', np.ascontiguousarray(pixels).tobytes())
    if header is not None:
        message.header = header
    return message


def header(k, frame_id='camera_optical'):
    from std_msgs.msg import Header

    return Header(stamp=stamp(k), frame_id=frame_id)


def rgb_array(k=0, size=(48, 64)):
    """(H, W, 3) uint8, another for each k."""
    return np.random.default_rng(k).integers(0, 256, (*size, 3), np.uint8)


def info(head, size=(48, 64), focal=60.0):
    """sensor_msgs/CameraInfo of a pinhole in the middle of the image."""
    from sensor_msgs.msg import CameraInfo

    cx, cy = (size[1] - 1) / 2, (size[0] - 1) / 2
    return CameraInfo(
        header=head, height=size[0], width=size[1], distortion_model='plumb_bob',
        d=[0.0] * 5, k=[focal, 0, cx, 0, focal, cy, 0, 0, 1], r=[1.0, 0, 0, 0, 1, 0, 0, 0, 1],
        p=[focal, 0, cx, 0, 0, focal, cy, 0, 0, 0, 1, 0],
    )  # fmt: skip
