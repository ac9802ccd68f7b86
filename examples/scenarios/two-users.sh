#!/usr/bin/env bash
# Scenario 2: two users, each with sessions that the other cannot see.
#
#   WAGATE_PASSWORD=… USER2_PASSWORD=… examples/scenarios/two-users.sh
#
# The administrator adds a second user; each logs in and creates a session; then each asks for the other's and is told
# that there is none. Optional: GATEWAY (http://localhost:8080), WAGATE_USERNAME (admin), USER2 (user2). Needs curl.
set -euo pipefail
. "$(dirname "$0")/../gateway.sh"

first=${WAGATE_USERNAME:-admin}
second=${USER2:-user2}
: "${WAGATE_PASSWORD:?set WAGATE_PASSWORD to the password of $first}"
: "${USER2_PASSWORD:?set USER2_PASSWORD to a password for $second, 8 characters or more}"

token1=$(login "$first" "$WAGATE_PASSWORD")
token=$token1
call POST /api/users "{\"username\":$(json "$second"),\"password\":$(json "$USER2_PASSWORD")}" >/dev/null
session1=$(create "User 1 Session")

token2=$(login "$second" "$USER2_PASSWORD")
token=$token2
session2=$(create "User 2 Session")

# Which of the two sessions a token sees.
sees() {
  token=$1
  for session in "$session1" "$session2"; do
    if call GET "/api/sessions/$session" >/dev/null 2>&1; then echo "$session"; fi
  done
}
echo "$first sees $(sees "$token1")"
echo "$second sees $(sees "$token2")"
