"""Python on the pages runs as it stands, and its comments say what comes out."""

import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ESTIMATE = re.compile(r"^(statistics\..*)  # .*?(Estimate\(.*\))$", re.MULTILINE)


def blocks(page: str) -> list[str]:
    return BLOCK.findall((DOCS / page).read_text())


def test_statistics_of_the_report_page_come_out_as_said():
    (code,) = [block for block in blocks("report.md") if "from lica_jax import statistics" in block]
    names: dict = {}
    exec(code, names)
    told = ESTIMATE.findall(code)
    assert len(told) == 3
    for call, said in told:
        assert repr(eval(call, names)) == said
