"""The working folder: made ready, compared, kept and put back."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measure import Row, interleave, milliseconds
from jupyter_codeagent.sandbox import Sandbox, SandboxPolicy

FOLDERS, EACH = 500, 100


def folder(quick: bool) -> Iterator[Row]:
    """A folder of 50,000 files: ready inside, against copying it; differences, keeping and putting back."""
    with tempfile.TemporaryDirectory(prefix="bench") as name:
        large, small = Path(name, "large"), Path(name, "small")
        small.mkdir()
        Path(small, "f0.py").write_text("x")
        for number in range(FOLDERS):
            Path(large, f"d{number}").mkdir(parents=True)
            for file in range(EACH):
                Path(large, f"d{number}", f"f{file}.py").write_text("x" * 4000)
        found = interleave(
            3 if quick else 7,
            plain=lambda: start(small),
            large=lambda: start(large),
            copied=lambda: copy(large, Path(name, "copy")),
        )
        over = [big - one for big, one in zip(found["large"], found["plain"], strict=True)]
        yield Row("50,000 files ready, over 1 file", "ms", over, "cp -a", found["copied"], bar=0.01)
        yield from changed(large, small, quick)


def changed(large: Path, small: Path, quick: bool) -> Iterator[Row]:
    """Ten changed files in a large and in a small folder."""
    code = "for n in range(10): open(f'new{n}', 'w').write('x' * 1000)"
    with Sandbox(SandboxPolicy(large)) as one, Sandbox(SandboxPolicy(small)) as other:
        one.execute(code)
        other.execute(code)
        found = interleave(
            10 if quick else 30,
            large=lambda: milliseconds(one.changes),
            small=lambda: milliseconds(other.changes),
        )
        yield Row("changes(), 10 of 50,000 files", "ms", found["large"], "10 of 1 file", found["small"])
        point = one.checkpoint()
        write = "open('new0', 'w').write('y'); open('d0/f0.py', 'a').write('y')"
        back = interleave(
            10 if quick else 30,
            written=lambda: undo(one, point, write),
            only=lambda: undo(one, point, "x = 1"),
        )
        yield Row("rollback with two files put back", "ms", back["written"], "rollback without", back["only"])


def start(path: Path) -> float:
    """Return the milliseconds until a sandbox is ready."""
    sandbox = Sandbox(SandboxPolicy(path))
    try:
        return milliseconds(sandbox.start)
    finally:
        sandbox.close()


def copy(source: Path, target: Path) -> float:
    """Return the milliseconds to copy a tree with all that belongs to it."""
    try:
        return milliseconds(lambda: subprocess.run(["cp", "-a", source, target], check=True))
    finally:
        shutil.rmtree(target)


def undo(sandbox: Sandbox, point: object, code: str) -> float:
    """Return the milliseconds to go back after `code`."""
    sandbox.execute(code)
    return milliseconds(lambda: sandbox.rollback(point))  # type: ignore[arg-type]
