"""What can be said of code without executing it."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterable, Mapping

HARMLESS_MAGICS = re.compile(r"\s*%%?(?:time|timeit|capture|prun|matplotlib|config|load_ext|reload_ext|autoreload)\b")


def parsed(code: str) -> ast.Module | None:
    """Return the tree of `code`, or None where it is not plain Python: broken, or with magics."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as of '\$'; where the code is executed, they are shown
            return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def texts_in(code: str, most: int = 200) -> list[str]:
    """Return the short texts that stand in `code` as constants, each once, such as the names of files."""
    tree = parsed(code)
    found = [n.value for n in ast.walk(tree) if isinstance(n, ast.Constant)] if tree else []
    return list(dict.fromkeys(text for text in found if isinstance(text, str) and 0 < len(text) <= most))


def names_read(code: str) -> list[str]:
    """Return the names that `code` reads, each once, in no particular order; what it sets itself may be among them."""
    tree = parsed(code)
    found = [n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)] if tree else []
    return list(dict.fromkeys(found))


def sameness(code: str) -> str:
    """Return what two codes share that differ only in comments and layout."""
    try:
        if (tree := parsed(code)) is not None:
            return ast.dump(tree)
    except RecursionError:  # a tree can be deeper than what walks it
        pass
    lines = (line.strip() for line in code.splitlines())
    return "\n".join(line for line in lines if line and not line.startswith("#"))


def plain_lines(code: str) -> tuple[str, list[str]]:
    """Return `code` with IPython's own lines taken out, line numbers kept, and those lines.

    A cell magic that only times or captures its body leaves the body; of any other, nothing is left.
    """
    lines = code.splitlines()
    if lines and lines[0].lstrip().startswith("%%") and not HARMLESS_MAGICS.match(lines[0]):
        return "", lines
    special: list[str] = []
    for at, line in enumerate(lines):
        stripped = line.lstrip()
        assigned = re.match(r"\s*[\w, ]+=\s*[!%]\s*\w", line)
        if stripped.startswith(("%", "!", "?")) or assigned or re.search(r"^[\w.]+\?\??$", stripped):
            special.append(line)
            # what it is assigned to stays bound
            lines[at] = (
                line[: line.index("=") + 1] + " None" if assigned else line[: len(line) - len(stripped)] + "pass"
            )
    return "\n".join(lines), special


def tree_of(code: str) -> ast.Module | None:
    """Return the tree of a cell's code without its magics, or None where it is not Python."""
    return parsed(plain_lines(code)[0])


def modules_of(trees: Iterable[ast.Module | None]) -> dict[str, str]:
    """Return what the names of imported modules and their parts stand for, such as ``np`` for ``numpy``."""
    found: dict[str, str] = {}
    for node in (n for tree in trees if tree for n in ast.walk(tree)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                root = alias.name.partition(".")[0]
                found[alias.asname or root] = alias.name if alias.asname else root
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                found[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return found


def dotted(node: ast.AST, modules: Mapping[str, str]) -> str:
    """Return the full name of what is called, such as ``numpy.random.rand``; empty where it has no module's name."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name) or node.id not in modules:
        return ""
    return ".".join([modules[node.id], *reversed(parts)])


def root_of(node: ast.AST) -> str:
    """Return the name at the root of ``name.a[b].c``; empty where there is none."""
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Starred):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def looked_up(node: ast.AST) -> set[str]:
    """Return the names that code looks up outside itself: neither parameters nor its own local names."""
    if isinstance(node, ast.Name):
        return {node.id} if isinstance(node.ctx, ast.Load | ast.Del) else set()
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        return _inside(node)
    below = [looked_up(child) for child in ast.iter_child_nodes(node)]
    found = set().union(*below) if below else set()
    if isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
        found -= {n.id for g in node.generators for n in ast.walk(g.target) if isinstance(n, ast.Name)}
    return found


def _inside(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> set[str]:
    args = node.args
    names = [*args.posonlyargs, *args.args, *args.kwonlyargs, *([args.vararg] if args.vararg else [])]
    own = {a.arg for a in [*names, *([args.kwarg] if args.kwarg else [])]}
    body: list[ast.AST] = [node.body] if isinstance(node, ast.Lambda) else list(node.body)
    outer: set[str] = set()
    for part in (p for b in body for p in ast.walk(b)):
        if isinstance(part, ast.Global):
            outer |= set(part.names)
        elif isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
            own.add(part.id)
        elif isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            own.add(part.name)
    return (set().union(*(looked_up(b) for b in body)) | outer) - (own - outer)
