"""Which primitives a model's graph may consist of. Pure.

The list is what MLX 0.32 can serialise, less ``CustomKernel``: its source text would run on the evaluator's
device; and less ``RandomBits``: its numbers depend on a row's place in the batch, so that a forgotten dropout
would look like a look-ahead. Every other primitive is a fixed function of its inputs. Names are those of
MLX's own graph listing; what follows a blank (``Scatter Sum``) is a variant.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Final

from armlx_chain.errors import ModelUnsupported

_NAMES: Final = """
Abs Add AddMM And Arange ArcCos ArcCosh ArcSin ArcSinh ArcTan ArcTan2 ArcTanh ArgPartition ArgReduce
ArgSort AsStrided AsType BitwiseAnd BitwiseBinary BitwiseOr BitwiseXor BlockMaskedMM Broadcast
BroadcastAxes Ceil Cholesky Concatenate Conjugate Convolution Copy Cos Cosh CumLogAddExp CumLogaddexp
CumMax CumMin CumProd CumSum Depends DivMod Divide DynamicSlice DynamicSliceUpdate Eig Eigh Equal Erf
ErfInv Exp ExpandDims Expm1 FFT Flatten Floor Full Gather GatherAxis GatherMM GatherQMM Greater
GreaterEqual Hadamard Imag Inverse LayerNorm LayerNormVJP LeftShift Less LessEqual Load Log Log10 Log1p
Log2 LogAddExp LogSumExp LogicalAnd LogicalNot LogicalOr MaskedScatter Matmul Max Maximum Min Minimum
Multiply NaNEqual Negative NotEqual NumberOfElements Or Pad Partition Power Prod QRF Quantize
QuantizedMatmul RMSNorm RMSNormVJP Real Reduce Remainder Reshape RightShift RoPE Round Rsqrt
SVD Scan ScaledDotProductAttention Scatter ScatterAxis SearchSorted Select Sigmoid Sign Sin Sinh Slice
SliceUpdate Softmax Sort Split Sqrt Square Squeeze StopGradient Subtract Sum Tan Tanh Transpose Unflatten
View
"""
ALLOWED: Final = frozenset(_NAMES.split())
"""``Load`` is how the importer brings in a file's constants; a file cannot name it itself."""

_REFUSED_IN_FILES: Final = ("CustomKernel",)


def check_primitives(names: Iterable[str], allowed: frozenset[str] = ALLOWED) -> None:
    """Refuse a graph with a primitive outside the list.

    Raises:
        ModelUnsupported: naming the primitives.
    """
    foreign = sorted({name.split(" ")[0] for name in names} - allowed)
    if foreign:
        dropout = " It draws random numbers: is a dropout left on?" if "RandomBits" in foreign else ""
        raise ModelUnsupported(
            f"The model's graph uses {', '.join(foreign[:10])}, outside the list of primitives.{dropout}",
            next_step="Write the forward pass without custom kernels and random numbers; model.eval() turns "
            "dropout off.",
        )


def check_graph_bytes(graph: bytes | bytearray) -> None:
    """Refuse a graph file that names a refused primitive, before any program loads it.

    MLX writes a name as its length in 8 bytes and its letters.

    Raises:
        ModelUnsupported: naming the primitive.
    """
    for name in _REFUSED_IN_FILES:
        if struct.pack("<Q", len(name)) + name.encode() in graph:
            raise ModelUnsupported(f"The model's graph uses {name}, outside the list of primitives.")
