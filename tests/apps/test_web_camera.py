"""The camera of `zoo demo`'s page in a real Chromium, whose camera plays a file: images are those of a chosen file."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from chromium import launch
from demo_page import SAME, Visits, after, browsing, canvas, hosted, predictions, python, settled, shown, until, upload
from fake_camera import CAMERA, DENIED, WITHOUT, clip, frame
from PIL import Image

from pipelines.publishing.demo import demo

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = [
    pytest.mark.apps,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

ROOT = Path(__file__).parents[2]
GRAY = [ROOT / "exports" / "digits" / name for name in ("mlp-small", "lenet5")]
FIXTURE = ROOT / "tests" / "runtime" / "fixture"
COLOR = [FIXTURE / "tinted-digits" / "softmax"]
CARD = ("--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan")
TWO = [FIXTURE / "digits" / name for name in ("softmax", "pooled")]


def sample(export, label):
    return Image.open(export / "samples" / f"{label}.png").convert("RGB")


def start(page, images=3):
    """Switch the camera on, and wait for so many images."""
    before = settled(page)
    page.click("#camera")
    until(page, f"Number(document.body.dataset.shown) >= {before + images}")
    assert page.evaluate("[video.hidden, source.hidden, camera.innerText]") == [False, True, "Stop camera"]
    page.evaluate("window.tracks = video.srcObject.getTracks()")
    assert page.evaluate("tracks.map(track => track.readyState)") == ["live"]


def check_off(page):
    """The camera is off, at once and for good."""
    assert page.evaluate("tracks.map(track => track.readyState)") == ["ended"]
    assert page.evaluate("[video.hidden, source.hidden, camera.innerText]") == [True, False, "Live camera"]
    assert page.evaluate("video.srcObject") is None
    settled(page)


def label_of(page):
    return [prediction.inner_text().split()[0] for prediction in page.locator(".prediction").all()]


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return demo(GRAY, tmp_path_factory.mktemp("demo") / "demo.html").page


@pytest.fixture(scope="module")
def camera(playwright, tmp_path_factory):
    """A browser whose camera shows the digit 3."""
    video = clip(tmp_path_factory.mktemp("video") / "3.y4m", frame(sample(GRAY[0], 3), 480, 640))
    with browsing(playwright, *CAMERA, video) as visits:
        yield visits


@pytest.fixture(scope="module")
def opened(camera, file):
    return camera(file)


@pytest.fixture
def page(camera, opened):
    after(opened, opened.locator("#samples button").first.click)
    yield opened
    camera.check()


# --- the same predictions --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(480, 640), (640, 480)], ids=["wide", "tall"])
@pytest.mark.parametrize("exports", [GRAY, COLOR], ids=["gray", "color"])
def test_what_the_camera_sees_gets_the_predictions_of_a_file(playwright, tmp_path, exports, size):
    framed = frame(sample(exports[0], 7), *size)
    with browsing(playwright, *CAMERA, clip(tmp_path / "7.y4m", framed)) as visits:
        page = visits(demo(exports, tmp_path / "demo.html").page)
        start(page)
        assert label_of(page) == ["7"] * len(exports)
        after_stop(page)
        assert label_of(page) == ["7"] * len(exports)
        still, found = canvas(page, "source"), predictions(page)
        assert np.abs(found - python(exports, still)).max() < SAME
        pixels = np.asarray(Image.open(io.BytesIO(still)).convert("RGB")).astype(int)
        # The middle of the frame, and nothing of the red beside it; videos round.
        top, left = (size[0] - 480) // 2, (size[1] - 480) // 2
        middle = framed[top : top + 480, left : left + 480].astype(int)
        assert pixels.shape == middle.shape
        assert np.abs(pixels - middle).mean() < 1
        if exports is GRAY:
            assert (pixels == pixels[..., :1]).all()
        after(page, upload(page, "still.png", "image/png", still))
        assert np.abs(predictions(page) - found).max() < 1e-7


def after_stop(page):
    before = shown(page)
    page.click("#camera")
    settled(page, before)
    check_off(page)


def test_a_new_image_waits_until_every_model_has_predicted_the_last_one(playwright, tmp_path):
    """On a graphics card, or what Chromium has in its place: the page goes on while that works."""
    page_file = demo(TWO, tmp_path / "demo.html", webgpu=True).page
    video = clip(tmp_path / "3.y4m", frame(sample(GRAY[0], 3), 480, 640))
    browser = launch(playwright, *CAMERA, video, *CARD)
    try:
        page = Visits(browser)(page_file)
        assert "graphics card (WebGPU)" in page.inner_text("#state")
        page.evaluate("""() => {
            window.events = [];
            const draw = CanvasRenderingContext2D.prototype.drawImage;
            CanvasRenderingContext2D.prototype.drawImage = function (from, ...rest) {
                if (from === video) events.push('image');
                return draw.call(this, from, ...rest);
            };
            for (const card of document.querySelectorAll('article'))
                new MutationObserver(found => found.forEach(() => events.push(card.querySelector('h3').innerText)))
                    .observe(card, {attributeFilter: ['data-probabilities']});
        }""")
        start(page, 8)
        events = page.evaluate("events")
        turn = ["image", *(export.name for export in TWO)]
        assert events == (turn * len(events))[: len(events)]
        assert events.count("image") >= 8
        after_stop(page)
    finally:
        browser.close()


def test_the_sliders_move_what_the_camera_sees(page):
    start(page)
    before = canvas(page, "input")
    page.fill("#right", "2")
    until(
        page,
        f"document.getElementById('input').toDataURL() != 'data:image/png;base64,{base64.b64encode(before).decode()}'",
    )
    after_stop(page)
    assert np.abs(predictions(page) - python(GRAY, canvas(page, "input"))).max() < SAME
    after(page, lambda: page.click("#reset"))


# --- off again -------------------------------------------------------------------------------------------------------

BRING = """async ([base64, type]) => {
    const transfer = new DataTransfer();
    transfer.items.add(new File([Uint8Array.from(atob(base64), c => c.charCodeAt(0))], 'x.png', {type: 'image/png'}));
    const init = {bubbles: true, cancelable: true};
    document.body.dispatchEvent(type === 'paste' ? new ClipboardEvent(type, {...init, clipboardData: transfer})
                                                 : new DragEvent(type, {...init, dataTransfer: transfer}));
}"""
FIVE = (GRAY[0] / "samples" / "5.png").read_bytes()
FILE = {"name": "5.png", "mimeType": "image/png", "buffer": FIVE}
BROKEN = {"name": "5.png", "mimeType": "image/png", "buffer": FIVE[:40]}
ELSE = {  # what is done, and the label that is predicted then; None for a drawing
    "its button": (lambda page: page.click("#camera"), "3"),
    "its button by keyboard": (lambda page: page.locator("#camera").press("Enter"), "3"),
    "a sample": (lambda page: page.locator("#samples button").nth(4).click(), "4"),
    "drawing": (lambda page: page.click("#draw"), None),
    "a file": (lambda page: page.set_input_files("#file", FILE), "5"),
    "a photograph": (lambda page: page.set_input_files("#photograph", FILE), "5"),
    "a drop": (lambda page: page.evaluate(BRING, [base64.b64encode(FIVE).decode(), "drop"]), "5"),
    "a paste": (lambda page: page.evaluate(BRING, [base64.b64encode(FIVE).decode(), "paste"]), "5"),
    "a file that is no image": (lambda page: page.set_input_files("#file", BROKEN), "3"),
}


@pytest.mark.parametrize("what", ELSE)
def test_another_image_switches_the_camera_off(page, what):
    act, label = ELSE[what]
    start(page)
    before = shown(page)
    act(page)
    settled(page, before)
    check_off(page)
    if label:
        sync_api.expect(page.locator(".prediction").first).to_contain_text(label)
        assert label_of(page) == [label] * len(GRAY)
    assert page.locator("#problem").is_visible() == (what == "a file that is no image")
    assert page.get_attribute("#draw", "aria-pressed") == str(what == "drawing").lower()


def test_the_camera_is_off_before_anything_else_happens(page):
    start(page)
    assert page.evaluate("(camera.click(), tracks[0].readyState)") == "ended"
    check_off(page)


def test_text_that_is_dropped_is_reported_and_the_camera_goes_on(page):
    start(page)
    page.evaluate(
        "document.body.dispatchEvent(new DragEvent('drop', {bubbles: true, dataTransfer: new DataTransfer()}))"
    )
    until(page, f"Number(document.body.dataset.shown) > {shown(page) + 3}")
    assert "holds no image" in page.inner_text("#problem")
    after_stop(page)


def test_a_page_that_is_left_or_out_of_sight_switches_the_camera_off(camera, file):
    """Chromium hides a page that is left; without a screen it hides no other one."""
    with hosted(file.parent) as port:
        address = f"http://127.0.0.1:{port}/"
        page = camera(f"{address}{file.name}")
        start(page)
        page.evaluate("""document.addEventListener('visibilitychange', () =>
            localStorage.setItem('left', `${document.visibilityState} ${tracks[0].readyState}`))""")
        page.goto(f"{address}nothing-there")
        assert page.evaluate("localStorage.getItem('left')") == "hidden ended"
        page.context.close()
    camera.pages.remove(page)
    camera.complaints.clear()  # the page that isn't there
    camera.requests.clear()


def test_a_camera_that_comes_late_is_switched_off_again(page):
    page.evaluate("""() => {
        const {mediaDevices} = navigator;
        const ask = mediaDevices.getUserMedia.bind(mediaDevices);
        window.asked = [];
        mediaDevices.getUserMedia = async what => {
            const stream = await ask(what);
            await new Promise(answer => asked.push({answer, tracks: stream.getTracks()}));
            return stream;
        };
    }""")
    for times, act in enumerate((lambda: page.click("#camera"), page.locator("#samples button").nth(4).click), 1):
        page.click("#camera")
        assert page.inner_text("#camera") == "Stop camera"
        until(page, f"asked.length === {times}")
        act()
        page.evaluate("window.tracks = asked.at(-1).tracks; asked.at(-1).answer()")
        until(page, "tracks[0].readyState === 'ended'")
        check_off(page)
    assert label_of(page) == ["4", "4"]
    # One that comes after the next one, which is on already.
    for _ in range(3):  # asked for, not wanted any longer, asked for again
        page.click("#camera")
    until(page, "asked.length === 4")
    page.evaluate("asked[3].answer()")
    until(page, "!video.hidden")
    page.evaluate("asked[2].answer()")
    until(page, "asked[2].tracks[0].readyState === 'ended'")
    until(page, f"Number(document.body.dataset.shown) > {shown(page) + 3}")
    page.evaluate("window.tracks = asked[3].tracks")
    assert page.evaluate("video.srcObject.getTracks()[0] === tracks[0] && tracks[0].readyState === 'live'")
    page.evaluate("delete navigator.mediaDevices.getUserMedia")
    after_stop(page)


def test_a_camera_that_is_pulled_out_is_reported_and_its_last_image_stays(page):
    start(page)
    page.evaluate("tracks[0].stop()")
    sync_api.expect(page.locator("#problem")).to_contain_text("The camera was switched off or disconnected")
    check_off(page)
    assert label_of(page) == ["3", "3"]
    start(page)
    assert page.locator("#problem").is_hidden()
    after_stop(page)


# --- no camera -------------------------------------------------------------------------------------------------------

REFUSED = {
    "none": (WITHOUT, "No camera was found: connect one, or choose an image instead."),
    "not allowed": (
        DENIED,
        "The camera is not allowed for this page: allow it in the browser’s settings for the page, ",
    ),
    "not from https": (CAMERA, "The browser gives this page no camera: open it from an https:// address, or choose "),
}


@pytest.mark.parametrize("what", REFUSED)
def test_without_a_camera_one_sentence_says_so_and_the_page_goes_on(playwright, file, what):
    flags, words = REFUSED[what]
    flags = (*flags, "--host-resolver-rules=MAP demo.example 127.0.0.1")
    with hosted(file.parent) as port, browsing(playwright, *flags) as visits:
        page = visits(f"http://demo.example:{port}/{file.name}" if what == "not from https" else file)
        before = predictions(page)
        page.click("#camera")
        problem = page.locator("#problem")
        sync_api.expect(problem).to_contain_text(words)
        assert problem.inner_text().count(".") == 1
        assert problem.get_attribute("role") == "alert"
        assert page.evaluate("[video.hidden, source.hidden, camera.innerText]") == [True, False, "Live camera"]
        assert np.array_equal(predictions(page), before)
        assert "Sample: 0" in page.inner_text("#source-text")
        after(page, page.locator("#samples button").nth(2).click)
        assert problem.is_hidden()
        assert label_of(page) == ["2", "2"]


# --- for everyone ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_jumps_when_the_camera_starts_and_stops(camera, file, width):
    small = width < 600
    page = camera(file, viewport={"width": width, "height": 740}, is_mobile=small, has_touch=small)
    places = """[...document.querySelectorAll('#camera, #canvases, #invert, #predictions, .bars, .metrics')].map(
        element => (box => [box.x, box.y, box.width, box.height].map(Math.round))(element.getBoundingClientRect()))"""
    before = page.evaluate(places)
    start(page)
    assert page.evaluate(places) == before
    assert page.evaluate("document.documentElement.scrollWidth") == width
    video, button = page.locator("#video").bounding_box(), page.locator("#camera").bounding_box()
    assert abs(video["width"] - video["height"]) < 1
    assert button["height"] >= 40
    after_stop(page)
    assert page.evaluate(places) == before
    page.context.close()
    camera.pages.remove(page)


def test_the_camera_needs_no_mouse(page):
    page.focus("#camera")
    before = settled(page)
    page.keyboard.press("Enter")
    until(page, f"Number(document.body.dataset.shown) >= {before + 3}")
    page.evaluate("window.tracks = video.srcObject.getTracks()")
    assert page.evaluate("document.activeElement.id") == "camera"
    before = shown(page)
    page.keyboard.press("Space")
    settled(page, before)
    check_off(page)
    assert page.evaluate("document.activeElement.id") == "camera"


HEAR = """() => {
    window.heard = [];
    new MutationObserver(() => heard.push(spoken.textContent)).observe(spoken, {childList: true});
}"""


def test_a_label_that_stays_is_read_out_once(camera, file):
    page = camera(file)
    until(page, "spoken.textContent")  # of the sample
    page.evaluate(HEAR)
    start(page)
    until(page, "heard.length > 1")
    until(page, f"Number(document.body.dataset.shown) > {shown(page) + 10}")
    on, said = page.evaluate("heard")
    assert on == "The camera is on."
    assert said.startswith("mlp-small: 3, ")
    after_stop(page)
    until(page, "heard.length > 3")
    assert page.evaluate("heard")[2:] == ["The camera is off.", said]
    page.context.close()
    camera.pages.remove(page)


def test_a_label_that_changes_is_read_out(playwright, file, tmp_path):
    images = [frame(sample(GRAY[0], label), 240, 320) for label in (3, 7)]
    with browsing(playwright, *CAMERA, clip(tmp_path / "both.y4m", *images, each=90)) as visits:
        page = visits(file)
        page.evaluate(HEAR)
        start(page)
        until(page, "heard.some(text => text.includes('small: 3')) && heard.some(text => text.includes('small: 7'))")
        after_stop(page)
