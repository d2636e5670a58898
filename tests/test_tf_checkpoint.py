"""Checkpoints of TensorFlow, written here block by block, read back, and damaged in every way."""

import struct

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fusionkit.errors import FusionkitError
from fusionkit.tf_checkpoint import MAGIC, _uncompressed, masked_checksum, read_checkpoint

TYPES = {"float32": 1, "float64": 2, "int32": 3, "int64": 9}
RESTART = 3  # every third key is written in full


def varint(value):
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def compressed(data):
    """Snappy with runs: a literal per byte that is new, a copy that overlaps itself for those that repeat."""
    out, at = varint(len(data)), 0
    while at < len(data):
        run = 1
        while at + run < len(data) and data[at + run] == data[at] and run < 61:
            run += 1
        out += bytes([0, data[at]])
        if run > 1:
            out += bytes([(run - 2) << 2 | 2, 1, 0])
        at += run
    return out


def block(entries, snappy):
    out, restarts, before = bytearray(), [], b""
    for count, (key, value) in enumerate(entries):
        shared = 0
        if count % RESTART == 0:
            restarts.append(len(out))
        else:
            while shared < min(len(key), len(before)) and key[shared] == before[shared]:
                shared += 1
        out += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        before = key
    out += struct.pack(f"<{len(restarts) + 1}I", *restarts, len(restarts))
    return (compressed(bytes(out)) if snappy else bytes(out)), bytes([snappy])


def write_checkpoint(path, tensors, snappy=False, extra=(), sum_of=masked_checksum):
    """Write a bundle; return its index."""
    data, entries = b"", [(b"", field(1, 1))]
    for name, array in sorted(tensors.items()):
        content = array.tobytes()
        shape = b"".join(field(2, field(1, size)) for size in array.shape)
        message = field(1, TYPES[array.dtype.name]) + field(2, shape) + field(4, len(data)) + field(5, len(content))
        entries.append((name.encode(), message + varint(6 << 3 | 5) + struct.pack("<I", sum_of(content))))
        data += content
    entries = sorted([*entries, *extra])
    out, handles = b"", []
    for start in range(0, len(entries), 4):
        content, kind = block(entries[start : start + 4], snappy)
        handles.append((entries[min(start + 3, len(entries) - 1)][0] + b"~", varint(len(out)) + varint(len(content))))
        out += content + kind + struct.pack("<I", masked_checksum(content + kind))
    place = varint(len(out))
    content, kind = block(handles, False)
    footer = varint(0) + varint(0) + place + varint(len(content))
    out += content + kind + struct.pack("<I", masked_checksum(content + kind))
    index = path / "net.ckpt.index"
    index.write_bytes(out + footer.ljust(40, b"\0") + struct.pack("<Q", MAGIC))
    (path / "net.ckpt.data-00000-of-00001").write_bytes(data)
    return index


@pytest.fixture
def tensors():
    random = np.random.default_rng(0)
    names = [f"net/encoder/conv{i}/{part}" for i in range(5) for part in ("kernel", "kernel/Adam", "bias")]
    found = {name: random.normal(size=(3, 3, 2, i % 3 + 1)).astype(np.float32) for i, name in enumerate(names)}
    return found | {
        "step": np.array(7, np.int64),
        "zero": np.zeros((0, 4), np.float64),
        "table": np.arange(6, dtype=np.int32),
    }


@pytest.mark.parametrize("snappy", [False, True])
def test_every_tensor_comes_back(tmp_path, tensors, snappy):
    found = read_checkpoint(write_checkpoint(tmp_path, tensors, snappy))
    assert found.keys() == tensors.keys()
    for name, array in tensors.items():
        assert torch.equal(found[name], torch.from_numpy(array)), name
        assert found[name].shape == array.shape
        assert found[name].numpy().dtype == array.dtype


def test_tensors_of_other_types_are_left_out(tmp_path, tensors):
    text = field(1, 7) + field(5, 0)
    assert read_checkpoint(write_checkpoint(tmp_path, tensors, extra=[(b"words", text)])).keys() == tensors.keys()


def test_checksum_of_the_standard_vector():
    checksum = 0xE3069283  # CRC-32C of the nine digits, RFC 3720
    assert masked_checksum(b"123456789") == ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF


@given(st.binary(max_size=300), st.integers(1, 90))
def test_snappy_undoes_runs_and_long_literals(data, repeat):
    text = bytes(byte for byte in data for _ in range(repeat % 7 + 1)) + data[:1] * repeat
    assert _uncompressed(compressed(text)) == text
    if text:
        long = varint(len(text)) + bytes([61 << 2]) + struct.pack("<H", len(text) - 1) + text
        assert _uncompressed(long) == text


def test_snappy_copies_from_afar():
    near = bytes([3 << 2]) + b"abcd" + bytes([(5 - 4) << 2 | 0 << 5 | 1, 4])
    assert _uncompressed(varint(9) + near) == b"abcdabcda"
    far = bytes([3 << 2]) + b"abcd" + bytes([(2 - 1) << 2 | 3]) + struct.pack("<I", 3)
    assert _uncompressed(varint(6) + far) == b"abcdbc"


def fails(index, text=None):
    with pytest.raises(FusionkitError, match=text) as caught:
        read_checkpoint(index)
    assert "\n" not in str(caught.value)
    assert "net.ckpt.index" in str(caught.value)


def test_wrong_magic_and_missing_files_are_named(tmp_path, tensors):
    index = write_checkpoint(tmp_path, tensors)
    content = index.read_bytes()
    index.write_bytes(content[:-1] + b"\0")
    fails(index, "does not end as an index")
    index.write_bytes(b"short")
    fails(index, "does not end as an index")
    index.write_bytes(content)
    (tmp_path / "net.ckpt.data-00000-of-00001").unlink()
    fails(index, "data-00000-of-00001")
    index.unlink()
    fails(index)


def test_a_changed_or_cut_off_tensor_is_named(tmp_path, tensors):
    index = write_checkpoint(tmp_path, tensors)
    file = tmp_path / "net.ckpt.data-00000-of-00001"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    fails(index, "checksum of table")
    file.write_bytes(content[:-4])
    fails(index, "does not fit its file")
    fails(write_checkpoint(tmp_path, tensors, sum_of=lambda _: 1), "checksum of net/encoder/conv0/bias")


def test_a_tensor_in_pieces_is_refused(tmp_path, tensors):
    extra = [(b"split", field(1, 1) + field(7, b"piece"))]
    fails(write_checkpoint(tmp_path, tensors, extra=extra), "split is stored in pieces")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), snappy=st.booleans())
def test_any_changed_byte_or_cut_of_the_index_is_one_error_or_harmless(tmp_path, data, snappy):
    values = {"net/a": np.ones((2, 3), np.float32), "net/b": np.arange(4, dtype=np.float32)}
    index = write_checkpoint(tmp_path, values, snappy)
    content = bytearray(index.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        content = content[:place]
    else:
        content[place] ^= data.draw(st.integers(1, 255))
    index.write_bytes(content)
    try:
        found = read_checkpoint(index)
    except FusionkitError as error:
        assert "\n" not in str(error)
    else:  # only the padding and the unused first handle of the footer have no checksum
        assert all(torch.equal(found[name], torch.from_numpy(array)) for name, array in values.items())
        assert len(content) - 48 <= place < len(content) - 8
