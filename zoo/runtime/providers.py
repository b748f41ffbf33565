"""Execution providers: what this machine's onnxruntime can run on, and a session that really runs there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zoo.errors import ExportError, MissingExtraError, ProviderError, unknown


@dataclass(frozen=True)
class Provider:
    """Where a session can run: our name, onnxruntime's, what brings it, and the options that we start it with."""

    name: str
    technical_name: str
    package: str
    options: Mapping[str, str] = field(default_factory=dict)


# A new provider is one line here.
PROVIDERS = {
    provider.name: provider
    for provider in (
        Provider("cpu", "CPUExecutionProvider", "onnxruntime"),
        # TF32 rounds to 10 bits of mantissa: probabilities would differ from the verified ones by more than 1e-4.
        Provider("cuda", "CUDAExecutionProvider", "onnxruntime-gpu", {"use_tf32": "0"}),
        Provider("tensorrt", "TensorrtExecutionProvider", "onnxruntime-gpu and TensorRT"),
        Provider("openvino", "OpenVINOExecutionProvider", "onnxruntime-openvino"),
        Provider("coreml", "CoreMLExecutionProvider", "onnxruntime on macOS"),
        Provider("directml", "DmlExecutionProvider", "onnxruntime-directml on Windows"),
        Provider("webgpu", "WebGpuExecutionProvider", "onnxruntime-webgpu"),
    )
}

# Best first. The others are never taken unasked: they build engines for minutes or compute in half precision.
AUTOMATIC = ("cuda", "cpu")


def available_providers() -> tuple[str, ...]:
    """The names of the providers that the installed onnxruntime has, whether or not the machine has the device."""
    there = set(_onnxruntime().get_available_providers())
    return tuple(provider.name for provider in PROVIDERS.values() if provider.technical_name in there)


def open_session(file: Path, provider: str = "auto", threads: int | None = None) -> tuple[Any, str]:
    """An `onnxruntime.InferenceSession` of the file, and the name of the provider that it really runs on.

    Raises ProviderError where the provider is unknown, isn't there or doesn't start ("auto" goes on to the next one),
    ExportError where the file can't be opened, MissingExtraError where onnxruntime isn't installed.
    """
    if threads is not None and threads < 1:
        raise ProviderError(f"threads must be 1 or more, or None for onnxruntime's choice, received {threads}")
    available = available_providers()
    if provider == "auto":
        # onnxruntime itself goes on to the next in the list where one doesn't start.
        session = _start(file, [PROVIDERS[name] for name in AUTOMATIC if name in available], threads)
    else:
        session = _start(file, [_wanted(provider, available)], threads)
        check_started(session, provider)
    return session, _running_on(session)


def check_started(session: Any, provider: str) -> None:
    """Raise ProviderError where onnxruntime has dropped the provider: it goes on without, and only logs why."""
    if _running_on(session) != provider:
        raise ProviderError(
            f"provider {provider!r} is installed but doesn't start on this machine, only {_running_on(session)} does: "
            f"look for its device, its driver and the libraries that {PROVIDERS[provider].package} needs, "
            "or take provider='auto'"
        )


def _wanted(name: str, available: Iterable[str]) -> Provider:
    if name not in PROVIDERS:
        raise ProviderError(unknown("provider", name, ("auto", *PROVIDERS)))
    if name not in available:
        raise ProviderError(
            f"provider {name!r} isn't in the installed onnxruntime, which has {', '.join(available)}: "
            f"install {PROVIDERS[name].package} in place of it, in an environment of its own"
        )
    return PROVIDERS[name]


def _start(file: Path, providers: list[Provider], threads: int | None) -> Any:
    onnxruntime = _onnxruntime()
    options = onnxruntime.SessionOptions()
    if threads is not None:
        options.intra_op_num_threads = threads
    if any(provider.package.startswith("onnxruntime-gpu") for provider in providers):
        onnxruntime.preload_dlls()  # CUDA and cuDNN may have come as Python packages, which no loader looks into
    technical = [(provider.technical_name, dict(provider.options)) for provider in providers]
    try:
        session = onnxruntime.InferenceSession(file, options, providers=technical)
    except Exception as error:  # onnxruntime's errors have no base of their own
        reason = str(error).rpartition(" : ")[2].rstrip(".")
        if providers[0].name != "cpu" and not type(error).__name__.startswith("Invalid"):
            raise ProviderError(f"provider {providers[0].name!r} refuses {file} ({reason}): take 'cpu'") from error
        raise ExportError(
            f"{file} can't be opened by onnxruntime {onnxruntime.__version__} ({reason}): "
            "it is cut short, damaged or no ONNX file; export the model again"
        ) from error
    session.disable_fallback()  # a device that fails later must raise, not turn into a slow processor
    return session


def _running_on(session: Any) -> str:
    first = session.get_providers()[0]
    return next((provider.name for provider in PROVIDERS.values() if provider.technical_name == first), first)


def _onnxruntime() -> Any:
    """The module, imported when something is loaded, so that everything else works without it."""
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        if error.name != "onnxruntime":
            raise
        raise MissingExtraError("onnxruntime", "cpu") from None
    return onnxruntime
