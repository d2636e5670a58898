"""Running notebooks so that a failure cannot pass for a result, and keeping the committed ones in order."""

import ast
import os
import re
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from fusionkit import paths
from fusionkit.errors import FusionkitError, unknown
from fusionkit.files import atomic_path

KERNEL = "python3"
MAX_CODE_LINES = 60
LAST_LINES = 12
COLOURS = re.compile(r"\x1b\[[0-9;]*m")
LOCAL_PATH = re.compile(r"(?<![\w./:-])(?:/(?:home|Users|root|tmp|mnt|opt|srv|var)/\w|[A-Z]:\\\\\w)")


def is_walkthrough(notebook: Path | str) -> bool:
    """Tell whether a notebook teaches, and so is committed with its outputs; all others are committed without."""
    return Path(notebook).parent.name == "walkthroughs"


def read(notebook: Path | str) -> NotebookNode:
    """Return a notebook.

    Raises:
        FusionkitError: There is no such file, or it is not a notebook.
    """
    try:
        return nbformat.read(notebook, as_version=4)
    except FileNotFoundError as error:
        raise FusionkitError(f"{notebook}: no such notebook; `git status` shows what is missing") from error
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise FusionkitError(f"{notebook}: not a notebook; restore it with `git checkout`") from error


def write(notebook: Path | str, content: NotebookNode) -> None:
    """Write a notebook, complete or not at all."""
    with atomic_path(notebook) as temporary:
        nbformat.write(content, temporary)


def run(notebook: Path | str, output: Path | str, parameters: Mapping[str, Any] | None = None) -> float:
    """Execute a notebook in its own folder, in a fresh kernel without progress bars.

    ``output`` appears only when every cell succeeded. Otherwise what there is becomes ``<output>.failed.ipynb``.
    A kernel that died is started once more; nothing else is tried twice.

    Args:
        notebook: Notebook with a cell tagged ``parameters`` that holds literals only.
        output: Where the executed notebook goes; an older one is removed first.
        parameters: Values that replace those of the tagged cell, of the same names.

    Returns:
        Seconds.

    Raises:
        FusionkitError: No such notebook, a parameter it does not have, a derived parameter, or a cell that
            failed; then the text ends with the last lines of the error.
    """
    notebook, output = Path(notebook).resolve(), Path(output).resolve()
    _check_parameters(notebook, parameters or {})
    failed = output.with_suffix(".failed.ipynb")
    for old in (output, failed):
        old.unlink(missing_ok=True)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        executed = Path(folder, "executed.ipynb")
        try:
            _execute(notebook, executed, parameters or {})
        except Exception as error:
            if executed.exists():
                _keep(executed, failed)
            lines = COLOURS.sub("", str(error)).strip().splitlines()[-LAST_LINES:]
            raise FusionkitError(f"{notebook.name} failed, see {failed.name}:\n" + "\n".join(lines)) from error
        _keep(executed, output)
    return time.perf_counter() - began


def strip(notebook: Path | str) -> bool:
    """Bring a notebook into the form that is committed, and tell whether that changed it.

    Only a walkthrough keeps outputs and execution counts; nobody keeps what papermill or an editor noted down.
    """
    content = read(notebook)
    before = nbformat.writes(content)
    content.metadata = _plain_metadata(content, keep_widgets=is_walkthrough(notebook))
    for cell in content.cells:
        _forget_run(cell)
        if cell.cell_type == "code" and not is_walkthrough(notebook):
            cell.outputs, cell.execution_count = [], None
    changed = nbformat.writes(content) != before
    if changed:
        write(notebook, content)
    return changed


def check(notebook: Path | str) -> list[str]:
    """Return what is wrong with a committed notebook, one line each; an empty list where nothing is."""
    content = read(notebook)
    code = [cell for cell in content.cells if cell.cell_type == "code"]
    problems = _metadata_problems(content) + _code_problems(code)
    if not is_walkthrough(notebook) and any(cell.outputs or cell.execution_count for cell in code):
        problems.append("has outputs or execution counts; strip them")
    if any(cell.outputs and cell.execution_count is None for cell in code):
        problems.append("has outputs without an execution count, which nbval calls an error; run it again")
    return [f"{Path(notebook).name}: {problem}" for problem in problems]


def parameters_cell(content: NotebookNode) -> NotebookNode | None:
    """Return the cell tagged ``parameters``, or None."""
    tagged = (cell for cell in content.cells if "parameters" in cell.metadata.get("tags", ()))
    return next(tagged, None)


def _check_parameters(notebook: Path, parameters: Mapping[str, Any]) -> None:
    """Refuse what papermill lets pass: a name that the notebook does not have, a value derived from another."""
    from papermill import inspect_notebook  # slow to import

    cell = parameters_cell(read(notebook))
    derived = _not_literal(cell.source) if cell is not None else []
    if derived:
        raise FusionkitError(f"{notebook.name}: {derived[0]} in the parameters cell; derive it in the next cell")
    known = inspect_notebook(str(notebook)) if cell is not None else {}
    for name in parameters:
        if name not in known:
            raise unknown(f"parameter of {notebook.name}", name, known)


def _execute(notebook: Path, output: Path, parameters: Mapping[str, Any], attempts: int = 2) -> None:
    from papermill import execute_notebook  # slow to import

    with _environment():
        try:
            execute_notebook(
                str(notebook),
                str(output),
                parameters=dict(parameters),
                kernel_name=KERNEL,
                progress_bar=False,
                cwd=str(notebook.parent),
                extra_arguments=["--log-level=CRITICAL"],  # shutting a kernel down can make it log an ERROR
            )
        except RuntimeError as error:  # a failing cell is a PapermillExecutionError, which is no RuntimeError
            if "Kernel died" not in str(error) or attempts == 1:
                raise
            _execute(notebook, output, parameters, attempts - 1)


@contextmanager
def _environment() -> Iterator[None]:
    """Give kernels no progress bars, and a data folder that does not depend on their working directory."""
    before = dict(os.environ)
    os.environ |= {"FUSIONKIT_NO_PROGRESS": "1", "FUSIONKIT_DATA": str(paths.data_dir().absolute())}
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _keep(executed: Path, output: Path) -> None:
    """Move an executed notebook to its place, without the paths and times that papermill noted in it."""
    content = read(executed)
    content.metadata = _plain_metadata(content, keep_widgets=True)
    for cell in content.cells:
        _forget_run(cell)
    write(output, content)


def _plain_metadata(content: NotebookNode, keep_widgets: bool) -> NotebookNode:
    plain = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": KERNEL},
        "language_info": {"name": "python"},
    }
    if keep_widgets and "widgets" in content.metadata:
        plain["widgets"] = content.metadata.widgets
    return nbformat.from_dict(plain)


def _forget_run(cell: NotebookNode) -> None:
    for key in ("papermill", "execution"):
        cell.metadata.pop(key, None)


def _metadata_problems(content: NotebookNode) -> list[str]:
    problems = []
    if content.metadata != _plain_metadata(content, keep_widgets=True):
        problems.append(f"metadata other than the kernel {KERNEL}; strip it")
    if any({"papermill", "execution"} & cell.metadata.keys() for cell in content.cells):
        problems.append("cells carry metadata of a run; strip it")
    text = nbformat.writes(content)
    found = LOCAL_PATH.search(text)
    if found or str(paths.root()) in text or str(Path.home()) in text:
        problems.append(f"a path of one machine ({found.group() if found else 'home or checkout'}...)")
    return problems


def _code_problems(code: list[NotebookNode]) -> list[str]:
    problems = []
    lines = [line for cell in code for line in cell.source.splitlines() if line.strip() and line.strip()[0] != "#"]
    if len(lines) > MAX_CODE_LINES:
        problems.append(f"{len(lines)} lines of code; move some into the package ({MAX_CODE_LINES} at most)")
    try:
        nodes = [node for cell in code for node in ast.walk(ast.parse(cell.source))]
    except SyntaxError as error:
        return [*problems, f"not plain Python: {error.msg} in {error.text!r}"]
    if any(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) for node in nodes):
        problems.append("defines a function or class; move it into the package")
    tagged = [cell for cell in code if "parameters" in cell.metadata.get("tags", ())]
    if len(tagged) != 1:
        return [*problems, f"{len(tagged)} cells tagged parameters; one is needed"]
    if not re.search(r'^PROFILE = "smoke"$', tagged[0].source, re.MULTILINE):
        problems.append('the parameters cell does not say PROFILE = "smoke"')
    return problems + [f"{line} in the parameters cell" for line in _not_literal(tagged[0].source)]


def _not_literal(source: str) -> list[str]:
    """Return the statements of a parameters cell that do not give one name a literal value."""
    return [ast.unparse(node) for node in ast.parse(source).body if not _is_literal(node)]


def _is_literal(node: ast.stmt) -> bool:
    if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
        return False
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    try:
        ast.literal_eval(node.value)
    except ValueError:
        return False
    return len(targets) == 1 and isinstance(targets[0], ast.Name)
