"""Figures that belong to nobody's session, and show themselves in notebooks."""

from __future__ import annotations

import io
from pathlib import Path

from matplotlib.figure import Figure

from lica_jax.errors import UserError, first_line
from lica_jax.files import make_folder


class OwnFigure(Figure):
    """Made without pyplot: no display, no global state. So a notebook's cell has to be told how it
    is shown."""

    def _repr_png_(self) -> bytes:
        png = io.BytesIO()
        self.savefig(png, format="png")
        return png.getvalue()


def save_figure(figure: Figure, path: Path) -> None:
    """Writes a figure; raises ``UserError`` where it cannot be written."""
    make_folder(path.parent, str(path.parent))
    try:
        figure.savefig(path)
    except (ValueError, OSError) as error:  # an ending that is no picture's, or a full disk
        raise UserError(f"{path} cannot be written: {first_line(error)}") from None
