"""DeepFM and DCN (version 2, parallel) of FuxiCTR, DeepCTR-Torch and RecBole, trained on the columns of `clicks`.

Each reads the data by its own loader, whose batches are made on the clock, as those of ours are. None regularizes.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from speed import Contender, Measures

from tasks import clicks, common
from tasks.clicks import Progress, Setting

LISTED = "peers-fields"


# -- FuxiCTR -----------------------------------------------------------------------------------------------------------


def feature_map(scratch: Path, setting: Setting) -> Any:
    from fuxictr.features import FeatureMap

    found = FeatureMap(setting.data, str(scratch))
    for name, size, width in clicks.load_fields(scratch, setting.data):
        tags = {
            "type": "sequence", "max_len": width, "padding_idx": 0, "feature_encoder": "layers.MaskedAveragePooling()",
        }  # fmt: skip
        found.features[name] = {"source": "", "vocab_size": size, **({"type": "categorical"} if width == 1 else tags)}
    found.labels = ["label"]
    found.num_fields = len(found.features)
    found.total_features = sum(one["vocab_size"] for one in found.features.values())
    found.set_column_index()
    return found


def fuxictr_model(
    features: Any, setting: Setting, kind: str, scratch: Path, progress: Progress, rows: dict[str, Any]
) -> Any:
    """A network of its layers in its base class: its wheel has no models."""
    import torch
    from fuxictr.pytorch.layers import CrossNetV2, FactorizationMachine, FeatureEmbedding, MLP_Block
    from fuxictr.pytorch.models import BaseModel

    class Network(BaseModel):
        def __init__(self) -> None:
            super().__init__(features, model_root=str(scratch), metrics=["AUC"], verbose=0, eval_steps=10**9)
            dim = features.num_fields * setting.embedding_dim
            self.embedding_layer = FeatureEmbedding(features, setting.embedding_dim)
            last = {"output_dim": 1} if kind == "DeepFM" else {}
            self.mlp = MLP_Block(input_dim=dim, hidden_units=list(setting.hidden_dims), **last)
            if kind == "DeepFM":
                self.fm = FactorizationMachine(features)
            else:
                self.cross = CrossNetV2(dim, clicks.CROSS_LAYERS)
                self.logit = torch.nn.Linear(dim + setting.hidden_dims[-1], 1)
            self.compile("adam", "binary_crossentropy", setting.learning_rate)
            self.reset_parameters()

        def forward(self, inputs: Any) -> dict[str, Any]:
            columns = self.get_inputs(inputs)
            vectors = self.embedding_layer(columns)
            x = vectors.flatten(1)
            if kind == "DeepFM":
                return {"y_pred": self.output_activation(self.fm(columns, vectors) + self.mlp(x))}
            return {"y_pred": self.output_activation(self.logit(torch.cat([self.cross(x), self.mlp(x)], 1)))}

        def train_epoch(self, data_generator: Any) -> None:
            start = time.perf_counter()
            super().train_epoch(data_generator)
            seconds = time.perf_counter() - start
            self._stop_training = progress.done(seconds, lambda part: self.predict(rows[part]))

        def load_weights(self, checkpoint: str) -> None:
            """It validates nothing itself, and has no better epoch to go back to."""

    return Network()


def fuxictr(setting: Setting, kind: str) -> Callable[[Path], Measures]:
    def run(scratch: Path) -> Measures:
        import torch
        from fuxictr.pytorch.dataloaders import RankDataLoader

        clicks.threads()
        torch.manual_seed(0)
        features = feature_map(scratch, setting)
        # In the process that trains, as ours are read.
        names = ("train", "valid", "test") if clicks.has_validation(scratch, setting.data) else ("train", "test")
        train, valid, test = RankDataLoader(
            features, **{f"{part}_data": str(scratch / f"{setting.data}-{part}.npz") for part in names},
            batch_size=setting.batch_size, num_workers=0,
        )  # fmt: skip
        progress = Progress(scratch, setting)
        model = fuxictr_model(features, setting, kind, scratch, progress, {"valid": valid, "test": test})
        model.fit(train, epochs=setting.most_epochs)
        return progress.report()

    return run


# -- DeepCTR-Torch -----------------------------------------------------------------------------------------------------


def deepctr(setting: Setting, kind: str) -> Callable[[Path], Measures]:
    def run(scratch: Path) -> Measures:
        import torch
        from deepctr_torch.callbacks import Callback

        clicks.threads()
        progress = Progress(scratch, setting)

        class Clock(Callback):
            def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
                self.start = time.perf_counter()

            def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
                self.model.stop_training = progress.done(time.perf_counter() - self.start, scores)

        def scores(part: str) -> np.ndarray:
            rows = clicks.load(scratch, setting.data, part)
            del rows["label"]
            return model.predict(rows, setting.batch_size)[:, 0]

        model = deepctr_model(scratch, setting, kind)
        model.compile(torch.optim.Adam(model.parameters(), setting.learning_rate), "binary_crossentropy")
        train = clicks.load(scratch, setting.data, "train")
        labels = train.pop("label").astype(np.float32)
        with quiet():
            model.fit(
                train, labels, batch_size=setting.batch_size, epochs=setting.most_epochs, verbose=0,
                callbacks=[Clock()],
            )  # fmt: skip
        return progress.report()

    return run


def deepctr_model(scratch: Path, setting: Setting, kind: str) -> Any:
    from deepctr_torch.inputs import SparseFeat, VarLenSparseFeat
    from deepctr_torch.models import DCN, DeepFM

    # On import it asks for its newest release, on a thread that prints what it hears.
    for thread in threading.enumerate():
        if thread is not threading.main_thread():
            thread.join()
    columns = []
    for name, size, width in clicks.load_fields(scratch, setting.data):
        category = SparseFeat(name, size, setting.embedding_dim)
        columns.append(category if width == 1 else VarLenSparseFeat(category, width, "mean"))
    options = {"dnn_hidden_units": setting.hidden_dims, "l2_reg_linear": 0.0, "l2_reg_embedding": 0.0}
    if kind == "DeepFM":
        return DeepFM(columns, columns, **options)
    return DCN(
        columns, columns, cross_num=clicks.CROSS_LAYERS, cross_parameterization="matrix", l2_reg_cross=0.0, **options
    )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """The last line of the standard output is the runner's."""
    with open("/dev/null", "w") as nowhere, contextlib.redirect_stdout(nowhere):
        yield


# -- RecBole -----------------------------------------------------------------------------------------------------------


def recbole(setting: Setting, kind: str, *, half: bool = False) -> Callable[[Path], Measures]:
    """`half` is its mixed precision, on a CPU bfloat16."""

    def run(scratch: Path) -> Measures:
        old_names()
        import torch
        from recbole.config import Config
        from recbole.data import create_dataset, data_preparation
        from recbole.model.context_aware_recommender import DCNV2, DeepFM
        from recbole.trainer import Trainer

        write_atomic_files(scratch, setting)
        network = {"DeepFM": DeepFM, "DCN": DCNV2}[kind]
        # It writes its logs into the folder that it is called in.
        with contextlib.chdir(scratch), quiet():
            config = Config(
                network.__name__, setting.data, config_dict=options(scratch, setting) | {"enable_amp": half}
            )
            train, valid, test = data_preparation(config, create_dataset(config))
            clicks.threads()
            torch.manual_seed(0)
            model = without_batch_norm(network(config, train.dataset))
            trainer = Trainer(config, model)
            rows = {"valid": valid.dataset.inter_feat, "test": test.dataset.inter_feat}
            progress = Progress(scratch, setting)
            # `fit` has no hook at the beginning of an epoch.
            for epoch in range(setting.most_epochs):
                seconds = common.seconds(partial(trainer._train_epoch, train, epoch))
                if progress.done(seconds, lambda part: recbole_scores(model, rows[part], setting.batch_size)):
                    break
        return progress.report()

    return run


def without_batch_norm(model: Any) -> Any:
    """The model with the tower that the other contenders have: that of its DCN normalizes batches, and no option says so."""
    from recbole.model.init import xavier_normal_initialization
    from recbole.model.layers import MLPLayers

    if model.mlp_layers.use_bn:
        model.mlp_layers = MLPLayers(model.mlp_layers.layers, model.dropout_prob)
        model.mlp_layers.apply(xavier_normal_initialization)
    return model


def recbole_scores(model: Any, rows: Any, batch_size: int) -> np.ndarray:
    import torch

    model.eval()
    with torch.no_grad():
        batches = (rows[start : start + batch_size] for start in range(0, len(rows), batch_size))
        return np.concatenate([model.predict(batch).numpy() for batch in batches])


def old_names() -> None:
    """RecBole 1.2.1 writes names that NumPy dropped with 1.24."""
    for name, kind in {"float": float, "long": np.int64, "bool": bool, "int": int, "object": object}.items():
        if name not in np.__dict__:
            setattr(np, name, kind)


def options(scratch: Path, setting: Setting) -> dict[str, Any]:
    fields = clicks.load_fields(scratch, setting.data)
    return {
        "data_path": str(scratch / "atomic"), "benchmark_filename": ["train", "valid", "test"],
        "USER_ID_FIELD": fields[0].name, "ITEM_ID_FIELD": fields[1].name, "LABEL_FIELD": "label",
        "load_col": {"inter": [*(field.name for field in fields), "label"]}, "numerical_features": [],
        "train_neg_sample_args": None, "eval_args": {"mode": "labeled", "order": "RO", "group_by": "none"},
        "metrics": ["AUC"], "valid_metric": "AUC", "use_gpu": False, "worker": 0, "state": "ERROR",
        "show_progress": False, "train_batch_size": setting.batch_size, "learning_rate": setting.learning_rate,
        "embedding_size": setting.embedding_dim, "mlp_hidden_size": list(setting.hidden_dims), "dropout_prob": 0.0,
        "mixed": False, "structure": "parallel", "cross_layer_num": clicks.CROSS_LAYERS, "reg_weight": 0.0,
        "checkpoint_dir": str(scratch / "saved"),
    }  # fmt: skip


def write_atomic_files(scratch: Path, setting: Setting) -> None:
    """The data in RecBole's own text files; where there is no validation part the head of the test part stands in."""
    import pandas as pd

    folder = scratch / "atomic" / setting.data
    if folder.exists():
        return
    folder.mkdir(parents=True)
    fields = clicks.load_fields(scratch, setting.data)
    valid = ("valid", "valid", None) if clicks.has_validation(scratch, setting.data) else ("valid", "test", 1000)
    for part, source, n in (("train", "train", None), valid, ("test", "test", None)):
        columns = clicks.load(scratch, setting.data, source)
        frame = pd.DataFrame({f"{field.name}:token": columns[field.name][:n] for field in fields if field.width == 1})
        for field in fields:
            if field.width > 1:
                rows = [" ".join(str(code) for code in row if code) for row in columns[field.name][:n]]
                frame[f"{field.name}:token_seq"] = rows
        frame["label:float"] = columns["label"][:n]
        frame.to_csv(folder / f"{setting.data}.{part}.inter", sep="\t", index=False)


FULL = {"FuxiCTR": fuxictr, "DeepCTR-Torch": deepctr, "RecBole": recbole}
"""Those in full precision."""
PEERS = FULL | {"RecBole, bf16": partial(recbole, half=True)}


def contenders(setting: Setting, kind: str, group: str) -> dict[str, Contender]:
    """All of them, named for their group."""
    return {
        f"{name}, {group}": Contender(of(setting, kind), peer=True, listed=LISTED, group=group)
        for name, of in PEERS.items()
    }
