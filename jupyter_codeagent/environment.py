"""Which Python and which packages a notebook's code needs: what it imports, and what that needs in turn."""

from __future__ import annotations

import ast
import functools
import inspect
import json
import os
import platform
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from jupyter_codeagent.source import parsed

OWN = ("jupyter-codeagent", "ipykernel", "ipython")  # what they alone bring is no need of the code
LOCAL = "local"  # in place of an address: installed from a folder of this machine
MOST = 2000  # entries of a record that are looked at
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9])?")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.!+_-]{0,99}")
_ADDRESS = re.compile(r"(?:(?:git|hg|svn|bzr)\+)?(?:https?|ssh)://[^\s#;]{1,500}(?:#[\w=&/.-]{1,200})?")
_MODULE = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*")


@dataclass(frozen=True)
class Lacking:
    """What of a record's environment is not here, as sentences.

    Parameters
    ----------
    missing : tuple of str
        Packages that are recorded and not installed.
    other : tuple of str
        Those, and Python, of which another version is here.
    """

    missing: tuple[str, ...] = ()
    other: tuple[str, ...] = ()


def packages_of(cells: Iterable[str], imported: Iterable[str] = (), folder: Path | None = None) -> dict[str, str]:
    """Return the versions of Python and of the installed packages that code needs, by name.

    These are the distributions whose modules the code imports, by its text or in fact, and the installed ones that
    those require by their metadata (no extras but required ones). What was not installed from an index has its origin
    behind the version: ``"1.2 @ git+https://host/name@commit"``, or ``"1.2 @ local"`` for a folder or a file of this
    machine (read from ``direct_url.json``, PEP 610).

    Parameters
    ----------
    cells : iterable of str
        Source of code cells. One that is not plain Python (a cell magic) counts for nothing.
    imported : iterable of str
        Names of modules that were really imported, as the sandbox tells them: hostile, they are only looked up. What
        this package and IPython bring themselves does not count here.
    folder : Path or None
        The working folder; modules that lie in it hide packages of the same name.
    """
    found = {"python": platform.python_version()}
    written, seen = _modules(cells, folder), _known(imported, folder)
    roots = set(_owners(written)) if written else set()
    if seen:
        roots |= set(_owners(seen)) - _own(_folders())
    for name in sorted(_closed(roots)):
        distribution = _installed(name)
        if distribution is not None and (told := _told(distribution)):
            found[_field(distribution, "Name")] = told
    return found


def local_modules(cells: Iterable[str], imported: Iterable[str], folder: Path) -> list[str]:
    """Return the names of modules of the working folder `folder` that code imports; parameters as `packages_of`."""
    names = {name.partition(".")[0] for cell in cells for name in _imports(cell)}
    names |= {name.partition(".")[0] for name in _valid(imported)}
    return sorted(name for name in names if _lies_in(name, folder))


def sound(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what of an environment makes sense: one that was read from a file may hold anything."""
    python = environment.get("python", "")
    told = {"python": python} if isinstance(python, str) and _VERSION.fullmatch(python) else {}
    return {**told, **{name: environment[name] for name, _, _ in entries(environment)}}


def sound_modules(modules: Iterable[str]) -> list[str]:
    """Return those of `modules` that can be names of modules, in order."""
    return sorted(set(_valid(modules)))[:MOST]


def requirements(environment: Mapping[str, str], modules: Iterable[str] = ()) -> str:
    """Return the text of a ``requirements.txt`` that installs `environment` as it was.

    Parameters
    ----------
    environment : mapping of str to str
        As `packages_of` gives it, or as a notebook's record has it: what is no name or no version is left out.
    modules : iterable of str
        Modules of the notebook's folder that the code imports.

    Returns
    -------
    str
        Pins in the order of names; what cannot be installed by name is a comment that says what to do.
    """
    lines = ["# What this notebook's code imports, and what that requires, as it was installed."]
    if python := environment.get("python"):
        lines.append(f"# Python {_line(python)}")
    for name, version, origin in sorted(entries(environment), key=lambda entry: entry[0].lower()):
        if origin == LOCAL:
            lines.append(f"# {name} {version} was installed from a folder or file: install it from its source first.")
        elif origin:
            lines.append(f"{name} @ {origin}")
        else:
            if "+" in version:
                lines.append(f"# {version.partition('+')[2]!r} names a build: it may need the index that has it.")
            lines.append(f"{name}=={version}")
    lines += [f"# {name} is a module of the notebook's folder: send it along." for name in sorted(_valid(modules))]
    return "\n".join(lines) + "\n"


def lacking(record: object) -> Lacking:
    """Return which of the recorded packages are not installed here, and which are in other versions.

    Parameters
    ----------
    record : object
        What stands under our key in a notebook's metadata. It may be anything: what is no record lacks nothing.
    """
    environment = record.get("environment") if isinstance(record, dict) else None
    if not isinstance(environment, dict):
        return Lacking()
    missing, other = [], []
    python = environment.get("python")
    if isinstance(python, str) and _VERSION.fullmatch(python) and python != platform.python_version():
        other.append(f"Python was {python} and is {platform.python_version()} here.")
    for name, version, origin in entries(environment):
        distribution = _installed(canonicalize_name(name))
        if distribution is None:
            remedy = _remedy(name, version, origin)
            missing.append(f"The package {name} {version} is recorded and not installed here; {remedy}.")
        elif (here := _field(distribution, "Version")) != version:
            other.append(f"{name} was {version} and is {_line(here)} here.")
    return Lacking(tuple(missing), tuple(other))


def _remedy(name: str, version: str, origin: str) -> str:
    if origin == LOCAL:
        return "install it from its source, a folder or file of the machine that it was saved on"
    return f"install it: pip install '{name} @ {origin}'" if origin else f"install it: pip install '{name}=={version}'"


def entries(environment: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """Yield name, version and origin of the packages of a record, as far as it makes sense; no origin: an index."""
    for name, value in list(environment.items())[:MOST]:
        if not isinstance(name, str) or not isinstance(value, str) or name == "python":
            continue
        version, _, origin = value.partition(" @ ")
        known = not origin or origin == LOCAL or _ADDRESS.fullmatch(origin)
        if _NAME.fullmatch(name) and _VERSION.fullmatch(version) and known:
            yield name, version, origin


def _line(text: str) -> str:
    return text if _VERSION.fullmatch(text) else "unknown"


# -- what the text of the code imports ------------------------------------------------------------


def _modules(cells: Iterable[str], folder: Path | None) -> set[str]:
    return _known((name for cell in cells for name in _imports(cell)), folder)


def _imports(cell: str) -> set[str]:
    """Return the dotted names that a cell's text imports; a name imported from a package may be a module as well."""
    # lines for IPython alone are left out: what they need is not said by an import
    lines = ["pass" if line.lstrip().startswith(("%", "!")) else line for line in cell.splitlines()]
    tree = parsed("\n".join(lines))
    names = set()
    for node in ast.walk(tree) if tree else ():
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {f"{node.module}.{alias.name}" for alias in node.names if alias.name != "*"} | {node.module}
    return names


def _valid(names: Iterable[str]) -> list[str]:
    return [n for n in names if isinstance(n, str) and len(n) <= 200 and _MODULE.fullmatch(n)]


def _known(names: Iterable[str], folder: Path | None) -> set[str]:
    """Return the names that can be those of a package's modules."""
    found = set()
    for name in _valid(names):
        root = name.partition(".")[0]
        if root not in sys.stdlib_module_names and not (folder is not None and _lies_in(root, folder)):
            found.add(name)
    return found


def _lies_in(name: str, folder: Path) -> bool:
    return (folder / f"{name}.py").is_file() or (folder / name / "__init__.py").is_file()


# -- which distributions they belong to -----------------------------------------------------------


def _owners(names: Iterable[str]) -> Iterator[str]:
    """Yield the canonical names of the distributions that hold the modules `names`."""
    by_root: dict[str, set[str]] = {}
    for name in names:
        by_root.setdefault(name.partition(".")[0], set()).add(name)
    holders = _holders(_folders())
    for root, dotted in by_root.items():
        owners = sorted({canonicalize_name(owner) for owner in holders.get(root, ())})
        if not owners and _installed(canonicalize_name(root)) is not None:
            owners = [canonicalize_name(root)]  # an editable installation may list no file of its own
        if len(owners) > 1:  # a namespace that several share: those whose files are meant
            owners = [owner for owner in owners if _holds(owner, dotted)] or owners[:1]
        yield from owners


def _holds(owner: str, dotted: set[str]) -> bool:
    distribution = _installed(owner)
    files = _files(distribution) if distribution else set()
    paths = [name.replace(".", "/") for name in dotted]
    return any(f"{path}.py" in files or f"{path}/__init__.py" in files for path in paths)


def _folders() -> tuple[tuple[str, int], ...]:
    """Return where packages are installed, with the moments of the last changes: what was read there may be kept."""
    return tuple((path, _changed(path)) for path in sys.path if path)


def _changed(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns  # noqa: PTH116 - an entry may be an archive, or nothing
    except OSError:
        return 0


@functools.lru_cache(maxsize=1)
def _holders(_: tuple[tuple[str, int], ...]) -> Mapping[str, list[str]]:
    """Return the distributions that hold each name that can be imported.

    As `importlib.metadata.packages_distributions`, but remains of an installation do no harm, and no file is sought.
    """
    found: dict[str, list[str]] = {}
    for distribution in metadata.distributions():
        try:
            name, tops = _field(distribution, "Name"), _tops(distribution)
        except (metadata.PackageNotFoundError, OSError, ValueError, TypeError):
            continue
        for top in tops if name else ():
            found.setdefault(top, []).append(name)
    return found


def _tops(distribution: metadata.Distribution) -> set[str]:
    """Return the names that can be imported of what a distribution holds."""
    if declared := (distribution.read_text("top_level.txt") or "").split():
        return set(declared)
    split = [path.partition("/") for path in _files(distribution)]
    found = {first if below else inspect.getmodulename(first) or "" for first, below, _ in split}
    return {name for name in found if name.isidentifier() and name != "__pycache__"}


def _files(distribution: metadata.Distribution) -> set[str]:
    if record := distribution.read_text("RECORD"):
        return {line.rsplit(",", 2)[0].strip('"') for line in record.splitlines()}
    return {file.as_posix() for file in distribution.files or ()}


@functools.lru_cache(maxsize=1)
def _own(_: tuple[tuple[str, int], ...]) -> set[str]:
    """Return the distributions that this package and a kernel bring."""
    return _closed(OWN)


def _installed(name: str) -> metadata.Distribution | None:
    try:
        distribution = metadata.distribution(name)
        return distribution if _field(distribution, "Version") else None
    except (metadata.PackageNotFoundError, OSError, ValueError, TypeError):
        return None  # remains of an installation can have no metadata at all


def _field(distribution: metadata.Distribution, name: str) -> str:
    # what is missing is None, a warning or an error, as Python's version has it
    held = distribution.metadata.get(name) if distribution.metadata is not None else None  # type: ignore[attr-defined]
    return held if isinstance(held, str) else ""


def _closed(names: Iterable[str]) -> set[str]:
    """Return the canonical names of `names` and of all that is installed and required by them."""
    found: set[tuple[str, str]] = set()
    waiting = [(str(canonicalize_name(name)), "") for name in names]
    while waiting:
        name, extra = each = waiting.pop()
        if each in found or (distribution := _installed(name)) is None:
            continue
        found.add(each)
        for required in _required(distribution, extra):
            base = str(canonicalize_name(required.name))
            waiting += [(base, ""), *((base, wanted) for wanted in required.extras)]
    return {name for name, _ in found}


def _required(distribution: metadata.Distribution, extra: str) -> Iterator[Requirement]:
    for text in distribution.requires or ():
        try:
            required = Requirement(text)
        except InvalidRequirement:  # older packages wrote what no tool reads any more
            continue
        if required.marker is None or required.marker.evaluate({"extra": extra}):
            yield required


def _told(distribution: metadata.Distribution) -> str:
    """Return the version, and behind it where it came from if that was no index; empty for what cannot be told."""
    version, origin = _field(distribution, "Version"), _origin(distribution)
    if not _VERSION.fullmatch(version) or not _NAME.fullmatch(_field(distribution, "Name")):
        return ""
    return f"{version} @ {origin}" if origin else version


def _origin(distribution: metadata.Distribution) -> str:
    """Return where a distribution was installed from, without names and keys; empty: from an index (PEP 610)."""
    try:
        told = json.loads(distribution.read_text("direct_url.json") or "null")
    except (ValueError, OSError):
        return LOCAL
    if not isinstance(told, dict):
        return ""
    address = re.sub(r"//[^/@]*@", "//", str(told.get("url", "")))
    kinds: dict[str, Callable[[dict[str, object]], str]] = {
        "vcs_info": lambda info: f"{info.get('vcs')}+{address}@{info.get('commit_id')}",
        "archive_info": lambda info: address,
    }
    for kind, form in kinds.items():
        info = told.get(kind)
        if isinstance(info, dict) and _ADDRESS.fullmatch(text := form(info)):
            return text
    return LOCAL
