"""`compile=True`: the encoder's training step as one compiled program, in both stages of a run. Needs a C++ compiler."""
import shutil
import pytest
import torch
from showattend.batches import CaptionDataset
from showattend.captions import build_vocabulary
from showattend.decoder import AttentionDecoder, DecoderConfig
from showattend.encoders import ImageEncoder
from showattend.scenes import make_scenes
from showattend.training import CaptioningModel, TrainConfig, fit

def losses(compiled):
    "Of a first stage with the encoder asleep, and of a second in which it learns."
    torch.manual_seed(0)
    pixels, records = make_scenes(24, seed=0)
    vocab, encoder = build_vocabulary(records, 1), ImageEncoder('scene_cnn')
    decoder = AttentionDecoder(DecoderConfig(len(vocab), encoder.feature_size, 16, 16, 16, dropout=0.))
    config = TrainConfig(epochs=1, batch_size=8, fine_tune_from='0', fine_tune_epochs=1, compile=compiled)
    data, model = CaptionDataset(pixels, records, vocab), CaptioningModel(decoder, encoder)
    history = fit(model, data, data, config)
    return [entry['loss'] for entry in history], model.state_dict()

@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which('g++') or shutil.which('clang++')), reason='no C++ compiler')
def test_a_compiled_encoder_learns_the_same(tmp_path, monkeypatch):
    monkeypatch.setenv('TORCHINDUCTOR_CACHE_DIR', str(tmp_path))
    counters = pytest.importorskip('torch._dynamo.utils').counters
    counters.clear()
    (plain, weights), before = losses(False), counters['stats']['unique_graphs']
    fast, same = losses(True)
    assert before == 0 < counters['stats']['unique_graphs']           # it was compiled, and only then
    assert fast == pytest.approx(plain, abs=1e-4)
    assert weights.keys() == same.keys()                              # checkpoints fit either way
    for name in weights: torch.testing.assert_close(same[name], weights[name], rtol=1e-3, atol=1e-4)
