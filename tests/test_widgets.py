"""The record as ipywidgets: what it shows, what its buttons do in a real kernel, and where it is chosen."""

import re
import time

import nbformat
import pytest
from nbclient import NotebookClient

from jupyter_codeagent.errors import WrongUse
from jupyter_codeagent.front_end import EXTENSION, FrontEnd, choose_view, find_front_end, host, installed
from jupyter_codeagent.trajectory import Action, Answer, Attempt, CodeError, Observation, Trajectory, Verdict
from jupyter_codeagent.widgets import VIEW, Buttons, WidgetView
from tests.kernels import LOAD, clean_environment, kernel_page
from tests.messages_server import Turn, serving
from tests.test_display import EVIL, Tags, solved

HEAVY = "<b onclick=alert(1)>\u202eError</b>" + "x" * 500


class Desk:
    """Does what the buttons ask, and remembers it."""

    def __init__(self):
        self.asked = []
        self.buttons = Buttons(self.accept, self.run, self.discard)

    def accept(self, trajectory, attempt):
        self.asked.append(("accept", attempt.number))
        attempt.accepted = True
        return "The variable df has changed since."

    def run(self, trajectory, attempt):
        self.asked.append(("run", attempt.number))
        attempt.accepted = True
        return "It failed there (NameError)."

    def discard(self, trajectory, attempt):
        raise WrongUse("There is no sandbox <b>.")

    def stop(self, trajectory):
        self.asked.append(("stop", trajectory.id))
        return "It stops."


class Screen:
    """Keeps what is displayed, as a front end would."""

    def __init__(self):
        self.calls, self.outputs = [], {}

    def __call__(self, bundle, raw, display_id=None, update=False):
        assert raw
        self.calls.append(bundle)
        self.outputs[display_id] = bundle


def inside(widget, kind):
    """Return all widgets of a kind within `widget`, from top to bottom."""
    found = [widget] if type(widget).__name__ == kind else []
    for child in getattr(widget, "children", ()):
        found += inside(child, kind)
    return found


def shown_buttons(view):
    rows = [box for box in inside(view._accordion, "HBox") if box.layout.display != "none"]
    return [button for row in rows for button in row.children]


def button(view, label, attempt):
    (found,) = (b for b in inside(view._accordion.children[attempt - 1], "Button") if b.description == label)
    return found


def html(view):
    return "".join(w.value for w in inside(view._box, "HTML"))


def words(view):
    return re.sub(r"\s+", " ", re.sub(r"<style>.*?</style>|<[^>]+>", " ", html(view), flags=re.DOTALL))


def opened(stop=False, apart=False):
    desk, screen = Desk(), Screen()
    buttons = Buttons(desk.accept, desk.run, desk.discard, desk.stop) if stop else desk.buttons
    return WidgetView(screen, buttons, apart=apart), desk, screen


def test_a_view_shows_the_state_the_attempts_and_the_answer():
    view, _, _ = opened()
    trajectory = solved()
    view.open(trajectory, "what is <asked> where")
    view.close(trajectory, "a notice")
    for part in ("what is &lt;asked&gt; where", "Solved", "2 attempts", "3,630 tokens", "passed", "42", "a notice"):
        assert part in words(view), part
    titles = [view._accordion.get_title(index) for index in range(2)]
    assert titles == ["Attempt 1: failed, KeyError, rolled back, 0.2 s", "Attempt 2: succeeded, 0.5 s"]
    assert view._accordion.selected_index == 1
    assert html(view).count("<style>") == 1


def test_nothing_hostile_becomes_a_tag_a_title_or_a_link():
    view, _, screen = opened(apart=True)
    trajectory = solved()
    trajectory.attempts[0].observation = Observation([], CodeError(HEAVY, EVIL, [EVIL]), notes=(EVIL,))
    trajectory.attempts[0].action = Action(f"![x](http://evil/x.png) {EVIL}", f"x = '{EVIL}\u202e'")
    trajectory.answers = [Answer(Action(f"[x](http://evil) {EVIL}"), (Verdict(EVIL, False, EVIL),), 2)]
    view.open(trajectory, EVIL)
    view.close(trajectory, EVIL)
    tags = Tags(html(view))
    assert tags.open == [] and not {"script", "img", "iframe", "a", "link"} & tags.names()
    assert not any(name.startswith("on") for _, attributes in tags.found for name in attributes)
    name = view._accordion.get_title(0).removeprefix("Attempt 1: failed, ").partition(",")[0]
    assert re.fullmatch(r"\w{1,60}", name)
    assert not re.search("[\u202a-\u202e\u2066-\u2069]", html(view) + str(screen.outputs))


def test_in_the_foreground_there_are_no_buttons_before_the_end():
    view, _, _ = opened()
    trajectory = solved()
    trajectory.answers.clear()
    view.open(trajectory, "")
    view.show(trajectory)
    assert shown_buttons(view) == [] and view._stop.layout.display == "none"
    assert "stop button" in words(view)
    trajectory.stopped = True
    view.close(trajectory)
    assert [b.description for b in shown_buttons(view)] == ["Accept and run", "Accept", "Discard"] * 2
    assert "stop button" not in words(view)


def test_in_the_background_stop_and_the_buttons_of_what_is_done_work_at_once():
    view, desk, _ = opened(stop=True)
    trajectory = solved()
    trajectory.answers.clear()
    trajectory.current = Attempt(3, Action("", "x = 1"))
    view.open(trajectory, "")
    view.show(trajectory)
    assert len(shown_buttons(view)) == 6 and view._stop.layout.display == ""
    view._stop.click()
    assert desk.asked == [("stop", trajectory.id)]
    assert view._stop.disabled and view._stop.tooltip == "It stops."
    trajectory.stopped, trajectory.current = True, None
    view.close(trajectory)
    assert view._stop.layout.display == "none"
    assert len(view._accordion.children) == 2 and view._accordion.selected_index == 1


def test_the_newest_attempt_opens_unless_the_user_reads_another_one():
    view, _, _ = opened(stop=True)
    trajectory = Trajectory("t")
    for number in (1, 2, 3):
        trajectory.attempts.append(Attempt(number, Action("", "x"), Observation(), done=True))
        view.show(trajectory)
        assert view._accordion.selected_index == number - 1
    view._accordion.selected_index = 0
    trajectory.attempts.append(Attempt(4, Action("", "x"), Observation(), done=True))
    view.show(trajectory)
    assert view._accordion.selected_index == 0


def test_accept_says_where_the_code_is():
    view, desk, screen = opened()
    trajectory = solved()
    view.close(trajectory)
    button(view, "Accept", 2).click()
    assert desk.asked == [("accept", 2)]
    for part in (
        "is in no cell and has not run here",
        "copy it from above",
        "%agent accept abc123.2",
        "df has changed",
    ):
        assert part in words(view), part
    assert button(view, "Accept", 2).disabled and not button(view, "Discard", 2).disabled
    assert view._accordion.get_title(1).startswith("Attempt 2: accepted")
    (record,) = screen.outputs.values()
    assert "Attempt 2: accepted" in record["text/markdown"]


def test_accept_and_run_says_what_came_of_it_and_that_no_cell_has_it():
    view, desk, _ = opened()
    view.close(solved())
    button(view, "Accept and run", 2).click()
    assert desk.asked == [("run", 2)]
    for part in ("ran in your kernel. It failed there (NameError).", "in no cell", "%agent accept abc123.2"):
        assert part in words(view), part


def test_what_a_button_cannot_do_is_one_sentence():
    view, _, _ = opened()
    view.close(solved())
    button(view, "Discard", 1).click()
    assert "There is no sandbox &lt;b&gt;." in words(view) and "is discarded" not in words(view)


def test_growing_code_changes_one_piece_of_html_ten_times_a_second():
    view, _, screen = opened()
    trajectory = Trajectory("t")
    attempt = Attempt(2, Action("", ""))
    done = solved().attempts[0]
    trajectory.attempts, trajectory.current = [done], attempt
    view.open(trajectory, "told")
    changes = []
    for place, widget in enumerate(inside(view._box, "HTML")):
        widget.observe(lambda change, place=place: changes.append(place), "value")
    began = time.monotonic()
    while (passed := time.monotonic() - began) < 0.6:
        attempt.action = Action("", "x = 1\n" * int(1000 * passed))
        view.show(trajectory)
    most = passed / 0.1 + 2
    assert len(screen.calls) == 1
    grown = [place for place in changes if place != 1]  # 1 is the line with the seconds
    assert len(set(grown)) == 1 and 3 <= len(grown) <= most


def test_the_record_is_kept_as_markdown_in_the_same_output():
    view, _, screen = opened()
    trajectory = solved()
    view.open(trajectory, "told")
    view.close(trajectory)
    (record,) = screen.outputs.values()
    assert set(record) == {VIEW, "text/markdown", "text/plain"}
    for part in ("told", "**Solved**", "**Attempt 1: failed", "```python\ndf['Revenue'].sum()\n```", "It is **42**"):
        assert part in record["text/markdown"], part
    assert "It is **42**" in record["text/plain"]


def test_apart_from_the_widget_the_record_is_an_output_that_is_hidden_beside_it():
    view, _, screen = opened(apart=True)
    trajectory = solved()
    view.open(trajectory, "told")
    view.close(trajectory)
    record, widget = (next(b for b in screen.outputs.values() if (VIEW in b) is live) for live in (False, True))
    assert set(record) == {"text/html", "text/markdown", "text/plain"}
    assert set(widget) == {VIEW, "text/plain"}
    assert [VIEW in bundle for bundle in screen.calls] == [False, True, False]
    assert ":has(+ .jp-OutputArea-child .jca-live)" in record["text/html"]
    assert "jca-live" in view._box._dom_classes


# -- which view ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("front", "kind"),
    [
        (FrontEnd(kernel=False), "terminal"),
        (FrontEnd("jupyter", widgets=True), "widgets"),
        (FrontEnd("vscode", widgets=True), "widgets"),
        (FrontEnd("colab", widgets=True), "widgets"),
        (FrontEnd("jupyter", widgets=True, cells=True), "record"),
        (FrontEnd("jupyter"), "record"),
        (FrontEnd("jupyter", widgets=True, attended=False), "record"),
        (FrontEnd("", widgets=True), "record"),
    ],
)
def test_the_view_fits_the_front_end(front, kind):
    assert choose_view(front) == kind


def test_a_front_end_is_known_by_what_it_sends():
    assert host({"metadata": {"cellId": "0f3c"}}, {}, {}) == "jupyter"
    assert host({"metadata": {"cellId": "vscode-notebook-cell:/home/x.ipynb#W0"}}, {}, {}) == "vscode"
    assert host({"metadata": {}}, {"__vsc_ipynb_file__": "/x.ipynb"}, {}) == "vscode"
    assert host({}, {}, {"google.colab": None}) == "colab"
    assert host({}, {}, {}) == ""


def test_the_extension_is_found_where_servers_look(tmp_path):
    assert not installed([str(tmp_path)])
    (tmp_path / EXTENSION).mkdir()
    (tmp_path / EXTENSION / "package.json").write_text("{}")
    assert installed([str(tmp_path / "other"), str(tmp_path)])


def test_without_a_kernel_it_is_a_terminal():
    assert find_front_end(object(), attached=False) == FrontEnd(kernel=False)


# -- a real kernel ------------------------------------------------------------------------------

SHOW = """
from IPython import get_ipython
from IPython.display import display
from jupyter_codeagent.front_end import choose_view, find_front_end
from jupyter_codeagent.trajectory import Action, Answer, Attempt, Observation, Trajectory
from jupyter_codeagent.widgets import Buttons, WidgetView
shell = get_ipython()

def accept(trajectory, attempt):
    attempt.accepted = True
    return ""

def run(trajectory, attempt):
    attempt.accepted = True
    done = shell.run_cell(attempt.action.code, store_history=False)
    return "" if done.success else f"It failed there ({type(done.error_in_exec).__name__})."

def discard(trajectory, attempt):
    attempt.discarded = True
    return "The sandbox is as if it had not been made."

def made(number, code):
    return Attempt(number, Action("So.", code), Observation(), done=True)

attempts = [made(1, "print('from the kernel', flush=True)\\nkept = 5\\nkept"), made(2, "1 / 0")]
task = Trajectory("t", attempts=attempts, answers=[Answer(Action("Done."), after=2)], id="abc123")
view = WidgetView(display, Buttons(accept, run, discard))
view.open(task, "told")
view.close(task)
print(choose_view(find_front_end(shell, attached=True)), find_front_end(shell, attached=True).name)
"""


class Widgets:
    """The widgets of a kernel as ipywidgets' front-end part has them: states by comm, changed by messages."""

    def __init__(self, page):
        self.page, self.read, self.states = page, 0, {}

    def follow(self):
        for message in self.page.all[self.read :]:
            content = message["content"]
            if message["msg_type"] == "comm_open" and content["target_name"] == "jupyter.widget":
                self.states[content["comm_id"]] = dict(content["data"]["state"])
            elif message["msg_type"] == "comm_msg" and content["data"].get("method") == "update":
                self.states[content["comm_id"]].update(content["data"]["state"])
        self.read = len(self.page.all)

    def ids(self, **wanted):
        self.follow()
        return [i for i, state in self.states.items() if all(state.get(k) == v for k, v in wanted.items())]

    def says(self, part):
        self.follow()
        return any(part in str(state.get("value", "")) for state in self.states.values())

    def click(self, label, which):
        """Click the button with this label of attempt `which`; returns the request's id once it was handled."""
        session = self.page.client.session
        comm = self.ids(_model_name="ButtonModel", description=label)[which - 1]
        message = session.msg(
            "comm_msg", {"comm_id": comm, "data": {"method": "custom", "content": {"event": "click"}}}
        )
        self.page.client.shell_channel.send(message)
        request = message["header"]["msg_id"]
        self.page.until(lambda: request in self.page.idle)
        return request

    def outputs_of(self, request):
        return [m for m in self.page.all if m["parent_header"].get("msg_id") == request]


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


def test_clicks_do_in_a_kernel_what_the_buttons_say(folder, tmp_path):
    with kernel_page(folder, clean_environment(tmp_path)) as page:
        shown = page.run(SHOW)
        assert shown.reply["status"] == "ok" and shown.text == "record jupyter\n"
        assert VIEW in shown.displays[-1]["data"] and "**Solved**" in shown.displays[-1]["data"]["text/markdown"]
        widgets = Widgets(page)

        request = widgets.click("Accept and run", 1)
        assert widgets.says("ran in your kernel") and widgets.says("%agent accept abc123.1")
        captured = [s["msg_id"] for s in map(widgets.states.get, widgets.ids(_model_name="OutputModel"))]
        assert captured == ["", ""]  # captures nothing beyond the click
        sent = widgets.outputs_of(request)
        kinds = [m["msg_type"] for m in sent]
        begun = next(i for i, m in enumerate(sent) if m["content"].get("data", {}).get("state", {}).get("msg_id"))
        assert sent[begun]["content"]["data"]["state"]["msg_id"] == request
        assert begun < kinds.index("stream") and sent[kinds.index("stream")]["content"]["text"] == "from the kernel\n"
        assert page.run("print(kept)").text == "5\n"

        widgets.click("Accept and run", 2)
        assert widgets.says("It failed there (ZeroDivisionError).")
        widgets.click("Discard", 2)
        assert widgets.says("Attempt 2 is discarded. The sandbox is as if it had not been made.")
        assert (
            page.run("print([(a.accepted, a.discarded) for a in attempts])").text == "[(True, False), (True, True)]\n"
        )


def test_a_task_in_vs_code_is_a_widget_and_its_code_runs_in_the_kernel(folder, tmp_path):
    turns = [Turn("I add.", code="total = 20 + 22\ntotal"), Turn(answer="It is **42**.")]
    with serving(turns) as server:
        environment = {**clean_environment(tmp_path), "ANTHROPIC_BASE_URL": server.url}
        with kernel_page(folder, environment) as page:
            page.run(LOAD)
            shown = page.run("%%agent\nadd 20 and 22", cell="vscode-notebook-cell:/home/x.ipynb#W1")
            assert shown.reply["status"] == "ok", shown.errors
            assert VIEW in shown.displays[-1]["data"]
            assert "It is **42**." in shown.displays[-1]["data"]["text/markdown"]
            widgets = Widgets(page)
            widgets.click("Accept and run", 1)
            assert widgets.says("ran in your kernel") and page.run("print(total)").text == "42\n"
            widgets.click("Discard", 1)
            assert widgets.says("Attempt 1 is discarded.")


def test_a_run_by_nbclient_keeps_the_record_as_markdown(folder, tmp_path):
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(SHOW)])
    client = NotebookClient(made, timeout=90, resources={"metadata": {"path": str(folder)}})
    with client.setup_kernel(env=clean_environment(tmp_path)):
        client.execute_cell(made.cells[0], 0)
    nbformat.validate(made)
    (record,) = (o for o in made.cells[0].outputs if o.output_type == "display_data")
    assert "**Attempt 1: succeeded" in record.data["text/markdown"] and "Done." in record.data["text/plain"]
    assert made.cells[0].outputs[-1].text == "record \n"
