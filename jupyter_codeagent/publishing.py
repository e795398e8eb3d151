"""What the sandbox put out, as outputs of the current cell."""

from __future__ import annotations

import sys
from typing import Any

from IPython.display import display

from jupyter_codeagent.notebook import plain_outputs
from jupyter_codeagent.page import fragment
from jupyter_codeagent.render import colour_only, own_frames
from jupyter_codeagent.trajectory import Observation, Output


def publish(seen: Observation, kernel: Any = None) -> None:
    """Show what came of executing code in the sandbox.

    Parameters
    ----------
    seen : Observation
        What came of it.
    kernel : Kernel or None
        Where the page shows attempts as cells: outputs then look as those that it has put there itself.
    """
    for note in seen.notes:
        print(note)  # noqa: T201 - this is the cell's output
    publish_outputs(seen, kernel)
    if seen.error is not None:
        print("The sandbox is as it was before this code.", file=sys.stderr)  # noqa: T201


def publish_outputs(seen: Observation, kernel: Any = None) -> None:
    """Show the outputs alone; parameters as for `publish`."""
    for output in plain_outputs(seen.outputs):
        if output["output_type"] == "stream":
            stream = sys.stderr if output["name"] == "stderr" else sys.stdout
            print(colour_only(output["text"]), end="", file=stream)
        elif kernel is not None:
            _as_it_is(output, kernel)
        elif output["output_type"] == "error":
            # as text, since some who run notebooks take an error among the outputs for a failed run
            print(colour_only(own_frames(output["traceback"])), file=sys.stderr)  # noqa: T201
        else:
            display(fragment(output), raw=True)


def _as_it_is(output: Output, kernel: Any) -> None:
    if output["output_type"] != "error":
        display(output["data"], raw=True)
        return
    sys.stdout.flush()
    sys.stderr.flush()
    content = {name: output[name] for name in ("ename", "evalue", "traceback")}
    kernel.send_response(kernel.iopub_socket, "error", content)  # the cell itself has not failed
