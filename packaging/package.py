# SPDX-License-Identifier: MIT
"""Builds the Debian package in a clean chroot, and checks it; see scripts/package, which runs this program.

usage: python3 packaging/package.py

It runs as root. Each command in a chroot has a mount and a process namespace of its own: its mounts and its
processes end with it, also when this program is stopped. The chroots are in a temporary directory.
"""

import email.utils
import filecmp
import hashlib
import os
import pathlib
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time

TOP = pathlib.Path(__file__).resolve().parent.parent
SUITE = 'bookworm'
RESULTS = TOP / 'build/package'
ENVIRONMENT = {'PATH': '/usr/sbin:/usr/bin:/sbin:/bin', 'HOME': '/nonexistent', 'LC_ALL': 'C.UTF-8',
               'DEBIAN_FRONTEND': 'noninteractive'}
APT_INSTALL = ['apt-get', 'install', '-qq', '-y', '--no-install-recommends']
BUILDER = 1000  # the user who builds: may write to the folders of the build alone

# What apt, dpkg and ldconfig write for each package, and the backups of /etc/passwd.
NOT_A_TRACE = re.compile(
    r'(proc|sys|dev|tmp|var/lib/apt|var/cache|var/log/(apt|dpkg.log|alternatives.log)|var/lib/dpkg'
    r'|etc/ld.so.cache|etc/(passwd|group|shadow|gshadow)-|etc/.pwd.lock)(/|$)')


class Failed(Exception):
    """A check failed; the text says what was found."""


def call(command, **options):
    """Runs a command. Its output is shown only if it fails."""
    result = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True, errors='replace', check=False, **options)
    if result.returncode != 0:
        raise Failed(f'{" ".join(map(str, command))}: exit code {result.returncode}\n{result.stdout}')
    return result.stdout


CONTAINED = ['unshare', '--mount', '--pid', '--fork', '--kill-child', '--mount-proc']


def in_root(root, command):
    return call([*CONTAINED, f'--root={root}', *command], env=ENVIRONMENT)


def copy_root(base, root):
    call(['cp', '-a', '--reflink=auto', str(base), str(root)])
    return root


# --- what is built -----------------------------------------------------------------------------------


class Version:
    """The version and the date in packaging/debian/changelog."""

    def __init__(self):
        changelog = (TOP / 'packaging/debian/changelog').read_text()
        self.package = re.match(r'sixpipe \((.*?)\)', changelog).group(1)
        self.upstream = self.package.rpartition('-')[0]
        date = re.search(r'^ -- .*>  (.*)$', changelog, re.M).group(1)
        self.epoch = int(email.utils.parsedate_to_datetime(date).timestamp())
        meson = re.search(r"version: '(.*?)'", (TOP / 'meson.build').read_text()).group(1)
        if meson != self.upstream:
            sys.exit(f'packaging/debian/changelog is for version {self.upstream}, meson.build for {meson}')


def make_tarball(version, directory):
    """The source as a tarball: of the commit, if all is committed, the same as scripts/release makes. Otherwise of
    all files that git tracks or would track. Returns its path."""
    git = ['git', '-c', f'safe.directory={TOP}', '-C', str(TOP), '-c', 'tar.umask=0022', '-c', 'core.autocrlf=false',
           '-c', 'core.attributesFile=/dev/null']
    commit = 'HEAD'
    if call([*git, 'status', '--porcelain']):
        print('the working tree has changes that are not committed: they are in the package', flush=True)
        person = {'NAME': 'sixpipe', 'EMAIL': 'sixpipe@example.org', 'DATE': f'{version.epoch} +0000'}
        environment = {**os.environ, 'GIT_INDEX_FILE': str(directory / 'index'),
                       **{f'GIT_{who}_{what}': value for who in ('AUTHOR', 'COMMITTER')
                          for what, value in person.items()}}
        call([*git, 'read-tree', 'HEAD'], env=environment)
        call([*git, 'add', '--all'], env=environment)
        tree = call([*git, 'write-tree'], env=environment).strip()
        commit = call([*git, 'commit-tree', tree, '-m', 'not committed'], env=environment).strip()
    tarball = directory / f'sixpipe_{version.upstream}.orig.tar'
    call([*git, 'archive', '--format=tar', f'--prefix=sixpipe-{version.upstream}/', f'--output={tarball}', commit])
    call(['xz', '-9', '--threads=1', str(tarball)])
    return tarball.with_name(tarball.name + '.xz')


# --- the chroots -------------------------------------------------------------------------------------


def apt_sources():
    """The Debian archives that this host uses, as lines of sources.list; none on a host without them."""
    show = ['apt-get', 'indextargets', '--format', '$(ORIGIN)|$(RELEASE)|deb $(REPO_URI) $(RELEASE) $(COMPONENT)',
            'Created-By: Packages']
    for update in (False, True):
        if update:
            call(['apt-get', 'update', '-qq'])
        found = [line.split('|') for line in call(show).splitlines()]
        lines = [line for origin, release, line in found if origin == 'Debian' and release.startswith(SUITE)]
        if lines:
            return lines
    return []


def apt_options():
    """The settings of this host's apt that reach the archives: proxies, and whether dates are checked."""
    wanted = r'Acquire::(Check-Valid-Until|Check-Date|Retries|https?::Proxy) ".+";'
    dump = call(['apt-config', 'dump', 'Acquire']).splitlines()
    return [f'--aptopt={line}' for line in dump if re.fullmatch(wanted, line)]


def make_base(directory):
    """A minimal Debian with systemd, as the installer makes, for the other chroots to be copied from."""
    sources = directory / 'sources.list'
    sources.write_text('\n'.join(apt_sources()) + '\n')
    archives = [str(sources)] if sources.read_text().strip() else []
    base = directory / 'base'
    # the lists of apt stay, so that the copies need no update
    call([*CONTAINED, 'mmdebstrap', '--mode=root', '--variant=minbase', '--include=systemd-sysv,dbus',
          '--skip=cleanup/apt', '--dpkgopt=force-unsafe-io', *apt_options(), SUITE, str(base), *archives])
    return base


# --- the checks --------------------------------------------------------------------------------------


class Package:
    """The checks, in their order. Each method that begins with check_ is one; its text is what holds."""

    def __init__(self, directory):
        self.directory = directory
        self.version = Version()
        self.deb = RESULTS / f'sixpipe_{self.version.package}_{self.architecture()}.deb'
        self.base = self.root = self.before = self.lintian = None
        self.boot = None
        self.children = []  # what runs beside this program

    def stop(self):
        """Ends the children that still run. unshare blocks SIGTERM; the boot test needs it, to end its machine."""
        if self.boot:
            self.boot.terminate()
            self.boot.wait()
        for child in self.children:
            child.kill()
            child.wait()

    @staticmethod
    def architecture():
        return call(['dpkg', '--print-architecture']).strip()

    def check_build(self):
        """builds in a clean chroot, without a network, as a user without rights"""
        self.base = make_base(self.directory)
        root = copy_root(self.base, self.directory / 'build-root')
        in_root(root, [*APT_INSTALL, 'build-essential'])
        shutil.copytree(TOP / 'packaging/debian', root / 'packaging/debian')
        in_root(root, ['apt-get', 'build-dep', '-qq', '-y', '--no-install-recommends', './packaging'])
        tarball = make_tarball(self.version, self.directory)
        jobs = max(1, (os.cpu_count() or 1) // 2)
        builds = [self.start_build(root, path, tarball, jobs) for path in ('build/first', 'build/the-second')]
        self.children += [process for process, _ in builds]
        for process, log in builds:
            if process.wait() != 0:
                end = log.read_text(errors='replace')[-8000:]
                raise Failed(f'dpkg-buildpackage: exit code {process.returncode}\n{end}')

    def start_build(self, root, path, tarball, jobs):
        """Starts dpkg-buildpackage below root/path. Returns the process and the path of its output."""
        folder = root / path
        folder.mkdir(parents=True)
        shutil.copy(tarball, folder)
        tree = folder / f'sixpipe-{self.version.upstream}'
        call(['tar', '-xf', str(tarball), '-C', str(folder)])
        shutil.copytree(TOP / 'packaging/debian', tree / 'debian')
        call(['chown', '-R', f'{BUILDER}:{BUILDER}', str(folder)])
        log = self.directory / (folder.name + '.log')
        command = [*CONTAINED, '--net', f'--root={root}', f'--wd=/{path}/{tree.name}', 'setpriv',
                   f'--reuid={BUILDER}', f'--regid={BUILDER}', '--clear-groups', 'dpkg-buildpackage', '-us', '-uc']
        with log.open('w') as output:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                                       env={**ENVIRONMENT, 'DEB_BUILD_OPTIONS': f'parallel={jobs}'})
        return process, log

    def check_reproducible(self):
        """two builds in two folders are equal in each byte"""
        first, second = (self.directory / 'build-root/build' / name for name in ('first', 'the-second'))
        made = sorted(path.name for path in first.iterdir() if path.is_file())
        shutil.rmtree(RESULTS, ignore_errors=True)
        RESULTS.mkdir(parents=True)
        for name in made:
            shutil.copyfile(first / name, RESULTS / name)
        # these two tell the folder and the time of the build
        _, differ, missing = filecmp.cmpfiles(
            first, second, [name for name in made if not name.endswith(('.buildinfo', '.changes'))], shallow=False)
        for name in differ:
            (RESULTS / 'second').mkdir(exist_ok=True)
            shutil.copyfile(second / name, RESULTS / 'second' / name)
        if differ or missing:
            raise Failed(f'{", ".join(differ + missing)}: differs from the second build, in {RESULTS}/second')

    def start_lintian(self):
        changes = next(RESULTS.glob('*.changes'))
        self.lintian = subprocess.Popen(
            ['lintian', '--info', '--display-info', '--pedantic', '--fail-on', 'error,warning', str(changes)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.children.append(self.lintian)

    def start_boot(self):
        """Starts tests/package, which boots a chroot with the package. It mostly waits."""
        root = copy_root(self.base, self.directory / 'boot-root')
        program = TOP / 'tests/package/run.py'
        self.boot = subprocess.Popen([sys.executable, '-B', str(program), str(self.deb), str(root)],
                                     stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)

    def finish_boot(self):
        """The counts of tests/package: passed, failed, skipped."""
        output, _ = self.boot.communicate()
        print(output, end='')
        counts = re.search(r'^(\d+) passed, (\d+) failed, (\d+) skipped$', output, re.M)
        passed, failed, skipped = map(int, counts.groups()) if counts else (0, 0, 0)
        return passed, max(failed, int(self.boot.returncode != 0)), skipped

    def check_install(self):
        """is installed in a fresh chroot, and makes its user"""
        self.start_boot()
        self.start_lintian()
        self.root = copy_root(self.base, self.directory / 'fresh-root')
        self.before = snapshot(self.root)
        shutil.copy(self.deb, self.root / 'tmp')
        self.install()
        user = in_root(self.root, ['getent', 'passwd', 'sixpipe'])
        if not re.fullmatch(r'sixpipe:[^:]*:[0-9]{1,3}:.*/nologin\n', user):
            raise Failed(f'the user sixpipe is {user!r}; it should be a system user without a shell')

    def install(self, *options):
        return in_root(self.root, [*APT_INSTALL, *options, '/tmp/' + self.deb.name])

    def check_content(self):
        """has the program, manual pages, completions, examples and units, with the paths of the package"""
        listed = set(in_root(self.root, ['dpkg', '--listfiles', 'sixpipe']).splitlines())
        for path in CONTENT:
            if path not in listed:
                raise Failed(f'{path} is not in the package, which has:\n' + '\n'.join(sorted(listed)))
        for unit in sorted((self.root / 'lib/systemd/system').glob('sixpipe*')):
            for path in re.findall(r'(?<![\w%])(/(?:usr|etc)/[\w./@%-]*sixpipe[\w./@%-]*)', unit.read_text()):
                if path.startswith('/usr') and path not in listed:
                    raise Failed(f'{unit.name} names {path}, which is not in the package')

    def check_demonstration(self):
        """an IPv4-only page answers over IPv6 through the installed program"""
        call([str(TOP / 'tests/own-network'), sys.executable, '-B', str(TOP / 'packaging/demonstration.py'),
              str(self.root)])

    def check_configuration(self):
        """an upgrade, a removal and a purge keep the operator's configuration"""
        own = self.root / 'etc/sixpipe/sixpipe.conf'
        own.write_text('# the operator wrote this\n')
        self.install('--reinstall')
        for action in ('remove', 'purge'):
            in_root(self.root, ['apt-get', action, '-qq', '-y', 'sixpipe'])
            if own.read_text() != '# the operator wrote this\n':
                raise Failed(f'after {action}: {own} is {own.read_text()!r}')
        shutil.rmtree(own.parent)

    def check_removal(self):
        """is purged without a trace: no file, no user"""
        self.install()
        in_root(self.root, ['apt-get', 'purge', '-qq', '-y', '--autoremove', 'sixpipe'])
        after = snapshot(self.root)
        traces = [f'{path}: {self.before.get(path)} before, {after.get(path)} after'
                  for path in sorted(self.before.keys() | after.keys()) if self.before.get(path) != after.get(path)]
        traces += [str(path) for path in (self.root / 'var/lib/dpkg/info').glob('sixpipe*')]
        if traces:
            raise Failed('\n'.join(traces))

    def check_lintian(self):
        """lintian finds no error and no warning"""
        output, _ = self.lintian.communicate()
        if self.lintian.returncode != 0:
            raise Failed(output)
        # what is neither an error nor a warning
        print(output, end='')


CONTENT = [
    '/usr/sbin/sixpipe',
    '/usr/share/man/man8/sixpipe.8.gz',
    '/usr/share/man/man5/sixpipe.conf.5.gz',
    '/usr/share/bash-completion/completions/sixpipe',
    '/usr/share/zsh/vendor-completions/_sixpipe',
    '/usr/share/fish/vendor_completions.d/sixpipe.fish',
    '/lib/systemd/system/sixpipe.service',
    '/lib/systemd/system/sixpipe@.service',
    '/lib/systemd/system/sixpipe.socket',
    '/usr/lib/sysusers.d/sixpipe.conf',
    '/usr/lib/tmpfiles.d/sixpipe.conf',
    '/etc/logrotate.d/sixpipe',
    '/etc/needrestart/conf.d/sixpipe.conf',
    '/etc/sixpipe',
    '/usr/share/doc/sixpipe/copyright',
    '/usr/share/doc/sixpipe/examples/simple.conf',
]


def snapshot(root):
    """All files below root with owner, mode and content, apart from NOT_A_TRACE."""
    found = {}
    for folder, folders, files in os.walk(root):
        relative = os.path.relpath(folder, root)
        folders[:] = [name for name in folders if not NOT_A_TRACE.match(os.path.normpath(f'{relative}/{name}'))]
        for name in folders + files:
            path = os.path.normpath(f'{relative}/{name}')
            if NOT_A_TRACE.match(path):
                continue
            found[path] = describe(root / path)
    return found


def describe(path):
    status = path.lstat()
    content = ''
    if stat.S_ISLNK(status.st_mode):
        content = os.readlink(path)
    elif stat.S_ISREG(status.st_mode):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
    return f'{stat.filemode(status.st_mode)} {status.st_uid}:{status.st_gid} {content}'


def run_checks(directory):
    """Runs all checks, up to the first that fails. Returns their counts: passed, failed, skipped."""
    checks = ['build', 'reproducible', 'install', 'content', 'demonstration', 'configuration', 'removal', 'lintian']
    begin = time.monotonic()
    package = Package(directory)
    passed = 0
    try:
        for name in checks:
            check = getattr(package, 'check_' + name)
            check()
            passed += 1
            print(f'ok: {check.__doc__} ({time.monotonic() - begin:.0f} s)', flush=True)
        boot = package.finish_boot()
        return passed + boot[0], boot[1], boot[2]
    except Failed as failure:
        print(f'FAILED: {failure}', flush=True)
        return passed, 1, 0
    finally:
        package.stop()


def main():
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    directory = pathlib.Path(tempfile.mkdtemp(prefix='sixpipe-package-'))
    try:
        passed, failed, skipped = run_checks(directory)
    finally:
        subprocess.run(['rm', '-rf', str(directory)], check=True)
    print('the package has faults' if failed else f'the package is in {RESULTS}')
    print(f'{passed} passed, {failed} failed, {skipped} skipped')
    sys.exit(1 if failed else 0)


if __name__ == '__main__':
    main()
