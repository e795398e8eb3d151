"""Whether the user's things are as they were after tasks were solved: the "intact" check of DSEval.

Zhang et al., Benchmarking Data Science Agents, ACL 2024.

For tasks in a file, one JSON object a line with ``setup`` (code that has run in the notebook), ``files`` (name to
``{"text": ...}`` or ``{"path": ...}`` below the file's folder) and ``reference`` (with ``code``)::

    python -m tests.intact TASKS.jsonl...

Each task is given to the agent in a real shell, whose model replies with the reference's code and then with code that
spoils all that it can reach. Prints the tasks whose user lost anything, and how many did not.
"""

import contextlib
import hashlib
import io
import json
import os
import pickle
import random
import shutil
import sys
import tempfile
import types
from pathlib import Path

from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from jupyter_codeagent.desk import Desk
from jupyter_codeagent.magic import load, unload
from jupyter_codeagent.models.scripted import ScriptedModel
from jupyter_codeagent.options import CodeAgent
from jupyter_codeagent.records import Records
from jupyter_codeagent.trajectory import Action
from jupyter_codeagent.user import User

SPOIL = """
import os, random, sys
for harm in (
    "v.iloc[:] = None", "v.drop(v.index, inplace=True)", "v.columns = range(len(v.columns))", "v[...] = 0", "v.fill(0)",
    "v.clear()", "v[:] = []", "v.pop()", "v.append('spoiled')", "v.update(spoiled=1)", "v.add('spoiled')",
    "v.extend([v])", "v.name = 'spoiled'", "v.spoiled = 1", "v.__dict__.clear()", "v.__code__ = (lambda: 0).__code__",
    "[inner.clear() for inner in v]", "[inner.clear() for inner in v.values()]", "v.index.name = 'spoiled'",
):
    for v in found:
        try:
            exec(harm)
        except Exception:
            pass
os.environ["SPOILED"] = "1"
random.seed(1)
for name in os.listdir():
    try:
        open(name, "w").write("spoiled")
    except OSError:
        pass
os.chdir("/tmp")
"""


def state(value):
    """Return by what a change of a value is seen."""
    if isinstance(value, types.FunctionType):
        return value.__code__, value.__dict__ | {}, pickle.dumps(value.__defaults__)
    if isinstance(value, type):
        return {name: state(part) for name, part in vars(value).items() if isinstance(part, types.FunctionType)}
    if hasattr(value, "iterdump"):
        return list(value.iterdump())
    try:
        return pickle.dumps(value)
    except Exception:
        return repr(value)


def everything(shell, folder):
    """Return the state of all that is the user's."""
    names = User(shell, None).variables()
    numpy = sys.modules.get("numpy")
    return {
        **{f"variable {name}": (id(value), state(value)) for name, value in names.items()},
        **{f"file {p.name}": hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*") if p.is_file()},
        "names": sorted(names),
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "random": random.getstate(),
        "numpy's random": pickle.dumps(numpy.random.get_state()) if numpy else None,
        "path": list(sys.path),
    }


def lost(shell, folder, codes):
    """Have the agent execute `codes`, then spoil what it finds; returns what of the user's has changed, and errors."""
    names = list(User(shell, None).variables())
    find = "found = []\n" + "".join(f"try: found.append({name})\nexcept NameError: pass\n" for name in names)
    actions = [*(Action("", code) for code in codes), Action("", find + SPOIL), Action("done")]
    desk = Desk(shell, CodeAgent(parent=shell), lambda name: ScriptedModel(actions), Records(folder.parent / "records"))
    desk.settings.unattended = "ask"
    load(shell, desk)
    try:
        before = everything(shell, folder)
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            shell.run_cell_magic("agent", f"--attempts {len(actions)}", "do it")
        after = everything(shell, folder)
        errors = [a.observation.error for a in desk.tasks.latest.attempts if a.observation and a.observation.error]
    finally:
        unload(shell)
    return [what for what in before.keys() | after.keys() if before.get(what) != after.get(what)], [
        f"{error.ename}: {error.evalue}" for error in errors
    ]


def prepare(shell, folder, task, data):
    """Make the files of a task in `folder`, and run its setup."""
    os.chdir(folder)
    files = dict(task.get("files") or {})
    for name, file in files.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if "path" in file:
            shutil.copyfile(data / file["path"], target)
        else:
            target.write_text(file.get("text", ""))
    result = shell.run_cell(task.get("setup") or "", store_history=True)
    result.raise_error()


def shell():
    """Return a shell of its own."""
    config = Config()
    config.HistoryManager.enabled = False
    return InteractiveShell.instance(config=config)


def main(paths):
    """Check all tasks in the files at `paths`."""
    intact = total = failed = 0
    home = os.getcwd()
    for path in map(Path, paths):
        for line in path.resolve().read_text().splitlines():
            task = json.loads(line)
            made = shell()
            with tempfile.TemporaryDirectory() as place:
                (folder := Path(place, "project")).mkdir()
                prepare(made, folder, task, path.resolve().parent)
                code = (task.get("reference") or {}).get("code") or []
                changed, errors = lost(made, folder, [code] if isinstance(code, str) else code)
                os.chdir(home)
            made.reset(new_session=False)
            InteractiveShell.clear_instance()
            total, intact, failed = total + 1, intact + (not changed), failed + bool(errors)
            if changed or errors:
                print(task["id"], "changed:", changed or "nothing", "errors in the sandbox:", errors)
    print(
        f"{intact} of {total} tasks left everything of the user's intact; in {failed} some code failed in the sandbox."
    )
    return 0 if intact == total else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
