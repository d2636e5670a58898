import math

import numpy as np
import pytest
import torch
from drawn import noise
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fusionkit import metrics
from fusionkit.errors import FusionkitError
from fusionkit.metrics.images import prepare

# The tie rules, floors and order of arguments of these look at which source is which.
ASYMMETRIC = {"viff", "q_c", "q_g", "nabf_asdriven"}
KINDS = {
    "noise": lambda shape, random: random.integers(0, 256, shape),
    "three levels": lambda shape, random: random.choice([0, 128, 255], shape),
    "soft": lambda shape, random: np.cumsum(random.integers(-3, 4, shape), -1) + 128,
    "patches": lambda shape, random: np.kron(random.integers(0, 256, (*shape[:2], 8, 8)), np.ones((8, 8))),
}


def triple(seed: int = 0, batch: int = 2, channels: int = 1, size: tuple[int, int] = (9, 12)) -> list[Tensor]:
    return [noise(seed + k, batch, channels, *size) for k in range(3)]


@st.composite
def triples(draw: st.DrawFn) -> list[Tensor]:
    """Images as large as almost every metric needs, of the kinds that upset metrics."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    height, width = draw(st.integers(44, 50)), draw(st.integers(44, 50))
    kinds = [KINDS[draw(st.sampled_from(sorted(KINDS)))] for _ in range(3)]
    drawn = [np.clip(kind((2, 1, 64, 64), random), 0, 255)[..., :height, :width] for kind in kinds]
    return [torch.from_numpy(image.astype(np.uint8)) for image in drawn]


@pytest.mark.filterwarnings("ignore::fusionkit.metrics.TooSmallWarning")
@pytest.mark.parametrize("convention", sorted(metrics.CONVENTIONS))
@settings(max_examples=4, deadline=None)
@given(images=triples())
def test_batch_equals_loop(images: list[Tensor], convention: str) -> None:
    whole = metrics.evaluate(*images, convention=convention)
    for i in range(len(images[0])):
        single = metrics.evaluate(*(image[i : i + 1] for image in images), convention=convention)
        for name, values in whole.items():
            torch.testing.assert_close(values[i : i + 1], single[name], rtol=1e-10, atol=1e-10, equal_nan=True)


@pytest.mark.filterwarnings("ignore::fusionkit.metrics.TooSmallWarning")
@pytest.mark.parametrize("convention", sorted(metrics.CONVENTIONS))
@settings(max_examples=4, deadline=None)
@given(images=triples())
def test_sources_are_interchangeable(images: list[Tensor], convention: str) -> None:
    fused, a, b = images
    one, other = (metrics.evaluate(fused, x, y, convention=convention) for x, y in ((a, b), (b, a)))
    for name in set(one) - ASYMMETRIC:
        torch.testing.assert_close(one[name], other[name], rtol=1e-9, atol=1e-9, equal_nan=True)


@settings(max_examples=10, deadline=None)
@given(images=triples())
def test_ranges(images: list[Tensor]) -> None:
    fused, a, b = images
    found = metrics.evaluate(fused, a, b, ["en", "sd", "sf", "ag", "mi", "cc", "scd"], "reference")
    assert ((found["en"] >= 0) & (found["en"] <= 8)).all()
    assert ((found["sd"] >= 0) & (found["sd"] <= 127.5)).all()
    assert (found["sf"] <= 255 * math.sqrt(2)).all()
    assert (found["ag"] <= 255).all()
    assert (found["mi"] >= -1e-12).all()
    assert (found["mi"] <= 2 * found["en"] + 1e-12).all()
    assert not (found["cc"].abs() > 1 + 1e-12).any()
    assert not (found["scd"].abs() > 2 + 1e-12).any()


@settings(max_examples=10, deadline=None)
@given(images=triples(), seed=st.integers(0, 1000))
def test_invariances(images: list[Tensor], seed: int) -> None:
    """Pixels may move together and levels may be inverted without a change of what ignores places or sign."""
    order = torch.randperm(images[0][0].numel(), generator=torch.Generator().manual_seed(seed))
    shuffled = [image.flatten(1)[:, order].view_as(image) for image in images]
    mirrored = [image.flip(-1) for image in images]
    inverted = [255 - image for image in images]
    pixelwise, local = ("en", "sd", "mi", "cc", "scd", "mse"), ("sf", "ag")
    before = metrics.evaluate(*images, [*pixelwise, *local, "ssim", "psnr"], "cddfuse")
    for changed, names in (
        (shuffled, (*pixelwise, "psnr")),
        (mirrored, tuple(before)),
        (inverted, (*pixelwise, *local)),
    ):
        after = metrics.evaluate(*changed, names, "cddfuse")
        for name in names:
            torch.testing.assert_close(after[name], before[name], rtol=1e-9, atol=1e-9, equal_nan=True)


def test_known_values() -> None:
    """Two grey levels in vertical stripes, worked out by hand."""
    stripes = torch.zeros(1, 1, 4, 5, dtype=torch.uint8)
    stripes[..., 1::2] = 20
    assert metrics.sf(stripes).item() == 20
    assert metrics.sf(stripes, convention="reference").item() == pytest.approx(20 * math.sqrt(4 / 5))
    assert metrics.sf(stripes, convention="tang2022").item() == pytest.approx(20 / 255)
    assert metrics.sf(stripes, convention="cddfuse-uint8").item() == math.sqrt(400 % 256)
    assert metrics.sd(stripes).item() == pytest.approx(math.sqrt(96))
    assert metrics.sd(stripes, convention="rfn").item() == pytest.approx(math.sqrt(96 * 20) / 255)
    assert metrics.sd(stripes, convention="tang2022").item() == pytest.approx(math.sqrt(0.4 * 144))
    assert metrics.ag(stripes, convention="reference").item() == pytest.approx(math.sqrt(200))
    assert metrics.ag(stripes).item() == pytest.approx(2 * 4 * math.sqrt(200) / (3 * 4))
    assert metrics.ag(stripes, convention="cddfuse").item() == pytest.approx(2 * 4 * math.sqrt(200) / 20)
    assert metrics.en(stripes).item() == pytest.approx(-0.4 * math.log2(0.4) - 0.6 * math.log2(0.6))


def test_conventions_of_one_name_are_related() -> None:
    images = [image.clamp(max=250) for image in triple()]
    bits = metrics.mi(*images)
    torch.testing.assert_close(metrics.mi(*images, convention="cddfuse") / math.log(2), bits)
    torch.testing.assert_close(metrics.mi(*images, convention="reference"), bits)
    assert (metrics.ag(images[0]) > metrics.ag(images[0], convention="cddfuse")).all()


@pytest.mark.filterwarnings("ignore::fusionkit.metrics.TooSmallWarning")
def test_floats_are_rounded_to_levels() -> None:
    images = triple()
    floats = [((image.double() + 0.4) / 255).clamp(max=1) for image in images]
    for dtype in (torch.float64, torch.float32):
        measured = metrics.evaluate(*(image.to(dtype) for image in floats))
        for name, values in metrics.evaluate(*images).items():
            assert values.dtype == torch.float64
            assert torch.equal(measured[name], values)


@pytest.mark.filterwarnings("ignore::fusionkit.metrics.TooSmallWarning")
def test_equal_channels_measure_like_grey() -> None:
    images = triple(size=(44, 45))
    colour = [image.expand(-1, 3, -1, -1) for image in images]
    for convention in metrics.CONVENTIONS:
        grey = metrics.evaluate(*images, convention=convention)
        for name, values in metrics.evaluate(*colour, convention=convention).items():
            if (convention, name) != ("vifb", "sf"):  # measures the seams between channels too
                torch.testing.assert_close(values, grey[name], rtol=1e-12, atol=1e-12, equal_nan=True)


@pytest.mark.parametrize(
    ("convention", "weights"),
    [("tang", (0.298936021, 0.587043074, 0.114020904)), ("cddfuse", (0.299, 0.587, 0.114))],
)
def test_colour_becomes_grey(convention: str, weights: tuple[float, float, float]) -> None:
    colour = noise(5, 1, 3, 6, 6)
    grey = sum(w * colour[:, k : k + 1].double() for k, w in enumerate(weights)).round().to(torch.uint8)
    assert torch.equal(metrics.sd(colour, convention=convention), metrics.sd(grey, convention=convention))


def test_grey_halves() -> None:
    """Blue 250 is 28.5 with OpenCV's weights, which rounds to 28; MATLAB's give 28.505, so 29."""
    row = torch.zeros(1, 3, 1, 2, dtype=torch.uint8)
    row[0, 2, 0, 0] = 250
    assert metrics.sd(row, convention="cddfuse").item() == 14
    assert metrics.sd(row, convention="tang").item() == 14.5


def test_channel_by_channel() -> None:
    fused, b = noise(1, 2, 3, 6, 8), noise(2, 2, 3, 6, 8)
    a = noise(3, 2, 1, 6, 8)
    names = ["en", "sd", "ag", "mi", "sf", "qcb"]
    whole = metrics.evaluate(fused, a, b, names, "vifb")
    parts = [metrics.evaluate(fused[:, k : k + 1], a, b[:, k : k + 1], names, "vifb") for k in range(3)]
    for name in ("en", "sd", "ag", "mi", "qcb"):
        torch.testing.assert_close(whole[name], torch.stack([part[name] for part in parts]).mean(0))
    beside = torch.cat([fused[:, k : k + 1] for k in range(3)], dim=3)
    assert torch.equal(whole["sf"], metrics.sf(beside, convention="vifb"))


def test_edge_cases() -> None:
    fused, a, b = triple(batch=1)
    flat = torch.full_like(fused, 7)
    constant = metrics.evaluate(flat, a, b, ["en", "sd", "sf", "ag", "mi", "cc", "scd"], "reference")
    assert [constant[name].item() for name in ("en", "sd", "sf", "ag")] == [0, 0, 0, 0]
    assert constant["mi"].item() == pytest.approx(0, abs=1e-12)
    assert math.isnan(constant["cc"].item())
    r = np.corrcoef(a.flatten(), b.flatten())[0, 1]
    assert constant["scd"].item() == pytest.approx(-2 * r)
    assert math.isnan(metrics.scd(a, a, b).item())
    assert math.isnan(metrics.cc(fused, flat, b).item())
    assert metrics.mi(a, a, a, convention="reference").item() == pytest.approx(2 * metrics.en(a).item())
    batch = metrics.cc(torch.cat([flat, fused]), torch.cat([a, a]), torch.cat([b, b]))
    assert torch.isnan(batch).tolist() == [True, False]


def test_evaluate_selects() -> None:
    images = triple()
    assert list(metrics.evaluate(*images, metrics=["scd", "en"])) == ["scd", "en"]
    assert list(metrics.evaluate(*images, metrics="en")) == ["en"]
    with pytest.warns(metrics.TooSmallWarning, match="ms_ssim 44x44"):
        assert set(metrics.evaluate(*images, convention="rfn")) == {"sd", "scd", "nabf"}
    assert torch.equal(metrics.evaluate(*images, metrics=["cc"])["cc"], metrics.cc(*images))


@pytest.mark.filterwarnings("ignore::fusionkit.metrics.TooSmallWarning")
@pytest.mark.parametrize("channels", [1, 3])
def test_many_conventions_at_once(channels: int) -> None:
    images = triple(channels=channels, size=(45, 47))
    wanted = [(row["convention"], row["metric"]) for row in metrics.list()]
    together = metrics.evaluate_conventions(*images, wanted)
    for convention in metrics.CONVENTIONS:
        for name, values in metrics.evaluate(*images, convention=convention).items():
            assert torch.equal(together[convention, name].nan_to_num(7), values.nan_to_num(7)), (convention, name)
    assert set(wanted) - set(together) == {("reference", "ms_ssim")}


def test_list_describes_everything() -> None:
    rows = metrics.list()
    assert {row["metric"] for row in rows} == set(metrics.METRICS)
    assert {row["convention"] for row in rows} == set(metrics.CONVENTIONS)
    assert all(row[key] for row in rows for key in row if key != "note")
    assert {row["convention"] for row in metrics.list("vifb")} == {"vifb"}


GOOD = torch.full((1, 1, 4, 4), 0.5)


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (torch.full((1, 1, 4, 5), 0.5), "differ in size"),
        (torch.full((2, 1, 4, 4), 0.5), "differ in size"),
        (torch.full((4, 4), 0.5), "shape (4, 4)"),
        (torch.full((1, 2, 4, 4), 0.5), "shape (1, 2, 4, 4)"),
        (torch.zeros(0, 1, 4, 4), "non-empty"),
        (GOOD.long(), "dtype torch.int64"),
        (GOOD.bfloat16(), "dtype torch.bfloat16"),
        (GOOD * 510, "spans 255 to 255"),
        (GOOD - 1, "spans -0.5"),
        (GOOD * math.nan, "NaN"),
        (GOOD * math.inf, "NaN or infinity"),
        (GOOD.numpy(), "ndarray"),
        (GOOD.to("meta"), "device"),
    ],
)
def test_refuses_bad_images(bad: Tensor, words: str) -> None:
    with pytest.raises(FusionkitError) as caught:
        metrics.evaluate(GOOD, GOOD, bad)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"metrics": ["scf"]}, "did you mean"),
        ({"convention": "tang2023"}, "tang2022"),
        ({"metrics": ["mi"], "convention": "rfn"}, "does not exist in convention 'rfn'"),
    ],
)
def test_refuses_unknown_names(arguments: dict, words: str) -> None:
    with pytest.raises(FusionkitError, match=words):
        metrics.evaluate(GOOD, GOOD, GOOD, **arguments)


def test_refuses_missing_sources_and_small_images() -> None:
    with pytest.raises(FusionkitError, match="needs the sources"):
        metrics.cc(GOOD)
    with pytest.raises(FusionkitError, match="at least 2x2 pixels under 'tang'; got 1x4"):
        metrics.ag(GOOD[..., :1, :])


def test_too_small_images_lose_only_the_metrics_they_are_too_small_for() -> None:
    strip = [image[..., :1] for image in triple()]
    with pytest.warns(metrics.TooSmallWarning, match="9x1 pixels are too small.*ag 2x2"):
        found = metrics.evaluate(*strip)
    assert {"sf", "ag"}.isdisjoint(found)
    assert "en" in found
    with pytest.warns(metrics.TooSmallWarning):
        assert set(metrics.evaluate(*strip, metrics=["en", "sf"])) == {"en"}
    with pytest.raises(FusionkitError, match="smallest size: sf 2x2"):
        metrics.evaluate(*strip, metrics=["sf"])


def test_lightness_of_colour_images() -> None:
    """L* of a pure red is 53.24 of 100; three equal channels stay as they are."""
    rules = metrics.get_convention("han")
    red = torch.zeros(1, 3, 2, 2, dtype=torch.uint8)
    red[:, 0] = 255
    assert prepare({"x": red}, rules)["x"].unique().tolist() == [136]
    assert prepare({"x": torch.full_like(red, 77)}, rules)["x"].unique().tolist() == [77]
