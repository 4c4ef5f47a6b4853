"""The page of accepted files is what the code that reads them says."""

from __future__ import annotations

from tools.accepted_files import PAGE, make_page

from twelvefold.datasets import caption_set_names, task_names


def test_the_page_of_accepted_files_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == make_page(), "run `python tools/accepted_files.py`"


def test_the_page_describes_every_dataset() -> None:
    page = make_page()
    for name in (*task_names(), *caption_set_names()):
        assert f"(`{name}`)\n\nFile" in page
