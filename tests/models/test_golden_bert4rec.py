"""The worked example of BERT4Rec."""

from typing import Any

import torch
from tests.models.worked import Golden, near

from recsys.models.sequence.bert4rec import BERT4RecNet
from recsys.training.cloze import MASK


def tensor(values: Any) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def worked_net(i: dict[str, Any]) -> BERT4RecNet:
    net = BERT4RecNet(5, 4, 4, 1, 2, 0.0, inner_dim=8).double().eval()
    block: Any = net.blocks[0]
    tokens = tensor(i["token_embedding_0pad_1to5items_6mask"])
    layers = {
        block.query: "q", block.key: "k", block.value: "v", block.mix: "o", block.inner: "1", block.outer: "2",
        net.transform: "_transform",
    }  # fmt: skip
    with torch.no_grad():
        net.table.vectors.copy_(tokens[1:6])
        net.mask.copy_(tokens[6])
        net.positions.copy_(tensor(i["position_embedding"]))
        net.bias.copy_(tensor(i["output_bias"])[1:6])
        for layer, name in layers.items():
            layer.weight.copy_(tensor(i[f"W{name}"]).T)
            layer.bias.copy_(tensor(i[f"b{name}"]))
    return net


def test_24_bert4rec(golden: Golden) -> None:
    g = golden("24_bert4rec")
    i, wanted = g["inputs"], g["expected"]
    net = worked_net(i)
    tokens, bias = tensor(i["token_embedding_0pad_1to5items_6mask"]), tensor(i["output_bias"])

    def codes(sequence: list[int]) -> torch.Tensor:
        # Theirs are 0 for padding, items from 1 on, and 6 for a mask.
        return torch.tensor([[MASK if token == 6 else token - 1 for token in sequence]])

    with torch.no_grad():
        hidden = net(codes(i["sequence"]))[0]
        last = net.states(hidden[-1:])
        # The authors' softmax ranges over the tokens of padding and mask too, ours over items.
        logits = (last @ tokens.T + bias)[0]
        ours = (torch.cat([last, torch.ones(1, 1).double()], 1) @ net.items.T)[0]
        padded = net.states(net(codes(i["padded_sequence"]))[0, 1:2]) @ tokens.T + bias
    near(hidden, wanted["hidden"])
    near(logits, wanted["logits_last"])
    near(ours, wanted["logits_last"][1:6])
    near(logits.log_softmax(0), wanted["log_softmax_last"])
    near(-logits.log_softmax(0)[3], wanted["loss_if_target_3"])
    near(padded[0], wanted["padded_logits_at_mask"])
