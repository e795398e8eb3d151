"""What a sandbox may do."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from jupyter_codeagent.errors import SandboxUnavailable

MIB = 2**20
GIB = 2**30
SETTABLE = {  # nothing here may change what is executed: Python reads dozens of variables
    "TZ": re.compile(r"[A-Za-z][A-Za-z0-9_+-]{0,30}(?:/[A-Za-z0-9_+-]{1,30}){0,2}"),
    "LANG": re.compile(r"(?:C|POSIX|[a-z]{2,3}_[A-Z]{2})(?:\.(?:UTF-8|utf8))?"),
    "PYTHONHASHSEED": re.compile(r"random|[0-9]{1,9}"),
}


@dataclass(frozen=True)
class SandboxPolicy:
    """What a sandbox may do; checked when it starts.

    Parameters
    ----------
    workspace : str, Path or None
        The working folder inside: a copy-on-write view; nothing the code writes reaches the original. Where
        no overlay can be mounted, small files are copied and larger ones appear read-only. None: an empty folder.
    memory : int
        Bytes of private memory for one process, and for all processes of an attempt together.
    timeout : float
        Seconds of wall-clock time for one execution.
    processes : int
        Processes and threads at most, at one time.
    disk : int
        Bytes that may be written to temporary folders, and again to the working folder.
    output : int
        Bytes of output accepted from one execution.
    cpus : int or None
        Processors to use; None: all.
    network : tuple of str
        Hosts that may be reached. This version has no way to let single hosts through, so anything but
        an empty tuple is refused.
    checkpoints : int
        Copies of states that are kept at most, with up to `memory` bytes of their own. The oldest ones beyond that are
        ended; going back to one of them runs the earlier code again.
    min_tier : str
        The weakest isolation that is acceptable: "A" (bubblewrap) is the only one there is.
    files : tuple of str or Path
        Files and folders outside the workspace, to be readable at their own paths.
    overlay : bool
        False: small files of the working folder are copied even where an overlay is possible.
    environ : tuple of (str, str)
        Variables of the environment that are otherwise inside than usual: ``TZ`` (the name of a time zone, as
        "Europe/Berlin"; usually the caller's), ``LANG`` ("C.UTF-8") and ``PYTHONHASHSEED``; no others.
    """

    workspace: str | Path | None = "."
    memory: int = 2 * GIB
    timeout: float = 60.0
    processes: int = 128
    disk: int = 512 * MIB
    output: int = 10 * MIB
    cpus: int | None = None
    checkpoints: int = 32
    network: tuple[str, ...] = ()
    min_tier: str = "A"
    files: tuple[str | Path, ...] = ()
    overlay: bool = True
    environ: tuple[tuple[str, str], ...] = ()

    def check(self) -> None:
        """Raise SandboxUnavailable, in one sentence, for the first value that cannot be kept."""
        for name in ("files", "network"):
            if isinstance(getattr(self, name), str):
                raise SandboxUnavailable(f"No sandbox: {name} is {getattr(self, name)!r}; give a list, even of one.")
        for name, value in self.environ:
            if name not in SETTABLE or not SETTABLE[name].fullmatch(str(value)):
                raise SandboxUnavailable(
                    f"No sandbox: environ has {name}={value!r}; it can set {', '.join(SETTABLE)} to plain values alone."
                )
        if self.network:
            raise SandboxUnavailable(
                f"No sandbox: network access to {', '.join(self.network)} was asked for, and this sandbox has no "
                "network; leave `network` empty and fetch the data outside."
            )
        if self.min_tier != "A":
            raise SandboxUnavailable(f"No sandbox: min_tier is {self.min_tier!r}; only 'A' exists here.")
        least = {"memory": 256 * MIB, "timeout": 0.1, "processes": 8, "disk": MIB, "output": 1024, "checkpoints": 1}
        for name, low in least.items():
            value = getattr(self, name)
            kind = (int, float) if name == "timeout" else int
            if not isinstance(value, kind) or isinstance(value, bool) or not low <= value < 2**62:
                unit = {
                    "timeout": "seconds",
                    "processes": "processes and threads, a whole number",
                    "checkpoints": "copy, a whole number",
                }
                said = f"{low:,} {unit.get(name, 'bytes, a whole number')}"
                raise SandboxUnavailable(f"No sandbox: {name} is {value!r}; give at least {said}.")
        if self.cpus is not None and (type(self.cpus) is not int or self.cpus < 1):
            raise SandboxUnavailable(f"No sandbox: cpus is {self.cpus!r}; give at least 1, or None for all.")
        if self.workspace is not None and not Path(self.workspace).expanduser().is_dir():
            raise SandboxUnavailable(f"No sandbox: the workspace {str(self.workspace)!r} is not a folder.")
        for file in self.files:
            if not Path(file).expanduser().exists():
                raise SandboxUnavailable(f"No sandbox: the file {str(file)!r} does not exist.")
