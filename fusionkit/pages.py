"""What notebooks print beside tables and figures: where numbers and pictures come from, and links."""

import posixpath
from collections.abc import Sequence

from IPython.display import HTML

from fusionkit import paths
from fusionkit.data import Pair
from fusionkit.data.published import is_published, published_hash, published_origin
from fusionkit.measure import Measurement, is_here, load_measurement, method_parts, panel_methods
from fusionkit.models import model_entry
from fusionkit.papers import Panel, artefacts
from fusionkit.provenance import code_version
from fusionkit.released import list_released
from fusionkit.route import stops
from fusionkit.tables import Table, render
from fusionkit.weights import weights_hash

DIGITS = 12
STYLE = """<style>
.published-measured { overflow-x: auto }
.published-measured :is(td, th) { text-align: left !important; vertical-align: top }
.published-measured table:first-of-type td { white-space: nowrap }
</style>"""


def table_html(table: Table) -> HTML:
    """Return a table with its verdicts, claims and notes for display; its numbers do not wrap."""
    return HTML(f'{STYLE}<div class="published-measured">{render(table, "html")}</div>')


def table_provenance(*tables: Table) -> str:
    """Return a line on the code that runs and one line per panel on the measurements behind it."""
    lines = [f"{table.panel.paper}/{table.panel.id}: {_measurements(table.panel)}" for table in tables]
    return "\n".join([f"fusionkit {code_version()}", *lines])


def figure_provenance(pairs: Sequence[Pair], methods: Sequence[str] = ()) -> str:
    """Return a line on the code that runs, the images and the weights.

    Args:
        pairs: The pairs shown.
        methods: Method ids. Weights or images that others released go with their repository; methods without weights
            and those whose weights are not here are left out.
    """
    parts = [f"fusionkit {code_version()}", *(f"{pair.dataset}/{pair.split}/{pair.name}" for pair in pairs)]
    for dataset in dict.fromkeys(pair.dataset for pair in pairs):
        parts += [_origin(method, dataset) for method in methods if is_here(method, dataset)]
    return " | ".join(part for part in dict.fromkeys(parts) if part)


def contents_markdown() -> str:
    """Return all notebooks that are here, in reading order, one paragraph per folder, with links from the start."""
    captions = {item.notebook: f": {item.caption}" for item in artefacts()}
    sections: dict[str, list[str]] = {}
    for stop in stops()[1:]:
        if (paths.notebooks_dir() / stop.notebook).is_file():
            link = f"- [{stop.title}]({stop.notebook}){captions.get(stop.notebook, '')}"
            sections.setdefault(posixpath.dirname(stop.notebook), []).append(link)
    return "\n\n".join(f"**{name}**\n\n" + "\n".join(links) for name, links in sections.items()) + "\n"


def _origin(method: str, dataset: str) -> str:
    """Return what identifies a method's weights or released images; nothing for a method that has neither."""
    if is_published(method):
        origin = published_origin(method, dataset)
        source = f" from {origin['repository']} at {origin['commit'][:DIGITS]}" if origin else ""
        return f"{method}{source} {published_hash(method, dataset)[:DIGITS]}"
    name, weights = method_parts(method)
    if not weights:
        return ""
    published = model_entry(name).published if weights in list_released(name) else None
    source = f" from {published.repository} at {published.commit}" if published else ""
    return f"{name}:{weights}{source} {(weights_hash(name, weights) or '')[:DIGITS]}"


def _measurements(panel: Panel) -> str:
    if not panel.dataset or not panel.split:
        return "published values only"
    found = [load_measurement(method, panel.dataset, panel.split) for method in panel_methods(panel)]
    kept = [measurement for measurement in found if measurement]
    data = dict.fromkeys(measurement.provenance["data"][:DIGITS] for measurement in kept)
    text = ", ".join(_measurement(measurement) for measurement in kept) or "nothing measured yet"
    return f"{panel.dataset}/{panel.split} {' and '.join(data)}: {text}"


def _measurement(measurement: Measurement) -> str:
    return f"{measurement.method} (key {measurement.provenance['key']}, code {measurement.provenance['code']})"
