//! Plugins from outside: the catalog over REST, and the command line.

mod api;
mod cli;
mod small;
