"""The user's values on their way into the sandbox: several copies as they are sent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from jupyter_codeagent.packed import ALIGNED, Packed, Sealed, Shelf
from jupyter_codeagent.packed import pack as pack_one

Index = dict[str, tuple[tuple[int, int], list[tuple[int, int]]]]


class Parcel:
    """Copies ready to be sent, any number of times.

    Parameters
    ----------
    values : mapping
        The copies, by name.
    """

    def __init__(self, values: Mapping[str, Packed]) -> None:
        self.values = dict(values)

    def loads(self) -> Iterator[tuple[Index, int]]:
        """Yield descriptors of sealed files, with what lies where in each: a large value has a file of its own."""
        small: list[tuple[int, memoryview]] = []
        index: Index = {}
        end = 0
        for name, packed in self.values.items():
            if isinstance(packed.content, Sealed):
                yield {name: (packed.spans[0], packed.spans[1:])}, packed.content.fd
                continue
            spans = [(end + place, length) for place, length in packed.spans]
            index[name] = spans[0], spans[1:]
            small.append((end, memoryview(packed.content)))
            end += -(-len(packed.content) // ALIGNED) * ALIGNED
        if index:
            file = Sealed(small)
            yield index, file.fd


def pack(values: Mapping[str, Any], shelf: Shelf | None = None) -> Parcel:
    """Copy `values`; those that are copies already, or unchanged since they came on the shelf, as they are.

    Raises
    ------
    NotPlainData
        For the first value that cannot be pickled.
    """
    return Parcel({name: pack_one(name, value, shelf=shelf) for name, value in values.items()})
