"""Verifications that run in processes of their own, for the server extension."""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jupyter_codeagent.errors import CodeAgentError

_PATIENCE = 3.0  # seconds that a process has to end by itself
_LONGEST = 2**26  # bytes of one line: a report holds some 4 KB for each cell that differs


class Busy(CodeAgentError):
    """As many verifications run as may run at once."""


@dataclass
class Job:
    """One verification.

    Attributes
    ----------
    state : str
        "running"; "done": there is a report; "failed": there is none, and `text` says why; "stopped".
    done, total : int
        Code cells that were executed, and all that are to be; 0 of 0 while the sandbox is made ready.
    text : str
        One sentence.
    report : dict or None
        `Report.to_dict()`.
    """

    name: str
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    state: str = "running"
    done: int = 0
    total: int = 0
    text: str = "A fresh sandbox is made ready."
    report: dict[str, Any] | None = None
    process: asyncio.subprocess.Process | None = None
    follower: asyncio.Task[None] | None = None

    def told(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        found: dict[str, Any] = {"job": self.id, "path": self.name, "state": self.state, "text": self.text}
        found |= {"done": self.done, "total": self.total}
        return found if self.report is None else found | {"report": self.report}

    def take(self, line: dict[str, Any]) -> None:
        """Take in a line that the process has written."""
        if self.state != "running":
            return
        if "total" in line:
            self.done, self.total = line["done"], line["total"]
            self.text = f"Cell {min(self.done + 1, self.total)} of {self.total}"
        elif "report" in line:
            self.state, self.report, self.text = "done", line["report"], line["text"]
        else:
            self.state, self.text = "failed", line["error"]

    def ended(self, status: int) -> None:
        """Take in that the process is gone; called once, with its exit status."""
        if self.state == "running":
            how = f"The verification of {self.name} ended unexpectedly (status {status})"
            self.state, self.text = "failed", f"{how}; run `jupyter codeagent verify` to see why."


class Jobs:
    """The verifications of one server.

    Parameters
    ----------
    at_once : int
        How many may run at the same time.
    kept : int
        How many that have ended are remembered; the oldest go first.
    """

    def __init__(self, at_once: int, kept: int) -> None:
        self.at_once = at_once
        self.kept = kept
        self._jobs: dict[str, Job] = {}

    def find(self, id: str) -> Job | None:
        """Return the job of that id, if it is known."""
        return self._jobs.get(id)

    async def start(self, file: Path, name: str, *, stamp: bool = True, unknown: Sequence[str] | None = None) -> Job:
        """Begin to verify the notebook in `file`, which the user calls `name`, and to stamp the file or not.

        With `unknown` it was just saved, and gets the outputs of the fresh run: see `save_verified`.

        Raises
        ------
        Busy
            If too many run already.
        """
        if len(self._running()) >= self.at_once:
            names = ", ".join(job.name for job in self._running())
            raise Busy(f"As many notebooks as may be at once are being verified ({names}); wait, or stop one.")
        job = Job(name)
        self._jobs[job.id] = job
        self._forget()
        try:
            job.process = await _process()
            await _send(job.process, {"file": str(file), "name": name, "stamp": stamp, "unknown": unknown})
        except OSError as error:
            job.state, job.text = "failed", f"No process could be started for it ({error}); free some memory."
            return job
        job.follower = asyncio.create_task(self._follow(job, job.process))
        return job

    async def stop(self, job: Job) -> None:
        """End a job, and return when its process is gone; nothing happens if it has ended."""
        if job.state == "running":
            job.state, job.text = "stopped", "Stopped."
        if job.process is None or job.follower is None:
            return
        with suppress(ProcessLookupError):
            job.process.terminate()
        try:
            await asyncio.wait_for(job.process.wait(), _PATIENCE)
        except TimeoutError:
            with suppress(ProcessLookupError):
                job.process.kill()
        await job.follower

    async def close(self) -> None:
        """End all jobs; called when the server ends."""
        await asyncio.gather(*(self.stop(job) for job in self._jobs.values()))

    def _running(self) -> list[Job]:
        return [j for j in self._jobs.values() if j.state == "running" or (j.follower and not j.follower.done())]

    def _forget(self) -> None:
        running = self._running()
        ended = [job for job in self._jobs.values() if job not in running]
        for job in ended[: max(0, len(ended) - self.kept)]:
            del self._jobs[job.id]

    async def _follow(self, job: Job, process: asyncio.subprocess.Process) -> None:
        try:
            while process.stdout and (line := await process.stdout.readline()):
                job.take(json.loads(line))
        except ValueError:  # a line that is no JSON, or longer than any report
            process.kill()
        job.ended(await process.wait())


async def _process() -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "jupyter_codeagent.verify_job"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=_LONGEST,
        start_new_session=True,  # Ctrl-C is for the server, which then ends it
    )


async def _send(process: asyncio.subprocess.Process, request: dict[str, Any]) -> None:
    if process.stdin is not None:
        process.stdin.write(json.dumps(request).encode() + b"\n")
        await process.stdin.drain()
