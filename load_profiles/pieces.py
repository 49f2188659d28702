"""A long result in pieces that a message can hold, and the proof that all of them arrived."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from tuner.domain.errors import TransientFailure

PIECE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """What will come: so many bytes in so many pieces, with this SHA-256."""

    size_bytes: int
    pieces: int
    sha256: str


def parcel_of(content: bytes, *, piece_bytes: int = PIECE_BYTES) -> Parcel:
    """What to tell before the pieces."""
    return Parcel(
        size_bytes=len(content),
        pieces=-(-len(content) // piece_bytes),
        sha256=hashlib.sha256(content).hexdigest(),
    )


def pieces_of(content: bytes, *, piece_bytes: int = PIECE_BYTES) -> list[bytes]:
    """The pieces in order."""
    return [content[at : at + piece_bytes] for at in range(0, len(content), piece_bytes)]


@dataclass(slots=True)
class Gathering:
    """Pieces as they come, in any order; the same piece may come twice."""

    parcel: Parcel
    _pieces: dict[int, bytes] = field(default_factory=dict)

    def add(self, number: int, piece: bytes) -> None:
        """Raises TransientFailure for a piece that is none of this parcel's."""
        if not 0 <= number < self.parcel.pieces:
            raise TransientFailure(f"piece {number} of a result of {self.parcel.pieces} pieces")
        self._pieces[number] = piece

    @property
    def complete(self) -> bool:
        return len(self._pieces) == self.parcel.pieces

    def content(self) -> bytes:
        """All of it. Raises TransientFailure if a piece is missing or damaged."""
        content = b"".join(self._pieces[number] for number in sorted(self._pieces))
        if not self.complete or len(content) != self.parcel.size_bytes:
            raise TransientFailure(
                f"{len(content)} of {self.parcel.size_bytes} bytes of a load worker's result arrived"
            )
        if hashlib.sha256(content).hexdigest() != self.parcel.sha256:
            raise TransientFailure("a load worker's result was damaged on its way")
        return content
