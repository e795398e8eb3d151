"""Files that came or changed after the sandbox had copied the working folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from jupyter_codeagent.passing import ValueSandbox
from jupyter_codeagent.trajectory import Observation

MOST_BYTES = 64 * 2**20  # of one file

_THERE = "open({name!r}, 'rb').close()"
_WRITE = """\
import os as _os
_os.makedirs(_os.path.dirname({name!r}) or ".", exist_ok=True)
with open({name!r}, "wb") as _file:
    _file.write(_content)
del _content, _file, _os
"""


def deliver(sandbox: ValueSandbox, names: Sequence[str], folder: Path, since: float) -> Iterator[str]:
    """Copy those files in that are missing inside or newer than `since`; yields a sentence for each that cannot be.

    Parameters
    ----------
    sandbox : ValueSandbox
        Its working folder gets them.
    names : sequence of str
        Relative to `folder`.
    folder : Path
        The working folder.
    since : float
        When the sandbox last copied the folder, or these files, in seconds since 1970.
    """
    for name in names:
        state = (folder / name).stat()
        # ctime, as a copied or moved file keeps the time of its content
        if state.st_ctime <= since and _run(sandbox, _THERE.format(name=name)).error is None:
            continue
        if state.st_size > MOST_BYTES:
            most = MOST_BYTES // 2**20
            yield f"{name} is newer than the sandbox and larger than {most} MB; run %agent reset first."
            continue
        error = _run(sandbox, _WRITE.format(name=name), {"_content": (folder / name).read_bytes()}).error
        if error is not None:
            reason = f"{error.ename}: {error.evalue}"
            yield f"{name} could not be copied into the sandbox ({reason}); run %agent reset first."


def _run(sandbox: ValueSandbox, code: str, values: dict[str, Any] | None = None) -> Observation:
    last = Observation()
    for last in sandbox.stream(code, values):  # noqa: B007 - the last one is whole
        pass
    return last
