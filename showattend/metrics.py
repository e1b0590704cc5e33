from __future__ import annotations
import math, os, shutil
from collections import Counter
from contextlib import contextmanager, redirect_stdout
from showattend.captions import InputError, tokenize

def ngrams(words: list[str], n: int) -> Counter:
    "How often each run of `n` words occurs."
    return Counter(zip(*(words[k:] for k in range(n))))

def clipped_matches(hypothesis: list[str], references: list[list[str]], n: int) -> int:
    "How many of the hypothesis' n-grams a reference holds, none counted more often than the reference holds it."
    allowed = Counter()
    for reference in references: allowed |= ngrams(reference, n)
    return (ngrams(hypothesis, n) & allowed).total()

def closest_length(length: int, references: list[list[str]]) -> int:
    "The reference length nearest to `length`; of two alike the shorter."
    return min((len(r) for r in references), key=lambda r: (abs(r - length), r))

def brevity_penalty(length: int, reference_length: int) -> float:
    "1, or less for text shorter than the references (Papineni et al. 2002)."
    return 1.0 if length >= reference_length else math.exp(1 - reference_length / length) if length else 0.0

def bleu(
    hypotheses: list[list[str]],         # words of each caption
    references: list[list[list[str]]],   # words of its references
) -> list[float]:                        # BLEU-1 to BLEU-4, 0 to 1
    "Corpus BLEU (Papineni et al. 2002), with the closest reference length."
    length = sum(map(len, hypotheses))
    closest = sum(closest_length(len(h), rs) for h, rs in zip(hypotheses, references))
    precisions = []
    for n in range(1, 5):
        matches = sum(clipped_matches(h, rs, n) for h, rs in zip(hypotheses, references))
        precisions.append(matches / max(1, sum(max(0, len(h) - n + 1) for h in hypotheses)))
    penalty = brevity_penalty(length, closest)
    return [penalty * math.prod(precisions[:n]) ** (1 / n) for n in range(1, 5)]

def document_frequencies(references: list[list[list[str]]]) -> Counter:
    "In how many images' references each n-gram occurs."
    return Counter(g for rs in references for g in {g for r in rs for n in range(1, 5) for g in ngrams(r, n)})

def tf_idf(words: list[str], n: int, frequencies: Counter, images: int) -> dict:
    "Each n-gram's count, times how much it tells: log(images / images that hold it)."
    return {g: c * (math.log(images) - math.log(max(1, frequencies[g]))) for g, c in ngrams(words, n).items()}

def norm(vector: dict) -> float:
    "Euclidean length."
    return math.sqrt(sum(x * x for x in vector.values()))

def cider_pair(hypothesis: list[str], reference: list[str], frequencies: Counter, images: int) -> float:
    "CIDEr-D of one caption against one reference: clipped cosine, mean over n = 1 to 4, ×10."
    gauss, total = math.exp(-(len(hypothesis) - len(reference)) ** 2 / 72), 0.0    # 72 = 2 σ², σ = 6
    for n in range(1, 5):
        h, r = tf_idf(hypothesis, n, frequencies, images), tf_idf(reference, n, frequencies, images)
        if norms := norm(h) * norm(r): total += sum(min(x, r[g]) * r[g] for g, x in h.items() if g in r) / norms
    return 10 * gauss * total / 4

def cider(
    hypotheses: list[list[str]],         # words of each caption
    references: list[list[list[str]]],   # words of its references
) -> float:                              # 0 to 10
    "Mean CIDEr-D (Vedantam et al. 2015). Frequencies come from the references: a single image scores zero."
    frequencies, images = document_frequencies(references), len(references)
    scores = [sum(cider_pair(h, r, frequencies, images) for r in rs) / len(rs)
              for h, rs in zip(hypotheses, references)]
    return sum(scores) / len(scores)

def quick_scores(hypotheses: dict[str, str], references: dict[str, list[str]]) -> dict[str, float]:
    "BLEU-1 to BLEU-4 and CIDEr, ×100, on this book's tokens: fast enough to run after every epoch."
    check_captions(hypotheses, references)
    words = [tokenize(h) for h in hypotheses.values()]
    given = [[tokenize(r) for r in references[k]] for k in hypotheses]
    scores = {f'BLEU-{n}': 100 * b for n, b in enumerate(bleu(words, given), 1)}
    return {**scores, 'CIDEr': 100 * cider(words, given)}

def check_captions(hypotheses: dict[str, str], references: dict[str, list[str]]):
    "Raises `InputError` when there is nothing to score, or nothing to score it against."
    if not hypotheses: raise InputError("There is no caption to score.")
    missing = [key for key in hypotheses if not references.get(key)]
    if missing: raise InputError(f"{len(missing)} captions have no references, first {missing[0]!r}.")

@contextmanager
def java_english():
    "METEOR's jar reads and writes numbers in the machine's language; this makes it English."
    before = os.environ.get('JAVA_TOOL_OPTIONS')
    os.environ['JAVA_TOOL_OPTIONS'] = f"{before or ''} -Duser.language=en -Duser.country=US".strip()
    try: yield
    finally:
        if before is None: del os.environ['JAVA_TOOL_OPTIONS']
        else: os.environ['JAVA_TOOL_OPTIONS'] = before

def has_java() -> bool:
    "Whether the PTB tokenizer and METEOR can run."
    return shutil.which('java') is not None

def ptb_tokenize(captions: dict[str, list[str]]) -> dict[str, list[str]]:
    "The tokenizer of the field's evaluation (Stanford's, in Java), as coco-caption calls it."
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer
    return PTBTokenizer().tokenize({k: [{'caption': c} for c in cs] for k, cs in captions.items()})

def book_tokenize(captions: dict[str, list[str]]) -> dict[str, list[str]]:
    "The same with this book's tokenizer, where there is no Java."
    return {k: [' '.join(tokenize(c)) for c in cs] for k, cs in captions.items()}

def import_reference():
    "The reference implementation, or a sentence that says how to get it."
    try: import pycocoevalcap
    except ImportError: raise InputError("The official metrics need pycocoevalcap: pip install 'showattend[metrics]'") from None

def reference_scorers() -> dict:
    "The reference implementation's scorers, by the names of their scores. METEOR only where there is Java."
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge
    scorers = {('BLEU-1', 'BLEU-2', 'BLEU-3', 'BLEU-4'): Bleu(4), ('ROUGE-L',): Rouge(), ('CIDEr',): Cider()}
    if not has_java(): return scorers
    from pycocoevalcap.meteor.meteor import Meteor
    return {**scorers, ('METEOR',): Meteor()}

def evaluate_captions(
    hypotheses: dict[str, str],         # one caption an image
    references: dict[str, list[str]],   # what people said of it, raw
) -> dict:                              # scores ×100, and 'tokenizer': which one was used
    "BLEU-1…4, METEOR, ROUGE-L and CIDEr by the reference implementation (pycocoevalcap)."
    check_captions(hypotheses, references)
    import_reference()
    split = ptb_tokenize if has_java() else book_tokenize
    said = split({k: [h] for k, h in hypotheses.items()})
    given = split({k: references[k] for k in hypotheses})
    scores = {}
    with java_english(), redirect_stdout(None):        # the reference prints as it goes
        for names, scorer in reference_scorers().items():
            value, _ = scorer.compute_score(given, said)
            scores |= zip(names, [100 * float(v) for v in (value if len(names) > 1 else [value])])
    return {**scores, 'tokenizer': 'PTB' if has_java() else "showattend's (no Java found)"}
