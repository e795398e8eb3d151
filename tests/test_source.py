"""What is said of code that is not executed."""

import warnings

import pytest

from jupyter_codeagent.source import parsed, sameness


@pytest.mark.parametrize("code", ["def broken(", "%time 1", "x = '\0'\0", "(" * 5000])
def test_code_that_is_no_plain_python_has_no_tree(code):
    assert parsed(code) is None


def test_what_the_compiler_warns_of_is_not_shown_here():
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        assert parsed(r"price.replace('\$', '')") is not None
    assert not shown


def test_codes_that_differ_in_comments_and_layout_only_are_the_same():
    assert sameness("x = f( 1 )  # once") == sameness("x = f(1)") != sameness("x = f(2)")


def test_code_nested_too_deeply_to_be_compared_as_a_tree_is_compared_as_text():
    deep = "x = " + "1 + " * 1500 + "1"
    assert sameness(deep) == sameness(f"# again\n{deep}\n")
