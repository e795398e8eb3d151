"""How fast the user's values reach the code."""

from __future__ import annotations

import pickle
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy
import pandas

from benchmarks.measure import Row, interleave, milliseconds
from jupyter_codeagent.sandbox import Sandbox, SandboxPolicy

MIB = 2**20
RECEIVER = """
import pickle, socket, struct, sys
end = socket.socket(fileno=int(sys.argv[1]))
file = end.makefile("rb")
while header := file.read(8):
    value = pickle.loads(file.read(struct.unpack(">Q", header)[0]))
    end.sendall(b"k")
    del value
"""


def table(size: int) -> pandas.DataFrame:
    """Return a table of about `size` bytes: dates, numbers, and a column of short texts."""
    rows = size // 40
    random = numpy.random.default_rng(1)
    return pandas.DataFrame(
        {
            "when": pandas.date_range("2020-01-01", periods=rows, freq="min"),
            "units": random.integers(0, 1000, rows),
            "price": random.random(rows),
            "region": random.choice(numpy.array(["North", "South", "East", "West"]), rows),
        }
    )


def texts(size: int, kind: str) -> pandas.DataFrame:
    """Return a table of five columns of different texts, of about `size` bytes where Arrow keeps them."""
    rows = size // 5 // 24
    numbers = numpy.random.default_rng(1).integers(0, 10**9, (5, rows))
    columns = {f"column {n}": [f"item {number}" for number in row] for n, row in enumerate(numbers.tolist())}
    return pandas.DataFrame(columns, dtype=kind)


class Receiver:
    """A plain Python that rebuilds pickles from a socket, and says so."""

    def __init__(self) -> None:
        self.end, theirs = socket.socketpair()
        command = [sys.executable, "-c", RECEIVER, str(theirs.fileno())]
        self.process = subprocess.Popen(command, pass_fds=[theirs.fileno()])
        theirs.close()

    def put(self, value: Any) -> None:
        """Send a value and wait until it is there."""
        data = pickle.dumps(value, protocol=5)
        self.end.sendall(struct.pack(">Q", len(data)))
        self.end.sendall(data)
        assert self.end.recv(1) == b"k"

    def close(self) -> None:
        """End it."""
        self.end.close()
        self.process.wait()


def change(value: Any) -> None:
    """Change one element in place."""
    if isinstance(value, pandas.DataFrame):
        value.iloc[0, -1] = value.iloc[1, -1] if value.iloc[0, -1] != value.iloc[1, -1] else value.iloc[2, -1]
    else:
        value[0] += 1


def put(sandbox: Sandbox, value: Any) -> float:
    """Return how long a value takes that has changed; its last copy inside is gone, and with it its memory."""
    change(value)
    sandbox.execute("value = None")
    return milliseconds(lambda: sandbox.put("value", value))


def values(quick: bool) -> Iterator[Row]:
    """`Sandbox.put` and `Sandbox.fetch`, against a pickle sent over a socket to another Python, and one memcpy."""
    size, rounds = ((20 if quick else 500) * MIB, 3 if quick else 5)
    numbers = numpy.random.default_rng(1).random(size // 8)
    target = numpy.empty_like(numbers)
    given = {
        "ndarray": numbers,
        "DataFrame": table(size),
        "5 columns of texts": texts(size // 2, "str"),
        "5 columns of texts as objects": texts(size // 8, "object"),
    }
    receiver = Receiver()
    try:
        with Sandbox(SandboxPolicy(workspace=None, memory=8 * 2**30, disk=2**30)) as sandbox:
            sandbox.execute("import pandas")
            for what, value in given.items():
                yield from one(sandbox, receiver, what, value, lambda: numpy.copyto(target, numbers), rounds)
                sandbox.reset()
                sandbox.execute("import pandas")
    finally:
        receiver.close()


def one(
    sandbox: Sandbox, receiver: Receiver, what: str, value: Any, copy: Callable[[], None], rounds: int
) -> Iterator[Row]:
    """Measure one value on its way in, in again unchanged, and out."""
    found = interleave(
        rounds,
        put=lambda: put(sandbox, value),
        again=lambda: milliseconds(lambda: sandbox.put("value", value)),
        fetch=lambda: milliseconds(lambda: sandbox.fetch("value")),
        memcpy=lambda: milliseconds(copy),
        pickle=lambda: milliseconds(lambda: receiver.put(value)),
    )
    held = value.memory_usage(deep=True).sum() if isinstance(value, pandas.DataFrame) else value.nbytes
    what = f"{what}, {held // MIB} MiB"
    yield Row(f"put, {what}", "ms", found["put"], "pickle over a socket", found["pickle"], bar=1 / 3)
    if isinstance(value, numpy.ndarray):
        yield Row(f"put, {what}", "ms", found["put"], "one memcpy", found["memcpy"], bar=8)
        yield Row(f"put again, {what}", "ms", found["again"], "one memcpy", found["memcpy"])
    yield Row(f"put again, {what}", "ms", found["again"], "the first put", found["put"], note="it has not changed")
    yield Row(f"fetch, {what}", "ms", found["fetch"], "pickle over a socket", found["pickle"])
