"""The kernel: Jupyter's requests in, and what the sandbox says to them out."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from ipykernel.ipkernel import IPythonKernel
from IPython.core.error import UsageError
from traitlets import Float, Integer, Type

from jupyter_codeagent import __version__
from jupyter_codeagent.errors import CodeAgentError, WrongUse
from jupyter_codeagent.kernel import early
from jupyter_codeagent.kernel.growth import Growth
from jupyter_codeagent.kernel.lines import Command, commands
from jupyter_codeagent.kernel.settings import configure
from jupyter_codeagent.kernel.shell import Shell
from jupyter_codeagent.kernel.undo import Undo
from jupyter_codeagent.ran import History
from jupyter_codeagent.sandbox import Sandbox, SandboxPolicy, answers, hosting
from jupyter_codeagent.sandbox.execution import Manner
from jupyter_codeagent.trajectory import CodeError, Observation, Output

if TYPE_CHECKING:
    from jupyter_codeagent.kernel.desk import NotebookDesk
    from jupyter_codeagent.magic import AgentMagics

BANNER = """Python {python} in a sandbox of jupyter_codeagent {version}
Cells see the working folder and change nothing outside; %undo takes the last cell back.
"""
LEAVING = ("exit", "quit", "exit()", "quit()")  # what a person types in a console
Content = dict[str, Any]


class SandboxKernel(IPythonKernel):
    """A Jupyter kernel whose cells run in a `Sandbox`.

    This process is trusted: text of cells is compared, stored and passed on here, never executed or expanded. What
    comes back has passed the gate.
    """

    shell_class = Type(Shell)
    implementation = "jupyter_codeagent"
    implementation_version = __version__

    memory = Integer(early.MEMORY, min=2**28, help="Bytes of memory for the cells.").tag(config=True)
    timeout = Float(early.TIMEOUT, min=0.1, help="Seconds that one cell may take; a person can interrupt it.").tag(
        config=True
    )
    disk = Integer(early.DISK, min=2**20, help="Bytes that cells may write to temporary folders.").tag(config=True)
    output = Integer(early.OUTPUT, min=1024, help="Bytes of output accepted from one cell.").tag(config=True)
    process_limit = Integer(early.PROCESSES, min=8, help="Processes and threads at most, at one time.").tag(config=True)
    undo_depth = Integer(20, min=1, max=1000, help="Cells that %undo can take back.").tag(config=True)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.sandbox = early.take(self.policy) or Sandbox(self.policy)
        self.undo = Undo(self.sandbox, self.undo_depth)
        self.started = time.time()
        self.turn = threading.RLock()  # held while a cell runs
        self._loading = threading.Lock()
        self._magics: tuple[AgentMagics, NotebookDesk] | None = None
        self._failure: tuple[str, CodeError] | None = None  # the cell that failed last
        self.history = History(self.shell)
        hosting.register(self.comm_manager)
        threading.Thread(target=self._start_sandbox, name="codeagent-start", daemon=True).start()

    @property
    def policy(self) -> SandboxPolicy:
        """What the cells may do, as configured; the working folder is the kernel's."""
        return replace(
            early.default(),
            memory=self.memory,
            timeout=self.timeout,
            disk=self.disk,
            output=self.output,
            processes=self.process_limit,
        )

    def _start_sandbox(self) -> None:
        with contextlib.suppress(CodeAgentError):  # the first cell says it, where it is seen
            self.sandbox.start()
        import jupyter_codeagent.kernel.loading  # noqa: F401 - so that it is quick when it is needed

    @property
    def magics(self) -> tuple[AgentMagics, NotebookDesk]:
        """Our magics, and what they work with; loaded at the first use."""
        with self._loading:
            if self._magics is None:
                from jupyter_codeagent.kernel.loading import load_magics  # takes longer than what every cell needs

                self._magics = load_magics(self)
            return self._magics

    @property
    def banner(self) -> str:
        """What `jupyter console` shows first."""
        return BANNER.format(python=sys.version.split()[0], version=__version__)

    @property
    def kernel_info(self) -> Content:
        """What the kernel is."""
        info: Content = super().kernel_info
        info["supported_features"] = [name for name in info["supported_features"] if name != "debugger"]
        return info

    # -- executing --------------------------------------------------------------------------------

    async def do_execute(
        self,
        code: str,
        silent: bool,
        store_history: bool = True,
        user_expressions: dict[str, str] | None = None,
        allow_stdin: bool = False,
        *,
        cell_meta: Any = None,
        cell_id: Any = None,
    ) -> Content:
        """Execute a cell in the sandbox, or carry out the magics of ours that it consists of."""
        store = bool(store_history) and not silent
        count = self.shell.execution_count
        reply: Content = {}
        if store:
            self.history.begin(code)
            self.shell.history_manager.store_inputs(count, code, code)
        found = [] if silent else commands(code)
        try:
            with self.turn:
                if cell_id and self._magics is None:  # a page shows this notebook, and is told of our comm by this
                    self.magics  # noqa: B018
                if found:
                    reply = self._own(found, SimpleNamespace(raw_cell=code, cell_meta=cell_meta), bool(allow_stdin))
                else:
                    reply = self._cell(code, Manner(count, store, bool(silent)))
        finally:
            self.shell.execution_count += store
            if store:
                self.history.end(count, cell_id, str(reply.get("ename", "")), self._given if found else "")
        reply = {"execution_count": count, "user_expressions": {}, "payload": [], **reply}
        if reply["status"] == "ok" and user_expressions:
            reply["user_expressions"] = answers.expressions(self.sandbox, texts(user_expressions))
        if code.strip() in LEAVING:
            reply["payload"].append({"source": "ask_exit", "keepkernel": False})
        reply["payload"] += self.shell.payload_manager.read_payload()
        self.shell.payload_manager.clear_payload()
        return reply

    @property
    def _given(self) -> str:
        return self._magics[1].tasks.added if self._magics else ""

    def _cell(self, code: str, manner: Manner) -> Content:
        """Execute a cell in the sandbox, showing what it puts out."""
        growth = Growth((lambda *_: None) if manner.silent else self._send, manner.count or 0)
        seen = Observation()
        try:
            if known := self._done_already(code, manner):
                growth.show(known)
            elif code.strip():
                if not manner.silent:  # what a front end runs unseen is no step for a person
                    name, count = (
                        (f"cell [{manner.count}]", manner.count or 0) if manner.store else ("a cell without number", 0)
                    )
                    self.undo.remember(name, count=count)
                for seen in self.sandbox.stream(code, manner=manner):
                    growth.show(_spoken(seen).outputs)
        except CodeAgentError as error:
            seen = _failed(CodeError(type(error).__name__, str(error)))
            growth.show(seen.outputs)
        except KeyboardInterrupt:
            if seen.error is None:
                seen = _failed(CodeError("Interrupted", "Stopped by the user."))
                growth.show(seen.outputs)
        for note in seen.notes:
            growth.send("stream", {"name": "stderr", "text": f"{note}\n"})
        self._keep_output(manner, growth)
        if seen.error is not None and seen.error.ename != "Interrupted":
            self._failure = (code, seen.error)
        return {**_status(seen.error), "payload": [{"source": "page", "data": d, "start": 0} for d in growth.pages]}

    def _done_already(self, code: str, manner: Manner) -> list[Output]:
        """Return the outputs of code that the notebook has taken over in this very state."""
        known = self._magics[1].done_already(code) if self._magics and manner.store else None
        if known is None:
            return []
        said = "This was carried out when it was accepted; run the cell again to execute it once more.\n"
        return [*known.outputs, {"output_type": "stream", "name": "stdout", "text": said}]

    def _keep_output(self, manner: Manner, growth: Growth) -> None:
        results = [o["data"]["text/plain"] for o in growth.shown if o["output_type"] == "execute_result"]
        if manner.store and results:
            self.shell.history_manager.output_hist_reprs[manner.count] = results[-1]

    def _send(self, kind: str, content: Content) -> None:
        self.send_response(self.iopub_socket, kind, content)

    # -- our own magics ---------------------------------------------------------------------------

    def _own(self, found: list[Command], cell: SimpleNamespace, allow_stdin: bool) -> Content:
        """Carry out magics of ours."""
        self._forward_input(allow_stdin)
        try:
            self.magics[0].before_cell(cell)
            for command in found:
                getattr(self, f"_{command.name}")(command)
        except (CodeAgentError, UsageError) as error:
            print(f"UsageError: {error}", file=sys.stderr)  # noqa: T201 - this is the cell's output
            return _status(CodeError("UsageError", str(error)))
        except KeyboardInterrupt:
            return self._shown(CodeError("Interrupted", "Stopped by the user.", ["Stopped."]))
        except Exception as error:  # noqa: BLE001 - a mistake of ours ends the cell, not the kernel
            return self._shown(CodeError(type(error).__name__, str(error)))
        finally:
            self._restore_input()
        return {"status": "ok"}

    def _shown(self, error: CodeError) -> Content:
        """Show an error that did not come from the sandbox."""
        Growth(self._send, 0).show(_failed(error).outputs)
        return _status(error)

    def _agent(self, command: Command) -> None:
        if self._failure is not None:
            self.magics[0].failure = failed_cell(*self._failure)
        self.magics[0].agent(command.line, command.body)

    def _attempt(self, command: Command) -> None:
        self.magics[0].attempt(command.line, command.body or "")

    def _undo(self, command: Command) -> None:
        notes = self.sandbox.supervisor.notes
        said = len(notes)
        undone = self.undo.back(number(command.line))
        self.magics[1].undone([step.task for step in undone])
        self.history.undone |= {step.count for step in undone}
        told = [f"Undone: {', '.join(step.name for step in undone)}.", *notes[said:]]
        print("\n".join(told))  # noqa: T201 - this is the cell's output

    def _load_ext(self, command: Command) -> None:
        if self._magics is None:
            self.magics  # noqa: B018 - opens the comm
        else:
            self._magics[1].bridge.announce()

    def _config(self, command: Command) -> None:
        said = configure(self.magics[1].settings, command.line)
        if said:
            print(said)  # noqa: T201 - this is the cell's output

    async def comm_info_request(self, stream: Any, ident: Any, parent: Any) -> None:
        """Tell of the comms: a page that looks for ours finds it."""
        self.magics  # noqa: B018 - opens the comm
        await super().comm_info_request(stream, ident, parent)

    # -- questions --------------------------------------------------------------------------------

    async def do_complete(self, code: str, cursor_pos: int | None) -> Content:
        """Return completions; the sandbox is asked."""
        cursor = len(code) if cursor_pos is None else cursor_pos
        found = self._asked(answers.complete, [], code, cursor)
        types = [
            {"start": m.start, "end": m.end, "text": m.text, "type": m.kind, "signature": m.signature} for m in found
        ]
        return {
            "status": "ok",
            "matches": [match.text for match in found],
            "cursor_start": found[0].start if found else cursor,
            "cursor_end": found[0].end if found else cursor,
            "metadata": {"_jupyter_types_experimental": types},
        }

    async def do_inspect(self, code: str, cursor_pos: int, detail_level: int = 0, omit_sections: Any = ()) -> Content:
        """Return help on what is at the cursor, as text; the sandbox is asked."""
        text = self._asked(answers.inspect, "", code, cursor_pos, detail_level)
        return {"status": "ok", "found": bool(text), "data": {"text/plain": text} if text else {}, "metadata": {}}

    async def do_is_complete(self, code: str) -> Content:
        """Return whether the code is whole; the sandbox is asked."""
        status, indent = self._asked(answers.is_complete, ("unknown", 0), code)
        return {"status": status, **({"indent": " " * indent} if status == "incomplete" else {})}

    def _asked(self, question: Any, otherwise: Any, *content: Any) -> Any:
        """Ask the sandbox; what front ends ask unasked, while one types, ends in no error."""
        try:
            return question(self.sandbox, *content)
        except (CodeAgentError, KeyboardInterrupt):
            return otherwise

    async def do_history(self, *arguments: Any, **options: Any) -> Content:
        """Return earlier cells, which are kept on this side."""
        found: Content = super().do_history(*arguments, **options)
        return found

    # -- what this kernel does not do -------------------------------------------------------------

    async def do_debug_request(self, msg: Any) -> Content:
        """Refuse: a debugger would run in this process."""
        return {"type": "response", "success": False, "message": "This kernel cannot be debugged."}

    def do_apply(self, content: Any, bufs: Any, msg_id: Any, reply_metadata: Any) -> Any:
        """Refuse: the function would run in this process."""
        raise WrongUse("This kernel takes no functions to apply.")

    def do_clear(self) -> Content:
        """Refuse; a restart gives a fresh state."""
        return {"status": "error", "ename": "WrongUse", "evalue": "Restart the kernel instead.", "traceback": []}

    # -- the end ----------------------------------------------------------------------------------

    async def do_shutdown(self, restart: bool) -> Content:
        """End everything in the sandbox."""
        hosting.close()
        self.sandbox.close()
        return {"status": "ok", "restart": restart}


def failed_cell(code: str, error: CodeError) -> str:
    """Return the task of mending a cell."""
    from jupyter_codeagent.magic import mending

    where = [f"line {frame.line}, in {frame.function or '<module>'}: {frame.source}" for frame in error.frames]
    return mending(code, where, f"{error.ename}: {error.evalue}")


def number(line: str) -> int:
    """Return how many cells ``%undo`` is to take back.

    Raises
    ------
    WrongUse
        If it is followed by anything but a small number.
    """
    word = line.strip() or "1"
    if not (word.isascii() and word.isdigit() and len(word) < 6):
        raise WrongUse(f"%undo is followed by a number of cells, not by {word[:40]!r}.")
    return int(word)


def texts(given: Any) -> dict[str, str]:
    """Return the texts among the expressions of a request."""
    pairs = given.items() if isinstance(given, dict) else ()
    return {str(name): value for name, value in pairs if isinstance(value, str)}


def _failed(error: CodeError) -> Observation:
    """Return what is shown of a cell that did not come to run."""
    output = {"output_type": "error", "ename": error.ename, "evalue": error.evalue, "traceback": error.traceback}
    return _spoken(Observation([output], error))


def _spoken(seen: Observation) -> Observation:
    """Return an observation whose error has a traceback: front ends show nothing else of it."""
    outputs = [
        output if output.get("traceback", True) else {**output, "traceback": _lines(output["ename"], output["evalue"])}
        for output in seen.outputs
    ]
    return replace(seen, outputs=outputs)


def _lines(ename: str, evalue: str) -> list[str]:
    return [f"{ename}: {evalue}"]


def _status(error: CodeError | None) -> Content:
    if error is None:
        return {"status": "ok"}
    lines = error.traceback or _lines(error.ename, error.evalue)
    return {"status": "error", "ename": error.ename, "evalue": error.evalue, "traceback": lines}
