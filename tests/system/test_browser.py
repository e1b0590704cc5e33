"""The built book in a real browser, without a kernel and without a network.

Every page must load without an error, a failed request or a request to another host, and every
attention explorer must answer to clicks, keys and Play. Needs `make book`, Chromium and playwright.
"""
import json, re, shutil, threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

playwright = pytest.importorskip('playwright.sync_api', reason='playwright is not installed')

HTML = Path(__file__).resolve().parents[2]/'book'/'_build'/'html'
NAMES = ['chromium', 'chromium-browser', 'google-chrome']
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
FLAGS = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-background-networking',
         '--no-first-run']
PAGES = sorted(str(p.relative_to(HTML)) for p in HTML.rglob('*.html')
               if not p.relative_to(HTML).parts[0].startswith('_'))
WHY_NOT = ('the book is not built (make book)' if not PAGES else
           'the book was built without npm: its widgets need the network'
           if not (HTML/'_static/lib/require.js').exists() else None)
SKIPPED = [pytest.param(None, marks=pytest.mark.skip(reason=WHY_NOT))]
every_page = pytest.mark.parametrize('page_name', SKIPPED if WHY_NOT else PAGES)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args): pass


@pytest.fixture(scope='module')
def site():
    server = ThreadingHTTPServer(('127.0.0.1', 0), partial(Quiet, directory=str(HTML)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f'http://127.0.0.1:{server.server_port}/'
    server.shutdown()


@pytest.fixture(scope='module')
def chromium():
    if CHROMIUM is None: pytest.skip('Chromium is not installed')
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium, site):
    "Opens a page of the book; `visit.trouble` lists what went wrong."
    context = chromium.new_context(viewport=dict(width=1280, height=900))
    context.set_default_timeout(90_000)                 # patience with a busy machine
    page, trouble = context.new_page(), []

    def only_here(route):
        if route.request.url.startswith((site, 'data:', 'blob:')): return route.continue_()
        trouble.append(f'asks another host: {route.request.url}')
        route.abort()

    def go(name):
        page.goto(site + name, wait_until='load')
        page.wait_for_load_state('networkidle')
        page.add_style_tag(content='html { scroll-behavior: auto !important }')   # no moving target
        return page

    page.route('**/*', only_here)
    page.on('pageerror', lambda e: trouble.append(f'script error: {e}'))
    page.on('console', lambda m: m.type == 'error' and trouble.append(f'console: {m.text}'))
    page.on('requestfailed', lambda r: trouble.append(f'failed: {r.url}'))
    page.on('response', lambda r: r.status >= 400 and trouble.append(f'{r.status}: {r.url}'))
    go.trouble = trouble
    yield go
    context.close()


def scripts(html: str, kind: str) -> list:
    "The JSON of a page's script elements of a type."
    mime = rf'application/vnd\.jupyter\.{kind}\+json'
    return [json.loads(text) for text in
            re.findall(rf'<script type="{mime}">(.*?)</script>', html, re.S)]


def count_explorers(name: str) -> int:
    "How many explorers a page shows, those inside boxes included."
    html = (HTML/name).read_text(encoding='utf-8')
    models = {k: v for part in scripts(html, 'widget-state') for k, v in part['state'].items()}

    def count(key):
        state = models.get(key, {}).get('state', {})
        inner = [k.removeprefix('IPY_MODEL_') for k in state.get('children', [])]
        return ('sa-explorer' in state.get('_css', '')) + sum(map(count, inner))

    return sum(count(view['model_id']) for view in scripts(html, 'widget-view'))


class Explorer:
    "One explorer on a page."
    def __init__(self, root): self.root = root
    def __getattr__(self, name): return getattr(self.root, name)

    @property
    def words(self): return self.locator('.sa-words button')
    @property
    def play(self): return self.locator('.sa-play')
    @property
    def picture(self): return self.locator('canvas').evaluate('c => c.toDataURL()')
    @property
    def shown(self):
        pressed = self.words.evaluate_all('bs => bs.map(b => b.getAttribute("aria-pressed"))')
        assert pressed.count('true') == 1
        return pressed.index('true')

    def wait_until(self, test):
        "Waits until the word shown passes the test; a slow machine may miss any single word."
        for _ in range(400):
            if test(self.shown): return
            self.root.page.wait_for_timeout(25)
        raise AssertionError(f'still at word {self.shown}')

    def press(self, key): self.words.nth(self.shown).press(key)


def explorers(page, name) -> list:
    count = count_explorers(name)
    if count: page.locator('.sa-explorer').nth(count - 1).wait_for()
    found = [Explorer(root) for root in page.locator('.sa-explorer').all()]
    assert len(found) == count
    return found


@every_page
def test_page_loads_alone_and_without_errors(page_name, visit):
    page = visit(page_name)
    assert page.title()
    explorers(page, page_name)
    assert visit.trouble == []


WITH_EXPLORERS = [name for name in PAGES if count_explorers(name)]
explorer_page = pytest.mark.parametrize('page_name', SKIPPED if WHY_NOT else WITH_EXPLORERS)


@explorer_page
def test_explorers_answer_without_a_kernel(page_name, visit):
    for explorer in explorers(visit(page_name), page_name):
        last = explorer.words.count() - 1
        explorer.words.nth(last).click()
        assert explorer.shown == last
        for key, t in [('Home', 0), ('ArrowLeft', 0), ('ArrowRight', min(1, last)), ('End', last)]:
            explorer.press(key)
            assert explorer.shown == t, key
        if not last: continue
        explorer.play.click()                           # from the end: begins again
        explorer.wait_until(lambda t: t < last)
        assert explorer.play.text_content() == 'Pause'
        explorer.press('Home')                          # whoever moves by hand stops the film
        assert explorer.play.text_content() == 'Play'
        explorer.play.click()
        explorer.wait_until(lambda t: t > 0)
    assert visit.trouble == []


@explorer_page
def test_the_picture_changes_with_the_word(page_name, visit):
    page = visit(page_name)
    explorer = explorers(page, page_name)[0]
    explorer.words.nth(0).click()
    first = explorer.picture
    explorer.words.nth(2).click()
    by_click = explorer.picture
    explorer.press('ArrowRight')
    by_arrow = explorer.picture
    page.mouse.move(0, 0)
    explorer.play.click()
    explorer.wait_until(lambda t: t > 3)
    explorer.play.click()
    by_play = explorer.picture
    assert len({first, by_click, by_arrow, by_play}) == 4
    explorer.locator('input[type=checkbox]').check()
    assert explorer.picture != by_play                  # the true grid looks different


@explorer_page
def test_pointing_previews_and_lets_go(page_name, visit):
    page = visit(page_name)
    explorer = explorers(page, page_name)[0]
    explorer.words.nth(1).click()
    page.mouse.move(0, 0)
    before = explorer.picture
    explorer.words.nth(0).hover()
    assert explorer.picture != before and explorer.shown == 0
    page.mouse.move(0, 0)
    assert explorer.picture == before and explorer.shown == 1
    explorer.locator('canvas').hover()
    assert explorer.picture != before                   # the picture without darkness
    page.mouse.move(0, 0)
    assert explorer.picture == before


@explorer_page
def test_explorers_speak_to_screen_readers(page_name, visit):
    page = visit(page_name)
    explorer = explorers(page, page_name)[0]
    explorer.words.nth(1).click()
    word = explorer.words.nth(1).text_content()
    assert word in explorer.locator('canvas').get_attribute('aria-label')
    assert word in explorer.locator('[aria-live=polite]').text_content()
    assert explorer.locator('input[type=range]').get_attribute('aria-valuetext') == word
    stops = explorer.words.evaluate_all('bs => bs.filter(b => b.tabIndex === 0).length')
    assert stops == 1                                   # Tab stops once at the words
    explorer.play.click()
    assert explorer.locator('.sa-said').get_attribute('aria-live') == 'off'


@explorer_page
@pytest.mark.parametrize('width', [390, 1280])
def test_explorers_fit_the_screen(page_name, width, visit):
    page = visit(page_name)
    page.set_viewport_size(dict(width=width, height=844))
    for explorer in explorers(page, page_name):
        explorer.scroll_into_view_if_needed()
        box = explorer.bounding_box()
        assert 0 <= box['x'] and box['x'] + box['width'] <= width
        assert explorer.root.evaluate('e => e.scrollWidth - e.clientWidth') <= 0
        for t in range(explorer.words.count()):          # nothing slips away under the mouse
            explorer.words.nth(t).click()
            assert explorer.shown == t
