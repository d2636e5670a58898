"""Generated pages: ``results/README.md``, the coverage table of ``README.md``, and the HTML report.

Everything here derives from the published record, the measurements and the cards of weights on file, so the same
files always give the same text.
"""

import html
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from nbconvert import HTMLExporter
from tabulate import tabulate

from fusionkit import paths
from fusionkit.data import load_pair
from fusionkit.errors import FusionkitError
from fusionkit.figures import fuse_pairs, qualitative_panel, save
from fusionkit.files import write_text
from fusionkit.papers import Artefact, Paper, artefacts, list_papers, load_paper
from fusionkit.tables import Table, build, counts, render
from fusionkit.tables.markup import Block, Grid, Heading, Items, Text, render_blocks
from fusionkit.weights import weight_folders
from fusionkit.yardstick import yardstick

BEGIN, END = "<!-- coverage:begin -->", "<!-- coverage:end -->"
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 90rem; padding: 0 1rem; color: #1b1b1b }
table { border-collapse: collapse; margin: 1rem 0; font-size: 13px; display: block; overflow-x: auto }
th, td { border: 1px solid #ccc; padding: .25rem .5rem; text-align: left; vertical-align: top }
th { background: #f2f2f2 }
"""
INTRODUCTION = (
    "Every table of the four papers, printed numbers beside measured ones. `fusionkit report` writes this page from "
    "the published record, the measurements in `results/measured` and the cards of the weights; do not edit it. How "
    "closely the metrics reproduce values that others computed stands in `results/calibration.md`, and every metric "
    "under every convention for released fused images in `results/survey`."
)
YARDSTICK = (
    "The paper's own loss on its test pairs: of two trivial rules, of the networks trained here, and of the floor, "
    "images whose pixels were optimised on that loss. Share of the way = (best trivial - network) / (best trivial - "
    "floor): 100 % at the floor, 0 % level with the better trivial rule, negative below it; in brackets the 95 % "
    "bootstrap interval over pairs. Networks trained with other loss weights are measured with the paper's too."
)
COVERAGE = ("paper", "item", "caption", "notebook", "status")


def results_markdown() -> str:
    """Return the text of ``results/README.md``."""
    tables = {paper: _tables(load_paper(paper)) for paper in list_papers()}
    parts = [
        render_blocks([Heading("Results", 1), Text(INTRODUCTION), *_overview(tables)], "md"),
        "## Coverage\n",
        coverage_markdown("../notebooks"),
        render_blocks([*_yardsticks(), *_weights()], "md"),
    ]
    parts += [text for paper, built in tables.items() for text in _paper(load_paper(paper), built, "md")]
    return "\n".join(parts)


def write_results_readme() -> Path:
    """Write ``results/README.md`` and return its path."""
    path = paths.results_dir() / "README.md"
    write_text(path, results_markdown())
    return path


def write_overview() -> Path:
    """Draw the README's picture, phantoms fused by the networks that come with the package, where it is missing."""
    path = paths.results_dir() / "figures" / "overview.png"
    if not path.is_file():
        names = {"PET-MRI": "pet_mri", "SPECT-MRI": "spect_mri", "CT-MRI": "ct_mri"}
        pairs = [load_pair(f"phantom_{weights}", "test", "002") for weights in names.values()]
        fused = {method: fuse_pairs(pairs, [method])[method] for method in ("average", "maximum")}
        networks = [f"lightfusionnet:{weights}" for weights in names.values()]
        own = [fuse_pairs([pair], [method])[method][0] for pair, method in zip(pairs, networks, strict=True)]
        save(qualitative_panel(pairs, {**fused, "LightFusionNet": own}, zoom=1), path, {"methods": networks})
    return path


def coverage_markdown(notebooks: str = "notebooks") -> str:
    """Return the table of all tables and figures with their notebooks, linked where they are done.

    Args:
        notebooks: Path of the folder of notebooks as seen from the page.
    """

    def link(item: Artefact) -> str:
        name = Path(item.notebook).name
        return f"[{name}]({notebooks}/{item.notebook})" if item.status == "done" else ""

    done = sum(item.status == "done" for item in artefacts())
    text = Text(f"{done} of {len(artefacts())} tables and figures are rebuilt.")
    return render_blocks([text, Grid(COVERAGE, _coverage(link))], "md")


def update_readme() -> Path:
    """Write the coverage table into ``README.md`` between its two marker comments and return the path.

    Raises:
        FusionkitError: ``README.md`` lacks the markers.
    """
    path = paths.root() / "README.md"
    write_text(path, updated_readme(path))
    return path


def updated_readme(path: Path) -> str:
    """Return a README's text with the present coverage table.

    Raises:
        FusionkitError: The file or one of the markers is missing.
    """
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise FusionkitError(f"{path}: the lines {BEGIN} and {END} are missing; put them where the table belongs")
    return f"{before}{BEGIN}\n{coverage_markdown()}{END}{after}"


def write_html(folder: Path | str, executed: Path) -> Path:
    """Write the report as one page without external resources, and executed notebooks as pages beside it.

    Args:
        folder: Where ``index.html`` goes.
        executed: Folder of executed notebooks; those that are there become pages and are linked.

    Returns:
        Path of the page.
    """
    path = Path(folder) / "index.html"
    _export_notebooks(executed, path.parent)
    tables = {paper: _tables(load_paper(paper)) for paper in list_papers()}
    body = [
        render_blocks([Heading("Results", 1), *_overview(tables), Heading("Coverage", 2)], "html"),
        _coverage_html(path.parent),
        render_blocks([*_yardsticks(), *_weights()], "html"),
    ]
    body += [text for paper, built in tables.items() for text in _paper(load_paper(paper), built, "html")]
    head = f'<meta charset="utf-8">\n<title>fusionkit: results</title>\n<style>{STYLE}</style>'
    page = f'<!doctype html>\n<html lang="en">\n<head>\n{head}\n</head>\n<body>\n{"".join(body)}</body>\n</html>\n'
    write_text(path, page)
    return path


def _export_notebooks(executed: Path, folder: Path) -> None:
    for notebook in sorted(executed.rglob("*.ipynb")):
        if not notebook.name.endswith(".failed.ipynb"):
            page, _ = HTMLExporter().from_filename(str(notebook))
            write_text((folder / notebook.relative_to(executed)).with_suffix(".html"), page)


def _tables(paper: Paper) -> list[Table]:
    return [build(panel) for panel in paper.panels]


def _paper(paper: Paper, tables: list[Table], format: str) -> Iterator[str]:
    """Yield a paper's heading with its notes, then each of its tables."""
    notes: list[Block] = [Text("Notes on the paper:"), Items(paper.notes)] if paper.notes else []
    about = Text(f"{', '.join(paper.authors)}. {paper.venue}, {paper.year}.")
    yield render_blocks([Heading(paper.title, 2), about, *notes], format)
    yield from (render(table, format) for table in tables)


def _overview(tables: dict[str, list[Table]]) -> list[Block]:
    """Return one line per table: how many printed values have which verdict, how many claims hold."""
    lines = []
    for table in (table for built in tables.values() for table in built):
        found = counts(table)
        printed = sum(outcome.published.verdict == "holds" for outcome in table.outcomes)
        tally = [sum(o.measured.verdict == v for o in table.outcomes) for v in ("holds", "fails", "undecided")]
        verdicts = [found[v] for v in ("match", "close", "differs", "not measured")]
        claims = [f"{printed} of {len(table.outcomes)}", " / ".join(map(str, tally)) if any(tally) else ""]
        lines.append([table.name, *map(str, verdicts), *claims])
    headers = ["table", "match", "close", "differs", "not measured", "claims that hold in print"]
    return [Heading("Overview", 2), Grid([*headers, "measured: hold / fail / undecided"], lines)]


def _coverage(link: Callable[[Artefact], str]) -> list[list[str]]:
    return [[item.paper, item.id, item.caption, link(item), item.status] for item in artefacts()]


def _coverage_html(folder: Path) -> str:
    def link(item: Artefact) -> str:
        page = Path(item.notebook).with_suffix(".html").as_posix()
        name = html.escape(item.notebook)
        return f'<a href="{html.escape(page)}">{name}</a>' if (folder / page).is_file() else name

    rows = [[*map(html.escape, row[:3]), row[3], html.escape(row[4])] for row in _coverage(link)]
    return f"{tabulate(rows, COVERAGE, tablefmt='unsafehtml', disable_numparse=True)}\n"


def _yardsticks() -> list[Block]:
    """Return the yardstick on each split on which a paper tests, as far as it is measured."""
    blocks: list[Block] = []
    for paper in list_papers():
        splits = dict.fromkeys((p.dataset, p.split) for p in load_paper(paper).panels if p.dataset and p.split)
        for dataset, split in splits:
            table = yardstick(dataset, split, paper)
            if len(table):
                title = f"{paper} on {dataset}/{split} ({table['pairs'].max()} pairs)"
                blocks += [Heading(title, 3), _yardstick_grid(table)]
    return [Heading("The yardstick", 2), Text(YARDSTICK), *(blocks or [Text("Nothing is measured yet.")])]


def _yardstick_grid(table: pd.DataFrame) -> Grid:
    terms = [column for column in table.columns if column not in ("share", "low", "high", "pairs")]
    lines = []
    for method, row in table.iterrows():
        known = pd.notna(row["share"])
        share = f"{row['share']:.0%} [{row['low']:.0%}, {row['high']:.0%}]" if known else ""
        lines.append([str(method), *(f"{row[term]:.4g}" for term in terms), share])
    return Grid(["method", *terms, "share of the way"], lines)


def _weights() -> list[Block]:
    """Return the list of trained weights, from their cards."""
    cards = sorted({path for folder in weight_folders() for path in folder.glob("*/*.json")})
    lines = [_card(path) for path in cards if path.with_suffix(".safetensors").is_file()]
    headers = ["weights", "trained on", "pairs", "epochs", "iterations", "parameters", "model options, loss weights"]
    grid = Grid([*headers, "seed", "last training loss", "minutes", "code"], lines)
    return [Heading("Trained weights", 2), grid if lines else Text("None yet.")]


def _card(path: Path) -> list[str]:
    card = json.loads(path.read_text(encoding="utf-8"))
    recipe = card["recipe"]
    return [
        f"{path.parent.name}:{path.stem}",
        ", ".join(recipe["data"]),
        str(card["pairs"]),
        str(recipe["epochs"]),
        str(card["steps"]),
        str(card["parameters"]),
        _settings(recipe),
        str(recipe["seed"]),
        f"{card['last_epoch']['total']:.4g}",
        f"{card['seconds'] / 60:.1f}",
        card["code"],
    ]


def _settings(recipe: dict[str, Any]) -> str:
    """Return the model's options and the replaced loss weights in words."""
    changed = {**recipe["options"], **{f"loss {term}": weight for term, weight in recipe["loss_weights"].items()}}
    return ", ".join(f"{name} = {value}" for name, value in sorted(changed.items()))
