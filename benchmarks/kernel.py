"""The baseline of most figures: a plain ipykernel, driven with as little as a client can do."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from jupyter_client import KernelManager
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.kernelspec import KernelSpecManager

SECONDS = 60.0
CHECKOUT = Path(__file__).parent.parent


class Kernel:
    """A plain ipykernel over Unix sockets (`ipc`), which are its fastest transport.

    Parameters
    ----------
    lean : bool
        Connect once the kernel has bound its sockets, and read its messages with nothing between. A client that
        connects earlier loses 0.1 s to ZMQ's pause before it tries again, and `wait_for_ready` another 0.2 s.
    sandboxed : bool
        Start "Python 3 (sandboxed)" of this checkout instead.
    """

    def __init__(self, lean: bool = True, sandboxed: bool = False) -> None:
        self.lean = lean
        self.folder = tempfile.TemporaryDirectory(prefix="bench")
        place = Path(self.folder.name)
        self.project = place / "project"  # the notebook's folder
        self.project.mkdir()
        shutil.copytree(CHECKOUT / "kernelspec", place / "kernels" / "codeagent-sandbox")
        specs = KernelSpecManager(kernel_dirs=[str(place / "kernels")]) if sandboxed else KernelSpecManager()
        name = "codeagent-sandbox" if sandboxed else "python3"
        self.manager = KernelManager(
            transport="ipc", ip=str(place / "kernel"), kernel_name=name, kernel_spec_manager=specs
        )
        self.client: BlockingKernelClient | None = None

    def start(self) -> None:
        """Start it and wait for the reply to the first execution."""
        self.manager.start_kernel(env=environment(), cwd=str(self.project))
        if self.lean:
            last = Path(f"{self.manager.ip}-{self.manager.hb_port}")
            while not last.exists():
                time.sleep(0.001)
        self.client = self.manager.blocking_client()
        self.client.start_channels()
        if not self.lean:
            self.client.wait_for_ready(timeout=SECONDS)
        self._reply(self.client.execute("1"))

    def settle(self) -> None:
        """Wait until the published messages arrive as well, which may be later than the first reply."""
        assert self.client is not None
        for _ in range(100):
            self._reply(self.client.kernel_info())
            if self.client.iopub_channel.socket.poll(100):
                break
        while self.client.iopub_channel.socket.poll(200):
            self.client.session.recv(self.client.iopub_channel.socket, mode=0)

    def execute(self, code: str) -> list[dict[str, Any]]:
        """Execute, and return what was published once both the reply and the idle status are there."""
        assert self.client is not None
        own = self.client.execute(code)
        published: list[dict[str, Any]] = []
        while True:
            message = self._next(self.client.iopub_channel.socket)
            if message["parent_header"].get("msg_id") == own:
                published.append(message)
                if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                    break
        self._reply(own)
        return published

    def _reply(self, own: str) -> dict[str, Any]:
        assert self.client is not None
        while True:
            message = self._next(self.client.shell_channel.socket)
            if message["parent_header"].get("msg_id") == own:
                return message

    def _next(self, socket: Any) -> dict[str, Any]:
        assert self.client is not None
        if not socket.poll(SECONDS * 1000):
            raise TimeoutError(f"the kernel was silent for {SECONDS:g} s")
        _, message = self.client.session.recv(socket, mode=0)
        return dict(message)

    @property
    def pid(self) -> int:
        """The kernel's process."""
        return int(self.manager.provisioner.pid)

    def close(self) -> None:
        """End it."""
        if self.client is not None:
            self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)
        self.folder.cleanup()

    def __enter__(self) -> Kernel:
        self.start()
        self.settle()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


_home = tempfile.TemporaryDirectory(prefix="bench")


def environment() -> dict[str, str]:
    """Return the kernel's environment: nothing of the user's IPython is read or written."""
    paths = filter(None, [str(CHECKOUT), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "IPYTHONDIR": _home.name, "PYTHONPATH": os.pathsep.join(paths)}
