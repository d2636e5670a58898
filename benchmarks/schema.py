"""What a result file holds, as JSON Schema, and its name."""

from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from fusionkit.errors import FusionkitError, unknown

Schema = dict[str, Any]


def _record(**fields: Schema) -> Schema:
    return {"type": "object", "properties": fields, "required": [*fields], "additionalProperties": False}


def _rows(record: Schema) -> Schema:
    return {"type": "array", "items": record, "minItems": 1}


TEXT = {"type": "string", "minLength": 1}
NUMBER = {"type": "number", "minimum": 0}
MAYBE = {"type": ["number", "null"], "minimum": 0}
COUNT = {"type": "integer", "minimum": 1}
SIZE = {"type": "array", "items": COUNT, "minItems": 2, "maxItems": 2}
PASS = {"enum": ["forward", "forward+backward"]}
TIME = {"oneOf": [_record(median_ms=NUMBER, iqr_ms=NUMBER, repeats=COUNT), _record(skipped=TEXT)]}

PLAIN = {"plain_ms": NUMBER, "plain_over_ours": NUMBER, "difference": NUMBER}
METRIC = {"oneOf": [_record(metric=TEXT, ms=NUMBER), _record(metric=TEXT, ms=NUMBER, **PLAIN)]}
SCAN = _record(
    **{"channels": COUNT, "length": COUNT, "pass": PASS, "numba": TIME, "torch": TIME, "reference": TIME},
    **{"limit": TIME, "reference_over_numba": MAYBE, "torch_over_numba": MAYBE, "numba_over_limit": MAYBE},
    difference=MAYBE,
)
NETWORK = _record(network=TEXT, parameters=COUNT)
ATTENTION = _record(**{"width": COUNT, "length": COUNT, "pass": PASS, "attention": TIME})
INFERENCE = _record(
    **{"network": TEXT, "threads": COUNT, "side": COUNT, "time": TIME, "peak_mb": NUMBER},
    **{"time_growth": MAYBE, "memory_growth": MAYBE},
)
TRAINED = {"threads": COUNT, "side": COUNT, "batch": COUNT, "time": TIME, "iterations_per_s": NUMBER}
TRAINING = _record(**TRAINED)
BASELINE = _record(
    **{"model": TEXT, "time": TIME, "authors_ms": NUMBER, "authors_over_ours": NUMBER, "relative": NUMBER},
    **{"least": MAYBE, "kept": {"type": ["boolean", "null"]}},
)
BOUND = _record(what=TEXT, unit=TEXT, measured=NUMBER, bound=TEXT, kept={"type": "boolean"})
RESULTS = {
    "models": _record(
        models=_rows(
            _record(
                model=TEXT,
                parameters={"type": "integer", "minimum": 0},
                median_ms=NUMBER,
                iqr_ms=NUMBER,
                repeats=COUNT,
                peak_memory_mb=NUMBER,
            )
        )
    ),
    "metrics": _record(metrics=_rows(METRIC), sets=_rows(_record(set=TEXT, convention=TEXT, metrics=COUNT, ms=NUMBER))),
    "scan": _record(
        scan=_rows(SCAN),
        memory=_rows(_record(channels=COUNT, length=COUNT, u_mb=NUMBER, numba_over_u=NUMBER, torch_over_u=NUMBER)),
        attention=_rows(ATTENTION),
    ),
    "scaling": _record(
        networks=_rows(NETWORK),
        inference=_rows(INFERENCE),
        training=_rows(TRAINING),
        bounds=_rows(BOUND),
    ),
    "blocks": _record(networks=_rows(NETWORK), inference=_rows(INFERENCE)),
    "baselines": _record(machines=_rows(_record(authors_over_ours=NUMBER)), baselines=_rows(BASELINE)),
    "bounds": _record(
        networks=_rows(NETWORK),
        training=_rows(_record(network=TEXT, **TRAINED)),
        bounds=_rows(BOUND),
    ),
}
SIDES = {"type": "array", "items": COUNT, "minItems": 1}
PROTOCOLS = {
    "models": _record(size=SIZE),
    "metrics": _record(size=SIZE, repeats=COUNT, data=TEXT),
    "scan": _record(
        **dict.fromkeys(["batch", "states", "warmup"], COUNT),
        **dict.fromkeys(["dtype", "repeats", "skipped", "torch", "limit", "difference", "memory", "attention"], TEXT),
    ),
    "scaling": _record(
        sides=SIDES,
        **dict.fromkeys(["networks", "time", "memory", "growth", "training"], TEXT),
    ),
    "bounds": _record(size=SIZE, **dict.fromkeys(["networks", "time", "memory", "training"], TEXT)),
    "baselines": _record(size=SIZE, **dict.fromkeys(["time", "authors", "machines", "relative"], TEXT)),
    "blocks": _record(sides=SIDES, **dict.fromkeys(["networks", "time", "memory", "growth"], TEXT)),
}


def _file(suite: str) -> Schema:
    metadata = _record(
        code={"type": "string", "pattern": r"^([0-9a-f]{12}(-dirty)?|v\d[\w.]*|unknown)$"},
        device=TEXT,
        threads=COUNT,
        python=TEXT,
        versions={"type": "object", "additionalProperties": TEXT, "minProperties": 1},
        load_average=NUMBER,
        protocol=PROTOCOLS[suite],
    )
    # Who scanned, by type of device, where a scan ran before the suite.
    metadata["properties"]["scan"] = {"type": "object", "additionalProperties": {"type": "array", "items": TEXT}}
    return _record(metadata=metadata, results=RESULTS[suite])


def name_of(suite: str, metadata: dict[str, Any]) -> str:
    """Return the name of a result file without suffix: the suite and the configuration."""
    return f"{suite}--{metadata['device'].split()[0]}-{metadata['threads']}threads"


def check(name: str, content: dict[str, Any]) -> None:
    """Refuse a result file that deviates from what is expected.

    Args:
        name: The file's name without suffix.
        content: What the file holds.

    Raises:
        FusionkitError: The name tells no known suite, a part is missing, unknown or of another kind, or the
            configuration in the name is not that of the metadata.
    """
    suite = name.split("--")[0]
    if suite not in RESULTS:
        raise unknown("suite", suite, RESULTS)
    error = best_match(Draft202012Validator(_file(suite)).iter_errors(content))
    if error:
        raise FusionkitError(f"{name}.json: {error.json_path}: {error.message[:200]}")
    if name != name_of(suite, content["metadata"]):
        raise FusionkitError(f"{name}.json: was measured as {name_of(suite, content['metadata'])}")
