"""pyproject.toml and environment.yml name the same packages in the same versions."""

import re
import tomllib

import yaml

from fusionkit import paths

CONDA_NAMES = {"pytorch": "torch"}


def _split(requirement):
    name, versions, where = re.fullmatch(r"([A-Za-z0-9_-]+)\s*([^;]*)(;.*)?", requirement).groups()
    parts = [*versions.replace(" ", "").split(","), (where or "").replace(" ", "")]
    return CONDA_NAMES.get(name, name), frozenset(filter(None, parts))


def _project():
    return tomllib.loads((paths.root() / "pyproject.toml").read_text())["project"]


def _conda_text():
    return (paths.root() / "environment.yml").read_text()


def test_conda_twin_has_the_same_names_and_versions():
    project = _project()
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    *conda, by_pip = yaml.safe_load(_conda_text())["dependencies"]
    there = [*(item for item in conda if item != "pip"), *(item for item in by_pip["pip"] if item != "-e .")]
    found = dict(map(_split, there))
    assert found.pop("python") == _split("python" + project["requires-python"])[1]
    assert found == dict(map(_split, wanted))


def test_the_conda_twin_installs_the_project_itself():
    assert "-e ." in yaml.safe_load(_conda_text())["dependencies"][-1]["pip"]


def test_gpu_part_is_optional_and_the_same():
    (cuda,) = _project()["optional-dependencies"]["cuda"]
    assert re.search(rf"^\s*# - {re.escape(cuda)}$", _conda_text(), re.MULTILINE)
    assert "mamba" not in str(yaml.safe_load(_conda_text()))
