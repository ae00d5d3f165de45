# SPDX-License-Identifier: Apache-2.0
"""KL divergence of two next-token distributions and its gradient, by their formulas in plain Python floats (f64)."""
import math


def log_softmax(row):
    top = max(row)
    log_sum = top + math.log(math.fsum(math.exp(x - top) for x in row))
    return [x - log_sum for x in row]


def kl_per_token(reference_logits, logits):
    """KL(softmax(reference) || softmax(logits)) of each row, nats: sum_v p_v (log p_v - log q_v)."""
    result = []
    for reference, row in zip(reference_logits, logits):
        log_p, log_q = log_softmax(reference), log_softmax(row)
        result.append(math.fsum(math.exp(p) * (p - q) for p, q in zip(log_p, log_q)))
    return result


def mean_kl_gradient(reference_logits, logits):
    """d (mean over rows of KL) / d logits = (softmax(logits) - softmax(reference)) / rows."""
    rows = len(logits)
    return [[(math.exp(q) - math.exp(p)) / rows for p, q in zip(log_softmax(reference), log_softmax(row))]
            for reference, row in zip(reference_logits, logits)]


def golden_case():
    """Two matrices [3, 5]. Row 0 by hand: p = (1/2, 1/4, 1/8, 1/16, 1/16) against the uniform distribution gives
    log 5 - 15/8 log 2. Row 1: equal up to a constant, so KL and gradient are 0. Row 2: large logits, where a
    softmax that does not subtract its maximum overflows f32."""
    reference = [[math.log(p) for p in (0.5, 0.25, 0.125, 0.0625, 0.0625)], [0.5, -1.0, 2.0, 0.0, -0.25],
                 [101.0, 98.5, 97.0, 90.0, 100.0]]
    logits = [[0.0] * 5, [x + 3.0 for x in reference[1]], [99.5, 100.25, 96.0, 91.0, 100.0]]
    kl = kl_per_token(reference, logits)
    gradient = mean_kl_gradient(reference, logits)
    _check(reference, logits, kl, gradient)
    return {
        "generator": "tools/golden/kl.py: explicit formulas in float64",
        "reference_logits": reference, "logits": logits, "kl_per_token": kl, "mean_kl": math.fsum(kl) / len(kl),
        "mean_kl_gradient": gradient,
    }


def _check(reference, logits, kl, gradient):
    """The hand-computed rows, and every derivative against a central difference."""
    assert abs(kl[0] - (math.log(5) - 15 / 8 * math.log(2))) < 1e-15 and abs(kl[1]) < 1e-15 and kl[2] > 0.1
    step = 1e-5  # truncation ~ step^2, rounding ~ 1e-16 / step: both near 1e-10
    for i, row in enumerate(logits):
        for j in range(len(row)):
            ends = []
            for sign in (1, -1):
                moved = [list(r) for r in logits]
                moved[i][j] += sign * step
                ends.append(math.fsum(kl_per_token(reference, moved)) / len(logits))
            assert abs((ends[0] - ends[1]) / (2 * step) - gradient[i][j]) < 1e-9, (i, j)
