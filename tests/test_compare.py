"""Means and paired comparison of scores: against scipy and by hand."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fusionkit import metrics
from fusionkit.compare import compare, comparison_text, holm, summarise, summary_text
from fusionkit.errors import FusionkitError
from fusionkit.intervals import mean_interval


def scores(convention="tang", **values):
    """A table of scores with the given values per metric."""
    return pd.DataFrame(
        [(f"{i:02}", convention, metric, value) for metric, row in values.items() for i, value in enumerate(row)],
        columns=["image", "convention", "metric", "value"],
    )


@pytest.fixture
def badness(monkeypatch):
    """A metric whose lower values are better."""
    metric = dataclasses.replace(metrics.METRICS["en"], name="badness", better="lower")
    monkeypatch.setitem(metrics.METRICS, "badness", metric)


def test_summary_leaves_out_and_counts_what_is_not_finite():
    values = np.array([1.0, 2.0, np.nan, np.inf, 6.0])
    (row,) = summarise(scores(en=values)).to_dict("records")
    low, high = mean_interval(np.array([1.0, 2.0, 6.0]))
    assert row == {
        "metric": "en",
        "convention": "tang",
        "better": "higher",
        "unit": "bit",
        "images": 3,
        "nan": 1,
        "infinite": 1,
        "mean": 3.0,
        "low": low,
        "high": high,
    }
    text = summary_text(summarise(scores(en=values)))
    assert text.splitlines()[0].startswith("5 images")
    assert text.splitlines()[-1] == "en (tang): 1 nan and 1 infinite values are left out of the mean"


def test_summary_of_one_image_and_of_nothing_finite():
    found = summarise(scores(en=[2.0], sf=[np.inf])).set_index("metric")
    assert found.loc["en", "mean"] == 2 and np.isnan(found.loc["sf", "mean"])
    lines = summary_text(found.reset_index()).splitlines()
    assert lines[0].startswith("1 image,")
    assert lines[2].split() == ["en", "↑", "tang", "2", "-", "bit"]


def test_conventions_of_a_metric_stand_together():
    table = pd.concat([scores("vifb", sf=[1.0], en=[1.0]), scores("tang", sf=[1.0], en=[1.0])])
    found = summarise(table)[["metric", "convention"]].to_numpy().tolist()
    assert found == [["en", "tang"], ["en", "vifb"], ["sf", "tang"], ["sf", "vifb"]]


def test_comparison_equals_scipy():
    first, second = np.random.default_rng(1).normal([[[1]], [[0]]], 1, (2, 2, 30))
    first[1, :4], second[1, 2] = second[1, :4], np.nan
    found = compare(scores(en=first[0], sf=first[1]), scores(en=second[0], sf=second[1])).set_index("metric")
    difference = first[0] - second[0]
    assert found.loc["en", "p"] == stats.wilcoxon(first[0], second[0]).pvalue
    assert found.loc["en", ["first", "second"]].tolist() == [first[0].mean(), second[0].mean()]
    assert found.loc["en", "difference"] == pytest.approx(first[0].mean() - second[0].mean(), rel=1e-12)
    assert tuple(found.loc["en", ["low", "high"]]) == mean_interval(difference)
    assert found.loc["en", "wins"] == (difference > 0).mean()
    kept = np.isfinite(second[1])
    assert found.loc["sf", "p"] == stats.wilcoxon(first[1][kept], second[1][kept]).pvalue
    assert found.loc["sf", ["images", "left_out"]].tolist() == [29, 1]
    ties = (first[1] == second[1])[kept].sum()
    assert ties == 3
    assert found.loc["sf", "wins"] == ((first[1] > second[1])[kept].sum() + ties / 2) / 29


def test_lower_is_better_where_the_metric_says_so(badness):
    one, two = scores(en=[1, 2, 3, 4.0], badness=[1, 2, 3, 4.0]), scores(en=[0, 0, 3, 5.0], badness=[0, 0, 3, 5.0])
    found = compare(one, two).set_index("metric")
    assert found.loc["en", "wins"] == 2.5 / 4
    assert found.loc["badness", "wins"] == 1.5 / 4
    assert found.loc["badness", "difference"] == found.loc["en", "difference"] == 0.5
    assert "badness ↓" in comparison_text(found.reset_index())


def test_says_so_where_there_is_no_test():
    one = scores(en=np.arange(6.0), sf=np.arange(5.0), sd=[1, np.inf, np.nan, np.nan, 1, 1.0])
    two = scores(en=np.arange(6.0), sf=np.arange(5.0) + 1, sd=np.full(6, np.nan))
    found = compare(one, two).set_index("metric")
    assert found["untested"].to_dict() == {"en": "all equal", "sf": "under 6 pairs", "sd": "under 6 pairs"}
    assert found[["p", "p_holm"]].isna().all(axis=None)
    assert found.loc["en", "wins"] == 0.5
    assert found.loc["sd", ["images", "left_out"]].tolist() == [0, 6]
    text = comparison_text(found.reset_index())
    assert "all equal" in text and "under 6 pairs" in text
    assert "sd (tang): 6 pairs with a value that is not finite are left out" in text


def test_holm_by_hand():
    p = pd.Series([0.01, 0.04, np.nan, 0.03, 0.005])
    np.testing.assert_allclose(holm(p), [0.03, 0.06, np.nan, 0.06, 0.02], rtol=1e-12)
    np.testing.assert_array_equal(holm(pd.Series([0.9, 0.8])), [1, 1])
    assert len(holm(pd.Series([], dtype=float))) == 0


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_rejects_what_stepping_down_rejects(p):
    """Holm's procedure as he states it: go up from the smallest and stop at the first that fails."""
    rejected = set()
    for steps, index in enumerate(np.argsort(p, kind="stable")):
        if p[index] * (len(p) - steps) > 0.05:
            break
        rejected.add(int(index))
    assert set(np.flatnonzero(holm(pd.Series(p)) <= 0.05).tolist()) == rejected


def test_correction_does_not_depend_on_other_conventions():
    en, sf = np.random.default_rng(1).normal(1, 1, (2, 12))
    values = {"en": en, "sf": sf}
    nothing = {"en": np.zeros(12), "sf": np.zeros(12)}
    alone = compare(scores(**values), scores(**nothing))
    both = compare(
        pd.concat([scores(**values), scores("vifb", **values)]),
        pd.concat([scores(**nothing), scores("vifb", **nothing)]),
    )
    assert both.loc[both["convention"] == "tang", "p_holm"].tolist() == alone["p_holm"].tolist()
    assert alone["p_holm"].min() == 2 * alone["p"].min()


def test_only_common_images_are_compared():
    found = compare(scores(en=[1, 2, 3.0], sf=[1.0]), scores(en=[1, 1.0]))
    assert found[["metric", "images", "first"]].to_numpy().tolist() == [["en", 2, 1.5]]


@pytest.mark.parametrize("names", [("en",), tuple(metrics.METRICS)])
def test_texts_fit_100_columns(names):
    values = dict(zip(names, np.random.default_rng(1).normal(-1234, 100, (len(names), 20)), strict=True))
    tables = [
        pd.concat(
            [
                scores(c, **{n: v + s for n, v in values.items() if c in metrics.METRICS[n].variants})
                for c in metrics.CONVENTIONS
            ]
        )
        for s in (0, 0.001234)
    ]
    for text in (summary_text(summarise(tables[0])), comparison_text(compare(*tables))):
        assert max(map(len, text.splitlines())) <= 100


def test_bad_tables_are_refused():
    good = scores(en=[1.0, 2.0])
    cases = [
        (good.drop(columns="value"), good, "no column value"),
        (good, pd.concat([good, good]), "image '00' has more than one value of en"),
        (good, scores("vifb", en=[1.0]), "share no image"),
        (scores(enn=[1.0]), scores(enn=[1.0]), "did you mean en"),
        (scores("rfn", en=[1.0]), scores("rfn", en=[1.0]), "does not exist in convention"),
    ]
    for one, two, message in cases:
        with pytest.raises(FusionkitError, match=message):
            compare(one, two)
