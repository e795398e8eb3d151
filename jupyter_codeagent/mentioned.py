"""What the text of code says of files and seeds: read from its syntax tree, nothing is executed."""

from __future__ import annotations

import ast
import fnmatch
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

from jupyter_codeagent.keys import secret_file
from jupyter_codeagent.source import parsed

FILES = 50  # files that are named at most
ENTRIES = 20_000  # of the folder that patterns are compared with
SEEDS = 50
CALL = 100  # characters of a call
_WRITES = re.compile(r"(?:to_|write|save|dump|export|sink_|mkdir|touch|unlink|remove|rename|replace)\w*")
_SEEDS = {
    "seed", "default_rng", "RandomState", "Random", "manual_seed", "manual_seed_all", "set_seed", "set_random_seed",
    "seed_everything", "PRNGKey", "SeedSequence", "PCG64",
}  # fmt: skip
_SEED_ARGUMENTS = {"random_state", "seed", "random_seed"}


def files_read(cells: Iterable[str], folder: Path) -> list[str]:
    """Return the files of `folder` that code names in order to read them, as relative names, in their order.

    These are the constants of the code, and constant parts that ``/``, ``Path`` and ``join`` put together, that are
    names of files which exist, and the matches of ``glob``. What any of the cells names in order to write it is left
    out, as are names of files that hold secrets, and links that lead out of the folder.

    Parameters
    ----------
    cells : iterable of str
        Source of code cells.
    folder : Path
        The working folder.
    """
    reads: dict[str, None] = {}
    writes: set[str] = set()
    for cell in cells:
        reader = _Reader()
        if written := re.match(r"\s*%%(?:writefile|file)\s+(?:-a\s+)?(\S+)", cell):
            writes.add(_plain(written[1]))
        elif tree := parsed(_python(cell)):
            with suppress(RecursionError):  # a tree can be deeper than what walks it
                reader.visit(tree)
        reads |= dict.fromkeys(map(_plain, reader.reads))
        reads |= dict.fromkeys(name for pattern in reader.patterns for name in _matches(pattern, folder))
        writes |= set(map(_plain, reader.writes))
    root = folder.resolve()
    return [name for name in reads if name not in writes and _is_input(name, root)][:FILES]


def seeds(cells: Iterable[str]) -> list[str]:
    """Return the calls in code that set the seed of a random generator, such as ``np.random.seed(0)``."""
    found: dict[str, None] = {}
    for cell in cells:
        tree = parsed(_python(cell))
        for node in ast.walk(tree) if tree else ():
            with suppress(RecursionError):
                if isinstance(node, ast.Call) and (text := _seeding(node)):
                    found[text[:CALL]] = None
    return list(found)[:SEEDS]


def _seeding(node: ast.Call) -> str:
    name = _name(node.func)
    given = [k for k in node.keywords if k.arg in _SEED_ARGUMENTS and not _is_none(k.value)]
    if name in _SEEDS and (given or any(not _is_none(a) for a in node.args)):
        return ast.unparse(node)
    return f"{ast.unparse(node.func)}({', '.join(map(ast.unparse, given))})" if given else ""


def _is_none(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _name(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _python(cell: str) -> str:
    return "\n".join("pass" if line.lstrip().startswith(("%", "!")) else line for line in cell.splitlines())


class _Reader(ast.NodeVisitor):
    """Collects what may be names of files: read, written, and patterns of such that are read."""

    def __init__(self) -> None:
        self.reads: list[str] = []
        self.writes: list[str] = []
        self.patterns: list[str] = []

    def visit(self, node: ast.AST) -> None:
        if isinstance(node, ast.JoinedStr):  # its constants are parts of names that are not known
            return
        if isinstance(node, ast.Call) and self._called(node):
            return
        if isinstance(node, ast.expr) and (text := _text(node)):
            self.reads.append(text)
            return
        self.generic_visit(node)

    def _called(self, node: ast.Call) -> bool:
        """Look at a call; True when all of it has been looked at."""
        name = _name(node.func)
        if name in ("glob", "iglob", "rglob") and node.args and (pattern := _text(node.args[0])):
            above = _text(node.func.value) if isinstance(node.func, ast.Attribute) else ""
            inner = f"**/{pattern}" if name == "rglob" else pattern
            self.patterns.append(f"{above}/{inner}" if above else inner)
            return True
        if _WRITES.fullmatch(name) or (name == "open" and _opened_to_write(node)):
            base = [node.func.value] if isinstance(node.func, ast.Attribute) else []
            for part in [*base, *node.args, *(k.value for k in node.keywords)]:
                if written := _text(part):
                    self.writes.append(written)
                else:
                    self.visit(part)
            return True
        return False


def _opened_to_write(node: ast.Call) -> bool:
    method = isinstance(node.func, ast.Attribute) and _name(node.func.value) not in ("io", "gzip", "bz2", "lzma")
    at = 0 if method else 1  # path.open(mode), open(name, mode)
    modes = [*node.args[at : at + 1], *(k.value for k in node.keywords if k.arg == "mode")]
    return any(isinstance(m, ast.Constant) and re.search("[wax+]", str(m.value)) for m in modes)


def _text(node: ast.AST) -> str:
    """Return the text of a constant, or of constants that are put together as a path; else an empty one."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) and "\n" not in node.value else ""
    parts: list[ast.expr] = []
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        parts = [node.left, node.right]
    elif isinstance(node, ast.Call) and _name(node.func) in ("Path", "join", "PurePath", "PosixPath"):
        parts = node.args
    texts = [_text(part) for part in parts]
    return str(PurePosixPath(*texts)) if texts and all(texts) else ""


def _plain(name: str) -> str:
    return str(PurePosixPath(name))


def _matches(pattern: str, folder: Path) -> list[str]:
    if ".." in PurePosixPath(pattern).parts or PurePosixPath(pattern).is_absolute() or "." not in pattern:
        return []  # of "*" nobody means every file
    try:
        wanted = re.compile("/".join(map(_part, PurePosixPath(pattern).parts)).replace("**/", "(?:.*/)?"))
    except re.error:
        return []
    return sorted(name for name in _below(folder, deep="**" in pattern or "/" in pattern) if wanted.fullmatch(name))


def _part(part: str) -> str:
    if part == "**":
        return part
    return fnmatch.translate(part).replace(".*", "[^/]*").removeprefix("(?s:").removesuffix(")\\Z").removesuffix(")\\z")


def _below(folder: Path, deep: bool) -> Iterator[str]:
    """Yield the files below a folder, as far as its first entries go: it may be as large as a disk."""
    left = ENTRIES
    for place, folders, files in os.walk(folder):
        left -= len(folders) + len(files)
        folders[:] = sorted(name for name in folders if not name.startswith(".")) if deep and left > 0 else []
        above = Path(place).relative_to(folder)
        yield from ((above / name).as_posix() for name in files[:ENTRIES])


def _is_input(name: str, root: Path) -> bool:
    path = PurePosixPath(name)
    if not 0 < len(name) <= 500 or "\0" in name or path.is_absolute() or ".." in path.parts or secret_file(name):
        return False
    try:
        return (root / name).is_file() and (root / name).resolve().is_relative_to(root)
    except (OSError, RuntimeError, ValueError):
        return False


def names_of_modules(modules: Iterable[str], folder: Path) -> Iterator[str]:
    """Yield the files of `modules`, which lie in `folder` as files or packages."""
    for module in modules:
        if (folder / f"{module}.py").is_file():
            yield f"{module}.py"
        else:
            yield from (p.relative_to(folder).as_posix() for p in sorted((folder / module).rglob("*.py"))[:FILES])
