"""Equal conditions: ranks, their intervals, and what is left of printed orders."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusionkit.audits import equal
from fusionkit.measure import list_measurements
from fusionkit.papers import get_panel
from fusionkit.recipes import list_recipes, load_recipe


def frame(level, seed=0, pairs=30, noise=0.1):
    rng = np.random.default_rng(seed)
    shared = np.random.default_rng(99).normal(size=pairs)  # what makes one pair harder than another
    names = ["mi@tang", "mi@cddfuse", "qabf@tang", equal.LOSS]
    signs = np.array([1, 1, 1, -1])
    values = (level + shared[:, None] + noise * rng.normal(size=(pairs, 4))) * signs
    return pd.DataFrame(values, columns=names, index=[str(i) for i in range(pairs)])


def test_ranks_follow_the_means_and_differences_between_pairs_do_not_blur_them():
    found = equal.ranks({"worst": [frame(0)], "best": [frame(2, 1)], "middle": [frame(1, 2)]})
    assert list(dict.fromkeys(found["quantity"])) == ["mi@tang", "qabf@tang", equal.LOSS]
    for _, part in found.groupby("quantity"):
        assert part.set_index("model")["rank"].to_dict() == {"best": 1, "middle": 2, "worst": 3}
        assert (part["low"] == part["rank"]).all() and (part["high"] == part["rank"]).all()
    table = equal.rank_table(found)
    assert list(table.index) == ["best", "middle", "worst"] and table.loc["best", "mi@tang"] == "1 [1, 1]"


def test_seeds_that_disagree_widen_the_interval():
    found = equal.ranks({"steady": [frame(1), frame(1, 1)], "lucky": [frame(0, 2), frame(2, 3)]}).set_index("model")
    assert found.loc["lucky", "seeds"].min() > 1.8 > found.loc["steady", "seeds"].max()
    assert (found["low"] == 1).all() and (found["high"] == 2).all()


@given(st.lists(st.floats(-3, 3), min_size=2, max_size=5), st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_a_rank_lies_inside_its_interval(levels, seed):
    found = equal.ranks({f"m{i}": [frame(level, seed + i, pairs=8)] for i, level in enumerate(levels)})
    assert ((found["low"] >= 1) & (found["low"] <= found["high"]) & (found["high"] <= len(levels))).all()
    assert (found.groupby("quantity")["rank"].min() == 1).all()


def test_an_undefined_pair_is_left_out_for_all():
    one, two = frame(1), frame(1, 1)
    one.iloc[3, 0] = np.nan
    found = equal.ranks({"a": [one], "b": [two]})
    assert found["mean"].notna().all()


def test_printed_orders_hold_turn_or_stay_open():
    far = equal.what_remains({"s4fusion": [frame(3)], "datfuse": [frame(0, 1)]})
    here = far[far["panel"] == "s4fusion/table1_roadscene"].set_index("metric")
    assert set(here.index) == {"mi", "qabf"} and (here["outcome"] == equal.HOLDS).all()
    turned = equal.what_remains({"s4fusion": [frame(0)], "datfuse": [frame(3, 1)]})
    assert (turned[turned["panel"] == "s4fusion/table1_roadscene"]["outcome"] == equal.REVERSED).all()
    close = equal.what_remains({"s4fusion": [frame(0)], "datfuse": [frame(0, 1)]})
    assert (close["outcome"] == equal.UNDECIDED).any()
    found = equal.ranks({"s4fusion": [frame(3)], "datfuse": [frame(0, 1)]})
    assert equal.describe(found, far).startswith("s4fusion has the best mean rank of 2 networks and is first in 3 of 3")
    assert "no network" in equal.describe(found.iloc[:0], far)


def test_printed_pairs_are_those_of_the_tables():
    pairs = {(p.id, m, b, w) for p, m, b, w in equal.printed_pairs(["datfuse", "reconet"]) if p.paper == "s4fusion"}
    published = get_panel("s4fusion/table1_roadscene").published
    assert float(published.loc["DATFuse", "MI"]) > float(published.loc["ReCoNet", "MI"])
    assert ("table1_roadscene", "mi", "datfuse", "reconet") in pairs
    assert not list(equal.printed_pairs(["densefuse"]))


def test_the_protocol_is_one():
    recipes = [load_recipe(name).to_dict() for name in list_recipes() if name.startswith(equal.PROTOCOL)]
    for recipe in recipes:
        assert recipe.pop("run") == recipe.pop("model")
        recipe.pop("options")
    assert len(recipes) == 10 and all(recipe == recipes[0] for recipe in recipes)


def test_the_recorded_scores_hold_the_same_pairs():
    scores = equal.recorded()
    if not scores:
        pytest.skip("no network of this protocol is on record")
    frames = [frame for seeds in scores.values() for frame in seeds]
    assert all(frame.index.equals(frames[0].index) for frame in frames)
    where = [item for item in list_measurements() if item[1:] == equal.HELD_OUT]
    assert len([method for method, *_ in where if equal.PROTOCOL in method]) == len(frames)
