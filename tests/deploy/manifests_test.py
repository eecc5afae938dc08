"""The Kustomize tree: every object has its kind's shape, probes and drain fit the server, and pods are locked down."""
import json
import re
import subprocess

import kubernetes_validate
import pytest
import yaml
from manifests import OVERLAYS, ROOT, TREE, by_name, environment, one, render, without_order

ALL = ["base", *OVERLAYS]
KUBERNETES = "1.33"  # the first that has image volumes switched on
POD_OWNERS = ("Deployment", "LeaderWorkerSet")
RENDERED = {name: render(name) for name in ALL}


def pod_specs(objects):
    """[(kind, spec of a pod)]"""
    specs = []
    for item in objects:
        if item["kind"] == "Deployment":
            specs.append((item["kind"], item["spec"]["template"]["spec"]))
        elif item["kind"] == "LeaderWorkerSet":
            template = item["spec"]["leaderWorkerTemplate"]
            specs += [(item["kind"], template[part]["spec"]) for part in ("leaderTemplate", "workerTemplate")]
    return specs


def server_of(objects):
    """(pod spec, container) of the server."""
    for _, spec in pod_specs(objects):
        if "lathe" in by_name(spec["containers"]):
            return spec, by_name(spec["containers"])["lathe"]
    raise AssertionError("no server")


# Custom kinds have no schema in the validator's package: their fields, from the published API documentation.
def only(value, required, optional=()):
    missing, unknown = set(required) - set(value), set(value) - set(required) - set(optional)
    assert not missing and not unknown, f"missing {missing}, unknown {unknown}"


def check_duration(text):
    assert re.fullmatch(r"(\d+h)?(\d+m)?(\d+s)?(\d+ms)?", text) and text, text


def check_service_monitor(item, objects):
    only(item["spec"], ["selector", "endpoints"], ["namespaceSelector", "jobLabel", "targetLabels", "podTargetLabels", "sampleLimit"])
    service = one(objects, "Service")
    assert item["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    for endpoint in item["spec"]["endpoints"]:
        only(endpoint, ["port"], ["path", "interval", "scrapeTimeout", "scheme", "honorLabels", "authorization"])
        assert endpoint["port"] in by_name(service["spec"]["ports"])
        check_duration(endpoint["interval"])
        check_duration(endpoint["scrapeTimeout"])


def check_leader_worker_set(item, _):
    spec = item["spec"]
    only(spec, ["leaderWorkerTemplate"], ["replicas", "rolloutStrategy", "startupPolicy", "networkConfig"])
    assert spec["startupPolicy"] in ("LeaderCreated", "LeaderReady")
    only(spec["rolloutStrategy"], ["type", "rollingUpdateConfiguration"])
    assert spec["rolloutStrategy"]["type"] == "RollingUpdate"
    only(spec["rolloutStrategy"]["rollingUpdateConfiguration"], [], ["maxSurge", "maxUnavailable", "partition"])
    template = spec["leaderWorkerTemplate"]
    only(template, ["workerTemplate"], ["leaderTemplate", "size", "restartPolicy", "subGroupPolicy"])
    assert template["restartPolicy"] in ("Default", "RecreateGroupOnPodRestart", "RecreateGroupAfterStart", "None")
    assert isinstance(template["size"], int) and template["size"] >= 1
    for part in ("leaderTemplate", "workerTemplate"):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": template[part]["metadata"] | {"name": "x"}, "spec": template[part]["spec"]}
        kubernetes_validate.validate(pod, KUBERNETES, strict=True)


def check_inference_pool(item, objects):
    spec = item["spec"]
    only(spec, ["selector", "targetPorts", "endpointPickerRef"], ["appProtocol"])
    only(spec["selector"], ["matchLabels"])
    pods = one(objects, "Deployment")["spec"]["template"]
    assert spec["selector"]["matchLabels"].items() <= pods["metadata"]["labels"].items()
    assert 1 <= len(spec["targetPorts"]) <= 8
    ports = [port["containerPort"] for port in by_name(pods["spec"]["containers"])["lathe"]["ports"]]
    for port in spec["targetPorts"]:
        only(port, ["number"])
        assert port["number"] in ports
    picker = spec["endpointPickerRef"]
    only(picker, ["name", "port"], ["group", "kind", "failureMode"])
    only(picker["port"], ["number"])
    assert picker["failureMode"] in ("FailOpen", "FailClose")
    assert picker["port"]["number"] in [port["port"] for port in one(objects, "Service", picker["name"])["spec"]["ports"]]


def check_inference_objective(item, objects):
    only(item["spec"], ["poolRef"], ["priority"])
    only(item["spec"]["poolRef"], ["name"], ["group", "kind"])
    assert item["spec"]["poolRef"].get("group", "inference.networking.k8s.io") == "inference.networking.k8s.io"
    one(objects, "InferencePool", item["spec"]["poolRef"]["name"])
    assert isinstance(item["spec"]["priority"], int)


def check_http_route(item, objects):
    only(item["spec"], ["parentRefs", "rules"], ["hostnames"])
    for rule in item["spec"]["rules"]:
        only(rule, ["backendRefs"], ["matches", "filters", "timeouts", "name"])
        for match in rule["matches"]:
            only(match["path"], ["type", "value"])
            assert match["path"]["type"] in ("Exact", "PathPrefix", "RegularExpression")
        for backend in rule["backendRefs"]:
            only(backend, ["name"], ["group", "kind", "namespace", "port", "weight"])
            one(objects, backend["kind"], backend["name"])
        check_duration(rule["timeouts"]["request"])


CUSTOM = {
    ("monitoring.coreos.com/v1", "ServiceMonitor"): check_service_monitor,
    ("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet"): check_leader_worker_set,
    ("inference.networking.k8s.io/v1", "InferencePool"): check_inference_pool,
    ("inference.networking.x-k8s.io/v1alpha2", "InferenceObjective"): check_inference_objective,
    ("gateway.networking.k8s.io/v1", "HTTPRoute"): check_http_route,
}


def check_object(item, objects):
    custom = CUSTOM.get((item["apiVersion"], item["kind"]))
    if custom is None:
        kubernetes_validate.validate(item, KUBERNETES, strict=True)
        return
    only(item, ["apiVersion", "kind", "metadata", "spec"])
    only(item["metadata"], ["name"], ["labels", "annotations"])
    custom(item, objects)


@pytest.mark.parametrize("name", ALL)
def test_every_object_has_the_shape_of_its_kind(name):
    for item in RENDERED[name]:
        check_object(item, RENDERED[name])


@pytest.mark.parametrize("name", ALL)
def test_no_object_is_there_twice(name):
    names = [(item["kind"], item["metadata"]["name"]) for item in RENDERED[name]]
    assert len(names) == len(set(names))


def test_the_validator_finds_faults():
    deployment = json.loads(json.dumps(one(RENDERED["base"], "Deployment")))
    deployment["spec"]["template"]["spec"]["terminationGracePeriod"] = 80
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, KUBERNETES, strict=True)
    pool = json.loads(json.dumps(one(RENDERED["gateway"], "InferencePool")))
    pool["spec"]["extensionRef"] = {"name": "lathe-epp"}  # its name before v1
    with pytest.raises(AssertionError):
        check_inference_pool(pool, RENDERED["gateway"])


@pytest.mark.parametrize("name", ALL)
def test_pods_are_locked_down(name):
    for _, spec in pod_specs(RENDERED[name]):
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] >= 10000
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in spec["containers"] + spec.get("initContainers", []):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
            assert "memory" in container["resources"]["limits"]
        if "lathe" in by_name(spec["containers"]):
            assert spec["automountServiceAccountToken"] is False and spec["enableServiceLinks"] is False


@pytest.mark.parametrize("name", ALL)
def test_probes_go_to_the_listener_without_keys(name):
    _, container = server_of(RENDERED[name])
    variables = environment(container)
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert variables["LATHE_PORT"] == str(ports["http"])
    assert variables["LATHE_MANAGEMENT_LISTEN"] == f"0.0.0.0:{ports['management']}"
    for probe, path in (("startupProbe", "/readyz"), ("readinessProbe", "/readyz"), ("livenessProbe", "/livez")):
        assert container[probe]["httpGet"] == {"path": path, "port": "management"}
    # Longer than the longest that the server itself waits before it exits would keep a hung pod for nothing.
    assert container["livenessProbe"]["periodSeconds"] * container["livenessProbe"]["failureThreshold"] <= 60


@pytest.mark.parametrize("name", ALL)
def test_the_grace_period_covers_pre_stop_and_drain(name):
    spec, container = server_of(RENDERED[name])
    pre_stop = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    readiness = container["readinessProbe"]
    slack = spec["terminationGracePeriodSeconds"] - pre_stop - int(environment(container)["LATHE_GRACE"])
    assert 3 <= slack <= 30, "between preStop + LATHE_GRACE and terminationGracePeriodSeconds"
    if name != "spot":  # where there is no time for more
        assert pre_stop >= 2 * readiness["periodSeconds"] * readiness["failureThreshold"]
    else:
        assert spec["terminationGracePeriodSeconds"] <= 15, "what GKE leaves the pods of a spot node"


def test_every_setting_of_the_environment_exists(lathe):
    """The server takes the variables of every overlay as they are."""
    for name in ALL:
        _, container = server_of(RENDERED[name])
        variables = environment(container) | {"LATHE_MODEL": "models/tales-16m", "HOME": "/nonexistent"}
        done = subprocess.run([lathe, *container["args"], "--print-config"], env=variables, capture_output=True, text=True, cwd=ROOT)
        assert done.returncode == 0, f"{name}: {done.stderr}"
        for setting, value in variables.items():
            if setting.startswith("LATHE_"):
                assert re.search(rf"^{setting[6:].lower()}: .*{re.escape(value)}", done.stdout, re.M), f"{name}: {setting}\n{done.stdout}"


def test_only_what_fetches_reaches_out():
    for name in ("engine-volume", "engine-image"):
        policy = one(RENDERED[name], "NetworkPolicy")["spec"]
        assert "Egress" in policy["policyTypes"] and not policy.get("egress")
        assert not server_of(RENDERED[name])[0].get("initContainers")
    assert [port["port"] for rule in one(RENDERED["base"], "NetworkPolicy")["spec"]["egress"] for port in rule["ports"]] == [53, 53, 443]


def test_workers_and_leaders_are_the_pods_of_gke_gpu():
    template = one(RENDERED["multi-node"], "LeaderWorkerSet")["spec"]["leaderWorkerTemplate"]
    pod = one(RENDERED["gke-gpu"], "Deployment")["spec"]["template"]
    for part in ("leaderTemplate", "workerTemplate"):
        assert without_order(template[part]) == without_order(pod)
    assert not [item for item in RENDERED["multi-node"] if item["kind"] == "Deployment"]
    assert one(RENDERED["multi-node"], "Service")["spec"]["selector"]["leaderworkerset.sigs.k8s.io/worker-index"] == "0"


def test_multi_node_only_adds_to_the_network_policy():
    """Its lists replace those of the base, so they must hold what the base has."""
    for way in ("ingress", "egress"):
        rules = one(RENDERED["multi-node"], "NetworkPolicy")["spec"][way]
        assert all(rule in rules for rule in one(RENDERED["base"], "NetworkPolicy")["spec"][way])


def test_gpu_and_spot_nodes():
    for name in set(OVERLAYS) - {"cpu"}:
        spec, container = server_of(RENDERED[name])
        assert container["resources"]["limits"]["nvidia.com/gpu"] == container["resources"]["requests"]["nvidia.com/gpu"] == "1"
        assert spec["nodeSelector"]["cloud.google.com/gke-accelerator"] == "nvidia-h200-141gb"
        assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in spec["tolerations"]
    spec, _ = server_of(RENDERED["spot"])
    assert spec["nodeSelector"]["cloud.google.com/gke-spot"] == "true"
    assert {"key": "cloud.google.com/gke-spot", "operator": "Equal", "value": "true", "effect": "NoSchedule"} in spec["tolerations"]
    assert "nvidia.com/gpu" not in server_of(RENDERED["cpu"])[1]["resources"]["limits"]


def test_the_autoscaler_reads_metrics_that_the_adapter_makes():
    rules = yaml.safe_load((TREE / "overlays/autoscale/prometheus-adapter.yaml").read_text())["rules"]["custom"]
    assert len(rules) == 1
    series = re.compile(re.search(r'__name__=~"([^"]+)"', rules[0]["seriesQuery"])[1])
    scaler = one(RENDERED["autoscale"], "HorizontalPodAutoscaler")["spec"]
    names = [metric["pods"]["metric"]["name"] for metric in scaler["metrics"]]
    assert names == ["lathe_requests_waiting", "lathe_kv_cache_usage_ratio"]
    assert all(series.fullmatch(name) for name in names) and rules[0]["name"]["as"] == "$1"
    deployment = one(RENDERED["autoscale"], "Deployment")
    assert scaler["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": deployment["metadata"]["name"]}
    assert "replicas" not in deployment["spec"], "an apply would undo the autoscaler"
    one(RENDERED["autoscale"], "ServiceMonitor")


def test_the_picker_scrapes_the_listener_without_keys():
    _, container = server_of(RENDERED["gateway"])
    picker = one(RENDERED["gateway"], "Deployment", "lathe-epp")["spec"]["template"]["spec"]["containers"][0]
    port = {item["name"]: item["containerPort"] for item in container["ports"]}["management"]
    assert f"--model-server-metrics-port={port}" in picker["args"]
    assert "--pool-name=" + one(RENDERED["gateway"], "InferencePool")["metadata"]["name"] in picker["args"]
