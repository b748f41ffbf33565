"""`zoo verify --all`: every shipped accuracy is measured again by running the shipped file."""

from __future__ import annotations

import logging
import re
from dataclasses import replace
from pathlib import Path

from pipelines.core.provenance.reading import Located
from pipelines.exporting.verify import Check, Verification, verify
from pipelines.publishing.catalog import Shipped, read_shipped
from pipelines.publishing.gallery import FAMILIES, PAGE_FILE, export_row, precision_rows
from zoo.contract import CARD_FILE, MODEL_FILES
from zoo.errors import ExportError, VerificationError, ZooError

logger = logging.getLogger("zoo.publishing")

CARD, PAGE = "card", "page"  # names of the checks that are added


def verify_all(exports: Path = Path("exports"), *, data: str | Located | None = None) -> tuple[Verification, ...]:
    """Verify each export below a folder, and that its card and the folder's page name the accuracy found.

    data: as `verify` takes it. Each step is logged to `zoo.publishing`. A card or a page that isn't there isn't
    checked.
    Raises ExportError where there is no export, and, when all were tried, VerificationError with a line for each that
    failed, and for the first line of the page that no export has.
    """
    shipped = read_shipped(exports)
    if not shipped:
        raise ExportError(f"no export is in {exports}: `zoo run MODEL --data DATA` makes one, --exports names a folder")
    page = exports / PAGE_FILE
    lines = page.read_text(encoding="utf-8", errors="replace").splitlines() if page.is_file() else None
    verifications, wrong = [], []
    for export in shipped:
        logger.info("%s: verifying", export.name)
        try:
            found = verify(export.folder, data=data)
            checks = list(found.checks)
            if export.card:
                checks.append(Check(CARD, check_card(export)))
            if lines is not None:
                checks.append(Check(PAGE, check_page(export, page, lines)))
            verifications.append(replace(found, checks=tuple(checks)))
        except ZooError as error:
            wrong.append(f"{export.name}: {error}")
    if lines is not None:
        try:
            check_nothing_else(shipped, page, lines)
        except VerificationError as error:
            wrong.append(str(error))
    if wrong:
        raise VerificationError(*wrong)
    return tuple(verifications)


def check_card(export: Shipped) -> str:
    """The card names the accuracy that the file names, and that was found."""
    stated = f"{export.accuracy:.2%}"
    card = export.folder / CARD_FILE
    named = re.search(r"^\| test accuracy \| ([\d.]+%) \|", card.read_text(encoding="utf-8"), re.MULTILINE)
    if named is None or named[1] != stated:
        raise VerificationError(
            f"{card} names {'no test accuracy' if named is None else named[1]}, expected {stated}: export it again"
        )
    return f"names {stated}, too"


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
