"""What verifying a notebook takes beyond executing it."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measure import Row, interleave, settled

CELLS = (
    "import pandas as pd",
    "df = pd.DataFrame({'a': range(100), 'b': range(100)})",
    *(f"df['c{n}'] = df.a * {n}\ndf.describe()" for n in range(10)),
    "print(df.sum().sum())",
)
EXECUTE = """
import sys, nbformat
from nbclient import NotebookClient
NotebookClient(nbformat.read(sys.argv[1], 4)).execute()
"""
WRITE = EXECUTE.replace("NotebookClient(nbf", "done = NotebookClient(nbf") + "nbformat.write(done, sys.argv[1])\n"
VERIFY = """
import sys
from jupyter_codeagent import verify_notebook
report = verify_notebook(sys.argv[1])
assert report.ok and len(report.stamp["hash"]) == 32, report
"""


def verifying(quick: bool) -> Iterator[Row]:
    """A notebook of pandas verified and stamped, against the same executed by nbclient, each in a new process."""
    from nbformat import v4, write

    with tempfile.TemporaryDirectory(prefix="bench") as folder:
        path = Path(folder, "n.ipynb")
        write(v4.new_notebook(cells=[v4.new_code_cell(source) for source in CELLS]), path)
        seconds(WRITE, path)
        found = interleave(
            3 if quick else 9,
            nbclient=lambda: seconds(EXECUTE, path),
            verify=lambda: seconds(VERIFY, path),
        )
    added = [own - other for own, other in zip(found["verify"], found["nbclient"], strict=True)]
    note = "one run with comparison and stamp, starts of Python and imports included on both sides"
    yield Row("verify_notebook, a new process", "s", found["verify"], "nbclient", found["nbclient"], note=note)
    yield Row("verify_notebook beyond nbclient", "s", added, bar=0.5)


def seconds(code: str, path: Path) -> float:
    """Time a program from its start to its end."""
    with settled():
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", code, str(path)], check=True, capture_output=True)
        return time.perf_counter() - began
