"""What is added to the code of a small model before it is executed; all of it stands in the cell."""

from __future__ import annotations

import ast
import builtins
import re
import sys
from collections.abc import Iterator

from jupyter_codeagent.source import parsed

_USUAL = {
    "pd": "import pandas as pd",
    "np": "import numpy as np",
    "plt": "import matplotlib.pyplot as plt",
    "sns": "import seaborn as sns",
}
_EXAMPLE = re.compile(
    r"(?m)(?:\bassert\s+)?(?P<call>\b[A-Za-z_]\w*\(.*?\))\s*(?:={2,3}>?|[-=]>|→|➞)\s*(?P<value>[^\s`].*?)[`.;]*\s*$"
)
_DOCTEST = re.compile(r"(?m)^\s*>>> (?P<call>\w+\(.*\))\s*\n\s*(?P<value>[^>\s].*?)\s*$")


def with_imports(code: str, known: set[str]) -> str:
    """Return the code with the imports that it forgot: of the standard library, and by the usual short names."""
    tree = parsed(code)
    if tree is None:  # magics, or an error that executing it will show
        return code
    missing = sorted(set(_loaded(tree)) - set(_bound(tree)) - known - set(dir(builtins)))
    lines = [_USUAL.get(n) or f"import {n}" for n in missing if n in _USUAL or n in sys.stdlib_module_names]
    return "\n".join([*lines, code])


def _loaded(tree: ast.AST) -> Iterator[str]:
    # Only `name.something` counts: a bare name is hardly a module.
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield node.value.id


def _bound(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Name(ctx=ast.Store()):
                yield node.id
            case ast.alias():
                yield node.asname or node.name.partition(".")[0]
            case ast.arg():
                yield node.arg
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield node.name
            case ast.ExceptHandler(name=str()):
                yield str(node.name)


def with_display(code: str) -> str:
    """Return the code with a last line that shows what it assigned last, if that is how it ends."""
    tree = parsed(code)
    match tree.body[-1] if tree and tree.body else None:
        case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
            return f"{code}\n{name}"
    return code


def with_examples(code: str, task: str) -> str:
    """Return the code with the task's own examples as assertions, where it defines what they call."""
    tree = parsed(code)
    defined = {n.name for n in tree.body if isinstance(n, ast.FunctionDef)} if tree else set()
    found = [_assertion(call, value) for call, value in examples(task) if call.partition("(")[0] in defined]
    there = {line.strip() for line in code.splitlines()}
    new = [line for line in dict.fromkeys(found) if line not in there]
    return "\n".join([code, "", "# Examples from the task:", *new]) if new else code


def _assertion(call: str, value: str) -> str:
    # the message is what the function gave: the next attempt is told
    exact = not isinstance(ast.literal_eval(value), float)
    return f"assert {call} == {value}, {call}" if exact else f"assert abs({call} - {value}) < 1e-6, {call}"


def wrong_example(line: str, gave: str) -> str:
    """Return what is to be learnt from an example's assertion that failed; empty for other lines."""
    match = re.fullmatch(r"assert (?P<call>.+) == (?P<value>.+), (?P=call)", line.strip())
    return f"{match['call']} gave {gave[:100]} and should give {match['value']}" if match else ""


def examples(task: str) -> Iterator[tuple[str, str]]:
    """Yield the calls that a text shows with their values: ``f(1) == 2``, ``f(1) -> 2``, or as a doctest."""
    for pattern in (_EXAMPLE, _DOCTEST):
        for match in pattern.finditer(task):
            call, value = match["call"], match["value"]
            if _is_call(call) and _is_literal(value):
                yield call, value


def _is_call(text: str) -> bool:
    tree = parsed(text)
    match tree.body if tree else []:
        case [ast.Expr(value=ast.Call(args=arguments))]:
            return all(_is_literal(ast.unparse(argument)) for argument in arguments)
    return False


def _is_literal(text: str) -> bool:
    try:
        ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return False
    return True


def is_python(code: str) -> bool:
    """Whether IPython could execute the code; cells with magics are taken as they are."""
    return parsed(code) is not None or bool(re.search(r"(?m)^\s*[%!]|\?$", code))
