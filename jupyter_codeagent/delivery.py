"""Files that came or changed after the sandbox had copied the working folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from jupyter_codeagent.passing import ValueSandbox
from jupyter_codeagent.trajectory import Input, Observation

MOST_BYTES = 64 * 2**20  # of one file

_THERE = "open({name!r}, 'rb').close()"
_SAME = """\
import hashlib as _hashlib
with open({name!r}, "rb") as _file:
    _same = _hashlib.file_digest(_file, lambda: _hashlib.blake2b(digest_size=16)).hexdigest() == {digest!r}
del _file, _hashlib
assert _same
"""
_WRITE = """\
import os as _os
_os.makedirs(_os.path.dirname({name!r}) or ".", exist_ok=True)
with open({name!r}, "wb") as _file:
    _file.write(_content)
del _content, _file, _os
"""


def deliver(
    sandbox: ValueSandbox, files: Sequence[Input], folder: Path, since: float, known: dict[str, str]
) -> Iterator[str]:
    """Copy those files in that are missing inside, or came or changed later; yields a sentence for each that cannot be.

    Parameters
    ----------
    sandbox : ValueSandbox
        Its working folder gets them.
    files : sequence of Input
        Names are relative to `folder`.
    folder : Path
        The working folder.
    since : float
        When the sandbox copied the folder, in seconds since 1970.
    known : dict of str to str
        Hashes of what was delivered or found there before, by name; kept up. What code in the sandbox has made of
        such a file stays until the user's file changes again.
    """
    for file in files:
        state = (folder / file.name).stat()
        # ctime, as a copied or moved file keeps the time of its content
        question = _THERE if state.st_ctime <= since else _SAME
        if known.get(file.name) == file.digest:
            continue
        if _run(sandbox, question.format(**vars(file))).error is None:  # so it is below an overlay
            known[file.name] = file.digest
            continue
        if file.size > MOST_BYTES:
            most = MOST_BYTES // 2**20
            yield f"{file.name} is newer than the sandbox and larger than {most} MB; run %agent reset first."
            continue
        content = {"_content": (folder / file.name).read_bytes()}
        error = _run(sandbox, _WRITE.format(name=file.name), content).error
        if error is not None:
            reason = f"{error.ename}: {error.evalue}"
            yield f"{file.name} could not be copied into the sandbox ({reason}); run %agent reset first."
        known[file.name] = file.digest


def _run(sandbox: ValueSandbox, code: str, values: dict[str, Any] | None = None) -> Observation:
    last = Observation()
    for last in sandbox.stream(code, values):  # noqa: B007 - the last one is whole
        pass
    return last
