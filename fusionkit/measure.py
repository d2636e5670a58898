"""Per-image measurements of a method on a split, kept as files and made anew only when an input changed.

A *method id* is ``<model>`` or ``<model>:<weights>``; a baseline's bare name means the first of its authors' weights.
``published:<folder>`` means fused images that were released (``fusionkit.data.published``).
One measurement is one method on one split: a CSV with a row per pair and a column per quantity, and a JSON beside it
that says where the numbers come from. Quantities are ``<metric>@<convention>``, as far as a table on this dataset asks
for them, and ``loss:<preset>:<term>``. A convention that ends in ``+stretch`` is applied to the fused image after its
values were stretched to 0..1, as some authors do when they save images.
"""

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from fusionkit import losses, metrics, paths
from fusionkit.data.pairs import Pair, dataset_hash, load_pair, present
from fusionkit.data.published import (
    is_published,
    published_hash,
    published_here,
    published_image,
    published_origin,
)
from fusionkit.data.registry import get_dataset, split_names
from fusionkit.errors import FusionkitError
from fusionkit.files import write_json, write_text
from fusionkit.fingerprint import loss_hash, metrics_hash, model_hash
from fusionkit.models import MODELS, build_model, model_entry
from fusionkit.papers import Besides, Panel, get_panel, list_papers, load_paper
from fusionkit.progress import bar
from fusionkit.provenance import code_version, config_hash, environment
from fusionkit.released import is_absent, list_released
from fusionkit.weights import list_weights, load_model, weights_hash

DIGITS = 12
CONTEXT = ("average", "maximum")
STRETCH = "+stretch"


@dataclass(frozen=True)
class Measurement:
    """What one method scores on each pair of a split.

    Attributes:
        method: Method id.
        dataset: Dataset name.
        split: Split name.
        values: Indexed by pair name, one column per quantity, float64.
        provenance: Code version, hashes of weights and images, environment, duration; of released images their origin.
    """

    method: str
    dataset: str
    split: str
    values: pd.DataFrame
    provenance: dict[str, Any]


def load_method(method: str) -> nn.Module:
    """Return the model of a method id, ready to fuse.

    Raises:
        FusionkitError: Unknown model or weights, or a trained model without weights.
    """
    name, weights = method_parts(method)
    if weights:
        return load_model(name, weights)
    if model_entry(name).trained:
        known = ", ".join(f"{name}:{w}" for w in list_weights(name)) or "none yet"
        raise FusionkitError(f"method {method!r} needs trained weights; available: {known}")
    return build_model(name)


def fuser(method: str) -> Callable[[Pair], Tensor]:
    """Return what gives a method's fused image (1, 1, H, W) of a pair; call it without gradients.

    Raises:
        FusionkitError: Unknown model or weights, or a trained model without weights.
    """
    if is_published(method):
        return partial(published_image, method)
    model = load_method(method)
    return lambda pair: model(pair.a[None], pair.b[None])


def is_here(method: str, dataset: str = "") -> bool:
    """Return whether a method can be used here: its model is registered and its weights, if any, are present.

    Args:
        method: Method id.
        dataset: Dataset whose pairs are to be fused; only of released images it matters.
    """
    if is_published(method):
        return published_here(method, dataset)
    if method.partition(":")[0] not in MODELS or awaits_weights(method):
        return False
    name, weights = method_parts(method)
    return weights in {*list_weights(name), *list_released(name)} if weights else not MODELS[name].trained


def awaits_weights(method: str) -> bool:
    """Return whether a method is a baseline whose authors' weights are not here."""
    return method.partition(":")[0] in MODELS and is_absent(*method_parts(method))


def method_parts(method: str) -> tuple[str, str]:
    """Return the model and the weights of a method id; a baseline's bare name means its first release."""
    name, _, weights = method.partition(":")
    return name, weights or next(iter(list_released(name)), "")


def quantities(dataset: str, method: str = "") -> list[tuple[str, str]]:
    """Return the (metric, convention) pairs that the papers' tables on a dataset ask for.

    A phantom dataset stands in for the real one of its task and gets the same quantities.

    Args:
        dataset: Dataset name.
        method: Method id; what a paper's record asks for of this method alone is added.
    """
    panels = [panel for paper in list_papers() for panel in load_paper(paper).panels]
    asked = [panel for panel in panels if panel.dataset and _same_task(panel.dataset, dataset)]
    asked += [get_panel(f"{paper}/{extra.like}") for paper, extra in _besides(dataset) if _asks(extra, method)]
    columns = [column for panel in asked for column in panel.columns.values()]
    readings = [reading for column in columns for reading in (column, *column.also) if reading.metric]
    wanted = {(reading.metric, reading.convention) for reading in readings}
    return sorted(pair for pair in wanted if (pair[0], pair[1].removesuffix(STRETCH)) in _available())


def measure(method: str, dataset: str, split: str, force: bool = False) -> Measurement:
    """Return the measurement of a method on a split, from its file where nothing changed.

    Args:
        method: Method id.
        dataset: Dataset name.
        split: Split name.
        force: Measure again in any case.

    Raises:
        FusionkitError: Unknown names, missing weights or images.
    """
    kept = load_measurement(method, dataset, split)
    if kept and not force and kept.provenance["key"] == config_hash(_inputs(method, dataset, split)):
        return kept
    done = compute(method, dataset, split)
    write_measurement(done)
    return done


def write_measurement(done: Measurement, collection: str = "measured") -> None:
    """Write a measurement to its files: values as CSV, provenance as JSON beside it.

    Args:
        done: The measurement.
        collection: Folder of ``results`` that it belongs to.
    """
    path = _file(done.method, done.dataset, done.split, collection)
    write_json(path.with_suffix(".json"), done.provenance)
    write_text(path, done.values.to_csv(float_format=f"%.{DIGITS}g", lineterminator="\n"))


def load_measurement(method: str, dataset: str, split: str, collection: str = "measured") -> Measurement | None:
    """Return a measurement as its file in a folder of ``results`` holds it, or None; never computes."""
    path = _file(method, dataset, split, collection)
    if not path.is_file() or not path.with_suffix(".json").is_file():
        return None
    values = pd.read_csv(path, dtype={"pair": str}).set_index("pair").astype(float)
    return Measurement(method, dataset, split, values, json.loads(path.with_suffix(".json").read_text()))


def list_measurements(collection: str = "measured") -> list[tuple[str, str, str]]:
    """Return (method, dataset, split) of all measurements on file in a folder of ``results``."""
    folder = paths.results_dir() / collection
    return [
        (file.stem.replace("--", ":", 1), file.parent.parent.name, file.parent.name)
        for file in sorted(folder.glob("*/*/*.csv"))
    ]


def compute(method: str, dataset: str, split: str, names: list[str] | None = None) -> Measurement:
    """Measure a method on the pairs of a split, without looking at files of results.

    Args:
        method: Method id.
        dataset: Dataset name.
        split: Split name.
        names: Some of the split's pairs; None takes all.

    Raises:
        FusionkitError: Unknown names, missing weights or images.
    """
    fuse = fuser(method)
    if not present(dataset, split):
        raise FusionkitError(f"{dataset}/{split} is not (completely) here; `fusionkit data list` says how to get it")
    inputs = _inputs(method, dataset, split)
    started = time.perf_counter()
    rows = {
        name: measure_pair(fuse, load_pair(dataset, split, name), method)
        for name in bar(names or split_names(dataset, split), f"{method} on {dataset}/{split}", unit="pair")
    }
    values = pd.DataFrame.from_dict(rows, orient="index").rename_axis("pair")
    provenance = {
        **inputs,
        "key": config_hash(inputs),
        **({"origin": published_origin(method, dataset)} if is_published(method) else {}),
        "code": code_version(),
        "seconds": round(time.perf_counter() - started, 2),
        **environment(),
    }
    return Measurement(method, dataset, split, values, provenance)


@torch.inference_mode()
def measure_pair(fuse: Callable[[Pair], Tensor], pair: Pair, method: str = "") -> dict[str, float]:
    """Return all quantities of one pair: losses of the float image, metrics of the image rounded to 8 bits.

    Args:
        fuse: Makes the fused image, (1, 1, H, W), of a pair.
        pair: The pair.
        method: Method id, where more is asked for of some methods than of others.
    """
    a, b, fused = pair.a[None], pair.b[None], fuse(pair)
    values: dict[str, float] = {}
    wanted = quantities(pair.dataset, method)
    for convention in sorted({convention for _, convention in wanted}):
        names = [metric for metric, c in wanted if c == convention]
        image = stretch(fused.clamp(0, 1)) if convention.endswith(STRETCH) else fused.clamp(0, 1)
        found = metrics.evaluate(image, a, b, names, convention.removesuffix(STRETCH))
        values |= {f"{name}@{convention}": float(found[name]) for name in names}
    for preset in _loss_presets(pair.dataset, method):
        terms = losses.preset(preset)(fused, a, b)
        values |= {f"loss:{preset}:{term}": float(value) for term, value in terms.items()}
    return values


def stretch(image: Tensor) -> Tensor:
    """Stretch the values of each image (B, 1, H, W) linearly to 0..1; a constant image stays what it is."""
    low, high = (pick(image, dim=(1, 2, 3), keepdim=True) for pick in (torch.amin, torch.amax))
    return torch.where(high > low, (image - low) / (high - low), image)


def panel_methods(panel: Panel) -> list[str]:
    """Return the method ids whose measurements a panel shows.

    These are the methods of its rows (both readings where there are two) that can be loaded here or are on file,
    further seeds of them that are trained, the trivial rules, and the floor of the paper's loss.
    """
    rows = [method for row in panel.rows.values() for method in (row.method, row.relabelled) if method]
    where = (str(panel.dataset), str(panel.split), "measured")
    found = [method for method in rows if is_here(method, where[0]) or _file(method, *where).is_file()]
    seeds = [method for base in found for method in seeds_of(base)]
    oracle = f"oracle_{panel.paper}"
    return list(dict.fromkeys([*found, *seeds, *CONTEXT, *([oracle] if oracle in MODELS else [])]))


def measurable_panels(names: Iterable[str] | None = None) -> list[Panel]:
    """Return the panels (``paper/panel``; None for all) that compare fused images on a registered dataset.

    Raises:
        FusionkitError: A panel is not known.
    """
    if names is None:
        panels = [panel for paper in list_papers() for panel in load_paper(paper).panels]
    else:
        panels = [get_panel(name) for name in names]
    return [p for p in panels if p.dataset and any(c.metric for c in p.columns.values())]


def standing_jobs() -> list[tuple[str, str, str]]:
    """Return what is measured by default, as (method, dataset, split) without repetitions.

    That is every method of every panel, every trained network on the split ``test`` of its training datasets, and what
    a paper's record asks for besides, all with their further seeds, as far as weights are here.
    """
    jobs = [(m, p.dataset, p.split) for p in measurable_panels() for m in panel_methods(p) if is_here(m, p.dataset)]
    for model in MODELS:
        for name, path in list_weights(model).items():
            card = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
            datasets = [item.partition("/")[0] for item in card["recipe"]["data"]]
            jobs += [
                (f"{model}:{name}", dataset, "test") for dataset in datasets if "test" in get_dataset(dataset).splits
            ]
    besides = [extra for paper in list_papers() for extra in load_paper(paper).besides]
    wanted = [(m, extra) for extra in besides for method in extra.methods for m in (method, *seeds_of(method))]
    jobs += [(m, extra.dataset, extra.split) for m, extra in wanted if is_here(m, extra.dataset)]
    return list(dict.fromkeys(jobs))


def _same_task(first: str, second: str) -> bool:
    if first == second:
        return True
    try:
        one, two = get_dataset(first), get_dataset(second)
    except FusionkitError:
        return False
    return two.procedural and one.task == two.task


def _loss_presets(dataset: str, method: str) -> list[str]:
    """Return the losses of interest on a dataset: of the papers with a table on it, or that name it besides."""
    naming = [paper for paper, extra in _besides(dataset) if not extra.like or _asks(extra, method)]
    used = [
        paper
        for paper in list_papers()
        if any(panel.dataset and _same_task(panel.dataset, dataset) for panel in load_paper(paper).panels)
        or paper in naming
    ]
    return [losses.measured_preset(paper) for paper in used if paper in losses.PRESETS]


def _besides(dataset: str) -> list[tuple[str, Besides]]:
    """Return what papers ask for on a dataset besides their tables, with the paper's id."""
    found = [(paper, extra) for paper in list_papers() for extra in load_paper(paper).besides]
    return [(paper, extra) for paper, extra in found if extra.dataset == dataset]


def _asks(extra: Besides, method: str) -> bool:
    """Return whether a record asks for a panel's columns of this method, which may be a further seed."""
    return bool(extra.like) and method.partition("-seed")[0] in extra.methods


def seeds_of(method: str) -> list[str]:
    """Return the method ids of further training seeds of a method that are on file."""
    name, _, weights = method.partition(":")
    return [f"{name}:{w}" for w in list_weights(name) if w.startswith(f"{weights}-seed")]


def identify(method: str, dataset: str) -> tuple[str | None, str]:
    """Return the hash of a method's weights or released images, None if it has neither, and that of its code.

    Raises:
        FusionkitError: Unknown model or weights, or no released images of that name.
    """
    if is_published(method):
        return published_hash(method, dataset), metrics_hash()
    name, weights = method_parts(method)
    return weights_hash(name, weights), model_hash(name)


def _inputs(method: str, dataset: str, split: str) -> dict[str, Any]:
    """Return everything that decides the values: names, hashes of weights, images and code."""
    origin, source = identify(method, dataset)
    return {
        "method": method,
        "dataset": dataset,
        "split": split,
        "quantities": [f"{metric}@{convention}" for metric, convention in quantities(dataset, method)],
        "losses": {preset: loss_hash(preset) for preset in _loss_presets(dataset, method)},
        "images" if is_published(method) else "weights_sha256": origin,
        "data": dataset_hash(dataset, split),
        "source": source,
    }


def _file(method: str, dataset: str, split: str, collection: str) -> Path:
    return paths.results_dir() / collection / dataset / split / f"{method.replace(':', '--')}.csv"


@cache
def _available() -> frozenset[tuple[str, str]]:
    return frozenset((row["metric"], row["convention"]) for row in metrics.list())


def agreement(kept: pd.DataFrame, fresh: pd.DataFrame) -> float:
    """Return the largest deviation between two measurements, relative to the spread of each quantity.

    Args:
        kept: Values on file.
        fresh: Values of the same pairs and quantities, computed again.
    """
    shared = kept.loc[fresh.index, fresh.columns]
    scale = np.maximum(shared.abs().mean(), 1e-6)
    deviation = ((fresh - shared).abs() / scale).to_numpy()
    both_nan = (fresh.isna() & shared.isna()).to_numpy()
    deviation = np.where(both_nan, 0.0, deviation)
    return float("inf") if np.isnan(deviation).any() else float(deviation.max(initial=0.0))
