"""Time zone and locale: those that code meets here, and those that a notebook's record names."""

from __future__ import annotations

import os
import re
from pathlib import Path

INSIDE = "C.UTF-8"  # the locale of every sandbox
ZONES = Path("/usr/share/zoneinfo")
_ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+-]{0,30}(?:/[A-Za-z0-9_+-]{1,30}){0,2}")
_LANG = re.compile(r"(?:C|POSIX|[a-z]{2,3}_[A-Z]{2})(?:\.(?:UTF-8|utf8))?")


def locality(lang: str = INSIDE) -> dict[str, str]:
    """Return what a record says of time zone and locale.

    Parameters
    ----------
    lang : str
        The locale that the code saw: a sandbox's unless it was another.

    Returns
    -------
    dict
        ``timezone``, a name of the IANA database, where it is known, and ``lang``, where it is a common one.
    """
    return sound_locality({"timezone": timezone(), "lang": lang})


def sound_locality(told: object) -> dict[str, str]:
    """Return what makes sense of what a record, which may hold anything, says of time zone and locale."""
    zone, lang = _named({"locale": told})
    return {name: value for name, value in {"timezone": zone, "lang": lang}.items() if value}


def timezone() -> str:
    """Return the IANA name of this machine's time zone, as the sandbox has it; empty where it has no known name."""
    if set_by_name := os.environ.get("TZ", "").removeprefix(":"):
        return set_by_name if _known(set_by_name) else ""
    try:
        link = os.readlink("/etc/localtime")  # noqa: PTH115 - where it points, even through another link
        named = link.rpartition("zoneinfo/")[2]
    except FileNotFoundError:
        return "UTC"  # the C library's own rule
    except OSError:  # a copy of the zone's file
        named = _read(Path("/etc/timezone"))
    return named if _known(named) else ""


def environ(record: object) -> tuple[tuple[str, str], ...]:
    """Return what `SandboxPolicy.environ` must set so that code meets the recorded time zone and locale.

    Parameters
    ----------
    record : object
        What stands under our key in a notebook's metadata; it may be anything.

    Returns
    -------
    tuple of (str, str)
        Only what differs from what a sandbox has here anyway, and is known here.
    """
    zone, lang = _named(record)
    found = []
    if zone and zone != timezone() and _known(zone):
        found.append(("TZ", zone))
    if lang not in ("", INSIDE):
        found.append(("LANG", lang))
    return tuple(found)


def complaint(record: object) -> str:
    """Return a sentence where the recorded time zone is not known on this machine, else an empty string."""
    zone, _ = _named(record)
    if not zone or zone == timezone() or _known(zone):
        return ""
    return f"The recorded time zone {zone} is not known on this machine; local times may differ (install 'tzdata')."


def _named(record: object) -> tuple[str, str]:
    told = record.get("locale") if isinstance(record, dict) else None
    zone, lang = (told.get("timezone"), told.get("lang")) if isinstance(told, dict) else ("", "")
    return (
        zone if isinstance(zone, str) and _ZONE.fullmatch(zone) else "",
        lang if isinstance(lang, str) and _LANG.fullmatch(lang) else "",
    )


def _known(zone: str) -> bool:
    return bool(_ZONE.fullmatch(zone)) and (zone == "UTC" or (ZONES / zone).is_file())


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")[:100].strip()
    except OSError:
        return ""
