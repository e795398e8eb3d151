"""How fast the user's values reach the code."""

from __future__ import annotations

import pickle
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
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


def values(quick: bool) -> Iterator[Row]:
    """`Sandbox.put`, against a pickle sent over a socket to another Python."""
    size = (20 if quick else 100) * MIB
    given = {f"ndarray of {size // MIB} MiB": numpy.random.default_rng(1).random(size // 8)}
    given |= {f"DataFrame of {size // MIB} MiB": table(size), "an int": 1}
    receiver = Receiver()
    try:
        with Sandbox(SandboxPolicy(workspace=None)) as sandbox:
            for what, value in given.items():
                found = interleave(
                    5 if quick else 15,
                    put=lambda value=value: milliseconds(lambda: sandbox.put("value", value)),
                    pickle=lambda value=value: milliseconds(lambda: receiver.put(value)),
                )
                yield Row(f"put, {what}", "ms", found["put"], "pickle over a socket", found["pickle"])
                sandbox.reset()
    finally:
        receiver.close()
