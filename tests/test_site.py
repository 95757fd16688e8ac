"""The book in a real browser: every page renders in light, in dark and on a phone, over http and from disk, and asks no other host for anything.

    python -m tests.test_site lessons/2_transformers/03_vit --shots shots       screenshots of a page, whole, in all three views
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

pytestmark = pytest.mark.browser

ROOT = Path(__file__).resolve().parents[1]
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync"]
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
VIEWS = {
    "light": {"color_scheme": "light", "viewport": DESKTOP},
    "dark": {"color_scheme": "dark", "viewport": DESKTOP},
    "phone": {"color_scheme": "light", "viewport": PHONE, "is_mobile": True, "has_touch": True},
}
# What must be false or empty on every page, as the browser sees it.
FAULTS = {
    "wider than the screen": "document.documentElement.scrollWidth > innerWidth",
    "formulas not laid out": "[...document.querySelectorAll('math')].filter(m => m.checkVisibility() && m.getBoundingClientRect().height < 5).length",
    "TeX left over": r"/\\(frac|mathbf|operatorname|left|sum)|\\[(\[]/.test(document.querySelector('article').innerText)",
    "directives left over": r"/(^|\n)::[a-z]+|\{=|\[\[\d/.test(document.querySelector('article').innerText)",
    "broken pictures": "[...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src).join()",
    "pictures without words": "[...document.querySelectorAll('article img, article svg[role=img]')]"
    ".filter(i => !(i.alt || i.getAttribute('aria-label') || i.ariaHidden)).length",
    "fields without labels": "[...document.querySelectorAll('article :is(input, textarea)')].filter(i => !i.labels.length && !i.ariaLabel"
    " && i.type !== 'radio').length",
    "headings out of order": "[...document.querySelectorAll('article :is(h1,h2,h3,h4,h5,h6)')].map(h => +h.tagName[1])"
    ".filter((level, i, all) => level > (i ? all[i - 1] : 0) + 1).join()",
    "not one title": "document.querySelectorAll('article h1').length !== 1",
    "anchors twice": "[...document.querySelectorAll('article [id]')].map(e => e.id).filter((id, i, all) => all.indexOf(id) !== i).join()",
}
CONTRAST = """() => {
  const parse = c => { const m = c.match(/[\\d.]+/g).map(Number); if (c.startsWith('color(')) m.splice(0, 3, ...m.slice(0, 3).map(v => v * 255));
    return m.length > 3 ? m : [...m.slice(0, 3), 1]; };
  const luminance = c => { const [r, g, b] = c.slice(0, 3).map(v => { v /= 255; return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; });
    return .2126 * r + .7152 * g + .0722 * b; };
  const ground = e => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c[3] > .9) return c; }
    return [255, 255, 255, 1]; };
  const walker = document.createTreeWalker(document.querySelector('.md-container'), NodeFilter.SHOW_TEXT), poor = new Map();
  while (walker.nextNode()) {
    const e = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || !e.checkVisibility({opacityProperty: true}) || e.closest('svg, .headerlink, annotation')) continue;
    const style = getComputedStyle(e), ink = parse(style.color), size = parseFloat(style.fontSize);
    if (ink[3] === 0) continue;
    const paper = ground(e), mixed = ink.slice(0, 3).map((v, i) => v * ink[3] + paper[i] * (1 - ink[3]));
    const [a, b] = [luminance(mixed), luminance(paper)].sort((x, y) => y - x), ratio = (a + .05) / (b + .05);
    if (ratio < (size >= 24 ? 3 : 4.5)) poor.set(e.tagName + '.' + e.className, `${ratio.toFixed(2)} '${walker.currentNode.textContent.trim().slice(0, 30)}'`);
  }
  return [...poor].map(p => p.join(' ')).slice(0, 5).join('; ');
}"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


def build(folder: Path, strict: bool = True) -> Path:
    """Build the site into a folder, as `make test` does."""
    command = [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(folder), *(["--strict"] if strict else [])]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"})
    if done.returncode:
        raise RuntimeError(f"mkdocs build failed:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    return folder


class Browser:
    """One Chromium in one view that may load only what lies under `base`; everything wrong is noted in `faults`."""

    def __init__(self, playwright, executable: str, base: str, view: str):
        self.base, self.faults = base, []
        self.profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self.context = playwright.chromium.launch_persistent_context(
            self.profile.name, executable_path=executable, headless=True, args=FLAGS, **VIEWS[view]
        )
        self.context.route("**/*", self._gate)

    def _gate(self, route):
        address = route.request.url
        if address.startswith((self.base, "data:", "blob:", "about:")):
            return route.continue_()
        self.faults.append(f"asked for {address}")
        route.abort()

    def open(self, page: str):
        tab = self.context.new_page()
        tab.on("console", lambda message: message.type == "error" and self.faults.append(f"console: {message.text}"))
        tab.on("pageerror", lambda error: self.faults.append(f"script: {error}"))
        tab.on("response", lambda answer: answer.status >= 400 and self.faults.append(f"{answer.status} {answer.url}"))
        tab.goto(self.base + page, wait_until="load")
        tab.wait_for_timeout(150)
        return tab

    def look(self, page: str, shots: Path | None = None, name: str = "") -> list[str]:
        """Open a page and list what is wrong with it."""
        tab = self.open(page)
        found = [f"{what}: {value}" for what, script in FAULTS.items() if (value := tab.evaluate(script))]
        poor = tab.evaluate(CONTRAST)
        found += [f"contrast: {poor}"] if poor else []
        if tab.locator("math").count() and not tab.evaluate("document.fonts.load('16px \"STIX Two Math\"').then(f => f.length)"):
            found.append("the font of formulas is missing")
        if shots:
            shots.mkdir(parents=True, exist_ok=True)
            tab.screenshot(path=shots / f"{name}.png", full_page=True)
        tab.close()
        found, self.faults = found + self.faults, []
        return [f"{page}: {fault}" for fault in found]

    def close(self):
        self.context.close()
        self.profile.cleanup()


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


@pytest.mark.parametrize("view", VIEWS)
def test_every_page_renders_over_http(view, site, server, playwright, chromium, shots):
    browser, faults = Browser(playwright, chromium, server, view), []
    for page in pages_of(site):
        faults += browser.look(page, shots, f"{page.removesuffix('.html').replace('/', '-')}-{view}")
    browser.close()
    assert not faults, "\n".join(faults)


def test_pages_open_from_disk(site, playwright, chromium):
    """From file://: a few pages of every kind, and search finds words without a server."""
    browser = Browser(playwright, chromium, site.as_uri() + "/", "light")
    pages = pages_of(site)
    wanted = [next((page for page in pages if page.startswith(start)), None) for start in ("index", "conv", "lessons/", "reference/api/m")]
    faults = [fault for page in wanted if page for fault in browser.look(page)]
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
    """No script, style, font or picture of any page comes from elsewhere (links a reader may follow are fine)."""
    wanted = re.compile(r'<(?:script|img|iframe|source)[^>]+src="(https?:)?//|<link[^>]+href="(https?:)?//[^>]+stylesheet')
    assert not [page for page in pages_of(site) if wanted.search((site / page).read_text("utf-8"))]


# ---------------------------------------------------------------- looking at a page while writing it
def main() -> int:
    parser = argparse.ArgumentParser(description="Screenshots of pages in light, dark and on a phone, and what is wrong with them.")
    parser.add_argument("pages", nargs="*", help="such as lessons/2_transformers/03_vit; the front page when none is given")
    parser.add_argument("--shots", type=Path, default=Path("shots"), help="folder for the pictures")
    parser.add_argument("--site", type=Path, help="an already built site")
    asked = parser.parse_args()
    from playwright.sync_api import sync_playwright

    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        site = asked.site.resolve() if asked.site else build(Path(folder), strict=False)
        bad = []
        for view in VIEWS:
            browser = Browser(playwright, chromium, site.as_uri() + "/", view)
            for page in asked.pages or ["index"]:
                name = page.removesuffix(".html").replace("/", "-")
                bad += [f"{view} {fault}" for fault in browser.look(page.removesuffix(".html") + ".html", asked.shots, f"{name}-{view}")]
                print(asked.shots / f"{name}-{view}.png")
            browser.close()
    print("\n".join(bad) or "nothing wrong was found")
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
