//! What plugins on SQL databases share: connecting, quoting, telling errors apart.
