"""Expressions and test files as checks that the sandbox executes."""

import pytest

from jupyter_codeagent.checks import expression_check, file_check
from jupyter_codeagent.errors import WrongUse


def failing(check, **names) -> str:
    try:
        exec(check.code, names)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ("x == 3", {"x": 3}),
        ("0 < x < 9", {"x": 3}),
        ("x is not None", {"x": 3}),
        ("3 in x", {"x": [3]}),
        ("all(v > 0 for v in x)  # a comment", {"x": [1]}),
        ("'{x}' == y and {1: 2}[1]", {"y": "{x}"}),
        ("x == (y := 3)", {"x": 3}),
        ("(\n x\n)", {"x": 1}),
    ],
)
def test_true_expression_passes(expression, names):
    assert failing(expression_check(expression), **names) == ""


@pytest.mark.parametrize(
    ("expression", "names", "shown"),
    [
        ("x == 3", {"x": 4}, "x == 3 does not hold: 4 against 3"),
        ("x.startswith('a')", {"x": "b"}, "is False"),
        ("x", {"x": []}, "x is []"),
        ("x > 1", {}, "NameError"),
        ("x == 1", {"x": "a" * 10_000}, "aaa"),
    ],
)
def test_false_expression_shows_its_value(expression, names, shown):
    said = failing(expression_check(expression), **names)
    assert shown in said and len(said) < 500


@pytest.mark.parametrize("expression", ["", "x = 3", "1 +", "import os", "x\0"])
def test_what_is_no_expression_is_refused(expression):
    with pytest.raises(WrongUse, match="is not a Python expression") as caught:
        expression_check(expression)
    assert isinstance(caught.value, ValueError)


def test_test_functions_see_the_variables(tmp_path):
    path = tmp_path / "test_it.py"
    path.write_text("import math\ndef test_a():\n    assert x == 3\ndef test_b(y=1):\n    assert math.pi > y\n")
    check = file_check(path)
    assert check.label == "tests in test_it.py"
    assert failing(check, x=3) == ""


def test_failing_tests_are_all_named_with_their_line(tmp_path):
    path = tmp_path / "test_it.py"
    path.write_text("def test_a():\n    assert x == 3\ndef test_b():\n    y\ndef test_c():\n    pass\n")
    assert failing(file_check(path), x=4) == (
        "AssertionError: test_a: AssertionError: assert x == 3; test_b: NameError: name 'y' is not defined"
    )


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("x = 1", "has no function"),
        ("def test_a(: pass", "is not Python"),
        ("def test_a(tmp_path): pass", "takes parameters"),
        ("def test_a(*, x): pass", "takes parameters"),
        ("async def test_a(): pass", "is async"),
    ],
)
def test_unusable_test_file_is_one_sentence(tmp_path, source, sentence):
    path = tmp_path / "test_it.py"
    path.write_text(source)
    with pytest.raises(WrongUse, match=sentence):
        file_check(path)


def test_missing_test_file_is_one_sentence(tmp_path):
    with pytest.raises(WrongUse, match="There is no test file"):
        file_check(tmp_path / "no.py")
