"""What the tests of `zoo demo`'s page share: it is opened in Chromium, changed, waited for and read."""

from __future__ import annotations

import base64
import contextlib
import functools
import http.server
import io
import json
import threading
import time
from pathlib import Path

import numpy as np
from chromium import launch

import zoo
from zoo.images import read_image

PATIENCE = 60.0  # seconds for a page to settle
# The browser's arithmetic sums in another order.
SAME = 1e-5


class Visits:
    """Opens pages, and notes what they complain about and what they fetch."""

    def __init__(self, browser):
        self.browser = browser
        self.pages, self.complaints, self.requests = [], [], []

    def __call__(self, address, *, wait=True, **settings):
        page = self.browser.new_context(**settings).new_page()
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", lambda dialog: self.complaints.append(dialog.message))
        page.on("request", lambda request: self.requests.append(request.url))
        page.goto(address.as_uri() if isinstance(address, Path) else address)
        self.pages.append(page)
        if wait:
            settled(page)
        return page

    def check(self):
        """Nothing went wrong that nobody saw, and nothing was fetched but the page itself."""
        assert self.complaints == []
        own = {page.url for page in self.pages}
        assert {url for url in self.requests if not url.startswith(("data:", "blob:"))} <= own


@contextlib.contextmanager
def browsing(playwright, *flags):
    """Opens pages in a browser of its own, and checks at the end that all went quietly."""
    browser = launch(playwright, *flags)
    try:
        visits = Visits(browser)
        yield visits
        visits.check()
    finally:
        browser.close()


@contextlib.contextmanager
def hosted(folder):
    """The port of a web host."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def settled(page, more_than=0):
    """Wait until the predictions after the last change are shown, with times and counts. Returns the number of changes.

    The page allows no script, Playwright's own way of waiting among them.
    """
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        shown, done = page.evaluate("[Number(document.body.dataset.shown), Number(document.body.dataset.settled)]")
        if shown == done and shown > more_than:
            return shown
        time.sleep(0.05)
    raise AssertionError(f"the page didn't settle: {page.inner_text('body')[:500]}")


def after(page, action):
    """Do something that changes the image, and wait for the predictions."""
    before = settled(page)
    action()
    return settled(page, before)


def predictions(page):
    """[models, K]"""
    cards = page.locator("article").all()
    return np.array([json.loads(card.get_attribute("data-probabilities")) for card in cards])


def canvas(page, name):
    """The pixels of a canvas, as PNG."""
    address = page.evaluate(f"document.getElementById('{name}').toDataURL('image/png')")
    return base64.b64decode(address.partition(",")[2])


def python(exports, image):
    """[models, K], by our own package."""
    classifiers = [zoo.load(export, provider="cpu") for export in exports]
    return np.concatenate([c.probabilities(read_image(image, c.channels)[np.newaxis]) for c in classifiers])


def as_png(image):
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def upload(page, name, kind, data):
    return lambda: page.set_input_files("#file", {"name": name, "mimeType": kind, "buffer": data})


def until(page, expression):
    """Wait for what the page can't be asked to report: it allows no script that Playwright would wait with."""
    end = time.monotonic() + PATIENCE
    while not (found := page.evaluate(expression)):
        assert time.monotonic() < end, f"{expression} never came true: {page.inner_text('body')[:500]}"
        time.sleep(0.05)
    return found


def shown(page):
    return page.evaluate("Number(document.body.dataset.shown)")
