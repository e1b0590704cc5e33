"""What holds of the repository as a whole."""
import ast, configparser, json, re, statistics, subprocess, sys, tomllib
from pathlib import Path
import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT/'nbs').glob('[0-9]*.ipynb'))

def code_cells(path):
    return [''.join(c['source']) for c in json.loads(path.read_text())['cells'] if c['cell_type'] == 'code']

def module_of(path):
    return next((m[1] for cell in code_cells(path) if (m := re.match(r'#\| default_exp (\w+)', cell))), None)

def test_requirements_stand_in_both_files():
    settings = configparser.ConfigParser()
    settings.read(ROOT/'settings.ini')
    project = tomllib.loads((ROOT/'pyproject.toml').read_text())['project']
    assert settings['DEFAULT']['requirements'].split() == project['dependencies']
    assert settings['DEFAULT']['min_python'] in project['requires-python']

def test_a_module_imports_only_from_earlier_chapters():
    order = [m for p in NOTEBOOKS if (m := module_of(p))]
    assert len(order) >= 15 and len(set(order)) == len(order)
    for place, module in enumerate(order):
        for node in ast.walk(ast.parse((ROOT/f'showattend/{module}.py').read_text())):
            if isinstance(node, ast.ImportFrom) and (node.level or (node.module or '').startswith('showattend.')):
                used = (node.module or '').removeprefix('showattend.')
                assert used in order[:place], f'{module} imports {used}, which comes later'

def test_every_module_comes_from_a_chapter():
    made = {module_of(p) for p in NOTEBOOKS}
    assert {p.stem for p in (ROOT/'showattend').glob('[a-z]*.py')} <= made

@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda p: p.stem)
def test_a_chapter_is_clean(path):
    "No outputs, no long lines, short cells, a title and an opening promise."
    notebook = json.loads(path.read_text())
    assert not any(c.get('outputs') for c in notebook['cells'])
    assert not [line for cell in code_cells(path) for line in cell.splitlines() if len(line) > 100]
    lengths = sorted(len([l for l in cell.splitlines() if l.strip()]) for cell in code_cells(path))
    assert statistics.median(lengths) <= 5 and lengths[int(.9 * (len(lengths) - 1))] <= 15
    opening = ''.join(notebook['cells'][0]['source'])
    assert opening.startswith('# ') and '> By the end of this page' in opening

def test_a_module_says_whole_what_it_is_for():
    for path in (ROOT/'showattend').glob('[a-z]*.py'):
        assert ast.get_docstring(ast.parse(path.read_text())).endswith('.'), f'{path.name}: keep the promise on one line'

def test_tests_are_there_for_every_module():
    for path in NOTEBOOKS:
        if module := module_of(path): assert (ROOT/f'tests/test_{module}.py').exists(), f'{path.name} has no tests'

def seconds(code):
    "Processor time of the fastest of three fresh starts: what else runs on the machine hardly changes it."
    script = f"import time; start = time.process_time()\n{code}\nprint(time.process_time() - start)"
    return min(float(subprocess.run([sys.executable, '-c', script], capture_output=True, text=True, check=True,
                                    cwd=ROOT).stdout) for _ in range(3))

def test_importing_the_package_costs_little_more_than_torch():
    assert seconds('import torch, showattend') - seconds('import torch') < 0.3

def test_the_names_promised_at_the_top_are_there():
    import showattend as sa
    for name in 'Captioner Caption Vocabulary ImageEncoder AttentionDecoder beam_search evaluate_captions explore'.split():
        assert callable(getattr(sa, name)) and name in dir(sa)
    with pytest.raises(AttributeError, match='no attribute'): sa.nothing

def test_the_bundled_captioner_is_small_enough():
    files = list((ROOT/'showattend/pretrained/scenes').iterdir())
    assert {f.name for f in files} == {'config.json', 'vocab.json', 'model.safetensors'}
    assert sum(f.stat().st_size for f in files) < 3e6

def test_nothing_large_and_no_photo_is_tracked():
    done = subprocess.run(['git', 'ls-files'], cwd=ROOT, capture_output=True, text=True)
    if done.returncode: pytest.skip('not a git checkout')
    tracked = [ROOT/name for name in done.stdout.splitlines() if (ROOT/name).is_file()]
    assert not [f for f in tracked if f.suffix.lower() in ('.jpg', '.jpeg', '.h5', '.pt', '.pth', '.zip')]
    assert not [f for f in tracked if f.stat().st_size > 3e6]
