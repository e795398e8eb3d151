"""What a front end asks about code that does not run: completions, help, whether a line is whole, which names exist.

Loaded by the worker inside the sandbox; standard library and IPython only. All of it is asked of a copy of the state
that is thrown away, so that what it sets in motion (a property, a ``__dir__``) changes nothing.
"""

from __future__ import annotations

import reprlib
import sys
import types
from collections.abc import Callable
from typing import Any

MATCHES = 500  # completions at most
TEXT = 2**18  # characters of one text
VARIABLES = 500
MODULES = 500
LOOKS = 60  # variables whose text is looked at
SHORT = reprlib.Repr()
SHORT.maxstring = SHORT.maxother = 300


def reply(shell: Any, describe: Callable[[Any], str], request: dict[str, Any]) -> dict[str, Any]:
    """Return what is asked for.

    Parameters
    ----------
    shell : InteractiveShell
        The one of the worker.
    describe : callable
        Says in a few words what a value is.
    request : dict
        The kind of question under ``ask``, and what belongs to it.
    """
    kind = request["ask"]
    if kind == "complete":
        return complete(shell, request["code"], request["cursor"])
    if kind == "inspect":
        return inspect(shell, request["code"], request["cursor"], request["detail"])
    if kind == "is_complete":
        return is_complete(shell, request["code"])
    if kind == "expressions":
        return {"expressions": expressions(shell, request["expressions"])}
    return variables(shell, describe)


def complete(shell: Any, code: str, cursor: int) -> dict[str, Any]:
    """Return the texts that can stand before `cursor`, with what they are, and the part of the code they replace."""
    from IPython.core.completer import provisionalcompleter, rectify_completions

    shell.Completer.use_jedi = False  # it would be loaded anew for each question
    found = []
    with provisionalcompleter():
        for each in rectify_completions(code, shell.Completer.completions(code, cursor)):
            found.append([each.start, each.end, str(each.text)[:500], str(each.type)[:50], str(each.signature)[:300]])
            if len(found) == MATCHES:
                break
    return {"matches": found}


def inspect(shell: Any, code: str, cursor: int, detail: int) -> dict[str, Any]:
    """Return what is known of the name at `cursor`, as text; empty where it is nothing."""
    from IPython.utils.tokenutil import token_at_cursor

    try:
        bundle = shell.object_inspect_mime(token_at_cursor(code, cursor), detail_level=detail)
    except KeyError:
        return {"text": ""}
    return {"text": str(bundle.get("text/plain", ""))[:TEXT]}


def is_complete(shell: Any, code: str) -> dict[str, Any]:
    """Return whether code is complete, incomplete or invalid, and how far the next line is indented."""
    status, indent = shell.input_transformer_manager.check_complete(code)
    return {"status": status, "indent": indent or 0}


def expressions(shell: Any, wanted: dict[str, str]) -> dict[str, Any]:
    """Return the value of each expression as text, or its error."""
    found = {}
    for name, seen in shell.user_expressions(wanted).items():
        if seen.get("status") == "ok":
            found[name] = {"text": str(seen["data"].get("text/plain", ""))[:TEXT]}
        else:
            found[name] = {"ename": str(seen.get("ename")), "evalue": str(seen.get("evalue"))[:TEXT]}
    return found


def variables(shell: Any, describe: Callable[[Any], str]) -> dict[str, Any]:
    """Return the names that the code has set, the newest last: with type, description, and the beginning of its text.

    The last is there for the newest ones only.
    """
    space, hidden = shell.user_ns, shell.user_ns_hidden
    left_out = ("In", "Out", "get_ipython", "exit", "quit", "open")
    own = [n for n, v in list(space.items()) if not n.startswith("_") and not (n in hidden and hidden[n] is v)]
    own = [n for n in own if n not in left_out and not isinstance(space[n], types.ModuleType)][-VARIABLES:]
    looks = {name: look(space[name]) for name in own[-LOOKS:]}
    return {"variables": [[n, type(space[n]).__name__, describe(space[n]), looks.get(n, "")] for n in own]}


def imported(loaded: set[str]) -> list[str]:
    """Return the packages of which modules are imported that are not in `loaded`, and add those to it.

    A package whose parts can be several distributions' (PEP 420) is told by its parts, down to the third name.
    """
    fresh = [name for name in list(sys.modules) if type(name) is str and name not in loaded]
    found: dict[str, None] = {}
    for name in fresh:
        parts = name.split(".")[:3]
        told = parts if shared(parts[0]) else parts[:1]
        if parts[0] not in sys.stdlib_module_names and ".".join(told) not in loaded:
            found[".".join(told)] = None
    loaded.update(fresh)
    return list(found)[:MODULES]


def shared(name: str) -> bool:
    """Tell whether a package has no file of its own."""
    module = sys.modules.get(name)
    space = vars(module) if type(module) is types.ModuleType else {"__file__": ""}
    return space.get("__file__") is None and "__path__" in space


def look(value: Any) -> str:
    """Return the beginning of a value as text: the first rows of a table, else its representation."""
    try:
        text = str(value.head(3)) if hasattr(value, "head") else SHORT.repr(value)
    except BaseException:  # noqa: BLE001 - the value's own methods may do anything
        return ""
    return text[:700]
