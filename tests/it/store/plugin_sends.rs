//! Messages plugins asked to be sent: in order a chat, settled under the epoch they were claimed with.
