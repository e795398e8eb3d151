"""What code has written: the upper layer of the working folder and the temporary folders, kept and put back."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jupyter_codeagent.sandbox import tree
from jupyter_codeagent.sandbox.changes import Base, Change, Comparison, Mark, certain, found_below
from jupyter_codeagent.sandbox.contents import Content, Pack, Store
from jupyter_codeagent.sandbox.state import Gone, State
from jupyter_codeagent.sandbox.steps import Target, plan
from jupyter_codeagent.sandbox.tree import CLOSED, FILE, Entry, TooMuch
from jupyter_codeagent.sandbox.workspace import Workspace

TEMPORARY = ("/tmp", "/dev/shm")  # noqa: S108 - inside
COMPARED = 64 * 2**20  # bytes of files whose times say that they are the same, which are compared nevertheless
PATIENCE = 60.0  # seconds for files to be put back


@dataclass(frozen=True)
class Kept:
    """One folder at one moment."""

    entries: Mapping[str, Entry]
    contents: Mapping[str, Content]


@dataclass(frozen=True, eq=False)
class Files:
    """All folders that code can write, at one moment, in the order of `Layer.roots`."""

    kept: tuple[Kept, ...]


@dataclass(frozen=True)
class Root:
    """A folder that code can write.

    Parameters
    ----------
    path : str
        Where it is inside.
    fd : int
        The folder from outside; that of an overlay is its upper layer.
    lower : int
        What lies below it, for an overlay; else -1.
    hidden : frozenset of str
        Names in `lower` that are not seen inside.
    """

    path: str
    fd: int
    lower: int = -1
    hidden: frozenset[str] = field(default_factory=frozenset)


class Layer:
    """What the code of one sandbox has written.

    Parameters
    ----------
    workspace : Workspace
        The working folder.
    upper : int
        The upper layer of its overlay, which is closed with this; -1: there is no overlay.
    zygote : State
        It puts files back, inside.
    most : int
        Bytes to keep, of all moments together.
    earlier : mapping
        `bases` of the sandbox in whose place this one is: what is put back, or done again, goes back to those.
    """

    def __init__(
        self, workspace: Workspace, upper: int, zygote: State, most: int, earlier: Mapping[str, Base] | None = None
    ) -> None:
        self.zygote = zygote
        self.store = Store(most)
        self.why = ""  # why the latest moment could not be kept
        self.folder = -1  # the user's working folder; -1: it is no project
        self._last: Files | None = None
        self._first: Files | None = None  # of a copied folder: what was copied
        self._bases: dict[str, Base] = {}  # of the working folder
        self._earlier = dict(earlier or {})
        self._looked = self._began = time.time_ns()
        self._open = [upper] if upper >= 0 else []
        self.roots = [Root(path, self._folder(f"/proc/{zygote.pid}/root{path}")) for path in TEMPORARY]
        if upper >= 0:
            self.folder = self._folder(workspace.path)
            self.roots.append(Root(workspace.path, upper, self.folder, frozenset(workspace.hidden)))
        elif workspace.path not in workspace.binds:
            self.roots.append(Root(workspace.path, self._folder(f"/proc/{zygote.pid}/root{workspace.path}")))
            if workspace.copied_from:
                self.folder = self._folder(workspace.path)

    def _folder(self, path: str) -> int:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._open.append(fd)
        return fd

    def close(self) -> None:
        """Close all descriptors; what was kept stays usable."""
        for fd in self._open:
            os.close(fd)
        self._open, self.roots, self.folder = [], [], -1

    # -- keeping ----------------------------------------------------------------------------------

    def keep(self) -> Files | None:
        """Return all folders as they are now; the same object as before if nothing has changed.

        Only what has changed is copied. None where it is too much, or cannot be read; `why` then says so.
        """
        try:
            found = self._moment()
        except (TooMuch, OSError) as error:
            self.why = str(error)
            return None
        for kept in found.kept:
            for path, entry in kept.entries.items():
                if entry.kind == CLOSED or (entry.kind == FILE and path not in kept.contents):
                    self.why = f"{path!r} cannot be read"
                    return None
        return found

    def _moment(self) -> Files:
        """Return all folders as they are now; what cannot be read has no content."""
        pack, budget = self.store.shared(), [COMPARED]
        looked, now = self._looked, time.time_ns()
        before = self._last.kept if self._last is not None else [None] * len(self.roots)
        kept = tuple(self._keep(root, old, pack, budget) for root, old in zip(self.roots, before, strict=True))
        if self._last is None or any(new is not old for new, old in zip(kept, self._last.kept, strict=True)):
            self._last = Files(kept)
        self._first = self._first or self._last
        if self.folder >= 0:
            self._note_bases(looked if self.roots[-1].lower >= 0 else self._began)
        self._looked = now
        return self._last

    def rest(self) -> None:
        """Take note that the code has written nothing since the latest moment, up to now."""
        self._looked = time.time_ns()

    # -- beside the user's folder -----------------------------------------------------------------

    def changes(self) -> list[Change]:
        """Return what the code has changed in the working folder and the user's folder does not have.

        Raises
        ------
        TooMuch
            If it is too much to be looked at.
        OSError
            If it cannot be read.
        """
        if self.folder < 0:
            return []
        moment = self._moment().kept[-1]
        entries = self._written(moment)
        return Comparison(self.folder, self.roots[-1].hidden, entries, moment.contents, self._bases).changes()

    def settle(self, paths: Iterable[str]) -> None:
        """Take note that what is at these paths in the user's folder now is what the code has seen."""
        for path in paths:
            self._earlier.pop(path, None)
            self._bases[path] = Base(Mark.of(tree.look_beneath(self.folder, path)), True)

    @property
    def bases(self) -> dict[str, Base]:
        """What the user's folder had where the code has written, at the time when it did."""
        return {**self._earlier, **self._bases}

    def _written(self, moment: Kept) -> Mapping[str, Entry]:
        """Return what was written to the working folder; for a copied one, what differs from the copy."""
        if self.roots[-1].lower >= 0 or self._first is None:
            return moment.entries
        first = self._first.kept[-1]
        gone = {path: Entry(tree.GONE) for path in first.entries if path not in moment.entries}
        written = {path: entry for path, entry in moment.entries.items() if first.entries.get(path) != entry}
        return {**written, **gone}

    def _note_bases(self, looked: int) -> None:
        """Take note of what the user's folder has where something was written for the first time."""
        assert self._last is not None
        written = self._written(self._last.kept[-1])
        covers = {path for path, entry in written.items() if entry.kind == tree.GONE or entry.opaque}
        self._bases = {path: b for path, b in self._bases.items() if path in written or _within(path, covers)}
        for path, entry in written.items():
            if not path or path in self._bases or (entry.kind == tree.FOLDER and not entry.opaque):
                continue
            real = tree.look_beneath(self.folder, path)
            self._bases[path] = self._base(path, real, looked)
            if path in covers and real is not None and real.kind == tree.FOLDER:
                # what comes into the user's folder later was not there to be deleted
                with contextlib.suppress(TooMuch, OSError):
                    for below, found in found_below(self.folder, path, self._bases.__contains__):
                        self._bases[below] = self._base(below, found, looked)

    def _base(self, path: str, real: Entry | None, looked: int) -> Base:
        """Return what is known of a path where the code has written for the first time."""
        if path in self._earlier:
            return self._earlier[path]
        copied = self._first.kept[-1].entries if self._first is not None and self.roots[-1].lower < 0 else None
        return Base(Mark.of(real), certain(real, looked), real is None or copied is None or path in copied)

    def _keep(self, root: Root, old: Kept | None, pack: Pack, budget: list[int]) -> Kept:
        entries = tree.scan(root.fd)
        contents: dict[str, Content] = {}
        for path, entry in entries.items():
            if entry.kind == FILE:
                known = old.contents.get(path) if old is not None and old.entries.get(path) == entry else None
                with contextlib.suppress(PermissionError, FileNotFoundError):
                    contents[path] = self._content(root, path, known, pack, budget)
        if old is not None and entries == old.entries and contents == old.contents:
            return old
        return Kept(entries, contents)

    def _content(self, root: Root, path: str, known: Content | None, pack: Pack, budget: list[int]) -> Content:
        if known is not None and known.size > budget[0]:
            return known
        fd = tree.open_file(root.fd, path)
        try:
            if known is not None:  # writing to a mapped file need not change its times
                budget[0] -= known.size
                if known.same(fd):
                    return known
            return self.store.keep(fd, pack)
        finally:
            os.close(fd)

    # -- putting back -----------------------------------------------------------------------------

    def restore(self, files: Files | None) -> Files:
        """Make all folders as they were at `files`; no process of the code may be running.

        Returns the same moment as it is to be known from now on.

        Raises
        ------
        Gone
            If that is not possible here; a new sandbox then has to do again what led to that moment.
        """
        if files is None:
            raise Gone("its files could not be kept")
        if len(files.kept) != len(self.roots):
            raise Gone("its folders were others")
        try:
            now = self._moment()
            if now is files:
                return files
            changed = [self._put_back(*each) for each in zip(self.roots, files.kept, now.kept, strict=True)]
            again = self._moment() if any(changed) else now
            missed = any(self._steps(*each)[0] for each in zip(self.roots, files.kept, again.kept, strict=True))
        except (TooMuch, OSError, ValueError) as error:
            raise Gone(f"its files cannot be put back: {error}") from error
        if missed:
            raise Gone("its files could not be put back as they were")
        return again

    def _steps(self, root: Root, wanted: Kept, now: Kept) -> tuple[list[dict[str, object]], list[Target]]:
        return plan(Below(root), wanted.entries, wanted.contents, now.entries, now.contents)

    def _put_back(self, root: Root, wanted: Kept, now: Kept) -> bool:
        """Have one folder made as it was; says whether anything had to be done."""
        steps, sources = self._steps(root, wanted, now)
        if not steps:
            return False
        bundle = self.store.pack()
        parts = [self._bundled(root, source, bundle) for source in sources]
        order = Pack()
        order.append(json.dumps({"root": root.path, "steps": steps, "contents": parts}).encode())
        answer = self.zygote_asked([order.fd, bundle.fd])
        bundle.close()
        if answer:
            raise OSError(answer)
        return True

    def zygote_asked(self, fds: Sequence[int]) -> str:
        """Have the zygote carry out steps; returns what it could not do."""
        for fd in fds:
            os.lseek(fd, 0, os.SEEK_SET)
        self.zygote.wire.send({"op": "files"}, fds)
        return str(self.zygote.wait("filed", seconds=PATIENCE).get("problem", "?"))[:300]

    def _bundled(self, root: Root, source: Target, bundle: Pack) -> dict[str, object]:
        """Copy the content of a file that is to be written into the file that goes inside."""
        if source.content is not None:
            start, content = bundle.size, source.content
            for _at, length, where in content.parts:
                for done in range(0, length, tree.PIECE):
                    bundle.append(os.pread(content.pack.fd, min(tree.PIECE, length - done), where + done))
        else:
            with contextlib.closing(_Open(tree.open_file(root.lower, source.path))) as file:
                start, content = 0, self.store.keep(file.fd, bundle)
        parts = []
        for at, length, where in content.parts:
            parts.append((at, length, start if source.content is not None else where))
            start += length
        return {"size": content.size, "parts": parts}


def _within(path: str, folders: Collection[str]) -> bool:
    """Say whether a path lies in one of these folders."""
    return bool(folders) and any(str(above) in folders for above in Path(path).parents)


@dataclass
class _Open:
    fd: int

    def close(self) -> None:
        os.close(self.fd)


class Below:
    """What lies below an overlay, as it is seen where nothing covers it."""

    def __init__(self, root: Root) -> None:
        self.root = root

    def entry(self, path: str) -> Entry | None:
        """Return what is at `path`, or None."""
        if self.root.lower < 0 or self._hidden(path):
            return None
        found = tree.look_beneath(self.root.lower, path)
        return found if found is not None and found.kind in tree.SHOWN else None

    def same(self, path: str, content: Content) -> bool:
        """Say whether the file at `path` has this content."""
        with contextlib.closing(_Open(tree.open_file(self.root.lower, path))) as file:
            return content.same(file.fd)

    def names(self, path: str) -> list[str]:
        """Return the paths right below a folder."""
        if self.root.lower < 0:
            return []
        fd = tree.open_beneath(self.root.lower, path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            return [f"{path}/{name}" for name in os.listdir(fd)]
        finally:
            os.close(fd)

    def _hidden(self, path: str) -> bool:
        return any(str(part) in self.root.hidden for part in (Path(path), *Path(path).parents))
