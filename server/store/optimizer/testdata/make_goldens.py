#!/usr/bin/env python3
"""Writes goldens.json: ten steps of each torch.optim optimizer, with and without weight decay.

Usage: python3 make_goldens.py > goldens.json      (needs torch; foreach and fused paths are off)

Each case: the spec's coefficients, the initial weights, and per step the gradient, the learning rate and the weights after
it. Numbers are fp32 values written with nine digits, which is exact.
"""
import json

import torch

ELEMENTS = 5
STEPS = 10
CASES = {
    "sgd": (torch.optim.SGD, {}, {}),
    "momentum": (torch.optim.SGD, {"momentum": 0.9}, {"momentum": 0.9}),
    "nesterov": (torch.optim.SGD, {"momentum": 0.9, "nesterov": True}, {"momentum": 0.9}),
    "adagrad": (torch.optim.Adagrad, {"eps": 1e-10}, {"epsilon": 1e-10}),
    "rmsprop": (torch.optim.RMSprop, {"alpha": 0.99, "eps": 1e-8}, {"rho": 0.99, "epsilon": 1e-8}),
    "rmsprop_momentum": (
        torch.optim.RMSprop,
        {"alpha": 0.9, "eps": 1e-3, "momentum": 0.8},
        {"rho": 0.9, "epsilon": 1e-3, "momentum": 0.8},
    ),
    "adam": (
        torch.optim.Adam,
        {"betas": (0.9, 0.999), "eps": 1e-8},
        {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8},
    ),
    "adam_low_beta": (
        torch.optim.Adam,
        {"betas": (0.3, 0.9), "eps": 1e-2},
        {"beta1": 0.3, "beta2": 0.9, "epsilon": 1e-2},
    ),
    "adamw": (
        torch.optim.AdamW,
        {"betas": (0.9, 0.95), "eps": 1e-8},
        {"beta1": 0.9, "beta2": 0.95, "epsilon": 1e-8},
    ),
}


def numbers(tensor):
    return [float("%.9g" % value) for value in tensor.tolist()]


def run(name, decay):
    make, arguments, spec = CASES[name]
    generator = torch.Generator().manual_seed(len(name) * 100 + int(decay * 1000))
    weights = torch.nn.Parameter(torch.randn(ELEMENTS, generator=generator))
    case = {"name": name, "weight_decay": decay, **spec, "initial": numbers(weights), "steps": []}
    optimizer = make([weights], lr=0.1, weight_decay=decay, foreach=False, **arguments)
    for step in range(STEPS):
        rate = 0.05 * (1 + step % 3)
        for group in optimizer.param_groups:
            group["lr"] = rate
        weights.grad = torch.randn(ELEMENTS, generator=generator)
        gradient = numbers(weights.grad)
        optimizer.step()
        case["steps"].append({"rate": rate, "gradient": gradient, "weights": numbers(weights)})
    return case


cases = [run(name, decay) for name in CASES for decay in (0.0, 0.1)]
print("[\n" + ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases) + "\n]")
