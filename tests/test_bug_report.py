"""Bug reports: what is in them, what is taken out of them, and that they are shown before they are written."""

import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from jupyter_codeagent import Action, Attempt, Observation, Trajectory
from jupyter_codeagent.bug_report import Redaction, bug_report, read_task, write_report
from jupyter_codeagent.doctor import Finding
from jupyter_codeagent.errors import TrajectoryError
from jupyter_codeagent.journal import Journals
from jupyter_codeagent.keys import Keys
from jupyter_codeagent.records import Place, Records
from jupyter_codeagent.trajectory import Answer, CodeError

SECRET = "sk-ant-" + "a1" * 20
WORD = "correct-horse-battery"
HOME = Path("/home/erika")


def redaction():
    return Redaction(Keys({"SOME_API_KEY": WORD}), HOME, ["erika", "workhorse", "root", "ab"])


def task():
    data = {"image/png": "iVBOR" * 1000, "text/plain": "<Figure>"}
    picture = {"output_type": "display_data", "data": data, "metadata": {}}
    coloured = f"key = \x1b[32m'{SECRET[:20]}\x1b[39m{SECRET[20:]}'"
    error = CodeError("ValueError", f"no {HOME}/data.csv on workhorse", [coloured])
    exchange = ({"role": "assistant", "content": [{"type": "thinking", "thinking": WORD, "signature": "x" * 500}]},)
    code = f"password = 'hunter22222'\nopen('{HOME}/data.csv')  # ```"
    trajectory = Trajectory("look at /home/erika/data.csv", f"{WORD} of erika", rests_on={"n": "ab"})
    trajectory.attempts = [
        Attempt(1, Action("Erika's way", code, exchange=exchange), Observation([picture], error), True, True),
        Attempt(2, Action("", "y" * 50_000), Observation([]), True),
    ]
    trajectory.answers = [Answer(Action("I give up.", gave_up=True), after=2)]
    return trajectory


def test_a_report_holds_what_is_needed_and_no_secrets():
    text = bug_report(task(), [Finding("Python", True, f"3.12 at {HOME}/bin/python ```")], redaction())
    for hidden in (SECRET[:24], SECRET[20:], WORD, "hunter22222", "/home/erika", "erika", "workhorse", "iVBOR", "xxxx"):
        assert hidden not in text.lower() and hidden not in text, hidden
    for shown in ("status: failed", "gave up", "I give up.", "ValueError", "~/data.csv", "codeagent: 0", "python: "):
        assert shown in text, shown
    assert "ok       Python: 3.12 at ~/bin/python '''" in text and "<Figure>" in text and len(text) < 60_000
    assert text.count("```") == 4 + 1  # the one in the code stands within a line


def test_the_trajectory_in_a_report_can_be_loaded(tmp_path):
    text = bug_report(task(), [], redaction())
    (lines,) = re.findall(r"(?ms)^```jsonl\n(.*?)\n^```$", text)
    (tmp_path / "t.jsonl").write_text(lines + "\n")
    loaded = Trajectory.load(tmp_path / "t.jsonl")
    assert loaded.status == "failed" and loaded.attempts[0].observation.error.ename == "ValueError"
    assert loaded.rests_on == {} and "characters left out" in loaded.attempts[1].action.code


def test_names_that_tell_nothing_stay_and_parts_of_words_too():
    made = redaction()
    assert made.text("the root of ab, /home/erikas, hererika") == "the root of ab, /home/erikas, hererika"
    assert made.text("/home/erika erika-2 x_erika") == "~ someone-2 x_someone"
    assert Redaction(Keys({}), Path("/"), []).text("/ and /a") == "/ and /a"


def test_the_latest_task_is_found_among_runs_and_notebooks(tmp_path):
    with pytest.raises(TrajectoryError, match="no task yet"):
        read_task("latest", tmp_path)
    (writer,) = Journals(tmp_path / "journals").writers(Trajectory("first"))
    writer.close()
    os.utime(writer.path, (1, 1))
    assert read_task("latest", tmp_path).task == "first"
    Records(tmp_path / "records").save("cell", Place("x"), Trajectory("second"))
    assert read_task("latest", tmp_path).task == "second"
    (tmp_path / "bad.jsonl").write_text(json.dumps({"version": 1, "task": 5}))
    with pytest.raises(TrajectoryError, match="'task' is '5'"):
        read_task(str(tmp_path / "bad.jsonl"), tmp_path)


def test_a_report_is_written_for_its_owner_and_never_over_a_file(tmp_path):
    write_report("text\udc80", tmp_path / "r.md")
    assert (tmp_path / "r.md").read_text() == "text?" and stat.S_IMODE((tmp_path / "r.md").stat().st_mode) == 0o600
    with pytest.raises(TrajectoryError, match="exists and was not touched"):
        write_report("other", tmp_path / "r.md")
    with pytest.raises(TrajectoryError, match="was not written"):
        write_report("other", tmp_path / "none" / "r.md")


def test_the_command_shows_a_report_and_writes_it_when_told_to(tmp_path):
    task().save(tmp_path / "t.jsonl")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("ANTHROPIC", "JUPYTER"))}
    environment = {**kept, "JUPYTER_DATA_DIR": str(tmp_path), "ANTHROPIC_API_KEY": WORD}
    terminal, inside = os.openpty()
    os.write(terminal, b"y\n")
    done = subprocess.run(
        [sys.executable, "-m", "jupyter_codeagent.app", "report", "t.jsonl", "-o", "r.md"],
        cwd=tmp_path,
        env=environment,
        stdin=inside,
        capture_output=True,
        text=True,
        timeout=120,
    )
    os.close(inside)
    os.close(terminal)
    assert done.returncode == 0 and "Write this to r.md? [y/N]" in done.stderr, done.stderr
    assert done.stdout.startswith("# Report of a task") and WORD not in done.stdout and "isolation: tier" in done.stdout
    assert "read it before you send it" in done.stderr
    assert (tmp_path / "r.md").read_text().splitlines()[:20] == done.stdout.splitlines()[:20]
