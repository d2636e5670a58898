"""The command: every bad input gives one line and exit code 2, and nothing half-written."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from fusionkit import cli
from fusionkit.data.images import bit_depth, read_image

GENERATOR = np.random.default_rng(0)


def image(path: Path, shape=(24, 30), dtype=np.uint8) -> Path:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(GENERATOR.integers(0, np.iinfo(dtype).max, shape, dtype=dtype)).save(path)
    return path


def run(*arguments, monkeypatch, capsys) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["fusionkit", *map(str, arguments)])
    try:
        cli.main()
        code = 0
    except SystemExit as stop:
        code = stop.code or 0
    out = capsys.readouterr()
    return code, out.out, out.err


@pytest.fixture
def command(monkeypatch, capsys):
    return lambda *arguments: run(*arguments, monkeypatch=monkeypatch, capsys=capsys)


def test_fuse_grey_colour_and_deep_images(tmp_path, command):
    a, b = image(tmp_path / "a.png", (24, 30, 3)), image(tmp_path / "b.png")
    assert command("fuse", a, b, "-o", tmp_path / "o.png", "--model", "maximum")[0] == 0
    assert read_image(tmp_path / "o.png").shape == (3, 24, 30)
    deep = image(tmp_path / "deep.png", dtype=np.uint16)
    assert command("fuse", deep, b, "-o", tmp_path / "d.png", "--model", "average")[0] == 0
    assert bit_depth(tmp_path / "d.png") == 16


@pytest.fixture
def fused(tmp_path, command):
    """Arguments of evaluate for two pairs of another file type, fused by this command."""
    for name in ("1", "2"):
        image(tmp_path / "ct" / f"{name}.bmp")
        image(tmp_path / "mri" / f"{name}.bmp")
    for model in ("maximum", "average"):
        folders = (tmp_path / "ct", tmp_path / "mri", "-o", tmp_path / model)
        assert command("fuse", *folders, "--model", model)[0] == 0
    return ("evaluate", "--fused", tmp_path / "maximum", "--a", tmp_path / "ct", "--b", tmp_path / "mri")


def test_evaluate_folders(tmp_path, command, fused):
    image(tmp_path / "ct" / "3.png")
    code, out, err = command(*fused, "--metrics", "en, sf", "--convention", "cddfuse", "--out", tmp_path / "v.csv")
    assert code == 0
    assert [line.split()[:3] for line in out.splitlines()[2:]] == [["en", "↑", "cddfuse"], ["sf", "↑", "cddfuse"]]
    for folder in ("maximum", "mri"):
        assert f"note: not evaluated, missing in {tmp_path / folder}: 3\n" in err
    values = pd.read_csv(tmp_path / "v.csv")
    assert values.columns.tolist() == ["image", "convention", "metric", "value", "inputs"]
    assert values["metric"].tolist() == ["en", "sf"] * 2


def test_evaluate_against_another_folder(tmp_path, command, fused):
    out_file = tmp_path / "v.csv"
    code, out, _ = command(*fused, "--compare", tmp_path / "average", "--out", out_file, "--convention", "all")
    assert code == 0
    assert f"second: {tmp_path / 'average'}\n2 image pairs;" in out
    assert "under 6 pairs" in out
    assert len(pd.read_csv(out_file)) == len(pd.read_csv(tmp_path / "v-compare.csv"))
    one, two = tmp_path / "maximum" / "1.png", tmp_path / "average" / "2.png"
    code, out, _ = command("evaluate", "--fused", one, "--a", one, "--b", one, "--compare", two)
    assert code == 0
    assert "1 image pair;" in out
    code, _, error = command(*fused, "--compare", tmp_path / "lost")
    assert (code, error) == (2, f"error: image or folder not found: {tmp_path / 'lost'}\n")


def test_interrupted_evaluation_is_resumed(tmp_path, command, fused, monkeypatch):
    from fusionkit.scoring import score_triple

    def interrupted(triple, wanted):
        if triple.name == "2":
            raise KeyboardInterrupt
        return score_triple(triple, wanted)

    monkeypatch.setattr("fusionkit.scoring.score_triple", interrupted)
    code, _, error = command(*fused, "--out", tmp_path / "v.csv")
    assert code == 130
    assert error.endswith("interrupted; the same command goes on from here\n")
    assert set(pd.read_csv(tmp_path / "v.csv")["image"]) == {1}
    monkeypatch.undo()
    assert command(*fused, "--out", tmp_path / "v.csv")[0] == 0
    assert set(pd.read_csv(tmp_path / "v.csv")["image"]) == {1, 2}


EVALUATE = ("evaluate", "--fused", "{a}", "--a", "{a}", "--b")
BAD = [
    (("fuse", "{a}", "{lost}", "-o", "{o}", "--model", "maximum"), "image or folder not found: "),
    (("fuse", "{a}", "{small}", "-o", "{o}", "--model", "maximum"), "differ in size"),
    (("fuse", "{a}", "{broken}", "-o", "{o}", "--model", "maximum"), "broken.png: damaged"),
    (("fuse", "{a}", "{folder}", "-o", "{o}", "--model", "maximum"), "two images or two folders"),
    (("fuse", "{folder}", "{empty}", "-o", "{o}", "--model", "maximum"), "no images in this folder"),
    (("fuse", "{folder}", "{other}", "-o", "{o}", "--model", "maximum"), "no partner of the same name"),
    (("fuse", "{a}", "{a}", "-o", "{o}", "--model", "maximumm"), "did you mean maximum"),
    (("fuse", "{a}", "{a}", "-o", "{a}/o.png", "--model", "maximum"), "cannot write"),
    ((*EVALUATE, "{small}"), "differ in size"),
    ((*EVALUATE, "{broken}"), "broken.png: damaged"),
    ((*EVALUATE, "{lost}"), "image or folder not found: "),
    ((*EVALUATE, "{folder}"), "give three folders or three images"),
    (("evaluate", "--fused", "{folder}", "--a", "{folder}", "--b", "{other}"), "no image name occurs in all three"),
    ((*EVALUATE, "{a}", "--convention", "tangg"), "did you mean tang"),
    ((*EVALUATE, "{a}", "--metrics", "en,enn"), "did you mean en"),
    ((*EVALUATE, "{a}", "--out", "{a}"), "not a table of scores"),
    ((*EVALUATE, "{a}", "--jobs", "0"), "0 jobs"),
    (("train", "lightfusionnet/pet"), "did you mean"),
    (("measure", "lightfusionnet/table9"), "unknown"),
    (("measure", "--method", "maximum"), "go together"),
    (("table", "lightfusionnet/table1"), "did you mean"),
    (("cost", "lightfusionet"), "did you mean lightfusionnet"),
    (("data", "check", "harvard"), "unknown dataset"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=[" ".join(a) for a, _ in BAD])
def test_bad_input_gives_one_line_and_code_2(tmp_path, command, arguments, message):
    places = {
        "a": image(tmp_path / "a.png"),
        "small": image(tmp_path / "small.png", (16, 16)),
        "broken": tmp_path / "broken.png",
        "lost": tmp_path / "lost.png",
        "folder": image(tmp_path / "folder" / "1.png").parent,
        "other": image(tmp_path / "other" / "2.png").parent,
        "empty": tmp_path / "empty",
        "o": tmp_path / "o.png",
    }
    places["broken"].write_bytes(places["a"].read_bytes()[:60])
    places["empty"].mkdir()
    code, _, error = command(*(part.format(**places) for part in arguments))
    assert code == 2
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert message in error
    assert not (tmp_path / "o.png").exists()


def test_read_only_folder_is_refused(tmp_path, command, monkeypatch):
    """Simulated, since a superuser may write anywhere."""
    a = image(tmp_path / "a.png")

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("fusionkit.files.tempfile.mkstemp", refuse)
    code, _, error = command("fuse", a, a, "-o", tmp_path / "o.png", "--model", "maximum")
    assert code == 2
    assert "cannot write" in error
    assert "Permission denied" in error
    assert not (tmp_path / "o.png").exists()


def test_debug_shows_a_traceback(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["fusionkit", "--debug", "fuse", "x", "y", "-o", "z", "--model", "maximum"])
    with pytest.raises(cli.FusionkitError):
        cli.main()


@pytest.mark.parametrize("arguments", [["models"], ["doctor"], ["data", "list"], ["train", "--list"], ["--help"]])
def test_plain_commands_print_something(arguments):
    result = CliRunner().invoke(cli.app, arguments)
    assert result.exit_code == 0, result.output
    assert len(result.output.splitlines()) > 3


def test_cost_as_json(command):
    import json

    code, out, _ = command("cost", "lightfusionnet", "--size", "64", "64", "--json")
    assert code == 0
    assert json.loads(out)["parameters"] == 4119


def test_metrics_are_explained(command):
    code, out, _ = command("metrics")
    assert code == 0
    assert {"en", "nabf_asdriven", "qcv"} <= {line.split()[0] for line in out.splitlines()}
    code, out, _ = command("metrics", "psnr")
    assert code == 0
    assert "vifb" in out
    assert "source: " in out
    assert "did you mean psnr" in command("metrics", "psrn")[2]


def test_survey_without_images(command, monkeypatch, tmp_path):
    monkeypatch.setenv("FUSIONKIT_DATA", str(tmp_path))
    assert command("survey")[0] == 0


def test_calibrate_without_reference_file(command, tmp_path):
    code, _, err = command("calibrate", tmp_path)
    assert code == 2
    assert "no reference values" in err
