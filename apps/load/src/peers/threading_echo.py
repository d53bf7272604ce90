"""Python's ThreadingTCPServer, echoing byte for byte."""

import socketserver


class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        while data := self.request.recv(16384):
            self.request.sendall(data)


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    # The default of 5 would make the benchmark one of SYN retransmissions.
    request_queue_size = 1024


with Server(("127.0.0.1", 0), Echo) as server:
    print("listening on tcp://{}:{}".format(*server.server_address), flush=True)
    server.serve_forever()
