"""The built book as a reader meets it: in a browser, on a phone, in the dark, without network.

Brings _build/html up to date as `make book` does, but for the notebooks; without make, builds
into a temporary folder. What needs a browser takes the Chromium or Chrome of the system, and is
skipped, with what to install, where there is none.
"""

import gzip
import os
import re
import shutil
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

import pytest
import yaml
from bs4 import BeautifulSoup

from tools.notebooks import ROOT

pytestmark = pytest.mark.slow

TOC = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
SOURCES = [TOC["root"], *(c["file"] for part in TOC["parts"] for c in part["chapters"])]
FIRST, *OTHERS = [f"{source}.html" for source in SOURCES]
PAGES = [FIRST, *OTHERS, "genindex.html", "search.html"]
CHAPTER = next(page for page in OTHERS if page.startswith("notebooks/"))
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")

FIRST_BYTES, PAGE_BYTES, PICTURE_BYTES = 1_500_000, 3_000_000, 300_000


# The book


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the built book."""
    if make := shutil.which("make"):
        # The environment is this one, and its programs are found first.
        folder = Path(sys.executable).parent
        environment = os.environ | {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}
        call = [make, "--no-print-directory", "_build/html/index.html", "ENV="]
        run_or_fail([*call, f"PYTHON={sys.executable}"], environment)
        return ROOT / "_build" / "html"
    output = tmp_path_factory.mktemp("book")
    build = "from jupyter_book.cli.main import main; main()"
    options = ["--path-output", str(output), "--all", "-n", "-W", "--keep-going"]
    run_or_fail([sys.executable, "-m", "tools.build_pages"], os.environ)
    run_or_fail([sys.executable, "-c", build, "build", ".", *options], os.environ)
    return output / "_build" / "html"


def run_or_fail(command: list[str], environment: Mapping[str, str]) -> None:
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.fail(f"the book was not built:\n{(done.stdout + done.stderr)[-3000:]}")


@pytest.fixture(scope="module")
def parsed(book: Path) -> Callable[[str], BeautifulSoup]:
    """A function that parses a page of the book, once."""
    return cache(lambda page: BeautifulSoup((book / page).read_text("utf-8"), "html.parser"))


@pytest.fixture(scope="module")
def anchors(parsed: Callable[[str], BeautifulSoup]) -> Callable[[str], Counter[str]]:
    """A function that counts the anchors of a page, by name."""
    return cache(lambda page: Counter(e["id"] for e in parsed(page).find_all(id=True)))


each_page = pytest.mark.parametrize("page", PAGES)


@each_page
def test_links_and_anchors_resolve(book, parsed, anchors, page):
    dead = []
    for element in parsed(page).find_all(lambda e: e.has_attr("href") or e.has_attr("src")):
        link = element.get("href") or element.get("src") or ""
        url = urlsplit(urljoin(page, link))
        if url.scheme in ("http", "https", "data", "mailto"):
            continue
        target = unquote(url.path)
        if not link or url.scheme or not (book / target).is_file():
            dead.append(str(element)[:200])
        elif url.fragment and target.endswith(".html"):
            found = anchors(target)[unquote(url.fragment)]
            if found != 1:
                dead.append(f"{found} anchors for {str(element)[:200]}")
    assert not dead


@each_page
def test_every_picture_says_what_it_shows(parsed, page):
    pictures = parsed(page).select("article img")
    poor = [img["src"] for img in pictures if len(img.get("alt", "").split()) < 8]
    assert not poor


@pytest.mark.parametrize("page", [FIRST, *OTHERS])
def test_page_says_what_it_is_when_it_is_shared(parsed, page):
    """Its own title, an address and some words, as search engines and messengers show them."""
    head, title = parsed(page).head, parsed(page).select_one("article h1")
    heading = "".join(title.find_all(string=True, recursive=False)) or title.text
    said = {m.get("property") or m.get("name"): m.get("content") for m in head.select("meta")}
    assert heading in said["og:title"]
    assert said["og:url"].endswith(page)
    assert len(said["description"]) >= 30
    assert said["og:description"] == said["description"]


def test_no_picture_is_large(book):
    pictures = [
        path for path in book.rglob("*") if re.search(r"\.(png|jpe?g|svg|gif|webp)$", path.name)
    ]
    assert {p.name: p.stat().st_size for p in pictures if p.stat().st_size > PICTURE_BYTES} == {}


def test_every_page_of_prose_is_in_the_table_of_contents():
    pages = {f"book/{path.stem}" for path in (ROOT / "book").glob("*.md")}
    assert pages <= set(SOURCES)


# The reader


TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript",
         ".json": "application/json", ".svg": "image/svg+xml", ".png": "image/png",
         ".woff": "font/woff", ".woff2": "font/woff2"}  # fmt: skip
PACKED = (".html", ".css", ".js", ".json", ".svg")


@pytest.fixture(scope="module")
def site(book: Path) -> Iterator[str]:
    """The address of a server that sends the book as hosts of static pages do: text is gzipped."""

    @cache
    def sent(path: Path) -> bytes:
        return gzip.compress(path.read_bytes()) if path.suffix in PACKED else path.read_bytes()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = book / unquote(urlsplit(self.path).path).lstrip("/")
            found = path.is_file()
            body = sent(path) if found else b""
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", TYPES.get(path.suffix, "application/octet-stream"))
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")  # each page is weighed as a first visit
            if found and path.suffix in PACKED:
                self.send_header("Content-Encoding", "gzip")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """The system's Chromium, without a network."""
    api = pytest.importorskip(
        "playwright.sync_api", reason="pages not tested in a browser: pip install playwright"
    )
    executable = next(filter(None, map(shutil.which, BROWSERS)), None)
    if executable is None:
        pytest.skip("pages not tested in a browser: install Chromium (`apt install chromium`)")
    with api.sync_playwright() as playwright:
        only_here = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
        browser = playwright.chromium.launch(executable_path=executable, args=[only_here])
        yield browser
        browser.close()


@dataclass
class Reader:
    """A tab of the browser that remembers what went wrong, whom it asked, which colours it saw."""

    page: Any
    errors: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    samples: dict[str, list[str]] = field(default_factory=dict)

    def look(self, width: int, scheme: str) -> None:
        """Make the window so wide, and the system light or dark."""
        self.page.set_viewport_size({"width": width, "height": 900})
        self.page.emulate_media(color_scheme=scheme)
        self.page.wait_for_function(f"document.documentElement.dataset.theme === '{scheme}'")

    def open(self, address: str) -> None:
        """Open a page, with nothing remembered of the one before."""
        self.errors.clear()
        self.outside.clear()
        self.page.set_viewport_size({"width": 1280, "height": 900})
        self.page.goto(address)


# A colour on its way from one theme to the other is no colour of the page, nor is one fading in.
AT_ONCE = """document.addEventListener("DOMContentLoaded", () => document.head.insertAdjacentHTML(
  "beforeend",
  "<style>*, ::before, ::after { animation: none !important; transition: none !important }</style>"
))"""


@pytest.fixture(scope="module")
def reader(browser: Any, site: str) -> Iterator[Reader]:
    """One tab for all pages."""
    context = browser.new_context(reduced_motion="reduce")
    context.add_init_script(AT_ONCE)
    reader = Reader(context.new_page())
    page, errors = reader.page, reader.errors
    page.set_default_timeout(120_000)  # on a machine that is busy with other tests
    page.on("console", lambda message: message.type == "error" and errors.append(message.text))
    page.on("pageerror", lambda error: errors.append(str(error)))
    # A page that is left before all of it came aborts the rest: no fault of the page.
    page.on("requestfailed", lambda asked: asked.failure == "net::ERR_ABORTED"
            or errors.append(f"failed: {asked.url} ({asked.failure})"))  # fmt: skip
    page.on("response", lambda r: r.status >= 400 and errors.append(f"{r.status}: {r.url}"))
    here = (site, "file:", "data:", "blob:")
    page.on("request", lambda r: r.url.startswith(here) or reader.outside.append(r.url))
    yield reader
    context.close()


# What came, in bytes as sent; formulas not drawn, or left in texts; pictures without pixels.
LOADED = r"""async () => {
  await window.MathJax?.startup?.promise;
  await document.fonts.ready;
  const entries = ["navigation", "resource"].flatMap(t => performance.getEntriesByType(t));
  const main = document.querySelector("main");
  const raw = [...main.querySelectorAll(".math")].filter(e => !e.querySelector("mjx-container"));
  const texts = document.createTreeWalker(main, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const parent = texts.currentNode.parentElement;
    if (/\\\(|\\\[|\$\$|\\(frac|log|mathrm|sum)\b/.test(texts.currentNode.data) &&
        !parent.closest("pre, code, mjx-container, script")) raw.push(parent);
  }
  return {
    weight: entries.reduce((sum, entry) => sum + entry.encodedBodySize, 0),
    raw: raw.map(e => e.textContent),
    wrong: [...document.querySelectorAll("mjx-merror")].map(e => e.textContent),
    broken: [...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src),
  };
}"""

# How wide the page is if wider than the window, and what sticks out.
WIDER = """() => {
  const {scrollWidth, clientWidth} = document.documentElement;
  if (scrollWidth <= clientWidth) return [];
  const wide = [...document.querySelectorAll("body *")].filter(e =>
    e.getBoundingClientRect().right > clientWidth + 1 && e.checkVisibility());
  return [`${scrollWidth} > ${clientWidth}`, ...wide.slice(0, 8).map(e =>
    `${e.tagName}.${e.className} to ${Math.round(e.getBoundingClientRect().right)}`)];
}"""

# Figures with a number whose caption cannot be read, or that show none or two of their pictures.
CAPTIONS = """() => [...document.querySelectorAll("figure[id]:has(figcaption)")].filter(figure => {
  const shown = [...figure.querySelectorAll("img")].filter(e => e.checkVisibility());
  const {height} = figure.querySelector("figcaption").getBoundingClientRect();
  return shown.length !== 1 || height < 10 || shown[0].getBoundingClientRect().height < 40;
}).map(figure => figure.outerHTML.slice(0, 200))"""

# Claims that do not take the width of the page, or whose verdict is out of it.
CLAIMS = """() => {
  const wide = document.documentElement.clientWidth;
  return [...document.querySelectorAll("table.claims tbody tr")].filter(row => {
    const verdict = [...row.cells].at(-1).getBoundingClientRect();
    return row.getBoundingClientRect().width < Math.min(0.85 * wide, 600) ||
      verdict.right > wide || verdict.width < 20;
  }).map(row => row.textContent.trim().slice(0, 80));
}"""

# What can be worked with a mouse and is seen, with all that is folded unfolded. From here on, what
# gets the focus is noted, and whether one sees it.
TARGETS = """() => {
  document.activeElement.blur();
  window.reached = new Map();
  const ring = style => style.outlineStyle !== "none" || style.boxShadow !== "none";
  document.addEventListener("focusin", ({target}) => reached.set(target,
    [target, target.closest(".sd-card")].some(e => e && ring(getComputedStyle(e)))));
  document.querySelectorAll("details").forEach(e => e.open = true);
  const all = `a[href], button, input, select, textarea, summary, [onclick],
    [tabindex]:not([tabindex^="-"])`;
  window.targets = [...document.querySelectorAll(all)].filter(e => !e.disabled &&
    e.checkVisibility({visibilityProperty: true, opacityProperty: true}));
}"""
LEFT = "targets.filter(e => !reached.has(e))"
DESCRIBE = "e => `${e.outerHTML.slice(0, 160)}: ${e.textContent.trim().slice(0, 40)}`"

# A while after the window has changed, the theme lets the keyboard into what scrolls, and no more.
SETTLED = """() => [...document.querySelectorAll("pre, .cell_output > .output")].every(e =>
  (e.tabIndex >= 0) === (e.scrollWidth > e.clientWidth || e.scrollHeight > e.clientHeight))"""

# Leave axe-core a third of the elements: MathJax hides its drawings from screen readers, and of
# the words of code one of each colour is enough.
SIMPLIFY = """() => {
  document.querySelectorAll("mjx-container").forEach(e => e.replaceChildren());
  const kept = new Set();
  for (const word of document.querySelectorAll(":is(pre, dt.sig) span:not(:has(*))")) {
    const key = word.className + word.closest("pre, dt").parentElement.parentElement.className;
    if (kept.has(key)) word.replaceWith(word.textContent);
    kept.add(key);
  }
  document.activeElement.blur();
  scrollTo(0, 0);
}"""

# What axe-core finds serious or critical. Contrast takes most of its time, so one element stands
# for all in the book that have its size and colours; that rule can be run alone.
AXE = """async ([known, contrastAlone]) => {
  const seen = new Set(known);
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  document.querySelectorAll("[data-sample]").forEach(e => e.removeAttribute("data-sample"));
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || !element.checkVisibility({visibilityProperty: true}))
      continue;
    const {color, fontSize, fontWeight} = getComputedStyle(element);
    const key = [color, fontSize, fontWeight];
    for (let e = element; e; e = e.parentElement) {
      const {backgroundColor, backgroundImage, opacity} = getComputedStyle(e);
      if (backgroundColor !== "rgba(0, 0, 0, 0)" || backgroundImage !== "none" || opacity !== "1")
        key.push(backgroundColor, backgroundImage, opacity);
    }
    if (!seen.has(key.join())) element.setAttribute("data-sample", "");
    seen.add(key.join());
  }
  const samples = [...seen];
  if (contrastAlone && samples.length === known.length) return {samples, violations: []};
  axe.configure({rules: [{id: "color-contrast", selector: "[data-sample]"}]});
  const options = {resultTypes: ["violations"], preload: false};
  if (contrastAlone) options.runOnly = ["color-contrast"];
  const violations = (await axe.run(document, options)).violations
    .filter(found => ["serious", "critical"].includes(found.impact))
    .map(found => `${found.id}, ${found.nodes.length} times: ` + found.nodes.slice(0, 3)
      .map(n => `${n.target}: ${n.any[0]?.message ?? ""} ${n.html.slice(0, 150)}`).join("; "));
  return {samples, violations};
}"""


@dataclass
class Visit:
    """What a reader met on one page."""

    loaded: dict[str, Any]
    errors: list[str]
    outside: list[str]
    wider: dict[tuple[int, str], list[str]]
    uncaptioned: dict[tuple[int, str], list[str]]
    squeezed: dict[tuple[int, str], list[str]]
    unreached: list[str]
    unseen: list[str]
    violations: dict[tuple[int, str], list[str]]


@pytest.fixture(scope="module", params=PAGES)
def visit(request: pytest.FixtureRequest, reader: Reader, site: str) -> Visit:
    """One page, loaded once and looked at in four views."""
    package = pytest.importorskip(
        "axe_playwright_python.base", reason="pip install axe-playwright-python"
    )
    page = reader.page
    reader.open(site + request.param)
    loaded = page.evaluate(LOADED)

    wider, uncaptioned, squeezed = {}, {}, {}
    for width, scheme in [(375, "light"), (375, "dark"), (1280, "dark"), (1280, "light")]:
        reader.look(width, scheme)
        wider[width, scheme] = page.evaluate(WIDER)
        uncaptioned[width, scheme] = page.evaluate(CAPTIONS)
        squeezed[width, scheme] = page.evaluate(CLAIMS)

    page.wait_for_function(SETTLED)
    page.keyboard.press("Tab")  # the focus is shown to those who use the keyboard
    page.evaluate(TARGETS)
    page.evaluate("targets.forEach(e => e.tabIndex < 0 || e.focus({preventScroll: true}))")
    unreached = page.evaluate(f"{LEFT}.map({DESCRIBE})")
    unseen = page.evaluate(f"[...reached].filter(e => !e[1]).map(e => e[0]).map({DESCRIBE})")

    page.evaluate(SIMPLIFY)
    page.evaluate(package.AXE_SCRIPT)
    violations = {}
    for width, scheme in [(1280, "dark"), (375, "light")]:
        reader.look(width, scheme)
        if width == 375:
            page.wait_for_function(SETTLED)
        found = page.evaluate(AXE, [reader.samples.get(scheme, []), width == 1280])
        reader.samples[scheme] = found["samples"]
        violations[width, scheme] = found["violations"]
    return Visit(
        loaded, [*reader.errors], [*reader.outside], wider, uncaptioned, squeezed, unreached,
        unseen, violations,
    )  # fmt: skip


def test_page_loads_without_errors_and_asks_nobody_outside(visit):
    assert visit.errors == []
    assert visit.outside == []


def test_formulas_and_pictures_are_drawn(visit):
    assert visit.loaded["raw"] == []
    assert visit.loaded["wrong"] == []
    assert visit.loaded["broken"] == []


def test_page_is_light(visit, request):
    limit = FIRST_BYTES if request.node.callspec.params["visit"] == FIRST else PAGE_BYTES
    assert 100_000 < visit.loaded["weight"] <= limit


def test_page_does_not_scroll_sideways(visit):
    assert {view: wide for view, wide in visit.wider.items() if wide} == {}


def test_every_figure_shows_one_picture_and_its_caption(visit):
    assert {view: figures for view, figures in visit.uncaptioned.items() if figures} == {}


def test_every_claim_takes_the_width_and_shows_its_verdict(visit, request):
    assert {view: claims for view, claims in visit.squeezed.items() if claims} == {}


def test_axe_finds_nothing_serious_or_critical(visit):
    found = [f"{view}: {line}" for view, lines in visit.violations.items() for line in lines]
    assert not found, "\n".join(found)


def test_everything_can_have_the_focus_and_shows_it(visit):
    assert visit.unreached == []
    assert visit.unseen == []


@pytest.mark.parametrize("name", [FIRST, CHAPTER])
def test_tab_alone_reaches_everything(reader, site, name):
    page = reader.page
    reader.open(site + name)
    reader.look(1280, "light")
    page.evaluate(TARGETS)
    for presses in range(1, 1000):
        page.keyboard.press("Tab")
        if presses % 20 == 0 and not page.evaluate(f"{LEFT}.length"):
            break
    assert page.evaluate(f"{LEFT}.map({DESCRIBE})") == []


def test_a_reference_to_a_figure_leads_to_its_picture(reader, site):
    page = reader.page
    name = next(page for page in OTHERS if "imbalanced" in page)
    for scheme in ("light", "dark"):
        reader.open(f"{site}{name}#fig-imbalanced")
        reader.look(1280, scheme)
        found = page.evaluate(
            """() => [...document.querySelectorAll("#fig-imbalanced img")].map(e =>
              [e.checkVisibility(), e.className.includes("only-dark")])"""
        )
        assert [dark for shown, dark in found if shown] == [scheme == "dark"]


def test_search_by_keyboard_finds_pc_softmax(reader, site):
    page = reader.page
    reader.open(site + FIRST)
    page.keyboard.press("Control+k")
    page.keyboard.type("PC-softmax")
    page.keyboard.press("Enter")
    page.wait_for_selector("#search-results li a")
    page.wait_for_function("!document.querySelector('#search-progress')?.textContent.trim()")
    found = page.evaluate(
        "[...document.querySelectorAll('#search-results li a')].map(e => e.href)"
    )
    assert any("imbalanced" in address for address in found)
    assert reader.errors == []


def test_buttons_and_what_is_folded_work_by_keyboard(reader, site):
    page = reader.page
    reader.open(site + CHAPTER)
    reader.look(1280, "light")
    page.focus("article details > summary")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.parentElement.open")

    page.focus(".dropdown-download-buttons > button")
    page.keyboard.press("Enter")
    page.keyboard.press("ArrowDown")
    assert page.evaluate("!!document.activeElement.closest('.dropdown-menu.show')")
    page.keyboard.press("Escape")

    before = page.evaluate("document.documentElement.dataset.mode")
    page.focus(".theme-switch-button")
    page.keyboard.press("Enter")
    assert page.evaluate("document.documentElement.dataset.mode") != before
    page.evaluate("localStorage.clear()")


def test_pointing_at_a_map_in_its_chapter_says_the_nats_of_a_cell(reader, site):
    page = reader.page
    reader.open(site + next(page for page in OTHERS if "infocam" in page))
    figure = page.locator(".play-nats-figure")
    cell = figure.locator('[data-fact="cell"]')
    drawn = figure.locator(".play-pad svg")
    drawn.scroll_into_view_if_needed()
    size = drawn.bounding_box()["width"] / 12
    said = set()
    for row in range(12):
        drawn.hover(position={"x": 6.5 * size, "y": (row + 0.5) * size})
        sentence = figure.locator(".play-sentence").inner_text()
        assert sentence.startswith(f"Row {row + 1}, column 7: {cell.inner_text()} nats")
        said.add(cell.inner_text())
    assert len(said) > 2
    assert reader.errors == []


def test_contents_open_and_close_by_keyboard_on_a_phone(reader, site):
    page = reader.page
    reader.open(site + FIRST)
    reader.look(375, "light")
    page.focus(".sidebar-toggle.primary-toggle")
    page.keyboard.press("Enter")
    page.wait_for_selector("#pst-primary-sidebar-modal[open]")
    page.keyboard.press("Tab")
    assert page.evaluate("!!document.activeElement.closest('#pst-primary-sidebar-modal')")
    page.keyboard.press("Escape")
    page.wait_for_selector("#pst-primary-sidebar-modal", state="hidden")


def test_book_can_be_read_from_its_folder(reader, book):
    """Without a server, as from an unpacked archive."""
    page = reader.page
    reader.open((book / CHAPTER).as_uri())
    loaded = page.evaluate(LOADED)
    assert (loaded["raw"], loaded["broken"], reader.errors) == ([], [], [])
    # The results come without the sentences around them, for which a server is needed.
    page.goto(f"{(book / 'search.html').as_uri()}?q=PC-softmax")
    page.wait_for_selector("#search-results li a")
    assert reader.outside == []
