"""The router's flat vector: SVF offsets block by block, then the head's parts in `HeadForm.shapes`' order, row-major.

Source: TRINITY's released checkpoint: 9 × 1024 offsets in `state_dict` order, then the head
[10, 1024]. A vector is float32, finite, and stored as `.npy` without pickle.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.errors import BadFile, BadInput
from models.fugu.forward.layout import Layout

if TYPE_CHECKING:
    from torch import Tensor

Vector = NDArray[np.float32]
Numbers: TypeAlias = "NDArray[np.floating] | Sequence[float] | Tensor"
"""The types in which a vector may be given."""


def checked(given: Numbers, layout: Layout, size: int) -> Vector:
    """A float32 copy of a vector with a head of `size` numbers. BadInput, for a wrong length (names the right one),
    NaN, infinity, non-numbers."""
    vector = _array(given)
    expected = layout.offsets + size
    if vector.ndim != 1 or len(vector) != expected:
        raise BadInput(
            f"the vector has shape {vector.shape}; layout {layout.name!r} takes {expected} numbers "
            f"({layout.offsets} offsets, then {size} of the head)",
            "vector",
        )
    if not np.issubdtype(vector.dtype, np.number) or np.iscomplexobj(vector):
        raise BadInput(f"the vector holds {vector.dtype}, not real numbers", "vector")
    with np.errstate(over="ignore"):  # numbers beyond float32 become infinite and are rejected below
        vector = vector.astype(np.float32)
    if not np.isfinite(vector).all():
        raise BadInput("the vector holds NaN or infinite numbers", "vector")
    return vector


def _array(given: Any) -> NDArray[Any]:
    """A copy as an array of any dtype. A tensor may be on a GPU, need gradients, or be bfloat16."""
    try:
        return np.array(given.detach().cpu().double().numpy() if hasattr(given, "detach") else given)
    except (TypeError, ValueError, RuntimeError) as error:
        raise BadInput(f"the vector is no array of numbers ({error})", "vector") from None


def split(vector: Vector, layout: Layout) -> tuple[Vector, Vector]:
    """Offsets [layout.offsets] and the head's numbers, flat, of a checked vector (views)."""
    return vector[: layout.offsets], vector[layout.offsets :]


def join(offsets: NDArray[np.floating], head: NDArray[np.floating]) -> Vector:
    """The flat vector of offsets [n] and a head's numbers, such as rows [rows, width]."""
    return np.concatenate([np.ravel(offsets), np.ravel(head)]).astype(np.float32)


def digest(vector: NDArray[np.floating]) -> str:
    """sha256 (hex) of the vector's little-endian float32 bytes."""
    return hashlib.sha256(np.ascontiguousarray(vector, dtype="<f4").tobytes()).hexdigest()


def load(path: str | Path) -> NDArray[np.floating]:
    """A `.npy` file's array, never unpickled. Raises BadFile."""
    try:
        array: NDArray[np.floating] = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise BadFile(path, f"no readable .npy file without pickle ({error})") from None
    if not isinstance(array, np.ndarray):
        raise BadFile(path, "holds an archive, not one array")
    return array
