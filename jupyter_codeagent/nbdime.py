"""The saved notebook beside its fresh run as nbdime shows it, where that is installed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from jupyter_codeagent.notebook import outputs_of
from jupyter_codeagent.notebook_file import read_notebook, write_notebook
from jupyter_codeagent.trajectory import Observation, Output

PATIENCE = 120  # seconds that nbdime may take


def installed() -> bool:
    """Tell whether nbdime can be used."""
    return find_spec("nbdime") is not None


def differences(path: str | Path, fresh: Mapping[int, Sequence[Output]]) -> str:
    """Return what nbdime says of a notebook and its fresh run, or a sentence where it cannot say anything.

    Both are given to it as copies in a temporary folder; it opens nothing.

    Parameters
    ----------
    path : str or Path
        The notebook.
    fresh : mapping
        The outputs of the fresh run, by the 1-based numbers of the cells.
    """
    if not installed():
        return "nbdime is not installed here: pip install nbdime, or use --diff."
    notebook = read_notebook(path)
    with TemporaryDirectory() as folder:
        saved, other = Path(folder, "saved.ipynb"), Path(folder, "fresh.ipynb")
        write_notebook(notebook, saved)
        for number, outputs in fresh.items():
            notebook.cells[number - 1].outputs = outputs_of(Observation(list(outputs)))
        write_notebook(notebook, other)
        # -P: what lies in the working folder is no module
        command = [sys.executable, "-P", "-m", "nbdime.nbdiffapp", "--outputs", "--no-color", saved.name, other.name]
        try:
            done = subprocess.run(command, cwd=folder, capture_output=True, timeout=PATIENCE, check=False)
        except subprocess.TimeoutExpired:
            return f"nbdime took more than {PATIENCE} s and was ended; use --diff."
    said = done.stdout.decode("utf-8", "replace")
    complaint = done.stderr.decode("utf-8", "replace").strip().splitlines()
    if done.returncode and not said:
        return f"nbdime failed: {complaint[-1] if complaint else 'it gave no reason'}"
    return said
