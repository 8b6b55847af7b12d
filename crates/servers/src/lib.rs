//! Real servers on loopback, for tests: installed, started, frozen, killed and stopped.
