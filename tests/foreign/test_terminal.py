"""The binary on a terminal, as a person meets it: the banner, the first password, prompts, Ctrl-C."""

import fcntl
import os
import pathlib
import pty
import re
import select
import signal
import subprocess
import tempfile
import termios
import time
import unittest

from support import BINARY, PASSWORD, PATIENCE_SECONDS, clean_environment, eventually

CTRL_C = b"\x03"
COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class Terminal:
    """A process whose only way in and out is a terminal."""

    def __init__(self, *arguments, **environment):
        ours, theirs = pty.openpty()
        self._ours = ours
        self._read = b""
        self._process = subprocess.Popen(
            [BINARY, *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=clean_environment(**environment),
            start_new_session=True,
            # So that Ctrl-C, typed here, reaches the process as a signal.
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(theirs)

    @property
    def shown(self):
        # What is cut off in the middle of a character is made whole by the next read.
        return COLOURS.sub("", self._read.decode(errors="ignore")).replace("\r", "")

    def read_until(self, text):
        """What is shown up to and with a text."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while text not in self.shown:
            assert self._read_some(deadline), f"{text!r} was not shown, but:\n{self.shown}"
        return self.shown

    def type(self, keys):
        os.write(self._ours, keys)

    def type_unseen(self, secret):
        """Types like a person, who has not begun before the echo is off."""

        def is_off():
            return None if termios.tcgetattr(self._ours)[3] & termios.ECHO else True

        eventually(is_off)
        self.type(secret.encode() + b"\n")

    def signal(self, number):
        self._process.send_signal(number)

    def end(self):
        """The exit code, with all that was shown read."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self._read_some(deadline):
            pass
        return self._process.wait(PATIENCE_SECONDS)

    def _read_some(self, deadline):
        if not select.select([self._ours], [], [], max(0, deadline - time.monotonic()))[0]:
            return False
        try:
            data = os.read(self._ours, 65536)
        except OSError:
            # How Linux says that nobody holds the other end any more.
            return False
        self._read += data
        return bool(data)

    def close(self):
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        os.close(self._ours)


class OnATerminal(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="postern-terminal-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def terminal(self, *arguments):
        terminal = Terminal(*arguments, XDG_STATE_HOME=str(self.folder / "state"), TZ="UTC", TERM="xterm-256color")
        self.addCleanup(terminal.close)
        return terminal

    def start(self):
        server = self.terminal(
            "--data", str(self.folder / "data"), "--listen.grpc", "127.0.0.1:0", "--listen.operations", "127.0.0.1:0",
            "--listen.gateway", "127.0.0.1:0"
        )
        return server, server.read_until("Ctrl-C stops it; everything is kept.\n")

    def stop(self, server):
        server.type(CTRL_C)
        self.assertEqual(server.end(), 0, server.shown)

    def test_the_first_password_is_shown_once_and_opens_the_door(self):
        server, banner = self.start()
        password = re.search(r"^    password  (\S+)$", banner, re.MULTILINE)[1]
        login = re.search(r"^    \S+ (login .*)$", banner, re.MULTILINE)[1].split()
        self.assertIn("development profile, this machine only", banner)
        self.assertEqual(banner.count(password), 1)
        self.assertEqual(sorted(path.name for path in (self.folder / "data").glob("*password*")), [])

        # The command that the banner names, typed with the password that it names.
        person = self.terminal(*login)
        person.read_until("Password: ")
        person.type_unseen(password)
        self.assertEqual(person.end(), 0, person.shown)
        self.assertIn("Signed in as admin", person.shown)
        self.assertNotIn(password, person.shown)
        at_server = login[2:]

        # What is typed without an echo is typed twice.
        create = self.terminal("admin", "users", "create", "mira", *at_server)
        create.read_until("Password for the new user: ")
        create.type_unseen(PASSWORD)
        create.read_until("Again: ")
        create.type_unseen(PASSWORD + "s")
        self.assertEqual(create.end(), 1, create.shown)
        self.assertIn("the two passwords differ", create.shown)
        self.assertNotIn(PASSWORD, create.shown)

        # What is for good is asked for.
        self.assertEqual(self.terminal("admin", "users", "create", "mira", "--no-password", *at_server).end(), 0)
        for answer, code in (("mir", 1), ("mira", 0)):
            delete = self.terminal("admin", "users", "delete", "mira", *at_server)
            delete.read_until("Type the name again: ")
            delete.type(answer.encode() + b"\n")
            self.assertEqual(delete.end(), code, delete.shown)

        self.stop(server)
        self.assertEqual(server.shown.count(password), 1)
        again, banner = self.start()
        self.assertNotIn(password, banner)
        self.assertNotIn("Administrator", banner)
        self.stop(again)

    def test_a_stop_is_heard_from_the_last_line_of_the_banner_on(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            server, _ = self.start()
            server.signal(number)
            self.assertEqual(server.end(), 0, server.shown)


if __name__ == "__main__":
    unittest.main()
