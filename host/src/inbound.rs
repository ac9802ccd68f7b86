//! Stations one and two of an incoming message.
