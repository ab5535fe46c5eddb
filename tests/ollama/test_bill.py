"""A bill on a real Ollama: what `/costs` says is what Ollama said it took, times the price, in exact fractions."""

import json
import time
from decimal import Decimal
from fractions import Fraction

import httpx

from models import EMBEDDING, GREEDY, QUESTION, TEXT

# In billionths nothing here comes out even.
PROMPT, COMPLETION, EMBEDDED, SECOND = "0.137", "0.6113", "0.0171", "0.00071"
PRICES = (
    f'[{{ model = "smollm2", prompt = "{PROMPT}", completion = "{COMPLETION}", gpu_second = "{SECOND}" }}, '
    f'{{ model = "{EMBEDDING}", embedding = "{EMBEDDED}", gpu_second = "{SECOND}" }}]'
)
BILLIONTH = Fraction(1, 10**9)


def rounded(amount):
    """To the nearest billionth; a half goes up."""
    return (2 * amount / BILLIONTH + 1) // 2 * BILLIONTH


def last_frame(answer):
    return json.loads(answer.text.splitlines()[-1])


def cost_of(path, answer):
    """One trip's, by the figures in its own answer; times are cut to the microsecond, each by itself."""
    if path.startswith("/v1/"):
        usage = answer.json()["usage"]
        prompt, completion, nanos = usage["prompt_tokens"], usage["completion_tokens"], []
    elif path == "/api/embed":
        told = answer.json()
        load, total = told["load_duration"], told["total_duration"]
        micros = load // 1000 + (total - load) // 1000
        tokens = Fraction(EMBEDDED) * told["prompt_eval_count"] / 10**6
        return rounded(tokens + Fraction(SECOND) * micros / 10**6)
    else:
        told = last_frame(answer)
        prompt, completion = told.get("prompt_eval_count", 0), told["eval_count"]
        nanos = [told.get(name, 0) for name in ("load_duration", "prompt_eval_duration", "eval_duration")]
    tokens = (Fraction(PROMPT) * prompt + Fraction(COMPLETION) * completion) / 10**6
    return rounded(tokens + Fraction(SECOND) * sum(time // 1000 for time in nanos) / 10**6)


def test_a_bill_is_tokens_times_price(start_own):
    pannier = start_own(prices__models=PRICES, ledger__hit_rows_per_second="1000000")
    house = httpx.Client(
        base_url=pannier.admin,
        headers={"X-API-Key": (pannier.log.parent / "data/admin.key").read_text().strip()},
    )
    keys = {
        name: house.post("/admin/keys", json={"name": name, "team": team}).raise_for_status().json()["key"]
        for name, team in [("ann", "red"), ("bob", "blue")]
    }
    owed, saved, requests = dict.fromkeys(keys, Fraction()), dict.fromkeys(keys, Fraction()), 0

    def ask(name, path, body):
        nonlocal requests
        answer = httpx.post(
            pannier.url + path, json=body, headers={"Authorization": f"Bearer {keys[name]}"}, timeout=120
        ).raise_for_status()
        requests += 1
        is_hit = answer.headers["cache-status"].startswith("pannier; hit")
        account = saved if is_hit else owed
        account[name] += cost_of(path, answer)
        return is_hit

    chat = {"model": TEXT, "messages": [{"role": "user", "content": QUESTION}], "stream": False, "options": GREEDY}
    generate = {"model": TEXT, "prompt": QUESTION, "options": GREEDY}
    openai = {"model": f"https://registry.ollama.ai/library/{TEXT}", "messages": chat["messages"], "max_tokens": 9}
    for name in keys:
        ask(name, "/api/chat", chat)
        ask(name, "/api/generate", generate)
        ask(name, "/v1/chat/completions", openai)
        for number in range(3):
            ask(name, "/api/embed", {"model": EMBEDDING, "input": f"text {number} of {name}"})
    # What was kept is there a moment after the answer.
    deadline = time.monotonic() + 10
    while not ask("ann", "/api/chat", chat):
        assert time.monotonic() < deadline, "it is never a hit"
    assert ask("ann", "/api/chat", chat)

    def told(by):
        text = house.get("/costs", params={"by": by}).raise_for_status().text
        return json.loads(text, parse_float=Decimal)

    deadline = time.monotonic() + 20
    while told("")["total"]["requests"] != requests and time.monotonic() < deadline:
        time.sleep(0.1)
    bill = told("key")
    lines = {line["key"]: line for line in bill["lines"]}
    assert bill["total"]["requests"] == requests
    assert {name: Fraction(line["cost"]) for name, line in lines.items()} == owed
    assert {name: Fraction(line["saved_cost"]) for name, line in lines.items()} == saved
    assert Fraction(bill["total"]["cost"]) == sum(owed.values()) > 0
    assert sum(saved.values()) > 0
    assert (bill["total"]["unpriced"], bill["total"]["unbilled"]) == (0, 0)
    assert {line["model"] for line in told("model")["lines"]} == {TEXT, f"{EMBEDDING}:latest"}
