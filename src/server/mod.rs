//! The server: what the library does, over HTTP. One file for each group of routes; what holds for all of them is here beside
//! them: who may ask (`tokens`, `guard`), what a request and an answer are (`api`, `body`, `answer`, `problem`), what a
//! client's job may say (`policy`), how connections begin and end (`listen`, `connection`, `run`), and the builds that it runs
//! itself (`work`). What builds made is shown by `preview`, each at an origin of its own.

mod answer;
mod api;
mod body;
mod bounded;
mod call;
mod connection;
mod guard;
mod journal;
mod listen;
mod metrics;
mod page;
mod policy;
mod preview;
mod problem;
mod ranged;
mod routes;
mod run;
mod schema;
mod state;
mod tokens;
mod work;

pub(crate) use run::run;
