"""JupyterLab and Notebook 7 in the words of the product: notebooks, agent cells, attempts, the panel."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from playwright.sync_api import Locator, Page

from tests.messages_server import MessagesServer
from tests.ui.jupyter import JupyterServer

KEY = "jupyter_codeagent"
LOAD = "%load_ext jupyter_codeagent"
Found = TypeVar("Found")

# Commands are never awaited inside evaluate: that has no timeout of its own.
_FIND = "[...jupyterapp.shell.widgets('main')].find(w => w.context && w.context.path === path)"
_READY = f"""path => {{
  const panel = window.jupyterapp && {_FIND};
  const kernel = panel && panel.sessionContext.session && panel.sessionContext.session.kernel;
  return !!kernel && kernel.status === 'idle' && kernel.connectionStatus === 'connected';
}}"""
_CELLS = f"""path => {{
  const panel = {_FIND};
  return [...panel.content.model.cells].map(cell => ({{
    id: cell.id, kind: cell.type, source: cell.sharedModel.getSource(), metadata: cell.sharedModel.getMetadata(),
    outputs: cell.type === 'code' ? cell.outputs.toJSON() : [], count: cell.executionCount ?? null
  }}));
}}"""
_ACTIVATE = f"""([path, index]) => {{
  const panel = {_FIND};
  jupyterapp.shell.activateById(panel.id);
  panel.content.activeCellIndex = index;
}}"""
_KERNEL = f"""([path, code]) => {{
  const kernel = {_FIND}.sessionContext.session.kernel;
  const heard = window.heard = {{ text: '', done: false }};
  const future = kernel.requestExecute({{ code, store_history: false, allow_stdin: false }});
  future.onIOPub = message => {{
    if (message.header.msg_type === 'stream') heard.text += message.content.text;
    if (message.header.msg_type === 'error') heard.text += message.content.ename + ': ' + message.content.evalue;
  }};
  void future.done.then(() => {{ heard.done = true; }}, () => {{ heard.done = true; }});
}}"""


@dataclass(frozen=True)
class CellState:
    """A cell as its model holds it."""

    index: int
    id: str
    kind: str
    source: str
    metadata: dict[str, Any]
    outputs: list[dict[str, Any]]
    count: int | None

    @property
    def record(self) -> dict[str, Any]:
        """Our part of the metadata."""
        found = self.metadata.get(KEY)
        return found if isinstance(found, dict) else {}

    @property
    def code(self) -> str:
        """The source, without the first line of an attempt."""
        return self.source.partition("\n")[2] if self.source.startswith("%%attempt") else self.source

    @property
    def text(self) -> str:
        """Streams, text results and errors, one after the other."""
        parts = []
        for output in self.outputs:
            found = output.get("text") or output.get("data", {}).get("text/plain") or output.get("evalue") or ""
            parts.append("".join(found))
        return "".join(parts)


class Lab:
    """One page with JupyterLab or Notebook 7.

    Parameters
    ----------
    page : Page
        Where it is shown.
    server : JupyterServer
        Its server.
    model : MessagesServer
        The scripted model that kernels ask.
    folder : str
        Where this test keeps its files, below the server's root.
    """

    def __init__(self, page: Page, server: JupyterServer, model: MessagesServer, folder: str) -> None:
        self.page, self.server, self.model, self.folder = page, server, model, folder

    def load(self, path: str = "lab", query: str = "reset") -> None:
        """Load the page and wait for the application."""
        self.page.goto(self.server.address(path, query))
        self.page.wait_for_function("window.jupyterapp && jupyterapp.shell.currentWidget !== undefined")
        # "reset" reloads the page
        self.page.wait_for_function("window.jupyterapp && window.jupyterapp.restored.then(() => true)")

    def open(self, name: str = "notebook.ipynb") -> Notebook:
        """Open a notebook that lies in the test's folder."""
        path = f"{self.folder}/{name}"
        self.page.evaluate("path => void jupyterapp.commands.execute('docmanager:open', { path })", path)
        return Notebook(self, path).ready()

    def notebook(self, *cells: Any, name: str = "notebook.ipynb", load: bool = True, **metadata: Any) -> Notebook:
        """Write a notebook, open it, and (unless told otherwise) run its first cell, which loads the magics."""
        self.server.write(f"{self.folder}/{name}", [LOAD, *cells] if load else list(cells), **metadata)
        notebook = self.open(name)
        if load:
            notebook.run(0).settled()
        return notebook

    def command(self, name: str, **arguments: Any) -> None:
        """Execute a command, without waiting for its end."""
        self.page.evaluate("([name, given]) => void jupyterapp.commands.execute(name, given)", [name, arguments])

    def enabled(self, name: str) -> bool:
        """Tell whether a command exists and can be used now."""
        found: bool = self.page.evaluate(
            "name => jupyterapp.commands.hasCommand(name) && jupyterapp.commands.isEnabled(name)", name
        )
        return found

    def until(self, condition: Callable[[], Found], what: str, seconds: float = 60) -> Found:
        """Wait until something is true and return it; the page goes on meanwhile."""
        end = time.monotonic() + seconds
        while not (found := condition()):
            assert time.monotonic() < end, f"{what}: not within {seconds:g} seconds"
            self.page.wait_for_timeout(30)
        return found

    def dialog(self) -> Locator:
        """Return JupyterLab's dialog."""
        return self.page.locator(".jp-Dialog")

    def open_panel(self) -> Panel:
        """Show the panel."""
        self.command("jupyter-codeagent:open-panel")
        return self.panel()

    def panel(self) -> Panel:
        """Wait for the panel."""
        panel = Panel(self)
        panel.element.wait_for()
        return panel

    def scroll_to(self, notebook: Notebook, index: int, seconds: float = 60) -> None:
        """Bring a cell into view."""
        cell = notebook.cell(index).element

        def seen() -> bool:
            self.page.evaluate(
                f"([path, index]) => void {_FIND}.content.scrollToItem(index, 'center')", [notebook.path, index]
            )
            self.page.wait_for_timeout(100)
            box = cell.bounding_box() if cell.count() else None
            return box is not None and 0 <= box["y"] < self.page.viewport_size["height"]

        self.until(seen, f"cell {index} in view", seconds)

    def use_kernel_of(self, notebook: Notebook, other: Notebook) -> None:
        """Give a notebook the kernel of another one."""
        self.page.evaluate(
            """([mine, theirs]) => {
              const all = [...jupyterapp.shell.widgets('main')];
              const of = path => all.find(w => w.context?.path === path).sessionContext;
              const model = of(theirs).session.kernel.model;
              window.changed = false;
              void of(mine).changeKernel(model).then(() => { window.changed = true; });
            }""",
            [notebook.path, other.path],
        )
        self.page.wait_for_function("window.changed")
        notebook.ready()

    def close_widgets(self) -> None:
        """Close everything in the main area without asking, and the panel."""
        self.page.evaluate(_CLOSE)


_CLOSE = """() => {
  for (const widget of [...jupyterapp.shell.widgets('main')]) widget.dispose();
  jupyterapp.shell.collapseRight?.();
}"""


class Notebook:
    """An open notebook."""

    def __init__(self, lab: Lab, path: str) -> None:
        self.lab, self.page, self.path = lab, lab.page, path

    def ready(self) -> Notebook:
        """Wait until its kernel is idle."""
        self.page.wait_for_function(_READY, arg=self.path)
        return self

    @property
    def cells(self) -> list[CellState]:
        """All cells as they are now."""
        return [CellState(index, **cell) for index, cell in enumerate(self.page.evaluate(_CELLS, self.path))]

    def cell(self, index: int) -> Cell:
        """Return a cell by its place (negative: from the end)."""
        return Cell(self, self.cells[index].id)

    def activate(self, index: int) -> Cell:
        """Make a cell the active one."""
        cell = self.cell(index)
        self.page.evaluate(_ACTIVATE, [self.path, cell.state.index])
        return cell

    def run(self, index: int) -> Cell:
        """Run a cell in place, as its button does; does not wait."""
        cell = self.activate(index)
        self.lab.command("notebook:run-cell")
        return cell

    @property
    def active(self) -> int:
        """The place of the active cell."""
        index: int = self.page.evaluate(f"path => {_FIND}.content.activeCellIndex", self.path)
        return index

    def append(self, source: str) -> Cell:
        """Add a code cell at the end."""
        self.page.evaluate(
            f"""([path, source]) => {{
              const shared = {_FIND}.content.model.sharedModel;
              shared.insertCell(shared.cells.length, {{ cell_type: 'code', source, metadata: {{ trusted: true }} }});
            }}""",
            [self.path, source],
        )
        return self.cell(-1)

    def agent(self, task: str = "sum the numbers", options: str = "") -> Cell:
        """Add an agent cell at the end and run it; does not wait."""
        cell = self.append(f"%%agent {options}".strip() + f"\n{task}")
        return self.run(cell.state.index)

    def kernel(self, code: str) -> str:
        """Execute code in the user's kernel, beside the cells; returns what it printed."""
        self.page.evaluate(_KERNEL, [self.path, code])
        self.page.wait_for_function("window.heard.done")
        text: str = self.page.evaluate("window.heard.text")
        return text.strip()

    def attempts(self) -> list[CellState]:
        """Cells that hold attempts, accepted ones too, in their order."""
        return [cell for cell in self.cells if "attempt" in cell.record]

    def attempt(self, number: int, seconds: float = 60) -> Attempt:
        """Wait for an attempt's cell (of the latest task in the notebook)."""

        def found() -> CellState | None:
            return next((c for c in reversed(self.attempts()) if c.record["attempt"] == number), None)

        return Attempt(self, self.lab.until(found, f"attempt {number}", seconds).id)

    def task(self, status: str = "solved", seconds: float = 30) -> CellState:
        """Wait until the last agent cell has this status, and none of its attempts runs."""

        def found() -> CellState | None:
            cells = self.cells
            task = next((cell for cell in reversed(cells) if cell.source.startswith("%%agent")), None)
            running = [c for c in cells if "attempt" in c.record and c.record.get("status") == "running"]
            return task if task and task.record.get("status") == status and not running else None

        return self.lab.until(found, f"a task that is {status}", seconds)

    def interrupt(self) -> None:
        """Interrupt the kernel, as the toolbar's button does."""
        self.lab.command("notebook:interrupt-kernel")

    def rename(self, name: str) -> None:
        """Give the notebook's file another name in the same folder."""
        to = f"{self.lab.folder}/{name}"
        self.page.evaluate(f"([path, to]) => void {_FIND}.context.rename(to.split('/').pop())", [self.path, name])
        self.path = to
        self.page.wait_for_function(f"path => !!{_FIND}", arg=to)

    def save(self) -> None:
        """Save it and wait."""
        self.page.evaluate(
            f"path => {{ window.saved = false; void {_FIND}.context.save().then(() => window.saved = true); }}",
            self.path,
        )
        self.page.wait_for_function("window.saved")

    @property
    def bar(self) -> Locator:
        """What stands above the attempts of the latest task: review, and stop."""
        return self.element.get_by_role("group", name="Agent", exact=True).last

    @property
    def element(self) -> Locator:
        """The notebook that is shown."""
        return self.page.locator(".jp-NotebookPanel:not(.lm-mod-hidden)")


class Cell:
    """A cell of a notebook, wherever it stands."""

    def __init__(self, notebook: Notebook, cell_id: str) -> None:
        self.notebook, self.lab, self.page, self.id = notebook, notebook.lab, notebook.page, cell_id

    @property
    def state(self) -> CellState:
        """What its model holds now."""
        return next(cell for cell in self.notebook.cells if cell.id == self.id)

    @property
    def there(self) -> bool:
        """It has not been deleted."""
        return any(cell.id == self.id for cell in self.notebook.cells)

    @property
    def element(self) -> Locator:
        """Where it is shown."""
        return self.notebook.element.locator(f".jp-Cell[data-windowed-list-index='{self.state.index}']")

    def activate(self) -> Cell:
        """Make it the active cell."""
        self.notebook.activate(self.state.index)
        return self

    def run(self) -> Cell:
        """Run it in place; does not wait."""
        self.notebook.run(self.state.index)
        return self

    def write(self, source: str) -> None:
        """Replace its source, as typing does."""
        self.page.evaluate(
            f"""([path, id, source]) => {{
              const cells = [...{_FIND}.content.model.cells];
              cells.find(cell => cell.id === id).sharedModel.setSource(source);
            }}""",
            [self.notebook.path, self.id, source],
        )

    def settled(self, seconds: float = 30) -> Cell:
        """Wait until it has run."""
        script = f"""([path, id]) => {{
          const found = {_FIND}.content.widgets.find(w => w.model.id === id);
          return found.model.executionState === 'idle' && found.model.executionCount !== null;
        }}"""
        self.page.wait_for_function(script, arg=[self.notebook.path, self.id], timeout=seconds * 1000)
        return self


class Attempt(Cell):
    """An attempt, as a cell."""

    @property
    def record(self) -> dict[str, Any]:
        """What its metadata say."""
        return self.state.record

    @property
    def status(self) -> str:
        """Its status, as recorded."""
        return str(self.record["status"])

    @property
    def number(self) -> int:
        """Its number within the task."""
        return int(self.record["attempt"])

    @property
    def collapsed(self) -> bool:
        """It is shown as one line."""
        return self.state.metadata.get("jupyter", {}).get("source_hidden") is True

    @property
    def toggle(self) -> Locator:
        """What opens and closes it."""
        return self.strip.locator("[aria-expanded]")

    @property
    def strip(self) -> Locator:
        """The strip above the code."""
        return self.element.get_by_role("group", name=re.compile(rf"\bAttempt {self.number}\b"))

    def button(self, name: str) -> Locator:
        """Return a button of the strip by its label."""
        return self.strip.get_by_role("button", name=name, exact=True)

    def press(self, name: str) -> None:
        """Press a button of the strip."""
        self.button(name).click()

    def becomes(self, status: str, seconds: float = 60) -> Attempt:
        """Wait until it has a status, in its record and in the strip."""
        self.lab.until(lambda: self.status == status, f"attempt {self.number} is {status}", seconds)
        return self


class Panel:
    """The side panel."""

    def __init__(self, lab: Lab) -> None:
        self.lab, self.page = lab, lab.page

    @property
    def element(self) -> Locator:
        """Where it is shown."""
        return self.page.locator("#jupyter-codeagent-panel")

    @property
    def box(self) -> Locator:
        """Where the task is written."""
        return self.element.get_by_role("textbox", name="Task for the agent")

    @property
    def log(self) -> Locator:
        """The conversation."""
        return self.element.get_by_role("log")

    def button(self, name: str) -> Locator:
        """Return a button by its label."""
        return self.element.get_by_role("button", name=name, exact=True)

    def send(self, text: str) -> None:
        """Write a task and send it."""
        self.box.fill(text)
        self.box.press("Enter")

    def card(self, number: int) -> Locator:
        """Return the card of an attempt (of the latest task)."""
        return self.element.get_by_role("group", name=re.compile(rf"^Attempt {number}\b")).last

    @property
    def attachments(self) -> Locator:
        """What is attached to the task."""
        return self.element.get_by_role("list", name="Attached").get_by_role("listitem")

    @property
    def options(self) -> Locator:
        """How tasks are asked; opens them."""
        group = self.element.get_by_role("group", name="Options")
        if not group.count():
            self.element.get_by_title("Model and options").click()
        return group

    def choose_model(self, name: str) -> None:
        """Choose the model of the next tasks."""
        self.options.get_by_label("Model").fill(name)
