"""The page of `zoo demo` in a real Chromium, opened from its file: it predicts as Python does, and reports errors."""

from __future__ import annotations

import base64
import gzip
import io
import json
import runpy
import shutil
import struct
import subprocess
import time
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from chromium import launch
from demo_page import SAME, Visits, after, as_png, canvas, hosted, predictions, python, settled, upload
from onnx import helper, numpy_helper
from PIL import Image, ImageDraw

import zoo
from pipelines.plotting import palette
from pipelines.publishing.demo import demo
from zoo.contract import describe_file, read_manifest
from zoo.images import read_image

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = [
    pytest.mark.apps,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

ROOT = Path(__file__).parents[2]
FIXTURE = ROOT / "tests" / "runtime" / "fixture"


@pytest.fixture(scope="module")
def file(exports3, tmp_path_factory):
    return demo(exports3, tmp_path_factory.mktemp("demo") / "demo.html").page


@pytest.fixture
def visit(browser):
    visits = Visits(browser)
    yield visits
    visits.check()
    for page in visits.pages:
        page.context.close()


@pytest.fixture(scope="module")
def visits(browser):
    return Visits(browser)


@pytest.fixture(scope="module")
def opened(visits, file):
    return visits(file)


@pytest.fixture
def page(visits, opened):
    """The page of three exports with its first sample, nothing moved. One for all tests: it takes seconds to open."""
    after(opened, lambda: opened.click("#reset"))
    after(opened, opened.locator("#samples button").first.click)
    yield opened
    visits.check()


def move(page, slider, value):
    return after(page, lambda: page.fill(f"#{slider}", str(value)))


def samples_correct(page):
    return [int(card.locator("dd").nth(1).inner_text().split()[0]) for card in page.locator("article").all()]


# --- the same predictions --------------------------------------------------------------------------------------------


def test_every_sample_gets_the_predictions_of_python(page, exports3):
    listed = json.loads((exports3[0] / "samples" / "samples.json").read_text())
    buttons = page.locator("#samples button").all()
    assert len(buttons) == len(listed) == 10
    largest = 0.0
    for button, sample in zip(buttons[::-1], listed[::-1], strict=True):
        after(page, button.click)
        assert sample["label"] in page.inner_text("#source-text")
        largest = max(
            largest, np.abs(predictions(page) - python(exports3, exports3[0] / "samples" / sample["file"])).max()
        )
    assert largest < SAME
    assert "to 2e-7" in page.inner_text("#checked") or float(page.get_attribute("#checked", "data-largest")) < SAME


def test_images_of_any_size_and_mode_get_the_predictions_of_python(page, exports3):
    noise = np.random.default_rng(5)
    color = Image.fromarray(noise.integers(0, 256, (61, 97, 3), dtype=np.uint8))
    clear = color.copy()
    clear.putalpha(Image.linear_gradient("L").resize(clear.size))
    large = color.resize((1900, 1300))
    for image, most in ((color, SAME), (color.convert("L"), SAME), (large, SAME), (clear, 2e-3)):
        png = as_png(image)
        after(page, upload(page, "a.png", "image/png", png))
        assert f"{image.width:,} × {image.height:,}" in page.inner_text("#source-text")
        assert np.abs(predictions(page) - python(exports3, png)).max() < most
    turned = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    large.save(turned, "JPEG", quality=95, exif=exif)
    after(page, upload(page, "a.jpg", "image/jpeg", turned.getvalue()))
    assert "1,300 × 1,900" in page.inner_text("#source-text")
    assert np.abs(predictions(page) - python(exports3, turned.getvalue())).max() < 2e-2


@pytest.mark.parametrize(
    ("slider", "value", "words"),
    [
        ("right", -3, "3 pixels left"),
        ("down", 1, "1 pixel down"),
        ("scale", 1.3, "1.30 times"),
        ("rotate", -25, "25° left"),
        ("scramble", 2, "4 × 4 blocks"),
    ],
)
def test_each_slider_transforms_the_image_and_the_models_predict_what_is_shown(page, exports3, slider, value, words):
    before = canvas(page, "input")
    move(page, slider, value)
    assert page.locator(f"#{slider} + output").inner_text() == words
    assert page.get_attribute(f"#{slider}", "aria-valuetext") == words
    shown = canvas(page, "input")
    assert shown != before
    assert np.abs(predictions(page) - python(exports3, shown)).max() < SAME
    # benchmarks/moved.py, which measures what the sliders do to a whole test set, transforms images in the same way.
    moved, image = runpy.run_path(str(ROOT / "benchmarks" / "moved.py")), read_image(before, 1)[np.newaxis]
    there = moved["scrambled"](image, 4) if slider == "scramble" else moved["moved"](image, **{slider: value})
    assert np.abs(there[0].astype(int) - read_image(shown, 1)).max() <= 1
    after(page, lambda: page.click("#reset"))
    assert canvas(page, "input") == before


def test_a_shift_moves_by_whole_pixels_and_the_edge_fills_what_is_uncovered(page):
    before = read_image(canvas(page, "input"), 1)[..., 0]
    move(page, "right", 3)
    expected = np.concatenate([before[:, :1].repeat(3, axis=1), before[:, :-3]], axis=1)
    assert np.array_equal(read_image(canvas(page, "input"), 1)[..., 0], expected)


def test_a_scramble_is_one_permutation_that_leaves_no_pixel_out_of_its_block(page):
    buttons = page.locator("#samples button")
    for place, block in ((3, 7), (5, 28)):
        move(page, "scramble", 0)
        originals = []
        for sample in (0, 7):
            after(page, buttons.nth(sample).click)
            originals.append(read_image(canvas(page, "input"), 1)[..., 0])
        move(page, "scramble", place)
        scrambled = [None, read_image(canvas(page, "input"), 1)[..., 0]]
        after(page, buttons.nth(0).click)
        scrambled[0] = read_image(canvas(page, "input"), 1)[..., 0]
        pairs = [np.stack(both).reshape(2, 28 // block, block, 28 // block, block) for both in (originals, scrambled)]
        for row in range(28 // block):
            for column in range(28 // block):
                # The same pairs of values, of both images, in each block: what moved in one moved in the other.
                ordered, mixed = (sorted(zip(*pair[:, row, :, column].reshape(2, -1), strict=True)) for pair in pairs)
                assert ordered == mixed
        assert (scrambled[0] != originals[0]).mean() > 0.3


def test_where_an_image_is_shifted_the_dense_model_fails_and_the_conv_model_does_not(page):
    dense, conv, hybrid = samples_correct(page)
    assert min(dense, conv, hybrid) >= 9
    move(page, "right", 4)
    dense, conv, hybrid = samples_correct(page)
    assert dense <= 5
    assert min(conv, hybrid) >= 8


def test_where_small_blocks_are_scrambled_every_model_classifies_fewer_samples_correctly(page):
    before = samples_correct(page)
    move(page, "scramble", 2)
    assert all(after < correct for after, correct in zip(samples_correct(page), before, strict=True))


# --- images come in --------------------------------------------------------------------------------------------------


def test_a_drawing_gets_the_predictions_of_python_while_it_grows(page, exports3):
    after(page, lambda: page.click("#draw"))
    empty = predictions(page)
    box = page.locator("#source").bounding_box()
    place = lambda x, y: (box["x"] + x * box["width"], box["y"] + y * box["height"])  # noqa: E731
    page.mouse.move(*place(0.3, 0.1))
    page.mouse.down()
    for x, y in ((0.3, 0.9), (0.45, 0.9), (0.45, 0.3), (0.6, 0.3), (0.6, 0.9), (0.7, 0.9), (0.7, 0.1), (0.3, 0.1)):
        page.mouse.move(*place(x, y), steps=6)
    page.mouse.up()
    settled(page, 1)
    time.sleep(0.5)
    settled(page)
    drawn = predictions(page)
    assert np.abs(drawn - empty).max() > 0.1
    assert np.abs(drawn - python(exports3, canvas(page, "source"))).max() < SAME
    after(page, lambda: page.click("#clear"))
    assert np.abs(predictions(page) - empty).max() < 1e-9


def test_everything_can_be_done_by_keyboard(page, exports3):
    def focused():
        return page.evaluate("document.activeElement.id || document.activeElement.innerText")

    def tab_to(name):
        for _ in range(40):
            if focused() == name:
                # What has the focus says so.
                assert page.evaluate(
                    "(e => [e, e.parentElement].some(x => getComputedStyle(x).outlineStyle != 'none'))"
                    "(document.activeElement)"
                )
                return
            page.keyboard.press("Tab")
        raise AssertionError(f"no way to {name}")

    page.locator("#samples button").first.focus()
    page.keyboard.press("Tab")
    after(page, lambda: page.keyboard.press("Enter"))
    assert "Trouser" in page.inner_text("#source-text")
    controls = ["draw", "file", "camera", "invert", "reset", "right", "down", "scale", "rotate", "scramble"]
    reached = []
    for _ in range(8 + len(controls)):  # the samples that are left, and these
        page.keyboard.press("Tab")
        reached.append(focused())
    assert reached[8:] == controls
    for slider in ("right", "down", "scale", "rotate", "scramble"):
        page.focus("#reset")
        tab_to(slider)
        before = page.input_value(f"#{slider}")
        after(page, lambda: page.keyboard.press("ArrowRight"))
        assert page.input_value(f"#{slider}") != before
    page.focus("#samples button")
    tab_to("draw")
    after(page, lambda: page.keyboard.press("Enter"))
    assert focused() == "source"
    blank = predictions(page)
    for key in ("Space", *["ArrowDown"] * 8, *["ArrowRight"] * 4, "Space"):
        page.keyboard.press(key)
    time.sleep(0.5)
    settled(page)
    assert np.abs(predictions(page) - blank).max() > 0.01


DROP = """async ([base64, name, type, event]) => {
    const transfer = new DataTransfer();
    if (name) transfer.items.add(new File([Uint8Array.from(atob(base64), c => c.charCodeAt(0))], name, {type}));
    else transfer.setData('text/plain', 'words');
    const init = {bubbles: true, cancelable: true};
    document.body.dispatchEvent(event === 'paste' ? new ClipboardEvent(event, {...init, clipboardData: transfer})
                                                  : new DragEvent(event, {...init, dataTransfer: transfer}));
}"""


@pytest.mark.parametrize("event", ["drop", "paste"])
def test_an_image_can_be_dropped_and_pasted(page, exports3, event):
    image = exports3[1] / "samples" / "5.png"
    data = base64.b64encode(image.read_bytes()).decode()
    after(page, lambda: page.evaluate(DROP, [data, "sandal.png", "image/png", event]))
    assert np.abs(predictions(page) - python(exports3, image)).max() < SAME
    page.evaluate(DROP, ["", "", "", event])
    assert "holds no image" in page.inner_text("#problem")


def test_light_and_dark_can_be_swapped(page, exports3):
    white = as_png(Image.fromarray(255 - np.asarray(Image.open(exports3[0] / "samples" / "1.png"))))
    after(page, upload(page, "on white.png", "image/png", white))
    after(page, lambda: page.check("#invert"))
    assert np.abs(predictions(page) - python(exports3, exports3[0] / "samples" / "1.png")).max() < SAME


# --- errors are reported ---------------------------------------------------------------------------------------------


def png_of(width, height):
    """An image of one color, by hand: it is small on disk, whatever its size."""
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))  # noqa: E731
    rows = zlib.compress(bytes((width + 1) * height), 9)
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_a_file_that_is_no_image_is_reported_and_the_page_goes_on(page):
    before = predictions(page)
    pdf = b"%PDF-1.7\n1 0 obj << /Type /Catalog >> endobj\ntrailer << /Root 1 0 R >>\n%%EOF\n"
    for name, kind, data, words in (
        ("a.pdf", "application/pdf", pdf, "is not an image that this browser can read (application/pdf)"),
        ("a.png", "image/png", b"no image", "is not an image that this browser can read"),
        ("cut.png", "image/png", png_of(64, 64)[:60], "is not an image that this browser can read"),
        ("none.png", "image/png", b"", "is empty"),
        ("large.png", "image/png", png_of(10_000, 10_000), "is too large, 10,000 × 10,000 pixels"),
        ("<img src=x onerror=alert(1)>.pdf", "application/pdf", pdf, "“<img src=x onerror=alert(1)>.pdf” is not"),
    ):
        upload(page, name, kind, data)()
        sync_api.expect(page.locator("#problem")).to_contain_text(words)
    assert np.array_equal(predictions(page), before)
    after(page, lambda: page.locator("#samples button").nth(2).click())
    assert page.locator("#problem").is_hidden()


def test_a_file_that_is_still_read_takes_no_place_of_what_was_chosen_since(page):
    """A large one takes a second to decode."""
    upload(page, "large.png", "image/png", png_of(8000, 6000))()
    button = page.locator("#samples button").nth(3)
    after(page, button.click)
    caption = page.inner_text("#source-text")
    assert caption.startswith("Sample: ")
    page.wait_for_timeout(3000)
    assert page.inner_text("#source-text") == caption
    upload(page, "a.pdf", "application/pdf", b"%PDF-1.7")()
    sync_api.expect(page.locator("#problem")).to_contain_text("is not an image")
    assert page.inner_text("#source-text") == caption, "the image is still that one"


def test_sixteen_bits_of_which_a_browser_gives_eight_are_refused_where_they_would_be_wrong(visit, file, tmp_path):
    def twelve_bits(data):
        data["white"] = 4095

    Image.fromarray(np.full((28, 28), 3000, np.uint16)).save(tmp_path / "deep.png")
    deep = (tmp_path / "deep.png").read_bytes()
    page = visit(spoiled(file, tmp_path, twelve_bits))
    upload(page, "deep.png", "image/png", deep)()
    sync_api.expect(page.locator("#problem")).to_contain_text(
        "is a 16-bit image, of which browsers provide only the upper 8 bits"
    )
    after(page, upload(page, "plain.png", "image/png", png_of(28, 28)))
    assert page.locator("#problem").is_hidden()


def test_an_image_as_large_as_is_allowed_is_reduced_and_the_page_says_so(page):
    after(page, upload(page, "large.png", "image/png", png_of(8000, 6000)))
    assert "reduced to" in page.inner_text("#source-text")


def test_without_web_assembly_the_page_says_so(playwright, file):
    # Without its compilers, as browsers can be locked down, Chromium has none.
    browser = launch(playwright, "--js-flags=--jitless")
    try:
        page = browser.new_page()
        page.goto(file.as_uri())
        assert page.evaluate("typeof WebAssembly") == "undefined"
        sync_api.expect(page.locator("#state")).to_contain_text("can’t start: This browser has no WebAssembly")
        assert page.locator("main").is_hidden()
    finally:
        browser.close()


def data_of(text):
    start = text.index('<script type="application/json" id="data">') + len('<script type="application/json" id="data">')
    return start, text.index("</script>", start)


def spoiled(file, folder, spoil):
    """A copy of the page with other data in it."""
    text = file.read_text(encoding="utf-8")
    start, end = data_of(text)
    data = json.loads(text[start:end])
    spoil(data)
    copy = folder / "spoiled.html"
    copy.write_text(text[:start] + json.dumps(data).replace("<", "\\u003c") + text[end:], encoding="utf-8")
    return copy


def test_a_model_that_does_not_load_is_reported_and_the_others_predict(visit, file, tmp_path):
    def spoil(data):
        data["models"][1]["onnx"] = data["models"][1]["onnx"][:4000]
        data["models"][2]["expected"][3][0] = 0.5

    page = visit(spoiled(file, tmp_path, spoil))
    dense, conv, hybrid = page.locator("article").all()
    assert "This model can’t be used" in conv.inner_text()
    assert "predictions don’t match Python’s" in hybrid.inner_text()
    assert "correct" in dense.inner_text()


def test_a_damaged_page_says_so(visit, file, tmp_path):
    text = file.read_text(encoding="utf-8")
    start, end = data_of(text)
    cut = tmp_path / "cut.html"
    cut.write_text(text[: start + 1000] + text[end:], encoding="utf-8")
    page = visit(cut, wait=False)
    sync_api.expect(page.locator("#state")).to_contain_text("The page can’t start")


# --- safety ----------------------------------------------------------------------------------------------------------


def hostile(export, folder, labels, **names):
    """A copy of an export with other names, which its manifest vouches for."""
    copy = shutil.copytree(export, folder / "hostile")
    manifest = read_manifest(copy)
    listed = json.loads((copy / "samples" / "samples.json").read_text())
    known = dict(zip(manifest.metadata.labels, labels, strict=True))
    text = json.dumps([{**sample, "label": known[sample["label"]]} for sample in listed])
    (copy / "samples" / "samples.json").write_text(text)
    metadata = replace(manifest.metadata, labels=tuple(labels), **names)
    model = onnx.load(copy / "model.onnx")
    onnx.helper.set_model_props(model, metadata.to_properties())
    onnx.save(model, copy / "model.onnx")
    files = tuple(describe_file(copy, copy / known.path) for known in manifest.files)
    (copy / "manifest.json").write_text(replace(manifest, metadata=metadata, files=files).to_json())
    return copy


NAMES = [
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<!--zoo:data-->",
    "&lt;b&gt;",
    "\"'`${1}",
    "<!--<script>",
    "a" * 300,
    "ラベル",
    "\u2028",
    "__proto__",
]


def test_hostile_names_are_text(visit, tmp_path):
    export = hostile(FIXTURE / "digits" / "softmax", tmp_path, NAMES, data_set="</title><img src=x onerror=alert(2)>")
    page = visit(demo([export], tmp_path / "demo.html").page)
    assert page.title().startswith("</title><img src=x onerror=alert(2)>")
    shown = [label.text_content() for label in page.locator(".bars .label").all()]
    assert shown == NAMES
    assert page.locator("img:not([src^='data:image/png;base64,'])").count() == 0
    assert page.locator("script").count() == 3
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_policy_lets_nothing_else_in_or_out(visit, browser, file):
    context = browser.new_context()
    page = context.new_page()
    refused = []
    page.on("console", lambda message: refused.append(message.text))
    page.goto(file.as_uri())
    settled(page)
    # From inside, as a script that slipped in would do it.
    page.evaluate("""() => {
        const add = (name, set) => document.body.append(Object.assign(document.createElement(name), set));
        add('script', {textContent: 'window.broken = 1'});
        add('img', {src: 'https://example.com/x.png'});
        add('iframe', {src: 'https://example.com/'});
        add('div', {innerHTML: '<p onclick="window.broken = 2" id="trap">x</p>'});
        document.getElementById('trap').click();
    }""")
    assert page.evaluate("fetch('https://example.com').then(() => 'sent', () => 'refused')") == "refused"
    assert page.evaluate("window.broken") is None
    assert sum("Content Security Policy" in text for text in refused) >= 5
    context.close()


def test_the_page_works_from_a_web_host_too(visit, file):
    with hosted(file.parent) as port:
        page = visit(f"http://127.0.0.1:{port}/{file.name}")
        assert samples_correct(page) == [10, 10, 10] or min(samples_correct(page)) >= 9


# --- for everyone ----------------------------------------------------------------------------------------------------


def test_a_phone_shows_all_of_it_and_can_be_drawn_on(visit, file):
    page = visit(file, viewport={"width": 360, "height": 740}, device_scale_factor=2, is_mobile=True, has_touch=True)
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    assert page.locator("#capture").is_visible()
    assert page.get_attribute("#photograph", "capture") == "environment"
    assert page.locator("#summary").is_visible()
    for control in page.locator("button:visible, .button:visible, select:visible, .slider:visible").all():
        assert control.bounding_box()["height"] >= 40
    after(page, lambda: page.tap("#draw"))
    blank = predictions(page)
    box = page.locator("#source").bounding_box()
    after(page, lambda: page.touchscreen.tap(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2))
    assert np.abs(predictions(page) - blank).max() > 1e-4


CONTRAST = """() => {
    const parse = color => color.match(/[\\d.]+/g).map(Number);
    const linear = v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
    const light = ([r, g, b]) => [r, g, b].map(v => linear(v / 255))
        .reduce((sum, v, k) => sum + v * [.2126, .7152, .0722][k], 0);
    const ground = element => {
        for (let e = element; e; e = e.parentElement) {
            const color = parse(getComputedStyle(e).backgroundColor);
            if (color[3] !== 0) return color;
        }
        return [255, 255, 255];
    };
    const found = {};
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const element = walker.currentNode.parentElement;
        if (!walker.currentNode.textContent.trim() || !element.checkVisibility()) continue;
        const [a, b] = [light(parse(getComputedStyle(element).color)), light(ground(element))];
        found[walker.currentNode.textContent.trim().slice(0, 40)] = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    }
    return found;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_and_everything_has_a_name(visit, file, scheme):
    page = visit(file, color_scheme=scheme)
    move(page, "right", 5)
    contrasts = page.evaluate(CONTRAST)
    assert len(contrasts) > 40
    assert {text: ratio for text, ratio in contrasts.items() if ratio < 4.5} == {}
    dark = sum(map(int, page.evaluate("getComputedStyle(document.body).backgroundColor")[4:-1].split(","))) < 200
    assert dark == (scheme == "dark")
    for element in page.locator("input:visible, button:visible, select:visible, img, #input, #source").all():
        assert element.evaluate(
            "e => (e.ariaLabel || e.alt || e.labels?.[0]?.innerText || e.innerText || e.title).trim()"
        )
    time.sleep(1)
    assert page.get_attribute("#spoken", "aria-live") == "polite"
    assert page.inner_text("#spoken").startswith("mlp-small: ")


def test_a_family_has_its_color_everywhere(page):
    colors = page.evaluate(
        "[...document.querySelectorAll('article, #summary div')].map(e => "
        "[getComputedStyle(e).borderTopColor, getComputedStyle(e).borderLeftColor])"
    )
    expected = [f"rgb{palette.rgb(palette.FAMILY_COLORS[family])}" for family in ("dense", "conv", "hybrid")]
    assert [top for top, _ in colors[:3]] == [left for _, left in colors[3:]] == expected


# --- other exports ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("export", [FIXTURE / "tinted-digits" / "softmax", ROOT / "exports" / "digits" / "lenet5"])
def test_exports_of_other_sizes_and_colors_predict_as_in_python(visit, export, tmp_path):
    page = visit(demo([export], tmp_path / "demo.html").page)
    assert "all models match Python" in page.inner_text("#checked")
    image = as_png(Image.fromarray(np.random.default_rng(1).integers(0, 256, (33, 20, 3), dtype=np.uint8)))
    after(page, upload(page, "a.png", "image/png", image))
    assert np.abs(predictions(page) - python([export], image)).max() < 1e-4
    move(page, "rotate", 30)
    assert np.abs(predictions(page) - python([export], canvas(page, "input"))).max() < 1e-4


def explaining(export, folder):
    """A copy of conv-small with the output `activation_map`: what its head makes of each place before the average."""
    copy = shutil.copytree(export, folder / "explaining")
    model = onnx.load(copy / "model.onnx")
    graph = model.graph
    if any(output.name == "activation_map" for output in graph.output):
        return copy
    (pool,) = [node for node in graph.node if node.op_type == "GlobalAveragePool"]
    head = next(node for node in reversed(graph.node) if node.op_type == "Gemm")
    kernel = next(numpy_helper.to_array(i) for i in graph.initializer if i.name == head.input[1])
    graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(kernel.T[:, :, None, None]), "map/kernel"))
    graph.node.append(helper.make_node("Conv", [pool.input[0], "map/kernel"], ["activation_map"], "map"))
    shape = ["N", kernel.shape[1], "h", "w"]
    graph.output.append(helper.make_tensor_value_info("activation_map", onnx.TensorProto.FLOAT, shape))
    onnx.save(model, copy / "model.onnx")
    manifest = read_manifest(copy)
    files = tuple(describe_file(copy, copy / known.path) for known in manifest.files)
    (copy / "manifest.json").write_text(replace(manifest, files=files).to_json())
    return copy


def test_an_activation_map_is_drawn_on_demand_where_there_is_one(visit, exports3, tmp_path):
    page = visit(demo([exports3[0], explaining(exports3[1], tmp_path)], tmp_path / "demo.html").page)
    dense, conv = page.locator("article").all()
    assert dense.locator("button").is_hidden()
    assert conv.locator("canvas").count() == 0
    after(page, conv.locator("button").click)
    assert "Orange: evidence for T-shirt/top" in conv.locator("figcaption").inner_text()
    drawn = conv.locator("canvas").evaluate("c => [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]")
    pixels = np.array(drawn).reshape(-1, 4)[:, :3]
    assert (pixels[:, 0] - pixels[:, 2] > 60).mean() > 0.02
    after(page, conv.locator("button").click)
    assert conv.locator("canvas").count() == 0


# --- how far to rely on an answer ------------------------------------------------------------------------------------


THRESHOLDS = {"0.90": 0.4, "0.95": 0.02, "0.99": 0.0005}


@pytest.fixture(scope="module")
def relied(with_sets, tmp_path_factory):
    """Two exports of one model: one says nothing of how far to rely on it, as those of contract 1; the other does."""
    folder = tmp_path_factory.mktemp("relied")
    silent, saying = (shutil.copytree(with_sets, folder / name) for name in ("silent", "saying"))
    manifest, model = read_manifest(with_sets), onnx.load(with_sets / "model.onnx")
    metadata = replace(manifest.metadata, sets={**manifest.metadata.sets, "thresholds": THRESHOLDS})
    rewritten(saying, model, replace(manifest, metadata=metadata))
    metadata = replace(manifest.metadata, contract="1", calibration={}, sets={}, familiarity={})
    del model.graph.output[-1]
    return rewritten(silent, model, replace(manifest, metadata=metadata)), saying


@pytest.fixture(scope="module")
def relied_file(relied, tmp_path_factory):
    return demo(relied, tmp_path_factory.mktemp("demo") / "demo.html").page


def answers(page):
    """What each model answers that can be used; None for what its file doesn't say."""
    return [json.loads(card.get_attribute("data-answer")) for card in page.locator("article[data-answer]").all()]


def letter():
    """An A, white on black."""
    image = Image.new("L", (28, 28))
    drawing = ImageDraw.Draw(image)
    for line in ([(7, 24), (14, 4), (21, 24)], [(10, 16), (18, 16)]):
        drawing.line(line, fill=255, width=3)
    return as_png(image)


def test_familiarity_and_sets_of_labels_are_those_of_python(visit, relied, relied_file):
    page = visit(relied_file)
    silent, saying = (zoo.load(export, provider="cpu") for export in relied)
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 30), dtype=np.uint8))
    samples = [(relied[1] / "samples" / f"{place}.png").read_bytes() for place in range(10)]
    images = [*samples, as_png(noise), letter(), as_png(Image.new("L", (28, 28)))]
    found = {known: [] for known in (True, False)}
    assert [option.inner_text() for option in page.locator("#coverage option").all()] == ["90%", "95%", "99%"]
    for image in images:
        after(page, upload(page, "a.png", "image/png", image))
        for coverage in map(float, THRESHOLDS):
            after(page, lambda: page.select_option("#coverage", f"{coverage:.2f}"))  # noqa: B023
            expected = saying.predict(read_image(image, 1), coverage=coverage)
            of_silent, of_saying = answers(page)
            # Sums in another order, far out on a steep scale: 1.03e-5 was the most, and `zoo verify` allows as much.
            assert of_saying["familiarity"] == pytest.approx(expected.familiarity, abs=1e-4)
            assert (of_saying["known"], of_saying["label"]) == (expected.known, expected.label)
            assert of_saying["labels"] == list(expected.labels)
            assert (of_silent["label"], of_silent["familiarity"], of_silent["labels"]) == (expected.label, None, None)
            found[expected.known].append(len(expected.labels))
    assert found[False] and found[True] and len(set(found[True])) > 2
    assert np.abs(predictions(page) - python(relied, images[-1])).max() < SAME
    assert silent.predict(read_image(images[-1], 1)).known is None


def test_a_drawing_of_none_of_the_classes_is_answered_none_of_these(visit, relied_file):
    page = visit(relied_file)
    silent, saying = page.locator("article").all()
    assert saying.locator(".prediction").inner_text().startswith("T-shirt/top\n")
    assert saying.locator(".set").inner_text() == "95% set: T-shirt/top"
    after(page, lambda: page.click("#draw"))
    box = page.locator("#source").bounding_box()
    place = lambda x, y: (box["x"] + x * box["width"], box["y"] + y * box["height"])  # noqa: E731
    for line in ([(0.25, 0.85), (0.5, 0.15), (0.75, 0.85)], [(0.35, 0.6), (0.65, 0.6)]):  # an A
        page.mouse.move(*place(*line[0]))
        page.mouse.down()
        for point in line[1:]:
            page.mouse.move(*place(*point), steps=6)
        page.mouse.up()
    sync_api.expect(page.locator("#spoken")).to_contain_text("conv-small: none of these; nearest: ")
    settled(page)
    of_silent, of_saying = answers(page)
    headline, nearest = saying.locator(".prediction").inner_text().split("\n")
    assert headline == "None of these" and nearest.startswith(f"nearest: {of_saying['label']}, ")
    assert saying.locator(".familiarity .share").inner_text() == f"{100 * of_saying['familiarity']:.0f}%"
    assert saying.locator(".set").inner_text().startswith("95% set, if it were one of them: ")
    assert page.locator("#summary b").nth(1).text_content() == "None of these"
    # The other file can't tell, and shows what it did before.
    assert silent.locator(".prediction").inner_text().startswith(of_silent["label"] + "\n")
    assert silent.locator(".familiarity").is_hidden() and silent.locator(".set").is_hidden()


def test_a_page_of_files_without_thresholds_offers_no_coverage(visit, relied, tmp_path):
    page = visit(demo(relied[:1], tmp_path / "demo.html").page)
    assert page.locator("#coverages").is_hidden()
    assert page.locator(".familiarity:visible, .set:visible").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_familiarity_and_sets_stand_on_a_phone(visit, relied_file, scheme):
    phone = {"width": 390, "height": 844}
    page = visit(relied_file, viewport=phone, is_mobile=True, has_touch=True, color_scheme=scheme)
    after(page, upload(page, "a.png", "image/png", letter()))
    after(page, lambda: page.select_option("#coverage", "0.99"))  # the longest sets
    assert page.evaluate("document.documentElement.scrollWidth") == phone["width"]
    assert {text: ratio for text, ratio in page.evaluate(CONTRAST).items() if ratio < 4.5} == {}
    line, track = (page.locator(f"article .familiarity {part}").nth(1) for part in ("b", ".track"))
    share = (line.bounding_box()["x"] - track.bounding_box()["x"]) / track.bounding_box()["width"]
    assert share == pytest.approx(0.05, abs=0.01)


def test_a_file_whose_familiarity_is_none_is_reported_and_the_others_predict(visit, relied, relied_file, tmp_path):
    copy = shutil.copytree(relied[1], tmp_path / "beyond")
    model = onnx.load(copy / "model.onnx")
    named = model.graph.output[-1].name
    for node in model.graph.node:
        node.output[:] = ["inside" if name == named else name for name in node.output]
    model.graph.initializer.append(numpy_helper.from_array(np.float32(1.5), "more"))
    model.graph.node.append(helper.make_node("Add", ["inside", "more"], [named], "beyond"))
    beyond = rewritten(copy, model, read_manifest(copy))
    page = visit(demo([*relied, beyond], tmp_path / "demo.html").page)
    *_, wrong = page.locator("article").all()
    assert "This model can’t be used: its familiarity isn’t from 0 to 1" in wrong.inner_text()
    assert wrong.locator(".familiarity").is_hidden() and wrong.locator(".set").is_hidden()
    assert [answer["label"] for answer in answers(page)] == ["T-shirt/top"] * 2

    def spoil(data):
        data["models"][0]["familiarity"] = 0.05

    page = visit(spoiled(relied_file, tmp_path, spoil))
    assert "its file has no familiarity, though it says so" in page.locator("article").first.inner_text()


LONG = "Donaudampfschifffahrtsgesellschaftskapitän"


def enlarged(export, folder):
    """A copy of conv-small that takes 56x56 pixels: an average has any number of positions. One label is a long one."""
    copy = shutil.copytree(export, folder / "enlarged")
    manifest, model = read_manifest(copy), onnx.load(copy / "model.onnx")
    labels = ("A pullover, or what is one", *manifest.metadata.labels[1:-1], LONG)
    metadata = replace(manifest.metadata, height=56, width=56, labels=labels)
    for constant in model.graph.initializer:
        values = numpy_helper.to_array(constant)
        if values.dtype == np.int64:
            constant.CopyFrom(numpy_helper.from_array(np.where(values == 28, 56, values), constant.name))
    for side in model.graph.output[2].type.tensor_type.shape.dim[2:]:
        side.dim_value *= 2
    del model.graph.value_info[:]
    return rewritten(copy, model, replace(manifest, metadata=metadata, map_size=(14, 14)))


def relabeled(export, folder, labels):
    copy = shutil.copytree(export, folder / "relabeled")
    manifest = read_manifest(copy)
    manifest = replace(manifest, metadata=replace(manifest.metadata, labels=labels))
    return rewritten(copy, onnx.load(copy / "model.onnx"), manifest)


def rewritten(folder, model, manifest):
    """The export with another model; its samples expect what that predicts."""
    onnx.helper.set_model_props(model, manifest.metadata.to_properties())
    onnx.save(model, folder / "model.onnx")
    classifier, listed = zoo.load(folder / "model.onnx", provider="cpu"), folder / "samples" / "samples.json"
    samples = json.loads(listed.read_text())
    for place, sample in enumerate(samples):  # one of each class, in their order
        image = read_image(folder / "samples" / sample["file"], 1)
        sample["probabilities"] = classifier.probabilities(image[np.newaxis])[0].tolist()
        sample["label"] = classifier.labels[place]
    listed.write_text(json.dumps(samples))
    files = tuple(describe_file(folder, folder / known.path) for known in manifest.files)
    (folder / "manifest.json").write_text(replace(manifest, files=files).to_json())
    return folder


def test_models_of_two_sizes_stand_on_a_phone_with_their_labels_whole(visit, exports3, tmp_path):
    larger = enlarged(exports3[1], tmp_path)
    both = [relabeled(exports3[0], tmp_path, read_manifest(larger).metadata.labels), larger]
    phone = {"width": 390, "height": 844}
    page = visit(demo(both, tmp_path / "demo.html").page, viewport=phone, is_mobile=True, has_touch=True)
    assert "56 × 56 px, smaller models reduce it" in page.inner_text("main")
    assert "all models match Python" in page.inner_text("#checked")
    after(page, lambda: page.fill("#right", "7"))
    assert np.abs(predictions(page) - python(both, canvas(page, "input"))).max() < SAME
    labels = page.locator(".bars .label, #summary b, #summary span")
    assert LONG in labels.all_inner_texts()
    assert not any(label.evaluate("e => e.scrollWidth > e.clientWidth") for label in labels.all())
    assert page.evaluate("document.documentElement.scrollWidth") == phone["width"]


# --- the graphics card -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("card", [True, False])
def test_the_graphics_card_is_used_where_it_starts(playwright, tmp_path, card):
    """On Chromium's own software renderer, where the machine has no card."""
    page_file = demo([FIXTURE / "digits" / "softmax"], tmp_path / "demo.html", webgpu=True).page
    flags = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan"] if card else []
    browser = launch(playwright, *flags)
    try:
        page = browser.new_page()
        page.goto(page_file.as_uri())
        settled(page)
        assert "all models match Python" in page.inner_text("#checked")
        assert ("graphics card (WebGPU)" in page.inner_text("#state")) == card
        assert page.locator("#provider").is_visible() == card
        if card:
            page.select_option("#provider", "wasm")
            sync_api.expect(page.locator("#state")).to_contain_text("your processor", timeout=30_000)
            settled(page, 1)
            assert len(predictions(page)) == 1
    finally:
        browser.close()


# --- the bundle ------------------------------------------------------------------------------------------------------


def test_the_pages_that_the_package_carries_are_those_that_the_sources_give(installed_example, tmp_path):
    work = installed_example("web")
    done = subprocess.run(
        [shutil.which("npm"), "run", "build", "--", tmp_path / "page"], cwd=work, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    carried = ROOT / "pipelines" / "publishing" / "demo_page"
    assert {path.name for path in (tmp_path / "page").iterdir()} == {path.name for path in carried.iterdir()}
    for path in sorted(carried.iterdir()):
        ours, built = (folder.joinpath(path.name).read_bytes() for folder in (carried, tmp_path / "page"))
        if path.suffix == ".gz":  # each machine packs in its own way
            ours, built = gzip.decompress(ours), gzip.decompress(built)
        assert ours == built, f"{path.name} is not what examples/web gives: npm run build"


def test_the_lock_file_names_no_host():
    assert "resolved" not in (ROOT / "examples" / "web" / "package-lock.json").read_text()
