"""Celery's broker in a folder, with messages that appear whole.

kombu's own transport creates the file of a message, then writes it: a worker that looks in
between takes an empty message, and the task is lost.
"""

from __future__ import annotations

import time
import uuid
from pathlib import Path
from typing import Any

from kombu.transport import TRANSPORT_ALIASES, filesystem
from kombu.utils.json import dumps

URL = "folder://"


class Channel(filesystem.Channel):
    def _put(self, queue: str, payload: Any, **kwargs: Any) -> None:
        name = f"{time.monotonic_ns()}_{uuid.uuid4()}.{queue}.msg"
        part = Path(self.data_folder_out, f"{name}.part")
        part.write_text(dumps(payload))
        part.rename(part.with_suffix(""))


class Transport(filesystem.Transport):
    Channel = Channel


TRANSPORT_ALIASES["folder"] = f"{__name__}:Transport"
