"""LightFusionNet taken apart: its module tree as a diagram, and what flows through it for one pair (Fig. 2)."""

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from torch import Tensor, nn

from fusionkit.errors import FusionkitError
from fusionkit.figures.diagram import arrow, box, count, layer_list, layers
from fusionkit.figures.panels import show
from fusionkit.figures.style import bare, new_figure, styled
from fusionkit.models.lightfusionnet import LightFusionNet, encode

STAGES = ("features", "predicted", "surprise", "attention", "weighted")


def anatomy_data(model: nn.Module, a: Tensor, b: Tensor) -> dict[str, np.ndarray]:
    """Run a LightFusionNet on one pair and keep what it computes on the way.

    Args:
        model: A LightFusionNet of any options; only the paper's attention has ``predicted``, ``surprise`` and
            ``attention``.
        a: First modality's luma, (1, H, W) or (1, 1, H, W) in [0, 1].
        b: Second modality's luma, same shape.

    Returns:
        Images (H, W): ``a``, ``b``, ``output``. Features (C, H, W): for each branch ``features_a``,
        ``predicted_a``, ``surprise_a``, ``attention_a``, ``weighted_a``, then ``fusion`` and ``decoded``.

    Raises:
        FusionkitError: Another model, or images that are not one pair.
    """
    if not isinstance(model, LightFusionNet):
        raise FusionkitError(f"the anatomy shows LightFusionNet, not {type(model).__name__}; pass such a model")
    a, b = (image.reshape(-1, 1, *image.shape[-2:]) for image in (a, b))
    if a.shape != b.shape or len(a) != 1:
        raise FusionkitError(f"the anatomy shows one pair of equal size, not {tuple(a.shape)} and {tuple(b.shape)}")
    found = {"a": a, "b": b}
    with torch.inference_mode():
        for branch, image in (("a", a), ("b", b)):
            attention = getattr(model, f"attention_{branch}")
            features = encode(getattr(model, f"encoder_{branch}"), image)
            stages = {"features": features}
            if hasattr(attention, "predict"):
                stages |= {
                    "predicted": attention.predict(features),
                    "surprise": attention.surprise(features),
                    "attention": attention.attention(features),
                }
            stages["weighted"] = attention(features)
            found |= {f"{name}_{branch}": value for name, value in stages.items()}
        found["fusion"] = (found["weighted_a"] + found["weighted_b"]) / 2
        found["decoded"] = model.decoder[0](found["fusion"])
        found["output"] = torch.sigmoid(model.decoder[1](found["decoded"]))
    return {name: (value[0, 0] if name in ("a", "b", "output") else value[0]).numpy() for name, value in found.items()}


@styled
def architecture_anatomy(
    model: nn.Module, a: Tensor, b: Tensor, names: tuple[str, str] = ("a", "b")
) -> tuple[Figure, dict[str, np.ndarray]]:
    """Draw the network's parts with their parameter counts, and the live tensors of one pair.

    Features are shown for the channel whose attention varies most (else: whose features vary most), the same one
    in a row; colours run from the lowest to the highest value of each map.

    Args:
        model: A LightFusionNet.
        a: First modality's luma, (1, H, W) in [0, 1].
        b: Second modality's luma, same shape.
        names: What the two images show.

    Returns:
        The figure and the arrays of :func:`anatomy_data`.

    Raises:
        FusionkitError: As :func:`anatomy_data`.
    """
    data = anatomy_data(model, a, b)
    figure = new_figure(12.0, 9.8)
    figure.get_layout_engine().set(w_pad=0.03, h_pad=0.03)
    upper, lower = figure.subfigures(2, 1, height_ratios=(0.85, 1.15))
    tree = upper.subfigures(1, 3, width_ratios=(2.15, 1.0, 1.0))
    _flow(tree[0].subplots(), model, data, names)
    layer_list(tree[1].subplots(), f"B: attention ({count(model.attention_a):,})", attention_steps(model.attention_a))
    block = model.encoder_a[1]
    layer_list(tree[2].subplots(), f"C: one block ({count(block):,})", layers(block))
    _tensors(lower, data, names)
    return figure, data


def attention_steps(attention: nn.Module) -> list[tuple[str, str]]:
    """Return the layers of an attention as text and kind; for the paper's one, with the arithmetic between them."""
    steps = layers(attention)
    if not hasattr(attention, "predict"):
        return steps
    cut = sum(text.startswith("predict") for text, _ in steps)
    surprise = [("surprise = |predicted - x|", "sum")]
    weighted = [("attention = sigmoid", "sum"), ("x + x * attention", "sum")]
    return steps[:cut] + surprise + steps[cut:] + weighted


def _flow(axes: Axes, model: LightFusionNet, data: dict[str, np.ndarray], names: tuple[str, str]) -> None:
    """Draw part A: the two branches, their mean and the decoder."""
    bare(axes).set(xlim=(0, 6.3), ylim=(0.3, 4.1))
    axes.set_title(f"A: the network ({count(model):,} parameters, shapes for this pair)", loc="left")
    size, features = "x".join(map(str, data["a"].shape)), "x".join(map(str, data["features_a"].shape))
    for y, branch, name in ((3.5, "a", names[0]), (0.9, "b", names[1])):
        encoder, attention = getattr(model, f"encoder_{branch}"), getattr(model, f"attention_{branch}")
        box(axes, 0.55, y, (0.95, 0.9), f"{name}\n{size}", "data")
        box(axes, 1.95, y, (1.3, 0.9), f"encoder_{branch}\n{count(encoder):,}\n{features}")
        box(axes, 3.5, y, (1.3, 0.9), f"attention_{branch}\n{count(attention):,}\n{features}")
        arrow(axes, (1.03, y), (1.3, y))
        arrow(axes, (2.6, y), (2.85, y))
        toward = 2.6 if branch == "a" else 1.8
        arrow(axes, (3.5, y - 0.45 if branch == "a" else y + 0.45), (3.5, toward))
    box(axes, 3.5, 2.2, (0.9, 0.8), "mean\n0", "sum")
    box(axes, 4.7, 2.2, (1.0, 0.9), f"decoder\n{count(model.decoder):,}\nsigmoid")
    box(axes, 5.85, 2.2, (0.8, 0.9), f"output\n{size}", "data")
    arrow(axes, (3.95, 2.2), (4.2, 2.2))
    arrow(axes, (5.2, 2.2), (5.45, 2.2))


def _tensors(part: SubFigure, data: dict[str, np.ndarray], names: tuple[str, str]) -> None:
    """Draw the maps: a row per branch, then the fusion."""
    stages = [stage for stage in STAGES if f"{stage}_a" in data]
    grid = part.add_gridspec(3, 1 + len(STAGES))
    for line, branch, name in ((0, "a", names[0]), (1, "b", names[1])):
        channel = telling_channel(data, branch)
        _image(part.add_subplot(grid[line, 0]), data[branch], name)
        for column, stage in enumerate(stages, start=1):
            title = f"{stage}, channel {channel}"
            _map(part.add_subplot(grid[line, column]), data[f"{stage}_{branch}"][channel], title)
    channel = telling_channel(data, "a")
    for column, name in enumerate(("fusion", "decoded")):
        _map(part.add_subplot(grid[2, column]), data[name][channel], f"{name}, channel {channel}")
    _image(part.add_subplot(grid[2, 2]), data["output"], "output")
    sheet = bare(part.add_subplot(grid[2, 3:]))
    sheet.imshow(channel_sheet(data["features_a"]), cmap="magma")
    sheet.set_title(f"features of {names[0]}, all {len(data['features_a'])} channels")


def _image(axes: Axes, image: np.ndarray, title: str) -> None:
    show(axes, image)
    axes.set_title(title, fontsize=8.5)


def telling_channel(data: dict[str, np.ndarray], branch: str) -> int:
    """Return the channel whose attention, or else whose feature, varies most over the image."""
    maps = data.get(f"attention_{branch}", data[f"features_{branch}"])
    return int(maps.std((1, 2)).argmax())


def channel_sheet(features: np.ndarray, columns: int = 8) -> np.ndarray:
    """Return features (C, H, W) as one image, each channel scaled to [0, 1], ``columns`` channels per line."""
    low, high = (f((1, 2), keepdims=True) for f in (features.min, features.max))
    scaled = (features - low) / np.maximum(high - low, 1e-12)
    empty = -len(scaled) % columns
    padded = np.concatenate([scaled, np.zeros((empty, *scaled.shape[1:]), scaled.dtype)])
    lines = padded.reshape(-1, columns, *padded.shape[1:])
    return lines.transpose(0, 2, 1, 3).reshape(lines.shape[0] * lines.shape[2], -1)


def _map(axes: Axes, image: np.ndarray, title: str) -> None:
    bare(axes).imshow(image, cmap="magma")
    axes.set_title(f"{title}\n{image.min():.2f} to {image.max():.2f}", fontsize=8.5)
