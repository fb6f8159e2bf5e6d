//! Private engines for tests: servers on free ports in temporary directories, and a network between that fails on command.

pub mod postgres;
