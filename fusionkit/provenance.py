"""Where a number comes from: code version, configuration, environment. No user, host or path names."""

import hashlib
import json
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import torch

from fusionkit import paths
from fusionkit.ops.backends import chosen_backends

PACKAGES = ("fusionkit", "torch", "numpy", "scipy", "pillow")


def config_hash(config: Mapping[str, Any]) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256 of a configuration's canonical JSON."""
    text = json.dumps(config, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def code_version() -> str:
    """Return the commit, with ``-dirty`` where tracked files of the package differ from it.

    Outside a git checkout it is the package's version.
    """
    folder = paths.root()
    if not (folder / ".git").exists():
        return f"v{version('fusionkit')}"
    commit = _git("rev-parse", "--short=12", "HEAD")
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", "fusionkit/*.py", "fusionkit/**/*.toml")
    return commit + ("-dirty" if changed else "")


def environment(device: str = "cpu") -> dict[str, Any]:
    """Return device, thread count and versions for a provenance record; and who scanned, where a scan has run."""
    scans = chosen_backends()
    return {
        **({"scan": scans} if scans else {}),
        "device": torch.cuda.get_device_name() if device.startswith("cuda") else f"cpu ({platform.machine()})",
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
    }


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(paths.root()), *arguments], capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else "unknown"
