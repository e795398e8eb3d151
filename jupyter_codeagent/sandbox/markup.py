"""HTML from a sandbox, rebuilt from a short list of tags and in time that grows with its length only.

A sanitizer that parses as browsers do takes minutes for some hundred kilobytes of nested tags. So the text is first
read by simple rules, and written anew with every tag closed and a bounded depth; only that reaches the sanitizer,
which alone decides what is harmless.
"""

from __future__ import annotations

import re

import nh3

LARGEST = 2**18  # characters of one document
DEEPEST = 30  # tags within each other; a table of a notebook has six

TAGS = {
    "b", "blockquote", "br", "caption", "code", "col", "colgroup", "dd", "div", "dl", "dt", "em", "h1", "h2", "h3",
    "h4", "h5", "h6", "hr", "i", "li", "ol", "p", "pre", "s", "small", "span", "strong", "sub", "sup", "table", "tbody",
    "td", "tfoot", "th", "thead", "tr", "u", "ul",
}  # fmt: skip
ATTRIBUTES = {"td": {"colspan", "rowspan"}, "th": {"colspan", "rowspan", "scope"}, "table": {"border"}}
ALONE = {"br", "col", "hr"}
ENDED_BY_NEXT = {"dd", "dt", "li", "p", "td", "th", "tr"}  # their end tags may be left out

_TAG = re.compile(r"<(/?)([A-Za-z][A-Za-z0-9]{0,15})((?:[\s/][^<>]{0,1000})?)>|<!--|<")
_ATTRIBUTE = re.compile(r"\b([a-z]{1,10})\s{0,3}=\s{0,3}[\"']?([a-z0-9]{1,10})\b", re.IGNORECASE)
_NOT_SHOWN = {name: re.compile(rf"</{name}[\s/>]", re.IGNORECASE) for name in ("script", "style", "title", "textarea")}


def rebuild(text: str) -> str | None:
    """Return the text and tables of an HTML document; None if it is too large or too deep to be looked at."""
    if len(text) > LARGEST:
        return None
    written = _write(text)
    if written is None:
        return None
    return nh3.clean(written, tags=TAGS, attributes=ATTRIBUTES, clean_content_tags={"script", "style"})


def _write(text: str) -> str | None:
    """Write the known tags anew, each closed in its place; None if they are too deep."""
    out: list[str] = []
    open_: list[str] = []
    at = 0
    while found := _TAG.search(text, at):
        out.append(text[at : found.start()].replace(">", "&gt;"))
        closing, name = found[1], (found[2] or "").lower()
        at = found.end()
        if found[0] == "<":
            out.append("&lt;")
        elif not name or (name in _NOT_SHOWN and not closing):
            at = _after(text, at, name)
        elif name in TAGS and closing:
            _close(out, open_, name)
        elif name in TAGS:
            if open_ and open_[-1] == name and name in ENDED_BY_NEXT:
                _close(out, open_, name)
            out.append(f"<{name}{_attributes(name, found[3])}>")
            if name not in ALONE:
                open_.append(name)
            if len(open_) > DEEPEST:
                return None
    out.append(text[at:].replace(">", "&gt;"))
    out += [f"</{name}>" for name in reversed(open_)]
    return "".join(out)


def _after(text: str, at: int, name: str) -> int:
    """Return where a comment, or an element whose content is not shown, ends."""
    if not name:
        end = text.find("-->", at)
        return end + 3 if end >= 0 else len(text)
    found = _NOT_SHOWN[name].search(text, at)
    return found.start() if found else len(text)


def _close(out: list[str], open_: list[str], name: str) -> None:
    while name in open_:
        last = open_.pop()
        out.append(f"</{last}>")
        if last == name:
            return


def _attributes(name: str, text: str) -> str:
    allowed = ATTRIBUTES.get(name)
    if not allowed or not text:
        return ""
    given = {key.lower(): value for key, value in _ATTRIBUTE.findall(text)}
    return "".join(f' {key}="{value}"' for key, value in given.items() if key in allowed)
