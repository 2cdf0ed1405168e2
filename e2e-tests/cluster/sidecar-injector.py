"""A webhook that adds a container `istio-proxy` to every pod, as a service mesh does.

sidecar-injector.py ADDRESS CERTIFICATE KEY: serves HTTPS on a free port of ADDRESS, and prints the port.
"""

import base64
import http.server
import json
import ssl
import sys

PATCH = [{"op": "add", "path": "/spec/containers/-", "value": {"name": "istio-proxy", "image": "x"}}]


class Injector(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["request"]
        response = {"uid": request["uid"], "allowed": True}
        if all(container["name"] != "istio-proxy" for container in request["object"]["spec"]["containers"]):
            response |= {"patchType": "JSONPatch", "patch": base64.b64encode(json.dumps(PATCH).encode()).decode()}
        answer = json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)


address, certificate, key = sys.argv[1:]
server = http.server.ThreadingHTTPServer((address, 0), Injector)
tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
tls.load_cert_chain(certificate, key)
server.socket = tls.wrap_socket(server.socket, server_side=True)
print(server.server_port, flush=True)
server.serve_forever()
