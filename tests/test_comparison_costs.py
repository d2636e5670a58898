"""LightFusionNet's column of operations: counts of layers made by hand, and the printed rows."""

import pandas as pd
import pytest
from torch import nn

from fusionkit.audits import comparison_costs as audit
from fusionkit.cost import gmacs

PIXELS = 256 * 256 / 1e9


class Siamese(nn.Module):
    """A shared encoder of 9 and a decoder of 18 multiply-adds per pixel; a projection of pixels may be named."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Conv2d(1, 1, 3, padding=1, bias=False)
        self.decoder = nn.Conv2d(1, 2, 3, padding=1, bias=False)
        self.in_proj = nn.Linear(256, 256, bias=False)

    def forward(self, a, b):
        return self.decoder(self.in_proj(self.encoder(a) + self.encoder(b)))


def test_one_encoder_pass_leaves_out_the_second():
    network = Siamese().eval()
    assert gmacs(network, (256, 256), "thop") == pytest.approx((9 + 9 + 256 + 18) * PIXELS)
    assert audit.one_encoder_pass(network) == pytest.approx((9 + 256 + 18) * PIXELS)


def test_unseen_layers_are_seen_again_afterwards():
    network = Siamese().eval()
    before = gmacs(network, (256, 256), "thop")
    assert audit.without_in_proj(network) == pytest.approx(before - 256 * PIXELS)
    assert type(network.in_proj) is nn.Linear
    assert gmacs(network, (256, 256), "thop") == before


@pytest.mark.parametrize(
    ("name", "rule", "value"),
    [
        ("CDDFuse", "one encoder pass", 77.685),
        ("CDDFuse", "macs", 117.858),
        ("MBHFuse", "thop", 28.923),
        ("MBHFuse", "macs", 106.268),
        ("PMKFuse", "thop, in_proj unseen", 3.286),
        ("DATFuse", "macs", 1.145),
        ("DATFuse", "two per multiply-add", 2.29),
        ("U2Fusion", "thop", 43.170),
    ],
)
def test_counts(name, rule, value):
    assert audit.counts(name)[rule] == pytest.approx(value, abs=1.1e-3)
    assert audit.RULES.keys() >= audit.counts(name).keys()


def column():
    """Three rows: one counted alike, one at half, one that no rule gives."""
    return pd.DataFrame(
        {
            "printed G": ["1.00", "2.00", "9.00"],
            "rule": ["thop", "one encoder pass", "macs"],
            "by rule": [1.0, 2.0, 5.0],
            "fits": [True, True, False],
            "alike": [1.0, 6.0, 5.0],
        },
        index=pd.Index(["A", "B", "C"], name="method"),
    )


def test_verdict_names_rules_and_places():
    text = audit.column_verdict(column())
    assert "2 of 3 printed counts come out to the digit, by 2 rules (thop: A; one encoder pass: B)" in text
    assert "Not: C (9.00, nearest macs 5.00)" in text
    assert "2 of 3 rows change their place (B 2 to 3, C 3 to 2)" in text
    audit.column_figure(column())
