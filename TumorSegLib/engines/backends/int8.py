"""Networks in 8-bit integers, for OpenVINO: made by nncf, the only package that is needed for this alone.

Weights have a scale per output channel, activations one per tensor (Krishnamoorthi 2018, arXiv:1806.08342). Only inputs
of convolutions are rounded. Those that read the image or give the answer, and everything else, with the normalisation,
stay float. Before, channels are scaled to the same range, and weights by the inverse (Nagel et al. 2019,
arXiv:1906.04721): channels with small values would be rounded to a few steps. Biases are not corrected: a normalisation
follows them, which takes them out again.
"""

from __future__ import annotations

import io
import logging
import tempfile
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from TumorSegLib.engines.backends.openvino import OpenVinoNetwork, load_openvino
from TumorSegLib.errors import ModelError, ResourceError
from TumorSegLib.geometry.arrays import Float32Array
from TumorSegLib.memory import is_out_of_memory
from TumorSegLib.models.int8 import INT8_NETWORK, INT8_WEIGHTS
from TumorSegLib.models.spec import ModelSpec

#: Operations that are computed in int8, as OpenVINO calls them, with the axis of the input's channels in their weights.
CONVOLUTIONS = {"Convolution": 1, "ConvolutionBackpropData": 0}
# A channel whose largest value is a smaller share than this of the largest of all is taken for empty.
LEAST_SHARE = 1e-3


def made_with() -> str:
    """Names and versions of the packages that make a network in int8; raises as :func:`quantised`."""
    nncf = _load_nncf()
    return f"openvino {load_openvino().__version__}, nncf {nncf.__version__}"


def quantised(
    spec: ModelSpec, network: nn.Module, windows: Sequence[Float32Array], ends: int = 1
) -> tuple[bytes, bytes]:
    """A network in int8, as the content of OpenVINO's two files.

    Args:
        spec: the model.
        network: float32 on the CPU, in evaluation mode; not changed.
        windows: inputs ``[channels, k, j, i]`` that the ranges of the activations are taken from.
        ends: how many convolutions stay float on the shortest way from the image, and on that to the answer.

    Raises:
        ResourceError: nncf is not installed, or OpenVINO cannot be used.
        ModelError: the network cannot be converted, or nothing of it can be in int8.
    """
    nncf = _load_nncf()
    try:
        model = OpenVinoNetwork(spec, network, torch.float32).model.clone()
        inner = _inner_convolutions(model, ends)
        _equalise(model, inner, windows)
        with redirect_stdout(io.StringIO()):  # nncf draws bars there
            copy = nncf.quantize(
                model,
                nncf.Dataset([window[None] for window in windows]),
                subset_size=len(windows),
                preset=nncf.QuantizationPreset.MIXED,  # activations from a leaky ReLU are hardly ever negative
                ignored_scope=_all_but(nncf, model, inner),
                advanced_parameters=nncf.AdvancedQuantizationParameters(
                    disable_bias_correction=True, activations_range_estimator_params=_whole_range()
                ),
            )
        return _content(copy)
    except Exception as error:  # of nncf and OpenVINO, which raise many kinds
        if is_out_of_memory(error):
            raise
        raise ModelError(f"model {spec.name!r} cannot be made int8: {type(error).__name__}: {error}") from error


def _load_nncf() -> Any:
    """The package ``nncf``, imported without telemetry and silent."""
    try:
        load_openvino()
        import nncf
    except (ImportError, RuntimeError) as error:
        raise ResourceError(
            f"openvino and nncf are needed to make a network int8: pip install 'tumorseg[export]' ({error})"
        ) from error
    logging.getLogger("nncf").setLevel(logging.ERROR)
    return nncf


def _whole_range() -> Any:
    """The smallest and the largest value of all windows; by default nncf takes means, which cuts off the brightest."""
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    return RangeEstimatorParametersSet.MINMAX


def _inner_convolutions(model: Any, ends: int) -> list[Any]:
    """The convolutions with so many others on each way from the image, and to the answer; ValueError for none."""
    ordered = model.get_ordered_ops()
    before, behind = dict[str, int](), dict[str, int]()  # fewest convolutions up to a node, and from it on, with itself
    for node in ordered:
        _count(node, [value.get_node() for value in node.input_values()], before)
    for node in reversed(ordered):
        _count(node, [reader.get_node() for out in node.outputs() for reader in out.get_target_inputs()], behind)
    inner = []
    for node in filter(_is_convolution, ordered):
        name = node.get_friendly_name()
        if min(before.get(name, 0), behind.get(name, 0)) > ends:
            inner.append(node)
    if not inner:
        raise ValueError("it has no convolution between others")
    return inner


def _count(node: Any, near: Sequence[Any], counts: dict[str, int]) -> None:
    """Counts on from those next to a node that are known; constants are on no way."""
    known = [counts[each.get_friendly_name()] for each in near if each.get_friendly_name() in counts]
    if known or node.get_type_name() in ("Parameter", "Result"):
        counts[node.get_friendly_name()] = min(known, default=0) + _is_convolution(node)


def _is_convolution(node: Any) -> bool:
    return node.get_type_name() in CONVOLUTIONS


def _all_but(nncf: Any, model: Any, inner: Sequence[Any]) -> Any:
    """What stays float: all other convolutions and all other kinds of operations."""
    kept = {node.get_friendly_name() for node in inner}
    nodes = [node for node in model.get_ops() if node.get_friendly_name() not in kept]
    names = [node.get_friendly_name() for node in nodes if node.get_type_name() in CONVOLUTIONS]
    types = {node.get_type_name() for node in nodes} - {*CONVOLUTIONS, "Constant", "Parameter", "Result"}
    return nncf.IgnoredScope(names=names, types=sorted(types))


def _equalise(model: Any, convolutions: Sequence[Any], windows: Sequence[Float32Array]) -> None:
    """Scales the input of convolutions so that all its channels have the same range, and their weights back.

    The network's answers stay the same up to rounding.
    """
    from openvino import opset13

    scaled: dict[tuple[str, int], tuple[Float32Array, Any]] = {}
    for node, largest in zip(convolutions, _largest_values(model, convolutions, windows)):
        source = node.input_value(0)
        key = source.get_node().get_friendly_name(), source.get_index()
        if key not in scaled:
            shares = np.maximum(largest / max(largest.max(), 1e-6), LEAST_SHARE).astype(np.float32)
            inverse = opset13.constant(1 / shares.reshape(1, -1, *[1] * (len(source.get_partial_shape()) - 2)))
            scaled[key] = shares, opset13.multiply(source, inverse).output(0)
        shares, values = scaled[key]
        weights, axis = node.input_value(1).get_node().get_data(), CONVOLUTIONS[node.get_type_name()]
        weights = weights * shares.reshape([-1 if each == axis else 1 for each in range(weights.ndim)])
        node.input(0).replace_source_output(values)
        node.input(1).replace_source_output(opset13.constant(weights).output(0))
    model.validate_nodes_and_infer_types()


def _largest_values(model: Any, convolutions: Sequence[Any], windows: Sequence[Float32Array]) -> list[Float32Array]:
    """Of each convolution the largest absolute value in each channel of its input, over all windows."""
    from openvino import opset13

    observed, names = model.clone(), [node.get_friendly_name() for node in convolutions]
    by_name = {node.get_friendly_name(): node for node in observed.get_ops()}
    maxima = []
    for name in names:
        source = by_name[name].input_value(0)
        axes = [axis for axis in range(len(source.get_partial_shape())) if axis != 1]
        maxima.append(opset13.reduce_max(opset13.abs(source), opset13.constant(axes)).output(0))
    observed.add_outputs(maxima)
    compiled = load_openvino().Core().compile_model(observed, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = [[np.array(value) for value in list(compiled([each[None]]).values())[-len(names) :]] for each in windows]
    return [np.max(values, axis=0) for values in zip(*found)]


def _content(model: Any) -> tuple[bytes, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        load_openvino().save_model(model, str(Path(folder, INT8_NETWORK)))
        return Path(folder, INT8_NETWORK).read_bytes(), Path(folder, INT8_WEIGHTS).read_bytes()
