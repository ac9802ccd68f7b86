//! The only room that names the WhatsApp library.

pub mod keys;
