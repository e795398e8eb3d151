"""Verifications as the server keeps them; test_routes.py has them behind a real server."""

import asyncio

import pytest

from jupyter_codeagent.jobs import Busy, Job, Jobs


async def ended(job):
    await asyncio.wait_for(job.follower, 60)
    return job.state


def test_only_the_latest_are_remembered(tmp_path):
    async def story():
        jobs = Jobs(at_once=1, kept=2)
        begun = []
        for number in range(4):
            begun.append(await jobs.start(tmp_path / "missing.ipynb", f"{number}.ipynb"))
            assert await ended(begun[-1]) == "failed" and f"{number}.ipynb" in begun[-1].text
        assert [jobs.find(job.id) for job in begun] == [
            None,
            *begun[1:],
        ]  # the last was still running when they were counted
        await jobs.close()

    asyncio.run(story())


def test_one_that_is_being_stopped_still_counts(tmp_path):
    async def story():
        jobs = Jobs(at_once=1, kept=2)
        job = await jobs.start(tmp_path / "missing.ipynb", "n.ipynb")
        stopping = asyncio.create_task(jobs.stop(job))
        await asyncio.sleep(0)
        assert job.state == "stopped"
        with pytest.raises(Busy, match=r"n\.ipynb"):
            await jobs.start(tmp_path / "missing.ipynb", "m.ipynb")
        await stopping
        assert await ended(await jobs.start(tmp_path / "missing.ipynb", "m.ipynb")) == "failed"

    asyncio.run(story())


def test_what_comes_after_the_end_changes_nothing():
    job = Job("n.ipynb", state="stopped", text="Stopped.")
    job.take({"report": {"ok": True}, "text": "verified"})
    job.ended(0)
    assert job.told() == {
        "job": job.id,
        "path": "n.ipynb",
        "state": "stopped",
        "text": "Stopped.",
        "done": 0,
        "total": 0,
    }


def test_ids_cannot_be_guessed():
    assert len({Job("n.ipynb").id for _ in range(100)}) == 100
