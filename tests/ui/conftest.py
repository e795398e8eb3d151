"""One server, one scripted model, one browser and one page for all tests; a notebook and kernel for each."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Generator, Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.messages_server import MessagesServer, Turn, serving
from tests.ui.browser import Watch, chromium, trapped, watched
from tests.ui.jupyter import BUNDLE, JupyterServer
from tests.ui.lab import Lab

FAILED = pytest.StashKey[bool]()
NewLab = Callable[[Page], Lab]

expect.set_options(timeout=20_000)  # as for all else that is waited for: a machine may be busy

# Playwright's loop must not outlive these tests: others start loops of their own. Hence scope "package".


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests beside neighbours unless asked for: they need an environment of their own."""
    if "CODEAGENT_NEIGHBOURS_PYTHON" not in os.environ and "neighbours" not in config.option.markexpr:
        left = [item for item in items if item.get_closest_marker("neighbours")]
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in left]


@pytest.fixture(scope="package")
def model_server() -> Iterator[MessagesServer]:
    with serving() as server:
        yield server


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory, model_server: MessagesServer) -> Iterator[JupyterServer]:
    if not (BUNDLE / "static" / "style.js").exists():
        pytest.fail("The labextension is not built; run: npm --prefix labextension run build:prod", pytrace=False)
    server = JupyterServer(tmp_path_factory.mktemp("jupyter"), model_server.url)
    yield server
    server.close()


@pytest.fixture(scope="package")
def chrome() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = chromium(playwright)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def shared(chrome: Browser, server: JupyterServer) -> Iterator[tuple[BrowserContext, Watch]]:
    """The context of most tests, so that the browser keeps JupyterLab's files."""
    with watched(chrome, f"http://127.0.0.1:{server.port}/") as found:
        yield found


class Shared:
    """The page that tests share until one of them fails on it."""

    page: Page | None = None


@pytest.fixture(scope="package")
def shared_page() -> Shared:
    return Shared()


@pytest.fixture
def folder(request: pytest.FixtureRequest, server: JupyterServer) -> str:
    """A folder of the test's own below the server's root."""
    name = re.sub(r"\W+", "-", request.node.name).strip("-")[:120]  # variants of a test differ at the end
    if again := getattr(request.node, "execution_count", 1) - 1:  # a test that is repeated finds no record of before
        name += f"-{again}"
    (server.root / name).mkdir(exist_ok=True)
    return name


@pytest.fixture
def model(model_server: MessagesServer) -> Iterator[Callable[..., MessagesServer]]:
    """Load turns: ``model(Turn(...), ...)``; returns the server."""

    def load(*turns: Turn) -> MessagesServer:
        model_server.turns = list(turns)
        model_server.requests.clear()
        return model_server

    load()
    yield load
    load()


@pytest.fixture
def watch(shared: tuple[BrowserContext, Watch], server: JupyterServer) -> Iterator[Watch]:
    """What went wrong in the browser; anything that did fails the test."""
    yield shared[1]
    server.shut_down_kernels()
    shared[1].check()


@pytest.fixture
def lab(
    request: pytest.FixtureRequest,
    shared_page: Shared,
    shared: tuple[BrowserContext, Watch],
    watch: Watch,
    new_lab: NewLab,
) -> Iterator[Lab]:
    """JupyterLab without open documents, on the page that tests share."""
    if shared_page.page is None:
        shared_page.page = shared[0].new_page()
        new_lab(shared_page.page).load()
    found = new_lab(shared_page.page)
    yield found
    look(request, found)
    if request.node.stash.get(FAILED, False):
        shared_page.page.close()
        shared_page.page = None
    else:
        found.close_widgets()


@pytest.fixture
def own_lab(
    request: pytest.FixtureRequest, shared: tuple[BrowserContext, Watch], watch: Watch, new_lab: NewLab
) -> Iterator[Lab]:
    """JupyterLab on a page of the test's own, not loaded yet: for other settings, other sizes, and reloading."""
    found = new_lab(shared[0].new_page())
    yield found
    look(request, found)
    found.page.close()


@pytest.fixture
def new_lab(server: JupyterServer, model: object, model_server: MessagesServer, folder: str) -> NewLab:
    """Make a `Lab` of a page."""
    return lambda page: Lab(page, server, model_server, folder)


def look(request: pytest.FixtureRequest, lab: Lab) -> None:
    """Keep a picture of a failure, and make sure that nobody else's script ran."""
    if request.node.stash.get(FAILED, False):
        picture = lab.server.place / f"{lab.folder}.png"
        lab.page.screenshot(path=picture)
        request.node.add_report_section("teardown", "screenshot", str(picture))
    assert trapped(lab.page) == []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        item.stash[FAILED] = True
    return report
