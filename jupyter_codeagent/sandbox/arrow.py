"""Arrow IPC streams that came out of the sandbox, checked before anybody uses them."""

from __future__ import annotations

import struct
from typing import Any

from jupyter_codeagent.sandbox.reading import Invalid

NESTED = 16
MESSAGES = 100_000
COLUMNS = 100_000
EXTENSION = b"ARROW:extension"
# field numbers in Arrow's format/Message.fbs: the header of a message, a dictionary's data, a batch's compression
HEADER, DATA, COMPRESSION = 2, 1, 3


def table(data: bytearray) -> Any:
    """Return the Arrow table in a stream.

    Compressed streams, extension types, views, runs, columns without bytes, and whatever ``validate`` objects to are
    refused: so a table takes no more memory than its bytes.

    Raises
    ------
    Invalid
        If there is any of that; Arrow's own errors where the stream is broken.
    """
    import pyarrow

    buffer = pyarrow.py_buffer(data)
    _check_messages(buffer)
    with pyarrow.ipc.open_stream(buffer, options=pyarrow.ipc.IpcReadOptions(use_threads=False)) as reader:
        schema = reader.schema
        if len(schema) > COLUMNS or not all(_plain(field.type) for field in schema):
            raise Invalid("a table has a type that is not plain data")
        found = reader.read_all()
    if found.num_rows > 8 * len(data):
        raise Invalid("a table has more rows than bytes")
    found.validate(full=True)
    return found.replace_schema_metadata(None)


def column(data: bytearray) -> Any:
    """Return the one column of the table in a stream, as a chunked array."""
    found = table(data)
    if found.num_columns != 1:
        raise Invalid("there is not one column where one belongs")
    return found.column(0)


def _check_messages(buffer: Any) -> None:
    import pyarrow

    reader = pyarrow.ipc.MessageReader.open_stream(buffer)
    for number, message in enumerate(reader):
        if number > MESSAGES:
            raise Invalid("a table is in too many pieces")
        if message.type not in ("schema", "record batch", "dictionary"):
            raise Invalid("a table has a piece of an unknown kind")
        header = message.metadata.to_pybytes()
        if message.type == "schema" and EXTENSION in header:  # some types execute what they find to be rebuilt
            raise Invalid("a table has an extension type")
        if message.type != "schema" and compressed(header, message.type == "dictionary"):
            raise Invalid("a table is compressed")


def compressed(message: bytes, dictionary: bool) -> bool:
    """Say whether a record batch's or a dictionary's bytes are compressed, which is how a few can become many.

    Reads the message's FlatBuffers tables (https://flatbuffers.dev/internals), after Arrow has verified them.
    """
    try:
        batch = _follow(message, _follow(message, 0, None), HEADER)
        if batch and dictionary:
            batch = _follow(message, batch, DATA)
        return not batch or _follow(message, batch, COMPRESSION) != 0
    except struct.error:
        return True


def _follow(message: bytes, table: int, field: int | None) -> int:
    """Return the place of what a field refers to, 0 where it is not set; without a field, that of the root table."""
    if field is not None:
        start = table - struct.unpack_from("<i", message, table)[0]
        (size,) = struct.unpack_from("<H", message, start)
        at = 4 + 2 * field
        (offset,) = struct.unpack_from("<H", message, start + at) if at + 2 <= size else (0,)
        if not offset:
            return 0
        table += offset
    return int(table + struct.unpack_from("<I", message, table)[0])


def _plain(kind: Any, depth: int = 0) -> bool:
    """Say whether values of a type take at least a bit each, and nothing is executed for them."""
    from pyarrow import types

    if depth > NESTED:
        return False
    if types.is_dictionary(kind):
        return types.is_integer(kind.index_type) and _plain(kind.value_type, depth + 1)
    if types.is_list(kind) or types.is_large_list(kind):
        return _plain(kind.value_type, depth + 1)
    if types.is_map(kind):
        return _plain(kind.key_type, depth + 1) and _plain(kind.item_type, depth + 1)
    if types.is_struct(kind):
        return 0 < kind.num_fields <= COLUMNS and all(_plain(field.type, depth + 1) for field in kind)
    if types.is_fixed_size_binary(kind):
        return bool(kind.byte_width > 0)
    if types.is_fixed_size_list(kind):
        return kind.list_size > 0 and _plain(kind.value_type, depth + 1)
    if isinstance(kind, _extension()) or types.is_null(kind):
        return False
    if types.is_decimal(kind):
        return bool(0 <= kind.scale <= kind.precision)
    flat = types.is_primitive(kind) or types.is_string(kind) or types.is_large_string(kind)
    return bool(flat or types.is_binary(kind) or types.is_large_binary(kind))


def _extension() -> type:
    import pyarrow

    kind: type = pyarrow.BaseExtensionType
    return kind
