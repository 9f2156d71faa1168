"""Self-attention blocks: causal ones, and ones that see both ways."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recsys.nn.dropout import Dropout, drop


def causal_attention(query: Tensor, key: Tensor, value: Tensor, dropout: float) -> Tensor:
    """softmax(q k^T / sqrt(D)) v over positions up to one's own, (B, H, L, D) each; leaves out a share of the weights."""
    if not dropout or query.is_cuda:
        return F.scaled_dot_product_attention(query, key, value, dropout_p=dropout, is_causal=True)
    length = query.shape[-2]
    return _dropped(query, key, value, dropout, torch.full((length, length), -torch.inf, dtype=query.dtype).triu_(1))


def attention(query: Tensor, key: Tensor, value: Tensor, dropout: float, real: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(D)) v over the real positions (B, L); leaves out a share of the weights.

    Keys and values are (B, H, L, D), queries (B, H, M, D) of any M. Every row of `real` has one.
    """
    if not dropout or query.is_cuda:
        return F.scaled_dot_product_attention(query, key, value, attn_mask=real[:, None, None], dropout_p=dropout)
    padding = torch.zeros(real.shape, dtype=query.dtype).masked_fill_(~real, -torch.inf)
    return _dropped(query, key, value, dropout, padding.repeat_interleave(query.shape[1], 0)[:, None])


def _dropped(query: Tensor, key: Tensor, value: Tensor, dropout: float, hidden: Tensor) -> Tensor:
    """Attention on the CPU in training; `hidden` is -inf where a position is not seen and 0 elsewhere.

    Torch has no kernel of its own for this; of the steps that it takes instead some are for rows without any position.
    """
    scores = query.flatten(0, 1) @ key.flatten(0, 1).mT
    weights = torch.add(hidden, scores, alpha=query.shape[-1] ** -0.5).softmax(-1)
    return (drop(weights, dropout) @ value.flatten(0, 1)).unflatten(0, query.shape[:2])


def at_places(x: Tensor, places: Tensor) -> Tensor:
    """Vectors (B, L, D) of positions (B, M), to (B, M, D)."""
    return x.gather(1, places[..., None].expand(-1, -1, x.shape[2]))


def split_heads(x: Tensor, n_heads: int) -> Tensor:
    """(B, L, H D) to (B, H, L, D)."""
    return x.unflatten(-1, (n_heads, -1)).transpose(1, 2)


class CausalBlock(nn.Module):
    """One block of SASRec over histories padded on the right, so that the causal mask alone keeps padding out.

    "official": the authors' code: queries are LN(x), keys and values x itself, and both residuals add the normalized
    input. "preln": the paper's x + g(LN(x)). Neither has an output projection.
    """

    def __init__(self, dim: int, n_heads: int, dropout: float, variant: Literal["official", "preln"] = "official"):
        super().__init__()
        self.n_heads, self.dropout, self.variant = n_heads, dropout, variant
        self.attention_norm, self.forward_norm = nn.LayerNorm(dim, eps=1e-8), nn.LayerNorm(dim, eps=1e-8)
        self.query, self.key, self.value = nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.inner, self.outer = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.drop = Dropout(dropout)

    def forward(self, x: Tensor, last: Tensor | None = None) -> Tensor:
        """(B, L, D) to (B, L, D); position t sees positions up to t. With `last` (B,) to these positions' (B, 1, D)."""
        normed = self.attention_norm(x)
        source = x if self.variant == "official" else normed
        if last is not None:
            x, normed = (at_places(one, last[:, None]) for one in (x, normed))
        parts = self.query(normed), self.key(source), self.value(source)
        heads = [split_heads(part, self.n_heads) for part in parts]
        dropout = self.dropout if self.training else 0.0
        if last is None:
            attended = causal_attention(*heads, dropout)
        else:
            attended = attention(*heads, dropout, torch.arange(source.shape[1], device=x.device) <= last[:, None])
        x = attended.transpose(1, 2).flatten(2) + (normed if self.variant == "official" else x)
        normed = self.forward_norm(x)
        moved = self.drop(self.outer(self.drop(F.relu(self.inner(normed)))))
        return moved + (normed if self.variant == "official" else x)


class BidirectionalBlock(nn.Module):
    """One block of BERT: every real position sees all of them; norms follow the residual sums (Devlin et al., 2019)."""

    def __init__(self, dim: int, n_heads: int, dropout: float, inner_dim: int):
        super().__init__()
        self.n_heads, self.dropout = n_heads, dropout
        self.query, self.key, self.value, self.mix = (nn.Linear(dim, dim) for _ in range(4))
        self.inner, self.outer = nn.Linear(dim, inner_dim), nn.Linear(inner_dim, dim)
        self.attention_norm, self.forward_norm = nn.LayerNorm(dim, eps=1e-12), nn.LayerNorm(dim, eps=1e-12)
        self.drop = Dropout(dropout)

    def forward(self, x: Tensor, real: Tensor, places: Tensor | None = None) -> Tensor:
        """(B, L, D) and which positions are real (B, L) to (B, L, D), or to those of `places` (B, M) alone, (B, M, D)."""
        key, value = self.key(x), self.value(x)
        x = x if places is None else at_places(x, places)
        heads = (split_heads(part, self.n_heads) for part in (self.query(x), key, value))
        attended = attention(*heads, self.dropout if self.training else 0.0, real)
        x = self.attention_norm(x + self.drop(self.mix(attended.transpose(1, 2).flatten(2))))
        return self.forward_norm(x + self.drop(self.outer(F.gelu(self.inner(x)))))
