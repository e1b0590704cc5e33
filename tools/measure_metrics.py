"""Records of data/results/metrics.  `python tools/measure_metrics.py tokenizer|speed|human|correlation`

Needs SHOWATTEND_DATA (flickr8k and coco/annotations), pycocoevalcap and Java."""
import json, sys, time
from collections import Counter
from contextlib import redirect_stdout
from pathlib import Path
import numpy as np
from showattend.captions import data_folder, read_karpathy
from showattend.captions import find_text, read_tokens
from showattend.comparison import compare_systems, kendall_tau, read_judgements
from showattend.metrics import bleu, tokenize
from showattend.reproduce import save_record
from showattend.scoring import (evaluate_captions, java_tokenize, meteor_scores, plain_cider, ptb_tokenize, text_scores,
                                tokenize_pairs)

RESULTS = Path(__file__).resolve().parent.parent/'data/results/metrics'
DIGITS = 4

def flickr8k(): return read_karpathy(data_folder()/'flickr8k')

def coco():
    "Captions of COCO's validation set of 2017, by image."
    found = {}
    for a in json.loads((data_folder()/'coco/annotations/captions_val2017.json').read_text())['annotations']:
        found.setdefault(str(a['image_id']), []).append(a['caption'])
    return found

def timed(function, *args, clock=time.process_time, **options):
    "What a function gives, and its seconds: of this process's one thread, unless another clock is asked for."
    start = clock()
    return function(*args, **options), round(clock() - start, 2)

def one_against_others(captions, k=0):
    "A person's caption of each image, and the other four."
    return ({i: cs[k] for i, cs in captions.items()}, {i: cs[:k] + cs[k + 1:] for i, cs in captions.items()})

def rounded(scores): return {k: round(v, DIGITS) for k, v in scores.items() if isinstance(v, float)}

def tokenizer():
    "Our tokenizer against Java's: every caption, and what it means for the scores."
    sets = {'Flickr8k': [c for im in flickr8k() for c in im.captions], 'COCO': [c for cs in coco().values() for c in cs]}
    record, differences, scores = {}, [], {}
    for name, captions in sets.items():
        ours, seconds = timed(ptb_tokenize, captions)
        theirs, java = timed(java_tokenize, captions, clock=time.perf_counter)
        unlike = [(a.split(), b.split()) for a, b in zip(ours, theirs) if a != b]
        differences += [dict(set=name, words=' '.join((Counter(a) - Counter(b)).elements()),
                             java=' '.join((Counter(b) - Counter(a)).elements())) for a, b in unlike]
        record[name] = dict(captions=len(captions), differ=len(unlike), seconds_python=seconds, seconds_java=java)
    for name, captions in {'Flickr8k test': {im.id: im.captions for im in flickr8k() if im.split == 'test'}, 'COCO': coco()}.items():
        pair = one_against_others(captions)
        with redirect_stdout(None): both = [text_scores(*tokenize_pairs(*pair, t))[0] for t in (java_tokenize, ptb_tokenize)]
        scores[name] = {k: dict(java=round(100 * float(both[0][k]), DIGITS), python=round(100 * float(both[1][k]), DIGITS))
                        for k in both[0]}
    return dict(sets=record, differences=differences, scores_one_caption_against_the_others=scores)

def speed():
    "A first caption of each COCO image against all of them."
    captions = coco()
    said = {k: cs[0] for k, cs in captions.items()}
    pair, tokens = timed(tokenize_pairs, said, captions, ptb_tokenize)
    seconds = {'words (Python)': tokens, 'BLEU, ROUGE-L, CIDEr': timed(text_scores, *pair)[1],
               'CIDEr-plain': timed(plain_cider, *pair)[1]}
    seconds |= {'evaluate_captions': timed(evaluate_captions, said, captions, java=False)[1],
                'METEOR (Java)': timed(meteor_scores, *pair, clock=time.perf_counter)[1]}
    return dict(images=len(said), references=sum(map(len, captions.values())), seconds=seconds)

def human():
    "One caption against the other four, for each of the five, and the recorded model against the same four."
    test = {im.id: im.captions for im in flickr8k() if im.split == 'test'}
    record = json.loads((RESULTS.parent/'flickr8k/soft/test.json').read_text())['captions']['5']
    rows = [dict(person=k, **rounded(evaluate_captions(*one_against_others(test, k)))) for k in range(5)]
    words = [[tokenize(c) for c in cs] for cs in test.values()]
    plain = [round(100 * b, DIGITS) for b in bleu([w[0] for w in words], [w[1:] for w in words])]
    model = dict(four_references=rounded(evaluate_captions(record, one_against_others(test)[1])),
                 five_references=rounded(evaluate_captions(record, test)))
    tested = compare_systems(one_against_others(test)[0], record, one_against_others(test)[1])
    return dict(images=len(test), split='test', people=rows, bleu_on_punctuation_free_tokens=plain, model=model,
                model_captions='data/results/flickr8k/soft/test.json, beam 5',
                person_against_model={k: vars(c) for k, c in tested.items()})

def correlations(pairs, people, variant):
    "Kendall's tau of each metric with the judgements, each judgement for itself."
    said, given = {str(i): p.caption for i, p in enumerate(pairs)}, {str(i): people[p.image] for i, p in enumerate(pairs)}
    tokens = tokenize_pairs(said, given, java_tokenize)
    columns = text_scores(*tokens)[1] | {'METEOR': meteor_scores(*tokens)[1], 'length': [len(s.split()) for [s] in tokens[0].values()]}
    counts, marks = [len(p.ratings) for p in pairs], [r for p in pairs for r in p.ratings]
    return {k: round(100 * kendall_tau(np.repeat(np.asarray(v, float), counts), marks, variant), DIGITS) for k, v in columns.items()}

PUBLISHED = {'BLEU-1': 32.3, 'BLEU-4': 30.8, 'ROUGE-L': 32.3, 'METEOR': 41.8, 'CIDEr': 43.9}

def correlation():
    "Metrics against the judgements that come with Flickr8k."
    folder = data_folder()/'flickr8k'
    people, experts, crowd = read_tokens(find_text(folder, 'Flickr8k.token.txt')), read_judgements(folder), read_judgements(folder, crowd=True)
    crowd = [p for p in crowd if p.image in people]
    return dict(captions=len(experts), judgements=sum(len(p.ratings) for p in experts), measure='tau c, x100, each judgement for itself',
                experts=correlations(experts, people, 'c'), published=PUBLISHED,
                published_source='Hessel et al. 2021 (CLIPScore), table 1, Flickr8k-Expert',
                crowd_captions=len(crowd), crowd_measure='tau b, x100, against the share of yes', crowd=correlations(crowd, people, 'b'))

if __name__ == '__main__':
    makers = dict(tokenizer=tokenizer, speed=speed, human=human, correlation=correlation)
    if len(sys.argv) != 2 or sys.argv[1] not in makers: sys.exit(__doc__)
    name = sys.argv[1]
    save_record(RESULTS/f'{name}.json', dict(command=f'python tools/measure_metrics.py {name}', **makers[name]()))
    print(f'wrote {RESULTS/name}.json')
