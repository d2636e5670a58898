"""Baselines against what the authors' code computes with the authors' weights, and what all of them share."""

import numpy as np
import pytest
import torch

from fusionkit import FusionkitError, create_model
from fusionkit.cost import gmacs, parameters
from fusionkit.models.baselines import BASELINES
from fusionkit.models.baselines.published import digest
from fusionkit.models.baselines.writing import POSTS
from fusionkit.tensors import read_tensors

RELEASED = {name: network for name, network in BASELINES.items() if network.published.releases}
RELEASES = [(name, release) for name, network in RELEASED.items() for release in network.published.releases]
# Releases whose options the reference values do not have, and endings of their keys where they have several.
NOT_STORED = {("ifcnn", "mean-imagenet"), ("ifcnn", "sum-imagenet"), ("u2fusion", "third_party")}
ENDINGS = {("ifcnn", "max-imagenet"): "_imagenet", ("u2fusion", "medical"): "_swapped"}
# Parameters, those that the fused image depends on, and multiply-adds and thop's count in 10^9 at 256x256. SDNet's
# decomposition is not counted. LRRNet and MATR convolve without a layer's call, which thop cannot see.
COSTS = {
    "ifcnn": (83_587, 83_587, 8.493, 8.544),
    "densefuse": (74_193, 74_193, 5.766, 5.766),
    "datfuse": (10_760, 10_568, 1.145, 1.185),
    "matr": (13_422, 13_230, 3.210, None),
    "u2fusion": (659_217, 659_217, 43.170, 43.170),
    "sdnet": (67_091, 28_705, 1.873, 1.873),
    "itfuse": (82_487, 18_359, 5.463, 5.676),
    "ydtr": (217_770, 106_602, 20.378, 20.581),
    "didfuse": (260_935, 260_935, 24.310, 24.503),
    "lrrnet": (49_204, 49_204, 3.022, None),
    "reconet": (7_527, 7_527, 1.366, 1.518),
}
REPEATING = ("datfuse", "matr", "itfuse", "ydtr")


def images(values, pair):
    """Return both sources of a stored pair, (1, 1, H, W) in [0, 1]."""
    return [torch.from_numpy(values[f"{pair}_{key}"])[None, None] / 255 for key in ("u1", "u2")]


def colours(array):
    return torch.from_numpy(array).permute(2, 0, 1)[None] / 255


def assert_raw(raw, expected):
    size = max(1.0, float(np.abs(expected).max()))
    torch.testing.assert_close(raw, torch.from_numpy(expected), rtol=1e-4, atol=1e-4 * size)


def assert_written(written, expected):
    difference = np.abs(torch.round(255 * written).squeeze().numpy() - expected.astype(int))
    assert difference.max() <= 1
    assert (difference == 0).mean() >= 0.99


@pytest.fixture(scope="module")
def load(golden):
    """Return a function that builds a network with the authors' weights of a release."""

    def build(name, release):
        chosen = BASELINES[name].published.releases[release]
        _, state = read_tensors(golden / "baselines" / "weights" / f"{chosen.file}.npz")
        return BASELINES[name](**chosen.options).load_authors(state, release)

    return build


@pytest.fixture(scope="module")
def stored(golden):
    def values(name, release):
        return np.load(golden / "baselines" / f"{BASELINES[name].published.releases[release].file}.npz")

    return values


@pytest.mark.parametrize("pair", ["a", "b"])
@pytest.mark.parametrize(("name", "release"), [case for case in RELEASES if case not in NOT_STORED])
@torch.inference_mode()
def test_agrees_with_the_authors_code(load, stored, name, release, pair):
    network, values = load(name, release), stored(name, release)
    ending = ENDINGS.get((name, release), "")
    a, b = images(values, pair)
    in_colour = release == "rgb"
    first = colours(values[f"{pair}_rgb1"]) if in_colour else a
    raw = network.raw(first, b)
    assert_raw(raw, values[f"{pair}_raw{ending}"])
    if in_colour:
        expected = np.moveaxis(values[f"{pair}_post"], -1, 0)
        assert_written(POSTS[network.post](network.image(raw)), expected)
    else:
        assert_written(network(a, b), values[f"{pair}_post{ending}"])


@pytest.mark.parametrize("pair", ["a", "b"])
@torch.inference_mode()
def test_u2fusion_in_colour_agrees_with_the_authors_code(load, golden, pair):
    network, values = load("u2fusion", "medical"), np.load(golden / "baselines" / "u2fusion_colour.npz")
    mri = torch.from_numpy(values[f"{pair}_u2"])[None, None] / 255
    assert_raw(network.raw(torch.from_numpy(values[f"{pair}_Y"]).float()[None, None], mri), values[f"{pair}_raw"])
    written = network.in_colour(colours(values[f"{pair}_rgb1"]), mri)
    assert_written(written, np.moveaxis(values[f"{pair}_post"], -1, 0))


@pytest.mark.parametrize("release", ["ir_vis", "medical"])
@pytest.mark.parametrize("pair", ["a", "b"])
@torch.inference_mode()
def test_sdnet_decomposes_like_the_authors_code(load, stored, release, pair):
    network, values = load("sdnet", release), stored("sdnet", release)
    for found, key in zip(network.decompose(network.raw(*images(values, pair))), ("sept1", "sept2"), strict=True):
        assert_raw(found, values[f"{pair}_{key}"])


@pytest.mark.parametrize("name", RELEASED)
def test_digests_are_those_of_the_authors_weights(golden, name):
    for release in BASELINES[name].published.releases.values():
        _, state = read_tensors(golden / "baselines" / "weights" / f"{release.file}.npz")
        assert digest(state) == release.digest


@pytest.mark.parametrize("name", RELEASED)
def test_parameters_and_operations_of_the_authors_code(name):
    total, used, macs, thop = COSTS[name]
    network = create_model(name, **({"complete": True} if name in REPEATING else {}))
    unneeded = sum(
        p.numel()
        for key, p in network.named_parameters()
        if key.startswith(network.idle) and "relative_position" not in key
    )
    assert parameters(network) == total
    assert total - unneeded == used
    assert gmacs(network, (256, 256)) == pytest.approx(macs, abs=6e-4)
    if thop:
        assert gmacs(network, (256, 256), "thop") == pytest.approx(thop, abs=6e-4)


@pytest.mark.parametrize("name", REPEATING)
def test_what_has_no_effect_may_be_left_out(name):
    torch.manual_seed(0)
    network, complete = create_model(name), create_model(name, complete=True)
    complete.load_state_dict(network.state_dict())
    a, b = torch.rand(2, 1, 1, 20, 20)
    torch.testing.assert_close(network.raw(a, b), complete.raw(a, b), rtol=0, atol=1e-5)
    assert gmacs(network, (64, 64)) < gmacs(complete, (64, 64))


@pytest.mark.parametrize("name", RELEASED)
def test_images_are_written_in_steps_of_grey_levels(name):
    torch.manual_seed(0)
    a, b = torch.rand(2, 2, 1, 18, 33)
    levels = 255 * create_model(name)(a, b)
    if name != "ifcnn":  # a colour network: the grey value of three levels
        torch.testing.assert_close(levels, levels.round(), rtol=0, atol=1e-3)
    assert levels.min() >= 0
    assert levels.max() <= 255


@pytest.mark.parametrize("shape", [(40, 25), (25, 40), (16, 50)])
def test_matr_fuses_an_oblong_image_as_the_square_that_it_is_mirrored_to(shape):
    torch.manual_seed(0)
    network = create_model("matr")
    a, b = torch.rand(2, 1, 1, *shape)
    places = torch.arange(max(shape)).abs()
    rows, columns = ((places % (2 * n - 2) - (n - 1)).abs().neg() + n - 1 for n in shape)
    square = network.raw(*(x[:, :, rows][..., columns] for x in (a, b)))
    torch.testing.assert_close(network.raw(a, b), square[..., : shape[0], : shape[1]])


def test_ways_of_writing():
    image = torch.tensor([-0.1, 0.0, 0.502, 0.8]).view(1, 1, 2, 2)
    expected = {
        "clip": [0, 0, 128.01, 204],
        "truncate": [231, 0, 128, 204],
        "clip_truncate": [0, 0, 128, 204],
        "clip_round": [0, 0, 128, 204],
        "maximum": [0, 0, 160, 255],
        "minmax": [0, 28, 171, 255],
        "minmax_truncate": [0, 28, 170, 254],
    }
    assert expected.keys() == POSTS.keys()
    for name, levels in expected.items():
        found = 255 * POSTS[name](image).flatten()
        torch.testing.assert_close(found, torch.tensor(levels, dtype=torch.float32), rtol=0, atol=1e-3, msg=name)


@pytest.mark.parametrize("post", POSTS)
def test_constant_images_are_written_without_nan(post):
    for level in (0.0, 0.5, 1.0):
        written = POSTS[post](torch.full((2, 1, 4, 4), level))
        assert ((written >= 0) & (written <= 1)).all()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("ifcnn", {"fusion": "maximum"}, "unknown fusion rule of IFCNN"),
        ("ifcnn", {"normalisation": "image"}, "did you mean imagenet"),
        ("datfuse", {"post": "truncated"}, "did you mean truncate"),
    ],
)
def test_unknown_options_are_named(name, options, message):
    with pytest.raises(FusionkitError, match=message):
        create_model(name, **options)
