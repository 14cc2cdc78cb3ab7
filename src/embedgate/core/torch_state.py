"""The parts of torch's state that take more than one call to read or to put back.

torch is handed in: whoever asks has found it imported, and nothing here imports it.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

# Devices whose autocast is looked after.
_DEVICES = ("cpu", "cuda")
# Where torch keeps the precision of float32 products, the wider first; see `torch.backends`.
_FLOAT32 = (
    ("generic", "all"),
    *((backend, op) for backend in ("cuda", "mkldnn") for op in ("all", "matmul", "conv", "rnn")),
)
_CUBLAS = (
    "allow_fp16_reduced_precision_reduction",
    "allow_bf16_reduced_precision_reduction",
    "allow_fp16_accumulation",
)
_CUDNN = ("enabled", "benchmark", "deterministic")
_KERNELS = ("flash", "mem_efficient", "math", "cudnn")
# Their end would turn inference mode back to what it was as they began.
_kept_for_good: list[Any] = []


def default_device(torch: Any) -> Any:
    """The default device; where no mode is on that could set one, torch is spared the search for it."""
    return torch.get_default_device() if torch._C._len_torch_function_stack() else torch.device("cpu")


def set_default_device(torch: Any, wanted: Any) -> None:
    """Sets the default device. The CPU is set as torch starts: with any that is named, each call takes longer."""
    torch.set_default_device(None if wanted.type == "cpu" else wanted)


def set_inference_mode(torch: Any, on: bool) -> None:
    """Turns inference mode on or off for good."""
    mode = torch.inference_mode(on)
    mode.__enter__()
    _kept_for_good.append(mode)


def autocast(torch: Any) -> tuple[Any, ...]:
    """By device, whether autocast is on and its type; whether it keeps casts; and how many are open."""
    nesting = torch.autocast_increment_nesting() - 1
    torch.autocast_decrement_nesting()
    states = tuple((torch.is_autocast_enabled(each), torch.get_autocast_dtype(each)) for each in _DEVICES)
    return states, torch.is_autocast_cache_enabled(), nesting


def set_autocast(torch: Any, wanted: tuple[Any, ...]) -> None:
    """Puts back what `autocast` gave."""
    states, cached, nesting = wanted
    for device, (enabled, dtype) in zip(_DEVICES, states, strict=True):
        torch.set_autocast_enabled(device, enabled)
        torch.set_autocast_dtype(device, dtype)
    torch.set_autocast_cache_enabled(cached)
    *_, now = autocast(torch)
    for _ in range(abs(now - nesting)):
        (torch.autocast_decrement_nesting if now > nesting else torch.autocast_increment_nesting)()
    if not nesting:
        torch.clear_autocast_cache()


def show_autocast(state: tuple[Any, ...]) -> str:
    """Where autocast is on, as a person reads it."""
    on = [f"{plain(dtype)} on {device}" for device, (enabled, dtype) in zip(_DEVICES, state[0], strict=True) if enabled]
    return " and ".join(on) or "off"


def deterministic(torch: Any) -> tuple[bool, bool]:
    """Whether algorithms must be deterministic, and whether others are only warned of."""
    return torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()


def set_deterministic(torch: Any, wanted: tuple[bool, bool]) -> None:
    """Puts back what `deterministic` gave."""
    torch.use_deterministic_algorithms(wanted[0], warn_only=wanted[1])


def float32(torch: Any) -> tuple[Any, ...]:
    """The precision of float32 products: as torch's older function tells it, and by library and operation."""
    legacy, read = None, torch._C._get_fp32_precision_getter
    with suppress(RuntimeError):  # which it raises where only the newer settings tell
        legacy = torch.get_float32_matmul_precision()
    return legacy, [read(backend, op) for backend, op in _FLOAT32]


def set_float32(torch: Any, wanted: tuple[Any, ...]) -> None:
    """Puts back what `float32` gave."""
    legacy, settings = wanted
    if legacy is not None:
        torch.set_float32_matmul_precision(legacy)
    for each, setting in zip(_FLOAT32, settings, strict=True):
        torch._C._set_fp32_precision_setter(*each, setting)


def show_float32(state: tuple[Any, ...]) -> str:
    """The precision of float32 products, as a person reads it."""
    legacy, settings = state
    return str(legacy or "/".join(sorted({each for each in settings if each not in ("none", "ieee")})))


def cudnn(torch: Any) -> tuple[bool, ...]:
    """Whether cuDNN is used, looks for the fastest algorithms, and uses deterministic ones alone."""
    found = torch._C
    return found._get_cudnn_enabled(), found._get_cudnn_benchmark(), found._get_cudnn_deterministic()


def set_cudnn(torch: Any, wanted: tuple[bool, ...]) -> None:
    """Puts back what `cudnn` gave."""
    flags = torch.backends.cudnn
    flags.enabled, flags.benchmark, flags.deterministic = wanted


def cublas(torch: Any) -> tuple[Any, ...]:
    """What cuBLAS may do in narrower types."""
    found = torch._C
    return (
        found._get_cublas_allow_fp16_reduced_precision_reduction(),
        found._get_cublas_allow_bf16_reduced_precision_reduction(),
        found._get_cublas_allow_fp16_accumulation(),
    )


def set_cublas(torch: Any, wanted: tuple[Any, ...]) -> None:
    """Puts back what `cublas` gave."""
    for name, flag in zip(_CUBLAS, wanted, strict=True):
        setattr(torch.backends.cuda.matmul, name, flag)


def kernels(torch: Any) -> tuple[bool, ...]:
    """Which kernels of attention may be used."""
    found = torch._C
    return (
        found._get_flash_sdp_enabled(),
        found._get_mem_efficient_sdp_enabled(),
        found._get_math_sdp_enabled(),
        found._get_cudnn_sdp_enabled(),
    )


def set_kernels(torch: Any, wanted: tuple[bool, ...]) -> None:
    """Puts back what `kernels` gave."""
    for name, enabled in zip(_KERNELS, wanted, strict=True):
        getattr(torch.backends.cuda, f"enable_{name}_sdp")(enabled)


def set_quantized(torch: Any, wanted: str) -> None:
    """Sets the engine of quantized operations."""
    torch.backends.quantized.engine = wanted


def plain(value: Any) -> str:
    """A value without torch's prefix: `bfloat16`."""
    return str(value).removeprefix("torch.")
