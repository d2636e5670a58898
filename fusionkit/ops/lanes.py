"""Vectors inside numba kernels: 128 bytes of neighbouring floats as one value, one channel per lane.

Plain loops leave it to the compiler whether they become vector instructions; with values of type ``Lanes`` they
always do, on any processor, since LLVM splits them into whatever registers there are. Everything here but ``cached``
is for kernels: arguments are not checked, and nothing can be called from Python.
"""

import hashlib
import operator
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic, models, overload, register_model

BYTES = 128
SQUARE = 16
# Fusing a product with a sum is the one liberty that the compiler gets: the exponential relies on exact order.
FUSE = ("contract",)
# numba compiles a kernel on disk again when the kernel's own file has changed; this covers what kernels import.
STAMP = hashlib.sha256(
    b"".join(file.read_bytes() for file in sorted(Path(__file__).parent.glob("lane*.py")))
).hexdigest()


def cached(function: Callable) -> Callable:
    """Compile a kernel in parallel, keep the result on disk, and do without where no folder can be written.

    numba takes ``$NUMBA_CACHE_DIR``, or else ``__pycache__``, or else the user's cache folder.
    """
    function.__qualname__ = f"{function.__qualname__}_{STAMP[:8]}"
    options = {"parallel": True, "error_model": "numpy"}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:
        return njit(**options)(function)


class Lanes(types.Type):
    """The numba type of ``BYTES`` bytes of floats."""

    def __init__(self, dtype: types.Float) -> None:
        self.dtype = dtype
        self.count = 8 * BYTES // dtype.bitwidth
        super().__init__(f"Lanes({dtype})")


@njit
def width(array: np.ndarray) -> int:
    """Return how many numbers of an array make one vector."""
    return BYTES // array.itemsize


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Lanes) -> None:
        element = ir.FloatType() if kind.dtype == types.float32 else ir.DoubleType()
        super().__init__(manager, kind, ir.VectorType(element, kind.count))


def _spread(builder: ir.IRBuilder, value: ir.Value, vector: ir.VectorType) -> ir.Value:
    if value.type == vector:
        return value
    nothing = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(nothing, value, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, nothing, ir.Constant(ir.VectorType(ir.IntType(32), vector.count), None))


def _lane_by_lane(arguments: tuple, emit: Callable) -> tuple:
    """Return what an intrinsic returns, for an operation on lanes and on scalars that stand for all lanes."""
    kind = next(argument for argument in arguments if isinstance(argument, Lanes))
    accepted = [argument if argument == kind else kind.dtype for argument in arguments]

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, values: tuple) -> ir.Value:
        vector = context.get_value_type(kind)
        return emit(builder, *(_spread(builder, value, vector) for value in values))

    return kind(*accepted), generate


def _define(symbol: Callable, instruction: str) -> None:
    @intrinsic
    def operation(_context: Any, a: Any, b: Any) -> tuple:
        return _lane_by_lane((a, b), lambda builder, x, y: getattr(builder, instruction)(x, y, flags=FUSE))

    def compute(a: Any, b: Any) -> Any:
        return operation(a, b)

    @overload(symbol)
    def choose(a: Any, b: Any) -> Callable | None:
        return compute if isinstance(a, Lanes) or isinstance(b, Lanes) else None


for _symbol, _instruction in {"add": "fadd", "sub": "fsub", "mul": "fmul", "truediv": "fdiv"}.items():
    _define(getattr(operator, _symbol), _instruction)


@intrinsic
def where_above(_context: Any, x: Any, limit: Any, yes: Any, no: Any) -> tuple:
    """Return ``yes`` in the lanes in which ``x > limit``, elsewhere, so also at NaN, ``no``."""
    return _lane_by_lane(
        (x, limit, yes, no),
        lambda builder, x, limit, yes, no: builder.select(builder.fcmp_ordered(">", x, limit), yes, no),
    )


@intrinsic
def power_of_two(_context: Any, biased: Any) -> tuple:
    """Return 2^k from numbers whose lowest bits hold k plus the exponent's bias."""
    bits, mantissa = biased.dtype.bitwidth, {32: 23, 64: 52}[biased.dtype.bitwidth]
    integers = ir.VectorType(ir.IntType(bits), biased.count)

    def emit(builder: ir.IRBuilder, x: ir.Value) -> ir.Value:
        shift = ir.Constant(integers, [mantissa] * biased.count)
        return builder.bitcast(builder.shl(builder.bitcast(x, integers), shift), x.type)

    return _lane_by_lane((biased,), emit)


@intrinsic
def total(_context: Any, x: Any) -> tuple:
    """Return the sum over lanes, in an order that is fixed when the kernel is compiled."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, values: tuple) -> ir.Value:
        vector = values[0].type
        name = f"llvm.vector.reduce.fadd.v{x.count}f{x.dtype.bitwidth}"
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(vector.element, [vector.element, vector]), name
        )
        return builder.call(function, [ir.Constant(vector.element, -0.0), values[0]], fastmath=("reassoc",))

    return x.dtype(x), generate


@intrinsic
def spread(_context: Any, array: Any, x: Any) -> tuple:
    """Return the number ``x`` in every lane, in the precision of ``array``."""
    kind = Lanes(array.dtype)

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, values: tuple) -> ir.Value:
        return _spread(builder, values[1], context.get_value_type(kind))

    return kind(array, array.dtype), generate


def _place(context: Any, builder: ir.IRBuilder, kind: Lanes, signature: Any, values: tuple) -> ir.Value:
    array = context.make_array(signature.args[0])(context, builder, values[0])
    start = builder.mul(values[1], ir.Constant(values[1].type, kind.count))
    pointer = builder.gep(array.data, [start], inbounds=True)
    return builder.bitcast(pointer, context.get_value_type(kind).as_pointer())


@intrinsic
def load(_context: Any, array: Any, k: Any) -> tuple:
    """Read the k-th group of lanes of a contiguous array."""
    kind = Lanes(array.dtype)

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, values: tuple) -> ir.Value:
        return builder.load(_place(context, builder, kind, signature, values), align=kind.dtype.bitwidth // 8)

    return kind(array, types.intp), generate


@intrinsic
def store(_context: Any, array: Any, k: Any, x: Any) -> tuple:
    """Write the k-th group of lanes of a contiguous array."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, values: tuple) -> ir.Value:
        builder.store(values[2], _place(context, builder, x, signature, values), align=x.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, x), generate


@intrinsic
def transpose(
    _context: Any, source: Any, start: Any, stride: Any, target: Any, target_start: Any, target_stride: Any
) -> tuple:
    """Copy ``SQUARE`` rows of ``SQUARE`` neighbouring numbers each as columns, by halves that change places.

    Rows begin at ``start``, ``start + stride`` and so on, counted in elements of a contiguous array.
    """

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, values: tuple) -> ir.Value:
        kind = context.get_data_type(source.dtype)
        vector, align = ir.VectorType(kind, SQUARE), source.dtype.bitwidth // 8

        def row(which: int, i: int) -> ir.Value:
            array = context.make_array(signature.args[which])(context, builder, values[which])
            offset = builder.mul(values[which + 2], ir.Constant(values[which + 2].type, i))
            place = builder.gep(array.data, [builder.add(values[which + 1], offset)], inbounds=True)
            return builder.bitcast(place, vector.as_pointer())

        rows = [builder.load(row(0, i), align=align) for i in range(SQUARE)]
        indices = ir.VectorType(ir.IntType(32), SQUARE)
        for half in (8, 4, 2, 1):
            upper = ir.Constant(indices, [j + SQUARE - half if j & half else j for j in range(SQUARE)])
            lower = ir.Constant(indices, [j + SQUARE if j & half else j + half for j in range(SQUARE)])
            for i in range(SQUARE):
                if not i & half:
                    a, b = rows[i], rows[i + half]
                    rows[i] = builder.shuffle_vector(a, b, upper)
                    rows[i + half] = builder.shuffle_vector(a, b, lower)
        for i in range(SQUARE):
            builder.store(rows[i], row(3, i), align=align)
        return context.get_dummy_value()

    return types.void(source, types.intp, types.intp, target, types.intp, types.intp), generate
