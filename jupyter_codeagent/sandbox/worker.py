"""All of ours that runs inside the sandbox: one process that executes code, and forks itself.

Standard library and IPython only. Run as a script by the supervisor, with the number of an inherited
socket. The first process is the *zygote*: it never executes anyone's code and lives as long as the
sandbox. Every other process is a *state*, forked from the zygote or from another state, each with a
channel and output pipes of its own. A state waits for a request on its channel; one that is never
asked to execute is a checkpoint.

On the wire: a type byte, a length (big endian, four bytes), and the payload. ``j`` is JSON, ``o`` and
``e`` are text for stdout and stderr, ``l`` is text by a thread that an earlier cell left running.
"""

from __future__ import annotations

import base64
import builtins
import contextlib
import ctypes
import fcntl
import gc
import importlib.util
import io
import json
import linecache
import os
import re
import resource
import select
import signal
import socket
import struct
import sys
import tarfile
import threading
import traceback
import warnings
from typing import Any

PR_SET_DUMPABLE = 4
SECCOMP_SET_MODE_FILTER = 1
SECCOMP_FILTER_FLAG_TSYNC = 1
SYS_SECCOMP = {"x86_64": 317, "aarch64": 277}
IDLE = 0.02  # seconds without a request after which the zygote does what can wait
ROOM = 2**25  # bytes of memory that code leaves for the report of its end
PIECE = 2**18  # a longer text is sent in pieces of this many characters
TEXT_CAP = 2**20  # characters kept of one text representation or traceback
BINARY_CAP = 8 * 2**20  # characters kept of one encoded image

CELL = re.compile(r"<ipython-input-(\d+)-\w+>")

libc = ctypes.CDLL(None, use_errno=True)
dumps, loads = json.dumps, json.loads  # the code may replace those of the modules
getrlimit, setrlimit = resource.getrlimit, resource.setrlimit
active, alive = threading.active_count, threading.enumerate


def beside(name: str) -> Any:
    """Return a file of ours that lies beside this one as a module; no name that the code imports leads to it."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), f"{name}.py")
    spec = importlib.util.spec_from_file_location(f"_codeagent_{name}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


forking, receiver, packer, questions = map(beside, ("forking", "receiver", "packer", "questions"))
restorer, stand_ins = beside("restorer"), beside("stand_ins")


def cut(text: str, cap: int) -> str:
    """Return `text`, or its two ends and how much was left out."""
    if len(text) <= cap:
        return text
    half = cap // 2
    return f"{text[:half]}\n... {len(text) - 2 * half} characters left out ...\n{text[-half:]}"


class Channel:
    """One end of a socket to the supervisor."""

    def __init__(self, fd: int) -> None:
        self.socket = socket.socket(fileno=fd)
        self.fds: list[int] = []

    def send(self, message: dict[str, Any]) -> None:
        self.frame(b"j", dumps(message, allow_nan=False).encode())

    def frame(self, kind: bytes, payload: bytes) -> None:
        try:
            self.socket.sendall(kind + struct.pack(">I", len(payload)) + payload)
        except (BrokenPipeError, ConnectionResetError):
            os._exit(0)  # the supervisor is gone, and so are we

    def receive(self) -> dict[str, Any]:
        """Return the next request; its descriptors are in `self.fds`. Ends the process when nobody is there."""
        self.fds = []
        header = self._read(5)
        payload = self._read(struct.unpack(">I", header[1:])[0])
        message: dict[str, Any] = loads(payload)
        return message

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            piece, fds, _flags, _address = socket.recv_fds(self.socket, size - len(data), 8)
            self.fds += fds
            if not piece:
                os._exit(0)  # the supervisor is gone, and so are we
            data += piece
        return data


class Stream(io.TextIOBase):
    """sys.stdout or sys.stderr: each write goes out at once, in order with everything else."""

    encoding = "utf-8"

    def __init__(self, worker: Worker, kind: bytes, descriptor: int) -> None:
        self.worker, self.kind, self.descriptor = worker, kind, descriptor
        self.buffer = io.BufferedWriter(io.FileIO(descriptor, "w", closefd=False), 1)

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return False

    def fileno(self) -> int:
        return self.descriptor

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        data = text.encode("utf-8", "replace")
        if os.getpid() != self.worker.pid:  # the code forked: only this process may use the channel
            os.write(self.descriptor, data)
        else:
            for start in range(0, len(data), PIECE):
                with self.worker.lock:
                    # a thread that an earlier cell started does not speak in this cell's name
                    kind = b"l" if threading.get_ident() in self.worker.earlier else self.kind
                    self.worker.channel.frame(kind, data[start : start + PIECE])
        return len(text)


def refuse_input(*_: object, **__: object) -> str:
    """Stand in for input() and getpass()."""
    from IPython.core.error import StdinNotImplementedError

    raise StdinNotImplementedError(
        "input() is not available in the sandbox: nobody can answer. Set the value in the code."
    )


class Worker:
    """This process: the zygote, a checkpoint, or the live state."""

    def __init__(self, fd: int) -> None:
        self.pid = os.getpid()
        self.channel = Channel(fd)
        self.lock = threading.RLock()  # threads of the code print too
        self.shell: Any = None
        self.caught: dict[str, Any] | None = None
        self.text_cap = TEXT_CAP
        self.executed = False  # this very process has run code
        self.earlier: set[int | None] = set()  # threads that were there before the cell
        self.copies: set[int] = set()  # the children that are forks of ours
        self.loaded: set[str] = set()  # modules that were told of, or that are ours

    # -- the zygote -----------------------------------------------------------------------------

    def serve(self) -> None:
        """Get ready, then answer requests until the supervisor goes away."""
        libc.prctl(PR_SET_DUMPABLE, 0)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        started = self.channel.receive()
        for name, value in started["limits"].items():
            limit = getattr(resource, f"RLIMIT_{name}")
            hard = resource.getrlimit(limit)[1]
            least = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(limit, (least, least))
        if started["cpus"]:
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: started["cpus"]])
        self.text_cap = min(TEXT_CAP, started["output"] // 4)
        self.unpack(started["workspace"])
        gc.disable()
        self.make_shell()
        gc.freeze()  # what is here stays: a collection in a fork need not touch, and so copy, its pages
        gc.enable()
        self.channel.send({"op": "ready"})
        if not select.select([self.channel.socket], [], [], IDLE)[0]:
            self.warm_up()
        self.answer()

    def unpack(self, workspace: str) -> None:
        if self.channel.fds:
            with os.fdopen(self.channel.fds[0], "rb") as file, tarfile.open(fileobj=file, mode="r:") as archive:
                # made by the supervisor; Python 3.11.2 has no filters, 3.14 has one that is too strict by default
                kind = {"filter": "fully_trusted"} if hasattr(tarfile, "fully_trusted_filter") else {}
                archive.extractall(workspace, **kind)  # type: ignore[arg-type]  # noqa: S202
        os.chdir(workspace)

    def make_shell(self) -> None:
        from IPython.core.displayhook import DisplayHook
        from IPython.core.displaypub import DisplayPublisher
        from IPython.core.interactiveshell import InteractiveShell
        from traitlets.config import Config

        worker = self

        class Hook(DisplayHook):  # type: ignore[misc]
            """Sends the value of the last expression."""

            def quiet(self) -> bool:
                return bool(super().quiet())

            def start_displayhook(self) -> None: ...

            def write_output_prompt(self) -> None: ...

            def write_format_data(self, format_dict: Any, md_dict: Any = None) -> None:
                worker.display("execute_result", format_dict, md_dict)

            def finish_displayhook(self) -> None: ...

        class Publisher(DisplayPublisher):  # type: ignore[misc]
            """Sends what display() is given."""

            def publish(
                self,
                data: Any,
                metadata: Any = None,
                source: Any = None,
                *,
                transient: Any = None,
                update: Any = False,
                **_: Any,
            ) -> None:
                identity = (transient or {}).get("display_id")
                worker.display("display_data", data, metadata, identity, update)

            def clear_output(self, wait: bool = False) -> None:
                worker.send({"op": "clear", "wait": bool(wait)})

        class Shell(InteractiveShell):  # type: ignore[misc]
            """IPython without a terminal."""

            sandboxed = True  # our own extension looks for it
            kernel = stand_ins.Kernel()  # by which pandas knows a notebook from a terminal, and shows frames so

            def init_sys_modules(self) -> None:
                super().init_sys_modules()
                sys.modules["__main__"] = self.user_module  # so that what the code defines can be pickled

            def system(self, cmd: str) -> None:
                self.user_ns["_exit_code"] = None
                self.system_piped(cmd)

            def _showtraceback(self, etype: Any, evalue: Any, stb: Any) -> None:
                worker.failed(etype, evalue, [str(line) for line in stb])

            def _format_exception_for_storage(self, exception: Any, *_: Any, **__: Any) -> list[str]:
                return []  # for a history that is off; it would format every error a second time

            def showtraceback(self, *args: Any, **options: Any) -> None:
                leave_room(0)
                super().showtraceback(*args, **options)

            def show_usage_error(self, exc: Any) -> None:
                worker.failed(type(exc), exc, [f"UsageError: {exc}"])

            def ask_exit(self) -> None: ...

            def set_next_input(self, s: str, replace: bool = False) -> None:
                # what runs here may not write the user's cells: %load shows its text instead
                worker.display("display_data", {"text/plain": s}, None)

            def enable_gui(self, gui: Any = None) -> None: ...

        config = Config()
        config.HistoryManager.enabled = False
        config.InteractiveShell.colors = "neutral"  # readable on light and dark
        config.InteractiveShell.displayhook_class = Hook
        config.InteractiveShell.display_pub_class = Publisher
        config.InteractiveShell.banner1 = ""
        self.shell = Shell.instance(config=config, displayhook_class=Hook, display_pub_class=Publisher)
        # the formatters of a notebook, not those of a terminal
        self.shell.display_formatter.active_types = list(self.shell.display_formatter.formatters)
        stand_ins.register(self.shell)
        self.shell.set_hook("show_in_pager", self.page, 99)
        builtins.input = refuse_input
        import getpass

        getpass.getpass = refuse_input
        warnings.filterwarnings("ignore", message="To exit: use")  # there is nothing to leave
        sys.path[0] = ""
        sys.stdin = open(os.devnull)  # noqa: SIM115 - for the life of the process
        self.streams = (Stream(self, b"o", 1), Stream(self, b"e", 2))
        sys.stdout, sys.stderr = self.streams
        self.practise("1")
        self.loaded = set(sys.modules)

    def practise(self, code: str) -> None:
        """Run a cell for what it loads and caches, which every fork then has for nothing."""
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            self.send = lambda message: None  # type: ignore[method-assign]
            self.shell.run_cell(code, store_history=False)
            del self.send
        self.caught = None
        self.shell.user_ns.pop("_", None)

    def warm_up(self) -> None:
        """Format a first error, which takes much longer than the next ones; only while nobody waits."""
        self.practise("1/0")
        self.loaded = set(sys.modules)
        gc.freeze()

    # -- requests -------------------------------------------------------------------------------

    def answer(self) -> None:
        """Do what is asked, for ever. A forked child goes on here with its own channel."""
        while True:
            request = self.channel.receive()
            op, fds = request["op"], self.channel.fds
            if op == "fork":
                self.fork(fds)
            elif op == "protect":
                self.protect(request["filters"])
                self.channel.send({"op": "protected"})
            elif op == "reap":
                self.channel.send({"op": "reaped", "code": self.reap(request["pids"])})
            elif op == "clear":
                self.reap(request["pids"])
            elif op == "files":
                self.channel.send({"op": "filed", "problem": restorer.carry_out(*fds)})
            elif op == "values":
                self.receive_values(request["values"], fds[0])
            elif op == "pack":
                self.channel.send(packer.answer(self.shell.user_ns, request["name"], fds[0], request["most"]))
            elif op == "execute":
                self.execute(request)
            elif op == "question":
                self.reply(request)

    def fork(self, fds: list[int]) -> None:
        self.reap([])
        hazards = self.hazards()
        running = active() - 1
        threads = len(os.listdir("/proc/self/task"))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Python 3.12 and later warn of threads, which `hazards` sees to
                child = os.fork()
        except OSError as error:  # ended processes count until the kernel has cleared them away
            child = -1
            hazards = [str(error)]
        if child:
            self.copies.add(child)
            for fd in fds:
                os.close(fd)
            said = {"hazards": hazards, "running": running, "threads": threads}
            self.channel.send({"op": "forked" if child > 0 else "refused", **said})
            return
        self.channel.socket.close()
        self.pid, self.executed = os.getpid(), False
        self.copies = set()
        os.setsid()
        fds = [move_up(fd) for fd in fds]  # the code may have closed 1 and 2, whose numbers are then given anew
        self.channel = Channel(fds[0])
        for source, target in ((fds[1], 1), (fds[2], 2)):
            os.dup2(source, target)
            os.close(source)
        self.lock = threading.RLock()
        forking.after()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        libc.prctl(PR_SET_DUMPABLE, 0)
        self.channel.send({"op": "hello"})

    def hazards(self) -> list[str]:
        """Do before a fork what can be done for the copy, and say what would be wrong with it."""
        try:
            forking.before()
            return [cut(hazard, 200) for hazard in forking.hazards(self.copies)]
        except Exception as error:  # noqa: BLE001 - the code may have put anything in the place of what is used there
            return [f"it cannot be looked at ({type(error).__name__})"]

    def protect(self, filters: list[str]) -> None:
        """Take away this process's ways to signal others, for good."""
        for text in filters:
            program = base64.b64decode(text)
            buffer = ctypes.create_string_buffer(program, len(program))
            fprog = struct.pack("HxxxxxxQ", len(program) // 8, ctypes.addressof(buffer))
            number = SYS_SECCOMP[os.uname().machine]
            if libc.syscall(number, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, fprog):
                os._exit(70)  # fail closed: the supervisor sees the end of this state

    def reap(self, pids: list[int]) -> int | None:
        """Clear ended children away; return the last of `pids`' exit status as subprocess gives it.

        A process that has executed code leaves the code's own children alone; zygote and copies clear away all.
        """
        code = None
        for target in pids if self.executed else [-1]:
            with contextlib.suppress(ChildProcessError):
                while (ended := os.waitpid(target, os.WNOHANG))[0]:
                    code = os.waitstatus_to_exitcode(ended[1]) if ended[0] in pids else code
                    self.copies.discard(ended[0])
        return code

    def receive_values(self, index: dict[str, Any], fd: int) -> None:
        """Put values into the namespace."""
        values, failed = receiver.receive(index, fd)
        self.shell.user_ns.update(values)
        self.channel.send({"op": "received", "failed": failed})

    # -- executing ------------------------------------------------------------------------------

    def execute(self, request: dict[str, Any]) -> None:
        """Run a cell and send what it does; the last message is ``done``."""
        self.caught, self.executed = None, True
        self.earlier = {thread.ident for thread in alive() if thread is not threading.main_thread()}
        before = {name: id(value) for name, value in self.shell.user_ns.items()}
        names: dict[str, str] = {}
        modules: list[str] = []
        try:
            try:
                signal.signal(signal.SIGINT, signal.default_int_handler)
                leave_room(ROOM)
                self.run(request)
                leave_room(0)
                names, modules = self.changed(before), questions.imported(self.loaded)
            finally:
                signal.signal(signal.SIGINT, signal.SIG_IGN)
                leave_room(0)
        except KeyboardInterrupt:  # it came between the lines above, not in the cell
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            self.caught = self.caught or {"ename": "KeyboardInterrupt", "evalue": "", "traceback": [], "frames": []}
        with contextlib.suppress(Exception):  # the code may have put anything in their place
            sys.stdout.flush()
            sys.stderr.flush()
        sys.stdout, sys.stderr = self.streams
        self.send({"op": "done", "error": self.caught, "names": names, "modules": modules})

    def reply(self, request: dict[str, Any]) -> None:
        """Answer a question about code."""
        answer: dict[str, Any] = {}
        try:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            answer = questions.reply(self.shell, describe, request)
        except BaseException:  # noqa: BLE001 - the code's own classes may raise anything when they are looked at
            answer = {}
        finally:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        if os.getpid() != self.pid:
            os._exit(0)
        self.send({"op": "answer", "answer": answer})

    def run(self, request: dict[str, Any]) -> None:
        """Run a cell; what it raises is kept in `caught`."""
        if request.get("count"):
            self.shell.execution_count = request["count"]
        store, silent = request.get("store", True), request.get("silent", False)
        result = self.shell.run_cell(request["code"], store_history=store, silent=silent)
        if os.getpid() != self.pid:
            os._exit(0)  # a fork made by the code ends with the cell
        if not result.success and self.caught is None:
            error = result.error_before_exec or result.error_in_exec
            self.failed(type(error), error, [])

    def send(self, message: dict[str, Any]) -> None:
        if os.getpid() == self.pid:
            with self.lock:
                self.channel.send(message)

    def display(self, kind: str, data: Any, metadata: Any, identity: Any = None, update: bool = False) -> None:
        """Send one output with all its representations that are text or binary."""
        clean: dict[str, str] = {}
        for mime, value in dict(data).items():
            if isinstance(value, bytes):
                value = base64.b64encode(value).decode()
            if isinstance(value, str):
                image = str(mime).startswith("image/") and mime != "image/svg+xml"
                if not image:
                    clean[str(mime)] = cut(value, self.text_cap)
                elif len(value) <= BINARY_CAP:
                    clean[str(mime)] = value
        self.send(
            {
                "op": "output",
                "kind": kind,
                "data": clean,
                "display_id": str(identity) if identity else None,
                "update": bool(update),
                "widget": any("jupyter.widget-view" in str(mime) for mime in data),
            }
        )

    def page(self, shell: Any, text: Any, start: int = 0, *_: Any, **__: Any) -> None:
        """Send what IPython would show in a pager."""
        self.display("page", text if isinstance(text, dict) else {"text/plain": str(text)}, None)

    def failed(self, etype: Any, evalue: Any, lines: list[str]) -> None:
        """Keep the error that ended the cell."""
        try:
            text = CELL.sub(r"cell \1", str(evalue))
        except Exception as error:  # noqa: BLE001 - a broken __str__ is the code's affair
            text = f"<no text: {type(error).__name__}>"
        self.caught = {
            "ename": cut(str(getattr(etype, "__name__", etype)), 200),
            "evalue": cut(text, self.text_cap // 16),
            "traceback": cut("\n".join(lines), self.text_cap // 4).split("\n"),
            "frames": frames_of(evalue),
        }

    def changed(self, before: dict[str, int]) -> dict[str, str]:
        """Describe the names that were created or bound anew."""
        space = self.shell.user_ns
        hidden = self.shell.user_ns_hidden
        fresh = [
            n for n, v in list(space.items()) if before.get(n) != id(v) and not n.startswith("_") and n not in hidden
        ]
        return {name: describe(space[name]) for name in fresh[:40] if name in space and name not in ("In", "Out")}


def leave_room(size: int) -> None:
    """Have the code's allocations fail while `size` bytes are left, so that how it ended can still be told."""
    most = getrlimit(resource.RLIMIT_DATA)[1]
    setrlimit(resource.RLIMIT_DATA, (max(most - size, 0), most))


def move_up(fd: int) -> int:
    """Give a descriptor a number that is none of the standard ones."""
    moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(fd)
    return moved


def frames_of(error: Any) -> list[dict[str, Any]]:
    """Return the frames that are the user's own: cells and files below the working folder."""
    if isinstance(error, SyntaxError) and error.lineno:
        return [
            {
                "file": place(error.filename or ""),
                "line": error.lineno,
                "function": "",
                "source": (error.text or "").strip()[:300],
            }
        ]
    frames: list[dict[str, Any]] = []
    home = os.getcwd() + "/"
    for frame, line in traceback.walk_tb(getattr(error, "__traceback__", None)):
        code = frame.f_code
        own = code.co_filename.startswith("<ipython-input-") or code.co_filename.startswith(home)
        if own and "/site-packages/" not in code.co_filename:
            source = linecache.getline(code.co_filename, line).strip()[:300]
            function = "" if code.co_name == "<module>" else code.co_name
            frames.append({"file": place(code.co_filename), "line": line, "function": function, "source": source})
    return frames if len(frames) <= 20 else [*frames[:8], *frames[-12:]]


def place(filename: str) -> str:
    """Name a cell or a file for people."""
    if filename.startswith("<ipython-input-"):
        return "cell " + filename.split("-")[2]
    return os.path.relpath(filename) if filename.startswith("/") else filename


def describe(value: Any) -> str:
    """Say in a few words what a value is."""
    try:
        kind = type(value).__name__
        shape = getattr(value, "shape", None)
        if isinstance(shape, tuple):
            columns = getattr(value, "columns", None)
            extra = f", columns {[str(c) for c in list(columns)[:12]]}" if columns is not None else ""
            return cut(f"{kind} {shape}{extra}", 400)
        if isinstance(value, (bool, int, float, complex, str)):
            return f"{kind} {cut(repr(value), 80)}"
        if hasattr(value, "__len__") and not isinstance(value, type):
            return f"{kind} of length {len(value)}"
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001 - the value's own methods may do anything
        return "?"
    return kind


if __name__ == "__main__":
    try:
        Worker(int(sys.argv[1])).serve()
    except BaseException:  # noqa: BLE001 - what the code wants done at the end of the interpreter is not done in a copy
        traceback.print_exc()
        os._exit(1)
