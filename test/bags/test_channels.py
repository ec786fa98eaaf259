# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What publishers offered survives recording, reading and copying, in every format."""

import pytest
from recordings import BEGIN, offered
from rosbags.rosbag1 import Writer as Writer1
from rosbags.typesys import Stores, get_typestore

from diception_ros.bags.channels import (
    QOS_DEPTH,
    OfferedQos,
    combine_qos,
    qos_from_text,
    qos_to_text,
)
from diception_ros.bags.mcap_writer import Writer
from diception_ros.bags.reader import Bag, Storage

STRING = 'std_msgs/msg/String'
SOME = {
    '/plain': [OfferedQos()],
    '/camera': [OfferedQos(reliable=False, depth=5)],
    '/label_info': [OfferedQos(latched=True, depth=1)],
    '/tf_static': [OfferedQos(latched=True, depth=1)] * 2,
}
# As rosbag2 of Humble writes it: numbers, and a depth that DDS did not tell.
OLD = '- history: 3\n  depth: 0\n  reliability: 2\n  durability: 1\n  deadline:\n    sec: 1\n'


@pytest.mark.parametrize('form', ['own', 'mcap', 'sqlite3'])
def test_offers_are_read_as_they_were_offered(tmp_path, form):
    path = offered(tmp_path / ('bag.mcap' if form == 'own' else 'bag'), form, SOME)
    with Bag(path) as bag:
        assert {name: qos_from_text(one.qos) for name, one in bag.topics.items()} == SOME
        for raw in bag.messages():
            assert qos_from_text(raw.qos) == SOME[raw.topic]
    files = [path] if path.is_file() else [*path.glob('bag.*')]
    for file in files:  # without the index
        assert {raw.topic: qos_from_text(raw.qos) for raw in Storage(file).scan()} == SOME


def test_parts_of_a_bag_that_differ_are_put_together(tmp_path):
    (tmp_path / 'bag').mkdir()
    latched, plain = OfferedQos(latched=True, depth=1), OfferedQos()
    for k, text in enumerate((qos_to_text(plain), '[]', qos_to_text(latched))):
        with Writer(tmp_path / f'bag/bag_{k}.mcap') as writer:
            writer.add('/map', STRING, 'string data', text)
            writer.finish()
    with Bag(tmp_path / 'bag') as bag:
        assert qos_from_text(bag.topics['/map'].qos) == [plain, latched]


def test_a_latching_publisher_of_ros1_is_latched(tmp_path):
    store = get_typestore(Stores.ROS1_NOETIC)
    path = tmp_path / 'bag.bag'
    with Writer1(path) as writer:
        for topic, latching in (('/map', 1), ('/plain', None)):
            known = writer.add_connection(topic, STRING, typestore=store, latching=latching)
            text = store.types[STRING](data='a')
            writer.write(known, BEGIN, store.serialize_ros1(text, STRING))
    with Bag(path) as bag:
        assert combine_qos(qos_from_text(bag.topics['/map'].qos)).latched
        assert not combine_qos(qos_from_text(bag.topics['/plain'].qos)).latched


@pytest.mark.parametrize(('text', 'offers'), [
    ('', []), ('- 5', []), ('[', []), ('a: b', []), ('- {reliability: reliable}', []),
    (OLD, [OfferedQos(False, True, QOS_DEPTH)]), ('- ' + '[' * 2000, []), ('#' * (1 << 20), []),
])  # fmt: skip
def test_foreign_qos_texts_are_parsed_or_ignored(text, offers):
    assert qos_from_text(text) == offers


def test_one_publisher_in_place_of_several_serves_every_subscriber_of_theirs():
    assert combine_qos([]) == OfferedQos()
    assert combine_qos([OfferedQos(False, True, 1), OfferedQos(True, False, 3)]) == OfferedQos(
        True, True, 4
    )
    assert combine_qos([OfferedQos(depth=10**9)]).depth == 1000
