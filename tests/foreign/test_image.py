"""The container image, under tools that had no part in making it: what is in it and nothing else, that it is made the same
twice, what its bill of materials says, and that it runs as an orchestrator would run it. Needs root, to start containers."""

import ctypes
import fcntl
import gzip
import hashlib
import io
import json
import os
import pathlib
import re
import shutil
import socket
import ssl
import struct
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import tomllib
import unittest

import grpc
from cryptography import x509
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from grpc_health.v1 import health_pb2, health_pb2_grpc
from license_expression import get_spdx_licensing
from postern.auth.v1 import auth_pb2, auth_pb2_grpc

from support import NO_PROXY, PASSWORD, PATIENCE_SECONDS, check, clean_environment, eventually, login_request
from test_encrypted import Authority

ROOT = pathlib.Path(__file__).resolve().parents[2]
# The static program, as `scripts/image --build-only` makes it.
BINARY = pathlib.Path(os.environ["POSTERN_STATIC_BIN"])
MOST_BYTES = 25_000_000
IMAGE = "localhost/postern:0.1.0"
USER = 65532
BUNDLE = "etc/ssl/certs/ca-certificates.crt"
# Mode and owner by name. A folder ends with a slash.
CONTENTS = {
    "etc/": (0o755, 0),
    "etc/group": (0o444, 0),
    "etc/hosts": (0o444, 0),
    "etc/nsswitch.conf": (0o444, 0),
    "etc/passwd": (0o444, 0),
    "etc/ssl/": (0o755, 0),
    "etc/ssl/certs/": (0o755, 0),
    BUNDLE: (0o444, 0),
    "postern": (0o555, 0),
    "var/": (0o755, 0),
    "var/lib/": (0o755, 0),
    "var/lib/postern/": (0o700, USER),
}
TEXTS = {
    "etc/group": "root:x:0:\npostern:x:65532:\n",
    "etc/hosts": "127.0.0.1 localhost\n::1 localhost\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
    "etc/passwd": "root:x:0:0:root:/:/nonexistent\npostern:x:65532:65532:Postern:/var/lib/postern:/nonexistent\n",
}


def run(*command, **options):
    """What a program prints; it fails the test unless the program succeeds."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=10 * PATIENCE_SECONDS, **options)
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stdout


def make_image(folder, **environment):
    """Where the archive is, and its digest as the script tells it."""
    surroundings = clean_environment(**environment)
    told = run(ROOT / "scripts/image", "--binary", BINARY, "--out", folder, env=surroundings, cwd="/")
    return told.split()


def setUpModule():
    global FOLDER, ARCHIVE, DIGEST, BILL
    folder = tempfile.TemporaryDirectory(prefix="postern-image-")
    unittest.addModuleCleanup(folder.cleanup)
    FOLDER = pathlib.Path(folder.name)
    ARCHIVE, DIGEST = make_image(FOLDER / "out")
    BILL = FOLDER / "out/postern.cdx.json"


class Program(unittest.TestCase):
    def test_it_is_static(self):
        self.assertIn("statically linked", run("ldd", BINARY))
        segments = run("readelf", "--wide", "--program-headers", BINARY)
        self.assertIn("LOAD", segments)
        self.assertNotIn("INTERP", segments)
        self.assertNotIn("NEEDED", run("readelf", "--dynamic", BINARY))

    def test_it_is_small(self):
        self.assertLess(BINARY.stat().st_size, MOST_BYTES)

    def test_it_tells_nothing_of_where_it_was_built(self):
        content = BINARY.read_bytes()
        # A panic names its line, so there are paths: they begin where the script says.
        homes = set(re.findall(rb"([^/\0]*)/registry/src/", content))
        self.assertTrue(homes)
        self.assertEqual({home[-6:] for home in homes}, {b"cargo"})
        for place in (ROOT, pathlib.Path.home() / ".cargo"):
            self.assertFalse(str(place).encode() in content, place)

    def test_another_program_makes_no_image(self):
        for program, reason in (("/bin/sh", "is not static"), ("/etc/passwd", "is not a program")):
            done = subprocess.run(
                [ROOT / "scripts/image", "--binary", program, "--out", FOLDER / "none"], capture_output=True, text=True
            )
            self.assertEqual(done.returncode, 1)
            self.assertIn(reason, done.stderr)
        self.assertFalse((FOLDER / "none").exists())


class Image(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.layout = FOLDER / "layout"
        run("skopeo", "copy", "--quiet", f"oci-archive:{ARCHIVE}", f"oci:{cls.layout}:it")
        cls.settings = json.loads(run("skopeo", "inspect", "--config", f"oci:{cls.layout}:it"))

    def members(self):
        """What all layers hold, one upon the other."""
        manifest = json.loads(run("skopeo", "inspect", "--raw", f"oci:{self.layout}:it"))
        for layer in manifest["layers"]:
            blob = (self.layout / "blobs" / layer["digest"].replace(":", "/")).read_bytes()
            with tarfile.open(fileobj=io.BytesIO(gzip.decompress(blob))) as archive:
                yield from ((member, archive.extractfile(member)) for member in archive)

    def test_it_holds_these_files_and_no_others(self):
        found = {}
        for member, content in self.members():
            self.assertTrue(member.isdir() or member.isreg(), member.name)
            self.assertEqual(member.uid, member.gid)
            name = member.name.strip("/") + "/" * member.isdir()
            found[name] = (member.mode & 0o7777, member.uid)
            if name in TEXTS:
                self.assertEqual(content.read().decode(), TEXTS[name])
            elif name == "postern":
                self.assertEqual(content.read(), BINARY.read_bytes())
        found.pop("/", None)
        self.assertEqual(found, CONTENTS)

    def test_another_reader_finds_the_same(self):
        bundle = FOLDER / "bundle"
        run("umoci", "unpack", "--rootless", "--image", f"{self.layout}:it", bundle)
        rootfs = bundle / "rootfs"
        found = {f"{path.relative_to(rootfs)}{'/' * path.is_dir()}" for path in rootfs.rglob("*")}
        self.assertEqual(found, set(CONTENTS))
        # The bill names each file with what it is.
        told = {part["name"]: part["hashes"] for part in json.loads(BILL.read_text())["components"] if part["type"] == "file"}
        self.assertEqual(set(told), {f"/{name}" for name in CONTENTS if not name.endswith("/")})
        for name, hashes in told.items():
            digest = hashlib.sha256((rootfs / name[1:]).read_bytes()).hexdigest()
            self.assertEqual(hashes, [{"alg": "SHA-256", "content": digest}])

    def test_it_trusts_authorities_and_holds_no_key(self):
        (text,) = [content.read().decode() for member, content in self.members() if member.name.strip("/") == BUNDLE]
        trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        trust.load_verify_locations(cadata=text)
        self.assertGreater(trust.cert_store_stats()["x509_ca"], 50)
        self.assertEqual(set(re.findall("-----BEGIN (.*)-----", text)), {"CERTIFICATE"})

    def test_its_settings_are_these_and_no_others(self):
        version = tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]["version"]
        settings = dict(self.settings["config"])
        labels = settings.pop("Labels")
        # No shell, no command, no variable of ours, and so no secret.
        expected = {
            "User": f"{USER}:{USER}",
            "Entrypoint": ["/postern"],
            "WorkingDir": "/var/lib/postern",
            "ExposedPorts": {f"{port}/tcp": {} for port in (7301, 7302, 7303, 7304)},
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
        }
        self.assertEqual(settings, expected)
        revision = labels.pop("org.opencontainers.image.revision", None)
        if revision is not None:
            self.assertRegex(revision, "^[0-9a-f]{40}(-dirty)?$")
        expected = {
            "org.opencontainers.image.title": "Postern",
            "org.opencontainers.image.description": "A gRPC authentication service in one binary",
            "org.opencontainers.image.licenses": "Apache-2.0",
            "org.opencontainers.image.version": version,
        }
        self.assertEqual(labels, expected)
        self.assertEqual((self.settings["os"], self.settings["architecture"]), ("linux", architecture()))
        self.assertEqual(json.loads(run("skopeo", "inspect", f"oci-archive:{ARCHIVE}"))["Digest"], DIGEST)

    def test_it_is_small_as_a_whole(self):
        self.assertLess(sum(member.size for member, _ in self.members()), MOST_BYTES)
        self.assertLess(pathlib.Path(ARCHIVE).stat().st_size, MOST_BYTES)

    def test_it_is_made_the_same_twice(self):
        # By somebody with other habits, in another place, at another time, from a copy.
        again, elsewhere = FOLDER / "again", FOLDER / "elsewhere"
        elsewhere.mkdir(exist_ok=True)
        copy = elsewhere / "program"
        shutil.copyfile(BINARY, copy)
        copy.chmod(0o700)
        environment = clean_environment(TMPDIR=str(elsewhere), TZ="Asia/Seoul", LC_ALL="C.UTF-8")
        script = 'umask 077; exec "$@"'
        image = [ROOT / "scripts/image", "--binary", copy, "--out", again]
        told = run("bash", "-c", script, "-", *image, env=environment, cwd=elsewhere).split()
        self.assertEqual(told, [str(again / "postern.oci.tar"), DIGEST])
        for name in ("postern.oci.tar", "postern.cdx.json"):
            self.assertEqual((again / name).read_bytes(), (FOLDER / "out" / name).read_bytes(), name)
        # And a difference would be seen.
        _, other = make_image(FOLDER / "other", SOURCE_DATE_EPOCH="1000000000")
        self.assertNotEqual(other, DIGEST)

    def test_the_build_leaves_nothing_behind(self):
        folder = FOLDER / "temporary"
        folder.mkdir()
        make_image(FOLDER / "left", TMPDIR=str(folder))
        self.assertEqual(list(folder.iterdir()), [])
        self.assertNotIn(str(folder), pathlib.Path("/proc/self/mountinfo").read_text())


class Buildah:
    """An engine's builder, with a storage of its own and no network to fetch from."""

    def __init__(self, case, folder):
        self._command = ["buildah", "--root", folder / "root", "--runroot", folder / "run"]
        self._environment = clean_environment(STORAGE_DRIVER="vfs")
        case.addCleanup(subprocess.run, ["umount", folder / "root/vfs"], stderr=subprocess.DEVNULL)

    def build(self, name, *arguments):
        given = ["--isolation=chroot", "--timestamp=0", "--pull-never", f"--tag=localhost/{name}:it"]
        run(*self._command, "bud", *given, *arguments, env=self._environment)

    def push(self, name, layout):
        run(*self._command, "push", "--quiet", f"localhost/{name}:it", f"oci:{layout}:it", env=self._environment)


class Containerfile(unittest.TestCase):
    TEXT = (ROOT / "Containerfile").read_text()

    def test_a_linter_finds_no_fault(self):
        hadolint = pathlib.Path(sys.executable).parent / "hadolint"
        self.assertEqual(run(hadolint, ROOT / "Containerfile"), "")

    def test_it_names_the_versions_that_the_manifest_does(self):
        package = tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]
        self.assertIn(f"library/rust:{package['rust-version']}-bookworm\n", self.TEXT)
        self.assertIn(f'org.opencontainers.image.version="{package["version"]}"', self.TEXT)
        self.assertTrue(IMAGE.endswith(f":{package['version']}"))

    def test_an_engine_reads_what_cargo_needs_and_no_secret(self):
        checkout, seen = FOLDER / "checkout", FOLDER / "seen"
        tracked = run("git", "-C", ROOT, "ls-files", "-z").split("\0")
        for name in filter(None, tracked):
            (checkout / name).parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / name).exists():
                shutil.copy(ROOT / name, checkout / name)
        planted = ["postern-data/master.key", "examples/production/secrets/tls.key", "orders.secret", "src/web.secret", ".env", ".git/x"]
        for name in planted:
            (checkout / name).parent.mkdir(parents=True, exist_ok=True)
            (checkout / name).write_text("planted")
        everything = FOLDER / "everything"
        everything.write_text("FROM scratch\nCOPY . /\n")
        buildah = Buildah(self, FOLDER / "seen-store")
        buildah.build("seen", f"--file={everything}", checkout)
        buildah.push("seen", seen)
        run("umoci", "unpack", "--rootless", "--image", f"{seen}:it", FOLDER / "seen-bundle")
        context = FOLDER / "seen-bundle/rootfs"
        for name in planted:
            self.assertFalse((context / name).exists(), name)
        self.assertFalse((context / "docs").exists())
        # All that cargo reads before it compiles, and each file that goes into the program.
        run("cargo", "metadata", "--no-deps", "--locked", "--offline", "--format-version", "1", cwd=context)
        self.assertTrue(os.access(context / "scripts/image", os.X_OK))
        included = 0
        for source in (context / "src").rglob("*.rs"):
            if {"tests", "tests.rs", "testing.rs"}.isdisjoint(source.parts):
                for name in re.findall(r'include_(?:str|bytes)!\("([^"]+)"\)', shipped(source.read_text())):
                    self.assertTrue((source.parent / name).exists(), f"{source}: {name}")
                    included += 1
        self.assertGreater(included, 4)
        for name in ("proto", "migrations", "build.rs", "Cargo.lock"):
            self.assertTrue((context / name).exists(), name)

    def test_an_engine_makes_the_same_files_as_the_script(self):
        base, store, layout = (FOLDER / name for name in ("base", "base-store", "base-layout"))
        make_base(base)
        buildah = Buildah(self, store)
        buildah.build("base", base)
        buildah.build("engine", "--build-arg=RUST_IMAGE=localhost/base:it", f"--file={ROOT}/Containerfile", ROOT)
        buildah.push("engine", layout)
        archive, _ = make_image(FOLDER / "at-zero", SOURCE_DATE_EPOCH="0")
        by_engine = json.loads(run("skopeo", "inspect", "--config", f"oci:{layout}:it"))
        by_script = json.loads(run("skopeo", "inspect", "--config", f"oci-archive:{archive}"))
        # The layers, byte by byte.
        self.assertEqual(by_engine["rootfs"], by_script["rootfs"])


# What scripts/image calls.
TOOLS = "bash chmod cp dirname grep install mkdir mktemp od readelf realpath rm sed tr umount".split()
# In the place of the real one, which would take minutes and the network: it has compiled already.
CARGO = """#!/bin/bash
set -eu
case "$*" in
    metadata\ *) echo '{"packages":[],"target_directory":"/src/target","version":1}' ;;
    "rustc --profile dist --locked --target TRIPLE --bin postern -- -C opt-level=3")
        [[ $CARGO_ENCODED_RUSTFLAGS == "-C"?"target-feature=+crt-static"?* ]]
        mkdir -p /src/target/TRIPLE/dist
        cp /compiled /src/target/TRIPLE/dist/postern
        ;;
    *) exit 1 ;;
esac
"""


def make_base(folder):
    """In the place of the image with Rust: this machine's own shell and tools, with the libraries that they load."""
    (folder / "bin").mkdir(parents=True)
    for tool in TOOLS:
        program = shutil.which(tool)
        shutil.copy(program, folder / "bin")
        for library in re.findall(r"(/\S+) \(0x", run("ldd", program)):
            (folder / library[1:]).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(library, folder / library[1:])
    (folder / "usr").mkdir(exist_ok=True)
    # Of the first line of the script.
    (folder / "usr/bin").symlink_to("/bin")
    shutil.copy(shutil.which("env"), folder / "bin")
    (folder / "tmp").mkdir()
    (folder / BUNDLE).parent.mkdir(parents=True)
    shutil.copy(f"/{BUNDLE}", folder / BUNDLE)
    shutil.copy(BINARY, folder / "compiled")
    triple = f"{os.uname().machine}-unknown-linux-gnu"
    for name, script in (("cargo", CARGO.replace("TRIPLE", triple)), ("rustc", f"#!/bin/bash\necho host: {triple}\n")):
        (folder / "bin" / name).write_text(script)
        (folder / "bin" / name).chmod(0o755)
    (folder / "Containerfile").write_text("FROM scratch\nCOPY . /\nENV HOME=/root PATH=/bin\n")


def shipped(source):
    """The source without its tests, which come last."""
    return source.partition("#[cfg(test)]\nmod tests {")[0]


def architecture():
    return {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]


class Bill(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.text = BILL.read_text()
        cls.bill = json.loads(cls.text)
        cls.crates = {part["bom-ref"]: part for part in cls.bill["components"] if part.get("purl", "").startswith("pkg:cargo/")}
        cls.locked = tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]

    def required(self):
        return {part["name"] for part in self.crates.values() if part["scope"] == "required"}

    def test_it_keeps_the_schema(self):
        self.assertIsNone(JsonStrictValidator(SchemaVersion.V1_6).validate_str(self.text))
        broken = self.text.replace('"required"', '"needed"', 1)
        self.assertIsNotNone(JsonStrictValidator(SchemaVersion.V1_6).validate_str(broken))

    def test_every_crate_of_the_lock_is_in_it_once(self):
        expected = {f"{package['name']}@{package['version']}": package for package in self.locked}
        references = [part["bom-ref"] for part in self.bill["components"]]
        self.assertEqual(len(references), len(set(references)))
        self.assertEqual(self.bill["metadata"]["component"]["bom-ref"], next(name for name in expected if name.startswith("postern@")))
        self.assertEqual(set(self.crates), {name for name, package in expected.items() if "source" in package})
        for name, part in self.crates.items():
            self.assertEqual(part["hashes"], [{"alg": "SHA-256", "content": expected[name]["checksum"]}])
            self.assertEqual(part["purl"].replace("%2B", "+"), f"pkg:cargo/{name}")
        ours = {part["name"] for part in self.bill["components"] if part["type"] == "library"} - {
            part["name"] for part in self.crates.values()
        }
        self.assertEqual(ours, {"orders-backend", "postern-load", "postern-rig", "glibc", "rust-std"})

    def test_licences_are_expressions_of_spdx(self):
        licensing = get_spdx_licensing()
        for part in [*self.bill["components"], self.bill["metadata"]["component"]]:
            if part["type"] != "file":
                (licence,) = part["licenses"]
                self.assertEqual(licensing.validate(licence["expression"], strict=True).errors, [], part["bom-ref"])

    def test_what_needs_what_is_as_the_lock_says(self):
        graph = {node["ref"]: node["dependsOn"] for node in self.bill["dependencies"]}
        self.assertEqual(set(graph), {f"{package['name']}@{package['version']}" for package in self.locked})
        for package in self.locked:
            needed = graph[f"{package['name']}@{package['version']}"]
            self.assertLessEqual(set(needed), set(graph))
            names = sorted(dependency.split()[0] for dependency in package.get("dependencies", []))
            self.assertEqual(sorted(reference.rpartition("@")[0] for reference in needed), names)

    def test_the_scope_tells_what_is_in_the_program(self):
        uses = {part["name"]: part["properties"][0]["value"] for part in self.crates.values()}
        for name, use in [
            ("tokio", "program"),
            ("aws-lc-sys", "program"),
            ("libsqlite3-sys", "program"),
            ("protox", "build"),
            ("serde_derive", "build"),
            ("proptest", "tests"),
            ("windows-sys", "other systems"),
            # In the lock for features that nobody asked for, and with advisories of its own in the past.
            ("ring", "nothing"),
        ]:
            self.assertEqual(uses[name], use, name)
            self.assertEqual(name in self.required(), use == "program")
        # The program names the crates whose code may panic: each of them is said to be in it.
        named = set(re.findall(rb"/registry/src/[^/]+/([a-zA-Z0-9_-]+)-\d+\.\d+\.\d+[^/]*/", BINARY.read_bytes()))
        self.assertGreater(len(named), 50)
        self.assertLessEqual({name.decode() for name in named}, self.required())

    def test_what_the_compiler_put_in_is_told_too(self):
        parts = {part["name"]: part for part in self.bill["components"]}
        self.assertIn(f"rustc version {parts['rust-std']['version']} ".encode(), BINARY.read_bytes())
        self.assertIn(parts["glibc"]["version"].encode(), BINARY.read_bytes())

    def test_its_number_follows_from_what_it_says(self):
        environment = clean_environment(SOURCE_DATE_EPOCH="1000000000")
        first, second = (run(ROOT / "scripts/sbom", env=environment, cwd="/") for _ in range(2))
        self.assertEqual(first, second)
        self.assertEqual(json.loads(first)["metadata"]["timestamp"], "2001-09-09T01:46:40Z")
        self.assertNotEqual(json.loads(first)["serialNumber"], self.bill["serialNumber"])


# crun wants a pure cgroup2 mount, which a machine with both kinds lacks. What is mounted goes with the shell's namespace.
HOLD = """
if [ "$(stat -f -c %T /sys/fs/cgroup)" != cgroup2fs ]; then
    umount -R /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup || exit 1
fi
echo ready
exec cat
"""
# As a hardened pod has it. Limits are named because the engine would raise them, which not every root may; no cgroups, because
# not every root may make them.
HARDENED = ["--read-only", "--read-only-tmpfs=false", "--cap-drop=all", "--security-opt=no-new-privileges"]
MODEST = ["--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024", "--cgroups=disabled", "--log-driver=k8s-file", "--pull=never"]
PRODUCTION = """
profile = "production"
issuer.url = "https://auth.example.com"
data_dir = "/var/lib/postern"
keys.master.file = "/etc/postern/master.key"
tls.certificate = "/etc/postern/tls.crt"
tls.key = "/etc/postern/tls.key"
"""
LISTENING = [f"--listen.{listener}=127.0.0.1:0" for listener in ("grpc", "operations", "gateway")]


class Engine:
    """Podman with a storage, a mount namespace and, if asked, a network of its own, which knows the image and nothing else."""

    def __init__(self, case, *, network=False):
        if os.geteuid() != 0:
            raise AssertionError("containers are started by root here: run the tests as root")
        folder = tempfile.TemporaryDirectory(prefix="postern-podman-")
        case.addClassCleanup(folder.cleanup)
        own = ["--mount", *["--net"] * network]
        self._holder = subprocess.Popen(["unshare", *own, "sh", "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        case.addClassCleanup(self._release)
        if self._holder.stdout.readline() != b"ready\n":
            raise AssertionError("no namespace of its own for mounts: containers need CAP_SYS_ADMIN, which this root lacks")
        self.pid = self._holder.pid
        self._podman = ["nsenter", f"--target={self.pid}", *own, "podman", "--root", f"{folder.name}/root"]
        self._podman += ["--runroot", f"{folder.name}/run", "--tmpdir", f"{folder.name}/tmp", "--runtime=crun", "--events-backend=none"]
        case.addClassCleanup(self.podman, "rm", "--all", "--force", "--time=0", "--volumes")
        self.podman("load", "--quiet", "--input", ARCHIVE)

    def _release(self):
        self._holder.communicate()

    def podman(self, *command, said=""):
        return run(*self._podman, *command, input=said)

    def attempt(self, *command):
        """Exit code and output of a command that may fail."""
        done = subprocess.run([*self._podman, *command], capture_output=True, text=True, timeout=PATIENCE_SECONDS)
        return done.returncode, done.stdout + done.stderr

    def start(self, name, *settings, options=()):
        """Runs the image as it is meant to be run, until it says that it is ready; its facts."""
        given = [*HARDENED, *MODEST, "--network=host", f"--volume={name}:/var/lib/postern", *options]
        self.podman("run", "--detach", "--name", name, *given, IMAGE, *LISTENING, *settings)

        def facts():
            lines = [json.loads(line) for line in self.attempt("logs", name)[1].splitlines()]
            found = {line["fact"]: line for line in lines if "fact" in line}
            return found if "ready" in found else None

        try:
            return eventually(facts)
        except AssertionError as error:
            raise AssertionError(f"the container did not start: {self.attempt('logs', name)[1]}") from error

    def inspect(self, name, what):
        return self.podman("inspect", "--format", "{{" + what + "}}", name).strip()

    def log_lines(self, name):
        lines = [json.loads(line) for line in self.attempt("logs", name)[1].splitlines()]
        return [line for line in lines if "message" in line]


class Running(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.engine = Engine(cls)
        cls.facts = cls.engine.start("one")
        cls.channel = grpc.insecure_channel(cls.facts["grpc"]["address"], options=NO_PROXY)
        cls.addClassCleanup(cls.channel.close)

    def test_its_probe_says_that_it_serves(self):
        server = f"--server=http://{self.facts['grpc']['address']}"
        self.assertIn("SERVING", self.engine.podman("exec", "one", "/postern", "health", server))
        # And that it does not, where nobody is.
        code, told = self.engine.attempt("exec", "one", "/postern", "health", "--server=http://127.0.0.1:9")
        self.assertEqual(code, 5, told)

    def test_people_sign_in_from_outside(self):
        # A volume that it found empty has its owner and mode from the image.
        volume = pathlib.Path(self.engine.podman("volume", "inspect", "--format", "{{.Mountpoint}}", "one").strip())
        self.assertEqual((volume.stat().st_uid, volume.stat().st_gid, volume.stat().st_mode & 0o777), (USER, USER, 0o700))
        password = (volume / self.facts["administrator"]["password_file"]).read_text().strip()
        auth = auth_pb2_grpc.AuthServiceStub(self.channel)
        tokens = auth.Login(login_request("admin", password), timeout=PATIENCE_SECONDS).sign_in.tokens
        question = auth_pb2.VerifyRequest(access_token=tokens.access_token, require=[check("postern:users:write")])
        decision = auth.Verify(question, timeout=PATIENCE_SECONDS).decision
        self.assertEqual(auth_pb2.Decision.Name(decision), "DECISION_ALLOW")

    def test_it_may_do_nothing_that_it_need_not(self):
        process = pathlib.Path("/proc") / self.engine.inspect("one", ".State.Pid")
        status = dict(line.split(":\t", 1) for line in (process / "status").read_text().splitlines() if ":\t" in line)
        for identity in ("Uid", "Gid"):
            self.assertEqual(status[identity].split(), [str(USER)] * 4)
        for capabilities in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            self.assertEqual(int(status[capabilities], 16), 0, capabilities)
        self.assertEqual(status["NoNewPrivs"], "1")
        # The engine's default filter.
        self.assertEqual(status["Seccomp"], "2")
        self.assertEqual(status["NSpid"].split()[-1], "1")
        mounts = [line.split() for line in (process / "mountinfo").read_text().splitlines()]
        options = {fields[4]: fields[5].split(",") for fields in mounts}
        self.assertIn("ro", options["/"])
        self.assertIn("rw", options["/var/lib/postern"])
        # Nothing secret in its arguments and surroundings.
        given = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        self.assertNotRegex(given.decode().lower(), "secret|password|token|_key")

    def test_sigterm_ends_it_in_order_though_it_is_the_first_process(self):
        facts = self.engine.start("two")
        with grpc.insecure_channel(facts["grpc"]["address"], options=NO_PROXY) as channel:
            watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=PATIENCE_SECONDS)
            self.assertEqual(next(watch).status, health_pb2.HealthCheckResponse.SERVING)
            started = time.monotonic()
            self.engine.podman("kill", "--signal=TERM", "two")
            # Whoever watches is told first.
            self.assertEqual(next(watch).status, health_pb2.HealthCheckResponse.NOT_SERVING)
            self.assertEqual(self.engine.podman("wait", "two").strip(), "0")
        # Ten seconds for calls that have begun, and the engine's own time.
        self.assertLess(time.monotonic() - started, 15)
        messages = [line["message"] for line in self.engine.log_lines("two")]
        self.assertEqual(len([message for message in messages if message.startswith("stopping: ")]), 1, messages)
        # The engine counts on its own that nobody had to be killed.
        self.assertEqual(self.engine.inspect("two", ".State.ExitCode"), "0")

    def test_it_comes_back_with_what_it_kept(self):
        self.engine.start("three")
        self.engine.podman("stop", "--time=20", "three")
        self.assertEqual(self.engine.inspect("three", ".State.ExitCode"), "0")
        self.engine.podman("rm", "three")
        facts = self.engine.start("three")
        self.assertNotIn("administrator", facts)
        self.assertFalse(facts["store"]["created"])

    def test_production_starts_as_the_page_says(self):
        folder = tempfile.TemporaryDirectory(prefix="postern-production-")
        self.addCleanup(folder.cleanup)
        secrets = pathlib.Path(folder.name)
        authority = Authority()
        pair = authority.leaf(x509.ExtendedKeyUsageOID.SERVER_AUTH, x509.DNSName("localhost"))
        for name, content in zip(("tls.key", "tls.crt", "ca.crt"), (*pair, authority.pem), strict=True):
            (secrets / name).write_bytes(content)
            (secrets / name).chmod(0o600)
            os.chown(secrets / name, USER, USER)
        (secrets / "postern.toml").write_text(PRODUCTION)
        os.chown(secrets, USER, USER)
        given = [*HARDENED, *MODEST, "--network=host", "--volume=kept:/var/lib/postern"]
        writing, reading = f"--volume={secrets}:/etc/postern", f"--volume={secrets}:/etc/postern:ro"
        configured = "--config=/etc/postern/postern.toml"
        image = ["run", "--rm", "--interactive", *given, writing, IMAGE]
        self.engine.podman(*image, "master-key", "new", "--out=/etc/postern/master.key")
        self.engine.podman(*image, "config", "check", configured)
        client = ["--client=cli", "--client-secret-file=/etc/postern/cli.secret"]
        self.engine.podman(*image, "admin", "bootstrap", configured, *client, said=f"{PASSWORD}\n")
        self.assertEqual((secrets / "cli.secret").stat().st_uid, USER)
        facts = self.engine.start("kept", configured, "--listen.admin=127.0.0.1:0", options=[reading])
        self.assertEqual(facts["postern"]["profile"], "production")
        self.assertFalse(facts["store"]["created"])
        server = f"--server=https://localhost:{facts['grpc']['address'].rpartition(':')[2]}"
        told = self.engine.podman("exec", "kept", "/postern", "health", server, "--ca=/etc/postern/ca.crt")
        self.assertIn("SERVING", told)

    def test_without_a_place_to_write_it_says_so(self):
        code, told = self.engine.attempt("run", "--rm", *HARDENED, *MODEST, "--network=host", IMAGE, *LISTENING)
        self.assertNotIn(code, (0, 125, 126, 127), told)
        self.assertIn("postern-data", told)


class NameServer(threading.Thread):
    """Of a network that a process is in; it knows one name, and remembers for which it was asked."""

    NAME = "postern.example.test"

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.asked = []
        self._network = f"/proc/{pid}/ns/net"
        self._socket = None
        self._is_ready = threading.Event()
        self.start()
        if not self._is_ready.wait(PATIENCE_SECONDS) or self._socket is None:
            raise AssertionError("no name server in a network of its own")

    def run(self):
        try:
            # The network is this thread's alone.
            with open(self._network, "rb") as network:
                if ctypes.CDLL(None, use_errno=True).setns(network.fileno(), 0) != 0:
                    raise OSError(ctypes.get_errno(), "setns")
            opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            # SIOCSIFFLAGS: IFF_UP.
            fcntl.ioctl(opened, 0x8914, struct.pack("16sh14x", b"lo", 1))
            opened.bind(("127.0.0.1", 53))
            self._socket = opened
        finally:
            self._is_ready.set()
        while True:
            question, asker = self._socket.recvfrom(2000)
            # What a socket says that is shut down.
            if not question:
                return
            self._socket.sendto(self._answer(question), asker)

    def _answer(self, question):
        end = question.index(0, 12)
        labels, at = [], 12
        while at < end:
            labels.append(question[at + 1 : at + 1 + question[at]].decode())
            at += 1 + question[at]
        name = ".".join(labels).lower()
        self.asked.append(name)
        (kind,) = struct.unpack(">H", question[end + 1 : end + 3])
        is_known = name == self.NAME
        # An address for A; for AAAA none, which is no error.
        record = b"\xc0\x0c\0\1\0\1\0\0\0\0\0\4" + socket.inet_aton("127.0.0.1") if is_known and kind == 1 else b""
        flags = 0x8180 if is_known else 0x8183
        return question[:2] + struct.pack(">HHHHH", flags, 1, bool(record), 0, 0) + question[12 : end + 5] + record

    def close(self):
        # Wakes the thread, which closing alone would not.
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._socket.close()
        self.join(PATIENCE_SECONDS)


class NamesAndTrust(unittest.TestCase):
    """A static program has no libraries to look names up with, and an empty image nobody to trust: both must work nevertheless."""

    HOSTS_NAME = "hosts.example.test"

    @classmethod
    def setUpClass(cls):
        cls.engine = Engine(cls, network=True)
        cls.names = NameServer(cls.engine.pid)
        cls.addClassCleanup(cls.names.close)
        folder = tempfile.TemporaryDirectory(prefix="postern-trust-")
        cls.addClassCleanup(folder.cleanup)
        secrets = pathlib.Path(folder.name)
        secrets.chmod(0o755)
        authority = Authority()
        names = [x509.DNSName(name) for name in ("localhost", cls.HOSTS_NAME, NameServer.NAME)]
        key, certificate = authority.leaf(x509.ExtendedKeyUsageOID.SERVER_AUTH, *names)
        (secrets / "tls.crt").write_bytes(certificate)
        (secrets / "tls.key").write_bytes(key)
        (secrets / "tls.key").chmod(0o400)
        os.chown(secrets / "tls.key", USER, USER)
        (secrets / "authorities.crt").write_bytes(authority.pem)
        cls.surroundings = ["--dns=127.0.0.1", f"--add-host={cls.HOSTS_NAME}:127.0.0.1"]
        cls.trusting = [f"--volume={secrets}/authorities.crt:/{BUNDLE}:ro"]
        facts = cls.engine.start(
            "one",
            "--set=tls.certificate=/run/secrets/tls.crt",
            "--set=tls.key=/run/secrets/tls.key",
            options=[*cls.surroundings, f"--volume={secrets}:/run/secrets:ro"],
        )
        cls.port = facts["grpc"]["address"].rpartition(":")[2]

    def health(self, name, *options):
        server = f"--server=https://{name}:{self.port}"
        given = [*HARDENED, *MODEST, "--network=host", *self.surroundings, *options]
        return self.engine.attempt("run", "--rm", *given, IMAGE, "health", server)

    def test_names_are_found_in_hosts_and_by_dns(self):
        for name in ("localhost", self.HOSTS_NAME, NameServer.NAME):
            with self.subTest(name=name):
                code, told = self.health(name, *self.trusting)
                self.assertEqual(code, 0, told)
                self.assertIn("SERVING", told)
        self.assertIn(NameServer.NAME, self.names.asked)
        # The file comes first: nobody was asked for these.
        self.assertNotIn("localhost", self.names.asked)
        self.assertNotIn(self.HOSTS_NAME, self.names.asked)

    def test_a_name_that_nobody_knows_is_an_error(self):
        code, told = self.health("missing.example.test", *self.trusting)
        self.assertEqual(code, 5, told)
        self.assertIn("missing.example.test", self.names.asked)

    def test_whom_it_trusts_is_in_that_one_file(self):
        self.assertEqual(self.health("localhost", *self.trusting)[0], 0)
        code, told = self.health("localhost")
        self.assertEqual(code, 5, told)
        self.assertIn("certificate", told.lower())
