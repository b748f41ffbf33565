"""Runs that were begun when code was compared by the bytes of its files: which of today's code is theirs.

Their fingerprints hold one digest of the files of that time. Today's code is the same as long as it means what it meant
when the two ways were laid side by side, which MEANINGS says. Whatever changes afterwards is another code, as ever.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Mapping
from pathlib import Path

import zoo
from pipelines.core.provenance.plan import Plan, load_data
from pipelines.core.provenance.weights import teacher_digest
from zoo.contract import OLD_NAMES
from zoo.models import definition

FILES = "1be5356fda5a8494cf2c350e6df04d01d6898d69893db6aa50798d666039e56e"  # of the files, at commit 683047b
# What the same code meant then: of the training, with a transfer and without, and of each model of the zoo.
MEANINGS: Mapping[str, str] = {
    "training": "a85c8b11a2675c0c5b4e16d57c8a52f11dbb261c41699498734994db08af1927",
    "transfer": "3f1d9c4c7c7cad2dcee316b45e6c00dee7994bbcd9d7284889dce480c29ef80c",
    "softmax": "a4cf40e52a8c2cdb16e72e4679892212c0dd539f93df273537aa0ac98a8f2108",
    "mlp-small": "d38af530ae898274142d5fc41443cfc598d040e65ce90d183ec25b1eb6f5ebac",
    "mlp-large": "54031d8f76a5bbb2f185f2d9f2ea893bb6904c64e4f945730b775cf352c8a404",
    "mlp-residual": "7ca757e499c3a5781b09f202c7c5cdd9694034975e19050c5b224645ae7a0f92",
    "mlp-mixer-tiny": "ecda34679854b836da72f8da18a5d1a14693a33cd9abc6bec88322675e119fe5",
    "conv-tiny": "63074cf044b26839f29ac588fb49bff85723423b34d3e8b017ec0697e94bafa2",
    "conv-small": "4a9ba7dbaeebdb0f473fc534a88d42a4b8f6540ee7c346ae4e12a747e410254e",
    "separable-small": "443c48808fbb99710113386180327fc6d2487fe94f12d5b266ed214ba9c15a3c",
    "resnet20": "1429ba2ca72107e822164e7c485237f933f46d1896309be85f7de68727448ed2",
    "wide-resnet-small": "7dc7b45bc5c83c8e2fc05226b94a96da66f99762865d6cd46811f07247960ddd",
    "convnext-mini": "ea1daef3d8bf49c5712028d6ee76433309d3ea787378fb3f7ab907ed10ce1f6b",
    "lenet5": "70f147bca85a9ebee3ca0059ac7ce6f06f92ca278b3c77bf8f01cf7b42f56ff8",
    "conv-mlp-small": "89d8271b6f71c1c1d27f0d91a1c3bc7864cab71564935ab5af38d8a68e33d253",
    "lenet5-modern": "075c61afcb6018206b5eb758e213a1bc5ead0d40975cc3acc9ed031dac70be55",
    "alexnet-mini": "7a56393e990e3c79d722aac0ab07b10b39086046de56db58f834bbfb4d8baabf",
    "vgg-mini": "264585ccaff5eb7dce75f47fa5d40555bc57ece67ba04a197d9f37f1b765e9d0",
    "resnet-mlp": "7a9eeca16dfbed34fa18c1a5c6b61357c5ebb70546718e13af482a92e8033177",
    "mobilenet-v2": "818bda69890086b0d09c32e6c8466974d06a84d4a07f6e8aa6e48f26c5ec38ec",
    "efficientnet-v2-b0": "454b00956a98102a0cce20823a6c2c56a992cf04824df71f55945a89618257cb",
    "resnet50-v2": "37848e76fb947921c6e7e7eccdfc0d333c069ce66d6977a84dcfca662182f883",
}


def is_same_since(plan: Plan, training: str, architecture: str) -> bool:
    """Whether the code that trains a plan means what it meant. training, architecture: the digests of today's code."""
    kind = "transfer" if plan.source else "training"
    known = MEANINGS.get(plan.model) == architecture or bool(_file_outside(plan.model))
    return known and MEANINGS.get(kind) == training


def fingerprint_before(plan: Plan, versions: Mapping[str, str | None]) -> str:
    """What a plan's fingerprint was then. versions: of the libraries that count."""
    names = {new: old for old, new in OLD_NAMES.items()}
    decisive = {
        "model": plan.model,
        "recipe": {names.get(name, name): value for name, value in plan.recipe.to_json().items()},
        "data": load_data(plan).digest,
        "code": FILES,
        "versions": versions,
        "teacher": teacher_digest(plan.recipe),
        "outside": _file_outside(plan.model),
        "source": plan.source.digest if plan.source else "",
    }
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def _file_outside(model: str) -> str:
    """The SHA-256 of the file of a model that isn't the zoo's; "" for one that is."""
    path = inspect.getsourcefile(inspect.unwrap(definition(model).architecture)) or ""
    if Path(path).is_relative_to(Path(zoo.__file__).parent):
        return ""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
