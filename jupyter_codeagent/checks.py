"""What the user demands of a result: expressions and test files, made into code that the sandbox executes."""

from __future__ import annotations

import ast
from pathlib import Path

from jupyter_codeagent.errors import WrongUse
from jupyter_codeagent.trajectory import Check

_EXPRESSION = """\
_seen = ({expression}
)
if not _seen:
    raise AssertionError({label!r} + " is " + repr(_seen)[:200])
"""

_COMPARISON = """\
_left = ({left}
)
_right = ({right}
)
if not (_left {operator} _right):
    raise AssertionError({label!r} + " does not hold: " + repr(_left)[:200] + " against " + repr(_right)[:200])
"""

_TESTS = """\
import traceback as _traceback
_source, _failed = {source!r}, []
exec(compile(_source, {name!r}, "exec"), globals())
for _test in {tests!r}:
    try:
        globals()[_test]()
    except Exception as _error:
        _lines = [f.lineno for f in _traceback.extract_tb(_error.__traceback__) if f.filename == {name!r}]
        _line = _source.splitlines()[_lines[-1] - 1].strip() if _lines else ""
        _failed.append(f"{{_test}}: {{type(_error).__name__}}: {{str(_error)[:200] or _line}}")
if _failed:
    raise AssertionError("; ".join(_failed))
"""

_OPERATORS = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.In: "in",
    ast.NotIn: "not in",
    ast.Is: "is",
    ast.IsNot: "is not",
}


def expression_check(expression: str) -> Check:
    """Return the check that `expression` is true; where it is not, its value is shown.

    Parameters
    ----------
    expression : str
        A Python expression on the variables that the task leaves, such as ``result.is_monotonic_decreasing``.

    Raises
    ------
    WrongUse
        If `expression` is no Python expression.
    """
    expression = expression.strip()
    try:
        body = ast.parse(expression, mode="eval").body
    except (SyntaxError, ValueError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else error
        raise WrongUse(f"The check {expression!r} is not a Python expression: {reason}.") from None
    if isinstance(body, ast.Compare) and len(body.ops) == 1:
        code = _COMPARISON.format(
            left=ast.unparse(body.left),
            operator=_OPERATORS[type(body.ops[0])],
            right=ast.unparse(body.comparators[0]),
            label=expression,
        )
    else:
        code = _EXPRESSION.format(expression=expression, label=expression)
    return Check(expression, code)


def file_check(path: str | Path) -> Check:
    """Return the check that every function ``test_...()`` in a file passes on the variables that the task leaves.

    Parameters
    ----------
    path : str or Path
        A Python file with functions that take no parameters. They see the notebook's variables as globals.

    Raises
    ------
    WrongUse
        If there is no such file, or it is no Python, or has no test functions, or one of them takes parameters.
    """
    path = Path(path)
    if not path.is_file():
        raise WrongUse(f"There is no test file {str(path)!r}.")
    try:
        source = path.read_text("utf-8")
        tree = ast.parse(source)
    except (SyntaxError, ValueError) as error:
        raise WrongUse(f"The test file {str(path)!r} is not Python: {error}.") from None
    tests = [_name(node, path) for node in tree.body if _is_test(node)]
    if not tests:
        raise WrongUse(f"The test file {str(path)!r} has no function whose name begins with 'test'.")
    return Check(f"tests in {path.name}", _TESTS.format(source=source, name=path.name, tests=tests))


def _is_test(node: ast.stmt) -> bool:
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test")


def _name(node: ast.stmt, path: Path) -> str:
    if not isinstance(node, ast.FunctionDef):
        raise WrongUse(f"A test in {str(path)!r}, line {node.lineno}, is async; tests here are plain functions.")
    arguments = node.args
    required = len(arguments.posonlyargs) + len(arguments.args) - len(arguments.defaults)
    if required or any(default is None for default in arguments.kw_defaults):
        raise WrongUse(f"{node.name!r} in {str(path)!r} takes parameters; tests here are called without any.")
    return node.name
