"""The local model's server as the process that uses it sees it: started when needed, shared, and ended."""

from __future__ import annotations

import atexit
import json
import os
import secrets
import select
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from threading import RLock
from typing import IO

from jupyter_codeagent.errors import ModelError, NoModel
from jupyter_codeagent.models import machine
from jupyter_codeagent.models.server import Setup
from jupyter_codeagent.models.weights import Weights

IDLE = 1800.0  # seconds without use after which the server gives its memory back
_PATIENCE = 180.0  # seconds to load; some 3 are usual
_PASSED_ON = {"HOME", "PATH", "LANG", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME"}
_PREFIXES = ("LC_", "OMP_", "GOMP_")


class ServerProcess:
    """One running model for all who ask for it in this process.

    Parameters
    ----------
    weights : Weights
        What the file is.
    path : Path
        The file, already checked.
    idle : float or None
        Seconds without use after which the server ends by itself, to be started again at the next use.
    port : int
        0: any free one.

    Attributes
    ----------
    key : str
        What requests must carry.
    url : str
        Where it serves; empty while it is not running.
    """

    def __init__(self, weights: Weights, path: Path, idle: float | None = IDLE, port: int = 0) -> None:
        self.weights = weights
        self.path = path
        self.idle = idle
        self.port = port
        self.key = secrets.token_urlsafe(24)
        self.url = ""
        self.users = 0
        self._lock = RLock()
        self._log: IO[bytes] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = os.getpid()

    @property
    def pid(self) -> int | None:
        """The server's process while it runs."""
        return self._process.pid if self.running and self._process else None

    @property
    def running(self) -> bool:
        """The server is there and has loaded the model."""
        mine = self._owner == os.getpid()  # after a fork the server belongs to the parent
        return bool(mine and self.url and self._process and self._process.poll() is None)

    def start(self) -> None:
        """Start it unless it runs, and wait until the model is loaded (2 to 4 s).

        Raises
        ------
        NoModel
            If the runtime, a system library, or memory is missing.
        ModelError
            If it does not start.
        """
        with self._lock:
            if not self.running:
                self.stop()
                self._check_memory()
                self._launch()
                try:
                    self.url = self._greeting()
                except BaseException:  # also a stop button: no half-started server stays
                    self.stop()
                    raise

    def touch(self) -> None:
        """Tell the server that it is in use, so that it does not count as idle."""
        if self.running and self._process and self._process.stdin:
            try:
                self._process.stdin.write(b"\n")
            except OSError:  # it has just ended; the next request will say so
                pass

    def stop(self) -> None:
        """End the server and wait until it is gone."""
        with self._lock:
            process, self._process, self.url = self._process, None, ""
            if process is None or self._owner != os.getpid():
                return
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            for pipe in (process.stdin, process.stdout, self._log):
                if pipe:
                    pipe.close()

    def died(self) -> str:
        """Return a sentence about how the server ended, or nothing if it runs."""
        if self._process is None:
            return ""
        try:
            status = self._process.wait(0.5)  # its sockets close a moment before it is gone
        except subprocess.TimeoutExpired:
            return ""
        return f"{self._reason(status)} It is started again at the next use."

    def _reason(self, status: int) -> str:
        if status == -signal.SIGKILL:
            return f"The local model's server was killed, perhaps because memory ran out ({self._need()} are needed)."
        if status == -signal.SIGILL:
            return "This processor lacks instructions that the local model's runtime uses (AVX2)."
        last = self._last_words()
        return f"The local model's server ended unexpectedly (status {status}{last})."

    def _last_words(self) -> str:
        if self._log is None:
            return ""
        self._log.seek(max(0, self._log.seek(0, os.SEEK_END) - 4000))
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        return f": {lines[-1].strip()[:200]}" if lines else ""

    def _need(self) -> str:
        return f"{self.weights.memory / 1e9:.1f} GB"

    def _check_memory(self) -> None:
        free = machine.memory()
        if free is not None and free < self.weights.memory:
            raise NoModel(
                f"The local model {self.weights.name} needs {self._need()} of memory and {free / 1e9:.1f} GB are free: "
                "close something, choose --model local-small, or set ANTHROPIC_API_KEY to use a model elsewhere."
            )

    def _launch(self) -> None:
        setup = Setup(
            path=str(self.path.resolve()),
            key=self.key,
            alias=self.weights.name,
            threads=machine.cores(),
            parent=os.getpid(),
            idle=self.idle,
            port=self.port,
        )
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the server
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "jupyter_codeagent.models.server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            bufsize=0,
            env=environment(os.environ),
            start_new_session=True,  # a stop button or Ctrl-C for the notebook is not meant for it
        )
        if self._process.stdin:
            self._process.stdin.write(setup.line())

    def _greeting(self) -> str:
        process, deadline = self._process, time.monotonic() + _PATIENCE
        if process is None or process.stdout is None:
            return ""
        if not select.select([process.stdout], [], [], deadline - time.monotonic())[0]:
            raise ModelError(f"The local model was not loaded within {_PATIENCE:.0f} s; is the machine very busy?")
        line = process.stdout.readline()
        if not line:
            raise ModelError(self._reason(process.wait()))
        answer = json.loads(line)
        if "error" in answer:
            raise NoModel(answer["error"])
        return str(answer["url"])


def environment(of: os._Environ[str] | dict[str, str]) -> dict[str, str]:
    """Return what the server gets of an environment: where things are, how to compute, and no secrets."""
    kept = {k: v for k, v in of.items() if k in _PASSED_ON or k.startswith(_PREFIXES)}
    # Between steps the threads of libgomp spin; left alone they fight the notebook for the cores (28 against
    # 1 token a second on two busy cores), and without any spinning a quiet machine is a third slower.
    return {"GOMP_SPINCOUNT": "500", **kept}


_shared: dict[Path, ServerProcess] = {}
_lock = RLock()


def lease(weights: Weights, path: Path) -> ServerProcess:
    """Return this process's server for a file, not yet started, and count one more user."""
    with _lock:
        server = _shared.get(path)
        if server is None or server._owner != os.getpid():
            server = _shared[path] = ServerProcess(weights, path)
        server.users += 1
        return server


def release(server: ServerProcess) -> None:
    """Count one user less; the last one ends the server."""
    with _lock:
        server.users -= 1
        if server.users <= 0:
            server.stop()
            if _shared.get(server.path) is server:
                del _shared[server.path]


@atexit.register
def _stop_all() -> None:
    for server in list(_shared.values()):
        server.stop()
