"""Which build of PyWatt this is. Nothing is asked of git at run time: the current directory's repository may be anybody's.

The hash and the time come from ``PYWATT_GIT_HASH`` and ``PYWATT_BUILD_TIME_UTC`` where they are set, else from what was
embedded when the wheel was built (`hatch_build.py`), else from what the installer recorded, else they are ``unknown``.
"""

from __future__ import annotations

import os
import re
import sys
from dataclasses import asdict, dataclass
from functools import cache

UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class BuildInfo:
    """The members of protocol 17, in that order, then ours. All are text; what nobody recorded is ``"unknown"``."""

    git_hash: str
    """Abbreviated hash of the commit that the distribution was built from."""
    build_time_utc: str
    """RFC 3339, UTC."""
    rustc_version: str = "n/a"
    """For readers that know the Rust SDK; no compiler was involved."""
    python_version: str
    """Of the running interpreter."""
    sdk_version: str
    """Version of pywatt-core."""

    def as_dict(self) -> dict[str, str]:
        """For JSON."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.sdk_version} (git {self.git_hash}, built {self.build_time_utc}, Python {self.python_version})"


def get_build_info() -> BuildInfo:
    """What is known of this build."""
    embedded_hash, embedded_time = _embedded()
    return BuildInfo(
        git_hash=os.environ.get("PYWATT_GIT_HASH") or embedded_hash or _installed_commit() or UNKNOWN,
        build_time_utc=os.environ.get("PYWATT_BUILD_TIME_UTC") or embedded_time or UNKNOWN,
        python_version=os.environ.get("PYWATT_PYTHON_VERSION") or ".".join(map(str, sys.version_info[:3])),
        sdk_version=_version(),
    )


def _embedded() -> tuple[str, str]:
    """Hash and time that the build wrote beside this file; empty in a source tree."""
    import importlib

    try:
        build = importlib.import_module("._build", __package__)
    except ModuleNotFoundError:
        return "", ""
    return str(build.GIT_HASH), str(build.BUILD_TIME_UTC)


@cache
def _installed_commit() -> str:
    """The commit that an installer fetched the source from (PEP 610), or nothing."""
    import json
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        record = json.loads(distribution("pywatt-core").read_text("direct_url.json") or "{}")
        commit = str(record.get("vcs_info", {}).get("commit_id", ""))
    except (PackageNotFoundError, ValueError, AttributeError):
        return ""
    return commit[:12] if re.fullmatch(r"[0-9a-f]{7,64}", commit) else ""


def _version() -> str:
    version: str = vars(sys.modules[__name__.rpartition(".")[0]]).get("__version__", UNKNOWN)
    return version
