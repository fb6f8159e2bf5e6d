"""The Helm chart under both majors of Helm: what it renders, what it refuses, and its settings and commands with the real program.

Nobody here has a cluster. Kubernetes' own schemas judge the objects, and the program is started as the containers would start it, with
the files that would be mounted, by a user that has the rights of theirs."""

import base64
import copy
import functools
import json
import os
import pathlib
import re
import secrets
import shlex
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import tomllib
import unittest
import urllib.error
import urllib.request

import jsonschema
import kubernetes_validate
import yaml
from cryptography import x509

from support import BINARY, PASSWORD, PATIENCE_SECONDS, clean_environment
from test_encrypted import Authority

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHART = ROOT / "helm" / "postern"
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA = json.loads((CHART / "values.schema.json").read_text())
FILES = {path.stem: path for path in sorted((ROOT / "tests" / "foreign" / "chart").glob("*.yaml"))}

# The two majors that people have. Whoever runs the tests says where they are, or scripts/test has put them here.
HELMS = {
    major: os.environ.get(f"POSTERN_HELM{major}") or str(ROOT / "tests" / "foreign" / "helm" / str(major) / "helm")
    for major in (3, 4)
}
# The oldest that the chart takes, before and after `sleep` for preStop, and the newest that schemas are there for.
KUBERNETES = ("1.28.0", "1.31.0", "1.34.0", "1.37.0")
NEWEST = KUBERNETES[-1]

# Of others than Kubernetes: no schema is at hand, so what is needed of them is asserted below.
FOREIGN_KINDS = {
    "Certificate": "cert-manager.io/v1",
    "ServiceMonitor": "monitoring.coreos.com/v1",
    "PrometheusRule": "monitoring.coreos.com/v1",
    "HTTPRoute": "gateway.networking.k8s.io/v1",
    "GRPCRoute": "gateway.networking.k8s.io/v1",
    "BackendTLSPolicy": "gateway.networking.k8s.io/v1",
}

SECRETS = "/run/secrets/postern"
# What a server takes beside its hashing threads before it starts; src/config/surroundings.rs.
BASE_MIB = 64
# How long calls that have begun are waited for.
DRAIN_SECONDS = 10

Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# Half a second to read, for each object.
kubernetes_validate.utils.schema_contents = functools.cache(kubernetes_validate.utils.schema_contents)


def setUpModule():
    for major, path in HELMS.items():
        said = subprocess.run([path, "version", "--short"], capture_output=True, text=True, timeout=PATIENCE_SECONDS)
        assert said.stdout.startswith(f"v{major}."), f"{path} is no Helm {major}: {said.stdout}{said.stderr}"


def helm(major, *arguments, given=None):
    with tempfile.TemporaryDirectory(prefix="postern-helm-") as home:
        of_helm = {f"HELM_{what}_HOME": home for what in ("CONFIG", "CACHE", "DATA")}
        return subprocess.run(
            [HELMS[major], *map(str, arguments)],
            input=given,
            stdin=None if given is not None else subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            env=clean_environment(KUBECONFIG="/dev/null", **of_helm),
        )


@functools.cache
def _template(major, name, changes, release, namespace, kubernetes, options):
    return helm(
        major, "template", release, str(CHART), "-n", namespace, "-f", FILES[name], "-f", "-", "--kube-version", kubernetes, *options,
        given=changes,
    )


def as_yaml(values):
    """JSON, in which nothing looks like a number or a date that is none; YAML knows no pairs of surrogates."""
    pair = re.compile(r"\\u(d[89ab]..)\\u(d[c-f]..)")
    return pair.sub(lambda found: "\\U%08x" % ord(json.loads('"' + found[0] + '"')), json.dumps(values))


def template(name, changes=None, *, major=4, release="rel", namespace="auth", kubernetes=NEWEST, options=()):
    """What Helm says about a file of values with changes."""
    return _template(major, name, as_yaml(changes or {}), release, namespace, kubernetes, tuple(options))


def text_of(name, changes=None, **more):
    said = template(name, changes, **more)
    if said.returncode:
        raise AssertionError(f"{name} with {changes} does not render:\n{said.stderr}")
    return said.stdout


@functools.cache
def _objects(text):
    return [found for found in yaml.load_all(text, Loader) if found]


def objects(name, changes=None, **more):
    return copy.deepcopy(_objects(text_of(name, changes, **more)))


def of_kind(kind, name, changes=None, **more):
    """The objects of a kind, by their names."""
    return {found["metadata"]["name"]: found for found in objects(name, changes, **more) if found["kind"] == kind}


def refusal(name, changes, majors=(4,)):
    """The faults that are told, one a line, and the same by all."""
    told = []
    for major in majors:
        said = template(name, changes, major=major)
        if not said.returncode:
            raise AssertionError(f"{name} with {changes} renders")
        told.append(re.sub(r"\A.*?\n\n|\n\nUse --debug.*", "", said.stderr, flags=re.DOTALL).strip().splitlines())
    if any(other != told[0] for other in told):
        raise AssertionError(f"the majors differ: {told}")
    return told[0]


def pods_of(found):
    """Metadata and spec of each pod that objects make."""
    pods = []
    for each in found:
        if each["kind"] == "Pod":
            pods.append((each["metadata"], each["spec"]))
        elif each["kind"] in ("Deployment", "Job"):
            pods.append((each["spec"]["template"]["metadata"], each["spec"]["template"]["spec"]))
    return [(metadata | {"of": metadata["labels"]["app.kubernetes.io/component"]}, spec) for metadata, spec in pods]


def containers_of(spec):
    return [*spec.get("initContainers", ()), *spec["containers"]]


def selects(selector, labels):
    assert set(selector) <= {"matchLabels"}, selector
    return selector.get("matchLabels", {}).items() <= labels.items()


def leaves(values, path=()):
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key), value


def at(path, value):
    """A value where a path says."""
    for key in reversed(path):
        value = {key: value}
    return value


def merged(below, above):
    """As Helm merges values."""
    both = dict(below)
    for key, value in above.items():
        both[key] = merged(both[key], value) if isinstance(value, dict) and isinstance(both.get(key), dict) else value
    return both


def values_of(name):
    return merged(VALUES, yaml.safe_load(FILES[name].read_text()))


class EachCase(unittest.TestCase):
    """Goes through all renders; a failure says in which one it was."""

    where = ""

    def _formatMessage(self, message, standard):
        return super()._formatMessage(message, f"{self.where}: {standard}" if self.where else standard)

    def each(self, kubernetes=(NEWEST,)):
        """Each file of values under each version, and what it renders."""
        for name in FILES:
            for version in kubernetes:
                self.where = f"{name} on {version}"
                yield name, _objects(text_of(name, kubernetes=version))

    def each_pod(self, kubernetes=(NEWEST,)):
        for name, found in self.each(kubernetes):
            pods = pods_of(found)
            self.assertTrue(pods)
            for metadata, spec in pods:
                self.where = f"{name}, {metadata['of']}"
                yield name, metadata, spec

    def each_container(self):
        for name, metadata, spec in self.each_pod(KUBERNETES):
            for container in containers_of(spec):
                self.where = f"{name}, {metadata['of']}, {container['name']}"
                yield container


class RenderTest(EachCase):
    def test_both_majors_find_no_fault_in_the_chart(self):
        for name, path in FILES.items():
            for major in HELMS:
                with self.subTest(values=name, helm=major):
                    said = helm(major, "lint", "--strict", str(CHART), "-f", path)
                    self.assertEqual(said.returncode, 0, said.stdout + said.stderr)
                    self.assertIn("1 chart(s) linted, 0 chart(s) failed", said.stdout)
                    self.assertNotIn("WARN", said.stdout + said.stderr)

    def test_every_object_fits_the_schema_of_its_kubernetes(self):
        for name in FILES:
            for version in KUBERNETES:
                for found in _objects(text_of(name, kubernetes=version)):
                    with self.subTest(values=name, kubernetes=version, kind=found["kind"], name=found["metadata"]["name"]):
                        if found["kind"] in FOREIGN_KINDS:
                            self.assertEqual(found["apiVersion"], FOREIGN_KINDS[found["kind"]])
                        else:
                            kubernetes_validate.validate(found, version, strict=True)

    def test_the_schemas_find_faults(self):
        deployment = of_kind("Deployment", "minimal")["rel-postern"]
        deployment["spec"]["replicas"] = "three"
        with self.assertRaises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(deployment, NEWEST, strict=True)
        deployment["spec"] |= {"replicas": 3, "replica": 3}
        with self.assertRaises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(deployment, NEWEST, strict=True)

    def test_all_foreign_kinds_are_rendered_somewhere(self):
        kinds = {found["kind"] for name in FILES for found in objects(name)}
        self.assertLessEqual(set(FOREIGN_KINDS), kinds)

    def test_both_majors_render_the_same(self):
        for name in FILES:
            for version in KUBERNETES:
                with self.subTest(values=name, kubernetes=version):
                    self.assertEqual(text_of(name, major=3, kubernetes=version), text_of(name, major=4, kubernetes=version))

    def test_a_render_is_the_same_twice(self):
        for name in FILES:
            with self.subTest(values=name):
                again = helm(4, "template", "rel", CHART, "-n", "auth", "-f", FILES[name], "--kube-version", NEWEST)
                self.assertEqual(again.stdout, text_of(name))

    def test_an_upgrade_renders_what_an_install_does(self):
        for name in FILES:
            for major in HELMS:
                with self.subTest(values=name, helm=major):
                    self.assertEqual(text_of(name, major=major, options=["--is-upgrade"]), text_of(name, major=major))

    def test_an_older_kubernetes_is_refused(self):
        for major in HELMS:
            with self.subTest(helm=major):
                said = template("minimal", major=major, kubernetes="1.27.9")
                self.assertEqual(said.returncode, 1)
                self.assertIn("chart requires kubeVersion: >=1.28.0-0", said.stderr)

    def test_the_chart_can_be_packed_and_used_packed(self):
        for major in HELMS:
            with self.subTest(helm=major), tempfile.TemporaryDirectory() as folder:
                said = helm(major, "package", CHART, "-d", folder)
                self.assertEqual(said.returncode, 0, said.stderr)
                (packed,) = pathlib.Path(folder).iterdir()
                self.assertEqual(packed.name, "postern-0.1.0.tgz")
                said = helm(major, "template", "rel", packed, "-n", "auth", "-f", FILES["full"], "--kube-version", NEWEST)
                self.assertEqual(said.stdout, text_of("full"))

    def test_no_key_stands_twice_in_an_object(self):
        # The parser of Kubernetes takes the last one, and nobody is told.
        class Strict(yaml.SafeLoader):
            pass

        def mapping(loader, node):
            pairs = loader.construct_pairs(node, deep=True)
            keys = [key for key, _ in pairs]
            self.assertEqual(len(keys), len(set(map(str, keys))), keys)
            return dict(pairs)

        Strict.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, mapping)
        for name in FILES:
            with self.subTest(values=name):
                # The largest object has been checked as JSON.
                text = text_of(name, {"monitoring": {"dashboard": {"enabled": False}, "prometheusRule": {"enabled": False}}})
                self.assertTrue(list(yaml.load_all(text, Strict)))

    def test_names_and_labels_fit_into_what_kubernetes_allows(self):
        long = "a" * 52 + "b"
        for release in ("rel", long):
            for name in FILES:
                with self.subTest(values=name, release=release):
                    for found in objects(name, release=release):
                        self.assertRegex(found["metadata"]["name"], r"\A[a-z]([-a-z0-9]{0,61}[a-z0-9])?\Z")
                        for value in found["metadata"].get("labels", {}).values():
                            self.assertRegex(value, r"\A([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?\Z")
        over = {"fullnameOverride": "c" * 63, "nameOverride": "d" * 63}
        for found in objects("full", over, release=long):
            self.assertLessEqual(len(found["metadata"]["name"]), 63)

    def test_a_name_that_looks_like_a_number_or_a_truth_is_a_text(self):
        words = {"className": "1e5", "annotations": {"a": "true"}}
        changes = {"ingress": {"gateway": words, "grpc": words}, "priorityClassName": "123", "runtimeClassName": "null"}
        changes |= {"podAnnotations": {"checksum/config": "mine", "a": "1"}}
        changes |= {"tls": {"serverName": "1234"}, "serviceAccount": {"name": "0x1f"}}
        for name, given in {"full": changes, "sqlite": {"store": {"sqlite": {"storageClass": "1.5", "size": "1000"}}}}.items():
            text = text_of(name, given, release="true", namespace="2030-01-01")
            for found in _objects(text):
                self.assertEqual(found["metadata"]["namespace"], "2030-01-01")
                self.assertEqual(found["metadata"]["labels"]["app.kubernetes.io/instance"], "true")
                if found["kind"] not in FOREIGN_KINDS:
                    kubernetes_validate.validate(found, NEWEST, strict=True)
        for metadata, _ in pods_of(_objects(text_of("full", changes, release="true", namespace="2030-01-01"))):
            if metadata["of"] == "server":
                self.assertRegex(metadata["annotations"]["checksum/config"], r"\A[0-9a-f]{64}\Z")

    def test_two_releases_in_a_namespace_do_not_meet(self):
        ours, theirs = objects("full", release="eu"), objects("full", release="us")
        names = [{(found["kind"], found["metadata"]["name"]) for found in release} for release in (ours, theirs)]
        self.assertFalse(names[0] & names[1])
        for found in ours:
            spec = found.get("spec", {})
            selector = {
                "Service": lambda spec: {"matchLabels": spec["selector"]},
                "Deployment": lambda spec: spec["selector"],
                "PodDisruptionBudget": lambda spec: spec["selector"],
                "NetworkPolicy": lambda spec: spec["podSelector"],
            }.get(found["kind"])
            if selector:
                for metadata, _ in pods_of(theirs):
                    self.assertFalse(selects(selector(spec), metadata["labels"]), found["metadata"]["name"])

    def test_every_object_is_in_the_namespace_of_the_release_with_its_labels(self):
        for _, found in self.each():
            for each in found:
                self.assertEqual(each["metadata"]["namespace"], "auth")
                labels = each["metadata"]["labels"]
                self.assertEqual(labels["app.kubernetes.io/instance"], "rel")
                self.assertEqual(labels["app.kubernetes.io/managed-by"], "Helm")

    def test_a_selector_never_changes(self):
        # Kubernetes refuses the upgrade if it does.
        def selectors(**more):
            return {name: found["spec"]["selector"] for name, found in of_kind("Deployment", "full", **more).items()}

        changes = {
            "commonLabels": {"app.kubernetes.io/name": "x", "app.kubernetes.io/component": "y", "tier": "z"},
            "podLabels": {"app.kubernetes.io/instance": "x", "more": "y"},
            "image": {"tag": "9.9", "digest": ""},
            "gateway": {"replicaCount": 7},
        }
        self.assertEqual(selectors(changes=changes), selectors())
        for name, found in of_kind("Deployment", "full", changes).items():
            with self.subTest(deployment=name):
                self.assertTrue(selects(found["spec"]["selector"], found["spec"]["template"]["metadata"]["labels"]))

    def test_a_new_version_of_the_chart_alone_restarts_nothing(self):
        with tempfile.TemporaryDirectory() as folder:
            newer = pathlib.Path(folder) / "postern"
            shutil.copytree(CHART, newer)
            about = (newer / "Chart.yaml").read_text()
            (newer / "Chart.yaml").write_text(about.replace("version: 0.1.0", "version: 0.1.1").replace('"0.1.0"', '"0.1.1"'))
            said = helm(4, "template", "rel", newer, "-n", "auth", "-f", FILES["full"], "--kube-version", NEWEST)
        self.assertIn("postern-0.1.1", said.stdout)
        newer = [found for found in _objects(said.stdout) if found["kind"] == "Deployment"]
        self.assertEqual(pods_of(newer), pods_of(of_kind("Deployment", "full").values()))

    def test_numbers_are_written_as_numbers(self):
        large = 2_000_000_000
        changes = {
            "podSecurityContext": {"runAsUser": large, "runAsGroup": large, "fsGroup": large},
            "migrations": {"ttlSecondsAfterFinished": large, "activeDeadlineSeconds": large, "backoffLimit": 1_000_000},
            "bootstrap": {"ttlSecondsAfterFinished": large},
            "revisionHistoryLimit": 1_000_000,
            "minReadySeconds": 1_000_000,
            "replicaCount": 1_000_000,
            "autoscaling": {"minReplicas": 1_000_000, "maxReplicas": 2_000_000, "targetCPUUtilizationPercentage": 1_000_000},
            "gateway": {"replicaCount": 1_000_000},
            "lifecycle": {"terminationGracePeriodSeconds": 1_000_000},
            "probes": {"startup": {"failureThreshold": 1_000_000}},
            "config": {"limits": {"connections": 1_000_000}},
            "passwords": {"threads": 256, "memoryKib": 262_144},
            "resources": {"limits": {"memory": "70Gi"}},
        }
        for major in HELMS:
            text = text_of("full", changes, major=major)
            self.assertNotRegex(text, r"[0-9]e\+[0-9]")
            for found in _objects(text):
                if found["kind"] not in FOREIGN_KINDS:
                    kubernetes_validate.validate(found, NEWEST, strict=True)
            self.assertIn("connections = 1000000\n", text)

    def test_a_number_from_the_command_line_is_one_too(self):
        given = ["--set", "config.sessions.max_per_user=7", "--set", "podDisruptionBudget.minAvailable=1"]
        self.assertIn("max_per_user = 7\n", text_of("minimal", options=given))


class RefusalTest(EachCase):
    """What does not render, and that it says why. Row 192: without an existing Secret there is none."""

    def test_the_defaults_name_everything_that_is_missing_at_once(self):
        for major in HELMS:
            with self.subTest(helm=major):
                said = helm(major, "template", "rel", CHART)
                self.assertEqual(said.returncode, 1)
                missing = re.findall(r"^([A-Za-z.]+): missing; ", said.stderr, re.MULTILINE)
                wanted = ["image.repository", "issuerUrl", "masterKey.existingSecret", "store.postgres.existingSecret"]
                wanted += ["vault.redis.existingSecret", "migrations.existingSecret", "tls.existingSecret"]
                self.assertEqual(missing, wanted)

    def test_what_is_missing_or_does_not_go_together_is_refused(self):
        client = {"id": "shop", "secret": {"name": "a", "key": "b"}}
        for name, changes, start in [
            ("minimal", {"masterKey": {"existingSecret": ""}}, "masterKey.existingSecret: missing; "),
            ("minimal", {"store": {"postgres": {"existingSecret": ""}}}, "store.postgres.existingSecret: missing; "),
            ("minimal", {"vault": {"redis": {"existingSecret": ""}}}, "vault.redis.existingSecret: missing; "),
            ("minimal", {"migrations": {"existingSecret": ""}}, "migrations.existingSecret: missing; "),
            ("minimal", {"tls": {"existingSecret": ""}}, "tls.existingSecret: missing; "),
            ("minimal", {"bootstrap": {"enabled": True}}, "bootstrap.existingSecret: missing; "),
            ("minimal", {"tls": {"mode": "certManager"}}, "tls.certManager.issuerRef.name: missing; "),
            ("minimal", {"tls": {"requireClientCertificate": True}}, "tls.requireClientCertificate: needs "),
            ("mesh", {"tls": {"clientCa": {"existingSecret": "x"}}}, "tls.mode: with mesh the mesh checks certificates; "),
            ("minimal", {"admin": {"enabled": True}}, "admin.enabled: AdminService on a reachable address needs "),
            ("sqlite", {"replicaCount": 2}, "store.engine: sqlite is one file of one server; "),
            ("sqlite", {"autoscaling": {"enabled": True}}, "store.engine: sqlite is one file of one server; "),
            ("minimal", {"gateway": {"enabled": True}}, "gateway.url: missing; "),
            (
                "guarded",
                {"gateway": {"enabled": True, "url": "https://a.test", "mode": "deployment"}},
                "gateway.mode: a gateway in pods of its own has no certificate to show; ",
            ),
            ("minimal", {"ingress": {"gateway": {"enabled": True}}}, "ingress.gateway.enabled: needs gateway.enabled"),
            ("minimal", {"ingress": {"grpc": {"enabled": True}}}, "ingress.grpc.hosts: missing; "),
            ("probed", {"gatewayApi": {"httpRoute": {"parentRefs": []}}}, "gatewayApi.httpRoute.parentRefs: missing; "),
            ("minimal", {"gatewayApi": {"grpcRoute": {"enabled": True}}}, "gatewayApi.grpcRoute: needs "),
            ("mesh", {"gatewayApi": {"backendTlsPolicy": {"enabled": True}}}, "gatewayApi.backendTlsPolicy.enabled: with "),
            ("guarded", {"probes": {"mode": "exec"}}, "probes.mode: exec has no certificate to show; "),
            ("full", {"autoscaling": {"minReplicas": 10}}, "autoscaling.minReplicas: more than autoscaling.maxReplicas"),
            ("full", {"resources": {"requests": {"cpu": None}}}, "resources.requests.cpu: missing; "),
            ("minimal", {"podDisruptionBudget": {"minAvailable": 2}}, "podDisruptionBudget.minAvailable: as many as "),
            ("minimal", {"podDisruptionBudget": {"minAvailable": "100%"}}, "podDisruptionBudget.minAvailable: as many as "),
            ("minimal", {"podDisruptionBudget": {"maxUnavailable": 0}}, "podDisruptionBudget.maxUnavailable: 0, so "),
            ("minimal", {"updateStrategy": {"maxSurge": 0}}, "updateStrategy: maxSurge and maxUnavailable are both 0, so "),
            (
                "minimal",
                {"lifecycle": {"terminationGracePeriodSeconds": 15}},
                "lifecycle.terminationGracePeriodSeconds: less than the sleep and ",
            ),
            ("minimal", {"telemetry": {"ca": {"file": "/a", "configMap": "b"}}}, "telemetry.ca: set one of "),
            ("full", {"clients": [{"id": "a"}, {"id": "a"}]}, "clients: a stands there twice"),
            ("full", {"providers": [{"id": "a"}, {"id": "a"}]}, "providers: a stands there twice"),
            ("full", {"trustedIssuers": [{"name": "a"}, {"name": "a"}]}, "trustedIssuers: a stands there twice"),
            ("full", {"gateway": {"clients": [client, client]}}, "gateway.clients: shop stands there twice"),
            ("minimal", {"fullnameOverride": "4you"}, "fullnameOverride: 4you is no name of a Service"),
        ]:
            with self.subTest(values=name, changes=changes):
                faults = refusal(name, changes)
                self.assertEqual(len(faults), 1, faults)
                self.assertTrue(faults[0].startswith(start), faults)
        everything = {"masterKey": {"existingSecret": ""}, "fullnameOverride": "4you", "clients": [{"id": "a"}, {"id": "a"}]}
        self.assertEqual(len(refusal("minimal", everything, majors=HELMS)), 3)

    def test_what_the_chart_writes_itself_is_refused_elsewhere(self):
        text = (CHART / "templates" / "_config.tpl").read_text()
        own = re.search(r'define "postern.ownSettings" -}}\s+{{- list (.*?) \| toJson', text, re.DOTALL)[1]
        own = shlex.split(own)
        self.assertIn("keys.master", own)
        config = {}
        for setting in own:
            path = setting.split(".")
            config = merged(config, at(path, {} if len(path) == 1 else "x"))
        faults = refusal("minimal", {"config": config}, majors=HELMS)
        self.assertEqual([fault.partition(":")[0] for fault in faults], [f"config.{setting}" for setting in own])
        variables = ["POSTERN__" + setting.upper().replace(".", "__") + deeper for setting in own for deeper in ("", "__X")]
        faults = refusal("minimal", {"extraEnv": [{"name": variable, "value": "x"} for variable in variables]}, majors=HELMS)
        self.assertEqual([fault.split()[1] for fault in faults], variables)
        # Everything that the file of the largest values has is from there, or from a value of the chart's.
        written = tomllib.loads(Settings("full").text)
        given = yaml.safe_load(FILES["full"].read_text())["config"]
        for section, value in written.items():
            if section not in own:
                keys = {key for key in value if f"{section}.{key}" not in own}
                self.assertEqual(keys, set(given.get(section, {})), section)

    def test_a_secret_in_values_is_refused(self):
        secret = "pcs_" + "A" * 43
        for changes in [
            {"clients": [{"id": "a", "settings": {"secrets": [{"value": secret}]}}]},
            {"providers": [{"id": "google", "settings": {"client_secret": {"value": secret}}}]},
            {"trustedIssuers": [{"name": "a", "settings": {"secret": {"value": secret}}}]},
            {"config": {"keys": {"master": {"value": secret}}}},
            {"config": {"limits": {"x": {"value": secret}}}},
            {"extraEnv": [{"name": "POSTERN__KEYS__MASTER__VALUE", "value": secret}]},
            {"extraEnv": [{"name": "POSTERN__STORE__POSTGRES__URL__VALUE", "value": secret}]},
            {"extraEnv": [{"name": "OTEL_EXPORTER_OTLP_HEADERS", "value": secret}]},
            {"masterKey": {"value": secret}},
            {"clients": [{"id": "a", "secrets": [{"value": secret}]}]},
            {"gateway": {"clients": [{"id": "a", "secret": {"value": secret}}]}},
        ]:
            with self.subTest(changes=changes):
                said = template("minimal", changes)
                self.assertEqual(said.returncode, 1)
                self.assertNotIn(secret, said.stdout + said.stderr)

    def test_the_schema_has_each_value_and_no_other(self):
        def compared(schema, values, path):
            known = set(schema["properties"])
            # A sub-chart's, and what Kubernetes and cert-manager have besides.
            besides = {"global", "initialDelaySeconds", "claims", "requests", "name", "kind", "group"}
            self.assertLessEqual(known - set(values), besides, path)
            self.assertLessEqual(set(values), known, path)
            self.assertIs(schema["additionalProperties"], False, path)
            present = {key for key, value in values.items() if value is not None}
            self.assertEqual(set(schema.get("required", ())), present, path)
            for key, value in values.items():
                if isinstance(value, dict) and "properties" in schema["properties"][key]:
                    compared(schema["properties"][key], value, f"{path}.{key}")

        jsonschema.Draft7Validator.check_schema(SCHEMA)
        compared(SCHEMA, VALUES, "")

    def test_a_value_of_the_wrong_type_is_refused_wherever_it_stands(self):
        validator = jsonschema.Draft7Validator(SCHEMA)
        good = values_of("minimal")
        self.assertTrue(validator.is_valid(good))
        for path, value in leaves(VALUES):
            if path[:2] == ("autoscaling", "behavior"):
                # Kubernetes' own, which its schema judges.
                continue
            # A quantity may be a number.
            is_text = isinstance(value, (str, dict, list, bool)) or value is None
            wrong = [17] if {"requests", "limits"} & set(path) else 17.5 if is_text else "17"
            with self.subTest(value=".".join(path)):
                self.assertFalse(validator.is_valid(merged(good, at(path, wrong))))

    def test_helm_asks_the_schema(self):
        validator = jsonschema.Draft7Validator(SCHEMA)
        groups = []
        for changes in [
            {"replicas": 3},
            {"replicaCount": "3"},
            {"replicaCount": 0},
            {"image": {"digest": "sha256:abc"}},
            {"image": {"tag": "a b"}},
            {"image": {"repository": "a@b"}},
            {"issuerUrl": "http://auth.shop.test"},
            {"issuerUrl": "https://auth.shop.test/"},
            {"issuerUrl": 'https://a"\nprofile = "development'},
            {"issuerUrl": "https://a\u0000b"},
            {"masterKey": {"existingSecret": "Not A Name"}},
            {"masterKey": {"existingSecret": "a\nb"}},
            {"masterKey": {"key": "../../etc/passwd"}},
            {"masterKey": {"key": ""}},
            {"clients": [{"id": "a/../b"}]},
            {"clients": [{"id": 'a"\n[keys'}]},
            {"clients": [{}]},
            {"providers": [{"id": "Google"}]},
            {"tls": {"serverName": "a, evil.test]"}},
            {"tls": {"mode": "none"}},
            {"listen": {"address": "10.0.0.1"}},
            {"passwords": {"memoryKib": 1024}},
            {"passwords": {"threads": 0}},
            {"memory": {"baseMib": 10}},
            {"podSecurityContext": {"runAsUser": 0}},
            {"podSecurityContext": {"runAsUser": "65532"}},
            {"service": {"port": 70000}},
            {"service": {"annotations": {"a": 1}}},
            {"store": {"engine": "mysql"}},
            {"store": {"sqlite": {"size": "8 GB"}}},
            {"telemetry": {"otlpEndpoint": "http://a:4317"}},
            {"telemetry": {"endpoint": "collector:4317"}},
            {"telemetry": {"endpoint": "http://collector"}},
            {"telemetry": {"sampleOneIn": 0}},
            {"ingress": {"gateway": {"hosts": ["a b"]}}},
            {"bootstrap": {"user": "a\nb"}},
            {"podDisruptionBudget": {"maxUnavailable": "half"}},
            {"resources": {"limits": {"memory": "lots"}}},
        ]:
            with self.subTest(changes=changes):
                self.assertFalse(validator.is_valid(merged(values_of("minimal"), changes)))
            # It tells of all faults at once, so that one run is enough for those that are not in each other's way.
            for group in groups:
                if not set(changes) & set(group):
                    group |= changes
                    break
            else:
                groups.append(dict(changes))
        for group in groups:
            for major in HELMS:
                said = template("minimal", group, major=major)
                self.assertEqual(said.returncode, 1)
                self.assertIn("values don't meet the specifications of the schema", said.stderr)
                for (*path, last), _ in leaves(group):
                    with self.subTest(values=path, helm=major):
                        self.assertRegex(said.stderr, rf"(?m)^- .*\b{re.escape((path or [last])[0])}\b")

    def test_values_of_an_older_chart_that_lack_a_key_are_refused(self):
        # `helm upgrade --reuse-values` brings those; a null takes a default away just so.
        for path in [("telemetry", "ca"), ("telemetry",), ("probes", "liveness"), ("memory",), ("networkPolicy", "egress", "otlp")]:
            for major in HELMS:
                with self.subTest(path=path, helm=major):
                    said = template("minimal", at(path, None), major=major)
                    self.assertEqual(said.returncode, 1)
                    self.assertIn("values don't meet the specifications of the schema", said.stderr)
                    self.assertIn(path[-1], said.stderr)
        # Those of today, as Helm keeps them: with all defaults.
        for name in FILES:
            self.assertEqual(text_of(name, values_of(name)), text_of(name))


class HardeningTest(EachCase):
    """Row 201, a test for each field."""

    def test_no_pod_runs_as_root(self):
        for _, _, spec in self.each_pod(KUBERNETES):
            self.assertIs(spec["securityContext"]["runAsNonRoot"], True)
        for container in self.each_container():
            self.assertIs(container["securityContext"]["runAsNonRoot"], True)
            self.assertNotIn("runAsUser", container["securityContext"])

    def test_every_user_is_a_number_above_zero(self):
        for _, _, spec in self.each_pod(KUBERNETES):
            for field in ("runAsUser", "runAsGroup", "fsGroup"):
                self.assertIsInstance(spec["securityContext"][field], int)
                self.assertGreater(spec["securityContext"][field], 0)

    def test_every_root_is_read_only(self):
        for container in self.each_container():
            self.assertIs(container["securityContext"]["readOnlyRootFilesystem"], True)

    def test_every_container_drops_all_capabilities_and_adds_none(self):
        for container in self.each_container():
            self.assertEqual(container["securityContext"]["capabilities"], {"drop": ["ALL"]})

    def test_no_container_may_gain_privileges(self):
        for container in self.each_container():
            self.assertIs(container["securityContext"]["allowPrivilegeEscalation"], False)

    def test_no_container_is_privileged(self):
        for container in self.each_container():
            self.assertIs(container["securityContext"]["privileged"], False)
            self.assertNotIn("procMount", container["securityContext"])

    def test_every_pod_has_the_seccomp_profile_of_the_runtime(self):
        for _, _, spec in self.each_pod(KUBERNETES):
            self.assertEqual(spec["securityContext"]["seccompProfile"], {"type": "RuntimeDefault"})
        for container in self.each_container():
            self.assertEqual(container["securityContext"]["seccompProfile"], {"type": "RuntimeDefault"})

    def test_no_pod_has_a_token_of_its_service_account(self):
        for _, _, spec in self.each_pod(KUBERNETES):
            self.assertIs(spec["automountServiceAccountToken"], False)
            for volume in spec.get("volumes", ()):
                for source in volume.get("projected", {}).get("sources", ()):
                    self.assertNotIn("serviceAccountToken", source)
        for name in FILES:
            for account in of_kind("ServiceAccount", name).values():
                self.assertIs(account["automountServiceAccountToken"], False)

    def test_no_pod_shares_anything_with_its_node(self):
        for _, _, spec in self.each_pod(KUBERNETES):
            for field in ("hostNetwork", "hostPID", "hostIPC", "hostUsers", "shareProcessNamespace"):
                self.assertNotIn(field, spec)
            for volume in spec.get("volumes", ()):
                self.assertNotIn("hostPath", volume)
        for container in self.each_container():
            for port in container.get("ports", ()):
                self.assertNotIn("hostPort", port)

    def test_no_pod_is_told_of_services_by_variables(self):
        for _, _, spec in self.each_pod():
            self.assertIs(spec["enableServiceLinks"], False)

    def test_what_a_container_may_write_to_is_a_volume_for_data(self):
        for _, metadata, spec in self.each_pod():
            for container in containers_of(spec):
                writable = {mount["mountPath"] for mount in container.get("volumeMounts", ()) if not mount.get("readOnly")}
                allowed = {"test": {"/state"}, "server": {"/var/lib/postern"}, "bootstrap": {"/var/lib/postern"}}
                self.assertLessEqual(writable, allowed.get(metadata["of"], set()))

    def test_nothing_may_talk_to_kubernetes(self):
        for _, found in self.each():
            kinds = {each["kind"] for each in found}
            self.assertFalse(kinds & {"Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"})

    def test_every_container_runs_the_image_and_its_entrypoint(self):
        for name, _, spec in self.each_pod():
            image = values_of(name)["image"]
            wanted = f"@{image['digest']}" if image["digest"] else f":{image['tag'] or '0.1.0'}"
            for container in containers_of(spec):
                self.assertEqual(container["image"], f"registry.example.com/postern{wanted}")
                self.assertNotIn("command", container)

    def test_every_account_that_a_pod_names_is_there_when_it_starts(self):
        for name in FILES:
            accounts = of_kind("ServiceAccount", name)
            for found in objects(name):
                for _, spec in pods_of([found]):
                    with self.subTest(values=name, object=found["metadata"]["name"]):
                        if not values_of(name)["serviceAccount"]["create"]:
                            self.assertEqual(spec["serviceAccountName"], "default")
                            continue
                        of_account = accounts[spec["serviceAccountName"]]["metadata"].get("annotations", {})
                        if "pre-install" in found["metadata"].get("annotations", {}).get("helm.sh/hook", ""):
                            self.assertEqual(of_account["helm.sh/hook"], "pre-install,pre-upgrade")
                            self.assertLess(int(of_account["helm.sh/hook-weight"]), 0)
                        else:
                            self.assertNotIn("helm.sh/hook", of_account)


class SecretTest(EachCase):
    """Row 192: secrets come as mounted files, by reference."""

    # Functions of templates that would give another result at an upgrade, or a secret.
    INVENTED = (
        r"\b(rand(Alpha|AlphaNum|Numeric|Ascii|Bytes|Int)|gen(CA|SelfSignedCert|SignedCert|PrivateKey)\w*"
        r"|lookup|derivePassword|htpasswd|bcrypt|uuidv4|now|b64enc)\b"
    )

    def test_no_secret_is_ever_made(self):
        for _, found in self.each(KUBERNETES):
            self.assertNotIn("Secret", {each["kind"] for each in found})
        for path in CHART.rglob("*"):
            if path.is_file() and path.suffix in (".yaml", ".tpl", ".txt") and path.parent.name != "files":
                self.assertNotRegex(path.read_text(), self.INVENTED, path.name)

    def test_the_environment_has_no_secret_but_the_headers_for_the_collector(self):
        plain = {"POSTERN_SERVER", "POSTERN_CA", "POSTERN_CLIENT_SECRET_FILE", "XDG_STATE_HOME"}
        seen = 0
        for name, _, spec in self.each_pod():
            for container in containers_of(spec):
                self.assertNotIn("envFrom", container)
                given = values_of(name)["extraEnv"]
                for variable in container.get("env", ()):
                    if "valueFrom" in variable:
                        self.assertEqual(variable["name"], "OTEL_EXPORTER_OTLP_HEADERS")
                        wanted = {"secretKeyRef": {"name": "collector", "key": "otlp-headers"}}
                        self.assertEqual(variable["valueFrom"], wanted)
                        seen += 1
                    elif variable not in given:
                        self.assertIn(variable["name"], plain)
        # The servers and the gateway.
        self.assertEqual(seen, 2)

    def test_a_secret_is_mounted_read_only_for_its_reader_alone(self):
        for _, _, spec in self.each_pod():
            mounts = {mount["name"]: mount for each in containers_of(spec) for mount in each.get("volumeMounts", ())}
            for volume in spec.get("volumes", ()):
                self.assertNotIn("secret", volume)
                if "projected" in volume:
                    self.assertEqual(volume["projected"]["defaultMode"], 0o400)
                    self.assertIs(mounts[volume["name"]]["readOnly"], True)
                    sources = [each for source in volume["projected"]["sources"] for each in source.values()]
                    paths = [item["path"] for source in sources for item in source["items"]]
                    self.assertEqual(len(paths), len(set(paths)))
                    for path in paths:
                        self.assertNotIn("/", path)

    def test_each_pod_is_given_the_secrets_that_it_needs_and_no_other(self):
        wanted = {
            "server": {
                "master.key", "pepper.key", "redis-url", "redis-password", "redis-ca.crt", "client-orders-0", "client-orders-1",
                "provider-google", "provider-kakao", "provider-kakao.admin", "issuer-old-shop", "postgres-url", "postgres-ca.crt",
                "telemetry-ca.crt", "tls.crt", "tls.key", "clients-ca.crt",
            },
            "gateway": {"gateway-orders", "telemetry-ca.crt", "tls.crt", "tls.key", "clients-ca.crt", "ca.crt"},
            "migrate": {"postgres-owner-url", "postgres-ca.crt"},
            "test": {"ca.crt", "test-password", "test-client"},
        }
        wanted["bootstrap"] = wanted["server"] | {"password", "client-secret"}
        for metadata, spec in pods_of(objects("full")):
            with self.subTest(pod=metadata["of"]):
                found = {
                    item["path"]
                    for volume in spec["volumes"]
                    for source in volume.get("projected", {}).get("sources", ())
                    for each in source.values()
                    for item in each["items"]
                }
                self.assertEqual(found, wanted.pop(metadata["of"]))
        self.assertFalse(wanted)

    def test_every_secret_of_the_values_reaches_a_pod(self):
        for name in FILES:
            def named(value):
                if isinstance(value, dict):
                    if {"name", "key"} == set(value):
                        yield value["name"]
                    for key, each in value.items():
                        yield from [each] if key == "existingSecret" and each else named(each)
                elif isinstance(value, list):
                    for each in value:
                        yield from named(each)

            given = set(named(yaml.safe_load(FILES[name].read_text())))
            text = json.dumps([spec for _, spec in pods_of(objects(name))])
            for secret in given:
                with self.subTest(values=name, secret=secret):
                    self.assertIn(f'"name": "{secret}"', text)


class ResourcesTest(EachCase):
    """Row 202: what hashing needs is there."""

    def test_the_memory_limit_follows_from_the_hashing_settings(self):
        for name, metadata, spec in self.each_pod():
            if metadata["of"] not in ("server", "bootstrap"):
                continue
            values = values_of(name)
            hashing = -(-values["passwords"]["threads"] * values["passwords"]["memoryKib"] // 1024)
            needed = values["memory"]["baseMib"] + hashing
            resources = spec["containers"][0]["resources"]
            wanted = values["resources"]["limits"].get("memory", f"{needed}Mi")
            self.assertEqual(resources["limits"]["memory"], wanted)
            # Asked for whole: a pod that was placed by less could be killed for what it needs.
            self.assertEqual(resources["requests"]["memory"], wanted)
            mib = {"Mi": 1, "Gi": 1024}[wanted[-2:]] * int(wanted[:-2])
            self.assertGreaterEqual(mib, needed)
            self.assertGreater(needed, BASE_MIB + hashing)

    def test_more_threads_are_more_memory(self):
        for threads, memory, wanted in [(1, 19_456, "211Mi"), (8, 65_536, "704Mi"), (3, 20_001, "251Mi"), (256, 262_144, "65728Mi")]:
            given = {"passwords": {"threads": threads, "memoryKib": memory}}
            spec = of_kind("Deployment", "minimal", given)["rel-postern"]["spec"]["template"]["spec"]
            self.assertEqual(spec["containers"][0]["resources"]["limits"]["memory"], wanted)

    def test_the_settings_have_the_numbers_that_the_limit_was_made_of(self):
        for name in FILES:
            passwords, given = tomllib.loads(Settings(name).text)["passwords"], values_of(name)["passwords"]
            self.assertEqual((passwords["threads"], passwords["memory_kib"]), (given["threads"], given["memoryKib"]))

    def test_a_limit_below_what_is_needed_is_refused(self):
        # 192 and twice 19.
        for limit in ("229Mi", "0.2Gi", "230M", "100Ki", "1", 240_000_000):
            with self.subTest(limit=limit):
                (fault,) = refusal("minimal", {"resources": {"limits": {"memory": limit}}})
                self.assertIn("is less than the 230Mi that 2 threads of 19456 KiB need beside memory.baseMib", fault)
        for limit in ("230Mi", "0.25Gi", "250M", "1T", 241_172_480):
            with self.subTest(limit=limit):
                text_of("minimal", {"resources": {"limits": {"memory": limit}}})
        # Kubernetes takes it, and nobody means a thousandth of a byte.
        (fault,) = refusal("minimal", {"resources": {"limits": {"memory": "512m"}}})
        self.assertEqual(fault, "resources.limits.memory: 512m is no quantity such as 512Mi")

    def test_every_container_says_what_it_needs(self):
        for container in self.each_container():
            self.assertIn("memory", container["resources"]["limits"])
            self.assertIn("memory", container["resources"]["requests"])
            self.assertIn("cpu", container["resources"]["requests"])


class NetworkTest(EachCase):
    """Row 203. And of row 194: metrics and health are on a port that strangers do not reach."""

    DNS = {("UDP", 53), ("TCP", 53)}

    def policies(self, name, changes=None):
        return of_kind("NetworkPolicy", name, changes).values()

    def test_everything_is_denied_to_every_pod_first(self):
        for name, metadata, _ in self.each_pod(KUBERNETES):
            if not values_of(name)["networkPolicy"]["enabled"]:
                continue
            denying = [
                policy["spec"]
                for policy in self.policies(name)
                if not policy["spec"].get("ingress") and not policy["spec"].get("egress")
            ]
            whole = {"app.kubernetes.io/name", "app.kubernetes.io/instance"}
            (deny,) = [spec for spec in denying if set(spec["podSelector"]["matchLabels"]) == whole]
            self.assertEqual(deny["policyTypes"], ["Ingress", "Egress"])
            self.assertTrue(selects(deny["podSelector"], metadata["labels"]))

    def test_every_policy_speaks_of_both_directions(self):
        for name in FILES:
            for policy in self.policies(name):
                self.assertEqual(policy["spec"]["policyTypes"], ["Ingress", "Egress"])

    def allowed(self, name, component, direction, changes=None):
        """Ports, and who is at the other end, of all rules of a component."""
        rules = []
        for policy in self.policies(name, changes):
            labels = policy["spec"]["podSelector"]["matchLabels"]
            if labels.get("app.kubernetes.io/component") == component:
                rules += policy["spec"].get(direction, [])
        peers = "from" if direction == "ingress" else "to"
        return [({(port["protocol"], port["port"]) for port in rule["ports"]}, rule.get(peers)) for rule in rules]

    def test_who_may_come_depends_on_the_port(self):
        own = {"app.kubernetes.io/name": "postern", "app.kubernetes.io/instance": "rel"}
        gateway, test = ({"podSelector": {"matchLabels": own | {"app.kubernetes.io/component": of}}} for of in ("gateway", "test"))

        def namespace(name):
            return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}

        shop = namespace("shop") | {"podSelector": {"matchLabels": {"app": "orders"}}}

        self.assertEqual(
            self.allowed("full", "server", "ingress"),
            [
                ({("TCP", "grpc")}, [gateway, test, shop]),
                ({("TCP", "operations")}, [namespace("monitoring")]),
                ({("TCP", "admin")}, [namespace("operators")]),
            ],
        )
        self.assertEqual(self.allowed("full", "gateway", "ingress"), [({("TCP", "gateway")}, [namespace("ingress-nginx")])])
        for component in ("migrate", "bootstrap", "test"):
            self.assertEqual(self.allowed("full", component, "ingress"), [])
        # Who is not named may not come; nobody is named for AdminService by default.
        self.assertEqual(
            self.allowed("minimal", "server", "ingress"),
            [({("TCP", "grpc")}, [test, {"podSelector": {}}]), ({("TCP", "operations")}, [namespace("monitoring")])],
        )
        nobody = {"networkPolicy": {"ingress": {"grpc": [], "operations": [], "gateway": []}}, "tests": {"enabled": False}}
        self.assertEqual(self.allowed("sqlite", "server", "ingress", nobody), [])
        self.assertEqual(self.allowed("sqlite", "server", "ingress")[1][0], {("TCP", "gateway")})

    def test_no_rule_is_for_all_ports_or_from_anybody(self):
        for name in FILES:
            for policy in self.policies(name):
                for rule in policy["spec"].get("ingress", ()):
                    self.assertTrue(rule["ports"])
                    self.assertTrue(rule["from"])
                for rule in policy["spec"].get("egress", ()):
                    self.assertTrue(rule["ports"])

    def test_pods_may_go_to_what_they_need_and_nowhere_else(self):
        def ports(name, component, changes=None):
            return set().union(*(ports for ports, _ in self.allowed(name, component, "egress", changes)))

        postgres, redis, https, grpc, otlp = (("TCP", port) for port in (5432, 6379, 443, 7301, 4317))
        self.assertEqual(ports("minimal", "server"), self.DNS | {postgres, redis})
        self.assertEqual(ports("minimal", "migrate"), self.DNS | {postgres})
        self.assertEqual(ports("minimal", "test"), self.DNS | {grpc})
        self.assertEqual(ports("sqlite", "server"), self.DNS)
        self.assertEqual(ports("mesh", "server"), self.DNS | {postgres, otlp})
        self.assertEqual(ports("mesh", "bootstrap"), self.DNS | {postgres})
        pooler, sentinel, extra = ("TCP", 6432), ("TCP", 26379), ("TCP", 8443)
        self.assertEqual(ports("full", "server"), self.DNS | {pooler, redis, sentinel, https, otlp, extra})
        self.assertEqual(ports("full", "gateway"), self.DNS | {grpc, otlp})
        self.assertEqual(ports("full", "bootstrap"), self.DNS | {pooler})
        telemetry = {"telemetry": {"endpoint": "http://otel.test:14317"}}
        self.assertIn(("TCP", 14317), ports("minimal", "server", telemetry))
        issuer = {"trustedIssuers": [{"name": "a", "settings": {"jwks_uri": "https://a.test/jwks"}}]}
        self.assertIn(https, ports("minimal", "server", issuer))

    def test_providers_are_reached_at_public_addresses_only(self):
        ((_, peers),) = [rule for rule in self.allowed("full", "server", "egress") if ("TCP", 443) in rule[0]]
        (four,) = [peer["ipBlock"] for peer in peers if peer["ipBlock"]["cidr"] == "0.0.0.0/0"]
        for private in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10", "127.0.0.0/8"):
            self.assertIn(private, four["except"])
        self.assertIn({"ipBlock": {"cidr": "2000::/3"}}, peers)

    def test_those_who_are_named_are_the_only_ones(self):
        wanted = yaml.safe_load(FILES["full"].read_text())["networkPolicy"]["egress"]
        rules = self.allowed("full", "server", "egress")
        self.assertIn(({("TCP", 6432)}, wanted["postgres"]), rules)
        self.assertIn(({("TCP", 6379), ("TCP", 26379)}, wanted["redis"]), rules)
        self.assertIn(({("TCP", 4317)}, wanted["otlp"]), rules)
        self.assertIn((self.DNS, VALUES["networkPolicy"]["egress"]["dns"]), rules)

    def test_the_job_before_an_install_has_its_policy_by_then(self):
        policy = of_kind("NetworkPolicy", "minimal")["rel-postern-migrate"]["metadata"]["annotations"]
        job = of_kind("Job", "minimal")["rel-postern-migrate"]["metadata"]["annotations"]
        self.assertEqual(policy["helm.sh/hook"], job["helm.sh/hook"])
        self.assertLess(int(policy["helm.sh/hook-weight"]), int(job.get("helm.sh/hook-weight", 0)))

    def test_what_strangers_reach_has_neither_metrics_nor_administration(self):
        for name in FILES:
            services = of_kind("Service", name)
            for service in services.values():
                (port,) = service["spec"]["ports"]
                internal = port["targetPort"] in ("operations", "admin")
                self.assertEqual(service["metadata"]["name"].endswith(("-operations", "-admin")), internal)
                if internal:
                    self.assertEqual(service["spec"]["type"], "ClusterIP")
            inner = {name for name in services if name.endswith(("-operations", "-admin"))}
            for found in objects(name):
                if found["kind"] in ("Ingress", "HTTPRoute", "GRPCRoute", "BackendTLSPolicy"):
                    targets = set(re.findall(r'"name": "([^"]+)"', json.dumps(found["spec"])))
                    self.assertTrue(targets & set(services))
                    self.assertFalse(targets & inner)

    def test_a_service_leads_to_a_port_of_the_pods_that_it_selects(self):
        for name in FILES:
            pods = pods_of(objects(name))
            for service in of_kind("Service", name).values():
                with self.subTest(values=name, service=service["metadata"]["name"]):
                    (port,) = service["spec"]["ports"]
                    ((_, spec),) = [pod for pod in pods if selects({"matchLabels": service["spec"]["selector"]}, pod[0]["labels"])]
                    self.assertIn(port["targetPort"], [each["name"] for each in spec["containers"][0]["ports"]])
                    self.assertIn(port["appProtocol"], ("http", "https", "kubernetes.io/h2c"))

    def test_a_route_leads_to_a_service_that_is_there(self):
        for name in FILES:
            ports = {service: found["spec"]["ports"][0] for service, found in of_kind("Service", name).items()}
            for found in objects(name):
                if found["kind"] == "Ingress":
                    for rule in found["spec"]["rules"]:
                        backend = rule["http"]["paths"][0]["backend"]["service"]
                        self.assertEqual(ports[backend["name"]]["name"], backend["port"]["name"])
                elif found["kind"] in ("HTTPRoute", "GRPCRoute"):
                    (reference,) = found["spec"]["rules"][0]["backendRefs"]
                    self.assertEqual(ports[reference["name"]]["port"], reference["port"])
                    self.assertTrue(found["spec"]["parentRefs"])
                elif found["kind"] == "BackendTLSPolicy":
                    for reference in found["spec"]["targetRefs"]:
                        self.assertIn(reference["name"], ports)
                    self.assertTrue(found["spec"]["validation"]["hostname"])
        (ingress,) = [each for each in of_kind("Ingress", "full").values() if each["metadata"]["name"] == "rel-postern-grpc"]
        self.assertEqual(ingress["metadata"]["annotations"]["nginx.ingress.kubernetes.io/backend-protocol"], "GRPCS")
        (route,) = of_kind("HTTPRoute", "probed").values()
        self.assertEqual(route["spec"]["hostnames"], ["login.shop.test"])

    def test_the_headless_service_has_no_address(self):
        self.assertEqual(of_kind("Service", "full")["rel-postern-headless"]["spec"]["clusterIP"], "None")


class AvailabilityTest(EachCase):
    """Rows 205 and 206."""

    def serving(self, kubernetes=(NEWEST,)):
        for name, metadata, spec in self.each_pod(kubernetes):
            if metadata["of"] in ("server", "gateway"):
                yield name, metadata["of"], spec, spec["containers"][0]

    def test_probes_ask_for_what_no_engine_can_take_away(self):
        # That these paths, and the empty name of health, do not follow PostgreSQL and Redis, the server's own tests say.
        paths = {("server", "liveness"): "/livez", ("server", "readiness"): "/readyz", ("server", "startup"): "/readyz"}
        seen = set()
        for name, component, _, container in self.serving(KUBERNETES):
            for kind in ("liveness", "readiness", "startup"):
                probe = container[f"{kind}Probe"]
                with self.subTest(kind=kind):
                    if component == "server" and values_of(name)["probes"]["mode"] == "exec":
                        command = probe["exec"]["command"]
                        self.assertEqual(command[:2], ["/postern", "health"])
                        self.assertFalse([word for word in command if word.startswith("--service")])
                        seen.add("exec")
                    else:
                        asked = probe["httpGet"]
                        self.assertEqual(asked["path"], paths.get((component, kind), "/health"))
                        self.assertEqual(asked["port"], "operations" if component == "server" else "gateway")
                        self.assertEqual(asked["scheme"], "HTTP" if name == "mesh" else "HTTPS")
                        self.assertIn(asked["port"], [port["name"] for port in container["ports"]])
                        seen.add(component)
        self.assertEqual(seen, {"exec", "server", "gateway"})

    def test_a_start_has_longer_than_the_server_waits_for_its_database(self):
        for _, _, _, container in self.serving():
            probe = container["startupProbe"]
            self.assertGreater(probe["periodSeconds"] * probe["failureThreshold"], 2 * 30)

    def test_a_pod_leaves_its_services_before_it_is_restarted(self):
        for _, _, _, container in self.serving():
            probes = [container[f"{kind}Probe"] for kind in ("liveness", "readiness")]
            restarted, left = (probe["periodSeconds"] * probe["failureThreshold"] for probe in probes)
            self.assertGreater(restarted, left)

    def test_a_pod_that_ends_takes_calls_until_proxies_know(self):
        for name, _, spec, container in self.serving(KUBERNETES[1:]):
            with self.subTest(values=name):
                handler = container["lifecycle"]["preStop"]
                if name == "guarded":
                    self.assertEqual(set(handler), {"httpGet"})
                else:
                    self.assertEqual(handler, {"sleep": {"seconds": 10}})
                self.assertGreaterEqual(spec["terminationGracePeriodSeconds"], 10 + DRAIN_SECONDS + 2)

    def test_a_kubernetes_without_sleep_is_given_none(self):
        for name, _, spec, container in self.serving(KUBERNETES[:1]):
            if name != "guarded":
                self.assertNotIn("lifecycle", container)
            self.assertGreaterEqual(spec["terminationGracePeriodSeconds"], DRAIN_SECONDS + 2)
        for version, wanted in [("1.29.15", False), ("1.30.0", True), ("1.30.0-eks-1", True), ("v1.33.4+k3s1", True)]:
            (deployment,) = of_kind("Deployment", "minimal", kubernetes=version).values()
            self.assertEqual("lifecycle" in deployment["spec"]["template"]["spec"]["containers"][0], wanted, version)

    def test_the_time_to_end_grows_with_the_sleep(self):
        (deployment,) = of_kind("Deployment", "minimal", {"lifecycle": {"preStopSleepSeconds": 45}}).values()
        self.assertEqual(deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"], 65)

    def test_an_update_never_has_fewer_pods_than_before(self):
        for name in FILES:
            for deployment in of_kind("Deployment", name).values():
                strategy = deployment["spec"]["strategy"]
                if name == "sqlite":
                    # Two on one file would be worse than none for a moment.
                    self.assertEqual(strategy, {"type": "Recreate"})
                else:
                    self.assertEqual(strategy, {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}})
                    self.assertGreater(deployment["spec"]["minReadySeconds"], 0)

    def test_there_are_two_of_each_or_a_scaler_that_keeps_two(self):
        for name in FILES:
            for deployment in of_kind("Deployment", name).values():
                with self.subTest(values=name, deployment=deployment["metadata"]["name"]):
                    replicas = deployment["spec"].get("replicas")
                    if replicas is None:
                        (scaler,) = of_kind("HorizontalPodAutoscaler", name).values()
                        self.assertEqual(scaler["spec"]["scaleTargetRef"]["name"], deployment["metadata"]["name"])
                        replicas = scaler["spec"]["minReplicas"]
                    self.assertEqual(replicas >= 2, name != "sqlite")

    def test_a_drain_of_nodes_takes_one_of_each_at_a_time(self):
        for name in FILES:
            budgets = of_kind("PodDisruptionBudget", name).values()
            pods = pods_of(of_kind("Deployment", name).values())
            selectors = [budget["spec"]["selector"] for budget in budgets]
            guarded = [metadata["of"] for metadata, _ in pods for selector in selectors if selects(selector, metadata["labels"])]
            wanted = [] if name in ("sqlite", "guarded") else [metadata["of"] for metadata, _ in pods]
            self.assertEqual(guarded, wanted, name)
            for budget in budgets:
                self.assertEqual(budget["spec"]["unhealthyPodEvictionPolicy"], "AlwaysAllow")
                self.assertEqual(len({"minAvailable", "maxUnavailable"} & set(budget["spec"])), 1)
        self.assertEqual(of_kind("PodDisruptionBudget", "full")["rel-postern"]["spec"]["minAvailable"], 2)
        self.assertEqual(of_kind("PodDisruptionBudget", "minimal")["rel-postern"]["spec"]["maxUnavailable"], 1)

    def test_pods_are_spread_over_nodes_and_zones(self):
        for name, component, spec, _ in self.serving():
            if name == "mesh":
                self.assertNotIn("topologySpreadConstraints", spec)
                continue
            spread = spec["topologySpreadConstraints"]
            self.assertEqual([each["topologyKey"] for each in spread], ["kubernetes.io/hostname", "topology.kubernetes.io/zone"])
            for each in spread:
                self.assertEqual(each["labelSelector"]["matchLabels"]["app.kubernetes.io/component"], component)
                self.assertEqual(each["whenUnsatisfiable"], "ScheduleAnyway")

    def test_a_digest_wins_over_a_tag(self):
        digest = "sha256:" + "0" * 64
        for given, wanted in [({"tag": "1.2", "digest": digest}, f"@{digest}"), ({"tag": "1.2"}, ":1.2"), ({}, ":0.1.0")]:
            (deployment,) = of_kind("Deployment", "minimal", {"image": given}).values()
            container = deployment["spec"]["template"]["spec"]["containers"][0]
            self.assertEqual(container["image"], f"registry.example.com/postern{wanted}")

    def test_a_scaler_has_the_number_of_replicas_to_itself(self):
        deployment = of_kind("Deployment", "full")["rel-postern"]
        self.assertNotIn("replicas", deployment["spec"])

    def test_jobs_end_by_themselves_and_may_be_repeated(self):
        for name in FILES:
            for job in of_kind("Job", name).values():
                self.assertGreater(job["spec"]["activeDeadlineSeconds"], 0)
                self.assertGreater(job["spec"]["ttlSecondsAfterFinished"], 0)
                self.assertEqual(job["spec"]["template"]["spec"]["restartPolicy"], "Never")
        hook = of_kind("Job", "minimal")["rel-postern-migrate"]["metadata"]["annotations"]
        self.assertEqual(hook, {"helm.sh/hook": "pre-install,pre-upgrade", "helm.sh/hook-delete-policy": "before-hook-creation"})

    def test_tables_are_brought_up_to_date_once_by_whom_the_values_say(self):
        for name, wanted in {"minimal": ["migrate"], "mesh": ["server", "bootstrap"], "guarded": [], "sqlite": []}.items():
            migrating = [
                metadata["of"]
                for metadata, spec in pods_of(objects(name))
                for container in containers_of(spec)
                if container["args"][0] == "migrate"
            ]
            self.assertEqual(sorted(migrating), sorted(wanted), name)

    def test_the_volume_of_the_embedded_store_outlives_the_release(self):
        (claim,) = of_kind("PersistentVolumeClaim", "sqlite").values()
        self.assertEqual(claim["metadata"]["annotations"], {"helm.sh/resource-policy": "keep", "example.com/backup": "daily"})
        self.assertEqual(claim["spec"]["storageClassName"], "fast")
        ((_, spec),) = pods_of(of_kind("Deployment", "sqlite").values())
        (volume,) = [each for each in spec["volumes"] if "persistentVolumeClaim" in each]
        self.assertEqual(volume["persistentVolumeClaim"]["claimName"], claim["metadata"]["name"])
        theirs = {"store": {"sqlite": {"existingClaim": "mine"}}}
        self.assertFalse(of_kind("PersistentVolumeClaim", "sqlite", theirs))

    def test_no_server_runs_while_the_first_administrator_is_made_on_the_embedded_store(self):
        bootstrap = {"bootstrap": {"enabled": True, "existingSecret": "first"}}
        self.assertEqual(of_kind("Deployment", "sqlite", bootstrap)["rel-postern"]["spec"]["replicas"], 0)
        self.assertEqual(of_kind("Deployment", "minimal", bootstrap)["rel-postern"]["spec"]["replicas"], 2)


class Settings:
    """postern.toml of a render."""

    def __init__(self, name, changes=None, **more):
        (self.text,) = [
            found["data"]["postern.toml"] for found in objects(name, changes, **more) if "postern.toml" in found.get("data", {})
        ]
        self.checksums = {
            deployment["spec"]["template"]["metadata"]["annotations"]["checksum/config"]
            for deployment in of_kind("Deployment", name, changes, **more).values()
        }


class SettingsTest(EachCase):
    def test_the_settings_are_what_the_values_say(self):
        read = tomllib.loads(Settings("full").text)
        given = yaml.safe_load(FILES["full"].read_text())
        self.assertEqual(read["profile"], "production")
        self.assertEqual(read["issuer"], {"url": given["issuerUrl"]})
        ports = {"grpc": 7301, "gateway": 7302, "operations": 7303, "admin": 7304}
        self.assertEqual(read["listen"], {name: f"0.0.0.0:{port}" for name, port in ports.items()})
        for section, wanted in given["config"].items():
            self.assertEqual({key: read[section][key] for key in wanted}, wanted)
        self.assertEqual(read["clients"][0]["display_name"], given["clients"][0]["settings"]["display_name"])
        self.assertEqual(read["clients"][0]["secrets"], [{"file": f"{SECRETS}/client-orders-{number}"} for number in (0, 1)])
        self.assertEqual(read["clients"][0]["session_policy"], {"access_ttl": "5m", "max_per_user": 5})
        self.assertNotIn("secrets", read["clients"][1])
        self.assertEqual([each["id"] for each in read["providers"]], ["google", "kakao"])
        self.assertEqual(read["providers"][1]["admin_key"], {"file": f"{SECRETS}/provider-kakao.admin"})
        self.assertEqual([each["name"] for each in read["trusted_issuers"]], ["old-shop", "keycloak"])
        self.assertEqual(read["store"], {"postgres": {"url": {"file": f"{SECRETS}/postgres-url"}, "pool_size": 24, "pooler": True}})
        self.assertEqual(read["vault"]["redis"]["prefix"], "shop:")
        self.assertEqual(
            read["telemetry"],
            {
                "endpoint": "https://collector.monitoring.svc:4317",
                "sample_one_in": 100,
                "service_name": "sign-in",
                "ca": f"{SECRETS}/telemetry-ca.crt",
            },
        )
        self.assertEqual(read["gateway"]["server"], "https://rel-postern.auth.svc:7301")
        self.assertIs(read["gateway"]["in_process"], False)
        self.assertEqual(tomllib.loads(Settings("sqlite").text)["store"], {"sqlite": {}})

    def test_without_a_collector_there_is_nothing_of_it(self):
        given = {"telemetry": {"ca": {"existingSecret": "ca"}, "headers": {"existingSecret": "headers"}}}
        self.assertEqual(text_of("minimal", given), text_of("minimal"))
        self.assertNotIn("telemetry", text_of("minimal"))

    def test_a_collectors_authority_may_be_in_a_config_map(self):
        given = {"telemetry": {"endpoint": "https://otel.test:4317", "ca": {"configMap": "authorities", "key": "otel.pem"}}}
        ((_, spec),) = pods_of(of_kind("Deployment", "minimal", given).values())
        (volume,) = [volume for volume in spec["volumes"] if volume["name"] == "secrets"]
        wanted = {"configMap": {"name": "authorities", "items": [{"key": "otel.pem", "path": "telemetry-ca.crt"}]}}
        self.assertIn(wanted, volume["projected"]["sources"])
        kubernetes_validate.validate(of_kind("Deployment", "minimal", given)["rel-postern"], NEWEST, strict=True)

    def test_whatever_a_text_holds_it_arrives_as_it_is(self):
        texts = [
            'quote " and \\ and \' and """ and \'\'\'',
            "line\nfeed\r\nand\ttab",
            'x"\n[keys.master]\nvalue = "evil',
            "# none\n---\nkind: Secret",
            "{{ .Values.masterKey }} ${HOME} $(HOME) %s",
            "<b>&amp;</b>",
            "\u007f \u0085 \u00a0 \u2028 \u2029 \ufeff \ue000",
            "\U0001f511 한글 ünïcode",
            "\b\f\u0001\u001b",
            "",
            " ",
            "true",
            "1e6",
            "0x1F",
            "2030-01-01",
            "null",
            "~",
        ]
        given = {
            "clients": [{"id": f"c-{number}", "settings": {"display_name": text, "roles": [text]}} for number, text in enumerate(texts)],
            "config": {"log": {"filter": texts[2]}, "made up": {"a key. of = its own": {"in \"quotes\"\n": [1, True, "x", 2.5]}}},
            "vault": {"redis": {"username": "a\"b\\c'd"}},
        }
        for major in sorted(HELMS, reverse=True):
            with self.subTest(helm=major):
                if major == 3:
                    # Which takes no values with DEL in them.
                    given = json.loads(json.dumps(given).replace("\\u007f", "\\u0085"))
                    texts = [text.replace("\u007f", "\u0085") for text in texts]
                read = tomllib.loads(Settings("minimal", given, major=major).text)
                self.assertEqual([each["display_name"] for each in read["clients"]], texts)
                self.assertEqual([each["roles"] for each in read["clients"]], [[text] for text in texts])
                self.assertEqual(read["log"], given["config"]["log"])
                self.assertEqual(read["made up"], given["config"]["made up"])
                self.assertEqual(read["vault"]["redis"]["username"], given["vault"]["redis"]["username"])
                kinds = [found["kind"] for found in objects("minimal", given, major=major)]
                self.assertEqual(kinds, [found["kind"] for found in objects("minimal", major=major)])

    def test_what_people_chose_becomes_neither_an_option_nor_a_variable(self):
        strange = '--help $(POSTERN_SERVER) "x" $$'
        given = {
            "bootstrap": {"user": strange},
            "tests": {"identifier": strange, "require": [strange]},
            "migrations": {"grantTo": strange},
        }
        words = []
        for _, spec in pods_of(objects("full", given)):
            words += [word for container in containers_of(spec) for word in container["args"] if "--help" in word]
        # As the kubelet has it: `$$` is a dollar, and a name in parentheses behind one alone is a variable.
        escaped = strange.replace("$", "$$")
        self.assertEqual(sorted(words), sorted([f"--user={escaped}", escaped, f"--require={escaped}", f"--grant-to={escaped}"]))
        for _, spec in pods_of(objects("full", given)):
            for container in containers_of(spec):
                if escaped in container["args"]:
                    self.assertEqual(container["args"][-2:], ["--", escaped])

    def test_a_date_without_quotes_is_a_text(self):
        text = FILES["full"].read_text().replace('"2030-03-31T00:00:00Z"', "2030-03-31T00:00:00Z")
        self.assertNotEqual(text, FILES["full"].read_text())
        for major in HELMS:
            said = helm(major, "template", "rel", CHART, "-n", "auth", "-f", "-", "--kube-version", NEWEST, given=text)
            self.assertEqual(said.stdout, text_of("full"))

    def test_a_change_of_the_settings_is_a_new_set_of_pods(self):
        before = Settings("full").checksums
        self.assertEqual(len(before), 1)
        seen = set(before)
        for changes in [
            {"issuerUrl": "https://other.shop.test"},
            {"config": {"sessions": {"idle_ttl": "8d"}}},
            {"passwords": {"threads": 3}},
            {"clients": [{"id": "orders"}]},
            {"telemetry": {"sampleOneIn": 99}},
            {"gateway": {"trustedProxies": ["10.1.0.0/16"]}},
            {"listen": {"address": "[::]"}},
        ]:
            with self.subTest(changes=changes):
                after = Settings("full", changes).checksums
                self.assertEqual(len(after), 1)
                self.assertFalse(after & seen)
                seen |= after

    def test_a_change_of_anything_else_restarts_no_server(self):
        def template_of(changes=None):
            return of_kind("Deployment", "full", changes)["rel-postern"]["spec"]["template"]

        for changes in [
            {"autoscaling": {"maxReplicas": 20}},
            {"service": {"port": 443, "annotations": {"a": "b"}}, "gateway": {"server": "https://rel-postern.auth.svc:7301"}},
            {"networkPolicy": {"egress": {"redisPorts": [6380]}}},
            {"monitoring": {"serviceMonitor": {"interval": "1m"}}},
            {"gateway": {"replicaCount": 5, "resources": {"limits": {"memory": "256Mi"}}}},
            {"bootstrap": {"enabled": False}},
            {"tests": {"enabled": False}},
            {"podDisruptionBudget": {"minAvailable": 1}},
            {"migrations": {"mode": "none"}},
        ]:
            with self.subTest(changes=changes):
                self.assertNotEqual(text_of("full", changes), text_of("full"))
                self.assertEqual(template_of(changes), template_of())

    def test_the_ports_of_the_pods_are_those_of_the_settings(self):
        for name, metadata, spec in self.each_pod():
            if metadata["of"] not in ("server", "gateway"):
                continue
            listen = tomllib.loads(Settings(name).text)["listen"]
            ports = {port["name"]: port["containerPort"] for port in spec["containers"][0]["ports"]}
            for port, number in ports.items():
                self.assertTrue(listen[port].endswith(f":{number}"))
                self.assertIn(listen[port].rpartition(":")[0], ("0.0.0.0", "[::]"))
            if metadata["of"] == "server":
                reachable = {port for port, address in listen.items() if address.startswith(("0.0.0.0", "[::]:"))}
                self.assertEqual(set(ports), reachable - ({"gateway"} if metadata["of"] == "server" and "gateway" not in ports else set()))
                # Without it on, AdminService is on the loopback alone.
                self.assertEqual("admin" in ports, values_of(name)["admin"]["enabled"])

    def test_clear_text_is_for_a_mesh_alone(self):
        for name in FILES:
            read = tomllib.loads(Settings(name).text)
            self.assertEqual(read["listen"].get("insecure"), "mesh" if name == "mesh" else None)
            self.assertEqual("tls" in read, name != "mesh")
            self.assertNotIn("reflection", Settings(name).text)

    def test_a_certificate_of_cert_manager_has_every_name_by_which_it_is_checked(self):
        (certificate,) = of_kind("Certificate", "full").values()
        names = certificate["spec"]["dnsNames"]
        for service in of_kind("Service", "full"):
            for name in (service, f"{service}.auth", f"{service}.auth.svc"):
                self.assertIn(name, names)
        self.assertIn("auth.shop.test", names)
        self.assertEqual(len(names), len(set(names)))
        self.assertEqual(certificate["spec"]["issuerRef"], {"name": "internal", "kind": "ClusterIssuer"})
        self.assertEqual(certificate["spec"]["privateKey"]["rotationPolicy"], "Always")
        mounted = json.dumps([spec for _, spec in pods_of(objects("full"))])
        self.assertIn(f'"name": "{certificate["spec"]["secretName"]}"', mounted)


class MonitoringTest(unittest.TestCase):
    def test_alerts_and_dashboard_arrive_as_they_are(self):
        (rule,) = of_kind("PrometheusRule", "full").values()
        self.assertEqual(rule["spec"], yaml.safe_load((CHART / "files" / "alerts.yaml").read_text()))
        dashboard = of_kind("ConfigMap", "full")["rel-postern-dashboard"]
        self.assertEqual(json.loads(dashboard["data"]["postern.json"]), json.loads((CHART / "files" / "dashboard.json").read_text()))
        self.assertEqual(dashboard["metadata"]["labels"]["grafana_dashboard"], "1")
        self.assertLess(len(dashboard["data"]["postern.json"]), 1 << 20)

    def test_prometheus_asks_the_port_of_operations_and_checks_who_answers(self):
        (monitor,) = of_kind("ServiceMonitor", "full").values()
        (endpoint,) = monitor["spec"]["endpoints"]
        self.assertEqual((endpoint["port"], endpoint["path"], endpoint["scheme"]), ("operations", "/metrics", "https"))
        wanted = {"serverName": "rel-postern.auth.svc", "ca": {"secret": {"name": "rel-postern-tls", "key": "ca.crt"}}}
        self.assertEqual(endpoint["tlsConfig"], wanted)
        services = {service: found["metadata"]["labels"] for service, found in of_kind("Service", "full").items()}
        chosen = [service for service, labels in services.items() if selects(monitor["spec"]["selector"], labels)]
        self.assertEqual(chosen, ["rel-postern-operations"])
        self.assertEqual(monitor["metadata"]["labels"]["release"], "prometheus")
        (monitor,) = of_kind("ServiceMonitor", "guarded").values()
        self.assertEqual(monitor["spec"]["endpoints"][0]["tlsConfig"], {"serverName": "auth.shop.test"})

    def test_nothing_of_it_is_there_unless_asked_for(self):
        for name in ("minimal", "sqlite", "mesh"):
            kinds = {found["kind"] for found in objects(name)}
            self.assertFalse(kinds & {"ServiceMonitor", "PrometheusRule"})


class TableTest(unittest.TestCase):
    SCRIPT = ROOT / "scripts" / "chart-values"

    def run_script(self, *arguments):
        return subprocess.run(
            [sys.executable, self.SCRIPT, *map(str, arguments)], capture_output=True, text=True, timeout=PATIENCE_SECONDS
        )

    def test_the_table_of_values_is_current(self):
        said = self.run_script("--check")
        self.assertEqual(said.returncode, 0, said.stderr)
        readme = (CHART / "README.md").read_text()
        for path, _ in leaves(VALUES):
            shown = [".".join(path[:length]) for length in range(1, len(path) + 1)]
            self.assertTrue(any(f"\n| `{each}` | " in readme for each in shown), path)

    def test_a_stale_table_and_a_value_without_a_comment_are_found(self):
        with tempfile.TemporaryDirectory() as folder:
            chart = pathlib.Path(folder) / "postern"
            shutil.copytree(CHART, chart)
            values = chart / "values.yaml"
            values.write_text(values.read_text().replace("replicaCount: 2\n", "replicaCount: 3\n"))
            said = self.run_script("--check", chart)
            self.assertEqual((said.returncode, "stale" in said.stderr), (1, True))
            self.assertEqual(self.run_script(chart).returncode, 0)
            self.assertIn("| `replicaCount` | `3` |", (chart / "README.md").read_text())
            self.assertEqual(self.run_script("--check", chart).returncode, 0)
            values.write_text(values.read_text() + "bare: 1\n")
            said = self.run_script("--check", chart)
            self.assertEqual((said.returncode, "no comment above bare" in said.stderr), (1, True))


def free_port():
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return asked.getsockname()[1]


def as_user(user):
    """For subprocess: the user of a container, if these tests may become one."""
    return {"user": user, "group": user, "extra_groups": []} if os.geteuid() == 0 else {}


def folder_of(case):
    """One that everybody may enter, until the end of a test or of a class of tests."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="postern-chart-"))
    clean = case.addClassCleanup if isinstance(case, type) else case.addCleanup
    clean(shutil.rmtree, folder)
    folder.chmod(0o755)
    return folder


class Process:
    """A program until the end of a test."""

    def __init__(self, case, command, log, **more):
        self.log = pathlib.Path(log)
        with self.log.open("wb") as out:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, **more)
        case.addClassCleanup(self.stop) if isinstance(case, type) else case.addCleanup(self.stop)

    def stop(self):
        """Its exit code."""
        if self._process.poll() is None:
            self._process.terminate()
        try:
            return self._process.wait(PATIENCE_SECONDS)
        finally:
            self._process.kill()
            self._process.wait()

    def until(self, is_there):
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not is_there():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"it does not come up:\n{self.log.read_text()}")
            time.sleep(0.05)


class Cluster:
    """What a cluster would have: Secrets with content that fits, and folders in the places of volumes."""

    def __init__(self, case, binary):
        self.folder = folder_of(case)
        self.binary = binary
        self.authority = Authority()
        names = [x509.DNSName(name) for name in ("localhost", "rel-postern.auth.svc", "auth.shop.test")]
        self._key, self._certificate = self.authority.leaf(x509.ExtendedKeyUsageOID.SERVER_AUTH, *names)
        self._contents = {}
        self.urls = {}
        self.ports = {}

    def run(self, *arguments):
        return subprocess.run(
            [self.binary, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            env=clean_environment(),
        )

    def _key_file(self):
        path = self.folder / f"key-{len(self._contents)}"
        said = self.run("master-key", "new", "--out", path)
        assert said.returncode == 0, said.stderr
        return path.read_bytes()

    def content(self, secret, key, path):
        """Of one key of one Secret, wherever it is mounted."""
        if (secret, key) not in self._contents:
            if path in ("master.key", "pepper.key"):
                content = self._key_file()
            elif path.endswith("url"):
                content = self.urls[path].encode()
            elif path == "tls.key":
                content = self._key
            elif path == "tls.crt":
                content = self._certificate
            elif path.endswith(".crt"):
                content = self.authority.pem
            elif path in ("password", "test-password", "redis-password"):
                content = PASSWORD.encode()
            elif path.startswith(("client-", "gateway-", "test-client")):
                content = b"pcs_" + base64.urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b"=")
            else:
                content = secrets.token_hex(32).encode()
            self._contents[secret, key] = content
        return self._contents[secret, key]

    def pod(self, found, spec):
        return Pod(self, found, spec)


class Pod:
    """The volumes of a pod, filled as the kubelet fills them, and its containers as processes on this machine."""

    def __init__(self, cluster, found, spec):
        self._cluster = cluster
        self.user = spec["securityContext"]["runAsUser"]
        self.spec = spec
        self.root = pathlib.Path(tempfile.mkdtemp(dir=cluster.folder))
        self.root.chmod(0o755)
        self._maps = {each["metadata"]["name"]: each.get("data", {}) for each in found if each["kind"] == "ConfigMap"}
        volumes = {volume["name"]: volume for volume in spec["volumes"]}
        self._places = {}
        for container in containers_of(spec):
            for mount in container.get("volumeMounts", ()):
                # Containers of a pod that mount two volumes at one place are told apart by the volume.
                self._places[mount["name"]] = mount["mountPath"]
        for name, place in self._places.items():
            self._fill(volumes[name], self.root / name)

    def _fill(self, volume, folder):
        folder.mkdir()
        if "configMap" in volume and volume["configMap"]["name"] in self._maps:
            for item in volume["configMap"]["items"]:
                (folder / item["path"]).write_text(self.moved(self._maps[volume["configMap"]["name"]][item["key"]]))
        elif "configMap" in volume:
            (folder / "ca.pem").write_bytes(self._cluster.authority.pem)
        elif "projected" in volume:
            for source in volume["projected"]["sources"]:
                ((_, reference),) = source.items()
                for item in reference["items"]:
                    path = folder / item["path"]
                    path.touch(0o600)
                    path.write_bytes(self._cluster.content(reference["name"], item["key"], item["path"]))
                    self._give_to_group(path)
        else:
            if "persistentVolumeClaim" in volume:
                folder.rmdir()
                folder.symlink_to(self._cluster.folder / volume["persistentVolumeClaim"]["claimName"])
                folder.resolve().mkdir(exist_ok=True)
            if os.geteuid() == 0:
                os.chown(folder.resolve(), 0, self.spec["securityContext"]["fsGroup"])
            folder.resolve().chmod(0o2777 if "emptyDir" in volume else 0o2775)

    def _give_to_group(self, path):
        """As `fsGroup` does with files of mode 0400."""
        if os.geteuid() == 0:
            os.chown(path, 0, self.spec["securityContext"]["fsGroup"])
            path.chmod(0o440)

    def moved(self, text, places=None):
        """With the folders in the places of the mounts, and free ports in those of the listeners."""
        places = places or self._places
        folders = {place: str(self.root / name) for name, place in places.items()}
        mounts = "|".join(re.escape(place) for place in sorted(folders, key=len, reverse=True))
        text = re.sub(rf"(?:{mounts})(?=[/\"]|$)", lambda found: folders[found[0]], text, flags=re.MULTILINE)
        ports = self._cluster.ports

        def of_a_service(found):
            return f"{found[1]}{found[2] or 'localhost'}:{ports.get(found[3], 0)}"

        text = re.sub(r'"(?:0\.0\.0\.0|127\.0\.0\.1):(73\d\d)"', lambda found: f'"127.0.0.1:{ports.get(found[1], 0)}"', text)
        text = re.sub(r'"\[::1?\]:(73\d\d)"', lambda found: f'"[::]:{ports.get(found[1], 0)}"', text)
        return re.sub(r"(https?://)(?:rel-[a-z-]+\.auth\.svc|(127\.0\.0\.1)):(73\d\d)", of_a_service, text)

    def command(self, container, words=None):
        places = {mount["name"]: mount["mountPath"] for mount in container.get("volumeMounts", ())}
        # `$$` is how a dollar is written there.
        words = [word.replace("$$", "$") for word in (words or container["args"])]
        return [str(self._cluster.binary), *(self.moved(word, places) if places else self.moved(word) for word in words)]

    def surroundings(self, container):
        given = {variable["name"]: variable.get("value", "authorization=x") for variable in container.get("env", ())}
        environment = clean_environment(**{name: self.moved(value) for name, value in given.items()})
        return {"env": environment | {"HOME": str(self.root)}, "cwd": self.root} | as_user(self.user)

    def run(self, container, words=None):
        return subprocess.run(
            self.command(container, words), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE_SECONDS,
            **self.surroundings(container),
        )

    def start(self, case, container):
        return Process(case, self.command(container), self._cluster.folder / f"log-{free_port()}", **self.surroundings(container))


class Postgres:
    """A server of PostgreSQL for a class of tests."""

    def __init__(self, case):
        beside = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/postgres"))
        program = shutil.which("postgres") or beside[-1]
        self._programs = pathlib.Path(program).resolve().parent
        # It does not run as root, and wants a user that has a name.
        self._user = {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}
        folder = folder_of(case)
        if self._user:
            shutil.chown(folder, "nobody")
        self.port = free_port()
        self._run("initdb", "--no-sync", "-A", "trust", "-U", "postgres", "-D", folder / "data")
        settings = ["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]
        command = [self._programs / "postgres", "-D", folder / "data", "-k", folder, "-p", str(self.port), *settings]
        process = Process(case, command, folder / "log", cwd=folder, **self._user)
        process.until(self._is_up)
        self.sql("create role owner login", "create role postern login")

    def _run(self, program, *arguments):
        said = subprocess.run(
            [self._programs / program, *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd="/",
            timeout=PATIENCE_SECONDS, **self._user,
        )
        assert said.returncode == 0, said.stdout + said.stderr

    def _is_up(self):
        try:
            self.sql("select 1")
        except AssertionError:
            return False
        return True

    def sql(self, *statements):
        for statement in statements:
            self._run("psql", "-h", "127.0.0.1", "-p", self.port, "-U", "postgres", "-X", "-q", "-c", statement)

    def url(self, role, database):
        return f"postgres://{role}@127.0.0.1:{self.port}/{database}?sslmode=disable"


class ProgramTest(unittest.TestCase):
    """What the chart says to the real program: settings that it takes, and commands that it knows."""

    @classmethod
    def setUpClass(cls):
        cls.postgres = Postgres(cls)
        # The user of the containers may not reach where it was built.
        cls.binary = folder_of(cls) / "postern"
        shutil.copy(BINARY, cls.binary)

    def cluster(self, database=None, role="postern"):
        cluster = Cluster(self, self.binary)
        cluster.ports = {str(port): free_port() for port in (7301, 7302, 7303, 7304)}
        # Nobody is there, until a test says otherwise.
        cluster.urls = {"redis-url": "rediss://127.0.0.1:1", "postgres-url": "postgres://127.0.0.1:1/none"}
        if database:
            self.postgres.sql(f"create database {database} owner owner")
            cluster.urls["postgres-owner-url"] = self.postgres.url("owner", database)
            cluster.urls["postgres-url"] = self.postgres.url(role, database)
        return cluster

    def migrate(self, cluster, found):
        """By the container of the chart; twice, since it may be repeated."""
        for _, spec in pods_of(found):
            for container in containers_of(spec):
                if container["args"][0] == "migrate":
                    pod = cluster.pod(found, spec)
                    for _ in range(2):
                        said = pod.run(container)
                        self.assertEqual(said.returncode, 0, said.stderr)
                    return True
        return False

    def test_the_program_takes_the_settings_of_each_file_of_values(self):
        for name in FILES:
            with self.subTest(values=name):
                found = objects(name)
                # Without a role to grant to, the servers are the owner.
                role = "postern" if values_of(name)["migrations"]["grantTo"] else "owner"
                cluster = self.cluster(f"of_{name}", role)
                if not self.migrate(cluster, found) and name != "sqlite":
                    # Whose job it is with `none`.
                    said = cluster.run("migrate", "--set", f"store.postgres.url.value={cluster.urls['postgres-owner-url']}")
                    self.assertEqual(said.returncode, 0, said.stderr)
                ((_, spec),) = [pod for pod in pods_of(found) if pod[0]["of"] == "server"]
                pod = cluster.pod(found, spec)
                said = pod.run(spec["containers"][0], ["config", "check", "--json", "--config", "/etc/postern/postern.toml"])
                self.assertEqual(said.returncode, 0, said.stdout + said.stderr)
                told = json.loads(said.stdout)
                # Redis is away here, which a start survives; and a single PostgreSQL has no standby.
                keys = {warning["key"] for warning in told["warnings"]} - {"vault.redis.url", "store.postgres.url"}
                self.assertFalse(keys, told["warnings"])

    def test_a_fault_in_free_settings_is_found_by_the_same_check(self):
        found = objects("sqlite", {"config": {"sessions": {"idle_til": "7d"}}})
        ((_, spec),) = [pod for pod in pods_of(found) if pod[0]["of"] == "server"]
        said = self.cluster().pod(found, spec).run(spec["containers"][0], ["config", "check", "--config", "/etc/postern/postern.toml"])
        self.assertEqual(said.returncode, 1)
        self.assertIn("idle_til", said.stderr)

    def test_the_program_knows_every_command_and_option_of_the_chart(self):
        known = {}

        def is_known(words):
            # Help goes before what only looks like an option.
            words = words[: words.index("--")] if "--" in words else words
            if tuple(words) not in known:
                known[tuple(words)] = subprocess.run([BINARY, *words, "--help"], capture_output=True, text=True, env=clean_environment())
            self.assertEqual(known[tuple(words)].returncode, 0, known[tuple(words)].stderr)

        for name in FILES:
            for metadata, spec in pods_of(objects(name)):
                for container in containers_of(spec):
                    with self.subTest(values=name, pod=metadata["of"], container=container["name"]):
                        is_known(container["args"])
                        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                            if "exec" in container.get(probe, ()):
                                is_known(container[probe]["exec"]["command"][1:])
        self.assertGreater(len(known), 8)
        unknown = subprocess.run([BINARY, "migrate", "--grant", "x", "--help"], capture_output=True, env=clean_environment())
        self.assertNotEqual(unknown.returncode, 0)

    def test_the_chart_is_for_this_version_of_the_program(self):
        said = subprocess.run([BINARY, "--version"], capture_output=True, text=True, env=clean_environment())
        self.assertEqual(said.stdout.split()[-1], yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"])

    def test_the_notes_name_commands_and_objects_that_are_there(self):
        for name in FILES:
            said = helm(4, "install", "rel", CHART, "-n", "auth", "-f", FILES[name], "--dry-run=client")
            self.assertEqual(said.returncode, 0, said.stderr)
            notes = said.stdout.partition("\nNOTES:\n")[2]
            there = {f"{found['kind'].lower()}/{found['metadata']['name']}" for found in objects(name)}
            commands = [line.strip() for line in notes.splitlines() if line.startswith("     ")]
            self.assertTrue(commands)
            for command in commands:
                with self.subTest(values=name, command=command):
                    words = shlex.split(command)
                    if "/postern" in words:
                        words = ["postern", *words[words.index("/postern") + 1 :]]
                    if words[0] == "postern":
                        said = subprocess.run([BINARY, *words[1:], "--help"], capture_output=True, text=True, env=clean_environment())
                        self.assertEqual(said.returncode, 0, said.stderr)
                    else:
                        self.assertIn(words[0], ("kubectl", "helm", "export", "echo"))
                    for named in re.findall(r"\b(?:deployment|job)/[a-z0-9-]+", command):
                        self.assertIn(named, there)
            self.assertEqual("image.digest is not set" in notes, name != "full")

    def test_the_readme_names_values_and_commands_that_work(self):
        readme = (CHART / "README.md").read_text()
        (values,) = re.findall(r"<!-- values -->\n```yaml\n(.*?)```", readme, re.DOTALL)
        commands = [line for block in re.findall(r"```sh\n(.*?)```", readme, re.DOTALL) for line in block.splitlines()]
        made = {words[words.index("generic") + 1] for words in map(str.split, commands) if "generic" in words}
        for command in commands:
            words = shlex.split(command)
            if words[0] == "postern":
                said = subprocess.run([BINARY, *words[1:], "--help"], capture_output=True, text=True, env=clean_environment())
                self.assertEqual(said.returncode, 0, said.stderr)
            if words[:2] == ["helm", "install"]:
                options = words[words.index("--set") : words.index("--set") + 2]
        for major in HELMS:
            said = helm(major, "template", "postern", CHART, "-n", "auth", "-f", "-", *options, "--kube-version", NEWEST, given=values)
            self.assertEqual(said.returncode, 0, said.stderr)
            found = _objects(said.stdout)
            named = {f"{each['kind'].lower()}/{each['metadata']['name']}" for each in found}
            for name in re.findall(r"\b(?:deployment|job)/[a-z0-9-]+", readme):
                self.assertIn(name, named)
            for _, spec in pods_of(found):
                for volume in spec["volumes"]:
                    for source in volume.get("projected", {}).get("sources", ()):
                        self.assertIn(source["secret"]["name"], made)
                        for item in source["secret"]["items"]:
                            (line,) = [line for line in commands if f"generic {source['secret']['name']} " in line]
                            self.assertRegex(line, rf"--from-file={re.escape(item['key'])}(=| |$)")
        # What it says of the defaults.
        self.assertIn("230Mi by default", readme)

    def ask(self, cluster, port, path):
        """The status of an answer by HTTP."""
        trusted = ssl.create_default_context(cadata=cluster.authority.pem.decode())
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trusted))
        try:
            return opener.open(f"https://localhost:{cluster.ports[port]}{path}", timeout=5).status
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    def probed(self, cluster, process, spec):
        """Waits as the kubelet does."""
        container = spec["containers"][0]
        ports = {port["name"]: str(port["containerPort"]) for port in container["ports"]}
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            asked = container[probe]["httpGet"]
            process.until(lambda asked=asked: self.ask(cluster, ports[asked["port"]], asked["path"]) == 200)

    def bootstrap(self, name, cluster):
        """Tables and the first administrator, as the chart makes them."""
        making = objects(name, {"bootstrap": {"enabled": True, "existingSecret": "first"}})
        self.migrate(cluster, making)
        ((_, spec),) = [pod for pod in pods_of(making) if pod[0]["of"] == "bootstrap"]
        pod = cluster.pod(making, spec)
        said = pod.run(spec["containers"][0])
        self.assertEqual(said.returncode, 0, said.stderr)
        self.assertIn("Created administrator admin", said.stdout)
        self.assertNotIn("pcs_", said.stdout + said.stderr)
        # What a Job that is tried again meets.
        self.assertEqual(pod.run(spec["containers"][0]).returncode, 1)

    def serve_and_test(self, name, changes, cluster):
        """A server and `helm test`, as the chart starts them."""
        found = objects(name, merged(changes, {"tests": {"existingSecret": "first"}}))
        ((_, spec),) = [pod for pod in pods_of(found) if pod[0]["of"] == "server"]
        server = cluster.pod(found, spec).start(self, spec["containers"][0])
        self.probed(cluster, server, spec)

        ((_, spec),) = [pod for pod in pods_of(found) if pod[0]["of"] == "test"]
        pod = cluster.pod(found, spec)
        self.assertEqual([container["name"] for container in containers_of(spec)], ["health", "login", "verify"])
        for container in containers_of(spec):
            said = pod.run(container)
            self.assertEqual(said.returncode, 0, f"{container['name']}: {said.stdout}{said.stderr}\n{server.log.read_text()}")
        return server

    def test_the_embedded_store_is_served_and_tested_as_the_chart_says(self):
        cluster = self.cluster()
        self.bootstrap("sqlite", cluster)
        server = self.serve_and_test("sqlite", {"tests": {"require": ["postern:users:read"]}}, cluster)
        # Metrics are not on the port for browsers; row 194.
        self.assertEqual(self.ask(cluster, "7303", "/metrics"), 200)
        self.assertEqual(self.ask(cluster, "7302", "/metrics"), 404)
        denied = objects("sqlite", {"tests": {"existingSecret": "first", "require": ["nobody:may"]}})
        ((_, spec),) = [pod for pod in pods_of(denied) if pod[0]["of"] == "test"]
        pod = cluster.pod(denied, spec)
        codes = [pod.run(container).returncode for container in containers_of(spec)]
        self.assertEqual(codes, [0, 0, 3])
        self.assertEqual(server.stop(), 0)

    def test_postgresql_and_redis_are_served_and_tested_as_the_chart_says(self):
        cluster = self.cluster("whole")
        port = free_port()
        cluster.urls["redis-url"] = f"redis://127.0.0.1:{port}"
        # Before there is a Redis, which no policy lets the Job reach.
        self.bootstrap("minimal", cluster)
        command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(cluster.folder)]
        redis = Process(self, command, cluster.folder / "redis")
        redis.until(lambda: b"ready to accept" in redis.log.read_bytes().lower())
        server = self.serve_and_test("minimal", {}, cluster)
        # Row 205: an engine that goes takes nothing out of a Service and restarts nothing.
        redis.stop()
        self.assertEqual([self.ask(cluster, "7303", path) for path in ("/livez", "/readyz")], [200, 200])
        self.assertEqual(server.stop(), 0)

    def test_a_gateway_of_its_own_starts_and_stays_without_its_server(self):
        cluster = self.cluster()
        found = objects("full")
        ((_, spec),) = [pod for pod in pods_of(found) if pod[0]["of"] == "gateway"]
        gateway = cluster.pod(found, spec).start(self, spec["containers"][0])
        self.probed(cluster, gateway, spec)
        self.assertEqual(gateway.stop(), 0)

    def test_a_probe_by_the_command_finds_the_server_beside_it(self):
        for name in ("mesh", "probed"):
            with self.subTest(values=name):
                cluster = self.cluster()
                changes = {"store": {"engine": "sqlite"}, "vault": {"engine": "store"}, "replicaCount": 1, "bootstrap": {"enabled": False}}
                found = objects(name, changes)
                ((_, spec),) = [pod for pod in pods_of(found) if pod[0]["of"] == "server"]
                pod = cluster.pod(found, spec)
                container = spec["containers"][0]
                command = container["livenessProbe"]["exec"]["command"]
                self.assertEqual(command[0], "/postern")
                self.assertEqual(pod.run(container, command[1:]).returncode, 5)
                server = pod.start(self, container)
                server.until(lambda: pod.run(container, command[1:]).returncode == 0)
                if name == "probed":
                    # The name leads back to the pod, and is one that the certificate has.
                    (alias,) = spec["hostAliases"]
                    self.assertEqual(alias, {"ip": "127.0.0.1", "hostnames": ["rel-postern.auth.svc"]})
                    self.assertIn("https://rel-postern.auth.svc:7301", command)
                self.assertEqual(server.stop(), 0)
