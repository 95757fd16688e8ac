"""The book in a real browser: every page renders in light, in dark and on a phone, over http and from disk, and asks no
other host for anything.

    python -m tests.site.test_site lessons/2_transformers/03_vit --shots shots       screenshots in all three views
"""

import argparse
import functools
import http.server
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("site")]  # one worker: one site, one server

ROOT = Path(__file__).resolve().parents[2]
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync"]
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
VIEWS = {
    "light": {"color_scheme": "light", "viewport": DESKTOP},
    "dark": {"color_scheme": "dark", "viewport": DESKTOP},
    "phone": {"color_scheme": "light", "viewport": PHONE, "is_mobile": True, "has_touch": True},
}
FAULTS = (Path(__file__).parent / "site_faults.js").read_text("utf-8")


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


def build(folder: Path) -> Path:
    """Build the site into a folder. Recordings out of date are not this test's business (tests/site/test_book.py)."""
    command = [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(folder)]
    quiet = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=quiet)
    if done.returncode:
        raise RuntimeError(f"mkdocs build failed:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    return folder


class Browser:
    """One Chromium in one view that may load only what lies under `base`; everything wrong is noted in `faults`."""

    def __init__(self, playwright, executable: str, base: str, view: str):
        self.base, self.faults = base, []
        self.chromium = playwright.chromium.launch(executable_path=executable, headless=True, args=FLAGS)
        self.context = self.chromium.new_context(**VIEWS[view])
        self.context.route(lambda address: not address.startswith((base, "data:", "blob:")), self._refuse)

    def _refuse(self, route):
        self.faults.append(f"asked for {route.request.url}")
        route.abort()

    def open(self, page: str):
        tab = self.context.new_page()
        tab.on("console", lambda message: message.type == "error" and self.faults.append(f"console: {message.text}"))
        tab.on("pageerror", lambda error: self.faults.append(f"script: {error}"))
        tab.on("response", lambda answer: answer.status >= 400 and self.faults.append(f"{answer.status} {answer.url}"))
        tab.goto(self.base + page, wait_until="load")
        tab.evaluate("document.querySelectorAll('img').forEach(image => { image.loading = 'eager'; })")
        tab.wait_for_timeout(100)
        return tab

    def look(self, page: str, shots: Path | None = None, name: str = "") -> list[str]:
        """Open a page and list what is wrong with it."""
        tab = self.open(page)
        tab.evaluate("Promise.all([...document.images].map(image => image.decode().catch(() => 0)))")
        found = tab.evaluate(FAULTS)
        font = "document.fonts.load('16px \"STIX Two Math\"').then(fonts => fonts.length)"
        if tab.locator("math").count() and not tab.evaluate(font):
            found.append("the font of formulas is missing")
        if shots:
            take_pictures(tab, shots, name)
        tab.close()
        found, self.faults = found + self.faults, []
        return [f"{page}: {fault}" for fault in found]

    def close(self):
        self.chromium.close()


def take_pictures(tab, folder: Path, name: str, slice_height: int = 2400) -> None:
    """Screenshots of a whole page in slices of readable size: name-1.png, name-2.png ..."""
    folder.mkdir(parents=True, exist_ok=True)
    width, height = tab.evaluate("[document.documentElement.scrollWidth, document.documentElement.scrollHeight]")
    for number, top in enumerate(range(0, height, slice_height), 1):
        area = {"x": 0, "y": top, "width": width, "height": min(slice_height, height - top)}
        tab.screenshot(path=folder / f"{name}-{number}.png", full_page=True, clip=area)


def pages_of(site: Path) -> list[str]:
    """Every page of the site, the front page first."""
    pages = [path.relative_to(site).as_posix() for path in site.rglob("*.html") if path.name != "404.html"]
    return sorted(pages, key=lambda page: (page != "index.html", page))


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("material", reason="mkdocs-material is not installed")
    return build(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def server(site):
    """The site on a local port."""
    handler = functools.partial(Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}/"
        running.shutdown()


@pytest.fixture(scope="module")
def playwright(chromium):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as running:
        yield running


@pytest.fixture
def shots(request):
    folder = request.config.getoption("--screenshots")
    return Path(folder) if folder else None


def one_api_page_a_package(pages: list[str]) -> list[str]:
    """All pages but those of the API's modules, which one template makes; the first of each package stays."""
    modules = [page for page in pages if page.startswith("reference/api/") and page.count("/") > 2]
    kept = {page.split("/")[2]: page for page in reversed(modules)}
    return [page for page in pages if page not in modules or page in kept.values()]


@pytest.mark.slow
@pytest.mark.parametrize("view", VIEWS)
def test_every_page_of_the_api_renders(view, site, server, playwright, chromium):
    browser = Browser(playwright, chromium, server, view)
    pages = pages_of(site)
    rest = [page for page in pages if page not in one_api_page_a_package(pages)]
    faults = [fault for page in rest for fault in browser.look(page)]
    browser.close()
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("view", VIEWS)
def test_every_page_renders_over_http(view, site, server, playwright, chromium, shots):
    browser, faults = Browser(playwright, chromium, server, view), []
    for page in one_api_page_a_package(pages_of(site)):
        faults += browser.look(page, shots, f"{page.removesuffix('.html').replace('/', '-')}-{view}")
    browser.close()
    assert not faults, "\n".join(faults)


def test_pages_open_from_disk(site, playwright, chromium):
    """From file://: a few pages of every kind, and search finds words without a server."""
    browser = Browser(playwright, chromium, site.as_uri() + "/", "light")
    pages = pages_of(site)
    kinds = ("index", "conventions", "lessons/", "reference/api/m")
    some = [next((page for page in pages if page.startswith(kind)), None) for kind in kinds]
    faults = [fault for page in some if page for fault in browser.look(page)]
    faults += search_faults(browser, "index.html", "attention")
    browser.close()
    assert not faults, "\n".join(faults)


def test_search_over_http(server, playwright, chromium):
    browser = Browser(playwright, chromium, server, "light")
    faults = search_faults(browser, "conventions.html", "attention")
    browser.close()
    assert not faults, "\n".join(faults)


def search_faults(browser: Browser, page: str, word: str) -> list[str]:
    """Type a word into the search field and follow the first result."""
    tab = browser.open(page)
    tab.keyboard.press("/")
    tab.keyboard.type(word)
    result = tab.locator(".md-search-result__link").first
    try:
        result.wait_for(timeout=10_000)
        with tab.expect_navigation(timeout=10_000):
            result.click()
        found = word in tab.locator("article").inner_text().lower()
    except Exception as error:
        return [f"search for {word!r} from {page}: {type(error).__name__}", *browser.faults]
    faults, browser.faults = browser.faults, []
    return faults + ([] if found else [f"the first result for {word!r} does not contain it"])


def test_predictions_and_quizzes_answer(site, server, playwright, chromium):
    """On the first page that has one: a right answer is ticked and opens the explanation, by keyboard."""
    page = next((page for page in pages_of(site) if 'data-answer="' in (site / page).read_text("utf-8")), None)
    if page is None:
        pytest.skip("no lesson has a prediction with an answer yet")
    browser = Browser(playwright, chromium, server, "light")
    tab = browser.open(page)
    field = tab.locator("[data-answer]").first
    box = tab.locator(".predict:has([data-answer])").first
    field.fill("surely not this")
    field.press("Enter")
    assert "not yet" in box.locator("output").inner_text()
    field.fill(field.get_attribute("data-answer").split("|")[0])
    field.press("Enter")
    assert "right" in box.locator("output").inner_text()
    browser.close()


def test_nothing_names_another_host(site):
    """No script, style or picture of any page comes from elsewhere (links a reader may follow are fine)."""
    wanted = re.compile(
        r'<(?:script|img|iframe|source)[^>]+src="(https?:)?//|<link[^>]+href="(https?:)?//[^>]+stylesheet'
    )
    assert not [page for page in pages_of(site) if wanted.search((site / page).read_text("utf-8"))]


# ---------------------------------------------------------------- looking at a page while writing it
def main() -> int:
    parser = argparse.ArgumentParser(description="Screenshots of pages in all views, and what is wrong with them.")
    parser.add_argument(
        "pages", nargs="*", help="such as lessons/2_transformers/03_vit; the front page when none is given"
    )
    parser.add_argument("--shots", type=Path, default=Path("shots"), help="folder for the pictures")
    parser.add_argument("--site", type=Path, help="an already built site")
    asked = parser.parse_args()
    from playwright.sync_api import sync_playwright

    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    bad = []
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        site = asked.site.resolve() if asked.site else build(Path(folder))
        for view in VIEWS:
            browser = Browser(playwright, chromium, site.as_uri() + "/", view)
            for page in [name.removesuffix(".html") for name in asked.pages or ["index"]]:
                name = f"{page.replace('/', '-')}-{view}"
                bad += [f"{view} {fault}" for fault in browser.look(f"{page}.html", asked.shots, name)]
                print(asked.shots / f"{name}-1.png ...")
            browser.close()
    print("\n".join(bad) or "nothing wrong was found")
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
