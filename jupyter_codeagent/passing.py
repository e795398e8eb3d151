"""What of the user's variables goes into the sandbox, and when: a sandbox around the sandbox."""

from __future__ import annotations

import ast
import re
import sys
import types
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from jupyter_codeagent.candidates import Candidate, Checkpoint
from jupyter_codeagent.errors import NotPlainData
from jupyter_codeagent.keys import Keys
from jupyter_codeagent.packed import Packed, Shelf, pack
from jupyter_codeagent.source import parsed
from jupyter_codeagent.taken import Taken
from jupyter_codeagent.trajectory import Observation, Undone
from jupyter_codeagent.variables import check_plain, limits, literal, source_of, told


class ValueSandbox(Protocol):
    """A sandbox that takes values along."""

    def checkpoint(self) -> Checkpoint:
        """Keep the state as it is now."""

    def rollback(self, checkpoint: Any, /) -> Undone | None:
        """Make the state as it was at `checkpoint`."""

    def stream(self, code: str, values: dict[str, Any] | None = None) -> Iterator[Observation]:
        """Execute with `values`; the last observation yielded is whole."""

    def rehearse(
        self, checkpoint: Any, cells: Sequence[str], values: dict[str, Any] | None = None
    ) -> list[Observation]:
        """Execute `cells` aside of the state."""

    def try_out(
        self, checkpoint: Any, codes: Sequence[str]
    ) -> Generator[list[tuple[Observation, bool]], None, Sequence[Candidate]]:
        """Execute each of `codes` aside of the state."""


@dataclass
class Kept:
    """A checkpoint, together with what had been passed by then."""

    inner: Checkpoint
    passed: dict[str, str]
    made: frozenset[str]

    def drop(self) -> None:
        """Forget it."""
        self.inner.drop()


@dataclass(frozen=True)
class Tried:
    """What came of a candidate, and the state after it, with what had been passed by then."""

    observation: Observation
    checkpoint: Kept


@dataclass
class Chosen:
    """What goes in with one piece of code: values, the source of functions, why others stay, and marks of all."""

    values: dict[str, Any] = field(default_factory=dict)
    copies: dict[str, Packed] = field(default_factory=dict)
    sources: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    marks: dict[str, str] = field(default_factory=dict)


class Passing:
    """A sandbox into which the user's variables are copied when code names them.

    A variable is passed when it is first named, again when the user has changed it since, and again where a
    rollback took it away. What attempts that were kept have made of it is not overwritten otherwise.

    Parameters
    ----------
    sandbox : ValueSandbox
        Where code is executed.
    variables : callable
        Returns the user's variables as they are now.
    keys : Keys
        Recognises what must stay.
    namespace : mapping
        All names of the notebook; what its functions need of imports is looked up here.
    shelf : Shelf, optional
        Keeps the latest copy of each variable, by which a change is seen.
    """

    def __init__(
        self,
        sandbox: ValueSandbox,
        variables: Callable[[], Mapping[str, Any]],
        keys: Keys,
        namespace: Mapping[str, Any] | None = None,
        shelf: Shelf | None = None,
    ) -> None:
        self.sandbox = sandbox
        self.variables = variables
        self.keys = keys
        self.namespace = namespace if namespace is not None else {}
        self.shelf = shelf if shelf is not None else Shelf()
        self.given: dict[str, str] = {}  # name -> mark of what the current task was given
        self._current = variables
        self.passed: dict[str, str] = {}  # name -> mark of what the sandbox's state was given
        self.made: set[str] = set()  # names that code in the sandbox has set
        self.named: frozenset[str] = frozenset()
        self.asked: frozenset[str] = frozenset()
        self.log: dict[str, object] = {}
        self._copies: dict[str, Packed] = {}

    def begin(self, named: Iterable[str], asked: Iterable[str] = (), taken: Mapping[str, Any] | None = None) -> None:
        """Start a task that names the variables `named`; `asked` are those that the user lists with ``--with``.

        `taken` are the variables as they were at another moment, instead of those of now.
        """
        self.named, self.asked = frozenset(named), frozenset(asked)
        self._current = self.variables if taken is None else lambda: taken
        self.log, self.given = {}, {}
        self._copies = {}  # a variable cannot change while a task runs, so one look per task is enough

    def accepted(self, names: Iterable[str]) -> None:
        """The user takes over what set `names`: from now on the user's values are the newer ones."""
        self.made.difference_update(names)

    def literals(self) -> dict[str, str]:
        """Return what this task was given: name to a Python literal, or an empty string where there is none."""
        return {name: literal(value) for name, value in self.log.items()}

    def checkpoint(self) -> Kept:
        """Keep the state as it is now."""
        return Kept(self.sandbox.checkpoint(), dict(self.passed), frozenset(self.made))

    def rollback(self, checkpoint: Kept) -> Undone | None:
        """Make the state as it was at `checkpoint`; values that came in since are passed again when named."""
        try:
            return self.sandbox.rollback(checkpoint.inner)
        finally:  # also where the stop button is pressed once more
            self.passed, self.made = dict(checkpoint.passed), set(checkpoint.made)

    def stream(self, code: str) -> Iterator[Observation]:
        """Pass what `code` names, execute it, and say what was passed."""
        chosen = self.choose([code], self.passed)
        self._send(chosen)
        self.passed.update(chosen.marks)
        notes = _notes(chosen)
        yield (seen := Observation(notes=notes))  # a view shows that the code runs, which may be silent for long
        for seen in self.sandbox.stream(code):
            yield replace(seen, notes=(*notes, *seen.notes))
        if seen.error is None:
            self.made.update(seen.names)

    def _send(self, chosen: Chosen) -> None:
        """Put in what was chosen; a value that the sandbox cannot rebuild stays, and does not hold up the others."""
        while chosen.copies or chosen.sources:
            try:
                seen = list(self.sandbox.stream("\n\n".join(chosen.sources), chosen.copies or None))[-1]
                if seen.error is not None:
                    reason = f"its source failed with {seen.error.ename}: {seen.error.evalue}"
                    functions = [name for name in chosen.marks if name not in chosen.values]
                    chosen.refused.update(dict.fromkeys(functions, reason))
                return
            except NotPlainData as error:
                if error.name not in chosen.copies:
                    raise
                chosen.refused[error.name] = error.reason
                del chosen.values[error.name], chosen.copies[error.name], chosen.marks[error.name]
                self.log.pop(error.name, None)

    def try_out(
        self, checkpoint: Kept, codes: Sequence[str]
    ) -> Generator[list[tuple[Observation, bool]], None, list[Tried]]:
        """Pass what any of `codes` names, once; execute each from there; and say what was passed.

        `checkpoint` is the state of now.
        """
        chosen = self.choose(codes, self.passed)
        self._send(chosen)
        self.passed.update(chosen.marks)
        notes = _notes(chosen)
        yield [(Observation(notes=notes), False) for _ in codes]
        start = self.checkpoint() if chosen.marks else checkpoint
        try:
            trial = self.sandbox.try_out(start.inner, codes)
            found: Sequence[Candidate] = ()
            try:
                while True:
                    yield [(replace(seen, notes=(*notes, *seen.notes)), over) for seen, over in next(trial)]
            except StopIteration as end:
                found = end.value
            finally:
                trial.close()
        finally:
            if start is not checkpoint:
                start.drop()
        return [self._tried(candidate, notes) for candidate in found]

    def _tried(self, candidate: Candidate, notes: tuple[str, ...]) -> Tried:
        seen = replace(candidate.observation, notes=(*notes, *candidate.observation.notes))
        made = self.made | set(seen.names) if seen.error is None else self.made
        return Tried(seen, Kept(candidate.checkpoint, dict(self.passed), frozenset(made)))

    def rehearse(self, checkpoint: Kept, cells: Sequence[str]) -> list[Observation]:
        """Execute `cells` aside of the state, with the values that they name and `checkpoint` lacks."""
        since = set(self.passed) - set(checkpoint.passed)
        chosen = self.choose(cells, checkpoint.passed, since)
        prelude = ["\n\n".join(chosen.sources)] if chosen.sources else []
        seen = self.sandbox.rehearse(checkpoint.inner, [*prelude, *cells], chosen.copies or None)
        return seen[len(prelude) :] or seen

    def choose(self, cells: Sequence[str], passed: Mapping[str, str], since: Iterable[str] = ()) -> Chosen:
        """Decide what goes in with `cells`, given what the state has, and what came in `since` and is gone again."""
        chosen = Chosen()
        variables = self._current()
        used = [name for cell in cells for name in names_used(cell)]
        waiting = [(name, False) for name in [*used, *sorted(self.named | self.asked)]]
        seen: set[str] = set()
        while waiting:
            name, of_function = waiting.pop(0)
            if name in seen:
                continue
            if of_function and (line := import_of(name, self.namespace.get(name))):
                chosen.sources.insert(0, line)
            elif name in variables or (of_function and name.startswith("_") and name in self.namespace):
                seen.add(name)
                value = variables[name] if name in variables else self.namespace[name]
                try:
                    needed = self._add(chosen, name, value, passed, name in since)
                    waiting += [(need, True) for need in needed]
                except NotPlainData as error:
                    chosen.refused[name] = error.reason
        return chosen

    def _add(self, chosen: Chosen, name: str, value: Any, passed: Mapping[str, str], gone: bool) -> list[str]:
        """Add one variable; returns the names that a function's source needs in turn."""
        source, copy = "", None
        if isinstance(value, types.FunctionType | type):
            source = source_of(name, value)
            if self.keys.hide(source) != source:
                raise NotPlainData(name, "its source holds what looks like a key")
            mark = source_mark(source)
        else:
            if not gone and name not in passed and not self._wanted(name, "", passed):
                return []
            copy = self._copy(name, value)
            mark = copy.mark
        wanted = gone or self._wanted(name, mark, passed)
        if wanted or name in passed:
            self.given[name] = mark
        if not wanted:
            return []
        chosen.marks[name] = mark
        self.log[name] = value
        if copy is not None:
            chosen.values[name], chosen.copies[name] = value, copy
            return []
        chosen.sources.insert(0, source)
        return names_used(source)

    def _copy(self, name: str, value: Any) -> Packed:
        """Return a copy of a value, or raise NotPlainData where it must stay."""
        if self.keys.named(name, value):
            raise NotPlainData(name, "it looks like a key")
        if name in self._copies:
            return self._copies[name]
        if name not in self.asked or isinstance(value, Taken):
            check_plain(name, value)
        if isinstance(value, Taken) and value.packed is not None:
            copy = value.packed
            self.shelf.keep(name, copy)
        else:
            copy = pack(name, value, limits(self.keys), self.shelf)
        self._copies[name] = copy
        return copy

    def _wanted(self, name: str, mark: str, passed: Mapping[str, str]) -> bool:
        if name in passed:
            return passed[name] != mark
        return name not in self.made or name in self.named | self.asked


def source_mark(source: str) -> str:
    """Return by what a change of a function's source is seen."""
    return f"source {hash(source)}"


def unchanged(name: str, value: Any, mark: str, shelf: Shelf) -> bool:
    """Say whether a variable is still what it was when it got `mark`; raises NotPlainData where that cannot be told."""
    if isinstance(value, types.FunctionType | type):
        return source_mark(source_of(name, value)) == mark
    return shelf.same(name, value, mark)


def import_of(name: str, value: Any) -> str:
    """Return the line that imports `value` as `name`, or an empty string where it is not importable."""
    if isinstance(value, types.ModuleType):
        return f"import {value.__name__} as {name}"
    module, own = getattr(value, "__module__", None), getattr(value, "__name__", None)
    if (
        isinstance(module, str)
        and isinstance(own, str)
        and own.isidentifier()
        and module not in ("__main__", "builtins")
    ):
        found = getattr(sys.modules.get(module), own, None)
        return f"from {module} import {own} as {name}" if found is value else ""
    return ""


_TIMED = re.compile(r"%(?:time|timeit|prun)\s+(?:-\w+\s*\d*\s+)*(?=[^-\s])")  # what follows is Python
_CALLED = re.compile(r"^(\s*[\w\s,]+=\s*)[!%].*")


def names_used(code: str) -> list[str]:
    """Return the names that `code` reads before it has set them at top level; also where they stand in functions.

    Lines that are not Python (``!ls``, ``%time``) do not hide the names in the others.
    """
    tree = _parsed(code)
    reader = _Reader()
    try:
        for statement in tree.body:
            reader.visit(statement)
    except RecursionError:  # a sum of five hundred terms is deeper than a visitor goes; then every name counts
        reader.used += [n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)]
    return list(dict.fromkeys(reader.used))


def _parsed(code: str) -> ast.Module:
    for text in (code, "\n".join(_without_magic(line) for line in code.splitlines())):
        if (tree := parsed(text)) is not None:
            return tree
    return ast.Module(body=[], type_ignores=[])


def _without_magic(line: str) -> str:
    bare = line.lstrip()
    indent = line[: len(line) - len(bare)]
    if timed := _TIMED.match(bare):
        return indent + bare[timed.end() :]
    if bare[:1] in ("!", "%", "?"):
        return indent + "pass"
    return _CALLED.sub(r"\1None", line)


class _Reader(ast.NodeVisitor):
    """Collects names in the order of execution: what is read, and what is already set by then."""

    def __init__(self) -> None:
        self.used: list[str] = []
        self.bound: set[str] = set()

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Store):
            self.bound.add(node.id)
        elif node.id not in self.bound:
            self.used.append(node.id)

    def visit_Assign(self, node: ast.Assign) -> None:
        self.visit(node.value)
        for target in node.targets:
            self.visit(target)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self.visit(node.value)
        if isinstance(node.target, ast.Name):
            self.visit_Name(ast.Name(node.target.id, ast.Load()))
        self.visit(node.target)

    def visit_For(self, node: ast.For) -> None:
        for part in (node.iter, node.target, *node.body, *node.orelse):
            self.visit(part)

    def visit_ListComp(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp) -> None:
        outer = set(self.bound)
        for generator in node.generators:
            for part in (generator.iter, generator.target, *generator.ifs):
                self.visit(part)
        for part in (node.key, node.value) if isinstance(node, ast.DictComp) else (node.elt,):
            self.visit(part)
        self.bound = outer

    visit_SetComp = visit_GeneratorExp = visit_DictComp = visit_ListComp

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        given = node.args
        every = (*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg)
        evaluated = (*node.decorator_list, *given.defaults, *given.kw_defaults, *(a and a.annotation for a in every))
        for part in (*evaluated, node.returns):
            if part is not None:
                self.visit(part)
        self.bound.add(node.name)
        self._body(node.args, node.body)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self.visit(node.value)
        self.visit(node.target)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        for part in (*node.args.defaults, *node.args.kw_defaults):
            if part is not None:
                self.visit(part)
        self._body(node.args, [node.body])

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for part in (*node.decorator_list, *node.bases, *node.keywords):
            self.visit(part)
        outer = set(self.bound)
        for part in node.body:
            self.visit(part)
        self.bound = outer | {node.name}

    def visit_Import(self, node: ast.Import | ast.ImportFrom) -> None:
        self.bound.update(alias.asname or alias.name.partition(".")[0] for alias in node.names)

    visit_ImportFrom = visit_Import

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        if node.name:
            self.bound.add(node.name)
        self.generic_visit(node)

    def _body(self, arguments: ast.arguments, body: Sequence[ast.AST]) -> None:
        outer = set(self.bound)
        every = (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg)
        self.bound.update(a.arg for a in every if a)
        self.bound.update(_own(body))
        for part in body:
            self.visit(part)
        self.bound = outer


def _own(body: Sequence[ast.AST]) -> set[str]:
    """Return the names that a function sets: they are its own everywhere in it, unless it says that they are global."""
    own: set[str] = set()
    others: set[str] = set()
    waiting = list(body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            own.add(node.id)
        elif isinstance(node, ast.Global):
            others.update(node.names)
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            waiting += ast.iter_child_nodes(node)
    return own - others


def _notes(chosen: Chosen) -> tuple[str, ...]:
    given = [f"{name} ({told(value)})" for name, value in chosen.values.items()]
    given += [f"{n} (source)" for n in chosen.marks if n not in chosen.values and n not in chosen.refused]
    notes = [f"Copied in from the notebook: {', '.join(given)}."] if given else []
    notes += [f"'{name}' was not passed: {reason}." for name, reason in chosen.refused.items()]
    return tuple(notes)
