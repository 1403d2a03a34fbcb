"""The `Tensor`: an array plus the node of the tape that made it.

A tensor owns nothing else. Arithmetic operators, `reshape`, `sum` and so on are the functions of `rosenblatt.ops`;
they are attached here so that expressions read as in NumPy. Tensors default to float32; floating arrays keep their
precision (float16 becomes float32), integers and booleans become the default float.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from . import _core

if TYPE_CHECKING:
    from .autograd import HookHandle

Array = npt.NDArray[Any]

float32 = np.dtype(np.float32)
float64 = np.dtype(np.float64)
DEFAULT_DTYPE = float32

# One clock for taped ops and for writes into tensors: a tensor written after an op saved it has a later time.
tick = _core.tick
wrap = _core.wrap  # (float array known to be one) -> a tensor around it; skips all checks


def float_array(where: str, value: Any, dtype: npt.DTypeLike | None = None) -> Array:
    """`value` as a float32 or float64 array in native byte order (no copy when it is one already).

    Raises TypeError, naming `where`, for complex, text and object data and for precisions beyond float64.
    """
    if isinstance(value, Tensor):
        value = value.data
    plain = not isinstance(value, (np.ndarray, np.generic))
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{where}: expected a regular array of numbers: {error}") from None
    kind, size = array.dtype.kind, array.dtype.itemsize
    if dtype is not None:
        target = np.dtype(dtype)
        if target not in (float32, float64):
            raise TypeError(f"{where}: expected dtype float32 or float64, got {target}")
    elif kind == "f" and size == 8 and not plain:
        target = float64
    elif kind == "f" and size > 8:
        raise TypeError(f"{where}: expected float64 or narrower, got {array.dtype}")
    else:
        target = DEFAULT_DTYPE
    if kind not in "fiub":
        raise TypeError(f"{where}: expected real numbers, got an array of dtype {array.dtype}")
    return array if array.dtype == target and array.dtype.isnative else array.astype(target)


def _refuse_in_capture(what: str) -> None:
    if _core.recording():
        from ._capture import refuse_read

        refuse_read(what)


class Tensor(_core.TensorBase):
    """An n-dimensional array that remembers how it was made.

    Parameters
    ----------
    data : array_like
        Numbers of any shape. A float32/float64 array is shared, not copied.
    requires_grad : bool
        Whether `backward()` should leave a gradient of the same shape in `.grad`.
    dtype : float32 or float64, optional
    """

    __slots__ = ("__weakref__",)
    __array_priority__ = 1000.0
    __array_ufunc__ = None  # numpy array <op> tensor defers to the tensor
    __hash__ = object.__hash__

    grad: Tensor | None

    def __init__(self, data: Any, requires_grad: bool = False, dtype: npt.DTypeLike | None = None) -> None:
        self._data = float_array("Tensor", data, dtype)
        self.requires_grad = bool(requires_grad)

    def __reduce__(self) -> Any:
        """For `copy`: data, gradient and the wish for one. Raises RuntimeError for a result with a graph."""
        if self._node is not None:
            raise RuntimeError("copy: only a tensor without a graph can be copied; use detach()")
        return _rebuild, (type(self), self._data, self.requires_grad, self.grad)

    if TYPE_CHECKING:

        @property
        def data(self) -> Array: ...
        @data.setter
        def data(self, value: Any) -> None: ...
    else:

        def _assign(self, value: Any) -> None:
            self._data = float_array("Tensor.data", value)
            self._written = tick()

        data = property(
            operator.attrgetter("_data"),  # called from C: the property costs no Python frame
            _assign,
            doc="The array. Assigning one, or `t.data -= ...`, is seen by graphs that saved this tensor.",
        )

    # --- facts
    @property
    def shape(self) -> tuple[int, ...]:
        return self._data.shape

    @property
    def ndim(self) -> int:
        return self._data.ndim

    @property
    def size(self) -> int:
        return self._data.size

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._data.dtype

    @property
    def device(self) -> str:
        return "cpu"

    @property
    def is_leaf(self) -> bool:
        return self._node is None

    def __len__(self) -> int:
        if not self._data.ndim:
            raise TypeError("len() of a 0-d tensor")
        return len(self.data)

    def __contains__(self, value: Any) -> bool:
        """Whether an element equals `value`, as in NumPy."""
        _refuse_in_capture("looking for a value in a tensor")
        return bool((self._data == (value._data if isinstance(value, Tensor) else value)).any())

    def __repr__(self) -> str:
        _refuse_in_capture("printing a tensor")
        text = np.array2string(self.data, prefix="tensor(", separator=", ", threshold=64)
        extra = f", dtype={self.dtype}" if self.dtype != DEFAULT_DTYPE else ""
        if self._node is not None:
            extra += f", grad_fn={self._node.name}"
        elif self.requires_grad:
            extra += ", requires_grad=True"
        return f"tensor({text}{extra})"

    # --- to the outside
    def item(self) -> float:
        """The only element as a Python float. Raises ValueError unless there is exactly one."""
        _refuse_in_capture("item() or float()")
        if self._data.size != 1:
            raise ValueError(f"item: expected a tensor with one element, got shape {self.shape}")
        return float(self._data.reshape(-1)[0])

    def __float__(self) -> float:
        return self.item()

    def __bool__(self) -> bool:
        _refuse_in_capture("branching on a tensor")
        if self._data.size != 1:
            raise ValueError(f"truth value of a tensor of shape {self.shape} is ambiguous")
        return bool(self._data.reshape(-1)[0])

    def numpy(self) -> Array:
        """The data as a NumPy array sharing memory."""
        _refuse_in_capture("numpy()")
        return self.data

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> Array:
        _refuse_in_capture("turning a tensor into a NumPy array")
        if dtype is None or self._data.dtype == dtype:
            return self._data.copy() if copy else self._data
        if copy is False:
            raise ValueError(f"a tensor of {self._data.dtype} becomes {np.dtype(dtype)} only by a copy")
        return self._data.astype(dtype)

    def tolist(self) -> Any:
        _refuse_in_capture("tolist()")
        return self._data.tolist()

    def detach(self) -> Tensor:
        """The same data cut off from the tape."""
        return wrap(self._data)

    def to(self, target: Any) -> Tensor:
        """This tensor on device "cpu" or in dtype float32/float64 (differentiable)."""
        if isinstance(target, str) and target.split(":")[0] in ("cpu", "cuda"):
            if target == "cpu":
                return self
            raise ValueError(f"to: device {target!r} is not available in this build (expected 'cpu')")
        return self.astype(target)

    # --- gradients
    def backward(self, grad: Any = None, retain_graph: bool = False, create_graph: bool = False) -> None:
        """Adds d(self)/d(leaf) to `.grad` of every leaf that requires it.

        `grad` is the gradient flowing in, of this tensor's shape; it may be left out for a single element.
        Raises RuntimeError when there is no graph or it was freed, ValueError for a wrong shape.
        """
        _autograd.backward(self, grad, retain_graph, create_graph)

    def zero_grad(self) -> None:
        self.grad = None

    def register_hook(self, hook: Callable[[Tensor], Tensor | Array | None]) -> HookHandle:
        """Calls `hook(gradient)` in every backward pass, once, with the whole gradient of this tensor.

        The gradient has this tensor's shape and is not to be written to. What the hook returns replaces it (for
        `.grad` and for everything before this tensor); None keeps it. Hooks run in order of registration; the handle's
        `remove()` takes this one away. Raises RuntimeError for a tensor that requires no gradient; a replacement of
        another shape raises ValueError in the pass.
        """
        return _autograd.register_hook(self, hook)

    if TYPE_CHECKING:
        # Attached from rosenblatt.ops at import; listed for type checkers.
        def __add__(self, other: Any) -> Tensor: ...
        def __radd__(self, other: Any) -> Tensor: ...
        def __sub__(self, other: Any) -> Tensor: ...
        def __rsub__(self, other: Any) -> Tensor: ...
        def __mul__(self, other: Any) -> Tensor: ...
        def __rmul__(self, other: Any) -> Tensor: ...
        def __truediv__(self, other: Any) -> Tensor: ...
        def __rtruediv__(self, other: Any) -> Tensor: ...
        def __pow__(self, other: Any) -> Tensor: ...
        def __rpow__(self, other: Any) -> Tensor: ...
        def __matmul__(self, other: Any) -> Tensor: ...
        def __rmatmul__(self, other: Any) -> Tensor: ...
        def __neg__(self) -> Tensor: ...
        def __abs__(self) -> Tensor: ...
        def __gt__(self, other: Any) -> Tensor: ...
        def __ge__(self, other: Any) -> Tensor: ...
        def __lt__(self, other: Any) -> Tensor: ...
        def __le__(self, other: Any) -> Tensor: ...
        def __getitem__(self, index: Any) -> Tensor: ...
        def exp(self) -> Tensor: ...
        def log(self) -> Tensor: ...
        def sqrt(self) -> Tensor: ...
        def square(self) -> Tensor: ...
        def abs(self) -> Tensor: ...
        def relu(self) -> Tensor: ...
        def tanh(self) -> Tensor: ...
        def sigmoid(self) -> Tensor: ...
        def softmax(self, axis: int = -1) -> Tensor: ...
        def log_softmax(self, axis: int = -1) -> Tensor: ...
        def sum(self, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Tensor: ...
        def mean(self, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Tensor: ...
        def max(self, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Tensor: ...
        def min(self, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Tensor: ...
        def argmax(self, axis: int | None = None) -> Array: ...
        def reshape(self, *shape: Any) -> Tensor: ...
        def flatten(self, start_axis: int = 0) -> Tensor: ...
        def transpose(self, *axes: Any) -> Tensor: ...
        def astype(self, dtype: Any) -> Tensor: ...
        def matmul(self, other: Any) -> Tensor: ...

        @property
        def T(self) -> Tensor: ...


class Parameter(Tensor):
    """A leaf tensor that a module owns and an optimiser updates."""

    __slots__ = ()

    def __init__(self, data: Any, requires_grad: bool = True, dtype: npt.DTypeLike | None = None) -> None:
        super().__init__(data, requires_grad, dtype)

    def __repr__(self) -> str:
        return f"Parameter(shape={self.shape}, dtype={self.dtype})"


def _rebuild(cls: type[Tensor], data: Array, requires_grad: bool, grad: Tensor | None) -> Tensor:
    t = cls.__new__(cls)
    t._data, t.requires_grad, t.grad = data, requires_grad, grad
    return t


def tensor(data: Any, requires_grad: bool = False, dtype: npt.DTypeLike | None = None) -> Tensor:
    """A new tensor holding a copy of `data` (array_like of any shape); see `Tensor` for the dtype rule."""
    source = data.data if isinstance(data, Tensor) else data
    array = float_array("tensor", source, dtype)
    if isinstance(source, np.ndarray) and np.shares_memory(array, source):
        array = array.copy()
    return Tensor(array, requires_grad)


_core.tape_use({"Tensor": Tensor, "float_array": float_array})

from . import autograd as _autograd  # noqa: E402  (it imports the names above)
