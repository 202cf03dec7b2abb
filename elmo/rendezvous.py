# -*- coding: utf-8 -*-
"""Where the processes of gloo find each other: an HTTP server that keeps what it is given. Needs no fluid.

    python elmo/rendezvous.py HOST PORT NUMBER

collective.py starts it as a program of its own, because gloo lets no other Python thread run while it waits. It ends
when all have found each other, or its standard input ends.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import os
import sys
import threading

from six.moves.BaseHTTPServer import BaseHTTPRequestHandler, HTTPServer
from six.moves.socketserver import ThreadingMixIn


class Handler(BaseHTTPRequestHandler):
    """PUT /name keeps a value, GET /name returns it, or 404 if it is not there yet.

    A process sends DELETE when it has found all others.
    """

    values, through = {}, []
    timeout = 5  # seconds; who says nothing holds up nobody

    def do_PUT(self):
        self.values[self.path] = self.rfile.read(int(self.headers['Content-Length']))
        self._answer(200)

    def do_GET(self):
        value = self.values.get(self.path)
        self._answer(404 if value is None else 200, value or b'')

    def do_DELETE(self):
        self._answer(200)
        self.through.append(self.path)

    def _answer(self, code, value=b''):
        self.send_response(code)
        self.send_header('Content-Length', '%d' % len(value))
        self.end_headers()
        self.wfile.write(value)

    def log_message(self, *_):
        pass


class Server(ThreadingMixIn, HTTPServer):
    daemon_threads, timeout = True, 1  # seconds until handle_request returns


def main():
    host, port, number = sys.argv[1:]
    server = Server((host, int(port)), Handler)
    thread = threading.Thread(target=end_with_the_parent)
    thread.daemon = True
    thread.start()
    print('ready')
    sys.stdout.flush()
    while len(Handler.through) < int(number):
        server.handle_request()


def end_with_the_parent():
    sys.stdin.read()
    os._exit(1)


if __name__ == '__main__':
    main()
