"""Checks the values of options before any work is done. What cannot be understood is a usage error (exit 2)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager

import typer

from vpmsearch.words import printable

PRECISIONS = ("float32", "bfloat16", "auto")


@contextmanager
def usage(option: str | None) -> Iterator[None]:
    """Turn an error about a value of an option into a usage error.

    Errors of the work itself do not belong into the block: they exit 1.

    Args:
        option: that the value was given for, such as "--every"; None if the message names it.

    Raises:
        typer.BadParameter: the block raised an error.
    """
    from vpmsearch.errors import VpmsearchError

    try:
        yield
    except VpmsearchError as error:
        raise typer.BadParameter(str(error), param_hint=option) from error


def check_words(option: str, given: Iterable[str], known: Collection[str]) -> None:
    """Refuse words that an option does not know.

    Raises:
        typer.BadParameter: names the word and those that are known.
    """
    for word in given:
        if word not in known:
            raise typer.BadParameter(f"'{printable(word)}' is not one of {', '.join(known)}", param_hint=option)


def device_name(name: str) -> str:
    """The name of a device. Whether the device is there is found out by the work."""
    from vpmsearch.model.device import check_name

    with usage("--device"):
        check_name(name)
    return name


def precision_name(name: str) -> str:
    """A precision, or "" if none was named."""
    check_words("--precision", [name] if name else [], PRECISIONS)
    return name


def zone_name(name: str) -> str:
    """The name of a time zone, or "" if none was named."""
    from vpmsearch.data.moments import time_zone

    with usage("--timezone"):
        if name:
            time_zone(name)
    return name


def pattern(text: str) -> str:
    """A pattern of file names, or "" if none was given."""
    from vpmsearch.data.patterns import name_pattern

    with usage("--pattern"):
        if text:
            name_pattern(text)
    return text


def gammas(values: list[float] | None) -> list[float] | None:
    """Area ratios, each in (0, 1]."""
    for value in values or ():
        if not 0 < value <= 1:
            raise typer.BadParameter(f"an area ratio is above 0 and at most 1, not {value:g}", param_hint="--gamma")
    return values


def crop(name: str) -> str:
    """A strategy of cropping."""
    crops([name])
    return name


def crops(names: list[str] | None) -> list[str] | None:
    """Strategies of cropping."""
    from vpmsearch.data.crops import STRATEGIES

    check_words("--crop", names or (), STRATEGIES)
    return names


def min_visibility(value: float | None) -> float | None:
    """A share of the image, in [0, 1)."""
    if value is not None and not 0 <= value < 1:
        message = f"a share of the image is at least 0 and below 1, not {value:g}"
        raise typer.BadParameter(message, param_hint="--min-visibility")
    return value
