"""`jupyter codeagent minimise`: a notebook without the cells that its result does not need, verified and stamped."""

from __future__ import annotations

import sys
from argparse import Namespace
from dataclasses import asdict
from pathlib import Path

from jupyter_codeagent.commands import write_json
from jupyter_codeagent.minimise import minimise_notebook
from jupyter_codeagent.notebook_file import folder_of
from jupyter_codeagent.sandbox import SandboxPolicy
from jupyter_codeagent.terminal import Terminal, visible
from jupyter_codeagent.verify import verify_notebook


def run_minimise(options: Namespace) -> int:
    """Carry out the sub-command; returns the exit status."""
    notebook = Path(options.notebook)
    policy = SandboxPolicy(
        workspace=folder_of(notebook),
        memory=options.memory,
        timeout=options.timeout,
        files=tuple(str(Path(f).expanduser().resolve()) for f in options.files),
    )
    with Terminal() as view:
        view.wait(f"a fresh sandbox for {options.notebook} is made ready")

        def tell(done: int, total: int) -> None:
            view.step(f"cell {min(done + 1, total)} of {total}")

        found = minimise_notebook(notebook, options.output, options.keep, policy, tell)
        report = verify_notebook(found.path, policy, tell)
    if options.json:
        write_json({"version": 1, "ok": report.ok, **asdict(found), "verified": report.to_dict()})
    else:
        sys.stdout.write(visible(f"{found}\n{report}\n"))
    return 0 if report.ok else 1
