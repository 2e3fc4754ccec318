"""Print the book, built as one page, to a PDF: `python -m tools.print_book [--browser PROGRAM]`.

The page is _build/singlehtml/book/intro.html (`make pdf` builds it); the PDF, _build/softmi.pdf.
"""

import argparse
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence

from tools.scoreboard import ROOT

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome", "msedge")
PRINT_STYLE = """\
<style>
  .bd-header, .bd-header-article, .bd-sidebar-primary, .bd-sidebar-secondary, .bd-footer,
  .prev-next-footer, #pst-skip-link, #pst-back-to-top, #pst-scroll-pixel-helper, dialog,
  .copybtn, .sd-stretched-link, .only-dark { display: none; }
  .only-light { display: block; }
  span[id^="document-"] + section { break-before: page; }
  h1, h2, h3, caption, figcaption { break-after: avoid; }
  figure, img, tr { break-inside: avoid; }
  img { max-height: 320mm; }
  pre, pre code { white-space: pre-wrap; overflow-wrap: anywhere; }
  /* A4 times 4/3: on A4 itself the page would be as narrow as a phone's. */
  @page { size: 280mm 396mm; margin: 24mm 20mm; }
</style>
"""


def find_browser(name: str | None) -> str:
    """Return the path of a browser that can print.

    Raises:
        SystemExit: None is installed; the message says how to name one.

    """
    for program in [name] if name else BROWSERS:
        if found := shutil.which(program):
            return found
    raise SystemExit("print_book: no Chromium found. Install it, or name one: make pdf CHROMIUM=…")


def printable(html: str) -> str:
    """Return the page with what is folded unfolded, and styled for paper in light colours."""
    html = re.sub(r"<details(?![^>]*\bopen\b)", "<details open", html)
    html = re.sub(r'data-mode="[a-z]*"', 'data-mode="light"', html, count=1)
    html = html.replace('"../_static/', '"_static/')
    html = re.sub(r'href="[^":]*\.html#', 'href="#', html)  # all pages are this one
    return html.replace("</head>", f"{PRINT_STYLE}</head>", 1)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; see the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--browser", help="program to print with")
    chosen = parser.parse_args(arguments)
    browser = find_browser(chosen.browser)
    folder = ROOT / "_build" / "singlehtml"
    pages = [page for page in folder.glob("**/*.html") if "_static" not in page.parts]
    if not pages:
        raise SystemExit(f"print_book: no page in {folder}: run `make pdf`")
    page = max(pages, key=lambda p: p.stat().st_size)  # the other only leads to it
    copy = folder / "print.html"  # where the addresses of pictures and styles start
    copy.write_text(printable(page.read_text(encoding="utf-8")), encoding="utf-8")
    target = ROOT / "_build" / "softmi.pdf"
    target.unlink(missing_ok=True)
    call = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-pdf-header-footer"]
    # Virtual time: as long as the formulas need, and no longer.
    call += ["--virtual-time-budget=120000", f"--print-to-pdf={target}", copy.as_uri()]
    done = subprocess.run(call, capture_output=True, text=True)
    if not target.exists() or target.stat().st_size < 10_000:
        raise SystemExit(f"print_book: {browser} wrote no PDF:\n{done.stderr[-2000:]}")
    print(f"Book: {target} ({target.stat().st_size / 2**20:.1f} MB)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
