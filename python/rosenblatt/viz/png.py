"""Arrays as PNG pictures, without any picture library.

Promises: the bytes depend only on the pixels; 8-bit grey or RGB, no interlacing, no metadata.
"""

from __future__ import annotations

import base64
import struct
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["data_uri", "encode", "grey", "signed", "to_rgb"]

Array = npt.NDArray[Any]
Pixels = npt.NDArray[np.uint8]

_NEGATIVE = np.array([33, 102, 172], np.float64)  # blue
_POSITIVE = np.array([178, 24, 43], np.float64)  # red
_ZERO = np.array([247, 247, 247], np.float64)


def encode(pixels: Pixels) -> bytes:
    """A PNG file of pixels [H,W] (grey) or [H,W,3] (RGB), uint8. Raises ValueError for anything else."""
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] != 3):
        raise ValueError(f"encode: expected uint8 [H,W] or [H,W,3], got {pixels.dtype} {list(pixels.shape)}")
    if pixels.size == 0:
        raise ValueError("encode: a PNG cannot be empty")
    rows, columns = int(pixels.shape[0]), int(pixels.shape[1])
    lines = np.zeros((rows, 1 + pixels[0].size), np.uint8)  # filter byte 0 (none), then the pixels
    lines[:, 1:] = pixels.reshape(rows, -1)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", columns, rows, 8, 0 if pixels.ndim == 2 else 2, 0, 0, 0)
    body = zlib.compress(lines.tobytes(), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def data_uri(pixels: Pixels) -> str:
    """`encode` as a `data:` address for an <img>."""
    return "data:image/png;base64," + base64.b64encode(encode(pixels)).decode("ascii")


def grey(values: Array) -> Pixels:
    """Values [H,W] in [0, 1] as grey levels; values outside are clipped, NaN is black."""
    pixels: Pixels = np.rint(np.clip(np.nan_to_num(values), 0, 1) * 255).astype(np.uint8)
    return pixels


def to_rgb(values: Array) -> Pixels:
    """An image [H,W,1] or [H,W,3] in [0, 1] as pixels [H,W] or [H,W,3]; other channel counts show their mean."""
    if values.shape[2] == 3:
        return grey(values)
    return grey(values.mean(axis=2))


def signed(values: Array, limit: float) -> Pixels:
    """Values [H,W] as colours [H,W,3]: blue at -limit, white at 0, red at +limit."""
    t = np.clip(np.nan_to_num(values) / (limit or 1.0), -1, 1)[..., None]  # [H,W,1]
    end = np.where(t < 0, _NEGATIVE, _POSITIVE)
    pixels: Pixels = np.rint(_ZERO + np.abs(t) * (end - _ZERO)).astype(np.uint8)
    return pixels
