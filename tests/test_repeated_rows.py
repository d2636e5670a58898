"""Rows printed twice: the finder on made-up tables, and what it finds in the record."""

from math import comb

import numpy as np
import pandas as pd
import pytest

from fusionkit.audits import repeated_rows as audit
from fusionkit.measure import Measurement
from fusionkit.papers import Column, Panel, Row

NAMES = ("VIF", "SCD", "SF", "FMI")


def panel(id, numbers, dataset="tno", methods=None):
    """Return a panel of random-looking rows; ``numbers`` is (rows, 4), printed with three decimals."""
    labels = methods or [f"{id}{row}" for row in "abcde"[: len(numbers)]]
    published = pd.DataFrame([[f"{x:.3f}" for x in row] for row in numbers], labels, NAMES)
    columns = {name: Column(name, "higher", metric=name.lower(), convention="tang") for name in NAMES}
    return Panel("net", id, id, "", published, columns, {label: Row(label) for label in labels}, dataset, "test")


def random_numbers(seed, rows=5):
    return np.random.default_rng(seed).normal(1, 0.3, (rows, 4))


def test_a_copied_row_is_found_and_nothing_else():
    one, other = random_numbers(0), random_numbers(1)
    other[2, :3] = one[4, :3]
    found = audit.repeats(audit.printed_lines([panel("p", one), panel("q", other, "msrs")]))
    assert len(found) == 1
    row = found.iloc[0]
    assert (row["first"], row["second"]) == ("net/p: pe", "net/q: qc")
    assert (row["equal"], row["of"], row["columns"], row["kind"]) == (3, 4, "VIF, SCD, SF", audit.UNRELATED)
    assert audit.suspicious(found).equals(found)


def test_unrelated_rows_are_not_found():
    panels = [panel(id, random_numbers(seed)) for seed, id in enumerate("pqrstuvw")]
    assert audit.repeats(audit.printed_lines(panels)).empty


def test_coarse_digits_are_no_surprise():
    """Values without spread, or with one digit, agree by chance."""
    coarse = [panel(id, np.ones((5, 4))) for id in "pq"]
    assert audit.repeats(audit.printed_lines(coarse)).empty


@pytest.mark.parametrize(
    ("dataset", "second", "kind"),
    [
        ("tno", "Net (Ours)", audit.SAME),
        ("msrs", "Net [3]", audit.OTHER_PAIRS),
        ("tno", "Other", audit.OTHER_METHOD),
        ("msrs", "Other", audit.UNRELATED),
    ],
)
def test_what_two_rows_have_in_common(dataset, second, kind):
    one, other = random_numbers(0, 2), random_numbers(1, 2)
    other[0] = one[0]
    panels = [panel("p", one, "tno", ["Net", "A"]), panel("q", other, dataset, [second, "B"])]
    assert audit.repeats(audit.printed_lines(panels))["kind"].tolist() == [kind]


@pytest.mark.parametrize("count", [0, 1, 2, 4])
def test_at_least_is_the_binomial_tail(count):
    expected = sum(comb(4, k) * 0.3**k * 0.7 ** (4 - k) for k in range(count, 5))
    assert audit.at_least(count, [0.3] * 4) == pytest.approx(expected)


def test_the_record_has_two_rows_that_are_printed_twice():
    lines = audit.printed_lines()
    found = audit.repeats(lines)
    odd = audit.suspicious(found)
    assert list(zip(odd["first"], odd["second"], strict=True)) == [
        ("diffmf/table1_m3fd: DIDFuse", "diffmf/table1_m3fd: MambaDFuse"),
        ("fusionmamba/table3: SDNet [2]", "fusionmamba/table4: SDNet [2]"),
    ]
    assert "printed rows compared" in audit.repeats_verdict(found, lines)


def test_genuine_is_told_by_measurement(monkeypatch):
    """Table 4's row comes out; made-up values of SPECT pairs do not hold Table 3's."""

    def load(method, dataset, split):
        column = 0.4715 if dataset == "tno21_256" else 9.0
        keys = [f"{c.metric}@{c.convention}" for c in audit.get_panel("fusionmamba/table3").columns.values()]
        return Measurement(method, dataset, split, pd.DataFrame(dict.fromkeys(keys, [column] * 30)), {})

    monkeypatch.setattr(audit, "load_measurement", load)
    measured = audit.both_measured()
    assert measured.loc[("Table 4", "VIF"), "inside"] and not measured.loc[("Table 3", "VIF"), "inside"]
    assert "no 21 of the pairs give VIF, SCD" in audit.genuine_verdict(measured)
    audit.genuine_figure(measured)


def test_genuine_without_measurements(monkeypatch):
    monkeypatch.setattr(audit, "load_measurement", lambda *_: None)
    measured = audit.both_measured()
    assert measured["measured"].isna().all()
    assert audit.genuine_verdict(measured).count("is not measured") == 2
