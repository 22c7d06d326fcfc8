"""``tinyse doctor``: what is installed, what is missing, what gets it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from tinyse.studies.doctor import Diagnosis


@click.command()
@click.option("--fvp", metavar="PATH", help="The Corstone-300 FVP. Default: $FVP_CORSTONE300, then PATH.")
def command(fvp: str | None) -> None:
    """What is installed, what is missing, and the one command that gets it.

    Fails only where something is missing that the way from speech to a compiled model requires.

    \b
    Example:
      tinyse doctor
      tinyse doctor --fvp /opt/fvp/FVP_Corstone_SSE-300_Ethos-U55
    """
    from tinyse.studies.doctor import Machine, diagnose

    diagnosis = diagnose(Machine(), fvp)
    click.echo("\n".join(lines(diagnosis)))
    if not diagnosis.fit:
        raise SystemExit(1)


def lines(diagnosis: Diagnosis) -> list[str]:
    """The diagnosis as text: a line a check, then what to do."""
    checks = diagnosis.checks
    width = max(len(check.name) for check in checks)
    detail = max(len(check.detail) for check in checks)
    wide = max(len(check.state) for check in checks)
    text = [f"{check.state:<{wide}}  {check.name:<{width}}  {check.detail:<{detail}}  "
            f"{check.purpose}{' (required)' if check.required else ''}" for check in checks]
    text.append("")
    if diagnosis.command:
        text += ["To get what is missing:", f"  {diagnosis.command}"]
    else:
        text.append("Nothing is missing that a command could get.")
    text += [f"By hand: {line}" for line in diagnosis.by_hand]
    text.append("Fit for the main job." if diagnosis.fit else "Not fit for the main job.")
    return text
