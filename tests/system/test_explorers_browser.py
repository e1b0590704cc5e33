"""The explorers as exported files: one HTML file from the disk, the network closed.

Each is operated by mouse and by keyboard, at a desk and on a phone, in light and dark; what it shows
is compared with the numbers it was made of. Needs Chromium and playwright.
"""
import base64, io, json
import numpy as np
import pytest
from PIL import Image

from explorer_drivers import ALL, AXE, CHECKS, KINDS, Explorer, faults, place
from showattend.captioner import Captioner
from showattend.live import draw_picture, upload_picture
from showattend.pages import standalone, write_page
from showattend.scenes import draw_scene, make_scene
from showattend.together import gallery
from showattend.visualize import spotlight
from showattend.what_if import hide_patches, paint_attention


@pytest.fixture(scope='module')
def caption(): return Captioner.from_pretrained('scenes').caption(draw_scene(make_scene(7, 10), 480))


@pytest.fixture(scope='module')
def parts(caption):
    "Every explorer there is, by class."
    greedy = caption.captioner.caption(caption.image, 1)
    some = [caption.captioner.caption(draw_scene(make_scene(7, k), 480)) for k in range(3)]
    widgets = [caption.explore(), caption.explore_beams(), caption.compare(greedy, ('five', 'one')),
               gallery([(c.image, c.words, c.attention) for c in some]), caption.explore_steps()]
    captioner, image = caption.captioner, caption.image
    asked = [make(captioner, image=image) for make in (upload_picture, draw_picture, paint_attention, hide_patches)]
    asked[2].paint(1, [27, 28]); asked[3].hide([27, 28])
    widgets += asked                                            # these say that they need a kernel
    return {type(w).__name__: w for w in widgets}


@pytest.fixture(scope='module')
def file(parts, tmp_path_factory):
    path = tmp_path_factory.mktemp('explorers')/'all.html'
    write_page(path, 'All explorers', [(name, '', w) for name, w in parts.items()])
    return path


@pytest.fixture
def visit(chromium, file):
    "Opens an exported file, offline; `visit.trouble` lists what went wrong."
    contexts = []

    def go(path=file, width=1200, scheme='light', **options):
        context = chromium.new_context(viewport=dict(width=width, height=844), offline=True,
                                       color_scheme=scheme, **options)
        contexts.append(context)
        page = context.new_page()
        page.on('pageerror', lambda e: go.trouble.append(f'script error: {e}'))
        page.on('console', lambda m: m.type in ('error', 'warning') and go.trouble.append(f'console: {m.text}'))
        page.on('request', lambda r: r.url.startswith(('file:', 'blob:', 'data:')) or go.trouble.append(f'asks for {r.url}'))
        page.goto(path.as_uri())
        for place in page.locator('[id^=explorer-]').all(): place.locator('.sa-explorer').first.wait_for()
        return page

    go.trouble = []
    yield go
    for context in contexts: context.close()


def test_every_explorer_is_tried(parts): assert set(parts) == set(ALL) == set(CHECKS)


@pytest.mark.parametrize('kind', ALL)
@pytest.mark.parametrize('width', [1200, 390])
def test_an_explorer_answers_to_mouse_and_keys(kind, width, visit):
    CHECKS[kind](Explorer(visit(width=width).locator(ALL[kind])))
    assert visit.trouble == []


@pytest.mark.parametrize('kind', ALL)
@pytest.mark.parametrize('width', [1200, 390])
def test_an_explorer_fits_the_screen(kind, width, visit):
    page = visit(width=width)
    explorer = page.locator(ALL[kind])
    box = explorer.bounding_box()
    assert 0 <= box['x'] and box['x'] + box['width'] <= width and box['width'] > 300
    assert explorer.evaluate('e => e.scrollWidth - e.clientWidth') <= 0
    assert page.evaluate('document.documentElement.scrollWidth') <= width
    small = explorer.locator('button, [role=treeitem]').evaluate_all(
        'bs => bs.filter(b => b.checkVisibility() && b.getBoundingClientRect().height < 24).map(b => b.outerHTML)')
    assert not small                                                   # WCAG 2.5.8: 24 px at least


@pytest.mark.parametrize('scheme', ['light', 'dark'])
@pytest.mark.parametrize('kind', ALL)
def test_no_serious_accessibility_fault(kind, scheme, visit):
    if not AXE.exists(): pytest.skip('axe-core is not there (tools/vendor.sh fetches it with npm)')
    page = visit(scheme=scheme)
    assert faults(page, ALL[kind].split(':')[0]) == []
    if kind == 'AttentionExplorer':                                    # tinted words
        Explorer(page.locator(ALL[kind])).point(7, 3, click=True)
        assert faults(page, '.sa-caption') == []
    if kind == 'BeamExplorer':
        page.get_by_role('button', name='Open all').click()
        assert faults(page, '.sa-beams') == []


def canvas(explorer) -> np.ndarray:
    "What the picture shows, (64, 64, 3)."
    png = base64.b64decode(explorer.picture.split(',')[1])
    return np.asarray(Image.open(io.BytesIO(png)).convert('RGB').resize((64, 64), Image.Resampling.BOX), float)


def test_the_picture_is_the_spotlight(visit, caption):
    "Chapter 11 computes it in NumPy, the browser lays a layer of darkness: the same picture."
    e = Explorer(visit().locator(KINDS['AttentionExplorer']))
    for grid in (True, False):
        if grid: e.locator('input[type=checkbox]').check()
        else: e.locator('input[type=checkbox]').uncheck()
        for t in (0, 3, len(caption.words) - 1):
            e.words.nth(t).click()
            e.away()
            ours = spotlight(caption.image, caption.attention[t], smooth=not grid).resize((64, 64), Image.Resampling.BOX)
            assert np.abs(canvas(e) - np.asarray(ours, float)).mean() < (3 if grid else 6)


def test_a_patch_names_the_words_that_looked_there(visit, caption):
    e = Explorer(visit().locator(KINDS['AttentionExplorer']))
    t = int(caption.attention.max((1, 2)).argmax())
    row, column = np.unravel_index(caption.attention[t].argmax(), caption.attention[t].shape)
    e.point(column + 1, row + 1)
    uses = caption.attention[:, row, column]
    assert place(e.said) == (column + 1, row + 1)
    for k in uses.argsort()[::-1][:3]:
        if uses[k] > 1.2 / 64: assert f'“{caption.words[k]}” {100 * uses[k]:.0f} %' in e.said
    tints = e.words.evaluate_all('bs => bs.map(b => +b.style.getPropertyValue("--use"))')
    assert np.allclose(tints, uses / max(uses.max(), 3 / 64), atol=.01)


def test_dark_is_dark(visit):
    for scheme, (low, high) in {'light': (200, 255), 'dark': (0, 60)}.items():
        shot = visit(scheme=scheme).locator('.sa-caption').first.screenshot()
        pixels = np.asarray(Image.open(io.BytesIO(shot)).convert('L'))
        assert low <= np.median(pixels[-20:, -20:]) <= high            # the corner shows the ground


def test_an_explorer_follows_its_model(visit, caption):
    "What Python does with a kernel, by hand: the model's values change, and the view follows."
    page = visit()
    e = Explorer(page.locator(KINDS['AttentionExplorer']))
    page.evaluate('models[0].set("t", 2)')
    assert e.shown == 2
    page.evaluate('models[0].set("patch", 9)')
    assert 'row 2, column 2' in e.said
    page.evaluate('''() => { const m = models[0]; m.set("patch", -1); m.set("t", 0);
        m.set("words", ["new"]); m.set("peaks", [1]); m.set("maps", new Uint8Array(64).fill(255)); }''')
    e.words.filter(has_text='new').wait_for()
    assert e.words.all_text_contents() == ['new'] and e.shown == 0
    assert visit.trouble == []


def test_pictures_of_any_shape_stay_in_their_place(visit, caption, tmp_path):
    from PIL import ImageOps
    for shape in [(200, 600), (600, 200)]:
        image = ImageOps.fit(caption.image, shape)
        found = caption.captioner.caption(image)
        widgets = [found.explore(), found.explore_beams(), found.compare(found), found.explore_steps()]
        write_page(tmp_path/'shape.html', 'Shapes', [('', '', w) for w in widgets])
        page = visit(tmp_path/'shape.html')
        for canvas in page.locator('canvas.sa-picture').all():
            box, outer = canvas.bounding_box(), canvas.locator('..').bounding_box()
            assert abs(box['height'] / box['width'] * shape[0] / shape[1] - 1) < .03
            assert box['y'] + box['height'] <= outer['y'] + outer['height'] + 1
            assert box['x'] + box['width'] <= outer['x'] + outer['width'] + 1


def test_words_of_any_kind_can_stand_in_a_page(visit, tmp_path):
    from showattend.explorers import explore
    words = ['</script>', '<b>', '“', '&amp;', 'ü', '\\', '$bytes']
    maps = np.random.default_rng(0).dirichlet(np.ones(15), len(words)).reshape(-1, 3, 5)
    write_page(tmp_path/'odd.html', '<i>', [('&', '<p>', explore(Image.new('RGB', (50, 30), 'red'), words, maps))])
    page = visit(tmp_path/'odd.html')
    assert page.locator('.sa-words button').all_text_contents() == words and page.title() == '<i>'
    assert visit.trouble == []


def test_the_command_writes_a_file_that_works(run, tmp_path, visit):
    draw_scene(make_scene(7, 3), 480).save(tmp_path/'photo.jpg')
    code, text = run('explore', 'photo.jpg', '--out', 'look/photo.html', '--beam', 3)
    assert code == 0 and 'wrote look/photo.html' in text
    page = visit(tmp_path/'look'/'photo.html')
    words = page.locator('.sa-caption .sa-words button').all_text_contents()
    assert ' '.join(words) == page.title() == text.splitlines()[0]
    for kind in ('AttentionExplorer', 'BeamExplorer'): CHECKS[kind](Explorer(page.locator(ALL[kind])))
    assert visit.trouble == [] and (tmp_path/'look'/'photo.html').stat().st_size < 300_000
    code, text = run('explore', 'nowhere.jpg', '--out', 'no.html')
    assert code and 'nowhere.jpg' in text and 'Traceback' not in text and not (tmp_path/'no.html').exists()


def test_a_file_weighs_little(parts):
    "A photo's page with both explorers, and each explorer alone."
    for name, widget in parts.items():
        assert len(standalone(name, [(name, '', widget)]).encode()) < (600_000 if 'Gallery' in name else 300_000)
