"""The program around the kernel."""

from __future__ import annotations

import sys

from ipykernel.kernelapp import IPKernelApp
from traitlets import Type

from jupyter_codeagent.kernel.kernel import SandboxKernel


class SandboxKernelApp(IPKernelApp):
    """What surrounds a kernel, less all that would load or run a user's code in this process."""

    kernel_class = Type(SandboxKernel, klass="ipykernel.kernelbase.Kernel").tag(config=True)

    def init_pdb(self) -> None:
        """Have no debugger: it would run in this process, and takes long to load."""
        sys.modules.setdefault("debugpy", None)  # type: ignore[arg-type]

    def init_path(self) -> None:
        """Do nothing: modules of the working folder are for the sandbox."""

    def init_extensions(self) -> None:
        """Do nothing: extensions of IPython would see no cell."""

    def init_code(self) -> None:
        """Do nothing: startup files would run outside the sandbox."""

    def init_gui_pylab(self) -> None:
        """Do nothing: figures are drawn in the sandbox."""
