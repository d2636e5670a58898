"""Generated pages, and the yardstick, from synthetic measurements; committed pages are up to date."""

import re
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest

from fusionkit import paths, report
from fusionkit.errors import FusionkitError
from fusionkit.papers import artefacts, list_papers, load_paper
from fusionkit.yardstick import yardstick

METHODS = {"average": 40.0, "maximum": 20.0, "net:good": 12.0, "net:bad": 30.0, "oracle_net": 10.0}


def losses(mean, pairs=20):
    noise = np.random.default_rng(1).normal(0, 0.1, pairs)
    return pd.DataFrame({"en@tang": noise, "loss:net:term": mean / 2 + noise, "loss:net:total": mean + noise})


@pytest.fixture
def empty_results(tmp_path, monkeypatch):
    """Results without a single measurement or card."""
    monkeypatch.setattr(paths, "results_dir", lambda: tmp_path)
    monkeypatch.setattr("fusionkit.report.weight_folders", lambda: (tmp_path / "weights",))
    return tmp_path


def test_yardstick_is_the_share_of_the_way():
    table = yardstick("any", "test", "net", {method: losses(mean) for method, mean in METHODS.items()})
    assert list(table.index) == ["average", "maximum", "net:good", "net:bad", "oracle_net"]
    assert list(table.columns) == ["term", "total", "share", "low", "high", "pairs"]
    assert table.loc["net:good", "share"] == pytest.approx(0.8, abs=0.01)
    assert table.loc["net:bad", "share"] == pytest.approx(-1, abs=0.02)
    low, high = table.loc["net:good", ["low", "high"]]
    assert low <= table.loc["net:good", "share"] <= high
    assert table.loc[["average", "maximum", "oracle_net"], "share"].isna().all()
    assert (table["pairs"] == 20).all()


def test_yardstick_needs_both_rules_and_the_floor():
    for lost in ("average", "oracle_net"):
        frames = {method: losses(mean) for method, mean in METHODS.items() if method != lost}
        assert yardstick("any", "test", "net", frames).empty
    assert yardstick("any", "test", "other", {m: losses(v) for m, v in METHODS.items()}).empty


def test_page_without_measurements_shows_every_table_and_artefact(empty_results):
    text = report.results_markdown()
    for paper in list_papers():
        for panel in load_paper(paper).panels:
            assert f"### {paper}/{panel.id}: {panel.caption}" in text
    for item in artefacts():
        assert item.caption in text
    assert text.count("## The yardstick\n") == 1 and "None yet." in text
    assert str(paths.root()) not in text and not re.search(r"[ \t]+$", text, re.MULTILINE)
    assert text == report.results_markdown()


def test_coverage_links_what_is_done():
    text = report.coverage_markdown("../notebooks")
    for item in artefacts():
        assert (f"](../notebooks/{item.notebook})" in text) == (item.status == "done")
    assert len(artefacts()) == 63


def test_readme_is_changed_between_the_markers_only(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    text = report.updated_readme(readme)
    assert text.startswith(f"before\n{report.BEGIN}\n") and text.endswith(f"{report.END}\nafter\n")
    assert "old" not in text and report.coverage_markdown() in text
    readme.write_text(text)
    assert report.updated_readme(readme) == text
    readme.write_text("no markers\n")
    with pytest.raises(FusionkitError, match=r"README\.md: the lines .* are missing"):
        report.updated_readme(readme)


class Page(HTMLParser):
    """Checks that elements nest, and collects what the page would load."""

    def __init__(self):
        super().__init__()
        self.open, self.loads, self.links = [], [], []

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.links += [found["href"]] if tag == "a" else []
        self.loads += [found[key] for key in ("src", "href") if key in found and tag != "a"]
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_html_report_is_one_page_that_links_executed_notebooks(empty_results):
    item = next(item for item in artefacts() if item.status == "done")
    executed = empty_results / "executed"
    (executed / item.notebook).parent.mkdir(parents=True)
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("done")]), executed / item.notebook)
    path = report.write_html(empty_results / "report", executed)
    page = Page()
    page.feed(path.read_text(encoding="utf-8"))
    assert page.open == [] and page.loads == []
    assert len(page.links) == 1 and page.links == [str(Path(item.notebook).with_suffix(".html"))]
    assert "done" in (path.parent / page.links[0]).read_text()


def test_trained_weights_are_listed_from_their_cards(empty_results):
    folder = empty_results / "weights" / "net"
    folder.mkdir(parents=True)
    recipe = {"data": ["d/train"], "epochs": 2, "options": {"width": 8}, "loss_weights": {"term": 3}, "seed": 1}
    card = {"recipe": recipe, "pairs": 5, "steps": 4, "parameters": 77, "last_epoch": {"total": 1.25}}
    card |= {"seconds": 90, "code": "abc"}
    (folder / "run.json").write_text(pd.Series(card).to_json())
    assert "net:run" not in report.results_markdown(), "a card without weights"
    (folder / "run.safetensors").touch()
    assert "| net:run | d/train | 5 | 2 | 4 | 77 | loss term = 3, width = 8 | 1 | 1.25 | 1.5 | abc |" in (
        report.results_markdown()
    )


def test_committed_results_page_is_up_to_date():
    committed = paths.results_dir() / "README.md"
    assert committed.is_file(), "results/README.md is missing: run `fusionkit report`"
    assert committed.read_text(encoding="utf-8") == report.results_markdown(), "run `fusionkit report`"


def test_committed_readme_is_up_to_date():
    readme = paths.root() / "README.md"
    assert readme.read_text(encoding="utf-8") == report.updated_readme(readme), "run `fusionkit report`"
