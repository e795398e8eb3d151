"""Notebook files: read with one clear sentence where that fails, written whole or not at all."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Any

from jupyter_codeagent.errors import NotebookError


def read_notebook(path: str | Path) -> Any:
    """Return the Python notebook in `path` as an nbformat 4.5 node.

    Parameters
    ----------
    path : str or Path
        The file. Notebooks of format 4.0 to 4.4 are brought to 4.5 in memory.

    Raises
    ------
    NotebookError
        If there is no such file, or it is no notebook, or one of another format or language.
    """
    data = _loaded(Path(path))
    if not isinstance(data, dict) or not isinstance(data.get("cells", []), list) or "nbformat" not in data:
        raise NotebookError(f"{str(path)!r} is not a notebook: it has no 'nbformat' and cells.")
    if data["nbformat"] != 4:
        raise NotebookError(
            f"{str(path)!r} has notebook format {data['nbformat']!r}, and format 4 is needed; "
            "open it in JupyterLab and save it again."
        )
    notebook = _valid(data, path)
    if (language := _language(notebook)) != "python":
        raise NotebookError(f"{str(path)!r} is in {language!r}; only Python notebooks can be executed.")
    return notebook


def _loaded(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise NotebookError(f"There is no notebook {str(path)!r}; check its name and folder.") from None
    except OSError as error:
        raise NotebookError(f"{str(path)!r} cannot be read: {error.strerror}.") from None
    except (ValueError, RecursionError) as error:  # a UnicodeDecodeError is a ValueError too
        raise NotebookError(f"{str(path)!r} is not a notebook: it is not JSON ({error}).") from None


def _valid(data: dict[str, Any], path: str | Path) -> Any:
    import nbformat
    import nbformat.v4.rwbase

    v4: Any = nbformat.v4  # its functions have no types
    try:
        notebook = v4.rwbase.rejoin_lines(v4.nbjson.from_dict(data))
        if notebook.get("nbformat_minor", 0) < 5:
            notebook = v4.upgrade(notebook)
        _mend_ids(notebook.cells)
        nbformat.validate(notebook)
    except (nbformat.ValidationError, AttributeError, KeyError, TypeError, ValueError) as error:
        # the helpers of nbformat trip in several ways over what is not a notebook at all
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise NotebookError(f"{str(path)!r} is not a valid notebook: {reason}") from None
    return notebook


def _mend_ids(cells: Any) -> None:
    # missing and double ids are common in the wild, and harmless
    seen: set[str] = set()
    for cell in cells:
        if not isinstance(cell.get("id"), str) or cell["id"] in seen:
            cell["id"] = secrets.token_hex(4)
        seen.add(cell["id"])


def _language(notebook: Any) -> str:
    metadata = notebook.metadata
    named = metadata.get("language_info", {}).get("name") or metadata.get("kernelspec", {}).get("language")
    return str(named or "python").lower()


def write_notebook(notebook: Any, path: str | Path, overwrite: bool = False) -> Path:
    """Write `notebook` to `path`: the file is there whole, or it is as it was.

    Parameters
    ----------
    notebook : nbformat.NotebookNode
        A notebook of format 4.5; it is validated first.
    path : str or Path
        Its folder must exist.
    overwrite : bool
        Replace a file that exists.

    Raises
    ------
    NotebookError
        If the file exists and `overwrite` is False, the folder is missing or read-only, or the disk is full.
    """
    import nbformat

    path = Path(path)
    try:
        nbformat.validate(notebook)
    except nbformat.ValidationError as error:
        raise NotebookError(f"{str(path)!r} was not written: {str(error).splitlines()[0]}") from None
    check_writable(path, overwrite)
    v4: Any = nbformat.v4  # its functions have no types
    text = v4.writes(notebook).rstrip("\n") + "\n"
    try:
        replace_file(path, text.encode("utf-8"), overwrite)
    except FileExistsError:
        raise NotebookError(_taken(path)) from None
    except OSError as error:
        raise NotebookError(f"{str(path)!r} was not written: {error.strerror}; nothing changed.") from None
    return path


def check_writable(path: str | Path, overwrite: bool = False) -> None:
    """Raise NotebookError if `path` plainly cannot be written; asked before a task is begun, too."""
    path = Path(path)
    if not path.parent.is_dir():
        raise NotebookError(f"There is no folder {str(path.parent)!r}; make it, or choose another path.")
    if path.is_dir():
        raise NotebookError(f"{str(path)!r} is a folder; give the name of a notebook in it.")
    if path.exists() and not overwrite:
        raise NotebookError(_taken(path))
    if not os.access(path.parent, os.W_OK):
        raise NotebookError(f"The folder {str(path.parent)!r} is read-only; choose another path.")


def free_path(path: Path) -> Path:
    """Return `path`, or where that exists the first of NAME-2, NAME-3 ... that does not."""
    stem = path.name.removesuffix(".solved.ipynb")
    number, found = 1, path
    while found.exists():
        number += 1
        found = path.with_name(f"{stem}-{number}.solved.ipynb")
    return found


def _taken(path: Path) -> str:
    return f"{str(path)!r} exists and was not touched; choose another name."


def replace_file(path: Path, content: bytes, overwrite: bool) -> None:
    """Write `content` to `path` whole or not at all; FileExistsError if it is there and `overwrite` is False."""
    temporary = path.with_name(f".{path.name[:100]}.{secrets.token_hex(4)}.tmp")
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o666
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if overwrite:
            temporary.replace(path)
        else:
            _link(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _link(temporary: Path, path: Path) -> None:
    # link() refuses an existing name in the same step, which rename() does not
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if path.exists():
            raise FileExistsError(path) from None
        temporary.replace(path)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:  # some file systems cannot; the file itself is on the disk
        pass
    finally:
        os.close(handle)
