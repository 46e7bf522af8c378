# SPDX-License-Identifier: MIT
"""scripts/release and scripts/sbom, in small repositories whose scripts/build takes the program SIXPIPE. One version
everywhere in this tree."""

import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import tarfile
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
VERSION = re.search(r"^ *version: '([^']*)'", (ROOT / 'meson.build').read_text(), re.MULTILINE)[1]
COPIED = ('meson.build', 'CHANGELOG.md', 'scripts/release', 'scripts/sbom', 'scripts/image-files', 'scripts/install')
FAKE_BUILD = '''#!/bin/sh
set -eu
cd "$(dirname "$0")/.."
mkdir -p build/src
cp "$SIXPIPE" build/src/sixpipe
'''
# a name that git and tar sort differently from a directory, one with a space, and one for each mode
MORE = {'a/b': 'x', 'a.b': 'x', 'with space': 'x', '.gitignore': '/build*/\n'}
CONTROL = '''Source: sixpipe
Build-Depends: libc6-dev [linux-any], no-such-package (>= 2) | dpkg,
 make:native <!nocheck>
# after the field

Package: sixpipe
Depends: ${shlibs:Depends}, ${misc:Depends}, dpkg (>= 1)
'''


def git(folder, *words):
    ours = {'GIT_CONFIG_GLOBAL': '/dev/null', 'GIT_CONFIG_SYSTEM': '/dev/null', 'HOME': str(folder)} | {
        f'GIT_{who}_{what}': value for who in ('AUTHOR', 'COMMITTER')
        for what, value in (('NAME', 'a test'), ('EMAIL', 'test@example.net'), ('DATE', '1700000000 +0100'))}
    return subprocess.run(['git', '-C', str(folder), *words], env={**os.environ, **ours}, stdout=subprocess.PIPE, text=True,
                          check=True).stdout.strip()


@unittest.skipUnless(shutil.which('git') and shutil.which('dpkg-query'), 'needs git and dpkg-query')
class ReleaseCase(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.tree = self.folder / 'tree'
        for name in COPIED:
            (self.tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, self.tree / name)
        for name, text in {**MORE, 'scripts/build': FAKE_BUILD, 'packaging/debian/control': CONTROL}.items():
            (self.tree / name).parent.mkdir(parents=True, exist_ok=True)
            (self.tree / name).write_text(text)
        (self.tree / 'scripts/build').chmod(0o755)
        git(self.tree, 'init', '--quiet')
        self.commit()

    def commit(self):
        git(self.tree, 'add', '--all')
        git(self.tree, 'commit', '--quiet', '--message', 'a tree')
        return git(self.tree, 'rev-parse', 'HEAD')

    def release(self, version=VERSION, tree=None, **variables):
        return subprocess.run([str((tree or self.tree) / 'scripts/release'), version], env={**os.environ, **variables},
                              capture_output=True, text=True, check=False, cwd='/')


class Files(ReleaseCase):
    def released(self, tree, **variables):
        done = self.release(tree=tree, **variables)
        self.assertEqual(done.returncode, 0, done.stderr)
        return {path.name: path.read_bytes() for path in (tree / 'build/release').iterdir()}, done.stdout

    def test_twice_the_same(self):
        files, told = self.released(self.tree)
        source = f'sixpipe-{VERSION}.tar.xz'
        bills = [name for name in files if name.endswith('.spdx.json')]
        self.assertEqual(sorted(files), sorted(['SHA256SUMS', source, *bills]))
        self.assertEqual(len(bills), 2)
        for line in files['SHA256SUMS'].decode().splitlines():
            digest, name = line.split('  ')
            self.assertEqual(digest, hashlib.sha256(files[name]).hexdigest())
        self.assertIn(files['SHA256SUMS'].decode(), told)
        self.check_members(self.tree / 'build/release' / source)
        for name in bills:
            with self.subTest(name):
                self.check_bill(json.loads(files[name]), name)

        # the same commit at another place, at another time, by another user with other habits
        other = self.folder / 'other place'
        git(self.folder, 'clone', '--quiet', str(self.tree), str(other))
        for path in other.rglob('*'):
            os.utime(path, (1, 1), follow_symlinks=False)
        config = self.folder / 'config'
        config.write_text('[tar]\n\tumask = 077\n[core]\n\tautocrlf = true\n')
        again, _ = self.released(other, TZ='Asia/Tokyo', LC_ALL='C', GIT_CONFIG_GLOBAL=str(config), XZ_DEFAULTS='-1')
        self.assertEqual({name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
                         {name: hashlib.sha256(content).hexdigest() for name, content in again.items()})

    def check_members(self, path):
        with tarfile.open(path) as archive:
            members = archive.getmembers()
        names = [member.name for member in members if not member.isdir()]
        tracked = git(self.tree, '-c', 'core.quotePath=false', 'ls-files').splitlines()
        self.assertEqual(names, [f'sixpipe-{VERSION}/{name}' for name in tracked])
        self.assertEqual({(member.uid, member.gid, member.mtime) for member in members}, {(0, 0, 1700000000)})
        self.assertEqual({member.mode for member in members}, {0o755, 0o644})

    def check_bill(self, bill, name):
        """The demands of SPDX 2.3 on what scripts/sbom writes, and what each kind is for."""
        self.assertEqual((bill['spdxVersion'], bill['dataLicense'], bill['SPDXID']), ('SPDX-2.3', 'CC0-1.0', 'SPDXRef-DOCUMENT'))
        self.assertRegex(bill['documentNamespace'], r'^https://[^#\s]+$')
        self.assertEqual(bill['creationInfo']['created'], '2023-11-14T22:13:20Z')
        for creator in bill['creationInfo']['creators']:
            self.assertRegex(creator, r'^(Tool|Person|Organization): \S')
        parts = bill['packages'] + bill.get('files', [])
        ids = [part['SPDXID'] for part in parts]
        self.assertEqual(len(ids), len(set(ids)))
        for part in parts:
            self.assertRegex(part['SPDXID'], r'^SPDXRef-[A-Za-z0-9.-]+$')
            self.assertRegex(part['licenseConcluded'], r'^(NOASSERTION|[A-Za-z0-9.-]+( (AND|OR) [A-Za-z0-9.-]+)*)$')
        for package in bill['packages']:
            self.assertTrue(package['name'] and package['versionInfo'] and package['downloadLocation'])
            self.assertEqual(package['filesAnalyzed'], 'packageVerificationCode' in package)
            for reference in package.get('externalRefs', ()):
                self.assertRegex(reference['referenceLocator'], r'^pkg:deb/debian/[^@/]+@[A-Za-z0-9.~%-]+\?arch=\w+&distro=[\w.-]+$')
        for file in bill.get('files', ()):
            sums = {check['algorithm']: check['checksumValue'] for check in file['checksums']}
            self.assertRegex(sums['SHA1'] + sums['SHA256'], r'^[0-9a-f]{104}$')
        relations = {(one['spdxElementId'], one['relationshipType'], one['relatedSpdxElement']) for one in bill['relationships']}
        self.assertEqual(len(relations), len(bill['relationships']))
        self.assertIn(('SPDXRef-DOCUMENT', 'DESCRIBES', 'SPDXRef-sixpipe'), relations)
        for first, _, last in relations:
            self.assertLessEqual({first, last}, {'SPDXRef-DOCUMENT', *ids})
        dependencies = {last for first, relation, last in relations if relation == 'DEPENDS_ON'}
        by_name = {package['name']: package for package in bill['packages']}
        for library in ('libc6', 'liburing2', 'libcap-ng0'):
            self.assertIn(by_name[library]['SPDXID'], dependencies)
        self.assertEqual(by_name['sixpipe']['versionInfo'], VERSION)
        if '-image-' in name:
            self.assertIn('./sixpipe', [file['fileName'] for file in bill['files']])
            for file in bill['files']:
                origin = [last for first, relation, last in relations
                          if (first, relation) == (file['SPDXID'], 'EXPANDED_FROM_ARCHIVE')]
                self.assertEqual(len(origin), 0 if file['fileName'] == './sixpipe' else 1)
        else:
            self.assertIn(by_name['dpkg']['SPDXID'], dependencies)
            self.assertIn((by_name['libc6-dev']['SPDXID'], 'BUILD_DEPENDENCY_OF', 'SPDXRef-sixpipe'), relations)
            self.assertIn('no-such-package', bill['creationInfo']['comment'])


class Refusals(ReleaseCase):
    def refuse(self, says, version=VERSION):
        done = self.release(version)
        self.assertEqual((done.returncode, done.stdout), (1, ''))
        self.assertIn(says, done.stderr)
        self.assertFalse((self.tree / 'build').exists())

    def test_another_version(self):
        self.refuse(f"meson.build has version '{VERSION}', not '9.9.9'; change it, or release '{VERSION}'", '9.9.9')
        self.refuse("write '## 9.9.9 - ", '9.9.9')

    def test_changelog_without_the_version(self):
        (self.tree / 'CHANGELOG.md').write_text(f'# Changelog\n\n## 9.9.9 - unreleased\n\n## {VERSION} - 2020-01-01\n')
        self.commit()
        self.refuse(f"CHANGELOG.md: the first heading is '## 9.9.9 - unreleased'; write '## {VERSION} - ")

    def test_package_of_another_version(self):
        (self.tree / 'packaging/debian/changelog').write_text(f'sixpipe ({VERSION}9-1) unstable; urgency=low\n')
        self.commit()
        self.refuse(f'add an entry for {VERSION}-1')

    def test_changes_that_are_not_committed(self):
        (self.tree / 'new file').write_text('x')
        self.refuse('the tree has changes that are not committed (\'?? "new file"\'); commit or remove them')
        (self.tree / 'new file').unlink()
        (self.tree / 'a.b').write_text('y')
        self.refuse("the tree has changes that are not committed (' M a.b')")

    def test_tag_of_another_commit(self):
        before = git(self.tree, 'rev-parse', 'HEAD')
        git(self.tree, 'tag', f'v{VERSION}')
        (self.tree / 'a.b').write_text('y')
        self.commit()
        self.refuse(f'the tag v{VERSION} is of another commit, {before}; check that commit out, or choose the next version')

    def test_no_repository(self):
        shutil.rmtree(self.tree / '.git')
        done = self.release(GIT_CEILING_DIRECTORIES=str(self.folder))
        self.assertEqual(done.returncode, 1)
        self.assertIn('is no git repository with a commit', done.stderr)


class Next(ReleaseCase):
    """What to do after a release; dated or not, tagged or not."""

    def test_it_is_told(self):
        (self.tree / 'scripts/sbom').write_text('#!/bin/sh\necho {}\n')
        changelog = self.tree / 'CHANGELOG.md'
        for date, tag, told, not_told in (
                ('unreleased', False, 'This is a trial', 'git tag'),
                ('2026-01-31', False, f"git tag --sign v{VERSION} -m 'sixpipe-{VERSION}' ", 'trial'),
                ('2026-01-31', True, f'git push origin v{VERSION}', 'git tag')):
            with self.subTest(date=date, tag=tag):
                changelog.write_text(f'# Changelog\n\n## {VERSION} - {date}\n\n{tag}\n')
                self.commit()
                if tag:
                    git(self.tree, 'tag', f'v{VERSION}')
                done = self.release()
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertIn(told, done.stdout)
                self.assertNotIn(not_told, done.stdout)


class OneVersion(unittest.TestCase):
    """The files that name the version of meson.build."""

    ROWS = (
        ('CHANGELOG.md', r'\A(?:(?!## ).*\n)*## (\S+) - '),
        ('docs/*.md', r'event=ready .*version=(\S+)'),
        ('deploy/**/*.yaml', r'/sixpipe:(\S+)'),
        ('packaging/debian/changelog', r'\Asixpipe \(([^)-]+)'),
    )

    def test_it(self):
        for pattern, expression in self.ROWS:
            for path in ROOT.glob(pattern):
                for found in re.findall(expression, path.read_text(), re.MULTILINE):
                    with self.subTest(path=path.relative_to(ROOT)):
                        self.assertEqual(found, VERSION)


if __name__ == '__main__':
    unittest.main()
