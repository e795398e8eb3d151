"""Why code may give something else each time, read from it: the clock, unseeded random numbers, order, the network.

Nothing is executed. A cause is what a reader would point at: a call, with its cell and line. That two runs did differ
is found by running; this says what to look at.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from jupyter_codeagent.dataflow import Flows
from jupyter_codeagent.source import dotted, root_of, tree_of

_TIME = re.compile(
    r"^(?:time\.(?:time|time_ns|perf_counter|perf_counter_ns|monotonic|monotonic_ns|process_time|process_time_ns|ctime"
    r"|localtime|gmtime|strftime)|datetime\.(?:datetime\.(?:now|today|utcnow)|date\.today)"
    r"|pandas\.(?:Timestamp|Period)\.(?:now|today|utcnow)|timeit\.(?:timeit|repeat|default_timer))$"
)
_GIVEN_A_TIME = {"time.ctime": 1, "time.localtime": 1, "time.gmtime": 1, "time.strftime": 2}  # with so many arguments
_SYSTEM_RANDOM = re.compile(r"^(?:uuid\.uuid[14]|secrets\.\w+|os\.(?:urandom|getrandom)|random\.SystemRandom)$")
_NETWORK = re.compile(
    r"^(?:requests|httpx|aiohttp|urllib3|yfinance|wget|ftplib|smtplib|paramiko|boto3|websockets?|huggingface_hub)\.\w"
    r"|^urllib\.request\.|^http\.client\.|^socket\.(?:socket|create_connection|getaddrinfo|gethostbyname)$"
    r"|^sklearn\.datasets\.fetch_|^seaborn\.load_dataset$|^datasets\.load_dataset$|^pandas_datareader\."
)
_LOGGED = {
    "time": re.compile(r"%\((?:asctime|created|msecs|relativeCreated)\)|\{(?:asctime|created|msecs|relativeCreated)\b"),
    "machine": re.compile(r"%\((?:process|thread)\)|\{(?:process|thread)\}"),
}
_SHELL_DATE = re.compile(r"^\s*(?:\w+\s*=\s*)?[!%]{1,2}\s*date\b", re.M)
_SHELL_NETWORK = re.compile(r"^\s*[!%]{1,2}\s*(?:curl|wget|git\s+clone|ssh|scp|rsync)\b", re.M)
_COMMANDS = re.compile(r"^(?:subprocess\.(?:run|call|check_output|getoutput|Popen)|os\.(?:system|popen))$")
_LISTING = re.compile(r"^(?:os\.(?:listdir|scandir|walk)|glob\.i?glob)$")
_LISTING_METHODS = {"iterdir", "rglob", "glob"}
_MACHINE = re.compile(
    r"^(?:os\.(?:environ|environb|getenv|getpid|getppid|getcwd|cpu_count|getlogin|uname)|platform\.\w+|getpass\.getuser"
    r"|socket\.gethostname|threading\.(?:get_ident|get_native_id)|multiprocessing\.cpu_count|pathlib\.Path\.(?:cwd|home)"
    r"|tempfile\.\w+|psutil\.\w+)$"
)
_THREADS = re.compile(
    r"^(?:concurrent\.futures\.as_completed|asyncio\.(?:as_completed|wait)|multiprocessing\.(?:Pool|Process)"
    r"|threading\.Thread)$"
)
_DRAWING = re.compile(
    r"^(?:train_test_split|shuffle|resample|make_(?:classification|regression|blobs|moons|circles|\w+)|ShuffleSplit"
    r"|StratifiedShuffleSplit|GroupShuffleSplit|RepeatedK\w+|RandomForest\w+|ExtraTrees?\w+|GradientBoosting\w+"
    r"|HistGradientBoosting\w+|DecisionTree\w+|MLP\w+|KMeans|MiniBatchKMeans|BisectingKMeans|SGD\w+|GaussianMixture"
    r"|BayesianGaussianMixture|TSNE|MDS|IsolationForest|RandomizedSearchCV|Bagging\w+|AdaBoost\w+|Perceptron"
    r"|PassiveAggressive\w+|TruncatedSVD|FastICA|LatentDirichletAllocation|permutation_importance|SpectralClustering)$"
)
_SPLITTING = re.compile(r"^(?:KFold|StratifiedKFold|StratifiedGroupKFold)$")  # they draw where shuffle=True
_TAKES_ORDER = {"list", "tuple", "enumerate", "iter", "next", "str", "repr", "print", "display", "map", "zip", "filter"}
_NO_ORDER = {"sorted", "len", "sum", "min", "max", "any", "all", "set", "frozenset"}
_ARRAYS = re.compile(r"^(?:numpy\.(?:array|fromiter)|pandas\.(?:Series|DataFrame|Index)|itertools\.\w+|json\.dumps)$")

_SAID = {
    "time": "the clock",
    "random": "random numbers without a seed",
    "order": "the order of a set",
    "files": "the order in which files are listed",
    "hash": "numbers that Python gives anew in each process",
    "network": "the network",
    "machine": "what is another on each machine or in each process",
    "threads": "the order in which threads or processes end",
}
_ADVICE = {
    "time": "give the moment as a value",
    "random": "set a seed",
    "order": "sort it",
    "files": "sort them",
    "hash": "leave them out",
    "network": "save the data beside the notebook",
    "machine": "give it as a value",
    "threads": "sort what they give",
}


@dataclass(frozen=True)
class Cause:
    """Something in the code that may differ from run to run.

    Parameters
    ----------
    cell, line : int
        Where it stands, both counted from 1; the cell over all cells of the notebook.
    kind : str
        "time", "random", "order" (of a set), "files" (their order), "hash", "network", "machine" or "threads".
    what : str
        As it is written, such as ``np.random.rand``.
    """

    cell: int
    line: int
    kind: str
    what: str

    def __str__(self) -> str:
        return f"{_SAID[self.kind]} ({self.what} in cell {self.cell})"


def because(causes: Iterable[Cause]) -> str:
    """Return what is used and what to do, such as "it uses the clock (time.time in cell 2); give the moment ..."."""
    first = {cause.kind: cause for cause in reversed(list(causes))}
    kinds = [kind for kind in _SAID if kind in first][:3]
    return f"it uses {' and '.join(str(first[k]) for k in kinds)}; {' and '.join(_ADVICE[k] for k in kinds)}"


class Causes:
    """The causes in all cells of a notebook, and which of them reach a cell.

    Parameters
    ----------
    cells : sequence of (int, str)
        The 1-based number and the code of each cell that is executed, in order.
    """

    def __init__(self, cells: Sequence[tuple[int, str]]) -> None:
        self.flows = Flows(cells)
        cells = self.flows.read
        seeds = _Seeds(cells, self.flows.modules)
        sets, ordered = _named_sets(cells, self.flows.modules), _sorted_names(cells)
        found: list[Cause] = []
        for number, code in cells:
            tree = tree_of(code)
            if tree is not None:
                found += _Finder(number, tree, self.flows.modules, seeds, sets, ordered).found()
            found += [Cause(number, 1, "network", m.group().strip()[:40]) for m in _SHELL_NETWORK.finditer(code)]
            found += [Cause(number, 1, "time", m.group().strip()[:40]) for m in _SHELL_DATE.finditer(code)]
        self.all = tuple(sorted(set(found), key=lambda c: (c.cell, c.line, c.kind, c.what)))

    def of(self, number: int) -> list[Cause]:
        """Return the causes in a cell and in those that it needs, the nearest first."""
        feeding = self.flows.needed([number], lasting=False)
        return [c for c in sorted(self.all, key=lambda c: -c.cell) if c.cell in feeding]


class _Seeds:
    """Where random numbers are made to be the same each time."""

    def __init__(self, cells: Sequence[tuple[int, str]], modules: dict[str, str]) -> None:
        self.places: dict[str, tuple[int, int]] = {}
        for number, code in cells:
            tree = tree_of(code)
            for node in ast.walk(tree) if tree else ():
                if isinstance(node, ast.Call) and (family := _seeded(node, modules)):
                    for one in family:
                        self.places.setdefault(one, (number, node.lineno))

    def before(self, family: str, cell: int, line: int, within_function: bool) -> bool:
        """Say whether a seed of this family comes before a place; what a function draws, it draws later."""
        place = self.places.get(family)
        return place is not None and (within_function or place <= (cell, line))


def _seeded(call: ast.Call, modules: dict[str, str]) -> tuple[str, ...]:
    name = dotted(call.func, modules)
    if not name or not (call.args or call.keywords) or _is_none(call.args[0] if call.args else call.keywords[0].value):
        return ()
    if name in ("random.seed", "numpy.random.seed"):
        return (name.rpartition(".")[0],)
    if name in ("torch.manual_seed", "torch.random.manual_seed"):
        return ("torch",)
    if name in ("tensorflow.random.set_seed", "polars.set_random_seed"):
        return (name.partition(".")[0],)
    everything = re.search(r"(?:set_random_seed|seed_everything|set_seed)$", name)
    return ("random", "numpy.random", "torch", "tensorflow") if everything else ()


def _is_none(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


class _Finder:
    """Looks for causes in one cell."""

    def __init__(
        self, cell: int, tree: ast.Module, modules: dict[str, str], seeds: _Seeds, sets: set[str], ordered: set[str]
    ) -> None:
        self.cell, self.tree, self.modules, self.seeds = cell, tree, modules, seeds
        self.sets, self.ordered = sets, ordered
        self.parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}

    def found(self) -> Iterator[Cause]:
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call):
                yield from self.call(node)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield from self.logged(node, node.value)
            elif isinstance(node, ast.Attribute) and dotted(node, self.modules) == "os.environ":
                if isinstance(getattr(self.parents.get(node), "ctx", None), ast.Load):
                    yield self.cause(node, "machine", node)
            elif isinstance(node, ast.For | ast.AsyncFor | ast.comprehension) and self.is_set(node.iter):
                if not self.order_is_lost(self.parents.get(node) if isinstance(node, ast.comprehension) else None):
                    yield self.cause(node.iter, "order", node.iter)
            elif isinstance(node, ast.FormattedValue | ast.Starred) and self.is_set(node.value):
                yield self.cause(node.value, "order", node.value)

    def cause(self, at: ast.expr, kind: str, what: ast.AST) -> Cause:
        return Cause(self.cell, at.lineno, kind, ast.unparse(what).split("\n")[0][:60])

    def logged(self, node: ast.Constant, text: str) -> Iterator[Cause]:
        """Yield what the format of a log puts into each line."""
        for kind, pattern in _LOGGED.items() if "(" in text or "{" in text else ():
            if match := pattern.search(text[:1000]):
                yield Cause(self.cell, node.lineno, kind, match.group().lstrip("{").rstrip("}"))

    def call(self, node: ast.Call) -> Iterator[Cause]:
        name = dotted(node.func, self.modules)
        kind = self.kind_of(name, node) if name else ""
        if not kind and (self.draws(node, name) or (name and self.draws_from_module(node, name))):
            kind = "random"
        if not kind and (self.takes_order(node, name)):
            argument = next(a for a in [*node.args, getattr(node.func, "value", None)] if a and self.is_set(a))
            yield self.cause(node, "order", argument)
        if not kind and isinstance(node.func, ast.Name) and node.func.id in ("hash", "id") and node.args:
            kind = "" if node.func.id == "hash" and _is_number(node.args[0]) else "hash"
        if not kind and self.lists_files(node, name):
            kind = "files"
        if kind:
            yield self.cause(node, kind, node.func)

    def kind_of(self, name: str, node: ast.Call) -> str:
        count = len(node.args) + len(node.keywords)
        if _TIME.match(name):
            return "" if count >= _GIVEN_A_TIME.get(name, 99) else "time"
        if name in ("numpy.datetime64", "pandas.to_datetime", "pandas.Timestamp") and _is_now(node):
            return "time"
        if _COMMANDS.match(name) and _runs_date(node):
            return "time"
        if _SYSTEM_RANDOM.match(name):
            return "random"
        if _NETWORK.match(name) or (name.startswith(("pandas.read_", "polars.read_")) and _reads_address(node)):
            return "network"
        if _MACHINE.match(name):
            return "machine"
        return "threads" if _THREADS.match(name) else ""

    def draws_from_module(self, node: ast.Call, name: str) -> bool:
        """Say whether a call draws from the generator of a module that has not been given a seed."""
        module, _, last = name.rpartition(".")
        if last in ("default_rng", "RandomState", "Random", "Generator", "PCG64", "SeedSequence"):
            given = [*node.args, *(k.value for k in node.keywords)]
            return module in ("numpy.random", "random") and (not given or _is_none(given[0]))
        if module in ("random", "numpy.random") and last not in (
            "seed",
            "getstate",
            "setstate",
            "get_state",
            "set_state",
        ):
            return not self.is_seeded(module, node)
        if module == "torch" and re.match(r"rand|normal$|bernoulli$|multinomial$", last):
            return not self.is_seeded("torch", node)
        return module == "tensorflow.random" and last != "set_seed" and not self.is_seeded("tensorflow", node)

    def draws(self, node: ast.Call, name: str) -> bool:
        """Say whether a call draws random numbers unless it is told a ``random_state``, and is not."""
        state = next((k.value for k in node.keywords if k.arg in ("random_state", "seed")), None)
        if any(k.arg is None for k in node.keywords) or (state is not None and not _is_none(state)):
            return False
        last = name.rpartition(".")[2] or (node.func.attr if isinstance(node.func, ast.Attribute) else "")
        method = not name and isinstance(node.func, ast.Attribute)
        library = name.startswith(("sklearn.", "imblearn."))
        shuffles = any(k.arg == "shuffle" and not _is_false(k.value) for k in node.keywords)
        drawing = (library and (_DRAWING.match(last) or (_SPLITTING.match(last) and shuffles))) or (
            (method and last == "sample" and (not node.args or node.keywords or _is_number(node.args[0])))
            or (last == "rvs" and (name.startswith("scipy.stats") or method))
        )
        if library and last == "train_test_split":
            drawing = not any(k.arg == "shuffle" and _is_false(k.value) for k in node.keywords)
        return bool(drawing) and not self.is_seeded("numpy.random", node)

    def is_seeded(self, family: str, node: ast.Call) -> bool:
        return self.seeds.before(family, self.cell, node.lineno, self.within_function(node))

    def within_function(self, node: ast.AST | None) -> bool:
        while node is not None and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            node = self.parents.get(node)
        return node is not None

    def takes_order(self, node: ast.Call, name: str) -> bool:
        """Say whether a call makes something of a set in which its order shows."""
        function = node.func
        if isinstance(function, ast.Name) and function.id in _TAKES_ORDER and not name:
            return any(self.is_set(a) for a in node.args) and not self.order_is_lost(self.parents.get(node))
        if isinstance(function, ast.Attribute) and not name:
            joins = function.attr in ("join", "extend") and any(self.is_set(a) for a in node.args)
            return joins or (function.attr == "pop" and not node.args and self.is_set(function.value))
        return bool(_ARRAYS.match(name)) and any(self.is_set(a) for a in node.args)

    def order_is_lost(self, node: ast.AST | None) -> bool:
        """Say whether what a value is given to does not care for its order."""
        while isinstance(node, ast.GeneratorExp | ast.ListComp | ast.Starred | ast.SetComp | ast.Call):
            if isinstance(node, ast.SetComp):
                return True
            if isinstance(node, ast.Call):
                last = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                if last not in _TAKES_ORDER - {"print", "display", "str", "repr"}:
                    return last in _NO_ORDER
            node = self.parents.get(node)
        names = [t.id for t in getattr(node, "targets", []) if isinstance(t, ast.Name)]
        return bool(names) and set(names) <= self.ordered

    def is_set(self, node: ast.expr) -> bool:
        return _is_set(node, self.sets, self.modules)

    def lists_files(self, node: ast.Call, name: str) -> bool:
        method = not name and isinstance(node.func, ast.Attribute) and node.func.attr in _LISTING_METHODS
        if not (method or _LISTING.match(name)):
            return False
        above: ast.AST | None = self.parents.get(node)
        while isinstance(
            above, ast.Call | ast.GeneratorExp | ast.ListComp | ast.comprehension | ast.Starred | ast.Attribute
        ):
            if isinstance(above, ast.Call) and isinstance(above.func, ast.Name) and above.func.id in _NO_ORDER:
                return False
            above = self.parents.get(above)
        names = [t.id for t in getattr(above, "targets", []) if isinstance(t, ast.Name)]
        return not (names and set(names) <= self.ordered)


def _is_set(node: ast.expr, sets: set[str], modules: dict[str, str]) -> bool:
    """Say whether an expression is a set whose order is not the same each time: not one of whole numbers."""
    if isinstance(node, ast.Set):
        return not all(_is_number(part) for part in node.elts)
    if isinstance(node, ast.SetComp):
        return True
    if isinstance(node, ast.Name):
        return node.id in sets
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr | ast.BitAnd | ast.Sub | ast.BitXor):
        return _is_set(node.left, sets, modules) or _is_set(node.right, sets, modules)
    if not isinstance(node, ast.Call):
        return False
    if isinstance(node.func, ast.Name) and node.func.id in ("set", "frozenset") and node.func.id not in modules:
        whole = (
            bool(node.args) and isinstance(node.args[0], ast.Call) and getattr(node.args[0].func, "id", "") == "range"
        )
        return bool(node.args) and not whole
    methods = ("union", "intersection", "difference", "symmetric_difference", "copy")
    return (
        isinstance(node.func, ast.Attribute) and node.func.attr in methods and _is_set(node.func.value, sets, modules)
    )


def _named_sets(cells: Sequence[tuple[int, str]], modules: dict[str, str]) -> set[str]:
    """Return the names that only ever stand for sets."""
    sets: set[str] = set()
    others: set[str] = set()
    empty: set[str] = set()
    for node in (n for _, code in cells for n in ast.walk(tree_of(code) or ast.Module([], []))):
        if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
            continue
        made_empty = isinstance(node.value, ast.Call) and ast.unparse(node.value) in ("set()", "frozenset()")
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            if isinstance(target, ast.Name):
                group = sets if _is_set(node.value, sets, modules) else empty if made_empty else others
                group.add(target.id)
    return (sets | empty) - others


def _sorted_names(cells: Sequence[tuple[int, str]]) -> set[str]:
    """Return the names whose values are sorted somewhere."""
    found: set[str] = set()
    for node in (n for _, code in cells for n in ast.walk(tree_of(code) or ast.Module([], []))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "sort":
            found.add(root_of(node.func))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _NO_ORDER and node.args:
            found.add(root_of(node.args[0]))
    return found


def _is_number(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, int | float)


def _is_false(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is False


def _is_now(call: ast.Call) -> bool:
    first = call.args[0] if call.args else None
    return isinstance(first, ast.Constant) and first.value in ("now", "today")


def _runs_date(call: ast.Call) -> bool:
    first = call.args[0] if call.args else None
    first = first.elts[0] if isinstance(first, ast.List | ast.Tuple) and first.elts else first
    text = first.value if isinstance(first, ast.Constant) else None
    return isinstance(text, str) and bool(re.match(r"\s*(?:/(?:usr/)?bin/)?date\b", text))


def _reads_address(call: ast.Call) -> bool:
    first = call.args[0] if call.args else None
    return isinstance(first, ast.Constant) and bool(re.match(r"(?:https?|ftp|s3|gs)://", str(first.value)))
