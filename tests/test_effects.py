"""Effects of a change: against chance, against another training seed."""

import numpy as np
import pandas as pd
import pytest
import torch

from fusionkit import FusionkitError, measure, paths
from fusionkit.audits import effects as audit
from fusionkit.figures.effects import effect_chart
from fusionkit.measure import Measurement, stretch, write_measurement

BASE = "fusionmamba:base"


@pytest.fixture
def on_file(tmp_path, monkeypatch):
    """Measurements of a network, a second seed of it, and three variants, on twenty pairs."""
    monkeypatch.setattr(paths, "results_dir", lambda: tmp_path)
    monkeypatch.setattr(audit, "seeds_of", lambda method: [f"{method}-seed1"])
    noise = np.random.default_rng(0).normal(size=20)
    shifts = {"base": 0, "base-seed1": 0.5, "little": 0.1, "large": 2.0}
    values = {name: noise + shift for name, shift in shifts.items()}
    values["chance"] = noise + np.random.default_rng(1).normal(scale=9, size=20)
    for name, column in values.items():
        frame = pd.DataFrame({"vif@tang": column}, index=[f"{i}" for i in range(20)]).rename_axis("pair")
        write_measurement(Measurement(f"fusionmamba:{name}", "tno", "test", frame, {"key": ""}))
    return {name: f"fusionmamba:{name}" for name in ("little", "large", "chance", "absent")}


def test_a_difference_counts_if_neither_chance_nor_a_seed_makes_it(on_file):
    found = audit.effects(BASE, on_file, "tno", "test", ["vif@tang"]).set_index("variant")
    assert found["finding"].to_dict() == {"little": audit.WITHIN, "large": audit.MOVES, "chance": audit.UNCLEAR}
    assert found.loc["large", "difference"] == pytest.approx(2)
    assert found.loc["large", "seeds"] == pytest.approx(0.5)
    assert found.loc["large", "low"] <= 2 <= found.loc["large", "high"]


def test_the_description_names_what_moves(on_file):
    text = audit.describe_effects(audit.effects(BASE, on_file, "tno", "test", ["vif@tang"]))
    assert "large: moves vif@tang +2" in text
    assert "little: moves nothing" in text


def test_without_a_base_there_is_nothing_to_compare(on_file):
    empty = audit.effects("fusionmamba:nothing", on_file, "tno", "test", ["vif@tang"])
    assert empty.empty
    assert audit.describe_effects(empty) == "Nothing is measured yet."
    with pytest.raises(FusionkitError, match="no rows"):
        effect_chart(empty)


def test_the_chart_has_one_part_per_quantity(on_file):
    table = audit.effects(BASE, on_file, "tno", "test", ["vif@tang"])
    (axes,) = effect_chart(table).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["chance", "large", "little"]


def test_curves_of_networks_that_are_not_here_are_left_out():
    found = audit.training_curves({"a": "lightfusionnet:pet_mri", "b": "lightfusionnet:nothing"})
    assert list(found) == ["a"]
    assert {"epoch", "total"} <= set(found["a"])


def test_stretching_fills_the_range_of_each_image():
    images = torch.rand(3, 1, 8, 8) * torch.tensor([0.1, 0.5, 0]).view(3, 1, 1, 1) + 0.2
    stretched = stretch(images)
    assert stretched[:2].amin((1, 2, 3)).tolist() == [0, 0]
    assert stretched[:2].amax((1, 2, 3)).tolist() == [1, 1]
    torch.testing.assert_close(stretched[2], images[2])


def test_stretched_columns_are_measured_beside_the_others():
    wanted = measure.quantities("tno21_256")
    assert ("sf", "tang") in wanted
    assert ("sf", "tang+stretch") in wanted
    values = measure.compute("average", "phantom_gfp_pc", "test", ["000"]).values
    assert values["sf@tang+stretch"].item() > values["sf@tang"].item()
