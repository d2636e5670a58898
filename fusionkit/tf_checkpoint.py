"""Reading TensorFlow's checkpoints without TensorFlow: an index of tensors, and files that hold their bytes.

The index ``<name>.index`` is a table as LevelDB writes it: blocks of sorted keys, each of which repeats only what
differs from the key before, plain or compressed with Snappy; a block of blocks; a footer. Its values are messages of
Protocol Buffers that say where in ``<name>.data-<i>-of-<n>`` a tensor lies. Every block and tensor has a checksum.
"""

import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fusionkit.errors import FusionkitError

MAGIC = 0xDB4775248B80FB57
FOOTER, TRAILER = 48, 5
PLAIN, SNAPPY = 0, 1
# Numbers of TensorFlow's DataType; tensors of other types are left out.
TYPES = {1: "<f4", 2: "<f8", 3: "<i4", 9: "<i8"}


def read_checkpoint(index: Path) -> dict[str, Tensor]:
    """Return the tensors of numbers in a checkpoint, by TensorFlow's names.

    Args:
        index: The file ``<name>.index``; the files of data lie beside it.

    Raises:
        FusionkitError: A file is missing, cut off or otherwise damaged, or stores tensors in pieces.
    """
    try:
        entries = dict(_table(index.read_bytes()))
        header = _fields(entries.pop(b""))
        if header.get(2, [0])[0]:
            raise ValueError("big-endian numbers")
        shards = header.get(1, [1])[0]
        data: dict[int, bytes] = {}
        tensors = {}
        for name, message in entries.items():
            entry = _fields(message)
            shard = entry.get(3, [0])[0]
            if shard not in data:
                data[shard] = index.with_suffix(f".data-{shard:05d}-of-{shards:05d}").read_bytes()
            if entry[1][0] in TYPES:
                tensors[name.decode()] = _tensor(name.decode(), entry, data[shard])
        return tensors
    except (OSError, ValueError, LookupError, struct.error) as error:
        raise FusionkitError(f"{index}: no sound checkpoint of TensorFlow ({error}); fetch it again") from error


def _tensor(name: str, entry: dict[int, list[Any]], data: bytes) -> Tensor:
    if 7 in entry:
        raise ValueError(f"{name} is stored in pieces")
    kind = np.dtype(TYPES[entry[1][0]])
    offset, size = (entry.get(field, [0])[0] for field in (4, 5))
    dimensions = _fields(entry[2][0]).get(2, []) if 2 in entry else []
    shape = [_fields(dimension).get(1, [0])[0] for dimension in dimensions]
    if math.prod(shape) * kind.itemsize != size or offset + size > len(data):
        raise ValueError(f"{name} does not fit its file")
    content = data[offset : offset + size]
    _check(name, content, struct.unpack("<I", entry[6][0])[0])
    return torch.from_numpy(np.frombuffer(content, kind).reshape(shape).copy())


def _table(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield keys and values of a table."""
    if len(data) < FOOTER or struct.unpack("<Q", data[-8:])[0] != MAGIC:
        raise ValueError("it does not end as an index ends")
    footer = data[-FOOTER:]
    _, _, at = _handle(footer)
    offset, size, _ = _handle(footer, at)
    for _, place in _entries(_block(data, offset, size)):
        offset, size, _ = _handle(place)
        yield from _entries(_block(data, offset, size))


def _block(data: bytes, offset: int, size: int) -> bytes:
    """Return the content of a block, which its kind and checksum follow."""
    if offset + size + TRAILER > len(data):
        raise ValueError("it is cut off")
    kind, checksum = struct.unpack_from("<BI", data, offset + size)
    _check("the index", data[offset : offset + size + 1], checksum)
    if kind not in (PLAIN, SNAPPY):
        raise ValueError(f"unknown compression {kind}")
    content = data[offset : offset + size]
    return _uncompressed(content) if kind == SNAPPY else content


def _entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield keys and values of a block; places to start from stand at its end."""
    end = len(block) - 4 - 4 * struct.unpack("<I", block[-4:])[0]
    at, key = 0, b""
    while at < end:
        shared, at = _varint(block, at)
        own, at = _varint(block, at)
        length, at = _varint(block, at)
        if shared > len(key) or at + own + length > end:
            raise ValueError("an entry leaves its block")
        key = key[:shared] + block[at : at + own]
        yield key, block[at + own : at + own + length]
        at += own + length


def _handle(data: bytes, at: int = 0) -> tuple[int, int, int]:
    """Return offset and size of a block, and where to read on."""
    offset, at = _varint(data, at)
    size, at = _varint(data, at)
    return offset, size, at


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Return a number of seven bits per byte, the lowest first, and where to read on."""
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number does not end")


def _fields(message: bytes) -> dict[int, list[Any]]:
    """Return the fields of a message by number: integers, or bytes where it does not say what they are."""
    fields: dict[int, list[Any]] = {}
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind = tag & 7
        if kind == 0:
            value, at = _varint(message, at)
        else:
            size, at = _varint(message, at) if kind == 2 else ({1: 8, 5: 4}[kind], at)
            value, at = message[at : at + size], at + size
        fields.setdefault(tag >> 3, []).append(value)
    if at > len(message):
        raise ValueError("a message is cut off")
    return fields


def _uncompressed(data: bytes) -> bytes:
    """Undo Snappy: pieces that stand there, and copies of what is already there, possibly of what they make."""
    size, at = _varint(data, 0)
    out = bytearray()
    while at < len(data):
        tag = data[at]
        at += 1
        kind, length = tag & 3, (tag >> 2) + 1
        if kind == 0:
            if length > 60:
                extra = length - 60
                length, at = int.from_bytes(data[at : at + extra], "little") + 1, at + extra
            out += data[at : at + length]
            at += length
            continue
        width = (1, 2, 4)[kind - 1]
        back, at = int.from_bytes(data[at : at + width], "little"), at + width
        if kind == 1:
            length, back = (tag >> 2 & 7) + 4, back | tag >> 5 << 8
        if not 0 < back <= len(out):
            raise ValueError("a copy of nothing")
        for _ in range(length):
            out.append(out[-back])
    if len(out) != size:
        raise ValueError("a compressed block has the wrong length")
    return bytes(out)


def _check(what: str, content: bytes, expected: int) -> None:
    if masked_checksum(content) != expected:
        raise ValueError(f"the checksum of {what} is wrong")


def masked_checksum(content: bytes) -> int:
    """Return the CRC-32C of some bytes, turned by 15 bits and shifted, as LevelDB stores it."""
    checksum = 0xFFFFFFFF
    for byte in content:
        checksum = _CASTAGNOLI[(checksum ^ byte) & 0xFF] ^ checksum >> 8
    checksum ^= 0xFFFFFFFF
    return ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _castagnoli(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
    return byte


_CASTAGNOLI = [_castagnoli(byte) for byte in range(256)]
