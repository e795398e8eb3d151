"""The front end in a browser: how soon an attempt is a cell, what streaming, opening and starting cost."""

from __future__ import annotations

import gzip
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Response, sync_playwright

from benchmarks.measure import Row, interleave, percentile
from tests.messages_server import PIECE, MessagesServer, Turn, serving
from tests.ui.browser import chromium
from tests.ui.jupyter import EXTENSION, JupyterServer
from tests.ui.lab import Lab, Notebook

CELLS = 1000
AGENT = 500  # the place of the agent's cell
FOLDER = "benchmark"
RATE = 100  # tokens a second
SECONDS = 5  # of streaming in a round

# The kernel's clock and the browser's are one: message headers say when the kernel sent them. A cell counts when the
# frame that shows it has begun to be painted.
LISTEN = """([path, place]) => {
  const panel = [...jupyterapp.shell.widgets('main')].find(w => w.context?.path === path);
  const kernel = panel.sessionContext.session.kernel;
  const seen = window.seen = { sent: {}, shown: {} };
  const now = () => performance.timeOrigin + performance.now();
  const painted = done => requestAnimationFrame(() => setTimeout(() => done(now()), 0));
  const look = () => {
    for (const { node: cell } of panel.content.widgets.slice(place, place + 3)) {
      const output = cell.querySelector('.jp-OutputArea')?.textContent ?? '';
      const found = /Attempt (\\d+)/.exec(cell.textContent) || /shown-(\\d+)/.exec(output);
      const key = found && found[0].toLowerCase();
      if (key && seen.shown[key] === undefined && cell.offsetHeight > 0) {
        seen.shown[key] = -1;
        painted(time => { seen.shown[key] = time; });
      }
    }
  };
  new MutationObserver(look).observe(panel.content.node, { childList: true, subtree: true });
  kernel.iopubMessage.connect((_, message) => {
    const time = Date.parse(message.header.date), data = message.content.data;
    if (message.header.msg_type === 'comm_msg' && data.type === 'attempt')
      seen.sent['attempt ' + data.record.attempt] ??= time;
    const text = message.header.msg_type === 'stream' && /shown-\\d+/.exec(message.content.text);
    if (text) seen.sent[text[0]] ??= time;
  });
}"""
FRAMES = """seconds => {
  const frames = window.frameTimes = [];
  let last = performance.now();
  const end = last + seconds * 1000;
  const step = now => {
    frames.push(now - last);
    last = now;
    if (now < end) requestAnimationFrame(step); else window.framesDone = true;
  };
  window.framesDone = false;
  requestAnimationFrame(step);
}"""
OPENING = """([command, selector]) => {
  window.opened = 0;
  const begin = performance.now();
  const look = () => {
    const node = document.querySelector(selector);
    if (node && node.getBoundingClientRect().height > 0)
      requestAnimationFrame(() => setTimeout(() => { window.opened = performance.now() - begin; }, 0));
    else requestAnimationFrame(look);
  };
  void jupyterapp.commands.execute(command);
  look();
}"""
# The federated module and its plugins are timed from outside, so that the extension needs no marks of its own.
TIMED = f"""(() => {{
  const spent = window.spent = {{ module: 0, activate: 0 }};
  const timed = (key, job) => (...given) => {{
    const begin = performance.now();
    try {{ return job(...given); }} finally {{ spent[key] += performance.now() - begin; }}
  }};
  const wrap = plugin => ({{ ...plugin, activate: timed('activate', plugin.activate) }});
  const container = real => ({{
    init: real.init.bind(real),
    get: name => real.get(name).then(factory => {{
      const module = timed('module', factory)();
      if (name !== './extension') return () => module;
      const plugins = [module.default].flat().map(wrap);
      return () => ({{ ...module, __esModule: true, default: plugins }});
    }})
  }});
  const all = {{}};
  window._JUPYTERLAB = new Proxy(all, {{
    set: (target, key, value) => {{ target[key] = key === '{EXTENSION}' ? container(value) : value; return true; }}
  }});
}})()"""
# JupyterLab goes on with the cells of a long notebook whenever it is idle; only then is it at rest.
RENDERED = """path => [...jupyterapp.shell.widgets('main')].find(w => w.context?.path === path)
  .content.widgets.every(cell => cell.isAttached && !cell.placeholder)"""
CLEAR = """path => {
  const shared = [...jupyterapp.shell.widgets('main')].find(w => w.context?.path === path).content.model.sharedModel;
  for (let i = shared.cells.length - 1; i >= 0; i--)
    if (shared.cells[i].getSource().startsWith('%%attempt')) shared.deleteCell(i);
  for (const cell of shared.cells) if (cell.getSource().startsWith("print('shown")) cell.setOutputs([]);
  window.seen.sent = {};
  window.seen.shown = {};
}"""
IDLE = """path => [...jupyterapp.shell.widgets('main')].find(w => w.context?.path === path)
  .sessionContext.session.kernel.status === 'idle'"""
PANEL = ("jupyter-codeagent:open-panel", "#jupyter-codeagent-panel textarea")
CORE_PANEL = ("toc:show-panel", "#table-of-contents")


def front_end(quick: bool) -> Iterator[Row]:
    """Attempt cells and streaming in a notebook of 1,000 cells; opening the panel; starting. Needs Chromium."""
    rounds = 3 if quick else 5
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        model = stack.enter_context(serving())
        browser = chromium(stack.enter_context(sync_playwright()))
        stack.callback(browser.close)
        server, plain = (JupyterServer(place / name, model.url) for name in ("with", "without"))
        stack.callback(server.close)
        stack.callback(plain.close)
        switch_off(plain)
        with page(browser, server, model) as lab:
            lab.load()
            notebook = long_notebook(lab)
            yield from appearing(notebook, rounds)
            yield from streaming(notebook, rounds)
        yield from opening(browser, server, model, rounds)
        yield from starting(browser, server, plain, model, rounds)


def switch_off(server: JupyterServer) -> None:
    """Disable our extension there, as an administrator does."""
    file = server.place / "config" / "labconfig" / "page_config.json"
    file.parent.mkdir()
    file.write_text(json.dumps({"disabledExtensions": {EXTENSION: True}}))


@contextmanager
def page(browser: Browser, server: JupyterServer, model: MessagesServer, *scripts: str) -> Iterator[Lab]:
    """Open a page in a browser of its own, that has nothing in its cache."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    for script in scripts:
        context.add_init_script(script)
    (server.root / FOLDER).mkdir(exist_ok=True)
    lab = Lab(context.new_page(), server, model, FOLDER)
    try:
        yield lab
    finally:
        context.close()
        server.shut_down_kernels()


def long_notebook(lab: Lab) -> Notebook:
    """Open a notebook of 1,000 cells with the agent's in the middle of it, and in view."""
    cells = [f"# step {i}\nvalue_{i} = {i} * 2\nprint(value_{i})" for i in range(CELLS - 2)]
    cells[AGENT - 1 : AGENT - 1] = ["%%agent\nsum the numbers"]
    notebook = lab.notebook(*cells)
    lab.page.wait_for_function(RENDERED, arg=notebook.path, timeout=180_000)
    lab.scroll_to(notebook, AGENT)
    lab.page.evaluate(LISTEN, [notebook.path, AGENT])
    return notebook


def appearing(notebook: Notebook, rounds: int) -> Iterator[Row]:
    """Measure how long it takes from the kernel's sending until a frame shows what it sent."""
    found = interleave(rounds, attempt=lambda: attempt_shown(notebook), line=lambda: line_shown(notebook))
    what = f"a new attempt is a cell, in a notebook of {CELLS:,}"
    yield Row(what, "ms", found["attempt"], bar=100, note="from the kernel's sending to the frame that shows it")
    yield Row(what, "ms", found["attempt"], "a printed line is shown there", found["line"])


def attempt_shown(notebook: Notebook) -> float:
    """Have the agent make an attempt; returns the milliseconds until it was a cell."""
    code = "\n".join(f"part_{i} = {i}" for i in range(8))
    notebook.lab.model.turns = [Turn("I add them.", code=code), Turn(answer="Done.")]
    ask_again(notebook)
    found = heard(notebook, "attempt 1")
    notebook.task("solved")
    clear(notebook)
    return found


def line_shown(notebook: Notebook) -> float:
    """Print a line in a cell; returns the milliseconds until it was shown."""
    notebook.activate(AGENT + 1).write("print('shown', '1', sep='-')")
    notebook.lab.command("notebook:run-cell")
    found = heard(notebook, "shown-1")
    clear(notebook)
    return found


def ask_again(notebook: Notebook) -> None:
    """Run the agent's cell with a text of its own, so that no record is replayed."""
    notebook.cell(AGENT).write(f"%%agent\nsum the numbers, {time.monotonic_ns()}")
    notebook.run(AGENT)


def heard(notebook: Notebook, key: str) -> float:
    """Wait until something was shown; returns how long after its sending."""
    notebook.page.wait_for_function("key => window.seen.shown[key] > 0", arg=key)
    taken: float = notebook.page.evaluate("key => window.seen.shown[key] - window.seen.sent[key]", key)
    return taken


def clear(notebook: Notebook) -> None:
    """Take away what a round has left."""
    notebook.page.wait_for_function(IDLE, arg=notebook.path)
    notebook.page.evaluate(CLEAR, notebook.path)
    notebook.page.wait_for_timeout(200)


def streaming(notebook: Notebook, rounds: int) -> Iterator[Row]:
    """Measure the time between frames while code streams in, and while nothing happens."""
    found: dict[str, list[list[float]]] = {"streaming": [], "still": []}
    for number in range(rounds):
        for name in ("streaming", "still")[:: 1 if number % 2 else -1]:
            found[name].append(frames(notebook, name == "streaming"))
    for what, pick in (("95th percentile", lambda times: percentile(times, 0.95)), ("longest of a round", max)):
        yield Row(
            f"time between frames while {RATE} tokens a second stream, {what}",
            "ms",
            [pick(times) for times in found["streaming"]],
            bar=50,
            note=f"the same notebook at rest: {statistics.median(pick(times) for times in found['still']):.1f} ms",
        )


def frames(notebook: Notebook, stream: bool) -> list[float]:
    """Return the milliseconds between the frames of some seconds."""
    if stream:
        code = "\n".join(f"value_{i:04} = {i:04}  # a line of code" for i in range((SECONDS + 20) * RATE * PIECE // 38))
        notebook.lab.model.turns = [Turn(code=code, pace=1 / RATE), Turn(answer="Done.")]
        ask_again(notebook)
        heard(notebook, "attempt 1")
    notebook.page.evaluate(FRAMES, SECONDS)
    notebook.page.wait_for_function("window.framesDone", timeout=60_000)
    times: list[float] = notebook.page.evaluate("window.frameTimes")
    if stream:
        assert notebook.attempt(1).status == "running", "the stream ended before the measurement"
        notebook.interrupt()
        notebook.task("stopped")
        clear(notebook)
    return times[1:]


def opening(browser: Browser, server: JupyterServer, model: MessagesServer, rounds: int) -> Iterator[Row]:
    """Measure how long the first opening of the panel takes, on fresh pages."""
    found = interleave(
        rounds,
        ours=lambda: opened(browser, server, model, *PANEL),
        core=lambda: opened(browser, server, model, *CORE_PANEL),
    )
    what = "first opening of the panel, nothing of it loaded"
    yield Row(what, "ms", found["ours"], bar=300)
    yield Row(what, "ms", found["ours"], "JupyterLab's table of contents", found["core"])


def opened(browser: Browser, server: JupyterServer, model: MessagesServer, command: str, selector: str) -> float:
    """Open a panel beside a notebook; returns the milliseconds."""
    with page(browser, server, model) as lab:
        lab.load()
        lab.notebook("1", name="short.ipynb")
        lab.page.wait_for_timeout(500)
        lab.page.evaluate(OPENING, [command, selector])
        lab.page.wait_for_function("window.opened")
        taken: float = lab.page.evaluate("window.opened")
        return taken


def starting(
    browser: Browser, server: JupyterServer, plain: JupyterServer, model: MessagesServer, rounds: int
) -> Iterator[Row]:
    """Measure what the extension costs when a page is loaded, and what of it is fetched."""
    spent, sizes = [], []
    for _ in range(rounds + 1):
        milliseconds, size = started(browser, server, model)
        spent.append(milliseconds)
        sizes.append(size)
    yield Row(
        "evaluating and activating the extension at start",
        "ms",
        spent[1:],
        bar=50,
        note="time on the page's main thread",
    )
    yield Row("fetched of the extension before the panel opens, gzip", "KB", sizes[-1:], bar=30)
    found = interleave(
        rounds,
        ours=lambda: restored(browser, server, model),
        without=lambda: restored(browser, plain, model),
    )
    yield Row("loading JupyterLab until it is restored", "ms", found["ours"], "without the extension", found["without"])


def started(browser: Browser, server: JupyterServer, model: MessagesServer) -> tuple[float, float]:
    """Load a page with a notebook; returns milliseconds spent in our code, and kilobytes of it that were fetched."""
    fetched: list[Response] = []
    with page(browser, server, model, TIMED) as lab:
        lab.page.on("response", lambda response: fetched.append(response))
        lab.load()
        lab.notebook("1", name="short.ipynb")
        taken: dict[str, float] = lab.page.evaluate("window.spent")
        ours = [response.body() for response in fetched if f"/extensions/{EXTENSION}/" in response.url]
    assert taken["module"] > 0 and ours, "the extension was not loaded"
    return sum(taken.values()), sum(len(gzip.compress(body)) for body in ours) / 1000


def restored(browser: Browser, server: JupyterServer, model: MessagesServer) -> float:
    """Return the milliseconds until JupyterLab is there."""
    with page(browser, server, model) as lab:
        begin = time.perf_counter()
        lab.load()
        return (time.perf_counter() - begin) * 1000
