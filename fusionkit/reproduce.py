"""What ``make reproduce`` does: the list of steps, what each depends on, one step, and the table at the end.

Make decides what to run and runs it; this module tells it the rules and keeps a record of every step.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from tabulate import tabulate

from fusionkit import paths, stamps
from fusionkit.data import present
from fusionkit.errors import FusionkitError, unknown
from fusionkit.files import write_json, write_text
from fusionkit.papers import artefacts, load_paper
from fusionkit.profiles import Profile, as_profile
from fusionkit.route import stops

VERDICT = "verdict"
LAST_LINES = 12
NOTE_LENGTH = 90
# Of each measurement; all take longer than all notebooks together. The profile "paper" takes all.
VERIFIED_PAIRS = 3


@dataclass(frozen=True)
class Step:
    """One target of Make: a command of fusionkit, or a notebook (its path below ``notebooks/``).

    ``paper`` is what a verification is limited to; None verifies all.
    """

    name: str
    profile: Profile
    notebook: str | None = None
    paper: str | None = None

    @property
    def target(self) -> Path:
        """What exists once the step has succeeded: the executed notebook, or what the command printed."""
        return executed_dir(self.profile) / (self.notebook or f"{self.name}.log")

    @property
    def record(self) -> Path:
        """Where the outcome of the last run is kept, good or bad."""
        return executed_dir(self.profile) / ".record" / f"{self.name}.json"


@dataclass(frozen=True)
class Outcome:
    """How a step went: ``finished`` in seconds since the epoch, ``note`` one line."""

    ok: bool
    seconds: float
    finished: float
    note: str


def executed_dir(profile: Profile) -> Path:
    """Return the folder of executed notebooks."""
    return paths.results_dir() / "executed" / profile


def plan(profile: Profile, paper: str | None = None) -> list[Step]:
    """Return all steps in order: the verification, every notebook, the report.

    Args:
        profile: Whose steps.
        paper: Only this paper's networks and notebooks; None takes all.

    Raises:
        FusionkitError: The paper is not known.
    """
    notebooks = [stop.notebook for stop in stops()]
    if paper:
        notebooks = [name for name in notebooks if name.startswith(f"{load_paper(paper).id}/")]
    middle = [Step(name.removesuffix(".ipynb"), profile, name) for name in notebooks]
    verify = [] if profile is Profile.SMOKE else [Step(f"verify-{paper}" if paper else "verify", profile, paper=paper)]
    return [*verify, *middle, Step("report", profile)]


def write_rules(profile: Profile, paper: str | None = None) -> Path:
    """Bring the stamps up to date and write, as a Makefile, which step depends on which of them; as :func:`plan`."""
    steps = plan(profile, paper)
    stamps.write_stamps(step.notebook for step in steps if step.notebook)
    *others, report = steps
    lines = ["STEPS := " + " ".join(_relative(step.target) for step in others), f"REPORT := {_relative(report.target)}"]
    lines += [f"RECORDS := {' '.join(_relative(step.record) for step in others)}"]
    for step in steps:
        lines.append(
            f"{_relative(step.target)}: {' '.join(_relative(stamps.folder() / name) for name in _needs(step))}"
        )
    rules = stamps.folder() / f"{'-'.join(filter(None, ('rules', profile, paper)))}.mk"
    text = "\n".join(lines) + "\n"
    if not rules.is_file() or rules.read_text() != text:
        write_text(rules, text)
    return rules


def run_step(step: Step) -> Outcome:
    """Run one step and record the outcome."""
    began = time.time()
    try:
        note = _run_notebook(step) if step.notebook else _run_command(step)
        ok = True
    except FusionkitError as error:
        note, ok = str(error), False
        step.target.unlink(missing_ok=True)
    outcome = Outcome(ok, round(time.time() - began, 1), time.time(), note)
    write_json(step.record, asdict(outcome))
    return outcome


def summary(profile: Profile, since: float, paper: str | None = None) -> tuple[str, bool]:
    """Return the table of all steps and whether none failed.

    Args:
        profile: Whose steps.
        since: When this run of ``make reproduce`` began, in seconds since the epoch.
        paper: As of :func:`plan`.
    """
    rows = [(step.name, *_state(step, since)) for step in plan(profile, paper)]
    counts = {state: sum(row[1] == state for row in rows) for state in ("ran", "unchanged", "FAILED")}
    rows += [("verify", "skipped", "", "profile smoke uses no real data")] if profile is Profile.SMOKE else []
    rows += [(f"{paper}: {number} more", "skipped", "", reason) for paper, number, reason in _not_done()]
    table = tabulate(rows, ("step", "state", "time", "note"), "simple", disable_numparse=True)
    total = ", ".join(f"{number} {state}" for state, number in counts.items())
    missing = _missing_data()
    data_line = f"no data here for {', '.join(missing)}; `fusionkit data list` says how to get it\n" if missing else ""
    return f"{table}\n\n{data_line}{total}; {time.time() - since:.0f} s in all", not counts["FAILED"]


def _needs(step: Step) -> list[str]:
    if step.notebook is None:
        return stamps.needed_by_code(["cli"] if step.name == "report" else ["measure", "verify"])
    if (paths.notebooks_dir() / step.notebook).is_file():
        return stamps.needed_by_notebook(step.notebook)
    return []


def _run_notebook(step: Step) -> str:
    from fusionkit import notebooks  # slow to import, and the rules do without

    source = paths.notebooks_dir() / step.notebook
    notebooks.run(source, step.target, {"PROFILE": str(step.profile)})
    return _verdict(notebooks.read(step.target))


def _verdict(executed: Mapping[str, Any]) -> str:
    """Return the last line that the cell tagged ``verdict`` printed, or nothing."""
    tagged = (cell for cell in executed["cells"] if VERDICT in cell["metadata"].get("tags", ()))
    texts = [output.get("text", "") for cell in tagged for output in cell.get("outputs", ())]
    return ("".join(texts).strip().splitlines() or [""])[-1]


def _run_command(step: Step) -> str:
    """Run ``fusionkit verify`` or ``fusionkit report`` and return the last line it printed."""
    name = "report" if step.name == "report" else "verify"
    command = [str(Path(sys.executable).with_name("fusionkit")), name]
    if name == "report":
        command += ["--profile", str(step.profile)]
    else:
        pairs = 0 if step.profile is Profile.PAPER else VERIFIED_PAIRS
        command += ["--only", step.paper or "", "--pairs", str(pairs)]
    done = subprocess.run(command, cwd=paths.root(), capture_output=True, text=True)
    if done.returncode:
        lines = (done.stdout + done.stderr).strip().splitlines()[-LAST_LINES:]
        raise FusionkitError(f"fusionkit {name} ended with status {done.returncode}:\n" + "\n".join(lines))
    write_text(step.target, done.stdout)
    return (done.stdout.strip().splitlines() or [""])[-1]


def _state(step: Step, since: float) -> tuple[str, str, str]:
    """Return state, time and note of a step."""
    if not step.record.is_file():
        missing = step.notebook and not (paths.notebooks_dir() / step.notebook).is_file()
        return "FAILED", "", f"notebooks/{step.notebook} is missing" if missing else "was not run"
    outcome = Outcome(**json.loads(step.record.read_text()))
    note = " / ".join(outcome.note.splitlines()[:1] + outcome.note.splitlines()[1:][-1:])[:NOTE_LENGTH]
    if not outcome.ok or not step.target.is_file():
        return "FAILED", f"{outcome.seconds:.1f} s", note
    if outcome.finished < since:
        return "unchanged", "", f"since {datetime.fromtimestamp(outcome.finished):%Y-%m-%d %H:%M}. {note}"[:NOTE_LENGTH]
    return "ran", f"{outcome.seconds:.1f} s", note


def _not_done() -> list[tuple[str, int, str]]:
    """Return paper, number of tables and figures, and reason for all that has no notebook yet."""
    groups: dict[tuple[str, str], int] = {}
    for item in artefacts():
        if item.status != "done":
            key = (item.paper, f"{item.status}, issue {item.issue}")
            groups[key] = groups.get(key, 0) + 1
    return [(paper, number, reason) for (paper, reason), number in groups.items()]


def _missing_data() -> list[str]:
    """Return the splits that finished tables ask for and that are not here."""
    done = {(item.paper, panel) for item in artefacts() if item.status == "done" for panel in item.panels}
    panels = [panel for paper, panel in done for panel in load_paper(paper).panels if (paper, panel.id) in done]
    wanted = {(panel.dataset, panel.split) for panel in panels if panel.dataset and panel.split}
    return sorted(f"{dataset}/{split}" for dataset, split in wanted if not present(dataset, split))


def _relative(path: Path) -> str:
    return path.relative_to(paths.root()).as_posix()


def main(arguments: list[str] | None = None) -> int:
    """Be what the Makefile calls: ``rules``, ``run STEP`` or ``summary``; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m fusionkit.reproduce")
    parser.add_argument("action", choices=("rules", "run", "summary"))
    parser.add_argument("step", nargs="?", help="name of a step, for run")
    parser.add_argument("--profile", default=Profile.STANDARD)
    parser.add_argument("--paper", help="only this paper's networks and notebooks")
    parser.add_argument("--since", type=float, default=0.0, help="for summary: when this run began, seconds since 1970")
    given = parser.parse_args(arguments)
    try:
        return _act(given.action, given.step, as_profile(given.profile), given.paper or None, given.since)
    except FusionkitError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _act(action: str, name: str | None, profile: Profile, paper: str | None, since: float) -> int:
    if action == "rules":
        write_rules(profile, paper)
        return 0
    if action == "summary":
        table, good = summary(profile, since, paper)
        print(f"\n{table}")
        return 0 if good else 1
    steps = {step.name: step for step in plan(profile, paper)}
    if name not in steps:
        raise unknown("step", str(name), steps)
    outcome = run_step(steps[name])
    position = f"[{list(steps).index(name) + 1:2d} of {len(steps)}]"
    print(f"{position} {'done  ' if outcome.ok else 'FAILED'} {outcome.seconds:6.1f} s  {name}", flush=True)
    if not outcome.ok:
        print(outcome.note, file=sys.stderr)
    return 0 if outcome.ok else 1


if __name__ == "__main__":
    sys.exit(main())
