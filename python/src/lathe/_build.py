"""From a checkpoint to an engine file."""
from __future__ import annotations

from . import _lathe
from ._outputs import _Record
from ._progress import Events

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Sequence
    from typing import Any

    from ._progress import Progress


class BuildReport(_Record):
    """What a build came to."""

    __slots__ = ("path", "file_bytes", "weight_bytes", "seconds", "warnings", "info")
    path: str
    file_bytes: int
    weight_bytes: int
    seconds: float
    warnings: list[str]
    info: dict[str, Any]  # as the engine has it: seconds of each stage, measured roofs, passes, memory


def build(
        checkpoint: str | os.PathLike[str], output: str | os.PathLike[str] | None = None, *, target: str | None = None,
        dtype: str | None = None, kv_dtype: str | None = None, fp8_scales: str | None = None,
        fp8_keep: str | None = None, numeric: str | None = None, device: int | None = None, threads: int | None = None,
        tp: int | None = None, pp: int | None = None, tune: bool = True,
        timing_cache: str | os.PathLike[str] | None = None, progress: Progress = None) -> BuildReport:
    """Compiles a model's directory, or the weights that ORG/NAME of a hub has, into an engine file: NAME.lathe in the
    current directory, unless `output` names it.

    Options are those of `lathe build`. progress: None or True draws a bar on standard error, a function is called with
    (stage, done, total), False says nothing. What the function raises, and Ctrl-C, ends the build; the engine
    appears whole or not at all.
    """
    import json
    import os
    path = os.fspath(output) if output is not None else None
    options = {"target": target, "dtype": dtype, "kv_dtype": kv_dtype, "fp8_scales": fp8_scales, "fp8_keep": fp8_keep,
               "numeric": numeric, "device": device, "threads": threads, "tp": tp, "pp": pp, "tune": tune,
               "timing_cache": os.fspath(timing_cache) if timing_cache is not None else None}
    events = Events(progress)
    try:
        report = _lathe.build(os.fspath(checkpoint), path, options, events)
    finally:
        events.resolved()
    for warning in report["warnings"]:
        events.warning(warning)
    return BuildReport(report["path"], report["file_bytes"], report["weight_bytes"], report["seconds"],
                       report["warnings"], json.loads(report["build_info"]))
