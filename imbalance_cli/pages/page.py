"""One self-contained HTML file: templates filled in, figures and images made part of the text."""

from __future__ import annotations

import base64
import io
import re
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from numpy.typing import NDArray

from imbalance_cli.drawing import COLOURS, PALE, shared_look
from imbalance_cli.runs import sha256

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# The colours of figures, as the page's style sheet calls them: there they suit light and dark.
_COLOURS = {
    "#000000": "currentColor",
    "#ffffff": "var(--paper)",
    "#808080": "var(--muted)",
    PALE.lower(): "var(--rule)",
}
_COLOURS |= {colour.lower(): f"var(--curve-{number})" for number, colour in enumerate(COLOURS) if number}
_COLOUR = re.compile("|".join(_COLOURS))
_TAG = re.compile("<[^>]+>")
_ID = re.compile(' id="([^"]*)"')
_REFERENCE = re.compile(r'(?:url\(|href=")#([^)"]*)')
_FONT = re.compile(r" ?font-family: [^;\"]*;?")
_ELSEWHERE = re.compile("<style.*?</style>|<metadata>.*?</metadata>|<!--.*?-->", re.DOTALL)  # would speak for the page
_LARGEST = 64  # pixels of a picture's longer side
_SPACES = "\n\t\N{NO-BREAK SPACE}"
_PIXELS = 4 / 3  # of a style sheet, in a point


def render(template: str, **values: Any) -> str:
    """The page that `template` makes of `values`; all text in them is escaped."""
    return _environment().get_template(template).render(values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("imbalance_cli.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_readable,
    )
    environment.filters |= {"percent": percent, "decimal": decimal, "count": count}
    return environment


def _readable(value: Any) -> Any:
    """Text from outside with control characters and bytes that are not UTF-8 as escapes; what is markup stays."""
    if not isinstance(value, str) or isinstance(value, Markup) or value.isprintable():
        return value
    return "".join(c if c.isprintable() or c in _SPACES else c.encode("unicode_escape").decode() for c in value)


def percent(value: float | None, digits: int = 1) -> str:
    """`73.0 %`, with a space that does not break; a dash for what is not known."""
    return "–" if value is None else f"{value * 100:.{digits}f}\N{NO-BREAK SPACE}%"


def decimal(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def count(value: float) -> str:
    """A whole number with commas between the thousands."""
    return f"{value:,.0f}"


@shared_look()
def svg(figure: Figure) -> Markup:
    """`figure` as an inline SVG without a background: its text is text, its colours are those of the page."""
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    head, _, body = buffer.getvalue().partition("<svg")[2].partition(">")
    (box,) = re.findall(r'viewBox="([^"]*)"', head)
    _, _, width, height = map(float, box.split())
    titles = [title for axes in figure.axes if (title := axes.get_title(loc="left"))]
    opening = (
        f'<svg viewBox="{box}" width="{width * _PIXELS:.0f}" height="{height * _PIXELS:.0f}" role="img" aria-label="'
    )
    return Markup(f'{opening}{escape("; ".join(titles))}">{_at_home(body)}')


def _at_home(body: str) -> str:
    """What is inside a drawn SVG, as part of a page: its fonts and colours are the page's, its ids its own."""
    body = _ELSEWHERE.sub("", body)
    used = {found[1] for tag in _TAG.findall(body) for found in _REFERENCE.finditer(tag)}
    own = f"f{sha256(body.encode())[:8]}-"

    def changed(found: re.Match[str]) -> str:  # tags alone: what is between them may be the name of a class
        tag = _FONT.sub("", found[0]).replace("xlink:href", "href")
        tag = _COLOUR.sub(lambda colour: _COLOURS[colour[0]], tag)
        tag = _ID.sub(lambda name: f' id="{own}{name[1]}"' if name[1] in used else "", tag)
        return _REFERENCE.sub(lambda name: name[0].replace("#", f"#{own}"), tag)

    return _TAG.sub(changed, body)


def picture(pixels: NDArray[np.uint8], side: int = _LARGEST) -> str:
    """An image [3, height, width] as the address of a PNG that is part of the page; a larger one is scaled down."""
    from PIL import Image

    image = Image.fromarray(pixels.transpose(1, 2, 0))
    image.thumbnail((side, side))
    return png(image)


def png(image: Any) -> str:
    """A picture of PIL's as an address."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
