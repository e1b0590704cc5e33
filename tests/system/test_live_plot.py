"""The live plot in a real kernel: one picture, drawn again in its place, and the last one stays in the page."""
import base64, io
import pytest
from PIL import Image

CODE = '''
import numpy as np, torch
from showattend.batches import CaptionDataset
from showattend.captions import CaptionedImage, Vocabulary
from showattend.decoder import AttentionDecoder, DecoderConfig
from showattend.training import CaptioningModel, TrainConfig, fit
from showattend.watching import LivePlot
vocab = Vocabulary('a red dog'.split())
rows = np.random.default_rng(0).normal(size=(8, 4, 6)).astype('float16')
data = CaptionDataset(rows, [CaptionedImage(str(k), '', ['a red dog']) for k in range(8)], vocab)
model = CaptioningModel(AttentionDecoder(DecoderConfig(len(vocab), 6, 8, 8, 8)))
_ = fit(model, data, data, TrainConfig(epochs=2, batch_size=2), watchers=[LivePlot(every=2, seconds=0.)])
'''

def test_the_live_plot_takes_its_own_place(monkeypatch, root):
    nbclient, nbformat = pytest.importorskip('nbclient'), pytest.importorskip('nbformat')
    pytest.importorskip('ipykernel')
    monkeypatch.setenv('PYTHONPATH', str(root))
    monkeypatch.setenv('OMP_NUM_THREADS', '1')
    drawn = []
    class Client(nbclient.NotebookClient):
        def process_message(self, message, cell, index):
            if message['msg_type'] == 'update_display_data': drawn.append(message['content']['data']['image/png'])
            return super().process_message(message, cell, index)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CODE)])
    Client(notebook, timeout=120, kernel_name='python3').execute()
    pictures = [o for o in notebook.cells[0].outputs if o.output_type == 'display_data']
    assert len(pictures) == 1 and len(drawn) == 5                              # four notes, and the end
    assert pictures[0]['data']['image/png'] == drawn[-1] != drawn[0]
    assert Image.open(io.BytesIO(base64.b64decode(drawn[-1]))).width == 1400   # 7 inches, shown 700 pixels wide
