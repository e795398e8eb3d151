"""Files that are run, or obeyed, without anybody asking for it: they are set apart when changes are applied."""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Sequence
from importlib.machinery import all_suffixes
from pathlib import Path

FOLDERS = {
    ".git", ".hg", ".svn", ".github", ".gitlab", ".circleci", ".husky", ".githooks", ".vscode", ".idea", ".fleet",
    ".devcontainer", ".claude", ".cursor", ".codex", ".jupyter", ".ipython", ".config", ".local", ".ssh", "binder",
}  # fmt: skip
NAMES = {
    ".envrc", ".gitattributes", ".gitmodules", ".gitconfig", ".gitlab-ci.yml", ".travis.yml", ".pre-commit-config.yaml",
    ".bashrc", ".bash_profile", ".profile", ".zshrc", ".npmrc", ".pypirc", ".mcp.json", ".cursorrules",
    ".codeagentignore", "azure-pipelines.yml", "jenkinsfile", "agents.md", "claude.md", "gemini.md", "conftest.py",
    "sitecustomize.py", "usercustomize.py", "pytest.ini", "tox.ini", "noxfile.py", "setup.py", "setup.cfg",
    "pyproject.toml", "makefile", "gnumakefile", "justfile", "package.json", "kernel.json", "overrides.json",
    "postbuild", ".git", "head", "commondir", ".env", ".flaskenv", ".pdbrc", ".gdbinit", ".lldbinit", ".rprofile",
    ".renviron", "jupytext.py", ".jupytext.py", "pylintrc", ".pylintrc", "mypy.ini", ".mypy.ini", ".flake8",
    ".coveragerc", ".dir-locals.el", ".exrc", ".vimrc", ".nvimrc", ".nvim.lua", "latexmkrc", ".latexmkrc", ".yarnrc",
    ".yarnrc.yml",
}  # fmt: skip
PATTERNS = re.compile(r".*\.pth|ipython_.*config\.(py|json)|jupyter_.*config\.(py|json)|.*\.code-workspace")
SUFFIXES = (*all_suffixes(), ".pyd")  # of modules, those of compiled ones among them
BARE = {"head", "objects", "refs"}  # what makes a folder a repository, wherever it is


def reason(path: str, added: bool, others: Collection[str] = (), search: Sequence[str] | None = None) -> str:
    """Return why a change is set apart, in one sentence, or nothing.

    Parameters
    ----------
    path : str
        Relative to the working folder.
    added : bool
        The folder has no such file yet.
    others : collection of str
        The paths of all changes.
    search : sequence of str, optional
        Where modules are installed; by default where this interpreter looks for them.
    """
    parts, written = path.casefold().split("/"), path.split("/")
    name = parts[-1]
    folder = next((part for part in written[:-1] if part.casefold() in FOLDERS), "")
    if folder:
        return f"Programs read what is in {folder} without being asked."
    if name in NAMES or PATTERNS.fullmatch(name):
        return f"Programs run or obey {written[-1]} without being asked."
    if _bare(path, others):
        return "It makes a folder a repository, whose settings git obeys."
    if not added:
        return "If it is open in Jupyter, there are then two versions of it." if name.endswith(".ipynb") else ""
    first = written[0]
    module = first if len(parts) > 1 else first.partition(".")[0] if name.endswith(SUFFIXES) else ""
    if module and _installed(module, search):
        return f"It is imported in place of the installed module {module!r}."
    return ""


def _bare(path: str, others: Collection[str]) -> bool:
    """Say whether a path lies in a folder that has all parts of a repository."""
    parts = path.split("/")
    for count in range(1, len(parts)):
        folder = "/".join(parts[:count]) + "/"
        names = {other[len(folder) :].split("/")[0].casefold() for other in others if other.startswith(folder)}
        if names >= BARE:
            return True
    return False


def _installed(module: str, search: Sequence[str] | None) -> bool:
    if not module.isidentifier():
        return False
    if module in sys.stdlib_module_names:
        return True
    here = Path.cwd()
    places = [Path(p) for p in (sys.path if search is None else search) if p and Path(p) != here]
    names = [module + end for end in SUFFIXES]
    return any((place / module).is_dir() or any((place / name).is_file() for name in names) for place in places)
