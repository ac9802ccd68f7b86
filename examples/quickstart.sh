#!/usr/bin/env bash
# From a running gateway to a sent message: log in, create a session, link it, send.
#
#   WAGATE_PASSWORD=… RECIPIENT=6281381393739 examples/quickstart.sh
#
# Optional: GATEWAY (http://localhost:8080), WAGATE_USERNAME (admin), WEBHOOK_URL, SESSION (an existing session's id),
# WAGATE (the program, for drawing the QR code). Needs curl.
set -euo pipefail
. "$(dirname "$0")/gateway.sh"

username=${WAGATE_USERNAME:-admin}
: "${WAGATE_PASSWORD:?set WAGATE_PASSWORD to the password of $username}"
: "${RECIPIENT:?set RECIPIENT to a phone number with country code, digits only}"

token=$(login "$username" "$WAGATE_PASSWORD")
echo "logged in as $username"

session=${SESSION:-}
if [ -z "$session" ]; then
  session=$(create quickstart "${WEBHOOK_URL:-}")
  echo "created the session $session"
fi

"${WAGATE:-wagate}" session pair "$session" --username "$username"

call POST "/api/sessions/$session/send" "{\"recipient\":$(json "$RECIPIENT"),\"message\":\"Hello from wagate!\"}"
