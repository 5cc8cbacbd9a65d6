#!/usr/bin/env python3
"""Writes codec_goldens.json: the codecs of docs/formats.md, computed with numpy and ml_dtypes.

Usage: python3 make_codec_goldens.py > codec_goldens.json      (needs numpy, ml_dtypes)

Each case has an input and one entry for every time it is encoded, with the residual of the time before: the encoded
bytes and the SHA-256 of the little-endian fp32 bytes of what they decode to and of the residual afterwards. Inputs are
fp32 values given by their bits ("bits"), or generated ("elements", "seed"): with x = seed, then again and again
x = (1664525 x + 1013904223) mod 2^32, value i is ((x >> 8) - 2^23) * 2^-e, e = 20 + (x & 15), exact in fp32.
"""
import hashlib
import json

import ml_dtypes
import numpy as np

F32 = np.float32

SPECIAL_BITS = [
    0x00000000, 0x80000000, 0x00000001, 0x80000001, 0x007FFFFF, 0x00800000, 0x3F800000, 0xBF800000,
    0x3F808000, 0x3F818000, 0x3F808001, 0x3F807FFF, 0x3F801000, 0x3F803000, 0x3F801001, 0x3F800FFF,
    0x477FE000, 0x477FEFFF, 0x477FF000, 0x47800000, 0x7F7FFFFF, 0xFF7FFFFF, 0x7F7F7FFF, 0x7F7F8000,
    0x33000000, 0x33000001, 0x32FFFFFF, 0x33800000, 0x33C00000, 0x387FC000, 0x387FE000, 0x38800000,
    0x7F800000, 0xFF800000, 0x7FC00000, 0xFFC00000, 0x7F7F8001, 0xFF7F8001, 0x40490FDB, 0xC0490FDB,
]


def generated(seed, elements):
    values = np.zeros(elements, F32)
    for i in range(elements):
        seed = (1664525 * seed + 1013904223) % 2**32
        values[i] = F32(((seed >> 8) - 2**23) * 2.0 ** -(20 + (seed & 15)))
    return values


def encode_bf16(x, _):
    coded = x.astype(ml_dtypes.bfloat16)
    return coded.tobytes(), coded.astype(F32)


def encode_fp16(x, _):
    with np.errstate(over="ignore", under="ignore"):
        coded = x.astype(np.float16)
    return coded.tobytes(), coded.astype(F32)


def encode_int8(x, _):
    coded, decoded = b"", []
    for block in (x[i : i + 256] for i in range(0, len(x), 256)):
        scale = np.max(np.abs(block)) / F32(127)
        inverse = F32(1) / scale if scale >= F32(2.0**-126) else F32(0)
        scale = scale if inverse != 0 else F32(0)
        q = np.rint(block * inverse).astype(np.int8)
        coded += scale.tobytes() + q.tobytes()
        decoded.append(q.astype(F32) * scale)
    return coded, np.concatenate(decoded)


def encode_onebit(x, _):
    coded, decoded = b"", []
    for block in (x[i : i + 2048] for i in range(0, len(x), 2048)):
        lanes = np.zeros(16, F32)
        for i in range(0, len(block), 16):
            row = np.abs(block[i : i + 16])
            lanes[: len(row)] += row
        for half in (8, 4, 2, 1):
            lanes[:half] += lanes[half : 2 * half]
        scale = lanes[0] / F32(len(block))
        negative = np.signbit(block)
        coded += scale.tobytes() + np.packbits(negative, bitorder="little").tobytes()
        decoded.append(np.where(negative, -scale, scale))
    return coded, np.concatenate(decoded)


def encode_topk(x, ratio):
    count = max(1, int(np.ceil(ratio * len(x))))
    order = np.lexsort((np.arange(len(x)), -np.abs(x)))[:count]
    places = np.sort(order[x[order] != 0])
    narrow = x[places].astype(ml_dtypes.bfloat16)
    coded = b""
    for begin in range(0, len(x), 65536):
        here = (places >= begin) & (places < begin + 65536)
        coded += np.uint32(np.count_nonzero(here)).tobytes()
        coded += (places[here] - begin).astype(np.uint16).tobytes() + narrow[here].tobytes()
    decoded = np.zeros_like(x)
    decoded[places] = narrow.astype(F32)
    return coded, decoded


def sha256(values):
    return hashlib.sha256(values.astype("<f4").tobytes()).hexdigest()


def rounds(encode, x, ratio, times):
    residual = np.zeros_like(x)
    result = []
    for _ in range(times):
        value = residual + x if times > 1 else x
        coded, decoded = encode(value, ratio)
        residual = value - decoded if times > 1 else residual
        result.append({"encoded": coded.hex(), "decoded": sha256(decoded), "residual": sha256(residual)})
    return result


def case(codec, encode, seed, elements, ratio=1.0, times=2):
    x = generated(seed, elements)
    return {"codec": codec, "ratio": ratio, "seed": seed, "elements": elements,
            "rounds": rounds(encode, x, ratio, times)}


def special(codec, encode):
    x = np.array(SPECIAL_BITS, np.uint32).view(F32)
    coded, _ = encode(x, 1)
    return {"codec": codec, "ratio": 1, "bits": SPECIAL_BITS, "rounds": [{"encoded": coded.hex()}]}


def main():
    cases = [
        special("CODEC_BF16", encode_bf16),
        special("CODEC_FP16", encode_fp16),
        case("CODEC_BF16", encode_bf16, 1, 37, times=1),
        case("CODEC_FP16", encode_fp16, 2, 37, times=1),
        case("CODEC_INT8", encode_int8, 3, 300),
        case("CODEC_INT8", encode_int8, 4, 1),
        case("CODEC_ONEBIT", encode_onebit, 5, 2100),
        case("CODEC_ONEBIT", encode_onebit, 6, 13),
        case("CODEC_TOPK", encode_topk, 7, 1000, ratio=0.01, times=3),
        case("CODEC_TOPK", encode_topk, 8, 70000, ratio=0.0005, times=3),
        case("CODEC_TOPK", encode_topk, 9, 20, ratio=1.0),
    ]
    print("[\n" + ",\n".join(json.dumps(c) for c in cases) + "\n]")


if __name__ == "__main__":
    main()
