"""The list of models: what the environment chooses, what is there, and no key."""

import json

import pytest

from jupyter_codeagent.models.listing import listing


@pytest.fixture(autouse=True)
def nothing_configured(monkeypatch, tmp_path):
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL", "JUPYTER_CODEAGENT_WEIGHTS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def by_name():
    return {m["name"]: m for m in listing()["models"]}


def test_key_makes_claude_available(monkeypatch):
    assert not by_name()["claude-haiku-5-5"]["available"]
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-a-secret-of-the-tests")
    found = listing()
    assert found["default"]["name"] == "claude-sonnet-5-5" and "api.anthropic.com" in found["default"]["told"]
    assert by_name()["claude-haiku-5-5"] == {
        "name": "claude-haiku-5-5",
        "where": "api.anthropic.com",
        "available": True,
        "detail": "0.1 US dollars per million tokens read, 0.5 written, while a request has at most 100,000 tokens.",
    }
    assert "a-secret" not in json.dumps(found)


def test_address_with_a_password_is_shown_without_it(monkeypatch):
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "https://someone:a-password@models.example:8080/api")
    found = listing()
    assert "a-password" not in json.dumps(found) and "someone" not in json.dumps(found)
    assert by_name()["claude-opus-5-5"]["where"] == "models.example:8080"
    assert "was not tried" in by_name()["claude-opus-5-5"]["detail"]


@pytest.mark.parametrize("url", ["nonsense", "ftp://x", "http://", "http://x:99999"])
def test_address_that_is_none_is_a_problem(monkeypatch, url):
    monkeypatch.setenv("ANTHROPIC_BASE_URL", url)
    found = listing()
    assert found["default"] is None and "is no address" in found["problem"]
    assert not any(m["available"] for m in found["models"])


def test_nothing_configured_and_nothing_fetched():
    found = listing()
    assert found["default"] is None and "model pull" in found["problem"]
    assert "model pull" in by_name()["local"]["detail"] and "model pull 0.5b" in by_name()["local-small"]["detail"]


def test_file_that_is_no_known_model_is_named(monkeypatch, tmp_path):
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF")
    monkeypatch.setenv("JUPYTER_CODEAGENT_WEIGHTS", str(file))
    assert not by_name()["local"]["available"] and "model.gguf" in by_name()["local"]["detail"]
