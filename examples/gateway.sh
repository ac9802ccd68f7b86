# What the scripts here share: logging in, calling the gateway, linking a phone. To be sourced; needs curl.
#
# GATEWAY is the gateway's address (http://localhost:8080).
# shellcheck shell=bash

gateway=${GATEWAY:-http://localhost:8080}
token=

# The text of one field of a JSON answer; of several, the first.
field() { { grep -o "\"$1\":[ ]*\"[^\"]*\"" || true; } | head -n 1 | sed 's/^"[^"]*":[ ]*"//; s/"$//'; }

# A text as JSON.
json() { printf '"%s"' "$(sed 's/[\\"]/\\&/g' <<<"$1")"; }

# One call: method, path, optional body. Shows the gateway's own words when it refuses.
call() {
  local answer status
  answer=$(curl -sS -X "$1" "$gateway$2" -H 'Content-Type: application/json' \
    ${token:+-H "Authorization: Bearer $token"} ${3:+-d "$3"} -w '\n%{http_code}')
  status=${answer##*$'\n'}
  answer=${answer%$'\n'*}
  if [ "$status" -ge 400 ]; then
    echo "$1 $2 answered $status: $(field message <<<"$answer")" >&2
    return 1
  fi
  printf '%s\n' "$answer"
}

# Logs in: name, password. Prints the token.
login() { call POST /api/login "{\"username\":$(json "$1"),\"password\":$(json "$2")}" | field token; }

# Creates a session: its name and, if its messages are to be posted somewhere, where. Prints its id.
create() { call POST /api/sessions "{\"name\":$(json "$1")${2:+,\"webhook_url\":$(json "$2")}}" | field id; }

# Links a session to a phone: keeps its present QR code in the file NAME.png until the phone has scanned it.
link() {
  local id=$1 picture=$2.png
  call POST "/api/sessions/$id/connect" >/dev/null
  echo "scan $picture: WhatsApp, Settings, Linked devices, Link a device" >&2
  for ((n = 0; n < 120; n++)); do
    if call GET "/api/sessions/$id" | grep -q '"connected":true'; then
      rm -f "$picture"
      return
    fi
    # Codes are replaced every few seconds. There is none before the first and after the last.
    curl -sSf -o "$picture" "$gateway/api/sessions/$id/qr?format=png" -H "Authorization: Bearer $token" 2>/dev/null || true
    sleep 1
  done
  echo "nobody scanned $picture in time" >&2
  return 1
}
