"""Causal self-attention blocks."""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn


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
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, D) to (B, L, D); position t sees positions up to t."""
        normed = self.attention_norm(x)
        source = x if self.variant == "official" else normed
        heads = (part.unflatten(-1, (self.n_heads, -1)).transpose(1, 2) for part in self._project(normed, source))
        attended = F.scaled_dot_product_attention(
            *heads, dropout_p=self.dropout if self.training else 0.0, is_causal=True
        )
        x = attended.transpose(1, 2).flatten(2) + (normed if self.variant == "official" else x)
        normed = self.forward_norm(x)
        moved = self.drop(self.outer(self.drop(F.relu(self.inner(normed)))))
        return moved + (normed if self.variant == "official" else x)

    def _project(self, normed: Tensor, source: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.query(normed), self.key(source), self.value(source)
