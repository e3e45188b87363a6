"""Result addresses that expire: signs a media file name for a while, and checks such a signature.

It knows HMAC and expiry. It must not know tasks or files. Real results are cleared after thirty days and
many gateways' links die sooner; a consumer that keeps the link instead of the file should notice here.
"""

from __future__ import annotations

import hashlib
import hmac
from urllib.parse import urlencode


class Links:
    """Makes and checks signed addresses under `/media/`."""

    def __init__(self, secret: str) -> None:
        """Take the signing secret, which the store keeps so that links survive a restart."""
        self._secret = secret.encode()

    def make(self, base_url: str, name: str, expires: float) -> str:
        """Sign `name` until `expires` (simulated Unix seconds)."""
        whole = int(expires)
        return f"{base_url}/media/{name}?{urlencode({'expires': whole, 'sig': self._sign(name, str(whole))})}"

    def holds(self, name: str, expires: str, sig: str, now: float) -> bool:
        """Whether the signature is ours and the time has not come."""
        # Bytes, because compare_digest refuses to compare text that is not ASCII.
        genuine = hmac.compare_digest(self._sign(name, expires).encode(), sig.encode())
        return genuine and expires.isdigit() and now < int(expires)

    def _sign(self, name: str, expires: str) -> str:
        return hmac.new(self._secret, f"{name}\n{expires}".encode(), hashlib.sha256).hexdigest()
