"""Starts the kernel: ``python -P -m jupyter_codeagent.kernel -f CONNECTION_FILE``."""

from __future__ import annotations

from jupyter_codeagent.kernel import early

if __name__ == "__main__":
    early.begin()  # before what follows is imported

    from jupyter_codeagent.kernel.app import SandboxKernelApp

    SandboxKernelApp.launch_instance()
