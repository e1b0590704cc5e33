"""How to operate the explorers in a browser: by mouse and by keyboard, wherever they stand.

Used on files that were exported (test_explorers_browser.py), on the built book (test_browser.py) and in
JupyterLab (test_jupyterlab.py), where those that ask a kernel are operated too.
An explorer is found by its class; what it shows is read from its labels, as a screen reader would.
"""
import re
from pathlib import Path

AXE = Path(__file__).with_name('lib')/'axe.min.js'     # tools/vendor.sh fetches it
KINDS = {'AttentionExplorer': '.sa-caption:not(.sa-gallery .sa-caption, .sa-live .sa-caption)', 'BeamExplorer': '.sa-beams',
         'ComparisonExplorer': '.sa-compare', 'GalleryExplorer': '.sa-gallery', 'StepExplorer': '.sa-steps'}

LIVE = {'PictureUpload': '.sa-upload', 'DrawingBoard': '.sa-drawing', 'AttentionPainter': '.sa-painting',
        'PatchHider': '.sa-hiding'}             # these ask a kernel
ALL = {**KINDS, **LIVE}


class Explorer:
    "What all explorers have: words in a row, a line that says what is shown, Play, a slider."
    def __init__(self, root): self.root, self.page, self.grid = root, root.page, None
    def __getattr__(self, name): return getattr(self.root, name)

    @property
    def words(self): return self.locator('.sa-words:not(.sa-thumbs) button')
    @property
    def play(self): return self.locator('.sa-play')
    @property
    def said(self): return self.locator('.sa-said').text_content().replace('\xa0', ' ')
    @property
    def pictures(self): return self.locator('canvas.sa-picture')
    @property
    def picture(self): return self.pictures.last.evaluate('c => c.toDataURL()')
    @property
    def shown(self): return pressed(self.words)

    def wait_until(self, test):
        "Waits until the word shown passes the test; a slow machine may miss any single word."
        for _ in range(400):
            if test(self.shown): return
            self.page.wait_for_timeout(25)
        raise AssertionError(f'still at word {self.shown}')

    def press(self, key): self.words.nth(self.shown).press(key)

    @property
    def shape(self) -> tuple[int, int]:
        "Rows and columns of the grid, found by walking to its corner."
        if not self.grid:
            self.pictures.last.focus()
            for key in ['ArrowRight'] * 40 + ['ArrowDown'] * 40: self.page.keyboard.press(key)
            text = self.pictures.last.get_attribute('aria-label')
            self.grid = place(text)[::-1]
            self.page.keyboard.press('Escape')
        return self.grid

    def point(self, column, row, click=False):
        "Points at a patch of the last picture."
        h, w = self.shape
        box = still(self.pictures.last)
        at = (box['x'] + (column - .5) / w * box['width'], box['y'] + (row - .5) / h * box['height'])
        self.page.mouse.move(*at)
        if click: self.page.mouse.click(*at)

    def away(self): self.page.mouse.move(0, 0)


class LiveExplorer(Explorer):
    "One that asks a kernel: its tools, its line, and what came back."
    @property
    def told(self): return self.locator('.sa-told').text_content().replace('\xa0', ' ')
    @property
    def words(self): return self.locator('.sa-words button')
    @property
    def after(self): return self.locator('.sa-after > :not(del)').all_text_contents()
    @property
    def marked(self): return self.locator('.sa-after > :not(span)').all_text_contents()
    @property
    def changes(self):
        return [float(x.replace('−', '-')) for x in self.locator('.sa-words small').all_text_contents()]

    def wait_for_told(self, text): self.locator('.sa-told', has_text=text).wait_for()
    def wait_for_words(self, text): self.locator('.sa-words button', has_text=text).first.wait_for()

    def settle(self, pause=0):
        "Waits until the captioner is no longer at work; a drawing is sent after a pause."
        self.page.wait_for_timeout(3 * pause)             # a busy machine's clocks are late
        self.locator('.sa-told:not(:has-text("at work"))').wait_for()

    def wait_until(self, check):
        "Asks again and again, for ten seconds."
        for _ in range(100):
            if check(): return
            self.page.wait_for_timeout(100)
        assert check()

    def at(self, canvas, x, y):
        "A place on a canvas, in fractions of it."
        box = canvas.bounding_box()
        return box['x'] + x * box['width'], box['y'] + y * box['height']

    def stroke(self, canvas, points):
        still(canvas)
        self.page.mouse.move(*self.at(canvas, *points[0]))
        self.page.mouse.down()
        for point in points[1:]: self.page.mouse.move(*self.at(canvas, *point), steps=4)
        self.page.mouse.up()

    def lay(self, start, stop, side=8):
        "A stroke from one cell to another, given as column and row."
        self.stroke(self.pictures.first, [((x - .5) / side, (y - .5) / side) for x, y in self.way(start, stop)])

    def way(self, start, stop):
        "The cells on the way: along the row, then along the column."
        (x, y), (u, v) = start, stop
        return [(k, y) for k in range(x, u + 1)] + [(u, k) for k in range(y + 1, v + 1)]

    def between(self, start, stop, side=8): return sorted(side * (y - 1) + x - 1 for x, y in self.way(start, stop))

    def frameless_picture(self):
        "The picture without the frame of the cell that was touched last."
        self.pictures.first.press('Escape')
        return self.picture


def still(node) -> dict:
    "Where a node is once nothing scrolls any more."
    node.scroll_into_view_if_needed()
    before, box = None, node.bounding_box()
    while box != before:
        node.page.wait_for_timeout(30)
        before, box = box, node.bounding_box()
    return box


def pressed(buttons) -> int:
    "The one button that is pressed."
    states = buttons.evaluate_all('bs => bs.map(b => b.getAttribute("aria-pressed"))')
    assert states.count('true') == 1
    return states.index('true')


def place(text) -> tuple[int, int]:
    "(column, row) of 'row 3, column 5'."
    row, column = re.search(r'row (\d+), column (\d+)', text).groups()
    return int(column), int(row)


def check_words(e):
    "Click, arrows, Home and End, slider, Play: each leads to the word it should."
    last = e.words.count() - 1
    e.words.nth(last).click()
    assert e.shown == last
    for key, t in [('Home', 0), ('ArrowLeft', 0), ('ArrowRight', min(1, last)), ('End', last)]:
        e.press(key)
        assert e.shown == t, key
    assert e.words.nth(last).evaluate('b => b === document.activeElement')    # the focus came along
    if not last: return
    slider = e.locator('input[type=range]')
    slider.press('ArrowLeft')
    assert e.shown == last - 1
    slider.press('End')
    e.play.click()                           # from the end: begins again
    e.wait_until(lambda t: t < last)
    assert e.play.text_content() == 'Pause' and e.locator('.sa-said').get_attribute('aria-live') == 'off'
    e.press('Home')                          # whoever moves by hand stops the film
    assert e.play.text_content() == 'Play'
    e.play.click()
    e.wait_until(lambda t: t > 0)
    e.play.click()
    stops = e.words.evaluate_all('bs => bs.filter(b => b.tabIndex === 0).length')
    assert stops == 1                        # Tab stops once at the words


def check_picture(e):
    "Every word has its own picture, and the true grid another one."
    e.away()
    seen = []
    for t in range(e.words.count()):
        e.words.nth(t).click()
        e.away()
        seen.append(e.picture)
    assert len(set(seen)) > len(seen) / 2
    e.locator('input[type=checkbox]').check()
    assert e.picture != seen[-1]
    e.locator('input[type=checkbox]').uncheck()
    assert e.picture == seen[-1]


def check_patches(e):
    "Hover, click and keys on the picture ask its patches; Escape and a second click let go."
    e.words.nth(1).click()
    e.away()
    before, said = e.picture, e.said
    e.point(2, 3)
    assert e.picture != before and 'row 3, column 2' in e.said and e.shown == 1
    e.away()
    assert e.picture == before and e.said == said
    e.point(5, 4, click=True)
    e.away()
    assert 'row 4, column 5' in e.said and e.picture != before        # stays
    e.point(5, 4, click=True)
    e.away()
    assert e.picture == before and e.said == said
    canvas = e.pictures.last
    e.words.nth(1).focus()
    e.page.keyboard.press('Shift+Tab')                                # the picture stands before
    assert canvas.evaluate('c => c === document.activeElement')
    column, row = place(e.said)                                       # the brightest patch
    key, to = ('ArrowLeft', -1) if column > 1 else ('ArrowRight', 1)
    e.page.keyboard.press(key)
    assert place(e.said) == (column + to, row) and f'row {row}, column {column + to}' in canvas.get_attribute('aria-label')
    e.page.keyboard.press('ArrowUp' if row > 1 else 'ArrowDown')
    assert place(e.said)[1] != row
    e.page.keyboard.press('Escape')
    assert e.said == said and e.picture == before


def check_caption(e):
    check_words(e); check_picture(e); check_patches(e)
    e.words.nth(1).click()
    word = e.words.nth(1).text_content()
    assert word in e.pictures.last.get_attribute('aria-label') and word in e.said
    assert e.locator('input[type=range]').get_attribute('aria-valuetext') == word


def check_compare(e):
    assert e.pictures.count() == 2
    check_words(e); check_picture(e)
    e.words.nth(0).click()
    lines = e.words.nth(0).locator('span').all_text_contents()
    assert len(lines) == 2 and all(f'“{word}”' in e.said for word in lines if word != '–')
    assert lines[0] in e.pictures.first.get_attribute('aria-label') or lines[0] == '–'
    before = e.picture
    e.words.nth(2).hover()
    assert e.picture != before and e.shown == 2
    e.away()
    assert e.picture == before and e.shown == 0


def check_gallery(e):
    thumbs = e.locator('.sa-thumbs button')
    last = thumbs.count() - 1
    assert last >= 1 and pressed(thumbs) == 0
    inner = Explorer(e.locator('.sa-caption'))
    for step in (lambda: thumbs.nth(last).click(), lambda: thumbs.nth(pressed(thumbs)).press('Home'),
                 lambda: thumbs.nth(pressed(thumbs)).press('ArrowRight')):
        before = inner.picture
        step()
        assert inner.picture != before and inner.count() == 1 and inner.shown == 0
        words = ' '.join(inner.words.all_text_contents())
        assert thumbs.nth(pressed(thumbs)).get_attribute('aria-label').endswith(': ' + words)
    check_words(inner)
    check_patches(inner)


def check_steps(e):
    check_words(e); check_picture(e)
    for t in (0, e.words.count() - 1):
        e.words.nth(t).click()
        word = e.words.nth(t).text_content()
        assert e.said.endswith(f'says “{word}”.')
        chances = [float(text.replace('\xa0%', '')) for text in
                   e.locator('.sa-row span:last-child').all_text_contents()]
        assert len(chances) == 5 and chances == sorted(chances, reverse=True) and sum(chances) <= 101
    notes = e.locator('.sa-note').all_text_contents
    e.away()
    before, text = e.picture, notes()
    e.point(2, 2)
    assert e.picture != before and 'row 2, column 2' in notes()[1] and 'row 2, column 2' in notes()[2]
    e.away()
    assert e.picture == before and notes() == text
    e.pictures.last.focus()
    e.page.keyboard.press('ArrowUp')
    assert 'at row' in notes()[1]
    e.page.keyboard.press('Escape')
    assert notes() == text


def check_beams(e):
    nodes, chosen = e.locator('.sa-node'), lambda: e.locator('.sa-node[aria-selected=true]')
    before = nodes.count()
    chosen().focus()
    e.page.keyboard.press('Home')
    assert chosen().get_attribute('aria-label') == 'start' and 'Before the first word' in e.said
    pictures = [e.picture]
    for key in ('ArrowDown', 'ArrowDown', 'ArrowDown'):
        e.page.keyboard.press(key)
        word = chosen().locator('span').text_content()
        assert word in e.said and e.locator('.sa-text').text_content().endswith(word)
        assert chosen().evaluate('n => n === document.activeElement')
        pictures.append(e.picture)
    assert len(set(pictures)) == 4
    assert int(chosen().get_attribute('aria-level')) == 4
    e.page.keyboard.press('ArrowUp')
    assert int(chosen().get_attribute('aria-level')) == 3
    e.page.keyboard.press('End')                            # the end of the caption that was chosen
    assert 'a whole caption' in e.said and e.shown == 0
    check_opening(e, before)
    e.words.last.click()                                    # one of the captions found
    assert e.shown == e.words.count() - 1 and e.words.last.text_content().endswith(e.locator('.sa-text').text_content())
    e.words.last.press('Home')
    assert e.shown == 0
    e.play.click()                                          # from the end: begins again at the start
    for _ in range(200):
        if 'Before' not in e.said and 'whole caption' not in e.said: break
        e.page.wait_for_timeout(25)
    assert e.play.text_content() == 'Pause' and 'went on' in e.said
    e.play.click()


def check_opening(e, before):
    "Nodes open by mouse and by key, and what was pruned shows with its score."
    nodes, start = e.locator('.sa-node'), e.locator('.sa-node').first
    e.page.keyboard.press('Home')
    assert start.get_attribute('aria-expanded') == 'false'
    e.page.keyboard.press('Enter')
    assert start.get_attribute('aria-expanded') == 'true' and nodes.count() > before
    e.page.keyboard.press('Enter')
    assert nodes.count() == before
    start.locator('b').click()
    pruned = e.locator('.sa-node.sa-dropped').last
    pruned.click()
    assert 'it was dropped' in e.said and pruned.locator('small').text_content().startswith('−')
    assert pruned.locator('small').text_content() in e.said
    start.locator('b').click()                              # closed: the choice goes back to the start
    assert nodes.count() == before and 'Before the first word' in e.said
    e.locator('button', has_text='Open all').click()
    assert nodes.count() > 2 * before
    e.locator('button', has_text='Close all').click()
    assert nodes.count() == before


def check_needs_kernel(e):
    "Without a kernel: one line says what is needed, what can't work isn't there, the rest answers."
    line = e.locator('.sa-kernel')
    assert 'needs a kernel' in line.text_content() and '(captioner' in line.locator('code').text_content()
    for tool in e.locator('.sa-tools button, .sa-tools input, .sa-desk > canvas[tabindex]').all(): assert not tool.is_visible()
    inner = e.locator('.sa-caption')
    if inner.count(): return check_caption(Explorer(inner))
    assert len(e.locator('.sa-after > *').all_text_contents()) > 2
    last, before = e.words.count() - 1, e.picture
    e.words.nth(last).click()
    assert e.shown == last and e.picture != before
    e.words.nth(last).press('Home')
    e.words.nth(0).press('ArrowRight')
    assert e.shown == 1


CHECKS = {'AttentionExplorer': check_caption, 'BeamExplorer': check_beams, 'ComparisonExplorer': check_compare,
          'GalleryExplorer': check_gallery, 'StepExplorer': check_steps,
          **dict.fromkeys(LIVE, check_needs_kernel)}


def faults(page, selector: str) -> list[str]:
    "Serious accessibility faults that axe-core finds in what a selector names."
    page.evaluate(AXE.read_text() + ';0')
    result = page.evaluate('s => axe.run(s, {resultTypes: ["violations"]})', selector)
    return [f"{v['impact']}: {v['id']}, {v['nodes'][0]['html'][:120]}, {v['nodes'][0]['failureSummary'][:300]}"
            for v in result['violations'] if v['impact'] in ('serious', 'critical')]
