"""Runs that were begun when code was compared by the bytes of its files: which of today's code is theirs.

Their fingerprints hold one digest of the files of that time. Today's code is the same as long as it means what it meant
when the two ways were laid side by side, which MEANINGS says. Whatever changes afterwards is another code, as ever.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path

import zoo
from pipelines.core.provenance.plan import Plan, load_data
from pipelines.core.provenance.weights import teacher_digest
from pipelines.core.support.to_json import digest_of
from zoo.contract import OLD_NAMES, sha256
from zoo.models import definition

FILES = "1be5356fda5a8494cf2c350e6df04d01d6898d69893db6aa50798d666039e56e"  # of the files, at commit 683047b
# What the same code meant then: of the training, by what it starts and learns from, and of each model of the zoo.
MEANINGS: Mapping[str, str] = {
    "training": "a135dbcbb10afce0bd98a574834cfc997ab49ae204088f7f92e8f4a3ba93fc3e",
    "transfer": "5a32203b4decd851c5c2c4d711bbee3a16e2fe31348eede0047a0a26351c23ab",
    "distillation": "1d3052d817967958943cead9d601142461cdf1403905e87c2d78cf297ceafc1a",
    "transfer and distillation": "4fa7f822d463ab14ccaabfeb6fc6676f6db38a3039d69354421a9ba524b4151c",
    "softmax": "8dd97dde5a2ef4facf4a1da05826bdbabe11e7476c5dbffdc990b1c9871bcabb",
    "mlp-small": "92366cc15176101bfd50b029af8af370f078cd3c9a387b3170e020618fae524d",
    "mlp-large": "628840a5af930efd86e38d50257a628c760c7ee3603d67f7877d826b1718fb83",
    "mlp-residual": "afb97cd0071297d454f0d14783e4c931f1cfc052b69c70e3630e96e7bd534341",
    "mlp-mixer-tiny": "4e1f2e5a7876f60769e387f52543ba89e8a87ef4d3e97075a7acdb79fe6a182d",
    "conv-tiny": "fae781b4e6f5adbe7207b9bac0b0c9195f8753938840efb121d2101d2be66704",
    "conv-small": "00d458da9bca73d6c115f59130e5587025ea5787c50afea1dfc3aa5cb0e7b2fd",
    "separable-small": "d9ccaa95d097e6486d4969f055118d863bb76c18f565ecb29f540221ae80876a",
    "resnet20": "12639db704501cb361f0714e330287aa4179f8dca89e131502dd3df6e2adf09f",
    "wide-resnet-small": "c99f1e3b2a677c9fb44ee621bc025006c03848e864c2aa532b0bbb4f15d75aad",
    "convnext-mini": "48a42674aafb27937e4cf5ac9f4bcea2d9f1455c9d5ed237ec37da57336c4719",
    "lenet5": "c2c08f7e87b91e96ba4c7b75fbb6c80187e262b69cd14210010e95665e037ae9",
    "conv-mlp-small": "d41a715f9e6048d315c8e7ab1b165fb67a2850cacc07fb593b77506212f15212",
    "lenet5-modern": "d9d84d3057519bc6d6f72f4033587a1513d31f13b6428f82b484bb5ce4a19357",
    "alexnet-mini": "3699599ecfbea994cfd1253c92b718fcdaf100377075c71a440e53df6a759845",
    "vgg-mini": "ce64d142813318f9609234f1f4db2f919f0d64ec2079278ca9c47ab3d00778bb",
    "resnet-mlp": "c33586ef22fca53e0f1ae4c43c31a923c513fbd3a7108d5e591fa29e439ba754",
    "mobilenet-v2": "74f4de68cd1e006d3736fcdc2746d12f4a2e3686ddc091e33bea1557aaf4bbeb",
    "efficientnet-v2-b0": "2b18528dad1999c17f4c247765881803e1f6a6fbd5c47aa337bd49d55d724ea5",
    "resnet50-v2": "f87adcd67fb9c8324b779138cf5ee1c5893c14fdfe464840af7a64262c2ca199",
}


def is_same_since(plan: Plan, training: str, architecture: str) -> bool:
    """Whether the code that trains a plan means what it meant. training, architecture: the digests of today's code."""
    kinds = {"transfer": plan.source is not None, "distillation": bool(plan.recipe.teacher)}
    kind = " and ".join(name for name, whether in kinds.items() if whether) or "training"
    known = MEANINGS.get(plan.model) == architecture or bool(_file_outside(plan.model))  # "" is ours, None is nowhere
    return known and MEANINGS.get(kind) == training


def fingerprint_before(plan: Plan, versions: Mapping[str, str | None]) -> str:
    """What a plan's fingerprint was then. versions: of the libraries that count."""
    names = {new: old for old, new in OLD_NAMES.items()}
    decisive = {
        "model": plan.model,
        "recipe": {names.get(name, name): value for name, value in plan.recipe.decisive().items()},
        "data": load_data(plan).digest,
        "code": FILES,
        "versions": versions,
        "teacher": teacher_digest(plan.recipe),
        "outside": _file_outside(plan.model),
        "source": plan.source.digest if plan.source else "",
    }
    return digest_of(decisive)


def _file_outside(model: str) -> str | None:
    """The SHA-256 of the file of a model that isn't the zoo's; "" for one that is, None for one that no file holds."""
    try:
        path = Path(inspect.getsourcefile(inspect.unwrap(definition(model).architecture)) or "")
        return "" if path.is_relative_to(Path(zoo.__file__).parent) else sha256(path)
    except (OSError, TypeError):  # TypeError: it isn't a function, but can be called
        return None
