"""The kernels of the scan on a CPU, in which the lanes of a vector are neighbouring channels.

Letters as in ``selective_scan``. Channels that share the groups of B and of C are cut into strips, the parts that
run in parallel; a strip goes through its channels block by block, as many as a vector has lanes, and through time in
chunks. The state is carried along, so nothing of size (B, D, L, N) is kept. Backward goes through time twice: ahead,
to keep the state at the start of each chunk, then back, where the states of one chunk after the other are computed
again. Every sum has one order that depends on shapes alone: results do not change with the number of threads.
"""

import math
from typing import NamedTuple

import numpy as np
from numba import njit, prange

from fusionkit.ops.lane_functions import exp2, sigmoid, softplus
from fusionkit.ops.lanes import SQUARE, Lanes, cached, load, spread, store, total, transpose, where_above, width

CHUNK = SQUARE  # steps, as many as ``transpose`` turns at once
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
    """What a block reads and writes in one chunk: (CHUNK) lanes, and (CHUNK, N) for what channels share."""

    u: Array
    delta: Array
    z: Array
    grad: Array
    step: Array
    out: Array
    du: Array
    ddelta: Array
    dz: Array
    b: Array
    c: Array
    db: Array
    dc: Array


@njit
def _lanes(like: Array, count: int) -> Array:
    return np.zeros(count * width(like), like.dtype)


@njit
def _read(tile: Array, row: int, source: Array, first: int, rows: int, begin: int, steps: int) -> None:
    """Turn ``source[first:first + rows, begin:begin + steps]`` into rows of ``row`` numbers, one per step."""
    length = source.shape[1]
    squares = rows // SQUARE * SQUARE if steps == SQUARE else 0
    for i in range(0, squares, SQUARE):
        transpose(source, (first + i) * length + begin, length, tile, i, row)
    for i in range(squares, rows):
        for t in range(steps):
            tile[t * row + i] = source[first + i, begin + t]


@njit
def _write(tile: Array, row: int, target: Array, first: int, rows: int, begin: int, steps: int) -> None:
    """Do the reverse of ``_read``."""
    length = target.shape[1]
    squares = rows // SQUARE * SQUARE if steps == SQUARE else 0
    for i in range(0, squares, SQUARE):
        transpose(tile, i, row, target, (first + i) * length + begin, length)
    for i in range(squares, rows):
        for t in range(steps):
            target[first + i, begin + t] = tile[t * row + i]


@njit
def _channels(like: Array, states: int) -> Channels:
    return Channels(_lanes(like, states), _lanes(like, states), _lanes(like, 1), _lanes(like, 1))


@njit
def _read_channels(data: Inputs, first: int, count: int) -> Channels:
    states, lanes = data.A.shape[1], width(data.A)
    channels = _channels(data.A, states)
    _read(channels.a, lanes, data.A, first, count, 0, states)
    _read(channels.weight, lanes, data.weight, first, count, 0, states)
    channels.skip[:count] = data.D[first : first + count]
    channels.bias[:count] = data.bias[first : first + count]
    for k in range(channels.a.size):
        channels.a[k] /= LN2  # the exponential is a power of two
    return channels


@njit
def _tiles(like: Array, states: int) -> Tiles:
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
        np.ones(CHUNK * states, like.dtype),
        np.ones(CHUNK * states, like.dtype),
        np.zeros(CHUNK * states, like.dtype),
        np.zeros(CHUNK * states, like.dtype),
    )


@njit
def _read_tiles(tiles: Tiles, data: Inputs, place: tuple, first: int, count: int, begin: int, steps: int) -> None:
    i, _, group_b, group_c = place
    lanes, states = width(data.u), data.A.shape[1]
    _read(tiles.u, lanes, data.u[i], first, count, begin, steps)
    _read(tiles.delta, lanes, data.delta[i], first, count, begin, steps)
    if data.z.size:
        _read(tiles.z, lanes, data.z[i], first, count, begin, steps)
    if data.B.size:
        _read(tiles.b, states, data.B[i, group_b], 0, states, begin, steps)
    if data.C.size:
        _read(tiles.c, states, data.C[i, group_c], 0, states, begin, steps)


@njit
def _step(data: Inputs, channels: Channels, tiles: Tiles, t: int) -> Lanes:
    step = load(tiles.delta, t) + load(channels.bias, 0)
    if data.softplus:
        return softplus(step)
    return step


@njit
def _scan(h: Array, data: Inputs, channels: Channels, tiles: Tiles, steps: int) -> None:
    """Go through one chunk: ``h`` becomes the state after it, ``tiles.out`` the output."""
    states = data.A.shape[1]
    for t in range(steps):
        u, step = load(tiles.u, t), _step(data, channels, tiles, t)
        x = step * u
        y = u * load(channels.skip, 0)
        for n in range(states):
            state = exp2(step * load(channels.a, n)) * load(h, n) + x * tiles.b[t * states + n]
            store(h, n, state)
            y = y + state * (load(channels.weight, n) * tiles.c[t * states + n])
        if data.z.size:
            z = load(tiles.z, t)
            y = y * (z * sigmoid(z))
        store(tiles.out, t, y)


@njit
def _scan_states(h: Array, data: Inputs, channels: Channels, tiles: Tiles, steps: int) -> None:
    """Go through one chunk for the state alone."""
    states = data.A.shape[1]
    for t in range(steps):
        step = _step(data, channels, tiles, t)
        x = step * load(tiles.u, t)
        for n in range(states):
            store(h, n, exp2(step * load(channels.a, n)) * load(h, n) + x * tiles.b[t * states + n])


@njit
def _keep(decay: Array, h: Array, data: Inputs, channels: Channels, tiles: Tiles, steps: int) -> None:
    """Compute each decay and each state of one chunk; ``h`` holds the state before it in its first lanes."""
    states = data.A.shape[1]
    for t in range(steps):
        step = _step(data, channels, tiles, t)
        store(tiles.step, t, step)
        x = step * load(tiles.u, t)
        for n in range(states):
            k = t * states + n
            factor = exp2(step * load(channels.a, n))
            store(decay, k, factor)
            store(h, k + states, factor * load(h, k) + x * tiles.b[k])


@njit
def _scan_back(
    g: Array, decay: Array, h: Array, data: Inputs, channels: Channels, tiles: Tiles, sums: Channels, steps: int
) -> None:
    """Go back through one chunk: ``g``, the gradient of the state after it, becomes that of the state before it."""
    states = data.A.shape[1]
    skip = load(channels.skip, 0)
    for t in range(steps - 1, -1, -1):
        u, step, grad = load(tiles.u, t), load(tiles.step, t), load(tiles.grad, t)
        x = step * u
        y, dx, dstep = u * skip, spread(tiles.u, 0.0), spread(tiles.u, 0.0)
        dy = grad
        if data.z.size:
            z = load(tiles.z, t)
            dy = grad * (z * sigmoid(z))
        for n in range(states):
            k = t * states + n
            state, weight = load(h, k + states), load(channels.weight, n)
            read = weight * tiles.c[k]
            y = y + state * read
            state = state * dy
            tiles.dc[k] += total(state * weight)
            store(sums.weight, n, load(sums.weight, n) + state * tiles.c[k])
            dh = load(g, n) + dy * read
            tiles.db[k] += total(dh * x)
            dx = dx + dh * tiles.b[k]
            dh = dh * load(decay, k)
            store(g, n, dh)
            dh = dh * load(h, k)
            dstep = dstep + dh * load(channels.a, n)
            store(sums.a, n, load(sums.a, n) + dh * step)
        ddelta = dx * u + dstep * LN2
        if data.softplus:
            raw = load(tiles.delta, t) + load(channels.bias, 0)
            ddelta = ddelta * where_above(raw, 20.0, 1.0, sigmoid(raw))
        store(tiles.du, t, dx * step + dy * skip)
        store(tiles.ddelta, t, ddelta)
        if data.z.size:
            z = load(tiles.z, t)
            gate = sigmoid(z)
            store(tiles.dz, t, grad * y * (gate * (1.0 + z * (1.0 - gate))))
        store(sums.skip, 0, load(sums.skip, 0) + dy * u)
        store(sums.bias, 0, load(sums.bias, 0) + ddelta)


@njit
def _forward_block(data: Inputs, place: tuple, first: int, count: int, out: Array, last: Array) -> None:
    length, states, lanes = data.u.shape[2], data.A.shape[1], width(data.u)
    channels, tiles = _read_channels(data, first, count), _tiles(data.u, states)
    h = _lanes(data.u, states)
    for begin in range(0, length, CHUNK):
        steps = min(CHUNK, length - begin)
        _read_tiles(tiles, data, place, first, count, begin, steps)
        _scan(h, data, channels, tiles, steps)
        _write(tiles.out, lanes, out[place[0]], first, count, begin, steps)
    _write(h, lanes, last[place[0]], first, count, 0, states)


@njit
def _backward_block(data: Inputs, grad_out: Array, place: tuple, first: int, count: int, grads: Gradients) -> None:
    i, strip = place[0], place[1]
    length, states, lanes = data.u.shape[2], data.A.shape[1], width(data.u)
    channels, tiles = _read_channels(data, first, count), _tiles(data.u, states)
    chunks = (length + CHUNK - 1) // CHUNK
    h = _lanes(data.u, (CHUNK + 1) * states)
    start = h[: states * lanes]
    kept = np.empty((chunks, start.size), h.dtype)
    for chunk in range(chunks):
        kept[chunk] = start
        begin = chunk * CHUNK
        steps = min(CHUNK, length - begin)
        _read_tiles(tiles, data, place, first, count, begin, steps)
        _scan_states(start, data, channels, tiles, steps)
    sums, g, decay = _channels(data.u, states), _lanes(data.u, states), _lanes(data.u, CHUNK * states)
    for chunk in range(chunks - 1, -1, -1):
        begin = chunk * CHUNK
        steps = min(CHUNK, length - begin)
        start[:] = kept[chunk]
        _read_tiles(tiles, data, place, first, count, begin, steps)
        _read(tiles.grad, lanes, grad_out[i], first, count, begin, steps)
        _read(tiles.db, states, grads.B[i, strip], 0, states, begin, steps)
        _read(tiles.dc, states, grads.C[i, strip], 0, states, begin, steps)
        _keep(decay, h, data, channels, tiles, steps)
        _scan_back(g, decay, h, data, channels, tiles, sums, steps)
        _write(tiles.db, states, grads.B[i, strip], 0, states, begin, steps)
        _write(tiles.dc, states, grads.C[i, strip], 0, states, begin, steps)
        _write(tiles.du, lanes, grads.u[i], first, count, begin, steps)
        _write(tiles.ddelta, lanes, grads.delta[i], first, count, begin, steps)
        if data.z.size:
            _write(tiles.dz, lanes, grads.z[i], first, count, begin, steps)
    _write(sums.a, lanes, grads.A[i], first, count, 0, states)
    _write(sums.weight, lanes, grads.weight[i], first, count, 0, states)
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
