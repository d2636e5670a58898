"""The kernels of the scan on a CPU, in which the lanes of a vector are neighbouring channels.

Letters as in ``selective_scan``. Channels that share the groups of B and of C are cut into strips, the parts that
run in parallel. A strip goes through its channels block by block, as many as a vector has lanes, through time in
chunks, and in each chunk through one state after the other, whose numbers then stay in registers. Nothing of size
(B, D, L, N) is kept: backward goes through time twice, ahead to keep the state at the start of each chunk, then
back, where the states of one chunk are computed again. Every sum has one order that depends on shapes alone:
results do not change with the number of threads.
"""

import math
from typing import NamedTuple

import numpy as np
from numba import njit, prange

from fusionkit.ops.lane_functions import exp2, sigmoid, softplus
from fusionkit.ops.lanes import SQUARE, cached, load, spread, store, total, transpose, where_above, width

CHUNK = 4 * SQUARE  # steps; longer loops are faster as long as the tiles of a chunk fit the first cache
LN2 = math.log(2)
Array = np.ndarray


class Inputs(NamedTuple):
    """The arguments of a scan; what is missing or constant has no elements.

    Constant B and C act only through their product ``weight``, (D, N), ones where both vary.
    """

    u: Array
    delta: Array
    z: Array
    A: Array
    B: Array
    C: Array
    weight: Array
    D: Array
    bias: Array
    softplus: bool


class Gradients(NamedTuple):
    """Where backward writes: B and C per strip, what has no time per batch entry, all to be summed."""

    u: Array
    delta: Array
    z: Array
    A: Array
    B: Array
    C: Array
    weight: Array
    D: Array
    bias: Array


class Channels(NamedTuple):
    """What belongs to the channels of a block and not to time, or its gradient: (N) lanes, or one."""

    a: Array
    weight: Array
    skip: Array
    bias: Array


class Tiles(NamedTuple):
    """What a block holds for one chunk, (CHUNK) lanes each: ``delta`` with its bias, ``x`` the step times ``u``.

    ``decay`` and ``before`` are of one state: what a step multiplies it by, and its value before that step.
    """

    u: Array
    delta: Array
    z: Array
    step: Array
    x: Array
    y: Array
    grad: Array
    dy: Array
    dx: Array
    dstep: Array
    decay: Array
    before: Array


@njit
def _lanes(like: Array, count: int) -> Array:
    return np.zeros(count * width(like), like.dtype)


@njit
def _read(tile: Array, source: Array, first: int, rows: int, begin: int, steps: int) -> None:
    """Turn ``source[first:first + rows, begin:begin + steps]`` so that rows become lanes."""
    lanes, length = width(tile), source.shape[1]
    squares = rows // SQUARE * SQUARE if steps % SQUARE == 0 else 0
    for i in range(0, squares, SQUARE):
        for t in range(0, steps, SQUARE):
            transpose(source, (first + i) * length + begin + t, length, tile, t * lanes + i, lanes)
    for i in range(squares, rows):
        for t in range(steps):
            tile[t * lanes + i] = source[first + i, begin + t]


@njit
def _write(tile: Array, target: Array, first: int, rows: int, begin: int, steps: int) -> None:
    """Do the reverse of ``_read``."""
    lanes, length = width(tile), target.shape[1]
    squares = rows // SQUARE * SQUARE if steps % SQUARE == 0 else 0
    for i in range(0, squares, SQUARE):
        for t in range(0, steps, SQUARE):
            transpose(tile, t * lanes + i, lanes, target, (first + i) * length + begin + t, length)
    for i in range(squares, rows):
        for t in range(steps):
            target[first + i, begin + t] = tile[t * lanes + i]


@njit
def _channels(like: Array, states: int) -> Channels:
    return Channels(_lanes(like, states), _lanes(like, states), _lanes(like, 1), _lanes(like, 1))


@njit
def _read_channels(data: Inputs, first: int, count: int) -> Channels:
    states = data.A.shape[1]
    channels = _channels(data.A, states)
    _read(channels.a, data.A, first, count, 0, states)
    _read(channels.weight, data.weight, first, count, 0, states)
    channels.skip[:count] = data.D[first : first + count]
    channels.bias[:count] = data.bias[first : first + count]
    for k in range(channels.a.size):
        channels.a[k] /= LN2  # the exponential is a power of two
    return channels


@njit
def _tiles(like: Array) -> Tiles:
    return Tiles(
        _lanes(like, CHUNK),
        _lanes(like, CHUNK),
        _lanes(like, CHUNK),
        _lanes(like, CHUNK),
        _lanes(like, CHUNK),
        _lanes(like, CHUNK),
        _lanes(like, CHUNK),
        _lanes(like, CHUNK),
        _lanes(like, CHUNK),
        _lanes(like, CHUNK),
        _lanes(like, CHUNK),
        _lanes(like, CHUNK),
    )


@njit
def _row(matrix: Array, i: int, group: int, n: int, begin: int, steps: int) -> Array:
    """Return B or C of one state in one chunk, ones where it is constant."""
    if matrix.size:
        return matrix[i, group, n, begin : begin + steps]
    return np.ones(steps, matrix.dtype)


@njit
def _prepare(
    tiles: Tiles, data: Inputs, channels: Channels, i: int, first: int, count: int, begin: int, steps: int
) -> None:
    """Read one chunk, compute its steps, and start its output with the skip connection."""
    _read(tiles.u, data.u[i], first, count, begin, steps)
    _read(tiles.delta, data.delta[i], first, count, begin, steps)
    if data.z.size:
        _read(tiles.z, data.z[i], first, count, begin, steps)
    for t in range(steps):
        u, raw = load(tiles.u, t), load(tiles.delta, t) + load(channels.bias, 0)
        step = softplus(raw) if data.softplus else raw
        store(tiles.delta, t, raw)
        store(tiles.step, t, step)
        store(tiles.x, t, step * u)
        store(tiles.y, t, u * load(channels.skip, 0))


@njit
def _scan(h: Array, n: int, channels: Channels, tiles: Tiles, b: Array, c: Array) -> None:
    """Take state n through one chunk, and add what it gives to the output."""
    a, weight, state = load(channels.a, n), load(channels.weight, n), load(h, n)
    for t in range(b.size):
        state = exp2(load(tiles.step, t) * a) * state + load(tiles.x, t) * b[t]
        store(tiles.y, t, load(tiles.y, t) + state * (weight * c[t]))
    store(h, n, state)


@njit
def _pass(h: Array, n: int, channels: Channels, tiles: Tiles, b: Array) -> None:
    """Take state n through one chunk."""
    a, state = load(channels.a, n), load(h, n)
    for t in range(b.size):
        state = exp2(load(tiles.step, t) * a) * state + load(tiles.x, t) * b[t]
    store(h, n, state)


@njit
def _scan_back(
    h: Array,
    g: Array,
    n: int,
    channels: Channels,
    tiles: Tiles,
    b: Array,
    c: Array,
    sums: Channels,
    db: Array,
    dc: Array,
) -> None:
    """Take the gradient of state n back through one chunk, from ``g`` after it to ``g`` before it."""
    a, weight, state = load(channels.a, n), load(channels.weight, n), load(h, n)
    for t in range(b.size):
        decay = exp2(load(tiles.step, t) * a)
        store(tiles.decay, t, decay)
        store(tiles.before, t, state)
        state = decay * state + load(tiles.x, t) * b[t]
        store(tiles.y, t, load(tiles.y, t) + state * (weight * c[t]))
    dh, da, dweight = load(g, n), load(sums.a, n), load(sums.weight, n)
    for t in range(b.size - 1, -1, -1):
        dy = load(tiles.dy, t)
        state = state * dy
        dc[t] += total(state * weight)
        dweight = dweight + state * c[t]
        dh = dh + dy * (weight * c[t])
        db[t] += total(dh * load(tiles.x, t))
        store(tiles.dx, t, load(tiles.dx, t) + dh * b[t])
        dh = dh * load(tiles.decay, t)
        state = load(tiles.before, t)
        dexponent = dh * state
        store(tiles.dstep, t, load(tiles.dstep, t) + dexponent * a)
        da = da + dexponent * load(tiles.step, t)
    store(g, n, dh)
    store(sums.a, n, da)
    store(sums.weight, n, dweight)


@njit
def _open_gate(tiles: Tiles, steps: int, gated: bool) -> None:
    """Compute the gradient of what the gate let through, and start the sums over states."""
    zero = spread(tiles.u, 0.0)
    for t in range(steps):
        dy = load(tiles.grad, t)
        if gated:
            z = load(tiles.z, t)
            dy = dy * (z * sigmoid(z))
        store(tiles.dy, t, dy)
        store(tiles.dx, t, zero)
        store(tiles.dstep, t, zero)


@njit
def _finish(tiles: Tiles, channels: Channels, sums: Channels, steps: int, rectified: bool, gated: bool) -> None:
    """Turn ``dx``, ``dstep`` and ``y`` into the gradients of u, delta and z."""
    skip, bias = load(sums.skip, 0), load(sums.bias, 0)
    for t in range(steps):
        u, dy, dx = load(tiles.u, t), load(tiles.dy, t), load(tiles.dx, t)
        ddelta = dx * u + load(tiles.dstep, t) * LN2
        if rectified:
            raw = load(tiles.delta, t)
            ddelta = ddelta * where_above(raw, 20.0, 1.0, sigmoid(raw))
        if gated:
            z = load(tiles.z, t)
            gate = sigmoid(z)
            store(tiles.y, t, load(tiles.grad, t) * load(tiles.y, t) * (gate * (1.0 + z * (1.0 - gate))))
        store(tiles.dx, t, dx * load(tiles.step, t) + dy * load(channels.skip, 0))
        store(tiles.dstep, t, ddelta)
        skip = skip + dy * u
        bias = bias + ddelta
    store(sums.skip, 0, skip)
    store(sums.bias, 0, bias)


@njit
def _forward_block(data: Inputs, place: tuple, first: int, count: int, out: Array, last: Array) -> None:
    i, _, group_b, group_c = place
    length, states = data.u.shape[2], data.A.shape[1]
    channels, tiles, h = _read_channels(data, first, count), _tiles(data.u), _lanes(data.u, states)
    for begin in range(0, length, CHUNK):
        steps = min(CHUNK, length - begin)
        _prepare(tiles, data, channels, i, first, count, begin, steps)
        for n in range(states):
            b, c = _row(data.B, i, group_b, n, begin, steps), _row(data.C, i, group_c, n, begin, steps)
            _scan(h, n, channels, tiles, b, c)
        if data.z.size:
            for t in range(steps):
                z = load(tiles.z, t)
                store(tiles.y, t, load(tiles.y, t) * (z * sigmoid(z)))
        _write(tiles.y, out[i], first, count, begin, steps)
    _write(h, last[i], first, count, 0, states)


@njit
def _starts(data: Inputs, channels: Channels, tiles: Tiles, place: tuple, first: int, count: int) -> Array:
    """Return the state at the start of each chunk, (chunks, N lanes)."""
    i, _, group_b, _ = place
    length, states = data.u.shape[2], data.A.shape[1]
    kept = np.zeros(((length + CHUNK - 1) // CHUNK, states * width(data.u)), data.u.dtype)
    for chunk in range(1, len(kept)):
        begin, kept[chunk] = (chunk - 1) * CHUNK, kept[chunk - 1]
        _prepare(tiles, data, channels, i, first, count, begin, CHUNK)
        for n in range(states):
            _pass(kept[chunk], n, channels, tiles, _row(data.B, i, group_b, n, begin, CHUNK))
    return kept


@njit
def _backward_block(data: Inputs, grad_out: Array, place: tuple, first: int, count: int, grads: Gradients) -> None:
    i, strip, group_b, group_c = place
    length, states, gated = data.u.shape[2], data.A.shape[1], data.z.size > 0
    channels, tiles = _read_channels(data, first, count), _tiles(data.u)
    kept = _starts(data, channels, tiles, place, first, count)
    sums, g = _channels(data.u, states), _lanes(data.u, states)
    for chunk in range(len(kept) - 1, -1, -1):
        begin = chunk * CHUNK
        steps = min(CHUNK, length - begin)
        _prepare(tiles, data, channels, i, first, count, begin, steps)
        _read(tiles.grad, grad_out[i], first, count, begin, steps)
        _open_gate(tiles, steps, gated)
        for n in range(states):
            b, c = _row(data.B, i, group_b, n, begin, steps), _row(data.C, i, group_c, n, begin, steps)
            db, dc = grads.B[i, strip, n, begin : begin + steps], grads.C[i, strip, n, begin : begin + steps]
            _scan_back(kept[chunk], g, n, channels, tiles, b, c, sums, db, dc)
        _finish(tiles, channels, sums, steps, data.softplus, gated)
        _write(tiles.dx, grads.u[i], first, count, begin, steps)
        _write(tiles.dstep, grads.delta[i], first, count, begin, steps)
        if gated:
            _write(tiles.y, grads.z[i], first, count, begin, steps)
    _write(sums.a, grads.A[i], first, count, 0, states)
    _write(sums.weight, grads.weight[i], first, count, 0, states)
    grads.D[i, first : first + count] = sums.skip[:count]
    grads.bias[i, first : first + count] = sums.bias[:count]


@cached
def forward(data: Inputs, strips: Array, out: Array, last: Array) -> None:
    """Write the output (B, D, L) and the last state (B, D, N), that of B = 1 where B is constant.

    Args:
        data: What to scan.
        strips: (strips, 4) integers: first channel, one past the last, group of B, group of C.
        out: To be filled.
        last: To be filled.
    """
    for task in prange(len(data.u) * len(strips)):
        i, strip = task // len(strips), task % len(strips)
        start, stop, group_b, group_c = strips[strip]
        lanes = width(data.u)
        for first in range(start, stop, lanes):
            _forward_block(data, (i, strip, group_b, group_c), first, min(lanes, stop - first), out, last)


@cached
def backward(data: Inputs, grad_out: Array, strips: Array, grads: Gradients) -> None:
    """Write all gradients.

    Args:
        data: What was scanned.
        grad_out: Gradient of the output, (B, D, L).
        strips: As for ``forward``.
        grads: To be filled; B and C have to be zero.
    """
    for task in prange(len(data.u) * len(strips)):
        i, strip = task // len(strips), task % len(strips)
        start, stop, group_b, group_c = strips[strip]
        lanes = width(data.u)
        for first in range(start, stop, lanes):
            count = min(lanes, stop - first)
            _backward_block(data, grad_out, (i, strip, group_b, group_c), first, count, grads)
