"""Make and the stamps, on a small copy of the project: what runs, what does not, and what is told at the end."""

import os
import shutil
import subprocess
import sys
import time

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from fusionkit import FusionkitError, notebooks, paths, reproduce, stamps
from fusionkit.profiles import Profile

CLI = "import sys\n\n\ndef main():\n    print('nothing to', sys.argv[1])\n"
WITHOUT_TORCH = "def __getattr__(name):\n    return None\n"
TOPS = ("fusionkit", "notebooks", "data")


def write(path, *sources):
    tagged = new_code_cell('PROFILE = "smoke"', metadata={"tags": ["parameters"]})
    verdict = new_code_cell("print('ran as', PROFILE)", metadata={"tags": ["verdict"]})
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(new_notebook(cells=[tagged, *map(new_code_cell, sources), verdict]), path)
    notebooks.strip(path)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A checkout with an installed environment, without finished artefacts, and with three notebooks."""
    top = tmp_path_factory.mktemp("project")
    ignored = shutil.ignore_patterns("__pycache__", "weights", "data", "models")
    shutil.copytree(paths.PACKAGE, top / "fusionkit", ignore=ignored)
    (top / "fusionkit" / "__init__.py").write_text("")
    (top / "fusionkit" / "cli.py").write_text(CLI)
    (top / "fusionkit" / "data").mkdir()
    for name in ("__init__.py", "registry.py"):
        (top / "fusionkit" / "data" / name).write_text(WITHOUT_TORCH)
    (top / "fusionkit" / "extra.py").write_text("x = 1\n")
    for record in top.glob("fusionkit/papers/*/paper.toml"):
        record.write_text(record.read_text().replace('status = "done"', 'status = "planned"'))
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(paths.root() / name, top / name)
    (top / ".venv").mkdir()
    shutil.copy(top / "pyproject.toml", top / ".venv" / "pyproject.toml")
    (top / ".venv" / "ready").touch()
    (top / "data").mkdir()
    (top / "data" / "image.png").write_text("pixels")
    write(top / "notebooks" / "00_start_here.ipynb", "import fusionkit")
    write(top / "notebooks" / "audits" / "01_extra.ipynb", "from fusionkit.extra import x")
    write(top / "notebooks" / "audits" / "02_bad.ipynb", "1 / 0")
    return top


def make(project, *arguments):
    own = {"PYTHONPATH": str(project), "FUSIONKIT_DATA": str(project / "data"), "MAKEFLAGS": ""}
    command = ["make", "-C", str(project), f"PYTHON={sys.executable}", *arguments]
    done = subprocess.run(command, env=os.environ | own, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def due(project):
    """Return the steps that Make would run now."""
    status, text = make(project, "-n", "executed")
    assert status == 0, text
    return [line.split("fusionkit.reproduce run ")[1].split("'")[1] for line in text.splitlines() if " run '" in line]


def row(text, step):
    return next(line.split() for line in text.splitlines() if line.startswith(f"{step} "))


def touch_everything(project):
    later = time.time() + 5
    for path in [*project.glob("*"), *(path for top in TOPS for path in project.glob(f"{top}/**/*"))]:
        os.utime(path, (later, later))


def test_one_failing_notebook_hides_nothing_and_content_decides_what_runs_again(project):
    executed = project / "results" / "executed" / "standard"
    status, text = make(project, "reproduce")
    assert status != 0
    assert row(text, "audits/02_bad")[1] == "FAILED" and "ZeroDivisionError" in text
    assert row(text, "audits/01_extra")[-3:] == ["ran", "as", "standard"]
    assert row(text, "verify")[-3:] == ["nothing", "to", "verify"] and row(text, "report")[1] == "ran"
    assert "4 ran, 0 unchanged, 1 FAILED" in text and "lightfusionnet: 12 more" in text and "[ 3 of 5]" in text
    assert not (executed / "audits" / "02_bad.ipynb").exists()
    assert (executed / "audits" / "02_bad.failed.ipynb").is_file()

    write(project / "notebooks" / "audits" / "02_bad.ipynb", "1 / 1")
    touch_everything(project)
    status, text = make(project, "reproduce")
    assert status == 0, text
    assert "2 ran, 3 unchanged, 0 FAILED" in text and row(text, "audits/02_bad")[1] == "ran"
    assert not (executed / "audits" / "02_bad.failed.ipynb").exists()

    touch_everything(project)
    assert due(project) == []
    with (project / "fusionkit" / "extra.py").open("a") as stream:
        stream.write("# a comment\n")
    assert due(project) == ["audits/01_extra"]
    (project / "data" / "image.png").write_text("pixel!")
    assert sorted(due(project)) == ["00_start_here", "audits/01_extra", "audits/02_bad", "verify"]


def test_setup_goes_by_the_content_of_pyproject(project, tmp_path, monkeypatch):
    for name in ("python3.11", "pip-python"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    os.utime(project / "pyproject.toml", (time.time() + 5,) * 2)
    assert "setting up" not in make(project, "setup", "PYTHON=pip-python")[1]
    before = (project / "pyproject.toml").read_text()
    for text, again in ((before + "# changed\n", True), (before + "# changed\n", False), (before, True)):
        (project / "pyproject.toml").write_text(text)
        assert ("setting up" in make(project, "setup", "PYTHON=pip-python")[1]) == again


def test_unknown_profile_is_one_line(project):
    status, text = make(project, "executed", "PROFILE=standart")
    assert status and "error: unknown profile 'standart'; did you mean standard?" in text
    assert "Traceback" not in text


def test_clean_removes_generated_files_only(project, tmp_path):
    kept = ["Makefile", "results/runs/a.checkpoint", "data/image.png", "results/measured/a.csv", ".venv/ready"]
    gone = ["results/executed/a.ipynb", "results/.stamps/data", "results/report/a", "fusionkit/__pycache__/a.pyc"]
    shutil.copy(project / "Makefile", tmp_path / "Makefile")
    for name in (*kept[1:], *gone):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert make(tmp_path, "clean")[0] == 0
    assert all((tmp_path / name).exists() for name in kept) and not any((tmp_path / name).exists() for name in gone)


def test_help_names_every_target():
    status, text = make(paths.root(), "help")
    assert status == 0
    for target in ["help", "setup", "reproduce", "test", "lab", "data", "weights", "bench", "report", "clean"]:
        assert f"make {target} " in text


def test_stamps_follow_imports():
    needed = stamps.needed_by_code(["measure"])
    assert {"code/measure", "code/metrics", "code/models", "data", "weights", "measured"} <= set(needed)
    assert not {"code/figures", "code/cli", "code/tables"} & set(needed)
    assert "code/figures" in stamps.needed_by_code(["figures"])


def test_smoke_plan_has_no_verification_and_says_so():
    names = [step.name for step in reproduce.plan(Profile.SMOKE)]
    assert names[0] == "00_start_here" and names[-1] == "report" and "verify" not in names
    assert reproduce.plan(Profile.STANDARD)[0].name == "verify"
    assert "profile smoke uses no real data" in reproduce.summary(Profile.SMOKE, time.time())[0]


def test_one_paper_has_its_own_verification_notebooks_and_rules(monkeypatch, tmp_path):
    names = [step.name for step in reproduce.plan(Profile.STANDARD, "s4fusion")]
    assert names[0] == "verify-s4fusion" and names[-1] == "report"
    assert len(names) > 2 and all(name.startswith("s4fusion/") for name in names[1:-1])
    with pytest.raises(FusionkitError, match="did you mean s4fusion"):
        reproduce.plan(Profile.STANDARD, "s4fusio")
    ran = []
    monkeypatch.setattr(reproduce.subprocess, "run", lambda command, **_: ran.append(command) or Done())
    monkeypatch.setattr(reproduce, "executed_dir", lambda _: tmp_path)
    for step in (reproduce.plan(Profile.STANDARD, "s4fusion")[0], reproduce.plan(Profile.PAPER)[0]):
        reproduce.run_step(step)
    one, all_ = (command[1:] for command in ran)
    assert one == ["verify", "--only", "s4fusion", "--pairs", "3"]
    assert all_ == ["verify", "--only", "", "--pairs", "0"]


class Done:
    """A command that went well."""

    returncode, stdout, stderr = 0, "all agree\n", ""
