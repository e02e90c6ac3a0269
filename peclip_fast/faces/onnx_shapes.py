"""ONNX files of one fixed image size, made to take any.

A file is a message of protocol buffers: fields, each a key (number and kind) and a number or bytes.
https://onnx.ai/onnx/repo-docs/IR.html has the numbers of the fields.
"""

from __future__ import annotations

from collections.abc import Iterator

from peclip_fast.errors import InputError

_GRAPH = 7  # of a model
_INITIALIZER, _INPUT, _OUTPUT, _INNER = 5, 11, 12, 13  # of a graph
_NAME_OF_TENSOR, _NAME_OF_VALUE, _TYPE = 8, 1, 2
_TENSOR_TYPE, _ELEMENT, _SHAPE, _DIMENSION, _VALUE, _NAME = 1, 1, 2, 1, 1, 2
_FIXED = {1: 8, 5: 4}  # bytes of the kinds that are neither numbers nor bytes
_NUMBER, _BYTES = 0, 2

Field = tuple[int, int, bytes]


def any_size(data: bytes, name: str) -> bytes:
    """The same network, whose image may have any height and width, and any number of images.

    Weights are taken off the list of inputs, where old files have them too, as nothing could be
    computed ahead otherwise. Sizes within the network are left to whoever runs it.

    Args:
        data: the file.
        name: of the file, for errors.

    Raises:
        InputError: it is no ONNX file.
    """
    try:
        model = [*_fields(data)]
        return b"".join(
            _packed(field, kind, _freed(value) if field == _GRAPH else value)
            for field, kind, value in model
        )
    except (IndexError, UnicodeDecodeError):
        raise InputError(f"{name}: not an ONNX file") from None


def _freed(graph: bytes) -> bytes:
    fields = [*_fields(graph)]
    weights = {_value(v, _NAME_OF_TENSOR) for field, _, v in fields if field == _INITIALIZER}
    freed = []
    for field, kind, value in fields:
        named = _value(value, _NAME_OF_VALUE) if field in (_INPUT, _OUTPUT) else b""
        if field == _INNER or (field == _INPUT and named in weights):
            continue
        if field in (_INPUT, _OUTPUT):
            value = _open(value, named.decode())
        freed.append(_packed(field, kind, value))
    return b"".join(freed)


def _open(info: bytes, name: str) -> bytes:
    """An input or output whose sizes are left open but for the number of channels."""
    tensor = _value(_value(info, _TYPE), _TENSOR_TYPE)
    sizes = [size for field, _, size in _fields(_value(tensor, _SHAPE)) if field == _DIMENSION]
    shape = b"".join(
        _packed(_DIMENSION, _BYTES, size if axis == 1 else _open_size(f"{name}_{axis}"))
        for axis, size in enumerate(sizes)
    )
    kind = _packed(_ELEMENT, _NUMBER, _value(tensor, _ELEMENT)) + _packed(_SHAPE, _BYTES, shape)
    typed = _packed(_TENSOR_TYPE, _BYTES, kind)
    return _packed(_NAME_OF_VALUE, _BYTES, name.encode()) + _packed(_TYPE, _BYTES, typed)


def _open_size(name: str) -> bytes:
    return _packed(_NAME, _BYTES, name.encode())


def _value(message: bytes, wanted: int) -> bytes:
    """The last value of a field; empty without one."""
    return next((v for field, _, v in reversed([*_fields(message)]) if field == wanted), b"")


def _fields(message: bytes) -> Iterator[Field]:
    """(number, kind, value) of each field; a number's value is its own bytes."""
    place = 0
    while place < len(message):
        key, place = _number(message, place)
        kind, begin = key & 7, place
        if kind == _NUMBER:
            _, place = _number(message, place)
        elif kind == _BYTES:
            length, begin = _number(message, place)
            place = begin + length
        elif kind in _FIXED:
            place += _FIXED[kind]
        else:
            raise IndexError
        if place > len(message):
            raise IndexError
        yield key >> 3, kind, message[begin:place]


def _number(message: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while message[place] & 128:
        value |= (message[place] & 127) << shift
        place, shift = place + 1, shift + 7
    return value | message[place] << shift, place + 1


def _packed(field: int, kind: int, value: bytes) -> bytes:
    length = _varint(len(value)) if kind == _BYTES else b""
    return _varint(field << 3 | kind) + length + value


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])
