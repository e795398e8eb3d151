"""jupyter codeagent model status | pull | serve | remove: what each does and writes.

Each function takes the options `name` (which local model; None: the default one) and `json`, writes for people to
standard error or output, and returns the exit status. With `json` it writes one object to standard output.
"""

from __future__ import annotations

import importlib.util
import json
import signal
import sys
import time
from argparse import Namespace
from collections.abc import Iterable, Iterator
from typing import Any

from jupyter_codeagent.errors import NoModel, WeightsError
from jupyter_codeagent.models import machine, weights
from jupyter_codeagent.models.process import ServerProcess
from jupyter_codeagent.models.server import NO_RUNTIME
from jupyter_codeagent.models.weights import Weights


def chosen(name: str | None) -> Weights:
    """Return the entry that a name means: ``local``, ``local-small``, a size, or the model's full name.

    Raises
    ------
    WeightsError
        If there is none.
    """
    wanted = (name or "local").lower()
    for alias, size in zip(("local", "local-small"), weights.SIZES, strict=True):
        known = weights.known(size)
        if wanted in {alias, size, known.name.lower()}:
            return known
    return weights.known(wanted)


def facts(known: Weights) -> dict[str, Any]:
    """Return what is there of a local model: its file, how much of it, and what it needs."""
    home = weights.folder()
    found: dict[str, Any] = {
        "name": known.name,
        "size": known.size,
        "licence": known.licence,
        "bytes": known.bytes,
        "memory": known.memory,
        "file": None,
        "fetched": weights.fetched(known, home),
        "problem": "",
    }
    try:
        actual, file = weights.find(known, home=home)
        if actual.size == known.size:
            found |= {"file": str(file), "fetched": actual.bytes}
    except WeightsError as error:
        found["problem"] = str(error)
    return found


def status(options: Namespace) -> int:
    """Tell which local models are here, checked by their hash, and whether the runtime is."""
    models = [facts(chosen(options.name))] if options.name else [facts(weights.known(s)) for s in weights.SIZES]
    runtime = importlib.util.find_spec("xllamacpp") is not None
    ready = runtime and any(m["file"] for m in models)
    if options.json:
        _json({"version": 1, "ready": ready, "runtime": runtime, "folder": str(weights.folder()), "models": models})
        return 0 if ready else 1
    for model in models:
        sys.stdout.write(f"{_state(model)}\n")
    sys.stdout.write("The runtime xllamacpp is installed.\n" if runtime else f"{NO_RUNTIME}\n")
    free = machine.memory()
    if free is not None:
        sys.stdout.write(f"{machine.cores()} cores and {free / 1e9:.1f} GB of memory are free for it.\n")
    return 0 if ready else 1


def _state(model: dict[str, Any]) -> str:
    need = f"{model['bytes'] / 1e9:.1f} GB, {model['licence']}, needs {model['memory'] / 1e9:.1f} GB of memory"
    head = f"{model['name']} ({model['size']}; {need}):"
    if model["file"]:
        return f"{head} {model['file']}, checked."
    if 0 < model["fetched"] < model["bytes"]:
        share = model["fetched"] / model["bytes"]
        return f"{head} {share:.0%} fetched; `jupyter codeagent model pull {model['size']}` gets the rest."
    return f"{head} {model['problem']}"


def pull(options: Namespace) -> int:
    """Fetch the file of a local model, or what is missing of it, and check it."""
    known = chosen(options.name)
    begin = time.monotonic()
    for line in progress(weights.pull(known), known):
        sys.stderr.write(line)
        sys.stderr.flush()
    _, file = weights.find(known, path=weights.folder() / known.file)
    if options.json:
        _json({"version": 1, "file": str(file), "sha256": known.sha256, "bytes": known.bytes})
    else:
        seconds = time.monotonic() - begin
        sys.stdout.write(f"{known.name} ({known.licence}) is in {file}, and its sha256 is right ({seconds:.0f} s).\n")
    return 0


def progress(counts: Iterable[int], known: Weights, live: bool | None = None) -> Iterator[str]:
    """Yield what to write while `counts` grow: one line drawn anew on a terminal, a line every tenth in a log."""
    live = sys.stderr.isatty() if live is None else live
    told = -1
    for count in counts:
        percent = 100 * count // known.bytes
        if percent > told and (live or told < 0 or percent >= told + 10):
            told = percent
            text = f"{known.file}: {count / 1e6:,.0f} of {known.bytes / 1e6:,.0f} MB ({percent} %)"
            yield f"\r{text}" if live else f"{text}\n"
    if live and told >= 0:
        yield "\n"


def serve(options: Namespace) -> int:
    """Serve a local model to other programs until interrupted, and say how they reach it."""
    known, file = weights.find(chosen(options.name))
    server = ServerProcess(known, file, idle=None)
    # so that `kill` ends the server too, and not only this process (which would end it a second later)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        sys.stderr.write(f"Loading {known.name}, about 3 s …\n")
        server.start()
        told = {"ANTHROPIC_BASE_URL": server.url, "ANTHROPIC_API_KEY": server.key}
        if options.json:
            _json({"version": 1, "model": known.name, **told})
        else:
            sys.stdout.write("".join(f"export {name}={value}\n" for name, value in told.items()))
            sys.stdout.flush()
            sys.stderr.write("Serving the Messages API on this machine only, until Ctrl-C.\n")
        while server.running:
            time.sleep(0.5)
        raise NoModel(server.died())
    except KeyboardInterrupt:
        return 0
    finally:
        server.stop()


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def remove(options: Namespace) -> int:
    """Delete the file of a local model from the cache."""
    known = chosen(options.name)
    freed = weights.remove(known)
    if options.json:
        _json({"version": 1, "model": known.name, "freed": freed})
    else:
        gone = f"{freed / 1e9:.2f} GB freed" if freed else "there was nothing to remove"
        sys.stdout.write(f"{known.name}: {gone} in {weights.folder()}.\n")
    return 0


def _json(data: object) -> None:
    sys.stdout.write(json.dumps(data) + "\n")
    sys.stdout.flush()
