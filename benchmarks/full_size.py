"""Write the twelve datasets' official files at full size, in the publishers' exact formats, with random texts.

Records have every field of the original ones, including unused fields, at about their original length, so that a file
is about as large as the publisher's. Numbers of records are the publishers' (``twelvefold datasets``); numbers of
referenced records (COCO's annotations for RefCOCO, Visual7W's boxes) are those of the original files.
"""

from __future__ import annotations

import gzip
import pickle
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from twelvefold.data.tokenizer import Tokenizer

Records = Iterator[Any]
encode = msgspec.json.encode


class Words:
    """Makes texts of words from the shipped word pieces, whose frequencies follow Zipf's law."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        tokenizer = Tokenizer()
        pieces = [tokenizer.decode([number]) for number in range(2000, 12_000)]
        self.words = np.array([piece for piece in pieces if piece.isalpha()], dtype=object)
        frequency = 1 / np.arange(1, len(self.words) + 1)
        self.cumulative = np.cumsum(frequency / frequency.sum())

    def texts(self, mean: float) -> Iterator[str]:
        """Yield texts forever, with ``mean`` words each on average and at least two."""
        while True:
            lengths = 2 + self.rng.poisson(mean - 2, 4096)
            sampled = self.words[np.searchsorted(self.cumulative, self.rng.random(lengths.sum()))]
            for words in np.split(sampled, np.cumsum(lengths)[:-1]):
                yield " ".join(words)


def write_list(path: Path, name: str, records: Records, **head: Any) -> None:
    """Write an object that holds ``head`` and a list at key ``name``, or only the list if ``name`` is empty."""
    start = encode(head)[:-1] + (b", " if head else b"") + encode(name) + b": [" if name else b"["
    _write(path, start, map(encode, records), b"]}" if name else b"]")


def write_mapping(path: Path, records: Iterator[tuple[str, Any]]) -> None:
    """Write an object with a record at each key."""
    _write(path, b"{", (encode(key) + b": " + encode(value) for key, value in records), b"}")


def write_lines(path: Path, records: Records) -> None:
    """Write a record on each line, gzipped if the file name ends in ``.gz``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wb", 6) if path.suffix == ".gz" else path.open("wb") as file:
        file.writelines(encode(record) + b"\n" for record in records)


def _write(path: Path, start: bytes, records: Iterator[bytes], end: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(start)
        for n, record in enumerate(records):
            file.write(record if n == 0 else b", " + record)
        file.write(end)


def vqav2(root: Path, words: Words, fraction: float) -> None:
    answers = [text.lower() for text, _ in zip(words.texts(2), range(20_000), strict=False)]
    for first, part, count in (
        (1, "train2014", 443_757),
        (200_000, "val2014", 214_354),
        (400_000, "test2015", 447_793),
    ):
        head = {"info": {"description": "synthetic"}, "data_subtype": part, "license": {"name": "none"}}
        ids = [1000 * (first + n // 5) + n % 5 for n in range(int(count * fraction))]
        questions = zip(ids, words.texts(6.2), strict=False)
        path = root / "vqav2" / f"v2_OpenEnded_mscoco_{part}_questions.json"
        write_list(
            path,
            "questions",
            ({"image_id": i // 1000, "question": f"{t}?", "question_id": i} for i, t in questions),
            **head,
        )
        if part == "test2015":
            continue
        rows = np.minimum(words.rng.geometric(0.002, (len(ids), 3)) - 1, len(answers) - 1).tolist()
        write_list(
            root / "vqav2" / f"v2_mscoco_{part}_annotations.json",
            "annotations",
            (_annotation(i, [answers[n] for n in row]) for i, row in zip(ids, rows, strict=True)),
            **head,
        )


def _annotation(id_: int, top: list[str]) -> dict[str, Any]:
    texts = [*[top[0]] * 6, top[1], top[1], top[1], top[2]]
    answers = [{"answer": a, "answer_confidence": "maybe", "answer_id": n} for n, a in enumerate(texts, 1)]
    return {"question_type": "what is the", "multiple_choice_answer": top[0], "answers": answers} | {
        "image_id": id_ // 1000,
        "answer_type": "other",
        "question_id": id_,
    }


def vgqa(root: Path, words: Words, fraction: float) -> None:
    questions, answers = words.texts(5.7), words.texts(2)
    num_images, questions_per_image = int(107_900 * fraction), 1_445_322 / 107_900

    def question_range(n: int) -> range:
        return range(int(n * questions_per_image), int((n + 1) * questions_per_image))

    def question(id_: int, image: int) -> dict[str, Any]:
        objects = [{"object_id": id_, "synset_name": "man.n.01", "name": "man", "x": 1, "y": 2, "h": 30, "w": 40}]
        objects = [{**objects[0], "entity_idx_start": 8, "entity_idx_end": 11, "entity_name": "man"}] * (id_ % 3)
        return {"a_objects": objects[:1], "question": f"What {next(questions)}?", "image_id": image, "qa_id": id_} | {
            "answer": f"{next(answers).capitalize()}.",
            "q_objects": objects,
        }

    write_list(
        root / "vg" / "question_answers.json",
        "",
        ({"id": n + 1, "qas": [question(986_000 + i, n + 1) for i in question_range(n)]} for n in range(num_images)),
    )


def gqa(root: Path, words: Words, fraction: float) -> None:
    texts, answers = words.texts(8.5), [t for t, _ in zip(words.texts(2), range(1800), strict=False)]

    def questions(part: str, count: int, first: int) -> Iterator[tuple[str, Any]]:
        for n in range(int(count * fraction)):
            id_, image = f"{first + n:08}", f"n{n // 32}" if part == "testdev" else str(n // 13 + 1)
            yield id_, _program(id_, image, f"Is {next(texts)}?", answers[n % len(answers)])

    for part, count, first in (("train", 943_000, 0), ("val", 132_062, 30_000_000), ("testdev", 12_578, 40_000_000)):
        write_mapping(root / "gqa" / f"{part}_balanced_questions.json", questions(part, count, first))
    write_mapping(root / "gqa" / "testdev_all_questions.json", questions("testdev", 172_174, 40_000_000))


def _program(id_: str, image: str, text: str, answer: str) -> dict[str, Any]:
    steps = [
        {"operation": operation, "dependencies": [n - 1] if n else [], "argument": f"{answer} ({id_})"}
        for n, operation in enumerate(("select", "relate", "query"))
    ]
    return {"semantic": steps, "entailed": [f"{int(id_) + k:08}" for k in range(1, 4)], "equivalent": [id_]} | {
        "question": text,
        "imageId": image,
        "isBalanced": True,
        "groups": {"global": "furniture", "local": "06-table_color"},
        "answer": answer,
        "semanticStr": "; ".join(f"{step['operation']}: {step['argument']} [0]" for step in steps),
        "annotations": {"answer": {"0": id_}, "question": {"4": id_, "7": id_}, "fullAnswer": {"1": id_}},
        "types": {"detailed": "relO", "semantic": "rel", "structural": "query"},
        "fullAnswer": f"The {text[3:-1]} is {answer}.",
    }


def coco(root: Path, words: Words, fraction: float) -> None:
    splits = (("train", 82_783), ("restval", 30_504), ("val", 5_000), ("test", 5_000))
    _karpathy(root / "coco" / "dataset_coco.json", words, fraction, splits, has_ids=True)
    texts = words.texts(10.5)
    for part, images, captions, first in (("train", 82_783, 414_113, 0), ("val", 40_504, 202_654, 500_000)):
        image_records = [
            {"license": 5, "file_name": f"COCO_{part}2014_{n:012}.jpg", "coco_url": "", "height": 360, "width": 640}
            | {"date_captured": "2013-11-14 16:28:13", "flickr_url": "", "id": n}
            for n in range(int(images * fraction))
        ]
        caption_records = (
            {"image_id": n % len(image_records), "id": first + n, "caption": next(texts)}
            for n in range(int(captions * fraction))
        )
        write_list(
            root / "coco" / f"captions_{part}2014.json", "annotations", caption_records, images=image_records, info={}
        )


def flickr30k(root: Path, words: Words, fraction: float) -> None:
    splits = (("train", 29_000), ("val", 1_014), ("test", 1_000))
    _karpathy(root / "flickr30k" / "dataset_flickr30k.json", words, fraction, splits, has_ids=False)


def _karpathy(path: Path, words: Words, fraction: float, splits: tuple[tuple[str, int], ...], has_ids: bool) -> None:
    texts, names = words.texts(10.5), [name for name, count in splits for _ in range(int(count * fraction))]

    def image(n: int, split: str) -> dict[str, Any]:
        raw = [next(texts) for _ in range(5)]
        sentences = [
            {"tokens": text.split(), "raw": f"A {text} .", "imgid": n, "sentid": 5 * n + k}
            for k, text in enumerate(raw)
        ]
        id_fields = {"filepath": "val2014", "cocoid": n} if has_ids else {}
        return {"sentids": [5 * n + k for k in range(5)], "imgid": n, "sentences": sentences, "split": split} | {
            "filename": f"{1_000_000 + n}.jpg",
            **id_fields,
        }

    write_list(path, "images", (image(n, split) for n, split in enumerate(names)), dataset="synthetic")


def refcoco(root: Path, words: Words, fraction: float) -> None:
    splits = {"train": (42_404, 120_624), "val": (3_811, 10_834), "testA": (1_975, 5_657), "testB": (1_810, 5_095)}
    _refer(root, words, fraction, "refcoco", "unc", splits, 3.5, (19_994, 196_771))


def refcoco_plus(root: Path, words: Words, fraction: float) -> None:
    splits = {"train": (42_278, 120_191), "val": (3_805, 10_758), "testA": (1_975, 5_726), "testB": (1_798, 4_889)}
    _refer(root, words, fraction, "refcoco+", "unc", splits, 3.5, (19_992, 196_737))


def refcocog(root: Path, words: Words, fraction: float) -> None:
    splits = {"train": (42_226, 80_512), "val": (2_573, 4_896), "test": (5_023, 9_602)}
    _refer(root, words, fraction, "refcocog", "umd", splits, 8.4, (25_799, 208_960))


def _refer(
    root: Path,
    words: Words,
    fraction: float,
    name: str,
    split_by: str,
    splits: Mapping[str, tuple[int, int]],
    length: float,
    instances: tuple[int, int],
) -> None:
    texts, refs = words.texts(length), list[dict[str, Any]]()
    images, annotations = (int(count * fraction) for count in instances)
    num_sentences = 0
    for split, counts in splits.items():
        objects, sentences = (int(count * fraction) for count in counts)
        for n in range(objects):
            new_texts = [next(texts) for _ in range(sentences * (n + 1) // objects - sentences * n // objects)]
            records = [
                {"tokens": t.split(), "raw": t, "sent": t, "sent_id": num_sentences + k}
                for k, t in enumerate(new_texts)
            ]
            num_sentences, id_ = num_sentences + len(new_texts), len(refs)
            refs.append(
                {"ref_id": id_, "ann_id": id_, "image_id": id_ % images, "category_id": 1, "split": split}
                | {"file_name": "COCO_train2014_000000581857_16.jpg", "sentences": records}
                | {"sent_ids": [record["sent_id"] for record in records]}
            )
    (root / name).mkdir(parents=True, exist_ok=True)
    (root / name / f"refs({split_by}).p").write_bytes(pickle.dumps(refs, protocol=2))
    outline = [[round(1.37 * n, 2) for n in range(56)]]
    annotation_records = (
        {"segmentation": outline, "area": 1197.14, "iscrowd": 0, "image_id": n % images, "category_id": 1, "id": n}
        | {"bbox": [10.5, 20.25, 100.5, 60.25]}
        for n in range(annotations)
    )
    sizes = [
        {"license": 1, "file_name": f"COCO_train2014_{n:012}.jpg", "coco_url": "", "height": 480, "width": 640, "id": n}
        for n in range(images)
    ]
    write_list(root / name / "instances.json", "annotations", annotation_records, images=sizes, info={}, categories=[])


def visual7w(root: Path, words: Words, fraction: float) -> None:
    texts = words.texts(6.9)
    boxes = [
        {"box_id": n, "name": "man", "height": 120, "width": 80, "y": n % 200 - 1, "x": n % 300, "image_id": n // 12}
        for n in range(int(561_459 * fraction))
    ]

    def images() -> Records:
        qa, image = 0, 0
        for split, count in (("train", 93_813), ("val", 36_990), ("test", 57_265)):
            end = qa + int(count * fraction)
            while qa < end:
                image += 1
                question_ids = range(qa, min(qa + 8, end))
                yield {"image_id": image, "filename": f"v7w_{image}.jpg", "split": split} | {
                    "qa_pairs": [_pointing(n, image, next(texts), len(boxes)) for n in question_ids]
                }
                qa = question_ids.stop

    write_list(root / "visual7w" / "dataset_v7w_pointing.json", "images", images(), dataset="v7w", boxes=boxes)


def _pointing(id_: int, image: int, text: str, boxes: int) -> dict[str, Any]:
    first, *others = [(3 * id_ + k) % boxes for k in range(4)]
    return {"qa_id": id_, "image_id": image, "question": f"Which {text}?", "answer": first, "type": "which"} | {
        "multiple_choices": others
    }


def guesswhat(root: Path, words: Words, fraction: float) -> None:
    texts, outline = words.texts(5.0), [[round(1.37 * n, 2) for n in range(56)]]

    def game(id_: int) -> dict[str, Any]:
        objects = [
            {"category": "boat", "area": 10.5, "category_id": 9, "id": 180_700 + n, "segment": outline}
            | {"bbox": [10.5 * n, 20.0, 100.25, 36.5]}
            for n in range(3 + id_ % 11)
        ]
        turns = [{"id": n, "question": f"is it {next(texts)}?", "answer": "No"} for n in range(2 + id_ % 7)]
        image = {"file_name": "x.jpg", "coco_url": "", "height": 426, "width": 640, "flickr_url": "", "id": id_ // 2}
        return {"status": "success", "qas": turns, "questioner_id": 1, "timestamp": "2016-07-08", "id": id_} | {
            "image": image,
            "object_id": 180_701,
            "objects": objects,
        }

    first = 0
    for part, count in (("train", 113_221), ("valid", 23_739), ("test", 23_785)):
        games = range(first, first + int(count * fraction))
        write_lines(root / "guesswhat" / f"guesswhat.{part}.jsonl.gz", map(game, games))
        first = games.stop


def nlvr2(root: Path, words: Words, fraction: float) -> None:
    texts = words.texts(14.8)
    for part, count in (("train", 86_373), ("dev", 6_982), ("test1", 6_967)):
        statements = (
            {
                "identifier": f"{part}-{n // 6}-{n % 3}-{n % 6 // 3}",
                "sentence": next(texts),
                "label": ("True", "False")[n % 2],
            }
            | {
                "synset": "boat",
                "query": f"boats{n}",
                "writer": "61",
                "validation": {"112": "True"},
                "directory": n % 100,
            }
            | {f"{side}_url": f"https://example.org/a/picture/of/something/{n}.jpg" for side in ("left", "right")}
            for n in range(int(count * fraction))
        )
        write_lines(root / "nlvr2" / f"{part}.json", statements)


def snli_ve(root: Path, words: Words, fraction: float) -> None:
    texts, gold = words.texts(7.4), ("contradiction", "neutral", "entailment")
    for part, count in (("train", 529_527), ("dev", 17_858), ("test", 17_901)):
        hypotheses = (
            {"Flikr30kID": f"{1_000_000 + n // 18}.jpg", "gold_label": gold[n % 3], "pairID": f"{part}{n}r1c"}
            | {
                "captionID": f"{n}#2",
                "sentence1": "A man in a blue shirt stands on a ladder.",
                "sentence2": next(texts),
            }
            | {f"sentence{k}_parse": "(ROOT (S (NP (DT A) (NN man)) (VP (VBZ stands))))" for k in (1, 2)}
            | {f"sentence{k}_binary_parse": "( ( A man ) ( stands . ) )" for k in (1, 2)}
            | {"annotator_labels": [gold[n % 3]] * 5}
            for n in range(int(count * fraction))
        )
        write_lines(root / "snli_ve" / f"snli_ve_{part}.jsonl", hypotheses)


WRITERS: Mapping[str, Callable[[Path, Words, float], None]] = {
    "vqav2": vqav2,
    "gqa": gqa,
    "vgqa": vgqa,
    "coco": coco,
    "flickr30k": flickr30k,
    "refcoco": refcoco,
    "refcoco+": refcoco_plus,
    "refcocog": refcocog,
    "visual7w": visual7w,
    "guesswhat": guesswhat,
    "nlvr2": nlvr2,
    "snli_ve": snli_ve,
}
"""By task, in the paper's order; each takes the data folder, texts, and the fraction of the full size."""
