"""Any trajectory, saved and loaded again, becomes a notebook with the verdict that it deserves."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nbformat import read, validate

from jupyter_codeagent import Action, Attempt, Sandbox, SandboxPolicy, Trajectory, save_notebook, verify_notebook
from jupyter_codeagent.trajectory import Answer, Usage, Verdict

HOSTILE = [
    "",
    "```\n# x",
    "![](http://x.example/?q)",
    "<script>1</script>",
    "\x1b[31m\x07",
    "\ud800",
    "%%agent\nx",
    "a\r\nb\u2028",
]
texts = st.sampled_from(HOSTILE) | st.text(max_size=20)
names = st.sampled_from(["a", "b", "é", "_c", "given"])
# what a model may write, harmless and the same each time: code, and whether it fails
statements = st.one_of(
    st.builds("{} = {!r}".format, names, st.integers() | texts | st.lists(texts, max_size=2)),
    st.builds("print({!r})".format, texts),
    st.builds("import sys; print({!r}, file=sys.stderr)".format, texts),
    st.builds("{!r}".format, st.floats() | texts | st.dictionaries(texts, st.integers(), max_size=2)).filter(
        lambda code: "inf" not in code and "nan" not in code
    ),
    st.builds("display({{'text/html': {!r}, 'text/plain': 'p'}}, raw=True)".format, texts),
    st.builds("given.append({}); given".format, st.integers(0, 9)),
    st.sampled_from(["1 / 0", "raise ValueError('\\x1b[2J')", "missing"]),
)
codes = st.lists(statements, min_size=1, max_size=2).map("\n".join)
proposals = st.lists(
    st.builds(Action, texts, codes, model=texts, usage=st.builds(Usage, st.integers(0, 99))), max_size=3
)
settings_of = st.fixed_dictionaries(
    {
        "task": texts,
        "context": texts,
        "failure": st.none() | texts,
        "tier": texts,
        "told": texts,
        "answers": st.lists(
            st.builds(Answer, st.builds(Action, texts), st.lists(st.builds(Verdict, texts, st.booleans())).map(tuple)),
            max_size=1,
        ),
    }
)


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory):
    with Sandbox(SandboxPolicy(workspace=tmp_path_factory.mktemp("work"))) as made:
        yield made


def executed(sandbox, proposals):
    """Do with each proposal what the loop does: execute it, and go back where it fails."""
    sandbox.reset()
    sandbox.execute("given = [1, 2]")
    for number, action in enumerate(proposals, 1):
        before = sandbox.checkpoint()
        attempt = Attempt(number, action, sandbox.execute(action.code), done=True)
        if attempt.observation.error:
            sandbox.rollback(before)
            attempt.rolled_back = True
        before.drop()
        yield attempt


@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
@given(proposals, settings_of, st.booleans(), st.booleans())
def test_any_trajectory_saved_and_loaded_has_the_same_notebook_and_the_verdict_it_deserves(
    tmp_path_factory, sandbox, proposals, setting, attempts, lie
):
    folder = tmp_path_factory.mktemp("saved")
    trajectory = Trajectory(variables={"given": "[1, 2]"}, **setting)
    trajectory.attempts = list(executed(sandbox, [Action("", "given"), *proposals]))
    if lie:  # the record says of the first code what it has never shown
        first = trajectory.attempts[0]
        first.observation = replace(
            first.observation, outputs=[{"output_type": "stream", "name": "stdout", "text": "-"}]
        )
    loaded = Trajectory.load(trajectory.save(folder / "t.jsonl"))
    assert loaded == trajectory
    paths = [save_notebook(t, folder / f"{n}.ipynb", attempts) for n, t in enumerate([trajectory, loaded])]
    saved, again = (read(path, as_version=4) for path in paths)
    validate(again)
    assert again == saved
    report = verify_notebook(paths[1], runs=1, stamp=False)
    assert report.ok is not lie, (str(report), trajectory)
