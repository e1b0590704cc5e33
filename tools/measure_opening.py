"""How soon the built book's explorers stand after their page was asked for, and what the pages weigh.

    make book && python tools/measure_opening.py [--site book/_build/html] [--repeats 9] [--out data/results/book/opening.json]

Every page is opened in a fresh context of a headless Chromium, without a cache, from a server on this machine; rounds
go over all pages, so that a busy moment spreads. Beside them a page without explorers, as the machine's own measure.
The weight is what the page alone has to fetch: itself and its pictures, not the theme and libraries under _static.
Needs Chromium and playwright."""
import argparse, re, shutil, statistics, threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SITE, OUT = ROOT/'book/_build/html', ROOT/'data/results/book/opening.json'
PLAIN = 'book/intro.html'                               # no explorer is on it
NAMES = ['chromium', 'chromium-browser', 'google-chrome']
FLAGS = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-background-networking', '--no-first-run']
WATCH = """addEventListener("DOMContentLoaded", () => {
  const views = [...document.querySelectorAll('script[type="application/vnd.jupyter.widget-view+json"]')];
  const stands = view => view.previousElementSibling?.querySelector(".sa-explorer, img");
  const look = () => { if (views.every(stands)) window.stood ??= performance.now() };
  new MutationObserver(look).observe(document.body, {childList: true, subtree: true});
  look();
})"""
WEIGHT = """() => performance.getEntriesByType("resource").filter(r => !new URL(r.name).pathname.startsWith("/_static/"))
  .reduce((sum, r) => sum + r.decodedBodySize, performance.getEntriesByType("navigation")[0].decodedBodySize)"""

def pages(site: Path = SITE) -> dict[str, int]:
    "Pages with explorers, and how many outputs show them."
    found = {str(p.relative_to(site)): p.read_text(encoding='utf-8') for p in sorted(site.glob('nbs/*.html'))}
    return {name: n for name, text in found.items() if (n := text.count('widget-view+json">{')) and 'sa-explorer' in text}

def open_page(browser, url: str) -> tuple[float, int]:
    "Seconds until all explorers stand, and the page's weight in bytes."
    context = browser.new_context(viewport=dict(width=1280, height=900))
    try:
        context.add_init_script(WATCH)
        page = context.new_page()
        page.goto(url, wait_until='load', timeout=90_000)
        page.wait_for_function('window.stood', polling=50, timeout=90_000)
        return page.evaluate('window.stood') / 1000, page.evaluate(WEIGHT)
    finally: context.close()

class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args): pass

def serve(site: Path) -> str:
    "Serves a folder from a thread: its address."
    server = ThreadingHTTPServer(('127.0.0.1', 0), partial(Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f'http://127.0.0.1:{server.server_port}/'

def main():
    from playwright.sync_api import sync_playwright
    from showattend.reproduce import save_record
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--site', type=Path, default=SITE)
    p.add_argument('--repeats', type=int, default=9)
    p.add_argument('--out', type=Path, default=OUT)
    a = p.parse_args()
    names, base = {PLAIN: 0, **pages(a.site)}, serve(a.site)
    if len(names) == 1: raise SystemExit(f'No page with explorers under {a.site}: run make book first.')
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=next(filter(None, map(shutil.which, NAMES))), args=FLAGS)
        open_page(browser, base + PLAIN)                # the browser's own start does not count
        rounds = [{name: open_page(browser, base + name) for name in names} for _ in range(a.repeats)]
        version = browser.version
    table = []
    for name, views in names.items():
        seconds = [r[name][0] for r in rounds]
        table.append(dict(page=name, explorers=views, seconds=round(statistics.median(seconds), 3),
                          fastest=round(min(seconds), 3), slowest=round(max(seconds), 3), bytes=rounds[0][name][1]))
        print(f"{name:28} {views:2} explorers {table[-1]['seconds']:6.2f} s {table[-1]['bytes'] / 1e6:6.2f} MB")
    a.out.parent.mkdir(parents=True, exist_ok=True)
    save_record(a.out, dict(command=f'python tools/measure_opening.py --repeats {a.repeats}', device='cpu', unit='seconds until all explorers stand',
                            browser=f'Chromium {version}, headless, {FLAGS[2]}, fresh context each time', repeats=a.repeats,
                            bars=dict(seconds=2, bytes=3_000_000), pages=table))

if __name__ == '__main__': main()
