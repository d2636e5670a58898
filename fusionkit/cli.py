"""The ``fusionkit`` command: thin commands over the package; bad input gives one line and exit code 2."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from fusionkit.errors import FusionkitError
from fusionkit.memory import keep_freed_memory

app = typer.Typer(
    help="Rebuild the tables and figures of four image fusion papers, and use their models and metrics.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
data_app = typer.Typer(help="Which datasets are here, whether they are intact, and how to get the rest.")
app.add_typer(data_app, name="data", no_args_is_help=True)

MODEL_HELP = "Method id, for example lightfusionnet:pet_mri, average, maximum; see `fusionkit models`."


@app.callback()
def common(debug: Annotated[bool, typer.Option(help="Show a traceback instead of one line.")] = False) -> None:
    """Hold the options of all commands."""


@app.command()
def fuse(
    first: Annotated[Path, typer.Argument(help="CT, PET, SPECT or infrared: an image or a folder.")],
    second: Annotated[Path, typer.Argument(help="MRI or visible: an image or a folder with the same names.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Image, or folder for folders.")],
    model: Annotated[str, typer.Option(help=MODEL_HELP)] = "lightfusionnet:pet_mri",
) -> None:
    """Fuse two images, or two folders of images (8 or 16 bits, grey or colour, any size)."""
    from fusionkit.folders import fuse_files
    from fusionkit.measure import load_method

    written = fuse_files(load_method(model), first, second, output)
    typer.echo(f"{len(written)} fused with {model}: {output}")


@app.command()
def evaluate(
    fused: Annotated[Path, typer.Option(help="Fused images: a folder, or one image.")],
    a: Annotated[Path, typer.Option(help="First sources: a folder with the same names, or one image.")],
    b: Annotated[Path, typer.Option(help="Second sources: likewise.")],
    metrics: Annotated[str, typer.Option(help="Names with commas between them, or all.")] = "all",
    convention: Annotated[str, typer.Option(help="Which toolbox's definitions, or all.")] = "tang",
    out: Annotated[Path | None, typer.Option(help="CSV of the values per image; the same command resumes.")] = None,
    compare: Annotated[Path | None, typer.Option(help="Other fused images of the same sources.")] = None,
    jobs: Annotated[int | None, typer.Option(help="Most processes at a time. Default: one per core.")] = None,
) -> None:
    """Measure fused images against their sources, and compare them with others.

    Files are matched by name without suffix. 16-bit images are measured at 8 bits.
    With --compare, the values of the other images go beside --out, to NAME-compare.csv.
    """
    import warnings

    from fusionkit import compare as comparing
    from fusionkit.scoring import match_triples, score_folders

    names = None if metrics == "all" else [name.strip() for name in metrics.split(",")]
    if compare:
        match_triples(compare, a, b)  # says what is wrong before anything is measured
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", UserWarning)
            warnings.showwarning = lambda message, *_: typer.echo(f"note: {message}", err=True)
            scores = score_folders(fused, a, b, names, convention, out, jobs)
            typer.echo(comparing.summary_text(comparing.summarise(scores)))
            if compare:
                beside = out and out.with_stem(f"{out.stem}-compare")
                other = score_folders(compare, a, b, names, convention, beside, jobs)
                typer.echo(f"\nfirst: {fused}\nsecond: {compare}")
                typer.echo(comparing.comparison_text(comparing.compare(scores, other)))
    except KeyboardInterrupt:
        kept = "the same command goes on from here" if out else "with --out, the same command would go on from here"
        typer.echo(f"interrupted; {kept}", err=True)
        raise typer.Exit(130) from None


@app.command()
def train(
    run: Annotated[str | None, typer.Argument(help="paper/run, for example lightfusionnet/pet_mri.")] = None,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    folder: Annotated[Path | None, typer.Option(help="Where weights go; default results/weights/<model>.")] = None,
    workers: Annotated[int, typer.Option(help="Processes that load images.")] = 0,
    everything: Annotated[bool, typer.Option("--all", help="Train every run that has no weights yet.")] = False,
    list_runs: Annotated[bool, typer.Option("--list", help="Only list the runs.")] = False,
) -> None:
    """Train a network as its paper says; a run that was cut off goes on where it stopped."""
    from fusionkit.recipes import final_recipes, list_recipes, load_recipe
    from fusionkit.training import train as train_recipe

    if list_runs or not (run or everything):
        typer.echo("\n".join(list_recipes()))
        return
    for name in final_recipes() if everything else [run]:
        try:
            typer.echo(f"weights: {train_recipe(load_recipe(name, seed), folder, workers)}")
        except KeyboardInterrupt:
            typer.echo("interrupted; the same command goes on from here", err=True)
            raise typer.Exit(130) from None


@app.command()
def measure(
    panels: Annotated[list[str] | None, typer.Argument(help="paper/panel; default: everything.")] = None,
    method: Annotated[str | None, typer.Option(help="Measure this method instead of a panel's.")] = None,
    on: Annotated[str | None, typer.Option(help="dataset/split for --method.")] = None,
    force: Annotated[bool, typer.Option(help="Measure again even where nothing changed.")] = False,
) -> None:
    """Measure methods on test pairs; what did not change is not measured again."""
    from fusionkit import measure as measuring
    from fusionkit.data import present

    if (method is None) != (on is None):
        raise FusionkitError("--method and --on go together, for example --method maximum --on harvard_pet_mri/test")
    if method and on:
        dataset, _, split = on.partition("/")
        jobs = [(method, dataset, split)]
    elif panels:
        chosen = measuring.measurable_panels(panels)
        jobs = [(m, p.dataset, p.split) for p in chosen for m in measuring.panel_methods(p)]
    else:
        jobs = measuring.standing_jobs()
    for name, dataset, split in dict.fromkeys(jobs):
        if not method and not present(dataset, split):
            continue
        done = measuring.measure(name, dataset, split, force)
        typer.echo(f"{name} on {dataset}/{split}: {len(done.values)} pairs")


@app.command()
def table(
    panel: Annotated[str, typer.Argument(help="paper/panel, for example lightfusionnet/table1a.")],
    format: Annotated[str, typer.Option(help="text, md, csv, html or latex.")] = "text",
) -> None:
    """Print a table: published, measured, verdict."""
    from fusionkit.tables import build, render

    typer.echo(render(build(panel), format))


@app.command()
def verify(
    slow: Annotated[bool, typer.Option(help="Also the pixel oracles (minutes each).")] = False,
    only: Annotated[str, typer.Option(help="Only methods whose id contains this.")] = "",
    pairs: Annotated[int, typer.Option(min=0, help="At most so many pairs of each measurement; 0: all.")] = 0,
) -> None:
    """Compute the measurements on file again from weights and images, and say which agree."""
    from fusionkit.verify import verify as verify_all

    report = verify_all(slow, only, pairs)
    typer.echo(report.to_string(index=False) if len(report) else "no measurements on file")
    counts = report["state"].value_counts()
    typer.echo(", ".join(f"{counts.get(state, 0)} {state}" for state in ("agrees", "differs", "skipped")))
    if counts.get("differs", 0):
        raise typer.Exit(1)


@app.command("metrics")
def list_metrics(
    name: Annotated[str | None, typer.Argument(help="One metric in full; default: a line for each.")] = None,
) -> None:
    """Explain the metrics: full name, source, direction, and what each convention makes of them."""
    from fusionkit.metrics import METRICS, get_metric

    if name is None:
        for metric in METRICS.values():
            typer.echo(f"{metric.name:14} {metric.full_name} (better: {metric.better}; {', '.join(metric.variants)})")
        return
    metric = get_metric(name)
    about = (
        f"{metric.name}: {metric.full_name}\nsource: {metric.source}\nbetter: {metric.better}; needs: {metric.needs}"
    )
    typer.echo(f"{about}\nedge cases: {metric.edge_cases}")
    for convention, variant in metric.variants.items():
        unit = "" if variant.unit == "none" else f" ({variant.unit})"
        side = metric.smallest(convention)
        typer.echo(f"  {convention:14} {variant.range}{unit}; from {side}x{side}; {variant.note or 'as named'}")


@app.command()
def survey(
    only: Annotated[str, typer.Option(help="Only jobs whose method or dataset contains this.")] = "",
    force: Annotated[bool, typer.Option(help="Measure again even where nothing changed.")] = False,
) -> None:
    """Measure released fused images, and some of ours, under every metric of every convention."""
    from fusionkit.survey import standing_surveys
    from fusionkit.survey import survey as survey_one

    for method, dataset, split in standing_surveys():
        if only in f"{method} {dataset}":
            done = survey_one(method, dataset, split, force)
            pairs, quantities = done.values.shape
            typer.echo(f"{method} on {dataset}/{split}: {pairs} pairs, {quantities} quantities")


@app.command()
def calibrate(
    golden: Annotated[Path, typer.Argument(help="Folder with golden.json and its images.")],
) -> None:
    """Compare the metrics with values that others computed and write results/calibration.md."""
    from fusionkit.calibration_page import write_calibration

    typer.echo(f"written: {write_calibration(golden)}")


@app.command()
def models(
    name: Annotated[str | None, typer.Argument(help="One model in full; default: a line for each.")] = None,
    fetch: Annotated[
        bool, typer.Option("--fetch", help="Get a baseline's released weights, NAME or NAME:WEIGHTS.")
    ] = False,
    file: Annotated[list[Path] | None, typer.Option(help="Convert the authors' file that you have.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before fetching.")] = False,
) -> None:
    """List the models: task, licence, parameters, and whether their weights are here; or get the weights of one."""
    from fusionkit import fetching
    from fusionkit.catalogue import describe, listing
    from fusionkit.measure import method_parts

    if not (fetch or file):
        typer.echo(listing() if name is None else describe(name))
        return
    if name is None:
        raise FusionkitError(
            "--fetch and --file need the name of a baseline, for example `fusionkit models datfuse --fetch`"
        )
    model, weights = method_parts(name)
    if file:
        typer.echo(f"written: {fetching.convert(model, weights, file)}")
        return
    typer.echo(fetching.describe_release(model, weights))
    if yes or typer.confirm("Fetch them, under this licence?"):
        typer.echo(f"written: {fetching.fetch_released(model, weights)}")


@app.command()
def cost(
    model: Annotated[str, typer.Argument(help=MODEL_HELP)],
    size: Annotated[tuple[int, int], typer.Option(help="Height and width in pixels.")] = (256, 256),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Count parameters, operations under every convention, and measure time and memory."""
    from dataclasses import replace

    from fusionkit.cost import measure_cost
    from fusionkit.measure import load_method
    from fusionkit.models import build_model, model_entry

    network = build_model(model) if ":" not in model and model_entry(model) else load_method(model)
    found = replace(measure_cost(network, size), name=model)
    typer.echo(json.dumps(found.to_dict(), indent=1) if as_json else found.to_text())


@app.command()
def doctor() -> None:
    """Say what is installed, what is missing, and what to do about it."""
    from fusionkit.doctor import examine

    for subject, found, advice in examine():
        typer.echo(f"{subject:28} {found}" + (f"  ->  {advice}" if advice else ""))


@app.command()
def report(profile: Annotated[str, typer.Option(help="Whose executed notebooks to link.")] = "standard") -> None:
    """Write results/README.md, the README's coverage table and picture, and the HTML report."""
    from fusionkit import paths
    from fusionkit.profiles import as_profile
    from fusionkit.report import update_readme, write_html, write_overview, write_results_readme
    from fusionkit.reproduce import executed_dir

    write_overview()
    write_results_readme()
    update_readme()
    typer.echo(f"report: {write_html(paths.results_dir() / 'report', executed_dir(as_profile(profile)))}")


@data_app.command("list")
def data_list() -> None:
    """Show which splits are present, and how to get the others."""
    from fusionkit.data import status

    table = status.listing()
    for row in table.itertuples():
        typer.echo(f"{row.dataset + '/' + row.split:34} {row.present:>6} of {row.expected:<6} {row.state}")
    missing = table[table["state"] != "present"]
    if len(missing):
        typer.echo("\nHow to get the rest:")
    for row in missing.itertuples():
        typer.echo(f"  {row.dataset}/{row.split}: {row.how}")


@data_app.command("check")
def data_check(
    datasets: Annotated[list[str] | None, typer.Argument(help="Default: all that are here.")] = None,
) -> None:
    """Compare every image that is here with its registered identity."""
    from fusionkit.data import status

    found = status.check(datasets or None)
    for problem in found.problems:
        typer.echo(f"{problem.kind}: {problem.file}")
    typer.echo(f"{found.checked} files compared, {len(found.problems)} problems, {len(found.absent)} splits absent")
    if not found.ok:
        raise typer.Exit(1)


@data_app.command("fetch")
def data_fetch(
    datasets: Annotated[list[str] | None, typer.Argument(help="Default: all with a public address.")] = None,
) -> None:
    """Download what has a public address, and say how to get what has none."""
    from fusionkit.data.download import fetch

    for item in fetch(datasets or None):
        done = f"{item.written} new, {item.kept} kept"
        typer.echo(f"{item.dataset}/{item.split}: {done}. {item.advice}".rstrip())


def main() -> None:
    """Run the command; user errors become one line on stderr and exit code 2."""
    keep_freed_memory()
    try:
        app()
    except FusionkitError as error:
        if "--debug" in sys.argv:
            raise
        typer.echo(f"error: {error}", err=True)
        sys.exit(2)
