"""scripts/restore-drill against dumps of an installation that was in use: what can be restored passes, and what cannot is named."""

import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import unittest

from postern.auth.v1 import auth_pb2, auth_pb2_grpc

from support import BINARY, PASSWORD, PATIENCE_SECONDS, Server, bearer, clean_environment, eventually, login_request

ROOT = pathlib.Path(__file__).resolve().parents[2]
DRILL = ROOT / "scripts/restore-drill"
MIGRATIONS = sorted((ROOT / "migrations/postgres").glob("*.sql"))
ISSUER = "https://auth.example.com"
NEXT_PASSWORD = "quite another password"
NOBODY = 65534


def run(*command, **options):
    """What a program prints; it fails the test unless the program succeeds."""
    options = {"env": clean_environment(), "timeout": PATIENCE_SECONDS} | options
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, **options)
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stdout


def programs():
    packaged = [str(path) for path in pathlib.Path("/usr/lib/postgresql").glob("*/bin/postgres")]
    return pathlib.Path(shutil.which("postgres") or max(packaged)).resolve().parent


class Postgres:
    """The servers' database, as the tests of Rust have theirs: on a free port, without syncing, never as root."""

    def __init__(self):
        self._folder = pathlib.Path(tempfile.mkdtemp(prefix="postern-drilled-"))
        self._as_user = {}
        if os.geteuid() == 0:
            os.chown(self._folder, NOBODY, NOBODY)
            self._as_user = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
        data = self._folder / "data"
        words = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "--wal-segsize=1"]
        run(programs() / "initdb", "-D", data, *words, cwd="/", **self._as_user)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        settings = {"listen_addresses": "127.0.0.1", "port": self.port, "unix_socket_directories": "", "fsync": "off"}
        settings["dynamic_shared_memory_type"] = "mmap"
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [programs() / "postgres", "-D", data, *words], stdout=log, stderr=log, cwd="/", **self._as_user
            )
        eventually(lambda: self.psql("postgres", "select 1", check=False) or None)

    def url(self, database):
        return f"postgres://postgres@127.0.0.1:{self.port}/{database}"

    def psql(self, database, *statements, check=True, **options):
        words = [word for statement in statements for word in ("-c", statement)]
        command = [programs() / "psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", self.url(database), *words]
        done = subprocess.run(command, capture_output=True, text=True, env=clean_environment(), **options)
        assert done.returncode == 0 or not check, f"{statements}: {done.stderr}"
        return done.stdout.removesuffix("\n")

    def dump(self, database, file, *options):
        run(programs() / "pg_dump", "--format=custom", "--file", file, *options, "-d", self.url(database))
        return file

    def stop(self):
        self._process.send_signal(signal.SIGINT)
        self._process.wait(PATIENCE_SECONDS)
        shutil.rmtree(self._folder)


class RestoreDrill(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix="postern-drill-test-")
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        # Those of the drill's PostgreSQL must get through it, who see nothing of it.
        cls.folder.chmod(0o711)
        cls.postgres = Postgres()
        cls.addClassCleanup(cls.postgres.stop)
        cls.postgres.psql("postgres", "create database postern")
        cls.install()
        cls.live()

    @classmethod
    def install(cls):
        """As production has it, with a pepper, and the sessions in the database."""
        cls.secret("password", PASSWORD + "\n")
        cls.secret("postgres-url", cls.postgres.url("postern"))
        for name in ("master.key", "pepper.key", "another.key"):
            run(BINARY, "master-key", "new", "--out", cls.folder / name)
        cls.settings = "".join(
            f"{key} = '{value}'\n"
            for key, value in {
                "profile": "production",
                "data_dir": cls.folder / "data",
                "issuer.url": ISSUER,
                "keys.master.file": cls.folder / "master.key",
                "keys.algorithm": "ES256",
                "passwords.pepper_file": cls.folder / "pepper.key",
                "store.postgres.url.file": cls.folder / "postgres-url",
                "listen.insecure": "mesh",
                "listen.admin": "127.0.0.1:0",
            }.items()
        )
        cls.config = cls.secret("postern.toml", cls.settings)
        run(BINARY, "migrate", "--config", cls.config)
        words = ["--client", "shop", "--client-secret-file", cls.folder / "shop.secret"]
        run(BINARY, "admin", "bootstrap", "--config", cls.config, "--password-file", cls.folder / "password", *words)

    @classmethod
    def live(cls):
        """People are signed in when the dump is made, under a server that goes on, and later things happen."""
        server = Server(data=cls.folder / "data", file=cls.settings)
        try:
            # Only now: a server makes the signing keys.
            cls.offline("users", "create", "kim", input=PASSWORD + "\n")
            auth = auth_pb2_grpc.AuthServiceStub(server.channel())
            shop = bearer((cls.folder / "shop.secret").read_text().strip())

            def sign_in():
                answer = auth.Login(login_request("kim", PASSWORD), metadata=shop, timeout=PATIENCE_SECONDS)
                return answer.sign_in.tokens

            def end(tokens):
                request = auth_pb2.RevokeRequest(refresh_token=tokens.refresh_token)
                auth.Revoke(request, metadata=shop, timeout=PATIENCE_SECONDS)

            over, forgotten = sign_in(), sign_in()
            end(over)
            cls.over = cls.secret("over.token", over.access_token)
            cls.forgotten = cls.secret("forgotten.token", forgotten.access_token)

            done = threading.Event()

            def go_on(refresh_token):
                while not done.is_set():
                    request = auth_pb2.RefreshRequest(refresh_token=refresh_token)
                    answer = auth.Refresh(request, metadata=shop, timeout=PATIENCE_SECONDS)
                    refresh_token = answer.tokens.refresh_token

            busy = threading.Thread(target=go_on, args=[sign_in().refresh_token])
            busy.start()
            try:
                cls.dump = cls.postgres.dump("postern", cls.folder / "postern.dump")
            finally:
                done.set()
                busy.join()
            # What the dump does not know.
            end(forgotten)
            cls.offline("users", "create", "lee", input=PASSWORD + "\n")
            cls.offline("users", "set-password", "kim", input=NEXT_PASSWORD + "\n")
        finally:
            server.stop()

    @classmethod
    def secret(cls, name, text):
        path = cls.folder / name
        path.touch(mode=0o600)
        path.write_text(text)
        return path

    @classmethod
    def offline(cls, *words, **options):
        return run(BINARY, "admin", "--offline", cls.folder / "data", "--config", cls.config, *words, **options)

    def command(self, dump, *words, key="master.key"):
        here = ["--binary", BINARY, "--dump", dump, "--master-key", self.folder / key]
        return [str(word) for word in [sys.executable, DRILL, *here, *words]]

    def drill(self, dump, *words, key="master.key"):
        """How it ended and what it said. Nothing may be left of it, neither a file nor a process."""
        done = subprocess.run(
            self.command(dump, *words, key=key),
            capture_output=True,
            text=True,
            env=self.surroundings(),
            timeout=10 * PATIENCE_SECONDS,
            stdin=subprocess.DEVNULL,
        )
        self.assertNothingIsLeft()
        self.assertEqual(done.stderr, "")
        return done.returncode, done.stdout

    def surroundings(self):
        folder = self.folder / "tmp"
        folder.mkdir(exist_ok=True)
        folder.chmod(0o755)
        # Neither may lead it to the servers or to their database.
        return clean_environment(TMPDIR=str(folder), PGHOST="192.0.2.1", POSTERN_SERVER="http://192.0.2.1:7301")

    def assertNothingIsLeft(self):
        self.assertEqual(list((self.folder / "tmp").iterdir()), [])
        self.assertEqual(self.processes(), [])

    def processes(self):
        """Whatever the drill started and is alive: all of it knows the temporary folder."""
        marked = f"TMPDIR={self.folder / 'tmp'}".encode()
        found = []
        for process in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                if marked in (process / "environ").read_bytes():
                    found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                # It ended meanwhile.
                pass
        return found

    def assertFails(self, told, step, what):
        code, text = told
        self.assertEqual(code, 1, text)
        self.assertRegex(text, rf"FAILED: {step}: {what}")
        self.assertEqual(text.splitlines()[-1], "FAILED")
        self.assertNotIn("PASSED", text)

    def test_a_dump_of_running_servers_is_restored_and_people_sign_in(self):
        before = self.postgres.psql("postern", "select count(*) from users", "select fence from feed", "select count(*) from audit")
        words = ["--pepper-file", self.folder / "pepper.key", "--account", "kim", "--password-file", self.folder / "password"]
        code, text = self.drill(self.dump, *words, "--access-token", self.forgotten)
        self.assertEqual(code, 0, text)
        self.assertEqual(text.splitlines()[-1], "PASSED")
        # As the dump has it: without Lee, with the password of before, and with the session that was ended later.
        self.assertIn("users are there: users 2, sessions 2, revocations 1\n", text)
        self.assertIn("kim signs in with the password of before, and is verified\n", text)
        self.assertIn("the token of before is judged as the backup has it: good, until the fence\n", text)
        self.assertIn("the fence ends what was open, and a new sign-in works\n", text)
        taken = [float(line.split()[0]) for line in text.splitlines()[1:-2]]
        total, first_sign_in = re.search(r"([0-9.]+) s  in all; ([0-9.]+) s from the dump to the first sign-in", text).groups()
        self.assertEqual(len(taken), 11)
        self.assertLessEqual(sum(taken), float(total) + 0.1)
        self.assertLess(float(first_sign_in), float(total))
        # What the dump is from has noticed nothing.
        after = self.postgres.psql("postern", "select count(*) from users", "select fence from feed", "select count(*) from audit")
        self.assertEqual(after, before)

    def test_another_master_key_is_named(self):
        told = self.drill(self.dump, key="another.key")
        self.assertFails(told, "the master key fits", "master key 1 of the file is not the one that the dump knows")

    def test_a_file_without_a_master_key_is_named(self):
        self.secret("no.key", "nothing of the kind\n")
        self.assertFails(self.drill(self.dump, key="no.key"), "the master key fits", "the master key cannot be used")

    def test_a_dump_that_is_cut_short_is_named(self):
        whole = self.dump.read_bytes()
        # Within its list, and within its rows.
        for length in (1_000, len(whole) - 1_000):
            with self.subTest(length=length):
                cut = self.folder / "cut.dump"
                cut.write_bytes(whole[:length])
                told = self.drill(cut)
                self.assertFails(told, "the dump can be read to its end", "the dump is cut short or damaged")

    def test_what_is_no_dump_is_named(self):
        told = self.drill(self.secret("no.dump", "nothing of the kind\n" * 1_000))
        self.assertFails(told, "the dump can be read to its end", "this is no dump that pg_restore can read")

    def test_without_the_pepper_no_password_of_before_is_right(self):
        words = ["--account", "kim", "--password-file", self.folder / "password"]
        self.assertFails(self.drill(self.dump, *words), "kim signs in .*", "kim cannot sign in")

    def test_a_dump_of_a_newer_schema_is_named(self):
        self.postgres.psql("postgres", "create database newer template postern")
        newest = len(MIGRATIONS)
        row = f"select {newest + 1}, 'next', installed_on, true, checksum, execution_time"
        self.postgres.psql("newer", f"insert into _sqlx_migrations {row} from _sqlx_migrations where version = 1")
        told = self.drill(self.postgres.dump("newer", self.folder / "newer.dump"))
        what = f"the dump has the newer schema {newest + 1}, and this program knows {newest}"
        self.assertFails(told, "the schema is this program's", what)

    def test_a_dump_of_an_older_schema_is_named_and_can_be_brought_up_to_date(self):
        dump = self.postgres.dump(self.older(), self.folder / "older.dump")
        newest = len(MIGRATIONS)
        what = f"the dump has the older schema {newest - 1}, and this program works on {newest}"
        self.assertFails(self.drill(dump), "the schema is this program's", what)
        code, text = self.drill(dump, "--migrate", "--jobs", "2", "--access-token", self.over)
        self.assertEqual(code, 0, text)
        self.assertIn(f"the schema is this program's: {newest}, was {newest - 1}\n", text)
        self.assertIn("users are there: users 3, ", text)
        self.assertIn("judged as the backup has it: over already when the dump was made\n", text)

    def older(self):
        """The same installation before the last migration."""
        self.postgres.psql("postgres", "create database older")
        for migration in MIGRATIONS[:-1]:
            self.postgres.psql("older", migration.read_text())
        history = self.postgres.dump("postern", self.folder / "history.dump", "--table=_sqlx_migrations")
        run(programs() / "pg_restore", "-d", self.postgres.url("older"), history)
        self.postgres.psql("older", f"delete from _sqlx_migrations where version = {len(MIGRATIONS)}")
        named = "select table_name, string_agg(column_name, ',') from information_schema.columns c \
            join information_schema.tables t using (table_schema, table_name) where table_schema = 'public' \
            and table_type = 'BASE TABLE' and table_name <> '_sqlx_migrations' group by table_name"
        tables = [line.split("|") for line in self.postgres.psql("older", named).splitlines()]
        names = ", ".join(name for name, _ in tables)
        self.postgres.psql("older", f"truncate {names}")
        for name, columns in tables:
            rows = self.postgres.psql("postern", f"copy {name} ({columns}) to stdout")
            # In whatever order, so without the rules between tables.
            loose = "set session_replication_role = replica"
            self.postgres.psql("older", loose, f"copy {name} ({columns}) from stdin", input=rows + "\n" if rows else "")
        return "older"

    def test_a_dump_of_an_empty_database_is_named(self):
        self.postgres.psql("postgres", "create database nothing")
        url = self.secret("nothing-url", self.postgres.url("nothing"))
        run(BINARY, "migrate", "--config", self.config, "--set", f"store.postgres.url.file={url}")
        told = self.drill(self.postgres.dump("nothing", self.folder / "nothing.dump"))
        self.assertFails(told, "the master key fits", "the dump knows no master key")

    def test_a_dump_of_another_program_is_named(self):
        self.postgres.psql("postgres", "create database others")
        self.postgres.psql("others", "create table users (name text)")
        told = self.drill(self.postgres.dump("others", self.folder / "others.dump"))
        self.assertFails(told, "the schema is this program's", "this is no database of Postern's")

    def test_a_drill_that_is_ended_leaves_nothing(self):
        for ended_by, when in ((signal.SIGTERM, b"a server runs"), (signal.SIGINT, b"an empty PostgreSQL runs")):
            process = subprocess.Popen(
                self.command(self.dump), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=self.surroundings()
            )
            try:
                for line in process.stdout:
                    if when in line:
                        break
                process.send_signal(ended_by)
                process.communicate(timeout=PATIENCE_SECONDS)
            finally:
                process.kill()
            self.assertEqual(process.returncode, 128 + ended_by)
            self.assertNothingIsLeft()

    def test_a_wrong_call_is_told_from_a_backup_that_is_no_good(self):
        for words in (
            ["--dump", self.folder / "gone.dump"],
            ["--account", "kim"],
            ["--password-file", self.folder / "password"],
            ["--pepper-file", self.folder / "gone.key"],
            ["--binary", self.folder / "gone"],
        ):
            done = subprocess.run(self.command(self.dump, *words), capture_output=True, text=True, env=self.surroundings())
            self.assertEqual(done.returncode, 2, done.stdout)
            self.assertEqual(done.stdout, "")
        self.assertNothingIsLeft()

    def test_help_names_every_option(self):
        text = run(DRILL, "--help")
        options = re.findall(r'add_argument\("(--[a-z-]+)"', DRILL.read_text())
        self.assertGreater(len(options), 8)
        for option in options:
            self.assertIn(option, text)


if __name__ == "__main__":
    unittest.main()
