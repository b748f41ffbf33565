"""Execution providers: what this machine's onnxruntime can run on, and a session that really runs there."""

from __future__ import annotations

import contextlib
import ctypes
import io
import re
import sys
import warnings
from _thread import allocate_lock  # without `threading`, which an app that has an array may not need
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from zoo.errors import ExportError, MissingExtraError, ProviderError, unknown

if TYPE_CHECKING:
    from pathlib import Path


class Provider(NamedTuple):
    """Where a session can run: our name, onnxruntime's, what brings it, and the options that we start it with.

    threads_option: the one that takes the number of threads, where the provider has threads of its own.
    behind: the provider that takes what this one leaves, before the CPU does.
    """

    name: str
    technical_name: str
    package: str
    options: Mapping[str, str] = {}
    threads_option: str = ""
    behind: str = ""


# A new provider is one `add_provider` below. docs/providers.md says which were tried, and where.
PROVIDERS: dict[str, Provider] = {}


def add_provider(provider: Provider) -> Provider:
    """Register a provider under its name. Raises ProviderError where the name is taken."""
    if provider.name in ("auto", *PROVIDERS):
        raise ProviderError(f"two providers are called {provider.name!r}: give one of them another name")
    PROVIDERS[provider.name] = provider
    return provider


add_provider(Provider("cpu", "CPUExecutionProvider", "onnxruntime"))
# TF32 rounds to 10 bits of mantissa: probabilities would differ from the verified ones by more than 1e-4.
add_provider(Provider("cuda", "CUDAExecutionProvider", "onnxruntime-gpu[cuda,cudnn]", {"use_tf32": "0"}))
add_provider(
    Provider("tensorrt", "TensorrtExecutionProvider", "onnxruntime-gpu[cuda,cudnn] and tensorrt", behind="cuda")
)
# OpenVINO itself computes in bfloat16 where the processor can: probabilities would differ by 1e-2.
add_provider(
    Provider(
        "openvino",
        "OpenVINOExecutionProvider",
        "onnxruntime-openvino",
        {"device_type": "CPU", "precision": "FP32"},
        threads_option="num_of_threads",
    )
)
add_provider(Provider("coreml", "CoreMLExecutionProvider", "onnxruntime on macOS"))
add_provider(Provider("directml", "DmlExecutionProvider", "onnxruntime-directml on Windows"))
add_provider(Provider("webgpu", "WebGpuExecutionProvider", "onnxruntime-webgpu"))


class Node(NamedTuple):
    """A node of a file's graph. name: as in the file, such as "block1_unit1_conv"; operation: such as "Conv"."""

    name: str
    operation: str


def available_providers() -> tuple[str, ...]:
    """The names of the providers that the installed onnxruntime has, whether or not the machine has the device."""
    there = set(_onnxruntime().get_available_providers())
    return tuple(provider.name for provider in PROVIDERS.values() if provider.technical_name in there)


def open_session(
    content: bytes, file: str | Path, provider: str = "auto", threads: int | None = None
) -> tuple[Any, str]:
    """An `onnxruntime.InferenceSession` of a file's content, and the name of the provider that it really runs on.

    provider: a name of PROVIDERS, or "auto": cuda where there is an NVIDIA driver, else cpu. The others are never taken
    unasked: they build engines for minutes, or compute in half precision.
    Raises ProviderError where the provider is unknown, isn't there, doesn't start or takes no node of the file,
    ExportError where the file can't be opened, MissingExtraError where onnxruntime isn't installed. Warns with a
    RuntimeWarning where the provider takes fewer than half of the nodes, and where "auto" finds a driver but no CUDA.
    """
    if threads is not None and threads < 1:
        raise ProviderError(f"threads must be 1 or more, or None for onnxruntime's choice, received {threads}")
    available = available_providers()
    if provider == "auto":
        if "cuda" in available and _has_driver():
            try:
                return _open(content, file, PROVIDERS["cuda"], threads), "cuda"
            except ProviderError as error:
                warnings.warn(f"{error}; this classifier runs on the cpu", RuntimeWarning, stacklevel=3)
        provider = "cpu"
    return _open(content, file, _wanted(provider, available), threads), provider


def placement(session: Any) -> dict[str, tuple[Node, ...]]:
    """Which nodes of the file run on which provider, as onnxruntime assigned them: provider -> nodes.

    Nodes that onnxruntime folded into constants or into their neighbors before aren't among them.
    Raises ProviderError where onnxruntime is older than 1.24, which doesn't report it.
    """
    if not hasattr(session, "get_provider_graph_assignment_info"):
        raise ProviderError(
            f"onnxruntime {_onnxruntime().__version__} doesn't report which nodes run where: install 1.24 or newer"
        )
    places: dict[str, tuple[Node, ...]] = {}
    for part in session.get_provider_graph_assignment_info():
        nodes = tuple(Node(node.name, node.op_type) for node in part.get_nodes())
        name = _name_of(part.ep_name)
        places[name] = places.get(name, ()) + nodes
    return places


def check_started(session: Any, provider: str, missing: Iterable[str] = ()) -> None:
    """Raise ProviderError where onnxruntime has dropped the provider: it goes on without, and only logs why.

    missing: the libraries that weren't found for it.
    """
    running_on = _name_of(session.get_providers()[0])
    if running_on != provider:
        libraries = f" ({', '.join(missing)} not found)" if missing else ""
        raise ProviderError(
            f"provider {provider!r} is installed but doesn't start on this machine, only {running_on} does{libraries}: "
            f"install {_needs(provider)}, or use provider='cpu'"
        )


def check_taken(session: Any, provider: str) -> None:
    """Raise ProviderError where the provider has started but takes no node; warn where the CPU takes most of them."""
    if provider == "cpu" or not hasattr(session, "get_provider_graph_assignment_info"):
        return
    places = placement(session)
    left = places.get("cpu", ())
    nodes = sum(map(len, places.values()))
    if nodes and len(left) == nodes:
        raise ProviderError(f"provider {provider!r} supports no node of this file, all would run on the CPU: use 'cpu'")
    if 2 * len(left) > nodes:
        operations = ", ".join(sorted({node.operation for node in left}))
        warnings.warn(
            f"provider {provider!r} takes {nodes - len(left)} of {nodes} nodes, the cpu the others ({operations}): "
            "it may be slower than the cpu alone",
            RuntimeWarning,
            stacklevel=2,
        )


def _wanted(name: str, available: Iterable[str]) -> Provider:
    if name not in PROVIDERS:
        raise ProviderError(unknown("provider", name, ("auto", *PROVIDERS)))
    if name not in available:
        raise ProviderError(
            f"provider {name!r} isn't in the installed onnxruntime, which has {', '.join(available)}: "
            f"install {PROVIDERS[name].package} instead, in a separate environment"
        )
    return PROVIDERS[name]


def _open(content: bytes, file: str | Path, provider: Provider, threads: int | None) -> Any:
    missing = _prepare_cuda(provider) if provider.package.startswith("onnxruntime-gpu") else ()
    session = _start(content, file, provider, threads)
    check_started(session, provider.name, missing)
    check_taken(session, provider.name)
    return session


def _start(content: bytes, file: str | Path, provider: Provider, threads: int | None) -> Any:
    onnxruntime = _onnxruntime()
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry(
        "session.record_ep_graph_assignment_info", "1"
    )  # costs nothing that one can measure
    # It would take a file of its own format, too, which `check_self_contained` doesn't read.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    own_options = dict(provider.options)
    # What kills the process, and nothing else: errors are raised, with the same words, and of nodes on the CPU
    # check_taken and placement report. An app's standard error isn't ours to write to, least of all in color.
    options.log_severity_level = 4
    if threads is not None:
        options.intra_op_num_threads = threads
        if provider.threads_option:
            own_options[provider.threads_option] = str(threads)
    if provider.threads_option:
        # onnxruntime's threads would spin while the provider's own work, on the same cores: twice as slow on two.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    technical: list[tuple[str, dict[str, str]]] = [(provider.technical_name, own_options)]
    if provider.behind:
        technical.append((PROVIDERS[provider.behind].technical_name, dict(PROVIDERS[provider.behind].options)))
    try:
        # Without enable_fallback=0 it prints that the provider fails, and gives a session on the CPU.
        return onnxruntime.InferenceSession(content, options, providers=technical, enable_fallback=0)
    except Exception as error:  # onnxruntime's errors have no base of their own
        reason = reason_of(error)
        # Of a provider's start; those of files have types of onnxruntime's own.
        if type(error) is RuntimeError and provider.name != "cpu":
            raise ProviderError(
                f"provider {provider.name!r} is installed but doesn't start on this machine ({reason}): "
                f"install {_needs(provider.name)}, or use provider='cpu'"
            ) from error
        if provider.name != "cpu" and not type(error).__name__.startswith("Invalid"):
            raise ProviderError(f"provider {provider.name!r} refuses {file} ({reason}): use 'cpu'") from error
        raise ExportError(
            f"{file} can't be opened by onnxruntime {onnxruntime.__version__} ({reason}): "
            "it is truncated, damaged, or not an ONNX file; export the model again"
        ) from error


_PRELOADING = allocate_lock()  # two threads that redirect what is printed would leave it so


def _prepare_cuda(provider: Provider) -> tuple[str, ...]:
    """Load CUDA and cuDNN where they came as Python packages, which no loader looks into; the libraries that lack.

    Raises ProviderError where there is no driver: nothing else can help then, and onnxruntime would only log it.
    """
    if not _has_driver():
        raise ProviderError(
            f"provider {provider.name!r} is installed, but this machine has no NVIDIA driver ({_DRIVER} isn't found): "
            "install the driver of its GPU, or use provider='cpu'"
        )
    printed = io.StringIO()
    with _PRELOADING, contextlib.redirect_stdout(printed):  # onnxruntime prints what it doesn't find
        _onnxruntime().preload_dlls()
    return tuple(re.findall(r"Failed to load (\S+):", printed.getvalue()))


_DRIVER = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"


def _has_driver() -> bool:
    try:
        ctypes.CDLL(_DRIVER)
    except OSError:
        return False
    return True


def _needs(provider: str) -> str:
    return f"its device, the driver, and what {PROVIDERS[provider].package} brings"


def reason_of(error: Exception) -> str:
    """What onnxruntime's message says, without the names of its functions and source files."""
    text = str(error).strip()
    if cuda := re.search(r"CUDA failure \d+: [^;]+", text):
        return cuda.group().strip()
    text = re.sub(r"^\S+\.cc:\d+ .*?\) (?=[A-Z])", "", text.splitlines()[0] if text else type(error).__name__)
    return text.rpartition(" : ")[2].rstrip(".")


def _name_of(technical_name: str) -> str:
    names = (provider.name for provider in PROVIDERS.values() if provider.technical_name == technical_name)
    return next(names, technical_name)


def _onnxruntime() -> Any:
    """The module, imported when something is loaded, so that everything else works without it."""
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        if error.name != "onnxruntime":
            raise
        raise MissingExtraError("onnxruntime", "cpu") from None
    return onnxruntime
