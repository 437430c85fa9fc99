"""The picture alone, without numbers, as an animated GIF."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from lica_jax.envs.frames import Frame, Scene
from lica_jax.errors import UserError
from lica_jax.rendering.packing import thinned
from lica_jax.rendering.recording import Recording

MOST_BYTES = 3_000_000
SIZE, SMOOTH = 420, 2  # pixels of the longer side; drawn twice as large and made smaller
MOST_FRAMES = 400  # of all episodes: more are thinned out before anything is drawn
# As in the viewer: agents, opponents, the rest (Okabe and Ito's colours).
TEAMS = {0: (0, 114, 178), 1: (213, 94, 0), -1: (120, 126, 133)}
PAGE, INK, WALL, HEAL = (250, 250, 248), (40, 44, 50), (200, 202, 205), (0, 158, 115)
LEAST_MS, HOLD_MS = 40, 1200  # of a frame; at the end of an episode


def gif(recording: Recording) -> tuple[bytes, int]:
    """An animated GIF of all episodes, and every how many-th moment it shows.

    Raises:
      UserError: it would be larger than `MOST_BYTES` however few moments it shows.
    """
    films = [thinned(episode.frame, 1) for episode in recording.episodes]
    total = sum(len(film.alive) for film in films)
    stride = -(-total // MOST_FRAMES)
    while stride <= max(len(film.alive) for film in films):
        content = _encoded(recording.scene, films, stride)
        if len(content) <= MOST_BYTES:
            return content, stride
        stride *= 2
    raise UserError(f"a GIF would be larger than {MOST_BYTES // 10**6} MB: take fewer episodes")


def _encoded(scene: Scene, films: list[Frame], stride: int) -> bytes:
    images, durations, box = [], [], seen(scene, films)
    each = max(LEAST_MS, round(1000 * scene.frame_seconds * stride))
    for film in films:
        last = len(film.alive) - 1
        for i in [*range(0, last, stride), last]:
            images.append(_drawn(scene, film, box, i, max(0, i - stride + 1)))
            durations.append(each if i < last else HOLD_MS)
    palette = _palette()
    small = [image.quantize(palette=palette, dither=0) for image in images]
    out = io.BytesIO()
    small[0].save(
        out, "GIF", save_all=True, append_images=small[1:], duration=durations, loop=0,
        optimize=False,
    )  # fmt: skip
    return out.getvalue()


def seen(scene: Scene, films: list[Frame]) -> tuple[float, float, float, float]:
    """(x0, y0, x1, y1) of all that is ever to be seen, with a margin, as in the viewer."""
    alive = np.concatenate([film.alive.reshape(-1) for film in films])
    if scene.cells or not alive.any():
        return scene.bounds
    at = np.concatenate([film.position.reshape(-1, 2) for film in films])[alive]
    wide = scene.bounds[2] - scene.bounds[0]
    reach = np.concatenate([film.radius.reshape(-1) for film in films])[alive, None] + 0.04 * wide
    low, high = (at - reach).min(0), (at + reach).max(0)
    more = np.maximum(0, 0.45 * wide - (high - low)) / 2
    return (*map(float, low - more), *map(float, high + more))


def _palette() -> Any:
    """All colours that are drawn, and what smoothing makes of them on the page."""
    from PIL import Image

    pure = [PAGE, INK, WALL, HEAL, *TEAMS.values()]
    shades = [
        tuple(round((1 - share) * c + share * p) for c, p in zip(colour, PAGE, strict=True))
        for colour in pure for share in (0, 0.25, 0.5, 0.75)
    ]  # fmt: skip
    swatch = Image.new("RGB", (len(shades), 1))
    swatch.putdata(shades)
    return swatch.quantize(32)


def _drawn(scene: Scene, film: Frame, box: tuple[float, ...], i: int, since: int) -> Any:
    """Moment i within ``box``, with the blows that fell from moment ``since`` on."""
    from PIL import Image, ImageDraw

    x0, y0, x1, y1 = box
    scale = SMOOTH * SIZE / max(x1 - x0, y1 - y0)
    size = round((x1 - x0) * scale), round((y1 - y0) * scale)
    image = Image.new("RGB", size, PAGE)
    draw = ImageDraw.Draw(image)

    def at(point):
        return (float(point[0]) - x0) * scale, (y1 - float(point[1])) * scale

    for bx0, by0, bx1, by1 in scene.obstacles:
        draw.rectangle([*at((bx0, by1)), *at((bx1, by0))], fill=WALL)
    for x, y, text in scene.cells:
        draw.rectangle([*at((x - 0.5, y + 0.5)), *at((x + 0.5, y - 0.5))], outline=WALL)
        draw.text(at((x, y)), text, fill=INK, anchor="mm", font_size=scale / 4)
    for moment in range(since, i + 1):
        for unit, target in enumerate(film.target[moment]):
            if target >= 0:
                ends = [at(film.position[moment][k]) for k in (unit, target)]
                heals = film.healing[moment][unit]
                draw.line(ends, fill=HEAL if heals else TEAMS[scene.team[unit]], width=2 * SMOOTH)
    for unit in np.flatnonzero(film.alive[i]):
        _unit(draw, at(film.position[i, unit]), film, scene, i, unit, scale)
    return image.resize((size[0] // SMOOTH, size[1] // SMOOTH), Image.Resampling.LANCZOS)


def _unit(draw, centre, film: Frame, scene: Scene, i: int, unit: int, scale: float) -> None:
    """A body, filled up to its health: circles for agents, squares for their opponents."""
    x, y = centre
    r = max(float(film.radius[i, unit]) * scale, 3 * SMOOTH)
    colour, box = TEAMS[scene.team[unit]], [x - r, y - r, x + r, y + r]
    pale = tuple((c + 2 * 255) // 3 for c in colour)
    shape = draw.rectangle if scene.team[unit] == 1 else draw.ellipse
    rim = [x - r - SMOOTH, y - r - SMOOTH, x + r + SMOOTH, y + r + SMOOTH]
    shape(rim, fill=PAGE)  # so that a crowd is seen to be many
    shape(box, fill=pale, outline=colour, width=SMOOTH)
    inner = r * float(film.health[i, unit]) ** 0.5
    shape([x - inner, y - inner, x + inner, y + inner], fill=colour)
