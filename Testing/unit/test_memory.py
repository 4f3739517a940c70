"""A lack of memory is recognised by the messages of numpy, PyTorch and ITK."""

from __future__ import annotations

import pytest

from TumorSegLib.memory import is_out_of_memory


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("ITK-5.4/itkImportImageContainer.hxx:179:\nFailed to allocate memory for image."),
        RuntimeError("std::bad_alloc"),
        RuntimeError("could not create a primitive"),
        RuntimeError("can't start new thread"),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
        OSError("unable to mmap 39257280 bytes from file <weights.safetensors>: Cannot allocate memory (12)"),
    ],
)
def test_a_lack_of_memory_is_recognised(error: Exception) -> None:
    assert is_out_of_memory(error)


@pytest.mark.parametrize("error", [RuntimeError("Dimension out of range"), OSError(28, "No space left on device")])
def test_other_errors_are_not_a_lack_of_memory(error: Exception) -> None:
    assert not is_out_of_memory(error)
