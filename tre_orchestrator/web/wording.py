"""How times, sizes, names and states read on every page. Pure; what comes from people is escaped here.

Times are absolute, in UTC, with how long ago or until beside them; sizes are in human units; people have full names.
"""

from __future__ import annotations

import datetime as dt

from markupsafe import Markup

_UNITS = ("bytes", "kB", "MB", "GB", "TB")
_STEPS = ((60, "minute"), (3600, "hour"), (86_400, "day"), (2_592_000, "month"), (31_536_000, "year"))


def day(value: dt.date) -> str:
    """23 November 2026."""
    return f"{value.day} {value:%B %Y}"


def clock(value: dt.datetime) -> str:
    """23 November 2026, 09:00 UTC."""
    moment = value.astimezone(dt.UTC)
    return f"{day(moment.date())}, {moment:%H:%M} UTC"


def relative(value: dt.datetime, now: dt.datetime) -> str:
    """How far away: 'just now', '3 hours ago', 'in 2 days'."""
    seconds = (value - now).total_seconds()
    distance = abs(seconds)
    if distance < 60:
        return "just now" if seconds <= 0 else "in less than a minute"
    length, unit = max(step for step in _STEPS if step[0] <= distance)
    number = int(distance // length)
    words = count(number, unit)
    return f"{words} ago" if seconds < 0 else f"in {words}"


def moment(value: dt.datetime | None, now: dt.datetime) -> Markup:
    """Both, as an HTML time element; a script keeps the relative part fresh."""
    if value is None:
        return Markup("<span class='tre-quiet'>not yet</span>")
    iso = value.astimezone(dt.UTC).isoformat(timespec="seconds")
    return Markup('<time datetime="{}">{}</time> <span class="tre-quiet" data-relative="{}">({})</span>').format(
        iso, clock(value), iso, relative(value, now)
    )


def size(count: int | None) -> str:
    """Bytes in human units: 512 bytes, 1.5 kB, 20 MB."""
    if count is None:
        return "unknown"
    amount, unit = float(count), 0
    while amount >= 999.5 and unit < len(_UNITS) - 1:
        amount, unit = amount / 1000, unit + 1
    if unit == 0:
        return "1 byte" if count == 1 else f"{count} bytes"
    return f"{amount:.1f} {_UNITS[unit]}" if amount < 9.95 else f"{amount:.0f} {_UNITS[unit]}"


def duration(seconds: float) -> str:
    """45 seconds, 5 minutes, 2 hours."""
    if seconds <= 0:
        return "none"
    for length, unit in ((86_400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= length and seconds % length == 0:
            count = int(seconds // length)
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return f"{int(seconds)} second{'' if seconds == 1 else 's'}"


def count(number: int, one: str, many: str | None = None) -> str:
    """'1 file', '3 files'."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
