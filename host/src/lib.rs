#![doc = include_str!("../README.md")]

pub mod app;
pub mod auth;
pub mod cli;
pub mod config;
pub mod egress;
pub mod http;
pub mod inbound;
pub mod live;
pub mod model;
pub mod outbound;
pub mod plugin;
pub mod session;
pub mod store;
pub mod telemetry;
pub mod webhook;
pub mod whatsapp;
