# SPDX-License-Identifier: MIT
"""The README's example with an installed sixpipe: an IPv4-only page answers over IPv6.

usage: tests/own-network python3 packaging/demonstration.py ROOT

ROOT is a chroot in which sixpipe is installed.
"""

import http.server
import subprocess
import sys
import threading
import urllib.request

PAGE = b'This page lives on 127.0.0.1 alone.\n'


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header('Content-Length', str(len(PAGE)))
        self.end_headers()
        self.wfile.write(PAGE)

    def log_message(self, *_):
        pass


def main():
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    command = ['unshare', '--mount', f'--root={sys.argv[1]}', '--mount-proc',
               'sixpipe', '--user', 'sixpipe', '--access-log', '[::1]:2000', f'127.0.0.1:{server.server_port}']
    forwarder = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    log = []
    for line in forwarder.stderr:
        log.append(line)
        if 'event=ready' in line:
            break
    try:
        with urllib.request.urlopen('http://[::1]:2000/', timeout=10) as answer:
            page = answer.read()
    finally:
        forwarder.terminate()
        log += forwarder.stderr.readlines()
        print(''.join(log))
    if page != PAGE or forwarder.wait() != 0 or not any('event=close' in line for line in log):
        sys.exit(f'the page was {page!r}, and sixpipe ended with exit code {forwarder.returncode}')


if __name__ == '__main__':
    main()
