"""Image names in feature files are converted to image keys, or refused with advice."""

from __future__ import annotations

import pytest

from twelvefold.features.formats.image_names import AmbiguousNameError, check_source, parse_image_key
from twelvefold.features.formats.record import RecordError
from twelvefold.schema import TwelvefoldError


@pytest.mark.parametrize(
    ("name", "source", "key"),
    [
        ("COCO_val2014_000000391895", "", "coco/391895"),
        ("COCO_test2015_000000000001.jpg", "", "coco/1"),
        ("train2014/COCO_train2014_000000000009", "coco", "coco/9"),
        ("000000391895", "", "coco/391895"),
        ("391895", "coco", "coco/391895"),
        ("2318324", "vg", "vg/2318324"),
        ("n161313", "vg", "gqa/n161313"),
        ("VG_100K_2/2318324.jpg.npy", "gqa", "vg/2318324"),
        ("v7w_2318324", "", "vg/2318324"),
        ("2318324", "visual7w", "vg/2318324"),
        ("n161313", "", "gqa/n161313"),
        ("2318324", "gqa", "vg/2318324"),
        ("1000092795.jpg", "flickr30k", "flickr30k/1000092795"),
        ("1000092795", "flickr30k", "flickr30k/1000092795"),
        ("dev-850-0-img0", "", "nlvr2/dev-850-0-img0"),
        ("test1-3-1-img1.png", "nlvr2", "nlvr2/test1-3-1-img1"),
        ("cats/rex.jpg", "pets", "pets/cats/rex"),
    ],
)
def test_names_are_converted_to_keys(name: str, source: str, key: str) -> None:
    assert str(parse_image_key(name, source)) == key


@pytest.mark.parametrize("name", ["391895", "1", "some/1000092795.npy"])
def test_plain_numbers_need_a_source(name: str) -> None:
    with pytest.raises(AmbiguousNameError, match="--source coco or --source vg or --source flickr30k"):
        parse_image_key(name)


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("COCO_val2014_000000391895", "vg"),
        ("v7w_5", "coco"),
        ("dog", ""),
        ("n1", "flickr30k"),
        ("²", "coco"),
        ("", ""),
        ("flickr30k-images/1000092795.jpg", "coco"),
        ("val2014/391895.jpg", "vg"),
    ],
)
def test_a_name_that_does_not_match_the_source_is_refused(name: str, source: str) -> None:
    with pytest.raises(RecordError, match="expected an image name like"):
        parse_image_key(name, source)


def test_a_misspelled_source_is_refused_and_a_new_one_accepted() -> None:
    with pytest.raises(TwelvefoldError, match="did you mean 'flickr30k'"):
        check_source("flickr")
    with pytest.raises(TwelvefoldError, match="no source 'a/b'"):
        check_source("a/b")
    assert check_source("pets") == "pets"
    assert check_source("") == ""
