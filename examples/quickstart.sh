#!/usr/bin/env bash
# From a running gateway to a sent message: log in, create a session, link it, send.
#
#   WAGATE_PASSWORD=… RECIPIENT=6281381393739 examples/quickstart.sh
#
# Optional: GATEWAY (http://localhost:8080), WAGATE_USERNAME (admin), WEBHOOK_URL, SESSION (an existing session's id),
# WAGATE (the program, for drawing the QR code). Needs curl.
set -euo pipefail

gateway=${GATEWAY:-http://localhost:8080}
username=${WAGATE_USERNAME:-admin}
: "${WAGATE_PASSWORD:?set WAGATE_PASSWORD to the password of $username}"
: "${RECIPIENT:?set RECIPIENT to a phone number with country code, digits only}"

# The text of one field of a flat JSON answer.
field() { sed -n "s/.*\"$1\":[ ]*\"\([^\"]*\)\".*/\1/p"; }

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

token=
token=$(call POST /api/login "{\"username\":\"$username\",\"password\":\"$WAGATE_PASSWORD\"}" | field token)
echo "logged in as $username"

session=${SESSION:-}
if [ -z "$session" ]; then
  body="{\"name\":\"quickstart\"${WEBHOOK_URL:+,\"webhook_url\":\"$WEBHOOK_URL\"}}"
  created=$(call POST /api/sessions "$body")
  # The answer's first id is the session's own.
  session=$(grep -o '"id":[ ]*"[^"]*"' <<<"$created" | head -n 1 | field id)
  echo "created the session $session"
fi

"${WAGATE:-wagate}" session pair "$session" --username "$username"

call POST "/api/sessions/$session/send" "{\"recipient\":\"$RECIPIENT\",\"message\":\"Hello from wagate!\"}"
