"""What the command ``fusionkit models`` prints: every model with its task, licence, parameters and weights."""

import torch
from tabulate import tabulate

from fusionkit.cost import parameters
from fusionkit.models import MODELS, build_model, model_entry
from fusionkit.released import is_absent, list_released, released_folder
from fusionkit.weights import list_weights

HEADERS = ("model", "task", "weights", "licence", "parameters", "what it is")
OWN_LICENCE = "MIT"
ANY_TASK = "any pair"


def listing() -> str:
    """Return a table of all models and a line on where weights of baselines belong."""
    table = tabulate([_row(name) for name in sorted(MODELS)], HEADERS, "simple", disable_numparse=True)
    where = (
        f"Weights that authors of baselines released belong into {released_folder()}; "
        "`fusionkit models NAME --fetch` gets them."
    )
    return f"{table}\n\n`fusionkit models NAME` lists a model's weights by method id. {where}"


def describe(name: str) -> str:
    """Return what is known of one model, and its weights by method id.

    Raises:
        FusionkitError: No model has this name.
    """
    entry = model_entry(name)
    lines = [f"{name}: {entry.about} ({entry.source})", f"parameters: {_parameters(name)}"]
    if entry.published:
        lines += [f"code: {entry.published.url}", f"licence: {entry.published.licence}"]
        lines += [f"released as: {entry.published.form}"]
    for weights, release in list_released(name).items():
        state = "missing" if is_absent(name, weights) else "here"
        lines.append(f"    {name}:{weights}  {state}: {released_folder() / release.file}  SHA-256 {release.digest}")
    return "\n".join([*lines, *(f"    {name}:{weights}" for weights in sorted(list_weights(name)))])


def _row(name: str) -> tuple[str, ...]:
    entry = model_entry(name)
    task, licence = ANY_TASK, OWN_LICENCE
    if entry.published:
        task, licence = entry.published.task, entry.published.licence
    return name, task, _weights(name), licence, _parameters(name), entry.about


def _parameters(name: str) -> str:
    with torch.device("meta"):  # shapes are enough
        return f"{parameters(build_model(name)):,}"


def _weights(name: str) -> str:
    """Return which weights are here, in a few words."""
    own = len(list_weights(name))
    released = list_released(name)
    missing = sum(is_absent(name, weights) for weights in released)
    parts = [f"{own} trained"] if own else []
    if released:
        parts.append(
            "missing" if missing == len(released) else f"{len(released) - missing} of {len(released)} released"
        )
    return ", ".join(parts) or ("none" if model_entry(name).trained else "needs none")
