"""The traps of papermill, nbval and committed notebooks, each shown to be shut; and the notebooks on file."""

import shutil
import subprocess
import sys

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from fusionkit import navigation, notebooks, paths, route
from fusionkit.errors import FusionkitError
from fusionkit.papers import artefacts
from fusionkit.profiles import Profile, as_profile

COMMITTED = sorted(paths.notebooks_dir().rglob("[!.]*.ipynb"))
COMMITTED = [path for path in COMMITTED if ".ipynb_checkpoints" not in path.parts]

KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}


def write(path, *sources, parameters='PROFILE = "smoke"', title="# Title"):
    code = [new_code_cell(source) for source in sources]
    tagged = [new_code_cell(parameters, metadata={"tags": ["parameters"]})] if parameters else []
    content = new_notebook(cells=[new_markdown_cell(title), *tagged, *code])
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(content, path)
    notebooks.strip(path)
    return path


def printed(path):
    return "".join(out.text for cell in notebooks.read(path).cells for out in cell.get("outputs", ()) if "text" in out)


# Running


def test_run_replaces_parameters_and_does_not_depend_on_where_it_is_called(tmp_path, monkeypatch):
    source = write(
        tmp_path / "notebooks" / "a.ipynb",
        "import os",
        "print(repr(PROFILE), os.path.basename(os.getcwd()), os.environ['FUSIONKIT_NO_PROGRESS'])",
        "print(os.path.isabs(os.environ['FUSIONKIT_DATA']))",
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FUSIONKIT_DATA", "data")
    assert notebooks.run("notebooks/a.ipynb", "out/a.ipynb", {"PROFILE": "007"}) > 0
    output = tmp_path / "out" / "a.ipynb"
    assert printed(output) == "'007' notebooks 1\nTrue\n"
    text = output.read_text()
    assert str(tmp_path) not in text and "papermill" not in text and 'execution":' not in text
    assert notebooks.check(source) == []
    assert list(output.parent.iterdir()) == [output]


def test_failing_cell_leaves_no_finished_output_and_is_not_tried_again(tmp_path):
    marker = tmp_path / "runs"
    source = write(tmp_path / "a.ipynb", f"print(1, file=open({str(marker)!r}, 'a'))", "int('seven')")
    output = tmp_path / "out.ipynb"
    output.write_text("an older result")
    with pytest.raises(FusionkitError, match="a.ipynb failed, see out.failed.ipynb") as caught:
        notebooks.run(source, output)
    assert "ValueError: invalid literal for int()" in str(caught.value).splitlines()[-1]
    assert len(str(caught.value).splitlines()) <= notebooks.LAST_LINES + 1
    assert not output.exists() and (tmp_path / "out.failed.ipynb").is_file()
    assert marker.read_text() == "1\n"


def test_unknown_parameter_is_an_error_that_names_near_ones(tmp_path):
    source = write(tmp_path / "a.ipynb")
    with pytest.raises(FusionkitError, match="unknown parameter of a.ipynb 'PROFIL'; did you mean PROFILE?"):
        notebooks.run(source, tmp_path / "out.ipynb", {"PROFIL": "smoke"})
    source = write(tmp_path / "b.ipynb", parameters="")
    with pytest.raises(FusionkitError, match="unknown parameter of b.ipynb 'PROFILE'; known: none"):
        notebooks.run(source, tmp_path / "out.ipynb", {"PROFILE": "smoke"})
    assert not list(tmp_path.glob("out*"))


@pytest.mark.parametrize("line", ["TWICE = 2 * ALPHA", "TWICE = ALPHA", "print(ALPHA)", "ALPHA: int", "A = B = 1"])
def test_derived_parameter_is_refused(tmp_path, line):
    source = write(tmp_path / "a.ipynb", parameters=f'PROFILE = "smoke"\nALPHA = 1\n{line}')
    with pytest.raises(FusionkitError, match="in the parameters cell; derive it in the next cell"):
        notebooks.run(source, tmp_path / "out.ipynb", {"ALPHA": 9})
    assert any("in the parameters cell" in problem for problem in notebooks.check(source))


def test_dead_kernel_is_started_once_more(tmp_path):
    marker = tmp_path / "runs"
    die = (
        f"import os; print(1, file=open({str(marker)!r}, 'a'), flush=True); n = len(open({str(marker)!r}).read()) // 2"
    )
    source = write(tmp_path / "a.ipynb", die, "if n == 1: os._exit(1)", "print('alive')")
    notebooks.run(source, tmp_path / "out.ipynb")
    assert printed(tmp_path / "out.ipynb") == "alive\n" and marker.read_text() == "1\n1\n"


def test_kernel_that_dies_twice_fails(tmp_path):
    marker = tmp_path / "runs"
    source = write(
        tmp_path / "a.ipynb", f"import os; print(1, file=open({str(marker)!r}, 'a'), flush=True); os._exit(1)"
    )
    with pytest.raises(FusionkitError, match="Kernel died"):
        notebooks.run(source, tmp_path / "out.ipynb")
    assert marker.read_text() == "1\n1\n" and not (tmp_path / "out.ipynb").exists()


def test_missing_and_damaged_notebooks_are_named(tmp_path):
    (tmp_path / "bad.ipynb").write_text("{")
    with pytest.raises(FusionkitError, match="bad.ipynb: not a notebook"):
        notebooks.run(tmp_path / "bad.ipynb", tmp_path / "out.ipynb")
    with pytest.raises(FusionkitError, match="no.ipynb: no such notebook"):
        notebooks.run(tmp_path / "no.ipynb", tmp_path / "out.ipynb")


def test_nbval_compares_walkthroughs_only_and_never_stderr(tmp_path):
    for name in ("conftest.py", "sanitize.cfg"):
        shutil.copy(paths.notebooks_dir() / name, tmp_path / name)
    for folder, stdout in (("walkthroughs", "took 9 s\n"), ("audits", "other\n"), ("walkthroughs", "other\n")):
        cell = new_code_cell(
            "import sys; print('took 1 s'); print('new', file=sys.stderr)",
            outputs=[new_output("stream", name="stdout", text=stdout)],
            execution_count=1,
        )
        path = tmp_path / folder / f"{stdout.split()[0]}.ipynb"
        path.parent.mkdir(exist_ok=True)
        nbformat.write(new_notebook(cells=[cell], metadata=KERNEL), path)
    arguments = ["--nbval", "--nbval-sanitize-with", "sanitize.cfg", "-p", "no:cacheprovider", "-p", "no:xdist", "-rA"]
    command = [sys.executable, "-m", "pytest", "--rootdir", ".", *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert "1 failed, 2 passed" in done.stdout and "FAILED walkthroughs/other.ipynb::Cell 0" in done.stdout


# What is committed


def run_cell(source="1 + 1", count=3):
    output = new_output("execute_result", {"text/plain": "2"}, execution_count=count)
    metadata = {"papermill": {"duration": 1}, "execution": {"iopub.status.busy": "now"}}
    return new_code_cell(source, outputs=[output], execution_count=count, metadata=metadata)


@pytest.mark.parametrize(("folder", "keeps"), [("lightfusionnet", False), ("audits", False), ("walkthroughs", True)])
def test_strip_clears_all_but_the_outputs_of_walkthroughs(tmp_path, folder, keeps):
    path = write(tmp_path / folder / "a.ipynb")
    content = notebooks.read(path)
    content.cells.append(run_cell())
    content.metadata.papermill = {"input_path": "a.ipynb"}
    content.metadata.kernelspec.name = "my-env"
    nbformat.write(content, path)
    assert len(notebooks.check(path)) == (2 if keeps else 3)
    assert notebooks.strip(path) and not notebooks.strip(path)
    assert notebooks.check(path) == []
    cell = notebooks.read(path).cells[-1]
    assert bool(cell.outputs) == keeps and bool(cell.execution_count) == keeps


@pytest.mark.parametrize(
    ("cells", "problem"),
    [
        (["x = 1\n" * 60], "61 lines of code"),
        (["def f():\n    pass"], "defines a function or class"),
        (["%matplotlib inline"], "not plain Python"),
        (["open('/home/someone/image.png')"], "a path of one machine"),
        ([f"open({str(paths.root() / 'x')!r})"], "a path of one machine"),
    ],
)
def test_check_finds_what_does_not_belong(tmp_path, cells, problem):
    (found,) = notebooks.check(write(tmp_path / "a.ipynb", *cells))
    assert problem in found


def test_check_wants_one_parameters_cell_with_the_smoke_profile(tmp_path):
    assert "0 cells tagged parameters" in notebooks.check(write(tmp_path / "a.ipynb", parameters=""))[0]
    other = notebooks.check(write(tmp_path / "a.ipynb", parameters='PROFILE = "standard"'))
    assert 'does not say PROFILE = "smoke"' in other[0]


def test_check_finds_outputs_without_a_count_in_walkthroughs(tmp_path):
    path = write(tmp_path / "walkthroughs" / "a.ipynb")
    content = notebooks.read(path)
    content.cells.append(run_cell(count=None))
    nbformat.write(content, path)
    notebooks.strip(path)
    assert "without an execution count" in notebooks.check(path)[0]


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_committed_notebook_is_in_order(path):
    assert notebooks.check(path) == [], "run `make tidy`"


def test_every_artefact_that_is_done_has_a_notebook_and_every_notebook_an_artefact():
    expected = {stop.notebook for stop in route.stops()}
    assert {path.relative_to(paths.notebooks_dir()).as_posix() for path in COMMITTED} == expected


# Navigation


def test_navigation_of_committed_notebooks_is_up_to_date(tmp_path, monkeypatch):
    shutil.copytree(paths.notebooks_dir(), tmp_path / "notebooks", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(paths, "notebooks_dir", lambda: tmp_path / "notebooks")
    assert navigation.write_navigation() == [], "run `make tidy`"


def test_navigation_links_neighbours_and_is_written_once(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "notebooks_dir", lambda: tmp_path)
    first = next(item.notebook for item in artefacts() if item.status == "done")
    names = [route.START, first, "audits/01_claim.ipynb", "walkthroughs/01_topic.ipynb"]
    for name in names:
        write(tmp_path / name, title=f"# About {name[:6]}")
    assert [path.relative_to(tmp_path).as_posix() for path in navigation.write_navigation()] == names
    assert navigation.write_navigation() == []
    cells = notebooks.read(tmp_path / first).cells
    assert cells[0].source == cells[-1].source
    assert "previous: [Start](../00_start_here.ipynb) | [start](../00_start_here.ipynb)" in cells[0].source
    assert "next: [About audits](../audits/01_claim.ipynb)" in cells[0].source
    (tmp_path / names[2]).unlink()
    assert [path.name for path in navigation.write_navigation()] == [first.split("/")[1], "01_topic.ipynb"]
    assert len(notebooks.read(tmp_path / first).cells) == len(cells)
    assert all(notebooks.check(tmp_path / name) == [] for name in names if name != names[2])


def test_profiles():
    assert [as_profile(name) for name in ("smoke", "standard", "paper")] == list(Profile)
    with pytest.raises(FusionkitError, match="unknown profile 'standart'; did you mean standard?"):
        as_profile("standart")
