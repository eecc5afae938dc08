"""The Grafana dashboard and the adapter's rules ask only for metrics and labels that /metrics has."""
import json
import re

import pytest
from manifests import ROOT, TREE

# What a scrape adds to every series.
SCRAPED = {"namespace", "pod", "le"}
NAME = r"\b(?:lathe|process|vllm)[_:][a-z0-9_]+"


@pytest.fixture(scope="module")
def exported(server):
    """{metric: its labels} of a server that has answered and refused."""
    assert server.post("/v1/completions", {"prompt": "Once", "max_tokens": 2})[0] == 200
    assert server.post("/v1/completions", {"prompt": "Once", "max_tokens": -1})[0] == 400
    metrics = {}
    for line in server.get("/metrics")[1].decode().splitlines():
        if line and not line.startswith("#"):
            name, labels = re.match(r"([a-z_:0-9]+)(?:\{(.*)\})?", line).groups()
            metrics.setdefault(name, set()).update(re.findall(r'(\w+)="', labels or ""))
    return metrics


def dashboard():
    return json.loads((ROOT / "deploy/grafana/lathe.json").read_text())


def expressions():
    panels = dashboard()["panels"]
    found = [(panel["title"], target["expr"]) for panel in panels for target in panel.get("targets", [])]
    return found + [(item["name"], item["definition"]) for item in dashboard()["templating"]["list"] if item["type"] == "query"]


def check(expression, exported):
    for name in re.findall(NAME, expression):
        assert name in exported, f"{name} is not exported: {expression}"
    for name, matchers in re.findall(rf"({NAME})\{{([^}}]*)\}}", expression):
        for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers):
            assert label in exported[name] | SCRAPED, f"{name} has no label {label}: {expression}"
    known = set().union(*(exported[name] for name in re.findall(NAME, expression))) | SCRAPED
    for labels in re.findall(r"\b(?:by|on|without|ignoring) ?\(([^)]*)\)", expression):
        assert {label.strip() for label in labels.split(",")} <= known, expression


def test_expressions_use_what_is_exported(exported):
    assert len(expressions()) > 40
    for title, expression in expressions():
        assert re.search(NAME, expression), f"{title}: {expression}"
        assert expression.count("(") == expression.count(")") and expression.count("{") == expression.count("}"), expression
        check(expression, exported)


def test_the_check_finds_faults(exported):
    for wrong in ('rate(lathe_tokens_total{pod="a"}[1m])', 'lathe_kv_pages{kind="used"}', "sum by (route) (lathe_kv_pages)"):
        with pytest.raises(AssertionError):
            check(wrong, exported)


def test_every_metric_of_the_engine_is_shown(exported):
    """No metric of ours is without a panel, but for those that are constants."""
    shown = {re.sub("_(bucket|sum|count)$", "", name) for _, expression in expressions() for name in re.findall(NAME, expression)}
    ours = {re.sub("_(bucket|sum|count)$", "", name) for name in exported if name.startswith("lathe_")}
    assert ours - shown <= {"lathe_kv_page_tokens", "lathe_cache_config_info", "lathe_max_context_tokens", "lathe_engine_submitted_total"}


def test_panels_neither_overlap_nor_share_an_id():
    cells, ids = set(), set()
    for panel in dashboard()["panels"]:
        place = panel["gridPos"]
        area = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert place["x"] + place["w"] <= 24 and not area & cells, panel["title"]
        assert panel["id"] not in ids, panel["title"]
        cells |= area
        ids.add(panel["id"])


def test_the_gateway_reads_names_that_are_exported(exported):
    for name in ("vllm:num_requests_waiting", "vllm:num_requests_running", "vllm:kv_cache_usage_perc"):
        assert name in exported
    assert {"block_size", "num_gpu_blocks"} <= exported["vllm:cache_config_info"]


def test_the_adapters_rule_and_the_autoscaler_use_what_is_exported(exported):
    text = (TREE / "overlays/autoscale/horizontalpodautoscaler.yaml").read_text()
    names = re.findall(r"name: (lathe_\w+)", text)
    assert len(names) == 2 and all(name in exported for name in names)
