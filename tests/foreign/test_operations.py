"""docs/operations.md: every command that it names is one, with these options, and what it says of programs is what they say."""

import pathlib
import re
import shlex
import subprocess
import sys
import tempfile
import unittest

from examples import REPOSITORY
from support import BINARY, PATIENCE_SECONDS, clean_environment

PAGE = (REPOSITORY / "docs/operations.md").read_text()
PROGRAMS = {
    "postern": [BINARY],
    "scripts/restore-drill": [sys.executable, REPOSITORY / "scripts/restore-drill"],
    "bench/sizing": [sys.executable, REPOSITORY / "bench/sizing"],
}


def commands():
    """What stands in blocks and between backticks, with lines that go on put together, without what a shell does with it."""
    parts = re.split(r"^ *```.*\n", PAGE, flags=re.MULTILINE)
    lines = [line for block in parts[1::2] for line in block.replace("\\\n", " ").splitlines()]
    lines += [span for text in parts[::2] for span in re.findall(r"`([^`]+)`", text.replace("\n", " "))]
    for line in lines:
        words = shlex.split(line)
        if words and words[0].endswith("python") and len(words) > 1:
            words = words[1:]
        if words and words[0] in PROGRAMS and len(words) > 1:
            yield words


class Operations(unittest.TestCase):
    def test_every_command_is_one(self):
        found = list(commands())
        self.assertGreater(len(found), 25)
        self.assertEqual({words[0] for words in found}, set(PROGRAMS))
        for words in found:
            with self.subTest(" ".join(words)):
                # Options and values before it are judged; the command itself is not carried out.
                command = [str(word) for word in [*PROGRAMS[words[0]], *words[1:], "--help"]]
                done = subprocess.run(
                    command, capture_output=True, text=True, env=clean_environment(), timeout=PATIENCE_SECONDS
                )
                self.assertEqual(done.returncode, 0, done.stderr)
                # An option that is none would be an argument's value, or end in an error above.
                for option in (word for word in words[1:] if re.fullmatch(r"--[a-z-]+", word)):
                    self.assertIn(option, done.stdout)

    def test_what_is_no_command_is_told(self):
        for words in (["admin", "end-all-sessions", "--help"], ["admin", "keys", "retire", "KEY", "--now", "--help"]):
            done = subprocess.run([BINARY, *words], capture_output=True, env=clean_environment(), timeout=PATIENCE_SECONDS)
            self.assertNotEqual(done.returncode, 0)

    def test_sizing_measures_all_that_the_page_has(self):
        with tempfile.TemporaryDirectory(prefix="postern-sizing-test-") as folder:
            # PostgreSQL's user has to get through it.
            pathlib.Path(folder).chmod(0o711)
            environment = clean_environment(TMPDIR=folder, GRPC_VERBOSITY="NONE")
            words = ["--binary", BINARY, "--seconds", "1", "--people", "100", "--engines", "postgres-redis"]
            command = [str(word) for word in [*PROGRAMS["bench/sizing"], *words]]
            done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=4 * PATIENCE_SECONDS)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            for what in (
                r"Verify, one token, 64 at once +\d+ answers, .* server \d+\.\d us",
                r"BatchVerify of 100, .* server \d+\.\d us",
                r"Refresh, 32 at once +\d+ answers, .* server \d+\.\d us, postgres \d+\.\d us",
                r"Login, \d+ at once +\d+ answers, .* server \d+\.\d us",
                r"Redis: \d+ bytes of used_memory for each of 100 sessions; 20\d keys",
                r"PostgreSQL: \d+ bytes for each session",
                r"memory after the start: \d+ MiB",
            ):
                self.assertRegex(done.stdout, what)
            self.assertNotIn("others than meant", done.stdout)
            self.assertEqual(list(pathlib.Path(folder).iterdir()), [])

    def test_lines_fit(self):
        for line in PAGE.splitlines():
            # Rows of tables cannot be broken.
            self.assertTrue(len(line) <= 140 or line.startswith("|"), line)


if __name__ == "__main__":
    unittest.main()
