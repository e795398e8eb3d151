"""Which names each cell takes and leaves, read from its code, and so which cells another one needs.

The method is a backward slice (Weiser 1981, "Program Slicing") over whole cells and top-level names. Where the
code does not say what it changes, it is taken to change what it was given: a method that is not known to leave its
object alone changes it, and so does a function of the notebook its arguments. What cannot be followed at all (``exec``,
magics with a body of their own) needs all that is above it.
"""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from jupyter_codeagent.source import (
    HARMLESS_MAGICS,
    dotted,
    looked_up,
    modules_of,
    parsed,
    plain_lines,
    root_of,
    tree_of,
)

MOST = 200_000  # characters of code that are read, in a few seconds
ALL = "*"  # stands for every name, where it cannot be said which are needed
_OPAQUE = {"exec", "eval", "globals", "locals", "vars", "get_ipython", "__import__", "setattr", "delattr", "compile"}
_STATE = re.compile(
    r"(?:^|\.)(?:seed|manual_seed|set_seed|set_random_seed|set_option|set_options|set_theme|set_style|set_context|set|use"
    r"|filterwarnings|simplefilter|set_printoptions|seterr|setlocale|chdir|register\w*|rc|ioff|ion|set_config\w*"
    r"|basicConfig|putenv|unsetenv|setrecursionlimit|tzset|set_index_url|getcontext)$"
)
_WRITES = re.compile(
    r"^(?:subprocess\.\w+|os\.(?:system|popen)|shutil\.(?!disk_usage|which)\w+)$"
    r"|(?:^|\.)(?:to_(?:csv|excel|parquet|json|pickle|feather|hdf|sql|html|latex|stata|markdown)|savefig|save|savez"
    r"|savez_compressed|savetxt|dump|write\w*|mkdir|makedirs|remove|unlink|rmdir|touch|symlink_to|imsave|imwrite|execute"
    r"|executemany|executescript|commit)$"
)
_RANDOM = {"numpy.random": "<numpy.random>", "random": "<random>", "torch": "<torch>"}
PURE = frozenset(
    re.findall(
        r"\w+",
        """abs agg aggregate all any apply applymap argmax argmin array_equal asfreq assign astype at_time between bool
        capitalize casefold clip combine combine_first copy corr count cov cummax cummin cumprod cumsum date day
        describe diff difference dot drop_duplicates dropna dtype dtypes duplicated encode endswith equals exists
        expanding explode fillna filter find first format get get_group groupby groups head hist idxmax idxmin index
        info interpolate intersection is_dir is_file isalnum isalpha isdigit isin isna isnull issubset issuperset items
        iterrows itertuples join keys kurt last lower lstrip map max mean median melt memory_usage merge min mode
        month nlargest notna notnull nsmallest nunique pct_change pipe pivot pivot_table plot predict predict_proba prod
        quantile query rank read_text reindex rename replace resample reset_index reshape rfind rolling round rstrip
        sample score select_dtypes sem shift size skew sort_index sort_values split splitlines squeeze stack
        startswith std strftime strip sum swapcase symmetric_difference tail title to_dict to_frame to_list to_numpy
        to_string tolist transform translate transpose union unique unstack upper value_counts values var where
        with_suffix xs year zfill""",
    )
)
_CAN_CHANGE = {
    "next",
    "zip",
    "reversed",
    "enumerate",
    "map",
    "filter",
    "exec",
    "eval",
    "setattr",
    "delattr",
    "open",
    "iter",
}
_BUILT_IN = frozenset(name for name in dir(builtins) if name not in _CAN_CHANGE)
_SHOWS = frozenset({"display"})
_CHANGING = re.compile(
    r"(?:shuffle|heap\w+|insort\w*|fill_diagonal|copyto|put|put_along_axis|putmask|place|delattr|setattr)$"
)


@dataclass
class Flow:
    """What one cell takes and leaves.

    Parameters
    ----------
    reads : set of str
        Names that it needs from above; `ALL` among them: it cannot be said which.
    binds : set of str
        Names that it sets.
    certain : set of str
        Those of `binds` that it sets whatever happens.
    changes : set of str
        Names whose values it may change in place.
    aliases : list of tuple of str
        Pairs of names that may be one value.
    deferred : dict of str to set of str
        What the functions and classes that it defines look up when they are called.
    lasting : str
        Why it has an effect that no name shows, such as a setting or a file; empty where it has none.
    writes : bool
        It may write files, or reach other programs.
    """

    reads: set[str] = field(default_factory=set)
    binds: set[str] = field(default_factory=set)
    certain: set[str] = field(default_factory=set)
    changes: set[str] = field(default_factory=set)
    aliases: list[tuple[str, str]] = field(default_factory=list)
    deferred: dict[str, set[str]] = field(default_factory=dict)
    lasting: str = ""
    writes: bool = False


def flow_of(code: str, modules: Mapping[str, str]) -> Flow:
    """Return what one cell takes and leaves; `modules` as `modules_of` gives it for the whole notebook."""
    source, special = plain_lines(code)
    tree = parsed(source)
    if tree is None or (special and not source):
        return Flow({ALL}, lasting="it is not plain Python")
    reader = _Reader(modules)
    try:
        reader.block(tree.body, certain=True)
    except RecursionError:
        return Flow({ALL}, lasting="its code is nested too deeply")
    found = reader.flow
    for line in special:
        if not HARMLESS_MAGICS.match(line):
            found.reads |= set(re.findall(r"[^\W\d]\w*", line))
        found.lasting = found.lasting or f"it has the line {line.strip()[:60]!r}"
    return found


class _Reader:
    """Goes through the code of one cell once, in order."""

    def __init__(self, modules: Mapping[str, str]) -> None:
        self.modules, self.flow = modules, Flow()

    def block(self, body: Sequence[ast.stmt], certain: bool) -> None:
        for statement in body:
            self.statement(statement, certain)

    def statement(self, node: ast.stmt, certain: bool) -> None:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            self.definition(node, certain)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            self.imports(node, certain)
        elif isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
            self.assignment(node, certain)
        elif isinstance(node, ast.Delete):
            for target in node.targets:
                self.target(target, certain)
        else:
            self.others(node, certain)

    def others(self, node: ast.stmt, certain: bool) -> None:
        """Read a statement with expressions and blocks: what a block sets, it may not set."""
        for name, value in ast.iter_fields(node):
            for part in value if isinstance(value, list) else [value]:
                if isinstance(part, ast.stmt):
                    self.statement(part, certain and isinstance(node, ast.With | ast.AsyncWith))
                elif isinstance(part, ast.ExceptHandler | ast.match_case):
                    self.handler(part)
                elif isinstance(part, ast.withitem):
                    self.expression(part.context_expr)
                    if part.optional_vars is not None:
                        self.target(part.optional_vars, certain, part.context_expr)
                elif isinstance(part, ast.expr) and name == "target" and isinstance(node, ast.For | ast.AsyncFor):
                    self.target(part, False, node.iter)
                elif isinstance(part, ast.expr):
                    self.expression(part)

    def handler(self, node: ast.ExceptHandler | ast.match_case) -> None:
        for part in ast.walk(node):
            if isinstance(part, ast.MatchAs | ast.MatchStar | ast.ExceptHandler) and part.name:
                self.flow.binds.add(part.name)
        if isinstance(node, ast.ExceptHandler) and node.type is not None:
            self.expression(node.type)
        self.block(node.body, certain=False)

    def imports(self, node: ast.Import | ast.ImportFrom, certain: bool) -> None:
        for alias in node.names:
            if alias.name == "*":
                self.flow.lasting = self.flow.lasting or "it imports names that are not told"
            else:
                self.bind(alias.asname or alias.name.partition(".")[0], certain)

    def definition(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef, certain: bool) -> None:
        now: list[ast.expr] = [*node.decorator_list]
        if isinstance(node, ast.ClassDef):
            now += [*node.bases, *(k.value for k in node.keywords)]
        else:
            now += [*node.args.defaults, *(d for d in node.args.kw_defaults if d is not None)]
        for value in now:
            self.expression(value)
        # whoever calls it changes what it changes
        inside = looked_up(node)
        self.flow.aliases += [(f"{node.name}()", name) for name in self.changed_in(node) & inside]
        self.flow.deferred.setdefault(node.name, set()).update(inside)
        for part in ast.walk(node):
            if isinstance(part, ast.Global):
                self.flow.binds |= set(part.names)
            self.state(part)
        self.bind(node.name, certain)

    def assignment(self, node: ast.Assign | ast.AnnAssign | ast.AugAssign, certain: bool) -> None:
        if node.value is not None:
            self.expression(node.value)
        if isinstance(node, ast.AugAssign):
            if name := root_of(node.target):
                self.read(name)
                self.flow.changes.add(name)
            self.target(node.target, certain)
            return
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            if node.value is not None:
                self.target(target, certain, node.value)
        if isinstance(node.value, ast.Lambda) and isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    self.flow.deferred.setdefault(target.id, set()).update(looked_up(node.value))

    def target(self, node: ast.expr, certain: bool, value: ast.expr | None = None) -> None:
        if isinstance(node, ast.Tuple | ast.List):
            for part in node.elts:
                self.target(part, certain, value)
        elif isinstance(node, ast.Starred):
            self.target(node.value, certain, value)
        elif isinstance(node, ast.Name):
            self.bind(node.id, certain)
            if value is not None:
                self.share(node.id, value)
        else:
            self.expression(node)
            if name := root_of(node):
                self.flow.changes.add(name)
                if value is not None:
                    self.share(name, value)
                if name in self.modules:
                    self.flow.lasting = self.flow.lasting or f"it sets {ast.unparse(node)[:60]}"

    def share(self, name: str, value: ast.expr) -> None:
        self.flow.aliases += [(name, other) for other in may_share(value) if other not in self.modules]

    def bind(self, name: str, certain: bool) -> None:
        self.flow.binds.add(name)
        if certain:
            self.flow.certain.add(name)

    def read(self, name: str) -> None:
        if name not in self.flow.certain:
            self.flow.reads.add(name)
        if name in _OPAQUE:
            self.flow.reads.add(ALL)
            self.flow.lasting = self.flow.lasting or f"it uses {name}()"

    def expression(self, node: ast.expr) -> None:
        for name in looked_up(node):
            self.read(name)
        for part in ast.walk(node):
            if isinstance(part, ast.NamedExpr):
                self.bind(part.target.id, False)
            elif isinstance(part, ast.Call):
                self.flow.changes |= self.changed(part)
            self.state(part)

    def changed_in(self, node: ast.AST) -> set[str]:
        """Return the names whose values code may change when it is called."""
        found: set[str] = set()
        for part in ast.walk(node):
            if isinstance(part, ast.Call):
                found |= self.changed(part)
            elif isinstance(part, ast.Attribute | ast.Subscript) and not isinstance(part.ctx, ast.Load):
                found.add(root_of(part))
            elif isinstance(part, ast.Global):
                found |= set(part.names)
        return found

    def changed(self, call: ast.Call) -> set[str]:
        """Return the names whose values a call may change."""
        given = {root_of(a) for a in [*call.args, *(k.value for k in call.keywords)]} - {""}
        full, function = dotted(call.func, self.modules), call.func
        if full:
            return given if _CHANGING.search(full) else set()
        if isinstance(function, ast.Name):
            return set() if function.id in _BUILT_IN | _SHOWS else given | {f"{function.id}()"}
        if not isinstance(function, ast.Attribute):
            return given
        in_place = any(k.arg == "inplace" and not _is_false(k.value) for k in call.keywords)
        if function.attr in PURE and not in_place:
            return set()
        return given | ({root_of(function)} - {""})

    def state(self, node: ast.AST) -> None:
        """Take note of what a node does that no name shows."""
        if isinstance(node, ast.Attribute | ast.Name):
            full = dotted(node, self.modules)
            for module, name in _RANDOM.items():
                if full.startswith(module + ".") or (full == module and module != "torch"):
                    self.flow.reads.add(name)
                    self.flow.changes.add(name)
        if not isinstance(node, ast.Call):
            return
        said = dotted(node.func, self.modules)
        last = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if said and _STATE.search(said):
            self.flow.lasting = self.flow.lasting or f"it calls {ast.unparse(node.func)[:60]}()"
        elif self.writes(node, said or last, last):
            self.flow.lasting, self.flow.writes = f"it may write files ({ast.unparse(node.func)[:60]})", True

    def writes(self, call: ast.Call, name: str, last: str) -> bool:
        """Say whether a call may write a file, or reach another program."""
        if last == "open":
            return any(letter in mode for mode in _modes(call) for letter in "wax+")
        given = [*call.args, *call.keywords]
        on_list = last == "remove" and isinstance(call.func, ast.Attribute) and name == last  # as of a list
        return (
            bool(_WRITES.search(name))
            and bool(given or not last.startswith("to_"))
            and not (name.startswith("sys.") or on_list)
        )


def _modes(call: ast.Call) -> Iterator[str]:
    at = 1 if isinstance(call.func, ast.Name) else 0
    for value in [*call.args[at : at + 1], *(k.value for k in call.keywords if k.arg == "mode")]:
        # a mode that is not written there may be any
        yield str(value.value) if isinstance(value, ast.Constant) else "w"


def _is_false(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is False


def may_share(node: ast.expr) -> set[str]:
    """Return the names whose values, or parts of them, an expression may give without a copy."""
    if isinstance(node, ast.Name):
        return {node.id}
    if isinstance(node, ast.Attribute | ast.Subscript | ast.Starred | ast.Await):
        return may_share(node.value)
    if isinstance(node, ast.Call):
        method = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        if method in PURE or (
            isinstance(node.func, ast.Name) and node.func.id in _BUILT_IN - {"iter", "zip", "reversed"}
        ):
            return set()
        owner = may_share(node.func.value) if isinstance(node.func, ast.Attribute) else set()
        return owner.union(*(may_share(a) for a in [*node.args, *(k.value for k in node.keywords)]))
    if isinstance(node, ast.Tuple | ast.List | ast.Set | ast.Dict | ast.IfExp | ast.BoolOp | ast.NamedExpr):
        return set().union(*(may_share(c) for c in ast.iter_child_nodes(node) if isinstance(c, ast.expr)))
    return set()


def readable(cells: Sequence[tuple[int, str]]) -> list[tuple[int, str]]:
    """Return the cells that are read: the notebook may hold any amount of code."""
    found, left = [], MOST
    for number, code in cells:
        if len(code) <= left:
            left -= len(code)
            found.append((number, code))
    return found


class Flows:
    """All cells of a notebook, as what they take and leave.

    Parameters
    ----------
    cells : sequence of (int, str)
        The 1-based number and the code of each cell that is executed, in order.
    """

    def __init__(self, cells: Sequence[tuple[int, str]]) -> None:
        self.read = readable(cells)
        self.modules = modules_of(tree_of(code) for _, code in self.read)
        self.cells = {number: Flow({ALL}, lasting="it is too long to be read") for number, _ in cells}
        self.cells |= {number: flow_of(code, self.modules) for number, code in self.read}
        self._deferred: dict[str, set[str]] = {}
        for flow in self.cells.values():
            for name, reads in flow.deferred.items():
                self._deferred.setdefault(name, set()).update(reads)
        self._groups = _groups(pair for flow in self.cells.values() for pair in flow.aliases)

    def reads(self, number: int) -> set[str]:
        """Return what a cell needs from above, what the functions that it uses look up included."""
        flow = self.cells[number]
        waiting, found = [*flow.reads, *(n for n in flow.certain if n in self._deferred)], set(flow.reads)
        seen: set[str] = set()
        while waiting:
            name = waiting.pop()
            if name in seen:
                continue
            seen.add(name)
            more = self._deferred.get(name, set())
            waiting += more
            found |= more - flow.certain
        return found

    def needed(self, targets: Iterable[int], lasting: bool = True) -> set[int]:
        """Return the numbers of the cells that the cells `targets` need, themselves included.

        Parameters
        ----------
        targets : iterable of int
            Numbers of cells.
        lasting : bool
            Cells above with an effect that no name shows are needed too.
        """
        kept, wanted, targets = set[int](), set[str](), set(targets)
        for number in reversed(self.cells):
            flow = self.cells[number]
            stays = flow.lasting and lasting and kept
            if not (number in targets or stays or ((ALL in wanted or self._leaves(flow) & wanted) and kept)):
                continue
            kept.add(number)
            wanted = (wanted - (flow.certain - flow.changes)) | self.reads(number)
        return kept

    def _leaves(self, flow: Flow) -> set[str]:
        return flow.binds | flow.changes.union(*(self._groups.get(name, set()) for name in flow.changes))


def _groups(pairs: Iterable[tuple[str, str]]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for a, b in pairs:
        merged = found.get(a, {a}) | found.get(b, {b})
        for name in merged:
            found[name] = merged
    return found
