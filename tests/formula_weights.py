"""Weights from a formula, with which the authors' networks were run where their own weights cannot be had."""

import zlib
from math import prod

import numpy as np
import torch


def noise(name, count):
    """The formula's values in [-1, 1] for a tensor's name."""
    mask = np.uint64(2**32 - 1)
    x = (np.arange(count, dtype=np.uint64) * np.uint64(2654435761) + np.uint64(zlib.crc32(name.encode()))) & mask
    for shift, factor in ((16, 2246822519), (13, 3266489917)):
        x = ((x ^ (x >> np.uint64(shift))) * np.uint64(factor)) & mask
    x ^= x >> np.uint64(16)
    return 2 * x.astype(np.float64) / 2**32 - 1


def formula(name, shape, gain, offset):
    """The value that the golden README's formula gives a tensor; TensorFlow's names hold slashes, kernels HWIO."""
    t, leaf, tensorflow = noise(name, prod(shape)), name.rpartition(".")[2], "/" in name
    if not tensorflow and (leaf == "running_var" or (len(shape) == 1 and leaf == "weight")):
        t = 1 + 0.1 * t
    elif leaf in ("bias", "running_mean") or len(shape) <= 1:
        t = 0.1 * t
    elif leaf in ("scale", "temperature"):
        t = 1 + 0.1 * t
    elif leaf in ("relative_position_bias_table", "relative"):
        t = 0.5 * t
    else:
        fan = prod(shape[:-1] if tensorflow else shape[1:])
        t = gain * t * np.sqrt(3 / fan) + offset / fan
    return torch.from_numpy(t.astype(np.float32).reshape(shape))
