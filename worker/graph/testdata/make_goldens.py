#!/usr/bin/env python3
"""Writes the golden values of //worker/graph/ops:ops_test and //worker/models:model_program_test with PyTorch.

  python3 worker/graph/testdata/make_goldens.py          (needs torch; rewrites the .txt files)

Inputs are not stored: wave(seed, n)[i] = sin(1.3 (i + 1) (0.7 + 0.11 seed)) * 0.3 on both sides. A file holds tensors, each
a line "name count" and a line of values.
"""
import math
import os

import torch
import torch.nn.functional as F

HERE = os.path.dirname(os.path.abspath(__file__))
MODELS = os.path.join(HERE, "..", "..", "models", "testdata")


def wave(seed, *shape):
    n = math.prod(shape)
    i = torch.arange(1, n + 1, dtype=torch.float64)
    return (torch.sin(1.3 * i * (0.7 + 0.11 * seed)) * 0.3).float().reshape(shape).double()


def write(path, tensors):
    with open(path, "w") as f:
        for name, t in tensors.items():
            v = t.detach().double().flatten().tolist()
            f.write(f"{name} {len(v)}\n" + " ".join(f"{x:.7g}" for x in v) + "\n")


def run(out, case, inputs, function):
    """y = function(inputs) and the gradients of sum(y * wave(9)) for all inputs."""
    inputs = [t.requires_grad_() for t in inputs]
    y = function(*inputs)
    (y * wave(9, *y.shape)).sum().backward()
    out[f"{case}.y"] = y
    for i, t in enumerate(inputs):
        out[f"{case}.d{i}"] = t.grad


def attention(qkv, examples, heads):
    width = qkv.shape[1] // 3
    q, k, v = (x.reshape(examples, -1, heads, width // heads).transpose(1, 2) for x in qkv.split(width, 1))
    y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    return y.transpose(1, 2).reshape(qkv.shape[0], width)


def cross_entropy(logits):
    rows, classes = logits.shape
    targets = torch.tensor([-1 if i % 4 == 3 else (5 * i + 2) % classes for i in range(rows)])
    return F.cross_entropy(logits, targets, ignore_index=-1).reshape(1)


def ops():
    out = {}
    for rows, a, b in [(1, 1, 1), (3, 5, 7), (17, 33, 31)]:
        run(out, f"linear_out_in.{rows}", [wave(1, rows, a), wave(2, b, a), wave(3, b)], F.linear)
        run(out, f"linear_in_out.{rows}", [wave(1, rows, a), wave(2, a, b), wave(3, b)], lambda x, w, c: x @ w + c)
        run(out, f"layer_norm.{rows}", [wave(1, rows, b) * 5, wave(2, b) + 1, wave(3, b)],
            lambda x, g, c: F.layer_norm(x, [b], g, c, 1e-5))
        run(out, f"cross_entropy.{rows}", [wave(1, rows, b + 2) * 20], cross_entropy)
        run(out, f"relu.{rows}", [wave(1, rows, b) * 20], F.relu)
        run(out, f"gelu_tanh.{rows}", [wave(1, rows, b) * 20], lambda x: F.gelu(x, approximate="tanh"))
        run(out, f"gelu_erf.{rows}", [wave(1, rows, b) * 20], F.gelu)
    for examples, sequence, heads, width in [(1, 1, 1, 1), (2, 7, 3, 4), (1, 67, 1, 5)]:
        run(out, f"attention.{sequence}", [wave(1, examples * sequence, 3 * heads * width) * 5],
            lambda x: attention(x, examples, heads))
    tokens = torch.tensor([(7 * i * i + 3 * i + 1) % 5 for i in range(6)])
    run(out, "embedding", [wave(1, 5, 7), wave(2, 3, 7)], lambda t, p: t[tokens] + p[torch.arange(6) % 3])
    write(os.path.join(HERE, "ops.txt"), out)


class Parameters:
    """Model order: weight p is wave(p), plus 1 for the scales of norms."""

    def __init__(self):
        self.all = {}

    def get(self, name, *shape):
        t = wave(len(self.all), *shape)
        if ".ln_" in f".{name}" and name.endswith("weight"):
            t = t + 1
        self.all[name] = t.requires_grad_()
        return self.all[name]


def finish(path, p, logits, targets):
    loss = F.cross_entropy(logits, targets, ignore_index=-1)
    loss.backward()
    out = {"loss": loss, "logits": logits}
    out.update({name: t.grad for name, t in p.all.items()})
    write(os.path.join(MODELS, path), out)


def gpt2(path, layers, heads, hidden, context, vocab, ffn, examples, gelu, ignore):
    p = Parameters()
    wte, wpe = p.get("wte.weight", vocab, hidden), p.get("wpe.weight", context, hidden)
    n = examples * context
    tokens = torch.tensor([(7 * i * i + 3 * i + 1) % vocab for i in range(n)])
    targets = torch.tensor([-1 if ignore and i % 4 == 3 else (5 * i + 2) % vocab for i in range(n)])

    def norm(x, name):
        return F.layer_norm(x, [hidden], p.get(name + ".weight", hidden), p.get(name + ".bias", hidden), 1e-5)

    def conv(x, name, a, b):
        return x @ p.get(name + ".weight", a, b) + p.get(name + ".bias", b)

    x = wte[tokens] + wpe[torch.arange(n) % context]
    for i in range(layers):
        y = conv(norm(x, f"h.{i}.ln_1"), f"h.{i}.attn.c_attn", hidden, 3 * hidden)
        x = x + conv(attention(y, examples, heads), f"h.{i}.attn.c_proj", hidden, hidden)
        y = conv(norm(x, f"h.{i}.ln_2"), f"h.{i}.mlp.c_fc", hidden, ffn)
        x = x + conv(F.gelu(y, approximate=gelu), f"h.{i}.mlp.c_proj", ffn, hidden)
    finish(path, p, norm(x, "ln_f") @ wte.T, targets)


def mlp(path, widths, examples, activation):
    p = Parameters()
    x = wave(20, examples, widths[0])
    for i, (a, b) in enumerate(zip(widths, widths[1:])):
        x = F.linear(x if i == 0 else activation(x), p.get(f"layers.{i}.weight", b, a), p.get(f"layers.{i}.bias", b))
    finish(path, p, x, torch.tensor([(5 * i + 2) % widths[-1] for i in range(examples)]))


if __name__ == "__main__":
    ops()
    gpt2("gpt2.txt", 2, 2, 16, 12, 11, 64, 2, "tanh", False)
    gpt2("gpt2_odd.txt", 1, 3, 15, 7, 13, 17, 3, "none", True)
    mlp("mlp.txt", [13, 17, 9, 5], 7, F.relu)
    mlp("mlp_gelu.txt", [4, 3, 3], 2, lambda x: F.gelu(x, approximate="tanh"))
