"""Notebook files: read with one clear sentence where that fails, written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jupyter_codeagent.errors import NotebookError
from jupyter_codeagent.placing import Signature, look, named, place

MOST_BYTES = 100 * 2**20  # of a notebook's file
DEEPEST = 100  # lists and objects within each other
# how the helpers of nbformat trip over what is not a notebook at all
_TRIPS = (AttributeError, KeyError, TypeError, ValueError, AssertionError, RecursionError)
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


def read_notebook(path: str | Path) -> Any:
    """Return the Python notebook in `path` as an nbformat 4.5 node.

    Parameters
    ----------
    path : str or Path
        The file, of at most 100 MB. Notebooks of format 4.0 to 4.4 are brought to 4.5 in memory.

    Raises
    ------
    NotebookError
        If there is no such file, or it is no notebook, or one of another format or language.
    """
    return parsed_notebook(_content(Path(path)), path)


def parsed_notebook(content: bytes, path: str | Path) -> Any:
    """Return the Python notebook that a file's `content` is; raises as `read_notebook`, naming it `path`."""
    data = loaded(content, path)
    if not isinstance(data, dict) or not isinstance(data.get("cells", []), list) or "nbformat" not in data:
        raise NotebookError(f"{named(path)} is not a notebook: it has no 'nbformat' and cells.")
    if data["nbformat"] != 4 or isinstance(data["nbformat"], bool):
        raise NotebookError(
            f"{named(path)} has notebook format {_short(repr(data['nbformat']))}, and format 4 is needed; "
            "open it in JupyterLab and save it again."
        )
    minor = data.get("nbformat_minor", 0)
    if type(minor) is not int or minor < 0:
        said = f"its 'nbformat_minor' is {_short(repr(minor))}, and a whole number is needed."
        raise NotebookError(f"{named(path)} is not a valid notebook: {said}")
    notebook = _valid(data, path)
    if (language := _language(notebook)) != "python":
        raise NotebookError(f"{named(path)} is in {_short(language)!r}; only Python notebooks can be executed.")
    return notebook


def folder_of(path: str | Path) -> Path:
    """Return the folder of a notebook, links resolved.

    Raises
    ------
    NotebookError
        If `path` is a link that leads to itself, or no name that a file can have.
    """
    try:
        return Path(path).resolve().parent
    except RuntimeError:  # so before Python 3.13; later the file cannot be opened
        raise NotebookError(f"{named(path)} cannot be read: it is a link that leads to itself.") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise NotebookError(f"{named(path)} cannot be read: {reason}.") from None


def _content(path: Path) -> bytes:
    try:
        # a pipe would be waited for without O_NONBLOCK
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                kind = "folder" if stat.S_ISDIR(found.st_mode) else "device, a pipe or a socket"
                raise NotebookError(f"{named(path)} cannot be read: it is a {kind}; give a notebook's file.")
            content = file.read(MOST_BYTES + 1) if found.st_size <= MOST_BYTES else b""
            size = max(found.st_size, len(content))
    except FileNotFoundError:
        raise NotebookError(f"There is no notebook {named(path)}; check its name and folder.") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise NotebookError(f"{named(path)} cannot be read: {reason}.") from None
    if size > MOST_BYTES:
        raise NotebookError(
            f"{named(path)} has {size / 2**20:,.0f} MB, and notebooks of at most {MOST_BYTES // 2**20} MB are read; "
            "clear its large outputs in JupyterLab."
        )
    return content


def loaded(content: bytes, path: str | Path) -> Any:
    """Return the JSON that a file's `content` is, as it stands there; what is not finite is None.

    Raises
    ------
    NotebookError
        If it is no JSON, or too deep to be worked on; the sentence names `path`.
    """
    try:
        data = json.loads(content.decode("utf-8-sig"), parse_float=_number, parse_constant=_number)
    except (ValueError, RecursionError) as error:  # a UnicodeDecodeError is a ValueError too
        raise NotebookError(f"{named(path)} is not a notebook: it is not JSON ({_short(str(error))}).") from None
    _check_depth(data, path)
    return data


def _number(text: str) -> float | None:
    # NaN, Infinity and 1e999 are no JSON: a browser would not open a file that holds them
    number = float(text)
    return number if math.isfinite(number) else None


def _check_depth(data: Any, path: str | Path) -> None:
    level, depth = [data] if isinstance(data, dict | list) else [], 0
    while level:
        depth += 1
        if depth > DEEPEST:
            raise NotebookError(f"{named(path)} is not a notebook: lists are nested deeper than {DEEPEST} levels.")
        within = [v for part in level for v in (part.values() if isinstance(part, dict) else part)]
        level = [value for value in within if isinstance(value, dict | list)]


def _valid(data: dict[str, Any], path: str | Path) -> Any:
    import nbformat
    import nbformat.v4.rwbase

    v4: Any = nbformat.v4  # its functions have no types
    try:
        notebook = v4.rwbase.rejoin_lines(v4.nbjson.from_dict(data))
        if notebook.get("nbformat_minor", 0) < 5:
            notebook = v4.upgrade(notebook)
            for cell in notebook.cells:
                cell.pop("id", None)  # a random one
        _mend_ids(notebook.cells)
        nbformat.validate(notebook)
    except (nbformat.ValidationError, *_TRIPS) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise NotebookError(f"{named(path)} is not a valid notebook: {_short(reason)}") from None
    return notebook


def _short(text: str) -> str:
    return text if len(text) <= 200 else text[:197] + "..."


def _mend_ids(cells: Any) -> None:
    # missing, odd and double ids are common in the wild, and harmless; the same file gets the same ones each time
    seen: set[str] = set()
    for number, cell in enumerate(cells):
        if not isinstance(cell.get("id"), str) or not _ID.fullmatch(cell["id"]) or cell["id"] in seen:
            told = f"{number} {cell.get('source')}".encode("utf-8", "replace")
            cell["id"] = hashlib.blake2b(told, digest_size=8).hexdigest()
        seen.add(cell["id"])


def _language(notebook: Any) -> str:
    metadata = notebook.metadata
    said = metadata.get("language_info", {}).get("name") or metadata.get("kernelspec", {}).get("language")
    return str(said or "python").lower()


def write_notebook(
    notebook: Any,
    path: str | Path,
    overwrite: bool = False,
    *,
    beside: Mapping[Path, str] | None = None,
    seen: Mapping[Path, Signature | None] | None = None,
) -> Path:
    """Write `notebook` to `path`: the file is there whole, or it is as it was.

    Parameters
    ----------
    notebook : nbformat.NotebookNode
        A notebook of format 4.5; it is validated first.
    path : str or Path
        Its folder must exist.
    overwrite : bool
        Replace a file that exists, unless it changes while this is done. What this process wrote itself, and nobody
        changed since, is replaced in any case.
    beside : mapping of Path to str
        Text files that belong to it: they are written with it, or none of them is.
    seen : mapping or None
        For a notebook that was made from what lies there: what `placing.look` returned before that was read.

    Raises
    ------
    NotebookError
        If the file exists and `overwrite` is False, the folder is missing or read-only, or the disk is full.
    """
    path = Path(path)
    contents = {name: text.encode("utf-8", "replace") for name, text in (beside or {}).items()}
    contents[path] = as_bytes(notebook, path)
    place(contents, overwrite, seen)
    return path


def as_bytes(notebook: Any, path: str | Path) -> bytes:
    """Return what a notebook's file holds; `path` names it in sentences.

    Raises
    ------
    NotebookError
        If it is no valid notebook, or too large to be read again.
    """
    import nbformat

    v4: Any = nbformat.v4  # its functions have no types
    try:
        nbformat.validate(notebook)
        text = v4.writes(notebook).rstrip("\n") + "\n"
    except (nbformat.ValidationError, *_TRIPS) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise NotebookError(f"{named(path)} was not written: {_short(reason)}") from None
    content: bytes = text.encode("utf-8", "replace")  # a lone surrogate has no place in a file
    if len(content) > MOST_BYTES:
        raise NotebookError(
            f"{named(path)} was not written: it would have {len(content) / 2**20:,.0f} MB, and at most "
            f"{MOST_BYTES // 2**20} MB are read again; clear large outputs."
        )
    return content


def check_writable(path: str | Path, overwrite: bool = False) -> None:
    """Raise NotebookError if `path` plainly cannot be written; asked before a task is begun, too."""
    look(Path(path), overwrite)


def notebook_path(path: str | Path) -> Path:
    """Return `path` as a person means it: ``~`` is the home folder, and a notebook's name ends with ``.ipynb``."""
    try:
        path = Path(path).expanduser()
    except RuntimeError:  # no such user
        path = Path(path)
    return path if path.suffix == ".ipynb" or not path.name else path.with_name(f"{path.name}.ipynb")


def free_path(path: Path) -> Path:
    """Return `path`, or where that exists the first of NAME-2, NAME-3 ... that does not."""
    stem = path.name.removesuffix(".solved.ipynb")
    number, found = 1, path
    while os.path.lexists(found):
        number += 1
        found = path.with_name(f"{stem}-{number}.solved.ipynb")
    return found
