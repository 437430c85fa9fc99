"""Figures that belong to nobody's session, and show themselves in notebooks."""

from __future__ import annotations

import io

from matplotlib.figure import Figure


class OwnFigure(Figure):
    """Made without pyplot: no display, no global state. So a notebook's cell has to be told how it
    is shown."""

    def _repr_png_(self) -> bytes:
        png = io.BytesIO()
        self.savefig(png, format="png")
        return png.getvalue()
