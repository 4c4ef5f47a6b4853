"""Recognize the format of an image file by its first bytes: a file's name is often wrong or says nothing."""

from __future__ import annotations

import re
from functools import lru_cache
from importlib import import_module
from typing import NamedTuple

from PIL import features

from twelvefold.parsing.file_kind import describe_other_kind


class ImageFormat(NamedTuple):
    """A format. ``pillow``: Pillow's name of it; empty if it is never read."""

    name: str
    pillow: str = ""


JPEG, PNG, GIF, WEBP = (ImageFormat(name, name) for name in ("JPEG", "PNG", "GIF", "WEBP"))
BMP, TIFF, AVIF, QOI = (ImageFormat(name, name) for name in ("BMP", "TIFF", "AVIF", "QOI"))
PSD, ICO, ICNS, DDS = (ImageFormat(name, name) for name in ("PSD", "ICO", "ICNS", "DDS"))
HEIC, JPEG_2000, NETPBM = ImageFormat("HEIC", "HEIF"), ImageFormat("JPEG 2000", "JPEG2000"), ImageFormat("PNM", "PPM")
JPEG_XL, RAW, SVG, EPS = (ImageFormat(name) for name in ("JPEG XL", "camera raw", "SVG", "EPS"))

SIGNATURES: tuple[tuple[int, bytes, ImageFormat], ...] = (
    (0, b"\xff\xd8\xff", JPEG),
    (0, b"\x89PNG\r\n\x1a\n", PNG),
    (0, b"GIF87a", GIF),
    (0, b"GIF89a", GIF),
    (8, b"CR\x02\x00", RAW),
    (0, b"FUJIFILMCCD-RAW", RAW),
    (0, b"IIRO", RAW),
    (0, b"IIU\x00", RAW),
    (0, b"II*\x00", TIFF),
    (0, b"MM\x00*", TIFF),
    (0, b"II+\x00", TIFF),
    (0, b"MM\x00+", TIFF),
    (0, b"\x00\x00\x00\x0cjP  \r\n\x87\n", JPEG_2000),
    (0, b"\xff\x4f\xff\x51", JPEG_2000),
    (0, b"\x00\x00\x00\x0cJXL \r\n\x87\n", JPEG_XL),
    (0, b"\xff\x0a", JPEG_XL),
    (0, b"8BPS\x00", PSD),
    (0, b"qoif", QOI),
    (0, b"icns", ICNS),
    (0, b"DDS ", DDS),
    (0, b"%!PS-Adobe", EPS),
    (0, b"\xc5\xd0\xd3\xc6", EPS),
)
"""Offset, bytes and format. :func:`identify` adds formats that need more than a comparison of bytes."""

HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1", b"heif"}

NEVER_OPENED = frozenset(("EPS", "WMF", "BUFR", "GRIB", "HDF5", "MPEG"))
"""Formats of Pillow that run another program or read no pixels."""

IMAGE_SUFFIXES = frozenset(
    f".{name}"
    for names in (
        ("jpg", "jpeg", "jpe", "jfif", "png", "apng", "gif", "webp", "bmp", "dib", "tif", "tiff", "avif", "avifs"),
        ("heic", "heics", "heif", "heifs", "hif", "jp2", "j2k", "j2c", "jpc", "jpf", "jpx", "jxl", "ppm", "pgm"),
        ("pbm", "pnm", "pfm", "tga", "qoi", "psd", "ico", "icns", "dds", "pcx", "sgi", "svg", "svgz", "eps"),
        ("dng", "cr2", "cr3", "nef", "arw", "orf", "rw2", "raf"),
    )
    for name in names
)
"""Suffixes of image files. Content decides what a file is; a file with such a name and another content is reported, and
such a name in a list may be that of a file."""

PILLOW_FEATURES = {"AVIF": "avif", "WEBP": "webp", "JPEG2000": "jpg_2000"}
"""Formats that a build of Pillow may lack, with the name of the feature."""

_NETPBM = re.compile(rb"P[1-6]\s+(#[^\n]*\n\s*)*\d+\s+\d+")


def identify(head: bytes) -> ImageFormat | None:
    """Return the format of an image by its first ``parsing.file_kind.HEAD_BYTES`` bytes, None if it is no image."""
    for offset, magic, image_format in SIGNATURES:
        if head.startswith(magic, offset):
            return image_format
    if head[4:8] == b"ftyp":
        return _media_format(head)
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return WEBP
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in (12, 16, 40, 52, 56, 64, 108, 124):
        return BMP
    if _NETPBM.match(head):
        return NETPBM
    if head[:4] == b"\x00\x00\x01\x00" and 0 < head[4] < 64 and head[5] == 0 and head[9:10] == b"\x00":
        return ICO
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    is_svg = start.startswith((b"<svg", b"<!doctype svg")) or (start.startswith(b"<?xml") and b"<svg" in start)
    return SVG if is_svg else None


def _media_format(head: bytes) -> ImageFormat | None:
    """Return the format of an ISO media file by its brands: AVIF and HEIC images, or None for a video."""
    end = min(int.from_bytes(head[:4], "big"), len(head))
    brands = [head[8:12], *(head[start : start + 4] for start in range(16, end - 3, 4))]
    if brands[0] == b"crx ":
        return RAW
    if any(brand in (b"avif", b"avis") for brand in brands):
        return AVIF
    return HEIC if any(brand in HEIC_BRANDS for brand in brands) else None


@lru_cache
def unsupported(image_format: ImageFormat) -> str:
    """Return why images of a format cannot be read here and what to do, or an empty text if they can.

    HEIC is read with the optional package pillow-heif, which is loaded here.
    """
    if not image_format.pillow:
        return f"{image_format.name} images are not read; save it as JPEG or PNG"
    if image_format is HEIC:
        try:
            import_module("pillow_heif").register_heif_opener()
        except ImportError:
            return "a HEIC image needs pillow-heif (pip install 'twelvefold[heic]'), or save it as JPEG"
    feature = PILLOW_FEATURES.get(image_format.pillow)
    if feature is not None and not features.check(feature):
        return f"this build of Pillow reads no {image_format.name} images (pip install --upgrade pillow)"
    return ""


def describe(head: bytes) -> str:
    """Return what a file is that is not an image, by its first bytes."""
    return describe_other_kind(head) or f"not an image, but {_content(head)}"


def _content(head: bytes) -> str:
    if not head:
        return "an empty file"
    if is_archive(head):
        return "an archive"
    if head.startswith(b"%PDF"):
        return "a PDF file"
    if head[4:8] == b"ftyp" or head.startswith((b"\x1aE\xdf\xa3", b"\x00\x00\x01\xba")):
        return "a video"
    return "text" if _is_text(head) else "no known image format"


def is_archive(head: bytes) -> bool:
    """Return whether a file is an archive that may contain images: ZIP, TAR, 7z, RAR, or a compressed file."""
    if head.startswith(b"PK\x03\x04"):
        first_member = head[30 : 30 + int.from_bytes(head[26:28], "little")]
        return not first_member.endswith((b".npy", b".pkl", b"[Content_Types].xml", b"mimetype"))
    compressed = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd")
    return head.startswith((b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a", *compressed)) or head[257:262] == b"ustar"


def _is_text(head: bytes) -> bool:
    if b"\x00" in head:
        return head.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        head.decode()
    except UnicodeDecodeError as error:
        return error.start >= len(head) - 3  # a character that is cut
    return True
