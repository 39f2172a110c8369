"""A figure as a file or as part of a page: PDF, SVG, and SVG to be set into HTML. The same figure gives the same bytes."""

from __future__ import annotations

import io
import re

from matplotlib import rc_context
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG

from reports.figures.drawing import STYLE, print_dollars
from reports.report import Figure

FONTS = "'DejaVu Sans', Verdana, 'Bitstream Vera Sans', sans-serif"
"""What stands in for the font of the figures where it is not installed: of the same widths first."""


def render_figure(figure: Figure, kind: str) -> bytes:
    """Render the figure as a file of this kind, ``pdf`` or ``svg``; laid out the first time, and so for both kinds alike.

    ``savefig`` would draw it twice; here the backend draws it once.
    """
    out = io.BytesIO()
    print_dollars(figure.mpl_figure)
    with rc_context({**STYLE, "pdf.fonttype": 42}):
        if kind == "pdf":
            FigureCanvasPdf(figure.mpl_figure).print_pdf(out, metadata={"CreationDate": None})
        else:
            FigureCanvasSVG(figure.mpl_figure).print_svg(out, metadata={"Date": None})
    figure.mpl_figure.set_layout_engine("none")
    return out.getvalue()


def embed_svg(drawn: bytes, name: str) -> str:
    """Turn an SVG file into an element of an HTML page: without prologue and metadata, its ids made unique by ``name``.

    It is hidden from screen readers: the element that holds it says what it shows.
    """
    text = drawn.decode("utf-8")
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'(\sid="|\sxlink:href="#|url\(#)', rf"\g<1>{name}-", text)
    text = re.sub(r'\sxmlns(:xlink)?="[^"]*"', "", text)
    text = text.replace("'DejaVu Sans'", FONTS)
    return text.replace("<svg", '<svg aria-hidden="true" focusable="false"', 1)
