"""The layer that was never trained: CMSA 1 of S4Fusion by its gradient, by its statistic, and by training with it."""

import copy
import json
from collections.abc import Iterable, Mapping, Sequence

import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from fusionkit.audits.s4fusion_steps import SEEDS, WITH, WITHOUT, load_steps, pair_steps
from fusionkit.audits.s4fusion_table5 import SUM, layer_statistics, printed, untrained_table
from fusionkit.data import Pair
from fusionkit.figures.s4fusion_anatomy_network import Part, network_parts
from fusionkit.figures.style import RED, SKY, new_figure, styled
from fusionkit.losses import measured_preset, preset
from fusionkit.measure import load_method
from fusionkit.models.fresh import fresh_model
from fusionkit.models.s4fusion import S4Fusion
from fusionkit.models.s4fusion.patches import pad_to_legal
from fusionkit.weights import list_weights

LAYER = "CMSA 1"
TRAININGS = {"as released": WITHOUT, "with scale 1": WITH}


def gradient_table(model: S4Fusion, pair: Pair) -> pd.DataFrame:
    """Return what reaches each part of a network when the loss of a pair is run backwards.

    The image is taken before it is limited to [0, 1], so that no pixel hides its gradient.

    Args:
        model: A network, trained or not.
        pair: A loaded pair.

    Returns:
        Per part: ``parameters``, norm of the ``gradient`` over them, and the share ``without``, whose gradient is
        exactly 0.
    """
    names, values = zip(*model.named_parameters(), strict=True)
    found = torch.autograd.grad(_loss(model, pair), values, allow_unused=True, materialize_grads=True)
    gradients = dict(zip(names, found, strict=True))
    rows = {part.title: _reached(part, gradients) for part in network_parts(model)}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("part").astype({"parameters": int})


def _loss(model: S4Fusion, pair: Pair) -> Tensor:
    a, b = (pad_to_legal(image[None], model.stride)[0] for image in (pair.a, pair.b))
    return preset(measured_preset("s4fusion"))(model.reconstruct(a, b), a, b)["total"]


def _reached(part: Part, gradients: Mapping[str, Tensor]) -> dict[str, float]:
    flat = torch.cat([g.flatten() for name, g in gradients.items() if name.startswith(f"{part.path}.")])
    without = (flat == 0).double().mean().item()
    return {"parameters": flat.numel(), "gradient": flat.norm().item(), "without": without}


@styled
def gradients_figure(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """Draw the norm of the gradient of each part; a gradient of exactly 0 has no bar and says so.

    Args:
        tables: Results of :func:`gradient_table` by title.
    """
    figure = new_figure(4.4 * len(tables), 3.5)
    lowest = min(table["gradient"][table["gradient"] > 0].min() for table in tables.values()) / 5
    for axes, (title, table) in zip(
        figure.subplots(1, len(tables), sharey=True, sharex=True), tables.items(), strict=True
    ):
        colours = [RED if part == LAYER else SKY for part in table.index]
        axes.barh(table.index, table["gradient"], left=lowest / 1e6, color=colours, height=0.7)
        for place, value in enumerate(table["gradient"]):
            if value == 0:
                axes.text(1.3 * lowest, place, "exactly 0", color=RED, va="center", fontsize=8)
        axes.set(xscale="log", title=title, xlabel="norm of the gradient")
        axes.set_xlim(lowest, None)
    axes.invert_yaxis()
    return figure


def redrawn_sums(model: S4Fusion, pairs: Sequence[Pair], seeds: Iterable[int] = SEEDS) -> pd.DataFrame:
    """Return what Table 5 would print for layer 1 if CMSA 1 of a network had been drawn from other seeds.

    Its input is what this network's embeddings give, so this is how an untrained module behaves in a trained network.

    Args:
        model: A network whose fusion is CMSA.
        pairs: Loaded pairs; the raw sums are averaged over them.
        seeds: Of the modules that stand in.

    Returns:
        Raw sums of both modalities, one row per seed.
    """
    rows, other = {}, copy.deepcopy(model)
    for seed in seeds:
        other.fusion[0] = fresh_model("s4fusion", seed, **model.config.to_dict()).fusion[0]
        values = pd.DataFrame([pair_steps(other, pair) for pair in pairs])
        rows[seed] = layer_statistics(values)[SUM].loc["Layer1"]
    return pd.DataFrame(rows).T.rename_axis("seed")


def moved_table(method: str) -> pd.DataFrame:
    """Return how far training has moved each part of a network from the values that its seed draws.

    Args:
        method: Id of a network of ours whose weights are here.

    Returns:
        Per part: ``parameters``, the share ``moved`` that differs from its start, and the ``distance``, norm of the
        difference relative to the start.

    Raises:
        FusionkitError: Unknown weights.
    """
    trained = load_method(method)
    card = json.loads(
        list_weights("s4fusion")[method.partition(":")[2]].with_suffix(".json").read_text(encoding="utf-8")
    )
    start = fresh_model("s4fusion", card["recipe"]["seed"], **card["recipe"]["options"])
    pairs = {name: (now, start.get_parameter(name)) for name, now in trained.named_parameters()}
    rows = {part.title: _moved(part, pairs) for part in network_parts(trained)}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("part").astype({"parameters": int})


def _moved(part: Part, pairs: Mapping[str, tuple[Tensor, Tensor]]) -> dict[str, float]:
    mine = [pair for name, pair in pairs.items() if name.startswith(f"{part.path}.")]
    now, start = (torch.cat([each.detach().flatten() for each in side]) for side in zip(*mine, strict=True))
    return {
        "parameters": now.numel(),
        "moved": (now != start).double().mean().item(),
        "distance": ((now - start).norm() / start.norm()).item(),
    }


def trainings() -> dict[str, str]:
    """Return the two networks that differ in whether scale 1 is read, by title, as far as their weights are here."""
    return {
        title: method for title, method in TRAININGS.items() if method.partition(":")[2] in list_weights("s4fusion")
    }


def moved_tables() -> pd.DataFrame:
    """Return :func:`moved_table` of both trainings that are here, side by side; no columns where there is none."""
    return pd.concat(
        {title: moved_table(method) for title, method in trainings().items()} or {"": pd.DataFrame()}, axis=1
    )


def trained_sums() -> pd.DataFrame:
    """Return the raw sums of Table 5, printed and of both trainings, as far as they are on file."""
    found = {title: layer_statistics(kept.values)[SUM] for title, id_ in TRAININGS.items() if (kept := load_steps(id_))}
    return pd.concat({"printed": printed(), **found}, axis=1)


def gradient_sentence(tables: Mapping[str, pd.DataFrame]) -> str:
    """Say what reaches CMSA 1.

    Args:
        tables: Results of :func:`gradient_table` by title.
    """
    found = []
    for title, table in tables.items():
        row = table.loc[LAYER]
        share = f"{1 - row['without']:.0%} of the {row['parameters']:,.0f} parameters"
        found.append(f"{title}, {share} of {LAYER} get a gradient")
    return f"Gradient: {'; '.join(found)}."


def statistic_sentence() -> str:
    """Say how the printed values of each layer stand to those of untrained networks of the paper's size."""
    table = untrained_table("base")
    if table.empty:
        return "Statistic: no untrained network is measured yet."
    ranges = []
    for layer, rows in table.groupby(level="layer"):
        ranges.append(f"{layer} {' and '.join(f'{value:.2g}' for value in rows['deviations'])}")
    return (
        f"Statistic: in standard deviations of {int(table['seeds'].iloc[0])} untrained networks, the printed values of "
        f"infrared and visible are {'; '.join(ranges)}."
    )


def training_sentence() -> str:
    """Say what training did to CMSA 1 without and with a reader of its map."""
    found = []
    for title, method in trainings().items():
        row, kept = moved_table(method).loc[LAYER], load_steps(method)
        sums = layer_statistics(kept.values)[SUM].loc["Layer1"] if kept else None
        text = "" if sums is None else f", its sums are {sums['infrared']:.2g} and {sums['visible']:.2g}"
        found.append(f"{title}, {row['moved']:.0%} of its numbers have left their start{text}")
    missing = [title for title in TRAININGS if title not in trainings()]
    found += [f"{title}, not trained yet" for title in missing]
    return f"Training: {'; '.join(found)}."


def layer_verdict(tables: Mapping[str, pd.DataFrame]) -> str:
    """Return the audit in three sentences; ``tables`` as in :func:`gradient_sentence`."""
    return " ".join([gradient_sentence(tables), statistic_sentence(), training_sentence()])
