"""Logs as one JSON object a line, on standard error: for people with a pager and for programs alike."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

LOGGER = logging.getLogger("twelvefold.serve")


class JsonLines(logging.Formatter):
    """time, level, logger, message, and what a record's ``fields`` say; a traceback where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def log_as_json(level: str) -> None:
    """Have everything that this process logs come out as JSON lines; the server's own access log stays off."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def say(message: str, *, level: int = logging.INFO, exc_info: bool = False, **fields: object) -> None:
    """Log a message with fields of its own."""
    LOGGER.log(level, message, extra={"fields": fields}, exc_info=exc_info)
