# SPDX-License-Identifier: MIT
"""scripts/docs finds the generator that scripts/build makes. DOCGEN is the one to put there. Links between pages hold."""

import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]


class Docs(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.root = pathlib.Path(directory.name)
        templates = [page for folder in ('man', 'docs') for page in (ROOT / folder).glob('*.in')]
        pages = [page.with_suffix('') for page in templates]
        for name in (page.relative_to(ROOT) for page in (ROOT / 'scripts' / 'docs', *templates, *pages)):
            (self.root / name).parent.mkdir(exist_ok=True)
            shutil.copy(ROOT / name, self.root / name)

    def run_docs(self):
        return subprocess.run([self.root / 'scripts' / 'docs'], capture_output=True, text=True, check=False)

    def test_after_scripts_build(self):
        page = self.root / 'docs' / 'reference.md'
        page.write_text('old')
        (self.root / 'build' / 'docs').mkdir(parents=True)
        shutil.copy(os.environ['DOCGEN'], self.root / 'build' / 'docs' / 'docgen')
        done = self.run_docs()
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, '', ''))
        self.assertEqual(page.read_text(), (ROOT / 'docs' / 'reference.md').read_text())

    def test_without_a_build(self):
        done = self.run_docs()
        self.assertEqual((done.returncode, done.stderr), (1, 'scripts/docs: no build/docs/docgen; run scripts/build first\n'))


class Links(unittest.TestCase):
    def test_file_and_heading_exist(self):
        pages = [page for pattern in ('*.md', 'docs/*.md', 'examples/*.md', 'deploy/**/*.md') for page in ROOT.glob(pattern)]
        for page in pages:
            for link in re.findall(r'\]\((?!https?:)([^)\s]*)\)', page.read_text()):
                with self.subTest(page=page.name, link=link):
                    path, _, heading = link.partition('#')
                    target = page.parent / path if path else page
                    self.assertTrue(target.exists())
                    if heading:
                        self.assertIn(heading, headings_of(target))


def headings_of(page):
    """The headings as GitHub names them in links."""
    titles = re.findall(r'^#+ (.*)$', page.read_text(), re.MULTILINE)
    return [re.sub(r'[^\w -]', '', title.lower()).replace(' ', '-') for title in titles]


if __name__ == '__main__':
    unittest.main()
