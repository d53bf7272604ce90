"""The article's echo server: a prefix of the client's address, and a log line for each message."""

import logging
import socketserver
import threading

stopping = threading.Event()


class EchoHandler(socketserver.BaseRequestHandler):
    def handle(self):
        while not stopping.is_set():
            data = self.request.recv(1024)
            text = data.decode()
            if not text or text == "quit":
                break
            message = "{}:{} {}".format(*self.client_address, text)
            self.request.send(message.encode())
            logging.info(message)


class EchoServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    # The default of 5 would make the benchmark one of SYN retransmissions.
    request_queue_size = 1024


logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
with EchoServer(("127.0.0.1", 0), EchoHandler) as server:
    print("listening on tcp://{}:{}".format(*server.server_address), flush=True)
    server.serve_forever()
