"""Networks of the SAM family on OpenVINO: encoder and decoder, each converted for one slice."""

from __future__ import annotations

import torch
from torch import nn

from TumorSegLib.engines.backends.openvino import Inputs, OpenVinoNetwork
from TumorSegLib.engines.networks.sam import Sam
from TumorSegLib.models.spec import ModelSpec

#: Networks that are converted; the others have 91 to 636 million parameters, copies of which would fill the cache.
CONVERTED = ("LiteMedSAM",)


class OpenVinoSam:
    """Called as :class:`~TumorSegLib.engines.networks.sam.Sam`, with float32 on the CPU, from several threads.

    Slices are computed one by one: LiteMedSAM gains nothing from batches on a CPU.

    Attributes:
        image_size: edge of the images, in pixels.
    """

    encodes_mixed = False

    def __init__(self, spec: ModelSpec, network: Sam, dtype: torch.dtype) -> None:
        """Takes both parts from the cache, or converts them.

        Args:
            spec: the model.
            network: float32 on the CPU, in evaluation mode; not changed.
            dtype: that it computes in.

        Raises:
            BackendError: as of :class:`OpenVinoNetwork`.
        """
        self.image_size = network.image_size
        image = (1, 3, self.image_size, self.image_size)
        embedding = (1, network.mask_decoder.transformer_dim, network.embedding_size, network.embedding_size)
        self._encoder = OpenVinoNetwork(spec, network.image_encoder, dtype, Inputs.fixed(image))
        self._decoder = OpenVinoNetwork(spec, _Decoder(network).eval(), dtype, Inputs.fixed(embedding, (1, 4)))

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """As :meth:`Sam.encode`; raises :class:`BackendError` where OpenVINO fails."""
        return torch.cat([self._encoder(image[None]) for image in images])

    def decode(self, embeddings: torch.Tensor, boxes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """As :meth:`Sam.decode`; raises :class:`BackendError` where OpenVINO fails."""
        answers = [self._decoder(embedding[None], box[None]) for embedding, box in zip(embeddings, boxes)]
        logits, scores = zip(*answers)
        return torch.cat(logits), torch.cat(scores)

    def forget_threads(self) -> None:
        """See :meth:`OpenVinoNetwork.forget_threads`."""
        self._encoder.forget_threads()
        self._decoder.forget_threads()


class _Decoder(nn.Module):
    """Prompt encoder and mask decoder as a module of their own."""

    def __init__(self, network: Sam) -> None:
        super().__init__()
        self.network = network

    def forward(self, embedding: torch.Tensor, box: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.network.decode(embedding, box)
