"""python -m jupyter_codeagent.verify_job: one notebook verified for the server extension, in a process of its own.

It reads one line from standard input, ``{"file": path, "name": what the user calls it, "stamp": true or false}``, and
writes lines to standard output: ``{"done": n, "total": m}`` while it works, then ``{"report": {...},
"text": sentence}`` or ``{"error": sentence}``. It ends when it gets SIGTERM or when its standard input ends, so that it
never outlives the server. Where "stamp" is false the file is left as it is; where there are also
"unknown" cells (a list of ids) it was just saved, and gets the outputs of the fresh run.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

from jupyter_codeagent.app import CodeAgentApp
from jupyter_codeagent.errors import CodeAgentError
from jupyter_codeagent.report import Report
from jupyter_codeagent.sandbox import SandboxPolicy
from jupyter_codeagent.verified import Verified, save_verified
from jupyter_codeagent.verify import verify_notebook


def main() -> None:
    """Verify the notebook that standard input names."""
    request = json.loads(sys.stdin.buffer.readline())
    signal.signal(signal.SIGTERM, _stop)
    threading.Thread(target=_watch_the_server, daemon=True).start()
    try:
        _write(_verified(Path(request["file"]), str(request["name"]), request["stamp"] is True, request["unknown"]))
    except KeyboardInterrupt:
        sys.exit(130)


def _verified(file: Path, name: str, stamp: bool, unknown: list[str] | None) -> dict[str, Any]:
    app = CodeAgentApp.instance()
    app.load_config_file()
    policy = SandboxPolicy(workspace=file.parent, memory=app.memory, timeout=app.timeout)
    try:
        if stamp and unknown is not None:
            report = _saved(save_verified(file, policy, _progress, unknown=unknown))
        else:
            report = verify_notebook(file, policy, _progress, stamp=stamp)
    except CodeAgentError as error:
        return {"error": str(error).replace(str(file), name)}
    report = replace(report, path=name)
    return {"report": report.to_dict(), "text": str(report).partition("\n")[0]}


def _saved(verified: Verified) -> Report:
    if verified.report is None:
        raise CodeAgentError(verified.problem)
    more = [verified.problem] if verified.problem else []
    return replace(verified.report, notes=(*verified.report.notes, *more))


def _progress(done: int, total: int) -> None:
    _write({"done": done, "total": total})


def _write(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def _watch_the_server() -> None:
    # unbuffered: a thread that holds the buffer's lock would keep Python from ending
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _stop(number: int, frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
