//! Deliveries end to end: a real store, the real client, a receiver on loopback that misbehaves on request.
