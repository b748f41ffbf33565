"""The section of an export's card about its quantized files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pipelines.core.support.markdown import filled, plain, points, row, table
from zoo.contract import FLOAT16, INT8, MODEL_FILE, MODEL_FILES

TITLE = "## Quantized files"
TITLES = f"(?:{TITLE}|## In fewer bits)"  # of cards as they were written before, too


def with_precisions(card: str, metrics: Mapping[str, float], made: Mapping[str, Mapping[str, Any]]) -> str:
    """A card with a section about the export's files of other precisions, in place of the one that it had.

    metrics: those of the manifest. made: how each file was made, by precision, as it says itself; none for no section.
    """
    without = re.sub(rf"^{TITLES}\n.*?(?=^## |\Z)", "", card, flags=re.MULTILINE | re.DOTALL)
    if not made:
        return without
    place = without.find("\n## Classes\n") + 1 or len(without)
    return without[:place] + _precisions(metrics, made) + "\n\n" + without[place:]


def _precisions(metrics: Mapping[str, float], made: Mapping[str, Mapping[str, Any]]) -> str:
    rows = []
    calibrated = all(f"{precision}_mass_calibration_error" in metrics for precision in made)
    for precision in made:

        def metric(name: str, precision: str = precision) -> float | None:
            return metrics.get(f"{precision}_{name}")

        speeds = [metric("speedup_1"), metric("speedup_64")]
        rows.append(
            (
                f"`{MODEL_FILES[precision]}`",
                f"{metric('accuracy'):.2%}",
                points(metric("accuracy_difference")),
                f"{points(metric('accuracy_difference_low'))} to {points(metric('accuracy_difference_high'))}",
                f"{metric('same_top_class'):.2%}",
                *([f"{metric('mass_calibration_error'):.2%}"] if calibrated else []),
                f"{(metric('size') or 0) / 1000:,.0f} kB",
                *("" if speed is None else f"{speed:.2f}×" for speed in speeds),
            )
        )
    columns = (
        "file",
        ">test accuracy",
        ">difference in points",
        ">95% interval",
        ">same prediction",
        *([">calibration error"] if calibrated else []),
        ">size",
        ">speedup, one image",
        ">speedup, 64 at once",
    )
    separately = "Each file is calibrated separately; its calibration error is over 15 bins of equal mass."
    about = f"""
        The same model, quantized, with the same inputs and outputs. Load it with
        {" or ".join(f'`zoo.load(".", precision="{precision}")`' for precision in made)}. The difference in accuracy,
        the share of images with the same prediction, and the speedup are relative to `{MODEL_FILE}`, on the same test
        images; the speedup is that of one thread of the CPU that quantized the model (`zoo benchmark` measures yours).
        {separately if calibrated else ""}
    """
    parts = [TITLE, filled(about), table(columns, map(row, rows))]
    if INT8 in made:
        parts.append(filled(_how_int8(made[INT8])))
    if FLOAT16 in made:
        parts.append(
            filled(
                "float16 halves the file size. CPUs convert it to float32 at run time; GPUs may be faster or slower."
            )
        )
    return "\n\n".join(parts)


def _how_int8(made: Mapping[str, Any]) -> str:
    in_float = ", ".join(plain(str(layer)) for layer in made.get("float32_layers", ()))
    kept = f"Kept in float32: {in_float}." if in_float else "No layer is kept in float32."
    trained_on = " (which the model was also trained on)" if made.get("validation_learned") else ""
    return f"""
        int8 was calibrated on {made.get("calibration_images", 0):,} training images. Of the calibration methods,
        {plain(str(made.get("calibration")))} came closest to float32 on the validation images{trained_on}. The test
        images were not used for this choice. {kept}
    """
