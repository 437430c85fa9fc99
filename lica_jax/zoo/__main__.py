"""``python -m lica_jax.zoo add | check | card``: for who looks after the zoo."""

from __future__ import annotations

import sys
from pathlib import Path

from lica_jax.cli.main import run_command
from lica_jax.cli.parsing import Parser, dispatch
from lica_jax.cli.progress import Counter
from lica_jax.zoo.catalog import POLICIES, cards, find_card


def add(argv: list[str]) -> int:
    """Makes an entry from a run."""
    parser = Parser(prog="lica_jax.zoo add", description="make an entry from a run directory")
    parser.add_argument("run", type=Path, help="a run directory, of a sweep too")
    parser.add_argument("--name", required=True, help="name of the entry, such as lica/smax/2s3z")
    parser.add_argument("--which", choices=("best", "last"), default="best")
    parser.add_argument("--note", default="", help="a line for its card")
    parser.add_argument("--overwrite", action="store_true", help="replace an entry of that name")
    parser.add_argument(
        "--folder", type=Path, default=POLICIES, help="folder to write to; default: the package's"
    )
    args = parser.parse_args(argv)

    from lica_jax.zoo.adding import add

    with Counter("evaluating", "episodes") as counter:
        card = add(
            args.run, args.name, which=args.which, overwrite=args.overwrite, note=args.note,
            folder=args.folder, tell=counter.tell,
        )  # fmt: skip
    print(card.markdown)
    if card.facts["commit"] == "unknown" or card.facts["commit"].endswith("-dirty"):
        print("note: the run was made with code that no commit has", file=sys.stderr)
    return 0


def check(argv: list[str]) -> int:
    """Evaluates entries again; fails where figures lie outside their cards' intervals."""
    parser = Parser(prog="lica_jax.zoo check", description="evaluate entries again")
    parser.add_argument("names", nargs="*", metavar="NAME", help="entries to evaluate; default all")
    args = parser.parse_args(argv)

    from lica_jax.zoo.adding import differences, figures

    chosen = [find_card(name) for name in args.names] or cards()
    found = []
    for card in chosen:
        with Counter(f"evaluating {card.name}", "episodes") as counter:
            episodes = card.facts["evaluation"]["episodes"]
            odd = differences(card, figures(card.path, episodes, counter.tell))
        print("\n".join(odd) if odd else f"{card.name}: as its card says")
        found += odd
    return 1 if found else 0


def card(argv: list[str]) -> int:
    """Shows a card."""
    parser = Parser(prog="lica_jax.zoo card", description="show an entry's card")
    parser.add_argument("name")
    print(find_card(parser.parse_args(argv).name).markdown)
    return 0


COMMANDS = {
    "add": (add, "make an entry from a run directory"),
    "check": (check, "evaluate entries again, against their cards"),
    "card": (card, "show an entry's card"),
}


if __name__ == "__main__":
    sys.exit(
        run_command(
            lambda argv: dispatch("python -m lica_jax.zoo", "the zoo", COMMANDS, argv), sys.argv[1:]
        )
    )
