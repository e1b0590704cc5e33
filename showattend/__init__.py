"""Image captioning with visual attention: Show, Attend and Tell.

Written by hand, unlike the modules beside it: they come from the chapters in `nbs/`."""
__version__ = "0.1.0"

from importlib import import_module

_HOME = {'Captioner': 'captioner', 'Caption': 'captioner', 'Vocabulary': 'captions', 'InputError': 'captions',
         'ImageEncoder': 'encoders', 'AttentionDecoder': 'decoder', 'DecoderConfig': 'decoder',
         'beam_search': 'search', 'evaluate_captions': 'scoring', 'explore': 'explorers'}
__all__ = sorted(_HOME)

def __getattr__(name):      # a name is imported when it is used, so that `import showattend` costs nothing
    if name not in _HOME: raise AttributeError(f"module 'showattend' has no attribute {name!r}")
    return getattr(import_module(f'showattend.{_HOME[name]}'), name)

def __dir__(): return [*globals(), *__all__]
