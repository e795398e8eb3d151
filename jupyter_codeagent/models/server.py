"""The process that runs the local model and serves the Messages API on this machine.

``python -m jupyter_codeagent.models.server`` reads one line of JSON from its standard input (a `Setup`),
answers with one line of JSON (``{"url": …}`` or ``{"error": …}``), and serves until its standard input
ends, its parent is gone, it was idle for long, or it is told to terminate. Each further line that it reads
means that the model is in use.
"""

from __future__ import annotations

import json
import os
import select
import signal
import time
import traceback
from dataclasses import asdict, dataclass
from threading import Event, Thread
from typing import Any

NO_RUNTIME = "The local model's runtime is not installed: run `pip install 'jupyter-codeagent[local]'`."
NO_GOMP = (
    "The local model needs the system library libgomp.so.1: run `apt-get install libgomp1` or your system's equivalent."
)


@dataclass(frozen=True)
class Setup:
    """What the server is told by the process that starts it.

    Parameters
    ----------
    path : str
        The checked GGUF file.
    key : str
        What requests must carry. It comes through the pipe, so it is in no argument list or environment.
    alias : str
        The name under which the model answers.
    threads : int
        How many threads compute.
    parent : int
        The process whose end is the server's end.
    idle : float or None
        Seconds without use after which it ends; None: never.
    context : int
        Tokens that the model can read and write in all.
    port : int
        0: any free one.
    """

    path: str
    key: str
    alias: str
    threads: int
    parent: int
    idle: float | None = None
    context: int = 8192
    port: int = 0

    def line(self) -> bytes:
        """Return it as the one line that the server reads."""
        return json.dumps(asdict(self)).encode() + b"\n"


def start(setup: Setup) -> Any:
    """Load the model and serve it; return the server, which lives as long as it is referred to.

    Raises
    ------
    ImportError
        If the runtime or one of its system libraries is missing.
    RuntimeError
        If the model cannot be loaded or the port is taken.
    """
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = setup.path
    params.model_alias = {setup.alias}
    params.n_ctx = setup.context
    params.n_parallel = 1
    params.hostnames = ["127.0.0.1"]
    params.port = setup.port
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = setup.threads
    params.api_keys = [setup.key]
    params.ui = False
    params.cors_origins = ""  # the default lets any web page ask
    params.cache_ram_mib = 256  # the default keeps old prompts in up to 8 GiB
    params.use_jinja = True
    return xllamacpp.Server(params)


def _missing(error: ImportError) -> str:
    if error.name == "xllamacpp":
        return NO_RUNTIME
    if "libgomp" in str(error):
        return NO_GOMP
    return f"The local model's runtime cannot be loaded: {error}."


def serve(setup: Setup, answers: int) -> None:
    """Start the server, say so on the descriptor `answers`, and return when it is no longer wanted."""
    # Watched from the first moment: whoever asked may be gone before the model is loaded.
    loaded = Event()
    watch = Thread(target=_end_with, args=(setup, loaded), daemon=True)
    watch.start()
    try:
        server = start(setup)
        answer = {"url": server.listening_address}
    except ImportError as error:
        answer = {"error": _missing(error)}
    except RuntimeError as error:
        answer = {"error": f"The local model could not be loaded from {setup.path}: {error}."}
    os.write(answers, json.dumps(answer).encode() + b"\n")
    if "url" in answer:
        loaded.set()
        watch.join()


def _end_with(setup: Setup, loaded: Event) -> None:
    wait(0, setup.parent, setup.idle, loaded)
    os._exit(0)


def wait(pipe: int, parent: int, idle: float | None, loaded: Event) -> None:
    """Return when `pipe` ends, `parent` is not the parent any more, or nothing came for `idle` seconds once loaded."""
    used = time.monotonic()
    while os.getppid() == parent and (idle is None or time.monotonic() - used < idle):
        heard = bool(select.select([pipe], [], [], 1.0)[0])
        if heard and not os.read(pipe, 4096):
            return
        if heard or not loaded.is_set():
            used = time.monotonic()


def main() -> None:
    """Serve as the pipe says."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the stop button is the parent's business
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.nice(5)  # the notebook's own work goes first
    answers = os.dup(1)
    os.dup2(2, 1)  # the runtime logs to both
    with open(0, "rb", buffering=0, closefd=False) as pipe:
        line = pipe.readline()
    try:
        if line:
            serve(Setup(**json.loads(line)), answers)
    except BrokenPipeError:
        os._exit(0)  # nobody reads the answer any more
    except Exception:  # noqa: BLE001 - its last words, which whoever started it shows
        traceback.print_exc()
        os._exit(1)
    os._exit(0)  # leaving the usual way can wait for the runtime's threads for ever


if __name__ == "__main__":
    main()
