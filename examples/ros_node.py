# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A ROS 2 node of your own around a Predictor: python ros_node.py --ros-args -r image:=/camera.

`ros2 run diception_ros perception` does much more (queues, lifecycle, diagnostics, tracking). This
is the least: it publishes the disparity of each image as 32FC1, and drops images that arrive while
the model runs.
"""

import rclpy
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image

from diception_ros import Predictor, Prompt
from diception_ros.messages.images import frame_from


class DepthNode(Node):
    """Subscribes to `image`, publishes `disparity`: float32, 0 far to 1 near."""

    def __init__(self) -> None:
        super().__init__('depth')
        model = self.declare_parameter('model', 'builtin').value
        self.predictor = Predictor.load(model)
        self.publisher = self.create_publisher(Image, 'disparity', 1)
        self.create_subscription(Image, 'image', self.on_image, qos_profile_sensor_data)

    def on_image(self, message: Image) -> None:
        """Predict, and publish with the header of the image."""
        frame = frame_from(message, None)  # raises MessageError for what it can't decode
        (prediction,) = self.predictor.predict([frame], [Prompt('depth')])
        values = prediction.label.values
        height, width = values.shape
        self.publisher.publish(
            Image(
                header=message.header, height=height, width=width, encoding='32FC1',
                step=4 * width, data=values.tobytes(),
            )
        )  # fmt: skip


def main() -> None:
    """Run until Ctrl-C."""
    rclpy.init()
    try:
        rclpy.spin(DepthNode())
    except KeyboardInterrupt:
        pass
    finally:
        rclpy.try_shutdown()


if __name__ == '__main__':
    main()
