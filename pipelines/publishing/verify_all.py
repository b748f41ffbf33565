"""`zoo verify --all`: every number that a card or the page prints is found again by running the shipped files."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pipelines.core.provenance.reading import Located
from pipelines.exporting.verify import Check, Tested, Verification, verify_and_keep
from pipelines.publishing.catalog import Shipped, read_shipped
from pipelines.publishing.gallery import FAMILIES, PAGE_FILE, export_row, page_text, precision_rows
from pipelines.publishing.recomputed import build_again, card_lines, check_card, check_model
from zoo.checked import read_text
from zoo.contract import MODEL_FILES, read_manifest
from zoo.errors import ExportError, ModelError, VerificationError, ZooError

logger = logging.getLogger("zoo.publishing")

MODEL, CARD, PAGE = "model", "card", "page"  # names of the checks that are added


def verify_all(exports: Path = Path("exports"), *, data: str | Located | None = None) -> tuple[Verification, ...]:
    """Verify each export in a folder, and that its card and the folder's page have the same numbers.

    data: as in `verify`. Each step is logged to `zoo.publishing`. A missing card or page isn't checked.
    Raises ExportError if there is no export, and, after all were tried, VerificationError with a line for each that
    failed, and for the first line of the page that no export has.
    """
    wrong: list[str] = []
    shipped = read_shipped(exports, on_damaged=lambda _, error: wrong.append(str(error)))
    if not shipped and not wrong:
        raise ExportError(f"no export is in {exports}: `zoo run MODEL --data DATA` makes one, --exports names a folder")
    page = exports / PAGE_FILE
    lines = read_text(page).splitlines() if page.is_file() else None
    verifications = []
    for place, export in enumerate(shipped, start=1):
        logger.info("%s: verifying (%d of %d)", export.name, place, len(shipped))
        try:
            found, tested = verify_and_keep(export.folder, data=data)
            checks = [*found.checks, *_check_numbers(export, tested)]
            if lines is not None:
                checks.append(Check(PAGE, check_page(export, page, lines)))
            verifications.append(replace(found, checks=tuple(checks)))
        except ZooError as error:
            wrong.append(f"{export.name}: {error}")
    if lines is not None:
        try:
            check_nothing_else(shipped, page, lines)
            check_whole(page_text(shipped, exports).splitlines(), page, lines)
        except VerificationError as error:
            wrong.append(str(error))
    if wrong:
        raise VerificationError(*wrong)
    return tuple(verifications)


def _check_numbers(export: Shipped, tested: Tested | None) -> list[Check]:
    """That the model has the size that is printed, and that the card's numbers are the file's."""
    manifest = read_manifest(export.folder)
    try:
        model = build_again(manifest.metadata)
    except ModelError as error:
        raise VerificationError(f"{export.folder}: its parameters can't be counted again: {error}") from None
    checks = [Check(MODEL, check_model(export.folder, manifest, model))]
    if export.card and tested is not None:
        lines = card_lines(export.folder, manifest, model, tested)
        checks.append(Check(CARD, check_card(export.folder, manifest, lines)))
    return checks


def check_page(export: Shipped, page: Path, lines: list[str]) -> str:
    """The page has the line that this export's manifest gives."""
    if export_row(export) not in lines:
        raise VerificationError(
            f"{page} has no line for {export.name} with the metrics of its manifest (test accuracy "
            f"{export.accuracy:.2%}): write it again by `zoo gallery`"
        )
    for line in precision_rows(export):
        if line not in lines:
            raise VerificationError(
                f"{page} has no line for a quantized file of {export.name} with the metrics of its manifest: write "
                "it again by `zoo gallery`"
            )
    return f"{page.name} beside it has the same metrics"


def check_nothing_else(shipped: tuple[Shipped, ...], page: Path, lines: list[str]) -> None:
    """The page lists no export that isn't there, and each once."""
    expected = {line for export in shipped for line in (export_row(export), *precision_rows(export))}
    a_model = rf"\| ({'|'.join(FAMILIES)}) \| \["
    quantized = rf"\| \[[^|]* \| ({'|'.join(MODEL_FILES)}) \|"
    listed = [line for line in lines if re.match(f"{a_model}|{quantized}", line)]
    for line in listed:
        if line not in expected or listed.count(line) > 1:
            name = re.sub(r".*?\[(.*?)\]\((.*?)\).*", r"\2", line)
            raise VerificationError(f"{page} has a line for {name} that no export has: write it again by `zoo gallery`")


def check_whole(expected: Sequence[str], page: Path, lines: Sequence[str]) -> None:
    """The page has the lines with numbers that `zoo gallery` would write, and no others."""
    for one, other, what in ((lines, expected, "has"), (expected, lines, "lacks")):
        known = {*other}
        for line in one:
            if line not in known and re.search(r"\d", line):
                raise VerificationError(f"{page} {what} the line {line!r}: write it again by `zoo gallery`")
