"""The metric playground: one pair, a fusion rule, a few ways to spoil the result, and what every metric says of it.

Everything here is plain functions of plain values; ``fusionkit.playground_panel`` puts sliders around them.
"""

import warnings
from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from fusionkit.data.pairs import Pair
from fusionkit.errors import FusionkitError, unknown
from fusionkit.figures.panels import show
from fusionkit.figures.style import BLUE, FAINT, INK, MUTED, RED, new_figure, styled
from fusionkit.live import TASKS, scene
from fusionkit.metrics import METRICS, TooSmallWarning, evaluate, get_metric

SIDE = 192
RULES = {
    "average": lambda a, b: (a + b) / 2,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "first source": lambda a, b: a,
    "second source": lambda a, b: b,
}
MOST_NOISE, CONTRASTS = 60.0, (0.2, 3.0)


@dataclass(frozen=True)
class Setting:
    """Where the knobs of the playground stand.

    Attributes:
        task: A key of ``fusionkit.live.TASKS``: which phantoms.
        rule: A key of ``RULES``: how the two sources become one image.
        noise: Standard deviation of white noise, in grey levels, 0 to 60.
        contrast: Factor on the distance from the mean, 0.2 to 3.
        low: Grey level to which black is moved, 0 to 254.
        high: Grey level to which white is moved, above ``low`` and at most 255.

    Raises:
        FusionkitError: A value is out of range or a name unknown.
    """

    task: str = "infrared-visible"
    rule: str = "average"
    noise: float = 0.0
    contrast: float = 1.0
    low: int = 0
    high: int = 255

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise unknown("task", self.task, TASKS)
        if self.rule not in RULES:
            raise unknown("fusion rule", self.rule, RULES)
        if not 0 <= self.noise <= MOST_NOISE:
            raise FusionkitError(f"noise {self.noise:g} is out of range; choose 0 to {MOST_NOISE:g} grey levels")
        if not CONTRASTS[0] <= self.contrast <= CONTRASTS[1]:
            raise FusionkitError(f"contrast {self.contrast:g} is out of range; choose {CONTRASTS[0]} to {CONTRASTS[1]}")
        if not 0 <= self.low < self.high <= 255:
            raise FusionkitError(f"range {self.low} to {self.high}: low must be below high, both within 0 to 255")

    @property
    def clean(self) -> "Setting":
        """The same pair and rule with nothing spoilt."""
        return Setting(self.task, self.rule)

    def __str__(self) -> str:
        text = f"{self.task}, {self.rule}, noise {self.noise:g}, contrast {self.contrast:g}"
        return f"{text}, range {self.low} to {self.high}"


def sources(task: str) -> Pair:
    """Return the pair that the playground shows for a task."""
    return scene(task, 3, SIDE)


def fused_image(setting: Setting) -> Tensor:
    """Fuse the pair by the rule, then change the contrast, add noise, and move the range, in this order.

    Returns:
        uint8 (1, H, W); the same setting gives the same image.
    """
    pair = sources(setting.task)
    a, b = (255 * image[0].double().numpy() for image in (pair.a, pair.b))
    image = RULES[setting.rule](a, b)
    image = image.mean() + setting.contrast * (image - image.mean())
    image = image + np.random.default_rng(0).normal(0, 1, image.shape) * setting.noise
    image = setting.low + image.clip(0, 255) * (setting.high - setting.low) / 255
    return torch.from_numpy(image.round().astype(np.uint8))[None]


@cache
def scores(setting: Setting, convention: str) -> pd.Series:
    """Return every metric that a convention has, by name; metrics that need larger images are left out."""
    pair = sources(setting.task)
    a, b = ((255 * image).round().byte()[None] for image in (pair.a, pair.b))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TooSmallWarning)
        found = evaluate(fused_image(setting)[None], a, b, convention=convention)
    return pd.Series({name: value.item() for name, value in found.items()}, dtype=float)


def changes(setting: Setting, convention: str) -> pd.DataFrame:
    """Compare a spoilt image with the clean one of the same rule.

    Returns:
        By metric: ``clean``, ``now``, and ``change``: relative to the clean value and positive where the metric
        calls it an improvement; NaN where either is not finite or the clean value is 0.
    """
    clean, now = scores(setting.clean, convention), scores(setting, convention)
    table = pd.DataFrame({"clean": clean, "now": now})
    gain = pd.Series({n: get_metric(n).gain(now[n]) - get_metric(n).gain(clean[n]) for n in table.index}, dtype=float)
    change = gain / table["clean"].abs()
    return table.assign(change=change.where(np.isfinite(change)))


def side_by_side(setting: Setting, first: str, second: str) -> pd.DataFrame:
    """Return the values of both conventions for the metrics that at least one of them has, in catalogue order."""
    table = pd.DataFrame({name: scores(setting, name) for name in (first, second)})
    return table.reindex([name for name in METRICS if name in table.index])


def playground_words(setting: Setting, first: str, second: str) -> str:
    """Say which metrics call the spoilt image better than the clean one, under both conventions."""
    lines = []
    for name in (first, second):
        table = changes(setting, name)
        fooled = table.index[table["change"] > 0.01].tolist()
        lines.append(f"{name}: {len(fooled)} of {len(table)} metrics prefer it ({', '.join(fooled) or 'none'})")
    return "\n".join([f"{setting}, against the clean {setting.rule}:", *lines])


@styled
def playground_figure(setting: Setting, first: str = "tang", second: str = "cddfuse") -> Figure:
    """Draw the sources, the image, and what every metric says of it under two conventions.

    Args:
        setting: Where the knobs stand.
        first: A convention.
        second: Another one.

    Raises:
        FusionkitError: A convention is unknown.
    """
    tables = {name: changes(setting, name) for name in (first, second)}
    names = [name for name in METRICS if any(name in table.index for table in tables.values())]
    pair, fused = sources(setting.task), fused_image(setting)
    figure = new_figure(10.5, 0.17 * len(names) + 1.1)
    left, right = figure.subfigures(1, 2, width_ratios=(1, 2.4))
    _, first_name, second_name = TASKS[setting.task]
    images = {first_name: pair.a[0].numpy(), second_name: pair.b[0].numpy(), "fused": fused[0].numpy() / 255}
    for axes, (name, image) in zip(left.subplots(3, 1), images.items(), strict=True):
        show(axes, image)
        axes.set_title(name)
    for axes, (name, table) in zip(right.subplots(1, 2, sharey=True), tables.items(), strict=True):
        _draw_changes(axes, table.reindex(names), name)
    return figure


def _draw_changes(axes: Axes, table: pd.DataFrame, title: str) -> None:
    places = np.arange(len(table))
    change = 100 * table["change"]
    axes.barh(places, change.clip(-100, 100), color=np.where(change > 0, BLUE, RED), height=0.7)
    for place, (value, percent) in enumerate(zip(table["now"], change, strict=True)):
        if np.isnan(value):
            continue
        ink = INK if np.isfinite(percent) else MUTED
        axes.text(118, place, f"{value:.4g}", va="center", ha="left", fontsize=7, color=ink)
    axes.set_yticks(places, table.index, fontsize=7)
    axes.set(xlim=(-105, 105), title=f"{title}: change against the clean image, %", ylim=(len(table) - 0.5, -0.5))
    axes.axvline(0, color=MUTED, lw=0.8)
    axes.grid(True, axis="x", color=FAINT)
