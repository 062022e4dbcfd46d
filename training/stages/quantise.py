"""Stage 4: adds the int8 variant, for CPUs that multiply bytes fast; `calibrate` calibrates it and checks its accuracy.

Static quantisation in QDQ form, of the network alone: activations become uint8, with a zero point and a step per tensor;
weights become int8, with a step per output channel. Preprocessing, head, heat-map and novelty stay float32.

Tried on MobileNetV2 and left out: cross-layer equalisation (Nagel et al. 2019), and percentiles or entropy in place of the
least and greatest activations, changed nothing. Rounding to the nearest step in place of `rounding` missed the gate (figures
there). A convolution in fp32 between others in int8 ruins the network: ONNX Runtime then quantises its weights by itself, with
one step for all channels (its optimiser WeightBiasQuantization)."""

import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from service.model.artefact import Variant
from service.model.classifier import GreyImage
from training.config import Config
from training.data import manifest, splits
from training.graph import assembly, inference, model_folder, rounding, surgery
from training.graph.model_folder import FP32, INT8

RANGES, ROUNDING = 256, 64  # representative images, for the activations' ranges and for the rounding of weights
OPERATORS = ["Conv", "Add", "Clip", "Relu", "MaxPool"]

Pixels: TypeAlias = npt.NDArray[np.float32]


def run(config: Config, run_dir: Path) -> None:
    """Adds the variant to `model/` and drops the figures that were measured before."""
    folder = run_dir / "model"
    description = model_folder.description_of(folder)
    model = onnx.load(folder / description.variants[FP32].file)
    train = manifest.of_split(manifest.read_manifest(run_dir / manifest.MANIFEST), splits.TRAIN)
    chosen = np.linspace(0, len(train) - 1, min(RANGES, len(train))).astype(int)
    representative_images = [manifest.read_image(Path(config.data.folder), train[index]) for index in chosen]
    quantised, kept = quantise(model, representative_images)
    temperature, bias = assembly.calibration(model)
    file, size = model_folder.INT8_FILE, quantised.ByteSize()
    variant = Variant(file=file, bytes=size, temperature=temperature, bias=bias, kept_in_fp32=kept)
    variants, metrics = {FP32: description.variants[FP32], INT8: variant}, model_folder.network_metrics(description)
    description = msgspec.structs.replace(description, variants=variants, metrics=metrics)
    model_folder.write(folder, {FP32: model, INT8: quantised}, description)
    print(f"{variant.file}: {variant.bytes / 1e6:.1f} MB, in fp32 {', '.join(kept) or 'no convolution'}")


def quantise(model: onnx.ModelProto, images: Sequence[GreyImage]) -> tuple[onnx.ModelProto, list[str]]:
    """The int8 form of a served graph, and the names of the layers that stay float32."""
    network = surgery.network_of(model)
    names = [node.name for node in network.graph.node if node.op_type == "Conv"]
    # ONNX Runtime is faster in float32 for a stem and a depthwise convolution after it: their maps are the largest of all.
    second = next(node for node in network.graph.node if node.name == names[1])
    kept = names[:2] if surgery.attribute(second, "group") > 1 else []
    if not kept:
        network = surgery.space_to_depth(network)
    session = inference.session_of(surgery.with_outputs(model, [surgery.INPUT]))
    pixels = np.concatenate([session.run([surgery.INPUT], {"images": [image]})[0] for image in images])  # [N, 1, S, S]
    steps = rounding.round_weights(network, names[len(kept) :], pixels[:: max(1, len(pixels) // ROUNDING)])
    return surgery.with_network(model, _in_int8(network, kept, steps, pixels)), kept


def _in_int8(
    network: onnx.ModelProto, kept: Sequence[str], steps: dict[str, npt.NDArray[np.float32]], pixels: Pixels
) -> onnx.ModelProto:
    overrides = {
        name: [{"quant_type": QuantType.QInt8, "scale": step, "zero_point": np.int8(0), "axis": 0} for step in of_channels]
        for name, of_channels in steps.items()
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        logging.disable(logging.WARNING)  # it advises to optimise first, which the exporter has done
        try:
            quantize_static(
                network, path, _Pixels(pixels), quant_format=QuantFormat.QDQ, op_types_to_quantize=OPERATORS,
                per_channel=True, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
                nodes_to_exclude=list(kept), extra_options={"TensorQuantOverrides": overrides},
            )  # fmt: skip
        finally:
            logging.disable(logging.NOTSET)
        return onnx.load(path)


class _Pixels(CalibrationDataReader):  # type: ignore[misc]  # ONNX Runtime has no types
    def __init__(self, pixels: Pixels) -> None:
        self.rest = iter(pixels)

    def get_next(self) -> dict[str, Pixels] | None:
        image = next(self.rest, None)
        return None if image is None else {surgery.INPUT: image[None]}
