"""Secrets: password rules and hashing, random tokens and their hashes.

Knows argon2id and SHA-256. Knows nothing of accounts.
"""

import secrets
from hashlib import sha256

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError

from app.domain.errors import Invalid

SHORTEST, LONGEST = 12, 200
_COMMON = frozenset(
    {
        "passwordpassword",
        "password1234",
        "123456789012",
        "1234567890123",
        "qwertyuiopas",
        "qwertyuiop12",
        "letmeinletmein",
    }
)

_hasher = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)
# Verified against when there is no such account, so that both answers take the same time.
_NOBODY = _hasher.hash(secrets.token_urlsafe())


def hash_password(password: str, name: str) -> str:
    """The argon2id hash of a new password. Raises Invalid when it is too short, too long, or easily guessed."""
    if len(password) < SHORTEST:
        raise Invalid(f"The password has {len(password)} characters.", f"Use at least {SHORTEST}.", "password")
    if len(password) > LONGEST:
        raise Invalid("The password is too long.", f"Use at most {LONGEST} characters.", "password")
    folded = password.lower()
    if folded in _COMMON or len(set(folded)) < 4 or folded == name.lower():
        raise Invalid("That password is among the first that anybody tries.", "Use a few unrelated words.", "password")
    return _hasher.hash(password)


def verify_password(password: str, password_hash: str | None) -> bool:
    """Whether the password is the one; takes as long when there is none."""
    try:
        return _hasher.verify(password_hash or _NOBODY, password[:LONGEST]) and password_hash is not None
    except (VerifyMismatchError, InvalidHashError):
        return False


def new_token() -> str:
    """A random secret of 256 bits, safe in a URL."""
    return secrets.token_urlsafe(32)


def token_hash(token: str) -> bytes:
    """What is stored of a token. It is random and long, so a fast hash suffices."""
    return sha256(token.encode()).digest()
