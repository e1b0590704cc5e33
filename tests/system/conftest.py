"""Fixtures for tests that cross chapters. Real data are used where `SHOWATTEND_DATA` names them."""
import os, subprocess, sys
from pathlib import Path
import pytest

ROOT = Path(__file__).resolve().parents[2]
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
