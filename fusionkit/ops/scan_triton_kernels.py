"""Triton kernels of the selective scan: time in sequence, states and channels in parallel.

A program owns one segment of the sequence for a block of channels of one batch item; ``scan_triton`` says how
segments are joined. ``K`` steps are loaded at once and unrolled, so that all of them stay in registers.

Letters::

    b d n t          batch item, channels of the block, states, time steps
    dt               delta with its bias and softplus; 0 outside the sequence, where the state then stays as it is
    a = exp(dt A)    decay of one step
    x = dt u         input of one step
    h = a h + B x    state; y = D u + sum over n of C h
    out = y silu(z)  and with the gradient go of out: gy = go silu(z), the gradient of y
    g = C gy + r     gradient of h; r = a g of the step after, the gradient that reaches h through it

Tiles are (n, d), (d, K) or (n, K). A tuple of K tiles holds one tile per step. REAL is the type computed in.
"""
# In a kernel an annotation is an instruction to Triton, so only compile-time constants have one.
# ruff: noqa: ANN001, ANN201, ANN202

import triton
import triton.language as tl

K = tl.constexpr(8)  # _split and _join are written for it
LOG2E = tl.constexpr(1.4426950408889634)  # exp(v) is computed as exp2(v LOG2E), one instruction less


@triton.jit
def _split4(x):
    x02, x13 = tl.split(tl.reshape(x, (x.shape[0], 2, 2)))
    x0, x2 = tl.split(x02)
    x1, x3 = tl.split(x13)
    return x0, x1, x2, x3


@triton.jit
def _split(x):
    """Return the K columns of a (rows, K) tile."""
    even, odd = tl.split(tl.reshape(x, (x.shape[0], 4, 2)))
    x0, x2, x4, x6 = _split4(even)
    x1, x3, x5, x7 = _split4(odd)
    return x0, x1, x2, x3, x4, x5, x6, x7


@triton.jit
def _join(x):
    """Return the (rows, K) tile that has these K columns."""
    even = tl.join(tl.join(x[0], x[4]), tl.join(x[2], x[6]))
    odd = tl.join(tl.join(x[1], x[5]), tl.join(x[3], x[7]))
    return tl.reshape(tl.join(even, odd), (x[0].shape[0], 8))


@triton.jit
def _load(x, at, inside, REAL: tl.constexpr):
    return tl.load(x + at, inside, 0).to(REAL)


@triton.jit
def _softplus(x):
    """Return log(1 + exp(x)), and x above 20. The quotient undoes the rounding of 1 + exp(x)."""
    e = tl.exp2(tl.minimum(x, 20.0) * LOG2E)
    rounded = (1 + e) - 1
    log = tl.log(1 + e) * (e / tl.where(rounded == 0, 1, rounded))
    return tl.where(x > 20, x, tl.where(rounded == 0, e, log))


@triton.jit
def _block(
    A, B, C, b, channels, states, length, groups_b, groups_c, run,
    B_VARIES: tl.constexpr, C_VARIES: tl.constexpr, REAL: tl.constexpr, N: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Return where this program's channels lie, and their A, B and C as far as time plays no part in them.

    ``run`` neighbouring channels share one B and one C; a block never crosses the end of a run.

    Returns:
        Channels (d) and which of them exist; places in an (d, n) array and which of them exist, both (n, d); which
        states exist (n); A for exp2 (n, d); and for B and C each: where the rows of the block's group begin (n, 1),
        and the tile (n, d) if constant over time, else the pointer that came in.
    """
    blocks = tl.cdiv(run, BLOCK)
    start = tl.program_id(1) // blocks * run
    first = start + tl.program_id(1) % blocks * BLOCK
    d = first + tl.arange(0, BLOCK)
    n = tl.arange(0, N)
    d_in, n_in = d < start + run, n < states
    nd, nd_in = d[None] * states + n[:, None], n_in[:, None] & d_in[None]
    rows_b = ((b * groups_b + first * groups_b // channels) * states + n)[:, None] * length
    rows_c = ((b * groups_c + first * groups_c // channels) * states + n)[:, None] * length
    if not B_VARIES:
        B = _load(B, nd, nd_in, REAL)
    if not C_VARIES:
        C = _load(C, nd, nd_in, REAL)
    return d, d_in, nd, nd_in, n_in, _load(A, nd, nd_in, REAL) * LOG2E, rows_b, B, rows_c, C


@triton.jit
def _vector(v, d, d_in, REAL: tl.constexpr):
    """Return D or the bias of the block's channels (d, 1), None where there is none."""
    if v is None:
        return None
    else:
        return _load(v, d, d_in, REAL)[:, None]


@triton.jit
def _steps(u, delta, bias, at, inside, SOFTPLUS: tl.constexpr, REAL: tl.constexpr):
    """Return u, delta with its bias, and dt, all (d, K)."""
    raw = _load(delta, at, inside, REAL)
    if bias is not None:
        raw += bias
    dt = _softplus(raw) if SOFTPLUS else raw
    return _load(u, at, inside, REAL), raw, tl.where(inside, dt, 0)


@triton.jit
def _weights(W, at, inside, VARIES: tl.constexpr, REAL: tl.constexpr):
    """Return B or C of K steps: (n, 1) tiles, or ``W``, the (n, d) tile of all steps, where it is constant."""
    tiles = ()
    if VARIES:
        columns = _split(_load(W, at, inside, REAL))
        for k in tl.static_range(K):
            tiles = tiles + (columns[k][:, None],)
    else:
        for _ in tl.static_range(K):
            tiles = tiles + (W,)
    return tiles


@triton.jit
def segment_ends(
    u, delta, A, B, C, z, bias, go, decays, ends, returns, checkpoints, elapsed,
    channels, states, length, steps, groups_b, groups_c, run,
    SOFTPLUS: tl.constexpr, B_VARIES: tl.constexpr, C_VARIES: tl.constexpr,
    REAL: tl.constexpr, N: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Write what each segment does to a state that passes it: its decay, and its end state from a zero start.

    With ``go`` also ``returns``, the gradient a segment sends to the state before it, and before every K steps
    the state from the zero start and the time elapsed since it.
    """
    s, b = tl.program_id(0), tl.program_id(2).to(tl.int64)
    d, d_in, nd, nd_in, n_in, rate, rows_b, B, rows_c, C = _block(
        A, B, C, b, channels, states, length, groups_b, groups_c, run, B_VARIES, C_VARIES, REAL, N, BLOCK
    )
    bias = _vector(bias, d, d_in, REAL)
    h = tl.zeros((N, BLOCK), REAL)
    time = tl.zeros((BLOCK,), REAL)
    decay = h + 1
    r = h
    for i in tl.range(0, tl.cdiv(tl.minimum(steps, length - s * steps), K), num_stages=2):
        t = s * steps + i * K + tl.arange(0, K)[None]
        at = (b * channels + d)[:, None] * length + t
        inside, nt_in = d_in[:, None] & (t < length), n_in[:, None] & (t < length)
        ut, _, dt = _steps(u, delta, bias, at, inside, SOFTPLUS, REAL)
        xs = _split(dt * ut)
        dts = _split(dt)
        Bs = _weights(B, rows_b + t, nt_in, B_VARIES, REAL)
        if go is not None:
            gy = _load(go, at, inside, REAL)
            if z is not None:
                zt = _load(z, at, inside, REAL)
                gy *= zt * tl.sigmoid(zt)
            gys = _split(gy)
            Cs = _weights(C, rows_c + t, nt_in, C_VARIES, REAL)
            point = ((b * tl.num_programs(0) + s) * (steps // K) + i) * channels
            tl.store(checkpoints + point * states + nd, h, nd_in)
            tl.store(elapsed + point + d, time, d_in)
        for k in tl.static_range(K):
            a = tl.exp2(dts[k][None] * rate)
            h = a * h + xs[k][None] * Bs[k]
            if go is not None:
                decay *= a
                r += decay * (Cs[k] * gys[k][None])
        time += tl.sum(dt, 1)
    at_end = (b * tl.num_programs(0) + s) * channels * states + nd
    tl.store(decays + at_end, tl.exp2(time[None] * rate), nd_in)
    tl.store(ends + at_end, h, nd_in)
    if go is not None:
        tl.store(returns + at_end, r, nd_in)


@triton.jit
def _then(a1, x1, a2, x2):
    return a2 * a1, a2 * x1 + x2


@triton.jit
def join_segments(decays, ends, returns, width, segments, SEGMENTS: tl.constexpr, COLUMNS: tl.constexpr):
    """Turn ``ends`` and ``returns`` (b, segment, d n) from a zero start into the true ones, in place."""
    j = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)[None]
    s = tl.arange(0, SEGMENTS)[:, None]
    at = (tl.program_id(1).to(tl.int64) * segments + s) * width + j
    inside = (s < segments) & (j < width)
    decay = tl.load(decays + at, inside, 1)
    _, h = tl.associative_scan((decay, tl.load(ends + at, inside, 0)), 0, _then)
    tl.store(ends + at, h, inside)
    if returns is not None:
        _, r = tl.associative_scan((decay, tl.load(returns + at, inside, 0)), 0, _then, reverse=True)
        tl.store(returns + at, r, inside)


@triton.jit
def outputs(
    u, delta, A, B, C, D, z, bias, ends, out, last,
    channels, states, length, steps, groups_b, groups_c, run,
    SOFTPLUS: tl.constexpr, B_VARIES: tl.constexpr, C_VARIES: tl.constexpr,
    REAL: tl.constexpr, N: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Write ``out`` of each segment, and the state after the last one."""
    s, b = tl.program_id(0), tl.program_id(2).to(tl.int64)
    d, d_in, nd, nd_in, n_in, rate, rows_b, B, rows_c, C = _block(
        A, B, C, b, channels, states, length, groups_b, groups_c, run, B_VARIES, C_VARIES, REAL, N, BLOCK
    )
    bias = _vector(bias, d, d_in, REAL)
    D = _vector(D, d, d_in, REAL)
    h = tl.zeros((N, BLOCK), REAL)
    if ends is not None:  # noqa: SIM102 - settled when the kernel is compiled, unlike the next
        if s > 0:
            h = tl.load(ends + (b * tl.num_programs(0) + s - 1) * channels * states + nd, nd_in, 0)
    for i in tl.range(0, tl.cdiv(tl.minimum(steps, length - s * steps), K), num_stages=2):
        t = s * steps + i * K + tl.arange(0, K)[None]
        at = (b * channels + d)[:, None] * length + t
        inside, nt_in = d_in[:, None] & (t < length), n_in[:, None] & (t < length)
        ut, raw, dt = _steps(u, delta, bias, at, inside, SOFTPLUS, REAL)
        xs = _split(dt * ut)
        dts = _split(dt)
        Bs = _weights(B, rows_b + t, nt_in, B_VARIES, REAL)
        Cs = _weights(C, rows_c + t, nt_in, C_VARIES, REAL)
        ys = ()
        for k in tl.static_range(K):
            h = tl.exp2(dts[k][None] * rate) * h + xs[k][None] * Bs[k]
            ys = ys + (tl.sum(Cs[k] * h, 0),)
        y = _join(ys)
        if D is not None:
            y += D * ut
        if z is not None:
            zt = _load(z, at, inside, REAL)
            y *= zt * tl.sigmoid(zt)
        tl.store(out + at, y, inside)
    if s == tl.num_programs(0) - 1:
        tl.store(last + b * channels * states + nd, h, nd_in)


@triton.jit
def gradients(
    u, delta, A, B, C, D, z, bias, go, ends, returns, checkpoints, elapsed, du, ddelta, dA, dB, dC, dD, dz, dbias,
    channels, states, length, steps, groups_b, groups_c, run,
    SOFTPLUS: tl.constexpr, B_VARIES: tl.constexpr, C_VARIES: tl.constexpr,
    REAL: tl.constexpr, N: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Write all gradients, K steps at a time from the last to the first.

    ``du``, ``ddelta`` and ``dz`` are complete. ``dB`` and ``dC`` that vary are sums over the block's channels,
    (b, block, n, t); everything else is a sum over the segment's steps, (b, segment, d) or (b, segment, d, n).
    """
    s, b = tl.program_id(0), tl.program_id(2).to(tl.int64)
    d, d_in, nd, nd_in, n_in, rate, rows_b, B, rows_c, C = _block(
        A, B, C, b, channels, states, length, groups_b, groups_c, run, B_VARIES, C_VARIES, REAL, N, BLOCK
    )
    bias = _vector(bias, d, d_in, REAL)
    D = _vector(D, d, d_in, REAL)
    rows = ((b * tl.num_programs(1) + tl.program_id(1)) * states + tl.arange(0, N))[:, None] * length
    segment = b * tl.num_programs(0) + s
    start = tl.zeros((N, BLOCK), REAL)
    r = start
    if s > 0:
        start = tl.load(ends + (segment - 1) * channels * states + nd, nd_in, 0)
    if s < tl.num_programs(0) - 1:
        r = tl.load(returns + (segment + 1) * channels * states + nd, nd_in, 0)
    sum_a = tl.zeros((N, BLOCK), REAL)
    sum_b = sum_a
    sum_c = sum_a
    sum_skip = tl.zeros((BLOCK,), REAL)
    sum_bias = sum_skip
    count = tl.cdiv(tl.minimum(steps, length - s * steps), K)
    for i in tl.range(0, count, num_stages=2):
        chunk = count - 1 - i
        t = s * steps + chunk * K + tl.arange(0, K)[None]
        at = (b * channels + d)[:, None] * length + t
        inside, nt_in = d_in[:, None] & (t < length), n_in[:, None] & (t < length)
        ut, raw, dt = _steps(u, delta, bias, at, inside, SOFTPLUS, REAL)
        gt = _load(go, at, inside, REAL)
        gy = gt
        if z is not None:
            zt = _load(z, at, inside, REAL)
            sigmoid = tl.sigmoid(zt)
            gy = gt * zt * sigmoid
        xs = _split(dt * ut)
        dts = _split(dt)
        gys = _split(gy)
        Bs = _weights(B, rows_b + t, nt_in, B_VARIES, REAL)
        Cs = _weights(C, rows_c + t, nt_in, C_VARIES, REAL)

        point = (segment * (steps // K) + chunk) * channels
        time = tl.load(elapsed + point + d, d_in, 0)
        h = tl.load(checkpoints + point * states + nd, nd_in, 0) + tl.exp2(time[None] * rate) * start
        before = ()
        decays = ()
        ys = ()
        g_cs = ()
        for k in tl.static_range(K):
            before = before + (h,)
            a = tl.exp2(dts[k][None] * rate)
            h = a * h + xs[k][None] * Bs[k]
            decays = decays + (a,)
            g_c = h * gys[k][None]
            if C_VARIES:
                g_cs = g_cs + (tl.sum(g_c, 1),)
            else:
                sum_c += g_c
            if z is not None:
                ys = ys + (tl.sum(Cs[k] * h, 0),)
        if C_VARIES:
            tl.store(dC + rows + t, _join(g_cs), nt_in)
        if z is not None:
            y = _join(ys)
            if D is not None:
                y += D * ut
            tl.store(dz + at, gt * y * sigmoid * (1 + zt * (1 - sigmoid)), inside)

        g_inputs = ()
        g_times = ()
        g_bs = ()
        for k in tl.static_range(K - 1, -1, -1):
            g = Cs[k] * gys[k][None] + r
            r = decays[k] * g
            through = before[k] * r
            sum_a += through * dts[k][None]
            g_inputs = (tl.sum(g * Bs[k], 0),) + g_inputs
            g_times = (tl.sum(through * rate, 0),) + g_times
            g_b = g * xs[k][None]
            if B_VARIES:
                g_bs = (tl.sum(g_b, 1),) + g_bs
            else:
                sum_b += g_b
        if B_VARIES:
            tl.store(dB + rows + t, _join(g_bs), nt_in)

        g_x = _join(g_inputs)
        g_u = dt * g_x
        g_delta = ut * g_x + _join(g_times) / LOG2E
        if SOFTPLUS:
            g_delta *= tl.where(raw > 20, 1, tl.sigmoid(raw))
        if D is not None:
            g_u += D * gy
            sum_skip += tl.sum(gy * ut, 1)
        if bias is not None:
            sum_bias += tl.sum(g_delta, 1)
        tl.store(du + at, g_u, inside)
        tl.store(ddelta + at, g_delta, inside)
    at_d = segment * channels + d
    at_nd = segment * channels * states + nd
    tl.store(dA + at_nd, sum_a, nd_in)
    if not B_VARIES:
        tl.store(dB + at_nd, sum_b, nd_in)
    if not C_VARIES:
        tl.store(dC + at_nd, sum_c, nd_in)
    if D is not None:
        tl.store(dD + at_d, sum_skip, d_in)
    if bias is not None:
        tl.store(dbias + at_d, sum_bias, d_in)
