"""Untrusted text as safe HTML: code, outputs, terminal colours, Markdown. All is escaped, nothing is loaded."""

from __future__ import annotations

import base64
import binascii
import re
import unicodedata
from collections.abc import Iterator
from html import escape

import nh3
from pygments.lexers.python import PythonLexer
from pygments.token import Token, _TokenType

from jupyter_codeagent.trajectory import Output, plain

TEXT_MOST = 20_000  # characters of one stream, traceback or piece of code
TABLE_MOST = 200_000  # characters of one HTML table
IMAGE_MOST = 700_000  # characters of one image in base64

_TABLE_TAGS = set(
    re.findall(r"\w+", "table thead tbody tfoot tr th td caption b strong i em code pre br p div span ul ol li sub sup")
)
_SPANS = {"colspan", "rowspan"}
_BIDI = re.compile("[\u202a-\u202e\u2066-\u2069]")
_ODD = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202f"
    "\u205f-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U000e0000-\U000e0fff]"
)
_SGR = re.compile(r"\x1b\[([0-9;]*)m")
_LEXER = PythonLexer(stripnl=False, ensurenl=False)
_TOKENS = (
    (Token.Comment, "c"),
    (Token.Literal.String, "s"),
    (Token.Literal.Number, "n"),
    (Token.Operator.Word, "k"),
    (Token.Keyword, "k"),
    (Token.Name.Function, "f"),
    (Token.Name.Class, "f"),
    (Token.Name.Decorator, "f"),
    (Token.Name.Builtin, "b"),
    (Token.Operator, "o"),
)
_NAMED = ["black", "red", "green", "yellow", "blue", "magenta", "cyan", "white"]


def shorten(text: str, most: int = TEXT_MOST) -> str:
    """Return `text`, or its beginning and end with a line between that says what is left out."""
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]}\n... {len(text) - 2 * half:,} characters are not shown here ...\n{text[-half:]}"


def code_html(code: str) -> str:
    """Return Python as highlighted HTML, with every invisible character made visible."""
    return "".join(_span(kind, value) for kind, value in _LEXER.get_tokens(shorten(code)))


def _span(kind: _TokenType, value: str) -> str:
    text = seen(value, _ODD)
    name = next((name for ancestor, name in _TOKENS if kind in ancestor), "")
    return f'<span class="jca-{name}">{text}</span>' if name and value.strip(" .\n") else text


def seen(text: str, odd: re.Pattern[str] = _BIDI) -> str:
    """Return `text` escaped, what `odd` matches written out; by default the characters that reorder text."""
    parts, end = [], 0
    for match in odd.finditer(text):
        parts += [escape(text[end : match.start()]), _named(match[0])]
        end = match.end()
    return "".join([*parts, escape(text[end:])])


def _named(character: str) -> str:
    name = unicodedata.name(character, "control character")
    return f'<span class="jca-odd" title="{escape(name)}">U+{ord(character):04X}</span>'


def outspoken(code: str) -> str:
    """Return code for a terminal, with every invisible character written as an escape."""
    return _ODD.sub(lambda match: f"<U+{ord(match[0]):04X}>", code)


def overwritten(text: str) -> str:
    """Return text as it looks after carriage returns: progress bars leave their last state."""
    return re.sub(r"[^\n]*\r(?=[^\r\n])", "", text.replace("\r\n", "\n")).replace("\r", "")


def colour_only(text: str) -> str:
    """Return text for a terminal in which colours are the only control sequences left."""
    text = overwritten(text)
    parts, end = [], 0
    for match in _SGR.finditer(text):
        parts += [outspoken(text[end : match.start()]), match[0]]
        end = match.end()
    return "".join([*parts, outspoken(text[end:])])


def ansi_html(text: str) -> str:
    """Return text with terminal colours as HTML; other control sequences are dropped or shown."""
    text = shorten(overwritten(text))
    parts, end = [], 0
    style: tuple[str, ...] = ()
    for match in _SGR.finditer(text):
        parts.append(_styled(text[end : match.start()], style))
        style, end = _next_style(style, match[1]), match.end()
    return "".join([*parts, _styled(text[end:], style)])


def _styled(text: str, style: tuple[str, ...]) -> str:
    shown = seen(text, _ODD)
    return f'<span style="{";".join(style)}">{shown}</span>' if style and text else shown


def _next_style(style: tuple[str, ...], numbers: str) -> tuple[str, ...]:
    codes = [int(n or 0) for n in numbers.split(";")]
    while codes:
        code = codes.pop(0)
        if code == 0:
            style = ()
        elif code == 1:
            style = (*style, "font-weight:600")
        elif code == 39:
            style = tuple(s for s in style if not s.startswith("color:"))
        elif code in (22, 49):
            style = tuple(s for s in style if not s.startswith("font-weight" if code == 22 else "background"))
        elif 30 <= code <= 37 or 90 <= code <= 97:
            style = (*_without_colour(style), f"color:var(--jca-{_NAMED[code % 10]})")
        elif code in (38, 48):
            colour, codes = _extended(codes)
            if code == 38 and colour:  # a background of another theme would hide the text
                style = (*_without_colour(style), f"color:color-mix(in srgb,{colour} 72%,var(--jca-fg))")
    return style


def _without_colour(style: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(s for s in style if not s.startswith("color:"))


def _extended(codes: list[int]) -> tuple[str, list[int]]:
    """Return the colour of an xterm sequence (256 colours or RGB), and what follows it."""
    if codes[:1] == [5] and len(codes) > 1:
        return _xterm(codes[1]), codes[2:]
    if codes[:1] == [2] and len(codes) > 3:
        return _tone(codes[1] % 256, codes[2] % 256, codes[3] % 256), codes[4:]
    return "", []


def _xterm(number: int) -> str:
    if number < 16:
        return f"var(--jca-{_NAMED[number % 8]})"
    if number > 231:
        level = 8 + 10 * (min(number, 255) - 232)
        return _tone(level, level, level)
    steps = (0, 95, 135, 175, 215, 255)
    number -= 16
    return _tone(steps[number // 36], steps[number // 6 % 6], steps[number % 6])


def _tone(red: int, green: int, blue: int) -> str:
    """Return a colour; greys are those of the page, as one meant for black paper cannot be read on white."""
    least, most = min(red, green, blue), max(red, green, blue)
    if most - least >= 32:
        return f"rgb({red},{green},{blue})"
    return "var(--jca-dim)" if 80 < least < 190 else "var(--jca-fg)"


def output_html(output: Output) -> str:
    """Return one nbformat output as HTML; the last error is shown by its traceback."""
    kind = output["output_type"]
    if kind == "stream":
        name = "err" if output.get("name") == "stderr" else "text"
        return f'<pre class="jca-{name}">{ansi_html(str(output["text"]))}</pre>'
    if kind == "error":
        lines = own_frames(output.get("traceback") or []) or f"{output['ename']}: {output['evalue']}"
        return f'<pre class="jca-trace">{ansi_html(lines)}</pre>'
    return _data_html(output.get("data", {}))


def _data_html(data: dict[str, object]) -> str:
    for kind in ("image/png", "image/jpeg"):
        if kind in data and (image := _image(kind, str(data[kind]))):
            return image
    html = str(data.get("text/html", ""))
    if "<table" in html and len(html) <= TABLE_MOST:
        return f'<div class="jca-table">{table_html(html)}</div>'
    if "text/markdown" in data:
        return f'<div class="jca-md">{markdown_html(str(data["text/markdown"]))}</div>'
    plain = str(data.get("text/plain", "")) or f"({', '.join(data) or 'empty output'})"
    return f'<pre class="jca-text">{ansi_html(plain)}</pre>'


def own_frames(traceback: list[str]) -> str:
    """Return a traceback as text in which frames of libraries are one line each."""
    blocks = re.split(r"\n[ \t]*\n", "\n".join(traceback))
    return "\n\n".join(block.partition("\n")[0] if _of_library(plain(block)) else block for block in blocks)


def _of_library(block: str) -> bool:
    head = block.lstrip().partition("\n")[0]
    return head.startswith("File ") and bool(
        re.search(r"/(site|dist)-packages/|/lib/python3|\.p(yx|xi):|<frozen ", head)
    )


def table_html(html: str) -> str:
    """Return the tables and text of `html` without styles, links, images or scripts."""
    attributes = {"td": _SPANS, "th": _SPANS}
    return nh3.clean(html, tags=_TABLE_TAGS, attributes=attributes, url_schemes=set(), strip_comments=True)


def _image(kind: str, encoded: str) -> str:
    encoded = "".join(encoded.split())
    if len(encoded) > IMAGE_MOST:
        return f'<p class="jca-note">An image of {len(encoded) * 3 // 4:,} bytes is too large to be shown here.</p>'
    try:
        base64.b64decode(encoded, validate=True)
    except binascii.Error:
        return ""
    return f'<img class="jca-img" alt="image made by the code" src="data:{kind};base64,{encoded}">'


def markdown_html(text: str) -> str:
    """Return the common part of Markdown as HTML; links and images appear as text, so nothing can be loaded."""
    parts = re.split(r"^```[^\n`]*\n(.*?)(?:^```[ \t]*$|\Z)", shorten(text), flags=re.DOTALL | re.MULTILINE)
    return "".join(
        f"<pre class='jca-fence'>{code_html(part)}</pre>" if index % 2 else "".join(_blocks(part))
        for index, part in enumerate(parts)
    )


def _blocks(text: str) -> Iterator[str]:
    for block in re.split(r"\n\s*\n", text.strip("\n")):
        lines = [line for line in block.splitlines() if line.strip()]
        if lines:
            yield from _block(lines)


def _block(lines: list[str]) -> Iterator[str]:
    """Render a paragraph, which may turn into a list, a heading or a table on its way."""
    if len(lines) > 1 and "|" in lines[0] and re.fullmatch(r"[\s|:-]+", lines[1]):
        yield _pipe_table(lines)
        return
    kinds = [_line_kind(line) for line in lines]
    start = 0
    for end in range(1, len(lines) + 1):
        if end == len(lines) or (kinds[end] != kinds[start] and not (kinds[end] == "p" and lines[end][:1] == " ")):
            yield _run(kinds[start], lines[start:end])
            start = end


def _line_kind(line: str) -> str:
    if re.match(r"\s*[-*+]\s+", line):
        return "ul"
    if re.match(r"\s*\d+[.)]\s+", line):
        return "ol"
    return "h" if re.match(r"#{1,6}\s", line) else "p"


def _run(kind: str, lines: list[str]) -> str:
    if kind == "h":
        return "".join(f"<p><strong>{_inline(line.lstrip('#').strip())}</strong></p>" for line in lines)
    if kind == "p":
        return f"<p>{_inline(chr(10).join(lines))}</p>"
    bare = [re.sub(r"^\s*(?:[-*+]|\d+[.)])\s+", "", line) for line in lines]
    items = "".join(f"<li>{_inline(line)}</li>" for line in bare)
    return f"<{kind}>{items}</{kind}>"


def _pipe_table(lines: list[str]) -> str:
    rows = [[_inline(cell.strip()) for cell in line.strip().strip("|").split("|")] for line in lines]
    head = "".join(f"<th>{cell}</th>" for cell in rows[0])
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows[2:])
    return f'<div class="jca-table"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _inline(text: str) -> str:
    parts = re.split(r"(`[^`\n]+`)", text)
    return "".join(f"<code>{seen(p[1:-1], _ODD)}</code>" if i % 2 else _emphasis(p) for i, p in enumerate(parts))


def _emphasis(text: str) -> str:
    text = re.sub(
        r"!?\[([^\]\n]*)\]\(([^)\s]+)[^)\n]*\)", r"\1 (\2)", text
    )  # what a link shows must not hide its address
    html = re.sub(r"\*\*([^*\n]+)\*\*", r"<strong>\1</strong>", seen(text))
    return re.sub(r"(?<![\w*])\*([^*\s][^*\n]*)\*(?![\w*])", r"<em>\1</em>", html)
