"""Fixtures for tests that cross chapters. Real data are used where `SHOWATTEND_DATA` names them."""
import os, shutil, subprocess, sys
from pathlib import Path
import pytest

ROOT = Path(__file__).resolve().parents[2]
NAMES = ['chromium', 'chromium-browser', 'google-chrome']
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
FLAGS = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-background-networking',
         '--no-first-run']
sys.path.insert(0, str(ROOT/'tests'))      # where the chapters' tests lie, with their helpers

@pytest.fixture(scope='session')
def root(): return ROOT

@pytest.fixture
def run(tmp_path):
    "Runs `showattend …` as a user would, in an empty folder: returns exit code and everything printed."
    def run(*words, env=None):
        command = [sys.executable, '-c', 'from showattend.cli import main; main()', *map(str, words)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True,
                              env={**os.environ, 'PYTHONPATH': str(ROOT), **(env or {})})
        return done.returncode, done.stdout + done.stderr
    return run

@pytest.fixture(scope='session')
def chromium():
    "One browser for the whole run: Playwright allows one at a time, so the fixture must have one home."
    playwright = pytest.importorskip('playwright.sync_api', reason='playwright is not installed')
    if CHROMIUM is None: pytest.skip('Chromium is not installed')
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()
