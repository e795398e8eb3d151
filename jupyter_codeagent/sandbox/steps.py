"""What has to be done to make one folder as it was: a comparison of two moments, and of what lies below an overlay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from jupyter_codeagent.sandbox.contents import Content
from jupyter_codeagent.sandbox.tree import FILE, FOLDER, GONE, LINK, OTHER, PIPE, Entry, TooMuch

BROUGHT_BACK = 5000  # entries of what lies below an overlay that are written anew
BROUGHT_BYTES = 64 * 2**20

Step = dict[str, object]


class Lower(Protocol):
    """What lies below an overlay."""

    def entry(self, path: str) -> Entry | None:
        """Return what is at `path`, if anything."""

    def same(self, path: str, content: Content) -> bool:
        """Say whether the file at `path` has this content."""

    def names(self, path: str) -> list[str]:
        """Return the paths right below a folder."""


@dataclass(frozen=True)
class Target:
    """What is to be at one path; `content` is None for a file whose content lies below the overlay."""

    path: str
    entry: Entry
    content: Content | None = None
    file: object = None  # names of one file have the same


@dataclass
class _Plan:
    lower: Lower
    wanted: Mapping[str, Entry]
    kept: Mapping[str, Content]
    now: Mapping[str, Entry]
    contents: Mapping[str, Content]
    removed: list[str] = field(default_factory=list)
    made: list[Step] = field(default_factory=list)
    last: list[Step] = field(default_factory=list)
    sources: list[Target] = field(default_factory=list)
    brought: int = 0
    brought_bytes: int = 0
    linked: dict[object, str] = field(default_factory=dict)


def plan(
    lower: Lower,
    wanted: Mapping[str, Entry],
    kept: Mapping[str, Content],
    now: Mapping[str, Entry],
    contents: Mapping[str, Content],
) -> tuple[list[Step], list[Target]]:
    """Return the steps that make a folder as it was, in order, and the files whose content they need.

    Parameters
    ----------
    lower : Lower
        What is seen where the folder has nothing.
    wanted, kept : mapping
        What was there, and the contents of its files.
    now, contents : mapping
        What is there.

    Raises
    ------
    TooMuch
        If more lies below the overlay than can be written again.
    ValueError
        If it cannot be made again: a socket, a folder that cannot be listed.
    """
    work = _Plan(lower, wanted, kept, now, contents)
    targets = _targets(work)
    shared = _shared(work, targets)
    for path, target in targets.items():
        _compare(work, path, target, path in shared)
    removals: list[Step] = [{"do": "remove", "path": path} for path in reversed(work.removed)]
    if not (removals or work.made or any(step["do"] == "attributes" for step in work.last)):
        return [], []
    work.last.reverse()  # what is in a folder before the folder, whose time it changes
    return [*removals, *work.made, *work.last], work.sources


def _targets(work: _Plan) -> dict[str, Target | None]:
    """Return what is to be at each path that was or is written, folders first."""
    targets: dict[str, Target | None] = {}
    for path in sorted({*work.wanted, *work.now}, key=_order):
        if path not in targets:
            _add(work, path, targets)
    return targets


def _order(path: str) -> tuple[str, ...]:
    return tuple(path.split("/")) if path else ()


def _add(work: _Plan, path: str, targets: dict[str, Target | None]) -> None:
    entry = work.wanted.get(path)
    if entry is not None:
        file = entry.inode if entry.kind == FILE else None
        targets[path] = Target(path, entry, work.kept.get(path), file) if entry.kind != GONE else None
    else:
        targets[path] = _from_below(work, path, targets)
    covered = work.now.get(path)
    target = targets[path]
    open_below = entry is None or (entry.kind == FOLDER and not entry.opaque)
    hides = covered is not None and (covered.kind != FOLDER or covered.opaque)
    if hides and path and open_below and target is not None and target.entry.kind == FOLDER:
        _bring_back(work, path, targets)


def _from_below(work: _Plan, path: str, targets: Mapping[str, Target | None]) -> Target | None:
    """Return what is seen at `path` when nothing was written there."""
    parts = path.split("/")
    for count in range(1, len(parts)):
        above = "/".join(parts[:count])
        entry = work.wanted.get(above)
        if entry is not None and (entry.kind != FOLDER or entry.opaque):
            return None
    found = work.lower.entry(path)
    return Target(path, found, file=path) if found is not None else None


def _bring_back(work: _Plan, path: str, targets: dict[str, Target | None]) -> None:
    """Add what lies below a folder that is covered now."""
    if work.lower.entry(path) is None:
        return
    pending = [path]
    while pending:
        for below in sorted(work.lower.names(pending.pop())):
            work.brought += 1
            if work.brought > BROUGHT_BACK:
                raise TooMuch(f"over {BROUGHT_BACK:,} files of the working folder would have to be written again")
            if below in work.wanted or below in targets:
                continue
            target = targets[below] = _from_below(work, below, targets)
            if target is not None and target.entry.kind == FOLDER:
                pending.append(below)


def _shared(work: _Plan, targets: Mapping[str, Target | None]) -> set[str]:
    """Return the paths that are names of one file now and were not, or the other way round."""
    names: dict[int, list[str]] = {}
    for path, entry in work.now.items():
        if entry.kind == FILE:
            names.setdefault(entry.inode, []).append(path)
    apart: set[str] = set()
    for paths in names.values():
        files = {target.file if (target := targets.get(path)) is not None else None for path in paths}
        if len(files) > 1:
            apart.update(paths)
    groups: dict[object, list[str]] = {}
    for path, target in targets.items():
        if target is not None and target.entry.kind == FILE:
            groups.setdefault(target.file, []).append(path)
    for paths in groups.values():
        if len(paths) > 1 and len({found.inode if (found := work.now.get(p)) else 0 for p in paths}) > 1:
            apart.update(paths)
    return apart


def _compare(work: _Plan, path: str, target: Target | None, apart: bool) -> None:
    entry = work.now.get(path)
    there = entry is not None and entry.kind != GONE
    bare = entry is None and _open(work, path)  # what lies below is seen as it is
    if target is None:
        if there or (bare and work.lower.entry(path) is not None):
            work.removed.append(path)
        return
    wanted = target.entry
    if bare and path not in work.wanted:
        return
    if wanted.opaque and not (entry is not None and entry.opaque) and bare and work.lower.entry(path) is not None:
        raise ValueError(f"the folder {path!r} is another one")
    if entry is not None and entry.kind == wanted.kind and not apart:
        if wanted.kind == FILE and _differs(work, target):
            _write(work, target)
        elif wanted.kind == LINK and entry.target != wanted.target:
            work.removed.append(path)
            _make(work, target)
        elif wanted.kind == OTHER and entry.inode != wanted.inode:
            raise ValueError(f"a socket or a device at {path!r} cannot be made again")
        elif (entry.mode, entry.mtime) != (wanted.mode, wanted.mtime) and wanted.kind != LINK:
            work.last.append(_attributes(path, wanted))
        elif wanted.kind == FOLDER:
            work.last.append({**_attributes(path, wanted), "do": "again"})  # what is in it may change its time
        return
    if there:
        work.removed.append(path)
    _make(work, target)


def _open(work: _Plan, path: str) -> bool:
    """Say whether nothing covers what lies below at `path` now."""
    parts = path.split("/")
    above = (work.now.get("/".join(parts[:count])) for count in range(1, len(parts)))
    return not any(entry is not None and (entry.kind != FOLDER or entry.opaque) for entry in above)


def _differs(work: _Plan, target: Target) -> bool:
    """Say whether a file that is there has another content than it is to have."""
    content = work.contents.get(target.path)
    if content is None:  # it cannot be read
        return True
    if target.content is None:
        return target.entry.size != content.size or not work.lower.same(target.path, content)
    return target.content is not content and not target.content.equals(content)


def _make(work: _Plan, target: Target) -> None:
    entry, path = target.entry, target.path
    if entry.kind == FILE:
        _write(work, target)
    elif entry.kind == FOLDER:
        work.made.append({"do": "folder", "path": path})
        work.last.append(_attributes(path, entry))
    elif entry.kind == LINK:
        work.made.append({"do": "link", "path": path, "target": entry.target, "mtime": entry.mtime})
    elif entry.kind == PIPE:
        work.made.append({"do": "pipe", "path": path})
        work.last.append(_attributes(path, entry))
    else:
        raise ValueError(f"what was at {path!r} cannot be made again")


def _write(work: _Plan, target: Target) -> None:
    first = work.linked.get(target.file)
    if first is not None and target.content is not None:
        work.made.append({"do": "name", "path": target.path, "of": first})
        return
    if target.content is None:
        work.brought_bytes += target.entry.size
        if work.brought_bytes > BROUGHT_BYTES:
            raise TooMuch(f"over {BROUGHT_BYTES // 2**20} MiB of the working folder would have to be written again")
    work.linked[target.file] = target.path
    work.made.append({"do": "write", "path": target.path, "content": len(work.sources)})
    work.sources.append(target)
    work.last.append(_attributes(target.path, target.entry))


def _attributes(path: str, entry: Entry) -> Step:
    return {"do": "attributes", "path": path, "mode": entry.mode, "mtime": entry.mtime}
