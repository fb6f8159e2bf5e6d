"""The pages for callers and operators: what they show is in the examples, what they tell to type works, links lead on."""

import os
import pathlib
import re
import subprocess
import tempfile
import textwrap
import unittest

from examples import REPOSITORY
from support import BINARY, PASSWORD, PATIENCE_SECONDS, Server, clean_environment

PAGES = sorted([*REPOSITORY.glob("docs/*.md"), *REPOSITORY.glob("examples/*.md"), *REPOSITORY.glob("examples/*/*.md")])
# A note that no reader sees, and the block behind it.
BLOCK = re.compile(r"(?:<!-- (?P<note>[^>]*) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)


def blocks(page):
    return [(match["note"], match["language"], match["text"]) for match in BLOCK.finditer(page.read_text())]


def region(file, name):
    """What stands between the marks of a region, without its indentation."""
    lines = (REPOSITORY / file).read_text().splitlines()
    marks = [index for index, line in enumerate(lines) if re.search(r"</?region\b", line)]
    (begin,) = [mark for mark in marks if f"<region {name}>" in lines[mark]]
    end = marks[marks.index(begin) + 1]
    return textwrap.dedent("\n".join(lines[begin + 1 : end])).strip("\n") + "\n"


class Shown(unittest.TestCase):
    def test_all_pages_are_read(self):
        self.assertGreaterEqual(len(PAGES), 8)
        self.assertGreater(sum(len(blocks(page)) for page in PAGES), 15)

    def test_code_is_that_of_the_examples(self):
        for page in PAGES:
            for note, language, text in blocks(page):
                with self.subTest(page=page.name, note=note):
                    if language in ("python", "js", "rust"):
                        file, name = note.split("#")
                        self.assertEqual(text, region(file, name))
                    elif language == "sh":
                        self.assertEqual(note, "run")
                    else:
                        # What cannot be run by itself is not dressed up as a command.
                        self.assertEqual((note, language), (None, "text"))

    def test_links_lead_somewhere(self):
        for page in [*PAGES, *REPOSITORY.glob("*.md")]:
            for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
                with self.subTest(page=page.name, link=link):
                    self.assertTrue(link.startswith("https://") or (page.parent / link).exists())


class Typed(unittest.TestCase):
    """The commands of a page, one after the other, as a person types them."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="postern-docs-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.server = Server(data=self.folder / "postern-data")
        self.addCleanup(self.server.stop)
        (self.folder / "kim.password").write_text(PASSWORD + "\n")

    def type(self, script):
        done = subprocess.run(
            ["bash", "-euxo", "pipefail", "-c", script],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE_SECONDS * 2,
            cwd=self.folder,
            env=clean_environment(
                POSTERN_SERVER=self.server.address,
                PATH=f"{pathlib.Path(BINARY).parent}{os.pathsep}{os.environ['PATH']}",
                XDG_STATE_HOME=str(self.folder / "state"),
            ),
        )
        self.assertEqual(done.returncode, 0, done.stdout)

    def commands_of(self, page):
        commands = [text for note, _, text in blocks(REPOSITORY / page) if note == "run"]
        self.assertTrue(commands)
        return "".join(commands)

    def test_the_operators_page(self):
        self.type(self.commands_of("docs/operator.md"))

    def test_the_shop_of_the_examples(self):
        sign_in = "postern login admin <postern-data/initial-admin-password\n"
        self.type(sign_in + self.commands_of("examples/README.md"))


if __name__ == "__main__":
    unittest.main()
