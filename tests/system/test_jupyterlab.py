"""The explorers in a real JupyterLab with a kernel: a notebook is opened in a browser, run, and operated.

Those that need no kernel answer as everywhere; those that ask one must show what it computed, for a file,
a drawing, a painted look and a hidden patch. The network is closed to everything but this machine.
Needs Chromium, playwright and JupyterLab.
"""
import json, os, socket, subprocess, sys, time, urllib.request
from importlib.util import find_spec
from pathlib import Path
import pytest

from explorer_drivers import ALL, AXE, CHECKS, KINDS, LIVE, Explorer, LiveExplorer, check_patches, faults
from showattend.captioner import Captioner
from showattend.live import empty_places
from showattend.scenes import draw_scene, make_scene
from showattend.what_if import even_look, redirect, without

ROOT = Path(__file__).resolve().parents[2]
CELLS = '''
import torch
torch.set_num_threads(1)
from showattend.captioner import Captioner
from showattend.live import draw_picture, upload_picture
from showattend.scenes import draw_scene, make_scene
from showattend.together import gallery
from showattend.what_if import hide_patches, paint_attention
captioner, image = Captioner.from_pretrained('scenes'), draw_scene(make_scene(7, 10), 480)
caption = captioner.caption(image)
caption.explore()
---
caption.explore_beams()
---
caption.compare(captioner.caption(image, 1))
---
gallery([(c.image, c.words, c.attention) for c in captioner.caption_batch([image, draw_scene(make_scene(7, 1))])])
---
caption.explore_steps()
---
upload_picture(captioner)
---
draw_picture(captioner)
---
paint_attention(captioner, image)
---
hide_patches(captioner, image)
'''.strip().split('\n---\n')


def write_notebook(path):
    cell = lambda source: dict(cell_type='code', execution_count=None, metadata={}, outputs=[], source=source)
    kernel = dict(name='python3', display_name='Python 3', language='python')
    path.write_text(json.dumps(dict(cells=[{**cell(c), 'id': f'cell{k}'} for k, c in enumerate(CELLS)],
                                    metadata=dict(kernelspec=kernel), nbformat=4, nbformat_minor=5)))


def write_settings(folder):
    "All cells stay in the page, however far away; nothing asks or tells the network."
    for name, values in {'notebook-extension/tracker': dict(windowingMode='none'),
                         'apputils-extension/notification': dict(checkForUpdates=False, fetchNews='false')}.items():
        path = folder/'@jupyterlab'/f'{name}.jupyterlab-settings'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))


@pytest.fixture(scope='module')
def lab(chromium, tmp_path_factory):
    "The address of a notebook in a JupyterLab of our own."
    if find_spec('jupyterlab') is None: pytest.skip('JupyterLab is not installed')
    folder = tmp_path_factory.mktemp('lab')
    write_notebook(folder/'explorers.ipynb'); write_settings(folder/'settings')
    with socket.socket() as s: s.bind(('127.0.0.1', 0)); port = s.getsockname()[1]
    closed = 'http://127.0.0.1:9'                               # a proxy where nobody listens
    env = {**os.environ, 'PYTHONPATH': str(ROOT), 'JUPYTERLAB_SETTINGS_DIR': str(folder/'settings'),
           'JUPYTERLAB_WORKSPACES_DIR': str(folder/'workspaces'), 'JUPYTER_CONFIG_DIR': str(folder/'config'),
           'JUPYTER_DATA_DIR': str(folder/'data'), 'JUPYTER_RUNTIME_DIR': str(folder/'runtime'),
           'IPYTHONDIR': str(folder/'ipython'), 'OMP_NUM_THREADS': '1', 'http_proxy': closed,
           'https_proxy': closed, 'no_proxy': '127.0.0.1,localhost'}
    command = [sys.executable, '-m', 'jupyterlab', '--no-browser', '--allow-root', '--ip=127.0.0.1', f'--port={port}',
               '--ServerApp.port_retries=0', '--IdentityProvider.token=', f'--ServerApp.root_dir={folder}',
               '--LabApp.extension_manager=readonly', '--LabApp.expose_app_in_browser=True', '--LanguageServerManager.autodetect=False']
    with open(folder/'log', 'w') as log: server = subprocess.Popen(command, env=env, stdout=log, stderr=log, cwd=folder)
    try:
        wait_for(f'http://127.0.0.1:{port}/api/status', server, folder/'log')
        yield f'http://127.0.0.1:{port}/doc/tree/explorers.ipynb'
    finally:
        server.terminate()
        try: server.wait(15)
        except subprocess.TimeoutExpired: server.kill()


def wait_for(address, server, log, seconds=60):
    for _ in range(10 * seconds):
        if server.poll() is not None: break
        try: return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(address, timeout=5).close()
        except OSError: time.sleep(.1)
    raise AssertionError('JupyterLab did not start: ' + log.read_text()[-2000:])


@pytest.fixture(scope='module')
def notebook(chromium, lab):
    "The notebook, run to its end; `notebook.trouble` lists what went wrong."
    context = chromium.new_context(viewport=dict(width=1200, height=900))
    context.set_default_timeout(60_000)
    page = context.new_page()
    page.trouble = []
    home = lab.split('/doc')[0]

    def only_here(route):
        if route.request.url.startswith((home, 'data:', 'blob:')): return route.continue_()
        page.trouble.append(f'asks another host: {route.request.url}')
        route.abort()

    page.route('**/*', only_here)
    page.on('pageerror', lambda e: page.trouble.append(f'script error: {e}'))
    page.goto(lab)
    page.locator('.jp-Notebook .jp-CodeCell').nth(len(CELLS) - 1).wait_for()
    page.locator('#jp-main-statusbar', has_text='| Idle').wait_for()
    page.get_by_role('menuitem', name='Run', exact=True).click()
    page.get_by_role('menuitem', name='Run All Cells', exact=True).click()
    for place in ALL.values(): page.locator(place).first.wait_for()
    for kind in LIVE: page.locator(LIVE[kind]).locator('.sa-kernel').wait_for(state='detached')
    page.add_style_tag(content='* { scroll-behavior: auto !important }')
    yield page
    context.close()


@pytest.fixture(scope='module')
def captioner(): return Captioner.from_pretrained('scenes')

@pytest.fixture(scope='module')
def image(): return draw_scene(make_scene(7, 10), 480)


@pytest.fixture
def live(notebook):
    "Finds an explorer that asks the kernel."
    yield lambda kind: LiveExplorer(notebook.locator(LIVE[kind]))
    assert notebook.trouble == []


@pytest.mark.parametrize('kind', KINDS)
def test_an_explorer_without_questions_answers_in_jupyterlab(kind, notebook):
    CHECKS[kind](Explorer(notebook.locator(KINDS[kind])))
    assert notebook.trouble == []


def test_an_uploaded_picture_is_captioned(live, captioner, tmp_path):
    e, words = live('PictureUpload'), []
    for index in (3, 4):
        path = tmp_path/f'mine{index}.png'
        draw_scene(make_scene(99, index), 300).save(path)
        e.locator('input[type=file]').set_input_files(path)
        e.wait_for_told(path.name)
        words.append(e.words.all_text_contents())
        assert words[-1] == captioner.caption(path).words and ' '.join(words[-1]) in e.told
    assert words[0] != words[1]
    check_patches(Explorer(e.locator('.sa-caption')))            # what came back is an explorer as any other
    path = tmp_path/'letter.jpg'
    path.write_text('Dear reader')
    e.locator('input[type=file]').set_input_files(path)
    e.wait_for_told('letter.jpg is no image')
    assert 'Give a JPEG or PNG' in e.told and e.words.all_text_contents() == words[1]
    e.locator('input[type=file]').focus()                       # the keyboard reaches it
    assert e.locator('input[type=file]').evaluate('i => i === document.activeElement')


def test_a_file_that_is_too_long_is_refused_before_it_is_sent(live, tmp_path):
    e = live('PictureUpload')
    (tmp_path/'long.png').write_bytes(bytes(9_100_000))
    e.locator('input[type=file]').set_input_files(tmp_path/'long.png')
    e.wait_for_told('long.png has 9.1 MB')


def test_a_drawing_is_captioned(live, captioner):
    e = live('DrawingBoard')
    paper = e.pictures.first
    look = lambda: paper.evaluate('c => c.toDataURL()')
    pen = lambda color: e.locator(f'.sa-pen[aria-label={color}]')      # a word of the caption may have the same name
    blank = look()
    e.get_by_role('button', name='sea', exact=True).click()
    assert look() != blank
    e.wait_for_words(captioner.caption(empty_places()['sea']).words[0])
    bare = look()
    e.get_by_role('button', name='filled shape').click()
    e.stroke(paper, [(.3, .55), (.7, .55), (.62, .67), (.38, .67)])
    hull = look()
    assert hull != bare
    e.get_by_role('button', name='broad').click()
    pen('black').click()
    e.stroke(paper, [(.5, .54), (.5, .25)])
    assert look() != hull
    e.settle(450)
    first = e.words.all_text_contents()
    paper.focus()                                               # a stroke without a mouse
    before = look()
    for key in [' ', *['ArrowRight'] * 5, ' ']: e.page.keyboard.press(key)
    assert look() != before and 'The pen is up' in e.told
    e.settle(450)
    e.get_by_role('button', name='Undo').click()
    e.settle(450)
    e.wait_until(lambda: e.words.all_text_contents() == first)
    e.get_by_role('button', name='Clear').click()
    e.settle(450)
    pen('black').press('Home')          # the pens are one stop, with arrows within
    pen('red').press('ArrowRight')
    assert pen('orange').get_attribute('aria-pressed') == 'true'


def test_a_painted_look_changes_the_words(live, captioner, image):
    e, caption = live('AttentionPainter'), captioner.caption(image, 1)
    assert e.words.all_text_contents() == e.after == caption.words
    for t in (1, 2):
        e.words.nth(t).click()
        own = e.picture
        assert caption.words[t] in e.told
        e.lay((1, 1), (3, 2))                                   # by mouse, from cell to cell
        e.settle()
        told = redirect(caption, t, even_look(e.between((1, 1), (3, 2)), (8, 8)))
        assert e.after == told.words and e.picture != own
        assert len(e.marked) > 0 or told.words == caption.words
        e.get_by_role('button', name='Look everywhere').click()
        e.settle()
        assert e.after == redirect(caption, t, even_look(range(64), (8, 8))).words and '64 cells' in e.told
        e.get_by_role('button', name='Its own look').click()
        e.settle()
        assert e.after == caption.words and not e.marked
        assert e.frameless_picture() == own
    e.words.nth(2).press('Home')
    assert e.shown == 0
    e.words.nth(0).press('ArrowRight')
    e.pictures.first.focus()                                    # and by keyboard
    for key in [*['ArrowUp'] * 8, *['ArrowLeft'] * 8, 'ArrowDown', 'Enter', 'ArrowRight', ' ']: e.page.keyboard.press(key)
    e.settle()
    assert e.after == redirect(caption, 1, even_look([8, 9], (8, 8))).words
    assert 'row 2, column 2: painted' in e.pictures.first.get_attribute('aria-label')
    e.get_by_role('button', name='Look only here').click()
    e.settle()
    assert e.after == redirect(caption, 1, even_look([9], (8, 8))).words and 'one cell' in e.told


def test_hidden_patches_change_words_and_numbers(live, captioner, image):
    e, caption = live('PatchHider'), captioner.caption(image)
    own = e.picture
    t = int(caption.attention.max((1, 2)).argmax())
    e.words.nth(t).click()
    row, column = divmod(int(caption.attention[t].argmax()), 8)
    assert f'row {row + 1}, column {column + 1}: not hidden' in e.pictures.first.get_attribute('aria-label')
    e.get_by_role('button', name='Hide around the frame').click()
    e.settle()
    cells = [8 * y + x for y in range(8) for x in range(8) if abs(y - row) < 2 and abs(x - column) < 2]
    hidden, change = without(caption, cells)
    assert e.after == hidden.words and e.picture != own
    assert e.changes == pytest.approx(change, abs=.06)
    e.pictures.first.focus()
    e.page.keyboard.press(' ')                                  # shows this one again
    e.settle()
    cells.remove(8 * row + column)
    assert e.changes == pytest.approx(without(caption, cells)[1], abs=.06)
    e.get_by_role('button', name='Show all').click()
    e.settle()
    assert e.after == caption.words and e.changes == [] and 'Nothing is hidden' in e.told
    e.lay((1, 8), (4, 8))
    e.settle()
    assert e.after == without(caption, [56, 57, 58, 59])[0].words
    e.lay((2, 8), (2, 8))                                       # a second touch takes it off
    e.settle()
    assert e.changes == pytest.approx(without(caption, [56, 58, 59])[1], abs=.06)


@pytest.mark.parametrize('theme', ['light', 'dark'])
def test_no_serious_accessibility_fault_in_jupyterlab(theme, notebook):
    if not AXE.exists(): pytest.skip('axe-core is not there (tools/vendor.sh fetches it with npm)')
    notebook.evaluate("name => window.jupyterapp.commands.execute('apputils:change-theme', {theme: name})",
                      f'JupyterLab {theme.title()}')
    notebook.wait_for_function('name => document.body.dataset.jpThemeName === name', arg=f'JupyterLab {theme.title()}')
    assert faults(notebook, '.sa-live') == []
