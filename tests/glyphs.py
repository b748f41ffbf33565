"""A folder of letters, drawn from real fonts: 26 classes in many sizes, formats and modes, and a mess mixed in."""

from __future__ import annotations

import io
import random
import shutil
import string
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import matplotlib as mpl
from PIL import Image, ImageDraw, ImageFont

# Matplotlib brings DejaVu, STIX and Computer Modern; /usr/share/fonts has what else is installed. Without letters:
_WITHOUT_LETTERS = ("cmex", "cmsy", "cmmi", "STIXSiz", "STIXNonUni", "Display", "LastResort", "MathTeX")
FORMATS = (("png", "L"), ("png", "RGB"), ("png", "RGBA"), ("png", "P"), ("png", "1"), ("jpg", "L"), ("jpg", "RGB"))
FORMATS += (("jpg", "CMYK"), ("webp", "RGB"), ("gif", "P"), ("bmp", "RGB"), ("tif", "L"), ("tif", "I;16"))


def fonts() -> list[Path]:
    """Files of fonts that draw a to z, in an order that doesn't depend on where they lie."""
    places = (Path(mpl.get_data_path()) / "fonts" / "ttf", Path("/usr/share/fonts"))
    found = {path.name: path for place in places for path in sorted(place.rglob("*.ttf"))}
    return [path for name, path in sorted(found.items()) if not any(part in name for part in _WITHOUT_LETTERS)]


def letter(character: str, font: Path, side: int, dice: random.Random) -> Image.Image:
    """A letter somewhere on a square, black on white or the other way, a little turned; mode L."""
    image = Image.new("L", (side, side), 255)
    drawn = ImageFont.truetype(str(font), round(side * dice.uniform(0.5, 0.72)))
    middle = (side / 2 + dice.uniform(-0.08, 0.08) * side, side / 2 + dice.uniform(-0.08, 0.08) * side)
    ImageDraw.Draw(image).text(middle, character, font=drawn, fill=dice.randrange(0, 70), anchor="mm")
    return image.rotate(dice.uniform(-10, 10), Image.Resampling.BILINEAR, fillcolor=255)


def save(image: Image.Image, path: Path, mode: str, dice: random.Random) -> None:
    """As a file of the path's format in a mode."""
    if mode == "I;16":
        image = image.convert("I").point(lambda value: value * 257).convert("I;16")
    elif mode in ("RGB", "RGBA", "CMYK"):
        tint = tuple(dice.randrange(170, 256) for _ in range(3))
        image = Image.composite(
            Image.new("RGB", image.size, tint), image.convert("RGB"), image.point(lambda v: v * 0.9)
        )
        image = image.convert(mode)
    else:
        image = image.convert(mode)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **({"quality": 90} if path.suffix in (".jpg", ".webp") else {}))


@dataclass
class Mess:
    """What was mixed in. broken: files that can't be read. copies: groups of equal files; redone: of near ones."""

    broken: set[str] = field(default_factory=set)
    copies: list[set[str]] = field(default_factory=list)
    redone: list[set[str]] = field(default_factory=list)


def save_letters(root: Path, fonts: list[Path], each: int, seed: int = 0) -> None:
    """`each` images of every letter, below root/a to root/z."""
    dice = random.Random(seed)
    for character in string.ascii_lowercase:
        for k in range(each):
            ending, mode = dice.choice(FORMATS)
            image = letter(character, dice.choice(fonts), dice.randrange(24, 72), dice)
            save(image, root / character / f"{character} {k} ü.{ending}", mode, dice)


def mix_in(root: Path, broken: int, copies: int, redone: int, seed: int = 0) -> Mess:
    """Break some new files, copy some, and save some anew: as JPEG, larger, lighter."""
    dice, mess = random.Random(seed), Mess()
    files = sorted(path for path in root.rglob("*") if path.is_file())
    for k in range(broken):
        source = dice.choice([path for path in files if path.suffix in (".png", ".jpg")])
        whole = source.read_bytes()
        path = source.with_name(f"broken {k}{source.suffix}")
        path.write_bytes((b"", whole[: len(whole) // 3], b"milk, bread, butter", _huge(), whole[:30] * 9)[k % 5])
        mess.broken.add(path.relative_to(root).as_posix())
    chosen = dice.sample(files, copies + redone)
    for k, source in enumerate(chosen[:copies]):
        path = source.with_name(f"copy {k}{source.suffix}")
        shutil.copyfile(source, path)
        mess.copies.append({file.relative_to(root).as_posix() for file in (source, path)})
    for k, source in enumerate(chosen[copies:]):
        path = source.with_name(f"redone {k}.jpg")
        with Image.open(source) as image:
            plain = image.convert("RGBA" if image.has_transparency_data else "RGB") if image.mode[0] != "I" else None
        image = plain or Image.open(source).convert("I").point(lambda value: value / 257).convert("L")
        image = image.convert("RGB")
        if k % 2:
            image = image.resize((image.width * 2, image.height * 2), Image.Resampling.BICUBIC)
        image.save(path, quality=85)
        mess.redone.append({file.relative_to(root).as_posix() for file in (source, path)})
    return mess


def _huge() -> bytes:
    """A PNG of a few hundred bytes that claims to be 60,000 pixels a side."""
    out = io.BytesIO()
    Image.new("L", (8, 8)).save(out, "PNG")
    data = bytearray(out.getvalue())
    data[16:24] = (60_000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    return bytes(data)
