"""Read and write TFRecord files of ``tf.train.Example``, without TensorFlow.

A TFRecord file is a row of records: length (uint64, little endian), masked CRC-32C of those eight bytes, data, masked
CRC-32C of the data; the mask of a checksum c is ((c >> 15) | (c << 17)) + 0xa282ead8 modulo 2^32. An Example is a protocol
buffer: field 1 (Features) holds entries, field 1 (a map), of a name, field 1, and a Feature, field 2, whose field 2
(FloatList) has its numbers in field 1, packed or one by one; field 1 of a Feature is a BytesList instead.

A float feature is all that is needed here, so this is a small reader; every checksum is verified.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np

from datasets.cohort import CohortError

HEAD, TAIL = 12, 4
LONGEST = 1 << 26
"""A record's data of more bytes than this is taken as damage: an embedding has some thousands."""

_POLYNOMIAL = 0x82F63B78
_LANES = 64
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def _make_byte_table() -> np.ndarray:
    values = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        values = np.where(values & 1, (values >> 1) ^ np.uint32(_POLYNOMIAL), values >> 1)
    return values


_TABLE = _make_byte_table()


@lru_cache(maxsize=64)
def _make_shift_tables(length: int) -> list[list[int]]:
    """Return the effect of ``length`` zero bytes on a CRC: a table of 256 for each of its four bytes (it is linear)."""
    state = np.arange(256, dtype=np.uint32)[None, :] << (8 * np.arange(4, dtype=np.uint32))[:, None]
    for _ in range(length):
        state = _TABLE[state & 0xFF] ^ (state >> 8)
    return state.tolist()


def compute_crc32c(data: bytes) -> int:
    """Return the CRC-32C (Castagnoli) of ``data``.

    The bytes are cut into lanes of equal length that are worked on side by side; zeros in front of a CRC that starts at
    zero change nothing, which fills up the first lane, and the usual start is the same as inverting the first four bytes.
    """
    start = np.frombuffer(data[:4].ljust(4, b"\0"), dtype=np.uint8) ^ 0xFF
    if len(data) < 4:
        state = 0xFFFFFFFF
        for byte in data:
            state = int(_TABLE[(state ^ byte) & 0xFF]) ^ (state >> 8)
        return state ^ 0xFFFFFFFF
    width = -(-len(data) // _LANES)
    lanes = np.zeros(_LANES * width, dtype=np.uint8)
    lanes[lanes.size - len(data) :] = np.frombuffer(data, dtype=np.uint8)
    lanes[lanes.size - len(data) :][:4] = start
    state = np.zeros(_LANES, dtype=np.uint32)
    for column in lanes.reshape(_LANES, width).T:
        state = _TABLE[(state ^ column) & 0xFF] ^ (state >> 8)
    (a, b, c, d), total = _make_shift_tables(width), 0
    for lane in state.tolist():
        total = a[total & 0xFF] ^ b[total >> 8 & 0xFF] ^ c[total >> 16 & 0xFF] ^ d[total >> 24] ^ lane
    return total ^ 0xFFFFFFFF


def mask_checksum(checksum: int) -> int:
    """Mask a CRC as a TFRecord stores it."""
    return (((checksum >> 15) | (checksum << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def read_records(path: Path) -> Iterator[bytes]:
    """Yield the data of each record of a TFRecord file.

    Raises:
        CohortError: naming the file and the record (from 1) that is cut short or whose checksum does not match.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CohortError(f"{path} cannot be read ({error.strerror or error})") from None
    at, number = 0, 0
    while at < len(content):
        number += 1
        if len(content) - at < HEAD:
            raise _make_error(
                path, number, f"is cut short: {len(content) - at} of the {HEAD} bytes of its head are there"
            )
        length, checksum = struct.unpack_from("<QI", content, at)
        if mask_checksum(compute_crc32c(content[at : at + 8])) != checksum:
            raise _make_error(path, number, "has a damaged length (its checksum does not match)")
        if length > LONGEST:
            raise _make_error(path, number, f"says it has {length:,} bytes, which no embedding has")
        at += HEAD
        if len(content) - at < length + TAIL:
            raise _make_error(path, number, f"is cut short: {len(content) - at:,} of {length + TAIL:,} bytes are there")
        data = content[at : at + length]
        if mask_checksum(compute_crc32c(data)) != struct.unpack_from("<I", content, at + length)[0]:
            raise _make_error(path, number, "is damaged (the checksum of its data does not match)")
        at += length + TAIL
        yield data


def write_records(path: Path, records: Iterable[bytes]) -> None:
    """Write a TFRecord file of the given records."""
    with path.open("wb") as stream:
        for data in records:
            head = struct.pack("<Q", len(data))
            stream.write(
                head
                + struct.pack("<I", mask_checksum(compute_crc32c(head)))
                + data
                + struct.pack("<I", mask_checksum(compute_crc32c(data)))
            )


def _make_error(path: Path, number: int, what: str) -> CohortError:
    return CohortError(f"{path}: record {number} {what}; fetch it again")


def read_floats(path: Path, name: str, width: int) -> np.ndarray:
    """Read the float feature ``name`` of the one Example in a TFRecord file: float32 [width], finite.

    Raises:
        CohortError: naming the file and the record where it is damaged, no Example, or has no such feature of that width.
    """
    values = None
    for number, data in enumerate(read_records(path), 1):
        if number > 1:
            raise CohortError(f"{path}: record {number} is one too many; an image has one record")
        try:
            features = parse_float_features(data)
        except (ValueError, struct.error) as error:
            raise CohortError(f"{path}: record {number} is no tf.train.Example ({error})") from None
        if name not in features:
            has = ", ".join(sorted(features)) or "none"
            raise CohortError(f"{path}: record {number} has no float feature {name}; it has {has}")
        values = features[name]
        if len(values) != width:
            raise CohortError(f"{path}: record {number}: {name} has {len(values):,} numbers; {width:,} are expected")
        if not np.isfinite(values).all():
            raise CohortError(f"{path}: record {number}: {name} has a number that is not finite")
    if values is None:
        raise CohortError(f"{path} is empty: it has no record; fetch it again")
    return values


def parse_float_features(example: bytes) -> dict[str, np.ndarray]:
    """Parse the float features of a serialised ``tf.train.Example`` by name, float32; features of other kinds are passed over.

    Raises:
        ValueError: where the bytes are no protocol buffer of that shape.
    """
    arrays = {}
    for features in _iterate_messages(example, 1):
        for entry in _iterate_messages(features, 1):
            names, values = list(_iterate_messages(entry, 1)), list(_iterate_messages(entry, 2))
            if not names or not values:
                continue
            lists = list(_iterate_messages(values[-1], 2))
            if lists:
                arrays[str(names[-1], "utf-8")] = np.concatenate([_parse_floats(values) for values in lists])
    return arrays


def _parse_floats(values: memoryview) -> np.ndarray:
    parts = [np.empty(0, dtype="<f4")]
    for number, kind, content in _iterate_fields(values):
        if number == 1 and kind in (_BYTES, _FIXED32):
            if len(content) % 4:
                raise ValueError("packed floats of an odd length")
            parts.append(np.frombuffer(content, dtype="<f4"))
    return np.concatenate(parts).astype(np.float32)


def _iterate_messages(message: bytes | memoryview, wanted: int) -> Iterator[memoryview]:
    """Yield the contents of the length-delimited fields of number ``wanted``."""
    for number, kind, content in _iterate_fields(memoryview(message)):
        if number == wanted and kind == _BYTES:
            yield content


def _iterate_fields(message: memoryview) -> Iterator[tuple[int, int, memoryview]]:
    """Yield number, wire type and content of each field; the content of a varint is empty, since none is needed."""
    at = 0
    while at < len(message):
        tag, at = _read_varint(message, at)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            _, at = _read_varint(message, at)
            yield number, kind, message[at:at]
            continue
        if kind == _BYTES:
            length, at = _read_varint(message, at)
        elif kind in (_FIXED32, _FIXED64):
            length = 4 if kind == _FIXED32 else 8
        else:
            raise ValueError(f"wire type {kind}")
        if number == 0 or at + length > len(message):
            raise ValueError("a field that runs past the end" if number else "a field without a number")
        yield number, kind, message[at : at + length]
        at += length


def _read_varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(message) and shift < 64:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
    raise ValueError("a number without an end")


def make_example(floats: Mapping[str, np.ndarray], texts: Mapping[str, bytes] | None = None) -> bytes:
    """Serialise a ``tf.train.Example`` of float features and bytes features, in the given order."""
    entries = [(name, 2, np.asarray(values, dtype="<f4").tobytes()) for name, values in floats.items()]
    entries += [(name, 1, content) for name, content in (texts or {}).items()]
    features = b""
    for name, kind, content in entries:
        feature = _delimit(kind, _delimit(1, content))
        features += _delimit(1, _delimit(1, name.encode()) + _delimit(2, feature))
    return _delimit(1, features)


def _delimit(number: int, content: bytes) -> bytes:
    length, size = len(content), bytearray()
    while length > 0x7F:
        size.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes([number << 3 | _BYTES]) + bytes(size) + bytes([length]) + content
