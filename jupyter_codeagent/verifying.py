"""Verifying as a person asks for it in a notebook: with how far it is, and stopped as any cell is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from jupyter_codeagent.errors import WrongUse
from jupyter_codeagent.notebook_file import folder_of
from jupyter_codeagent.options import CodeAgent
from jupyter_codeagent.progress import Progress
from jupyter_codeagent.sandbox import SandboxPolicy
from jupyter_codeagent.saving import Saved
from jupyter_codeagent.terminal import visible
from jupyter_codeagent.verified import Verified, save_verified
from jupyter_codeagent.verify import verify_notebook

FLAGS = ("--diff", "--no-stamp", "--twice")


@dataclass(frozen=True)
class Shown:
    """What a sub-command says to front ends that show HTML, and to others."""

    text: str
    html: str


def verify_file(file: str, options: Sequence[str], settings: CodeAgent) -> str | Shown:
    """Run a notebook in a fresh sandbox and return what was found; stopped, it leaves the file as it was.

    Parameters
    ----------
    file : str
        The notebook.
    options : sequence of str
        Any of `FLAGS`, and ``--network`` with the hosts that the code may reach behind it.
    settings : CodeAgent
        Memory and time.

    Raises
    ------
    WrongUse
        If the options do not fit.
    """
    hosts, flags = _hosts(options)
    if file.startswith("--") or any(flag not in FLAGS for flag in flags):
        known = " ".join(f"[{flag}]" for flag in FLAGS)
        raise WrongUse(f"Write %agent verify FILE {known} [--network HOST...]. Names with spaces go between quotes.")
    policy, progress = _policy(Path(file), settings, hosts), Progress("Verifying")
    try:
        runs = 2 if "--twice" in flags else None
        report = verify_notebook(file, policy, progress, stamp="--no-stamp" not in flags, runs=runs)
    except KeyboardInterrupt:
        return f"Stopped; {visible(file)} is as it was."
    finally:
        progress.close()
    told = visible(report.side_by_side() if "--diff" in flags else str(report))
    return told if report.ok else Shown(told, report._repr_html_())


def verify_saved(saved: Saved, settings: CodeAgent) -> Verified:
    """Run what was saved in a fresh sandbox, and put into the file what came of it."""
    progress = Progress(f"Saved {visible(str(saved.path))}; verifying")
    try:
        return save_verified(saved.path, _policy(saved.path, settings), progress, unknown=saved.unknown)
    finally:
        progress.close()


def _hosts(options: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the hosts behind ``--network``, and the other words."""
    words = list(options)
    if "--network" not in words:
        return [], words
    at = words.index("--network")
    hosts = list(takewhile(lambda word: not word.startswith("--"), words[at + 1 :]))
    if not hosts:
        raise WrongUse("--network is followed by the hosts that the code may reach.")
    return hosts, words[:at] + words[at + 1 + len(hosts) :]


def _policy(path: Path, settings: CodeAgent, network: Sequence[str] = ()) -> SandboxPolicy:
    folder = folder_of(path)
    policy = SandboxPolicy(workspace=folder, memory=settings.memory, timeout=settings.timeout, network=tuple(network))
    policy.check()
    return policy
