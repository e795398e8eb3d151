"""What looks like a key, and therefore stays in the user's kernel."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

_NAME = re.compile(
    r"(?i)(api_?key|access_?key|private_?key|secret|passw(or)?d|passphrase|credential|auth_?token|access_?token|bearer)"
    r"|(^|_)(token|pwd)$"
)
_FOLDERS = ("PWD", "OLDPWD")  # where a shell is
_WEAK_NAME = re.compile(r"(?i)(^|_)(keys?|tokens?|auth)(_|\d|$)")
# A repetition is bounded wherever it may begin at many places of one text, for otherwise a long text takes forever.
_VALUE = re.compile(
    r"sk-[A-Za-z0-9_-]{16,}"
    r"|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}"
    r"|AKIA[0-9A-Z]{16}|AIza[0-9A-Za-z_-]{30,}|xox[abeprs]-[\w-]{10,}|hf_[A-Za-z0-9]{20,}|pypi-[\w-]{32,}"
    r"|eyJ[\w-]{10,500}\.eyJ[\w-]{10,16000}\.[\w-]+"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----"
    r"|[a-z][a-z0-9+.-]{0,63}://[^\s:/@]{1,1000}:[^\s:/@]{3,4000}@"
)
# What each of the alternatives above begins with, by a letter that is in it and seldom elsewhere.
_BEGINS = {
    b"-": (b"sk-", b"glpat-", b"xoxa-", b"xoxb-", b"xoxe-", b"xoxp-", b"xoxr-", b"xoxs-", b"pypi-", b"-----BEGIN "),
    b"_": (b"ghp_", b"gho_", b"ghu_", b"ghs_", b"ghr_", b"github_pat_", b"hf_"),
    b"A": (b"AKIA", b"AIza"),
    b"J": (b"eyJ",),
}
_ADDRESS, _SCHEME = re.compile(rb"://[^\s:/@]{1,1000}:[^\s:/@]{3,4000}@"), re.compile(rb"[a-z][a-z0-9+.-]*$")
_ASSIGNED = re.compile(
    r"""(?ix) ( (?: key | token | secret | passw(?:or)?d | passphrase | credential ) \w{0,80}+ ["']? \]? \s{0,40} [:=]
    \s{0,40} [rbfu]{0,2} ) (["']) [^"'\n]{6,} \2"""
)
_FILE = re.compile(
    r"(?i)\.env(\..*)?|.*\.(pem|key|p12|pfx|kdbx)|id_(rsa|ed25519|ecdsa).*|\.(netrc|npmrc|pypirc)|credentials(\.json)?"
)
# What forbids to write a text into a file that is passed on. Stricter than `_VALUE`: to hide a word too much costs
# nothing, but nobody wants a notebook refused for "risk-adjusted-returns-by-region".
_KINDS = (
    ("an Anthropic key", r"sk-ant-[A-Za-z0-9_-]{10,}"),
    ("an OpenAI key", r"sk-(?:proj-|svcacct-)[A-Za-z0-9_-]{16,}|sk-(?=[\w-]{0,200}[A-Za-z0-9]{16})[A-Za-z0-9_-]{16,}"),
    ("a GitHub token", r"gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}"),
    ("a GitLab token", r"glpat-[\w-]{16,}"),
    ("an AWS access key", r"AKIA[0-9A-Z]{16}(?![0-9A-Za-z])"),
    ("a Google key", r"AIza[0-9A-Za-z_-]{30,}"),
    ("a Slack token", r"xox[abeprs]-[\w-]{10,}"),
    ("a Hugging Face token", r"hf_[A-Za-z0-9]{20,}"),
    ("a PyPI token", r"pypi-[\w-]{32,}"),
    ("a JSON web token", r"eyJ[\w-]{10,500}\.eyJ[\w-]{10,16000}\.[\w-]+"),
    ("a private key", r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    ("an address with a password", r"[a-z][a-z0-9+.-]{0,63}://[^\s:/@\"'{}<>]{1,100}:[^\s:/@\"'{}<>]{3,100}@"),
)
_FORBIDDEN = re.compile("|".join(rf"(?<![A-Za-z0-9])(?P<k{n}>{p})" for n, (_, p) in enumerate(_KINDS)))
_HINTS = ("sk-", "gh", "glpat-", "AKIA", "AIza", "xox", "hf_", "pypi-", "eyJ", "-----BEGIN", "://")  # one is in each
HIDDEN = "[hidden]"


def secret_file(name: str) -> bool:
    """Tell whether a file's name is one under which secrets are kept."""
    return bool(_FILE.fullmatch(name.rpartition("/")[2]))


class Keys:
    """Recognises keys by the form of a value, by a variable's name, and by what the environment holds.

    Parameters
    ----------
    environ : mapping of str to str
        Values of variables whose names speak of keys are recognised wherever they turn up.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        speaking = {n: v for n, v in environ.items() if n not in _FOLDERS and len(v) >= 8}
        known = {v for name, v in speaking.items() if _NAME.search(name) or name.endswith("_KEY")}
        known_pattern = "|".join(re.escape(v) for v in sorted(known, key=len, reverse=True))
        self._text = re.compile(f"{_VALUE.pattern}|{known_pattern}" if known_pattern else _VALUE.pattern)
        self._value = re.compile(_VALUE.pattern.encode())
        self._known = [v.encode() for v in known]
        self._secrets = {v: name for name, v in speaking.items() if v in known}

    def named(self, name: str, value: object = "") -> bool:
        """Tell whether a variable is a key, by its name and the form of its value."""
        if not isinstance(value, str | bytes | bytearray):
            return False
        return bool(_NAME.search(name)) or (bool(_WEAK_NAME.search(name)) and _random(value))

    def within(self, data: str | bytes | memoryview) -> bool:
        """Tell whether a key stands in `data`."""
        if isinstance(data, str):
            return bool(self._text.search(data))
        held = bytes(data)  # to look for beginnings first is several times faster than the pattern
        if any(known in held for known in self._known):
            return True
        begins = [begin for letter, several in _BEGINS.items() if letter in held for begin in several]
        if any(self._value.match(held, place) for begin in begins for place in _places(begin, held)):
            return True
        places = _places(b"://", held)
        return any(_ADDRESS.match(held, place) and _SCHEME.search(held[max(0, place - 64) : place]) for place in places)

    def kind(self, text: str) -> str:
        """Return what key stands in `text`, such as "an Anthropic key"; empty for none."""
        found = _FORBIDDEN.search(text) if any(hint in text for hint in _HINTS) else None
        if found and found.lastgroup:
            return _KINDS[int(found.lastgroup[1:])][0]
        name = next((name for value, name in self._secrets.items() if value in text), "")
        return f"the value of the environment variable {name}" if name else ""

    def hide(self, text: str) -> str:
        """Return `text` with each key, and each text assigned to a name that speaks of one, replaced."""
        return _ASSIGNED.sub(rf"\1\2{HIDDEN}\2", self._text.sub(HIDDEN, text))


def _places(part: bytes, held: bytes) -> Iterator[int]:
    place = held.find(part)
    while place >= 0:
        yield place
        place = held.find(part, place + 1)


def _random(value: str | bytes | bytearray) -> bool:
    text = value if isinstance(value, str) else value.decode("latin-1")
    mixed = re.search(r"\d", text) and re.search(r"[A-Za-z]", text)
    return len(text) >= 16 and bool(mixed) and not re.search(r"\s", text)
