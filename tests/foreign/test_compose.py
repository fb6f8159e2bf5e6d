"""The production-like set-up of examples/production, as far as it can be judged without a container engine: the file is
read as YAML, and what its containers run is asked of the program itself."""

import pathlib
import re
import shlex
import subprocess
import tempfile
import unittest

import yaml

from support import BINARY, PATIENCE_SECONDS, clean_environment

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "examples/production"
# What the page beside it says to make.
SECRETS = [
    "ca.crt",
    "master-key",
    "owner-password",
    "postgres-owner-url",
    "postgres-url",
    "redis-url",
    "server-password",
    "tls.crt",
    "tls.key",
]
LASTING = ["first", "network", "postgres", "redis", "second"]


class Compose(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.file = yaml.safe_load((FOLDER / "docker-compose.yml").read_text())
        cls.services = cls.file["services"]

    def test_services_are_in_one_network_and_in_order(self):
        self.assertEqual(sorted(self.services), sorted([*LASTING, "migrate", "tools"]))
        for name, service in self.services.items():
            if name != "network":
                self.assertEqual(service["network_mode"], "service:network", name)
                # Neither goes together with the network of another.
                self.assertNotIn("ports", service)
                self.assertNotIn("extra_hosts", service)
            for needed, how in service.get("depends_on", {}).items():
                self.assertIn(needed, self.services)
                asks = "service_completed_successfully" if needed == "migrate" else "service_healthy"
                self.assertEqual(how["condition"], asks)
                self.assertEqual("healthcheck" in self.services[needed], needed != "migrate")
        for name in ("first", "second", "tools"):
            self.assertEqual(sorted(self.services[name]["depends_on"]), ["migrate", "redis"])
        self.assertIn("noeviction", self.services["redis"]["command"])

    def test_what_lasts_is_started_again(self):
        lasting = [name for name, service in self.services.items() if service.get("restart") == "unless-stopped"]
        self.assertEqual(sorted(lasting), LASTING)
        self.assertEqual(self.services["tools"]["profiles"], ["tools"])

    def test_postgres_can_be_set_up_by_the_owner_of_the_secrets(self):
        postgres = self.services["postgres"]
        self.assertEqual(postgres["user"], self.services["first"]["user"])
        # Below the volume, whose mode that owner cannot change; and nobody gets in without a password.
        (volume,) = [volume.split(":")[1] for volume in postgres["volumes"] if volume.startswith("postgres:")]
        self.assertEqual(pathlib.PurePath(postgres["environment"]["PGDATA"]).parent, pathlib.PurePath(volume))
        self.assertEqual(postgres["environment"]["POSTGRES_INITDB_ARGS"], "--auth-host=scram-sha-256")

    def test_tools_reach_what_no_port_does(self):
        tools, network = self.services["tools"], self.services["network"]
        self.assertFalse([port for port in network["ports"] if "04:" in port or "03:" in port])
        (host,) = network["extra_hosts"]
        name, address = host.rsplit(":", 1)
        self.assertEqual(address, "127.0.0.1")
        given = tools["environment"]
        self.assertEqual(given["POSTERN_SERVER"], f"https://{name}:7301")
        self.assertEqual(given["POSTERN_ADMIN_SERVER"], f"https://{name}:7304")
        self.assertIn(given["XDG_STATE_HOME"], tools["tmpfs"])
        self.assertIn("./secrets:/run/secrets", tools["volumes"])
        told = subprocess.run([BINARY, "admin", "--help"], capture_output=True, text=True, check=True, timeout=PATIENCE_SECONDS)
        known = re.findall(r"\[env:\s+(\w+)", told.stdout)
        for variable in given:
            if variable.startswith("POSTERN_"):
                self.assertIn(variable, known)

    def test_what_is_mounted_is_there(self):
        page = (FOLDER / "README.md").read_text()
        self.assertIn("holds nine files", page)
        self.assertEqual(len(SECRETS), 9)
        for secret in SECRETS:
            self.assertIn(secret, page)
        ignored = (FOLDER.parents[1] / ".gitignore").read_text().splitlines()
        self.assertIn("/examples/production/secrets", ignored)
        for name, service in self.services.items():
            for volume in service.get("volumes", []):
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
        page = (FOLDER / "README.md").read_text().replace("\\\n", "")
        (bootstrap,) = re.findall(r"^docker compose run --rm tools (postern admin bootstrap .*)$", page, re.MULTILINE)
        secret = self.services["tools"]["environment"]["POSTERN_CLIENT_SECRET_FILE"]
        self.assertRegex(bootstrap, rf"--client cli +--client-secret-file {secret}$")
        commands = [(name, self.services[name]["command"]) for name in ("migrate", "first", "second")]
        for name, (program, *arguments) in [*commands, ("tools", shlex.split(bootstrap))]:
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
        # One that cannot be run is read by the image's own script, into itself.
        self.assertTrue((FOLDER / "role.sh").stat().st_mode & 0o100)
        subprocess.run(["sh", "-n", FOLDER / "role.sh"], check=True, timeout=PATIENCE_SECONDS)


if __name__ == "__main__":
    unittest.main()
