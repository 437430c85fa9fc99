"""Looks for what keeps StarCraft II from being used, and names the fix for each finding."""

from __future__ import annotations

from collections.abc import Callable

from lica_jax.starcraft2.tools.checks import (
    Check,
    check_packages,
    check_platform,
    check_ports,
    check_temp,
    problem,
    static_checks,
)


def examine(
    *,
    sc2_path: str | None = None,
    version: str | None = None,
    workers: int | None = None,
    launch: bool = False,
    selftest: bool = False,
    show: Callable[[Check], None] = lambda check: None,
) -> list[Check]:
    """All checks asked for, each given to ``show`` as soon as it is known.

    A self-test asks about this package only, so that it passes on machines without the game.
    """
    checks: list[Check] = []
    install = None

    def add(check: Check) -> None:
        checks.append(check)
        show(check)

    if selftest:
        found, install = (
            [check_platform(), *check_packages(), check_temp(), check_ports(None)],
            None,
        )
    else:
        found, install = static_checks(sc2_path, version, workers)
    for check in found:
        add(check)
    usable = not any(c.status == "problem" and c.name in ("messages", "websocket") for c in checks)
    if selftest and usable:
        from lica_jax.starcraft2.tools.trial import selftest_checks

        for check in selftest_checks():
            add(check)
    if not launch:
        return checks
    if not (install and usable):
        add(problem("launch", "not tried: see above", "repair what is above first"))
    else:
        from lica_jax.starcraft2.tools.trial import launch_checks

        for check in launch_checks(install, workers=workers):
            add(check)
    return checks


def line(check: Check) -> str:
    """One line for a finding; what a game said in its last moments follows indented."""
    lines = check.text.splitlines() or [""]
    first, *rest = ("".join(c if c.isprintable() else "?" for c in words) for words in lines)
    text = f"{check.status:8} {check.name:11} {first}"
    if check.fix:
        text += f"  -> {check.fix}"
    return "\n".join([text, *(f"{'':21}| {words}" for words in rest)])


def exit_code(checks: list[Check]) -> int:
    """2 when something must be repaired, else 0."""
    return 2 if any(check.status == "problem" for check in checks) else 0
