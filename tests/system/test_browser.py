"""The built book in a real browser, without a kernel and without a network.

Every page must load without an error, a failed request or a request to another host, and every
explorer must answer to mouse and keyboard. Needs `make book`, Chromium and playwright.
"""
import io, json, re, sys, threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from explorer_drivers import ALL, AXE, CHECKS, Explorer, check_words, faults
sys.path.insert(0, str(Path(__file__).resolve().parents[2]/'tools'))
from measure_opening import PLAIN, open_page

HTML = Path(__file__).resolve().parents[2]/'book'/'_build'/'html'
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


def scripts(html: str, attributes: str) -> list:
    "The JSON of a page's script elements with these attributes."
    return [json.loads(text) for text in
            re.findall(f'<script {re.escape(attributes)}>(.*?)</script>', html, re.S)]


def explorers_of(name: str) -> list[str]:
    "The classes of the explorers that a page shows, those inside boxes included."
    html = (HTML/name).read_text(encoding='utf-8')
    managed = scripts(html, 'type="application/vnd.jupyter.widget-state+json"')
    alone = scripts(html, 'id="explorers" type="application/json"')
    models = {k: v for part in [*alone, *(p['state'] for p in managed)] for k, v in part.items()}

    def inside(key):
        state = models.get(key, {}).get('state', {})
        kind = state.get('_anywidget_id', '').rpartition('.')[2]
        inner = [k.removeprefix('IPY_MODEL_') for k in state.get('children', [])]
        return [kind] * (kind in ALL) + [k for key in inner for k in inside(key)]

    return [kind for view in scripts(html, 'type="application/vnd.jupyter.widget-view+json"')
            for kind in inside(view['model_id'])]


def explorers(page, name) -> list[tuple[str, Explorer]]:
    "Class and driver of each explorer on an open page."
    expected, found = explorers_of(name), []
    for kind in dict.fromkeys(expected):
        roots = page.locator(ALL[kind])
        roots.nth(expected.count(kind) - 1).wait_for()
        found += [(kind, Explorer(root)) for root in roots.all()]
    assert len(found) == len(expected)
    return found


@every_page
def test_page_loads_alone_and_without_errors(page_name, visit):
    page = visit(page_name)
    assert page.title()
    explorers(page, page_name)
    assert visit.trouble == []


@every_page
@pytest.mark.parametrize('width', [1200, 1440])
def test_code_and_what_it_prints_are_not_cut_off(page_name, width, visit):
    "A line of a hundred columns has room; a few longer ones may scroll."
    page = visit(page_name)
    page.set_viewport_size(dict(width=width, height=900))
    wide = page.locator('.cell_input pre:visible, .cell_output pre:visible').evaluate_all(
        'all => all.filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.textContent)')
    assert len(wide) <= .05 * page.locator('article pre:visible').count(), wide


def test_a_phone_opens_the_chapters_and_the_contents(visit):
    if WHY_NOT: pytest.skip(WHY_NOT)
    page = visit(next(name for name in PAGES if name.startswith('nbs/')))
    page.set_viewport_size(dict(width=390, height=844))
    for side in ('primary', 'secondary'):
        page.locator(f'.bd-header-article .{side}-toggle').click()
        assert page.locator(f'#pst-{side}-sidebar-modal a:visible').count() > 0
        page.keyboard.press('Escape')
    assert visit.trouble == []


WITH_EXPLORERS = [] if WHY_NOT else [name for name in PAGES if explorers_of(name)]
explorer_page = pytest.mark.parametrize('page_name', SKIPPED if WHY_NOT else WITH_EXPLORERS)
KINDS_OF_PAGES = [(name, kind) for name in WITH_EXPLORERS for kind in dict.fromkeys(explorers_of(name))]


@explorer_page
def test_explorers_stand_in_two_seconds_on_a_light_page(page_name, chromium, site):
    "The best of five tries; on a busy machine, measured by a page without explorers."
    plain = min(open_page(chromium, site + PLAIN)[0] for _ in range(3))
    tries = [open_page(chromium, site + page_name) for _ in range(5)]
    assert min(seconds for seconds, _ in tries) < 2 * max(1, plain / .4)
    assert tries[0][1] < 3_000_000


@explorer_page
def test_explorers_need_no_manager_unless_other_widgets_are_there(page_name):
    html = (HTML/page_name).read_text(encoding='utf-8')
    assert ('embed-amd' in html) == ('"model_name": "VBoxModel"' in html)


def test_every_kind_of_explorer_is_in_the_book():
    if WHY_NOT: pytest.skip(WHY_NOT)
    assert {kind for _, kind in KINDS_OF_PAGES} >= set(ALL)


@pytest.mark.parametrize('page_name,kind', [pytest.param(None, None, marks=SKIPPED[0].marks)] if WHY_NOT else KINDS_OF_PAGES)
def test_an_explorer_answers_to_mouse_and_keys(page_name, kind, visit):
    "The first of its kind on the page, in every way that there is."
    page = visit(page_name)
    CHECKS[kind](next(e for k, e in explorers(page, page_name) if k == kind))
    assert visit.trouble == []


@explorer_page
def test_all_explorers_answer_without_a_kernel(page_name, visit):
    for kind, explorer in explorers(visit(page_name), page_name):
        if kind in ('AttentionExplorer', 'ComparisonExplorer', 'StepExplorer'): check_words(explorer)
    assert visit.trouble == []


@explorer_page
@pytest.mark.parametrize('width', [390, 1280])
def test_explorers_fit_the_screen(page_name, width, visit):
    page = visit(page_name)
    page.set_viewport_size(dict(width=width, height=844))
    for kind, explorer in explorers(page, page_name):
        explorer.scroll_into_view_if_needed()
        box = explorer.bounding_box()
        assert 0 <= box['x'] and box['x'] + box['width'] <= width
        assert explorer.root.evaluate('e => e.scrollWidth - e.clientWidth') <= 0
        for t in range(explorer.words.count()):          # nothing slips away under the mouse
            explorer.words.nth(t).click()
            assert explorer.shown == t


@explorer_page
@pytest.mark.parametrize('theme', ['light', 'dark'])
def test_explorers_without_serious_accessibility_faults(page_name, theme, visit):
    if not AXE.exists(): pytest.skip('axe-core is not there (tools/vendor.sh fetches it with npm)')
    page = visit(page_name)
    page.evaluate('theme => document.documentElement.dataset.theme = theme', theme)
    explorers(page, page_name)
    assert faults(page, '.sa-explorer') == []


@explorer_page
def test_explorers_are_dark_in_dark_mode(page_name, visit):
    page = visit(page_name)
    page.evaluate('document.documentElement.dataset.theme = "dark"')
    for _, explorer in explorers(page, page_name):
        shot = Image.open(io.BytesIO(explorer.screenshot())).convert('L')
        assert np.median(np.asarray(shot)[:3]) < 60      # the ground above the picture
