#!/bin/sh
# A container engine behind TLS: the server's certificate is verified, ours is shown, and what does
# not fit is refused. The engine is a stand-in that only says its version.
set -eu
for program in openssl python3; do
  command -v "$program" >/dev/null 2>&1 || { echo "SKIPPED: there is no $program" >&2; exit 77; }
done

make_authority() { # NAME
  openssl req -x509 -newkey rsa:2048 -nodes -keyout "$1.key" -out "$1.crt" -days 2 -subj "/CN=$1" 2>/dev/null
}
make_certificate() { # NAME AUTHORITY
  openssl req -newkey rsa:2048 -nodes -keyout "$1.key" -out "$1.csr" -subj "/CN=$1" 2>/dev/null
  printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\n' >"$1.ext"
  openssl x509 -req -in "$1.csr" -CA "$2.crt" -CAkey "$2.key" -CAcreateserial -out "$1.crt" -days 2 \
    -extfile "$1.ext" 2>/dev/null
}
make_folder() { # FOLDER AUTHORITY CERTIFICATE: as Docker has them
  mkdir "$1"
  cp "$2.crt" "$1/ca.pem"
  cp "$3.crt" "$1/cert.pem"
  cp "$3.key" "$1/key.pem"
}
make_authority ours
make_authority theirs
make_certificate server ours
make_certificate client ours
make_certificate stranger theirs
make_folder right ours client
make_folder wrong_server theirs client
make_folder wrong_client ours stranger

cat >server.py <<'PY'
import http.server, json, ssl

class Engine(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        answer = {"ApiVersion": "1.43", "Version": "24.0"} if self.path == "/version" else {}
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("server.crt", "server.key")
context.load_verify_locations("ours.crt")
context.verify_mode = ssl.CERT_REQUIRED
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Engine)
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
with open("port.draft", "w") as file:
    print(server.server_port, file=file)
import os
os.rename("port.draft", "port")
server.serve_forever()
PY
python3 server.py >server.out 2>&1 &
server=$!
trap 'kill "$server" 2>/dev/null || true' EXIT
tries=0
until [ -f port ]; do
  tries=$((tries + 1))
  [ "$tries" -lt 200 ] || { echo "the server does not start"; cat server.out; exit 1; }
  sleep 0.05
done
port=$(cat port)

doctor() { # FOLDER ENDPOINT
  code=0
  DOCKER_CERT_PATH=$1 "$TRACKBED" doctor --endpoint "$2" >doctor.out 2>&1 || code=$?
}
doctor right "tcp://localhost:$port"
{ [ "$code" = 0 ] && grep -q "ok *containers *Docker 24.0 at https://localhost:$port" doctor.out; } || {
  echo "the right certificates are refused (code $code):"; cat doctor.out; exit 1; }
for folder in wrong_server wrong_client; do
  doctor "$folder" "tcp://localhost:$port"
  { [ "$code" = 6 ] && grep -q "bad *containers" doctor.out; } || {
    echo "$folder is accepted (code $code):"; cat doctor.out; exit 1; }
done
grep -q "certificate" doctor.out || { echo "it is not said why:"; cat doctor.out; exit 1; }
# Without TLS there is no answer to be had, and none is believed.
doctor "" "tcp://localhost:$port"
[ "$code" = 6 ] || { echo "plain HTTP is accepted (code $code):"; cat doctor.out; exit 1; }
# The certificate is not for this name.
doctor right "tcp://localhost.localdomain:$port"
[ "$code" = 6 ] || { echo "another name is accepted (code $code):"; cat doctor.out; exit 1; }
