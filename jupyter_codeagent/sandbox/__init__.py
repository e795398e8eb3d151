"""Where code is executed: a process tree kept from the rest of the machine, whose states can be forked."""

from jupyter_codeagent.sandbox.policy import SandboxPolicy
from jupyter_codeagent.sandbox.sandbox import Candidate, Checkpoint, Sandbox

__all__ = ["Candidate", "Checkpoint", "Sandbox", "SandboxPolicy"]
