"""The published record: complete, exactly as printed, and consistent in itself."""

import re
import tomllib
from collections import Counter

import pytest

from fusionkit import papers
from fusionkit.errors import FusionkitError

PAPERS = ["diffmf", "fusionmamba", "lightfusionnet", "s4fusion"]
PANELS = [panel for paper in PAPERS for panel in papers.load_paper(paper).panels]
NAMES = [f"{panel.paper}/{panel.id}" for panel in PANELS]
every_panel = pytest.mark.parametrize("panel", PANELS, ids=NAMES)


def cells(panel, inputs=True):
    names = [name for name, column in panel.columns.items() if inputs or column.role != "input"]
    return [cell for cell in panel.published[names].to_numpy().ravel() if cell]


def test_everything_is_on_record():
    items = papers.artefacts()
    assert papers.list_papers() == PAPERS
    assert sum(item.id.startswith("table") for item in items) == 27
    assert sum(item.id.startswith("figure") for item in items) == 36
    assert Counter(panel.paper for panel in PANELS) == {
        "fusionmamba": 8,
        "diffmf": 11,
        "s4fusion": 6,
        "lightfusionnet": 9,
    }
    results = sum(len(cells(panel, inputs=False)) for panel in PANELS)
    assert (results, sum(len(cells(panel)) for panel in PANELS)) == (1782, 1838)


def test_artefacts_and_panels_point_at_each_other():
    for paper in PAPERS:
        record = papers.load_paper(paper)
        assert [item.number for item in record.artefacts] == list(range(1, len(record.artefacts) + 1))
        assert [name for item in record.artefacts for name in item.panels] == [p.id for p in record.panels]
        assert all(bool(item.panels) == item.id.startswith("table") for item in record.artefacts)
    notebooks = [item.notebook for item in papers.artefacts()]
    assert len(set(notebooks)) == 63
    assert "lightfusionnet/04_table4_width_and_reduction.ipynb" in notebooks
    assert all(re.fullmatch(r"\w+/\d\d_(table|figure)\d+_[a-z0-9_]+\.ipynb", name) for name in notebooks)


@every_panel
def test_cells_are_numbers(panel):
    for name, column in panel.columns.items():
        for cell in panel.published[name]:
            if column.role != "input" and cell:
                float(cell.removesuffix(column.unit or ""))
            assert cell == cell.strip()


@every_panel
def test_every_column_says_what_would_measure_it(panel):
    for column in panel.columns.values():
        assert bool(column.metric) == bool(column.convention)
        assert column.metric or column.cost or column.not_measured or column.role == "input", column.name
        assert column.better != "none" or column.not_measured or column.role == "input", column.name


@every_panel
def test_claims_name_printed_rows_and_columns(panel):
    wanted = {"best": set(), "better": {"than"}, "rank": {"at_most"}, "close": {"than", "within"}}
    for claim in panel.claims:
        assert claim.column in panel.columns and claim.row in panel.rows, claim
        assert claim.than is None or claim.than in panel.rows and claim.than != claim.row, claim
        given = {key for key in ("than", "at_most", "within") if getattr(claim, key) is not None}
        assert given == wanted[claim.kind], claim
        assert panel.columns[claim.column].better != "none", claim
    assert len(set(panel.claims)) == len(panel.claims)


@pytest.mark.parametrize("paper", PAPERS)
def test_no_entry_of_the_toml_is_idle(paper):
    folder = papers.FOLDER / paper
    record = tomllib.loads((folder / "paper.toml").read_text(encoding="utf-8"))
    panels = papers.load_paper(paper).panels
    assert sorted(path.stem for path in folder.glob("*.csv")) == sorted(panel.id for panel in panels)
    assert set(record["columns"]) <= {name for panel in panels for name in panel.columns}
    assert set(record["rows"]) <= {name for panel in panels for name in panel.rows}
    for table, panel in zip(record["panels"], panels, strict=True):
        assert set(table.get("columns", {})) <= set(panel.columns), panel.id
        assert set(table.get("rows", {})) <= set(panel.rows), panel.id


@pytest.mark.parametrize("paper", PAPERS)
def test_digits_stand_in_the_paper(paper, golden):
    file = golden.parent / "papers" / f"{paper}.txt"
    if not file.is_file():
        pytest.skip(f"text of the paper absent: {paper}.txt belongs in a folder 'papers' beside the golden folder")
    text = file.read_text(encoding="utf-8")
    wanted = Counter(cell for panel in papers.load_paper(paper).panels for cell in cells(panel))
    for cell, count in wanted.items():
        found = len(re.findall(rf"(?<![\d.]){re.escape(cell)}(?!\d|\.\d)", text))
        assert found >= count, f"{cell}: {count} times in the record, {found} times in the paper"


@pytest.mark.parametrize(
    ("panel", "row", "column", "value"),
    [
        ("fusionmamba/table1", "FusionMamba (Ours)", "SCD", "1.58884"),
        ("fusionmamba/table1", "U2F [4]", "SF", "14.8600"),
        ("fusionmamba/table3", "CSMCA [26]", "SF", "13.708"),
        ("fusionmamba/table4", "DATF [12]", "MS-SSIM", "0.7595"),
        ("fusionmamba/table6", "FusionMamba (Ours)", "Flops (G)", "16.50"),
        ("fusionmamba/table8", "w/o L_sxt", "Qabf", "0.4604"),
        ("lightfusionnet/table1a", "Ours(LightFusionNet)", "MI", "2.46"),
        ("lightfusionnet/table1b", "AITFuse (Wang et al. 2024)", "Param", "6.500"),
        ("lightfusionnet/table1c", "ITFuse (Tang, He, and Liu 2024)", "SD", "25.86"),
        ("lightfusionnet/table2b", "ATF (Jian et al. 2024)", "Time", "35.88"),
        ("lightfusionnet/table3", "D/W → Conv", "FLOPS", "0.66"),
        ("lightfusionnet/table4b", "R = 8", "SCD", "1.29"),
        ("lightfusionnet/table5", "SSIM 20, Gradient 50, Intensity 100", "EN", "4.01"),
        ("diffmf/table1_tno", "FusionMamba", "MI", "7.656"),
    ],
)
def test_spot_values(panel, row, column, value):
    assert papers.get_panel(panel).published.loc[row, column] == value


def test_lightfusionnet_rows_name_the_runs():
    table5 = papers.get_panel("lightfusionnet/table5").rows
    assert table5["SSIM 10, Gradient 50, Intensity 100"] == papers.Row(
        "SSIM 10, Gradient 50, Intensity 100",
        "lightfusionnet:pet_mri-w10_50_100",
        "lightfusionnet:pet_mri-v10_50_100",
    )
    assert table5["SSIM 20, Gradient 50, Intensity 100"].relabelled == "lightfusionnet:pet_mri"
    crossed = papers.get_panel("lightfusionnet/table2a")
    assert (crossed.dataset, crossed.rows["Ours(LightFusionNet)"].method) == (
        "harvard_pet_mri",
        "lightfusionnet:spect_mri",
    )
    names = {row.method for panel in PANELS if panel.paper == "lightfusionnet" for row in panel.rows.values()}
    runs = {name for name in names if name and name.startswith("lightfusionnet:")}
    assert len(runs) == 3 + 4 + 2 + 2 + 7


def test_lightfusionnet_scd_is_twice_cc_in_the_comparison_tables():
    panels = [p for p in PANELS if p.paper == "lightfusionnet" and p.id in {"table1a", "table1b", "table1c"}]
    panels += [p for p in PANELS if p.paper == "lightfusionnet" and p.id in {"table2a", "table2b"}]
    differ = [
        label
        for panel in panels
        for label, row in panel.published.iterrows()
        if abs(float(row["SCD"]) - 2 * float(row["CC"])) > 0.0151
    ]
    assert differ == ["U2Fusion (Xu et al. 2020)"]
    scd = panels[0].columns["SCD"]
    assert (scd.metric, scd.scale, scd.also) == ("cc", 2, (papers.Reading("scd", "cddfuse"),))


def test_fusionmamba_overrides_hold_for_their_panel_only():
    assert papers.get_panel("fusionmamba/table4").rows["IFT [11]"].method == "published:IFT"
    assert papers.get_panel("fusionmamba/table1").rows["IFT [11]"].status == "missing"
    assert papers.get_panel("fusionmamba/table3").rows["SDNet [2]"].method is None


def test_paper_is_cached():
    assert papers.load_paper("fusionmamba") is papers.load_paper("fusionmamba")
    assert papers.load_paper("fusionmamba").arxiv == "2404.09498"


@pytest.mark.parametrize(
    ("call", "name", "near"),
    [
        (papers.load_paper, "fusionmanba", "fusionmamba"),
        (papers.get_panel, "lightfusionet/table1a", "lightfusionnet"),
        (papers.get_panel, "lightfusionnet/table1", "lightfusionnet/table1a"),
    ],
)
def test_unknown_names_suggest_near_ones(call, name, near):
    with pytest.raises(FusionkitError, match=f"did you mean .*{near}"):
        call(name)


GOOD = """
id = "tiny"
title = "T"
authors = ["A"]
venue = "V"
year = 2020
[columns]
EN = { metric = "en", convention = "tang", better = "higher" }
[rows]
Ours = { method = "average" }
[[artefacts]]
id = "table1"
caption = "c"
topic = "t"
number = 1
status = "planned"
issue = "i"
[[panels]]
id = "table1"
artefact = "table1"
caption = "c"
claims = [{ text = "t", kind = "best", column = "EN", row = "Ours" }]
"""


def read(tmp_path, monkeypatch, text, csv="method,EN\nOurs,0.540\n"):
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "paper.toml").write_text(text, encoding="utf-8")
    (folder / "table1.csv").write_text(csv, encoding="utf-8")
    monkeypatch.setattr(papers, "FOLDER", tmp_path)
    return papers.load_paper.__wrapped__("tiny")


def test_small_record(tmp_path, monkeypatch):
    paper = read(tmp_path, monkeypatch, GOOD, "method,EN\nOurs,0.540\n")
    panel = paper.panels[0]
    assert panel.published.loc["Ours", "EN"] == "0.540"
    assert panel.rows["Ours"] == papers.Row("Ours", method="average", status="done")
    assert paper.artefacts[0].notebook == "tiny/01_table1_t.ipynb"
    assert paper.artefacts[0].panels == ("table1",)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("year = 2020", "year = 2020\nyeer = 1", "top level: unknown key 'yeer'"),
        ('venue = "V"', "", "'venue' is missing"),
        ('convention = "tang"', 'convension = "tang"', "column 'EN': unknown key 'convension'"),
        ('better = "higher"', 'better = "up"', "better = 'up'"),
        ('kind = "best"', 'kind = "first"', "kind = 'first'"),
        ("Ours = { method", "Theirs = { method", "row 'Ours'"),
        ("EN = {", "SD = {", "column 'EN'"),
        ('method = "average"', 'status = "planned"', "give 'method' or 'missing'"),
        ("number = 1", 'number = "one"', "integer 'number'"),
        ('topic = "t"', "", "integer 'number'"),
        ('id = "table1"\nartefact', 'id = "table2"\nartefact', "table2.csv"),
        ("[rows]", "[rows", "paper.toml"),
    ],
)
def test_mistakes_in_the_toml_are_named(tmp_path, monkeypatch, old, new, message):
    assert old in GOOD
    with pytest.raises(FusionkitError) as caught:
        read(tmp_path, monkeypatch, GOOD.replace(old, new))
    assert message in str(caught.value) and "paper.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("csv", ["method,EN\nOurs,1\nOurs,2\n", "name,EN\nOurs,1\n"])
def test_bad_csv_is_named(tmp_path, monkeypatch, csv):
    with pytest.raises(FusionkitError, match=r"table1\.csv"):
        read(tmp_path, monkeypatch, GOOD, csv)
