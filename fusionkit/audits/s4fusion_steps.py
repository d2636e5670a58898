"""The steps that S4Fusion's fusion modules choose on a whole split, pair by pair, kept as files like measurements.

They are no quality of a fused image, so they have a folder of ``results`` of their own. Besides trained networks there
are untrained ones, ``s4fusion:untrained-<size>-<seed>``. ``python -m fusionkit.audits.s4fusion_steps`` measures all
that is missing or out of date; notebooks read what is on file and measure a few pairs again.
"""

import re
import time
from collections.abc import Sequence
from typing import Any

import pandas as pd

from fusionkit.data import load_pair
from fusionkit.data.pairs import Pair, dataset_hash, present
from fusionkit.data.registry import split_names
from fusionkit.errors import FusionkitError
from fusionkit.files import sha256
from fusionkit.fingerprint import model_hash
from fusionkit.measure import Measurement, agreement, load_measurement, load_method, seeds_of, write_measurement
from fusionkit.models.fresh import fresh_model
from fusionkit.models.s4fusion import S4Fusion, Steps, step_sizes
from fusionkit.profiles import Profile, as_profile
from fusionkit.progress import bar
from fusionkit.provenance import code_version, config_hash, environment
from fusionkit.weights import find_weights, list_weights

COLLECTION = "steps"
DATASET, SPLIT = "msrs", "test"
MAIN, WITHOUT, WITH = "s4fusion:ir_vis", "s4fusion:ir_vis-ablation", "s4fusion:ir_vis-scale1"
SEEDS = range(8)
# An untrained network measures every fifth pair: its steps hardly depend on the image.
EVERY = 5
UNTRAINED = re.compile(r"s4fusion:untrained-(?P<size>\w+)-(?P<seed>\d+)")
CHECKED_PAIRS = 2


def untrained(size: str) -> list[str]:
    """Return the ids of the untrained networks of a size, one per seed."""
    return [f"s4fusion:untrained-{size}-{seed}" for seed in SEEDS]


def trained() -> list[str]:
    """Return the ids of the networks of Table 5 and of the audit, further seeds included, whose weights are here."""
    known = [method for method in (MAIN, WITHOUT, WITH) if method.partition(":")[2] in list_weights("s4fusion")]
    return [each for method in known for each in (method, *seeds_of(method))]


def pair_names(method: str) -> list[str]:
    """Return which pairs of MSRS' test split a network is measured on."""
    names = split_names(DATASET, SPLIT)
    return names[::EVERY] if UNTRAINED.fullmatch(method) else names


def load_network(method: str) -> S4Fusion:
    """Return a trained or an untrained network by its id.

    Raises:
        FusionkitError: Unknown size or weights.
    """
    found = UNTRAINED.fullmatch(method)
    return fresh_model("s4fusion", int(found["seed"]), size=found["size"]) if found else load_method(method)


def pair_steps(model: S4Fusion, pair: Pair) -> dict[str, float]:
    """Return the steps of every block on a pair: ``scale1.block1.raw_infrared`` and so on, fields as in ``Steps``."""
    scales = step_sizes(model, pair.a[None], pair.b[None])
    return {
        f"scale{scale}.block{block}.{name}": value
        for scale, blocks in enumerate(scales, start=1)
        for block, steps in enumerate(blocks, start=1)
        for name, value in zip(Steps._fields, steps, strict=True)
    }


def measure_steps(method: str, names: Sequence[str]) -> pd.DataFrame:
    """Return :func:`pair_steps` of pairs of MSRS' test split, one row each.

    Raises:
        FusionkitError: Unknown network, or the images are not here.
    """
    if not present(DATASET, SPLIT):
        raise FusionkitError(f"{DATASET}/{SPLIT} is not (completely) here; `fusionkit data list` says how to get it")
    model = load_network(method)
    rows = {name: pair_steps(model, load_pair(DATASET, SPLIT, name)) for name in bar(names, method, unit="pair")}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("pair")


def keep_steps(method: str) -> Measurement:
    """Return the steps of a network on MSRS' test split, from their file where nothing changed.

    Raises:
        FusionkitError: As :func:`measure_steps`.
    """
    inputs = _inputs(method)
    kept = load_steps(method)
    if kept and kept.provenance["key"] == config_hash(inputs):
        return kept
    began = time.perf_counter()
    values = measure_steps(method, pair_names(method))
    seconds = round(time.perf_counter() - began, 2)
    provenance = {**inputs, "key": config_hash(inputs), "code": code_version(), "seconds": seconds, **environment()}
    done = Measurement(method, DATASET, SPLIT, values, provenance)
    write_measurement(done, COLLECTION)
    return done


def load_steps(method: str) -> Measurement | None:
    """Return the steps of a network as their file holds them, or None; never computes."""
    return load_measurement(method, DATASET, SPLIT, COLLECTION)


def steps_check(methods: Sequence[str], profile: Profile | str) -> str:
    """Measure a few pairs again and say how far the files are off; under the profile smoke, say that this is left out.

    Args:
        methods: Ids of networks; those that are not on file or whose weights are not here are left out.
        profile: Name of a profile.
    """
    if as_profile(profile) is Profile.SMOKE or not present(DATASET, SPLIT):
        return "The files are taken as they are: nothing is measured again without the images or under smoke."
    names, lines = split_names(DATASET, SPLIT)[: CHECKED_PAIRS * EVERY : EVERY], []
    for method in methods:
        kept = load_steps(method)
        if kept and (UNTRAINED.fullmatch(method) or method in trained()):
            state = "" if kept.provenance["key"] == config_hash(_inputs(method)) else "; its inputs changed since"
            lines.append(f"{method} {agreement(kept.values, measure_steps(method, names)):.0e}{state}")
    return f"Measured again on {len(names)} pairs, largest relative deviation from the file: {', '.join(lines)}."


def steps_provenance(methods: Sequence[str]) -> str:
    """Return the code that runs and, per network on file, the key, the code and the pairs of its steps."""
    lines = [f"fusionkit {code_version()} | steps on {DATASET}/{SPLIT}"]
    for method in methods:
        kept = load_steps(method)
        if kept:
            about = kept.provenance
            lines.append(f"{method}: {len(kept.values)} pairs, key {about['key']}, code {about['code']}")
    return "\n".join(lines)


def _inputs(method: str) -> dict[str, Any]:
    """Return everything that decides the values: names, hashes of weights, images and code."""
    name, _, weights = method.partition(":")
    return {
        "method": method,
        "dataset": DATASET,
        "split": SPLIT,
        "pairs": len(pair_names(method)),
        "quantities": list(Steps._fields),
        "weights_sha256": None if UNTRAINED.fullmatch(method) else sha256(find_weights(name, weights)),
        "data": dataset_hash(DATASET, SPLIT),
        "source": model_hash(name),
    }


if __name__ == "__main__":
    for network in (*trained(), *untrained("base"), *untrained("tiny")):
        print(network, keep_steps(network).provenance["key"], flush=True)
