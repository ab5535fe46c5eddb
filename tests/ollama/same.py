"""What must be equal between two answers to the same call, and what may not be: ids, times, durations."""

import re

TIMES = {"created_at", "completed_at", "created", "expires_at", "modified_at", "modified"}
IDS = {"id", "call_id", "item_id", "tool_call_id", "response_id", "request_id", "_request_id"}
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
# How much of a prompt the model server still had from before is luck, not part of the answer.
LUCK = {"prompt_eval_cached_count", "cached_tokens", "cache_read_input_tokens", "cache_read", "size_vram"}


def plain(value):
    """Lists, dicts, texts and numbers instead of a client's own types."""
    if hasattr(value, "model_dump"):
        return plain(value.model_dump(warnings=False))
    if isinstance(value, dict):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return str(value)


def masked(value):
    """`value` with a sign in place of all that differs from one run to the next. Equal ids get equal signs."""
    return _masked(plain(value), {})


def _masked(value, ids):
    if isinstance(value, list):
        return [_masked(item, ids) for item in value]
    if not isinstance(value, dict):
        return value
    # Anthropic's dialect reports the cached part of the prompt beside the rest: only the sum is the prompt's.
    if (read := value.get("cache_read_input_tokens")) is not None:
        value = value | {"input_tokens": value["input_tokens"] + read}
    return {name: _field(name, item, ids) for name, item in value.items()}


def _field(name, item, ids):
    if item is None:
        return None
    if name in TIMES:
        return "<time>"
    if name in LUCK:
        return "<luck>"
    if name.endswith("_duration"):
        return "<duration>"
    if name in IDS and isinstance(item, str):
        kind = "uuid" if UUID.fullmatch(item) else re.match(r"[a-zA-Z]*", item)[0]
        return ids.setdefault(item, f"<{kind} {len(ids)}>")
    return _masked(item, ids)
