"""What a notebook must not say of the machine that it was made on: keys, and absolute paths."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jupyter_codeagent.errors import NotebookError
from jupyter_codeagent.keys import Keys
from jupyter_codeagent.source import parsed
from jupyter_codeagent.trajectory import plain

_PICTURE = re.compile(r"(?:image|audio|video|font)/(?!svg)|application/(?:pdf|octet-stream|zip)")
_EMBEDDED = re.compile(r"(;base64,)[A-Za-z0-9+/=\s]{20,}")  # random letters, among which chance finds a key in the end
_NAMED = 5  # places that one sentence names


@dataclass(frozen=True)
class Folders:
    """Where code ran, and where its notebook lies; both absolute, links resolved.

    Parameters
    ----------
    workspace : Path
        The folder that relative names in the code are relative to.
    notebook : Path
        The folder that they are to be relative to.
    """

    workspace: Path
    notebook: Path

    @classmethod
    def of(cls, workspace: str | Path, notebook: str | Path) -> Folders:
        """Return the folders for a `notebook` file and the `workspace` that its code ran in."""
        return cls(Path(workspace).expanduser().resolve(), Path(notebook).expanduser().absolute().parent.resolve())

    def relative(self, name: str) -> str:
        """Return how the notebook names a file that the code names `name`, relative or absolute."""
        return Path(os.path.relpath(self.workspace / name, self.notebook)).as_posix()

    @property
    def pattern(self) -> re.Pattern[str] | None:
        """What finds paths below the workspace within text; None where that would be every path."""
        if len(self.workspace.parts) < 2:
            return None
        return re.compile(rf"(?<![\w.-]){re.escape(str(self.workspace))}(?![\w-]|\.\w)(/[\w./+@=-]*\w)?")


# -- keys ------------------------------------------------------------------------------------------


def refuse_keys(
    notebook: Any,
    keys: Keys,
    what: str = "The notebook",
    cells: Mapping[str, str] | None = None,
    advice: str = "run the cell again, and save.",
) -> None:
    """Check that no key stands in a notebook.

    `what` names it in the sentence, and `cells` says by their ids what its cells are in another notebook; `advice` is
    what is to be done once the key is gone.

    Raises
    ------
    NotebookError
        If one does; the sentence names the places, never the key.
    """
    found = [
        f"{where}: looks like {kind}" for where, text in _texts(notebook, cells or {}) if (kind := keys.kind(text))
    ]
    if not found:
        return
    more = f"; and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    raise NotebookError(
        f"{what} was not saved, since it holds a key: {'; '.join(found[:_NAMED])}{more}. "
        f"Remove it (os.environ[...] reads one at run time), {advice}"
    )


def _texts(notebook: Any, names: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield every text of a notebook with a name for its place."""
    yield from _within("the notebook's metadata", notebook.metadata)
    for number, cell in enumerate(notebook.cells, 1):
        here = f"cell {number}" + (f" ({names[cell.id]})" if cell.get("id") in names else "")
        yield here, cell.source
        yield from _within(f"{here}, metadata", cell.metadata)
        yield from _within(f"{here}, attachment", _shown(cell.get("attachments", {})))
        printed: dict[str, list[str]] = {}  # a stream may have been cut in two within a key
        for place, output in enumerate(cell.get("outputs", ()), 1):
            where = f"{here}, output {place}"
            if output.output_type == "stream":
                printed.setdefault(output.name, [where]).append(output.text)
            elif output.output_type == "error":
                yield where, plain("\n".join([output.ename, output.evalue, *output.traceback]))
            else:
                yield from _within(where, _shown(output.data))
                yield from _within(where, output.metadata)
        for first, *texts in printed.values():
            yield first, plain("".join(texts))


def _shown(data: Any) -> Any:
    return {m: v for m, v in data.items() if not _PICTURE.match(m)} if isinstance(data, dict) else data


def _within(where: str, value: Any) -> Iterator[tuple[str, str]]:
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            waiting += [*part.keys(), *part.values()]
        elif isinstance(part, list | tuple):
            waiting += part
        elif isinstance(part, str):
            yield where, _EMBEDDED.sub(r"\1", part)


# -- paths -----------------------------------------------------------------------------------------


def settle(cells: Sequence[Any], folders: Folders, inputs: Sequence[str] = ()) -> dict[int, list[str]]:
    """Make paths in the code and the outputs of cells relative to the notebook's folder, in place.

    Returns the new names of files in code, by the number of the cell within `cells`, counted from 0.
    """
    found = {}
    for number, cell in enumerate(cells):
        if cell.cell_type != "code":
            continue
        relative_outputs(cell.outputs, folders)
        cell.source, names = relative_source(cell.source, folders, inputs)
        if names:
            found[number] = names
    return found


def relative_source(code: str, folders: Folders, inputs: Sequence[str] = ()) -> tuple[str, list[str]]:
    """Return `code` with paths of this machine relative to the notebook, and what now stands for them.

    Replaced are constants that are, as a whole, an absolute path below the workspace; where the notebook lies in
    another folder, also those that are the name of an input file.

    Parameters
    ----------
    code : str
        Source of a cell. What is not plain Python stays as it is, but for lines of magics within Python.
    folders : Folders
        Where it ran, and where it will.
    inputs : sequence of str
        Names of the files that the code was given, relative to the workspace or absolute.
    """
    if not any(name in code for name in (str(folders.workspace), *inputs)):
        return code, []  # to parse every cell would take longer than all the rest
    lines = code.split("\n")
    tree = parsed("\n".join("pass" if _is_magic(line) else line for line in lines)) if "\r" not in code else None
    if tree is None:
        return code, []
    named = {os.path.normpath(name) for name in inputs}
    replaced = []
    for node in _constants(tree):
        assert isinstance(node.value, str)
        new = _replacement(node.value, folders, named)
        if new is not None:
            replaced.append((node, new))
    return (_spliced(lines, replaced), [new for _, new in replaced]) if replaced else (code, [])


def _is_magic(line: str) -> bool:
    return line.startswith(("%", "!"))


def _constants(tree: ast.AST) -> Iterator[ast.Constant]:
    """Yield the constants that are texts, without those that are parts of f-strings."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node
        elif not isinstance(node, ast.JoinedStr):
            waiting += ast.iter_child_nodes(node)


def _replacement(value: str, folders: Folders, inputs: set[str]) -> str | None:
    if not value or len(value) > 4096 or "\n" in value or "\0" in value:
        return None
    path = Path(value)
    if path.is_absolute():
        inside = path.is_relative_to(folders.workspace) or (
            os.path.normpath(value) in inputs and path.is_relative_to(folders.notebook)
        )
        usable = len(folders.workspace.parts) > 1 and ".." not in path.parts
        return _ending(value, folders.relative(value)) if inside and usable else None
    moved = folders.workspace != folders.notebook
    return folders.relative(value) if moved and os.path.normpath(value) in inputs else None


def _ending(old: str, new: str) -> str:
    return f"{new}/" if old.endswith("/") else new  # what is appended to it needs it


def _spliced(source: Sequence[str], replaced: Sequence[tuple[ast.Constant, str]]) -> str:
    # the tree counts columns in bytes of UTF-8; from the end, so that earlier places stay
    lines = [line.encode("utf-8") for line in source]
    for node, text in sorted(replaced, key=lambda pair: (pair[0].lineno, pair[0].col_offset), reverse=True):
        first, last = node.lineno - 1, (node.end_lineno or node.lineno) - 1
        before, after = lines[first][: node.col_offset], lines[last][node.end_col_offset :]
        lines[first : last + 1] = [before + repr(text).encode("utf-8") + after]
    return b"\n".join(lines).decode("utf-8")


def relative_text(text: str, folders: Folders) -> str:
    """Return `text` with absolute paths below the workspace relative to the notebook's folder."""
    pattern = folders.pattern
    if pattern is None or str(folders.workspace) not in text:
        return text
    return pattern.sub(lambda found: folders.relative(found[0]), text)


def relative_outputs(outputs: Sequence[Any], folders: Folders) -> None:
    """Make absolute paths below the workspace in a cell's outputs relative to the notebook's folder, in place.

    To be done with the outputs of a fresh run, too, before they are compared with saved ones.
    """

    def mend(text: str) -> str:
        return relative_text(text, folders)

    for output in outputs:
        kind = output.get("output_type")
        if kind == "stream":
            output["text"] = _mended(output["text"], mend)
        elif kind == "error":
            output["evalue"], output["traceback"] = mend(str(output["evalue"])), _mended(output["traceback"], mend)
        elif isinstance(output.get("data"), dict):
            data = output["data"]
            output["data"] = {m: v if _PICTURE.match(m) else _mended(v, mend) for m, v in data.items()}


def portable_outputs(outputs: Sequence[Any], folder: Path) -> Sequence[Any]:
    """Return outputs without absolute paths below a notebook's own `folder`; the same list where there are none."""
    if all(str(folder) not in text for output in outputs for _, text in _within("", _shown_parts(output))):
        return outputs
    copied = deepcopy(list(outputs))
    relative_outputs(copied, Folders(folder, folder))
    return copied


def _shown_parts(output: Any) -> Any:
    return {name: _shown(value) if name == "data" else value for name, value in output.items()}


def _mended(value: Any, mend: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return mend(value)
    if isinstance(value, list):
        return [_mended(v, mend) for v in value]
    if isinstance(value, dict):
        return {k: _mended(v, mend) for k, v in value.items()}
    return value
