"""A notebook on the sandboxed kernel, as its client sees it."""

import os
import time
from contextlib import contextmanager
from pathlib import Path

from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager

from tests.kernels import Page

NAME = "codeagent-sandbox"


class Notebook(Page):
    """A page of which the kernel's process is known."""

    @property
    def pid(self):
        return self.manager.provisioner.pid

    def ask_shell(self, kind, **content):
        """Send a request that is no cell, and return what is replied."""
        return self.request(f"{kind}_request", content)

    def interrupt_when(self, seen, request):
        """Press the stop button once the cell has put out `seen`."""
        self.until(lambda: seen in self.cells[request].text)
        self.manager.interrupt_kernel()
        return self.collect(request)


@contextmanager
def notebook_on(environment, folder, arguments=()):
    """Start a kernel in `folder` and yield a notebook on it."""
    specs = KernelSpecManager(kernel_dirs=[str(Path(environment["JUPYTER_PATH"], "kernels"))])
    place = Path(environment["JUPYTER_DATA_DIR"]).parent / f"ipc-{os.urandom(3).hex()}"
    manager = KernelManager(kernel_name=NAME, kernel_spec_manager=specs, transport="ipc", ip=str(place))
    manager.start_kernel(env=environment, cwd=str(folder), extra_arguments=list(arguments))
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)
        yield Notebook(client, manager)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()


def descendants(pid):
    """Return the pids of all processes below `pid`."""
    import psutil

    return [child.pid for child in psutil.Process(pid).children(recursive=True)]


def gone(pids, seconds=10):
    """Wait until none of these processes lives, and say whether that came."""
    import psutil

    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        alive = [pid for pid in pids if psutil.pid_exists(pid)]
        if all(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE for pid in alive if psutil.pid_exists(pid)):
            return True
        time.sleep(0.02)
    return False
