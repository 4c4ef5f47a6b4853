"""Logs on standard error, one JSON object a line."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

LOGGER = logging.getLogger("twelvefold.serve")


class JsonFormatter(logging.Formatter):
    """Format a record with its time, level, logger, message, ``fields``, and traceback if it has one."""

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
    """Format all logs of this process as JSON lines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def log_event(message: str, *, level: int = logging.INFO, exc_info: bool = False, **fields: object) -> None:
    """Log a message with additional fields."""
    LOGGER.log(level, message, extra={"fields": fields}, exc_info=exc_info)
