"""Slow, obvious versions of the formulas: loops over samples, patches and heads, float64, no tricks."""

import math

import torch


def linear(layer, x):
    return x @ layer.weight.double().T + (0 if layer.bias is None else layer.bias.double())


def layer_norm(x, weight=None, bias=None, eps=1e-6):
    out = torch.empty_like(x)
    for index in range(len(x)):
        mean = x[index].sum() / x.shape[1]
        variance = ((x[index] - mean) ** 2).sum() / x.shape[1]
        out[index] = (x[index] - mean) / torch.sqrt(variance + eps)
    if weight is not None:
        out = out * weight.double() + bias.double()
    return out


def softmax(values):
    shifted = torch.exp(values - values.max())
    return shifted / shifted.sum()


def gelu(x):
    return 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))


def mlp(sequential, x):
    """Linear, GELU, Linear."""
    return linear(sequential[2], gelu(linear(sequential[0], x)))


def attention(layer, queries, tokens, keys_of):
    """MHA of `queries` (L, D) over `tokens` (M, D); keys_of(l) lists the keys patch l may look at. Returns (out, mean weights (L, M))."""
    width = queries.shape[1]
    size = width // layer.heads
    q, kv = linear(layer.q, queries), linear(layer.kv, tokens)
    k, v = kv[:, :width], kv[:, width:]
    mixed, weights = torch.zeros_like(q), torch.zeros(len(queries), len(tokens), dtype=torch.float64)
    for row in range(len(queries)):
        for head in range(layer.heads):
            part = slice(head * size, (head + 1) * size)
            keys = list(keys_of(row))
            share = softmax(k[keys, part] @ q[row, part] / math.sqrt(size))  # one number a key
            mixed[row, part] = share @ v[keys, part]
            weights[row, keys] += share / layer.heads
    return linear(layer.proj, mixed), weights


def near(row, columns, rows, views):
    """Keys of the 3 x 3 neighbourhood of patch `row` in `views` concatenated views."""
    r, c = divmod(row, columns)
    return [
        view * rows * columns + rr * columns + cc
        for view in range(views)
        for rr in range(r - 1, r + 2)
        for cc in range(c - 1, c + 2)
        if 0 <= rr < rows and 0 <= cc < columns
    ]


def block(layer, x):
    """Pre-norm transformer block on one sample (n, D): x' = x + MHA(LN x); x = x' + MLP(LN x')."""
    heads, width = layer.attn.num_heads, x.shape[1]
    size = width // heads
    h = layer_norm(x, layer.norm1.weight, layer.norm1.bias)
    qkv = linear(layer.attn.qkv, h)
    q, k, v = qkv[:, :width], qkv[:, width : 2 * width], qkv[:, 2 * width :]
    mixed = torch.zeros_like(x)
    for row in range(len(x)):
        for head in range(heads):
            part = slice(head * size, (head + 1) * size)
            share = softmax(k[:, part] @ q[row, part] / math.sqrt(size))
            mixed[row, part] = share @ v[:, part]
    x = x + linear(layer.attn.proj, mixed)
    h = layer_norm(x, layer.norm2.weight, layer.norm2.bias)
    return x + linear(layer.mlp.fc2, gelu(linear(layer.mlp.fc1, h)))


def cells(tokens, rows, columns, side):
    """Means (side * side, D) of tokens (L, D) over the cells of their grid, which reach from floor(i n / side) to ceil((i + 1) n /
    side)."""
    reach = lambda i, n: range(i * n // side, -(-(i + 1) * n // side))
    chosen = [[r * columns + c for r in reach(i, rows) for c in reach(j, columns)] for i in range(side) for j in range(side)]
    return torch.stack([sum(tokens[patch] for patch in patches) / len(patches) for patches in chosen])


def patches_of(image, patch):
    """One image (C, H, W) -> list of flat patches, pixels in the order row, column, channel."""
    channels, height, width = image.shape
    out = []
    for top in range(0, height, patch):
        for left in range(0, width, patch):
            pixels = [image[c, top + i, left + j] for i in range(patch) for j in range(patch) for c in range(channels)]
            out.append(torch.stack(pixels).double())
    return torch.stack(out)


def encoder_tokens(encoder, image, keep=None, hidden=(), mask_token=None):
    """One image -> tokens (1 + K, D) after the final norm, from the kept patches (all by default); mask_token stands in for those in
    `hidden`."""
    embedded = linear(encoder.patch_embed, patches_of(image, encoder.patch_size))
    embedded = torch.stack([mask_token[0, 0].double() if index in hidden else row for index, row in enumerate(embedded)])
    embedded = embedded + encoder.pos_embed[0, 1:].double()
    if keep is not None:
        embedded = embedded[keep]
    x = torch.cat([(encoder.cls_token + encoder.pos_embed[:, :1])[0].double(), embedded])
    for layer in encoder.blocks:
        x = block(layer, x)
    return layer_norm(x, encoder.norm.weight, encoder.norm.bias)


def decoder_pixels(decoder, tokens, first):
    """Decoder on one sample whose tokens already have the decoder's width; `first` = 0 with class token, else 1."""
    x = tokens + decoder.pos_embed[0, first:].double()
    for layer in decoder.blocks:
        x = block(layer, x)
    return linear(decoder.pred, layer_norm(x, decoder.norm.weight, decoder.norm.bias))
