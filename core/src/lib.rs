//! Event-sourced replica.
