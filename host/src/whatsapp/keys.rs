//! The library's key store over our store.
