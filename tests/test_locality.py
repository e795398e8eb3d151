"""Time zone and locale: found, read from a record that may say anything, and met by code in a sandbox."""

import pytest

from jupyter_codeagent import Sandbox, SandboxPolicy
from jupyter_codeagent.errors import SandboxUnavailable
from jupyter_codeagent.locality import complaint, environ, locality, timezone

LOOK = """
import os, time, datetime
print(datetime.datetime.fromtimestamp(0).hour, time.tzname[0], os.environ["LANG"], hash("a") == hash("a"))
"""


def test_code_meets_the_time_zone_and_locale_of_the_record(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    record = {"locale": {"timezone": "Asia/Tokyo", "lang": "C"}}
    assert environ(record) == (("TZ", "Asia/Tokyo"), ("LANG", "C"))
    seeded = (*environ(record), ("PYTHONHASHSEED", "1"))
    with Sandbox(SandboxPolicy(workspace=None, environ=seeded)) as sandbox:
        assert sandbox.execute(LOOK).text.strip() == "9 JST C True"
        assert sandbox.execute("import os; os.environ['PYTHONHASHSEED']").text.strip() == "'1'"


def test_what_is_here_anyway_needs_not_be_set(monkeypatch):
    monkeypatch.setenv("TZ", ":Europe/Berlin")
    assert locality() == {"timezone": "Europe/Berlin", "lang": "C.UTF-8"}
    assert environ({"locale": locality()}) == ()


def test_a_time_zone_without_a_known_name_is_not_recorded(monkeypatch):
    monkeypatch.setenv("TZ", "CET-1CEST")
    assert timezone() == "" and locality("de_DE.UTF-8") == {"lang": "de_DE.UTF-8"}
    monkeypatch.delenv("TZ")
    assert isinstance(timezone(), str)


@pytest.mark.parametrize(
    "told",
    [None, [], "UTC", {"timezone": ["UTC"], "lang": 3}, {"timezone": "../../etc/passwd", "lang": "x=y\nLD_PRELOAD=z"}],
)
def test_a_hostile_record_sets_nothing(told):
    assert environ({"locale": told}) == () and complaint({"locale": told}) == ""


def test_a_time_zone_that_is_not_known_here_is_said():
    record = {"locale": {"timezone": "Mars/Olympus"}}
    assert environ(record) == () and "Mars/Olympus is not known" in complaint(record)


@pytest.mark.parametrize("pair", [("LD_PRELOAD", "x"), ("TZ", "/etc/x"), ("LANG", "a b"), ("PYTHONHASHSEED", "-1")])
def test_no_other_variable_and_no_odd_value_reaches_the_sandbox(pair):
    with pytest.raises(SandboxUnavailable, match=pair[0]):
        SandboxPolicy(environ=(pair,)).check()
