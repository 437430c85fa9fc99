"""What a page holds, read as its script reads it; and pages in a browser."""

import base64
import html
import json
import re
import shutil
import subprocess
import zlib

import numpy as np

BROWSER = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chrome"))), None)


def element(page: str, name: str) -> str:
    """The text of a page's element."""
    return re.search(rf'<[^<>]* id="{name}"[^<>]*>(.*?)</', page, re.S)[1]


def unpacked(page: str) -> dict:
    """The facts of a page with all arrays in their place."""
    block = zlib.decompress(base64.b64decode(element(page, "block")))

    def array(fact):
        kind = np.dtype(fact["type"]).newbyteorder("<")
        count = int(np.prod(fact["shape"]))
        x = np.frombuffer(block, kind, count, fact["at"]).reshape(fact["shape"])
        x = np.cumsum(x, axis=0, dtype=fact["type"])
        return fact["low"] + fact["step"] * x if "low" in fact else x

    facts = json.loads(element(page, "data"))
    for episode in facts["episodes"]:
        found = {k: v for k, v in episode.items() if isinstance(v, dict)}
        episode |= {k: array(fact) for k, fact in found.items()}
    return facts


def opened(path, where: str = "", script: str = "", size: str = "1280,900") -> str:
    """The elements of a page as a browser has them after a while, with a script of a test's own.

    Fails on anything that the page writes to the console.
    """
    page = path.read_text().replace("</body>", f"<script>{script}</script></body>")
    copy = path.with_suffix(".opened.html")
    copy.write_text(page)
    flags = (
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
        "--disable-background-networking --disable-component-update --enable-logging=stderr "
        f"--window-size={size} --virtual-time-budget=5000 --dump-dom"
    )
    done = subprocess.run(
        [BROWSER, *flags.split(), f"--user-data-dir={path.parent / 'profile'}",
         f"file://{copy}#{where}"],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert "CONSOLE" not in done.stderr, done.stderr
    return done.stdout


def shown(dom: str, row: str, name: str) -> float:
    """A number of the row of an agent or an action (``data-agent="1"``)."""
    cells = re.search(rf"<tr[^>]*{row}[^>]*>(.*?)</tr>", dom, re.S)[1]
    return number(re.search(rf'data-name="{name}">([^<]*)<', cells)[1])


def number(text: str) -> float:
    text = html.unescape(text).replace("−", "-")
    return float(text.rstrip(" %")) / (100 if text.endswith("%") else 1)
