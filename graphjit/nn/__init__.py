"""What NumPy lacks for convolutional networks: convolution and pooling of images.

On plain arrays each function computes with NumPy; in a traced function it becomes part of the
graph, with derivatives of any order, ``vmap`` and compiled code.

Images are arrays of four axes, in the layout ``"NHWC"`` (batch, height, width, channels) or
``"NCHW"`` (batch, channels, height, width).
"""

from __future__ import annotations

from graphjit.nn.convolution import conv2d
from graphjit.nn.pooling import avg_pool2d, max_pool2d

__all__ = ["avg_pool2d", "conv2d", "max_pool2d"]
