"""Several candidates for one attempt: as cells, as cards, and the choice among them."""

from __future__ import annotations

import threading

from playwright.sync_api import expect

from tests.messages_server import Turn
from tests.ui.lab import Attempt, Lab, Notebook
from tests.ui.stories import LONG, SOLVED, SUM, WRONG

SMALL = "total = 1"
LARGE = "total = 1 + 1"
BOTH = "--candidates 2"


def two(lab: Lab, model, options: str = BOTH) -> Notebook:
    """A notebook with two candidates that succeeded, the first of which, the smaller, was chosen."""
    model(Turn("In short.", code=SMALL), Turn("At length.", code=LARGE), SOLVED, SOLVED)
    notebook = lab.notebook()
    notebook.agent(options=options)
    notebook.task("solved")
    return notebook


def chosen(notebook: Notebook) -> list[int]:
    """The numbers of the attempts that stand as chosen, and are shown whole."""
    cells = [Attempt(notebook, cell.id) for cell in notebook.attempts() if cell.record["chosen"]]
    return [cell.number for cell in cells if not cell.collapsed]


def choose(notebook: Notebook, number: int) -> None:
    attempt = notebook.attempt(number)
    attempt.toggle.click()
    attempt.press("Choose this one")
    notebook.lab.until(lambda: chosen(notebook) == [number], f"candidate {number} is chosen")


def test_candidates_stream_at_the_same_time_and_one_is_chosen(lab, model):
    hold = threading.Event()
    first = Turn("I add them.", code=LONG, hold=hold, held=150, pace=0.005)
    model(first, Turn("Shorter.", code=SUM), Turn("Wrong.", code=WRONG), SOLVED, SOLVED, SOLVED)
    notebook = lab.notebook()
    notebook.agent(options="--candidates 3 --background")
    attempts = [notebook.attempt(number) for number in (1, 2, 3)]
    lab.until(lambda: "step_3" in attempts[0].state.source, "half of the first candidate")
    lab.until(lambda: {a.state.code for a in attempts[1:]} == {SUM, WRONG}, "the others beside it")
    for number, attempt in enumerate(attempts, 1):
        expect(attempt.strip).to_contain_text(f"candidate {number} of 3")
        assert not attempt.collapsed
    expect(attempts[0].strip).to_contain_text("writing")
    hold.set()
    notebook.task("solved")
    (best,) = (a for a in attempts if a.state.code == SUM)
    lab.until(lambda: chosen(notebook) == [best.number], "the decision")
    expect(best.strip).to_contain_text("chosen, succeeded")
    expect(best.strip).to_contain_text("was chosen")
    for other in attempts:
        if other.number != best.number:
            expect(other.strip).to_contain_text("not chosen, ")
            expect(other.strip).to_contain_text("Not chosen: ")
            assert other.collapsed
    expect(notebook.bar).to_contain_text("3 candidates each")
    expect(notebook.bar).to_contain_text("0 of 1 reviewed")


def test_choosing_another_candidate_is_one_step_and_the_sandbox_follows(lab, model):
    notebook = two(lab, model)
    assert chosen(notebook) == [1]
    choose(notebook, 2)
    assert notebook.attempt(1).collapsed
    expect(notebook.attempt(2).button("Choose this one")).to_have_count(0)
    lab.command("notebook:undo-cell-action")
    lab.until(lambda: chosen(notebook) == [1], "undo")
    lab.command("notebook:redo-cell-action")
    lab.until(lambda: chosen(notebook) == [2], "redo")
    model(Turn(code="print(total)"), Turn(answer="Seen."))
    notebook.agent("look")
    notebook.task("solved")
    assert notebook.attempt(1).state.text == "2\n"


def test_the_kernel_follows_undo_of_a_choice(lab, model):
    notebook = two(lab, model)
    choose(notebook, 2)
    lab.command("notebook:undo-cell-action")
    lab.until(lambda: chosen(notebook) == [1], "undo")
    model(Turn(code="print(total)"), Turn(answer="Seen."))
    notebook.agent("look")
    notebook.task("solved")
    assert notebook.attempt(1).state.text == "1\n"


def test_a_candidate_is_chosen_by_keys_and_by_the_command(lab, model):
    notebook = two(lab, model)
    other = notebook.attempt(2)
    other.activate()
    assert lab.enabled("jupyter-codeagent:choose-candidate")
    lab.command("jupyter-codeagent:choose-candidate")
    lab.until(lambda: chosen(notebook) == [2], "the command")
    assert not lab.enabled("jupyter-codeagent:choose-candidate")
    first = notebook.attempt(1)
    first.toggle.press("Enter")
    first.button("Choose this one").press("Enter")
    lab.until(lambda: chosen(notebook) == [1], "the key")


def test_accepting_a_candidate_that_was_not_chosen_takes_its_code(lab, model):
    notebook = two(lab, model)
    other = notebook.attempt(2)
    other.toggle.click()
    other.press("Accept")
    other.becomes("accepted")
    assert other.state.source == LARGE
    lab.until(lambda: chosen(notebook) == [], "the other one is chosen no more")
    expect(notebook.bar).to_contain_text("1 of 1 reviewed")


def test_accept_all_leaves_out_what_was_not_chosen(lab, model):
    model(*[Turn(code=c) for c in ("a = 1", "a = 1 + 1", "b = 2", "b = 1 + 1")], SOLVED, SOLVED)
    notebook = lab.notebook()
    notebook.agent(options=BOTH)
    notebook.task("solved")
    notebook.bar.get_by_role("button", name="Accept all").click()
    lab.until(lambda: [a.record["role"] for a in notebook.attempts()].count("accepted") == 2, "both rounds")
    assert [a.source for a in notebook.attempts() if a.record["role"] == "accepted"] == ["a = 1", "b = 2"]
    expect(notebook.bar).to_contain_text("2 of 2 reviewed")


def test_cards_of_candidates_stand_side_by_side_where_there_is_room(lab, model):
    notebook = two(lab, model)
    panel = lab.open_panel()
    group = panel.element.get_by_role("group", name="Candidates", exact=True)
    expect(group).to_be_visible()
    boxes = [panel.card(number).bounding_box() for number in (1, 2)]
    assert boxes[0]["x"] == boxes[1]["x"] and boxes[0]["y"] < boxes[1]["y"]
    lab.page.evaluate("jupyterapp.shell._hsplitPanel.setRelativeSizes([0, 1, 2])")

    def beside() -> bool:
        one, other = (panel.card(number).bounding_box() for number in (1, 2))
        return one["y"] == other["y"] and one["x"] < other["x"]

    lab.until(beside, "cards side by side")
    card = panel.card(2)
    expect(card).to_contain_text("not chosen, succeeded")
    card.get_by_role("button", expanded=False).click()
    card.get_by_role("button", name="Choose this one").click()
    lab.until(lambda: chosen(notebook) == [2], "chosen in the panel")
    expect(panel.card(1)).to_contain_text("not chosen")


def test_candidates_are_set_in_the_options_of_the_panel(lab, model):
    notebook = lab.notebook()
    panel = lab.open_panel()
    panel.options.get_by_label("Candidates").fill("2")
    model(Turn(code=SMALL), Turn(code=LARGE), SOLVED, SOLVED)
    panel.send("one, please")
    task = notebook.task("solved")
    assert "--candidates 2" in task.source.splitlines()[0]
    assert len(notebook.attempts()) == 2
    panel.options.get_by_label("Candidates").fill("")


def test_a_reload_keeps_the_choice(own_lab, model, watch):
    watch.allow("Comm not found for comm id")
    own_lab.load()
    notebook = two(own_lab, model)
    choose(notebook, 2)
    notebook.save()
    own_lab.load(query="")
    again = own_lab.open().ready()
    own_lab.until(lambda: chosen(again) == [2], "the choice")
    assert len(again.attempts()) == 2
