//! The network: empty as yet. See `README.md` in this folder for what will come and where it will connect.
#![forbid(unsafe_code)]
#![warn(missing_docs)]
