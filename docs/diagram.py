"""The life of a request as a picture, drawn from the table of moves; a state or move without a place is an error."""

from __future__ import annotations

from html import escape

from tre_orchestrator.airlock.states import TRANSITIONS, State, Who

BOX = (190, 44)
ROW = 78
_MAIN = (
    State.draft,
    State.submitted,
    State.checking,
    State.awaiting_review,
    State.in_review,
    State.consolidating,
    State.approved,
    State.releasing,
    State.released,
)
_LEFT, _MIDDLE, _RIGHT = 20, 290, 560
_PLACES = {state: (_MIDDLE, 20 + ROW * row) for row, state in enumerate(_MAIN)} | {
    State.blocked: (_LEFT, 20 + ROW * 2),
    State.returned: (_LEFT, 20 + ROW * 5),
    State.rejected: (_RIGHT, 20 + ROW * 5),
    State.release_failed: (_RIGHT, 20 + ROW * 7),
    State.expired: (_RIGHT, 20 + ROW * 8),
}
_IN_WORDS = {State.withdrawn: "withdrawn", State.revoked: "revoked"}
_WIDTH, _HEIGHT = 770, 20 + ROW * 9
_STYLE = """
.box{fill:#f3f5f7;stroke:#27506b;stroke-width:1.5}.final{fill:#fff;stroke-dasharray:2 3}
text{font:15px system-ui,Arial,sans-serif;fill:#16222b;text-anchor:middle}.small{font-size:11.5px;fill:#4a5862}
path.move{fill:none;stroke:#27506b;stroke-width:1.7}path.soft{stroke-dasharray:6 4;stroke:#5b6b76}
"""


def diagram() -> str:
    """The picture as SVG with a text alternative."""
    moves: dict[tuple[State, State], set[Who]] = {}
    for row in TRANSITIONS:
        moves.setdefault((row.source, row.target), set()).add(row.who)
    drawn = [_move(pair, who) for pair, who in moves.items() if pair[1] not in _IN_WORDS]
    boxes = [_box(state) for state in State if state not in _IN_WORDS]
    body = "\n".join([*drawn, *boxes])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="The states of a request and the moves between them">\n<style>{_STYLE}</style>\n'
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0L8 4L0 8z" fill="#27506b"/></marker></defs>\n'
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>\n{body}\n</svg>\n'
    )


def _box(state: State) -> str:
    x, y = _PLACES[state]
    width, height = BOX
    ends = [words for end, words in _IN_WORDS.items() if any((r.source, r.target) == (state, end) for r in TRANSITIONS)]
    first, _, second = state.label.partition(" or ")
    below = "final" if state.final else f"may be {' or '.join(ends)}" if ends else second and f"or {second}"
    middle = x + width / 2
    text = f'<text x="{middle:g}" y="{y + (19 if below else 27)}">{escape(first)}</text>'
    if below:
        text += f'<text class="small" x="{middle:g}" y="{y + 35}">{escape(below)}</text>'
    kind = "box final" if state.final else "box"
    return f'<rect class="{kind}" x="{x}" y="{y}" width="{width}" height="{height}" rx="7"/>{text}'


def _move(pair: tuple[State, State], who: set[Who]) -> str:
    kind = "move soft" if who == {Who.system} else "move"
    return f'<path class="{kind}" marker-end="url(#head)" d="{_path(*pair)}"/>'


def _path(source: State, target: State) -> str:
    """Straight between neighbours, else a curve between the sides that face each other or the free side."""
    (x1, y1), (x2, y2) = _PLACES[source], _PLACES[target]
    width, height = BOX
    if x1 == x2 and y2 - y1 == ROW:
        return f"M{x1 + width / 2:g} {y1 + height}V{y2}"
    if x1 == x2:
        reach = 34 + abs(y2 - y1) // 6
        side = x1 + width
        return f"M{side} {y1 + 14}C{side + reach} {y1 + 14} {side + reach} {y2 + 30} {side} {y2 + 30}"
    leaves_right = x2 > x1
    start, end = (x1 + width, x2) if leaves_right else (x1, x2 + width)
    bend = 45 if leaves_right else -45
    lift = 8 if (y2, x2) > (y1, x1) else -8
    from_y, to_y = y1 + height / 2 + lift * (1 if y1 == y2 else 2), y2 + height / 2 + lift
    return f"M{start} {from_y:g}C{start + bend} {from_y:g} {end - bend} {to_y:g} {end} {to_y:g}"
