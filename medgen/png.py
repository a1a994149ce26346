"""One grey picture as a PNG file: written with the synthetic mark, read in 8 or 16 bits; and JPEG, read alone."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

import numpy as np
from PIL import Image, ImageOps, PngImagePlugin

from medgen import provenance as origin
from medgen.errors import MedgenError
from medgen.image import ImageSet

MAX_PIXELS = 50_000_000
"""Largest picture read, PNG or DICOM: a full-field mammogram has 25 million pixels."""
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
JPEG_SIGNATURE = b"\xff\xd8\xff"
_GREY_ENOUGH = 16
"""Levels that the channels of a grey JPEG may lie apart."""
_XMP = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
 xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/"
 Iptc4xmpExt:DigitalSourceType={source} xmp:CreatorTool={tool}>
<dc:description><rdf:Alt><rdf:li xml:lang="x-default">{text}</rdf:li></rdf:Alt></dc:description>
</rdf:Description></rdf:RDF></x:xmpmeta>
<?xpacket end="r"?>"""


def png_bytes(picture: np.ndarray, provenance: dict[str, str]) -> bytes:
    """One picture as a lossless 8-bit grey PNG that says it is synthetic, in text chunks and XMP, not in its pixels.

    Args:
        picture: `(H, W)` uint8.
        provenance: `provenance.mark(...)`: keyword -> text, one chunk each.

    Raises:
        MedgenError: not a `(H, W)` uint8 picture.

    Source: PNG specification, 11.3.3 (text chunks); IPTC Photo Metadata Standard 2023.1, Digital Source Type.
    """
    if picture.ndim != 2 or picture.dtype != np.uint8:
        raise MedgenError(f"A PNG picture must be (H, W) uint8, not {picture.shape} {picture.dtype}.")
    info = PngImagePlugin.PngInfo()
    always = {"Synthetic": "true", "Disclaimer": origin.NOTICE, "Software": origin.software()}
    for keyword, text in {**always, **provenance}.items():
        info.add_text(keyword, text)  # tEXt, or iTXt where Latin-1 does not do
    text = f"{provenance.get('Disclaimer', origin.NOTICE)} {provenance.get('Model', '')}".strip()
    kind = provenance.get("Source type", origin.SOURCE_TYPE)
    xmp = _XMP.format(source=quoteattr(kind), tool=quoteattr(origin.software()), text=escape(text))
    info.add_itxt("XML:com.adobe.xmp", xmp)
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(buffer, format="PNG", pnginfo=info)
    return buffer.getvalue()


def read_png(path: Path, modality: str) -> ImageSet:
    """One grey PNG; a colour file whose three channels are equal counts as grey.

    Returns:
        `(1, 1, H, W)` float32 in "au". The window of 8 bits is 0..255; 16 bits rarely use their whole range, so theirs
        is percentiles 0.5 to 99.5.

    Raises:
        MedgenError: damaged, too large, in colour, or partly transparent.
    """
    with path.open("rb") as file:
        header = file.read(26)
    if len(header) < 26 or header[12:16] != b"IHDR":
        raise MedgenError(f"{path.name} is a damaged PNG; take a whole copy of it.")
    width, height, bits, colour = struct.unpack(">IIBB", header[16:])
    if width * height > MAX_PIXELS:
        raise MedgenError(f"{path.name} claims {width} x {height} pixels; at most {MAX_PIXELS:,}: scale it down.")
    if bits == 16 and colour != 0:
        raise MedgenError(f"{path.name} is a 16-bit colour PNG; save it as 16-bit grey.")  # Pillow would drop 8 bits
    try:
        with Image.open(path, formats=["PNG"]) as image:
            values = np.asarray(image if bits == 16 or image.mode == "L" else image.convert("RGBA"))
    except (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError) as error:
        raise MedgenError(f"{path.name} cannot be read as a PNG ({error}); take a whole copy of it.") from error
    if values.ndim == 3:  # (H, W, 4) -> (H, W)
        if (values[..., :1] != values[..., 1:3]).any() or (values[..., 3] != 255).any():
            raise MedgenError(f"{path.name} is in colour or transparent; save it as a grey PNG.")
        values = values[..., 0]
    window = percentile_window(values) if bits == 16 else (0.0, 255.0)
    return ImageSet(values.astype(np.float32)[None, None], modality, "au", window)


def read_jpeg(path: Path, modality: str) -> ImageSet:
    """One grey JPEG, turned as its EXIF orientation says; a colour file whose channels are nearly equal counts as grey.

    Returns:
        `(1, 1, H, W)` float32 in "au", with the window 0..255.

    Raises:
        MedgenError: damaged, too large or in colour.
    """
    try:
        with Image.open(path, formats=["JPEG"]) as image:
            if image.width * image.height > MAX_PIXELS:
                raise MedgenError(
                    f"{path.name} claims {image.width} x {image.height} pixels; at most {MAX_PIXELS:,}: scale it down."
                )
            if image.mode not in ("L", "RGB"):
                raise MedgenError(f"{path.name} is in colour ({image.mode}); save it as a grey PNG.")
            values = np.asarray(ImageOps.exif_transpose(image))
    except MedgenError:
        raise
    except (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError) as error:
        raise MedgenError(f"{path.name} cannot be read as a JPEG ({error}); take a whole copy of it.") from error
    if values.ndim == 3:  # (H, W, 3) -> (H, W)
        apart = np.ptp(values, axis=-1)  # uint8: the largest channel less the smallest
        # compression alone moves channels apart by a few levels, and a small coloured letter is no colour picture
        if np.percentile(apart, 99.0) > _GREY_ENOUGH:
            raise MedgenError(f"{path.name} is in colour; save it as a grey PNG.")
        values = values.mean(axis=-1, dtype=np.float32)
    return ImageSet(values.astype(np.float32)[None, None], modality, "au", (0.0, 255.0))


def percentile_window(values: np.ndarray) -> tuple[float, float]:
    """Percentiles 0.5 and 99.5 of `values`: robust against burned-in letters and dead pixels."""
    low, high = np.percentile(values, (0.5, 99.5)) if values.size else (0.0, 1.0)
    return (float(low), float(high)) if low < high else (float(low), float(low) + 1.0)
