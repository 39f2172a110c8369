import struct

import numpy as np
import pytest

from datasets.cohort import CohortError
from datasets.mimic_iv.tfrecord import (
    compute_crc32c,
    make_example,
    mask_checksum,
    parse_float_features,
    read_floats,
    read_records,
    write_records,
)

# written by TFRecordWriter of the package tfrecord 1.14.6 (protobuf 7): image/id "abc", embedding [1.5, -2, 0.25], n 3
WRITTEN_ELSEWHERE = bytes.fromhex(
    "420000000000000079f36eaa0a400a0a0a016e12051a030a01030a130a08696d6167652f696412070a050a036162630a1d0a09656d62656464696e67"
    "1210120e0a0c0000c03f000000c00000803e4dafce7c"
)


def crc_bit_by_bit(data):
    state = 0xFFFFFFFF
    for byte in data:
        state ^= byte
        for _ in range(8):
            state = (state >> 1) ^ (0x82F63B78 if state & 1 else 0)
    return state ^ 0xFFFFFFFF


def reference_record(data):
    """A record as the TFRecord format is specified, from the definition of the checksum."""

    def mask(data):
        c = crc_bit_by_bit(data)
        return struct.pack("<I", ((c >> 15 | c << 17 & 0xFFFFFFFF) + 0xA282EAD8) % 2**32)

    length = len(data).to_bytes(8, "little")
    return length + mask(length) + data + mask(data)


@pytest.fixture
def vector():
    return np.random.default_rng(0).normal(size=1376).astype(np.float32)


@pytest.fixture
def image(tmp_path, vector):
    path = tmp_path / "image.tfrecord"
    path.write_bytes(reference_record(make_example({"embedding": vector}, {"image/id": b"an image"})))
    return path


@pytest.mark.parametrize(
    ("data", "checksum"),
    [
        (b"123456789", 0xE3069283), (bytes(32), 0x8A9136AA), (b"\xff" * 32, 0x62A8AB43), (bytes(range(32)), 0x46DD794E), (b"", 0),
    ],
)  # fmt: skip
def test_checksums_are_those_of_rfc_3720(data, checksum):
    assert compute_crc32c(data) == checksum


def test_checksums_are_right_at_every_length():
    data = np.random.default_rng(1).bytes(400)
    assert [compute_crc32c(data[:n]) for n in range(len(data))] == [crc_bit_by_bit(data[:n]) for n in range(len(data))]


def test_a_file_written_elsewhere_is_read(tmp_path):
    path = tmp_path / "image.tfrecord"
    path.write_bytes(WRITTEN_ELSEWHERE)
    np.testing.assert_array_equal(read_floats(path, "embedding", 3), np.array([1.5, -2.0, 0.25], dtype=np.float32))


def test_a_reference_writer_is_read_and_equalled(image, vector, tmp_path):
    np.testing.assert_array_equal(read_floats(image, "embedding", 1376), vector)
    write_records(tmp_path / "ours", read_records(image))
    assert (tmp_path / "ours").read_bytes() == image.read_bytes()


def test_floats_are_read_packed_and_one_by_one():
    def field(number, content):
        return bytes([number << 3 | 2, len(content)]) + content

    one_by_one = b"".join(b"\x0d" + struct.pack("<f", x) for x in (1.0, 2.5))
    packed = field(1, struct.pack("<2f", 3.0, -4.0))
    example = field(1, field(1, field(1, b"x") + field(2, field(2, one_by_one + packed))))
    np.testing.assert_array_equal(parse_float_features(example)["x"], [1.0, 2.5, 3.0, -4.0])


@pytest.mark.parametrize("keep", [3, 11, 12, 40, 5000, -1])
def test_a_file_cut_short_is_named_with_its_record(image, keep):
    image.write_bytes(image.read_bytes()[:keep])
    with pytest.raises(CohortError, match=r"image.tfrecord: record 1 is cut short: .* bytes") as error:
        read_floats(image, "embedding", 1376)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("place", "said"), [(0, "damaged length"), (9, "damaged length"), (300, "damaged"), (-2, "damaged")]
)
def test_a_flipped_bit_is_named_with_its_record(image, place, said):
    content = bytearray(image.read_bytes())
    content[place] ^= 4
    image.write_bytes(content)
    with pytest.raises(CohortError, match=rf"image.tfrecord: record 1 .*{said}"):
        read_floats(image, "embedding", 1376)


@pytest.mark.parametrize(
    ("records", "said"),
    [
        ([], "is empty"),
        ([make_example({"other": np.zeros(4)})], "record 1 has no float feature embedding; it has other"),
        ([make_example({"embedding": np.zeros(5)})], "record 1: embedding has 5 numbers; 4 are expected"),
        ([make_example({"embedding": [0, 1, np.nan, 1]})], "record 1: embedding has a number that is not finite"),
        ([b"\x0a\x7f"], "record 1 is no tf.train.Example"),
        ([b"\xff" * 12], "record 1 is no tf.train.Example"),
        ([make_example({"embedding": np.zeros(4)})] * 2, "record 2 is one too many"),
    ],
)
def test_what_is_no_embedding_is_named_with_its_record(tmp_path, records, said):
    write_records(tmp_path / "image.tfrecord", records)
    with pytest.raises(CohortError, match=said) as error:
        read_floats(tmp_path / "image.tfrecord", "embedding", 4)
    assert "image.tfrecord" in str(error.value)


def test_a_length_beyond_reason_is_refused_before_it_is_believed(tmp_path):
    head = struct.pack("<Q", 1 << 40)
    (tmp_path / "x").write_bytes(head + struct.pack("<I", mask_checksum(compute_crc32c(head))))
    with pytest.raises(CohortError, match="record 1 says it has"):
        list(read_records(tmp_path / "x"))
