#!/usr/bin/env bash
# Scenario 1: one user, two phone numbers, each with a webhook of its own.
#
#   WAGATE_PASSWORD=… RECIPIENT=6281381393739 examples/scenarios/one-user-two-numbers.sh
#
# Creates two sessions, links each (scan business.png with one phone, personal.png with the other), then sends from
# both, choosing by number. Optional: GATEWAY (http://localhost:8080), WAGATE_USERNAME (admin), BUSINESS_WEBHOOK,
# PERSONAL_WEBHOOK. Needs curl.
set -euo pipefail
. "$(dirname "$0")/../gateway.sh"

: "${WAGATE_PASSWORD:?set WAGATE_PASSWORD to your password}"
: "${RECIPIENT:?set RECIPIENT to a phone number with country code, digits only}"

token=$(login "${WAGATE_USERNAME:-admin}" "$WAGATE_PASSWORD")
business=$(create "Business Support" "${BUSINESS_WEBHOOK:-}")
personal=$(create "Personal Account" "${PERSONAL_WEBHOOK:-}")
link "$business" business
link "$personal" personal

for session in "$business" "$personal"; do
  phone=$(call GET "/api/sessions/$session" | field phone)
  body="{\"phone\":\"$phone\",\"recipient\":\"$RECIPIENT\",\"message\":\"Hello from $phone!\"}"
  sent=$(call POST /api/send "$body")
  echo "$phone sent $(field message_id <<<"$sent")"
done
