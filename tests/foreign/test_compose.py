"""The production-like set-up of examples/production, as far as it can be judged without a container engine: the file is
read as YAML, and what its containers run is asked of the program itself."""

import pathlib
import subprocess
import tempfile
import unittest

import yaml

from support import BINARY, PATIENCE_SECONDS, clean_environment

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "examples/production"
# What the page beside it says to make.
SECRETS = ["master-key", "owner-password", "postgres-owner-url", "postgres-url", "redis-url", "server-password", "tls.crt", "tls.key"]


class Compose(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.file = yaml.safe_load((FOLDER / "docker-compose.yml").read_text())
        cls.services = cls.file["services"]

    def test_services_are_in_one_network_and_in_order(self):
        self.assertEqual(sorted(self.services), ["first", "migrate", "postgres", "redis", "second"])
        for name, service in self.services.items():
            if name != "postgres":
                self.assertEqual(service["network_mode"], "service:postgres", name)
                self.assertNotIn("ports", service)
            for needed, how in service.get("depends_on", {}).items():
                self.assertIn(needed, self.services)
                self.assertTrue(how["condition"].startswith("service_"))
        for name in ("first", "second"):
            self.assertEqual(self.services[name]["depends_on"]["migrate"]["condition"], "service_completed_successfully")
        self.assertIn("noeviction", self.services["redis"]["command"])

    def test_what_is_mounted_is_there(self):
        page = (FOLDER / "README.md").read_text()
        for secret in SECRETS:
            self.assertIn(secret, page)
        for name, service in self.services.items():
            for volume in service["volumes"]:
                source = volume.split(":")[0]
                with self.subTest(service=name, source=source):
                    if source.startswith("./secrets"):
                        self.assertTrue(source == "./secrets" or pathlib.Path(source).name in SECRETS)
                    elif source.startswith("./"):
                        self.assertTrue((FOLDER / source).is_file())
                    elif not source.startswith("${POSTERN_BINARY"):
                        self.assertIn(source, self.file["volumes"])

    def test_each_command_is_one_of_the_program(self):
        named = (FOLDER / "postgres-redis.toml").read_text()
        for secret in ("master-key", "postgres-owner-url", "postgres-url", "redis-url", "tls.crt", "tls.key"):
            self.assertIn(f'"/run/secrets/{secret}"', named)
        for name in ("migrate", "first", "second"):
            program, *arguments = self.services[name]["command"]
            self.assertEqual(program, "postern")
            mounts = [volume.split(":")[1] for volume in self.services[name]["volumes"]]
            self.assertIn(arguments[arguments.index("--config") + 1], mounts)
            arguments[arguments.index("--config") + 1] = str(FOLDER / "postgres-redis.toml")
            with tempfile.TemporaryDirectory() as folder, self.subTest(service=name):
                # It reads its settings, and then misses the files of /run/secrets and nothing else.
                ran = subprocess.run(
                    [BINARY, *arguments],
                    cwd=folder,
                    env=clean_environment(HOME=folder),
                    capture_output=True,
                    text=True,
                    timeout=PATIENCE_SECONDS,
                )
                self.assertEqual(ran.returncode, 1, ran.stderr)
                self.assertIn("/run/secrets/", ran.stderr)
                self.assertNotIn("Usage:", ran.stderr)
                faults = [line for line in ran.stderr.splitlines() if line.startswith("  ")]
                self.assertTrue(all("/run/secrets/" in line or "tls" in line for line in faults if "no such" in line), ran.stderr)

    def test_the_role_is_made_by_a_script_that_a_shell_reads(self):
        subprocess.run(["sh", "-n", FOLDER / "role.sh"], check=True, timeout=PATIENCE_SECONDS)


if __name__ == "__main__":
    unittest.main()
